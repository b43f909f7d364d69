package bench

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"time"
)

const (
	// maxPacket is the length of a whole video packet in clear, with its RTP header of 12
	// bytes: what browsers send.
	maxPacket = 1200

	// Cells are as long as packets of maxPacket bytes have room for behind the codec's
	// payload header, so that servers that pack anew at the same size cut at the same places.
	h264Cell = maxPacket - 12 - 2 // FU indicator and header (RFC 6184, section 5.8)
	vp8Cell  = maxPacket - 12 - 1 // payload descriptor (RFC 7741, section 4.2)

	// minCell has room for a marker and what the codec puts before it.
	minCell = 64

	// keyframeWeight is how many other frames a keyframe is as long as.
	keyframeWeight = 4

	// maxBurst bounds the packets of a frame: they all have to be in the ring.
	maxBurst = ringSize - 24

	opusSize     = 160
	opusInterval = 20 * time.Millisecond

	width, height = 1280, 720
)

// sizes are how long frames are.
type sizes struct {
	cell       int // bytes of a full cell
	key, other int // bytes of a frame
	interval   int // frames from one keyframe to the next
}

// sizes makes frames that are the bit rate on average from keyframe to keyframe.
func (c Config) sizes() sizes {
	s := sizes{cell: h264Cell}
	if c.Codec == "vp8" {
		s.cell = vp8Cell
	}
	s.interval = max(int(c.KeyframeInterval.Seconds()*float64(c.FPS)+0.5), 1)
	perFrame := float64(c.Bitrate) / 8 / float64(c.FPS)
	unit := perFrame * float64(s.interval) / float64(s.interval-1+keyframeWeight)
	s.other = max(int(unit), minCell)
	s.key = max(int(unit*keyframeWeight), minCell)
	return s
}

func (s sizes) frame(key bool) int {
	if key {
		return s.key
	}
	return s.other
}

// cells returns how many cells a frame has.
func (s sizes) cells(key bool) int { return (s.frame(key) + s.cell - 1) / s.cell }

// cellSize returns the bytes of a frame's i-th cell: all are full but the last.
func (s sizes) cellSize(key bool, i int) int {
	return max(min(s.frame(key)-i*s.cell, s.cell), minCell)
}

// filler is what frames are made of besides markers. Nothing in it is below 0x80, and it
// does not hold the magic.
var filler = func() (b [maxPacket]byte) {
	for i := range b {
		b[i] = 0xc4 + byte(i*7%50)
	}
	return b
}()

// fill appends the marker and filler up to size bytes from start.
func fill(b []byte, start, size int, m *marker) []byte {
	b = m.append(b)
	return append(b, filler[:size-(len(b)-start)]...)
}

// h264Payload appends the RTP payload of one cell: a single NAL unit packet, or an FU-A
// (RFC 6184, sections 5.6 and 5.8), of a slice of an IDR or another picture. size is the
// cell's length.
func h264Payload(b []byte, m *marker, size int) []byte {
	// The slice header begins with first_mb_in_slice 0 and slice_type I or P only.
	nal, slice := byte(0x41), byte(0x9a)
	if m.flags&flagKeyframe != 0 {
		nal, slice = 0x65, 0x88
	}
	if m.count == 1 {
		b = append(b, nal)
	} else {
		header := nal & 0x1f
		if m.index == 0 {
			header |= 0x80
		}
		if m.index == m.count-1 {
			header |= 0x40
		}
		b = append(b, nal&0x60|28, header)
	}
	start := len(b)
	if m.index == 0 {
		b = append(b, slice)
	}
	return fill(b, start, size, m)
}

// h264Parameters is a STAP-A (RFC 6184, section 5.7.1) of an SPS and a PPS for 1280x720,
// Constrained Baseline, level 3.1. It goes before each IDR.
var h264Parameters = func() []byte {
	b := []byte{0x78}
	for _, unit := range [][]byte{h264SPS(), h264PPS()} {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(unit))), unit...)
	}
	return b
}()

