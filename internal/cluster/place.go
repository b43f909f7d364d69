package cluster

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"sightline/internal/fault"
)

const (
	placeWithin     = 4 * time.Second         // all of Place: a client waits no longer
	arbitrateWithin = 3 * time.Second         // an arbiter's part of it
	askArbiter      = 1500 * time.Millisecond // one arbiter, before the next; it may have to wait for a lease
	askTaker        = time.Second
	askOwner        = 500 * time.Millisecond
	nearlyBest      = 0.1  // how much more loaded than the best node the entry may be, and still be chosen
	roomShare       = 0.01 // of a node that a room is thought to take, as long as it is not known better
)

// place returns the room's owner; if there is none, it has one chosen. It returns a
// fault.Unavailable if no node takes the room, or if its owner does not answer, for 4 s at
// most: the lease of one that is dead may end meanwhile.
func (d *directory) place(ctx context.Context, room string) (Member, error) {
	if room == "" || len(room) > maxName {
		return Member{}, fault.New(fault.BadRequest, "a room's name has 1 to %d bytes, not %d", maxName, len(room))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, placeWithin, fault.New(fault.Unavailable,
		"no node of the cluster could be agreed on for room %q within %v: ask again", room, placeWithin).After(2*time.Second))
	defer cancel()
	change, stop := d.watch()
	defer stop()
	for {
		if m, ok := d.present(ctx, room); ok {
			return m, nil
		}
		if d.vacant(room) {
			answer, err := d.askArbiters(ctx, room)
			if err != nil {
				return Member{}, err
			}
			if m, ok := d.expect(room, answer, false); ok {
				return m, nil
			}
		}
		if err := pause(ctx, change); err != nil {
			return Member{}, err
		}
	}
}

// pause is between tries: it waits for a change, but 50 ms at least, since in a large cluster
// there is always one of some room, and 200 ms at most.
func pause(ctx context.Context, change <-chan struct{}) error {
	timer := time.NewTimer(50 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
	}
	timer.Reset(150 * time.Millisecond)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-change:
	case <-timer.C:
	}
	return nil
}

// present returns the room's owner, if it is there. One that has missed a heartbeat is asked.
func (d *directory) present(ctx context.Context, room string) (Member, bool) {
	connected := d.bus.connected()
	d.mu.Lock()
	p, _ := d.ownerLocked(room)
	if p == nil {
		d.mu.Unlock()
		return Member{}, false
	}
	m, heard := p.Member, p == d.me || connected && time.Since(p.heard) < missedBeat
	d.mu.Unlock()
	if heard {
		return m, true
	}
	_, err := ask[struct{}](ctx, d, m.ID, verbPing, askOwner, struct{}{})
	return m, err == nil
}

// vacant reports whether the room has no owner, as far as this node can know: not before it
// has heard of the others' rooms.
func (d *directory) vacant(room string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, _ := d.ownerLocked(room)
	return p == nil && d.settledLocked(time.Now())
}

// expect notes an owner that was just chosen, and returns it if it is known here.
func (d *directory) expect(room string, a ownerAnswer, mine bool) (Member, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.peerLocked(a.Owner)
	if p == nil {
		return Member{}, false
	}
	if len(d.claims[room]) == 0 && len(d.hints) < maxRooms {
		d.hints[room] = hint{a.Owner, a.Epoch, time.Now().Add(expectIt), mine}
	}
	return p.Member, true
}

// askArbiters asks the room's arbiter, or if it does not answer the next one, where the room
// goes.
func (d *directory) askArbiters(ctx context.Context, room string) (a ownerAnswer, err error) {
	d.mu.Lock()
	past := d.past.of(room)
	muted, _ := past.keep(time.Now())
	arbiters := d.arbitersLocked(room)
	d.mu.Unlock()
	q := placeRequest{Room: room, Epoch: past.epoch, Muted: muted}
	for _, id := range arbiters {
		if id == d.id {
			a, err = d.servePlace(ctx, d.id, q)
		} else {
			a, err = ask[ownerAnswer](ctx, d, id, verbPlace, askArbiter, q)
		}
		switch {
		case ctx.Err() != nil:
			return a, context.Cause(ctx)
		case err != nil: // the next one
		case a.Owner == "":
			return a, fault.New(fault.Unavailable, "no node takes room %q: %s", room, cut(a.Refuse, 4*maxName)).After(5 * time.Second)
		default:
			return a, nil
		}
	}
	return a, err
}

