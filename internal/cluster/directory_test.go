package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/fault"
	"sightline/internal/opt"
)

// A gateway is what a directory asks, with rooms that a test fills.
type gateway struct {
	mu    sync.Mutex
	load  Load
	rooms map[string]RoomState
	muted map[string][]string // by room, of those Taken
	said  []string            // Lost and Taken, in order
	last  map[string]Member   // whom rooms went to
	gone  []string            // ids that the hook has told of
}

func newGateway() *gateway {
	return &gateway{rooms: map[string]RoomState{}, muted: map[string][]string{}, last: map[string]Member{}}
}

func (g *gateway) Load() Load {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.load
	l.Rooms = len(g.rooms)
	return l
}

func (g *gateway) Rooms() []RoomState {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]RoomState, 0, len(g.rooms))
	for _, r := range g.rooms {
		r.Muted = union(r.Muted, g.muted[r.Room])
		out = append(out, r)
	}
	return out
}

func (g *gateway) Lost(room string, to Member, why Why) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.rooms, room)
	delete(g.muted, room)
	g.said = append(g.said, fmt.Sprintf("lost %s to %s: %s", room, to.Name, why))
	g.last[room] = to
}

func (g *gateway) Taken(room string, keep Keep) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.muted[room] = union(g.muted[room], keep.Muted)
	g.said = append(g.said, fmt.Sprintf("taken %s %v", room, keep.Muted))
}

func (g *gateway) set(room string, publishers, sessions int, muted ...string) {
	g.setDeaf(room, 0, publishers, sessions, muted...)
}

func (g *gateway) setDeaf(room string, deaf, publishers, sessions int, muted ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rooms[room] = RoomState{Room: room, Deaf: deaf, Publishers: publishers, Sessions: sessions, Muted: muted}
}

func (g *gateway) end(room string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.rooms, room)
	delete(g.muted, room)
}

func (g *gateway) has(room string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.rooms[room]
	return ok
}

func (g *gateway) setLoad(l Load) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.load = l
}

func (g *gateway) calls() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.said)
}

// lastCall returns what was called last, "" if nothing was.
func (g *gateway) lastCall() string {
	said := g.calls()
	if len(said) == 0 {
		return ""
	}
	return said[len(said)-1]
}

// A world is some nodes on a net in memory.
type world struct {
	t     testing.TB
	net   *memNet
	nodes []*testNode
	runs  int
	log   *slog.Logger
	loud  *loud
}

type testNode struct {
	*directory
	name string
	gw   *gateway
	stop context.CancelFunc
	done chan struct{}
	w    *world
}

// loud counts what is logged as an error.
type loud struct {
	mu     sync.Mutex
	errors []string
}

func (l *loud) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }
func (l *loud) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l *loud) WithGroup(string) slog.Handler                    { return l }
func (l *loud) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errors = append(l.errors, r.Message)
	return nil
}

func newWorld(t testing.TB, seed uint64, names ...string) *world {
	l := &loud{}
	w := &world{t: t, net: newMemNet(seed), log: slog.New(l), loud: l}
	for _, name := range names {
		w.start(name)
	}
	return w
}

func (w *world) start(name string) *testNode {
	w.runs++
	id := fmt.Sprintf("%s%d", name, w.runs)
	n := &testNode{name: name, gw: newGateway(), w: w, done: make(chan struct{})}
	config := Config{Lease: opt.Duration(3 * time.Second), Linger: opt.Duration(10 * time.Second), FullAbove: 0.9, RelayAbove: 0.7}
	n.directory = newDirectory(config, Member{Name: name, ID: id, Since: time.Now()}, n.gw, w.net.join(id), w.log)
	n.directory.lost = func(id string) { n.gw.mu.Lock(); n.gw.gone = append(n.gw.gone, id); n.gw.mu.Unlock() }
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	go func() {
		defer close(n.done)
		if err := n.run(ctx); err != nil {
			w.t.Errorf("run: %v", err)
		}
	}()
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	w.nodes = append(slices.Clone(w.nodes), n)
	return n
}

// kill ends a node as kill -9 does: nobody hears of it again.
func (n *testNode) kill() {
	n.w.net.remove(n.id)
	n.stop()
	<-n.done
	n.w.net.mu.Lock()
	defer n.w.net.mu.Unlock()
	n.w.nodes = slices.DeleteFunc(slices.Clone(n.w.nodes), func(m *testNode) bool { return m == n })
}

