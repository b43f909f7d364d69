package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sightline/internal/opt"
)

// Config is the section auth of the configuration.
type Config struct {
	// Open lets everybody who reaches the gateway publish, watch and read, when no token
	// is configured. Without it such a gateway only listens on loopback.
	Open bool `toml:"open"`

	// Tokens are those who may do something. With one or more of them, everything but
	// the health checks needs a token.
	Tokens []Token `toml:"tokens"`

	// Warning is how long before a token expires the events of a room say that what was begun
	// with it is about to end.
	Warning opt.Duration `toml:"warning"`
}

// A Token is one bearer token. The token itself is not kept: `sightline hash-token` makes
// one and prints the hash.
type Token struct {
	// Name is whom the token was given to. It stands in logs, and it is the publisher's
	// identity: another name can't take over what this one publishes.
	Name string `toml:"name"`

	// SHA256 is the SHA-256 of the token, in hex.
	SHA256 string `toml:"sha256"`

	// Scopes are what it allows. None implies another.
	Scopes []Scope `toml:"scopes"`

	// Rooms and Publishers are globs ("mri-*") of the names that it is for. Empty: all. A
	// publisher's may be of one track: "console/video".
	Rooms      []string `toml:"rooms"`
	Publishers []string `toml:"publishers"`

	// Role is what those who publish with it, or are in a room, are to the others there:
	// "hospital" and "technician" mean something to the audio bridge. Empty: they may say one.
	Role string `toml:"role"`
}

// Defaults returns the configuration that the shipped file states: no tokens, and hence
// loopback only.
func Defaults() Config { return Config{Warning: opt.Duration(30 * time.Second)} }

// Validate reports everything that is wrong, each with its key.
func (c Config) Validate() error {
	var errs []error
	names := make(map[string]int)
	for i, t := range c.Tokens {
		bad := func(key, format string, args ...any) {
			errs = append(errs, fmt.Errorf("auth.tokens[%d].%s: %w", i, key, fmt.Errorf(format, args...)))
		}
		if t.Name == "" {
			bad("name", "must say whom the token was given to, got nothing")
		}
		if first, ok := names[t.Name]; ok && t.Name != "" && !strings.EqualFold(c.Tokens[first].SHA256, t.SHA256) {
			bad("name", "%q is already the name of another token, auth.tokens[%d]", t.Name, first)
		} else if !ok {
			names[t.Name] = i
		}
		// The value is not repeated: someone may have put the token itself there.
		if raw, err := hex.DecodeString(t.SHA256); err != nil || len(raw) != sha256.Size {
			bad("sha256", "must be the 64 hex digits that `sightline hash-token` prints, got %d characters", len(t.SHA256))
		}
		if len(t.Scopes) == 0 {
			bad("scopes", "must hold one or more of %q", scopes)
		}
		for _, s := range t.Scopes {
			if !slices.Contains(scopes[:], s) && older[s] == nil {
				bad("scopes", "must be of %q, got %q", scopes, s)
			}
		}
		for _, g := range t.Rooms {
			if err := checkRoomGlob(g); err != nil {
				bad("rooms", "%w", err)
			}
		}
		for _, g := range t.Publishers {
			if err := checkPublisherGlob(g); err != nil {
				bad("publishers", "%w", err)
			}
		}
	}
	if d := c.Warning.D(); d < 0 || d > time.Hour {
		errs = append(errs, fmt.Errorf("auth.warning: must be between 0s and 1h, got %s", d))
	}
	return errors.Join(errs...)
}

// CheckExposure refuses to let an unprotected gateway listen beyond loopback. The error
// names both ways out.
func CheckExposure(listen string, c Config) error {
	if len(c.Tokens) > 0 || c.Open || Loopback(listen) {
		return nil
	}
	return fmt.Errorf("http.listen: %s can be reached from other machines, and no token is configured: "+
		"either add a token under [[auth.tokens]] (`sightline hash-token` makes one), "+
		"or set auth.open = true to let everybody publish and watch", listen)
}

// Loopback reports whether a listen address, host:port, can only be reached from this
// machine.
func Loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
