package rooms

import (
	"time"

	"sightline/internal/media"
)

// readings are what a track's packets tell about it. They are guarded by track.mu.
type readings struct {
	state State
	since time.Time // of the state

	profile       string
	width, height int

	lastPacket time.Time
	lastKey    time.Time
	keyAsked   bool // the last keyframe answered a request
	interval   time.Duration

	frames, bits media.Rate
	lastFrame    uint32
	anyFrame     bool

	stats media.SourceStats // the source's, as of the last look
}

func (r *readings) attached(now time.Time) {
	r.set(Connecting, now)
	r.stats = media.SourceStats{}
	r.lastKey, r.interval = time.Time{}, 0
}

func (r *readings) detached(now time.Time) {
	r.set(Stalled, now)
	r.stats = media.SourceStats{}
}

func (r *readings) set(s State, now time.Time) {
	if r.state != s {
		r.state, r.since = s, now
	}
}

// look brings the state up to date: begun says that there is something to show.
func (r *readings) look(begun bool, stalledAfter time.Duration, now time.Time) {
	switch {
	case !begun:
	case now.Sub(r.lastPacket) >= stalledAfter:
		r.set(Stalled, now)
	default:
		r.set(Live, now)
	}
}

func (r *readings) packet(p *media.Packet) {
	r.lastPacket = p.Arrival
	r.bits.Add(p.Arrival, 8*len(p.Payload))
}

// frame notes a packet of the newest frame and reports whether it is its first.
func (r *readings) frame(ts uint32, now time.Time) bool {
	if r.anyFrame && ts == r.lastFrame {
		return false
	}
	r.anyFrame, r.lastFrame = true, ts
	r.frames.Add(now, 1)
	return true
}

func (r *readings) picture(p media.Picture) {
	r.width, r.height = p.Width, p.Height
	if p.Profile != "" {
		r.profile = p.Profile
	}
}

func (r *readings) keyframe(now time.Time, asked bool) {
	if !asked && !r.keyAsked && !r.lastKey.IsZero() {
		r.interval = now.Sub(r.lastKey)
	}
	r.lastKey, r.keyAsked = now, asked
}

// totals outlive the sources and subscriptions that they come from.
type totals struct {
	source           media.SourceStats
	sinks            media.SinkStats
	keyframeRequests uint64
}

func addSource(sum *media.SourceStats, s media.SourceStats) {
	sum.Packets += s.Packets
	sum.Bytes += s.Bytes
	sum.Lost += s.Lost
	sum.Repaired += s.Repaired
	sum.Duplicates += s.Duplicates
	sum.Requested += s.Requested
	sum.Keyframes += s.Keyframes
	sum.Discarded += s.Discarded
}

func addSink(sum *media.SinkStats, s media.SinkStats) {
	sum.Packets += s.Packets
	sum.Bytes += s.Bytes
	sum.Resent += s.Resent
	sum.NACKs += s.NACKs
	sum.Keyframes += s.Keyframes
	sum.Dropped += s.Dropped
	sum.Lost += s.Lost
}
