package rtc

import (
	"sync/atomic"
	"time"
)

// limitCounts count what was not taken of clients because of a limit.
type limitCounts struct {
	candidates atomic.Uint64
	ssrcs      atomic.Uint64 // packets
	rtcp       atomic.Uint64 // packets
}

func (c *limitCounts) snapshot() map[string]uint64 {
	return map[string]uint64{
		"ice.max_candidates": c.candidates.Load(),
		"ice.max_ssrcs":      c.ssrcs.Load(),
		"ice.max_rtcp":       c.rtcp.Load(),
	}
}

// An rtcpBudget bounds how many RTCP packets of the peer are looked at: each may ask for much. It is a token bucket of two seconds' packets. The zero value is full.
type rtcpBudget struct {
	spent float64
	at    time.Time
}

// take reports whether a packet that came now may be looked at, of perSecond ones.
func (b *rtcpBudget) take(now time.Time, perSecond int) bool {
	rate := float64(perSecond)
	if passed := now.Sub(b.at); passed > 0 {
		b.spent = max(0, b.spent-passed.Seconds()*rate)
		b.at = now
	}
	if b.spent+1 > 2*rate {
		return false
	}
	b.spent++
	return true
}
