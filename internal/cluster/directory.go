package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"sightline/internal/fault"
)

const (
	beatEvery  = 500 * time.Millisecond
	pollEvery  = 100 * time.Millisecond  // of Local.Rooms
	missedBeat = beatEvery + beatEvery/2 // a node that is not heard for so long may be gone
	settleTime = 2 * beatEvery           // after the start: every node that can be heard has been
	youngFor   = time.Minute             // after the start: what was before is not known
	rememberIt = time.Minute             // the epoch of a room that has ended, the mutes of one whose owner died, a weight that was told
	expectIt   = 2 * time.Second         // the record of a room that was just placed
)

// A directory is this node's copy of who is there and which room lives where, and its say in
// it. It is a state machine over a bus:
//
//	beats, changes ──▶ peers, claims ──▶ judge (two claims of a room) ──▶ drop, or raise the epoch
//	Local.Rooms, take ──▶ own ──▶ dirty ──▶ numbered, told
//
// All state is under one lock, which is never held while the bus or the gateway is called: what
// is to be told is made under the lock by the one goroutine that sends, and calls of the
// gateway wait in lanes.
type directory struct {
	lease, linger         time.Duration
	fullAbove, relayAbove float64

	id    string
	bus   bus
	local Local
	log   *slog.Logger
	lost  func(id string) // a member is no more; set before run, must not block for long

	lanes   lanes
	placing singleflight.Group // by room, at its arbiter
	polling sync.Mutex         // held for a poll, so that no older look comes after a newer one; before mu
	wakeup  chan struct{}      // there is something to send
	fetchup chan struct{}      // a peer is behind

	mu       sync.Mutex // guards what follows
	me       *peer      // this node; it has no records, see own
	started  time.Time  // of run; zero before
	peers    map[string]*peer
	spare    int                  // bytes that records of peers may still take
	departed map[string]time.Time // ids that have said good-bye: what still comes of them is late
	claims   map[string][]claim   // by room: of peers and of this node; more than one only in a contest or a hand-over
	hints    map[string]hint      // rooms that were just placed, until their record is here
	offered  map[string]string    // rooms that this node is placing, and where: their load is counted
	past     memory               // rooms that have ended, or whose owner died
	holds    map[string]int
	watchers map[chan struct{}]struct{}

	own     map[string]*owned
	bytes   int                  // of own: as of the last poll, and what has come since
	strays  map[string]time.Time // rooms that live here though they are another's; when Lost was said
	dirty   map[string]struct{}  // rooms whose change has no number yet
	told    map[string]uint64    // rooms of the last told state, with their numbers
	graves  []record             // the last rooms let go of, by number
	floor   uint64               // of graves: who knows no more than this can't be told what has gone since
	number  uint64               // of the last change
	digest  uint64               // of told
	beatDue bool
	beats   uint64
	ticked  time.Time
	apart   time.Time // since when the engine is lost; zero: it is not
	counted bool      // apart has been counted

	stats directoryStats
}

// A claim is a node's record of a room, as this node has it.
type claim struct {
	of  *peer
	rec *record
}

// A hint is an owner whose own word is not here yet.
type hint struct {
	id    string
	epoch uint64
	until time.Time
	mine  bool // this node has placed it, and counted its load
}

// An owned room is one that lives on this node.
type owned struct {
	record
	since     time.Time // of the claim
	alive     time.Time // when it was last named by Local.Rooms, or held
	contested time.Time // since when others claim it; zero: none does
	won       bool      // this contest has been counted
	merged    []string  // mutes that this contest has brought
	weighed   weight    // the last weight that was told, and
	weighedAt time.Time // until when
	gave      *weight   // the weight that was offered with the room
}

