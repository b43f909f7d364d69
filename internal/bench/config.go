package bench

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Config says what load to make.
type Config struct {
	// WHIP and WHEP are the endpoints; {n} in them and in the tokens is the stream's
	// number, from 0.
	WHIP, WHEP           string
	WHIPToken, WHEPToken string // bearer tokens; "" sends none

	Streams int
	Viewers int // of each stream

	Bitrate          Bitrate // of each stream's video
	FPS              int
	KeyframeInterval time.Duration
	Codec            string // "h264" or "vp8"
	Audio            bool   // Opus, 50 packets of 160 bytes a second

	// Voices publish Opus of 32 kbit/s to VoiceWHIP, and each plays what VoiceWHEP names.
	Voices               int
	Talking              int // of these, who speak; the others send the noise of their room
	Quiet                int // its level, in -dBov; 127: none at all
	VoiceWHIP, VoiceWHEP string

	SRTP     string  // what viewers offer: "auto", "gcm" or "cm"
	Rate     float64 // joins a second
	Duration time.Duration
	PID      int // of the server; 0: unknown
}

// Defaults returns a small load on a gateway of this machine.
func Defaults() Config {
	return Config{
		WHIP:    "http://127.0.0.1:8080/whip/bench/cam{n}",
		WHEP:    "http://127.0.0.1:8080/whep/bench/cam{n}",
		Streams: 1, Viewers: 10,
		Bitrate: 2_500_000, FPS: 30, KeyframeInterval: 2 * time.Second, Codec: "h264", Audio: true,
		Talking: 3, Quiet: 127,
		VoiceWHIP: "http://127.0.0.1:8080/whip/bench/voice{n}",
		VoiceWHEP: "http://127.0.0.1:8080/whep/bench/~mix?for=voice{n}",
		SRTP:      "auto", Rate: 50, Duration: 10 * time.Second,
	}
}

const (
	maxStreams = 1 << 14 // what a marker has room for
	maxPeers   = 1 << 16 // what the addresses on loopback have room for
	maxVoices  = 1000
)

// Validate reports everything that is wrong; each error begins with its flag.
func (c Config) Validate() error {
	var errs []error
	bad := func(flag, format string, args ...any) {
		errs = append(errs, fmt.Errorf("-%s: %w", flag, fmt.Errorf(format, args...)))
	}
	type endpoint struct{ flag, endpoint, token string }
	isURL := func(s string) bool {
		u, err := url.Parse(numbered(s, 0))
		return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
	}
	for _, e := range []endpoint{{"whip", c.WHIP, c.WHIPToken}, {"whep", c.WHEP, c.WHEPToken}} {
		if !isURL(e.endpoint) {
			bad(e.flag, "must look like \"http://127.0.0.1:8080/%s/bench/cam{n}\", got %q", e.flag, e.endpoint)
		} else if c.Streams > 1 && !strings.Contains(e.endpoint+e.token, "{n}") {
			bad(e.flag, "needs {n}, the stream's number, in the URL or its token for -streams %d, got %q", c.Streams, e.endpoint)
		}
		if strings.ContainsFunc(e.token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			bad(e.flag+"-token", "must be printable ASCII without blanks (RFC 6750)")
		}
	}
	for _, e := range []endpoint{{"voice-whip", c.VoiceWHIP, Defaults().VoiceWHIP}, {"voice-whep", c.VoiceWHEP, Defaults().VoiceWHEP}} {
		if c.Voices > 0 && (!isURL(e.endpoint) || c.Voices > 1 && !strings.Contains(e.endpoint, "{n}")) {
			bad(e.flag, "must look like %q, got %q", e.token, e.endpoint)
		}
	}
	if c.Voices < 0 || c.Voices > maxVoices {
		bad("voices", "must be a number from 0 to %d, got %d", maxVoices, c.Voices)
	}
	if c.Talking < 0 {
		bad("talking", "must be the number of voices who speak, got %d", c.Talking)
	}
	if c.Quiet < 0 || c.Quiet > 127 {
		bad("quiet", "must be a level from 0 to 127 -dBov, got %d", c.Quiet)
	}
	if c.Streams < 1 || c.Streams > maxStreams {
		bad("streams", "must be a number from 1 to %d, got %d", maxStreams, c.Streams)
	}
	if c.Viewers < 1 {
		bad("viewers", "must be a positive number of viewers of each stream, got %d", c.Viewers)
	} else if c.Streams > 0 && (c.Viewers >= maxPeers || c.Streams*(c.Viewers+1)+2*maxVoices >= maxPeers) {
		bad("viewers", "at most %d peers in all, got %d × %d", maxPeers-2*maxVoices-1, c.Streams, c.Viewers)
	}
	if c.Bitrate < 20_000 || c.Bitrate > 1_000_000_000 {
		bad("bitrate", "must be between 20k and 1000M bits per second, got %s", c.Bitrate)
	}
	if c.FPS < 1 || c.FPS > 240 {
		bad("fps", "must be 1 to 240 frames per second, got %d", c.FPS)
	}
	if c.KeyframeInterval < 100*time.Millisecond || c.KeyframeInterval > time.Minute {
		bad("keyframe-interval", "must be between 100ms and 1m, got %v", c.KeyframeInterval)
	}
	if c.Codec != "h264" && c.Codec != "vp8" {
		bad("codec", "must be h264 or vp8, got %q", c.Codec)
	}
	if c.SRTP != "auto" && c.SRTP != "gcm" && c.SRTP != "cm" {
		bad("srtp", "must be auto, gcm or cm, got %q", c.SRTP)
	}
	if !(c.Rate >= 0.1 && c.Rate <= 10_000) {
		bad("rate", "must be 0.1 to 10000 joins per second, got %g", c.Rate)
	}
	if c.Duration < 100*time.Millisecond || c.Duration > 24*time.Hour {
		bad("duration", "must be between 100ms and 24h, got %v", c.Duration)
	}
	if c.PID < 0 {
		bad("pid", "must be the server's process id, got %d", c.PID)
	}
	if len(errs) == 0 {
		if n := c.sizes().cells(true); n > maxBurst {
			bad("bitrate", "a keyframe would have %d packets, at most %d are sent at once: lower -bitrate or raise -fps", n, maxBurst)
		}
	}
	return errors.Join(errs...)
}

// numbered puts the stream's number in.
func numbered(s string, n int) string { return strings.ReplaceAll(s, "{n}", strconv.Itoa(n)) }

// A Bitrate is in bits per second. It is a flag.Value.
type Bitrate int

func (b Bitrate) String() string {
	switch {
	case b >= 1_000_000 && b%100_000 == 0:
		return strconv.FormatFloat(float64(b)/1e6, 'f', -1, 64) + "M"
	case b >= 1000 && b%100 == 0:
		return strconv.FormatFloat(float64(b)/1e3, 'f', -1, 64) + "k"
	}
	return strconv.Itoa(int(b))
}

// Set reads "2500000", "2500k" or "2.5M".
func (b *Bitrate) Set(s string) error {
	number, unit := s, 1.0
	if n := len(s); n > 0 {
		switch s[n-1] {
		case 'k', 'K':
			number, unit = s[:n-1], 1e3
		case 'm', 'M':
			number, unit = s[:n-1], 1e6
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v > 0 && v*unit < 1e12) {
		return errors.New("must be bits per second such as 2500000, 2500k or 2.5M")
	}
	*b = Bitrate(v * unit)
	return nil
}
