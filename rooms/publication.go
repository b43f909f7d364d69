package rooms

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"sightline/internal/audit"
	"sightline/internal/fault"
	"sightline/internal/media"
)

// Why a publication or a subscription ended.
var (
	ErrReplaced = errors.New("replaced by a newer session of the same publisher")
	ErrRemoved  = errors.New("removed by an administrator")
	ErrMoved    = errors.New("the room is on another node now")
	ErrGone     = errors.New("the publisher is gone")
	ErrCodec    = errors.New("the viewer can't take the track's codec")
	ErrClosed   = errors.New("closed")
)

// A PublishRequest says who wants to publish.
type PublishRequest struct {
	Room, Publisher string
	Subject         string    // who is behind it: another one can't have the name while it is taken
	Session         string    // public id of the session
	Client          string    // its User-Agent
	Who             audit.Who // as the audit log names him when he speaks
	Label           string    // for people; may be empty
	Role            string    // what it is to the others in the room; a name, or "" for none
	Deaf            bool      // its client can't be told of an end, and takes long to notice one
	Stays           bool      // its client would not come back by itself when its room moves: see Registry.Lend
	Muted           bool      // it was where it comes from
	Lender          string    // the node that lends it, "" if none does: it gives way to whoever has the name, or takes it later, but for an older one of that node
	Silent          bool      // it may not be heard: its audio is silence, and Mute can't change that
	Codecs          map[media.Kind]media.Codec
}

// A Publication is one session's hold on a publisher's name:
//
//	reserved ──Run──▶ feeding ──▶ ended
//	    └────────Close────────────▲
type Publication struct {
	registry *Registry
	request  PublishRequest
	number   uint64 // later ones are newer

	ended chan struct{} // closed when it is replaced, removed, its room moves or the registry closes
	cause error         // why; guarded by Registry.mu until ended is closed

	reserved bool // guarded by Registry.mu, as what follows
	running  bool

	reference reference // of its tracks; the goroutine that keeps the time has it
}

// endLocked ends the publication. The caller holds Registry.mu.
func (p *Publication) endLocked(cause error) {
	if p.cause == nil {
		p.cause = cause
		close(p.ended)
	}
}

// Run makes the publication the publisher's feed and forwards what the sources bring. Call
// it once the session is connected: from here on a session that had the name before has
// lost it. It returns nil when all sources have ended, the cause of ctx when that is done,
// and otherwise ErrReplaced, ErrRemoved, ErrClosed or a fault if the name can't be had any
// more; ErrMoved if its room has moved. When it returns an error the session must be ended, so that its sources end.
func (p *Publication) Run(ctx context.Context, sources ...media.Source) error {
	feeds, loan, err := p.registry.begin(p, sources)
	if err != nil {
		return err
	}
	defer p.registry.detach(p, feeds)
	if loan != nil {
		p.registry.lend(loan)
	}

	results := make(chan error, len(feeds))
	for t, f := range feeds {
		p.registry.readers.Go(func() { results <- t.read(f) })
	}
	var failed error
	for range feeds {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.ended:
			return p.cause
		case err := <-results:
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, ErrReplaced) {
				failed = errors.Join(failed, err)
			}
		}
	}
	select {
	case <-p.ended: // a reader may have noticed first
		return p.cause
	default:
	}
	if failed != nil {
		return fmt.Errorf("read sources: %w", failed)
	}
	return nil
}

// Ended is closed when the publication has ended, be it that it was never run.
func (p *Publication) Ended() <-chan struct{} { return p.ended }

// Close gives the reservation back. It may be called at any time and more than once.
func (p *Publication) Close() {
	r := p.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	p.endLocked(ErrClosed)
	r.unreserveLocked(p)
}

// Publish reserves the publisher's name for a session that is about to connect. The error
// is a fault: Conflict if the name is taken and takeover is "reject", Forbidden if another
// subject has it, Unavailable at a limit, BadRequest if a name is none.
func (r *Registry) Publish(req PublishRequest) (*Publication, error) {
	if err := validNames(req.Room, req.Publisher); err != nil {
		return nil, err
	}
	if err := ValidRole(req.Role); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosing()
	}
	if err := r.allowedLocked(&req, nil); err != nil {
		return nil, err
	}
	m, err := r.enterLocked(req.Room)
	if err != nil {
		return nil, err
	}
	if err := r.placeLocked(m, req.Publisher); err != nil {
		return nil, err
	}
	r.publications++
	p := &Publication{
		registry: r, request: req, number: r.publications,
		ended: make(chan struct{}), reserved: true,
	}
	if req.Lender != "" {
		p.number = 0
	}
	m.reserved[req.Publisher] = append(m.reserved[req.Publisher], p)
	return p, nil
}

