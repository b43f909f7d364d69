package rooms

import (
	"time"

	"sightline/internal/media"
)

const (
	// delayWindow is over how long the least delay is looked for, at least.
	delayWindow = 10 * time.Second

	// slew is how fast a mapping follows what is measured: 2 ms in a second.
	slew = 0.002

	// settle is after how long a mapping only slews; before, it takes each better value.
	settle = 5 * time.Second

	// maxSkew bounds how far sender reports may contradict the arrivals; beyond, they are
	// taken for nonsense.
	maxSkew = 3 * time.Second
)

// A leastDelay finds the least of a series of delays, of which all but a constant is
// queueing on the way, over the last one or two windows. The zero value is ready.
type leastDelay struct {
	base      time.Time // what timestamps and arrivals are counted from
	baseTS    uint32
	lastTS    uint32
	counted   int64 // units of the clock rate since baseTS
	begun     time.Time
	now, was  time.Duration
	some, had bool
}

// frame notes a frame with the timestamp ts that began to arrive at the instant at.
func (l *leastDelay) frame(ts uint32, rate uint32, at time.Time) {
	if l.base.IsZero() {
		l.base, l.baseTS, l.lastTS = at, ts, ts
	}
	l.counted += int64(int32(ts - l.lastTS))
	l.lastTS = ts
	l.observe(at.Sub(l.base)-span(l.counted, rate), at)
}

func (l *leastDelay) observe(d time.Duration, at time.Time) {
	switch {
	case !l.some:
		l.begun, l.now, l.some = at, d, true
	case at.Sub(l.begun) > delayWindow:
		l.begun, l.was, l.now, l.had = at, l.now, d, true
	default:
		l.now = min(l.now, d)
	}
}

// least is the least delay; false before the first observation.
func (l *leastDelay) least() (time.Duration, bool) {
	if l.had {
		return min(l.was, l.now), true
	}
	return l.now, l.some
}

// point says which timestamp arrives at which instant, with the least delay.
func (l *leastDelay) point() (ts uint32, at time.Time, ok bool) {
	d, ok := l.least()
	return l.baseTS, l.base.Add(d), ok
}

// span converts units of rate to a duration.
func span(units int64, rate uint32) time.Duration {
	r := int64(rate)
	return time.Duration(units/r)*time.Second + time.Duration(units%r)*time.Second/time.Duration(r)
}

// A mapping says which of a track's timestamps was captured at which instant.
type mapping struct {
	known   bool
	settled bool // it only slews
	since   time.Time
	last    time.Time // when it was followed last

	at time.Time
	ts uint32
}

// timestamp returns the timestamp of the instant wall.
func (m *mapping) timestamp(wall time.Time, rate uint32) uint32 {
	d := wall.Sub(m.at)
	if d < 0 {
		return m.ts - ticks(-d, rate)
	}
	return m.ts + ticks(d, rate)
}

// follow moves the mapping towards the measured one: ts was captured at the instant at.
func (m *mapping) follow(ts uint32, at, now time.Time, rate uint32) {
	if m.known && m.settled {
		want := mapping{at: at, ts: ts}
		off := int32(want.timestamp(now, rate) - m.timestamp(now, rate))
		most := int32(slew * now.Sub(m.last).Seconds() * float64(rate))
		m.ts, m.at, m.last = m.timestamp(now, rate)+uint32(max(-most, min(most, off))), now, now
		return
	}
	if !m.known || m.since.IsZero() {
		m.since = now
	}
	*m = mapping{known: true, since: m.since, last: now, at: at, ts: ts, settled: now.Sub(m.since) > settle}
}

// A reference ties the tracks of one publisher together, so that what was captured at one
// instant has that instant in the sender reports of both. With the publisher's own reports
// each track has its sender's clock, and one offset for both leads from there to the
// gateway's; a publisher that sends none (GStreamer 1.28) is taken to send at once what it
// captures. The two are never mixed: their difference is the encoders' delay.
//
// It belongs to the goroutine that keeps the time.
type reference struct {
	reports  bool // which kind is in use
	offset   leastDelay
	received [2]time.Time // when the newest report counted came, audio and video
}

// ntpEpoch is what NTP time counts from: RFC 5905, section 6.
var ntpEpoch = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)

func ntpTime(ntp uint64) time.Time {
	return ntpEpoch.Add(time.Duration(ntp>>32)*time.Second + time.Duration(ntp&0xffffffff*1e9>>32))
}

// A timing is what is known about one track at one instant.
type timing struct {
	track  *track
	clock  media.Clock // in the track's timestamps, if report
	report bool
	ts     uint32 // arrives at the instant at, if some
	at     time.Time
	some   bool
}

// follow brings the mappings of a publisher's tracks up to date.
func (r *reference) follow(timings []timing, now time.Time) {
	reports, some := true, false
	for i := range timings {
		t := &timings[i]
		if t.some {
			some = true
			reports = reports && t.report
		}
		if t.report && t.clock.Received != r.received[i] {
			r.received[i] = t.clock.Received
			r.offset.observe(t.clock.Received.Sub(ntpTime(t.clock.NTP)), now)
		}
	}
	if !some {
		return
	}
	offset, known := r.offset.least()
	reports = reports && known && r.plausible(timings, offset, now)
	for i := range timings {
		t := &timings[i]
		if !t.some {
			continue
		}
		ts, at := t.ts, t.at
		if reports {
			ts, at = t.clock.Timestamp, ntpTime(t.clock.NTP).Add(offset)
		}
		t.track.follow(ts, at, now, reports != r.reports)
	}
	r.reports = reports
}

// plausible reports whether the reports put all tracks within maxSkew of their arrivals.
func (r *reference) plausible(timings []timing, offset time.Duration, now time.Time) bool {
	for _, t := range timings {
		if !t.some {
			continue
		}
		rate := t.track.rate()
		told := mapping{at: ntpTime(t.clock.NTP).Add(offset), ts: t.clock.Timestamp}
		seen := mapping{at: t.at, ts: t.ts}
		off := int64(int32(told.timestamp(now, rate) - seen.timestamp(now, rate)))
		if d := span(off, rate); d > maxSkew || d < -maxSkew {
			return false
		}
	}
	return true
}

// timing reads what is known about the track; clock is its source's, in the source's own
// timestamps.
func (t *track) timing(f *feed, clock media.Clock, report bool) timing {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.feed != f || !t.began {
		return timing{track: t}
	}
	out := timing{track: t, clock: clock}
	out.ts, out.at, out.some = t.arrivals.point()
	if report {
		// A report about another encoding, or from before a leap, says nothing.
		away := span(int64(int32(clock.Timestamp-t.num.source)), t.num.rate)
		out.report = away < time.Minute && away > -time.Minute
		out.clock.Timestamp += t.num.tsShift
	}
	return out
}

func (t *track) rate() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.num.rate
}

func (t *track) follow(ts uint32, at, now time.Time, changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if changed {
		t.mapping.settled, t.mapping.since = false, time.Time{}
	}
	t.mapping.follow(ts, at, now, t.num.rate)
}

// timestamp returns the track's timestamp of what is captured at the instant wall.
func (t *track) timestamp(wall time.Time) (uint32, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mapping.timestamp(wall, t.num.rate), t.mapping.known
}
