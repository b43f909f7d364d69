package rooms

import "time"

// answerTime is how long after a request a keyframe counts as its answer.
const answerTime = time.Second

// keyframeRequests throttles the requests of all viewers of a track to one per need: at
// most one each interval, repeated while someone waits.
type keyframeRequests struct {
	interval time.Duration
	last     time.Time // when the source was asked
	pending  bool      // someone asked since
}

// attached says that the track has another source, which begins with a keyframe by itself.
func (k *keyframeRequests) attached(now time.Time) { k.last, k.pending = now, false }

// due reports whether the source is to be asked now. waited says that someone waits for a
// keyframe, whether he has asked or not.
func (k *keyframeRequests) due(now time.Time, waited bool) bool {
	if !k.pending && !waited || now.Sub(k.last) < k.interval {
		return false
	}
	k.last, k.pending = now, false
	return true
}

// answered says that a keyframe begins now, and reports whether it was asked for.
func (k *keyframeRequests) answered(now time.Time) bool {
	k.pending = false
	return !k.last.IsZero() && now.Sub(k.last) < answerTime
}
