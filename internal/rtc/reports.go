package rtc

import (
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/srtp/v3"
)

// receiveRTCP takes a compound packet of the peer. Bytes that are no RTCP end the
// compound; what was understood before counts.
func (s *Session) receiveRTCP(d datagram) {
	plain, ok := s.openRTCP(d)
	if !ok {
		return
	}
	packets, err := rtcp.Unmarshal(plain)
	if err != nil {
		return
	}
	for _, p := range packets {
		switch p := p.(type) {
		case *rtcp.SenderReport:
			if s.receiver != nil {
				s.receiver.senderReport(p, d.arrival)
			}
			s.reception(p.Reports, d.arrival)
		case *rtcp.ReceiverReport:
			s.reception(p.Reports, d.arrival)
		case *rtcp.TransportLayerNack:
			if t := s.sink(p.MediaSSRC); t != nil {
				t.resend(nackedSequences(p), d.arrival)
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
type opener struct{ context *srtp.Context }

const replayWindow = 1024 // packets; retransmissions on the same SSRC come late

func (o *opener) open(k keyring) error {
	c, err := srtp.CreateContext(k.keys.RemoteMasterKey, k.keys.RemoteMasterSalt, k.profile,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(64))
	o.context = c
	return err
}

func (s *Session) openRTCP(d datagram) ([]byte, bool) {
	if s.opener.context == nil {
		return nil, false // before DTLS: nothing is authentic
	}
	plain, err := s.opener.context.DecryptRTCP(nil, d.buf, nil)
	if err != nil {
		s.discarded.Add(1)
		return nil, false
	}
	s.lastMedia.Store(d.arrival.UnixNano())
	return plain, true
}
