// Package config gathers the configuration of every package.
//
// A value is declared, defaulted, validated and used in the package that owns it.
// This package only reads: defaults, then the file, then the environment; and it
// reports everything that is wrong at once, named as the user wrote it:
//
//	config.toml:12: rooms.viewer_queue: must be a positive number of packets, got -1
//	SIGHTLINE_HTTP_LISTEN: http.listen: must be host:port such as "127.0.0.1:8080", got "8080"
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/bridge"
	"sightline/internal/cluster"
	"sightline/internal/httpapi"
	"sightline/internal/opt"
	"sightline/internal/rtc"
	"sightline/metrics"
	"sightline/rooms"
	"sightline/rooms/api"
	"sightline/web"
)

// Config is everything that can be configured, one field a section.
type Config struct {
	HTTP     httpapi.Config `toml:"http"`
	ICE      rtc.Config     `toml:"ice"`
	Auth     auth.Config    `toml:"auth"`
	Rooms    rooms.Config   `toml:"rooms"`
	Bridge   bridge.Config  `toml:"bridge"`
	API      api.Config     `toml:"api"`
	Audit    audit.Config   `toml:"audit"`
	Cluster  cluster.Config `toml:"cluster"`
	Stations web.Config     `toml:"stations"`
	Metrics  metrics.Config `toml:"metrics"`
	Log      Log            `toml:"log"`
	Shutdown Shutdown       `toml:"shutdown"`
}

// Log is the section log.
type Log struct {
	Level  slog.Level `toml:"level"`  // debug, info, warn or error
	Format string     `toml:"format"` // text or json
}

// Shutdown is the section shutdown.
type Shutdown struct {
	// DrainTimeout is how long sessions may go on after SIGTERM before they are closed.
	DrainTimeout opt.Duration `toml:"drain_timeout"`
}

// Defaults returns the configuration that the shipped config.toml states.
func Defaults() Config {
	return Config{
		HTTP:     httpapi.Defaults(),
		ICE:      rtc.Defaults(),
		Auth:     auth.Defaults(),
		Rooms:    rooms.Defaults(),
		Bridge:   bridge.Defaults(),
		API:      api.Defaults(),
		Audit:    audit.Defaults(),
		Cluster:  cluster.Defaults(),
		Stations: web.Defaults(),
		Metrics:  metrics.Defaults(),
		Log:      Log{Level: slog.LevelInfo, Format: "text"},
		// Well within the ten seconds that docker stop waits before it kills.
		Shutdown: Shutdown{DrainTimeout: opt.Duration(5 * time.Second)},
	}
}

// Validate reports every impossible value, each as "section.key: what would be right".
func (c Config) Validate() error {
	return errors.Join(
		c.HTTP.Validate(),
		c.ICE.Validate(),
		c.Auth.Validate(),
		c.checkRoles(),
		c.Rooms.Validate(),
		c.Bridge.Validate(),
		c.API.Validate(),
		c.Audit.Validate(),
		c.Cluster.Validate(),
		c.Stations.Validate(),
		c.Metrics.Validate(),
		c.Log.Validate(),
		c.Shutdown.Validate(),
		c.checkExposure(),
		c.checkSignIn(),
	)
}

// checkExposure is about how sections go together: what is reached from other machines
// must be protected.
func (c Config) checkExposure() error {
	var errs []error
	if isAddress(c.HTTP.Listen) {
		errs = append(errs,
			auth.CheckExposure(c.HTTP.Listen, c.Auth),
			httpapi.CheckTransport(c.HTTP, !c.Auth.Enabled()))
	}
	if open := !c.Auth.Enabled() && !c.Auth.Open; open && isAddress(c.Metrics.Listen) && !auth.Loopback(c.Metrics.Listen) {
		errs = append(errs, fmt.Errorf("metrics.listen: %s can be reached from other machines, and no token is configured: "+
			"either add a token under [[auth.tokens]], or set auth.open = true to let everybody read", c.Metrics.Listen))
	}
	if c.Auth.Enabled() && c.Metrics.Auth && isAddress(c.Metrics.Listen) {
		h := c.HTTP
		h.Listen = c.Metrics.Listen
		if err := httpapi.CheckTransport(h, false); err != nil {
			errs = append(errs, errors.New("metrics.listen: "+strings.TrimPrefix(err.Error(), "http.listen: ")))
		}
	}
	return errors.Join(errs...)
}

// checkRoles is about what auth cannot know: a role is a name as those of rooms are.
func (c Config) checkRoles() error {
	var errs []error
	for i, t := range c.Auth.Tokens {
		if err := rooms.ValidRole(t.Role); err != nil {
			errs = append(errs, fmt.Errorf("auth.tokens[%d].role: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// checkSignIn is about where people come back to when they have signed in, and about their
// cookie, which is never sent in the clear but on this machine.
func (c Config) checkSignIn() error {
	if !c.Auth.OIDC.Enabled() || !isAddress(c.HTTP.Listen) {
		return nil
	}
	public := c.HTTP.PublicURL
	if strings.HasPrefix(public, "https://") || public == "" && auth.Loopback(c.HTTP.Listen) {
		return nil
	}
	if u, err := url.Parse(public); err == nil && u.Scheme == "http" && isLoopback(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("http.public_url: must be \"https://…\" where people sign in (auth.oidc.issuer), for the provider sends them back there, got %q", public)
}

func isLoopback(host string) bool { return auth.Loopback(net.JoinHostPort(host, "80")) }

// isAddress says whether it makes sense to ask where listen can be reached from; if not,
// its section's Validate has complained.
func isAddress(listen string) bool {
	_, _, err := net.SplitHostPort(listen)
	return err == nil
}

// derive sets what follows from other sections. A gateway without tokens has none to
// protect on the way. A gateway that is only reached from its
// own machine offers loopback candidates; behind a proxy (http.public_url) its clients
// are elsewhere.
func (c *Config) derive() {
	c.HTTP.Open = !c.Auth.Enabled()
	c.ICE.Loopback = auth.Loopback(c.HTTP.Listen) && c.HTTP.PublicURL == ""
}

// Validate reports every impossible value of the section.
func (c Log) Validate() error {
	if c.Format != "text" && c.Format != "json" {
		return fmt.Errorf("log.format: must be \"text\" or \"json\", got %q", c.Format)
	}
	return nil
}

// Validate reports every impossible value of the section.
func (c Shutdown) Validate() error {
	if d := c.DrainTimeout.D(); d < 0 || d > 24*time.Hour {
		return fmt.Errorf("shutdown.drain_timeout: must be between 0s and 24h, got %s", d)
	}
	return nil
}
