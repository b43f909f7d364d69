package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sightline/internal/bench"
)

// benchArgs loads the gateway for a moment.
func (g *running) benchArgs(more ...string) []string {
	return append([]string{"bench", "-whip", g.base + "/whip/bench/cam{n}", "-whep", g.base + "/whep/bench/cam{n}", "-duration", "1s"}, more...)
}

// expectNoSessions fails unless the gateway forgets all sessions.
func (g *running) expectNoSessions() {
	g.t.Helper()
	eventually(g.t, "all sessions are gone", func() bool {
		_, body := g.get("/metrics")
		left := false
		for line := range strings.Lines(body) {
			if strings.HasPrefix(line, "sightline_whip_sessions") || strings.HasPrefix(line, "sightline_whep_sessions") {
				left = left || !strings.HasSuffix(line, " 0\n")
			}
		}
		return !left && strings.Contains(body, "sightline_viewers 0")
	})
	if strings.Contains(g.said(), "cause=consent") {
		g.t.Error("a session ended for want of consent, not by DELETE")
	}
}

func TestBenchMeasuresTheGateway(t *testing.T) {
	for _, tt := range []struct {
		name             string
		args             []string
		streams, viewers int
		profile          string
	}{
		{"1x5 H.264, GCM", []string{"-viewers", "5", "-srtp", "gcm"}, 1, 5, "AEAD_AES_128_GCM"},
		{"2x3 VP8, AES-CM", []string{"-streams", "2", "-viewers", "3", "-codec", "vp8", "-srtp", "cm"}, 2, 6, "AES128_CM_HMAC_SHA1_80"},
		{"1x2 without sound", []string{"-viewers", "2", "-audio=false", "-bitrate", "500k"}, 1, 2, "AEAD_AES_128_GCM"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t)
			got := run(t, nil, "", g.benchArgs(append(tt.args, "-json")...)...)
			if got.code != 0 {
				t.Fatalf("exit code %d: %s", got.code, got.stderr)
			}
			r := decodeReport(t, got.stdout)
			if r.Streams != tt.streams || r.Viewers != tt.viewers || r.Joins.Asked != tt.streams+tt.viewers || r.Joins.Failed != 0 || r.Joins.Ended != 0 {
				t.Errorf("%d streams, %d viewers, joins %+v", r.Streams, r.Viewers, r.Joins)
			}
			if p := r.Packets; p.Lost != 0 || p.Received != p.Expected || p.Expected != p.Sent*uint64(tt.viewers/tt.streams) || p.Sent == 0 || p.Duplicated != 0 {
				t.Errorf("packets %+v, want all", p)
			}
			if f := r.Frames; f.Lost != 0 || f.Received != f.Expected || f.Sent == 0 {
				t.Errorf("frames %+v, want all", f)
			}
			if len(r.SRTPProfiles) != 1 || r.SRTPProfiles[tt.profile] != tt.viewers {
				t.Errorf("SRTP profiles %v, want %s", r.SRTPProfiles, tt.profile)
			}
			for name, w := range map[string]bench.Wait{"connected": r.Connected, "first packet": r.FirstPacket, "first keyframe": r.FirstKey} {
				if w.Viewers != tt.viewers || w.P50 <= 0 || w.Max < w.P50 {
					t.Errorf("%s: %+v", name, w)
				}
			}
			for name, d := range map[string]bench.Delay{"packets": r.Delay, "frames": r.FrameDelay} {
				if d.P50 <= 0 || d.P95 < d.P50 || d.P99 < d.P95 || d.Max < d.P99 {
					t.Errorf("delay of %s: %+v", name, d)
				}
			}
			if r.Generator.TagsWrong != 0 || r.Generator.KernelDropped != 0 || r.Generator.SendFailed != 0 || r.Server != nil {
				t.Errorf("generator %+v, server %+v", r.Generator, r.Server)
			}
			g.expectNoSessions()
		})
	}
}

// Voices publish sound and hear their own mix of the room.
func TestBenchMeasuresTheMix(t *testing.T) {
	g := start(t)
	got := run(t, nil, "", g.benchArgs("-viewers", "2", "-audio=false", "-bitrate", "500k", "-voices", "3", "-talking", "2",
		"-voice-whip", g.base+"/whip/bench/voice{n}", "-voice-whep", g.base+"/whep/bench/~mix?for=voice{n}", "-json")...)
	if got.code != 0 {
		t.Fatalf("exit code %d: %s", got.code, got.stderr)
	}
	r := decodeReport(t, got.stdout)
	if m := r.Mix; m == nil || m.Voices != 3 || m.Talking != 2 || m.Listeners != 3 || m.Lost != 0 || m.Gap.P50 < 10 || m.Gap.P50 > 100 {
		t.Fatalf("mix %+v", r.Mix)
	}
	// A packet every 20 ms to each, for a second or so; fewer where a mix under the race detector is late.
	if m := r.Mix; m.Received < 3*10 || m.Received > 3*100 || m.Bytes < 3*m.Received {
		t.Errorf("mix %+v, want about 150 packets", r.Mix)
	}
	if r.Joins.Asked != 1+2+3+3 || r.Joins.Failed != 0 || r.Packets.Lost != 0 || r.Generator.TagsWrong != 0 {
		t.Errorf("joins %+v, packets %+v, generator %+v", r.Joins, r.Packets, r.Generator)
	}
	g.expectNoSessions()
}

func decodeReport(t *testing.T, text string) (r bench.Report) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return r
}