// enterLocked returns a room, a new one if need be, that somebody is about to be in.
func (r *Registry) enterLocked(name string) (*room, error) {
	m := r.rooms[name]
	if m == nil || m.since.IsZero() {
		if r.openRoomsLocked() >= r.config.MaxRooms {
			return nil, limit("rooms", "max_rooms", r.config.MaxRooms)
		}
	}
	return r.roomOfLocked(name), nil
}

// roomOfLocked returns a room, a new one if need be.
func (r *Registry) roomOfLocked(name string) *room {
	m := r.rooms[name]
	if m == nil {
		m = &room{
			name: name, publishers: make(map[string]*publisher), reserved: make(map[string][]*Publication),
			participants: make(map[string]*participant),
		}
		r.rooms[name] = m
	}
	return m
}

// openRoomsLocked counts the rooms in which somebody is. Those that are only reserved are not
// among them: who has a token and connects nothing must not take all places.
func (r *Registry) openRoomsLocked() (n int) {
	for _, m := range r.rooms {
		if !m.since.IsZero() {
			n++
		}
	}
	return n
}

// placeLocked returns a fault.Unavailable if a room has no place for one more publisher.
// Reservations take none, for the same reason: of those who connect at the same time the last
// are refused in begin.
func (r *Registry) placeLocked(m *room, name string) error {
	if m.publishers[name] == nil && len(m.publishers) >= r.config.MaxPublishers {
		return limit("publishers in the room", "max_publishers", r.config.MaxPublishers)
	}
	return nil
}

// allowedLocked checks whether the request may have its name. self is the publication that
// asks, nil for a new one.
func (r *Registry) allowedLocked(req *PublishRequest, self *Publication) error {
	m := r.rooms[req.Room]
	if m == nil {
		return nil
	}
	p := m.publishers[req.Publisher]
	if p != nil && p.subject != req.Subject {
		return fault.New(fault.Forbidden, "publisher %q in room %q belongs to someone else", req.Publisher, req.Room)
	}
	yields := req.Lender != ""
	taken := p != nil && p.feed != nil && !(yields && p.feed.request.Lender == req.Lender)
	if self == nil && len(m.reserved[req.Publisher]) > 0 && !yields {
		taken = true
	}
	if taken && (yields || r.config.Takeover == TakeoverReject) {
		return fault.New(fault.Conflict, "publisher %q is already live in room %q", req.Publisher, req.Room).After(retryAfter)
	}
	return nil
}

// unreserveLocked forgets the reservation, and the room if nothing is in it.
func (r *Registry) unreserveLocked(p *Publication) {
	if !p.reserved {
		return
	}
	p.reserved = false
	delete(r.away, p)
	m := r.rooms[p.request.Room]
	if m == nil {
		return
	}
	name := p.request.Publisher
	m.reserved[name] = slices.DeleteFunc(m.reserved[name], func(o *Publication) bool { return o == p })
	if len(m.reserved[name]) == 0 {
		delete(m.reserved, name)
	}
	r.tidyLocked(m)
}

