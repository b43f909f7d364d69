package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
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

	// JWT is about JSON Web Tokens.
	JWT JWTConfig `toml:"jwt"`

	// OIDC is about people who sign in.
	OIDC OIDCConfig `toml:"oidc"`

	// QueryTokens takes ?access_token= for players that can send no header, at the endpoints of WHIP
	// and WHEP alone.
	QueryTokens bool `toml:"query_tokens"`

	// StateDir is where revocations and invitations are kept. Empty: in memory only.
	StateDir string `toml:"state_dir"`

	// MaxRevocations is how many there may be, MaxInvitations how many to one room.
	MaxRevocations int `toml:"max_revocations"`
	MaxInvitations int `toml:"max_invitations"`

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
func Defaults() Config {
	return Config{
		MaxRevocations: 10_000, MaxInvitations: 100, Warning: opt.Duration(30 * time.Second),
		JWT: JWTConfig{
			Refresh: opt.Duration(5 * time.Minute), Issuer: "sightline", Audience: "sightline",
			Algorithms: slices.Clone(algorithms[:]), Leeway: opt.Duration(5 * time.Second),
		},
		OIDC: oidcDefaults(),
	}
}

// JWTConfig is the table auth.jwt of the configuration.
type JWTConfig struct {
	// Secret signs tokens of HS256: 32 bytes or more. SecretFile has it in a file.
	Secret     string `toml:"secret"`
	SecretFile string `toml:"secret_file"`

	// JWKS is where the public keys of the other algorithms are: an https URL or a file. They are
	// loaded again every Refresh.
	JWKS    string       `toml:"jwks"`
	Refresh opt.Duration `toml:"refresh"`

	// Issuer and Audience are what iss and aud of a token must be.
	Issuer   string `toml:"issuer"`
	Audience string `toml:"audience"`

	// Algorithms are those that are allowed.
	Algorithms []string `toml:"algorithms"`

	// Leeway is how far in the future nbf and iat may be. There is none for exp.
	Leeway opt.Duration `toml:"leeway"`
}

// Enabled reports whether JWTs are taken.
func (c JWTConfig) Enabled() bool { return c.Secret != "" || c.SecretFile != "" || c.JWKS != "" }

// Enabled reports whether anybody has to say who he is.
func (c Config) Enabled() bool { return len(c.Tokens) > 0 || c.JWT.Enabled() || c.OIDC.Enabled() }

// minSecret is what RFC 7518, section 3.2, wants of HS256, in bytes.
const minSecret = 32

// secret returns the secret of HS256, nil if there is none. The error repeats nothing of it.
func (c JWTConfig) secret() ([]byte, error) {
	if c.SecretFile == "" {
		if c.Secret == "" {
			return nil, nil
		}
		return []byte(c.Secret), nil
	}
	content, err := os.ReadFile(c.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("auth.jwt.secret_file: %w", err)
	}
	secret := bytes.TrimRight(content, "\r\n")
	if len(secret) < minSecret {
		return nil, fmt.Errorf("auth.jwt.secret_file: must hold %d bytes or more, got %d", minSecret, len(secret))
	}
	return secret, nil
}

// Validate reports everything that is wrong, each with its key. Files are read by Open.
func (c JWTConfig) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("auth.jwt.%s: %w", key, fmt.Errorf(format, args...)))
	}
	if c.Secret != "" && len(c.Secret) < minSecret {
		bad("secret", "must have %d bytes or more, got %d", minSecret, len(c.Secret)) // and is not repeated
	}
	if c.Secret != "" && c.SecretFile != "" {
		bad("secret_file", "must be empty where auth.jwt.secret is not: one of them is the secret")
	}
	if isURL(c.JWKS) {
		if u, err := url.Parse(c.JWKS); err != nil || checkKeysURL(u) != nil {
			bad("jwks", "must be an https URL (http on loopback) or the name of a file, got %q", withoutPassword(c.JWKS))
		}
	}
	if d := c.Refresh.D(); d < 10*time.Second || d > 24*time.Hour {
		bad("refresh", "must be between 10s and 24h, got %s", d)
	}
	if d := c.Leeway.D(); d < 0 || d > time.Minute {
		bad("leeway", "must be between 0s and 1m, got %s", d)
	}
	public := false
	for _, a := range c.Algorithms {
		if !slices.Contains(algorithms[:], a) {
			bad("algorithms", "must be of %q, got %q", algorithms, a)
			continue
		}
		public = public || a != hmac256
	}
	if !c.Enabled() {
		return errors.Join(errs...)
	}
	if c.Issuer == "" {
		bad("issuer", "must be the iss of the tokens, got nothing")
	}
	if c.Audience == "" {
		bad("audience", "must be the aud of the tokens that are for this gateway, got nothing")
	}
	if (c.Secret != "" || c.SecretFile != "") && !slices.Contains(c.Algorithms, hmac256) {
		bad("algorithms", "must hold %q where a secret is configured", hmac256)
	}
	if c.JWKS != "" && !public {
		bad("algorithms", "must hold RS256, ES256 or EdDSA where jwks is configured")
	}
	return errors.Join(errs...)
}

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
		errs = append(errs, checkGrant(fmt.Sprintf("auth.tokens[%d]", i), t.Scopes, t.Rooms, t.Publishers))
	}
	errs = append(errs, c.JWT.Validate(), c.OIDC.Validate())
	if c.MaxRevocations < 1 {
		errs = append(errs, fmt.Errorf("auth.max_revocations: must be a positive number, got %d", c.MaxRevocations))
	}
	if c.MaxInvitations < 0 || c.MaxInvitations > maxInvitations {
		errs = append(errs, fmt.Errorf("auth.max_invitations: must be between 0 and %d, got %d", maxInvitations, c.MaxInvitations))
	}
	if d := c.Warning.D(); d < 0 || d > time.Hour {
		errs = append(errs, fmt.Errorf("auth.warning: must be between 0s and 1h, got %s", d))
	}
	return errors.Join(errs...)
}

// CheckExposure refuses to let an unprotected gateway listen beyond loopback. The error
// names both ways out.
func CheckExposure(listen string, c Config) error {
	if c.Enabled() || c.Open || Loopback(listen) {
		return nil
	}
	return fmt.Errorf("http.listen: %s can be reached from other machines, and no token is configured: "+
		"either add a token under [[auth.tokens]] (`sightline hash-token` makes one) a secret under [auth.jwt], or sign-in under [auth.oidc], "+
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