// end ends a node as SIGTERM does, after its drain.
func (n *testNode) end() {
	n.stop()
	<-n.done
	n.leave()
	time.Sleep(n.w.net.delay + time.Millisecond)
	n.kill()
}

func (w *world) close() {
	for _, n := range slices.Clone(w.nodes) {
		n.kill()
	}
	w.net.close()
}

// play runs f with a world in which time costs nothing.
func play(t *testing.T, f func(t *testing.T, w *world), names ...string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, names...)
		defer w.close()
		time.Sleep(1500 * time.Millisecond)
		f(t, w)
	})
}

func (w *world) node(name string) *testNode {
	for _, n := range w.nodes {
		if n.name == name {
			return n
		}
	}
	w.t.Fatalf("no node %s", name)
	return nil
}

func (w *world) place(n *testNode, room string) Member {
	w.t.Helper()
	m, err := n.place(context.Background(), room)
	if err != nil {
		w.t.Fatalf("place %s at %s: %v", room, n.name, err)
	}
	return m
}

// byID returns the node of a member.
func (w *world) byID(id string) *testNode {
	for _, n := range w.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

// owners returns the names of the nodes that have the room as their own.
func (w *world) owners(room string) (out []string) {
	for _, n := range w.nodes {
		n.mu.Lock()
		if n.own[room] != nil {
			out = append(out, n.name)
		}
		n.mu.Unlock()
	}
	return out
}

// agreed fails unless all see one and the same owner of the room, and returns it.
func (w *world) agreed(room string) *testNode {
	w.t.Helper()
	n, err := w.agree(room)
	if err != nil {
		w.t.Fatalf("at %v: %v", time.Now(), err)
	}
	return n
}

// agree returns the owner of the room that all see, or an error if there is none such.
func (w *world) agree(room string) (*testNode, error) {
	owners := w.owners(room)
	if len(owners) != 1 {
		return nil, fmt.Errorf("room %s lives on %v, want one node", room, owners)
	}
	for _, n := range w.nodes {
		if m, ok := n.owner(room); !ok || m.Name != owners[0] {
			return nil, fmt.Errorf("%s sees the owner of %s in %q (%v), want %s", n.name, room, m.Name, ok, owners[0])
		}
	}
	return w.node(owners[0]), nil
}

func names(list []Member) (out []string) {
	for _, m := range list {
		out = append(out, m.Name)
	}
	return out
}

func wantNames(t *testing.T, n *testNode, want ...string) {
	t.Helper()
	if got := names(n.members()); !slices.Equal(got, want) {
		t.Errorf("%s sees %v, want %v", n.name, got, want)
	}
}

// within waits until f holds, at most d, and returns how long it took.
func within(t *testing.T, d time.Duration, what string, f func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !f() {
		if time.Since(start) > d {
			t.Fatalf("%s: not within %v", what, d)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(start)
}

func TestDeadNodeIsGoneWhenItsLeaseEnds(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		wantNames(t, a, "a", "b", "c")
		dead := w.node("c")
		dead.kill()
		time.Sleep(2300 * time.Millisecond)
		wantNames(t, a, "a", "b", "c")
		time.Sleep(900 * time.Millisecond)
		wantNames(t, a, "a", "b")
		wantNames(t, b, "a", "b")
		if !slices.Equal(a.gw.gone, []string{dead.id}) {
			t.Errorf("told of lost members: %v, want %s", a.gw.gone, dead.id)
		}
		if s := a.snapshot(); s.LeasesEnded != 1 || s.Members != 2 || s.Age > beatEvery+10*time.Millisecond {
			t.Errorf("snapshot: %+v", s)
		}
	}, "a", "b", "c")
}

func TestNodeThatSaysGoodByeIsGoneAtOnce(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.node("c").end()
		time.Sleep(5 * time.Millisecond)
		wantNames(t, w.node("a"), "a", "b")
		if s := w.node("a").snapshot(); s.LeasesEnded != 0 {
			t.Errorf("%d leases have ended, want none", s.LeasesEnded)
		}
	}, "a", "b", "c")
}

func TestRestartedNodeEndsItsFormerLeaseEarly(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.node("b").kill()
		time.Sleep(100 * time.Millisecond)
		fresh := w.start("b")
		within(t, time.Second, "only the new b is there", func() bool {
			m := w.node("a").members()
			return len(m) == 2 && m[1].ID == fresh.id
		})
		time.Sleep(3 * time.Second)
		wantNames(t, fresh, "a", "b")
		if len(w.loud.errors) > 0 {
			t.Errorf("loud: %q", w.loud.errors)
		}
	}, "a", "b")
}

