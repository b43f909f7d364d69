package rtpstream

import (
	"time"
)

const (
	cycle      = 1 << 16
	window     = 4096 // sequence numbers that are remembered, for duplicates and late packets
	maxMissing = 512  // holes that are tracked; a larger gap is a jump, not a loss
	maxTries   = 3    // requests for one packet

	// reorderWait is how long a hole may be mere reordering before it is asked for.
	reorderWait = 8 * time.Millisecond
	minRetry    = 40 * time.Millisecond // between two requests for one packet
	maxRetry    = 400 * time.Millisecond
)

// An Arrival says what a packet's sequence number told.
type Arrival uint8

const (
	InOrder   Arrival = iota // the newest, or of a hole that was not asked for yet
	Repaired                 // of a hole that was asked for
	Duplicate                // came before
	Outdated                 // older than what is remembered
	Restarted                // the sender's numbering jumped: everything starts anew here
)

// A Receiver follows the numbering of one RTP stream: what is missing, when to ask for it
// again, and what RFC 3550's receiver reports say. It is not safe for concurrent use.
type Receiver struct {
	clockRate uint32

	started bool
	highest uint64 // extended sequence number; the first is at least cycle
	base    uint64 // the first of the current numbering
	probe   uint16 // the number after a jump, which confirms it
	probing bool
	seen    [window / 64]uint64

	missing []hole // in order

	received, lost, requested, holes uint64 // lost: given up; holes: asked for at least once

	// RFC 3550, appendix A.3 and A.8.
	distinct                     uint64 // since base, without duplicates
	expectedPrior, distinctPrior uint64
	transit                      int64
	jitter                       float64 // in units of clockRate
}

type hole struct {
	sequence uint64
	next     time.Time // when to ask, or to give up
	tries    int
}

// NewReceiver returns a receiver of a stream whose timestamps count clockRate per second.
func NewReceiver(clockRate uint32) *Receiver {
	return &Receiver{clockRate: max(clockRate, 1)}
}

// Receive takes the number and timestamp of a packet of the stream, retransmitted or not.
func (r *Receiver) Receive(sequence uint16, timestamp uint32, now time.Time, retransmitted bool) Arrival {
	if !r.started {
		r.restart(sequence)
		r.count(timestamp, now, true)
		return InOrder
	}
	delta := int64(int16(sequence - uint16(r.highest)))
	switch {
	case delta > maxMissing || delta < -window/2:
		// A jump. The next packet tells whether the sender means it (RFC 3550, appendix A.1).
		if retransmitted {
			return Outdated
		}
		if !r.probing || sequence != r.probe {
			r.probing, r.probe = true, sequence+1
			return Outdated
		}
		r.restart(sequence)
		r.count(timestamp, now, true)
		return Restarted
	case delta > 0:
		for s := r.highest + 1; s < r.highest+uint64(delta); s++ {
			r.clear(s)
			if len(r.missing) < maxMissing {
				r.missing = append(r.missing, hole{s, now.Add(reorderWait), 0})
			} else {
				r.lost++
			}
		}
		r.highest += uint64(delta)
		r.clear(r.highest)
		r.mark(r.highest)
		r.probing = false
		r.count(timestamp, now, !retransmitted)
		return InOrder
	}
	extended := r.highest - uint64(-delta)
	if extended < r.base {
		return Outdated
	}
	if r.has(extended) {
		return Duplicate
	}
	r.mark(extended)
	r.count(timestamp, now, false)
	for i := range r.missing {
		if h := r.missing[i]; h.sequence == extended {
			r.missing = append(r.missing[:i], r.missing[i+1:]...)
			if h.tries > 0 {
				return Repaired
			}
			return InOrder
		}
	}
	// It had been given up.
	r.lost -= min(r.lost, 1)
	return Repaired
}

func (r *Receiver) restart(sequence uint16) {
	r.started, r.probing = true, false
	r.highest = cycle + uint64(sequence)
	r.base = r.highest
	r.seen = [window / 64]uint64{}
	r.mark(r.highest)
	r.missing = r.missing[:0]
	r.distinct, r.expectedPrior, r.distinctPrior = 0, 0, 0
	r.transit = 0
}

