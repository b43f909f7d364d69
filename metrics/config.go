package metrics

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"sightline/internal/auth"
)

// Config is the section metrics of the configuration.
type Config struct {
	// Enabled serves /metrics.
	Enabled bool `toml:"enabled"`

	// Listen is an address, host:port, that serves /metrics and the health checks apart
	// from everything else. Empty: /metrics is on http.listen.
	Listen string `toml:"listen"`

	// Auth asks for a token with the scope read, for all rooms, where tokens are
	// configured.
	Auth bool `toml:"auth"`

	// MaxLabelValues is how many publishers get label values of their own; those beyond
	// are counted together as "other".
	MaxLabelValues int `toml:"max_label_values"`

	// DebugListen is a loopback address, host:port, that serves Go's profiles (pprof)
	// to whoever is on this machine. Empty: off.
	DebugListen string `toml:"debug_listen"`
}

// Defaults returns the configuration that the shipped file states.
func Defaults() Config {
	return Config{Enabled: true, Auth: true, MaxLabelValues: 500}
}

// Validate reports everything that is wrong, each with its key.
func (c Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("metrics.%s: %w", key, fmt.Errorf(format, args...)))
	}
	if c.Listen != "" {
		if err := checkListen(c.Listen); err != nil {
			bad("listen", "%w", err)
		}
	}
	if c.MaxLabelValues < 1 || c.MaxLabelValues > 100_000 {
		bad("max_label_values", "must be between 1 and 100000 publishers, got %d", c.MaxLabelValues)
	}
	if c.DebugListen != "" {
		switch err := checkListen(c.DebugListen); {
		case err != nil:
			bad("debug_listen", "%w", err)
		case !auth.Loopback(c.DebugListen):
			// A profile shows memory, and asking for one slows the gateway down.
			bad("debug_listen", "must be a loopback address such as \"127.0.0.1:6060\", got %q", c.DebugListen)
		}
	}
	return errors.Join(errs...)
}

func checkListen(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("must be host:port such as \"127.0.0.1:9090\", got %q", s)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("port must be 0 to 65535, got %q", port)
	}
	return nil
}
