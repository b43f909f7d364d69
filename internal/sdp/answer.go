package sdp

import (
	"slices"
	"strings"

	"sightline/internal/fault"
	"sightline/internal/media"
)

// A negotiation makes an answer section by section.
type negotiation struct {
	offer   *Offer
	request Request

	payloadTypes map[uint8]bool    // of accepted sections: unique in the bundle (RFC 9143, section 9.1)
	extensions   map[uint8]string  // URIs by id, of accepted sections
	ssrcs        map[uint32]bool   // of accepted sections, or ours
	accepted     map[int]*accepted // by the section's index; also one that is kept inactive
}

// accepted is what the answer says in one section.
type accepted struct {
	Section
	inactive   bool // nothing is sent, but the bundle's transport stands here
	formats    []offeredFormat
	extensions []extension
	rids       []rid
}

// Answer negotiates. The error is a fault.Unprocessable that says what does not fit; where
// no codec is common to both sides it has the fields "offered" and "available", lists of
// names.
//
// A publisher's offer is accepted in all of its sections or not at all (RFC 9725, section
// 4.4.3). A viewer's sections of a kind that isn't sent are rejected with port 0, as long
// as one is left; but the offerer-tagged one is kept, inactive, if the gateway knows a codec
// that it offers.
func (o *Offer) Answer(r Request) (*Answer, error) {
	if err := o.check(r.Publish); err != nil {
		return nil, err
	}
	n := &negotiation{
		offer: o, request: r,
		payloadTypes: make(map[uint8]bool),
		extensions:   make(map[uint8]string),
		ssrcs:        make(map[uint32]bool),
		accepted:     make(map[int]*accepted),
	}
	for i := range o.Media {
		m := &o.Media[i]
		if m.disabled || m.Kind == "" {
			continue
		}
		a, err := n.section(m)
		if err != nil {
			return nil, err
		}
		if a != nil {
			n.accepted[i] = a
		}
	}
	if len(n.accepted) == 0 {
		return nil, n.nothingCommon()
	}
	n.keepTagged()
	return n.answer(), nil
}

// keepTagged keeps a viewer's offerer-tagged section inactive where nothing is sent in it. It could
// be rejected (RFC 9143, section 7.3.1), but with the policy max-bundle Chromium has made that
// section's transport the only one, and refuses an answer that takes it away. The sections that are
// sent come first: this one takes no payload type and no extension id from them. One without a codec
// that the gateway knows must be rejected (RFC 3264, section 6).
func (n *negotiation) keepTagged() {
	tagged := n.offer.order[0]
	m := &n.offer.Media[tagged]
	if n.accepted[tagged] != nil || m.Kind == "" {
		return
	}
	if formats := n.formats(m); len(formats) > 0 {
		a := n.accept(m, formats[:1]) // no other one will ever be needed
		a.inactive = true
		n.accepted[tagged] = a
	}
}

// section negotiates one audio or video section; nil if it is rejected.
func (n *negotiation) section(m *Media) (*accepted, error) {
	r := n.request
	live, wanted := r.Send[m.Kind]
	if !r.Publish && !wanted {
		return nil, nil
	}
	formats := n.formats(m)
	if !r.Publish {
		var ok bool
		if formats, ok = liveFirst(live, formats); !ok {
			return nil, nil
		}
	}
	if len(formats) == 0 {
		return nil, n.unknownCodecs(m)
	}
	a := n.accept(m, formats)
	if !r.Publish {
		n.number(a)
		return a, nil
	}
	if _, ok := a.Extensions[ExtensionRID]; ok {
		a.rids = m.simulcast(formats)
	}
	for _, r := range a.rids {
		a.RIDs = append(a.RIDs, r.id)
	}
	var err error
	a.SSRCs, a.RTX, err = m.ssrcs(n.ssrcs)
	return a, err
}

// formats are those of a section that the gateway knows and no other section has.
func (n *negotiation) formats(m *Media) []offeredFormat {
	if !isRTP(m.protocol) {
		return nil
	}
	return slices.DeleteFunc(m.offeredFormats(n.request.Publish), func(f offeredFormat) bool { return n.payloadTypes[f.PayloadType] })
}

// accept takes formats of a section, and the header extensions that both sides know.
func (n *negotiation) accept(m *Media, formats []offeredFormat) *accepted {
	a := &accepted{Section: Section{
		Kind: m.Kind, MID: m.MID,
		Extensions:  make(map[string]uint8),
		ReducedSize: has(m.attributes, "rtcp-rsize"),
	}}
	a.extensions = m.extensions(n.request.Publish, n.extensions)
	n.settleTransportCC(a, formats)
	for _, e := range a.extensions {
		n.extensions[e.id] = e.uri
		a.Extensions[e.uri] = e.id
	}
	for i := range formats {
		f := &formats[i]
		n.payloadTypes[f.PayloadType] = true
		if f.RTX != 0 && (n.payloadTypes[f.RTX] || !f.NACK) {
			f.RTX = 0
		}
		if f.RTX != 0 {
			n.payloadTypes[f.RTX] = true
		}
		a.Formats = append(a.Formats, f.Format)
	}
	a.formats = formats
	return a
}

