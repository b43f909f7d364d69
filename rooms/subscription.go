package rooms

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"sightline/internal/media"
)

// A Subscription forwards one track to one viewer's sink, or to one of the gateway's own (see
// Registry.Tap). It is a media.Feedback.
//
// To the track's numbers it adds what is constant for its viewer, but for two things: what
// the viewer did not get for want of a keyframe leaves no hole in his numbering, and while
// he catches up (see catchUp) his timestamps are squeezed together.
//
// One goroutine at a time writes to the sink: that of Run until the live edge is reached,
// then the track's reader.
type Subscription struct {
	registry *Registry
	viewer   *viewer // nil: a tap
	track    *track

	done    chan struct{} // closed when it ends
	again   chan struct{} // to restart, see need
	stopped atomic.Bool   // likewise

	// Of the goroutine that writes.
	sink       media.Sink
	batches    media.BatchSink // the same, or nil
	began      time.Time       // when Run was called
	codec      *media.Codec
	told       media.Codec // what the sink was told
	toldAny    bool
	hadPacket  bool
	hadStart   bool
	firstDelay *histogram
	startDelay *histogram

	mu       sync.Mutex // guards what follows
	cause    error
	closed   bool
	waiting  bool // for a keyframe
	need     need
	segments []segment
	last     uint64 // the newest of the last segment that was written, in the track's numbers
	tsShift  uint32 // viewer's timestamp = track's + tsShift, from exact on
	exact    uint64 // sequence number from which on timestamps are exact
	exactAt  time.Time
	squeezed []squeezed // by time
}

// A segment is a stretch of the track's line that the viewer gets without a break.
type segment struct {
	from, to uint64 // of the track; to is exclusive, and open for the last segment
	out      uint64 // the viewer's number of from, counted on over 16 bits
}

// A squeezed frame has another timestamp than the track's plus the constant.
type squeezed struct {
	seq     uint64 // of its packet that was sent first
	ts, out uint32
}

// maxSegments bounds how far back retransmissions are possible over breaks.
const maxSegments = 16

func newSubscription(r *Registry, v *viewer, t *track) *Subscription {
	return &Subscription{
		registry: r, viewer: v, track: t,
		done:    make(chan struct{}),
		again:   make(chan struct{}, 1),
		tsShift: rand.Uint32(),
		waiting: t.kind == media.Video, firstDelay: r.firstPacket, startDelay: r.firstKeyframe,
	}
}

// Kind returns the track's kind.
func (s *Subscription) Kind() media.Kind { return s.track.kind }

// Track returns the track's name, "publisher/kind".
func (s *Subscription) Track() string { return s.track.id }

// Codec returns what the track carries now.
func (s *Subscription) Codec() media.Codec {
	s.track.mu.Lock()
	defer s.track.mu.Unlock()
	return s.track.codec
}

// Run forwards to sink until ctx is done, and returns its cause, or until the track is gone
// (ErrGone), its room has moved (ErrMoved), it has a codec that the sink can't take (ErrCodec), or the subscription or the
// registry is closed (ErrClosed). It is called once. Nothing is written to sink after it
// has returned.
func (s *Subscription) Run(ctx context.Context, sink media.Sink) error {
	s.sink, s.began = sink, time.Now()
	s.batches, _ = sink.(media.BatchSink)
	s.track.enter(s, sink)
	defer s.track.leave(s, sink)

	codec := s.Codec()
	if s.setCodec(&codec) && s.track.join(s) {
		s.catchUp(ctx, catchUpSpeed, catchUpTries)
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.done:
			return s.Err()
		case <-s.again:
			s.restart(ctx)
		}
	}
}

// Ended is closed when the subscription has ended, be it that it was never run; Err then says why.
func (s *Subscription) Ended() <-chan struct{} { return s.done }

// Err returns what Run returns, or would, once the subscription has ended; nil before.
func (s *Subscription) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// Close gives back what the subscription counts towards the limits, and ends Run. It may be
// called more than once.
func (s *Subscription) Close() {
	s.registry.closeSubscription(s)
	s.end(ErrClosed)
}

// end makes Run return cause, unless it has another already.
func (s *Subscription) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil {
		s.cause = cause
		s.stopped.Store(true)
		close(s.done)
	}
}

