// Package rtpstream holds what is true of RTP and RTCP on the wire, whoever sends it:
// telling datagrams apart, header extensions, numbering, loss and its repair. It is pure:
// it reads no clock and owns no goroutine.
package rtpstream

// A Class says which protocol a datagram of a session speaks.
type Class uint8

// The classes of RFC 7983, section 7, with RTP and RTCP told apart as in RFC 5761,
// section 4.
const (
	Unknown Class = iota
	STUN
	DTLS
	RTP
	RTCP
)

// Classify tells by the first bytes what a datagram is.
func Classify(b []byte) Class {
	if len(b) < 2 {
		return Unknown
	}
	switch first := b[0]; {
	case first <= 3:
		return STUN
	case first >= 20 && first <= 63:
		return DTLS
	case first >= 128 && first <= 191:
		if b[1] >= 192 && b[1] <= 223 {
			return RTCP
		}
		return RTP
	default:
		return Unknown
	}
}
