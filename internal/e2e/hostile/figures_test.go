//go:build linux && figures

package hostile

import (
	"testing"
	"time"
)

// Ten quiet seconds, then thirty under attack, and what is left afterwards.
func TestThirtySecondsOfAttack(t *testing.T) {
	const lasts, forgets = 30 * time.Second, 25 * time.Second
	s := startServer(t)
	s.try(t, 3*time.Second, nil) // warms up
	quiet := s.try(t, 10*time.Second, nil)
	t.Logf("quiet:  %v", quiet)
	r := s.try(t, lasts, &full)
	t.Logf("attack: %v", r)
	judge(t, r, full, lasts)
	time.Sleep(forgets) // ice.check_timeout, and rooms.grace of those who joined
	after := s.metrics(t)
	for _, name := range []string{"go_goroutines", "process_open_fds", "go_memstats_heap_inuse_bytes", "process_resident_memory_bytes"} {
		t.Logf("%-30s %12.0f quiet %12.0f under attack %12.0f afterwards", name, quiet.after[name], r.after[name], after[name])
	}
	if got, want := after["go_goroutines"], quiet.after["go_goroutines"]+30; got > want {
		t.Errorf("%.0f goroutines are left, want %.0f at most", got, want)
	}
	if got, want := after["process_open_fds"], quiet.after["process_open_fds"]+10; got > want {
		t.Errorf("%.0f open files are left, want %.0f at most", got, want)
	}
}
