package rooms

import (
	"log/slog"
	"sync"
	"time"

	"sightline/internal/audit"
	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/internal/quota"
)

// retryAfter is when a client may ask again for what is not there yet, or at a limit.
const retryAfter = 2 * time.Second

// pairPatience is how long a track that has not begun keeps its publisher's pair from being
// played: an encoder may offer a track that it never sends.
const pairPatience = 3 * time.Second

// A Registry holds all rooms. Its methods are safe for concurrent use.
type Registry struct {
	config Config
	log    *slog.Logger
	record audit.Recorder

	firstPacket     *histogram
	firstKeyframe   *histogram
	forwardingDelay *histogram

	fan     *fan
	began   time.Time
	lend    func(*Loan)    // nil: nothing is lent
	readers sync.WaitGroup // of sources
	keeper  sync.WaitGroup // the goroutine that keeps the time
	done    chan struct{}  // closed to end it
	kick    chan struct{}  // something is to be told to watchers now

	elsewhere quota.Elsewhere // participants at other nodes

	mu           sync.Mutex // guards what follows, and the fields that say so
	closed       bool
	rooms        map[string]*room
	loans        map[*Publication]*Loan    // of rooms that are elsewhere
	away         map[*Publication]struct{} // reservations of such rooms: they are lent once they are begun
	viewers      map[*viewer]struct{}
	publications uint64 // how many there were
	takeovers    uint64
	alarm        *time.Timer // rings at alarmAt, for the goroutine that keeps the time
	alarmAt      time.Time   // zero: not set
	events       journal
	watchers     map[*Watcher]struct{}
	awaiting     int           // who is in Await
	arrival      chan struct{} // closed when something has come; nil: nobody awaits it
}

