package cluster

import (
	"maps"
	"math"
	"slices"
	"time"
)

// A peer is a node that is there, and the copy of its rooms.
type peer struct {
	Member
	young bool
	twin  bool // another node has the same name, and both are there
	seq   uint64
	first time.Time // heard
	heard time.Time // last
	fresh decaying  // rooms that came to it lately, which its load does not show yet

	records  map[string]*record
	have     uint64 // the number of the last change that records know
	digest   uint64 // of records
	bytes    int    // of records
	complete bool   // records have been all of its rooms once
	behind   bool   // they are not now: ask
	anew     bool   // for all of them
	asking   bool
	failed   int       // times in a row
	retry    time.Time // not to be asked before
}

// beatLocked takes in a heartbeat.
func (d *directory) beatLocked(from string, b *beat) {
	now := time.Now()
	p := d.peers[from]
	if p == nil {
		if _, late := d.departed[from]; late || len(d.peers) >= maxMembers {
			return
		}
		p = &peer{first: now, records: map[string]*record{}}
		p.ID = from
		d.peers[from] = p
		defer func() { d.log.Info("node joined", "node", p.Name, "id", p.ID, "version", p.Version) }()
	} else if b.Seq <= p.seq {
		return // a duplicate
	}
	known := p.Member
	p.seq, p.heard, p.young = b.Seq, now, b.Young
	p.Member = Member{
		Name: cut(b.Name, maxName), ID: from, URL: cut(b.URL, maxURL), Version: cut(b.Version, maxName), Since: time.UnixMilli(b.Since),
		Load: b.Load.sane(), Draining: b.Draining, Full: b.Full, Busy: b.Busy,
	}
	if known.Name != p.Name || known.URL != p.URL || known.Draining != p.Draining || known.Full != p.Full || known.Busy != p.Busy {
		d.changedLocked()
	}
	d.namesakesLocked(p, now)

	switch {
	case b.Number == p.have && b.Digest == p.digest && b.Rooms == len(p.records) && !p.anew:
		p.complete, p.behind, p.failed = true, false, 0
	case b.Number > p.have && p.complete:
		d.stats.gaps++
		d.behindLocked(p, false)
	case b.Number < p.have && p.complete: // an answer that was made later has come before it
	case p.asking: // the next beat tells whether the answer was right
	default:
		d.behindLocked(p, true)
	}
}

// namesakesLocked tells a node that was started again from two that have one name by
// mistake. In both cases a second id shows up under the name; but only in the latter the
// first one is heard after that. It is called when p is heard.
func (d *directory) namesakesLocked(p *peer, now time.Time) {
	for _, q := range d.peers {
		if q == p || q.Name != p.Name {
			continue
		}
		if q.first.After(p.first) && now.Sub(q.first) > beatEvery/2 {
			d.twinsLocked(p, q)
		}
	}
	if p.Name == d.me.Name {
		d.twinsLocked(p, d.me)
	}
}

func (d *directory) twinsLocked(p, q *peer) {
	if p.twin && q.twin {
		return
	}
	p.twin, q.twin = true, true
	d.log.Error("two nodes have the same name: give each its own cluster.name; which of them a line of a log or a metric means can't be told",
		"name", p.Name, "ids", []string{p.ID, q.ID}, "urls", []string{p.URL, q.URL})
}

// untwinLocked gives the name to the one node that has it still, if there is but one.
func (d *directory) untwinLocked(name string) {
	var left []*peer
	for _, q := range append(slices.Collect(maps.Values(d.peers)), d.me) {
		if q.Name == name {
			left = append(left, q)
		}
	}
	if len(left) == 1 {
		left[0].twin = false
	}
}

