//go:build e2e && figures

package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sightline/internal/bench"
)

// What make bench-cluster wants of TestCluster.
const (
	kills      = 20
	partitions = 10
	partedFor  = 30 * time.Second
)

// userHZ is what /proc/PID/stat counts in (proc_pid_stat(5)): 100 on all of Go's ports.
const userHZ = 100

// cpu returns the processor time that a node has used.
func (n *node) cpu() time.Duration {
	n.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.p.cmd.Process.Pid))
	if err != nil {
		n.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may hold blanks
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		n.t.Fatalf("/proc/PID/stat says %q", stat)
	}
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		n.t.Fatal(err)
	}
	return time.Duration(user+system) * time.Second / userHZ
}

// How much more three nodes carry than one, of a room with viewers at all of them. They share this machine's processors
// with who makes the load, so what counts is the processor time of a node for each packet that it sends: with a processor
// each, a node carries as many viewers as the time allows, the owner fewer, for it feeds the relays as well.
func TestClusterCarries(t *testing.T) {
	const viewers, window = 40, 10 * time.Second
	c := newCluster(t)
	defer c.stop()
	a := c.nodes[0]

	one := func(nodes []*node) (cost map[string]float64) {
		used := make(map[string]time.Duration)
		for _, n := range c.nodes {
			used[n.name] = n.cpu()
		}
		reports := make([]*bench.Report, len(nodes))
		var group sync.WaitGroup
		for i, n := range nodes {
			// Each has a stream of its own at the owner: the load can't share one.
			group.Go(func() {
				reports[i] = c.bench(t, a.in("mri-"+n.name).whip("cam{n}"), n.in("mri-"+n.name).whep("cam{n}"), viewers, window)
			})
		}
		group.Wait()
		cost = make(map[string]float64)
		for i, n := range nodes {
			if reports[i] == nil {
				t.FailNow()
			}
			packets := float64(reports[i].Packets.Received)
			cost[n.name] = float64((n.cpu() - used[n.name]).Microseconds()) / packets
			t.Logf("%d nodes, %s: %.0f packets/s to %d viewers, lost %d, %.2f us of processor each (joins included), delay p50 %.2f p95 %.2f ms",
				len(nodes), n.name, reports[i].Received.PacketsPerS, reports[i].Viewers, reports[i].Packets.Lost, cost[n.name], reports[i].Delay.P50, reports[i].Delay.P95)
		}
		return cost
	}
	alone := one(c.nodes[:1])["a"]
	together := one(c.nodes)
	carried := 0.0
	for _, cost := range together {
		carried += alone / cost
	}
	t.Logf("with a processor each, three nodes carry %.2f times what one does", carried)
	if carried < 2.5 {
		t.Errorf("three nodes carry %.2f times what one does, want 2.5", carried)
	}
}
