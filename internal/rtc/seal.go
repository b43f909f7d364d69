package rtc

import (
	"encoding/binary"
	"sync"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// sealed buffers hold a burst to one viewer: what one UDP GSO call takes.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, maxSegmented); return &b }}

const sealOverhead = 32 // of SRTP and SRTCP: tag, index

// A sealer protects what a session sends (RFC 3711). It is safe for concurrent use.
type sealer struct {
	session *Session
	ssrc    uint32 // of our own reports

	mu      sync.Mutex // guards what follows
	context *srtp.Context
	header  rtp.Header // scratch
	burst   burst
}

func (s *sealer) open(k keyring) error {
	c, err := srtp.CreateContext(k.keys.LocalMasterKey, k.keys.LocalMasterSalt, k.profile)
	s.mu.Lock()
	s.context = c
	s.mu.Unlock()
	return err
}

func (s *sealer) close() {
	s.mu.Lock()
	s.context = nil
	s.mu.Unlock()
}

// A burst is sealed packets on their way out: runs of one size go out in one system call.
type burst struct {
	sealer *sealer
	memory *[]byte
	buf    []byte
	size   int  // of the run's packets; 0: no run
	closed bool // the run's last packet was shorter
	ok     bool
}

// begin starts a burst; the sealer's lock is held until end. It returns false while the
// session can't send.
func (s *sealer) begin() (*burst, bool) {
	s.mu.Lock()
	if s.context == nil || s.session.path.Load() == nil {
		s.mu.Unlock()
		return nil, false
	}
	memory := buffers.Get().(*[]byte)
	s.burst = burst{sealer: s, memory: memory, buf: (*memory)[:0], ok: true}
	return &s.burst, true
}

// space returns where the next packet of at most n bytes is to be written in clear; it
// gives room for the tag.
func (b *burst) space(n int) []byte {
	if len(b.buf)+n+sealOverhead > cap(b.buf) {
		b.flush()
	}
	return b.buf[len(b.buf) : len(b.buf) : len(b.buf)+n+sealOverhead]
}

// rtp seals the packet that was written into the space.
func (b *burst) rtp(plain []byte) {
	sealed, err := b.sealer.context.EncryptRTP(plain[:0], plain, &b.sealer.header)
	if err != nil {
		b.ok = false
		return
	}
	b.append(sealed)
}

func (b *burst) append(sealed []byte) {
	n := len(sealed)
	if b.size != 0 && (b.closed || n > b.size || len(b.buf)/b.size >= maxSegments) {
		// The packet starts a new run. It lies behind the old one: send that, move it down.
		old := len(b.buf)
		b.flush()
		copy(b.buf[:n], b.buf[old:old+n:cap(b.buf)])
	}
	if b.size == 0 {
		b.size = n
	}
	b.closed = n < b.size
	b.buf = b.buf[:len(b.buf)+n]
}

func (b *burst) flush() {
	if len(b.buf) > 0 && !b.sealer.session.send(b.buf, b.size) {
		b.ok = false
	}
	b.buf, b.size, b.closed = b.buf[:0], 0, false
}

// end sends what is left; false if something could not be sent.
func (b *burst) end() bool {
	b.flush()
	ok := b.ok
	buffers.Put(b.memory)
	s := b.sealer
	*b = burst{}
	s.mu.Unlock()
	return ok
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
	if s.context == nil {
		return
	}
	sealed, err := s.context.EncryptRTCP(nil, plain, nil)
	if err == nil {
		s.session.send(sealed, len(sealed))
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
