// Package sdp reads the offers of WHIP and WHEP clients and writes the gateway's answers
// (RFC 8866, RFC 9429, RFC 9143, RFC 9725, section 4.4), and the ICE fragments of PATCH
// (RFC 8840). It is pure: no sockets, no clocks.
//
// Reading is strict about form and lenient about what is only unknown: a malformed line
// is a fault.BadRequest, an attribute nobody knows is passed over, and what is well formed
// but can't be served is a fault.Unprocessable.
package sdp

import (
	"net/netip"

	"sightline/internal/media"
)

// An Offer is a parsed offer. It is immutable.
type Offer struct {
	// Transport is that of the offerer-tagged section, the first of the bundle (RFC 9143,
	// section 7.2). If the answer rejects that section, Answer.Remote is another one.
	Transport
	SessionName string // s=
	Media       []Media

	bundles [][]string // the mids of each a=group:BUNDLE
	order   []int      // indices of the sections in the bundle, in its order, without disabled ones
	iceLite bool
}

// A Transport is what an offer says about reaching its sender. A client may say it for
// each section, before it knows that all go over one path.
type Transport struct {
	Ufrag, Pwd      string
	Candidates      []string // values of a=candidate, without the name, in order
	EndOfCandidates bool
	Fingerprints    []Fingerprint // by hash functions that the gateway knows
	Setup           string        // actpass, active or passive
	ICEOptions      []string
}

// A Media is one m= section of an offer.
type Media struct {
	Kind media.Kind // "" for what is neither audio nor video
	MID  string

	name       string // the media type as written
	protocol   string // the transport protocol as written, e.g. "UDP/TLS/RTP/SAVPF"
	formats    []string
	direction  string // sendrecv, sendonly, recvonly or inactive
	bundleOnly bool
	disabled   bool // port 0 and not bundle-only: the offerer doesn't want it (RFC 3264, section 6)
	attributes []attribute
	transport  Transport
}

// A Fingerprint is a certificate's hash (RFC 8122).
type Fingerprint struct {
	Hash  string // lower case: "sha-256"
	Value []byte
}

// A Request is what an answer shall say.
type Request struct {
	Publish bool // WHIP: receive what is offered; else WHEP: send

	// Send (WHEP) holds the codec that is live now for each kind that shall be sent. An
	// offered kind that is not in it is rejected with port 0, or inactive where it is the
	// offerer-tagged one. The answer keeps all other common codecs of a section that is sent.
	Send map[media.Kind]media.Codec

	Ufrag, Pwd  string
	Fingerprint string   // "sha-256 AA:BB:…"
	Candidates  []string // values of a=candidate
	Stream      string   // WHEP: msid stream id of all sections
	CNAME       string   // WHEP
	RTCPMuxOnly bool
	SSRC        func() uint32 // WHEP: returns a new SSRC at each call
}

// An Answer is a negotiated answer.
type Answer struct {
	SDP        []byte
	DTLSClient bool      // setup:active: the gateway sends the ClientHello
	ICEOptions []string  // as answered; a restart repeats them
	Sections   []Section // those with media, in the offer's order

	// Remote is the transport that all sections share: that of the first accepted section
	// of the bundle. It differs from the offer's own where the offerer-tagged section had to be
	// rejected and the client has other credentials for each section (aiortc).
	Remote Transport

	group string // the value of a=group
	tag   string // the answerer-tagged section, as a restart repeats it: its m= and a=mid lines
}

// A Section is an accepted m= section that is not inactive.
type Section struct {
	Kind    media.Kind
	MID     string
	Formats []Format // in the order of the answer
	// Extensions that both sides know: id by URI (RFC 8285).
	Extensions  map[string]uint8
	ReducedSize bool // a=rtcp-rsize

	// Publish: what the offer says of its SSRCs; both may be empty (OBS simulcast, FFmpeg's
	// RTX only in the group).
	SSRCs []uint32          // a=ssrc, in order, without those of RTX
	RTX   map[uint32]uint32 // RTX SSRC → primary SSRC (a=ssrc-group:FID)
	RIDs  []string          // simulcast layers accepted, in the offer's order of a=simulcast

	// Play: ours.
	SSRC, RTXSSRC uint32 // RTXSSRC is 0 if no format has RTX
}

// A Format is an accepted payload type.
type Format struct {
	PayloadType uint8
	Codec       media.Codec
	RTX         uint8 // the payload type that retransmits it; 0: none
	NACK        bool
	PLI, FIR    bool
	TransportCC bool
}

// The header extensions that the gateway knows.
const (
	ExtensionMID              = "urn:ietf:params:rtp-hdrext:sdes:mid"                                       // RFC 9143, section 15
	ExtensionRID              = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"                             // RFC 8852
	ExtensionRepairedRID      = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"                    // RFC 8852
	ExtensionAudioLevel       = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"                               // RFC 6464
	ExtensionVideoOrientation = "urn:3gpp:video-orientation"                                                // 3GPP TS 26.114, section 7.4.5
	ExtensionTransportCC      = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01" // draft-holmer-rmcat-transport-wide-cc-extensions-01
)

// A Fragment is the body of a PATCH (RFC 8840, section 9).
type Fragment struct {
	Ufrag, Pwd      string
	Candidates      []string // of sections that the offer has; others are left out
	EndOfCandidates bool     // of the offerer-tagged section, or of all
}

// A Candidate is what the gateway reads of a=candidate (RFC 8839, section 5.1).
type Candidate struct {
	Transport string // lower case: "udp" or "tcp"
	Addr      netip.AddrPort
	Type      string // host, srflx, prflx, relay
	TCPType   string // active, passive, so; "" for UDP
}
