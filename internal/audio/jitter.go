package audio

import (
	"slices"
	"time"
)

// held is how many packets a queue holds at most: 5 s of 20 ms, 0.6 s of 2.5 ms.
const held = 256

// A slot is a place of a queue. It remembers its number after its packet is gone, so that a
// duplicate is known as one.
type slot struct {
	seq     int64
	ts      int64 // in samples
	payload []byte
	full    bool
}

// A queue puts a speaker's packets back into their order. Sequence numbers and timestamps
// are counted on over their 16 and 32 bits. Times are in samples since the leg's first.
type queue struct {
	slots [held]slot // by number
	count int        // packets that are there

	begun bool
	taken bool  // something was taken since the numbering began
	fresh bool  // the numbering has begun anew, and nothing was taken since
	idle  bool  // nothing has been played for a while: see astray
	next  int64 // number whose turn it is
	high  int64 // newest number
	ts    int64 // newest timestamp

	stray  uint16 // what would follow on the last packet that was too late
	strays bool

	delays delays
}

// A fate is what became of a packet that came.
type fate int

const (
	kept fate = iota
	duplicate
	late
	flushed // kept, and everything older thrown away
)

// put takes what arrived at the time at.
func (q *queue) put(p Packet, at int64) fate {
	seq := q.high + int64(int16(p.Sequence-uint16(q.high)))
	ts := q.ts + int64(int32(p.Timestamp-uint32(q.ts)))
	s := &q.slots[seq&(held-1)]
	result := kept
	switch {
	case !q.begun || seq >= q.next+held || q.astray(p.Sequence, seq):
		if q.begun {
			result = flushed
		}
		seq = q.restart(p.Sequence)
		s = &q.slots[seq&(held-1)]
	case s.seq == seq && s.ts == ts && (s.full || seq < q.next):
		return duplicate
	case seq < q.next && !q.taken && q.high-seq < held:
		q.next = seq // the first ones came out of order
	}
	if seq >= q.high {
		q.high, q.ts = seq, ts
	}
	if len(p.Payload) > 0 {
		if p.Marker && ts-q.delays.cellTS > SampleRate {
			q.delays.forget() // back after a pause, perhaps by another way
		}
		q.delays.add(ts, at)
	}
	if seq < q.next {
		q.stray, q.strays = p.Sequence+1, true
		return late
	}
	q.strays = false
	q.release(s)
	*s = slot{seq: seq, ts: ts, payload: p.Payload, full: true}
	q.count++
	return result
}

// astray says that a packet is not late, but of another numbering: two in a row are far too
// late, or, while nothing is played, late at all.
func (q *queue) astray(number uint16, seq int64) bool {
	return seq < q.next && q.strays && number == q.stray && (q.idle || seq < q.next-held)
}

// restart begins a numbering with number, and returns it counted on.
func (q *queue) restart(number uint16) int64 {
	for i := range q.slots {
		if q.count == 0 {
			break
		}
		q.release(&q.slots[i])
	}
	// Beyond all that were ever there, so that no slot is mistaken for a duplicate.
	seq := (q.high+held+1<<17)&^(1<<16-1) | int64(number)
	q.next, q.high = seq, seq
	q.fresh, q.taken, q.strays = q.begun, false, false
	q.begun = true
	return seq
}

func (q *queue) release(s *slot) {
	if s.full {
		s.full, s.payload = false, nil
		q.count--
	}
}

// head returns the oldest packet that is there, without taking it.
func (q *queue) head() (slot, bool) {
	if q.count == 0 {
		return slot{}, false
	}
	for seq := q.next; seq <= q.high; seq++ {
		if s := &q.slots[seq&(held-1)]; s.full && s.seq == seq {
			return *s, true
		}
	}
	return slot{}, false
}

// take removes the packet seq and whatever is older, and returns how many numbers before it
// had no packet.
func (q *queue) take(seq int64) (missing int64) {
	missing = seq - q.next
	if !q.taken {
		missing = 0
	}
	for ; q.next <= seq; q.next++ {
		if s := &q.slots[q.next&(held-1)]; s.seq == q.next {
			q.release(s)
		}
	}
	q.taken, q.fresh = true, false
	return missing
}

const (
	remembered = 400          // delays: 8 s of speech
	cell       = FrameSamples // timestamps this near share one

	settling = 50                     // delays until which a stream is at its beginning
	startup  = 60 * SampleRate / 1000 // by how much the delay falls then without being jitter

	// What comes this close together, in samples, was held up by one cause, and counts once.
	burst = 2 * SampleRate / 1000
)

// delays remembers how late packets came: their arrival minus their timestamp, in samples.
// Only differences between these mean anything, since the sender's clock began somewhere.
type delays struct {
	ring   [remembered]int64
	n      int   // how many of ring are valid
	next   int   // where the next one goes
	first  int64 // the oldest, while n is small
	cellTS int64 // timestamp of the last one
	last   int64
	lastAt int64
	added  int     // since they were last looked at
	jitter float64 // RFC 3550, appendix A.8
}

// add notes that the packet with timestamp ts came at the time at.
func (d *delays) add(ts, at int64) {
	delay := at - ts
	if d.n > 0 {
		difference := delay - d.last
		if difference < 0 {
			difference = -difference
		}
		if difference > SampleRate {
			d.forget() // the sender's timestamps have jumped
		} else {
			d.jitter += (float64(difference) - d.jitter) / 16
		}
	}
	together := at-d.lastAt < burst
	d.last, d.lastAt = delay, at
	d.added++
	if d.n == 0 {
		d.first = delay
	} else if d.n < settling && delay < d.first-startup {
		// The sender began with what it had in store, and that says nothing of the network.
		jitter := d.jitter
		d.forget()
		d.first, d.jitter = delay, jitter
	}
	newest := &d.ring[(d.next+remembered-1)%remembered]
	if since := ts - d.cellTS; d.n > 0 && since >= 0 && (since < cell || together && delay < *newest) {
		*newest = max(*newest, delay)
		return
	}
	d.ring[d.next] = delay
	d.next = (d.next + 1) % remembered
	d.n = min(d.n+1, remembered)
	d.cellTS = ts
}

// forget begins anew, as after a long pause.
func (d *delays) forget() { d.n, d.next, d.jitter = 0, 0, 0 }

// A spread sums up delays, in samples.
type spread struct {
	least, median, most int64 // 3rd, 50th and 97th percentile
	jitter              time.Duration
}

// sum sorts what is remembered in scratch.
func (d *delays) sum(scratch *[remembered]int64) spread {
	d.added = 0
	if d.n == 0 {
		return spread{}
	}
	sorted := scratch[:d.n]
	copy(sorted, d.ring[:d.n])
	slices.Sort(sorted)
	tail := d.n * 3 / 100
	return spread{
		least: sorted[tail], median: sorted[d.n/2], most: sorted[d.n-1-tail],
		jitter: time.Duration(d.jitter / SampleRate * float64(time.Second)),
	}
}
