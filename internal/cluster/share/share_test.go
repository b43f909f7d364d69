package share

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/auth"
	"sightline/internal/cluster"
	"sightline/internal/fault"
)

// A web joins nodes, as far as they are on one side of it.
type web struct {
	mu    sync.Mutex
	nodes []*node
}

// A node has the part of a cluster.Node that is needed.
type node struct {
	net     *web
	id      string
	side    int // 0 is where all are; guarded by net.mu, as what follows
	gone    bool
	cut     bool // has no engine
	deaf    bool // does not hear what is told
	tells   map[string]func(cluster.Member, []byte)
	calls   map[string]cluster.Handler
	changed chan struct{}
}

func (n *web) newNode(id string) *node {
	return &node{net: n, id: id, tells: map[string]func(cluster.Member, []byte){}, calls: map[string]cluster.Handler{}, changed: make(chan struct{}, 1)}
}

// join lets the others see a node.
func (n *web) join(x *node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes = append(n.nodes, x)
	n.changedLocked()
}

func (n *web) changedLocked() {
	for _, x := range n.nodes {
		select {
		case x.changed <- struct{}{}:
		default:
		}
	}
}

// set puts a node on a side, and says so after a lease.
func (n *web) set(x *node, f func(*node)) {
	n.mu.Lock()
	f(x)
	n.changedLocked()
	n.mu.Unlock()
}

func (x *node) reach() []*node {
	x.net.mu.Lock()
	defer x.net.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(x.net.nodes), func(o *node) bool { return o.gone || o.side != x.side })
}

func (x *node) Self() cluster.Member { return cluster.Member{ID: x.id, Name: x.id} }
func (x *node) Members() (out []cluster.Member) {
	for _, o := range x.reach() {
		out = append(out, o.Self())
	}
	return out
}
func (x *node) Connected() bool {
	x.net.mu.Lock()
	defer x.net.mu.Unlock()
	return !x.cut
}
func (x *node) Watch() (<-chan struct{}, func())                       { return x.changed, func() {} }
func (x *node) HandleTell(verb string, f func(cluster.Member, []byte)) { x.tells[verb] = f }
func (x *node) Handle(verb string, f cluster.Handler)                  { x.calls[verb] = f }
func (x *node) Tell(verb string, data []byte) error {
	hears := func(o *node) bool {
		x.net.mu.Lock()
		defer x.net.mu.Unlock()
		return o != x && !o.deaf
	}
	for _, o := range x.reach() {
		if hears(o) {
			o.tells[verb](x.Self(), data)
		}
	}
	return nil
}
func (x *node) Call(ctx context.Context, to cluster.Member, verb string, data []byte) ([]byte, error) {
	for _, o := range x.reach() {
		if o.id == to.ID {
			return o.calls[verb](ctx, x.Self(), data)
		}
	}
	return nil, fault.New(fault.Unavailable, "the node is gone")
}

// A gateway is one that shares its revocations.
type gateway struct {
	*auth.Auth
	*node
	share *Share
	stop  func()
}

// open starts a gateway, with the part of auth alone.
func (n *web) open(t *testing.T, id string) *gateway {
	t.Helper()
	g := &gateway{Auth: auth.New(auth.Defaults()), node: n.newNode(id)}
	g.share = New(g.node, map[string]Part{"auth": g.Auth}, slog.New(slog.DiscardHandler))
	if err := g.Auth.Share(g.share.Tell("auth")); err != nil {
		t.Fatal(err)
	}
	n.join(g.node)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = g.Auth.Run(ctx) })
	running.Go(func() { _ = g.share.Run(ctx) })
	g.stop = sync.OnceFunc(func() {
		n.set(g.node, func(x *node) { x.gone = true })
		cancel()
		running.Wait()
	})
	t.Cleanup(g.stop)
	return g
}

func (g *gateway) revoke(t *testing.T, name string) auth.Revocation {
	t.Helper()
	r, err := g.Revoke(auth.Identity{}, auth.Revocation{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRevocationEndsSessionsAtOtherNodesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &web{}
		a, b := n.open(t, "a"), n.open(t, "b")
		lease := b.Keep(auth.Identity{Name: "kim", Kind: auth.JWT, Expires: time.Now().Add(time.Hour)})
		defer lease.Release()
		a.revoke(t, "kim")
		synctest.Wait() // no time passes
		if lease.Err() != auth.ErrRevoked {
			t.Errorf("at the other node: %v, want %v", lease.Err(), auth.ErrRevoked)
		}
		a.stop()
		b.stop()
	})
}

func TestNodeThatJoinsLearnsWhatIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &web{}
		a := n.open(t, "a")
		for i := range 1000 {
			a.revoke(t, fmt.Sprint("name ", i))
		}
		if len(a.share.Unready()) == 0 {
			t.Error("a node that has heard of nobody for no time is ready")
		}
		b := n.open(t, "b")
		synctest.Wait()
		if got := len(b.Revocations()); got != 1000 || !b.share.Learned() {
			t.Errorf("it knows %d revocations of 1000, learned %t", got, b.share.Learned())
		}
		if w := b.share.Warnings(); len(w) > 0 {
			t.Errorf("it warns of %q", w)
		}
		a.stop()
		b.stop()
		alone := n.open(t, "c")
		time.Sleep(learnWithin)
		synctest.Wait()
		if why := alone.share.Unready(); len(why) > 0 {
			t.Errorf("the last node is not ready: %q", why)
		}
		if got := fmt.Sprint(alone.share.Warnings()); !strings.Contains(got, "no other node") {
			t.Errorf("alone, it warns of %s", got)
		}
		n.set(alone.node, func(x *node) { x.cut = true })
		if got := fmt.Sprint(alone.share.Warnings()); !strings.Contains(got, "has lost the engine") || len(alone.share.Unready()) > 0 {
			t.Errorf("without its engine, it warns of %s, and is not ready for %q", got, alone.share.Unready())
		}
		alone.stop()
	})
}

func TestWhatWasMissedIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &web{}
		a, b, c := n.open(t, "a"), n.open(t, "b"), n.open(t, "c")
		all := []*gateway{a, b, c}
		taken := a.revoke(t, "taken back")
		time.Sleep(compareEvery + time.Millisecond)

		// A message that is lost.
		n.set(b.node, func(x *node) { x.deaf = true })
		a.revoke(t, "x")
		n.set(b.node, func(x *node) { x.deaf = false })
		time.Sleep(compareEvery)
		synctest.Wait()
		if len(b.Revocations()) != 2 {
			t.Errorf("%d revocations after a lost message, want 2", len(b.Revocations()))
		}

		// A partition, with a removal that one has missed.
		n.set(c.node, func(x *node) { x.side = 1 })
		if err := b.Unrevoke(taken.ID); err != nil {
			t.Fatal(err)
		}
		c.revoke(t, "y")
		time.Sleep(time.Minute)
		n.set(c.node, func(x *node) { x.side = 0 })
		time.Sleep(2 * compareEvery)
		synctest.Wait()
		for i, g := range all {
			var names []string
			for _, r := range g.Revocations() {
				names = append(names, r.Name)
			}
			slices.Sort(names)
			if !slices.Equal(names, []string{"x", "y"}) {
				t.Errorf("node %d has %q", i, names)
			}
			if !bytes.Equal(g.Digest(), a.Digest()) {
				t.Errorf("node %d knows something else", i)
			}
		}

		// Nothing is asked for while all know the same.
		before := a.share.Snapshot().Pulls + b.share.Snapshot().Pulls + c.share.Snapshot().Pulls
		time.Sleep(10 * compareEvery)
		synctest.Wait()
		if after := a.share.Snapshot().Pulls + b.share.Snapshot().Pulls + c.share.Snapshot().Pulls; after != before {
			t.Errorf("%d times was asked for nothing", after-before)
		}
		for _, g := range all {
			g.stop()
		}
	})
}

func TestWhatCannotBeTakenIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &web{}
		a, b := n.open(t, "a"), n.open(t, "b")
		time.Sleep(time.Millisecond)
		for _, message := range []string{"{", `[{"k":"revocation/1","b":{}}]`} {
			if err := a.node.Tell("share-auth", []byte(message)); err != nil {
				t.Fatal(err)
			}
		}
		if got := b.share.Snapshot().Refused; got != 2 || len(b.Revocations()) != 0 {
			t.Errorf("%d refused, want 2", got)
		}
		for _, request := range []string{"{", `{"digest":"AAAA"}`} {
			if _, err := a.node.Call(t.Context(), b.Self(), "state-auth", []byte(request)); fault.KindOf(err) != fault.BadRequest {
				t.Errorf("asked by %q: %v, want bad-request", request, err)
			}
		}
		a.stop()
		b.stop()
	})
}

// A node that is there and answers nothing holds up neither what the others tell, nor the start.
func TestNodeThatDoesNotAnswerHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &web{}
		for _, id := range []string{"mute-1", "mute-2", "mute-3"} {
			n.joinMute(id)
		}
		a := n.open(t, "a")
		time.Sleep(time.Minute)
		a.revoke(t, "x")
		b := n.open(t, "b")
		synctest.Wait() // no time passes
		if len(b.Revocations()) != 1 {
			t.Error("it does not know what one of the others knows")
		}
		time.Sleep(learnWithin)
		synctest.Wait()
		if why := b.share.Unready(); len(why) > 0 {
			t.Errorf("it is not ready: %q", why)
		}
		a.stop()
		b.stop()
	})
}

// Nor those that it sees later than the one that does not answer.
func TestNodeThatDoesNotAnswerHoldsUpNobodyWhoIsSeenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &web{}
		a := n.open(t, "a")
		n.set(a.node, func(x *node) { x.side = 1 })
		a.revoke(t, "x")
		n.joinMute("mute")
		b := n.open(t, "b")
		synctest.Wait() // it has asked the only one that it sees
		n.set(a.node, func(x *node) { x.side = 0 })
		synctest.Wait() // no time passes
		if len(b.Revocations()) != 1 {
			t.Error("it does not know what one of the others knows")
		}
		a.stop()
		b.stop()
	})
}

// joinMute lets the others see a node that never answers.
func (n *web) joinMute(id string) {
	mute := n.newNode(id)
	for _, verb := range []string{"share-auth", "digest-auth"} {
		mute.HandleTell(verb, func(cluster.Member, []byte) {})
	}
	mute.Handle("state-auth", func(ctx context.Context, _ cluster.Member, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	n.join(mute)
}
