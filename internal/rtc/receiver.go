package rtc

import (
	"maps"
	"time"

	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"sightline/internal/media"
	"sightline/internal/sdp"
)

const (
	feedbackInterval = 100 * time.Millisecond
)

// A receiver sorts what a publisher sends into its tracks and tells him what is missing.
// The session's goroutine owns it; the tracks are its readers' too.
type receiver struct {
	session *Session
	tracks  []*RemoteTrack
	byMID   map[string]*RemoteTrack
	byPT    map[uint8]*RemoteTrack // payload types that only one track has
	streams map[uint32]*stream     // by SSRC, retransmissions included
	refused map[uint32]uint8       // SSRCs that belong nowhere, with how often they were tried
	others  map[uint32]bool        // SSRCs that a section names beside its first

	header     rtp.Header // scratch
	recorder   *twcc.Recorder
	recorded   bool
	nextReport time.Time
	missing    bool // packets that may have to be asked for
	nextTWCC   time.Time
	due        []uint16 // scratch
}

// A stream is one SSRC of a publisher: one layer of a track, or its retransmissions.
type stream struct {
	ssrc  uint32
	track *RemoteTrack
	layer *layer
	rtx   bool
}

func newReceiver(s *Session, sections []sdp.Section) *receiver {
	r := &receiver{
		session: s, byMID: make(map[string]*RemoteTrack), byPT: make(map[uint8]*RemoteTrack),
		streams: make(map[uint32]*stream), refused: make(map[uint32]uint8), others: make(map[uint32]bool),
	}
	shared := make(map[uint8]bool)
	for i := range sections {
		section := &sections[i]
		t := newRemoteTrack(s, section)
		r.tracks = append(r.tracks, t)
		r.byMID[section.MID] = t
		for _, f := range section.Formats {
			for _, pt := range []uint8{f.PayloadType, f.RTX} {
				if pt == 0 && f.PayloadType != 0 {
					continue
				}
				if other := r.byPT[pt]; other != nil && other != t || shared[pt] {
					delete(r.byPT, pt)
					shared[pt] = true
					continue
				}
				r.byPT[pt] = t
			}
			if f.TransportCC && r.recorder == nil {
				r.recorder = twcc.NewRecorder(s.seal.ssrc)
			}
		}
		if len(section.RIDs) > 0 {
			continue // its SSRCs are told by RID
		}
		for i, ssrc := range section.SSRCs {
			if i > 0 {
				r.others[ssrc] = true
				continue
			}
			r.streams[ssrc] = &stream{ssrc: ssrc, track: t, layer: t.layers[0]}
			t.layers[0].ssrc.Store(ssrc)
		}
		for rtx, primary := range section.RTX {
			if st := r.streams[primary]; st != nil {
				r.streams[rtx] = &stream{ssrc: rtx, track: t, layer: st.layer, rtx: true}
			}
		}
	}
	return r
}

// receiveRTP takes one SRTP packet.
func (r *receiver) receiveRTP(d datagram) {
	s := r.session
	if s.opener.context == nil {
		s.discarded.Add(1) // before DTLS
		return
	}
	plain, ok := s.opener.rtp(d.buf, &r.header)
	if !ok {
		s.discarded.Add(1) // bad tag, replayed, no RTP, one SSRC too many
		if len(d.buf) >= 12 && !admits(s.opener.media, d.buf[8:]) {
			s.engine.limited.ssrcs.Add(1)
		}
		return
	}
	s.lastMedia.set(d.arrival)
	r.receivePlain(plain, d.arrival)
}

