package cluster

import (
	"slices"
	"time"
)

// A memory knows what has to outlive a room or its owner, for one to two minutes: it is two
// generations of which the older one is dropped. A generation that is full ends early.
type memory struct {
	young, old map[string]remains
	since      time.Time // of young
	names      int       // of muted publishers that were put into young
}

const maxRemains = 100_000 // of a generation, and names in them

// remains are what is left of a room.
type remains struct {
	epoch uint64
	muted []string  // if the owner died
	until time.Time // that muted is good for; zero: the room ended, or has another owner
}

func (m *memory) age(now time.Time) {
	if now.Sub(m.since) >= rememberIt {
		m.turn(now)
	}
}

func (m *memory) turn(now time.Time) { m.old, m.young, m.since, m.names = m.young, nil, now, 0 }

func (m *memory) of(room string) remains {
	if r, ok := m.young[room]; ok {
		return r
	}
	return m.old[room]
}

func (m *memory) put(room string, r remains, now time.Time) {
	if len(m.young) >= maxRemains || m.names >= maxRemains {
		m.turn(now)
	}
	m.names += len(r.muted)
	if m.young == nil {
		m.young = map[string]remains{}
	}
	m.young[room] = r
}

// ended remembers the epoch of a room that has ended or gone to another node.
func (m *memory) ended(room string, epoch uint64, now time.Time) {
	m.put(room, remains{epoch: max(epoch, m.of(room).epoch)}, now)
}

// died remembers a room whose owner is no more.
func (m *memory) died(room string, epoch uint64, muted []string, now time.Time) {
	m.put(room, remains{max(epoch, m.of(room).epoch), muted, now.Add(rememberIt)}, now)
}

// inherited forgets the mutes of a room that has an owner again: it has them, and may take them back.
func (m *memory) inherited(room string, now time.Time) {
	if r := m.of(room); !r.until.IsZero() {
		m.put(room, remains{epoch: r.epoch}, now)
	}
}

// keep returns the mutes that the next owner has to know, and whether the last one died.
func (r remains) keep(now time.Time) (muted []string, died bool) {
	if now.Before(r.until) {
		return r.muted, true
	}
	return nil, false
}

// union returns a and b, sorted, each name once.
func union(a, b []string) []string {
	if len(a) == 0 && len(b) == 0 {
		return nil
	}
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}
