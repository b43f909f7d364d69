package sdp

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"sightline/internal/media"
)

// An offeredFormat is one payload type of an offered section.
type offeredFormat struct {
	Format
	name   string // the encoding name as written: GStreamer says OPUS
	rtpmap string // the value of a=rtpmap behind the payload type, as written
	fmtp   string // what the answer says in a=fmtp, "" for no line
}

// offeredFormats reads the payload types of a section in the order of its m= line, each
// with its RTX and its feedback. Those that the gateway can't carry are left out:
// unknown codecs, parameters out of range, payload types that RTCP needs.
func (m *Media) offeredFormats(publish bool) []offeredFormat {
	maps, fmtps, feedback := m.formatAttributes()
	rtx := make(map[uint8]uint8) // by what they retransmit
	var out []offeredFormat
	seen := make(map[uint8]bool)
	for _, f := range m.formats {
		n, err := strconv.ParseUint(f, 10, 8)
		pt := uint8(n)
		// RFC 5761, section 4: 64 to 95 can't be told from RTCP.
		if err != nil || pt > 127 || pt >= 64 && pt <= 95 || seen[pt] {
			continue
		}
		seen[pt] = true
		name, rest, ok := strings.Cut(maps[pt], "/")
		if !ok {
			continue
		}
		parameters, ok := parseParameters(fmtps[pt])
		if !ok {
			continue
		}
		if strings.EqualFold(name, "rtx") {
			// RFC 4588, section 8.6. The first wins.
			if apt, err := strconv.ParseUint(parameters.get("apt"), 10, 7); err == nil {
				if _, twice := rtx[uint8(apt)]; !twice {
					rtx[uint8(apt)] = pt
				}
			}
			continue
		}
		codec, fmtp, ok := parseCodec(m.Kind, name, rest, parameters, publish)
		if !ok {
			continue
		}
		fb := feedback[pt].with(feedback[wildcard])
		out = append(out, offeredFormat{
			Format: Format{
				PayloadType: pt, Codec: codec,
				NACK: fb.nack, PLI: fb.pli, FIR: fb.fir, TransportCC: fb.transportCC,
			},
			name: name, rtpmap: maps[pt], fmtp: fmtp,
		})
	}
	for i := range out {
		out[i].RTX = rtx[out[i].PayloadType] // one for a payload type that is not here is dropped
	}
	return dropModeZero(out)
}

// dropModeZero leaves packetization-mode 0 of H.264 out where mode 1 is offered too:
// whoever takes mode 1 takes what is sent in mode 0 (RFC 6184, section 6.3), and a
// publisher must not prefer it.
func dropModeZero(formats []offeredFormat) []offeredFormat {
	better := slices.ContainsFunc(formats, func(f offeredFormat) bool {
		return f.Codec.Is("H264") && packetizationMode(f.Codec) == 1
	})
	return slices.DeleteFunc(formats, func(f offeredFormat) bool {
		return better && f.Codec.Is("H264") && packetizationMode(f.Codec) == 0
	})
}

// feedback is what a=rtcp-fb lines say of one payload type (RFC 4585, section 4.2,
// RFC 5104, section 7.1). What the gateway doesn't use (goog-remb) is not kept.
type feedback struct{ nack, pli, fir, transportCC bool }

// wildcard is the key for "a=rtcp-fb:*".
const wildcard = 255

func (f feedback) with(other feedback) feedback {
	return feedback{f.nack || other.nack, f.pli || other.pli, f.fir || other.fir, f.transportCC || other.transportCC}
}

// formatAttributes collects a=rtpmap, a=fmtp and a=rtcp-fb by payload type; they may stand
// in any order. Of two lines of a kind for one payload type the first counts.
func (m *Media) formatAttributes() (rtpmap, fmtp map[uint8]string, fb map[uint8]feedback) {
	rtpmap, fmtp, fb = make(map[uint8]string), make(map[uint8]string), make(map[uint8]feedback)
	for _, a := range m.attributes {
		switch a.name {
		case "rtpmap", "fmtp", "rtcp-fb":
		default:
			continue
		}
		f, value, _ := strings.Cut(a.value, " ")
		n, err := strconv.ParseUint(f, 10, 7)
		pt := uint8(n)
		if f == "*" && a.name == "rtcp-fb" {
			pt, err = wildcard, nil
		}
		if err != nil {
			continue
		}
		value = strings.TrimSpace(value)
		switch into := map[string]map[uint8]string{"rtpmap": rtpmap, "fmtp": fmtp}[a.name]; {
		case into != nil:
			if _, twice := into[pt]; !twice {
				into[pt] = value
			}
		default:
			v := fb[pt]
			switch value {
			case "nack":
				v.nack = true
			case "nack pli":
				v.pli = true
			case "ccm fir":
				v.fir = true
			case "transport-cc":
				v.transportCC = true
			}
			fb[pt] = v
		}
	}
	return rtpmap, fmtp, fb
}

// parameters are the key=value pairs of an a=fmtp, in order; keys in lower case.
type parameters []struct{ key, value string }

// parseParameters splits a format's parameters; false if there are too many.
func parseParameters(s string) (parameters, bool) {
	var out parameters
	for part := range strings.SplitSeq(s, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if key == "" {
			continue
		}
		if len(out) == maxParameters {
			return nil, false
		}
		out = append(out, struct{ key, value string }{strings.ToLower(key), value})
	}
	return out, true
}

// get returns the value of a key, or "".
func (p parameters) get(key string) string {
	for _, q := range p {
		if q.key == key {
			return q.value
		}
	}
	return ""
}

// only writes those parameters whose keys are listed, in their order, each once.
func (p parameters) only(keys ...string) string {
	var b strings.Builder
	written := make(map[string]bool)
	for _, q := range p {
		if !slices.Contains(keys, q.key) || !isToken(q.value) || len(q.value) > maxValue || written[q.key] {
			continue
		}
		written[q.key] = true
		if b.Len() > 0 {
			b.WriteByte(';')
		}
		b.WriteString(q.key + "=" + q.value)
	}
	return b.String()
}

// describe names codecs for an error: "H264 packetization-mode=1;profile-level-id=42e01f".
func describe(codecs []media.Codec) []string {
	const most = 32
	out := []string{} // never null in JSON
	for _, c := range codecs {
		s := strings.TrimSpace(c.Name + " " + c.Fmtp)
		if !slices.Contains(out, s) && len(out) < most {
			out = append(out, s)
		}
	}
	return out
}

// encodings names everything that a section offers, also what the gateway doesn't know.
func (m *Media) encodings() []string {
	rtpmap, fmtp, _ := m.formatAttributes()
	var all []media.Codec
	for _, f := range m.formats {
		n, err := strconv.ParseUint(f, 10, 7)
		name, _, _ := strings.Cut(rtpmap[uint8(n)], "/")
		if err != nil || !isToken(name) || len(name) > maxValue || strings.EqualFold(name, "rtx") {
			continue
		}
		c := media.Codec{Name: name}
		if p, ok := parseParameters(fmtp[uint8(n)]); ok {
			c.Fmtp = p.only("packetization-mode", "profile-level-id", "profile-id", "profile", "tx-mode")
		}
		all = append(all, c)
	}
	return describe(all)
}

// liveCodecs lists what is sent, by kind.
func liveCodecs(send map[media.Kind]media.Codec) []string {
	var all []media.Codec
	for _, kind := range slices.Sorted(maps.Keys(send)) {
		all = append(all, send[kind])
	}
	return describe(all)
}