// RequestKeyframe says that the viewer can't go on without a keyframe.
func (s *Subscription) RequestKeyframe() {
	if s.track.kind == media.Video && !s.stopped.Load() {
		now := time.Now()
		s.mu.Lock()
		s.need.asked(now)
		s.mu.Unlock()
		s.track.requestKeyframe(now)
	}
}

// Timestamp returns the viewer's timestamp of what is captured at the instant wall.
func (s *Subscription) Timestamp(wall time.Time) (uint32, bool) {
	ts, ok := s.track.timestamp(wall)
	return ts + s.tsShift, ok
}

// An outlet is what a goroutine that writes to sinks works with.
type outlet struct {
	batch media.Batch      // that bursts are written into; nil: none
	out   []media.Outgoing // a burst as one viewer gets it
}

// flush sends what is in the batch, and lets go of everything.
func (o *outlet) flush() {
	if o.batch != nil {
		o.batch.Flush()
		o.batch = nil
	}
	clear(o.out[:cap(o.out)])
	o.out = o.out[:0]
}

// forward writes a burst; replay is what a subscription that waits for a keyframe takes
// instead, if there is any. The track's reader calls it, or who helps it, and flushes.
func (s *Subscription) forward(o *outlet, batch, replay []numbered, now time.Time) {
	if s.stopped.Load() {
		return
	}
	if o.batch == nil && s.batches != nil {
		o.batch = s.batches.NewBatch()
	}
	if len(replay) > 0 && s.isWaiting() {
		batch = replay
	}
	for len(batch) > 0 {
		n := sameCodec(batch)
		if batch[0].Codec != s.codec && !s.setCodec(batch[0].Codec) {
			return
		}
		s.mu.Lock()
		s.number(o, batch[:n], now)
		s.mu.Unlock()
		if !s.write(o, now) {
			s.overflow(now)
		}
		batch = batch[n:]
	}
}

// sameCodec returns how many packets at the beginning have one codec.
func sameCodec(batch []numbered) int {
	for i := range batch {
		if batch[i].Codec != batch[0].Codec {
			return i
		}
	}
	return len(batch)
}

// setCodec tells the sink which codec follows, and ends the subscription if it can't take it.
func (s *Subscription) setCodec(c *media.Codec) bool {
	s.codec = c
	if s.toldAny && s.told == *c {
		return true
	}
	s.told, s.toldAny = *c, true
	if !s.sink.SetCodec(*c) {
		s.end(ErrCodec)
		return false
	}
	return true
}

func (s *Subscription) isWaiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting
}

func (s *Subscription) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// wait makes the subscription wait for a keyframe. The caller holds no lock.
func (s *Subscription) wait() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.waiting {
		s.waiting = true
		s.track.waiting.Add(1)
	}
}

// number fills o.out with what the viewer gets of a burst. The caller holds s.mu.
func (s *Subscription) number(o *outlet, burst []numbered, now time.Time) {
	o.out = o.out[:0]
	for i := range burst {
		n := &burst[i]
		if n.late {
			if out, ok := s.pastLocked(n); ok && !s.waiting {
				o.out = append(o.out, out)
			}
			continue
		}
		if s.waiting {
			if !n.start {
				continue
			}
			s.waiting = false
			s.track.waiting.Add(-1)
			s.resumeLocked(n.seq)
		} else if len(s.segments) == 0 {
			s.resumeLocked(n.seq)
		}
		if n.start && s.track.kind == media.Video {
			s.need.met(now)
		}
		s.last = n.seq
		ts := n.ts + s.tsShift
		if s.squeezed != nil {
			ts = s.unsqueezeLocked(n, now)
		}
		o.out = append(o.out, media.Outgoing{Packet: n.Packet, Sequence: s.outLocked(n.seq), Timestamp: ts})
	}
}

// write sends o.out, into the batch if there is one. It returns false if the sink dropped
// something.
func (s *Subscription) write(o *outlet, now time.Time) bool {
	if len(o.out) == 0 {
		return true
	}
	var ok bool
	if o.batch != nil && s.batches != nil {
		ok = s.batches.WriteTo(o.batch, o.out)
	} else {
		ok = s.sink.Write(o.out)
	}
	if !s.hadPacket {
		s.hadPacket = true
		s.firstDelay.observe(now.Sub(s.began))
	}
	if !s.hadStart && s.track.kind == media.Video {
		// The first packet of a viewer is the first of a keyframe.
		s.hadStart = true
		s.startDelay.observe(now.Sub(s.began))
	}
	return ok
}

