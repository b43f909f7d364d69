package api

import (
	"errors"
	"fmt"
	"time"

	"sightline/internal/opt"
)

// Config is the section api of the configuration.
type Config struct {
	// MaxStreams is how many event streams may be open at a time, over all rooms.
	MaxStreams int `toml:"max_streams"`

	// MaxStreamsPerAddress is how many of these may be one address's. An IPv6 client is
	// counted by his /64.
	MaxStreamsPerAddress int `toml:"max_streams_per_address"`

	// Ping is how long an event stream may be silent before a comment is sent, so that
	// either end notices a dead connection.
	Ping opt.Duration `toml:"ping"`

	// WriteTimeout cuts off a reader of events that takes nothing for so long.
	WriteTimeout opt.Duration `toml:"write_timeout"`
}

// Defaults returns the configuration that the shipped file states.
func Defaults() Config {
	return Config{
		MaxStreams:           500,
		MaxStreamsPerAddress: 200,
		Ping:                 opt.Duration(15 * time.Second),
		WriteTimeout:         opt.Duration(10 * time.Second),
	}
}

// mostStreams is how many event streams can be configured. rooms.Registry has twice as many watchers: in a
// cluster those whom other nodes' clients have here come besides.
const mostStreams = 5000

// Validate reports everything that is wrong, each with its key.
func (c Config) Validate() error {
	var errs []error
	if c.MaxStreams < 1 || c.MaxStreams > mostStreams {
		errs = append(errs, fmt.Errorf("api.max_streams: must be between 1 and %d event streams, got %d", mostStreams, c.MaxStreams))
	}
	if c.MaxStreamsPerAddress < 1 {
		errs = append(errs, fmt.Errorf("api.max_streams_per_address: must be a positive number of event streams, got %d", c.MaxStreamsPerAddress))
	}
	if d := c.Ping.D(); d < time.Second || d > time.Minute {
		errs = append(errs, fmt.Errorf("api.ping: must be between 1s and 1m, got %s", d))
	}
	if d := c.WriteTimeout.D(); d < time.Second || d > time.Minute {
		errs = append(errs, fmt.Errorf("api.write_timeout: must be between 1s and 1m, got %s", d))
	}
	return errors.Join(errs...)
}
