package audio

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/thesyncim/gopus"
)

// repeat is a packet: its head, and a tail of zeros.
func repeat(tail int, head ...byte) []byte {
	return append(head, make([]byte, tail)...)
}

func TestPacketSamplesGoesByTheStandard(t *testing.T) {
	const silk20, silk60, celt20, celt2 = 1 << 3, 3 << 3, 31 << 3, 28 << 3
	for _, tt := range []struct {
		name   string
		packet []byte
		want   int // 0 is an error
	}{
		{"nothing (R1)", nil, 0},
		{"one byte: a pause", []byte{silk20}, 960},
		{"one frame of 1275 bytes", repeat(1275, silk20), 960},
		{"one frame of 1276 bytes (R2)", repeat(1276, silk20), 0},
		{"longer than any", repeat(MaxPacketBytes, silk20), 0},
		{"two equal frames", repeat(10, silk20|1), 1920},
		{"two equal frames in an odd number of bytes (R3)", repeat(11, silk20|1), 0},
		{"two empty frames", []byte{silk20 | 1}, 1920},
		{"two frames, of 3 and 4 bytes", repeat(7, silk20|2, 3), 1920},
		{"two frames, of 7 and 0 bytes", repeat(7, silk20|2, 7), 1920},
		{"two frames, the first longer than the packet (R4)", repeat(7, silk20|2, 8), 0},
		{"two frames, without a length (R4)", []byte{silk20 | 2}, 0},
		{"two frames, with half a length (R4)", []byte{silk20 | 2, 252}, 0},
		{"two frames, the first of 252 bytes", repeat(252, silk20|2, 252, 0), 1920},
		{"two frames, the first of 1275 bytes", repeat(1275, silk20|2, 255, 255), 1920},
		{"two frames, the second of 1276 bytes (R2)", repeat(1276, silk20|2, 0), 0},
		{"no count (R6)", []byte{silk20 | 3}, 0},
		{"no frames (R5)", []byte{silk20 | 3, 0}, 0},
		{"three equal frames", repeat(9, silk20|3, 3), 2880},
		{"three equal frames that do not fit (R6)", repeat(10, silk20|3, 3), 0},
		{"120 ms in six", repeat(6, silk20|3, 6), 5760},
		{"140 ms in seven (R5)", repeat(7, silk20|3, 7), 0},
		{"120 ms in two", repeat(2, silk60|3, 2), 5760},
		{"180 ms in three (R5)", repeat(3, silk60|3, 3), 0},
		{"120 ms in 48", repeat(48, celt2|3, 48), 5760},
		{"122.5 ms in 49 (R5)", repeat(49, celt2|3, 49), 0},
		{"padding", repeat(9+5, celt20|3, 0x40|3, 5), 2880},
		{"padding of 254 and 5", repeat(9+259, celt20|3, 0x40|3, 255, 5), 2880},
		{"all padding", repeat(5, celt20|3, 0x40|1, 5), 960},
		{"more padding than bytes (R6)", repeat(4, celt20|3, 0x40|1, 5), 0},
		{"padding without a length (R6)", []byte{celt20 | 3, 0x40 | 1}, 0},
		{"padding that goes on (R6)", []byte{celt20 | 3, 0x40 | 1, 255}, 0},
		{"frames of 1, 2 and 3 bytes", repeat(6, celt20|3, 0x80|3, 1, 2), 2880},
		{"frames of 1, 2 and 0 bytes", repeat(3, celt20|3, 0x80|3, 1, 2), 2880},
		{"frames of 1 and 2 bytes in 2 (R7)", repeat(2, celt20|3, 0x80|3, 1, 2), 0},
		{"frames without a length (R7)", []byte{celt20 | 3, 0x80 | 3, 1}, 0},
		{"frames and padding", repeat(6+9, celt20|3, 0x80|0x40|3, 9, 1, 2), 2880},
		{"a last frame of 1276 bytes (R2)", repeat(1276, celt20|3, 0x80|2, 0), 0},
	} {
		got, err := PacketSamples(tt.packet)
		if got != tt.want || (err == nil) != (tt.want > 0) || err != nil && !errors.Is(err, ErrPacket) {
			t.Errorf("%s: %d samples, %v, want %d", tt.name, got, err, tt.want)
		}
	}
}

// TestPacketSamplesOfEveryConfiguration has RFC 6716, table 2, as durations.
func TestPacketSamplesOfEveryConfiguration(t *testing.T) {
	ms := []float64{
		10, 20, 40, 60, 10, 20, 40, 60, 10, 20, 40, 60,
		10, 20, 10, 20,
		2.5, 5, 10, 20, 2.5, 5, 10, 20, 2.5, 5, 10, 20, 2.5, 5, 10, 20,
	}
	for config, want := range ms {
		got, err := PacketSamples([]byte{byte(config) << 3, 0})
		if err != nil || float64(got) != want*SampleRate/1000 {
			t.Errorf("configuration %d: %d samples, %v, want %v ms", config, got, err, want)
		}
	}
}

// TestPacketSamplesAgreesWithGopus asks another parser about random packets.
func TestPacketSamplesAgreesWithGopus(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	good := 0
	for range 50000 {
		packet := make([]byte, random.IntN(60))
		for i := range packet {
			packet[i] = byte(random.Uint32())
			if i > 0 {
				packet[i] >>= random.IntN(8) // small lengths
			}
		}
		got, err := PacketSamples(packet)
		want := 0
		if info, err := gopus.ParsePacket(packet); err == nil {
			want = info.FrameCount * info.TOC.FrameSize
		}
		if want > MaxPacketSamples {
			want = 0
		}
		if got != want {
			t.Fatalf("%x: %d samples, %v, want %d", packet, got, err, want)
		}
		if err == nil {
			good++
		}
	}
	if good < 10000 || good > 40000 {
		t.Errorf("%d of 50000 packets are good: want a test of both", good)
	}
}
