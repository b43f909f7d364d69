package rooms

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"sightline/internal/fault"
)

const (
	maxJournal  = 1024 // events that a watcher who comes back can still get
	maxQueue    = 256  // events that wait for one watcher
	maxWatchers = 10_000
)

// A journal keeps the last events. Of who speaks in a room, and of a participant, it keeps the
// newest only, so that these do not drive out what else has happened.
type journal struct {
	events []Event // by id
	last   uint64  // id of the newest
	lost   uint64  // id of the newest that there was no place for any more
}

// newJournal begins with an id that no other run of a gateway comes near, be it one before or
// another node's, so that a watcher who comes from there is not taken for one of this run.
func newJournal() journal {
	begin := rand.Uint64N(1<<43) << 20
	return journal{last: begin, lost: begin}
}

func (j *journal) add(e *Event) {
	j.last++
	e.ID = j.last
	if e.Type == SpeakingChanged || e.Participant != nil {
		j.events = slices.DeleteFunc(j.events, func(old Event) bool { return e.replaces(old) })
	}
	if len(j.events) < maxJournal {
		j.events = append(j.events, *e)
		return
	}
	j.lost = j.events[0].ID
	copy(j.events, j.events[1:])
	j.events[maxJournal-1] = *e
}

// since returns the events of a room, "" for all, after the one with the given id; false if
// they are not all there, too many for a watcher's queue, or not all that has happened: the room
// has been elsewhere meanwhile.
func (j *journal) since(after uint64, room string) ([]Event, bool) {
	if after > j.last || after < j.lost {
		return nil, false
	}
	var out []Event
	for _, e := range j.events {
		if e.ID >= after && e.Type == RoomMoved && (room == "" || e.Room == room) {
			return nil, false
		}
		if e.ID > after && (room == "" || e.Room == room) {
			out = append(out, e)
		}
	}
	return out, len(out) <= maxQueue
}

// emitLocked tells all watchers of an event. The caller holds r.mu.
func (r *Registry) emitLocked(e Event) {
	r.events.add(&e)
	for w := range r.watchers {
		if w.room != "" && w.room != e.Room {
			continue
		}
		if !w.push(e) {
			w.reset(r.snapshotEventLocked(w.room))
		}
	}
}

// TellEnding tells the watchers of a room that something is about to end there. It says
// nothing of a room that is not open.
func (r *Registry) TellEnding(room string, e EndingInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.rooms[room]; m != nil && !m.since.IsZero() && !r.closed {
		r.emitLocked(Event{Type: SessionEnding, Room: room, Time: time.Now(), Ending: &e})
	}
}

func (r *Registry) snapshotEventLocked(room string) Event {
	now := time.Now()
	rooms := r.roomsLocked(now)
	if room != "" {
		rooms = slices.DeleteFunc(rooms, func(m RoomInfo) bool { return m.Name != room })
	}
	return Event{ID: r.events.last, Type: SnapshotEvent, Room: room, Time: now, Rooms: rooms}
}

// A Watcher gets the events of a room, or of all. A slow one loses repetitions, not facts:
// of what waits for it only the newest about each track and participant is kept, and if that is too much it
// begins again with a snapshot.
type Watcher struct {
	registry *Registry
	room     string

	ready chan struct{} // holds one token while queue is not empty or the watcher has ended

	mu    sync.Mutex // guards what follows
	queue []Event
	moved bool // there is no more than the queue
	ended bool
}

// Watch returns a watcher of a room, or of all rooms if that is "". Its first events are
// those after the one with the id after, if they are still there; otherwise a snapshot. The
// error is a fault: BadRequest if the room's name is none, Unavailable at a limit.
func (r *Registry) Watch(room string, after uint64) (*Watcher, error) {
	if room != "" {
		if err := ValidRoom(room); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosing()
	}
	if len(r.watchers) >= maxWatchers {
		return nil, fault.New(fault.Unavailable, "no more watchers of events: the limit of %d is reached", maxWatchers).After(retryAfter)
	}
	r.tellLocked(time.Now()) // what has changed goes before
	w := &Watcher{registry: r, room: room, ready: make(chan struct{}, 1)}
	missed, ok := r.events.since(after, room)
	if !ok || after == 0 {
		missed = []Event{r.snapshotEventLocked(room)}
	}
	w.queue = missed
	w.signal()
	r.watchers[w] = struct{}{}
	return w, nil
}

// Next waits for the next event. It returns the cause of ctx when that is done, ErrMoved
// after a room's RoomMoved, and ErrClosed once the watcher or the registry is closed. One goroutine calls it.
func (w *Watcher) Next(ctx context.Context) (Event, error) {
	for {
		w.mu.Lock()
		if w.ended {
			w.mu.Unlock()
			return Event{}, ErrClosed
		}
		if len(w.queue) > 0 {
			e := w.queue[0]
			w.queue = w.queue[1:]
			w.mu.Unlock()
			return e, nil
		}
		if w.moved {
			w.mu.Unlock()
			return Event{}, ErrMoved
		}
		w.mu.Unlock()
		select {
		case <-ctx.Done():
			return Event{}, context.Cause(ctx)
		case <-w.ready:
		}
	}
}

// Close ends the watcher. It may be called more than once.
func (w *Watcher) Close() {
	w.registry.mu.Lock()
	delete(w.registry.watchers, w)
	w.registry.mu.Unlock()
	w.end()
}

func (w *Watcher) end() {
	w.mu.Lock()
	w.ended, w.queue = true, nil
	w.mu.Unlock()
	w.signal()
}

func (w *Watcher) signal() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// push queues an event in place of those that it makes needless. It returns false if there
// is no room for it.
func (w *Watcher) push(e Event) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return true
	}
	w.queue = slices.DeleteFunc(w.queue, func(old Event) bool { return e.replaces(old) })
	if len(w.queue) >= maxQueue {
		return false
	}
	w.queue = append(w.queue, e)
	w.signal()
	return true
}

// replaces reports whether nobody needs to hear of old once e is known.
func (e *Event) replaces(old Event) bool {
	if old.Room != e.Room {
		return false
	}
	switch e.Type {
	case TrackChanged:
		return old.Type == TrackChanged && old.Track.ID == e.Track.ID
	case TrackRemoved:
		return old.Track != nil && old.Track.ID == e.Track.ID
	case ParticipantChanged:
		return old.Type == ParticipantChanged && old.Participant.ID == e.Participant.ID
	case ParticipantLeft:
		return old.Participant != nil && old.Participant.ID == e.Participant.ID
	case SpeakingChanged:
		return old.Type == SpeakingChanged
	case RoomMoved:
		return old.Type != SnapshotEvent && old.Type != SessionEnding
	case RoomClosed:
		return old.Type == RoomOpened || old.Type == RoomClosed || old.Type == SpeakingChanged
	}
	return false
}

// reset makes a snapshot all that the watcher has to hear.
func (w *Watcher) reset(snapshot Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.queue = []Event{snapshot}
		w.signal()
	}
}
