//go:build linux && figures

package hostile

import (
	"testing"
	"time"
)

// Ten quiet seconds, then thirty under attack, and what is left afterwards.
func TestThirtySecondsOfAttack(t *testing.T) {
	const lasts = 30 * time.Second
	s := startServer(t, "")
	s.try(t, 3*time.Second, nil) // warms up
	quiet := s.try(t, 10*time.Second, nil)
	before := s.heap(t)
	t.Logf("quiet:  %v", quiet)
	r := s.try(t, lasts, &full)
	t.Logf("attack: %v", r)
	judge(t, r, full, lasts)
	during := s.heap(t)
	s.forgets(t)
	after := s.metrics(t)
	left := s.heap(t)
	for _, name := range []string{"go_goroutines", "process_open_fds", "process_resident_memory_bytes"} {
		t.Logf("%-30s %12.0f quiet %12.0f under attack %12.0f afterwards", name, quiet.after[name], r.after[name], after[name])
	}
	t.Logf("heap in use, after a collection: %d KiB quiet, %d under attack, %d afterwards", before>>10, during>>10, left>>10)
	judgeHeap(t, before, left)
	if got, want := after["go_goroutines"], quiet.after["go_goroutines"]+30; got > want {
		t.Errorf("%.0f goroutines are left, want %.0f at most", got, want)
	}
	if got, want := after["process_open_fds"], quiet.after["process_open_fds"]+10; got > want {
		t.Errorf("%.0f open files are left, want %.0f at most", got, want)
	}
}

// Each flood of HTTP/2 by itself, of four connections, and of a hundred that take no answers.
func TestAttackByHTTP2(t *testing.T) {
	const lasts = 8 * time.Second
	s := startTLS(t)
	s.try(t, 3*time.Second, nil) // warms up
	t.Logf("quiet: %v", s.try(t, lasts, nil))
	for _, f := range floods {
		flooders := 4
		if f.shut {
			flooders = 100
		}
		r := s.tryFlood(t, lasts, flooders, 0, f.name)
		t.Logf("%s: %v", f.name, r)
		judgeFlood(t, r, lasts, f.name)
	}
}