func TestBenchEndsEarlyOnASignalAndReports(t *testing.T) {
	g := start(t)
	signals := make(chan os.Signal, 1)
	var stdout strings.Builder
	stderr := &notifying{word: "measuring", notify: func() { signals <- syscall.SIGINT }}
	p := &process{args: g.benchArgs("-viewers", "3", "-duration", "10m", "-json"), stdout: &stdout, stderr: stderr, signals: signals}
	began := time.Now()
	if code := p.run(t.Context()); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v", took)
	}
	r := decodeReport(t, stdout.String())
	if !r.EndedEarly || r.Viewers != 3 || r.Packets.Received == 0 || r.Packets.Received != r.Packets.Expected {
		t.Errorf("early %v, %d viewers, packets %+v", r.EndedEarly, r.Viewers, r.Packets)
	}
	g.expectNoSessions()
}

// A notifying writer tells once that a word was written.
type notifying struct {
	word   string
	notify func()
	once   sync.Once
}

func (w *notifying) Write(b []byte) (int, error) {
	if strings.Contains(string(b), w.word) {
		w.once.Do(w.notify)
	}
	return len(b), nil
}

func TestBenchReportsWhyJoinsFail(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"no such place", http.NotFound, "HTTP 404 Not Found: 404 page not found"},
		{"a problem", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"type":"about:blank","title":"Unauthorized","detail":"a token is needed"}`))
		}, "HTTP 401 Unauthorized: a token is needed"},
		{"no answer in it", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }, "the answer accepts none of the offered tracks"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(tt.answer)
			defer server.Close()
			args := []string{"bench", "-whip", server.URL, "-whep", server.URL, "-viewers", "2", "-rate", "1000", "-duration", "1s"}
			got := run(t, nil, "", args...)
			if got.code != 1 || !strings.Contains(got.stderr, "3 of 3 joins failed") {
				t.Errorf("got %d, %q, want 1 and the number", got.code, got.stderr)
			}
			if !strings.Contains(got.stdout, "1 × publish: "+tt.want) || !strings.Contains(got.stdout, "2 × play: its stream could not be published") {
				t.Errorf("nothing says %q in\n%s", tt.want, got.stdout)
			}
			r := decodeReport(t, run(t, nil, "", append(args, "-json")...).stdout)
			if r.Joins.Failed != 3 || len(r.Joins.Failures) != 2 {
				t.Errorf("joins %+v", r.Joins)
			}
		})
	}
}

func TestBenchOfViewersThatAreRefused(t *testing.T) {
	g := start(t)
	refused := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "full", http.StatusServiceUnavailable) }))
	defer refused.Close()
	got := run(t, nil, "", "bench", "-whip", g.base+"/whip/bench/cam{n}", "-whep", refused.URL, "-viewers", "2", "-duration", "1s")
	if got.code != 1 || !strings.Contains(got.stdout, "2 × play: HTTP 503 Service Unavailable: full") {
		t.Errorf("got %d, %s", got.code, got.stdout)
	}
	g.expectNoSessions()
}

// A server that is gone at the end keeps nobody waiting, and its sessions' URLs, which are
// secret, are not told.
func TestBenchSurvivesTheServer(t *testing.T) {
	g := start(t, "SIGHTLINE_SHUTDOWN_DRAIN_TIMEOUT=0s")
	var stdout strings.Builder
	stderr := &notifying{word: "measuring", notify: func() { g.signals <- syscall.SIGTERM }}
	p := &process{args: g.benchArgs("-viewers", "2", "-duration", "4s"), stdout: &stdout, stderr: stderr}
	if code := p.run(t.Context()); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	for _, want := range []string{"the server ended 3 sessions before the end", "3 sessions could not be deleted, only closed: dial tcp"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("nothing says %q in\n%s", want, stdout.String())
		}
	}
	if strings.Contains(stdout.String(), "/sessions/") {
		t.Errorf("a session's URL is told:\n%s", stdout.String())
	}
	g.wait()
}

func TestBenchRefusesBadFlags(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-bitrate fast", `invalid value "fast" for flag -bitrate: must be bits per second such as 2500000, 2500k or 2.5M`},
		{"-viewers 0 -codec av1", "bench: -viewers: must be a positive number of viewers of each stream, got 0; -codec: must be h264 or vp8"},
		{"-streams 2 -whip http://h/whip", "-whip: needs {n}"},
		{"-audio false", `unexpected argument "false"`},
	} {
		got := run(t, nil, "", append([]string{"bench"}, strings.Fields(tt.args)...)...)
		if got.code != 2 || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%s: got %d, %q, want 2 and %q", tt.args, got.code, got.stderr, tt.want)
		}
	}
	if got := run(t, nil, "", "bench", "-pid", "1073741824"); got.code != 1 || !strings.Contains(got.stderr, "-pid: ") {
		t.Errorf("a process that is not there: %d, %q", got.code, got.stderr)
	}
	if got := run(t, nil, "", "bench", "-h"); got.code != 0 || !strings.Contains(got.stdout, "docs/PERFORMANCE.md") {
		t.Errorf("-h: %d, %q", got.code, got.stdout)
	}
}

// docs/PERFORMANCE.md explains every figure of the report.
func TestPerformanceExplainsEveryFigure(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/PERFORMANCE.md"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(bench.Report{Server: &bench.Server{}, Mix: &bench.Mix{}, Joins: bench.Joins{Failures: []bench.Failure{{}}}})
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`"(\w+)":`).FindAllStringSubmatch(string(b), -1)
	if len(names) < 60 {
		t.Errorf("the report has %d names", len(names))
	}
	for _, m := range names {
		if !strings.Contains(string(text), "`"+m[1]+"`") {
			t.Errorf("docs/PERFORMANCE.md does not explain %s", m[1])
		}
	}
}
