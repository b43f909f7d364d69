package rooms

import "time"

const (
	// answerTime is how long after a request a keyframe counts as its answer.
	answerTime = time.Second

	// ignoredAfter is how long after the first request no keyframe shows that the source
	// does not answer.
	ignoredAfter = 700 * time.Millisecond
)

// keyframeRequests throttles the requests of all viewers of a track to one per need: at
// most one each interval, repeated while someone waits.
type keyframeRequests struct {
	interval time.Duration
	last     time.Time // when the source was asked
	pending  bool      // someone asked since
	first    time.Time // when the source was first asked since its last keyframe; zero: it was not
	deaf     bool      // what it was last asked it did not answer
}

// attached says that the track has another source, which begins with a keyframe by itself.
func (k *keyframeRequests) attached(now time.Time) {
	*k = keyframeRequests{interval: k.interval, last: now}
}

// due reports whether the source is to be asked now. waited says that someone waits for a
// keyframe, whether he has asked or not.
func (k *keyframeRequests) due(now time.Time, waited bool) bool {
	if !k.pending && !waited || now.Sub(k.last) < k.interval {
		return false
	}
	k.last, k.pending = now, false
	if k.first.IsZero() {
		k.first = now
	}
	return true
}

// answered says that a keyframe begins now, and reports whether it was asked for.
func (k *keyframeRequests) answered(now time.Time) bool {
	k.pending = false
	if !k.first.IsZero() {
		k.deaf, k.first = k.ignoring(now), time.Time{}
	}
	return !k.last.IsZero() && now.Sub(k.last) < answerTime
}

// ignored reports whether the source does not answer: not what it is asked now, or not what
// it was asked last.
func (k *keyframeRequests) ignored(now time.Time) bool { return k.deaf || k.ignoring(now) }

func (k *keyframeRequests) ignoring(now time.Time) bool {
	return !k.first.IsZero() && now.Sub(k.first) >= ignoredAfter
}
