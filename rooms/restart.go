package rooms

import (
	"context"
	"slices"
	"time"

	"sightline/internal/media"
)

const (
	// restartGap is the least time between two restarts of one viewer. It doubles up to
	// maxRestartGap while he asks again soon.
	restartGap    = 2 * time.Second
	maxRestartGap = 8 * time.Second

	// clearFor is how long a path that was full must have been clear, and restartFullGap
	// how long ago the restart before: to send more is what such a path needs least.
	clearFor       = time.Second
	restartFullGap = 4 * time.Second

	// staleFor is how long after the beginning of a keyframe a viewer's request may still
	// be about what was before it.
	staleFor = 500 * time.Millisecond

	// silentFor is how long a camera has sent nothing when no viewer restarts any more. Browsers
	// ask for a keyframe when nothing comes: the group would be shown once more, and old
	// pictures that move pass for live ones.
	silentFor = time.Second

	// Who has a cache of his own (Subscription.caches) restarts his viewers from that, and passes on what they
	// ask for, for the camera: to restart him would show old pictures to all of them. Only if he insists, that
	// many times and each soon after the one before, he has no whole group himself.
	insists     = 4
	insistsSoon = 800 * time.Millisecond

	// maxRestarts bounds how many viewers of a track restart at the same time. The others
	// have their turn after them, or the next keyframe.
	maxRestarts = 16
)

// A need is a viewer's for a keyframe. The camera is asked for one; if it does not answer
// (OBS and FFmpeg never do), the subscription restarts from the cached group of pictures, by
// the way that joiners take.
type need struct {
	since     time.Time // the viewer asked, or his sink dropped something; zero: he has what he needs
	started   time.Time // when a keyframe was last begun for him
	dropped   time.Time // when his sink last dropped something
	restarted time.Time // when he last joined or restarted
	gap       time.Duration

	lastAsked time.Time
	asks      int // one soon after the other
}

func (n *need) asked(now time.Time) {
	if now.Sub(n.lastAsked) > insistsSoon {
		n.asks = 0
	}
	n.asks++
	n.lastAsked = now
	if n.since.IsZero() && now.Sub(n.started) >= staleFor {
		n.since = now
	}
}

func (n *need) overflowed(now time.Time) {
	n.dropped = now
	if n.since.IsZero() {
		n.since = now
	}
}

// met says that the viewer is sent a keyframe.
func (n *need) met(now time.Time) { n.since, n.started, n.asks = time.Time{}, now, 0 }

// full reports whether the sink dropped something since the last restart, or in it.
func (n *need) full() bool { return !n.dropped.IsZero() && !n.dropped.Before(n.restarted) }

// due reports whether the viewer may restart now.
func (n *need) due(now time.Time) bool {
	if n.since.IsZero() || now.Sub(n.restarted) < n.gap {
		return false
	}
	return !n.full() || now.Sub(n.dropped) >= clearFor && now.Sub(n.restarted) >= restartFullGap
}

// restart notes one, and returns how it is to be done: the more gently, the sooner it
// follows on another.
func (n *need) restart(now time.Time) (speed, tries int) {
	speed, tries = catchUpSpeed, catchUpTries
	if n.full() {
		speed, tries = catchUpSpeed/2, 1
	}
	if n.gap > 0 && now.Sub(n.restarted) < 4*n.gap {
		n.gap, speed = min(2*n.gap, maxRestartGap), catchUpSpeed/2
	} else {
		n.gap = restartGap
	}
	n.restarted = now
	return speed, tries
}

// wakeStuck tells the viewers who are due to restart to do so, if the camera does not answer
// and the cached group of pictures can help them. The goroutine that keeps the time calls it.
func (t *track) wakeStuck(now time.Time) {
	t.mu.Lock()
	free, live := maxRestarts-t.restarting, t.live
	ok := t.kind == media.Video && t.asks.ignored(now) && t.cachedLocked() && now.Sub(t.readings.lastPacket) < silentFor
	t.mu.Unlock()
	if !ok {
		return
	}
	whole := false
	for _, s := range live {
		if free <= 0 {
			return
		}
		if !s.isStuck(now) {
			continue
		}
		if !whole && !t.whole() {
			return // it would end at what the camera itself lost
		}
		whole = true
		free--
		select {
		case s.again <- struct{}{}:
		default: // it was told
		}
	}
}

// whole reports whether nothing is missing in the last group of pictures.
func (t *track) whole() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for seq := t.group; seq < t.ring.next; seq++ {
		if _, ok := t.ring.get(seq); !ok {
			return false
		}
	}
	return true
}

func (s *Subscription) isStuck(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dueLocked(now)
}

// dueLocked reports whether the subscription may restart now, and is not one that better waits.
func (s *Subscription) dueLocked(now time.Time) bool {
	if s.caches() && !s.waiting && !s.need.full() && s.need.asks < insists {
		return false
	}
	return s.need.due(now)
}

// caches reports whether the subscription is another node's, which plays it to viewers of its own.
func (s *Subscription) caches() bool { return s.isTap() || s.viewer.relay != "" }

// restart catches up from the cached group of pictures if that is still what is needed. Run
// calls it.
func (s *Subscription) restart(ctx context.Context) {
	if speed, tries, ok := s.track.rejoin(s, time.Now()); ok {
		s.catchUp(ctx, speed, tries)
		s.track.mu.Lock()
		s.track.restarting--
		s.track.mu.Unlock()
	}
}

// rejoin takes a subscription from the track's reader, so that its own goroutine writes.
func (t *track) rejoin(s *Subscription, now time.Time) (speed, tries int, ok bool) {
	t.turn.Lock() // the reader does not write to it any more after this
	defer t.turn.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(t.live, s)
	if i < 0 || t.restarting >= maxRestarts || !t.cachedLocked() || !s.dueLocked(now) {
		return 0, 0, false
	}
	t.live = slices.Delete(slices.Clone(t.live), i, i+1)
	if s.waiting {
		s.waiting = false
		t.waiting.Add(-1)
	}
	t.restarting++
	speed, tries = s.need.restart(now)
	return speed, tries, true
}

// startAgainLocked makes ready to catch up from seq on after other packets, perhaps the same
// ones. The old numbers are not answered for any more: a decoder that is about to begin with a
// keyframe has no use for them. It returns the track's timestamp that what follows must have
// at least; newest is the track's.
func (s *Subscription) startAgainLocked(seq uint64, newest, rate uint32) uint32 {
	floor, tick := newest, max(rate/1000, 1)
	if seq <= s.last {
		floor += tick // the newest may have been sent with its own
	}
	if k := len(s.squeezed); k > 0 {
		if out := s.squeezed[k-1].out - s.tsShift + tick; int32(out-floor) > 0 {
			floor = out
		}
	}
	s.forgetLocked()
	s.squeezed = nil
	return floor
}

// forgetLocked forgets what the viewer got, but for the number that follows on it.
func (s *Subscription) forgetLocked() {
	last := s.segments[len(s.segments)-1]
	end := s.last + 1
	s.segments = append(s.segments[:0], segment{from: end, to: end, out: last.out + end - last.from})
}
