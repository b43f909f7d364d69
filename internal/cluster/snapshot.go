package cluster

import (
	"maps"
	"slices"
	"sync"
	"time"

	"sightline/internal/fault"
)

// A Snapshot is all that metrics need.
type Snapshot struct {
	Connected     bool // of the engine
	Routes, Leafs int  // to other nodes, of an embedded engine

	MessagesIn, MessagesOut uint64
	BytesIn, BytesOut       uint64 // of these, without NATS's own

	Calls    map[string]Calls // by verb; of the opening of streams too
	Handlers int              // that answer calls of other nodes
	Sending  int              // streams that this node serves
	Reading  int              // streams that it reads
	Unread   int64            // bytes of those

	Refused uint64 // calls and streams, for want of a place
	Dropped uint64 // messages that could not be sent
	Slow    uint64 // streams lost, because the reader was too slow

	Directory DirectorySnapshot
}

// Calls are those of a verb that this node has made.
type Calls struct {
	Count  uint64
	Errors map[string]uint64 // by kind of fault; "internal" is none
	Delay  Histogram         // of all of them, in seconds
}

// A Histogram has a count for each bound, of what is up to it, and one of what is beyond.
type Histogram struct {
	Bounds []float64
	Counts []uint64
	Sum    float64
}

var delays = []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// internal counts errors that are no fault.
const internal = "internal"

// stats count the calls of a node. Verbs are the program's own, and so are few.
type stats struct {
	mu    sync.Mutex
	verbs map[string]*Calls
}

func (s *stats) count(verb string, err error, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.verbs[verb]
	if c == nil {
		c = &Calls{Errors: make(map[string]uint64), Delay: Histogram{Bounds: delays, Counts: make([]uint64, len(delays)+1)}}
		if s.verbs == nil {
			s.verbs = make(map[string]*Calls)
		}
		s.verbs[verb] = c
	}
	c.Count++
	if err != nil {
		kind := string(fault.KindOf(err))
		if kind == "" {
			kind = internal
		}
		c.Errors[kind]++
	}
	i, _ := slices.BinarySearch(delays, d.Seconds())
	c.Delay.Counts[i]++
	c.Delay.Sum += d.Seconds()
}

func (s *stats) snapshot() map[string]Calls {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]Calls, len(s.verbs))
	for verb, c := range s.verbs {
		delay := c.Delay
		delay.Counts = slices.Clone(delay.Counts)
		out[verb] = Calls{Count: c.Count, Errors: maps.Clone(c.Errors), Delay: delay}
	}
	return out
}

func (b *natsBus) snapshot() Snapshot {
	traffic := b.conn.Stats()
	s := Snapshot{
		Connected:   b.connected(),
		MessagesIn:  traffic.InMsgs,
		MessagesOut: traffic.OutMsgs,
		BytesIn:     traffic.InBytes,
		BytesOut:    traffic.OutBytes,
		Calls:       b.stats.snapshot(),
		Unread:      b.pending.Load(),
		Refused:     b.refused.Load(),
		Dropped:     b.dropped.Load(),
		Slow:        b.slow.Load(),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s.Handlers, s.Sending, s.Reading = b.liveCalls, b.liveSends, len(b.readers)
	return s
}

// Snapshot returns everything that metrics need.
func (n *Node) Snapshot() Snapshot {
	s := n.bus.snapshot()
	s.Routes, s.Leafs = n.engine.peers()
	s.Directory = n.directory.snapshot()
	return s
}
