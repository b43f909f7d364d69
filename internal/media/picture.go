package media

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/av1"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h265"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/vp9"
)

// A Picture is what the beginning of a keyframe tells of the pictures that follow.
type Picture struct {
	Width, Height int
	Profile       string // in words; "" if these bytes don't say
}

const (
	maxParameterSet = 1024  // bytes; longer ones are not looked at
	maxSide         = 16384 // pixels; more is taken for nonsense
)

// Describe reads the picture's size and profile from a payload that begins a keyframe. It
// returns false if they are not in there or make no sense. It never panics.
func Describe(codec *Codec, payload []byte) (p Picture, ok bool) {
	// Parameter sets are parsed by a library, out of bytes that a stranger sends: a fault in
	// it may cost a reading in the room API, not the gateway.
	defer func() {
		if recover() != nil {
			p, ok = Picture{}, false
		}
	}()
	if len(payload) > 0 {
		switch codec.Name {
		case "H264":
			p = describeH264(payload)
		case "H265":
			p = describeH265(payload)
		case "VP8":
			p = describeVP8(payload)
		case "VP9":
			p = describeVP9(payload)
		case "AV1":
			p = describeAV1(payload)
		}
	}
	if p.Width < 1 || p.Height < 1 || p.Width > maxSide || p.Height > maxSide {
		return Picture{}, false
	}
	return p, true
}

func describeH264(payload []byte) (p Picture) {
	read := func(nal []byte) bool {
		var sps h264.SPS
		if nal[0]&0x1f != h264SPS || len(nal) > maxParameterSet {
			return true
		}
		if sps.Unmarshal(nal) == nil && len(nal) >= 4 {
			p = Picture{sps.Width(), sps.Height(), h264Profile(nal[1], nal[2], nal[3])}
		}
		return false
	}
	if payload[0]&0x1f == h264STAPA {
		eachAggregated(payload[1:], read)
	} else {
		read(payload)
	}
	return p
}

func describeH265(payload []byte) (p Picture) {
	read := func(nal []byte) bool {
		var sps h265.SPS
		if nal[0]>>1&0x3f != h265SPS || len(nal) > maxParameterSet {
			return true
		}
		if sps.Unmarshal(nal) == nil {
			t := sps.ProfileTierLevel
			p = Picture{sps.Width(), sps.Height(),
				h265Profile(int(t.GeneralProfileIdc), int(t.GeneralLevelIdc), t.GeneralTierFlag != 0)}
		}
		return false
	}
	if payload[0]>>1&0x3f == h265AP && len(payload) > 2 {
		eachAggregated(payload[2:], read)
	} else {
		read(payload)
	}
	return p
}

// describeVP8 reads the uncompressed chunk of a key frame (RFC 6386, section 9.1).
func describeVP8(payload []byte) Picture {
	d, ok := parseVP8(payload)
	if !ok || len(payload) < d.size+10 {
		return Picture{}
	}
	frame := payload[d.size:]
	if frame[0]&1 != 0 || frame[3] != 0x9d || frame[4] != 0x01 || frame[5] != 0x2a {
		return Picture{}
	}
	return Picture{
		Width:  int(frame[7]&0x3f)<<8 | int(frame[6]),
		Height: int(frame[9]&0x3f)<<8 | int(frame[8]),
	}
}

func describeVP9(payload []byte) Picture {
	d, ok := parseVP9(payload)
	if !ok {
		return Picture{}
	}
	p := Picture{Width: d.width, Height: d.height}
	var h vp9.Header
	if d.size < len(payload) && h.Unmarshal(payload[d.size:]) == nil && !h.NonKeyFrame && h.FrameSize != nil {
		p.Profile = fmt.Sprintf("Profile %d", h.Profile)
		if p.Width == 0 {
			p.Width, p.Height = h.Width(), h.Height()
		}
	}
	return p
}

