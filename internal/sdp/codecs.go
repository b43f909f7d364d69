package sdp

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"sightline/internal/media"
)

// supported names the codecs that can be published, for errors.
func supported() []string {
	return []string{"H264 packetization-mode=1", "H265", "VP8", "VP9", "AV1", "opus"}
}

// parseCodec reads the codec of a payload type. rest is what follows the encoding name in
// a=rtpmap. The answer's parameters are only those that the payload format defines and
// that mean something in the answer's direction: parameter sets and the sprop- ones speak
// for the sender, max-fs and max-fr for a receiver, so neither is repeated. False if
// the gateway can't carry it.
func parseCodec(kind media.Kind, name, rest string, p parameters, publish bool) (c media.Codec, fmtp string, ok bool) {
	rate, channels, _ := strings.Cut(rest, "/")
	clock, err := strconv.ParseUint(rate, 10, 32)
	if err != nil {
		return c, "", false
	}
	c.ClockRate = uint32(clock)
	if kind == media.Audio {
		return parseOpus(c, name, channels, p)
	}
	if c.ClockRate != 90000 || channels != "" && channels != "1" {
		return c, "", false
	}
	switch strings.ToLower(name) {
	case "h264":
		c.Name, ok = "H264", acceptsH264(p, publish)
		fmtp = p.only("level-asymmetry-allowed", "packetization-mode", "profile-level-id")
	case "h265":
		// RFC 7798, section 7.1. Only single-session transmission is known.
		mode := p.get("tx-mode")
		c.Name, ok = "H265", number(p.get("profile-id"), 1, 31) >= 0 && (mode == "" || strings.EqualFold(mode, "SRST"))
		fmtp = p.only("profile-space", "profile-id", "tier-flag", "level-id", "interop-constraints", "tx-mode")
	case "vp8":
		c.Name, ok = "VP8", true
	case "vp9":
		// RFC 9628, section 6.
		c.Name, ok = "VP9", number(p.get("profile-id"), 0, 3) >= 0
		fmtp = p.only("profile-id")
	case "av1":
		// RTP Payload Format For AV1, section 7.2.
		c.Name, ok = "AV1", number(p.get("profile"), 0, 2) >= 0
		fmtp = p.only("profile", "level-idx", "tier")
	}
	c.Fmtp = fmtp
	return c, fmtp, ok
}

// parseOpus reads Opus, which is always opus/48000/2, be it mono or stereo (RFC 7587,
// section 7). The codec keeps what the sender says of its stream; the answer doesn't
// repeat that.
func parseOpus(c media.Codec, name, channels string, p parameters) (media.Codec, string, bool) {
	if !strings.EqualFold(name, "opus") || c.ClockRate != 48000 || channels != "2" {
		return c, "", false
	}
	known := []string{"maxplaybackrate", "maxaveragebitrate", "minptime", "stereo", "cbr", "useinbandfec", "usedtx"}
	c.Name, c.Channels = "opus", 2
	c.Fmtp = p.only(append(known, "sprop-stereo", "sprop-maxcapturerate")...)
	return c, p.only(known...), true
}

