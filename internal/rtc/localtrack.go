package rtc

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"

	"sightline/internal/media"
	"sightline/internal/sdp"
	"sightline/internal/seal"
)

const (
	reportInterval = time.Second     // of the first reports, which bring sound and picture together
	reportLater    = 3 * time.Second // of later ones
	reportsSoon    = 5
	reportRaster   = 100 * time.Millisecond
	maxNACKs       = 256 // sequence numbers answered of one RTCP packet
	resentMemory   = 128 // resent numbers that are remembered, against repetition within a round trip
	minResendGap   = 15 * time.Millisecond
	maxResent      = 500 // packets a second
)

// A LocalTrack sends one track to a viewer. It is a media.Sink.
type LocalTrack struct {
	// What each burst needs lies together: with many viewers it is not in the processor's
	// cache.
	session     *Session
	socket      *socket
	ssrc        uint32
	level       byte // extension ids; 0: not negotiated
	turn        byte
	payloadType atomic.Uint32 // of what is sent now

	// Guarded by the session's sealer.
	rollover    seal.Rollover
	rtxRollover seal.Rollover
	rtxSequence uint16

	packets, bytes atomic.Uint64
	unsent         atomic.Uint64 // packets for which the path had no room; see sent

	section  *sdp.Section
	format   atomic.Pointer[sdp.Format] // of what is sent now
	feedback atomic.Pointer[media.Feedback]

	resent, nacks, keyframes, dropped atomic.Uint64
	lost                              atomic.Uint64 // as the viewer reports
	loss                              atomic.Uint32 // of 256
	jitter                            atomic.Uint32 // in units of the clock rate
	rtt                               atomic.Int64

	// Of the session's goroutine.
	nextReport time.Time
	reports    int // sent
	budget     int // packets that may be resent until the next report
	recent     *[resentMemory]resentPacket
	recentAt   int
	fir        map[uint32]uint8 // last FIR command number by sender
}

type resentPacket struct {
	sequence uint16
	at       time.Time
}

func newLocalTrack(s *Session, section *sdp.Section) *LocalTrack {
	t := &LocalTrack{session: s, socket: s.udp, section: section, ssrc: section.SSRC, rtxSequence: uint16(newSSRC() & 0x7fff), budget: 100}
	t.level = extensionID(section, sdp.ExtensionAudioLevel)
	t.turn = extensionID(section, sdp.ExtensionVideoOrientation)
	t.setFormat(&section.Formats[0])
	return t
}

func extensionID(section *sdp.Section, uri string) byte {
	if id := section.Extensions[uri]; id < 15 { // 15 and more need two-byte headers
		return id
	}
	return 0
}

// Kind is what the track carries.
func (t *LocalTrack) Kind() media.Kind { return t.section.Kind }

// SetFeedback tells who answers the viewer's requests. Until then they are dropped.
func (t *LocalTrack) SetFeedback(f media.Feedback) { t.feedback.Store(&f) }

// SetCodec implements media.Sink.
func (t *LocalTrack) SetCodec(c media.Codec) bool {
	f, ok := t.section.Match(c)
	if ok {
		t.setFormat(&f)
	}
	return ok
}

func (t *LocalTrack) setFormat(f *sdp.Format) {
	t.format.Store(f)
	t.payloadType.Store(uint32(f.PayloadType))
}

// Write implements media.Sink.
func (t *LocalTrack) Write(packets []media.Outgoing) bool {
	b := newBatch(t.socket)
	ok := t.WriteTo(b, packets)
	b.Flush()
	return t.sent() && ok
}

// NewBatch implements media.BatchSink: for the tracks of all sessions of one engine.
func (t *LocalTrack) NewBatch() media.Batch { return newBatch(t.socket) }

