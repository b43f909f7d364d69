//go:build linux

package hostile

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"sightline/internal/bench"
)

func TestMain(m *testing.M) {
	if told, err := attackIfTold(); told {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// full is the attack of the figures; a test of some seconds makes the same one.
var full = attack{HalfOpen: 200, Datagrams: 20_000, Slow: 100, Guesses: 500}

// A trial is what a viewer and those who join had of a while.
type trial struct {
	*bench.Report
	joins   joins
	dropped int     // datagrams, by the kernel at the server's socket
	others  float64 // percent of a processor, of processes that are none of ours
	toll    *toll
	before  map[string]float64 // metrics
	after   map[string]float64
}

// joins are those of a publisher and a viewer of his, once a second.
type joins struct {
	asked, succeeded int
	took             []float64 // milliseconds until a viewer was connected
	failures         map[string]int
}

func (t *trial) String() string {
	slices.Sort(t.joins.took)
	median, slowest := 0.0, 0.0
	if n := len(t.joins.took); n > 0 {
		median, slowest = t.joins.took[n/2], t.joins.took[n-1]
	}
	return fmt.Sprintf("frames %d of %d, lost %d; frame delay p50 %.1f p99 %.1f max %.1f ms; packets lost %d of %d; "+
		"joins %d of %d, p50 %.0f max %.0f ms; server %.0f %% of a processor, %d MiB resident; generator %.0f %%, late p99 %.1f max %.1f ms; "+
		"dropped by the kernel: %d at the server, %d at the viewer; others used %.0f %% of a processor",
		t.Frames.Received, t.Frames.Expected, t.Frames.Lost, t.FrameDelay.P50, t.FrameDelay.P99, t.FrameDelay.Max,
		t.Packets.Lost, t.Packets.Expected, t.joins.succeeded, t.joins.asked, median, slowest,
		t.Server.CPUPercent, t.Server.MemoryKiB>>10, t.Generator.CPUPercent, t.Generator.SendLagP99MS, t.Generator.SendLagMaxMS,
		t.dropped, t.Generator.KernelDropped, t.others)
}

// shortOfCPU tells whether datagrams were lost where nobody but the scheduler is to blame.
func (t *trial) shortOfCPU() bool {
	return t.dropped > 0 || t.Generator.KernelDropped > 0 || t.Generator.SendFailed > 0
}

// try watches a live stream of 720p for a while, lets others join, and attacks if told to.
func (s *server) try(t *testing.T, lasts time.Duration, a *attack) *trial {
	t.Helper()
	r := &trial{before: s.metrics(t), joins: joins{failures: make(map[string]int)}}
	dropped, strangers, began := s.dropped(t), s.strangers(t), time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var beside sync.WaitGroup
	begin := sync.OnceFunc(func() {
		beside.Go(func() { r.joins.run(ctx, s, lasts) })
		if a != nil {
			beside.Go(func() { r.toll = s.attack(t, *a, lasts) })
		}
	})
	c := s.load("mri-2")
	c.Bitrate, c.FPS, c.Duration, c.PID = 2_500_000, 30, lasts+2*time.Second, s.PID
	var err error
	r.Report, err = bench.Run(t.Context(), c, func(p bench.Progress) {
		if a != nil && testing.Verbose() {
			t.Logf("%4.1f s: %-9s p99 %.0f ms, server %.0f %%", p.Elapsed.Seconds(), p.Phase, p.DelayP99.Seconds()*1000, p.ServerCPU)
		}
		if p.Phase == "measuring" {
			begin()
		}
	})
	cancel()
	beside.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Failed(); err != nil {
		t.Fatalf("the live stream: %v: %v", err, r.Joins.Failures)
	}
	r.dropped = s.dropped(t) - dropped
	r.others = max(0, 100*(s.strangers(t)-strangers).Seconds()/time.Since(began).Seconds())
	r.after = s.metrics(t)
	return r
}

// load returns a stream with one viewer in a room.
func (s *server) load(room string) bench.Config {
	c := bench.Defaults()
	c.WHIP, c.WHEP = s.Base+"/whip/"+room+"/cam{n}", s.Base+"/whep/"+room+"/cam{n}"
	c.WHIPToken, c.WHEPToken = hospitalToken, hospitalToken
	c.Streams, c.Viewers = 1, 1
	return c
}

// run joins once a second.
func (j *joins) run(ctx context.Context, s *server, lasts time.Duration) {
	var mu sync.Mutex
	var all sync.WaitGroup
	defer all.Wait()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for n := range int(lasts / time.Second) {
		all.Go(func() {
			c := s.load(fmt.Sprintf("join-%d", n%10))
			c.Bitrate, c.Audio, c.Duration = 100_000, false, 100*time.Millisecond
			r, err := bench.Run(context.WithoutCancel(ctx), c, func(bench.Progress) {})
			mu.Lock()
			defer mu.Unlock()
			if j.asked += 2; err != nil {
				j.failures[err.Error()] += 2
				return
			}
			j.succeeded += r.Joins.Succeeded
			for _, f := range r.Joins.Failures {
				j.failures[f.Reason] += f.Count
			}
			if r.Connected.Viewers == 1 {
				j.took = append(j.took, r.Connected.Max)
			}
		})
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// attack runs the attacker's process.
func (s *server) attack(t *testing.T, a attack, lasts time.Duration) *toll {
	a.Base, a.Media, a.Offer, a.Lasts = s.Base, s.Media, offer(t), lasts
	for i := range leakedTokens {
		a.Tokens = append(a.Tokens, leakedToken(i))
	}
	text, err := json.Marshal(a)
	if err != nil {
		t.Error(err)
		return nil
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), attackVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("the attacker: %v", err)
		return nil
	}
	paid := new(toll)
	if err := json.Unmarshal(out, paid); err != nil {
		t.Errorf("the attacker: %v: %s", err, out)
		return nil
	}
	return paid
}

var candidateLine = regexp.MustCompile(`(?m)^a=candidate:.*\n`)

// offer is one of a browser, with candidates at which nobody listens.
func offer(t *testing.T) string {
	raw, err := os.ReadFile("../../sdp/testdata/offers/chromium-156-whip-h264.sdp")
	if err != nil {
		t.Error(err)
		return ""
	}
	text := candidateLine.ReplaceAllString(string(raw), "")
	for i := range 4 {
		text += fmt.Sprintf("a=candidate:%d 1 udp 2130706431 %v %d typ host\r\n", i+1, attacker(2, 0), 4000+i)
	}
	return text
}

// judge fails the test for what an attack must not do.
func judge(t *testing.T, r *trial, a attack, lasts time.Duration) {
	t.Helper()
	if r.toll == nil {
		return
	}
	t.Logf("the attacker sent %d datagrams and had: offers %v, guesses %v, slow bodies %v", r.toll.Datagrams, r.toll.Offers, r.toll.Guesses, r.toll.Slow)
	grown := func(name string) int { return int(r.after[name] - r.before[name]) }
	t.Logf("refused: rate %d, wrong tokens %d, body timeout %d, half-open that gave way %d and %d; datagrams of nobody's %d; %d sessions without a check",
		grown(`sightline_limit_refusals_total{limit="http.rate_limit"}`), grown(`sightline_limit_refusals_total{limit="http.max_wrong_tokens"}`),
		grown(`sightline_limit_refusals_total{limit="http.body_timeout"}`), grown(`sightline_limit_refusals_total{limit="http.max_setups_per_address"}`),
		grown(`sightline_limit_refusals_total{limit="http.max_setups"}`), grown("sightline_udp_unknown_datagrams_total"),
		grown(`sightline_sessions_ended_total{cause="unreached"}`))

	// It was the attack that it was meant to be.
	seconds := int(lasts / time.Second)
	if want := a.Datagrams * seconds / 2; r.toll.Datagrams < want {
		t.Errorf("the attacker sent %d datagrams, want %d at least", r.toll.Datagrams, want)
	}
	if got := grown("sightline_udp_unknown_datagrams_total"); got+r.dropped < r.toll.Datagrams*9/10 {
		t.Errorf("%d datagrams of nobody's are counted, %d were sent", got, r.toll.Datagrams)
	}
	if want := a.HalfOpen * seconds / 2; r.toll.Offers[201] < want {
		t.Errorf("%v offers were answered, want %d at least with 201", r.toll.Offers, want)
	}
	if got := r.toll.Guesses; got[401] == 0 || got[429] < got[401] || got[401]+got[429] < a.Guesses*seconds/2 {
		t.Errorf("guesses were answered %v, want some 401, then 429", got)
	}

	if r.joins.succeeded != r.joins.asked || r.joins.asked < 2*seconds-4 {
		t.Errorf("%d of %d joins succeeded: %v", r.joins.succeeded, r.joins.asked, r.joins.failures)
	}
	switch {
	case r.Frames.Lost == 0:
	case r.shortOfCPU():
		t.Logf("frames were lost for want of CPU: see what the kernel dropped")
	default:
		t.Errorf("the viewer lost %d of %d frames", r.Frames.Lost, r.Frames.Expected)
	}
	if r.Report.Joins.Ended != 0 {
		t.Errorf("%d live sessions were ended", r.Report.Joins.Ended)
	}
}

// forgets waits until the server has no session and no room left.
func (s *server) forgets(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		m, sessions := s.metrics(t), 0.0
		for _, path := range []string{"none", "udp", "tcp", "relay"} {
			for _, kind := range []string{"whip", "whep"} {
				sessions += m["sightline_"+kind+`_sessions{transport="`+path+`"}`]
			}
		}
		if sessions == 0 && m["sightline_rooms"] == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%.0f sessions and %.0f rooms are left after a minute", sessions, m["sightline_rooms"])
		}
	}
}

// kept is how much of the heap may be in use for what has ended, in bytes.
const kept = 8 << 20

// judgeHeap fails the test if sessions that have ended are kept: what may be left of each are
// some hundred bytes for five minutes, so that its late DELETE is answered.
func judgeHeap(t *testing.T, before, left int) {
	t.Helper()
	if left > before+kept {
		t.Errorf("%d KiB of heap are left, want %d MiB more than the %d KiB before at most", left>>10, kept>>20, before>>10)
	}
}

// The whole attack for some seconds: the viewer of a live stream loses no frame, and whoever
// has a token joins, from the very address that guesses tokens.
func TestAnAttackStopsNeitherViewersNorJoins(t *testing.T) {
	const lasts = 5 * time.Second
	s := startServer(t, "ice.check_timeout = \"5s\"\nrooms.grace = \"1s\"\n")
	before := s.heap(t)
	r := s.try(t, lasts, &full)
	t.Log(r)
	judge(t, r, full, lasts)
	s.forgets(t)
	judgeHeap(t, before, s.heap(t))
}
