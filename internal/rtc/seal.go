package rtc

import (
	"encoding/binary"
	"sync"

	"github.com/pion/rtcp"
	"github.com/pion/srtp/v3"

	"sightline/internal/seal"
)

// A sealer protects what a session sends (RFC 3711). It is safe for concurrent use.
type sealer struct {
	session *Session
	ssrc    uint32 // of our own reports

	mu      sync.Mutex    // guards what follows, and the rollover counters of the session's tracks
	opened  bool          // false before DTLS and after the end
	rtp     seal.Sealer   // of opened ones, as what follows
	reports *srtp.Context // SRTCP
}

func (s *sealer) open(k keyring) error {
	rtp, err := seal.New(k.profile, k.keys.LocalMasterKey, k.keys.LocalMasterSalt)
	if err != nil {
		return err
	}
	reports, err := srtp.CreateContext(k.keys.LocalMasterKey, k.keys.LocalMasterSalt, k.profile)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.opened, s.rtp, s.reports = true, *rtp, reports
	s.mu.Unlock()
	return nil
}

func (s *sealer) close() {
	s.mu.Lock()
	s.opened, s.rtp, s.reports = false, seal.Sealer{}, nil
	s.mu.Unlock()
}

// rtcp seals and sends packets as one compound.
func (s *sealer) rtcp(packets ...rtcp.Packet) {
	plain, err := rtcp.Marshal(packets)
	if err != nil {
		s.session.engine.log.Debug("rtcp marshal", "error", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.opened {
		return
	}
	sealed, err := s.reports.EncryptRTCP(nil, plain, nil)
	if err == nil {
		s.session.send(sealed)
	}
}

// putHeader appends an RTP header (RFC 3550, section 5.1) with one-byte extensions (RFC
// 8285, section 4.2).
func putHeader(b []byte, marker bool, pt uint8, sequence uint16, timestamp, ssrc uint32, extensions []extension) []byte {
	first, second := byte(0x80), pt
	if len(extensions) > 0 {
		first |= 0x10
	}
	if marker {
		second |= 0x80
	}
	b = append(b, first, second)
	b = binary.BigEndian.AppendUint16(b, sequence)
	b = binary.BigEndian.AppendUint32(b, timestamp)
	b = binary.BigEndian.AppendUint32(b, ssrc)
	if len(extensions) == 0 {
		return b
	}
	words := (len(extensions)*2 + 3) / 4
	b = append(b, 0xBE, 0xDE, 0, byte(words))
	for _, e := range extensions {
		b = append(b, e.id<<4, e.value)
	}
	for i := len(extensions) * 2; i%4 != 0; i++ {
		b = append(b, 0)
	}
	return b
}

// An extension is a header extension of one byte of data.
type extension struct{ id, value byte }
