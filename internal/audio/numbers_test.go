//go:build !race

package audio

// Tests of numbers have one goroutine, and take ten times as long under the race detector, of which they are
// no business: make test-libopus runs them without it.

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

func TestTonesKeepTheirLevel(t *testing.T) {
	r := random(t)
	rough, fine := shaky(r), calm(r)
	falling := func(i int) (time.Duration, bool) { // so that the leg has to catch up
		if i < 150 {
			return rough(i)
		}
		return fine(i)
	}
	for _, frequency := range []float64{400, 700, 1100} {
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

func TestRealErrorCorrectionIsUsed(t *testing.T) {
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

func TestLossOfRealPacketsLeavesNoGap(t *testing.T) {
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

// TestMixHasTheOthersAndNotOneself sends three tones through all of the bridge's arithmetic:
// encode, decode, add, subtract, limit, encode, decode. Tones whose sum is too loud are
// limited; at that loudness SILK's own noise, with libopus too, is 40 dB below them.
func TestMixHasTheOthersAndNotOneself(t *testing.T) {
	tones := []float64{400, 700, 1100}
	const frames = 100
	for _, tt := range []struct {
		config          EncoderConfig
		amplitude, left float64 // dB
	}{
		{mono(5), 0.2, -50}, {mono(5), 0.7, -35},
		{stereo(5), 0.2, -50}, {stereo(5), 0.7, -35},
		{lowDelay(5), 0.1, -45},
	} {
		t.Run(fmt.Sprintf("%s,%v", name(tt.config), tt.amplitude), func(t *testing.T) {
			eachPair(t, func(t *testing.T, enc, dec library) {
				channels := tt.config.Channels
				opus := func(pcm []float32) []float32 {
					return mustDecode(t, dec.newDecoder(t, channels), mustEncode(t, enc.newEncoder(t, tt.config), pcm))
				}
				var voices [][]float32
				total := make([]float32, frames*FrameSamples*channels)
				for _, frequency := range tones {
					pcm := tone(frequency, tt.amplitude, frames)
					if channels == 2 {
						pcm = interleave(pcm, pcm)
					}
					voices = append(voices, opus(pcm))
					Add(total, voices[len(voices)-1])
				}
				for own := range tones {
					mix := make([]float32, len(total))
					Subtract(mix, total, voices[own])
					var limiter Limiter
					for frame := range slices.Chunk(mix, FrameSamples*channels) {
						limiter.Apply(frame, channels)
					}
					pcm := opus(mix)
					for c := range channels {
						one := pcm
						if channels == 2 {
							one = channel(pcm, c)
						}
						checkMix(t, c, one[len(one)/4:], tones, own, tt.left)
					}
				}
			})
		})
	}
}

// TestCodecAllocatesNoMoreThanItSays knows what gopus allocates where it corrects and conceals.
func TestCodecAllocatesNoMoreThanItSays(t *testing.T) {
	for _, l := range libraries {
		for _, config := range []EncoderConfig{mono(0), mono(5), mono(10), stereo(5), lowDelay(5)} {
			e, d := l.newEncoder(t, config), l.newDecoder(t, config.Channels)
			speech := voice(100 * config.Channels)
			packets := mustEncode(t, e, speech)
			mustDecode(t, d, packets)
			frame := FrameSamples * config.Channels
			buffer, pcm := make([]byte, 0, MaxPacketBytes), make([]float32, 2*MaxPacketSamples)
			encode, conceal := 0.0, 0.0
			if l.name == "gopus" {
				conceal = 12
				if config.Channels == 1 && !config.LowDelay {
					encode = 5
				}
			}
			i := 0
			for _, tt := range []struct {
				name string
				want float64
				do   func() error
			}{
				{"encode", encode, func() error { _, err := e.Encode(buffer, speech[i%100*frame:][:frame]); return err }},
				{"encode silence", 0, func() error { _, err := e.Encode(buffer, pcm[:frame]); return err }},
				{"decode", 0, func() error { _, err := d.Decode(packets[i%100], pcm); return err }},
				{"correct", conceal, func() error { return d.DecodeFEC(packets[i%100], pcm, FrameSamples) }},
				{"conceal", conceal, func() error { return d.Conceal(pcm, FrameSamples) }},
			} {
				clear(pcm)
				got := testing.AllocsPerRun(100, func() {
					i++
					if err := tt.do(); err != nil {
						t.Fatal(err)
					}
				})
				if got > tt.want {
					t.Errorf("%s %+v: %s allocates %v times, want at most %v", l.name, config, tt.name, got, tt.want)
				}
			}
		}
	}
}

func TestDriftOfWhatCannotBeSplicedIsResampled(t *testing.T) {
	for _, drift := range []float64{-200e-6, 200e-6} {
		h := listenWith(speak(4*time.Minute, 960, 0, 0, drift, false, calm(random(t))), 0, 1, &toneDecoder{channels: 1, noise: true})
		s := h.leg.Stats()
		if s.Stretched+s.Compressed < FrameSamples || h.change > maxSlide {
			t.Errorf("%.0f ppm: at most %d samples a frame, want %d: %+v", drift*1e6, h.change, maxSlide, s)
		}
		if got := h.quantile(1, warm); got > 30*time.Millisecond || s.Concealed != 0 {
			t.Errorf("%.0f ppm: delay %v, %+v", drift*1e6, got, s)
		}
		t.Log(h)
	}
}

func TestCalmNetworkCostsOneTick(t *testing.T) {
	r := random(t)
	for _, n := range []int{120, 240, 480, 960, 1920, 2880, 5760} {
		for phase := time.Duration(0); phase < FrameDuration; phase += 2900 * time.Microsecond {
			for channels := 1; channels <= 2; channels++ {
				t.Run(fmt.Sprintf("%d samples, %v, %d channels", n, phase, channels), func(t *testing.T) {
					h := listen(speak(5*time.Second, n, 0, 0, 0, false, calm(r)), phase, channels)
					h.smooth(t, 0)
					// Of several packets in a frame the first has to wait for the last.
					want := 25*time.Millisecond + time.Duration(max(0, FrameSamples-n))*time.Second/SampleRate
					if got := h.quantile(0.95, warm); got > want {
						t.Errorf("delay %v, want at most %v", got, want)
					}
					if s := h.leg.Stats(); s.Concealed != 0 || s.Late != 0 || s.Lost != 0 {
						t.Errorf("concealed on a calm network: %+v", s)
					}
					if h.least < -1 {
						t.Errorf("level of the quietest frame %.1f dB", h.least)
					}
				})
			}
		}
	}
}
