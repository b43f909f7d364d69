package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"sightline/internal/fault"
)

// see waits until each node sees all of them, and no other one.
func see(t *testing.T, nodes ...*liveNode) time.Duration {
	t.Helper()
	began := time.Now()
	eventually(t, func() error {
		for _, n := range nodes {
			if got := n.Members(); len(got) != len(nodes) {
				return fmt.Errorf("%s sees %d of %d", n.self.Name, len(got), len(nodes))
			}
			for _, other := range nodes {
				if m, ok := n.Member(other.Self().ID); !ok || m.Name != other.self.Name {
					return fmt.Errorf("%s does not see %s", n.self.Name, other.self.Name)
				}
			}
		}
		return nil
	})
	return time.Since(began)
}

func TestNodesAreOneGateway(t *testing.T) {
	t.Parallel()
	c := configs(t, 3, withSecret, withTLS(t))
	p := newPatient()
	var mu sync.Mutex
	told := make(map[string]string) // by the name of who heard it
	prepare := func(n *Node) {
		n.Handle("test.hello", func(_ context.Context, from Member, data []byte) ([]byte, error) {
			return fmt.Appendf(nil, "%s, %s", data, from.Name), nil
		})
		n.Handle("test.wait", func(ctx context.Context, _ Member, _ []byte) ([]byte, error) { return p.call(ctx, "", nil) })
		n.HandleStream("test.wait", func(ctx context.Context, _ Member, _ []byte, send func([]byte) error) error {
			if err := send([]byte("begun")); err != nil {
				return err
			}
			_, err := p.call(ctx, "", nil)
			return err
		})
		n.HandleTell("test.news", func(from Member, data []byte) {
			mu.Lock()
			defer mu.Unlock()
			told[n.self.Name] += string(data) + " of " + from.Name
		})
	}
	a, b, d := startNode(t, c[0], prepare), startNode(t, c[1], prepare), startNode(t, c[2], prepare)
	t.Logf("all see each other after %s", see(t, a, b, d))

	owner, err := a.Place(t.Context(), "mri-2")
	if err != nil {
		t.Fatal(err)
	}
	release := a.Hold("mri-2")
	defer release()
	for _, n := range []*liveNode{b, d} {
		eventually(t, func() error {
			if got, ok := n.Owner("mri-2"); !ok || got.ID != owner.ID {
				return fmt.Errorf("%s says that the owner is %q, want %q", n.self.Name, got.Name, owner.Name)
			}
			return nil
		})
	}
	if got, err := a.Call(t.Context(), d.Self(), "test.hello", []byte("hello")); err != nil || string(got) != "hello, node-0" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := b.Tell("test.news", []byte("news")); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		mu.Lock()
		defer mu.Unlock()
		if told["node-0"] != "news of node-1" || told["node-2"] != "news of node-1" || told["node-1"] != "" {
			return fmt.Errorf("got %v", told)
		}
		return nil
	})

	// It dies without a word, in the middle of a call and of two streams.
	began := make(chan error, 1)
	go func() {
		_, err := a.Call(t.Context(), d.Self(), "test.wait", nil)
		began <- err
	}()
	stream, err := a.Stream(t.Context(), d.Self(), "test.wait", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if got, err := stream.Next(t.Context()); err != nil || string(got) != "begun" {
		t.Errorf("got %q, %v", got, err)
	}
	served, err := d.Stream(t.Context(), a.Self(), "test.wait", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		p.wait(t, p.began)
	}
	dead := time.Now()
	d.engine.server.Shutdown()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := stream.Next(ctx); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
	if err := <-began; fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
	t.Logf("a call and a stream ended %s after the node's death", time.Since(dead))
	see(t, a, b)
	if d.Connected() {
		t.Error("a node without its engine says that it has one")
	}
	for range 3 { // two handlers at the dead node, which has lost the others; one here
		p.wait(t, p.ended)
	}
	if _, err := a.Call(t.Context(), d.self, "test.hello", nil); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
	served.Close()
	d.end(d.Close)

	again := startNode(t, c[2], prepare)
	t.Logf("the node is back after %s", see(t, a, b, again))

	left := time.Now()
	again.end(again.Close)
	t.Logf("left after %s", see(t, a, b)+time.Since(left))
	// The good-bye is heard before the route is closed.
	eventually(t, func() error {
		if got := a.Snapshot(); got.Routes != 1 || !got.Connected || got.Calls["test.hello"].Count != 2 || got.Directory.Members != 2 {
			return fmt.Errorf("got %+v", got)
		}
		return nil
	})
}

// A gateway that fails while it starts closes what it has opened.
func TestANodeThatNeverRanIsClosed(t *testing.T) {
	n, err := Open(configs(t, 1)[0], &gateway{}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Call(t.Context(), n.Self(), "test.hello", nil); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
	n.Close()
	if err := n.Tell("test.news", nil); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
	if _, err := n.Call(t.Context(), n.Self(), "test.hello", nil); !errors.Is(err, errEnding) {
		t.Errorf("got %v", err)
	}
}