// begin makes p the feed of its publisher, and f the feed of each track. The loan is nil but for one whose room
// went elsewhere while it was about to connect.
func (r *Registry) begin(p *Publication, sources []media.Source) (map[*track]*feed, *Loan, error) {
	feeds := make([]*feed, len(sources))
	kinds := make(map[media.Kind]bool)
	for i, s := range sources {
		if kinds[s.Kind()] || s.Kind() != media.Audio && s.Kind() != media.Video {
			return nil, nil, fmt.Errorf("begin publication: a second source of kind %q, or one of no known kind", s.Kind())
		}
		kinds[s.Kind()] = true
		feeds[i] = &feed{source: s, codec: s.Codec()}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.cause != nil {
		return nil, nil, p.cause
	}
	if !p.reserved || p.running {
		return nil, nil, errors.New("begin publication: it was begun before")
	}
	now := time.Now()
	if _, away := r.away[p]; away {
		pub := newPublisher(&room{name: p.request.Room}, &p.request, now)
		out := r.feedLocked(pub, p, feeds, now)
		return out, r.loanLocked(pub), nil
	}
	pub, err := r.takeLocked(p, now)
	if err != nil {
		return nil, nil, err
	}
	out := r.feedLocked(pub, p, feeds, now)
	r.hushLocked(pub, now)
	r.tellLocked(now)
	return out, nil, nil
}

// takeLocked returns the publisher that p may feed from now on, a new one if need be.
func (r *Registry) takeLocked(p *Publication, now time.Time) (*publisher, error) {
	if err := r.allowedLocked(&p.request, p); err != nil {
		return nil, err
	}
	m, err := r.enterLocked(p.request.Room)
	if err == nil {
		err = r.placeLocked(m, p.request.Publisher)
	}
	if err != nil {
		return nil, err
	}
	pub := m.publishers[p.request.Publisher]
	switch {
	case pub == nil:
		pub = newPublisher(m, &p.request, now)
		pub.muted = m.keptLocked(pub.name)
		m.publishers[pub.name] = pub
		r.openLocked(m, now)
	case pub.feed != nil && pub.feed.number > p.number:
		return nil, ErrReplaced
	case pub.feed != nil:
		r.takeovers++
		pub.feed.endLocked(ErrReplaced)
	default:
		r.takeovers++
	}
	return pub, nil
}

func newPublisher(m *room, of *PublishRequest, now time.Time) *publisher {
	return &publisher{room: m, name: of.Publisher, subject: of.Subject, since: now}
}

// feedLocked makes p what feeds a publisher, and returns its feed of each track.
func (r *Registry) feedLocked(pub *publisher, p *Publication, feeds []*feed, now time.Time) map[*track]*feed {
	p.running = true
	pub.feed = p
	pub.muted = pub.muted || p.request.Muted
	pub.room.changed()
	pub.label, pub.role, pub.client, pub.session = p.request.Label, p.request.Role, p.request.Client, p.request.Session
	pub.silent = p.request.Silent
	r.unreserveLocked(p)
	out := make(map[*track]*feed, len(feeds))
	for _, f := range feeds {
		e := pub.entry(f.source.Kind())
		if *e == nil {
			*e = &trackEntry{track: newTrack(pub.room.name, pub.name, f.source.Kind(), &r.config, r.forwardingDelay, r.fan, now)}
		}
		(*e).since = time.Time{}
		// The session that had the track before is not heard for having been silent, nor this one.
		if pub.hushed() {
			(*e).mute(true)
		}
		(*e).attach(f, now)
		(*e).mute(pub.hushed())
		out[(*e).track] = f
	}
	for _, e := range pub.entries() { // what the session before had, and this one has not
		if out[e.track] == nil && e.since.IsZero() {
			e.since = now
			e.abandon(now)
		}
	}
	return out
}

// detach ends p's time as the feed of its publisher.
func (r *Registry) detach(p *Publication, feeds map[*track]*feed) {
	for t, f := range feeds {
		t.detach(f, time.Now())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if l := r.loans[p]; l != nil { // whoever has borrowed it keeps the name, for the grace
		r.settleLoanLocked(l)
		for _, e := range l.publisher.entries() {
			e.end(ErrGone)
		}
		return
	}
	m := r.rooms[p.request.Room]
	if m == nil {
		return
	}
	pub := m.publishers[p.request.Publisher]
	if pub == nil || pub.feed != p {
		return
	}
	pub.feed, pub.session = nil, ""
	m.changed()
	for _, e := range pub.entries() {
		if e.since.IsZero() {
			e.since = now
		}
	}
	r.hushLocked(pub, now)
	r.tellLocked(now)
}

// Remove ends the session that feeds a publisher. The error is a fault.NotFound if none does.
func (r *Registry) Remove(room, publisher string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.rooms[room]; m != nil {
		if p := m.publishers[publisher]; p != nil && p.feed != nil {
			p.feed.endLocked(ErrRemoved)
			return nil
		}
	}
	return fault.New(fault.NotFound, "publisher %q is not live in room %q", publisher, room)
}

// Mute makes a publisher's audio silence from its next packet on, or lets it be heard again.
// It holds for the name, over takeovers and absences, until the publisher is gone from the
// room. What viewers got before, they can have sent again as it was. The error is a
// fault.NotFound if there is no such publisher in the room; one that is away for no longer
// than the grace is there. It is a fault.Forbidden to let one be heard that published silently.
func (r *Registry) Mute(room, publisher string, muted bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.rooms[room]
	if m != nil && m.publishers[publisher] == nil && !muted && m.keptLocked(publisher) {
		return nil // muted where the room was before, and not here yet
	}
	if m == nil || m.publishers[publisher] == nil {
		return fault.New(fault.NotFound, "there is no publisher %q in room %q", shown(publisher), shown(room))
	}
	p := m.publishers[publisher]
	if !muted && p.silent {
		return fault.New(fault.Forbidden, "publisher %q may not be heard: it published without the scope to speak", publisher)
	}
	p.muted = muted
	m.changed()
	if p.audio != nil {
		p.audio.mute(p.hushed())
	}
	r.hushLocked(p, time.Now())
	r.wake()
	return nil
}
