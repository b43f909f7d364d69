package rooms

import (
	"context"
	"slices"
	"time"

	"sightline/internal/media"
)

const (
	catchUpSpeed = 8                     // times real time
	catchUpStep  = 10 * time.Millisecond // between two bursts
	catchUpBurst = 64                    // packets at most
	catchUpTries = 3
	catchUpWorth = time.Second            // of old pictures; before more, a keyframe is asked for as well
	catchUpAfter = 200 * time.Millisecond // a sink that was full
)

// catchUp brings a joiner from the beginning of the cached group of pictures to the live
// edge: several times faster than real time, in short bursts, on his own goroutine, so that
// the others are not held up.
//
// Each old frame gets the timestamp of a frame that would be captured while it is sent. To
// the viewer's jitter buffer it is then on time: it is decoded and shown at once and teaches
// the buffer no delay. When the edge is reached timestamps are the track's own again, and
// the viewer is as close to live as one who began at a keyframe.
type catchUp struct {
	cursor uint64    // next to send
	began  time.Time // when this run was begun
	base   time.Time // when its first packet arrived
	speed  int
	floor  uint32 // the least timestamp that the viewer may be sent, as the track's

	burst []numbered
	edge  uint32 // the track's timestamp of now
	mark  bool   // the newest packet sent ended its frame
}

// join begins a subscription. It returns true if it can begin with the cached group of
// pictures; otherwise it is at the live edge, where video waits for a keyframe. Even with a
// cached group a keyframe is asked for if that is long: from an encoder that obeys it comes
// before the joiner has got far, and he is at the edge at once.
func (t *track) join(s *Subscription) bool {
	now := time.Now()
	t.mu.Lock()
	cached := t.cachedLocked()
	s.mu.Lock()
	s.need.restart(now)
	s.mu.Unlock()
	if cached {
		if span(int64(t.num.newest-t.keyTS), t.num.rate) > catchUpWorth {
			t.asks.pending = true
		}
		s.mu.Lock()
		s.waiting = false
		s.mu.Unlock()
	} else {
		t.liveLocked(s)
		if s.isWaiting() {
			t.waiting.Add(1)
		}
	}
	t.mu.Unlock()
	t.askAgain(now)
	return cached
}

// cachedLocked reports whether the last group of pictures is there from its beginning.
func (t *track) cachedLocked() bool {
	if t.kind != media.Video || t.feed == nil || t.group == 0 {
		return false
	}
	_, ok := t.ring.get(t.group)
	return ok
}

func (t *track) liveLocked(s *Subscription) {
	t.live = append(slices.Clip(t.live), s)
}

// enter and leave frame a subscription's Run.
func (t *track) enter(s *Subscription, sink media.Sink) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.viewing[s] = sink
}

func (t *track) leave(s *Subscription, sink media.Sink) {
	t.turn.Lock() // nothing is written after it
	t.mu.Lock()
	if i := slices.Index(t.live, s); i >= 0 {
		t.live = slices.Delete(slices.Clone(t.live), i, i+1)
		if s.isWaiting() {
			t.waiting.Add(-1)
		}
	}
	t.mu.Unlock()
	t.turn.Unlock()

	stats := sink.Stats()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !s.isTap() {
		addSink(&t.totals.sinks, stats)
	}
	if s.isClosed() {
		delete(t.viewing, s)
	} else {
		t.viewing[s] = nil
	}
}

// packet returns a packet that is still held.
func (t *track) packet(seq uint64) (numbered, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ring.get(seq)
}

// catchUp begins at speed times real time, and lets the path be full tries times less one. It
// returns once the track's reader writes to the subscription, or it has ended.
func (s *Subscription) catchUp(ctx context.Context, speed, tries int) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	c := catchUp{speed: speed, burst: make([]numbered, 0, catchUpBurst)}
	var o outlet
	for try := 1; ; {
		select {
		case <-ctx.Done():
			return
		case <-s.done:
			return
		case <-timer.C:
		}
		now := time.Now()
		for { // what is due now
			if live := s.track.due(&c, s, now); live {
				s.track.askAgain(now)
				return
			}
			if len(c.burst) == 0 {
				timer.Reset(catchUpStep)
				break
			}
			ok := c.burst[0].Codec == s.codec || s.setCodec(c.burst[0].Codec)
			if !ok {
				return
			}
			s.mu.Lock()
			s.squeeze(&o, &c)
			s.mu.Unlock()
			if !s.write(&o, now) {
				s.mu.Lock()
				s.need.overflowed(now)
				s.mu.Unlock()
				if try++; try > tries {
					s.track.giveUp(s)
					return
				}
				c.cursor, c.speed = 0, c.speed/2
				timer.Reset(catchUpAfter)
				break
			}
			if len(c.burst) == catchUpBurst {
				timer.Reset(catchUpStep)
				break
			}
		}
	}
}