// arbitersLocked returns the ids of all nodes in the order in which they are the room's
// arbiters. Those come last that are too young to know what was before, and those that may be
// dead.
func (d *directory) arbitersLocked(room string) []string {
	type arbiter struct {
		id   string
		last int
		rank uint64
	}
	now := time.Now()
	list := []arbiter{{d.id, toInt(d.me.young), rank(room, d.id)}}
	for _, p := range d.peers {
		list = append(list, arbiter{p.ID, toInt(p.young) + 2*toInt(now.Sub(p.heard) > missedBeat), rank(room, p.ID)})
	}
	slices.SortFunc(list, func(a, b arbiter) int { return cmp.Or(cmp.Compare(a.last, b.last), cmp.Compare(b.rank, a.rank)) })
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.id
	}
	return out
}

func toInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// servePlace is the arbiter's part. Whoever asks for a room while it is being placed gets the
// same answer.
func (d *directory) servePlace(ctx context.Context, from string, q placeRequest) (ownerAnswer, error) {
	if q.Room == "" || len(q.Room) > maxName {
		return ownerAnswer{}, fault.New(fault.BadRequest, "a room's name has 1 to %d bytes, not %d", maxName, len(q.Room))
	}
	q.Epoch, q.Muted = min(q.Epoch, maxEpoch), boundNames(q.Muted)
	a, err, _ := d.placing.Do(q.Room, func() (any, error) {
		// The first who asks may go away; the others want to know all the same.
		within := arbitrateWithin
		if deadline, ok := ctx.Deadline(); ok {
			within = min(within, time.Until(deadline))
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
		defer cancel()
		return d.arbitrate(ctx, from, q)
	})
	if err != nil {
		return ownerAnswer{}, err
	}
	return a.(ownerAnswer), nil
}

// arbitrate finds a node for a room that has none.
func (d *directory) arbitrate(ctx context.Context, entry string, q placeRequest) (ownerAnswer, error) {
	change, stop := d.watch()
	defer stop()
	refused := map[string]string{} // why, by id
	for {
		if m, ok := d.present(ctx, q.Room); ok {
			d.mu.Lock()
			_, epoch := d.ownerLocked(q.Room)
			d.mu.Unlock()
			return ownerAnswer{Owner: m.ID, Epoch: epoch}, nil
		}
		if d.vacant(q.Room) {
			taker, t := d.choose(entry, q, refused)
			if taker == "" {
				return ownerAnswer{Refuse: d.reasons(refused)}, nil
			}
			a, err := d.offer(ctx, taker, t)
			d.offerEnds(q.Room, taker, a)
			switch {
			case err != nil:
				refused[taker] = "does not answer"
			case a.Owner == "":
				refused[taker] = a.Refuse
			default:
				if _, ok := d.expect(q.Room, a, a.Owner == taker); ok {
					return a, nil
				}
				refused[taker] = "names an owner that is not there"
			}
			continue
		}
		if err := pause(ctx, change); err != nil {
			return ownerAnswer{}, fault.New(fault.Unavailable, "room %q: its node does not answer", q.Room).After(2 * time.Second)
		}
	}
}

// offerEnds counts a placement, or takes back the load that was expected of it.
func (d *directory) offerEnds(room, taker string, a ownerAnswer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.offered, room)
	if a.Owner == taker {
		d.stats.placements++
	} else if p := d.peers[taker]; p != nil {
		p.fresh.add(-1, time.Now())
	}
}

// choose returns the best node for a room, and what to say to it; "" if there is none left.
// The load that the room will bring is counted at once: a thousand rooms may come between two
// heartbeats.
func (d *directory) choose(entry string, q placeRequest, refused map[string]string) (string, takeRequest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	past := d.past.of(q.Room)
	muted, died := past.keep(now)
	t := takeRequest{Room: q.Room, Epoch: max(past.epoch, q.Epoch) + 1, Muted: union(muted, q.Muted), Died: died}
	p := d.chooseLocked(q.Room, entry, refused, now)
	if p == nil {
		return "", t
	}
	d.offered[q.Room] = p.ID
	if p != d.me { // take counts it
		p.fresh.add(1, now)
	}
	return p.ID, t
}

