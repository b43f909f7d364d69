//go:build soak

package soak

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"sightline/internal/e2e/process"

	"golang.org/x/sync/errgroup"
)

const (
	rounds  = 1000 // each a publisher and a viewer
	workers = 8
	names   = 3 // publishers that a worker uses in turn: some come back while their last session is still there
)

// A thousand publishers come and go, each with a viewer, and then a thousand more. Every second pair vanishes from the
// network without a DELETE or a close. Afterwards the server has as many goroutines and open files as before the first,
// and as many bytes of heap as between the two: Go never frees the descriptors of its goroutines, so that the most there
// ever were at once stay in the heap.
func TestSoak(t *testing.T) {
	s := &server{process.Start(t,
		"SIGHTLINE_HTTP_RATE_LIMIT=0", // all clients have one address
		"SIGHTLINE_LOG_LEVEL=warn",
	)}
	fresh := s.settled(t, reading{})
	t.Logf("before: %v", fresh)

	thousand := func(which string, want reading) reading {
		start := time.Now()
		run(t, s)
		t.Logf("after the %s %d publishers and %d viewers, in %v: %v", which, rounds, rounds, time.Since(start).Round(time.Second), s.read(t))
		s.awaitEmpty(t)
		r := s.settled(t, want)
		t.Logf("all gone, %v later: %v", time.Since(start).Round(time.Second), r)
		return r
	}
	first := thousand("first", reading{})
	fresh.heap = first.heap
	second := thousand("second", fresh)

	for _, r := range []struct {
		what             string
		got, want, slack int
	}{
		{"goroutines", second.goroutines, fresh.goroutines, slack.goroutines},
		{"open files", second.files, fresh.files, slack.files},
		{"bytes of heap", second.heap, fresh.heap, slack.heap},
	} {
		if r.got > r.want+r.slack {
			t.Errorf("%d %s afterwards, want %d as before, or %d more at most", r.got, r.what, r.want, r.slack)
		}
	}
	if t.Failed() {
		for _, profile := range []string{"goroutine", "heap"} {
			pprof := exec.Command("go", "tool", "pprof", "-top", "-nodecount=25", s.Debug+"/debug/pprof/"+profile)
			pprof.Env = append(os.Environ(), "PPROF_TMPDIR="+t.TempDir())
			out, err := pprof.CombinedOutput()
			t.Logf("%s: %v\n%s", profile, err, out)
		}
	}
}

// run does all rounds.
func run(t *testing.T, s *server) {
	t.Helper()
	g, ctx := errgroup.WithContext(t.Context())
	for w := range workers {
		g.Go(func() error {
			for i := w; i < rounds; i += workers {
				where := fmt.Sprintf("soak-%d/p%d", w, i/workers%names)
				if err := round(ctx, s.Base, where, i/2%2 == 1); err != nil {
					return fmt.Errorf("round %d, %s: %w", i, where, err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}
