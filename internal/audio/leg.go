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
	Concealed  uint64 // samples of one channel that were made up
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

	delayMargin      = 4 * SampleRate / 1000   // beyond the delay that 97 % of the packets keep
	maxDelay    = 400 * SampleRate / 1000 // beyond the fastest packets
	maxExcess   = 500 * SampleRate / 1000 // of the delay over the target, before a break
	smallSplice = 30 * SampleRate / 1000  // what is less is made good by resampling
	largeSplice = 100 * SampleRate / 1000 // what is more is made good at any price

	mended     = 5 * SampleRate / 1000   // cross-fade from what was made up
	fullPower  = 60 * SampleRate / 1000  // of concealment
	lowPower   = 120 * SampleRate / 1000 // when it has faded to an eighth, which bridges a long burst of losses
	maxConceal = 300 * SampleRate / 1000 // when it has faded out
	grain      = SampleRate / 400        // concealment comes in multiples of 2.5 ms (RFC 6716, section 4.4)

	holdFrames   = 50  // no shorter delay so soon after a packet came too late: 1 s
	fecFrames    = 500 // memory of losses that error correction could mend: 10 s
	spliceFrames = 3   // from one splice to the next in speech
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

	// Error correction is of use only if the next packet is there in time. Where that
	// would have mended two losses not long ago, it is waited for.
	fecMissed int // in frames: how long ago the last one was
	fecWait   int // frames for which to go on

	late   uint64 // of stats, when last looked at
	hold   int    // frames
	splice int    // frames since the last one
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
	l.silent = 0
	state := Playing
	if !l.fill(FrameSamples+lookahead, true) || l.hopeless() {
		l.finish()
	}
	if l.done.Concealed > 0 {
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
	if l.stats.Late > l.late {
		l.late, l.hold = l.stats.Late, holdFrames
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
	target := min(l.spread.most, l.spread.least+maxDelay) + delayMargin
	if l.fecWait > 0 && l.spread.most-l.spread.least < FrameSamples {
		target += int64(min(l.unit, FrameSamples))
	}
	return target
}

// rest is one more silent frame.
func (l *Leg) rest() {
	l.silent++
	switch l.silent {
	case 1:
		l.publish()
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
	surplus := false
	for {
		head, ok := q.head()
		if !ok {
			return false
		}
		wait := l.target() - (l.clock - head.ts) + int64(FrameSamples-min(length(head.payload), FrameSamples))
		surplus = surplus || wait < -maxExcess
		if len(head.payload) <= 2 || surplus && wait < -FrameSamples && q.count > 1 {
			// Comfort noise needs no beginning. And of what has been held up for very long
			// only the newest is of interest.
			if len(head.payload) > 2 {
				l.done.Discarded++
			}
			q.take(head.seq)
			continue
		}
		if wait > 0 && wait < maxDelay+maxExcess {
			return false
		}
		l.end = head.ts
		break
	}
	l.playing, q.idle, q.fresh = true, false, false
	l.pcm = l.pcm[:2*lookahead*l.channels]
	clear(l.pcm)
	l.tail = l.tail[:mended*l.channels] // it rises from silence
	clear(l.tail)
	l.run, l.unit, l.bad, l.hold, l.dtx = 0, 0, 0, 0, false
	return true
}

// hopeless says that so much is waiting that it is better to begin anew.
func (l *Leg) hopeless() bool {
	if l.delay()-l.target() < maxExcess {
		return false
	}
	l.mu.Lock()
	waiting := l.queue.count
	l.mu.Unlock()
	if waiting <= 1 {
		return false
	}
	l.done.Resets++
	return true
}

// finish ends playing: the frame fades out.
func (l *Leg) finish() {
	l.playing = false
	if l.have() < FrameSamples {
		if len(l.tail) == 0 {
			l.conceal(0)
		}
		l.pcm = append(l.pcm, l.tail...)
	}
	l.tail = l.tail[:0]
	to := len(l.pcm)
	if more := FrameSamples + lookahead - l.have(); more > 0 {
		clear(l.append(more))
	} else {
		to = (FrameSamples + lookahead) * l.channels
	}
	last := l.pcm[to-mended*l.channels : to]
	for i := range last {
		last[i] *= 1 - float32(i/l.channels+1)/mended
	}
	clear(l.pcm[to:])
}

// have returns how many samples of one channel are there to be played.
func (l *Leg) have() int { return len(l.pcm)/l.channels - lookahead }

// append makes room for n samples of each channel behind what is there.
func (l *Leg) append(n int) []float32 {
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
			l.done.Resets++
			return false
		case len(head.payload) == 0:
			l.take(head) // padding
		case gap <= grain && (gap <= 0 || missing == 0):
			l.decode(head, gap)
		case !must:
			return false
		case missing == 0 || gap > missing*MaxPacketSamples || l.run >= maxConceal:
			return false
		default:
			l.recover(head, int(min(gap, FrameSamples)), gap)
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

// decode appends what the packet holds, which begins gap after the end. If that is before the
// end, what has been concealed since is time gained for packets that come late.
func (l *Leg) decode(head slot, gap int64) {
	missing := l.take(head)
	if missing > 0 && l.run > 0 && hasFEC(head.payload) {
		l.missFEC()
	}
	if gap < 0 && -gap <= int64(l.run) {
		l.done.Stretched += uint64(-gap)
	} else if gap < -SampleRate {
		l.done.Resets++
	}
	at := len(l.pcm)
	n, err := l.decoder.Decode(head.payload, l.append(MaxPacketSamples))
	if err != nil || n <= 0 || n > MaxPacketSamples {
		l.pcm = l.pcm[:at]
		l.done.Bad++
		l.bad++
		return
	}
	l.pcm = l.pcm[:at+n*l.channels]
	l.end = head.ts + int64(n)
	l.unit, l.bad, l.dtx = n, 0, len(head.payload) <= 2
	l.mend(at)
}

// mend turns from what was made up to the pcm that begins at the index at.
func (l *Leg) mend(at int) {
	n := min(len(l.tail), len(l.pcm)-at)
	fade(l.pcm[at:at+n], l.tail, l.channels)
	l.tail = l.tail[:0]
	l.run = 0
}

// recover appends up to n samples for a hole of gap samples before the packet head: from its
// forward error correction if it has any that reaches so far, else by concealment.
func (l *Leg) recover(head slot, n int, gap int64) {
	if gap > int64(l.unit) || !hasFEC(head.payload) {
		if hasFEC(head.payload) {
			n = min(n, int(gap)-l.unit)
		}
		l.conceal(n)
		return
	}
	n = int(gap)
	at := len(l.pcm)
	if err := l.decoder.DecodeFEC(head.payload, l.append(n), n); err != nil {
		l.pcm = l.pcm[:at]
		l.conceal(n)
		return
	}
	l.end += int64(n)
	l.done.FEC++
	l.fecWait = max(l.fecWait, min(2*l.fecWait, fecFrames)) // it is worth while
	l.mend(at)
}

// length returns how many samples the frames of a packet are at least (RFC 6716, section 3.1).
func length(payload []byte) int {
	if len(payload) == 0 {
		return 0
	}
	n := 0
	switch config := payload[0] >> 3; {
	case config >= 16: // CELT
		n = grain << (config & 3)
	case config >= 12: // hybrid
		n = 4 * grain << (config & 1)
	default: // SILK
		n = [...]int{4, 8, 16, 24}[config&3] * grain
	}
	switch payload[0] & 3 {
	case 1, 2:
		return 2 * n
	case 3:
		if len(payload) > 1 {
			return int(payload[1]&63) * n
		}
	}
	return n
}

// hasFEC reports whether the first frame of a packet has low-bit-rate redundancy in it (RFC
// 6716, section 4.2.4), for packets of one frame or of two of the same size.
func hasFEC(payload []byte) bool {
	if len(payload) < 2 || payload[0]>>7 != 0 || payload[0]&3 > 1 {
		return false
	}
	frames := 1 // of SILK, 20 ms each
	if config := payload[0] >> 3; config < 12 {
		frames = max(1, int(config&3))
	}
	bits := payload[1] << frames
	if bits&0x80 != 0 {
		return true
	}
	return payload[0]&4 != 0 && bits<<(frames+1)&0x80 != 0
}

// conceal appends n samples, rounded up, of what may have been said, and returns how many it
// were.
func (l *Leg) conceal(n int) int {
	n = (n + grain - 1) / grain * grain
	at := len(l.pcm)
	l.append(copy(l.pcm[at:cap(l.pcm)], l.tail) / l.channels)
	from := len(l.pcm)
	more := n + mended - len(l.tail)/l.channels
	made := l.append(more)
	if l.run >= maxConceal || l.decoder.Conceal(made, more) != nil {
		clear(made)
	}
	for i := range more {
		if gain := concealGain(l.run + i); gain < 1 {
			for c := range l.channels {
				l.pcm[from+i*l.channels+c] *= gain
			}
		}
	}
	l.run += more
	l.tail = append(l.tail[:0], l.pcm[at+n*l.channels:]...)
	l.pcm = l.pcm[:at+n*l.channels]
	l.end += int64(n)
	l.done.Concealed += uint64(n)
	return n
}

// concealGain returns the gain after so many samples of concealment.
func concealGain(run int) float32 {
	const low = 1. / 8
	switch {
	case run < fullPower:
		return 1
	case run < lowPower:
		return 1 - (1-low)*float32(run-fullPower)/(lowPower-fullPower)
	case run < maxConceal:
		return low * float32(maxConceal-run) / (maxConceal - lowPower)
	}
	return 0
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

// delay returns how far behind the clock the next sample to be played is, in timestamps.
func (l *Leg) delay() int64 { return l.clock - (l.end - int64(l.have())) }

// excess returns by how much the delay is too long, in samples: what has to be left out until
// a frame begins where a packet begins, and whole packets more as long as the target is kept.
// It also returns how much shorter than the target the delay then is, if negative.
func (l *Leg) excess() (excess, spare int) {
	unit := min(l.unit, FrameSamples)
	rest := (l.have() - FrameSamples - lookahead) % unit
	spare = int(max(-maxExcess, min(l.delay()-l.target()-int64(FrameSamples-unit), maxExcess))) - rest
	// Where there is jitter, the target is less certain, and less precious.
	width := int(l.spread.most - l.spread.least)
	patience, reluctance := delayMargin/4+width/20, delayMargin/4+width/8
	switch {
	case spare < -patience:
		return rest - (-spare+unit-1)/unit*unit, spare
	case spare >= unit+reluctance:
		return rest + (spare-reluctance)/unit*unit, spare
	}
	return rest, spare
}

// correct fills frame with more or less than FrameSamples samples, and returns how many more;
// with 0 it leaves it alone.
func (l *Leg) correct(frame []float32) int {
	excess, spare := l.excess()
	if l.hold = max(l.hold-1, 0); l.hold > 0 && excess > 0 && excess < largeSplice || spare <= -maxExcess/2 {
		return 0
	}
	if excess >= minLag || excess <= -minLag {
		urgent := excess >= smallSplice || spare < -delayMargin*3/4
		if change := l.jump(frame, excess, urgent); change != 0 {
			return change
		}
	}
	change := max(-maxSlide, min(excess, 1+excess/(FrameSamples/2), maxSlide-1))
	if change == 0 || change > 0 && !l.fill(FrameSamples+lookahead+change, false) {
		return 0
	}
	slide(frame, l.pcm, l.channels, lookahead, change)
	return change
}

// jump leaves out or repeats a part of the signal where that is not heard, or returns 0.
func (l *Leg) jump(frame []float32, excess int, urgent bool) int {
	head := l.pcm[lookahead*l.channels:]
	quiet := power(head[:FrameSamples*l.channels]) < max(1e-7, l.loud/1000)
	if !quiet && (!urgent || l.splice < spliceFrames) {
		return 0
	}
	limit := min(max(excess, -excess), maxLag)
	if excess > 0 {
		l.fill(FrameSamples+lookahead+limit, false)
		limit = min(limit, l.have()-FrameSamples-lookahead)
		head = l.pcm[lookahead*l.channels:]
	}
	lag, resemblance := l.pitch.search(head, l.channels, limit)
	enough := float32(0.85)
	if excess > largeSplice {
		enough = 0.5
	}
	if lag == 0 || !quiet && resemblance < enough {
		return 0
	}
	l.splice = 0
	if excess > 0 {
		splice(frame, head, l.channels, 0, lag)
		return lag
	}
	splice(frame, head, l.channels, lag, 0)
	return -lag
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
