package rtc

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

// The content types of DTLS records (RFC 6347, section 4.1).
const (
	changeCipherSpec = 20
	alertRecord      = 21
	handshakeRecord  = 22
	applicationData  = 23
)

const (
	recordHeader   = 13 // bytes: type, version, epoch, sequence, length (RFC 6347, section 4.1)
	fragmentHeader = 12 // bytes: type, length, sequence, offset and length of the fragment (section 4.2.2)

	// The messages of a handshake: a certificate of WebRTC has 300 bytes, one of RSA-4096
	// and a chain some thousand; none of its flights goes beyond message 8.
	maxMessage         = 16 << 10 // bytes
	maxHandshake       = 16
	maxSealedHandshake = 256 // bytes of a record: Finished, sealed by any cipher
)

// A recordFilter decides which records of a session's address DTLS may see. Whoever knows
// that address can forge what isn't protected, and RFC 6347, section 4.1.2.7, wants such
// records dropped silently; pion/dtls answers some of them with a fatal alert.
//
// In the clear (epoch 0) only what makes up a handshake passes, and only until there are
// keys. Alerts in the clear never do: if the client has given up, it repeats nothing, and
// the setup's timeout ends the session. What is protected passes, DTLS will check it.
type recordFilter struct {
	keyed   atomic.Bool   // the peer's Finished was right: nothing in the clear counts any more
	alert   atomic.Uint32 // the last alert in the clear, level and description; 0: none
	dropped *atomic.Uint64
}

// pass keeps of a datagram the records that DTLS may see, in place.
func (f *recordFilter) pass(datagram []byte) []byte {
	kept := datagram[:0]
	for rest := datagram; len(rest) > 0; {
		record, more, ok := nextRecord(rest)
		if !ok {
			f.dropped.Add(1)
			break
		}
		if f.admits(record) {
			kept = append(kept, record...)
		} else {
			f.dropped.Add(1)
		}
		rest = more
	}
	return kept
}

// nextRecord cuts the first record off a datagram.
func nextRecord(b []byte) (record, rest []byte, ok bool) {
	if len(b) <= recordHeader || b[1] != 0xfe || b[2] != 0xff && b[2] != 0xfd { // DTLS 1.0, 1.2
		return nil, nil, false
	}
	n := recordHeader + int(binary.BigEndian.Uint16(b[11:]))
	if n == recordHeader || n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

func recordEpoch(record []byte) uint16 { return binary.BigEndian.Uint16(record[3:]) }

func (f *recordFilter) admits(record []byte) bool {
	kind, body := record[0], record[recordHeader:]
	if recordEpoch(record) != 0 {
		// Repeated for as long as the session lives, these are kept by DTLS: no more than
		// Finished is due.
		return kind != handshakeRecord || len(body) <= maxSealedHandshake
	}
	switch {
	case kind == alertRecord:
		if len(body) == 2 && !f.keyed.Load() {
			f.alert.Store(uint32(binary.BigEndian.Uint16(body)))
		}
		return false
	case f.keyed.Load():
		return false
	case kind == changeCipherSpec:
		return len(body) == 1 && body[0] == 1
	case kind == handshakeRecord:
		return areMessages(body)
	}
	return false
}

// areMessages tells whether a record's body is whole fragments of messages that a handshake
// may have (RFC 6347, section 4.2.2).
func areMessages(b []byte) bool {
	for len(b) > 0 {
		if len(b) < fragmentHeader {
			return false
		}
		length := uint24(b[1:])
		sequence := binary.BigEndian.Uint16(b[4:])
		offset, n := uint24(b[6:]), uint24(b[9:])
		if length > maxMessage || sequence >= maxHandshake || offset+n > length || fragmentHeader+n > len(b) {
			return false
		}
		b = b[fragmentHeader+n:]
	}
	return true
}

func uint24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

// sent takes note of what DTLS sends. A server protects nothing before it has verified the
// client's Finished; a client does, and finished says it there.
func (f *recordFilter) sent(datagram []byte) {
	for record, rest, ok := nextRecord(datagram); ok; record, rest, ok = nextRecord(rest) {
		if recordEpoch(record) != 0 {
			f.keyed.Store(true)
		}
	}
}

// finished says that the handshake is over.
func (f *recordFilter) finished() { f.keyed.Store(true) }

// complaint says which alert came in the clear, for whom a timeout puzzles; nil: none.
func (f *recordFilter) complaint() error {
	a := f.alert.Load()
	if a == 0 {
		return nil
	}
	// RFC 8446, section 6, lists the numbers.
	return fmt.Errorf("an unprotected DTLS alert came, level %d, description %d: the client has given up the handshake, or somebody forged that", a>>8, a&0xff)
}
