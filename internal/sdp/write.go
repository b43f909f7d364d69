package sdp

import (
	"hash/fnv"
	"strconv"
	"strings"
)

// A writer collects lines. All end in CRLF: OBS and whip-whep-js look for it.
type writer struct{ text strings.Builder }

func (w *writer) line(parts ...string) {
	for _, p := range parts {
		w.text.WriteString(p)
	}
	w.text.WriteString("\r\n")
}

// candidates writes all candidates and says that no more will come (RFC 9725, section
// 4.3.2; RFC 8840, section 4.1).
func (w *writer) candidates(values []string) {
	for _, c := range values {
		w.line("a=candidate:", c)
	}
	w.line("a=end-of-candidates")
}

// write sets the answer's text. tag is the index of the answerer-tagged section, which
// holds the candidates: the first that is accepted (RFC 9143, section 7.3.1).
func (n *negotiation) write(a *Answer, tag int) {
	var w writer
	r := n.request
	w.line("v=0")
	w.line("o=- ", sessionID(r.Ufrag, r.Pwd), " 1 IN IP4 127.0.0.1")
	w.line("s=-")
	w.line("t=0 0")
	w.line("a=group:", a.group)
	if len(a.ICEOptions) > 0 {
		w.line("a=ice-options:", strings.Join(a.ICEOptions, " "))
	}
	w.line("a=fingerprint:", r.Fingerprint)
	if !r.Publish {
		w.line("a=msid-semantic:WMS *")
	}
	setup := "passive"
	if a.DTLSClient {
		setup = "active"
	}
	for i := range n.offer.Media {
		m := &n.offer.Media[i]
		s := n.accepted[i]
		if s == nil {
			n.writeRejected(&w, m, setup)
			continue
		}
		n.writeSection(&w, m, s, setup)
		if i == tag {
			w.candidates(r.Candidates)
			pt := strconv.Itoa(int(s.Formats[0].PayloadType))
			a.tag = "m=" + m.name + " 9 " + m.protocol + " " + pt + "\r\na=mid:" + m.MID + "\r\n"
		}
	}
	a.SDP = []byte(w.text.String())
}

// sessionID makes the numeric o= field out of what is random anyway.
func sessionID(ufrag, pwd string) string {
	h := fnv.New64a()
	h.Write([]byte(ufrag))
	h.Write([]byte(pwd))
	return strconv.FormatUint(h.Sum64()>>1, 10) // 63 bits (RFC 9429, section 5.2.1)
}

// transport writes what every section repeats: GStreamer refuses an answer that leaves it
// out anywhere, even in a rejected section.
func (w *writer) transport(mid, ufrag, pwd, setup string) {
	w.line("c=IN IP4 0.0.0.0")
	w.line("a=mid:", mid)
	w.line("a=ice-ufrag:", ufrag)
	w.line("a=ice-pwd:", pwd)
	w.line("a=setup:", setup)
}

// media writes the m= line of a section that is wanted.
func (w *writer) media(name, protocol string, formats []offeredFormat) {
	w.text.WriteString("m=" + name + " 9 " + protocol)
	for _, f := range formats {
		w.text.WriteString(" " + strconv.Itoa(int(f.PayloadType)))
		if f.RTX != 0 {
			w.text.WriteString(" " + strconv.Itoa(int(f.RTX)))
		}
	}
	w.line()
}

// writeRejected writes a section that is not accepted: port 0 (RFC 3264, section 6), with
// mid and protocol of the offer, and out of the bundle. One format is enough.
func (n *negotiation) writeRejected(w *writer, m *Media, setup string) {
	w.line("m=", m.name, " 0 ", m.protocol, " ", m.formats[0])
	w.transport(m.MID, n.request.Ufrag, n.request.Pwd, setup)
	w.line("a=inactive")
	for _, a := range m.attributes {
		if a.name == "rtpmap" && strings.HasPrefix(a.value, m.formats[0]+" ") {
			w.line("a=rtpmap:", a.value)
			break
		}
	}
}

func (n *negotiation) writeSection(w *writer, m *Media, s *accepted, setup string) {
	r := n.request
	w.media(m.name, m.protocol, s.formats)
	w.transport(m.MID, r.Ufrag, r.Pwd, setup)
	switch {
	case r.Publish:
		w.line("a=recvonly")
	case s.inactive:
		w.line("a=inactive")
	default:
		w.line("a=sendonly")
		w.line("a=msid:", r.Stream, " ", string(m.Kind))
	}
	w.line("a=rtcp-mux")
	if r.RTCPMuxOnly {
		w.line("a=rtcp-mux-only")
	}
	if s.ReducedSize {
		w.line("a=rtcp-rsize")
	}
	for _, e := range s.extensions {
		id := strconv.Itoa(int(e.id))
		if e.direction != "" {
			id += "/" + e.direction
		}
		w.line("a=extmap:", id, " ", e.uri)
	}
	for i := range s.formats {
		s.formats[i].write(w)
	}
	s.writeRIDs(w)
	if !r.Publish && !s.inactive {
		s.writeSSRCs(w, r.CNAME)
	}
}

// write writes the lines of one payload type and of its RTX.
func (f *offeredFormat) write(w *writer) {
	pt := strconv.Itoa(int(f.PayloadType))
	w.line("a=rtpmap:", pt, " ", f.rtpmap)
	for _, fb := range []struct {
		offered bool
		name    string
	}{{f.NACK, "nack"}, {f.PLI, "nack pli"}, {f.FIR, "ccm fir"}, {f.TransportCC, "transport-cc"}} {
		if fb.offered {
			w.line("a=rtcp-fb:", pt, " ", fb.name)
		}
	}
	if f.fmtp != "" {
		w.line("a=fmtp:", pt, " ", f.fmtp)
	}
	if f.RTX != 0 {
		rtx := strconv.Itoa(int(f.RTX))
		w.line("a=rtpmap:", rtx, " rtx/", strconv.Itoa(int(f.Codec.ClockRate)))
		w.line("a=fmtp:", rtx, " apt=", pt)
	}
}

func (s *accepted) writeRIDs(w *writer) {
	if len(s.rids) == 0 {
		return
	}
	for _, r := range s.rids {
		w.line("a=rid:", r.id, " recv", r.restrictions)
	}
	w.line("a=simulcast:recv ", strings.Join(s.RIDs, ";"))
}

func (s *accepted) writeSSRCs(w *writer, cname string) {
	ssrc := strconv.FormatUint(uint64(s.SSRC), 10)
	if s.RTXSSRC == 0 {
		w.line("a=ssrc:", ssrc, " cname:", cname)
		return
	}
	rtx := strconv.FormatUint(uint64(s.RTXSSRC), 10)
	w.line("a=ssrc-group:FID ", ssrc, " ", rtx)
	w.line("a=ssrc:", ssrc, " cname:", cname)
	w.line("a=ssrc:", rtx, " cname:", cname)
}