func TestTwoNodesOfOneNameAreToldAndLive(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		first := w.node("b")
		first.gw.set("x", 1, 2)
		time.Sleep(200 * time.Millisecond)
		second := w.start("b")
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if _, ok := w.node("a").member(first.id); !ok {
				t.Fatal("the first is gone")
			}
		}
		wantNames(t, w.node("a"), "a", "b", "b")
		wantNames(t, second, "a", "b", "b")
		if w.agreed("x").id != first.id || !first.gw.has("x") {
			t.Errorf("the room has another owner")
		}
		if len(w.loud.errors) != 3 { // a's, and each of theirs
			t.Errorf("loud: %q", w.loud.errors)
		}
		if s := w.node("a").snapshot(); s.Twins != 2 {
			t.Errorf("%d twins, want 2", s.Twins)
		}

		// One of them gets another name, which takes a restart.
		second.end()
		w.start("c")
		time.Sleep(time.Second)
		for _, n := range w.nodes {
			if s := n.snapshot(); s.Twins != 0 {
				t.Errorf("%s: %d twins, want none any more", n.name, s.Twins)
			}
		}
	}, "a", "b")
}

func TestNodeThatStoodStillGivesTheOthersTime(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a := w.node("a")
		a.mu.Lock()
		a.ticked = a.ticked.Add(-5 * time.Second) // as after SIGSTOP and SIGCONT
		for _, p := range a.peers {
			p.heard = p.heard.Add(-5 * time.Second)
		}
		a.mu.Unlock()
		time.Sleep(150 * time.Millisecond)
		wantNames(t, a, "a", "b")

		// Not more than it takes: who was heard meanwhile has been heard.
		a.mu.Lock()
		a.ticked = a.ticked.Add(-5 * time.Second)
		a.mu.Unlock()
		time.Sleep(150 * time.Millisecond)
		w.node("b").kill()
		within(t, a.lease+pollEvery, "b is gone", func() bool { return len(a.members()) == 1 })
	}, "a", "b")
}

func TestFullAndBusyHaveHysteresis(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		for _, step := range []struct {
			share      float64
			full, busy bool
		}{{0.5, false, false}, {0.75, false, true}, {0.95, true, true}, {0.85, true, true}, {0.8, false, true}, {0.6, false, false}} {
			a.gw.setLoad(Load{Egress: step.share})
			time.Sleep(beatEvery + 5*time.Millisecond)
			m, _ := b.member(a.id)
			if m.Full != step.full || m.Busy != step.busy {
				t.Errorf("at %v: full %v, busy %v; want %v, %v", step.share, m.Full, m.Busy, step.full, step.busy)
			}
		}
	}, "a", "b")
}

func TestTenThousandRoomsReachWhoJoins(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a := w.node("a")
		a.gw.mu.Lock()
		for i := range 10_000 {
			a.gw.rooms[fmt.Sprint("room", i)] = RoomState{Room: fmt.Sprint("room", i), Publishers: 1, Sessions: 3, Tracks: []string{"console/audio", "console/video"}}
		}
		a.gw.mu.Unlock()
		within(t, 300*time.Millisecond, "b sees all", func() bool { return w.node("b").snapshot().Entries == 10_000 })
		c := w.start("c")
		within(t, 700*time.Millisecond, "c sees all", func() bool { return c.snapshot().Entries == 10_000 })
		time.Sleep(2 * time.Second)
		if s := c.snapshot(); s.Fetches > 3 {
			t.Errorf("%d fetches", s.Fetches)
		}
		if e := c.entries(); len(e) != 10_000 || e[0].Owner != a.id || len(e[0].Tracks) != 2 {
			t.Errorf("%d entries, first %+v", len(e), e[0])
		}
	}, "a", "b")
}

func TestEachChangeIsSeenWithin200ms(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		seen := func(f func(e Entry) bool) func() bool {
			return func() bool {
				e := b.entries()
				return len(e) == 1 && f(e[0])
			}
		}
		a.gw.set("x", 0, 1)
		within(t, 200*time.Millisecond, "a new room", seen(func(e Entry) bool { return e.Owner == a.id && e.Epoch == 1 }))
		a.gw.set("x", 1, 2)
		within(t, 200*time.Millisecond, "live", seen(func(e Entry) bool { return e.Publishers == 1 }))
		a.gw.set("x", 1, 3)
		within(t, 200*time.Millisecond, "one more", seen(func(e Entry) bool { return e.Sessions == 3 }))
		a.gw.set("x", 1, 3, "console")
		within(t, 200*time.Millisecond, "muted", seen(func(e Entry) bool { return slices.Equal(e.Muted, []string{"console"}) }))
	}, "a", "b")
}

