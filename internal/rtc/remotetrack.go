package rtc

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"

	"sightline/internal/media"
	"sightline/internal/rtpstream"
	"sightline/internal/sdp"
)

const (
	trackQueue = 2048                 // packets that wait for the track's reader
	maxBurst   = 64                   // packets
	holdBack   = 2 * time.Millisecond // how long a frame's first packets wait for its last

	publishInterval = 100 * time.Millisecond // of readings
)

// A RemoteTrack receives one track of a publisher. It is a media.Source. The session's
// goroutine writes it; one goroutine reads bursts.
type RemoteTrack struct {
	session   *Session
	kind      media.Kind
	codec     media.Codec
	clockRate uint32
	codecs    map[uint8]*media.Codec // by payload type
	rtxOf     map[uint8]uint8        // RTX payload type → primary one
	ids       extensionIDs
	nack      bool
	pli, fir  bool

	layers []*layer // simulcast: as offered; else one

	// Of the session's goroutine.
	pending   *layer // will be shown from its next keyframe on
	chooseAt  time.Time
	pendingAt time.Time

	shown   atomic.Pointer[layer] // whose packets go to the reader
	queue   chan *media.Packet
	closed  chan struct{}
	once    sync.Once
	dropped atomic.Uint64
	plis    atomic.Uint64
	firs    atomic.Uint32

	held  *media.Packet // of the reader: begins the next burst
	timer *time.Timer   // of the reader
}

// A layer is one encoding of a track (RFC 8853). Its receiver is of the session's
// goroutine.
type layer struct {
	rid      string
	ssrc     atomic.Uint32 // 0: nothing came yet
	wanted   atomic.Bool   // a keyframe was asked for before the SSRC was known
	receiver *rtpstream.Receiver

	bytes, repaired, duplicates, outdated uint64 // of the session's goroutine
	past                                  [3]reading
	pastAt                                time.Time
	nextPublish                           time.Time
	rate                                  float64 // bytes/s over the last period
	rateBytes                             uint64
	rateAt                                time.Time
	last                                  time.Time // of the last packet
	earlier                               totals    // of SSRCs that this layer had before

	mu       sync.Mutex // guards what follows
	stats    media.SourceStats
	clock    media.Clock
	hasClock bool
	sr       uint32 // middle bits of the last sender report's NTP time
	srAt     time.Time
}

type reading struct{ holes, highest uint64 }

type totals struct{ packets, lost, requested uint64 }

func newRemoteTrack(s *Session, section *sdp.Section) *RemoteTrack {
	first := section.Formats[0]
	t := &RemoteTrack{
		session: s, kind: section.Kind, codec: first.Codec, clockRate: first.Codec.ClockRate,
		codecs: make(map[uint8]*media.Codec), rtxOf: make(map[uint8]uint8), ids: newExtensionIDs(section),
		queue: make(chan *media.Packet, trackQueue), closed: make(chan struct{}),
	}
	for _, f := range section.Formats {
		t.codecs[f.PayloadType] = &f.Codec
		if f.RTX != 0 {
			t.rtxOf[f.RTX] = f.PayloadType
		}
		t.nack = t.nack || f.NACK
		t.pli = t.pli || f.PLI
		t.fir = t.fir || f.FIR
	}
	for _, rid := range section.RIDs {
		t.layers = append(t.layers, &layer{rid: rid, receiver: rtpstream.NewReceiver(t.clockRate)})
	}
	if len(t.layers) == 0 {
		t.layers = []*layer{{receiver: rtpstream.NewReceiver(t.clockRate)}}
	}
	t.shown.Store(t.layers[0])
	return t
}

func (t *RemoteTrack) layerByRID(rid string) *layer {
	for _, l := range t.layers {
		if l.rid == rid {
			return l
		}
	}
	return nil
}

// Kind and Codec implement media.Source.
func (t *RemoteTrack) Kind() media.Kind   { return t.kind }
func (t *RemoteTrack) Codec() media.Codec { return t.codec }

