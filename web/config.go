package web

import (
	"errors"
	"fmt"
)

// Config is the section stations of the configuration: what the pages hold themselves to.
type Config struct {
	MaxBitrate int    `toml:"max_bitrate"` // of a camera, bit/s
	FrameRate  int    `toml:"frame_rate"`  // of a camera
	Quality    string `toml:"quality"`     // "360p", "480p", "720p" or "1080p"
	MaxFull    int    `toml:"max_full"`    // who enters a room with so many participants is muted
}

// Defaults returns the configuration that holds where nothing is said.
func Defaults() Config {
	return Config{MaxBitrate: 1_200_000, FrameRate: 24, Quality: "720p", MaxFull: 6}
}

// Validate returns all that is wrong, joined; each error starts with its key.
func (c Config) Validate() error {
	var errs []error
	between := func(key string, n, low, high int, unit string) {
		if n < low || n > high {
			errs = append(errs, fmt.Errorf("stations.%s: must be between %d and %d %s, got %d", key, low, high, unit, n))
		}
	}
	between("max_bitrate", c.MaxBitrate, 100_000, 20_000_000, "bit/s")
	between("frame_rate", c.FrameRate, 1, 60, "frames per second")
	if w, _ := c.size(); w == 0 {
		errs = append(errs, fmt.Errorf("stations.quality: must be \"360p\", \"480p\", \"720p\" or \"1080p\", got %q", c.Quality))
	}
	between("max_full", c.MaxFull, 0, 10_000, "participants")
	return errors.Join(errs...)
}

// size returns the width and height that the quality stands for; zero for none.
func (c Config) size() (width, height int) {
	switch c.Quality {
	case "360p":
		return 640, 360
	case "480p":
		return 854, 480
	case "720p":
		return 1280, 720
	case "1080p":
		return 1920, 1080
	}
	return 0, 0
}
