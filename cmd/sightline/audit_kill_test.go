package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"sightline/internal/audit"
	"sightline/internal/bench"
	"sightline/internal/demo"
)

// A child is a gateway in a process of its own.
type child struct {
	base string
	cmd  *exec.Cmd

	mu    sync.Mutex // guards what follows
	said  strings.Builder
	facts []fact
	read  sync.WaitGroup
}

// A fact is something that the gateway has said in its own log, which the audit log has to
// have, too.
type fact struct {
	at    time.Time
	what  audit.What
	phase audit.Phase
	id    string // of the session or the participant
}

var (
	saidTime  = regexp.MustCompile(`^time=(\S+) `)
	saidHTTP  = regexp.MustCompile(`msg="http listens" addr=(\S+)`)
	saidEvent = regexp.MustCompile(`msg="(publisher|viewer|participant) (connected|entered|left)".*? (?:session|participant)=(\S+)`)
	saidMix   = regexp.MustCompile(` publisher=~mix `)
)

// killable starts a gateway as a process, and waits until it listens.
func killable(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	c := &child{cmd: cmd}
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr := make(chan string, 1)
	c.read.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.note(lines.Text())
			if m := saidHTTP.FindStringSubmatch(lines.Text()); m != nil {
				addr <- m[1]
			}
		}
		close(addr)
	})
	t.Cleanup(c.kill)
	select {
	case a, ok := <-addr:
		if !ok {
			t.Fatalf("the gateway did not come up:\n%s", c.log())
		}
		c.base = "http://" + a
	case <-time.After(20 * time.Second):
		t.Fatalf("the gateway does not listen:\n%s", c.log())
	}
	return c
}

func (c *child) note(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said.WriteString(line + "\n")
	stamp, m := saidTime.FindStringSubmatch(line), saidEvent.FindStringSubmatch(line)
	if stamp == nil || m == nil {
		return
	}
	at, err := time.Parse(time.RFC3339Nano, stamp[1])
	if err != nil {
		return
	}
	f := fact{at: at, id: m[3]}
	switch {
	case m[1] == "participant" && m[2] == "entered":
		f.what = audit.Entered
	case m[1] == "participant":
		f.what = audit.Left
	case m[1] == "publisher":
		f.what = audit.Published
	case saidMix.MatchString(line):
		f.what = audit.Heard
	default:
		f.what = audit.Watched
	}
	if m[1] != "participant" {
		f.phase = map[string]audit.Phase{"connected": audit.Began, "left": audit.Ended}[m[2]]
	}
	c.facts = append(c.facts, f)
}

func (c *child) log() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said.String()
}

// kill is kill -9, and waits for the end. It may be called again.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	c.read.Wait() // before Wait: it closes the pipe
	_ = c.cmd.Wait()
}

// load gives a gateway sessions, participants and guesses until ctx is done: cameras that come
// back, viewers and listeners that come and go, people who enter and leave.
func load(ctx context.Context, base string) (wait func()) {
	var wg sync.WaitGroup
	quiet := slog.New(slog.DiscardHandler)
	wg.Go(func() { _ = demo.Run(ctx, base, "", quiet) })
	wg.Go(func() {
		c := bench.Defaults()
		c.WHIP, c.WHEP = base+"/whip/bench/cam{n}", base+"/whep/bench/cam{n}/video"
		c.Streams, c.Viewers, c.Rate, c.Duration, c.Bitrate = 2, 6, 20, 200*time.Millisecond, 200_000
		for ctx.Err() == nil {
			_, _ = bench.Run(ctx, c, func(bench.Progress) {}) // fails when the gateway dies
		}
	})
	for i := range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				comeAndGo(ctx, base, i)
			}
		})
	}
	return wg.Wait
}

// comeAndGo enters a room, leaves it, and guesses a session.
func comeAndGo(ctx context.Context, base string, i int) {
	ask := func(method, url, body string) *http.Response {
		req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
		if err != nil {
			return nil
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			return nil
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		return res
	}
	if res := ask("POST", fmt.Sprintf("%s/api/rooms/room-%d/participants", base, i), `{"name": "somebody"}`); res != nil {
		ask("DELETE", res.Header.Get("Location"), "")
	}
	select {
	case <-ctx.Done():
	case <-time.After(5 * time.Millisecond): // of load
	}
}

// surviveKills kills a gateway under load n times. Each time its log verifies as it was left, has all
// that was a second old, and is written on.
func surviveKills(t *testing.T, n int) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	seen, facts, missing, lines := 0, 0, 0, uint64(0)
	var worst time.Duration
	for i := range n {
		cmd := exec.Command(program, "serve")
		cmd.Env = append(os.Environ(), beSightline+"=1", "SIGHTLINE_HTTP_LISTEN=127.0.0.1:0", "SIGHTLINE_ICE_UDP_LISTEN=127.0.0.1:0",
			"SIGHTLINE_HTTP_RATE_LIMIT=0", "SIGHTLINE_AUDIT_FILE="+path, "SIGHTLINE_AUDIT_MAX_SIZE=65536", "SIGHTLINE_AUDIT_KEEP=0")
		c := killable(t, cmd)
		ctx, cancel := context.WithCancel(t.Context())
		wait := load(ctx, c.base)
		time.Sleep(1200*time.Millisecond + rand.N(800*time.Millisecond)) // real time: anywhere in what it does
		killed := time.Now()
		c.kill()
		cancel()
		wait()

		report, err := audit.Check{}.Verify(path)
		if err != nil || len(report.Problems) > 0 {
			t.Fatalf("kill %d: the log does not verify: %v, %v", i, err, report.Problems)
		}
		if report.Lines < lines {
			t.Fatalf("kill %d: %d lines, there were %d", i, report.Lines, lines)
		}
		lines = report.Lines
		all := auditLines(t, path)
		there := make(map[fact]bool)
		for _, e := range all[seen:] {
			there[fact{what: e.What, phase: e.Phase, id: e.Session + e.Participant}] = true
			if e.Participant != "" && e.Session != "" {
				there[fact{what: e.What, phase: e.Phase, id: e.Session}] = true
			}
		}
		seen = len(all)
		facts += len(c.facts)
		for _, f := range c.facts {
			if there[fact{what: f.what, phase: f.phase, id: f.id}] {
				continue
			}
			missing++
			age := killed.Sub(f.at)
			worst = max(worst, age)
			if age > time.Second {
				t.Errorf("kill %d: %s %s of %s, %v before it, is missing", i, f.what, f.phase, f.id, age)
			}
		}
	}
	parts, err := filepath.Glob(path + ".0*")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d kills: %d lines in %d files verify; of %d events %d are missing, the oldest from %v before its kill",
		n, lines, len(parts)+1, facts, missing, worst.Round(time.Millisecond))
	if facts < 50*n {
		t.Errorf("%d events in %d runs: that is no load", facts, n)
	}
}

func TestAuditLogSurvivesKills(t *testing.T) { surviveKills(t, 4) }