// WriteTo implements media.BatchSink.
func (t *LocalTrack) WriteTo(into media.Batch, packets []media.Outgoing) bool {
	b, ok := into.(*batch)
	if !ok || b.socket != t.socket {
		return t.Write(packets)
	}
	ok = t.sent()
	s := &t.session.seal
	s.mu.Lock()
	defer s.mu.Unlock()
	path := t.session.path.Load()
	if !s.opened || path == nil {
		t.dropped.Add(uint64(len(packets)))
		return false
	}
	pt := uint8(t.payloadType.Load())
	var bytes uint64
	b.begin(path, &t.unsent)
	for i := range packets {
		p := &packets[i]
		bytes += uint64(len(p.Payload))
		t.write(b, p, pt)
	}
	b.end()
	t.packets.Add(uint64(len(packets)))
	t.bytes.Add(bytes)
	return ok
}

// sent reports whether all has been sent since it was last asked.
func (t *LocalTrack) sent() bool {
	if t.unsent.Load() == 0 {
		return true
	}
	n := t.unsent.Swap(0)
	t.dropped.Add(n)
	t.packets.Add(-n)
	return false
}

const maxHeader = 12 + 8 // RTP, two one-byte extensions

// write seals a packet into b. The caller holds the sealer's lock.
func (t *LocalTrack) write(b *batch, p *media.Outgoing, pt uint8) {
	if len(p.Payload) > maxDatagram {
		return
	}
	h := b.space(maxHeader + len(p.Payload) + seal.Overhead)
	h = t.header(h, p, pt, p.Sequence, t.ssrc)
	b.packet(t.session.seal.rtp.Seal(h, p.Payload, t.rollover.Of(p.Sequence)))
}

// rewrite seals a packet into b as its retransmission (RFC 4588, section 4). The caller
// holds the sealer's lock.
func (t *LocalTrack) rewrite(b *batch, p *media.Outgoing, pt uint8) {
	if len(p.Payload) > maxDatagram {
		return
	}
	t.rtxSequence++
	h := b.space(maxHeader + 2 + len(p.Payload) + seal.Overhead)
	h = t.header(h, p, pt, t.rtxSequence, t.section.RTXSSRC)
	payload := binary.BigEndian.AppendUint16(h[len(h):], p.Sequence) // OSN
	payload = append(payload, p.Payload...)
	b.packet(t.session.seal.rtp.Seal(h, payload, t.rtxRollover.Of(t.rtxSequence)))
}

func (t *LocalTrack) header(b []byte, p *media.Outgoing, pt uint8, sequence uint16, ssrc uint32) []byte {
	var extensions [2]extension
	n := 0
	if t.level != 0 && p.HasLevel {
		v := p.Level & 0x7f
		if p.Voice {
			v |= 0x80
		}
		extensions[n] = extension{t.level, v}
		n++
	}
	if t.turn != 0 && p.HasRotation {
		extensions[n] = extension{t.turn, p.Rotation}
		n++
	}
	return putHeader(b, p.Marker, pt, sequence, p.Timestamp, ssrc, extensions[:n])
}

// tick sends the sender report when it is due (RFC 3550, section 6.4.1).
func (t *LocalTrack) tick(now time.Time) {
	if now.Before(t.nextReport) {
		return
	}
	// Those of all viewers at the same moments: a machine that has little to do pays most for
	// being woken.
	interval := reportInterval
	if t.reports >= reportsSoon {
		interval = reportLater
	}
	t.nextReport = now.Add(interval - now.Sub(epoch)%reportRaster)
	t.budget = min(100+int(t.packets.Load()), maxResent*int(interval/time.Second))
	feedback := t.feedback.Load()
	if feedback == nil || t.packets.Load() == 0 {
		return
	}
	timestamp, ok := (*feedback).Timestamp(now)
	if !ok {
		return
	}
	t.reports++
	t.session.seal.rtcp(
		&rtcp.SenderReport{
			SSRC: t.ssrc, NTPTime: toNTP(now), RTPTime: timestamp,
			PacketCount: uint32(t.packets.Load()), OctetCount: uint32(t.bytes.Load()),
		},
		description(t.ssrc, t.session.request.Stream),
	)
}

func description(ssrc uint32, cname string) *rtcp.SourceDescription {
	return &rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{
		Source: ssrc,
		Items:  []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: cname}},
	}}}
}

