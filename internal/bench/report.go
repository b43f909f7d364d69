package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// A Report is what was measured. Times end in _ms or _us, shares are percent of one core.
// Packets are those that carry media and were sent for frames begun inside the measuring
// window; parameter sets, RTCP and what came outside the window are not among them.
type Report struct {
	Streams    int     `json:"streams"`     // that publish
	Viewers    int     `json:"viewers"`     // that are connected, of all streams
	DurationS  float64 `json:"duration_s"`  // of the measuring window
	EndedEarly bool    `json:"ended_early"` // by a signal

	Packets      Packets        `json:"packets"`
	Frames       Frames         `json:"frames"`
	Received     Rate           `json:"received"`       // inside the window
	Delay        Delay          `json:"delay_ms"`       // of each video packet, from right before it was sent
	FrameDelay   Delay          `json:"frame_delay_ms"` // until a frame's last packet came
	Connected    Wait           `json:"connected_ms"`   // from the POST until DTLS was done
	FirstPacket  Wait           `json:"first_packet_ms"`
	FirstKey     Wait           `json:"first_keyframe_ms"` // until all of a keyframe had come
	Joins        Joins          `json:"joins"`
	SRTPProfiles map[string]int `json:"srtp_profiles"` // viewers by profile
	Publishers   Publishers     `json:"publishers"`

	Mix       *Mix      `json:"mix"`    // null without -voices
	Server    *Server   `json:"server"` // null without -pid
	Generator Generator `json:"generator"`
	Warnings  []string  `json:"warnings"`
}

// Packets counts packets of video and audio.
type Packets struct {
	Sent        uint64  `json:"sent"`     // by the publishers
	Expected    uint64  `json:"expected"` // by all viewers together, as all that follows
	Received    uint64  `json:"received"`
	Lost        uint64  `json:"lost"`
	LostPercent float64 `json:"lost_percent"`
	Reordered   uint64  `json:"reordered"` // came after a later one
	Duplicated  uint64  `json:"duplicated"`
}

// Frames counts pictures.
type Frames struct {
	Sent     uint64 `json:"sent"`
	Expected uint64 `json:"expected"`
	Received uint64 `json:"received"` // whole
	Lost     uint64 `json:"lost"`
}

// A Rate is what came in on the wire, all RTP packets.
type Rate struct {
	PacketsPerS float64 `json:"packets_per_s"`
	MbitPerS    float64 `json:"mbit_per_s"` // without UDP and IP
}

// A Delay has quantiles in milliseconds.
type Delay struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// A Wait has quantiles in milliseconds from the POST on, over viewers.
type Wait struct {
	P50     float64 `json:"p50"`
	P95     float64 `json:"p95"`
	Max     float64 `json:"max"`
	Viewers int     `json:"viewers"` // whose wait had an end
}

// Joins counts sessions, of publishers and of viewers.
type Joins struct {
	Asked     int       `json:"asked"`
	Succeeded int       `json:"succeeded"`
	Failed    int       `json:"failed"`
	Failures  []Failure `json:"failures"` // the most frequent reasons
	Ended     int       `json:"ended"`    // by the server, before the end
}

// A Failure is why sessions did not come to be.
type Failure struct {
	Reason string `json:"reason"`
	Count  int    `json:"count"`
}

// Publishers is what the server asked of the publishers, from the beginning on.
type Publishers struct {
	PLIs          uint64 `json:"plis"`          // requests for a keyframe
	NACKs         uint64 `json:"nacks"`         // packets asked for again
	Retransmitted uint64 `json:"retransmitted"` // of those, what was still there
}

// Mix is what voices heard, all together.
type Mix struct {
	Voices    int    `json:"voices"`
	Talking   int    `json:"talking"`
	Listeners int    `json:"listeners"`
	Received  uint64 `json:"received"` // packets, inside the window
	Lost      uint64 `json:"lost"`     // numbers that were missing when the next one came
	Bytes     uint64 `json:"bytes"`    // of RTP, with SRTP's overhead
	Gap       Delay  `json:"gap_ms"`   // from one packet to the next, which ideally is 20 ms
}

// Server is what the server's process cost.
type Server struct {
	CPUPerPacketUS  float64 `json:"cpu_us_per_packet"` // received by a viewer
	CPUPercent      float64 `json:"cpu_percent"`       // of one core
	CPUPerJoinMS    float64 `json:"cpu_ms_per_join"`   // of a viewer, without the forwarding meanwhile
	MemoryPerViewer float64 `json:"memory_kib_per_viewer"`
	MemoryKiB       int64   `json:"memory_kib"` // resident, at the window's end
}

// Generator is how the generator itself fared.
type Generator struct {
	CPUPercent    float64 `json:"cpu_percent"`     // of one core; 0 where it is not known
	SendLagP99MS  float64 `json:"send_lag_p99_ms"` // how late frames were sent
	SendLagMaxMS  float64 `json:"send_lag_max_ms"` //
	ReceiveBuffer int     `json:"receive_buffer_kib"`
	KernelDropped uint64  `json:"kernel_dropped"` // datagrams, at the generator's sockets
	SendFailed    uint64  `json:"send_failed"`    // datagrams
	TagsVerified  uint64  `json:"tags_verified"`  // SRTP
	TagsWrong     uint64  `json:"tags_wrong"`
}

