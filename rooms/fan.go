package rooms

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// worthHelp is how many packets to send, over all viewers, are worth waking another
	// processor for: half a millisecond's work.
	worthHelp = 256

	// chunk is how many subscriptions a processor takes at a time.
	chunk = 8
)

// A fan lends the processors that have nothing to do to the track that forwards a burst to
// many. Its helpers belong to the registry.
type fan struct {
	jobs    chan *spread
	helpers sync.WaitGroup
	count   int
}

func newFan() *fan {
	f := &fan{jobs: make(chan *spread), count: runtime.GOMAXPROCS(0) - 1}
	for range f.count {
		f.helpers.Go(func() {
			var o outlet
			for s := range f.jobs {
				s.work(&o)
				s.done.Done()
			}
		})
	}
	return f
}

// close ends the helpers and waits for them. Nobody may forward any more.
func (f *fan) close() {
	close(f.jobs)
	f.helpers.Wait()
}

// forward writes s to its subscriptions, and returns when that is done.
func (f *fan) forward(s *spread) {
	s.next.Store(0)
	processors := len(s.live) * len(s.batch) / worthHelp
	for range min(processors-1, f.count) {
		s.done.Add(1)
		select {
		case f.jobs <- s:
			continue
		default: // all are at work for others
		}
		s.done.Done()
		break
	}
	s.work(&s.outlet)
	s.done.Wait()
}

// A spread is a burst on its way to the subscriptions of a track.
type spread struct {
	batch  []numbered
	replay []numbered // see Subscription.forward
	live   []*Subscription
	now    time.Time

	outlet outlet       // of the track's reader
	next   atomic.Int64 // of live
	done   sync.WaitGroup
}

// work writes to subscriptions that nobody has taken yet, until there is none.
func (s *spread) work(o *outlet) {
	for {
		from := int(s.next.Add(chunk)) - chunk
		if from >= len(s.live) {
			break
		}
		for _, sub := range s.live[from:min(from+chunk, len(s.live))] {
			sub.forward(o, s.batch, s.replay, s.now)
		}
	}
	o.flush()
}
