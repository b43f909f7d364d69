package media

// A Start says how an RTP payload can begin the decoding of a track.
type Start uint8

const (
	// NoStart: it needs what came before.
	NoStart Start = iota
	// IntraStart: it begins a picture that needs no other.
	IntraStart
	// ParameterStart: it begins with what a decoder must know before such a picture
	// (parameter sets, a sequence header), so that nothing else is needed.
	ParameterStart
)

// StartOf tells whether payload begins a keyframe of the codec. Payloads of audio and of
// codecs that are not known start anywhere. It never panics, whatever the bytes.
func StartOf(codec *Codec, payload []byte) Start {
	if len(payload) == 0 {
		return NoStart
	}
	switch codec.Name {
	case "H264":
		return h264Start(payload)
	case "H265":
		return h265Start(payload)
	case "VP8":
		return vp8Start(payload)
	case "VP9":
		return vp9Start(payload)
	case "AV1":
		return av1Start(payload)
	}
	return ParameterStart
}

// NAL unit types of H.264 (ITU-T H.264, table 7-1) and of its RTP payloads (RFC 6184, table 1).
const (
	h264IDR   = 5
	h264SPS   = 7
	h264STAPA = 24
	h264FUA   = 28
)

func h264Start(p []byte) Start {
	start := NoStart
	switch p[0] & 0x1f {
	case h264STAPA:
		eachAggregated(p[1:], func(nal []byte) bool {
			start = max(start, h264Unit(nal[0]&0x1f))
			return start != ParameterStart
		})
	case h264FUA:
		if len(p) >= 2 && p[1]&0x80 != 0 {
			start = h264Unit(p[1] & 0x1f)
		}
	default:
		start = h264Unit(p[0] & 0x1f)
	}
	return start
}

func h264Unit(typ byte) Start {
	switch typ {
	case h264IDR:
		return IntraStart
	case h264SPS:
		return ParameterStart
	}
	return NoStart
}

// NAL unit types of H.265 (ITU-T H.265, table 7-1) and of its RTP payloads (RFC 7798, section 4.4).
const (
	h265FirstIRAP = 16
	h265LastIRAP  = 23
	h265VPS       = 32
	h265SPS       = 33
	h265AP        = 48
	h265FU        = 49
)

func h265Start(p []byte) Start {
	if len(p) < 3 {
		return NoStart
	}
	start := NoStart
	switch typ := p[0] >> 1 & 0x3f; typ {
	case h265AP:
		eachAggregated(p[2:], func(nal []byte) bool {
			start = max(start, h265Unit(nal[0]>>1&0x3f))
			return start != ParameterStart
		})
	case h265FU:
		if p[2]&0x80 != 0 {
			start = h265Unit(p[2] & 0x3f)
		}
	default:
		start = h265Unit(typ)
	}
	return start
}

func h265Unit(typ byte) Start {
	switch {
	case typ >= h265FirstIRAP && typ <= h265LastIRAP:
		return IntraStart
	case typ == h265VPS || typ == h265SPS:
		return ParameterStart
	}
	return NoStart
}

// eachAggregated calls yield with each NAL unit, at least one byte long, of an aggregation
// packet (RFC 6184, section 5.7.1; RFC 7798, section 4.4.2) until it returns false or the
// bytes make no sense.
func eachAggregated(p []byte, yield func(nal []byte) bool) {
	for len(p) > 2 {
		n := int(p[0])<<8 | int(p[1])
		p = p[2:]
		if n == 0 || n > len(p) || !yield(p[:n]) {
			return
		}
		p = p[n:]
	}
}

// vp8Start: the first partition of a frame (RFC 7741, section 4.2) whose header says that
// it is a key frame (RFC 6386, section 9.1).
func vp8Start(p []byte) Start {
	d, ok := parseVP8(p)
	if ok && d.begins && d.size < len(p) && p[d.size]&0x01 == 0 {
		return ParameterStart
	}
	return NoStart
}

// vp9Start: the beginning of a frame of the lowest spatial layer that is not predicted from
// other pictures (RFC 9628, section 4.2).
func vp9Start(p []byte) Start {
	d, ok := parseVP9(p)
	if ok && d.begins && !d.predicted && d.spatial == 0 {
		return ParameterStart
	}
	return NoStart
}

// av1Start: the aggregation header says that a coded video sequence begins, or a sequence
// header is in the packet (RTP payload format for AV1, sections 4.4 and 5).
func av1Start(p []byte) Start {
	const z, n = 0x80, 0x08
	if p[0]&z == 0 && p[0]&n != 0 && len(p) > 1 {
		return ParameterStart
	}
	start := NoStart
	eachOBU(p, func(obu []byte) bool {
		if obu[0]>>3&0x0f == av1SequenceHeader {
			start = ParameterStart
		}
		return start == NoStart
	})
	return start
}

// av1SequenceHeader is an OBU type (AV1 Bitstream & Decoding Process, section 6.2.2).
const av1SequenceHeader = 1

// eachOBU calls yield with each OBU element that begins in the payload, at least one byte
// long, until it returns false or the bytes make no sense. The last one may go on in the
// next packet.
func eachOBU(p []byte, yield func(obu []byte) bool) {
	const z, w = 0x80, 0x30
	count := int(p[0] & w >> 4) // 0: each element has its length
	continued := p[0]&z != 0
	p = p[1:]
	for i := 1; len(p) > 0; i++ {
		n := len(p)
		if i != count {
			size, read := leb128(p)
			if read == 0 || size > uint64(len(p)-read) {
				return
			}
			p, n = p[read:], int(size)
		}
		if n > 0 && !(continued && i == 1) && !yield(p[:n]) {
			return
		}
		if p = p[n:]; i == count {
			return
		}
	}
}

// leb128 reads a number of at most 8 bytes; read is 0 if there is none.
func leb128(p []byte) (value uint64, read int) {
	for i := range min(len(p), 8) {
		value |= uint64(p[i]&0x7f) << (7 * i)
		if p[i]&0x80 == 0 {
			return value, i + 1
		}
	}
	return 0, 0
}