func (r *Receiver) count(timestamp uint32, now time.Time, timely bool) {
	r.received++
	r.distinct++
	if !timely {
		return
	}
	// Interarrival jitter, RFC 3550, appendix A.8.
	arrival := now.UnixMicro() * int64(r.clockRate) / 1e6
	transit := int64(int32(uint32(arrival) - timestamp))
	if r.transit != 0 {
		d := transit - r.transit
		if d < 0 {
			d = -d
		}
		if d < int64(r.clockRate)*5 {
			r.jitter += (float64(d) - r.jitter) / 16
		}
	}
	r.transit = transit
}

func (r *Receiver) mark(s uint64)     { r.seen[s/64%uint64(len(r.seen))] |= 1 << (s % 64) }
func (r *Receiver) clear(s uint64)    { r.seen[s/64%uint64(len(r.seen))] &^= 1 << (s % 64) }
func (r *Receiver) has(s uint64) bool { return r.seen[s/64%uint64(len(r.seen))]&(1<<(s%64)) != 0 }

// Due appends to dst the sequence numbers to ask for now (RFC 4585, section 6.2.1). rtt
// is the round-trip time to the sender, 0 if it is not known. A number is asked for at
// most three times and then given up.
func (r *Receiver) Due(now time.Time, rtt time.Duration, dst []uint16) []uint16 {
	retry := min(max(rtt*3/2+10*time.Millisecond, minRetry), maxRetry)
	if rtt == 0 {
		retry = 100 * time.Millisecond
	}
	kept := r.missing[:0]
	for _, h := range r.missing {
		if now.Before(h.next) {
			kept = append(kept, h)
			continue
		}
		if h.tries == maxTries {
			r.lost++
			continue
		}
		if h.tries == 0 {
			r.holes++
		}
		h.tries++
		h.next = now.Add(retry)
		r.requested++
		dst = append(dst, uint16(h.sequence))
		kept = append(kept, h)
	}
	r.missing = kept
	return dst
}

// Missing reports whether there are holes, so that Due is to be called soon.
func (r *Receiver) Missing() bool { return len(r.missing) > 0 }

// Forgive gives up all holes: the sender can't repair, or nobody needs them any more.
func (r *Receiver) Forgive() {
	r.lost += uint64(len(r.missing))
	r.missing = r.missing[:0]
}

// A Report holds the fields of a reception report block (RFC 3550, section 6.4.1).
type Report struct {
	FractionLost uint8
	TotalLost    uint32 // 24 bits
	Highest      uint32 // extended highest sequence number
	Jitter       uint32 // in units of the clock rate
}

// Report returns the report over the time since the last one.
func (r *Receiver) Report() Report {
	if !r.started {
		return Report{}
	}
	expected := r.highest - r.base + 1
	var lost uint64
	if expected > r.distinct {
		lost = expected - r.distinct
	}
	expectedNow, distinctNow := expected-r.expectedPrior, r.distinct-r.distinctPrior
	r.expectedPrior, r.distinctPrior = expected, r.distinct
	var fraction uint8
	if expectedNow > distinctNow && expectedNow > 0 {
		fraction = uint8(min((expectedNow-distinctNow)<<8/expectedNow, 255))
	}
	return Report{fraction, uint32(min(lost, 0x7fffff)), uint32(r.highest - cycle), uint32(r.jitter)}
}

// Received, Lost and Requested are totals in packets: distinct ones that came, those given
// up, and numbers asked for with repetitions.
func (r *Receiver) Received() uint64  { return r.received }
func (r *Receiver) Lost() uint64      { return r.lost }
func (r *Receiver) Requested() uint64 { return r.requested }

// Holes is how many packets did not come in time, whether repaired later or not.
func (r *Receiver) Holes() uint64 { return r.holes }

// Jitter is the interarrival jitter (RFC 3550, appendix A.8).
func (r *Receiver) Jitter() time.Duration {
	return time.Duration(r.jitter * float64(time.Second) / float64(r.clockRate))
}

// Highest is the extended highest sequence number; it grows by one with each packet sent,
// and anew after a jump.
func (r *Receiver) Highest() uint64 { return r.highest }