func TestBusyRoomTellsTenTimesASecond(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a := w.node("a")
		before := a.snapshot().Out["changes"].Messages
		for i := range 1000 {
			a.gw.set("x", 1, i)
			time.Sleep(10 * time.Millisecond)
		}
		if n := a.snapshot().Out["changes"].Messages - before; n < 95 || n > 105 {
			t.Errorf("%d messages in 10 s, want 10 a second", n)
		}
	}, "a", "b")
}

func TestMissedChangesAreAskedFor(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		for i := range 100 {
			a.gw.set(fmt.Sprint("r", i), 1, 1)
		}
		time.Sleep(time.Second)
		w.net.setLose(0.5)
		for i := range 300 {
			a.gw.set(fmt.Sprint("r", i%150), 1, i)
			if i%3 == 0 {
				a.gw.end(fmt.Sprint("r", i%70))
			}
			time.Sleep(50 * time.Millisecond)
		}
		w.net.setLose(0)
		time.Sleep(time.Second)
		equalCopies(t, w)
		if s := b.snapshot(); s.Gaps == 0 || s.Fetches == 0 {
			t.Errorf("the test lost nothing: %+v", s)
		}
	}, "a", "b")
}

// equalCopies fails unless each node's copy of each other is what that one has.
func equalCopies(t *testing.T, w *world) {
	t.Helper()
	for _, n := range w.nodes {
		want := map[string]record{}
		n.mu.Lock()
		for room, o := range n.own {
			want[room] = o.record
		}
		n.mu.Unlock()
		for _, m := range w.nodes {
			if m == n {
				continue
			}
			m.mu.Lock()
			got := map[string]record{}
			if p := m.peers[n.id]; p != nil {
				for room, r := range p.records {
					got[room] = *r
				}
			}
			m.mu.Unlock()
			if len(got) != len(want) {
				t.Fatalf("%s has %d rooms of %s, want %d", m.name, len(got), n.name, len(want))
			}
			for room, r := range want {
				if g := got[room]; g.Number != r.Number || g.Epoch != r.Epoch || g.Sessions != r.Sessions {
					t.Fatalf("%s has %+v, %s has %+v", m.name, g, n.name, r)
				}
			}
		}
	}
}

func TestRoomsGoneWhileNobodyCouldHearAreGone(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		for i := range 6000 {
			a.gw.set(fmt.Sprint("r", i), 1, 1)
		}
		time.Sleep(time.Second)
		// b misses the end of more rooms than a remembers one by one.
		w.net.setLose(1)
		for i := range 5000 {
			a.gw.end(fmt.Sprint("r", i))
		}
		a.mu.Lock()
		a.linger = 0
		a.mu.Unlock()
		time.Sleep(time.Second)
		w.net.setLose(0)
		within(t, 2*time.Second, "b has 1000 rooms", func() bool { return b.snapshot().Entries == 1000 })
	}, "a", "b")
}

// More rooms have been let go of than the node remembers since the oldest of those that stay were
// told, and these fill more than one page.
func TestAllPagesOfABusyNodeReachWhoJoins(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a := w.node("a")
		a.mu.Lock()
		a.linger = 0
		a.mu.Unlock()
		for i := range 3000 {
			a.gw.set(fmt.Sprint("stays", i), 1, 1)
		}
		time.Sleep(time.Second)
		for i := range 5000 {
			a.gw.set(fmt.Sprint("goes", i), 1, 1)
		}
		time.Sleep(time.Second)
		for i := range 5000 {
			a.gw.end(fmt.Sprint("goes", i))
		}
		time.Sleep(time.Second)
		b := w.start("b")
		within(t, time.Second, "b sees all that stay", func() bool { return b.snapshot().Entries == 3000 })
		time.Sleep(2 * time.Second)
		equalCopies(t, w)
		if s := b.snapshot(); s.Fetches > 3 {
			t.Errorf("%d fetches", s.Fetches)
		}
	}, "a")
}

