package media

import "testing"

var (
	avc       = &Codec{Name: "H264", ClockRate: 90000}
	hevc      = &Codec{Name: "H265", ClockRate: 90000}
	vp8c      = &Codec{Name: "VP8", ClockRate: 90000}
	vp9c      = &Codec{Name: "VP9", ClockRate: 90000}
	av1c      = &Codec{Name: "AV1", ClockRate: 90000}
	opusCodec = &Codec{Name: "opus", ClockRate: 48000, Channels: 2}
)

var starts = []struct {
	name    string
	codec   *Codec
	payload []byte
	want    Start
}{
	{"H264 SPS", avc, []byte{0x67, 1, 2}, ParameterStart},
	{"H264 PPS", avc, []byte{0x68, 1, 2}, NoStart},
	{"H264 IDR slice", avc, []byte{0x65, 1, 2}, IntraStart},
	{"H264 other slice", avc, []byte{0x41, 1, 2}, NoStart},
	{"H264 access unit delimiter", avc, []byte{0x09, 0x10}, NoStart},
	{"H264 STAP-A of SPS and PPS", avc, []byte{0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 1}, ParameterStart},
	{"H264 STAP-A of PPS and IDR", avc, []byte{0x78, 0, 2, 0x68, 1, 0, 2, 0x65, 1}, IntraStart},
	{"H264 STAP-A of other slices", avc, []byte{0x78, 0, 2, 0x41, 1, 0, 2, 0x41, 1}, NoStart},
	{"H264 STAP-A with an empty unit", avc, []byte{0x78, 0, 0, 0, 2, 0x67, 1}, NoStart},
	{"H264 STAP-A that is longer than it is", avc, []byte{0x78, 0xff, 0xff, 0x67, 1}, NoStart},
	{"H264 STAP-A cut", avc, []byte{0x78, 0}, NoStart},
	{"H264 FU-A start of IDR", avc, []byte{0x7c, 0x85, 1}, IntraStart},
	{"H264 FU-A middle of IDR", avc, []byte{0x7c, 0x05, 1}, NoStart},
	{"H264 FU-A end of IDR", avc, []byte{0x7c, 0x45, 1}, NoStart},
	{"H264 FU-A start of another slice", avc, []byte{0x7c, 0x81, 1}, NoStart},
	{"H264 FU-A cut", avc, []byte{0x7c}, NoStart},
	{"H264 nothing", avc, nil, NoStart},

	{"H265 VPS", hevc, []byte{0x40, 1, 2}, ParameterStart},
	{"H265 SPS", hevc, []byte{0x42, 1, 2}, ParameterStart},
	{"H265 PPS", hevc, []byte{0x44, 1, 2}, NoStart},
	{"H265 IDR_W_RADL", hevc, []byte{0x26, 1, 2}, IntraStart},
	{"H265 CRA", hevc, []byte{0x2a, 1, 2}, IntraStart},
	{"H265 TRAIL_R", hevc, []byte{0x02, 1, 2}, NoStart},
	{"H265 AP of VPS and SPS", hevc, []byte{0x60, 1, 0, 2, 0x40, 1, 0, 2, 0x42, 1}, ParameterStart},
	{"H265 AP of trailing pictures", hevc, []byte{0x60, 1, 0, 2, 0x02, 1, 0, 2, 0x02, 1}, NoStart},
	{"H265 AP that is longer than it is", hevc, []byte{0x60, 1, 0xff, 0xff, 0x40, 1}, NoStart},
	{"H265 FU start of IDR", hevc, []byte{0x62, 1, 0x93, 1}, IntraStart},
	{"H265 FU middle of IDR", hevc, []byte{0x62, 1, 0x13, 1}, NoStart},
	{"H265 FU start of TRAIL_R", hevc, []byte{0x62, 1, 0x81, 1}, NoStart},
	{"H265 cut", hevc, []byte{0x62, 1}, NoStart},

	{"VP8 key frame", vp8c, []byte{0x10, 0x00, 0, 0}, ParameterStart},
	{"VP8 other frame", vp8c, []byte{0x10, 0x01, 0, 0}, NoStart},
	{"VP8 key frame, a later packet", vp8c, []byte{0x00, 0x00, 0, 0}, NoStart},
	{"VP8 key frame, second partition", vp8c, []byte{0x11, 0x00, 0, 0}, NoStart},
	{"VP8 key frame, all extensions", vp8c, []byte{0x90, 0xf0, 0x80, 1, 2, 3, 0x00, 0}, ParameterStart},
	{"VP8 other frame, all extensions", vp8c, []byte{0x90, 0xf0, 0x80, 1, 2, 3, 0x01, 0}, NoStart},
	{"VP8 descriptor only", vp8c, []byte{0x90, 0xf0, 0x80, 1, 2, 3}, NoStart},
	{"VP8 descriptor cut", vp8c, []byte{0x90, 0xf0, 0x80}, NoStart},

	{"VP9 key frame", vp9c, []byte{0x08, 0x82}, ParameterStart},
	{"VP9 predicted frame", vp9c, []byte{0x48, 0x82}, NoStart},
	{"VP9 key frame, a later packet", vp9c, []byte{0x04, 0x82}, NoStart},
	{"VP9 key frame, picture id and layers", vp9c, []byte{0xa8, 0x80, 1, 0x00, 9, 0x82}, ParameterStart},
	{"VP9 key frame, upper spatial layer", vp9c, []byte{0xa8, 0x80, 1, 0x02, 9, 0x82}, NoStart},
	{"VP9 flexible, predicted", vp9c, []byte{0xd8, 0x01, 0x03, 0x02, 0x82}, NoStart},
	{"VP9 cut", vp9c, []byte{0xa8, 0x80}, NoStart},
	{"VP9 endless references", vp9c, []byte{0xd8, 0x01, 0xff, 0xff, 0xff, 0xff}, NoStart},

	{"AV1 new coded video sequence", av1c, []byte{0x18, 0x0a, 1, 2}, ParameterStart},
	{"AV1 sequence header without N", av1c, []byte{0x10, 0x08, 1, 2}, ParameterStart},
	{"AV1 sequence header after a delimiter", av1c, []byte{0x20, 0x01, 0x10, 0x08, 1}, ParameterStart},
	{"AV1 frame", av1c, []byte{0x10, 0x30, 1, 2}, NoStart},
	{"AV1 continued", av1c, []byte{0x98, 0x08, 1, 2}, NoStart},
	{"AV1 continued, then a sequence header", av1c, []byte{0xa0, 0x02, 1, 2, 0x08, 1}, ParameterStart},
	{"AV1 length beyond the end", av1c, []byte{0x20, 0x7f, 0x08}, NoStart},
	{"AV1 endless length", av1c, []byte{0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, NoStart},
	{"AV1 header only", av1c, []byte{0x18}, NoStart},

	{"opus", opusCodec, []byte{0xfc}, ParameterStart},
}

func TestStartOf(t *testing.T) {
	for _, tt := range starts {
		if got := StartOf(tt.codec, tt.payload); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

// FuzzPayload: whatever the bytes, nothing panics, what is called a picture makes sense, and
// rewriting changes nothing but ids.
func FuzzPayload(f *testing.F) {
	for _, tt := range starts {
		f.Add(tt.payload)
	}
	for _, tt := range pictures {
		f.Add(tt.payload)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		before := string(payload)
		for _, codec := range []*Codec{avc, hevc, vp8c, vp9c, av1c, opusCodec} {
			start := StartOf(codec, payload)
			if start != NoStart && len(payload) == 0 {
				t.Fatalf("%s: nothing begins a keyframe", codec.Name)
			}
			if p, ok := Describe(codec, payload); ok && (p.Width < 1 || p.Height < 1 || p.Width > maxSide || p.Height > maxSide) {
				t.Fatalf("%s: a picture of %dx%d", codec.Name, p.Width, p.Height)
			}
			var ids PictureIDs
			ids.Rewrite(codec, payload)
			ids.Switch()
			out := ids.Rewrite(codec, payload)
			if len(out) != len(payload) || StartOf(codec, out) != start {
				t.Fatalf("%s: rewriting makes another payload", codec.Name)
			}
		}
		if string(payload) != before {
			t.Fatal("the payload itself was changed")
		}
	})
}

func BenchmarkStartOf(b *testing.B) {
	for _, bb := range []struct {
		name    string
		codec   *Codec
		payload []byte
	}{
		{"H264", avc, []byte{0x7c, 0x01, 1}},
		{"VP8", vp8c, []byte{0x90, 0xf0, 0x80, 1, 2, 3, 0x01, 0}},
		{"VP9", vp9c, []byte{0xa8, 0x80, 1, 0x00, 9, 0x82}},
		{"AV1", av1c, []byte{0x10, 0x30, 1, 2}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				StartOf(bb.codec, bb.payload)
			}
		})
	}
}
