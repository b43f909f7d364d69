package media

import (
	"bytes"
	"testing"
	"time"
)

// durations are those of a frame by config, as table 2 of RFC 6716 has them.
var durations = func() (out [32]time.Duration) {
	const ms = time.Millisecond
	for _, row := range []struct {
		from, to int
		of       []time.Duration
	}{
		{0, 11, []time.Duration{10 * ms, 20 * ms, 40 * ms, 60 * ms}},
		{12, 15, []time.Duration{10 * ms, 20 * ms}},
		{16, 31, []time.Duration{5 * ms / 2, 5 * ms, 10 * ms, 20 * ms}},
	} {
		for config := row.from; config <= row.to; config++ {
			out[config] = row.of[(config-row.from)%len(row.of)]
		}
	}
	return out
}()

// frames cuts a well-formed packet without padding, of frames of one size, into these
// (RFC 6716, section 3.2).
func frames(t *testing.T, packet []byte) (config byte, stereo bool, frames [][]byte) {
	t.Helper()
	config, stereo = packet[0]>>3, packet[0]&4 != 0
	count, rest := 1, packet[1:]
	switch packet[0] & 3 {
	case 1:
		count = 2
	case 2:
		t.Fatalf("% x: frames of different sizes", packet)
	case 3:
		if packet[1]&0xc0 != 0 {
			t.Fatalf("% x: padding, or frames of different sizes", packet)
		}
		count, rest = int(packet[1]), packet[2:]
	}
	if count == 0 || len(rest)%count != 0 {
		t.Fatalf("% x: %d frames in %d bytes (R3, R6)", packet, count, len(rest))
	}
	for size := len(rest) / count; len(rest) > 0; rest = rest[size:] {
		frames = append(frames, rest[:size])
	}
	return config, stereo, frames
}

func TestSilenceIsAsLongAndAsWideAsWhatItStandsFor(t *testing.T) {
	codec := &Codec{Name: "opus", ClockRate: 48000, Channels: 2}
	for toc := range 256 {
		for count := 1; count <= 48; count++ {
			packet := []byte{byte(toc), byte(count), 1, 2, 3}
			n := [4]int{1, 2, 2, count}[toc&3]
			want := time.Duration(n) * durations[toc>>3]
			if want > 120*time.Millisecond {
				continue
			}
			config, stereo, got := frames(t, Silence(codec, packet))
			if d := time.Duration(len(got)) * durations[config]; d != want || stereo != (toc&4 != 0) {
				t.Errorf("for % x: %v, stereo %t, want %v, %t", packet[:2], d, stereo, want, toc&4 != 0)
			}
			for _, frame := range got {
				if config < 28 || !bytes.Equal(frame, []byte{0xff, 0xfe}) {
					t.Errorf("for % x: a frame % x of config %d, which is no silence of CELT", packet[:2], frame, config)
				}
			}
		}
	}
}

func TestSilenceOfWhatIsNoPacket(t *testing.T) {
	opus := &Codec{Name: "opus"}
	for _, tt := range []struct {
		name          string
		codec         *Codec
		payload, want []byte
	}{
		{"20 ms of mono", opus, []byte{0x78, 1, 2}, []byte{0xf8, 0xff, 0xfe}},
		{"20 ms of stereo", opus, []byte{0xfc, 1, 2}, []byte{0xfc, 0xff, 0xfe}},
		{"a frame that is not sent (DTX)", opus, []byte{0x08}, []byte{0xf8, 0xff, 0xfe}},
		{"code 3 without its count", opus, []byte{0xff}, []byte{0xfc, 0xff, 0xfe}},
		{"code 3 without frames", opus, []byte{0xff, 0}, []byte{0xfc, 0xff, 0xfe}},
		{"more than 120 ms", opus, []byte{0xff, 63, 1}, []byte{0xfc, 0xff, 0xfe}},
		{"padding", opus, nil, nil},
		{"another spelling", &Codec{Name: "OPUS"}, []byte{0x78}, []byte{0xf8, 0xff, 0xfe}},
		{"another codec", &Codec{Name: "PCMU"}, []byte{0x78, 1}, nil},
	} {
		if got := Silence(tt.codec, tt.payload); !bytes.Equal(got, tt.want) {
			t.Errorf("%s: got % x, want % x", tt.name, got, tt.want)
		}
	}
}

func TestSilenceAllocatesNothing(t *testing.T) {
	codec, packet := &Codec{Name: "opus"}, []byte{0xfc, 1, 2}
	if n := testing.AllocsPerRun(100, func() { Silence(codec, packet) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