// settleTransportCC takes transport-wide feedback only if the section offers both halves of
// it, the header extension and the RTCP message; GStreamer offers the message alone.
func (n *negotiation) settleTransportCC(a *accepted, formats []offeredFormat) {
	extended := slices.ContainsFunc(a.extensions, func(e extension) bool { return e.uri == ExtensionTransportCC })
	reported := slices.ContainsFunc(formats, func(f offeredFormat) bool { return f.TransportCC })
	if extended && reported {
		return
	}
	a.extensions = slices.DeleteFunc(a.extensions, func(e extension) bool { return e.uri == ExtensionTransportCC })
	for i := range formats {
		formats[i].TransportCC = false
	}
}

// number gives a section that is sent its SSRCs.
func (n *negotiation) number(a *accepted) {
	a.SSRC = n.newSSRC()
	if slices.ContainsFunc(a.Formats, func(f Format) bool { return f.RTX != 0 }) {
		a.RTXSSRC = n.newSSRC()
	}
}

// newSSRC returns one that the answer doesn't have yet.
func (n *negotiation) newSSRC() uint32 {
	var ssrc uint32
	for range 8 {
		if ssrc = n.request.SSRC(); ssrc != 0 && !n.ssrcs[ssrc] {
			break
		}
	}
	n.ssrcs[ssrc] = true
	return ssrc
}

// answer puts the accepted sections together.
func (n *negotiation) answer() *Answer {
	o := n.offer
	tag := -1
	var mids []string
	for _, i := range o.order {
		if n.accepted[i] == nil {
			continue
		}
		if tag < 0 {
			tag = i
		}
		mids = append(mids, o.Media[i].MID)
	}
	a := &Answer{Remote: o.Transport, group: "BUNDLE " + strings.Join(mids, " ")}
	if tag != o.order[0] {
		a.Remote = o.Media[tag].transport
	}
	// The gateway is the server where it may choose (RFC 8842, section 5.3): the server
	// picks the SRTP profile, and browsers as servers take AES-CM, which costs more than
	// AES-GCM. FFmpeg always offers passive.
	a.DTLSClient = a.Remote.Setup == "passive"
	for _, known := range []string{"trickle", "ice2"} {
		if slices.Contains(a.Remote.ICEOptions, known) {
			a.ICEOptions = append(a.ICEOptions, known)
		}
	}
	for i := range o.Media {
		if s := n.accepted[i]; s != nil && !s.inactive {
			a.Sections = append(a.Sections, s.Section)
		}
	}
	n.write(a, tag)
	return a
}

// isRTP reports whether a section's protocol is one of those that an answerer accepts, all
// meaning RTP over DTLS-SRTP (RFC 9429, section 5.1.2).
func isRTP(protocol string) bool {
	switch protocol {
	case "RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF",
		"UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF", "TCP/DTLS/RTP/SAVP", "TCP/DTLS/RTP/SAVPF":
		return true
	}
	return false
}

// unknownCodecs is the fault for a section that can't be published.
func (n *negotiation) unknownCodecs(m *Media) error {
	if !isRTP(m.protocol) {
		return unsupported("section %s: protocol %s is not known; use UDP/TLS/RTP/SAVPF", m.MID, quote(m.protocol))
	}
	return fault.New(fault.Unprocessable, "section %s offers no codec that can be published", m.MID).
		With("offered", m.encodings()).With("available", supported())
}

// nothingCommon is the fault for a viewer that can't decode anything of what is sent.
func (n *negotiation) nothingCommon() error {
	offered := []string{}
	for i := range n.offer.Media {
		m := &n.offer.Media[i]
		if m.Kind != "" && !m.disabled {
			offered = append(offered, m.encodings()...)
		}
	}
	available := liveCodecs(n.request.Send)
	what := "nothing"
	if len(available) > 0 {
		what = strings.Join(available, ", ")
	}
	detail := "the offer has no codec in common with the track, which is sent as %s"
	for kind := range n.request.Send {
		if !slices.ContainsFunc(n.offer.Media, func(m Media) bool { return m.Kind == kind && !m.disabled }) {
			continue
		}
		return fault.New(fault.Unprocessable, detail, what).With("offered", offered).With("available", available)
	}
	kinds := []string{}
	for _, kind := range []media.Kind{media.Audio, media.Video} {
		if _, ok := n.request.Send[kind]; ok {
			kinds = append(kinds, string(kind))
		}
	}
	return fault.New(fault.Unprocessable, "the offer has no section for what is sent: %s (%s)", strings.Join(kinds, " and "), what).
		With("offered", offered).With("available", available)
}
