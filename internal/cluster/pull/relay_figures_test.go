//go:build figures

package pull_test

import (
	"os"
	"testing"
	"time"

	"sightline/internal/bench"
)

// What a relay adds to the delay of each packet, from right before it was sent, and to the CPU time of
// the whole process, two gateways and who makes the load: the same load twice, with its viewers at the
// owner and at the relay.
func TestRelayFigures(t *testing.T) {
	m := newMesh()
	a, b := m.join(t, "a"), m.join(t, "b")
	m.own("bench", a)
	load := func(n *node) *bench.Report {
		c := bench.Defaults()
		c.WHIP, c.WHEP = a.URL+"/whip/bench/cam{n}", n.URL+"/whep/bench/cam{n}"
		c.Viewers, c.Duration, c.PID = 20, 10*time.Second, os.Getpid()
		report, err := bench.Run(t.Context(), c, func(bench.Progress) {})
		if err != nil {
			t.Fatal(err)
		}
		if err := report.Failed(); err != nil {
			t.Fatalf("%v: %v", err, report.Joins.Failures)
		}
		t.Logf("at %s: delay p50 %.2f p95 %.2f p99 %.2f ms; first keyframe p50 %.0f max %.0f ms; %.2f µs CPU a packet, of all; %d of %d packets lost",
			n.member.Name, report.Delay.P50, report.Delay.P95, report.Delay.P99, report.FirstKey.P50, report.FirstKey.Max,
			report.Server.CPUPerPacketUS, report.Packets.Lost, report.Packets.Expected)
		for _, w := range report.Warnings {
			t.Logf("WARNING: %s", w)
		}
		return report
	}
	direct, relayed := load(a), load(b)
	if added := relayed.Delay.P95 - direct.Delay.P95; added > 10 {
		t.Errorf("the relay adds %.2f ms (p95), want at most 10", added)
	}
	if relayed.FirstKey.Max > 1500 {
		t.Errorf("a viewer at the relay waited %.0f ms for his first picture, want at most 1500", relayed.FirstKey.Max)
	}
	if more := relayed.Server.CPUPerPacketUS / direct.Server.CPUPerPacketUS; more > 1.2 {
		t.Errorf("a packet costs %.2f times what it costs at the owner, want what one leg more costs among twenty viewers", more)
	}
}
