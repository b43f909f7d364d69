package bridge

import (
	"errors"
	"fmt"
)

// Who hears whom.
const (
	Everybody = "everybody" // all others
	Star      = "star"      // hospitals hear technicians, and technicians hospitals
)

// The roles of publishers that Star knows. Who has another, or none, hears all others and
// is heard by them: a voice that is lost is worse than one too many.
const (
	Hospital   = "hospital"
	Technician = "technician"
)

// Config is the section "bridge" of the configuration.
type Config struct {
	Hearing      string `toml:"hearing"`    // "everybody" or "star"
	Bitrate      int    `toml:"bitrate"`    // of a mix, bit/s
	Stereo       bool   `toml:"stereo"`     // a mix has two channels
	Complexity   int    `toml:"complexity"` // of the encoder: 0 to 10
	Loss         int    `toml:"loss"`       // percent that listeners may lose: what forward error correction is made for
	MaxListeners int    `toml:"max_listeners"`
}

// Defaults returns the configuration that holds where nothing is said.
func Defaults() Config {
	return Config{Hearing: Everybody, Bitrate: 80000, Complexity: 4, Loss: 10, MaxListeners: 500}
}

// Validate returns all that is wrong, joined; each error starts with its key.
func (c Config) Validate() error {
	var errs []error
	between := func(key string, n, low, high int, unit string) {
		if n < low || n > high {
			errs = append(errs, fmt.Errorf("bridge.%s: must be between %d and %d%s, got %d", key, low, high, unit, n))
		}
	}
	if c.Hearing != Everybody && c.Hearing != Star {
		errs = append(errs, fmt.Errorf("bridge.hearing: must be %q or %q, got %q", Everybody, Star, c.Hearing))
	}
	between("bitrate", c.Bitrate, 16000, 256000, " bit/s")
	between("complexity", c.Complexity, 0, 10, "")
	between("loss", c.Loss, 0, 50, " percent")
	between("max_listeners", c.MaxListeners, 1, 100000, " listeners")
	return errors.Join(errs...)
}

// channels returns how many a mix has.
func (c Config) channels() int {
	if c.Stereo {
		return 2
	}
	return 1
}

// hears reports whether who has the role listener hears who has the role speaker.
func (c Config) hears(listener, speaker string) bool {
	if c.Hearing != Star || !sided(listener) || !sided(speaker) {
		return true
	}
	return listener != speaker
}

// side returns what is the same for all who hear the same speakers, but for themselves.
func (c Config) side(role string) string {
	if c.Hearing == Star && sided(role) {
		return role
	}
	return ""
}

func sided(role string) bool { return role == Hospital || role == Technician }
