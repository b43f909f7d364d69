package media

import (
	"math"
	"testing"
	"time"
)

func TestRate(t *testing.T) {
	var r Rate
	now := time.Unix(0, 0)
	if got := r.PerSecond(now); got != 0 {
		t.Errorf("before the first: %v", got)
	}
	for range 300 {
		r.Add(now, 2)
		now = now.Add(10 * time.Millisecond)
	}
	if got := r.PerSecond(now); math.Abs(got-200) > 4 {
		t.Errorf("got %v a second, want 200", got)
	}
	if got := r.PerSecond(now.Add(2 * time.Second)); got < 80 || got > 120 {
		t.Errorf("two seconds after the last: %v a second, want about half", got)
	}
	for _, d := range []time.Duration{5 * time.Second, time.Hour, 1000 * time.Hour} {
		if got := r.PerSecond(now.Add(d)); got != 0 {
			t.Errorf("%v after the last: %v a second, want 0", d, got)
		}
	}
	now = now.Add(2000 * time.Hour)
	for range 300 {
		r.Add(now, 1)
		now = now.Add(10 * time.Millisecond)
	}
	if got := r.PerSecond(now); got < 70 || got > 104 {
		t.Errorf("after a pause: %v a second, want nearly 100", got)
	}
}
