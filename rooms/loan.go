package rooms

import (
	"time"

	"sightline/internal/fault"
	"sightline/internal/media"
)

// A Loan is a publisher whose room is another node's now, and whose client would not come back there:
// its session stays, its tracks go on, and are played by nobody but the one who shows them in the room
// (docs/CLUSTER.md). A viewer finds it there, not here.
//
//	of its room ──Move──▶ on loan ──Keep──▶ of its room again
//	                         └────────────▶ ended, with its session
type Loan struct {
	registry  *Registry
	publisher *publisher
	feed      *Publication
	done      chan struct{} // closed when it is on loan no more

	muted bool // see Mute; guarded by Registry.mu
}

// Lend lets the sessions of publishers that say so in their PublishRequest (Stays) go on when their room
// moves: to is told of each, by Move, which waits for it. Call it before the registry is used.
func (r *Registry) Lend(to func(*Loan)) { r.lend = to }

// Request is what the publisher was published with.
func (l *Loan) Request() PublishRequest { return l.feed.request }

// Muted reports whether the publisher is to be muted where it is shown: it was when its room moved, or as Mute
// has said since.
func (l *Loan) Muted() bool {
	l.registry.mu.Lock()
	defer l.registry.mu.Unlock()
	return l.muted
}

// Mute says whether the publisher is to be muted where it is shown next, and here if its room comes back: true until
// whoever has the room next is sure to learn from its owner of now who is muted.
func (l *Loan) Mute(muted bool) {
	l.registry.mu.Lock()
	defer l.registry.mu.Unlock()
	l.muted = muted
}

// Done is closed when the publisher is on loan no more: its session has ended, or its room has come back.
func (l *Loan) Done() <-chan struct{} { return l.done }

// Kinds are those of its tracks.
func (l *Loan) Kinds() (kinds []media.Kind) {
	l.registry.mu.Lock()
	defer l.registry.mu.Unlock()
	for _, e := range l.publisher.entries() {
		kinds = append(kinds, e.kind)
	}
	return kinds
}

// Play returns a subscription to each of its tracks, audio before video, for the one who shows them
// elsewhere: they count as nobody's. Who that is has muted what is to be muted; here it is heard. The error is a
// fault.Conflict once the publisher is on loan no more.
func (l *Loan) Play() ([]*Subscription, error) {
	r := l.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loans[l.feed] != l {
		return nil, fault.New(fault.Conflict, "publisher %q of room %q is on loan no more", l.publisher.name, l.publisher.room.name)
	}
	var out []*Subscription
	l.publisher.muted = false
	for _, e := range l.publisher.entries() {
		e.mute(l.publisher.hushed())
		out = append(out, r.tapLocked(e.track))
	}
	return out, nil
}

// End ends the publisher's session with a cause: ErrReplaced, ErrRemoved or ErrMoved.
func (l *Loan) End(cause error) {
	l.registry.mu.Lock()
	defer l.registry.mu.Unlock()
	if l.registry.loans[l.feed] == l {
		l.feed.endLocked(cause)
	}
}

// loanLocked takes a publisher out of a room that moves. The caller ends the subscriptions to its tracks. Of two of
// one name the newer session has it, as in a room.
func (r *Registry) loanLocked(p *publisher) *Loan {
	l := &Loan{registry: r, publisher: p, feed: p.feed, muted: p.muted, done: make(chan struct{})}
	p.speaking = false
	for other, o := range r.loans {
		switch {
		case o.publisher.room.name != p.room.name || o.publisher.name != p.name:
		case other.number < p.feed.number:
			other.endLocked(ErrReplaced)
		default:
			p.feed.endLocked(ErrReplaced)
		}
	}
	for _, e := range p.entries() {
		if !e.since.IsZero() { // of the session before this one, which has none such
			*p.entry(e.kind) = nil
			continue
		}
		// Who watches it here is about to close his subscription, and counts in the room of before.
		*p.entry(e.kind) = &trackEntry{track: e.track}
	}
	r.loans[p.feed] = l
	return l
}

// returnLocked gives a publisher back to its room. One that the room has meanwhile is newer.
func (r *Registry) returnLocked(l *Loan, now time.Time) {
	p := l.publisher
	m, err := r.enterLocked(p.room.name)
	if err == nil {
		err = r.placeLocked(m, p.name)
	}
	switch {
	case err != nil:
		l.feed.endLocked(ErrMoved)
		return
	case m.publishers[p.name] != nil:
		l.feed.endLocked(ErrReplaced)
		return
	}
	r.settleLoanLocked(l)
	p.room, p.muted = m, m.keptLocked(p.name) || l.muted
	m.publishers[p.name] = p
	r.openLocked(m, now)
	m.changed()
	for _, e := range p.entries() {
		e.end(ErrMoved) // who showed it elsewhere
		e.mute(p.hushed())
	}
	r.log.Info("publisher on loan has its room again", "room", m.name, "publisher", p.name)
	r.tellLocked(now)
}

// settleLoanLocked says that a loan is over.
func (r *Registry) settleLoanLocked(l *Loan) {
	delete(r.loans, l.feed)
	close(l.done)
}