// New returns a registry without rooms. config is valid.
func New(config Config, log *slog.Logger) *Registry {
	r := &Registry{
		config: config, log: log, record: audit.Discard,
		firstPacket:     newHistogram(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
		firstKeyframe:   newHistogram(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
		forwardingDelay: newHistogram(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
		fan:             newFan(),
		began:           time.Now(),
		done:            make(chan struct{}),
		kick:            make(chan struct{}, 1),
		rooms:           make(map[string]*room),
		loans:           make(map[*Publication]*Loan),
		away:            make(map[*Publication]struct{}),
		viewers:         make(map[*viewer]struct{}),
		alarm:           time.NewTimer(time.Hour),
		events:          newJournal(),
		watchers:        make(map[*Watcher]struct{}),
	}
	r.keeper.Go(r.keepTime)
	return r
}

// Record lets a recorder know of participants, and of who speaks. Call it before the registry is
// used.
func (r *Registry) Record(to audit.Recorder) { r.record = to }

// Close ends all publications, subscriptions and watchers with ErrClosed, and waits until
// all sources have ended: their sessions end when Publication.Run returns.
func (r *Registry) Close() {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.closed = true
	close(r.done)
	var tracks []*track
	for _, m := range r.rooms {
		for _, p := range m.publishers {
			if p.feed != nil {
				p.feed.endLocked(ErrClosed)
			}
			for _, e := range p.entries() {
				tracks = append(tracks, e.track)
			}
		}
		for _, all := range m.reserved {
			for _, p := range all {
				p.endLocked(ErrClosed)
			}
		}
	}
	for p := range r.away {
		p.endLocked(ErrClosed)
	}
	for _, l := range r.loans {
		l.feed.endLocked(ErrClosed)
		for _, e := range l.publisher.entries() {
			tracks = append(tracks, e.track)
		}
	}
	for w := range r.watchers {
		w.end()
	}
	r.recordClosingLocked(time.Now())
	clear(r.watchers)
	r.mu.Unlock()
	for _, t := range tracks {
		t.end(ErrClosed)
	}
	r.keeper.Wait()
	r.readers.Wait()
	r.fan.close()
}

// end ends all subscriptions of a track.
func (t *track) end(cause error) {
	t.mu.Lock()
	all := make([]*Subscription, 0, len(t.viewing))
	for s := range t.viewing {
		all = append(all, s)
	}
	t.mu.Unlock()
	for _, s := range all {
		s.end(cause)
	}
}

// A PlayRequest says what a viewer wants.
type PlayRequest struct {
	Room, Publisher string
	Kind            media.Kind // "": the pair, as far as the publisher has it
	Session         string     // public id of the viewer's session
	Client, Subject string
	Participant     string // whose session it is, by ID; one that is not in the room counts as ""
	Early           bool   // of one track: it will do though it has had nothing to show yet

	// Relay is the node that plays one track on to viewers of its own, "" for a viewer. It counts
	// as nobody; for whom it stands Represent says.
	Relay string
}

// Play finds what a viewer asks for, audio before video. The subscriptions count towards the
// limits until each is closed. The error is a fault: Conflict if it is not live, Unavailable
// at a limit, BadRequest if a name is none.
func (r *Registry) Play(req PlayRequest) ([]*Subscription, error) {
	if err := validNames(req.Room, req.Publisher); err != nil {
		return nil, err
	}
	if req.Kind != "" && req.Kind != media.Audio && req.Kind != media.Video {
		return nil, fault.New(fault.NotFound, "no kind of track is called %q: there are %q and %q", req.Kind, media.Audio, media.Video)
	}
	if req.Relay != "" && req.Kind == "" {
		return nil, fault.New(fault.BadRequest, "a relay plays one track at a time, %q or %q, not the pair", media.Audio, media.Video)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosing()
	}
	entries := r.playableLocked(req, time.Now())
	if len(entries) == 0 {
		return nil, errNotLive(req)
	}
	if req.Relay == "" && len(r.viewers) >= r.config.MaxViewers {
		return nil, limit("viewers", "max_viewers", r.config.MaxViewers)
	}
	for _, e := range entries {
		if e.relays[req.Relay] == nil && e.viewers >= r.config.MaxViewersPerTrack {
			return nil, limit("viewers of track "+e.id, "max_viewers_per_track", r.config.MaxViewersPerTrack)
		}
	}
	v := &viewer{room: r.rooms[req.Room], relay: req.Relay, subscriptions: len(entries)}
	if v.relay == "" {
		if v.room.participants[req.Participant] != nil {
			v.participant = req.Participant
		}
		v.room.viewers++
		r.viewers[v] = struct{}{}
	}
	subscriptions := make([]*Subscription, len(entries))
	for i, e := range entries {
		if v.relay == "" {
			e.viewers++
			e.watchLocked(v.participant, 1)
		} else {
			e.relayLocked(v)
		}
		s := newSubscription(r, v, e.track)
		e.admit(s)
		subscriptions[i] = s
	}
	r.wake()
	return subscriptions, nil
}

// playableLocked returns the tracks that a viewer can have now: those that are live, or
// were and may be again within the grace. For the pair all must have begun, within reason.
func (r *Registry) playableLocked(req PlayRequest, now time.Time) []*trackEntry {
	m := r.rooms[req.Room]
	if m == nil || m.publishers[req.Publisher] == nil {
		return nil
	}
	p := m.publishers[req.Publisher]
	if req.Kind != "" {
		if e := *p.entry(req.Kind); e != nil && (req.Early || e.begunSince(now) >= 0) {
			return []*trackEntry{e}
		}
		return nil
	}
	entries, begun := p.entries(), false
	for _, e := range entries {
		switch since := e.begunSince(now); {
		case since >= 0:
			begun = true
		case since > -pairPatience:
			return nil
		}
	}
	if !begun {
		return nil
	}
	return entries
}

// Kinds returns of which tracks a publisher's pair is, as Play would find it now. The error is
// a fault: Conflict if nothing of it is live, BadRequest if a name is none.
func (r *Registry) Kinds(room, publisher string) ([]media.Kind, error) {
	if err := validNames(room, publisher); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []media.Kind
	for _, e := range r.playableLocked(PlayRequest{Room: room, Publisher: publisher}, time.Now()) {
		out = append(out, e.kind)
	}
	if len(out) == 0 {
		return nil, errNotLive(PlayRequest{Room: room, Publisher: publisher})
	}
	return out, nil
}

func errNotLive(req PlayRequest) error {
	what := "publisher"
	if req.Kind != "" {
		what = string(req.Kind) + " of publisher"
	}
	return fault.New(fault.Conflict, "%s %q is not live in room %q", what, req.Publisher, req.Room).After(retryAfter)
}

// begunSince returns how long the track has been in its state if it ever had something to
// show; negative: for how long it has had nothing, though its session is up.
func (t *track) begunSince(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.num.begun {
		return min(-1, -now.Sub(t.readings.since))
	}
	return max(now.Sub(t.readings.since), 0)
}

func (t *track) admit(s *Subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.viewing[s] = nil
}

func (t *track) dismiss(s *Subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.viewing[s] == nil { // otherwise it counts until its Run returns
		delete(t.viewing, s)
	}
}

// closeSubscription gives back what s counts.
func (r *Registry) closeSubscription(s *Subscription) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return
	}
	s.track.dismiss(s)
	if s.isTap() {
		return
	}
	if s.viewer.relay != "" {
		r.entryLocked(s).endRelayLocked(s.viewer)
		r.wake()
		return
	}
	if v := s.viewer; v.subscriptions > 1 {
		v.subscriptions--
	} else {
		delete(r.viewers, v)
		v.room.viewers--
	}
	if e := r.entryLocked(s); e != nil {
		e.viewers--
		e.watchLocked(s.viewer.participant, -1)
	}
	r.wake()
}

// entryLocked returns the registry's entry of what a viewer's subscription plays, nil if that is gone: the
// room may have been elsewhere since.
func (r *Registry) entryLocked(s *Subscription) *trackEntry {
	t := s.track
	if m := r.rooms[t.room]; m != nil && m == s.viewer.room {
		if p := m.publishers[t.publisher]; p != nil {
			if e := *p.entry(t.kind); e != nil && e.track == t {
				return e
			}
		}
	}
	return nil
}

func errClosing() error {
	return fault.New(fault.Unavailable, "the gateway is shutting down").After(retryAfter)
}

// limit says which limit is reached, and by which key it is set.
func limit(what, key string, n int) error {
	return fault.New(fault.Unavailable, "no more %s: the limit of %d is reached (rooms.%s)", what, n, key).
		After(retryAfter).With("limit", "rooms."+key)
}
