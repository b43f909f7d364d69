package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// split puts each named group of nodes on a side of its own, such as "a b", "c".
func (w *world) split(groups ...string) {
	for side, group := range groups {
		for _, name := range strings.Fields(group) {
			for _, n := range w.nodes {
				if n.name == name {
					w.net.part(n.id, side)
				}
			}
		}
	}
}

func (w *world) heal() {
	for _, n := range w.nodes {
		w.net.part(n.id, 0)
	}
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	clear(w.net.deaf)
}

func TestContestIsWonByTheGreaterClaim(t *testing.T) {
	for _, tt := range []struct {
		name   string
		a, b   [3]int // deaf publishers, all, sessions
		winner string
	}{
		{"who would not come back for long", [3]int{1, 1, 2}, [3]int{0, 3, 9}, "a"},
		{"publishers before sessions", [3]int{0, 1, 2}, [3]int{0, 0, 9}, "a"},
		{"sessions", [3]int{0, 1, 2}, [3]int{0, 1, 3}, "b"},
		{"the older claim", [3]int{1, 1, 2}, [3]int{1, 1, 2}, "b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			play(t, func(t *testing.T, w *world) {
				a, b := w.node("a"), w.node("b")
				b.gw.setDeaf("x", tt.b[0], tt.b[1], tt.b[2], "bob")
				time.Sleep(time.Second)
				w.split("a c", "b")
				time.Sleep(4 * time.Second)
				if m := w.place(w.node("c"), "x"); m.Name == "b" {
					t.Fatal("placed beyond the partition")
				}
				w.node("c").gw.end("x")
				for _, n := range []string{"a", "c"} { // wherever it went, the sessions are at a
					w.node(n).mu.Lock()
					if o := w.node(n).own["x"]; o != nil {
						w.node(n).dropLocked(o)
					}
					w.node(n).mu.Unlock()
				}
				time.Sleep(expectIt)
				a.gw.setDeaf("x", tt.a[0], tt.a[1], tt.a[2], "ann")
				time.Sleep(time.Second)
				w.heal()
				// What is told while a node is asked for everything is asked for 100 to 200 ms after
				// that: so much later the end of the other claim, with its mutes, may be known.
				took := within(t, 2*time.Second, "one owner that all see", func() bool {
					_, err := w.agree("x")
					return err == nil
				})
				t.Logf("after %v", took)
				o := w.agreed("x")
				time.Sleep(250 * time.Millisecond)
				if o.name != tt.winner {
					t.Errorf("won by %s, want %s", o.name, tt.winner)
				}
				loser := map[string]*testNode{"a": b, "b": a}[o.name]
				if got, want := loser.gw.lastCall(), "lost x to "+o.name+": contested"; got != want {
					t.Errorf("the loser was told %q, want %q", got, want)
				}
				if got, want := o.gw.lastCall(), "taken x [ann bob]"; got != want {
					t.Errorf("the winner was told %q, want %q", got, want)
				}
				if s := o.snapshot(); s.Takeovers[Contested] != 1 {
					t.Errorf("takeovers %v", s.Takeovers)
				}
				e := o.entries()[0]
				if e.Epoch < 3 {
					t.Errorf("epoch %d, want one above both", e.Epoch)
				}
				time.Sleep(2 * time.Second)
				o.mu.Lock()
				if r := o.own["x"]; r.Weight != nil || !r.contested.IsZero() {
					t.Errorf("the contest goes on: %+v", r)
				}
				o.mu.Unlock()
			}, "a", "b", "c")
		})
	}
}

func TestThreeClaimantsOfWhichOneDies(t *testing.T) {
	for after := time.Duration(0); after < time.Second; after += 50 * time.Millisecond {
		threeClaimants(t, after)
	}
}

func threeClaimants(t *testing.T, after time.Duration) {
	play(t, func(t *testing.T, w *world) {
		w.split("a", "b", "c")
		time.Sleep(4 * time.Second)
		for i, n := range w.nodes {
			n.gw.set("x", 1, i+1)
			n.gw.set("y", 1, 3-i)
		}
		time.Sleep(time.Second)
		w.heal()
		time.Sleep(after)
		w.node("c").kill()
		time.Sleep(5 * time.Second)
		if got := w.owners("y"); !slices.Equal(got, []string{"a"}) {
			t.Errorf("y lives on %v, want a", got)
		}
		// The others may have let go of x for c before it died: both, or whichever saw c first.
		if got := w.owners("x"); len(got) > 1 {
			t.Errorf("x lives on %v, want one node or none", got)
		}
		w.place(w.node("a"), "x")
		time.Sleep(50 * time.Millisecond)
		w.agreed("x")
		w.agreed("y")
	}, "a", "b", "c")
}

