package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"sightline/internal/fault"
)

// A memNet joins buses in memory. What goes from one node to another stays in order, and is
// late by chance; tells may get lost or come twice.
type memNet struct {
	delay   time.Duration // at most
	lose    float64       // share of tells that get lost
	twice   float64       // share of tells that come twice
	silent  bool          // a call over a cut waits for its context, instead of failing at once
	slow    time.Duration // how late answers are besides
	counted func(bytes int)

	ctx  context.Context
	stop context.CancelFunc
	wait sync.WaitGroup

	mu    sync.Mutex
	rng   *rand.Rand
	nodes map[string]*memBus
	links map[[2]string]*memLink
	side  map[string]int     // nodes of different sides don't reach each other
	deaf  map[[2]string]bool // one way
	storm string             // a node that told more than maxTells in a second, if one did
}

// What a node tells beyond maxTells in a second is not carried: messages that beget messages
// are to fail a test, not to hold it up. With 20 rooms a node tells 27 at most.
const maxTells = 100

type memLink struct {
	mu    sync.Mutex
	queue []memTell
	wake  chan struct{}
}

type memTell struct {
	topic string
	data  []byte
	at    time.Time
}

type memBus struct {
	net   *memNet
	id    string
	tells map[string]func(string, []byte)
	calls map[string]func(context.Context, string, []byte) ([]byte, error)

	second int64 // Unix time, and
	told   int   // tells in it; guarded by net.mu
}

func newMemNet(seed uint64) *memNet {
	n := &memNet{delay: 2 * time.Millisecond, rng: rand.New(rand.NewPCG(seed, seed)),
		nodes: map[string]*memBus{}, links: map[[2]string]*memLink{}, side: map[string]int{}, deaf: map[[2]string]bool{}}
	n.ctx, n.stop = context.WithCancel(context.Background())
	return n
}

func (n *memNet) close() {
	n.stop()
	n.wait.Wait()
}

func (n *memNet) join(id string) *memBus {
	b := &memBus{net: n, id: id, tells: map[string]func(string, []byte){}, calls: map[string]func(context.Context, string, []byte) ([]byte, error){}}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[id] = b
	return b
}

func (n *memNet) remove(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.nodes, id)
}

// part puts a node on a side; all begin on side 0.
func (n *memNet) part(id string, side int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.side[id] = side
}

func (n *memNet) reach(from, to string) *memBus {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.side[from] != n.side[to] || n.deaf[[2]string{from, to}] || n.nodes[from] == nil {
		return nil
	}
	return n.nodes[to]
}

func (n *memNet) chance(p *float64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return *p > 0 && n.rng.Float64() < *p
}

func (n *memNet) setLose(p float64) { n.set(func() { n.lose = p }) }

// stormy returns a node that told more than maxTells in a second; "" if none did.
func (n *memNet) stormy() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.storm
}

func (n *memNet) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

func (n *memNet) late() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.delay == 0 {
		return 0
	}
	return time.Duration(n.rng.Int64N(int64(n.delay)))
}

func (n *memNet) link(from, to string) *memLink {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := [2]string{from, to}
	l := n.links[key]
	if l == nil {
		l = &memLink{wake: make(chan struct{}, 1)}
		n.links[key] = l
		n.wait.Go(func() { n.deliver(l, from, to) })
	}
	return l
}

func (n *memNet) deliver(l *memLink, from, to string) {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-l.wake:
		}
		for {
			l.mu.Lock()
			if len(l.queue) == 0 {
				l.mu.Unlock()
				break
			}
			m := l.queue[0]
			l.queue = l.queue[1:]
			l.mu.Unlock()
			if !n.sleep(n.ctx, time.Until(m.at)) {
				return
			}
			if b := n.reach(from, to); b != nil {
				n.mu.Lock()
				f := b.tells[m.topic]
				n.mu.Unlock()
				if f != nil {
					f(from, m.data)
				}
			}
		}
	}
}

func (n *memNet) sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (b *memBus) tell(topic string, data []byte) error {
	if len(data) > 512<<10 {
		return fmt.Errorf("a message of %d bytes", len(data))
	}
	b.net.mu.Lock()
	if now := time.Now().Unix(); now != b.second {
		b.second, b.told = now, 0
	}
	if b.told++; b.told > maxTells {
		b.net.storm = b.id
		b.net.mu.Unlock()
		return fmt.Errorf("more than %d messages in a second", maxTells)
	}
	var to []string
	for id := range b.net.nodes {
		if id != b.id {
			to = append(to, id)
		}
	}
	b.net.mu.Unlock()
	for _, id := range to {
		if b.net.reach(b.id, id) == nil || b.net.chance(&b.net.lose) {
			continue
		}
		if b.net.counted != nil {
			b.net.counted(len(data))
		}
		l := b.net.link(b.id, id)
		m := memTell{topic, data, time.Now().Add(b.net.late())}
		l.mu.Lock()
		l.queue = append(l.queue, m)
		if b.net.chance(&b.net.twice) {
			l.queue = append(l.queue, m)
		}
		l.mu.Unlock()
		poke(l.wake)
	}
	return nil
}

func (b *memBus) onTell(topic string, f func(string, []byte)) {
	b.net.set(func() { b.tells[topic] = f })
}

func (b *memBus) onCall(verb string, f func(context.Context, string, []byte) ([]byte, error)) {
	b.net.set(func() { b.calls[verb] = f })
}

func (b *memBus) call(ctx context.Context, to, verb string, data []byte) ([]byte, error) {
	if len(data) > 512<<10 {
		return nil, fmt.Errorf("a message of %d bytes", len(data))
	}
	far := b.net.reach(b.id, to)
	if far == nil {
		return nil, b.unreached(ctx, to)
	}
	if !b.net.sleep(ctx, b.net.late()) {
		return nil, ctx.Err()
	}
	b.net.mu.Lock()
	f := far.calls[verb]
	b.net.mu.Unlock()
	if f == nil {
		return nil, fault.New(fault.Unavailable, "%s answers no %s", to, verb)
	}
	data, err := f(ctx, b.id, data)
	if len(data) > 512<<10 {
		return nil, fmt.Errorf("an answer of %d bytes", len(data))
	}
	if b.net.counted != nil {
		b.net.counted(len(data))
	}
	if !b.net.sleep(ctx, b.net.late()+b.net.slow) {
		return nil, ctx.Err()
	}
	if b.net.reach(to, b.id) == nil {
		return nil, b.unreached(ctx, to)
	}
	return data, err
}

func (b *memBus) unreached(ctx context.Context, to string) error {
	if b.net.waits(to) {
		<-ctx.Done()
		return ctx.Err()
	}
	return fault.New(fault.Unavailable, "nobody is there under %s", to)
}

func (n *memNet) waits(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.silent && n.nodes[id] != nil
}

// A bus on a side below 0 has lost its engine.
func (b *memBus) connected() bool {
	b.net.mu.Lock()
	defer b.net.mu.Unlock()
	return b.net.side[b.id] >= 0
}
