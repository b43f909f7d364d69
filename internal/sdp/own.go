package sdp

import (
	"slices"
	"strconv"
	"strings"

	"sightline/internal/media"
)

// An OwnRequest says what an offer of the gateway's own shall say.
type OwnRequest struct {
	Kinds []media.Kind // to receive, one section for each; each kind once

	Ufrag, Pwd  string
	Fingerprint string   // "sha-256 AA:BB:…"
	Candidates  []string // values of a=candidate
	RTCPMuxOnly bool
}

// An OwnOffer is an offer of the gateway's own: to receive, by WHEP, what another gateway
// sends. It is immutable.
type OwnOffer struct {
	SDP []byte

	sections []ownSection
}

type ownSection struct {
	kind    media.Kind
	mid     string
	formats []offeredFormat
}

// encodings are what the gateway forwards, as a viewer who takes all of it offers them: the
// more of a codec's profiles are listed, the nearer the answer's first one is to what is live.
var encodings = map[media.Kind][]struct{ rtpmap, fmtp string }{
	media.Audio: {{"opus/48000/2", "minptime=10;useinbandfec=1"}},
	media.Video: {
		{"H264/90000", h264Fmtp + "42e01f"}, // Constrained Baseline
		{"H264/90000", h264Fmtp + "42001f"}, // Baseline
		{"H264/90000", h264Fmtp + "4d001f"}, // Main
		{"H264/90000", h264Fmtp + "640c1f"}, // Constrained High
		{"H264/90000", h264Fmtp + "64001f"}, // High
		{"VP8/90000", ""},
		{"VP9/90000", "profile-id=0"}, {"VP9/90000", "profile-id=1"}, {"VP9/90000", "profile-id=2"}, {"VP9/90000", "profile-id=3"},
		{"AV1/90000", "profile=0"}, {"AV1/90000", "profile=1"}, {"AV1/90000", "profile=2"},
		{"H265/90000", "profile-id=1"}, {"H265/90000", "profile-id=2"}, {"H265/90000", "profile-id=4"}, // Main, Main 10, range extensions
	},
}

const h264Fmtp = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id="

// ownExtensions have these ids in all sections.
var ownExtensions = []extension{{1, "", ExtensionMID}, {2, "", ExtensionAudioLevel}, {3, "", ExtensionVideoOrientation}}

// NewOffer writes an offer.
func NewOffer(r OwnRequest) *OwnOffer {
	o := &OwnOffer{}
	types := payloadTypes()
	for i, kind := range r.Kinds {
		s := ownSection{kind: kind, mid: strconv.Itoa(i)}
		for _, e := range encodings[kind] {
			s.formats = append(s.formats, ownFormat(kind, e.rtpmap, e.fmtp, types))
		}
		o.sections = append(o.sections, s)
	}
	o.write(r)
	return o
}

// payloadTypes returns what gives out the dynamic payload types, then those that RFC 3551,
// section 3, leaves unassigned and RTCP does not need (RFC 5761, section 4).
func payloadTypes() func() uint8 {
	next := uint8(96)
	return func() uint8 {
		pt := next
		if next++; next == 128 {
			next = 35
		}
		return pt
	}
}

func ownFormat(kind media.Kind, rtpmap, fmtp string, next func() uint8) offeredFormat {
	name, rest, _ := strings.Cut(rtpmap, "/")
	parameters, _ := parseParameters(fmtp)
	codec, _, _ := parseCodec(kind, name, rest, parameters, true)
	f := offeredFormat{Format: Format{PayloadType: next(), Codec: codec, NACK: true}, name: name, rtpmap: rtpmap, fmtp: fmtp}
	if kind == media.Video {
		f.RTX, f.PLI, f.FIR = next(), true, true
	}
	return f
}

