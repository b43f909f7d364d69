package audio

import (
	"sync"
	"time"
)

// A Packet is one packet of Opus on its way into the mix.
type Packet struct {
	Sequence  uint16
	Timestamp uint32 // at 48 kHz (RFC 7587, section 4.1)
	Payload   []byte // immutable; empty for a packet of padding only
	Arrival   time.Time
	Marker    bool // the first after a pause
}

// A State is what a frame of a leg holds.
type State int

const (
	Silent     State = iota // nothing: the stream has not begun, has paused or has ended
	Playing                 // what the speaker sent
	Concealing              // in part what is made up for what did not come
)

// Stats are a leg's totals since it began, and its latest readings.
type Stats struct {
	Packets    uint64 // that came, with everything below
	Late       uint64 // came when it was over, and were dropped
	Lost       uint64 // had not come when it was their turn; some of them came late
	Duplicates uint64
	Discarded  uint64 // dropped unplayed: there was far too much at once
	Bad        uint64 // could not be decoded

	Frames     uint64 // that were not silent
	Concealed  uint64 // samples of one channel that were made up for what was lost or late
	FEC        uint64 // packets that were had from the next one's error correction
	Stretched  uint64 // samples by which the delay grew while it played
	Compressed uint64 // samples by which it shrank
	Resets     uint64 // breaks: another numbering, or a delay beyond all bounds

	Delay  time.Duration // how long what is played now has waited here
	Target time.Duration // how long it should have
	Jitter time.Duration // RFC 3550, appendix A.8
}

const (
	lookahead = halfTaps // samples that are kept behind a frame, and before it

	safety      = 4 * SampleRate / 1000   // beyond the delay that 97 % of the packets keep
	maxDelay    = 400 * SampleRate / 1000 // beyond the fastest packets
	maxExcess   = 500 * SampleRate / 1000 // of the delay over the target, before a break
	smallExcess = 30 * SampleRate / 1000  // of the delay over the target
	largeExcess = 100 * SampleRate / 1000 // likewise
	hugeExcess  = 200 * SampleRate / 1000 // what is more is made good in a hurry
	tinyExcess  = 5 * SampleRate / 1000   // what is less is made good at leisure

	// How much two periods have to resemble each other, as a correlation coefficient, so
	// that one of them may be left out: for a small correction, which else is made by
	// resampling, and for one that should not take so long. There, anything will do after
	// two seconds in which nothing did.
	identical = 0.995
	similar   = 0.85

	nothing = 1e-7 // power of what nobody hears: -70 dBFS

	mended     = 5 * SampleRate / 1000   // cross-fade from what was made up
	fullPower  = 60 * SampleRate / 1000  // of concealment
	lowPower   = 120 * SampleRate / 1000 // when it has faded to an eighth, which bridges a long burst of losses
	maxConceal = 300 * SampleRate / 1000 // when it has faded out

	holdFrames   = 50  // no shorter delay so soon after there was nothing to play: 1 s
	fecFrames    = 500 // memory of losses that error correction could mend: 10 s
	spliceFrames = 3   // from one splice to the next in speech
	slideFrames  = 3   // from one sample less to the next, at leisure: 0.03 % is neither heard nor measured
	idleFrames   = 50  // silence after which the next packets may have any numbers: 1 s
	forgetFrames = 500 // silence after which the network is another: 10 s
)

// A Leg turns one speaker's packets, as they come, into frames at the mixer's pace. It waits
// as long as the network's jitter demands and no longer, conceals what is lost, and follows
// the sender's clock. It knows no clock itself: only Packet.Arrival and the now of Next, which
// must be of one clock.
//
// Put and Stats may be called by any goroutine, Next by one. None of them allocates.
//
// A frame begins, in steady state, where a packet begins, so that nothing waits for the rest
// of a frame: the delay from arrival to frame is the least one that keeps the target, plus
// what is missing to the mixer's next tick.
//
// A leg goes
//
//	silent ──▶ playing ──▶ silent
//
// as often as the stream pauses. It begins to play when the oldest packet has waited for the
// target delay, and ends when a packet says by its timestamp that there was a pause, or when
// nothing has come for so long that concealment has faded out.
type Leg struct {
	channels int
	decoder  Decoder

	mu    sync.Mutex // guards what follows
	zero  time.Time  // of all times in samples
	queue queue
	stats Stats

	// Of the goroutine that calls Next.
	clock   int64 // smoothed now
	ticking bool
	silent  int // frames in a row
	playing bool
	spread  spread
	scratch [remembered]int64

	// pcm holds what is decoded and not yet played, behind lookahead samples that have
	// been. The last one is that before the timestamp end.
	pcm  []float32
	end  int64
	unit int   // samples of the last packet
	dtx  bool  // the last packet said that a pause begins
	bad  int64 // packets in a row that were no use

	tail []float32 // how concealment would go on, or nothing
	run  int       // samples concealed without a break, with tail
	made bool      // whether some of them in this frame

	// unsure are how many samples have been concealed since the last packet: it may turn
	// out that there was a pause.
	unsure int

	// Error correction is of use only if the next packet is there in time. Where that
	// would have mended two losses not long ago, it is waited for.
	fecMissed int // in frames: how long ago the last one was
	fecWait   int // frames for which to go on

	hold   int // frames
	splice int // frames since the last one
	slide  int // likewise
	loud   float32
	pitch  pitch
	done   Stats // what is added to stats after the frame
}

