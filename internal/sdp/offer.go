package sdp

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"sightline/internal/fault"
	"sightline/internal/media"
)

// Parse reads an offer; OwnOffer.Accept uses it for answers, too. The error is a fault.BadRequest for what is malformed, a
// fault.Unprocessable for more m= sections than the gateway looks at, and a
// fault.TooLarge above 64 KiB.
func Parse(body []byte) (*Offer, error) {
	all, err := lines(body)
	if err != nil {
		return nil, err
	}
	if err := checkOrder(all); err != nil {
		return nil, err
	}
	o := &Offer{SessionName: all[2].value}
	var session []attribute
	timed := false
	for _, l := range all {
		switch {
		case l.kind == 'm':
			if len(o.Media) == maxMedia {
				return nil, unsupported("the description has more than %d m= sections; one audio and one video are taken", maxMedia)
			}
			m, err := parseMedia(l.value)
			if err != nil {
				return nil, err
			}
			o.Media = append(o.Media, m)
		case l.kind == 't':
			timed = true
		case l.kind == 'a' && len(o.Media) == 0:
			session = append(session, l.attribute())
		case l.kind == 'a':
			m := &o.Media[len(o.Media)-1]
			m.attributes = append(m.attributes, l.attribute())
		}
	}
	switch {
	case !timed:
		return nil, malformed("the description has no t= line")
	case len(o.Media) == 0:
		return nil, malformed("the description has no m= line")
	}
	return o, o.read(session)
}

// checkOrder holds the offer to the beginning that RFC 8866, section 5, prescribes, and
// the types of lines to where they may stand. Further on their order is not checked.
func checkOrder(all []line) error {
	for i, kind := range []byte("vos") {
		if len(all) <= i || all[i].kind != kind {
			return malformed("line %d must be %c=: a description begins with v=, o= and s=", i+1, kind)
		}
	}
	if all[0].value != "0" {
		return malformed("v=: must be 0, got %s", quote(all[0].value))
	}
	if len(strings.Fields(all[1].value)) != 6 {
		return malformed("o=: must have 6 fields, got %s", quote(all[1].value))
	}
	allowed := "iuepcbtrzka"
	for i, l := range all[3:] {
		if l.kind == 'm' {
			allowed = "micbka"
		}
		if strings.IndexByte(allowed, l.kind) < 0 {
			return malformed("line %d: %c= may not stand here", i+4, l.kind)
		}
	}
	return nil
}

// parseMedia reads the value of an m= line (RFC 8866, section 5.14).
func parseMedia(value string) (Media, error) {
	fields := strings.Fields(value)
	if len(fields) < 4 {
		return Media{}, malformed("m=: must be <media> <port> <proto> <fmt> …, got %s", quote(value))
	}
	m := Media{name: fields[0], protocol: fields[2], formats: fields[3:]}
	if !isToken(m.name) {
		return Media{}, malformed("m=: the media type is not a token: %s", quote(m.name))
	}
	for part := range strings.SplitSeq(m.protocol, "/") {
		if !isToken(part) {
			return Media{}, malformed("m=: the protocol is not made of tokens: %s", quote(m.protocol))
		}
	}
	port, err := strconv.ParseUint(fields[1], 10, 16)
	if err != nil {
		return Media{}, malformed("m=: the port must be 0 to 65535, got %s", quote(fields[1]))
	}
	m.disabled = port == 0
	switch kind := media.Kind(m.name); kind {
	case media.Audio, media.Video:
		m.Kind = kind
	}
	for _, f := range m.formats {
		if !isToken(f) {
			return Media{}, malformed("m=: a format is not a token: %s", quote(f))
		}
		if !strings.Contains(m.protocol, "RTP/") {
			continue
		}
		if pt, err := strconv.ParseUint(f, 10, 8); err != nil || pt > 127 {
			return Media{}, malformed("m=: a payload type must be 0 to 127, got %s", quote(f))
		}
	}
	return m, nil
}

// read makes sense of the attributes.
func (o *Offer) read(session []attribute) error {
	o.iceLite = has(session, "ice-lite")
	outer, err := readTransport(session)
	if err != nil {
		return err
	}
	direction := directionOf(session)
	if direction == "" {
		direction = "sendrecv" // RFC 8866, section 6.7
	}
	index := make(map[string]int)
	for i := range o.Media {
		m := &o.Media[i]
		m.MID, _ = first(m.attributes, "mid")
		if !isToken(m.MID) || len(m.MID) > maxMID {
			return malformed("m= section %d: a=mid must be a token of 1 to %d bytes, got %s", i+1, maxMID, quote(m.MID))
		}
		if _, twice := index[m.MID]; twice {
			return malformed("two m= sections have a=mid:%s", m.MID)
		}
		index[m.MID] = i
		if m.direction = directionOf(m.attributes); m.direction == "" {
			m.direction = direction
		}
		m.bundleOnly = has(m.attributes, "bundle-only")
		m.disabled = m.disabled && !m.bundleOnly
		if m.transport, err = readTransport(m.attributes); err != nil {
			return err
		}
		m.transport.inherit(&outer)
	}
	for _, a := range session {
		if a.name != "group" {
			continue
		}
		// RFC 5888, section 5. Groups of other semantics don't concern us.
		if f := strings.Fields(a.value); len(f) > 0 && f[0] == "BUNDLE" {
			o.bundles = append(o.bundles, f[1:])
		}
	}
	return o.tag(index)
}

