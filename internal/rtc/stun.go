package rtc

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/pion/stun/v4"
)

// peekSTUN reads of a STUN message what is needed to find its receiver (RFC 8489,
// section 5): whether it is a request and its transaction. Indications and everything
// but Binding are not taken.
func peekSTUN(b []byte) (request bool, id transactionID, ok bool) {
	if len(b) < 20 || binary.BigEndian.Uint32(b[4:]) != 0x2112A442 || int(binary.BigEndian.Uint16(b[2:]))+20 != len(b) {
		return false, id, false
	}
	copy(id[:], b[8:20])
	switch binary.BigEndian.Uint16(b) {
	case 0x0001:
		return true, id, true
	case 0x0101, 0x0111:
		return false, id, true
	default:
		return false, id, false
	}
}

// isRequest tells whether it is a Binding request.
func isRequest(b []byte) bool {
	request, _, _ := peekSTUN(b)
	return request
}

// peekUfrag returns the local half of a request's USERNAME: the part before the colon
// (RFC 8445, section 7.2.2). It is a part of b.
func peekUfrag(b []byte) ([]byte, bool) {
	const username = 0x0006
	for at := 20; at+4 <= len(b); {
		typ, n := binary.BigEndian.Uint16(b[at:]), int(binary.BigEndian.Uint16(b[at+2:]))
		at += 4
		if at+n > len(b) {
			return nil, false
		}
		if typ == username {
			local, _, ok := bytes.Cut(b[at:at+n], []byte{':'})
			return local, ok && len(local) > 0
		}
		at += (n + 3) &^ 3
	}
	return nil, false
}

// A tombstone is what is left of a session that the gateway has ended: enough to tell
// its peer that consent is revoked.
type tombstone struct {
	pwd     string
	expires time.Time
}

// revoke answers a check for an ended session with 403 (RFC 7675, section 5.2). Only a
// request with the right integrity gets it, and without a reason phrase it is smaller than
// any such request.
func (s *socket) revoke(t tombstone, d datagram, local netip.Addr) {
	m := &stun.Message{Raw: d.buf}
	if m.Decode() != nil {
		return
	}
	integrity := stun.NewShortTermIntegrity(t.pwd)
	if integrity.Check(m) != nil {
		return
	}
	reply, err := stun.Build(m, stun.BindingError, stun.ErrorCodeAttribute{Code: stun.CodeForbidden}, integrity, stun.Fingerprint)
	if err != nil {
		return
	}
	s.send(reply.Raw, s.destination(d.remote, local))
}

// A check is a consent check of ours that waits for its response.
type check struct {
	id   transactionID
	sent time.Time
	pwd  string // the peer's, which signs the response
}

// buildCheck makes a consent check: an ordinary Binding request (RFC 7675, section 5.1).
func buildCheck(username, remotePwd string, controlling bool, tieBreaker uint64) (*stun.Message, error) {
	role := stun.AttrICEControlled
	if controlling {
		role = stun.AttrICEControlling
	}
	const priority = 110<<24 | 65535<<8 | 255 // of a peer-reflexive candidate (RFC 8445, section 7.1.1)
	return stun.Build(stun.BindingRequest, stun.TransactionID,
		stun.NewUsername(username),
		stun.RawAttribute{Type: role, Length: 8, Value: binary.BigEndian.AppendUint64(nil, tieBreaker)},
		stun.RawAttribute{Type: stun.AttrPriority, Length: 4, Value: binary.BigEndian.AppendUint32(nil, priority)},
		stun.NewShortTermIntegrity(remotePwd), stun.Fingerprint)
}