// Both let go of a room, each for the other, if they judged by weights that change.
func TestRoomWhoseWeightChangesDuringAContestIsKept(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		const rooms = 100
		w.net.set(func() { w.net.delay = 300 * time.Millisecond })
		w.split("a", "b")
		time.Sleep(4 * time.Second)
		rng := rand.New(rand.NewPCG(1, 2))
		churn := func(first bool) {
			for i := range rooms {
				for _, n := range w.nodes {
					if room := fmt.Sprint("r", i); first || n.gw.has(room) {
						n.gw.set(room, 1, 1+rng.IntN(100))
					}
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
		for i := range 50 {
			churn(i == 0)
		}
		time.Sleep(time.Second)
		w.heal()
		for range 250 {
			churn(false)
		}
		time.Sleep(time.Second)
		for i := range rooms {
			w.agreed(fmt.Sprint("r", i))
		}
	}, "a", "b")
}

// A claimant that a test plays.
type claimant struct {
	*memBus
	number uint64
}

func (w *world) claimant(name string) *claimant {
	c := &claimant{memBus: w.net.join(name)}
	c.tell(topic, encode(message{Beat: &beat{Seq: 1, Name: name}}))
	return c
}

func (c *claimant) says(r record) {
	r.Number = c.number + 1
	c.tell(topic, encode(message{Changes: &changes{After: c.number, Upto: r.Number, Rooms: []record{r}}}))
	c.number = r.Number
	time.Sleep(10 * time.Millisecond)
}

// a has said what its room weighs, against c. b may have seen that, and let go for it: a must
// not let go for b when the room weighs less, a moment later.
func TestWeightThatWasToldDoesNotFall(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a := w.node("a")
		a.gw.set("x", 1, 9)
		time.Sleep(200 * time.Millisecond)
		claimed := func(name string, sessions int) (kept bool) {
			c := w.claimant(name)
			c.says(record{Room: "x", Epoch: 1, Weight: &weight{Publishers: 1, Sessions: sessions}})
			kept = len(w.owners("x")) == 1
			c.says(record{Room: "x", Epoch: 1, Gone: true})
			return kept
		}
		if !claimed("c", 1) {
			t.Fatal("lost to less")
		}
		a.gw.set("x", 1, 2)
		time.Sleep(200 * time.Millisecond)
		if !claimed("b", 5) {
			t.Error("lost to b, which may have let go for the 9 sessions that a told of")
		}
		time.Sleep(rememberIt + time.Second)
		if claimed("d", 5) {
			t.Error("a weight of a minute ago holds")
		}
	}, "a")
}

// c may have let go for what a has told, when b has the room from a and sees c's claim for
// the first time, though it is there no more.
func TestRoomThatIsHandedOverKeepsItsWeight(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		a.gw.set("x", 1, 9)
		time.Sleep(200 * time.Millisecond)
		w.net.set(func() { w.net.deaf[[2]string{"c", b.id}] = true })
		c := w.claimant("c")
		claim := record{Room: "x", Number: 1, Epoch: 1, Weight: &weight{Publishers: 1, Sessions: 5}}
		c.says(claim)
		if err := a.drain(context.Background()); err != nil {
			t.Fatal(err)
		}
		w.heal()
		c.tell(topic, encode(message{Beat: &beat{Seq: 2, Name: "c"}}))
		c.tell(topic, encode(message{Changes: &changes{Upto: 1, Rooms: []record{claim}}}))
		time.Sleep(10 * time.Millisecond)
		if got := w.owners("x"); !slices.Equal(got, []string{"b"}) {
			t.Errorf("x lives on %v, want b", got)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.claims["x"]) != 2 {
			t.Error("b has not seen c's claim")
		}
	}, "a", "b")
}

func TestSilentClaimantIsNotWaitedFor(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		w.split("a", "b")
		time.Sleep(4 * time.Second)
		a.gw.set("x", 1, 1)
		b.gw.set("x", 1, 2)
		time.Sleep(time.Second)
		// b's heartbeats and records reach a, but not the other way.
		w.heal()
		w.net.mu.Lock()
		w.net.deaf[[2]string{a.id, b.id}] = true
		w.net.mu.Unlock()
		time.Sleep(3 * time.Second)
		if got := w.owners("x"); len(got) != 2 {
			t.Errorf("owned by %v while they can't agree", got)
		}
		w.heal()
		time.Sleep(2 * time.Second)
		w.agreed("x")
	}, "a", "b")
}