// An answer may be on its way while what came after it is told: a room that is gone must not
// come back, or its former owner's claim is contested by a claim that nobody has.
func TestAnswerThatIsOvertakenBringsNothingBack(t *testing.T) {
	for _, anew := range []bool{false, true} {
		t.Run(fmt.Sprint("anew=", anew), func(t *testing.T) {
			play(t, func(t *testing.T, w *world) {
				a, b := w.node("a"), w.node("b")
				for _, room := range []string{"x", "y"} {
					a.gw.set(room, 1, 1)
				}
				time.Sleep(200 * time.Millisecond)
				w.net.set(func() { w.net.slow = 300 * time.Millisecond })
				b.mu.Lock()
				b.behindLocked(b.peers[a.id], anew)
				b.mu.Unlock()
				time.Sleep(150 * time.Millisecond)
				a.gw.end("x")
				a.mu.Lock()
				a.dropLocked(a.own["x"])
				a.mu.Unlock()
				within(t, 100*time.Millisecond, "the end is known", func() bool { return len(b.entries()) == 1 })
				a.gw.set("y", 1, 2)
				for range 300 {
					time.Sleep(5 * time.Millisecond)
					if e := b.entries(); len(e) != 1 || e[0].Room != "y" {
						t.Fatalf("b sees %+v", e)
					}
				}
				equalCopies(t, w)
			}, "a", "b")
		})
	}
}

func TestHostileNodeFillsNothing(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a := w.node("a")
		evil := w.net.join("evil")
		long := string(make([]byte, 100_000))
		c := changes{Upto: 1, Full: true, More: true}
		for i := range 2000 {
			c.Rooms = append(c.Rooms, record{Room: fmt.Sprint("evil", i), Number: 1, Epoch: 1<<64 - 1, Publishers: -1, Tracks: []string{fmt.Sprint(i)}})
		}
		endless := encode(c)
		evil.onCall(verbChanges, func(context.Context, string, []byte) ([]byte, error) { return endless, nil })
		for _, data := range []string{
			`{`, `null`, `[]`, `{"b":null}`, `{"b":{}}`, `{"c":{}}`, `{"b":{"q":1,"a":"` + "x" + `","l":{"Processor":1e300,"Rooms":-5},"n":9,"r":-1}}`,
			`{"c":{"a":0,"u":18446744073709551615,"r":[{"r":""},{"r":"x","n":3,"w":{"p":-1}}]}}`,
		} {
			evil.tell(topic, []byte(data))
			time.Sleep(10 * time.Millisecond)
		}
		evil.tell(topic, encode(message{Changes: &changes{Upto: 5, Rooms: []record{{Room: long, Number: 2}, {Room: "y", Number: 3, Tracks: []string{long}}}}}))
		for i := range 40 {
			evil.tell(topic, encode(message{Beat: &beat{Seq: uint64(i + 10), Name: "x", Number: 1, Digest: 7}}))
			time.Sleep(100 * time.Millisecond)
		}
		a.mu.Lock()
		p := a.peers["evil"]
		if p == nil || len(p.records) > maxRooms || p.bytes > maxBytes {
			t.Errorf("the copy of a hostile node: %+v", p)
		}
		a.mu.Unlock()
		if s := a.snapshot(); s.Fetches > 30 {
			t.Errorf("asked %d times", s.Fetches)
		}
		wantNames(t, a, "a", "x")
		if m := w.place(a, "mine"); m.ID != "a1" && m.ID != "evil" {
			t.Errorf("placed at %v", m)
		}
	}, "a")
}

// Who is in can say that he is any number of nodes.
func TestAllNodesTogetherFillNoMemory(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a := w.node("a")
		a.mu.Lock()
		a.spare = 10_000
		a.mu.Unlock()
		fill := func(name string) (kept int) {
			c := w.claimant(name)
			time.Sleep(10 * time.Millisecond)
			for i := range 40 {
				c.says(record{Room: fmt.Sprint(name, i), Epoch: 1})
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			return len(a.peers[c.id].records)
		}
		first, second := fill("b"), fill("c")
		if first != 40 || second == 0 || second == 40 {
			t.Errorf("of 80 rooms of two nodes %d and %d are kept, want all of the first and some of the second", first, second)
		}
		a.heard("b", encode(message{Bye: true}))
		if third := fill("d"); third != 40 {
			t.Errorf("what the first had is not free again: %d rooms of another", third)
		}
		if s := a.snapshot(); s.Refused == 0 {
			t.Error("nobody is told")
		}
	}, "a")
}

