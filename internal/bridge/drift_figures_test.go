//go:build figures

package bridge

import (
	"slices"
	"testing"
	"time"
)

// TestClocksMayDriftForTenMinutes is the long form of TestEverybodyHearsAllOthersAndNotHimself.
func TestClocksMayDriftForTenMinutes(t *testing.T) {
	run(t, nil, func(h *hall) {
		all := []string{"console", "desk", "gantry"}
		ears := map[string]*ear{}
		for i, name := range all {
			ears[name] = h.listen(ListenRequest{Room: "mri-2", For: name})
			defer h.publish("mri-2", name, "", tones[name], float64(i-1)*200).stop()
		}
		pure := h.listen(ListenRequest{Room: "mri-2"})
		ears[""] = pure
		var most time.Duration
		for minute := range 10 {
			time.Sleep(time.Minute)
			for name, e := range ears {
				others := slices.DeleteFunc(slices.Clone(all), func(o string) bool { return o == name })
				check(t, name, e.hear(), others, name)
				if e.gaps > 0 {
					t.Errorf("%q: %d gaps", name, e.gaps)
				}
			}
			for _, s := range h.bridge.Snapshot().Speakers {
				t.Logf("minute %d: %s is %v behind, %d samples left out, %d added", minute+1, s.Publisher, s.Stats.Delay, s.Stats.Compressed, s.Stats.Stretched)
				most = max(most, s.Stats.Delay)
			}
		}
		if most > 45*time.Millisecond {
			t.Errorf("a speaker is %v behind, want no more than a packet, a tick and the margin", most)
		}
		for _, e := range ears {
			e.stop()
		}
	})
}
