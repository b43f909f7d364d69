package cluster

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"sightline/internal/fault"
)

const (
	maxGraves = 4096
	maxPages  = 256             // of one answer: 20,000 rooms of 2 KiB are 160
	askWithin = 2 * time.Second // how long a node may take for an answer with some of its rooms
)

// poll compares what the gateway has with what is told of it.
func (d *directory) poll() {
	d.polling.Lock()
	defer d.polling.Unlock()
	rooms := d.local.Rooms()
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	strays := map[string]time.Time{}
	for _, r := range rooms {
		o := d.own[r.Room]
		if o == nil {
			if o = d.strayLocked(r.Room, strays, now); o == nil {
				continue
			}
		}
		o.alive = now
		d.updateLocked(o, r)
	}
	d.strays = strays
	d.bytes = 0
	for room, o := range d.own {
		d.bytes += o.size()
		if o.alive.Equal(now) {
			continue // named
		}
		if d.holds[room] > 0 {
			o.alive = now
		}
		if now.Sub(o.alive) > d.linger {
			d.dropLocked(o)
			continue
		}
		d.updateLocked(o, RoomState{Room: room, Muted: o.Muted}) // mutes stay as long as the room does
	}
}

// strayLocked is for a room that lives here though it is not this node's. One that is
// nobody's is claimed, and returned. The sessions of another's must go: some were about to
// come into being when it was lost.
func (d *directory) strayLocked(room string, strays map[string]time.Time, now time.Time) *owned {
	p, _ := d.ownerLocked(room)
	if p == nil || p == d.me {
		if !d.settledLocked(now) || len(d.own) >= maxRooms {
			return nil
		}
		past := d.past.of(room)
		muted, _ := past.keep(now)
		if len(muted) > 0 {
			d.lanes.add(room, func() { d.local.Taken(room, Keep{Muted: muted}) })
		}
		return d.claimLocked(room, past.epoch+1, "", muted, now)
	}
	said, ok := d.strays[room]
	if !ok || now.Sub(said) > time.Second {
		said = now
		to := p.Member
		d.lanes.add(room, func() { d.local.Lost(room, to, Contested) })
	}
	strays[room] = said
	return nil
}

// updateLocked takes in what a room of this node's own has become.
func (d *directory) updateLocked(o *owned, s RoomState) {
	s.Tracks, s.Muted = boundNames(s.Tracks), boundNames(s.Muted)
	same := o.Publishers == s.Publishers && o.Deaf == s.Deaf && o.Sessions == s.Sessions && slices.Equal(o.Tracks, s.Tracks) && slices.Equal(o.Muted, s.Muted)
	if same {
		return
	}
	o.Publishers, o.Deaf, o.Sessions, o.Tracks, o.Muted = s.Publishers, s.Deaf, s.Sessions, s.Tracks, s.Muted
	d.tellLocked(o)
}

// claimLocked makes a room this node's own.
func (d *directory) claimLocked(room string, epoch uint64, from string, muted []string, now time.Time) *owned {
	o := &owned{record: record{Room: room, Epoch: epoch, Since: now.UnixMilli(), Muted: boundNames(muted), From: from}, since: now, alive: now}
	d.own[room] = o
	d.bytes += o.size()
	d.me.fresh.add(1, now)
	d.addClaimLocked(d.me, &o.record)
	d.tellLocked(o)
	d.judgeLocked(o, now)
	return o
}

// dropLocked lets go of a room. What it said last is told with its end: its mutes are for
// who has won it.
func (d *directory) dropLocked(o *owned) {
	delete(d.own, o.Room)
	d.removeClaimLocked(d.me, o.Room)
	d.past.ended(o.Room, o.Epoch, time.Now())
	d.dirty[o.Room] = struct{}{}
	if d.told[o.Room] != 0 {
		d.graves = append(d.graves, record{Room: o.Room, Epoch: o.Epoch, Muted: o.Muted, Gone: true})
	}
	poke(d.wakeup)
}

// tellLocked has what o says told.
func (d *directory) tellLocked(o *owned) {
	d.dirty[o.Room] = struct{}{}
	poke(d.wakeup)
}

