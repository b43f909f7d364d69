package rooms

import (
	"context"
	"slices"
	"time"
)

// What a gateway that is one of several does when a room goes from one to another. It knows
// nothing of the others: whoever does calls Move where the room was, and Keep where it is now.

const (
	// keepMutes is for how long a room in which nobody is remembers who was muted: longer than any
	// client takes to come back.
	keepMutes = time.Minute

	// returning is for how long after a move, or after the gateway has started, a room's publishers
	// are about to come back, and awaitTrack how long who wants to play one then waits for it: a viewer
	// who is earlier than his publisher shall not have to ask again.
	returning  = 10 * time.Second
	awaitTrack = 2 * time.Second
)

// Move ends a room here, which is on another node now: publications and subscriptions end with
// ErrMoved, those that have not begun too, participants are gone, watchers of the room get
// RoomMoved with the reason as their last event. Publishers whose client would not come back are lent (see
// Lend). It waits for nobody, and returns how many sessions of publishers and viewers there were.
func (r *Registry) Move(name, reason string) (sessions int) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return 0
	}
	now := time.Now() // with the lock: nothing that ends here has begun later
	var tracks []*trackEntry
	var loans []*Loan
	if m := r.rooms[name]; m != nil {
		delete(r.rooms, name)
		sessions = m.viewers + m.feeds()
		tracks, loans = r.clearLocked(m, now)
		r.log.Info("room moved", "room", name, "reason", reason)
	}
	r.emitLocked(Event{Type: RoomMoved, Room: name, Time: now, Reason: reason})
	for w := range r.watchers {
		if w.room == name {
			delete(r.watchers, w)
			w.last()
		}
	}
	r.mu.Unlock()
	for _, e := range tracks {
		e.end(ErrMoved)
	}
	for _, l := range loans {
		r.lend(l)
	}
	return sessions
}

// feeds returns how many publishers of the room have a session.
func (m *room) feeds() (n int) {
	for _, p := range m.publishers {
		if p.feed != nil {
			n++
		}
	}
	return n
}

// clearLocked ends all that is in a room that has moved, but for what is lent, and for the
// subscriptions to the tracks returned.
func (r *Registry) clearLocked(m *room, now time.Time) (tracks []*trackEntry, loans []*Loan) {
	for _, p := range m.publishers {
		r.endTalkLocked(p, true, now)
		tracks = append(tracks, p.entries()...)
		switch {
		case p.feed == nil:
		case p.feed.request.Stays && r.lend != nil:
			loans = append(loans, r.loanLocked(p))
		default:
			p.feed.endLocked(ErrMoved)
		}
	}
	for _, all := range m.reserved {
		for _, p := range all {
			if p.request.Stays && r.lend != nil { // it is lent once it is connected
				r.away[p] = struct{}{}
				continue
			}
			p.reserved = false
			p.endLocked(ErrMoved)
		}
	}
	for _, p := range m.participants {
		r.dismissLocked(p, "moved", now)
	}
	return tracks, loans
}

// last lets the watcher end behind what waits for it.
func (w *Watcher) last() {
	w.mu.Lock()
	w.moved = true
	w.mu.Unlock()
	w.signal()
}

// kept is what a room has from where it was before.
type kept struct {
	muted []string  // publishers that have not come yet
	at    time.Time // when it came here; zero: it always was
}

// holds reports whether the room is remembered though nothing is in it.
func (k *kept) holds(now time.Time) bool {
	return !k.at.IsZero() && (now.Sub(k.at) < returning || len(k.muted) > 0 && now.Sub(k.at) < keepMutes)
}

// Keep says that a room has come here, and which publishers were muted where it was: they are
// from their first packet on. It remembers them until they come, as long as the room is open and at
// least a minute. Names that are none mean nothing, nor does a room whose name is none, nor more
// rooms and publishers than there may be. What was lent of the room is in it again.
func (r *Registry) Keep(name string, muted []string) {
	if ValidRoom(name) != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.rooms[name] == nil && len(r.rooms) >= 2*r.config.MaxRooms {
		return
	}
	m := r.roomOfLocked(name)
	m.kept.at = time.Now()
	m.changed()
	for _, publisher := range muted {
		switch p := m.publishers[publisher]; {
		case p != nil:
			p.muted = true
			if p.audio != nil {
				p.audio.mute(true)
			}
			r.hushLocked(p, time.Now())
		case ValidName(publisher) == nil && len(m.kept.muted) < r.config.MaxPublishers && !slices.Contains(m.kept.muted, publisher):
			m.kept.muted = append(m.kept.muted, publisher)
		}
	}
	for _, l := range r.loans {
		if l.publisher.room.name == name {
			r.returnLocked(l, time.Now())
		}
	}
	for p := range r.away {
		if p.request.Room == name {
			delete(r.away, p)
			m.reserved[p.request.Publisher] = append(m.reserved[p.request.Publisher], p)
		}
	}
	r.wake()
}

