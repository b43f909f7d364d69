package media

import "testing"

// bits writes parameter sets as the codecs' specifications describe them.
type bits struct {
	bytes []byte
	n     int
}

// u writes an unsigned number of n bits.
func (b *bits) u(n int, v uint64) *bits {
	for i := n - 1; i >= 0; i-- {
		if b.n%8 == 0 {
			b.bytes = append(b.bytes, 0)
		}
		b.bytes[b.n/8] |= byte(v>>i&1) << (7 - b.n%8)
		b.n++
	}
	return b
}

// ue writes Exp-Golomb codes (ITU-T H.264, section 9.1).
func (b *bits) ue(values ...uint64) *bits {
	for _, v := range values {
		n := 0
		for (v+1)>>n > 1 {
			n++
		}
		b.u(n, 0).u(n+1, v+1)
	}
	return b
}

// nal ends a NAL unit and keeps start codes out of it (ITU-T H.264, section 7.4.1).
func (b *bits) nal() []byte {
	b.u(1, 1)
	var out []byte
	zeros := 0
	for _, c := range b.bytes {
		if zeros == 2 && c <= 3 {
			out, zeros = append(out, 3), 0
		}
		if zeros++; c != 0 {
			zeros = 0
		}
		out = append(out, c)
	}
	return out
}

func spsH264(profile, flags, level uint64, cropped bool) []byte {
	b := new(bits).u(8, 0x67).u(8, profile).u(8, flags).u(8, level).ue(0)
	if profile == 100 {
		b.ue(1, 0, 0).u(2, 0)
	}
	b.ue(0, 2, 1).u(1, 0).ue(79, 44).u(2, 3)
	if cropped {
		b.u(1, 1).ue(0, 1<<20, 0, 1<<20)
	} else {
		b.u(1, 0)
	}
	return b.u(1, 0).nal()
}

func spsH265(tier uint64) []byte {
	b := new(bits).u(16, 0x4201).u(4, 0).u(3, 0).u(1, 1)
	b.u(2, 0).u(1, tier).u(5, 1).u(32, 0x60000000).u(4, 9).u(43, 0).u(1, 0).u(8, 93)
	b.ue(0, 1, 1280, 720).u(1, 0).ue(0, 0, 4).u(1, 1).ue(1, 0, 0, 0, 3, 0, 3, 0, 0)
	return b.u(4, 0).ue(0).u(5, 0).nal()
}

func sequenceAV1() []byte {
	b := new(bits).u(8, 0x08).u(3, 0).u(4, 0).u(5, 0).u(12, 0).u(5, 8).u(1, 0)
	b.u(4, 10).u(4, 10).u(11, 1279).u(11, 719).u(9, 0).u(2, 3).u(3, 0)
	return b.u(4, 0).u(2, 0).u(2, 0).u(1, 1).bytes
}

func frameVP9() []byte {
	return new(bits).u(2, 2).u(2, 0).u(1, 0).u(1, 0).u(2, 2).u(24, 0x498342).u(3, 1).u(1, 0).u(16, 1279).u(16, 719).u(8, 0).bytes
}

func aggregate(head []byte, nals ...[]byte) []byte {
	for _, n := range nals {
		head = append(append(head, byte(len(n)>>8), byte(len(n))), n...)
	}
	return head
}