// receive takes a packet of one of the track's layers.
func (t *RemoteTrack) receive(l *layer, p *media.Packet, retransmitted bool) {
	switch l.receiver.Receive(p.Sequence, p.Timestamp, p.Arrival, retransmitted) {
	case rtpstream.Duplicate:
		l.duplicates++
		return
	case rtpstream.Outdated:
		l.outdated++
		return
	case rtpstream.Repaired:
		l.repaired++
	}
	if l.receiver.Missing() {
		t.session.receiver.missing = true
	}
	l.bytes += uint64(len(p.Payload))
	l.last = p.Arrival
	if l == t.pending && media.StartOf(p.Codec, p.Payload) != media.NoStart {
		p.Discontinuity = true
		t.pending = nil
		t.shown.Store(l)
	}
	if l != t.shown.Load() {
		return
	}
	select {
	case t.queue <- p:
	default:
		t.dropped.Add(1)
	}
}

// choose picks the layer to show: the one with the highest bit rate that is alive. The
// change waits for a keyframe of the new one.
func (t *RemoteTrack) choose(now time.Time) {
	const (
		period   = 500 * time.Millisecond
		dead     = time.Second
		patience = 3 * time.Second // for the keyframe of a pending layer
		better   = 1.3             // times the bit rate
	)
	if len(t.layers) == 1 || now.Before(t.chooseAt) {
		return
	}
	t.chooseAt = now.Add(period)
	for _, l := range t.layers {
		l.measure(now)
	}
	if t.pending != nil && now.Sub(t.pendingAt) > patience {
		t.pending = nil
	}
	shown := t.shown.Load()
	alive := func(l *layer) bool { return !l.last.IsZero() && now.Sub(l.last) < dead }
	best := shown
	for _, l := range t.layers {
		if alive(l) && (!alive(best) || l.rate > better*best.rate) {
			best = l
		}
	}
	if best == shown || best == t.pending {
		return
	}
	t.pending, t.pendingAt = best, now
	t.requestKeyframeOf(best)
}

func (l *layer) measure(now time.Time) {
	if !l.rateAt.IsZero() {
		if seconds := now.Sub(l.rateAt).Seconds(); seconds > 0 {
			l.rate = l.rate/2 + float64(l.bytes-l.rateBytes)/seconds/2
		}
	}
	l.rateAt, l.rateBytes = now, l.bytes
}

// reset starts counting anew under another SSRC; totals go on.
func (l *layer) reset(clockRate uint32) {
	l.earlier.packets += l.receiver.Received()
	l.earlier.lost += l.receiver.Lost()
	l.earlier.requested += l.receiver.Requested()
	l.receiver = rtpstream.NewReceiver(clockRate)
	l.past = [3]reading{}
	l.mu.Lock()
	l.hasClock, l.sr = false, 0
	l.mu.Unlock()
}

