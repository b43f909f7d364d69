package rooms

import (
	"errors"
	"fmt"
	"time"

	"sightline/internal/opt"
)

// What happens when a publisher's name is taken.
const (
	TakeoverNewest = "newest" // the newcomer wins once it is connected
	TakeoverReject = "reject" // the newcomer is told to come back later
)

// Config is the section "rooms" of the configuration.
type Config struct {
	MaxRooms           int `toml:"max_rooms"`
	MaxPublishers      int `toml:"max_publishers"` // in one room
	MaxViewers         int `toml:"max_viewers"`    // WHEP sessions in all rooms together
	MaxViewersPerTrack int `toml:"max_viewers_per_track"`
	MaxParticipants    int `toml:"max_participants"` // people in one room

	MaxParticipantsPerAddress int `toml:"max_participants_per_address"` // in all rooms together, who have entered from there

	Takeover     string       `toml:"takeover"`      // "newest" or "reject"
	Grace        opt.Duration `toml:"grace"`         // how long a track outlives its publisher's session
	StalledAfter opt.Duration `toml:"stalled_after"` // without a packet

	ParticipantTimeout opt.Duration `toml:"participant_timeout"` // without a word from a participant

	KeyframeInterval opt.Duration `toml:"keyframe_interval"` // at least between two requests to a camera
	CacheBytes       int          `toml:"cache_bytes"`       // of one track: last group of pictures, retransmissions
	CacheDuration    opt.Duration `toml:"cache_duration"`    // of one track; a longer group of pictures is not kept
}

// Defaults returns the configuration that holds where nothing is said.
func Defaults() Config {
	return Config{
		MaxRooms:           100,
		MaxPublishers:      50,
		MaxViewers:         2000,
		MaxViewersPerTrack: 1000,
		MaxParticipants:    50,

		MaxParticipantsPerAddress: 200,

		Takeover:           TakeoverNewest,
		Grace:              opt.Duration(15 * time.Second),
		StalledAfter:       opt.Duration(2 * time.Second),
		ParticipantTimeout: opt.Duration(10 * time.Second),
		KeyframeInterval:   opt.Duration(500 * time.Millisecond),
		CacheBytes:         16 << 20,
		CacheDuration:      opt.Duration(12 * time.Second),
	}
}

// Validate returns all that is wrong, joined; each error starts with its key.
func (c Config) Validate() error {
	var errs []error
	positive := func(key, what string, n int) {
		if n < 1 {
			errs = append(errs, fmt.Errorf("rooms.%s: must be a positive number of %s, got %d", key, what, n))
		}
	}
	between := func(key string, d opt.Duration, low, high time.Duration) {
		if d.D() < low || d.D() > high {
			errs = append(errs, fmt.Errorf("rooms.%s: must be between %v and %v, got %v", key, low, high, d))
		}
	}
	positive("max_rooms", "rooms", c.MaxRooms)
	positive("max_publishers", "publishers in a room", c.MaxPublishers)
	positive("max_viewers", "viewers", c.MaxViewers)
	positive("max_viewers_per_track", "viewers of a track", c.MaxViewersPerTrack)
	positive("max_participants", "participants in a room", c.MaxParticipants)
	positive("max_participants_per_address", "participants from one address", c.MaxParticipantsPerAddress)
	if c.Takeover != TakeoverNewest && c.Takeover != TakeoverReject {
		errs = append(errs, fmt.Errorf("rooms.takeover: must be %q or %q, got %q", TakeoverNewest, TakeoverReject, c.Takeover))
	}
	between("grace", c.Grace, 0, time.Hour)
	between("stalled_after", c.StalledAfter, 500*time.Millisecond, time.Minute)
	between("participant_timeout", c.ParticipantTimeout, 2*time.Second, 10*time.Minute)
	between("keyframe_interval", c.KeyframeInterval, 500*time.Millisecond, time.Minute)
	if c.CacheBytes < 1<<18 || c.CacheBytes > 1<<30 {
		errs = append(errs, fmt.Errorf("rooms.cache_bytes: must be between %d and %d bytes, got %d", 1<<18, 1<<30, c.CacheBytes))
	}
	between("cache_duration", c.CacheDuration, time.Second, 2*time.Minute)
	return errors.Join(errs...)
}
