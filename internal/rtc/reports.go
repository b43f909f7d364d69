package rtc

import (
	"encoding/binary"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// receiveRTCP takes a compound packet of the peer. Bytes that are no RTCP end the
// compound; what was understood before counts. The peer's budget is spent by what is authentic
// alone: who forges its address must not keep its requests away.
func (s *Session) receiveRTCP(d datagram) {
	plain, ok := s.openRTCP(d)
	if !ok {
		return
	}
	if !s.rtcp.take(d.arrival, s.engine.config.MaxRTCP) {
		s.engine.limited.rtcp.Add(1)
		return
	}
	s.receiveReports(plain, d.arrival)
}

// receiveReports takes a compound packet that is authentic. A packet in it that can't be read is passed
// over, as its length says.
func (s *Session) receiveReports(plain []byte, arrival time.Time) {
	for len(plain) > 0 {
		var h rtcp.Header
		if h.Unmarshal(plain) != nil {
			return
		}
		n := 4 * (int(h.Length) + 1) // RFC 3550, section 6.4.1
		if n > len(plain) {
			return
		}
		if packets, err := rtcp.Unmarshal(plain[:n]); err == nil {
			s.receiveReport(packets[0], arrival)
		}
		plain = plain[n:]
	}
}

func (s *Session) receiveReport(p rtcp.Packet, arrival time.Time) {
	switch p := p.(type) {
	case *rtcp.SenderReport:
		if s.receiver != nil {
			s.receiver.senderReport(p, arrival)
		}
		s.reception(p.Reports, arrival)
	case *rtcp.ReceiverReport:
		s.reception(p.Reports, arrival)
	case *rtcp.TransportLayerNack:
		if t := s.sink(p.MediaSSRC); t != nil {
			t.resend(nackedSequences(p), arrival)
		}
	case *rtcp.PictureLossIndication:
		if t := s.sink(p.MediaSSRC); t != nil {
			t.requestKeyframe()
		}
	case *rtcp.FullIntraRequest:
		for _, e := range p.FIR {
			// A repeated command number is the same request (RFC 5104, section 4.3.1.1).
			if t := s.sink(e.SSRC); t != nil && t.newFIR(p.SenderSSRC, e.SequenceNumber) {
				t.requestKeyframe()
			}
		}
	}
	// BYE says nothing about the session (RFC 7675, section 5.2).
}

func (t *LocalTrack) newFIR(sender uint32, number uint8) bool {
	const maxSenders = 8
	if t.fir == nil || len(t.fir) >= maxSenders {
		t.fir = make(map[uint32]uint8)
	}
	last, known := t.fir[sender]
	t.fir[sender] = number
	return !known || last != number
}

func nackedSequences(p *rtcp.TransportLayerNack) []uint16 {
	var out []uint16
	for _, pair := range p.Nacks {
		pair.Range(func(q uint16) bool {
			out = append(out, q)
			return len(out) < maxNACKs
		})
		if len(out) >= maxNACKs {
			break
		}
	}
	return out
}

func (s *Session) reception(reports []rtcp.ReceptionReport, arrival time.Time) {
	for _, r := range reports {
		if t := s.sink(r.SSRC); t != nil {
			t.reported(r, arrival)
		}
	}
}

func (s *Session) sink(ssrc uint32) *LocalTrack {
	for _, t := range s.sinks {
		if t.section.SSRC == ssrc {
			return t
		}
	}
	return nil
}

// An opener checks and decrypts what a session receives. The session's goroutine owns it.
type opener struct {
	context *srtp.Context // nil before DTLS

	// The context keeps a replay window for every SSRC that authentic packets have had:
	// a client that makes up ever new ones must not fill the memory.
	media, reports map[uint32]struct{}
}

const (
	replayWindow = 1024 // packets; retransmissions on the same SSRC come late
	maxOpened    = 256  // SSRCs, of RTP and of RTCP
)

func (o *opener) open(k keyring) error {
	c, err := srtp.CreateContext(k.keys.RemoteMasterKey, k.keys.RemoteMasterSalt, k.profile,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(64))
	o.context, o.media, o.reports = c, make(map[uint32]struct{}), make(map[uint32]struct{})
	return err
}

// rtp decrypts a packet in place; false: it has no valid tag, was there before, or has one
// SSRC too many.
func (o *opener) rtp(b []byte, h *rtp.Header) ([]byte, bool) {
	if len(b) < 12 || !admits(o.media, b[8:]) {
		return nil, false
	}
	plain, err := o.context.DecryptRTP(b[:0], b, h)
	if err == nil {
		o.media[h.SSRC] = struct{}{}
	}
	return plain, err == nil
}

// admits tells whether the SSRC at the beginning of b is a known one, or has room.
func admits(known map[uint32]struct{}, b []byte) bool {
	_, ok := known[binary.BigEndian.Uint32(b)]
	return ok || len(known) < maxOpened
}

func (s *Session) openRTCP(d datagram) ([]byte, bool) {
	// Before DTLS nothing is authentic.
	if s.opener.context == nil || len(d.buf) < 8 || !admits(s.opener.reports, d.buf[4:]) {
		s.discarded.Add(1)
		return nil, false
	}
	plain, err := s.opener.context.DecryptRTCP(nil, d.buf, nil)
	if err != nil {
		s.discarded.Add(1)
		return nil, false
	}
	s.opener.reports[binary.BigEndian.Uint32(d.buf[4:])] = struct{}{}
	s.lastMedia.set(d.arrival)
	return plain, true
}