func TestSessionsOfAnothersRoomEnd(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		b.gw.set("x", 1, 1)
		time.Sleep(200 * time.Millisecond)
		a.gw.set("x", 0, 1) // as if its POST had been on the way when the room went
		time.Sleep(1500 * time.Millisecond)
		if a.gw.has("x") || !b.gw.has("x") {
			t.Errorf("the stray lives: %v", a.gw.calls())
		}
		w.agreed("x")
	}, "a", "b")
}

func TestDrainGivesAllRoomsAway(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a := w.node("a")
		for i := range 100 {
			a.gw.set(fmt.Sprint("r", i), 1, 2, "m")
		}
		time.Sleep(200 * time.Millisecond)
		start := time.Now()
		if err := a.drain(context.Background()); err != nil {
			t.Fatal(err)
		}
		t.Logf("100 rooms in %v", time.Since(start))
		for i := range 100 {
			room := fmt.Sprint("r", i)
			o := w.byID(a.gw.last[room].ID)
			if o == nil || o == a || !slices.Contains(o.gw.calls(), "taken "+room+" [m]") {
				t.Fatalf("%s went to %+v", room, a.gw.last[room])
			}
			if m := w.place(a, room); m.ID != o.id {
				t.Errorf("%s is at %s, was given to %s", room, m.Name, o.name)
			}
		}
		time.Sleep(50 * time.Millisecond)
		for i := range 100 {
			w.agreed(fmt.Sprint("r", i))
		}
		if got := a.gw.calls()[0]; !strings.HasSuffix(got, ": drained") {
			t.Errorf("a was told %q", got)
		}
		b, c := w.node("b").snapshot(), w.node("c").snapshot()
		if b.Owned < 30 || c.Owned < 30 || b.Takeovers[Drained]+c.Takeovers[Drained] != 100 {
			t.Errorf("b has %d, c %d", b.Owned, c.Owned)
		}
		if m := w.place(a, "new"); m.Name == "a" {
			t.Error("a node that drains took a room")
		}
	}, "a", "b", "c")
}

// An epoch must be able to grow, whatever the node says that takes a room.
func TestEpochOfWhoTakesARoomIsBounded(t *testing.T) {
	for told, want := range map[uint64]uint64{0: 1, 2: 1, 5: 4, 1<<64 - 1: maxEpoch - 1} {
		t.Run(fmt.Sprint(told), func(t *testing.T) {
			play(t, func(t *testing.T, w *world) {
				a := w.node("a")
				a.gw.set("x", 1, 2)
				time.Sleep(200 * time.Millisecond)
				c := w.claimant("c")
				c.onCall(verbTake, func(context.Context, string, []byte) ([]byte, error) {
					return encode(ownerAnswer{Owner: c.id, Epoch: told}), nil
				})
				time.Sleep(10 * time.Millisecond)
				if err := a.drain(context.Background()); err != nil {
					t.Fatal(err)
				}
				a.mu.Lock()
				defer a.mu.Unlock()
				if got := a.past.of("x").epoch; got != want {
					t.Errorf("the room ended here with epoch %d, want %d", got, want)
				}
			}, "a")
		})
	}
}

func TestDrainWithoutOthersSaysSo(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		a.gw.set("x", 1, 2)
		b.gw.setLoad(Load{Processor: 0.95})
		time.Sleep(beatEvery + 10*time.Millisecond)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err := a.drain(ctx)
		if want := "1 rooms stay on this node, whose sessions end with it: a drains, b is full"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		b.kill()
		time.Sleep(4 * time.Second)
		start := time.Now()
		err = a.drain(context.Background())
		if err == nil || !strings.Contains(err.Error(), "no other node takes rooms") || time.Since(start) > 10*time.Millisecond {
			t.Errorf("got %v", err)
		}
		if !a.gw.has("x") || len(a.gw.calls()) > 0 {
			t.Errorf("the room did not stay: %v", a.gw.calls())
		}
	}, "a", "b")
}

func TestHandOverWhoseAnswerIsLost(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		a.gw.set("x", 1, 2)
		time.Sleep(200 * time.Millisecond)
		// b takes the room, but a does not hear its answer, nor then its record.
		w.net.mu.Lock()
		w.net.deaf[[2]string{b.id, a.id}] = true
		w.net.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		if err := a.drain(ctx); err == nil {
			t.Fatal("drained, deaf")
		}
		w.heal()
		time.Sleep(2 * time.Second)
		if w.agreed("x") != b {
			t.Error("a has it again")
		}
		if got := a.gw.calls(); !slices.Equal(got, []string{"lost x to b: drained"}) {
			t.Errorf("a was told %q", got)
		}
	}, "a", "b")
}

