package rooms

import (
	"time"

	"sightline/internal/media"
)

const (
	minRing = 1 << 8
	maxRing = 1 << 15 // packets: half of a 16-bit numbering

	// resendFor is how long a packet is kept for retransmission once it is not of the last
	// group of pictures any more.
	resendFor = 2 * time.Second
)

// A numbered packet has its place in the track's line.
type numbered struct {
	*media.Packet
	seq   uint64
	ts    uint32
	start bool // a keyframe begins
	late  bool // it came after later ones
}

// A ring keeps a track's packets by their sequence numbers, bounded in bytes, time and
// number: those of the last group of pictures, and the rest for resendFor.
type ring struct {
	maxBytes int
	maxAge   time.Duration

	slots []numbered // by seq modulo len, a power of two; empty without Packet
	tail  uint64     // the oldest that may be held
	next  uint64     // after the newest; 0: nothing yet
	bytes int
}

// size is what a packet counts towards the bound: its payload and what surrounds it.
func (n numbered) size() int { return len(n.Payload) + 160 }

func (r *ring) at(seq uint64) *numbered { return &r.slots[seq&uint64(len(r.slots)-1)] }

// get returns the packet seq if it is held.
func (r *ring) get(seq uint64) (numbered, bool) {
	if seq < r.tail || seq >= r.next {
		return numbered{}, false
	}
	slot := *r.at(seq)
	return slot, slot.Packet != nil && slot.seq == seq
}

// put keeps p; it returns false if that place is taken, or too old. Packets from keep on
// are the last group of pictures, if that is held.
func (r *ring) put(p numbered, keep uint64) bool {
	if r.slots == nil {
		r.slots = make([]numbered, minRing)
	}
	if r.next == 0 {
		r.tail, r.next = p.seq, p.seq
	}
	if p.seq < r.tail {
		return false
	}
	if p.seq >= r.next {
		r.fit(p.seq + 1)
		r.next = p.seq + 1
	}
	slot := r.at(p.seq)
	if slot.Packet != nil {
		return false
	}
	*slot = p
	r.bytes += p.size()
	r.evict(p.Arrival, keep)
	return true
}

// fit makes room up to next, by a larger ring or by letting the oldest go.
func (r *ring) fit(next uint64) {
	size := len(r.slots)
	for next-r.tail > uint64(size) && size < maxRing {
		size *= 2
	}
	if size > len(r.slots) {
		old := *r
		r.slots = make([]numbered, size)
		for seq := old.tail; seq < old.next; seq++ {
			if p, ok := old.get(seq); ok {
				*r.at(seq) = p
			}
		}
	}
	for next-r.tail > uint64(size) {
		r.dropOldest()
	}
}

func (r *ring) evict(now time.Time, keep uint64) {
	if keep < r.tail {
		keep = r.next
	}
	for r.tail < r.next {
		p, ok := r.get(r.tail)
		if ok {
			age := now.Sub(p.Arrival)
			if r.bytes <= r.maxBytes && age <= r.maxAge && (age <= resendFor || r.tail >= keep) {
				return
			}
		}
		r.dropOldest()
	}
}

func (r *ring) dropOldest() {
	if p, ok := r.get(r.tail); ok {
		r.bytes -= p.size()
		*r.at(r.tail) = numbered{}
	}
	r.tail++
}