// What others would not keep of this node's rooms it does not take.
func TestRoomsThatAreOfferedFillNoMemory(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a := w.node("a")
		muted := make([]string, maxNames)
		for i := range muted {
			muted[i] = fmt.Sprintf("%0*d", maxName, i)
		}
		var refused string
		for i := range 500 { // whether they come with their mutes, or get them later
			a.takeNow(takeRequest{Room: fmt.Sprint("r", i)})
		}
		for i := range 3000 {
			if i%1000 == 999 {
				time.Sleep(pollEvery)
			}
			if got := a.takeNow(takeRequest{Room: fmt.Sprint("r", i), From: "b", Muted: muted}); got.Refuse != "" {
				refused = got.Refuse
			}
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		bytes := 0
		for _, o := range a.own {
			bytes += o.size()
		}
		if bytes > maxBytes || bytes < maxBytes/2 || refused != "has too many rooms" {
			t.Errorf("has %d rooms of %d bytes, want %d at most; refused: %q", len(a.own), bytes, maxBytes, refused)
		}
	}, "a")
}

// Nodes that come, have many muted in many rooms, and die, as often as somebody likes.
func TestWhatDeadNodesLeaveFillsNoMemory(t *testing.T) {
	var m memory
	muted := make([]string, maxNames)
	for i := range 10_000 {
		m.died(fmt.Sprint(i), 1, muted, time.Time{})
	}
	names := 0
	for _, generation := range []map[string]remains{m.young, m.old} {
		for _, r := range generation {
			names += len(r.muted)
		}
	}
	if names > 2*(maxRemains+maxNames) {
		t.Errorf("%d names are kept, want %d at most", names, 2*(maxRemains+maxNames))
	}
}

func TestConcurrentPlacesGiveOneOwner(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		var mu sync.Mutex
		got := map[string]map[string]bool{}
		var wait sync.WaitGroup
		for _, n := range w.nodes {
			for i := range 200 {
				room := fmt.Sprint("r", i%20)
				wait.Go(func() {
					m, err := n.place(context.Background(), room)
					if err != nil {
						t.Errorf("%s: %v", room, err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					if got[room] == nil {
						got[room] = map[string]bool{}
					}
					got[room][m.ID] = true
				})
			}
		}
		wait.Wait()
		time.Sleep(100 * time.Millisecond)
		for i := range 20 {
			room := fmt.Sprint("r", i)
			if len(got[room]) != 1 || !got[room][w.agreed(room).id] {
				t.Errorf("%s was answered to be at %v", room, slices.Collect(maps.Keys(got[room])))
			}
		}
	}, "a", "b", "c", "d", "e")
}

func TestThousandRoomsBetweenTwoHeartbeatsAreSpread(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.node("a").gw.setLoad(Load{Processor: 0.5})
		time.Sleep(beatEvery + 10*time.Millisecond)
		var wait sync.WaitGroup
		start := time.Now()
		for i := range 1000 {
			wait.Go(func() { w.place(w.node("d"), fmt.Sprint("r", i)) })
		}
		wait.Wait()
		if took := time.Since(start); took > beatEvery {
			t.Errorf("took %v", took)
		}
		for _, n := range w.nodes {
			got := n.snapshot().Owned
			lo, hi := 270, 380
			if n.name == "a" {
				lo, hi = 150, 280
			}
			if lo -= 50; got < lo || got > hi {
				t.Errorf("%s got %d rooms, want %d to %d", n.name, got, lo, hi)
			}
		}
	}, "a", "b", "c", "d")
}

func TestEntryGetsTheRoomIfItIsNearlyTheBest(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		b := w.node("b")
		b.gw.setLoad(Load{Sessions: 0.05})
		time.Sleep(beatEvery + 10*time.Millisecond)
		if m := w.place(b, "x"); m.Name != "b" {
			t.Errorf("placed at %s", m.Name)
		}
		b.gw.setLoad(Load{Sessions: 0.3})
		time.Sleep(beatEvery + 10*time.Millisecond)
		if m := w.place(b, "y"); m.Name != "a" {
			t.Errorf("placed at %s", m.Name)
		}
	}, "a", "b")
}

func TestWhereNoNodeTakesARoomThatIsSaid(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		for _, n := range w.nodes {
			n.gw.setLoad(Load{Processor: 0.95})
		}
		time.Sleep(beatEvery + 10*time.Millisecond)
		_, err := w.node("a").place(context.Background(), "x")
		f, ok := err.(*fault.Error)
		if !ok || f.Kind != fault.Unavailable || f.RetryAfter == 0 {
			t.Fatalf("got %v", err)
		}
		if want := `no node takes room "x": a is full, b is full`; f.Detail != want {
			t.Errorf("got %q, want %q", f.Detail, want)
		}
	}, "a", "b")
}

