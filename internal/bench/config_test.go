package bench

import (
	"strings"
	"testing"
	"time"
)

func TestBitrate(t *testing.T) {
	for text, want := range map[string]Bitrate{
		"2500000": 2_500_000, "2500k": 2_500_000, "2.5M": 2_500_000, "2.5m": 2_500_000, "64K": 64_000, "1e6": 1_000_000,
	} {
		var b Bitrate
		if err := b.Set(text); err != nil || b != want {
			t.Errorf("%q: got %d, %v, want %d", text, b, err, want)
		}
		var again Bitrate
		if err := again.Set(b.String()); err != nil || again != b {
			t.Errorf("%d is written %q, which reads as %d, %v", b, b.String(), again, err)
		}
	}
	for _, text := range []string{"", "k", "M", "fast", "-1M", "0", "2.5G", "NaN", "InfM", "1e300M"} {
		var b Bitrate
		if err := b.Set(text); err == nil {
			t.Errorf("%q is taken for %d", text, b)
		} else if !strings.Contains(err.Error(), "2.5M") {
			t.Errorf("%q: %q does not say what would be right", text, err)
		}
	}
}

func TestDefaultsAreValid(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
}

func TestEachBadFlagIsNamed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no URL", func(c *Config) { c.WHIP = "cam" }, `-whip: must look like "http://127.0.0.1:8080/whip/bench/cam{n}", got "cam"`},
		{"no host", func(c *Config) { c.WHEP = "http:///x{n}" }, "-whep: must look like"},
		{"another scheme", func(c *Config) { c.WHEP = "rtsp://h/{n}" }, "-whep: must look like"},
		{"one URL for two streams", func(c *Config) { c.Streams, c.WHIP = 2, "http://h/whip" }, "-whip: needs {n}"},
		{"token with a blank", func(c *Config) { c.WHIPToken = "a b" }, "-whip-token: must be printable"},
		{"token with a line", func(c *Config) { c.WHEPToken = "a\n" }, "-whep-token: must be printable"},
		{"no stream", func(c *Config) { c.Streams = 0 }, "-streams: must be a number from 1"},
		{"streams", func(c *Config) { c.Streams = 1 << 20 }, "-streams: must be a number from 1"},
		{"no viewer", func(c *Config) { c.Viewers = 0 }, "-viewers: must be a positive number"},
		{"viewers", func(c *Config) { c.Streams, c.Viewers = 100, 1000 }, "-viewers: at most 63535 peers in all, got 100 × 1000"},
		{"viewers beyond reckoning", func(c *Config) { c.Streams, c.Viewers = 2, 1<<62 }, "-viewers: at most 63535 peers"},
		{"bit rate", func(c *Config) { c.Bitrate = 100 }, "-bitrate: must be between 20k and 1000M bits per second, got 100"},
		{"frames", func(c *Config) { c.FPS = 0 }, "-fps: must be 1 to 240"},
		{"keyframes", func(c *Config) { c.KeyframeInterval = time.Millisecond }, "-keyframe-interval: must be between 100ms and 1m, got 1ms"},
		{"codec", func(c *Config) { c.Codec = "av1" }, `-codec: must be h264 or vp8, got "av1"`},
		{"SRTP", func(c *Config) { c.SRTP = "none" }, `-srtp: must be auto, gcm or cm, got "none"`},
		{"rate", func(c *Config) { c.Rate = 0 }, "-rate: must be 0.1 to 10000 joins per second, got 0"},
		{"duration", func(c *Config) { c.Duration = 0 }, "-duration: must be between 100ms and 24h, got 0s"},
		{"voices", func(c *Config) { c.Voices = -1 }, "-voices: must be a number from 0 to 1000, got -1"},
		{"talking", func(c *Config) { c.Talking = -1 }, "-talking: must be"},
		{"quiet", func(c *Config) { c.Quiet = 128 }, "-quiet: must be a level from 0 to 127 -dBov, got 128"},
		{"one mix for two voices", func(c *Config) { c.Voices, c.VoiceWHEP = 2, "http://h/~mix" }, "-voice-whep: must look like"},
		{"process", func(c *Config) { c.PID = -1 }, "-pid: must be the server's process id, got -1"},
		{"burst", func(c *Config) { c.Bitrate, c.FPS = 1_000_000_000, 1 }, "-bitrate: a keyframe would have"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Defaults()
			tt.change(&c)
			if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	c := Defaults()
	c.Streams, c.WHIP, c.WHEP, c.WHIPToken, c.WHEPToken = 2, "http://h/whip", "http://h/whep", "cam{n}", "cam{n}"
	if err := c.Validate(); err != nil {
		t.Errorf("{n} in the tokens alone: %v", err)
	}
}
