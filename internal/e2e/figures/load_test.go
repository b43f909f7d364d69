//go:build figures

package figures

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sightline/internal/bench"
	"sightline/internal/e2e/process"
)

const (
	voices = 50 // who publish sound and listen, in one room
	window = 30 * time.Second

	// quiet is how much of a processor others may use, in percent, for the figures to count.
	quiet = 15
)

// Fifty publishers, of whom each hears all others, and beside them a video of 2.5 Mbit/s with
// five viewers. The server is a process of its own and shares all processors of this machine
// with who makes the load. In turn, each listens to his mix ("on") and to the sound of his
// own as it is forwarded ("off"): the same number of packets, and no mixing.
func TestFiftySpeakers(t *testing.T) {
	s := &server{process.Start(t,
		"SIGHTLINE_HTTP_RATE_LIMIT=0", // all clients have one address
		"SIGHTLINE_ROOMS_MAX_PUBLISHERS=100",
		"SIGHTLINE_LOG_LEVEL=warn",
	)}
	for _, tt := range []struct {
		name    string
		talking int
		quiet   int // -dBov of the others' rooms
	}{
		{"all speak at once", voices, 127},
		{"three speak, the others are muted", 3, 127},
		{"three speak, the others' rooms are noisy", 3, 70},
	} {
		t.Run(tt.name, func(t *testing.T) {
			off := s.load(t, tt.talking, tt.quiet, "/whep/bench/voice{n}/audio")
			on := s.load(t, tt.talking, tt.quiet, "/whep/bench/~mix?for=voice{n}")
			t.Logf("%-4s %v", "off", off)
			t.Logf("%-4s %v", "on", on)
			t.Logf("bridge: %.0f ticks, %.0f overruns (%.3f %%), %.0f left out; %.1f ms busy of each 20; %.0f mixes",
				on.ticks, on.overruns, 100*on.overruns/on.ticks, on.skipped, 1000*on.busy/on.ticks, on.mixes)
			if on.strangers > quiet || off.strangers > quiet {
				t.Fatalf("others on this machine used %.0f and %.0f %% of a processor, more than %d: nothing can be judged, run it again alone", off.strangers, on.strangers, quiet)
			}
			if on.ticks < 1000 || on.overruns+on.skipped > on.ticks/1000 {
				t.Errorf("%.0f of %.0f frames were late and %.0f left out, want 0.1 %% at most", on.overruns, on.ticks, on.skipped)
			}
			if on.Delay.P50 > off.Delay.P50+0.3 {
				t.Errorf("the video's delay is %.2f ms (p50) with the bridge and %.2f without", on.Delay.P50, off.Delay.P50)
			}
		})
	}
}

// A loaded is what one load did.
type loaded struct {
	*bench.Report
	ticks, overruns, skipped, busy, mixes float64
	forwarding                            [2]time.Duration // p50 and p99 of all tracks, as the server has it
	server                                float64          // percent of a processor
	strangers                             float64
}

func (l loaded) String() string {
	return fmt.Sprintf("video p50 %.2f p99 %.2f max %.2f ms, lost %d; forwarding p50 < %v p99 < %v; sound every p50 %.1f p99 %.1f max %.1f ms, lost %d; server %.0f %% of a processor, generator %.0f %%, others %.0f %%",
		l.Delay.P50, l.Delay.P99, l.Delay.Max, l.Packets.Lost, l.forwarding[0], l.forwarding[1],
		l.Mix.Gap.P50, l.Mix.Gap.P99, l.Mix.Gap.Max, l.Mix.Lost, l.server, l.Generator.CPUPercent, l.strangers)
}

// load makes the load once, and reads the server's metrics at both ends of the window.
func (s *server) load(t *testing.T, talking, level int, listen string) loaded {
	t.Helper()
	c := bench.Defaults()
	c.WHIP, c.WHEP = s.Base+"/whip/bench/cam{n}", s.Base+"/whep/bench/cam{n}"
	c.Audio, c.Viewers, c.Duration, c.PID = false, 5, window, s.PID
	c.Voices, c.Talking, c.Quiet = voices, talking, level
	c.VoiceWHIP, c.VoiceWHEP = s.Base+"/whip/bench/voice{n}", s.Base+listen
	var first, last map[string]float64
	var others func() float64
	var l loaded
	var began time.Time
	var cpu time.Duration
	report, err := bench.Run(t.Context(), c, func(p bench.Progress) {
		if p.Phase != "measuring" {
			return
		}
		now, err := s.Metrics()
		if err != nil {
			t.Error(err)
			return
		}
		if first == nil {
			first, others, began, cpu = now, watchStrangers(s.PID), time.Now(), processCPU(s.PID)
			return
		}
		last, l.strangers = now, others()
		l.server = 100 * (processCPU(s.PID) - cpu).Seconds() / time.Since(began).Seconds()
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Failed(); err != nil {
		t.Fatalf("%v: %v", err, report.Joins.Failures)
	}
	for _, w := range report.Warnings {
		t.Logf("WARNING: %s", w)
	}
	l.Report = report
	grown := func(name string) float64 { return last[name] - first[name] }
	l.ticks, l.overruns = grown("sightline_bridge_ticks_total"), grown("sightline_bridge_tick_overruns_total")
	l.skipped, l.busy = grown("sightline_bridge_skipped_frames_total"), grown("sightline_bridge_busy_seconds_total")
	l.mixes = last["sightline_bridge_mixes"]
	l.forwarding = [2]time.Duration{bucket(first, last, 0.5), bucket(first, last, 0.99)}
	return l
}

// bucket returns the upper bound of the bucket of sightline_forwarding_delay_seconds in which
// the quantile is, of what came between two readings.
func bucket(first, last map[string]float64, q float64) time.Duration {
	const prefix = `sightline_forwarding_delay_seconds_bucket{le="`
	type bound struct{ le, n float64 }
	var bounds []bound
	for name, value := range last {
		if text, ok := strings.CutPrefix(name, prefix); ok {
			if le, err := strconv.ParseFloat(strings.TrimSuffix(text, `"}`), 64); err == nil {
				bounds = append(bounds, bound{le, value - first[name]})
			}
		}
	}
	slices.SortFunc(bounds, func(a, b bound) int { return cmp.Compare(a.le, b.le) })
	all := last["sightline_forwarding_delay_seconds_count"] - first["sightline_forwarding_delay_seconds_count"]
	for _, b := range bounds {
		if b.n >= q*all {
			if b.le > 1 {
				break
			}
			return time.Duration(b.le * float64(time.Second))
		}
	}
	return time.Hour
}

// A server is the real one, in a process of its own.
type server struct{ *process.Server }