// outgoing numbers what has changed, and returns what is to be told now.
func (d *directory) outgoing() (out []message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := d.number
	var list []record
	last := map[string]record{} // what those said that are gone
	for i := len(d.graves) - 1; i >= 0 && d.graves[i].Number == 0; i-- {
		if g := d.graves[i]; last[g.Room].Room == "" {
			last[g.Room] = g
		}
		d.graves = d.graves[:i]
	}
	for room := range d.dirty {
		was := d.told[room]
		o := d.own[room]
		if o == nil && was == 0 {
			continue // came and went unseen
		}
		d.number++
		if was != 0 {
			d.digest -= mark(room, was)
		}
		if o != nil {
			o.Number = d.number
			d.told[room] = d.number
			d.digest += mark(room, d.number)
			list = append(list, o.record)
			continue
		}
		delete(d.told, room)
		g := last[room]
		g.Number = d.number
		d.graves = append(d.graves, g)
		list = append(list, g)
	}
	clear(d.dirty)
	if n := len(d.graves) - maxGraves; n > 0 {
		d.floor = d.graves[n-1].Number
		d.graves = slices.Clone(d.graves[n:])
	}
	for _, c := range pack(after, list) {
		out = append(out, message{Changes: &c})
	}
	if d.beatDue {
		d.beatDue = false
		d.beats++
		m := d.me
		out = append(out, message{Beat: &beat{
			Seq: d.beats, Name: m.Name, URL: m.URL, Version: m.Version, Since: m.Since.UnixMilli(),
			Load: m.Load, Draining: m.Draining, Full: m.Full, Busy: m.Busy, Young: m.young,
			Number: d.number, Rooms: len(d.told), Digest: d.digest,
		}})
	}
	return out
}

// serveChanges answers who has missed something. What has no number yet is told soon.
func (d *directory) serveChanges(_ context.Context, _ string, q changesRequest) (changes, error) {
	d.mu.Lock()
	// In an answer that begins anew there is nothing of what was gone by then.
	full := q.After == 0 || max(q.After, q.Began) < d.floor || q.After > d.number
	if full {
		q = changesRequest{Began: d.number}
	}
	var list []record
	for room, number := range d.told {
		if o := d.own[room]; o != nil && number > q.After {
			list = append(list, o.record)
		}
	}
	for _, g := range d.graves {
		if g.Number > q.After && !full {
			list = append(list, g)
		}
	}
	upto := d.number
	d.mu.Unlock()

	slices.SortFunc(list, func(a, b record) int { return cmp.Compare(a.Number, b.Number) })
	pages := pack(q.After, list)
	if len(pages) == 0 {
		return changes{After: q.After, Upto: upto, Full: full}, nil
	}
	page := pages[0]
	page.Full, page.More, page.Began = full, len(pages) > 1, q.Began
	if !page.More {
		page.Upto = upto
	}
	return page, nil
}

// changesLocked takes in what a peer tells of its rooms.
func (d *directory) changesLocked(p *peer, c *changes) {
	switch {
	case !p.complete:
		p.behind = true // it is being asked for everything, and then for this
	case c.Upto <= p.have:
	case c.After > p.have:
		d.stats.gaps++
		d.behindLocked(p, false)
	default:
		d.applyLocked(p, c, true)
	}
}

// applyLocked brings the copy of p's rooms from p.have to c.Upto, unless it is further already:
// an answer may be overtaken by what is told after it.
func (d *directory) applyLocked(p *peer, c *changes, fresh bool) {
	now := time.Now()
	for i := range c.Rooms {
		r := &c.Rooms[i]
		if r.Number <= p.have || r.Number > c.Upto || !r.bound() {
			continue
		}
		d.recordLocked(p, r, fresh, now)
	}
	p.have = max(p.have, c.Upto)
}

// recordLocked puts one record into the copy, or takes it out if the room is gone.
func (d *directory) recordLocked(p *peer, r *record, fresh bool, now time.Time) {
	was := p.records[r.Room]
	if was != nil {
		p.digest -= mark(r.Room, was.Number)
		d.sizeLocked(p, -was.size())
	}
	switch {
	case r.Gone:
		if was == nil {
			return
		}
		delete(p.records, r.Room)
		d.removeClaimLocked(p, r.Room)
		d.past.ended(r.Room, r.Epoch, now)
	case was == nil && len(p.records) >= maxRooms, r.size() > min(maxBytes-p.bytes, d.spare):
		if was != nil {
			delete(p.records, r.Room)
			d.removeClaimLocked(p, r.Room)
		}
		d.stats.refused++
		return
	default:
		if h := d.hints[r.Room]; was == nil && fresh && d.offered[r.Room] != p.ID && !(h.mine && h.id == p.ID) {
			p.fresh.add(1, now)
		}
		p.records[r.Room] = r
		p.digest += mark(r.Room, r.Number)
		d.sizeLocked(p, r.size())
		d.addClaimLocked(p, r)
	}
	if o := d.own[r.Room]; o != nil {
		if r.Gone && !o.contested.IsZero() {
			d.winLocked(o, []claim{{p, r}}) // it let go before its weight was heard
		}
		d.judgeLocked(o, now)
	}
}