func TestNodeThatRefusesIsPassedOver(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		// c has got full since its last heartbeat.
		c := w.node("c")
		for _, n := range []string{"a", "b"} {
			w.node(n).gw.setLoad(Load{Processor: 0.5})
		}
		time.Sleep(beatEvery + 10*time.Millisecond)
		c.mu.Lock()
		c.me.Full = true
		c.mu.Unlock()
		for i := range 10 {
			if m := w.place(w.node("a"), fmt.Sprint("r", i)); m.Name == "c" {
				t.Errorf("placed at c")
			}
		}
	}, "a", "b", "c")
}

func TestArbiterThatDiesIsPassedOver(t *testing.T) {
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprint("silent=", silent), func(t *testing.T) {
			play(t, func(t *testing.T, w *world) {
				w.net.set(func() { w.net.silent = silent })
				a := w.node("a")
				var rooms []string // whose arbiter is b
				for i := 0; len(rooms) < 10; i++ {
					room := fmt.Sprint("r", i)
					a.mu.Lock()
					if a.arbitersLocked(room)[0] == w.node("b").id {
						rooms = append(rooms, room)
					}
					a.mu.Unlock()
				}
				if silent {
					w.net.part(w.node("b").id, 1)
				} else {
					w.node("b").kill()
				}
				var wait sync.WaitGroup
				for _, room := range rooms {
					wait.Go(func() {
						start := time.Now()
						if m := w.place(a, room); m.Name == "b" || time.Since(start) > placeWithin {
							t.Errorf("%s is at %s after %v", room, m.Name, time.Since(start))
						}
					})
				}
				wait.Wait()
			}, "a", "b", "c")
		})
	}
}

func TestRoomOfADeadNodeIsPlacedAnewWithItsMutes(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		b := w.node("b")
		b.gw.set("x", 1, 2, "console")
		time.Sleep(200 * time.Millisecond)
		b.kill()
		time.Sleep(time.Second)
		// A client comes back after a second, while the lease runs.
		var wait sync.WaitGroup
		for _, n := range []string{"a", "c"} {
			wait.Go(func() {
				start := time.Now()
				m := w.place(w.node(n), "x")
				if m.Name == "b" || time.Since(start) > 3*time.Second {
					t.Errorf("at %s after %v", m.Name, time.Since(start))
				}
			})
		}
		wait.Wait()
		time.Sleep(50 * time.Millisecond)
		o := w.agreed("x")
		if got := o.gw.calls(); !slices.Equal(got, []string{"taken x [console]"}) {
			t.Errorf("%s was told %q", o.name, got)
		}
		if e := o.entries(); len(e) != 1 || e[0].Epoch != 2 || !slices.Equal(e[0].Muted, []string{"console"}) {
			t.Errorf("entries %+v", e)
		}
		if s := o.snapshot(); s.Takeovers[Died] != 1 {
			t.Errorf("takeovers %v", s.Takeovers)
		}
	}, "a", "b", "c")
}

// Whoever lends a publisher asks who is muted where it was shown until now, be it that the owner has died.
func TestMutesAreKnownOfAnOwnerAndOfOneThatDied(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		muted := func() bool { return slices.Equal(a.muted("x"), []string{"console"}) }
		b.gw.set("x", 1, 2, "console")
		within(t, 200*time.Millisecond, "muted", muted)
		b.kill()
		for range 10 { // its lease ends meanwhile
			if !muted() {
				t.Fatalf("got %q", a.muted("x"))
			}
			time.Sleep(time.Second)
		}
		w.place(a, "x")
		if !muted() {
			t.Errorf("the next owner has %q", a.muted("x"))
		}
		if got := a.muted("y"); len(got) != 0 {
			t.Errorf("a room that there is not: got %q", got)
		}
	}, "a", "b")
}

// What the next owner's people have done with the mutes counts from then on.
func TestMuteOfADeadNodeThatWasTakenBackStaysSo(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		dead := w.node("c")
		dead.gw.set("x", 1, 2, "console")
		time.Sleep(time.Second)
		dead.kill()
		time.Sleep(4 * time.Second)
		owner := w.byID(w.place(w.node("a"), "x").ID)
		owner.gw.set("x", 1, 2)
		time.Sleep(time.Second)
		if e := owner.entries(); len(e) != 1 || !slices.Equal(e[0].Muted, []string{"console"}) {
			t.Fatalf("the next owner has %+v", e)
		}
		owner.gw.mu.Lock()
		delete(owner.gw.muted, "x")
		owner.gw.mu.Unlock()
		time.Sleep(time.Second)
		if err := owner.drain(context.Background()); err != nil {
			t.Fatal(err)
		}
		next := w.agreed("x")
		if got, want := next.gw.lastCall(), "taken x []"; got != want {
			t.Errorf("the owner after it was told %q, want %q", got, want)
		}
	}, "a", "b", "c")
}