// chooseLocked returns the node with the least load that takes rooms and has not refused;
// the entry if it is nearly as good, nil if there is none. Of equal ones each room has its own
// order.
func (d *directory) chooseLocked(room, entry string, refused map[string]string, now time.Time) *peer {
	var best, near *peer
	var least float64
	consider := func(p *peer) {
		if _, ok := refused[p.ID]; ok || p.Draining || p.Full {
			return
		}
		load := p.estimate(now)
		if p != d.me && now.Sub(p.heard) > missedBeat {
			load += 10 // only if there is no other
		}
		if best == nil || load < least || load == least && rank(room, p.ID) > rank(room, best.ID) {
			best, least = p, load
		}
		if p.ID == entry {
			near = p
		}
	}
	consider(d.me)
	for _, p := range d.peers {
		consider(p)
	}
	if near != nil && near.estimate(now) <= least+nearlyBest {
		return near
	}
	return best
}

// estimate is the node's load with that of the rooms that came to it lately, which will show
// only when people are in them.
func (p *peer) estimate(now time.Time) float64 {
	each := roomShare
	if share := p.Load.share(); share > 0 && p.Load.Rooms > 0 {
		each = min(max(share/float64(p.Load.Rooms), roomShare/10), roomShare*10)
	}
	return p.Load.share() + each*p.fresh.value(now)
}

// reasons says why no node takes a room.
func (d *directory) reasons(refused map[string]string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	say := func(p *peer) {
		why, ok := refused[p.ID]
		switch {
		case ok:
		case p.Draining:
			why = "drains"
		case p.Full:
			why = "is full"
		default:
			return
		}
		out = append(out, cut(p.Name, 64)+" "+cut(why, 64))
	}
	say(d.me)
	for _, p := range d.peers {
		say(p)
	}
	slices.Sort(out)
	if n := len(out); n > 5 {
		out = append(out[:5], "and more")
	}
	return strings.Join(out, ", ")
}

// offer has a node take a room, this one too.
func (d *directory) offer(ctx context.Context, to string, t takeRequest) (ownerAnswer, error) {
	if to == d.id {
		return d.take(ctx, d.id, t)
	}
	return ask[ownerAnswer](ctx, d, to, verbTake, askTaker, t)
}

// take makes a room this node's, unless it takes none, or knows that another node has it
// beside the one that gives it away. The gateway knows when it returns.
func (d *directory) take(ctx context.Context, _ string, t takeRequest) (ownerAnswer, error) {
	if t.Room == "" || len(t.Room) > maxName {
		return ownerAnswer{}, fault.New(fault.BadRequest, "a room's name has 1 to %d bytes, not %d", maxName, len(t.Room))
	}
	a := d.takeNow(t)
	if a.Owner == d.id {
		d.lanes.wait(ctx, t.Room)
	}
	return a, nil
}

func (d *directory) takeNow(t takeRequest) ownerAnswer {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	t.Epoch, t.Muted = min(t.Epoch, maxEpoch), boundNames(t.Muted)
	if o := d.own[t.Room]; o != nil {
		o.alive = now
		if t.From != "" {
			if d.bytes+t.size() > maxBytes {
				return ownerAnswer{Refuse: "has too many rooms"}
			}
			d.bytes += t.size()
			d.mergeLocked(o, t.Muted)
			d.raiseLocked(o, t.Weight, now)
		}
		return ownerAnswer{Owner: d.id, Epoch: o.Epoch}
	}
	for _, c := range d.claims[t.Room] {
		if c.of.ID != t.From {
			return ownerAnswer{Owner: c.of.ID, Epoch: c.rec.Epoch}
		}
		t.Epoch = max(t.Epoch, c.rec.Epoch+1)
	}
	switch {
	case d.started.IsZero():
		return ownerAnswer{Refuse: "is not running"}
	case d.me.Draining:
		return ownerAnswer{Refuse: "drains"}
	case d.me.Full:
		return ownerAnswer{Refuse: "is full"}
	case len(d.own) >= maxRooms || d.bytes+t.size() > maxBytes:
		return ownerAnswer{Refuse: "has too many rooms"}
	}
	past := d.past.of(t.Room)
	muted, died := past.keep(now)
	switch {
	case t.From != "":
		d.stats.takeovers[Drained]++
	case died || t.Died:
		d.stats.takeovers[Died]++
	}
	keep := Keep{Muted: boundNames(union(muted, t.Muted))}
	o := d.claimLocked(t.Room, max(t.Epoch, past.epoch+1), t.From, keep.Muted, now)
	d.raiseLocked(o, t.Weight, now)
	d.lanes.add(t.Room, func() { d.local.Taken(t.Room, keep) })
	return ownerAnswer{Owner: d.id, Epoch: o.Epoch}
}