// publish makes the layer's readings visible to Stats.
func (l *layer) publish(now time.Time) {
	if now.Before(l.nextPublish) {
		return
	}
	l.nextPublish = now.Add(publishInterval)
	r := l.receiver
	if now.Sub(l.pastAt) >= time.Second {
		l.pastAt = now
		l.past = [3]reading{l.past[1], l.past[2], {r.Holes(), r.Highest()}}
	}
	loss := 0.0
	from := l.past[0]
	for i := 1; i < len(l.past) && from.highest == 0; i++ {
		from = l.past[i]
	}
	if from.highest != 0 && r.Highest() > from.highest {
		loss = float64(r.Holes()-min(from.holes, r.Holes())) / float64(r.Highest()-from.highest)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats = media.SourceStats{
		Packets: l.earlier.packets + r.Received(), Bytes: l.bytes, Lost: l.earlier.lost + r.Lost(),
		Repaired: l.repaired, Duplicates: l.duplicates, Requested: l.earlier.requested + r.Requested(),
		Discarded: l.outdated, Jitter: r.Jitter(), Loss: min(loss, 1),
	}
}

func (l *layer) report(p *rtcp.SenderReport, arrival time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock = media.Clock{NTP: p.NTPTime, Timestamp: p.RTPTime, Received: arrival}
	l.hasClock = true
	l.sr, l.srAt = uint32(p.NTPTime>>16), arrival
}

func (l *layer) receptionReport(ssrc uint32, now time.Time) rtcp.ReceptionReport {
	r := l.receiver.Report()
	out := rtcp.ReceptionReport{
		SSRC: ssrc, FractionLost: r.FractionLost, TotalLost: r.TotalLost,
		LastSequenceNumber: r.Highest, Jitter: r.Jitter,
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sr != 0 {
		out.LastSenderReport = l.sr
		out.Delay = uint32(now.Sub(l.srAt) * 65536 / time.Second)
	}
	return out
}

// ReadBurst implements media.Source.
func (t *RemoteTrack) ReadBurst(dst []*media.Packet) ([]*media.Packet, error) {
	first := t.held
	t.held = nil
	if first == nil {
		select {
		case first = <-t.queue:
		case <-t.closed:
			select {
			case first = <-t.queue:
			default:
				return dst, io.EOF
			}
		}
	}
	dst = append(dst, first)
	last := first
	waits := false
	for n := 1; n < maxBurst && !(t.kind == media.Video && last.Marker); n++ {
		var p *media.Packet
		select {
		case p = <-t.queue:
		default:
			if t.kind != media.Video {
				return dst, nil
			}
			if !waits {
				waits = true
				t.startTimer(first.Arrival)
				defer t.timer.Stop() // it would wake an idle machine
			}
			select {
			case p = <-t.queue:
			case <-t.timer.C:
				return dst, nil
			case <-t.closed:
				return dst, nil
			}
		}
		if p.Codec != first.Codec || p.Discontinuity || t.kind == media.Video && p.Timestamp != first.Timestamp {
			t.held = p
			return dst, nil
		}
		dst = append(dst, p)
		last = p
	}
	return dst, nil
}

func (t *RemoteTrack) startTimer(from time.Time) {
	wait := holdBack - time.Since(from)
	if t.timer == nil {
		t.timer = time.NewTimer(wait)
	} else {
		t.timer.Reset(wait)
	}
}

// RequestKeyframe implements media.Source.
func (t *RemoteTrack) RequestKeyframe() { t.requestKeyframeOf(t.shown.Load()) }

func (t *RemoteTrack) requestKeyframeOf(l *layer) {
	ssrc := l.ssrc.Load()
	if ssrc == 0 {
		l.wanted.Store(true)
		return
	}
	var p rtcp.Packet
	switch s := t.session; {
	case t.pli || !t.fir:
		p = &rtcp.PictureLossIndication{SenderSSRC: s.seal.ssrc, MediaSSRC: ssrc}
	default:
		p = &rtcp.FullIntraRequest{SenderSSRC: s.seal.ssrc, MediaSSRC: ssrc, FIR: []rtcp.FIREntry{{
			SSRC: ssrc, SequenceNumber: uint8(t.firs.Add(1)),
		}}}
	}
	t.plis.Add(1)
	t.session.sendFeedback(time.Now(), false, p)
}

// Clock implements media.Source.
func (t *RemoteTrack) Clock() (media.Clock, bool) {
	l := t.shown.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.clock, l.hasClock
}

// Stats implements media.Source.
func (t *RemoteTrack) Stats() media.SourceStats {
	var sum media.SourceStats
	shown := t.shown.Load()
	for _, l := range t.layers {
		l.mu.Lock()
		st := l.stats
		l.mu.Unlock()
		sum.Packets += st.Packets
		sum.Bytes += st.Bytes
		sum.Lost += st.Lost
		sum.Repaired += st.Repaired
		sum.Duplicates += st.Duplicates
		sum.Requested += st.Requested
		sum.Discarded += st.Discarded
		if l == shown {
			sum.Jitter, sum.Loss = st.Jitter, st.Loss
		}
	}
	sum.Keyframes = t.plis.Load()
	sum.Discarded += t.dropped.Load()
	sum.RTT, sum.Path = t.session.RTT(), t.session.Path()
	return sum
}

func (t *RemoteTrack) close() { t.once.Do(func() { close(t.closed) }) }