var pictures = []struct {
	name    string
	codec   *Codec
	payload []byte
	want    Picture
}{
	{"H264 Constrained Baseline", avc, spsH264(66, 0xe0, 31, false), Picture{1280, 720, "Constrained Baseline 3.1"}},
	{"H264 Baseline", avc, spsH264(66, 0, 30, false), Picture{1280, 720, "Baseline 3.0"}},
	{"H264 Main", avc, spsH264(77, 0, 40, false), Picture{1280, 720, "Main 4.0"}},
	{"H264 High", avc, spsH264(100, 0, 51, false), Picture{1280, 720, "High 5.1"}},
	{"H264 level 1b", avc, spsH264(66, 0xf0, 11, false), Picture{1280, 720, "Constrained Baseline 1b"}},
	{"H264 STAP-A", avc, aggregate([]byte{0x78}, []byte{9, 0x10}, spsH264(66, 0xe0, 31, false), []byte{0x68, 1}), Picture{1280, 720, "Constrained Baseline 3.1"}},
	{"H264 cropped to nothing", avc, spsH264(66, 0xe0, 31, true), Picture{}},
	{"H264 SPS cut", avc, spsH264(66, 0xe0, 31, false)[:5], Picture{}},
	{"H264 slice", avc, []byte{0x65, 1, 2, 3, 4}, Picture{}},

	{"H265 SPS", hevc, spsH265(0), Picture{1280, 720, "Main 3.1"}},
	{"H265 AP", hevc, aggregate([]byte{0x60, 1}, []byte{0x40, 1}, spsH265(1)), Picture{1280, 720, "Main 3.1, High tier"}},
	{"H265 SPS cut", hevc, spsH265(0)[:9], Picture{}},

	{"VP8", vp8c, []byte{0x90, 0x80, 0x05, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x00, 0x45, 0xd0, 0x02}, Picture{1280, 720, ""}},
	{"VP8 without start code", vp8c, []byte{0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2b, 0x00, 0x45, 0xd0, 0x02}, Picture{}},
	{"VP8 cut", vp8c, []byte{0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x00}, Picture{}},

	{"VP9 header", vp9c, append([]byte{0x08}, frameVP9()...), Picture{1280, 720, "Profile 0"}},
	{"VP9 scalability structure", vp9c, append([]byte{0x0a, 0x38, 0x02, 0x80, 0x01, 0x68, 0x05, 0x00, 0x02, 0xd0, 1, 0x04, 0x01}, 0x86), Picture{1280, 720, ""}},
	{"VP9 structure cut", vp9c, []byte{0x0a, 0xf8, 0x02, 0x80, 0x01}, Picture{}},

	{"AV1", av1c, append([]byte{0x18}, sequenceAV1()...), Picture{1280, 720, "Main 4.0"}},
	{"AV1 after a delimiter", av1c, append([]byte{0x28, 0x02, 0x12, 0x00}, sequenceAV1()...), Picture{1280, 720, "Main 4.0"}},
	{"AV1 cut", av1c, append([]byte{0x18}, sequenceAV1()[:6]...), Picture{}},

	{"opus", opusCodec, []byte{0xfc, 1, 2}, Picture{}},
	{"nothing", avc, nil, Picture{}},
}

func TestDescribe(t *testing.T) {
	for _, tt := range pictures {
		got, ok := Describe(tt.codec, tt.payload)
		if got != tt.want || ok != (tt.want.Width > 0) {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestProfile(t *testing.T) {
	for _, tt := range []struct{ name, fmtp, want string }{
		{"H264", "packetization-mode=1;profile-level-id=42e01f", "Constrained Baseline 3.1"},
		{"H264", "Profile-Level-Id=640C28; packetization-mode=1", "Constrained High 4.0"},
		{"H264", "profile-level-id=zz", ""},
		{"H264", "profile-level-id=42e0", ""},
		{"H264", "", ""},
		{"H265", "profile-id=1;tier-flag=0;level-id=93", "Main 3.1"},
		{"H265", "profile-id=2", "Main 10"},
		{"VP9", "profile-id=2", "Profile 2"},
		{"AV1", "profile=0;level-idx=5;tier=0", "Main 3.1"},
		{"AV1", "profile=1", "High"},
		{"VP8", "", ""},
	} {
		if got := Profile(Codec{Name: tt.name, Fmtp: tt.fmtp}); got != tt.want {
			t.Errorf("%s %q: got %q, want %q", tt.name, tt.fmtp, got, tt.want)
		}
	}
}
