package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// A live node is a Node over real sockets with a gateway that a test fills.
type liveNode struct {
	*Node
	gw   *gateway
	stop context.CancelFunc
	ran  sync.WaitGroup
	once sync.Once
}

func startNode(t testing.TB, c Config, prepare ...func(*Node)) *liveNode {
	t.Helper()
	n := &liveNode{gw: newGateway()}
	var err error
	if n.Node, err = Open(c, n.gw, testLog(t).With("node", c.Name)); err != nil {
		t.Fatal(err)
	}
	for _, f := range prepare {
		f(n.Node)
	}
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.ran.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() { n.end(n.Close) })
	return n
}

// end ends a node once: by Close, or by what a kill leaves.
func (n *liveNode) end(how func()) {
	n.once.Do(func() {
		n.stop()
		n.ran.Wait()
		how()
	})
}

func TestThreeNodesOverNATS(t *testing.T) {
	t.Parallel()
	var nodes []*liveNode
	for _, c := range configs(t, 3) {
		nodes = append(nodes, startNode(t, c))
	}
	a, b, c := nodes[0], nodes[1], nodes[2]
	sees := func(n *liveNode, members, rooms int) {
		t.Helper()
		eventually(t, func() error {
			if s := n.Snapshot().Directory; s.Members != members || s.Entries != rooms {
				return fmt.Errorf("%s sees %d members and %d rooms, want %d and %d", n.Self().Name, s.Members, s.Entries, members, rooms)
			}
			return nil
		})
	}
	for _, n := range nodes {
		sees(n, 3, 0)
	}
	const rooms = 30
	placed := make([][3]string, rooms)
	var wait sync.WaitGroup
	for i := range rooms {
		for j, n := range nodes {
			wait.Go(func() {
				m, err := n.Place(t.Context(), fmt.Sprint("r", i))
				if err != nil {
					t.Error(err)
				}
				placed[i][j] = m.ID
			})
		}
	}
	wait.Wait()
	byID := map[string]*liveNode{a.Self().ID: a, b.Self().ID: b, c.Self().ID: c}
	for i, ids := range placed {
		if ids[0] != ids[1] || ids[1] != ids[2] || byID[ids[0]] == nil {
			t.Fatalf("r%d was answered to be at %v", i, ids)
		}
		byID[ids[0]].gw.set(fmt.Sprint("r", i), 1, 2, "console")
	}
	for _, n := range nodes {
		sees(n, 3, rooms)
	}

	if err := a.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.end(a.Close)
	sees(b, 2, rooms)
	sees(c, 2, rooms)

	// c dies: no good-bye.
	eventually(t, func() error {
		if e := b.Directory(); !slices.ContainsFunc(e, func(e Entry) bool { return e.Owner == c.Self().ID && slices.Equal(e.Muted, []string{"console"}) }) {
			return fmt.Errorf("c has no room with a mute: %+v", e)
		}
		return nil
	})
	var orphan string
	for _, e := range b.Directory() {
		if e.Owner == c.Self().ID && slices.Equal(e.Muted, []string{"console"}) {
			orphan = e.Room
		}
	}
	c.end(func() { c.bus.close(); c.engine.stop() })
	start := time.Now()
	m, err := b.Place(t.Context(), orphan)
	for (err != nil || m.ID != b.Self().ID) && time.Since(start) < patience { // its last heartbeat is believed for 750 ms
		time.Sleep(50 * time.Millisecond)
		m, err = b.Place(t.Context(), orphan)
	}
	if err != nil || m.ID != b.Self().ID {
		t.Fatalf("%s is at %+v, %v", orphan, m, err)
	}
	t.Logf("placed anew %v after the death", time.Since(start).Round(time.Millisecond))
	if !slices.Contains(b.gw.calls(), "taken "+orphan+" [console]") {
		t.Errorf("b was told %q", b.gw.calls())
	}
}
