// Package media is the seam between those who bring RTP and those who take it.
//
// A camera's track, the audio bridge's output and a relay from another node are
// Sources. A viewer's track, the bridge's input, a recorder and a relay to another
// node are Sinks. The heart (package rooms) moves bursts of packets from one Source
// to many Sinks and knows neither WebRTC nor HTTP.
//
// Packets travel in bursts: what has arrived together goes on together, so that one
// system call can carry a burst to a viewer.
package media

import (
	"strings"
	"time"
)

// A Kind is what a track carries: RFC 8866, section 5.14.
type Kind string

// The kinds that the gateway forwards.
const (
	Audio Kind = "audio"
	Video Kind = "video"
)

// A Codec says how a track is encoded. Name is the encoding name as registered, in
// the canonical spelling: "H264", "H265", "VP8", "VP9", "AV1", "opus".
type Codec struct {
	Name      string
	ClockRate uint32 // Hz
	Channels  int    // audio only
	Fmtp      string // format parameters as in a=fmtp, e.g. "packetization-mode=1;profile-level-id=42e01f"
}

// Is reports whether the codec has the given encoding name, in any case.
func (c Codec) Is(name string) bool { return strings.EqualFold(c.Name, name) }

// A Packet is one RTP packet of a track. It is immutable once its source has
// returned it: many sinks read it at the same time, and caches keep it.
type Packet struct {
	Sequence  uint16 // as the source numbers it (RFC 3550, section 5.1)
	Timestamp uint32 // in units of Codec.ClockRate
	Marker    bool
	Codec     *Codec // the same pointer for all packets of one payload type of one source
	Payload   []byte // without padding; empty for a packet of padding only
	Arrival   time.Time

	// Discontinuity says that numbering and timestamps start anew at this packet: the
	// source has changed over to another encoding of the same picture (a simulcast
	// layer). It is the first packet of a keyframe.
	Discontinuity bool

	Level    uint8 // audio level in -dBov, 0 to 127 (RFC 6464); valid if HasLevel
	Voice    bool  // the sender says that it is speech (RFC 6464)
	HasLevel bool

	Rotation    uint8 // the octet of urn:3gpp:video-orientation; valid if HasRotation
	HasRotation bool
}

// A Source brings one track. Its methods but ReadBurst are safe for concurrent use.
type Source interface {
	Kind() Kind

	// Codec is what was negotiated first. A packet's own Codec may differ later.
	Codec() Codec

	// ReadBurst appends to dst the packets that have arrived together: at most one
	// video frame, held back by at most about 2 ms; at least one packet. Packets come
	// in the order of their arrival: a retransmitted one is late, a lost one never
	// comes. It returns io.EOF after the last one. One goroutine calls it.
	ReadBurst(dst []*Packet) ([]*Packet, error)

	// RequestKeyframe asks the encoder for a keyframe (PLI). It does not block. The
	// caller throttles.
	RequestKeyframe()

	// Clock returns the last mapping between the sender's wall clock and its RTP
	// timestamps (RFC 3550, section 6.4.1); false before the first sender report.
	Clock() (Clock, bool)

	Stats() SourceStats
}

// A Clock is one point at which a sender's wall clock and an RTP timestamp are known
// to agree.
type Clock struct {
	NTP       uint64 // the sender's NTP time, 32.32 fixed point
	Timestamp uint32
	Received  time.Time // when the report came, in the gateway's clock
}

// SourceStats are totals since the source began, and its latest readings.
type SourceStats struct {
	Packets    uint64 // distinct media packets, with the repaired ones
	Bytes      uint64 // RTP payload bytes of these
	Lost       uint64 // never came, not even after retransmission
	Repaired   uint64 // came by retransmission
	Duplicates uint64
	Requested  uint64 // sequence numbers asked for by NACK, with repetitions
	Keyframes  uint64 // keyframe requests sent (PLI or FIR)
	Discarded  uint64 // dropped before ReadBurst: queue full, or too late

	Jitter time.Duration // interarrival jitter (RFC 3550, section 6.4.1)
	Loss   float64       // fraction lost of what was expected over the last seconds, before repair, 0 to 1
	RTT    time.Duration // 0: not known
	Path   string        // ICE path in use: "udp", "tcp" or "relay"
}

// An Outgoing is a packet as one viewer gets it: the same payload, in that viewer's
// numbering.
type Outgoing struct {
	*Packet
	Sequence  uint16
	Timestamp uint32
}

// A Sink takes one track. Its methods are safe for concurrent use.
type Sink interface {
	// SetCodec tells which codec the packets that follow have. It returns false if
	// the sink can't take it; the sink then gets nothing more.
	SetCodec(Codec) bool

	// Write sends a burst. It never blocks: what cannot be sent at once is dropped and
	// counted, and the sink says so by returning false, whereupon it gets nothing
	// until the next keyframe. It keeps neither burst nor what it points to but the
	// packets.
	Write(burst []Outgoing) bool

	Stats() SinkStats
}

// A BatchSink is a Sink that can write into a batch.
type BatchSink interface {
	Sink

	// NewBatch begins a batch. All sinks of one transport can write into it.
	NewBatch() Batch

	// WriteTo is Write, but that the burst leaves at the batch's Flush at the latest, and
	// that what can't be sent then is told by the false of a later call.
	WriteTo(b Batch, burst []Outgoing) bool
}

// A Batch gathers what is written to several sinks, so that it leaves by few system calls.
// One goroutine uses it.
type Batch interface {
	// Flush sends everything. The batch must not be used after it.
	Flush()
}

// SinkStats are totals since the sink began, and its latest readings.
type SinkStats struct {
	Packets   uint64 // sent, without retransmissions
	Bytes     uint64 // RTP payload bytes of these
	Resent    uint64 // retransmissions sent
	NACKs     uint64 // sequence numbers that the viewer asked for
	Keyframes uint64 // PLI and FIR received
	Dropped   uint64 // not sent because the path was full
	Lost      uint64 // what the viewer has last reported as lost in all (RFC 3550, section 6.4.1)

	Loss   float64       // the viewer's last reported fraction lost, 0 to 1
	Jitter time.Duration // the viewer's last reported jitter
	RTT    time.Duration // 0: not known
	Path   string        // ICE path in use: "udp", "tcp" or "relay"
}

// Feedback answers what a viewer asks about a track that is sent to it. All numbers
// are in the viewer's own numbering. Its methods are safe for concurrent use and do
// not block.
type Feedback interface {
	// RequestKeyframe says that the viewer can't go on without a keyframe.
	RequestKeyframe()

	// Resend calls emit for each of the sequence numbers whose packet is still held.
	Resend(sequences []uint16, emit func(Outgoing))

	// Timestamp returns the RTP timestamp of what is captured at the instant wall,
	// for sender reports; false while that is not known.
	Timestamp(wall time.Time) (uint32, bool)
}