// NewLeg returns a leg whose frames have the given number of channels, 1 or 2, which is what
// d decodes to.
func NewLeg(channels int, d Decoder) *Leg {
	return &Leg{
		channels: channels, decoder: d,
		pcm:  make([]float32, 0, (2*MaxPacketSamples)*channels),
		tail: make([]float32, 0, mended*channels),
	}
}

// Put takes a packet, in the order of arrival. It never blocks for long, and holds at most 256
// packets: if more come before they are played, the oldest are dropped.
func (l *Leg) Put(p Packet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Packets++
	switch l.queue.put(p, l.samplesLocked(p.Arrival)) {
	case duplicate:
		l.stats.Duplicates++
	case late:
		l.stats.Late++
	case flushed:
		l.stats.Resets++
	}
}

// samplesLocked returns a time in samples since the first time that it was asked for.
func (l *Leg) samplesLocked(t time.Time) int64 {
	if l.zero.IsZero() {
		l.zero = t
	}
	return t.Sub(l.zero).Microseconds() * (SampleRate / 1000) / 1000
}

// Stats returns the leg's counters.
func (l *Leg) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Next fills frame with the next FrameSamples samples of each channel. The mixer calls it
// every FrameDuration; now may be late, but not early.
func (l *Leg) Next(frame []float32, now time.Time) State {
	frame = frame[:FrameSamples*l.channels]
	l.tick(now)
	if !l.playing && !l.begin() {
		clear(frame)
		l.rest()
		return Silent
	}
	l.silent, l.made = 0, false
	faded := l.run >= maxConceal && l.have() <= lookahead
	if !l.fill(FrameSamples+lookahead, true) || l.hopeless() {
		l.finish()
		if faded {
			clear(frame)
			l.rest()
			return Silent
		}
	}
	state := Playing
	if l.made {
		state = Concealing
	}
	l.play(frame, state)
	l.done.Frames++
	l.publish()
	return state
}

// tick follows the mixer's clock, but not its trembling.
func (l *Leg) tick(now time.Time) {
	l.mu.Lock()
	at := l.samplesLocked(now)
	if l.queue.delays.added >= 10 || l.queue.delays.added > 0 && (!l.playing || l.queue.delays.n < 10) {
		l.spread = l.queue.delays.sum(&l.scratch)
	}
	l.mu.Unlock()
	l.clock += FrameSamples
	if off := at - l.clock; !l.ticking || off > SampleRate/10 || off < -SampleRate/10 {
		l.clock, l.ticking = at, true
	} else {
		l.clock += off / 16
	}
}

// missFEC notes that a packet with error correction came too late for it.
func (l *Leg) missFEC() {
	if l.fecMissed > 0 {
		l.fecWait = fecFrames
	}
	l.fecMissed = fecFrames
}

// target returns how far behind the clock, in timestamps, what is played should be.
func (l *Leg) target() int64 {
	target := min(l.spread.most, l.spread.least+maxDelay) + safety
	if l.fecWait > 0 && l.spread.most-l.spread.least < FrameSamples {
		target += int64(min(l.unit, FrameSamples))
	}
	return target
}

// rest is one more silent frame.
func (l *Leg) rest() {
	l.silent++
	if l.silent == 1 || l.done != (Stats{}) {
		l.publish()
	}
	switch l.silent {
	case idleFrames:
		l.mu.Lock()
		l.queue.idle = true
		l.mu.Unlock()
	case forgetFrames:
		l.mu.Lock()
		l.queue.delays.forget()
		l.mu.Unlock()
	}
}

// begin begins to play if it is time to.
func (l *Leg) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := &l.queue
	for surplus := false; ; {
		head, ok := q.head()
		if !ok {
			return false
		}
		samples, err := PacketSamples(head.payload)
		wait := l.waitLocked(head.ts, samples)
		switch surplus = surplus || wait < -maxExcess; {
		case len(head.payload) <= 2 || err != nil:
			// It says that there is a pause, or nothing.
		case surplus && wait < -FrameSamples && q.count > 1:
			l.done.Discarded++ // of what has been held up for very long the newest counts
		case q.count == 1 && l.pausedBefore(head):
			if wait > -int64(samples+FrameSamples) {
				return false
			}
			// Of the noise that is sent now and then in a pause, a frame would be a tick.
		case wait+int64(FrameSamples-min(samples, FrameSamples)) > 0:
			return false
		default:
			l.start(head)
			return true
		}
		if err != nil && len(head.payload) > 0 {
			l.done.Bad++
		}
		l.end = head.ts + int64(samples)
		q.take(head.seq)
	}
}