func (o *OwnOffer) write(r OwnRequest) {
	var w writer
	var mids []string
	for _, s := range o.sections {
		mids = append(mids, s.mid)
	}
	w.line("v=0")
	w.line("o=- ", sessionID(r.Ufrag, r.Pwd), " 1 IN IP4 127.0.0.1")
	w.line("s=-")
	w.line("t=0 0")
	w.line("a=group:BUNDLE ", strings.Join(mids, " "))
	w.line("a=ice-options:ice2")
	w.line("a=fingerprint:", r.Fingerprint)
	for i, s := range o.sections {
		w.media(string(s.kind), "UDP/TLS/RTP/SAVPF", s.formats)
		w.transport(s.mid, r.Ufrag, r.Pwd, "actpass")
		w.line("a=recvonly")
		w.line("a=rtcp-mux")
		if r.RTCPMuxOnly {
			w.line("a=rtcp-mux-only")
		}
		w.line("a=rtcp-rsize")
		for _, e := range ownExtensions {
			if knows(e.uri, s.kind, false) {
				w.line("a=extmap:", strconv.Itoa(int(e.id)), " ", e.uri)
			}
		}
		for _, f := range s.formats {
			f.write(&w)
		}
		if i == 0 {
			w.candidates(r.Candidates)
		}
	}
	o.SDP = []byte(w.text.String())
}

// Accept reads the answer. What is accepted is as in the answer to a publisher: its
// DTLSClient says that the gateway sends the ClientHello, because the other side waits for
// that. The error is a fault: BadRequest for what is malformed, TooLarge above 64 KiB, and
// Unprocessable for what doesn't fit the offer, or accepts nothing of it.
func (o *OwnOffer) Accept(body []byte) (*Answer, error) {
	d, err := Parse(body)
	if err != nil {
		return nil, err
	}
	if len(d.Media) != len(o.sections) {
		return nil, unsupported("the answer has %d m= sections, where the offer has %d", len(d.Media), len(o.sections))
	}
	a := &Answer{SDP: body, Remote: d.Transport, DTLSClient: d.Setup == "passive"}
	ssrcs := make(map[uint32]bool)
	for i := range d.Media {
		m := &d.Media[i]
		if m.disabled {
			continue
		}
		s, err := o.sections[i].accept(m, ssrcs)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(d.order, i) {
			return nil, unsupported("section %s of the answer is not in its BUNDLE group", m.MID)
		}
		a.Sections = append(a.Sections, s)
	}
	switch {
	case len(a.Sections) == 0:
		return nil, unsupported("the answer accepts no section of the offer")
	case len(d.Fingerprints) == 0:
		return nil, unsupported("the answer has no a=fingerprint of a known hash; use sha-256")
	case d.Setup != "active" && d.Setup != "passive":
		return nil, unsupported("the answer's a=setup must be active or passive, got %s", quote(d.Setup))
	}
	return a, nil
}

// accept reads a section of the answer that is not rejected.
func (s *ownSection) accept(m *Media, ssrcs map[uint32]bool) (Section, error) {
	out := Section{Kind: m.Kind, MID: m.MID, Extensions: make(map[string]uint8), ReducedSize: has(m.attributes, "rtcp-rsize")}
	switch {
	case m.Kind != s.kind || m.MID != s.mid:
		return out, unsupported("the answer has a section m=%s with a=mid:%s where the offer has m=%s with a=mid:%s", m.name, m.MID, s.kind, s.mid)
	case m.direction != "sendonly" && m.direction != "sendrecv":
		return out, unsupported("section %s of the answer is a=%s; the offer asks for one that is sent", m.MID, m.direction)
	case !has(m.attributes, "rtcp-mux"):
		return out, unsupported("section %s of the answer has no a=rtcp-mux", m.MID)
	case !isRTP(m.protocol):
		return out, unsupported("section %s of the answer: protocol %s is not known; use UDP/TLS/RTP/SAVPF", m.MID, quote(m.protocol))
	}
	for _, f := range m.offeredFormats(true) {
		i := slices.IndexFunc(s.formats, func(own offeredFormat) bool {
			return own.PayloadType == f.PayloadType && own.Codec.Is(f.Codec.Name)
		})
		if i < 0 {
			continue
		}
		if f.RTX != s.formats[i].RTX || !f.NACK {
			f.RTX = 0
		}
		f.TransportCC = false
		out.Formats = append(out.Formats, f.Format)
	}
	if len(out.Formats) == 0 {
		return out, unsupported("section %s of the answer has no payload type of the offer", m.MID)
	}
	for _, e := range m.extensions(true, nil) {
		if slices.ContainsFunc(ownExtensions, func(own extension) bool { return own.id == e.id && own.uri == e.uri }) {
			out.Extensions[e.uri] = e.id
		}
	}
	var err error
	out.SSRCs, out.RTX, err = m.ssrcs(ssrcs)
	return out, err
}
