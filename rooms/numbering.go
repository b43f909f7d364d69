package rooms

import (
	"math/rand/v2"
	"time"

	"sightline/internal/media"
)

const (
	// maxDropout and maxMisorder bound what is taken for loss and for lateness, in packets;
	// a larger jump is a restart of the source's numbering, believed once a second packet
	// follows on it (RFC 3550, appendix A.1).
	maxDropout  = 3000
	maxMisorder = 3000

	// maxLeap is how far a source's timestamps may run ahead of the wall clock in one step.
	// Running behind is no error: what was held up on its way comes late.
	maxLeap = 3 * time.Second

	// maxBack is how far timestamps of video may run back, and maxBehind for how many
	// frames: an encoder's reordering (B-frames) is less.
	maxBack   = time.Second
	maxBehind = 8

	// frozenAfter is how long frames may keep one timestamp.
	frozenAfter = 500 * time.Millisecond
)

// A numbering puts the packets of successive sources into one line: 64-bit sequence
// numbers and 32-bit timestamps of the track's own.
//
// Within a source both are shifted by a constant: what the publisher lost stays a gap,
// which viewers may ask for, and what comes late finds its place. From one source to the
// next there is no gap, and timestamps go on by the wall clock.
type numbering struct {
	rate  uint32 // of timestamps, Hz
	audio bool

	begun  bool
	next   uint64    // the sequence number after the newest
	newest uint32    // timestamp of the newest frame
	at     time.Time // when that frame began to arrive
	frame  uint32    // last interval between frames, in units of rate

	// Of the source that is read now.
	open     bool
	first    int64 // its packets, counted on over 16 bits
	highest  int64
	shift    uint64 // sequence = source's + shift
	tsShift  uint32 // timestamp = source's + tsShift
	tsBefore uint32 // tsShift for packets before tsFrom
	tsFrom   int64
	source   uint32    // newest timestamp as the source says it
	moved    time.Time // when that last changed
	ended    bool      // the newest packet ended a frame
	behind   int       // frames in a row that were older than the newest
	suspect  *media.Packet
}

// A verdict says what to do with a packet.
type verdict uint8

const (
	forward verdict = iota
	late            // forward it: it belongs before the newest
	drop
	resync // a source's numbering starts anew with suspect: begin with it, then place the packet again
)

func newNumbering(rate uint32, audio bool) numbering {
	n := numbering{rate: max(rate, 1), audio: audio, next: 1<<20 + uint64(rand.Uint32N(1<<16)), newest: rand.Uint32()}
	n.frame = n.rate / 30
	if audio {
		n.frame = n.rate / 50
	}
	return n
}

// begin makes p the first packet of another source. lost says that something may be
// missing before it, so that a decoder should notice.
func (n *numbering) begin(p *media.Packet, now time.Time, lost bool) {
	n.open, n.suspect = true, nil
	n.first = 1<<32 | int64(p.Sequence)
	n.highest = n.first - 1
	if lost {
		n.next++
	}
	n.shift = n.next - uint64(n.first)
	n.source, n.moved, n.ended, n.behind = p.Timestamp, now, true, 0
	n.tsFrom = n.first
	if n.begun {
		n.newest += max(n.frame, ticks(now.Sub(n.at), n.rate))
	}
	n.tsShift = n.newest - p.Timestamp
	n.tsBefore = n.tsShift
	n.at, n.begun = now, true
}

// place returns the track's numbers of p.
func (n *numbering) place(p *media.Packet, now time.Time) (seq uint64, ts uint32, v verdict) {
	in := n.highest + int64(int16(p.Sequence-uint16(n.highest)))
	switch jump := in - n.highest; {
	case jump > maxDropout || jump < -maxMisorder:
		if s := n.suspect; s != nil && p.Sequence == s.Sequence+1 {
			return 0, 0, resync
		}
		n.suspect = p
		return 0, 0, drop
	case in < n.first || jump == 0:
		return 0, 0, drop
	case jump < 0:
		shift := n.tsShift
		if in < n.tsFrom {
			shift = n.tsBefore
		}
		return uint64(in) + n.shift, p.Timestamp + shift, late
	}
	n.suspect = nil
	n.highest = in
	seq = uint64(in) + n.shift
	n.next = seq + 1
	return seq, n.stamp(p, in, now), forward
}

// continues reports whether p, after a jump in sequence numbers, goes on where the newest
// frame was: then nothing was lost.
func (n *numbering) continues(p *media.Packet) bool {
	d := int32(p.Timestamp - n.source)
	return d >= 0 && d <= int32(n.rate/5)
}

// stamp returns the track's timestamp of a packet that is newer than all before. It shifts
// anew where the source's own can't be right.
func (n *numbering) stamp(p *media.Packet, in int64, now time.Time) uint32 {
	if len(p.Payload) == 0 { // padding tells nothing
		return p.Timestamp + n.tsShift
	}
	step := int32(p.Timestamp - n.source)
	ended := n.ended
	n.ended = p.Marker || n.audio
	if step == 0 {
		if ended && now.Sub(n.moved) > frozenAfter {
			n.leap(p, in, now)
		}
		return p.Timestamp + n.tsShift
	}
	passed := now.Sub(n.at)
	told := time.Duration(step) * time.Second / time.Duration(n.rate)
	n.source, n.moved = p.Timestamp, now
	if int32(p.Timestamp+n.tsShift-n.newest) > 0 {
		n.behind = 0
	} else {
		n.behind++
	}
	switch {
	case told > passed+maxLeap, told < -maxBack, n.behind > 0 && n.audio, n.behind > maxBehind:
		n.leap(p, in, now)
	case step > 0 && n.behind == 0:
		if step < int32(n.rate) {
			n.frame = uint32(step)
		}
		n.advance(p.Timestamp+n.tsShift, now)
	}
	return p.Timestamp + n.tsShift
}

// leap shifts timestamps so that p's goes on by the wall clock.
func (n *numbering) leap(p *media.Packet, in int64, now time.Time) {
	ts := n.newest + max(n.frame, ticks(now.Sub(n.at), n.rate))
	n.tsBefore, n.tsFrom = n.tsShift, in
	n.tsShift = ts - p.Timestamp
	n.behind = 0
	n.advance(ts, now)
}

func (n *numbering) advance(ts uint32, now time.Time) {
	if int32(ts-n.newest) > 0 {
		n.newest, n.at = ts, now
	}
}

// edge is the timestamp of a frame that would begin to arrive now.
func (n *numbering) edge(now time.Time) uint32 { return n.newest + ticks(now.Sub(n.at), n.rate) }

// ticks converts a duration, zero if it is negative, to units of rate.
func ticks(d time.Duration, rate uint32) uint32 {
	d = max(d, 0)
	r := int64(rate)
	return uint32(int64(d/time.Second)*r + int64(d%time.Second)*r/int64(time.Second))
}