// receivePlain takes a packet that is authentic. It keeps plain.
func (r *receiver) receivePlain(plain []byte, arrival time.Time) {
	s, h := r.session, &r.header
	n, err := h.Unmarshal(plain)
	if err != nil {
		s.discarded.Add(1)
		return
	}
	payload := plain[n:]
	if h.Padding {
		if len(payload) == 0 || int(payload[len(payload)-1]) > len(payload) || payload[len(payload)-1] == 0 {
			s.discarded.Add(1)
			return
		}
		payload = payload[:len(payload)-int(payload[len(payload)-1])]
	}
	st := r.streams[h.SSRC]
	if st == nil {
		if st = r.adopt(h, arrival); st == nil {
			s.discarded.Add(1)
			return
		}
	}
	t := st.track
	if id := t.ids.transportCC; id != 0 && r.recorder != nil {
		if v := h.GetExtension(id); len(v) == 2 {
			r.recorder.Record(h.SSRC, uint16(v[0])<<8|uint16(v[1]), arrival.UnixMicro())
			r.recorded = true
		}
	}
	pt, sequence := h.PayloadType, h.SequenceNumber
	if primary, ok := t.rtxOf[pt]; ok {
		if len(payload) < 2 {
			return // padding to probe the bandwidth
		}
		pt, sequence = primary, uint16(payload[0])<<8|uint16(payload[1])
		payload = payload[2:]
	} else if st.rtx {
		s.discarded.Add(1)
		return
	}
	codec := t.codecs[pt]
	if codec == nil {
		s.discarded.Add(1)
		return
	}
	p := &media.Packet{
		Sequence: sequence, Timestamp: h.Timestamp, Marker: h.Marker, Codec: codec, Payload: payload, Arrival: arrival,
	}
	t.ids.read(h, p)
	t.receive(st.layer, p, pt != h.PayloadType)
}

// adopt finds out what an unknown SSRC is: by MID and RID (RFC 9143, section 9.2; RFC
// 8852), else by a payload type that only one track has.
func (r *receiver) adopt(h *rtp.Header, now time.Time) *stream {
	const (
		patience = 100 // packets; MID may come a few packets late
		dead     = time.Second
	)
	if r.refused[h.SSRC] >= patience {
		return nil
	}
	if e := r.session.engine; len(r.streams)+len(r.refused) >= e.config.MaxSSRCs {
		e.limited.ssrcs.Add(1)
		return nil
	}
	t := r.byPT[h.PayloadType]
	for _, candidate := range r.tracks {
		if mid := h.GetExtension(candidate.ids.mid); candidate.ids.mid != 0 && len(mid) > 0 {
			named := r.byMID[string(mid)]
			if named == nil || t != nil && t != named {
				t = nil // it contradicts the answer
			} else {
				t = named
			}
			break
		}
	}
	var l *layer
	rtx := false
	if t != nil {
		_, rtx = t.rtxOf[h.PayloadType]
		id := t.ids.rid
		if rtx {
			id = t.ids.repaired
		}
		rid := ""
		if id != 0 {
			rid = string(h.GetExtension(id))
		}
		switch {
		case len(t.layers) == 1:
			// OBS sends a rid even where there is one layer only.
			l = t.layers[0]
		case rid != "":
			l = t.layerByRID(rid)
		}
	}
	if l == nil {
		r.refused[h.SSRC]++
		return nil
	}
	// Simulcast of old, by a=ssrc-group:SIM, sends several at once: one of them is taken.
	if !rtx && r.others[h.SSRC] && now.Sub(l.last) < dead {
		return nil
	}
	delete(r.refused, h.SSRC)
	st := &stream{ssrc: h.SSRC, track: t, layer: l, rtx: rtx}
	if rtx {
		// One layer has one stream of retransmissions; the encoder began anew.
		maps.DeleteFunc(r.streams, func(_ uint32, old *stream) bool { return old.rtx && old.layer == l })
	}
	r.streams[h.SSRC] = st
	if !rtx {
		if old := l.ssrc.Swap(h.SSRC); old != 0 && old != h.SSRC {
			delete(r.streams, old) // the encoder began anew under another SSRC
			l.reset(t.clockRate)
		}
		if l.wanted.Swap(false) {
			t.requestKeyframeOf(l)
		}
	}
	return st
}

func (r *receiver) senderReport(p *rtcp.SenderReport, arrival time.Time) {
	st := r.streams[p.SSRC]
	if st == nil || st.rtx || p.NTPTime == 0 {
		return
	}
	st.layer.report(p, arrival)
}