func describeAV1(payload []byte) (p Picture) {
	eachOBU(payload, func(obu []byte) bool {
		var h av1.SequenceHeader
		if obu[0]>>3&0x0f != av1SequenceHeader {
			return true
		}
		if len(obu) <= maxParameterSet && h.Unmarshal(obu) == nil {
			p = Picture{Width: h.Width(), Height: h.Height(), Profile: av1Profile(int(h.SeqProfile), -1)}
			if len(h.SeqLevelIdx) > 0 {
				p.Profile = av1Profile(int(h.SeqProfile), int(h.SeqLevelIdx[0]))
			}
		}
		return false
	})
	return p
}

// Profile returns the profile that the codec's format parameters declare, in words; "" if
// they declare none. What the pictures themselves say (Describe) is nearer to the truth:
// some encoders declare a default whatever they send.
func Profile(codec Codec) string {
	number := func(name string) int {
		if n, err := strconv.Atoi(parameter(codec.Fmtp, name)); err == nil {
			return n
		}
		return -1
	}
	switch codec.Name {
	case "H264":
		id, err := hex.DecodeString(parameter(codec.Fmtp, "profile-level-id"))
		if err == nil && len(id) == 3 {
			return h264Profile(id[0], id[1], id[2])
		}
	case "H265":
		if n := number("profile-id"); n >= 0 {
			return h265Profile(n, number("level-id"), number("tier-flag") == 1)
		}
	case "VP9":
		if n := number("profile-id"); n >= 0 {
			return fmt.Sprintf("Profile %d", n)
		}
	case "AV1":
		if n := number("profile"); n >= 0 {
			return av1Profile(n, number("level-idx"))
		}
	}
	return ""
}

// parameter returns a value out of "name=value;name=value".
func parameter(fmtp, name string) string {
	for field := range strings.SplitSeq(fmtp, ";") {
		if key, value, ok := strings.Cut(strings.TrimSpace(field), "="); ok && strings.EqualFold(key, name) {
			return value
		}
	}
	return ""
}

// h264Profile puts the three octets of profile-level-id into words: ITU-T H.264, annex A,
// and RFC 6184, table 5. flags are constraint_set0_flag (the highest bit) to set5.
func h264Profile(idc, flags, level byte) string {
	set := func(n int) bool { return flags&(0x80>>n) != 0 }
	var name string
	switch idc {
	case 66:
		name = "Baseline"
		if set(1) {
			name = "Constrained Baseline"
		}
	case 77:
		name = "Main"
		if set(0) {
			name = "Constrained Baseline"
		}
	case 88:
		name = "Extended"
	case 100:
		name = "High"
		if set(4) {
			name = "Progressive High"
			if set(5) {
				name = "Constrained High"
			}
		}
	case 110:
		name = "High 10"
	case 122:
		name = "High 4:2:2"
	case 244:
		name = "High 4:4:4 Predictive"
	default:
		name = fmt.Sprintf("Profile %d", idc)
	}
	if level == 9 || level == 11 && set(3) && (idc == 66 || idc == 77 || idc == 88) {
		return name + " 1b"
	}
	return fmt.Sprintf("%s %d.%d", name, level/10, level%10)
}

// h265Profile: ITU-T H.265, annex A; a level is given times 30, negative if not known.
func h265Profile(idc, level int, high bool) string {
	name := fmt.Sprintf("Profile %d", idc)
	switch idc {
	case 1:
		name = "Main"
	case 2:
		name = "Main 10"
	case 3:
		name = "Main Still Picture"
	case 4:
		name = "Range Extensions"
	}
	if level >= 0 {
		name += fmt.Sprintf(" %d.%d", level/30, level%30/3)
	}
	if high {
		name += ", High tier"
	}
	return name
}

// av1Profile: AV1 Bitstream & Decoding Process, annex A; level is seq_level_idx, negative
// if not known, 31 for "maximum parameters".
func av1Profile(profile, level int) string {
	name := fmt.Sprintf("Profile %d", profile)
	switch profile {
	case 0:
		name = "Main"
	case 1:
		name = "High"
	case 2:
		name = "Professional"
	}
	if level >= 0 && level < 24 {
		name += fmt.Sprintf(" %d.%d", 2+level/4, level%4)
	}
	return name
}