// tag finds the offerer-tagged section, whose transport is the offer's. Mids in the group
// that no section has are passed over: FFmpeg 8.0 writes "BUNDLE 0 1" always.
func (o *Offer) tag(index map[string]int) error {
	if len(o.bundles) > 0 {
		for _, mid := range o.bundles[0] {
			if i, ok := index[mid]; ok && !o.Media[i].disabled && !slices.Contains(o.order, i) {
				o.order = append(o.order, i)
			}
		}
	}
	tagged := &o.Media[0]
	if i := slices.IndexFunc(o.Media, func(m Media) bool { return !m.disabled }); i > 0 {
		tagged = &o.Media[i]
	}
	if len(o.order) > 0 {
		tagged = &o.Media[o.order[0]]
	}
	if tagged.transport.Ufrag == "" || tagged.transport.Pwd == "" {
		return malformed("the description has no a=ice-ufrag and a=ice-pwd for section %s", tagged.MID)
	}
	for i := range o.Media {
		// A bundle-only section says nothing of the transport: it has the tagged one's
		// (RFC 9143, section 7.1.3).
		if m := &o.Media[i]; m != tagged {
			m.transport.inherit(&tagged.transport)
		}
	}
	o.Transport = tagged.transport
	return nil
}

// Names reports whether some section of the offer has these ICE credentials. A client may have others for
// each, before it knows that all go over one transport.
func (o *Offer) Names(ufrag, pwd string) bool {
	return slices.ContainsFunc(o.Media, func(m Media) bool { return m.transport.Ufrag == ufrag && m.transport.Pwd == pwd })
}

// directionOf returns the direction attribute, or "".
func directionOf(attributes []attribute) string {
	for _, a := range attributes {
		switch a.name {
		case "sendrecv", "sendonly", "recvonly", "inactive":
			return a.name
		}
	}
	return ""
}

// readTransport collects what a level says of the transport.
func readTransport(attributes []attribute) (Transport, error) {
	var t Transport
	for _, a := range attributes {
		switch a.name {
		case "ice-ufrag":
			t.Ufrag = a.value
		case "ice-pwd":
			t.Pwd = a.value
		case "setup":
			t.Setup = a.value
		case "ice-options":
			// Separated by spaces (RFC 8839, section 5.6); by commas in libdatachannel.
			t.ICEOptions = append(t.ICEOptions, strings.FieldsFunc(a.value, func(r rune) bool { return r == ' ' || r == ',' })...)
		case "candidate":
			if len(t.Candidates) < maxCandidates && !t.EndOfCandidates {
				t.Candidates = append(t.Candidates, a.value)
			}
		case "end-of-candidates":
			t.EndOfCandidates = true
		case "fingerprint":
			f, known, err := parseFingerprint(a.value)
			if err != nil {
				return t, err
			}
			if known {
				t.Fingerprints = append(t.Fingerprints, f)
			}
		}
	}
	return t, isCredentials(t.Ufrag, t.Pwd)
}

// inherit takes from outer what t does not say. Media level wins (RFC 8839, section 5.4).
// Candidates belong to credentials: they are taken only along with the same ones.
func (t *Transport) inherit(outer *Transport) {
	if t.Ufrag == "" {
		t.Ufrag = outer.Ufrag
	}
	if t.Pwd == "" {
		t.Pwd = outer.Pwd
	}
	if len(t.Candidates) == 0 && t.Ufrag == outer.Ufrag && t.Pwd == outer.Pwd {
		t.Candidates = outer.Candidates
		t.EndOfCandidates = t.EndOfCandidates || outer.EndOfCandidates
	}
	if len(t.Fingerprints) == 0 {
		t.Fingerprints = outer.Fingerprints
	}
	if t.Setup == "" {
		t.Setup = outer.Setup
	}
	if len(t.ICEOptions) == 0 {
		t.ICEOptions = outer.ICEOptions
	}
}

// hashSize returns the size of a hash in bytes; false for a function that is not accepted:
// MD5 and SHA-1 among others (RFC 8122, section 5; RFC 9155).
func hashSize(name string) (bytes int, ok bool) {
	switch name {
	case "sha-256":
		return 32, true
	case "sha-384":
		return 48, true
	case "sha-512":
		return 64, true
	}
	return 0, false
}