// number reads a parameter from 0 to most; -1 if it is none. Absent, it is the default.
func number(s string, absent, most int) int {
	if s == "" {
		return absent
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > most {
		return -1
	}
	return n
}

// acceptsH264 reports whether the parameters are valid and of a profile that the gateway
// carries: Constrained Baseline, Baseline, Main and High. A viewer may also name a decoder
// for more, which decodes High (H.264, section A.2): Chromium's High 4:4:4 Predictive.
func acceptsH264(p parameters, publish bool) bool {
	if mode := number(p.get("packetization-mode"), 0, 2); mode != 0 && mode != 1 {
		return false
	}
	profile, ok := parseH264Profile(p.get("profile-level-id"))
	if !ok {
		return false
	}
	rank := profile.rank()
	return rank >= 0 && (rank <= rankHigh || !publish)
}

// An h264Profile is what profile-level-id says (RFC 6184, section 8.1), without the level.
type h264Profile struct{ idc, constraints byte }

// parseH264Profile reads profile-level-id. Absent, it is Baseline (RFC 6184, section 8.1).
func parseH264Profile(s string) (h264Profile, bool) {
	if s == "" {
		s = "420010"
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 3 {
		return h264Profile{}, false
	}
	return h264Profile{b[0], b[1]}, true
}

// Ranks of H.264 profiles: a decoder for a profile decodes those of a lower rank, but for
// rarely used features of Baseline.
const (
	rankConstrainedBaseline = iota
	rankBaseline
	rankMain
	rankConstrainedHigh
	rankHigh
	rankHigher // High 10, High 4:2:2, High 4:4:4 Predictive
)

// rank returns the profile's rank, -1 for one that is not known. The table is that of
// RFC 6184, section 8.1 (profile_idc and the constraint flags, the first being 0x80).
func (h h264Profile) rank() int {
	switch set0, set1 := h.constraints&0x80 != 0, h.constraints&0x40 != 0; {
	case h.idc == 0x42 && set1, h.idc == 0x4d && set0, h.idc == 0x58 && set0 && set1:
		return rankConstrainedBaseline
	case h.idc == 0x42:
		return rankBaseline
	case h.idc == 0x4d:
		return rankMain
	case h.idc == 0x64 && h.constraints&0x0c == 0x0c:
		return rankConstrainedHigh
	case h.idc == 0x64:
		return rankHigh
	case h.idc == 0x6e, h.idc == 0x7a, h.idc == 0xf4:
		return rankHigher
	}
	return -1
}

// codecParameters reads a codec's own parameters again.
func codecParameters(c media.Codec) parameters {
	p, _ := parseParameters(c.Fmtp)
	return p
}

// packetizationMode of H.264; absent, it is 0.
func packetizationMode(c media.Codec) int {
	return number(codecParameters(c).get("packetization-mode"), 0, 2)
}

// fit tells how well the payload type of a viewer carries the live codec: 0 is not at all,
// more is better.
//
// H.264 is matched by packetization-mode first. The profile only decides between several:
// OBS declares the same one whatever it encodes, and browsers decode High although they
// don't list it. VP9 needs the same profile, AV1 and H.265 that or a higher one.
func fit(live, offered media.Codec) int {
	if !live.Is(offered.Name) {
		return 0
	}
	l, o := codecParameters(live), codecParameters(offered)
	atLeast := func(key string, absent, most int) int {
		switch want, have := number(l.get(key), absent, most), number(o.get(key), absent, most); {
		case want == have:
			return 2
		case have > want:
			return 1
		}
		return 0
	}
	switch live.Name {
	case "H264":
		return fitH264(l, o)
	case "VP9":
		return atLeast("profile-id", 0, 3) / 2
	case "AV1":
		return atLeast("profile", 0, 2)
	case "H265":
		return atLeast("profile-id", 1, 31)
	}
	return 1
}

func fitH264(live, offered parameters) int {
	// A stream in mode 0 is one in mode 1 too (RFC 6184, section 6.3), not the other way round.
	if number(live.get("packetization-mode"), 0, 2) > number(offered.get("packetization-mode"), 0, 2) {
		return 0
	}
	l, okLive := parseH264Profile(live.get("profile-level-id"))
	o, okOffered := parseH264Profile(offered.get("profile-level-id"))
	if !okLive || !okOffered {
		return 1
	}
	switch distance := o.rank() - l.rank(); {
	case distance >= 0: // it decodes the live profile: the nearer the better
		return 40 - distance
	default: // it may: the higher the better
		return 20 + distance
	}
}

// Match returns the payload type of a section that carries the codec best; false if none
// does.
func (s *Section) Match(c media.Codec) (Format, bool) {
	best, score := Format{}, 0
	for _, f := range s.Formats {
		if n := fit(c, f.Codec); n > score {
			best, score = f, n
		}
	}
	return best, score > 0
}

// liveFirst puts the format that carries the live codec best at the head; false if none
// does.
func liveFirst(live media.Codec, formats []offeredFormat) ([]offeredFormat, bool) {
	best, score := -1, 0
	for i, f := range formats {
		if n := fit(live, f.Codec); n > score {
			best, score = i, n
		}
	}
	if best < 0 {
		return nil, false
	}
	head := formats[best]
	return slices.Insert(slices.Delete(formats, best, best+1), 0, head), true
}