// h264SPS: ITU-T H.264, section 7.3.2.1.1.
func h264SPS() []byte {
	w := bitWriter{bytes: []byte{0x67, 66, 0xe0, 31}}
	w.ue(0)            // seq_parameter_set_id
	w.ue(0)            // log2_max_frame_num_minus4
	w.ue(2)            // pic_order_cnt_type: output order is decoding order
	w.ue(1)            // max_num_ref_frames
	w.bit(0)           // gaps_in_frame_num_value_allowed_flag
	w.ue(width/16 - 1) // pic_width_in_mbs_minus1
	w.ue(height/16 - 1)
	w.bit(1) // frame_mbs_only_flag
	w.bit(1) // direct_8x8_inference_flag
	w.bit(0) // frame_cropping_flag
	w.bit(0) // vui_parameters_present_flag
	return w.trailing()
}

// h264PPS: ITU-T H.264, section 7.3.2.2, with CAVLC and everything at its simplest.
func h264PPS() []byte {
	w := bitWriter{bytes: []byte{0x68}}
	w.ue(0)  // pic_parameter_set_id
	w.ue(0)  // seq_parameter_set_id
	w.bit(0) // entropy_coding_mode_flag
	w.bit(0) // bottom_field_pic_order_in_frame_present_flag
	w.ue(0)  // num_slice_groups_minus1
	w.ue(0)  // num_ref_idx_l0_default_active_minus1
	w.ue(0)  // num_ref_idx_l1_default_active_minus1
	w.bit(0) // weighted_pred_flag
	w.bit(0) // weighted_bipred_idc, two bits
	w.bit(0)
	w.ue(0)  // pic_init_qp_minus26; se(0) is written as ue(0)
	w.ue(0)  // pic_init_qs_minus26
	w.ue(0)  // chroma_qp_index_offset
	w.bit(0) // deblocking_filter_control_present_flag
	w.bit(0) // constrained_intra_pred_flag
	w.bit(0) // redundant_pic_cnt_present_flag
	return w.trailing()
}

// A bitWriter writes a raw byte sequence payload, highest bit first.
type bitWriter struct {
	bytes []byte
	used  int // bits of the last byte; 0: it is full
}

func (w *bitWriter) bit(v uint) {
	if w.used == 0 {
		w.bytes = append(w.bytes, 0)
	}
	w.bytes[len(w.bytes)-1] |= byte(v&1) << (7 - w.used)
	w.used = (w.used + 1) % 8
}

// ue writes an Exp-Golomb code (ITU-T H.264, section 9.1).
func (w *bitWriter) ue(v uint) {
	v++
	n := bits.Len(v)
	for range n - 1 {
		w.bit(0)
	}
	for i := n - 1; i >= 0; i-- {
		w.bit(v >> i)
	}
}

// trailing writes rbsp_trailing_bits and returns all.
func (w *bitWriter) trailing() []byte {
	w.bit(1)
	return slices.Clip(w.bytes)
}

// vp8Payload appends the RTP payload of one cell: the payload descriptor (RFC 7741, section
// 4.2), and in the first cell the frame header (RFC 6386, section 9.1).
func vp8Payload(b []byte, m *marker, size int, frame int) []byte {
	if m.index > 0 {
		b = append(b, 0)
		return fill(b, len(b), size, m)
	}
	b = append(b, 0x10) // S: a partition begins
	start := len(b)
	// Shown, version 0; the first partition is a quarter of the frame.
	tag := uint32(1<<4) | uint32(min(frame/4, 1<<19-1))<<5
	if m.flags&flagKeyframe == 0 {
		tag |= 1
	}
	b = append(b, byte(tag), byte(tag>>8), byte(tag>>16))
	if m.flags&flagKeyframe != 0 {
		b = append(b, 0x9d, 0x01, 0x2a, width&0xff, width>>8, height&0xff, height>>8)
	}
	return fill(b, start, size, m)
}

// opusPayload appends an Opus packet (RFC 6716, section 3.1): CELT, full band, 20 ms, stereo.
func opusPayload(b []byte, m *marker) []byte {
	start := len(b)
	b = append(b, 31<<3|1<<2)
	return fill(b, start, opusSize, m)
}