// expire takes out who is not heard any more, and forgets what need not be known longer.
func (d *directory) expire() {
	connected := d.bus.connected()
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	// While this node stood still (stopped, or starved), others may have been heard by nobody
	// here: their time begins again.
	if stood := now.Sub(d.ticked); stood > time.Second {
		for _, p := range d.peers {
			if p.heard = p.heard.Add(stood); p.heard.After(now) {
				p.heard = now
			}
		}
	}
	d.ticked = now
	switch {
	case connected:
		d.apart, d.counted = time.Time{}, false
	case d.apart.IsZero():
		d.apart = now
	case !d.counted && now.Sub(d.apart) > d.lease:
		d.counted = true
		d.stats.alone++
	}
	for _, p := range slices.Collect(maps.Values(d.peers)) {
		switch unheard := now.Sub(p.heard); {
		case unheard > d.lease:
			d.stats.died++
			d.removeLocked(p, "not heard")
		case unheard > missedBeat && !p.twin && d.hasSuccessorLocked(p):
			d.removeLocked(p, "started again")
		}
	}
	for id, at := range d.departed {
		if now.Sub(at) > max(10*time.Second, 2*d.lease) {
			delete(d.departed, id)
		}
	}
	for room, h := range d.hints {
		if now.After(h.until) {
			delete(d.hints, room)
		}
	}
	d.past.age(now)
	if d.me.young && now.Sub(d.started) > youngFor {
		d.me.young = false
	}
	for room, o := range d.own {
		if !o.contested.IsZero() || len(d.claims[room]) > 1 {
			d.judgeLocked(o, now)
		}
	}
	for _, p := range d.peers {
		if p.behind {
			poke(d.fetchup)
			break
		}
	}
}

func (d *directory) hasSuccessorLocked(p *peer) bool {
	for _, q := range d.peers {
		if q.Name == p.Name && q.first.After(p.first) {
			return true
		}
	}
	return false
}

// removeLocked takes a member out. Its rooms have no owner then, unless others claim them.
func (d *directory) removeLocked(p *peer, why string) {
	delete(d.peers, p.ID)
	d.spare += p.bytes
	d.untwinLocked(p.Name)
	d.log.Info("node gone", "node", p.Name, "id", p.ID, "why", why, "rooms", len(p.records))
	for room, r := range p.records {
		d.removeClaimLocked(p, room)
		d.past.died(room, r.Epoch, r.Muted, time.Now())
		if o := d.own[room]; o != nil {
			d.judgeLocked(o, time.Now())
		}
	}
	d.changedLocked()
	id := p.ID
	d.lanes.add(id, func() { d.lost(id) })
}

// sane keeps out what is no share.
func (l Load) sane() Load {
	for _, f := range []*float64{&l.Processor, &l.Egress, &l.Sessions} {
		if !(*f >= 0) || math.IsInf(*f, 0) { // NaN too
			*f = 0
		}
		*f = min(*f, 1000)
	}
	l.Rooms = max(l.Rooms, 0)
	return l
}

// share is the greatest of the shares: how much of the node is in use.
func (l Load) share() float64 { return max(l.Processor, l.Egress, l.Sessions) }

// loadBeat asks for the load, and has it told.
func (d *directory) loadBeat() {
	load := d.local.Load().sane()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.me.Load = load
	d.me.Full = above(load.share(), d.fullAbove, d.me.Full)
	d.me.Busy = above(load.share(), d.relayAbove, d.me.Busy)
	d.beatDue = true
	poke(d.wakeup)
}

// above reports whether a share is above a limit. Once it is, it must fall a tenth below to
// be no more. A limit of 0 is none.
func above(share, limit float64, was bool) bool {
	if was {
		limit *= 0.9
	}
	return limit > 0 && share > limit
}

// decaying is a count of which half is forgotten each 3 s.
type decaying struct {
	n  float64
	at time.Time
}

func (c *decaying) value(now time.Time) float64 {
	if c.n == 0 {
		return 0
	}
	return c.n * math.Exp2(-now.Sub(c.at).Seconds()/3)
}

func (c *decaying) add(n float64, now time.Time) {
	c.n, c.at = c.value(now)+n, now
}
