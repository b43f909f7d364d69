package audio

import (
	"fmt"
	"math"
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

func TestTonesKeepTheirLevel(t *testing.T) {
	notUnderRace(t)
	r := random(t)
	rough, fine := shaky(r), calm(r)
	falling := func(i int) (time.Duration, bool) { // so that the leg has to catch up
		if i < 150 {
			return rough(i)
		}
		return fine(i)
	}
	frequencies := []float64{400, 700, 1100}
	if raceEnabled {
		frequencies = frequencies[:1]
	}
	for _, frequency := range frequencies {
		payloads := mustEncode(t, libraries[0].newEncoder(t, mono(0)), tone(frequency, 0.25, 650))
		straight := mustDecode(t, libraries[0].newDecoder(t, 1), payloads[:100])
		want := amplitude(straight[len(straight)/2:], frequency)
		for _, tt := range []struct {
			name  string
			drift float64
			phase time.Duration // so that a correction comes soon
			net   network
		}{
			{"calm", 0, 3 * time.Millisecond, fine},
			{"jitter, then calm", 0, 3 * time.Millisecond, falling},
			{"stall", 0, 3 * time.Millisecond, stall},
			{"drift", 5e-4, 4200 * time.Microsecond, fine},
			{"drift", -5e-4, 9 * time.Millisecond, fine},
		} {
			t.Run(fmt.Sprintf("%v Hz, %s %.0f ppm", frequency, tt.name, tt.drift*1e6), func(t *testing.T) {
				pcm, stats := mixed(t, encoded(payloads, tt.drift, tt.net), tt.phase)
				if changed := stats.Stretched+stats.Compressed > 0; changed == (tt.name == "calm") {
					t.Errorf("stretched or compressed: %v", changed)
				}
				const window = SampleRate / 5
				worst := 0.0
				for at := SampleRate; at+window <= len(pcm); at += window {
					if tt.name == "stall" && at > 480*FrameSamples && at < 530*FrameSamples {
						continue // nothing came
					}
					worst = max(worst, math.Abs(amplitude(pcm[at:at+window], frequency)-want))
				}
				if worst > 1 {
					t.Errorf("level is off by %.2f dB", worst)
				}
				t.Logf("off by at most %.2f dB, %+v", worst, stats)
			})
		}
	}
}

func TestLossOfRealPacketsLeavesNoGap(t *testing.T) {
	notUnderRace(t)
	r := random(t)
	payloads := mustEncode(t, libraries[0].newEncoder(t, mono(0)), tone(400, 0.25, 1500))
	for _, loss := range []float64{0.05, 0.1} {
		pcm, stats := mixed(t, encoded(payloads, 0, bursty(r, calm(r), loss, 2.5)), 3*time.Millisecond)
		silent, longest := 0, 0
		for _, x := range pcm[SampleRate:] {
			if silent++; math.Abs(float64(x)) > 1e-4 {
				silent = 0
			}
			longest = max(longest, silent)
		}
		if got := time.Duration(longest) * time.Second / SampleRate; got > 60*time.Millisecond {
			t.Errorf("%v lost: silent for %v", loss, got)
		}
		if stats.Lost == 0 {
			t.Errorf("nothing lost: %+v", stats)
		}
		t.Logf("%v lost: longest silence %v, %+v", loss, time.Duration(longest)*time.Second/SampleRate, stats)
	}
}

func TestRealErrorCorrectionIsUsed(t *testing.T) {
	notUnderRace(t)
	r := random(t)
	single := func(i int) (time.Duration, bool) { return 20 * time.Millisecond, i > 50 && r.IntN(20) == 0 }
	for _, tt := range []struct {
		expected int // loss, as the encoder is told
		want     bool
	}{{0, false}, {20, true}} {
		config := EncoderConfig{Channels: 1, Bitrate: 24000, Complexity: 0, Loss: tt.expected}
		payloads := mustEncode(t, libraries[0].newEncoder(t, config), voice(600))
		_, stats := mixed(t, encoded(payloads, 0, single), 3*time.Millisecond)
		if got := stats.FEC > stats.Lost/2; got != tt.want {
			t.Errorf("with %d %% expected, %d of %d lost packets came by error correction", tt.expected, stats.FEC, stats.Lost)
		}
		t.Logf("%+v", stats)
	}
}