// overflow follows on a drop: audio goes on at once, video at the next keyframe.
func (s *Subscription) overflow(now time.Time) {
	if s.track.kind == media.Video {
		s.wait()
		s.mu.Lock()
		s.need.overflowed(now)
		s.mu.Unlock()
		s.track.askAgain(now)
	}
}

// resumeLocked begins a new segment at seq, which follows on the last one without a hole. If
// packets are sent again by that, the old numbers are not answered for any more: one packet
// can't have two timestamps.
func (s *Subscription) resumeLocked(seq uint64) {
	if len(s.segments) > 0 && seq <= s.last {
		s.forgetLocked()
	}
	// From the lower half: a viewer who misses the first packets would not know that the
	// numbers have begun anew since (RFC 3711, section 3.3.1), and could open nothing.
	out := 1<<16 + uint64(rand.Uint32N(1<<15))
	if n := len(s.segments); n > 0 {
		last := &s.segments[n-1]
		last.to = s.last + 1
		out = last.out + last.to - last.from
		if n == maxSegments {
			copy(s.segments, s.segments[1:])
			s.segments = s.segments[:n-1]
		}
	}
	s.last = seq - 1
	s.segments = append(s.segments, segment{from: seq, out: out})
}

// outLocked returns the viewer's sequence number of the last segment's packet seq.
func (s *Subscription) outLocked(seq uint64) uint16 {
	last := &s.segments[len(s.segments)-1]
	return uint16(last.out + seq - last.from)
}

// pastLocked returns the packet as the viewer gets it if it belongs to what he got.
func (s *Subscription) pastLocked(n *numbered) (media.Outgoing, bool) {
	for i := len(s.segments) - 1; i >= 0; i-- {
		g := &s.segments[i]
		to := g.to
		if i == len(s.segments)-1 {
			to = s.last + 1
		}
		if n.seq >= g.from && n.seq < to {
			ts, ok := s.timestampLocked(n)
			return media.Outgoing{Packet: n.Packet, Sequence: uint16(g.out + n.seq - g.from), Timestamp: ts}, ok
		}
	}
	return media.Outgoing{}, false
}

// timestampLocked returns the timestamp with which a frame was sent; false if that is not
// known any more.
func (s *Subscription) timestampLocked(n *numbered) (uint32, bool) {
	if n.seq >= s.exact {
		return n.ts + s.tsShift, true
	}
	ts, found := uint32(0), false
	for i := len(s.squeezed) - 1; i >= 0; i-- {
		if q := s.squeezed[i]; q.ts == n.ts {
			ts, found = q.out, true
			if q.seq <= n.seq { // otherwise its frame's first packet is late, or frames share a timestamp
				break
			}
		}
	}
	return ts, found
}

// Resend calls emit for each of the viewer's sequence numbers whose packet is still held.
func (s *Subscription) Resend(sequences []uint16, emit func(media.Outgoing)) {
	var chunk [32]struct {
		seq uint64 // the track's
		out uint16
	}
	for len(sequences) > 0 {
		some := sequences[:min(len(sequences), len(chunk))]
		sequences = sequences[len(some):]
		n := 0
		s.mu.Lock()
		for _, out := range some {
			if seq, ok := s.findLocked(out); ok {
				chunk[n].seq, chunk[n].out = seq, out
				n++
			}
		}
		s.mu.Unlock()
		for _, c := range chunk[:n] {
			p, ok := s.track.packet(c.seq)
			if !ok {
				continue
			}
			s.mu.Lock()
			ts, ok := s.timestampLocked(&p)
			s.mu.Unlock()
			if ok {
				emit(media.Outgoing{Packet: p.Packet, Sequence: c.out, Timestamp: ts})
			}
		}
	}
}

// findLocked returns the track's number of what the viewer got as out.
func (s *Subscription) findLocked(out uint16) (uint64, bool) {
	n := len(s.segments)
	if n == 0 {
		return 0, false
	}
	newest := s.segments[n-1].out + s.last - s.segments[n-1].from
	wide := newest - uint64(uint16(newest)-out)
	for i := n - 1; i >= 0; i-- {
		g := &s.segments[i]
		if wide < g.out {
			continue
		}
		seq := g.from + wide - g.out
		return seq, i == n-1 || seq < g.to
	}
	return 0, false
}
