package cluster

import (
	"context"
	"hash/maphash"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Lanes call the gateway: for one room in order, for others at the same time. What waits is
// bounded by what it is about: a call waits for each Taken of its own, and a room can be lost
// once for each time it was taken.
type lanes struct {
	seed maphash.Seed
	list []*lane
	done chan struct{} // they run no more
}

type lane struct {
	mu    sync.Mutex // guards queue
	queue []func()
	wake  chan struct{}
}

func newLanes() lanes {
	l := lanes{seed: maphash.MakeSeed(), done: make(chan struct{})}
	for range 8 {
		l.list = append(l.list, &lane{wake: make(chan struct{}, 1)})
	}
	return l
}

// run serves the lanes, as goroutines of g, until ctx is done and what waits then is served.
func (l *lanes) run(ctx context.Context, g *errgroup.Group) {
	context.AfterFunc(ctx, func() { close(l.done) })
	for _, lane := range l.list {
		g.Go(func() error {
			for ctx.Err() == nil {
				select {
				case <-ctx.Done():
				case <-lane.wake:
				}
				lane.serve()
			}
			return nil
		})
	}
}

func (l *lane) serve() {
	for {
		l.mu.Lock()
		queue := l.queue
		l.queue = nil
		l.mu.Unlock()
		if len(queue) == 0 {
			return
		}
		for _, f := range queue {
			f()
		}
	}
}

// add has f called after what was added before for the same key. It does not wait.
func (l *lanes) add(key string, f func()) {
	lane := l.list[maphash.String(l.seed, key)%uint64(len(l.list))]
	lane.mu.Lock()
	lane.queue = append(lane.queue, f)
	lane.mu.Unlock()
	poke(lane.wake)
}

// wait returns when all that was added before for the key has been called, or ctx or the
// lanes are done.
func (l *lanes) wait(ctx context.Context, key string) {
	called := make(chan struct{})
	l.add(key, func() { close(called) })
	select {
	case <-called:
	case <-ctx.Done():
	case <-l.done:
	}
}