// parseFingerprint reads the value of a=fingerprint (RFC 8122, section 5); known is false
// for a hash function that the gateway doesn't accept.
func parseFingerprint(value string) (f Fingerprint, known bool, err error) {
	name, digits, ok := strings.Cut(value, " ")
	if !ok {
		return f, false, malformed("a=fingerprint: must be <hash> <value>, got %s", quote(value))
	}
	f.Hash = strings.ToLower(name)
	size, known := hashSize(f.Hash)
	if !known {
		return f, false, nil
	}
	for pair := range strings.SplitSeq(strings.TrimRight(digits, " "), ":") {
		b, err := hex.DecodeString(pair)
		if err != nil || len(b) != 1 {
			return f, false, malformed("a=fingerprint: the value must be pairs of hexadecimal digits between colons, got %s", quote(pair))
		}
		f.Value = append(f.Value, b[0])
	}
	if len(f.Value) != size {
		return f, false, malformed("a=fingerprint: %s has %d bytes, got %d", f.Hash, size, len(f.Value))
	}
	return f, true, nil
}

// check reports what makes the offer as a whole unacceptable.
func (o *Offer) check(publish bool) error {
	switch {
	case o.iceLite:
		return unsupported("the offer says a=ice-lite; a client must be a full ICE agent")
	case len(o.bundles) == 0:
		return unsupported("the offer has no a=group:BUNDLE; all sections must share one transport")
	case len(o.bundles) > 1:
		return unsupported("the offer has %d BUNDLE groups; all sections must be in one", len(o.bundles))
	}
	count := make(map[media.Kind]int)
	for i := range o.Media {
		m := &o.Media[i]
		if m.disabled {
			continue
		}
		if !slices.Contains(o.order, i) {
			return unsupported("section %s is not in the BUNDLE group", m.MID)
		}
		if m.Kind == "" {
			if publish {
				return unsupported("section %s is m=%s; only audio and video can be published", m.MID, m.name)
			}
			continue
		}
		if count[m.Kind]++; count[m.Kind] > 1 {
			return unsupported("the offer has more than one %s section; a session carries at most one audio and one video", m.Kind)
		}
		if err := m.check(publish); err != nil {
			return err
		}
	}
	if len(count) == 0 {
		return unsupported("the offer has neither an audio nor a video section")
	}
	if publish {
		return o.checkStreams()
	}
	return nil
}

// check reports what makes an audio or video section unacceptable in an offer at all.
func (m *Media) check(publish bool) error {
	fits := map[string]bool{"sendrecv": true, "recvonly": !publish, "sendonly": publish}
	switch {
	case !fits[m.direction] && publish:
		return unsupported("section %s is a=%s; a publisher offers sendonly or sendrecv", m.MID, m.direction)
	case !fits[m.direction]:
		return unsupported("section %s is a=%s; a viewer offers recvonly or sendrecv", m.MID, m.direction)
	case !has(m.attributes, "rtcp-mux"):
		return unsupported("section %s has no a=rtcp-mux", m.MID)
	}
	switch t := &m.transport; {
	case len(t.Fingerprints) == 0:
		return unsupported("section %s has no a=fingerprint of a known hash; use sha-256", m.MID)
	case t.Setup != "actpass" && t.Setup != "active" && t.Setup != "passive":
		return unsupported("section %s: a=setup must be actpass, active or passive, got %s", m.MID, quote(t.Setup))
	}
	return nil
}

// checkStreams holds a publisher to a single MediaStream (RFC 9725, section 4.4.2).
func (o *Offer) checkStreams() error {
	seen := ""
	for i := range o.Media {
		m := &o.Media[i]
		if m.disabled || m.Kind == "" {
			continue
		}
		for _, id := range m.streams() {
			if seen != "" && id != seen {
				return unsupported("the offer has more than one MediaStream (%s, %s); a publisher sends one", quote(seen), quote(id))
			}
			seen = id
		}
	}
	return nil
}

// streams are the ids of the MediaStreams that a section belongs to, two at most: from
// a=msid (RFC 8830), else from the source-level attribute of old (GStreamer). "-" means none.
func (m *Media) streams() []string {
	var section, source []string
	for _, a := range m.attributes {
		switch a.name {
		case "msid":
			section = append(section, a.value)
		case "ssrc":
			_, of, _ := strings.Cut(a.value, " ")
			if value, ok := strings.CutPrefix(of, "msid:"); ok {
				source = append(source, value)
			}
		}
	}
	if len(section) == 0 {
		section = source
	}
	var out []string
	for _, value := range section {
		if id, _, _ := strings.Cut(value, " "); id != "-" && id != "" && !slices.Contains(out, id) {
			if out = append(out, id); len(out) == 2 {
				break
			}
		}
	}
	return out
}

// tooMany is the fault for a section with more of something than is looked at.
func (m *Media) tooMany(what string, most int) error {
	return fault.New(fault.Unprocessable, "section %s has more than %d %s", m.MID, most, what)
}
