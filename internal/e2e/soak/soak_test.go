//go:build soak

package soak

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sightline/internal/freeport"
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
	s := startServer(t)
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
			pprof := exec.Command("go", "tool", "pprof", "-top", "-nodecount=25", s.debug+"/debug/pprof/"+profile)
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
				if err := round(ctx, s.base, where, i/2%2 == 1); err != nil {
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

// startServer builds the server and starts it as a process of its own.
func startServer(t *testing.T) *server {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "sightline")
	if out, err := exec.Command("go", "build", "-o", binary, "sightline/cmd/sightline").CombinedOutput(); err != nil {
		t.Fatalf("build the server: %v\n%s", err, out)
	}
	listen, debug := freeport.Address(t), freeport.Address(t)
	log := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(binary, "serve")
	// What configures a gateway of whoever runs this is none of the tests' business.
	mine := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "SIGHTLINE_") })
	cmd.Env = append(mine,
		"SIGHTLINE_HTTP_LISTEN="+listen,
		"SIGHTLINE_HTTP_RATE_LIMIT=0", // all clients have one address
		"SIGHTLINE_ICE_UDP_LISTEN="+freeport.Address(t),
		"SIGHTLINE_METRICS_DEBUG_LISTEN="+debug,
		"SIGHTLINE_LOG_LEVEL=warn",
	)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server's end: %v", err)
		}
		if t.Failed() {
			said, _ := os.ReadFile(log)
			t.Logf("the server said at last:\n%s", said[max(0, len(said)-4096):])
		}
	})
	s := &server{base: "http://" + listen, debug: "http://" + debug, pid: cmd.Process.Pid}
	s.awaitReady(t)
	return s
}
