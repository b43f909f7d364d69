package forward

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/cluster"
	"sightline/internal/httpapi"
)

const (
	settle     = 200 * time.Millisecond // between two combined snapshots
	missingFor = time.Second            // until a node without a stream is asked again
	longest    = 4 * time.Second        // that a snapshot waits for all nodes
	lookEvery  = 50 * time.Millisecond  // a look at the owners of all rooms, of which there can be thousands, in each stream
)

// watchAll streams the events of all rooms: one snapshot of all nodes, and then what each tells. When what
// there is changes otherwise than by events, since a node has come or gone, or a room has moved, it
// begins again with a snapshot.
func (f *Forwarder) watchAll(c *gin.Context) {
	c.Abort() // all is said here
	ctx, leave, err := f.streams.Enter(c.Request.Context(), httpapi.Client(c))
	if err != nil {
		httpapi.Fail(c, err)
		return
	}
	defer leave()
	changed, stop := f.node.Watch()
	defer stop()
	w := &client{c: c, wait: f.streams.Timeout()} // Last-Event-ID is one node's: of the others nothing is known
	data, err := f.again(w, httpapi.ArrivalOf(c))
	if err != nil {
		httpapi.Fail(c, err)
		return
	}
	wait := gatherFor
	for ctx.Err() == nil {
		r := newRound(ctx, f, data)
		late, err := r.run(w, changed, wait)
		r.end()
		switch {
		case errors.Is(err, errAgain):
		case ctx.Err() != nil || errors.Is(err, errReader):
			return
		default:
			w.fail(err)
			return
		}
		if f.refused(c, policyOf(c.Request.Method, c.FullPath()), "") {
			return // it has ended for its token's sake
		}
		if wait = gatherFor; late { // who is slow again must not make snapshots without end
			wait = min(2*wait, longest)
		}
		select {
		case <-time.After(settle):
		case <-ctx.Done():
		}
	}
}

var errAgain = errors.New("there is something that no event has told")

// A round is what follows one combined snapshot.
type round struct {
	f      *Forwarder
	data   []byte
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	told   chan told
	begun  chan struct{} // closed once the snapshot is out: events come after it
	feeds  map[string]*feed
	unsure bool // an event was left out, of a room that another node has, as the directory says
}

// A feed is the stream of one node. The goroutine of the round's run alone uses it.
type feed struct {
	node   cluster.Member
	cancel context.CancelFunc
	ready  bool // its snapshot is in
	list   []json.RawMessage
	rooms  map[string]bool // that it has
}

// told is what a feed tells: an event, or why it has ended.
type told struct {
	feed  *feed
	raw   []byte
	event event
	err   error
}

// An event is what has to be known of one.
type event struct {
	Type  string            `json:"type"`
	ID    string            `json:"id"`
	Time  json.RawMessage   `json:"time"`
	Room  string            `json:"room,omitempty"`
	Rooms []json.RawMessage `json:"rooms"`
}

const (
	snapshotEvent = "snapshot"
	roomClosed    = "room-closed"
	roomMoved     = "room-moved"
)

func newRound(ctx context.Context, f *Forwarder, data []byte) *round {
	r := &round{f: f, data: data, told: make(chan told), begun: make(chan struct{}), feeds: make(map[string]*feed)}
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.join()
	return r
}

// end ends all feeds and waits for them.
func (r *round) end() {
	r.cancel()
	r.wg.Wait()
}

// join begins the feeds of nodes that have none.
func (r *round) join() {
	for _, m := range r.f.node.Members() {
		if r.feeds[m.ID] != nil {
			continue
		}
		fd := &feed{node: m, rooms: make(map[string]bool)}
		r.feeds[m.ID] = fd
		var ctx context.Context
		ctx, fd.cancel = context.WithCancel(r.ctx)
		r.wg.Go(func() { r.listen(ctx, fd) })
	}
}