// tick asks for what is missing and reports. It returns when to be called again.
func (r *receiver) tick(now time.Time) time.Time {
	r.missing = false
	rtt := r.session.RTT()
	var out []rtcp.Packet
	for _, t := range r.tracks {
		for _, l := range t.layers {
			r.due = l.receiver.Due(now, rtt, r.due[:0])
			if len(r.due) > 0 && t.nack && l.ssrc.Load() != 0 {
				out = append(out, &rtcp.TransportLayerNack{
					SenderSSRC: r.session.seal.ssrc, MediaSSRC: l.ssrc.Load(),
					Nacks: rtcp.NackPairsFromSequenceNumbers(r.due),
				})
			}
			l.publish(now)
			r.missing = r.missing || l.receiver.Missing()
		}
		t.choose(now)
	}
	if r.recorded && !now.Before(r.nextTWCC) {
		r.nextTWCC = now.Add(feedbackInterval)
		r.recorded = false
		out = append(out, r.recorder.BuildFeedbackPacket()...)
	}
	report := !now.Before(r.nextReport)
	if report {
		r.nextReport = now.Add(reportInterval)
	}
	if len(out) > 0 || report {
		r.session.sendFeedback(now, report, out...)
	}
	if r.missing {
		return now.Add(hurry)
	}
	return now.Add(min(feedbackInterval, publishInterval))
}

// sendFeedback sends feedback to a publisher: reduced-size where negotiated (RFC 5506),
// else in a compound that begins with a report. Reduced-size feedback goes apart from a
// report that is due: FFmpeg reads a NACK only if it is all that the packet holds.
func (s *Session) sendFeedback(now time.Time, report bool, packets ...rtcp.Packet) {
	if s.reducedSize && len(packets) > 0 {
		s.seal.rtcp(packets...)
		packets = nil
	}
	if report || len(packets) > 0 {
		rr := &rtcp.ReceiverReport{SSRC: s.seal.ssrc}
		if report {
			rr.Reports = s.receiver.reports(now)
		}
		s.seal.rtcp(append([]rtcp.Packet{rr, description(s.seal.ssrc, "sightline")}, packets...)...)
	}
}

func (r *receiver) reports(now time.Time) []rtcp.ReceptionReport {
	const maxReports = 31 // RFC 3550, section 6.4.2
	var out []rtcp.ReceptionReport
	for _, t := range r.tracks {
		for _, l := range t.layers {
			if ssrc := l.ssrc.Load(); ssrc != 0 && len(out) < maxReports {
				out = append(out, l.receptionReport(ssrc, now))
			}
		}
	}
	return out
}

// close ends the tracks. Their statistics are whole from then on.
func (r *receiver) close() {
	for _, t := range r.tracks {
		for _, l := range t.layers {
			if l.receiver != nil {
				l.nextPublish = time.Time{}
				l.publish(time.Now())
			}
		}
		t.close()
	}
}

// extensionIDs are a section's negotiated header extensions; 0: not negotiated.
type extensionIDs struct{ mid, rid, repaired, level, rotation, transportCC uint8 }

func newExtensionIDs(section *sdp.Section) extensionIDs {
	e := section.Extensions
	return extensionIDs{e[sdp.ExtensionMID], e[sdp.ExtensionRID], e[sdp.ExtensionRepairedRID], e[sdp.ExtensionAudioLevel], e[sdp.ExtensionVideoOrientation], e[sdp.ExtensionTransportCC]}
}

func (ids extensionIDs) read(h *rtp.Header, p *media.Packet) {
	if ids.level != 0 {
		if v := h.GetExtension(ids.level); len(v) == 1 {
			p.Level, p.Voice, p.HasLevel = v[0]&0x7f, v[0]&0x80 != 0, true
		}
	}
	if ids.rotation != 0 {
		if v := h.GetExtension(ids.rotation); len(v) == 1 {
			p.Rotation, p.HasRotation = v[0], true
		}
	}
}