// resend answers a NACK (RFC 4585, section 6.2.1) by RTX (RFC 4588) where it was
// negotiated, else on the same SSRC. What was resent within the last round trip, or is
// beyond the budget, is not sent again.
func (t *LocalTrack) resend(sequences []uint16, now time.Time) {
	t.nacks.Add(uint64(len(sequences)))
	feedback := t.feedback.Load()
	if feedback == nil {
		return
	}
	if t.recent == nil {
		t.recent = new([resentMemory]resentPacket)
	}
	gap := max(time.Duration(t.rtt.Load()), minResendGap)
	wanted := sequences[:0]
	for _, q := range sequences {
		if t.budget > 0 && !t.resentSince(q, now.Add(-gap)) {
			t.budget--
			t.recent[t.recentAt] = resentPacket{q, now}
			t.recentAt = (t.recentAt + 1) % resentMemory
			wanted = append(wanted, q)
		}
	}
	if len(wanted) == 0 {
		return
	}
	f := t.format.Load()
	b := newBatch(t.socket)
	defer b.Flush()
	(*feedback).Resend(wanted, func(p media.Outgoing) {
		s := &t.session.seal
		s.mu.Lock()
		defer s.mu.Unlock()
		path := t.session.path.Load()
		if !s.opened || path == nil {
			return
		}
		b.begin(path, &t.dropped)
		if f.RTX != 0 && t.section.RTXSSRC != 0 {
			t.rewrite(b, &p, f.RTX)
		} else {
			t.write(b, &p, f.PayloadType)
		}
		t.resent.Add(1)
	})
}

func (t *LocalTrack) resentSince(sequence uint16, since time.Time) bool {
	for i := range t.recent {
		if t.recent[i].sequence == sequence && t.recent[i].at.After(since) {
			return true
		}
	}
	return false
}

// reported takes a reception report block about the track.
func (t *LocalTrack) reported(r rtcp.ReceptionReport, arrival time.Time) {
	t.loss.Store(uint32(r.FractionLost))
	// RFC 3550, section 6.4.1: 24 bits, signed, and duplicates make it fall.
	if n := uint64(r.TotalLost); n < 1<<23 {
		t.lost.Store(max(n, t.lost.Load()))
	}
	t.jitter.Store(r.Jitter)
	if r.LastSenderReport == 0 {
		return
	}
	// RFC 3550, section 6.4.1: the middle 32 bits of NTP time, in 1/65536 s.
	took := uint32(toNTP(arrival)>>16) - r.LastSenderReport - r.Delay
	if took < 1<<31 {
		t.rtt.Store(int64(max(time.Duration(took)*time.Second/65536, time.Microsecond)))
	}
}

func (t *LocalTrack) requestKeyframe() {
	t.keyframes.Add(1)
	if f := t.feedback.Load(); f != nil {
		(*f).RequestKeyframe()
	}
}

// Stats implements media.Sink.
func (t *LocalTrack) Stats() media.SinkStats {
	rtt := time.Duration(t.rtt.Load())
	if rtt == 0 {
		rtt = t.session.RTT()
	}
	clock := max(t.format.Load().Codec.ClockRate, 1)
	return media.SinkStats{
		Packets: t.packets.Load(), Bytes: t.bytes.Load(), Resent: t.resent.Load(), NACKs: t.nacks.Load(),
		Keyframes: t.keyframes.Load(), Dropped: t.dropped.Load(), Lost: t.lost.Load(),
		Loss:   float64(t.loss.Load()) / 256,
		Jitter: time.Duration(t.jitter.Load()) * time.Second / time.Duration(clock),
		RTT:    rtt, Path: t.session.Path(),
	}
}

// epoch is where the raster of reports begins.
var epoch = time.Now()

// ntpEpoch is 1970 in NTP's seconds.
const ntpEpoch = 2208988800

// toNTP returns t as NTP says it, by the monotonic clock: where the machine's clock is set, the reports of sound and
// picture go on together, and no round trip takes the time that it was set by.
func toNTP(t time.Time) uint64 {
	t = epoch.Add(t.Sub(epoch))
	return uint64(t.Unix()+ntpEpoch)<<32 | uint64(t.Nanosecond())<<32/1e9
}
