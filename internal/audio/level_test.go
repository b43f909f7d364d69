package audio

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestLevelIsThatOfTheStandard(t *testing.T) {
	square := make([]float32, FrameSamples)
	for i := range square {
		square[i] = float32(1 - 2*(i/48%2))
	}
	for _, tt := range []struct {
		name string
		pcm  []float32
		want uint8
	}{
		{"a square wave at full scale (RFC 6465, appendix A)", square, 0},
		{"a sine at full scale", tone(1000, 1, 1), 3},
		{"a sine 20 dB lower", tone(1000, 0.1, 1), 23},
		{"a sine that overloads", tone(1000, 10, 1), 0},
		{"one bit of 16 now and then", tone(1000, 1./32768, 1), 93},
		{"less than there are levels", tone(1000, 1e-7, 1), 127},
		{"zeros", make([]float32, FrameSamples), 127},
		{"three samples", []float32{0.1, 0.1, 0.1}, 20},
		{"nothing", nil, 127},
		{"no number", []float32{float32(math.NaN())}, 127},
	} {
		if got := Level(tt.pcm); got != tt.want {
			t.Errorf("%s: -%d dBov, want -%d", tt.name, got, tt.want)
		}
	}
}

// at scales pcm to a level, in dBov.
func at(level float64, pcm []float32) []float32 {
	var power float64
	for _, s := range pcm {
		power += float64(s) * float64(s) / float64(len(pcm))
	}
	gain := math.Pow(10, level/20) / math.Sqrt(power)
	scaled := make([]float32, len(pcm))
	for i, s := range pcm {
		scaled[i] = float32(gain * float64(s))
	}
	return scaled
}

func white(frames int) []float32 {
	random := rand.New(rand.NewPCG(5, 6))
	pcm := make([]float32, frames*FrameSamples)
	for i := range pcm {
		pcm[i] = float32(random.NormFloat64())
	}
	return pcm
}

// pink sums white noises, each renewed half as often as the one before (Voss).
func pink(frames int) []float32 {
	random := rand.New(rand.NewPCG(7, 8))
	pcm := make([]float32, frames*FrameSamples)
	var rows [11]float64
	for i := range pcm {
		for r := range rows {
			if i%(1<<r) == 0 {
				rows[r] = random.NormFloat64()
			}
			pcm[i] += float32(rows[r])
		}
	}
	return pcm
}

// hum is 50 Hz with harmonics.
func hum(frames int) []float32 {
	pcm := tone(50, 1, frames)
	Add(pcm, tone(150, 0.5, frames))
	Add(pcm, tone(250, 0.3, frames))
	return pcm
}

// active returns for each frame whether it counts as speaking.
func active(a *Activity, pcm []float32) []bool {
	var speaking []bool
	for ; len(pcm) >= FrameSamples; pcm = pcm[FrameSamples:] {
		speaking = append(speaking, a.Frame(Level(pcm[:FrameSamples])))
	}
	return speaking
}

func count(speaking []bool) int {
	n := 0
	for _, s := range speaking {
		if s {
			n++
		}
	}
	return n
}

func sum(a, b []float32) []float32 {
	both := append([]float32(nil), a...)
	Add(both, b)
	return both
}

const aMinute = 3000 // frames

func TestSteadyNoiseIsNotSpeech(t *testing.T) {
	noises := map[string][]float32{"white": white(aMinute), "pink": pink(aMinute), "hum": hum(aMinute)}
	noises["fan"] = sum(at(-3, noises["pink"]), at(-3, noises["hum"]))
	for name, noise := range noises {
		for _, level := range []float64{-40, -45, -60} {
			if n := count(active(new(Activity), at(level, noise))); n > 0 {
				t.Errorf("%s noise at %v dBov is speech in %d frames", name, level, n)
			}
		}
		a := new(Activity)
		active(a, make([]float32, 10*second*FrameSamples))
		speaking := active(a, at(-40, noise))
		if n := count(speaking[2*second+hangover:]); n > 0 {
			t.Errorf("%s noise after silence is speech in %d frames, two seconds after it began", name, n)
		}
	}
}

func TestSpeechOverNoiseIsSpeech(t *testing.T) {
	const frames = 1000
	speech := voice(frames)
	for name, noise := range map[string][]float32{
		"no": make([]float32, len(speech)), "white": at(-40, white(frames)), "pink": at(-40, pink(frames)), "hum": at(-40, hum(frames)),
	} {
		for _, level := range []float64{-30, -20} {
			said := at(level, speech)
			speaking := active(new(Activity), sum(said, noise))
			loud, heard := 0, 0
			for i, s := range speaking {
				if Level(said[i*FrameSamples:][:FrameSamples]) <= uint8(-level) {
					loud++
					if s {
						heard++
					}
				}
			}
			t.Logf("%s noise, speech at %v dBov: heard %d of %d frames", name, level, heard, loud)
			if heard*100 < loud*95 {
				t.Errorf("%s noise, speech at %v dBov: heard in %d of its %d loud frames, want 95%%", name, level, heard, loud)
			}
		}
	}
}

func TestActivityHasAttackAndHangover(t *testing.T) {
	quiet, loud := uint8(70), uint8(20)
	a := new(Activity)
	var got []int // frames at which it changed
	was := false
	for i := range 400 {
		level := quiet
		switch {
		case i == 50, i == 80, i == 81: // a knock, and a longer one
			level = loud
		case i >= 100 && i < 200:
			level = loud
		case i >= 205 && i < 210: // within the hangover
			level = loud
		}
		if is := a.Frame(level); is != was {
			got, was = append(got, i), is
		}
	}
	if len(got) != 2 || got[0] != 102 || got[1] != 225 {
		t.Errorf("changed at frames %v, want 102 (60 ms after it began) and 225 (300 ms after it ended)", got)
	}
}

func TestToneSpeaksForSeconds(t *testing.T) {
	for _, before := range []int{0, 500} {
		a := new(Activity)
		active(a, make([]float32, before*FrameSamples))
		speaking := active(a, at(-20, tone(440, 1, aMinute)))
		if n := count(speaking[:8*second]); n < 8*second-attack {
			t.Errorf("after %d frames of silence a tone speaks in %d of its first 400 frames", before, n)
		}
		if n := count(speaking[11*second:]); n > 0 {
			t.Errorf("after %d frames of silence a tone still speaks after 11 s", before)
		}
	}
}

func BenchmarkActivity(b *testing.B) {
	a, frame := new(Activity), voice(1)
	b.ReportAllocs()
	for b.Loop() {
		a.Frame(Level(frame))
	}
}
