package bench

import (
	"context"
	"math"
	"time"
)

// Progress is what a run can say of itself while it goes on.
type Progress struct {
	Elapsed       time.Duration
	Phase         string // "publishing", "joining", "measuring", "leaving"
	Joined, Asked int    // viewers
	Failed        int
	PacketsPerS   float64
	DelayP99      time.Duration // of the window until now
	ServerCPU     float64       // percent of a core; 0: unknown
}

// A usage is what had been used and received at one moment.
type usage struct {
	at             time.Time
	known          bool // the server's process is there, and to be measured
	server         time.Duration
	resident       int64
	own            time.Duration
	packets, bytes uint64
}

// usage takes the moment's figures.
func (r *run) usage() usage {
	u := usage{at: time.Now(), own: ownCPU()}
	if r.config.PID != 0 {
		var err error
		u.server, u.resident, err = processUsage(r.config.PID)
		u.known = err == nil
	}
	r.net.mu.Lock()
	u.packets, u.bytes = r.totals.packets, r.totals.bytes
	r.net.mu.Unlock()
	return u
}

// show reports progress once a second.
func (r *run) show(life context.Context, show func(Progress)) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	start := time.Now()
	for last := r.usage(); ; {
		select {
		case <-life.Done():
			return
		case <-ticker.C:
		}
		p, now := r.progress(), r.usage()
		seconds := now.at.Sub(last.at).Seconds()
		p.Elapsed = now.at.Sub(start)
		p.PacketsPerS = float64(now.packets-last.packets) / seconds
		if now.known {
			p.ServerCPU = 100 * (now.server - last.server).Seconds() / seconds
		}
		last = now
		show(p)
	}
}

// progress tells how far the run is.
func (r *run) progress() Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	return Progress{
		Phase: r.phase, Joined: len(r.viewers), Asked: r.config.Streams * r.config.Viewers, Failed: r.failed,
		DelayP99: r.totals.delay.quantile(0.99),
	}
}

// compare reports what lies between moments: the window's, and that of the joins.
func (r *run) compare(report *Report, before, joined, from, to usage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.net.mu.Lock()
	for _, p := range r.peers {
		if p.gone {
			report.Joins.Ended++
		}
	}
	r.net.mu.Unlock()
	window, packets := to.at.Sub(from.at), to.packets-from.packets
	if window <= 0 || len(r.viewers) == 0 {
		return
	}
	percent := func(cpu time.Duration) float64 { return rounded(100 * cpu.Seconds() / window.Seconds()) }
	report.DurationS = rounded(window.Seconds())
	report.Received = Rate{
		PacketsPerS: rounded(float64(packets) / window.Seconds()),
		MbitPerS:    rounded(float64(to.bytes-from.bytes) * 8 / 1e6 / window.Seconds()),
	}
	report.Generator.CPUPercent = percent(to.own - from.own)
	if !before.known || !to.known {
		r.vanished = r.config.PID != 0
		return
	}
	cpu, perPacket := to.server-from.server, 0.0
	if packets > 0 {
		perPacket = cpu.Seconds() / float64(packets)
	}
	// While viewers joined, the earlier ones were sent packets: these are not the joins'.
	joins := (joined.server - before.server).Seconds() - perPacket*float64(joined.packets-before.packets)
	viewers := float64(len(r.viewers))
	report.Server = &Server{
		CPUPerPacketUS: rounded(perPacket * 1e6), CPUPercent: percent(cpu), CPUPerJoinMS: rounded(max(joins, 0) / viewers * 1e3),
		MemoryPerViewer: rounded(float64(to.resident-before.resident) / viewers), MemoryKiB: to.resident,
	}
}

// expected returns what all viewers together have to receive of the window until now.
func (r *run) expected() (packets, frames uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	watching := make(map[uint16]uint64) // viewers by stream
	for _, v := range r.viewers {
		watching[v.stream]++
	}
	for _, p := range r.publishers {
		packets += p.cells() * watching[p.number]
		frames += p.video.measuredFrames.Load() * watching[p.number]
	}
	return packets, frames
}

// rounded returns v to three digits behind the point: no figure here is more exact.
func rounded(v float64) float64 { return math.Round(v*1e3) / 1e3 }

// complete reports all that was counted. Nothing runs any more.
func (r *run) complete(report *Report) {
	report.Streams, report.Viewers = len(r.publishers), len(r.viewers)
	report.SRTPProfiles = r.profiles
	report.Joins.Asked, report.Joins.Failed = r.asked, r.failed
	report.Joins.Succeeded = len(r.publishers) + len(r.viewers) + r.voices + len(r.listeners)
	report.Mix = r.hear()
	report.Joins.Failures = countFailures(r.reasons)

	var first, key []time.Duration
	for _, v := range r.viewers {
		if v.firstPacket > 0 {
			first = append(first, v.firstPacket)
		}
		if v.firstKeyframe > 0 {
			key = append(key, v.firstKeyframe)
		}
	}
	report.Connected, report.FirstPacket, report.FirstKey = waits(r.connected), waits(first), waits(key)

	var lag histogram
	packets, frames := &report.Packets, &report.Frames
	packets.Expected, frames.Expected = r.expected()
	for _, p := range r.publishers {
		packets.Sent += p.cells()
		frames.Sent += p.video.measuredFrames.Load()
		report.Publishers.PLIs += p.plis
		report.Publishers.NACKs += p.nacks
		report.Publishers.Retransmitted += p.resent
		lag.merge(&p.lag)
	}
	t := &r.totals
	packets.Received, packets.Reordered, packets.Duplicated = t.received, t.reordered, t.duplicated
	packets.Lost = packets.Expected - min(t.received, packets.Expected)
	if packets.Expected > 0 {
		packets.LostPercent = rounded(100 * float64(packets.Lost) / float64(packets.Expected))
	}
	frames.Received = t.frames
	frames.Lost = frames.Expected - min(t.frames, frames.Expected)
	report.Delay, report.FrameDelay = t.delay.spread(), t.frameDelay.spread()

	state := r.net.state()
	g := &report.Generator
	g.SendLagP99MS, g.SendLagMaxMS = milliseconds(lag.quantile(0.99)), milliseconds(lag.max)
	g.ReceiveBuffer, g.KernelDropped, g.SendFailed = state.buffer>>10, state.dropped, state.failed
	g.TagsVerified, g.TagsWrong = t.verified+r.heard.verified, t.forged+r.heard.forged
	report.warn()
	if r.vanished {
		report.warnf("process %d ended before the measurement did", r.config.PID)
	}
	if r.undeleted > 0 {
		report.warnf("%d sessions could not be deleted, only closed: %v", r.undeleted, r.undeletedWhy)
	}
}
