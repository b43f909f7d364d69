// Package opt holds value types of the configuration that TOML and the environment
// write as text.
package opt

import (
	"fmt"
	"time"
)

// A Duration is a time.Duration that configuration writes as "1m30s".
type Duration time.Duration

// D returns d as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText returns the form that UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a duration such as "500ms", "15s" or "1h30m".
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("must be a duration such as \"500ms\", \"15s\" or \"1h30m\", got %q", text)
	}
	*d = Duration(v)
	return nil
}