func TestMutesOfADeadNodeAreForgottenInTime(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		b := w.node("b")
		b.gw.set("x", 1, 2, "console")
		time.Sleep(200 * time.Millisecond)
		b.kill()
		time.Sleep(rememberIt + 4*time.Second)
		m := w.place(w.node("a"), "x")
		if got := w.byID(m.ID).gw.calls(); !slices.Equal(got, []string{"taken x []"}) {
			t.Errorf("told %q", got)
		}
		time.Sleep(3 * time.Minute)
		a := w.node("a")
		a.mu.Lock()
		defer a.mu.Unlock()
		if n := len(a.past.young) + len(a.past.old) + len(a.departed) + len(a.hints) + len(a.strays); n > 1 {
			t.Errorf("%d things are remembered: %+v", n, a.past)
		}
	}, "a", "b", "c")
}

func TestOwnerThatIsAsleepButAnswersKeepsItsRoom(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		b := w.node("b")
		b.gw.set("x", 1, 2)
		time.Sleep(200 * time.Millisecond)
		w.net.setLose(1) // heartbeats get lost, calls don't
		time.Sleep(2 * time.Second)
		start := time.Now()
		if m := w.place(w.node("a"), "x"); m.Name != "b" || time.Since(start) > 10*time.Millisecond {
			t.Errorf("at %s after %v", m.Name, time.Since(start))
		}
	}, "a", "b")
}

func TestNodeWithoutEngineServesItself(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a := w.node("a")
		w.node("b").gw.set("b", 1, 1)
		a.gw.set("mine", 1, 1)
		time.Sleep(200 * time.Millisecond)
		w.net.part(a.id, -1)
		start := time.Now()
		if m := w.place(a, "new"); m.Name != "a" || time.Since(start) > 100*time.Millisecond {
			t.Errorf("placed at %s after %v", m.Name, time.Since(start))
		}
		if m := w.place(a, "b"); m.Name != "a" || time.Since(start) > placeWithin {
			t.Errorf("placed at %s after %v", m.Name, time.Since(start))
		}
		if m := w.place(a, "mine"); m.Name != "a" {
			t.Errorf("placed at %s", m.Name)
		}
		time.Sleep(2 * time.Second)
		if s := a.snapshot(); s.Alone != 1 || s.Members != 1 {
			t.Errorf("snapshot %+v", s)
		}
	}, "a", "b", "c")
}

func TestRoomWithoutAnybodyIsLetGoOf(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		w.place(a, "x")
		release := a.hold("held")
		w.place(a, "held")
		time.Sleep(9 * time.Second)
		if len(b.entries()) != 2 {
			t.Errorf("entries %+v", b.entries())
		}
		time.Sleep(1500 * time.Millisecond)
		if e := b.entries(); len(e) != 1 || e[0].Room != "held" {
			t.Errorf("entries %+v", e)
		}
		release()
		release()
		time.Sleep(9 * time.Second)
		if len(b.entries()) != 1 {
			t.Errorf("entries %+v", b.entries())
		}
		time.Sleep(1500 * time.Millisecond)
		if len(b.entries()) != 0 {
			t.Errorf("entries %+v", b.entries())
		}
		w.place(a, "x")
		time.Sleep(10 * time.Millisecond)
		if e := b.entries(); len(e) != 1 || e[0].Epoch != 2 {
			t.Errorf("the epoch went down: %+v", e)
		}
	}, "a", "b")
}

func TestWatchersAreToldOfMembersAndOwners(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		change, stop := w.node("b").watch()
		defer stop()
		told := func(what string, want bool) {
			t.Helper()
			time.Sleep(300 * time.Millisecond)
			select {
			case <-change:
				if !want {
					t.Errorf("%s was told", what)
				}
			default:
				if want {
					t.Errorf("%s was not told", what)
				}
			}
		}
		w.node("a").gw.set("x", 1, 1)
		told("a new room", true)
		w.node("a").gw.set("x", 1, 2)
		told("one more viewer", false)
		w.start("c")
		told("a new node", true)
		w.node("c").end()
		told("a node's end", true)
	}, "a", "b")
}
