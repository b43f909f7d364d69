package audio

import (
	"slices"
	"testing"
	"time"
)

// encoded speaks Opus in frames of 20 ms.
func encoded(payloads [][]byte, drift float64, net network) []Packet {
	packets := speak(time.Duration(len(payloads)-2)*FrameDuration, FrameSamples, 0, 0, drift, false, net)
	for i := range packets {
		packets[i].Payload = payloads[packets[i].Sequence]
	}
	return packets
}

// mixed returns what a leg makes of packets, from the first sound on.
func mixed(t *testing.T, packets []Packet, phase time.Duration) ([]float32, Stats) {
	t.Helper()
	packets = slices.Clone(packets)
	slices.SortStableFunc(packets, func(a, b Packet) int { return a.Arrival.Compare(b.Arrival) })
	l := NewLeg(1, libraries[0].newDecoder(t, 1))
	var pcm []float32
	frame := make([]float32, FrameSamples)
	for now := began.Add(phase); len(packets) > 0; now = now.Add(FrameDuration) {
		for len(packets) > 0 && !packets[0].Arrival.After(now) {
			l.Put(packets[0])
			packets = packets[1:]
		}
		if l.Next(frame, now) != Silent || pcm != nil {
			pcm = append(pcm, frame...)
		}
	}
	return pcm, l.Stats()
}