// due puts into c.burst what is to be sent now. It returns true, and c.burst is empty, when
// the subscription is handed over to the track's reader.
func (t *track) due(c *catchUp, s *Subscription, now time.Time) (live bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.burst = c.burst[:0]
	switch {
	case c.cursor == 0, c.cursor < t.ring.tail, t.group > c.cursor && c.mark:
		if !t.cachedLocked() {
			t.liveLocked(s)
			s.wait() // for there is a hole behind what it got, if it got anything
			return true
		}
		// A keyframe that is nearer to the edge saves the way to it.
		c.cursor, c.began, c.mark = t.group, now, false
		if p, ok := t.ring.get(t.group); ok {
			c.base = p.Arrival
		}
		c.floor = t.num.newest
		s.mu.Lock()
		if len(s.segments) > 0 {
			c.floor = s.startAgainLocked(c.cursor, t.num.newest, t.num.rate)
		}
		s.resumeLocked(c.cursor)
		s.exactAt = time.Time{}
		s.need.met(now)
		s.mu.Unlock()
	}
	c.edge = t.num.edge(now)
	if int32(c.floor-c.edge) > 0 {
		c.edge = c.floor
	}
	upTo := c.base.Add(time.Duration(c.speed) * now.Sub(c.began)) // by arrivals: timestamps are the publisher's word
	for ; c.cursor < t.ring.next && len(c.burst) < catchUpBurst; c.cursor++ {
		p, ok := t.ring.get(c.cursor)
		if !ok {
			continue
		}
		if p.Arrival.After(upTo) || len(c.burst) > 0 && p.Codec != c.burst[0].Codec {
			return false
		}
		p.late = false
		c.burst, c.mark = append(c.burst, p), p.Marker
	}
	if len(c.burst) == 0 && c.cursor == t.ring.next {
		t.liveLocked(s)
		return true
	}
	return false
}

// giveUp makes the subscription wait for a keyframe at the live edge.
func (t *track) giveUp(s *Subscription) {
	t.mu.Lock()
	t.liveLocked(s)
	t.mu.Unlock()
	s.wait()
	t.askAgain(time.Now())
}

// squeeze fills o.out with c.burst. The caller holds s.mu.
func (s *Subscription) squeeze(o *outlet, c *catchUp) {
	o.out = o.out[:0]
	for i := range c.burst {
		n := &c.burst[i]
		s.last, s.exact = n.seq, n.seq+1
		ts := s.squeezeLocked(n, c.edge+s.tsShift)
		o.out = append(o.out, media.Outgoing{Packet: n.Packet, Sequence: s.outLocked(n.seq), Timestamp: ts})
	}
}

// squeezeLocked returns want for the first packet of a frame, or as much later than the frame
// before as is needed, and the same for the frame's other packets.
func (s *Subscription) squeezeLocked(n *numbered, want uint32) uint32 {
	if k := len(s.squeezed); k > 0 {
		last := &s.squeezed[k-1]
		if last.ts == n.ts {
			last.seq = min(last.seq, n.seq)
			return last.out
		}
		if int32(want-last.out) <= 0 {
			want = last.out + max(n.Codec.ClockRate/1000, 1)
		}
	}
	s.squeezed = append(s.squeezed, squeezed{seq: n.seq, ts: n.ts, out: want})
	return want
}

// unsqueezeLocked returns the timestamp of a packet at the live edge after catching up:
// exact, as soon as that is later than what was sent before.
func (s *Subscription) unsqueezeLocked(n *numbered, now time.Time) uint32 {
	exact := n.ts + s.tsShift
	if !s.exactAt.IsZero() {
		s.exact = min(s.exact, n.seq) // it is less where packets are sent again
		if now.Sub(s.exactAt) > resendFor {
			s.squeezed = nil // nobody asks for these any more
		}
		return exact
	}
	last := s.squeezed[len(s.squeezed)-1]
	if last.ts != n.ts && int32(exact-last.out) > 0 {
		s.exactAt, s.exact = now, n.seq
		return exact
	}
	s.exact = n.seq + 1
	return s.squeezeLocked(n, exact)
}