// However late and one-sided what nodes hear of each other is, a contest's talk comes to an end:
// each freezes the room, raises its epoch above each other's at most once, and lets go or thaws.
func TestContestIsToldOfAFewTimes(t *testing.T) {
	for _, delay := range []time.Duration{5 * time.Millisecond, 400 * time.Millisecond, 1500 * time.Millisecond} {
		for _, ring := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v,ring=%v", delay, ring), func(t *testing.T) {
				play(t, func(t *testing.T, w *world) { longContest(t, w, delay, ring) }, "a", "b", "c", "d", "e")
			})
		}
	}
}

// longContest has all nodes claim the same rooms while none hears another, or each one hears the
// next alone, and so counts nobody who counts it.
func longContest(t *testing.T, w *world, delay time.Duration, ring bool) {
	const rooms = 20
	w.net.set(func() {
		w.net.delay = delay
		for i, to := range w.nodes {
			for j, from := range w.nodes {
				w.net.deaf[[2]string{from.id, to.id}] = !ring || j != (i+1)%len(w.nodes)
			}
		}
	})
	time.Sleep(5 * time.Second)
	for i, n := range w.nodes {
		for r := range rooms {
			n.gw.set(fmt.Sprint("r", r), 1, 1+(r+len(w.nodes)-i)%len(w.nodes), n.name)
		}
	}
	if !ring {
		time.Sleep(time.Second)
		w.heal()
	}
	time.Sleep(30 * time.Second)
	contested := 0
	for _, n := range w.nodes {
		n.mu.Lock()
		told := n.number
		for _, o := range n.own {
			contested += toInt(o.won)
		}
		n.mu.Unlock()
		// The claim, the freeze, each of the four others, and the end.
		if most := uint64(rooms * (1 + 1 + 4 + 1)); told > most {
			t.Errorf("%s told %d changes of %d rooms, want %d at most", n.name, told, rooms, most)
		}
	}
	if ring && contested < rooms { // of each room all win but the least, and the one that hears it then
		t.Errorf("%d contests go on, want one for each of %d rooms at least", contested, rooms)
	}
	w.heal()
	time.Sleep(15 * time.Second)
	for r := range rooms {
		w.agreed(fmt.Sprint("r", r))
	}
}

// clients want rooms, as people do: who is thrown out comes back after a moment, by any node.
type clients struct {
	w    *world
	stop context.CancelFunc
	wait sync.WaitGroup
}

func (w *world) clients(rooms int, seed uint64) *clients {
	ctx, stop := context.WithCancel(context.Background())
	c := &clients{w: w, stop: stop}
	for i := range rooms {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		c.wait.Go(func() { c.live(ctx, fmt.Sprint("room", i), rng) })
	}
	return c
}

func (c *clients) live(ctx context.Context, room string, rng *rand.Rand) {
	var at *testNode
	for ctx.Err() == nil {
		time.Sleep(time.Duration(50+rng.IntN(500)) * time.Millisecond)
		c.w.net.mu.Lock()
		nodes := slices.Clone(c.w.nodes)
		c.w.net.mu.Unlock()
		if at != nil && slices.Contains(nodes, at) && at.gw.has(room) {
			at.gw.set(room, rng.IntN(3), 1+rng.IntN(5))
			continue
		}
		entry := nodes[rng.IntN(len(nodes))]
		m, err := entry.place(ctx, room)
		if err != nil {
			continue
		}
		c.w.net.mu.Lock()
		at = nil
		for _, n := range c.w.nodes {
			if n.id == m.ID && c.w.net.side[n.id] == c.w.net.side[entry.id] {
				at = n
			}
		}
		c.w.net.mu.Unlock()
		if at != nil {
			at.gw.set(room, 1, 1)
		}
	}
}

func (c *clients) end() {
	c.stop()
	c.wait.Wait()
}