// newDirectory returns a directory, which does nothing before run. self is how this node
// presents itself; its load and flags come from local.
func newDirectory(config Config, self Member, local Local, b bus, log *slog.Logger) *directory {
	d := &directory{
		lease: config.Lease.D(), linger: config.Linger.D(),
		fullAbove: config.FullAbove, relayAbove: config.RelayAbove,
		id: self.ID, bus: b, local: local, log: log, lost: func(string) {},
		lanes:  newLanes(),
		wakeup: make(chan struct{}, 1), fetchup: make(chan struct{}, 1),
		me:    &peer{Member: self, young: true},
		peers: map[string]*peer{}, spare: maxAllBytes, departed: map[string]time.Time{}, claims: map[string][]claim{}, hints: map[string]hint{}, offered: map[string]string{},
		holds: map[string]int{}, watchers: map[chan struct{}]struct{}{},
		own: map[string]*owned{}, strays: map[string]time.Time{}, dirty: map[string]struct{}{}, told: map[string]uint64{},
	}
	d.stats.init()
	b.onTell(topic, d.heard)
	serve(d, verbPlace, d.servePlace)
	serve(d, verbTake, d.take)
	serve(d, verbChanges, d.serveChanges)
	serve(d, verbPing, func(context.Context, string, struct{}) (struct{}, error) { return struct{}{}, nil })
	return d
}

// serve answers calls of other nodes, from JSON to JSON.
func serve[Q, A any](d *directory, verb string, f func(ctx context.Context, from string, q Q) (A, error)) {
	d.bus.onCall(verb, func(ctx context.Context, from string, data []byte) ([]byte, error) {
		d.count(true, verb, len(data))
		var q Q
		if err := json.Unmarshal(data, &q); err != nil {
			return nil, fault.New(fault.BadRequest, "%s: %w", verb, err)
		}
		a, err := f(ctx, from, q)
		if err != nil {
			return nil, err
		}
		return encode(a), nil
	})
}

// ask calls another node. It waits for timeout at most.
func ask[A any](ctx context.Context, d *directory, to, verb string, timeout time.Duration, q any) (a A, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	data := encode(q)
	d.count(false, verb, len(data))
	data, err = d.bus.call(ctx, to, verb, data)
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(data, &a)
}

// run takes part in the cluster until ctx is done. Every goroutine of the directory is gone
// when it returns; the rooms are still told to be here until leave.
func (d *directory) run(ctx context.Context) error {
	d.mu.Lock()
	now := time.Now()
	d.started, d.ticked, d.beatDue = now, now, true
	d.mu.Unlock()
	d.loadBeat()

	g, ctx := errgroup.WithContext(ctx)
	d.lanes.run(ctx, g)
	g.Go(func() error { return d.send(ctx) })
	g.Go(func() error { return d.fetchAll(ctx) })
	g.Go(func() error { return d.tick(ctx) })
	err := g.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.started = time.Time{}
	return err
}

// tick is the clock of the directory.
func (d *directory) tick(ctx context.Context) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			d.loadBeat()
		case <-ticker.C:
			d.poll()
			d.expire()
		}
	}
}

// poke wakes who waits for c, a channel of one place.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// send makes and tells all that there is to tell, in order.
func (d *directory) send(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.wakeup:
		}
		for _, m := range d.outgoing() {
			d.tell(m)
		}
	}
}

func (d *directory) tell(m message) {
	data := encode(m)
	d.count(false, m.kind(), len(data))
	if err := d.bus.tell(topic, data); err != nil {
		d.log.Debug("not told to the other nodes", "what", m.kind(), "err", err) // the next beat makes them ask
	}
}

func (m message) kind() string {
	switch {
	case m.Beat != nil:
		return "beat"
	case m.Changes != nil:
		return "changes"
	}
	return "bye"
}

// heard takes in what another node tells.
func (d *directory) heard(from string, data []byte) {
	var m message
	if err := json.Unmarshal(data, &m); err != nil {
		d.log.Debug("a node tells what is no message", "from", from, "err", err)
		return
	}
	d.count(true, m.kind(), len(data))
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case from == d.id || from == "" || len(from) > maxName || d.started.IsZero():
	case m.Beat != nil:
		d.beatLocked(from, m.Beat)
	case m.Changes != nil:
		if p := d.peers[from]; p != nil {
			d.changesLocked(p, m.Changes)
		}
	case m.Bye:
		if len(d.departed) < maxMembers {
			d.departed[from] = time.Now()
		}
		if p := d.peers[from]; p != nil {
			d.removeLocked(p, "left")
		}
	}
}

// leave tells the others that this node is gone, so that they need not wait for its lease to
// end. After run.
func (d *directory) leave() { d.tell(message{Bye: true}) }