// sizeLocked counts what p's records take.
func (d *directory) sizeLocked(p *peer, bytes int) {
	p.bytes += bytes
	d.spare -= bytes
}

// behindLocked has p asked for what is missing here, or for everything.
func (d *directory) behindLocked(p *peer, anew bool) {
	p.behind = true
	p.anew = p.anew || anew
	poke(d.fetchup)
}

// fetchAll asks those whose copies are behind, four at a time, until ctx is done.
func (d *directory) fetchAll(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(4)
	defer g.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.fetchup:
		}
		for _, p := range d.toAsk() {
			g.Go(func() error {
				d.fetch(ctx, p)
				return nil
			})
		}
	}
}

func (d *directory) toAsk() (out []*peer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for _, p := range d.peers {
		if p.behind && !p.asking && now.After(p.retry) {
			p.asking = true
			out = append(out, p)
		}
	}
	return out
}

// fetch brings the copy of p's rooms up to date. If that fails, or all that p gave is still
// not what it says to have, it is tried again less and less often.
func (d *directory) fetch(ctx context.Context, p *peer) {
	anew, err := d.fetchPages(ctx, p)
	d.mu.Lock()
	defer d.mu.Unlock()
	p.asking = false
	if anew || err != nil {
		p.failed++ // until a beat says that the copy is right
	} else {
		p.failed = 0
	}
	longest := 10 * time.Second
	if err != nil {
		longest = time.Second // it was out of reach; it may be in reach at any time
		p.behind = true
		d.log.Debug("a node's rooms can't be had", "node", p.Name, "id", p.ID, "err", err)
	}
	p.retry = time.Now().Add(min(pollEvery<<max(0, min(p.failed, 10)-2), longest))
}

// fetchPages asks for what is missing, or for everything (anew).
func (d *directory) fetchPages(ctx context.Context, p *peer) (anew bool, err error) {
	d.mu.Lock()
	id, q := p.ID, changesRequest{After: p.have}
	if anew = p.anew || !p.complete; anew {
		q.After = 0
	}
	p.behind, p.anew = false, false
	d.stats.fetches++
	d.mu.Unlock()

	var all map[string]*record // of an answer that begins anew
	size, records := 0, 0
	for range maxPages {
		c, err := ask[changes](ctx, d, id, verbChanges, askWithin, q)
		if err != nil {
			return anew, err
		}
		if records += len(c.Rooms); records > 2*maxRooms {
			break
		}
		if c.Full {
			all, size, q.Began = map[string]*record{}, 0, c.Began
		}
		if c.More && c.Upto <= q.After && !c.Full {
			c.More = false // it would never end
		}
		q.After = c.Upto
		if all == nil {
			d.mu.Lock()
			if d.peers[id] == p {
				d.applyLocked(p, &c, false)
			}
			d.mu.Unlock()
		}
		for i := range c.Rooms {
			switch r := &c.Rooms[i]; {
			case all == nil:
			case r.Gone:
				delete(all, r.Room)
			case r.bound() && size < maxBytes:
				size += r.size()
				all[r.Room] = r
			}
		}
		if c.More {
			continue
		}
		if all != nil {
			d.replace(p, all, q.After)
		}
		return anew, nil
	}
	return anew, fault.New(fault.TooLarge, "node %s has more rooms than the %d that a node may have", id, maxRooms)
}

// replace makes all that p had at a number the copy of its rooms, unless the copy is further
// already: a claim that has been let go of would come back, with the weight that it had then.
func (d *directory) replace(p *peer, all map[string]*record, number uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.peers[p.ID] != p || p.complete && number < p.have {
		return
	}
	now := time.Now()
	for room, r := range maps.Clone(p.records) {
		if all[room] == nil {
			d.recordLocked(p, &record{Room: room, Epoch: r.Epoch, Muted: r.Muted, Gone: true}, false, now)
		}
	}
	for _, r := range all {
		d.recordLocked(p, r, false, now)
	}
	p.have, p.complete = number, true
	d.changedLocked()
}

// settledLocked reports whether this node knows what the others have: it has been here for
// long enough to have heard of each, and to have asked it.
func (d *directory) settledLocked(now time.Time) bool {
	if d.started.IsZero() || now.Sub(d.started) < settleTime {
		return false
	}
	for _, p := range d.peers {
		if !p.complete && now.Sub(p.first) < 2*time.Second {
			return false
		}
	}
	return true
}