const (
	busy   = 80   // percent of a core from which on the generator may be what is measured
	tardy  = 20.0 // milliseconds of send lag, likewise
	listed = 5    // reasons
)

// warn says what makes the figures doubtful.
func (r *Report) warn() {
	r.Warnings = []string{}
	add := r.warnf
	g := &r.Generator
	if g.CPUPercent > busy {
		add("the generator used %.0f %% of a core: delay and loss may be its own; lower the load, or run it on another machine", g.CPUPercent)
	}
	if g.SendLagP99MS > tardy {
		add("the generator sent frames up to %.0f ms late (p99): it did not get the CPU in time; lower the load, or run it on another machine", g.SendLagP99MS)
	}
	if g.KernelDropped > 0 {
		add("the kernel dropped %d datagrams at the generator's sockets, which count as lost: the receive buffer is %d KiB; raise it with sysctl -w net.core.rmem_max=%d", g.KernelDropped, g.ReceiveBuffer, wantedBuffer)
	}
	if g.SendFailed > 0 {
		add("%d datagrams of the generator could not be sent, and may be missing at viewers", g.SendFailed)
	}
	if g.TagsWrong > 0 {
		add("%d of %d verified SRTP tags were wrong", g.TagsWrong, g.TagsVerified)
	}
	if r.Joins.Ended > 0 {
		add("the server ended %d sessions before the end; what they missed counts as lost", r.Joins.Ended)
	}
	if missing := r.Viewers - r.FirstKey.Viewers; missing > 0 {
		add("%d viewers never had a whole keyframe", missing)
	}
}

func (r *Report) warnf(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// Failed returns why the run has to count as failed; nil if it has not.
func (r *Report) Failed() error {
	switch {
	case r.Joins.Failed > 0:
		return fmt.Errorf("%d of %d joins failed", r.Joins.Failed, r.Joins.Asked)
	case r.Packets.Received == 0 && !r.EndedEarly:
		return fmt.Errorf("nothing arrived: %d packets were expected", r.Packets.Expected)
	}
	return nil
}

// countFailures keeps the most frequent reasons.
func countFailures(reasons map[string]int) []Failure {
	list := []Failure{}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		list = append(list, Failure{reason, reasons[reason]})
	}
	slices.SortStableFunc(list, func(a, b Failure) int { return b.Count - a.Count })
	return list[:min(len(list), listed)]
}

// Write writes the report as a table for people.
func (r *Report) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	early := ""
	if r.EndedEarly {
		early = ", ended early"
	}
	row("load", "%d streams, %d viewers in all, %.1f s%s", r.Streams, r.Viewers, r.DurationS, early)
	row("joins", "%d of %d", r.Joins.Succeeded, r.Joins.Asked)
	for _, f := range r.Joins.Failures {
		row("  failed", "%d × %s", f.Count, f.Reason)
	}
	if r.Viewers == 0 {
		return w.Flush()
	}
	row("received", "%.0f packets/s, %.1f Mbit/s", r.Received.PacketsPerS, r.Received.MbitPerS)
	row("packets", "%d of %d, lost %d (%.3f %%), reordered %d, duplicated %d",
		r.Packets.Received, r.Packets.Expected, r.Packets.Lost, r.Packets.LostPercent, r.Packets.Reordered, r.Packets.Duplicated)
	row("frames", "%d of %d, lost %d", r.Frames.Received, r.Frames.Expected, r.Frames.Lost)
	delay := func(name string, d Delay) {
		row(name, "p50 %.2f  p95 %.2f  p99 %.2f  max %.2f ms", d.P50, d.P95, d.P99, d.Max)
	}
	delay("packet delay", r.Delay)
	delay("frame delay", r.FrameDelay)
	wait := func(name string, d Wait) { row(name, "p50 %.0f  p95 %.0f  max %.0f ms", d.P50, d.P95, d.Max) }
	wait("connected", r.Connected)
	wait("first packet", r.FirstPacket)
	wait("first keyframe", r.FirstKey)
	var profiles []string
	for _, name := range slices.Sorted(maps.Keys(r.SRTPProfiles)) {
		profiles = append(profiles, fmt.Sprintf("%s × %d", name, r.SRTPProfiles[name]))
	}
	row("SRTP", "%s", strings.Join(profiles, ", "))
	row("publishers", "%d PLIs, %d packets NACKed, %d retransmitted", r.Publishers.PLIs, r.Publishers.NACKs, r.Publishers.Retransmitted)
	if m := r.Mix; m != nil {
		row("mix", "%d voices, %d of them talking, %d listeners: %d packets, lost %d", m.Voices, m.Talking, m.Listeners, m.Received, m.Lost)
		delay("mix gap", m.Gap)
	}
	if s := r.Server; s != nil {
		row("server CPU", "%.2f µs a packet, %.1f %% of a core, %.2f ms a join", s.CPUPerPacketUS, s.CPUPercent, s.CPUPerJoinMS)
		row("server memory", "%.0f KiB a viewer, %d KiB resident", s.MemoryPerViewer, s.MemoryKiB)
	}
	g := &r.Generator
	row("generator", "%.1f %% of a core, send lag p99 %.2f max %.2f ms, receive buffer %d KiB",
		g.CPUPercent, g.SendLagP99MS, g.SendLagMaxMS, g.ReceiveBuffer)
	for _, text := range r.Warnings {
		row("WARNING", "%s", text)
	}
	return w.Flush()
}