// TestWhateverHappensEachRoomHasOneOwnerInTheEnd plays nodes that die, return, drain and are
// parted, on a net that delays, loses and repeats, with people who come back; 5 s after all
// are joined again, each room has one owner that all know, and each room that was alive then
// still is. Each third seed has a slow net. SIGHTLINE_SEEDS says how many times, SIGHTLINE_SEED
// which one alone; one takes 0.1 s of processor, with -race 0.5 s.
func TestWhateverHappensEachRoomHasOneOwnerInTheEnd(t *testing.T) {
	seeds, first := 4, 1
	if s := os.Getenv("SIGHTLINE_SEEDS"); s != "" {
		seeds, _ = strconv.Atoi(s)
	}
	if s := os.Getenv("SIGHTLINE_SEED"); s != "" {
		first, _ = strconv.Atoi(s)
		seeds = 1
	}
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { whatever(t, uint64(seed)) })
		})
	}
}

func whatever(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	all := strings.Fields("a b c d e")
	w := newWorld(t, seed, all...)
	defer w.close()
	w.net.set(func() {
		w.net.silent = seed%2 == 0
		w.net.twice = 0.05
		most := 60
		if seed%3 == 0 {
			most = 400 // so late that answers and heartbeats are overtaken
		}
		w.net.delay = time.Duration(1+rng.IntN(most)) * time.Millisecond
	})
	time.Sleep(1500 * time.Millisecond)
	const rooms = 20
	c := w.clients(rooms, seed)
	defer c.end()
	for range 3 {
		var story []string
		for range 2 + rng.IntN(6) {
			time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond)
			switch what := rng.IntN(7); {
			case what == 0 && len(w.nodes) > 2:
				n := w.nodes[rng.IntN(len(w.nodes))]
				story = append(story, "kill "+n.name)
				n.kill()
			case what == 1:
				for _, name := range all {
					if !slices.ContainsFunc(w.nodes, func(n *testNode) bool { return n.name == name }) {
						story = append(story, "start "+name)
						w.start(name)
						break
					}
				}
			case what == 2 && len(w.nodes) > 3:
				n := w.nodes[rng.IntN(len(w.nodes))]
				story = append(story, "drain "+n.name)
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				n.drain(ctx)
				cancel()
				n.end()
			case what == 3:
				lose := rng.Float64() * 0.3
				story = append(story, fmt.Sprintf("lose %.2f", lose))
				w.net.setLose(lose)
			case what == 4:
				from, to := w.nodes[rng.IntN(len(w.nodes))], w.nodes[rng.IntN(len(w.nodes))]
				story = append(story, to.name+" is deaf to "+from.name)
				w.net.mu.Lock()
				w.net.deaf[[2]string{from.id, to.id}] = true
				w.net.mu.Unlock()
			default:
				side := rng.IntN(3)
				var names string
				for _, n := range w.nodes {
					if rng.IntN(2) == 0 {
						w.net.part(n.id, side)
						names += " " + n.name
					}
				}
				story = append(story, fmt.Sprint("side ", side, names))
			}
		}
		w.net.setLose(0)
		w.heal()
		t.Log(strings.Join(story, "; "))
		alive := map[string]bool{}
		for _, n := range w.nodes {
			for _, r := range n.gw.Rooms() {
				alive[r.Room] = true
			}
		}
		time.Sleep(5 * time.Second)
		if id := w.net.stormy(); id != "" {
			t.Fatalf("%s told more than %d messages in a second", id, maxTells)
		}
		for i := range rooms {
			room := fmt.Sprint("room", i)
			owners := w.owners(room)
			if len(owners) > 1 || len(owners) == 0 && alive[room] {
				t.Fatalf("%s has owners %v (alive before: %v)", room, owners, alive[room])
			}
			if len(owners) == 1 {
				w.agreed(room)
			}
			at := 0
			for _, n := range w.nodes {
				if n.gw.has(room) {
					at++
				}
			}
			if at > 1 {
				t.Fatalf("%s lives at %d nodes", room, at)
			}
		}
	}
}

func TestRollingRestartLosesNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5, "a", "b", "c")
		defer w.close()
		time.Sleep(1500 * time.Millisecond)
		c := w.clients(30, 5)
		defer c.end()
		time.Sleep(3 * time.Second)
		for _, name := range strings.Fields("a b c") {
			n := w.node(name)
			had := n.gw.Rooms()
			if err := n.drain(context.Background()); err != nil {
				t.Fatal(err)
			}
			for _, r := range had {
				if m, ok := n.owner(r.Room); !ok || m.ID == n.id {
					t.Errorf("%s has no owner after the drain of %s", r.Room, name)
				}
			}
			n.end()
			w.start(name)
			time.Sleep(5 * time.Second)
		}
		for i := range 30 {
			room := fmt.Sprint("room", i)
			if o := w.agreed(room); !o.gw.has(room) {
				t.Errorf("nobody is in %s", room)
			}
		}
	})
}