func (r *round) listen(ctx context.Context, fd *feed) {
	tell := func(t told) error {
		t.feed = fd
		select {
		case r.told <- t:
			return nil
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
	first := true
	err := r.f.listen(ctx, fd.node, r.data, func(block []byte) error {
		t := told{raw: bytes.Clone(block)}
		if data := dataOf(block); data == nil {
			t.event.Type = "" // a comment, or what the stream begins with
		} else if err := json.Unmarshal(data, &t.event); err != nil {
			return err
		}
		if !first {
			select {
			case <-r.begun:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		first = first && t.event.Type != snapshotEvent
		return tell(t)
	})
	if err == nil {
		err = errors.New("it has ended")
	}
	_ = tell(told{err: err})
}

// dataOf returns the JSON of an event, or nil.
func dataOf(block []byte) []byte {
	for line := range bytes.Lines(block) {
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			return data
		}
	}
	return nil
}

// run writes the combined snapshot and what comes after, until it does not hold any more: errAgain;
// late says that it is because of a node that had not answered in time.
func (r *round) run(w *client, changed <-chan struct{}, wait time.Duration) (late bool, err error) {
	if err := r.collect(w, wait); err != nil {
		return false, err
	}
	if err := w.write(r.snapshot()); err != nil {
		return false, err
	}
	close(r.begun)
	missing := time.NewTicker(missingFor)
	defer missing.Stop()
	var rest <-chan time.Time // between two looks; what changes meanwhile waits
	look := changed
	for {
		select {
		case <-r.ctx.Done():
			return false, r.ctx.Err()
		case <-missing.C:
			r.join()
		case <-rest:
			rest, look = nil, changed
		case <-look:
			if r.moved() {
				return false, errAgain
			}
			r.join()
			rest, look = time.After(lookEvery), nil
		case t := <-r.told:
			if late, err := r.take(w, t); err != nil {
				return late, err
			}
		}
	}
}

// collect waits for the snapshots of all nodes.
func (r *round) collect(w *client, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	self := r.f.node.Self().ID
	for {
		open := false
		for _, fd := range r.feeds {
			open = open || !fd.ready
		}
		if !open {
			return nil
		}
		select {
		case <-r.ctx.Done():
			return r.ctx.Err()
		case <-timer.C:
			return nil
		case t := <-r.told:
			switch {
			case t.err != nil && t.feed.node.ID == self:
				return t.err // what this node refuses, all do
			case t.err != nil:
				delete(r.feeds, t.feed.node.ID)
			case t.event.Type == snapshotEvent:
				t.feed.ready, t.feed.list = true, t.event.Rooms
			case t.feed.node.ID == self && w.out == nil: // how the stream begins
				if err := w.write(t.raw); err != nil {
					return err
				}
			}
		}
	}
}

// snapshot makes one event of all that the feeds began with.
func (r *round) snapshot() []byte {
	by := make(map[string][]json.RawMessage)
	for id, fd := range r.feeds {
		if !fd.ready {
			continue
		}
		by[id], fd.list = fd.list, nil
		for _, room := range by[id] {
			if name := nameOf(room); r.owns(fd, name) {
				fd.rooms[name] = true
			}
		}
	}
	e := event{Type: snapshotEvent, ID: r.f.node.Self().ID + ".0", Rooms: r.f.merge(by)}
	e.Time, _ = json.Marshal(time.Now().UTC().Truncate(time.Millisecond)) // a time of today has JSON
	data, _ := json.Marshal(e)                                            // the rooms were JSON
	return append(append([]byte("id: "+e.ID+"\ndata: "), data...), "\n\n"...)
}

// owns reports whether what a feed tells of a room holds: it is of its owner, or of none.
func (r *round) owns(fd *feed, room string) bool {
	to, owned := r.f.node.Owner(room)
	return !owned || to.ID == fd.node.ID
}

// moved reports whether members or owners have changed in a way that events don't tell.
func (r *round) moved() bool {
	if r.unsure {
		return true
	}
	for id, fd := range r.feeds {
		_, there := r.f.node.Member(id)
		if !there {
			if len(fd.rooms) > 0 {
				return true
			}
			fd.cancel() // and its goroutine says so
			continue
		}
		for room := range fd.rooms {
			if !r.owns(fd, room) {
				return true
			}
		}
	}
	return false
}

// take passes on what a feed tells.
func (r *round) take(w *client, t told) (late bool, err error) {
	fd := t.feed
	switch {
	case t.err != nil:
		fd.cancel()
		delete(r.feeds, fd.node.ID)
		if fd.node.ID == r.f.node.Self().ID || len(fd.rooms) > 0 {
			return false, errAgain
		}
		return false, nil
	case t.event.Type == snapshotEvent && !fd.ready && len(t.event.Rooms) == 0: // it has come, and has nothing
		fd.ready = true
		return false, nil
	case t.event.Type == snapshotEvent:
		return !fd.ready, errAgain
	case t.event.Type == "":
		if fd.node.ID != r.f.node.Self().ID {
			return false, nil // one sign of life is enough
		}
	case t.event.Type == roomMoved: // the one that has it no more says so
		r.unsure = true
	case !r.owns(fd, t.event.Room):
		r.unsure = true // its room has gone elsewhere; or comes from there, and the directory is late
		return false, nil
	case t.event.Type == roomClosed:
		delete(fd.rooms, t.event.Room)
	default:
		fd.rooms[t.event.Room] = true
	}
	return false, w.write(t.raw)
}
