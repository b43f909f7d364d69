// Package bridge mixes the sound of a room: who listens hears everybody who speaks there
// but himself, as one Opus track that never changes. docs/BRIDGE.md says how and why.
//
// It is a guest of the heart. What speakers send reaches it as it reaches any viewer, by a
// subscription (rooms.Tap); a Listener has the shape of a subscription, and what it gets
// goes to its sink at once. A room is mixed while somebody listens, or wants to know who
// speaks.
package bridge

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/rooms"
)

// Mix is what stands in the place of a publisher's name in the URL of a room's mix. No
// publisher can have it.
const Mix = "~mix"

// Codec is what a mix is sent as (RFC 7587): always two channels on the wire.
var Codec = media.Codec{Name: "opus", ClockRate: 48000, Channels: 2, Fmtp: "minptime=10;useinbandfec=1"}

// A Bridge mixes all rooms. Its methods are safe for concurrent use.
type Bridge struct {
	config   Config
	registry *rooms.Registry
	log      *slog.Logger

	running sync.WaitGroup // rooms

	mu        sync.Mutex // guards what follows, and the fields of a room that say so
	closed    bool
	rooms     map[string]*room
	leaving   map[*room]struct{} // that nobody is in, and that have not ended yet
	listeners int
	past      Snapshot // totals of rooms that are no more
}

// New returns a bridge between the publishers of a registry. config is valid.
func New(config Config, registry *rooms.Registry, log *slog.Logger) *Bridge {
	return &Bridge{config: config, registry: registry, log: log, rooms: make(map[string]*room), leaving: make(map[*room]struct{})}
}

// Close ends all listeners with rooms.ErrClosed and waits until nothing is mixed any more.
// Call it before the registry's Close.
func (b *Bridge) Close() {
	b.mu.Lock()
	b.closed = true
	for _, r := range b.rooms {
		r.end(rooms.ErrClosed)
	}
	b.mu.Unlock()
	b.running.Wait()
}

// Move ends the listeners of a room with rooms.ErrMoved, and returns how many there were: it is on
// another node now. It waits for nobody.
func (b *Bridge) Move(name string) (listeners int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rooms[name]
	if r == nil {
		return 0
	}
	b.moveLocked(r)
	return r.seats
}

// moveLocked ends a room as moved. Who enters one of its name from now on enters another.
func (b *Bridge) moveLocked(r *room) {
	if b.rooms[r.name] == r {
		delete(b.rooms, r.name)
		b.leaving[r] = struct{}{}
	}
	r.end(rooms.ErrMoved)
}

// A ListenRequest says who wants to hear what.
type ListenRequest struct {
	Room string
	For  string // the publisher who listens, and does not hear himself; "": nobody in particular
	Role string // of who listens; "": that of the publisher For, if it has one

	Participant string // whose session it is, by ID; one that can't be counts as ""

	// Relay is the node that plays the mix on to listeners of its own, "" for a listener. It counts
	// as nobody; for whom it stands Represent says.
	Relay string
}

// Listen returns a listener of a room's mix. Nobody need speak there, nor the room be open.
// The error is a fault: BadRequest if a name is none, Unavailable at a limit.
func (b *Bridge) Listen(req ListenRequest) (*Listener, error) {
	if err := rooms.ValidRoom(req.Room); err != nil {
		return nil, err
	}
	for _, name := range []string{req.For, req.Role} {
		if name == "" {
			continue
		}
		if err := rooms.ValidName(name); err != nil {
			return nil, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if req.Relay == "" && b.listeners >= b.config.MaxListeners {
		return nil, fault.New(fault.Unavailable, "no more listeners: the limit of %d is reached (bridge.max_listeners)", b.config.MaxListeners).
			After(retryAfter).With("limit", "bridge.max_listeners")
	}
	r, err := b.enterLocked(req.Room)
	if err != nil {
		return nil, err
	}
	if req.Relay != "" {
		l := newListener(r, req)
		b.relayLocked(r, l)
		return l, nil
	}
	b.listeners++
	r.seats++
	if rooms.ValidName(req.Participant) != nil {
		req.Participant = ""
	}
	b.countLocked(r, req.Participant, 1)
	return newListener(r, req), nil
}

// countLocked counts n sessions more, or less, of a participant, and tells the room who
// listens if that has changed.
func (b *Bridge) countLocked(r *room, participant string, n int) {
	if participant == "" {
		return
	}
	before := len(r.participants)
	if r.participants[participant] += n; r.participants[participant] == 0 {
		delete(r.participants, participant)
	}
	if len(r.participants) != before && b.rooms[r.name] == r {
		b.registry.SetListening(r.name, slices.Collect(maps.Keys(r.participants)))
	}
}

// retryAfter is when who was refused may ask again.
const retryAfter = 2 * time.Second

// Attend says that somebody wants to know who speaks in a room, until release is called. It
// does nothing for "", all rooms.
func (b *Bridge) Attend(name string) (release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if rooms.ValidRoom(name) != nil {
		return func() {}
	}
	r, err := b.enterLocked(name)
	if err != nil {
		return func() {}
	}
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.leaveLocked(r)
	})
}

// Listeners returns how many listen to a room's mix.
func (b *Bridge) Listeners(name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.rooms[name]; r != nil {
		return r.seats
	}
	return 0
}

// MaxListeners returns how many may listen, in all rooms together.
func (b *Bridge) MaxListeners() int { return b.config.MaxListeners }

// Audiences tells how many listen to the mix of each room in which somebody does.
func (b *Bridge) Audiences(tell func(room string, listeners int)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, r := range b.rooms {
		if r.seats > 0 {
			tell(name, r.seats)
		}
	}
}

// enterLocked returns the room, which runs until all who have entered have left.
func (b *Bridge) enterLocked(name string) (*room, error) {
	if b.closed {
		return nil, fault.New(fault.Unavailable, "the gateway is shutting down").After(retryAfter)
	}
	r := b.rooms[name]
	if r == nil {
		r = newRoom(b, name)
		b.rooms[name] = r
		b.running.Go(r.run)
	}
	r.interest++
	return r, nil
}

// leaveLocked takes back one enterLocked.
func (b *Bridge) leaveLocked(r *room) {
	if r.interest--; r.interest == 0 && b.rooms[r.name] == r { // otherwise it has moved
		delete(b.rooms, r.name)
		b.leaving[r] = struct{}{}
		r.cancel()
	}
}