// keptLocked reports whether a publisher was muted where the room was, and forgets it: from now on
// the publisher itself knows.
func (m *room) keptLocked(publisher string) bool {
	i := slices.Index(m.kept.muted, publisher)
	if i < 0 {
		return false
	}
	m.kept.muted = slices.Delete(m.kept.muted, i, i+1)
	m.changed()
	return true
}

// Await waits, for 2 s at most, until Play would find what is asked for. It waits only where that
// may be about to come back: in a room that has just come here, and in all while the gateway has
// just started. No more can wait than may watch.
func (r *Registry) Await(ctx context.Context, req PlayRequest) {
	ctx, cancel := context.WithTimeout(ctx, awaitTrack)
	defer cancel()
	for {
		arrival := r.await(req)
		if arrival == nil {
			return
		}
		select {
		case <-arrival:
		case <-ctx.Done():
		}
		r.mu.Lock()
		r.awaiting--
		r.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
	}
}

// await counts one who waits, and returns a channel that is closed when something has come; nil if
// there is nothing to wait for.
func (r *Registry) await(req PlayRequest) <-chan struct{} {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.rooms[req.Room]
	back := now.Sub(r.began) < returning || m != nil && now.Sub(m.kept.at) < returning
	if !back || r.closed || len(r.viewers)+r.awaiting >= r.config.MaxViewers || len(r.playableLocked(req, now)) > 0 {
		return nil
	}
	if r.arrival == nil {
		r.arrival = make(chan struct{})
	}
	r.awaiting++
	return r.arrival
}

// arrivedLocked lets those who wait look again.
func (r *Registry) arrivedLocked() {
	if r.arrival != nil {
		close(r.arrival)
		r.arrival = nil
	}
}

// A RoomState is what there is in a room, for who wants to know that of all rooms and often.
type RoomState struct {
	Room       string
	Publishers int      // that have a session
	Deaf       int      // of them, those whose client can't be told that the room has moved
	Sessions   int      // of publishers and viewers
	Tracks     []string // live, "console/video", sorted; not to be changed, as what follows
	Muted      []string // publishers that are muted, or were where the room was before and have not come yet; sorted
}

// RoomStates appends all rooms in which something is, or is about to be, in no order. It is cheap:
// what has not changed since the last call is not looked at again.
func (r *Registry) RoomStates(to []RoomState) []RoomState {
	r.mu.Lock()
	defer r.mu.Unlock()
	to = slices.Grow(to, len(r.rooms))
	for _, m := range r.rooms {
		if len(m.publishers)+len(m.participants)+len(m.reserved)+m.viewers == 0 {
			continue
		}
		if m.state == nil {
			m.state = m.lookLocked()
		}
		s := *m.state
		s.Sessions += m.viewers
		to = append(to, s)
	}
	return to
}

// Count returns how many rooms are open, and how many WHEP sessions there are in all of them.
func (r *Registry) Count() (open, viewers int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.openRoomsLocked(), len(r.viewers)
}

// changed says that the room's state is to be looked at again.
func (m *room) changed() { m.state = nil }

// lookLocked returns the state of the room, but for its viewers.
func (m *room) lookLocked() *RoomState {
	n := m.feeds()
	s := &RoomState{Room: m.name, Publishers: n, Sessions: n, Muted: slices.Clone(m.kept.muted)}
	for _, p := range m.publishers {
		if p.feed != nil && p.feed.request.Deaf {
			s.Deaf++
		}
		if p.muted {
			s.Muted = append(s.Muted, p.name)
		}
		for _, e := range p.entries() {
			if e.told.state == Live {
				s.Tracks = append(s.Tracks, e.id)
			}
		}
	}
	slices.Sort(s.Tracks)
	slices.Sort(s.Muted)
	return s
}