// pausedBefore says whether the sender paused before a packet, as one with DTX does (RFC 6716,
// section 2.1.9). The caller holds l.mu.
func (l *Leg) pausedBefore(head slot) bool {
	return l.queue.taken && head.seq == l.queue.next && head.ts-l.end > lowPower
}

// start begins to play with the packet head. The caller holds l.mu.
func (l *Leg) start(head slot) {
	l.queue.idle, l.queue.fresh = false, false
	l.playing, l.end = true, head.ts
	l.pcm = l.pcm[:2*lookahead*l.channels]
	clear(l.pcm)
	l.tail = l.tail[:mended*l.channels] // it rises from silence
	clear(l.tail)
	l.run, l.unsure, l.unit, l.bad, l.hold, l.dtx = 0, 0, 0, 0, 0, false
}

// hopeless says that so much is waiting that it is better to begin anew.
func (l *Leg) hopeless() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.queue.count <= 1 || l.waitLocked(l.end-int64(l.have()), l.unit) > -maxExcess {
		return false
	}
	l.done.Resets++
	return true
}

// waitLocked returns for how long, in samples, what has the timestamp ts should still wait. It
// is negative if its time is over, be it only for how many packets of this length there are.
func (l *Leg) waitLocked(ts int64, length int) int64 {
	wait := l.target() - (l.clock - ts)
	if wait > maxDelay+maxExcess {
		wait = -FrameSamples // the timestamp is of another clock, and its time may never come
	}
	return min(wait, int64(maxDelay-l.queue.count*length))
}

// have returns how many samples of one channel are there to be played.
func (l *Leg) have() int { return len(l.pcm)/l.channels - lookahead }

// room makes room for n samples of each channel behind what is there.
func (l *Leg) room(n int) []float32 {
	at := len(l.pcm)
	l.pcm = l.pcm[:at+n*l.channels]
	return l.pcm[at:]
}

// fill sees to it that n samples are there to be played. Without must it takes only what has
// come in an unbroken line. It returns false if there is a pause before, or nothing.
func (l *Leg) fill(n int, must bool) bool {
	for l.have() < n {
		l.mu.Lock()
		head, ok := l.queue.head()
		missing := head.seq - l.queue.next + l.bad
		if !l.queue.taken {
			missing = l.bad
		}
		fresh := l.queue.fresh
		l.mu.Unlock()
		gap := head.ts - l.end
		switch {
		case !ok && must:
			if l.run >= maxConceal || l.unit == 0 || l.dtx {
				return false
			}
			l.conceal(n - l.have())
			l.hold = holdFrames
		case !ok:
			return false
		case fresh:
			return false
		case len(head.payload) == 0:
			l.take(head) // padding
		case gap <= minSamples && (gap <= 0 || missing == 0):
			l.decode(head, gap)
		case !must:
			return false
		case missing == 0 || l.run >= maxConceal:
			return false
		default:
			l.bridge(head, gap)
		}
	}
	return true
}

// take removes a packet from the queue, and returns how many are missing before it.
func (l *Leg) take(head slot) (missing int64) {
	l.mu.Lock()
	missing = l.queue.take(head.seq)
	l.mu.Unlock()
	l.done.Lost += uint64(missing)
	return missing
}

// play fills frame from what is there, a little faster or slower if the delay is not what it
// should be.
func (l *Leg) play(frame []float32, state State) {
	change := 0
	l.splice++
	l.fecMissed, l.fecWait = max(l.fecMissed-1, 0), max(l.fecWait-1, 0)
	if state == Playing && l.playing {
		change = l.correct(frame)
	}
	at := lookahead * l.channels
	if change == 0 {
		copy(frame, l.pcm[at:])
	}
	used := (FrameSamples + change) * l.channels
	l.pcm = l.pcm[:copy(l.pcm, l.pcm[used:])]
	switch {
	case change > 0:
		l.done.Compressed += uint64(change)
	case change < 0:
		l.done.Stretched += uint64(-change)
	}
	l.loud = max(l.loud*0.998, power(frame))
}

// publish makes the frame's counts and readings known.
func (l *Leg) publish() {
	delay := time.Duration(0)
	if l.playing {
		delay = duration(l.delay() + FrameSamples - l.spread.median)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s, d := &l.stats, &l.done
	s.Lost += d.Lost
	s.Discarded += d.Discarded
	s.Bad += d.Bad
	s.Frames += d.Frames
	s.Concealed += d.Concealed
	s.FEC += d.FEC
	s.Stretched += d.Stretched
	s.Compressed += d.Compressed
	s.Resets += d.Resets
	s.Delay, s.Target, s.Jitter = delay, duration(l.target()-l.spread.median), l.spread.jitter
	*d = Stats{}
}

// duration returns how long samples last, but no nonsense.
func duration(samples int64) time.Duration {
	samples = max(0, min(samples, 10*SampleRate))
	return time.Duration(samples) * time.Second / SampleRate
}