// members returns who is there, by name, this node among them.
func (d *directory) members() []Member {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := []Member{d.me.Member}
	for _, p := range d.peers {
		out = append(out, p.Member)
	}
	slices.SortFunc(out, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return out
}

func (d *directory) member(id string) (Member, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.peerLocked(id); p != nil {
		return p.Member, true
	}
	return Member{}, false
}

func (d *directory) peerLocked(id string) *peer {
	if id == d.id {
		return d.me
	}
	return d.peers[id]
}

// owner returns the room's owner as far as it is known here. It does not wait.
func (d *directory) owner(room string) (Member, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p, _ := d.ownerLocked(room); p != nil {
		return p.Member, true
	}
	return Member{}, false
}

// ownerLocked returns nil if the room has no owner.
func (d *directory) ownerLocked(room string) (*peer, uint64) {
	if c := d.claims[room]; len(c) > 0 {
		best := d.best(c)
		return best.of, best.rec.Epoch
	}
	if h, ok := d.hints[room]; ok && time.Now().Before(h.until) {
		return d.peerLocked(h.id), h.epoch
	}
	return nil, 0
}

// muted returns who is muted in a room, as far as that is known here.
func (d *directory) muted(room string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for _, c := range d.claims[room] { // each that may hold
		all = union(all, c.rec.Muted)
	}
	if len(d.claims[room]) == 0 {
		all, _ = d.past.of(room).keep(time.Now())
	}
	return all
}

// best returns the claim that holds: in a contest, once all are frozen, the one that will
// win it; else that of the highest epoch.
func (d *directory) best(claims []claim) claim {
	frozen := !slices.ContainsFunc(claims, func(c claim) bool { return c.rec.Weight == nil })
	return slices.MaxFunc(claims, func(a, b claim) int {
		if frozen {
			return compareClaims(a, b)
		}
		return cmp.Or(cmp.Compare(a.rec.Epoch, b.rec.Epoch), cmp.Compare(b.of.ID, a.of.ID))
	})
}

// compareClaims compares two frozen claims.
func compareClaims(a, b claim) int {
	return compareWeights(*a.rec.Weight, a.of.Name, a.of.ID, *b.rec.Weight, b.of.Name, b.of.ID)
}

// hold keeps a room here, although nobody is in it yet: release it once.
func (d *directory) hold(room string) (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.holds[room]++
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.holds[room]--; d.holds[room] == 0 {
			delete(d.holds, room)
		}
		if o := d.own[room]; o != nil {
			o.alive = time.Now()
		}
	})
}

// entries returns all rooms that have an owner, by name.
func (d *directory) entries() []Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]Entry, 0, len(d.claims))
	for _, claims := range d.claims {
		c := d.best(claims)
		out = append(out, Entry{RoomState: c.rec.state(), Owner: c.of.ID, Epoch: c.rec.Epoch, Since: time.UnixMilli(c.rec.Since)})
	}
	slices.SortFunc(out, func(a, b Entry) int { return cmp.Compare(a.Room, b.Room) })
	return out
}

// watch returns a channel that has a value when members, or owners of rooms, have changed
// since the last one was taken.
func (d *directory) watch() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watchers[c] = struct{}{}
	return c, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watchers, c)
	}
}

func (d *directory) changedLocked() {
	for c := range d.watchers {
		poke(c)
	}
}

// addClaimLocked puts a claim, or what it says now, where it is found by its room.
func (d *directory) addClaimLocked(p *peer, r *record) {
	list := d.claims[r.Room]
	for i := range list {
		if list[i].of == p {
			if list[i].rec.Epoch != r.Epoch {
				d.changedLocked()
			}
			list[i].rec = r
			return
		}
	}
	d.claims[r.Room] = append(list, claim{p, r})
	delete(d.hints, r.Room)
	d.past.inherited(r.Room, time.Now())
	d.changedLocked()
}

func (d *directory) removeClaimLocked(p *peer, room string) {
	list := slices.DeleteFunc(d.claims[room], func(c claim) bool { return c.of == p })
	if len(list) == 0 {
		delete(d.claims, room)
	} else {
		d.claims[room] = list
	}
	d.changedLocked()
}
