package audio

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// checkMix wants a tone at least left below both others, and these within 1 dB.
func checkMix(t *testing.T, channel int, pcm []float32, tones []float64, own int, left float64) {
	t.Helper()
	var others []float64
	for i, frequency := range tones {
		if i != own {
			others = append(others, amplitude(pcm, frequency))
		}
	}
	got := amplitude(pcm, tones[own])
	if math.Abs(others[0]-others[1]) > 1 || got > min(others[0], others[1])+left || others[0] < -22 {
		t.Errorf("the mix of %v Hz, channel %d: the others at %.1f dB, want them within 1 dB; own at %.1f, want %v below", tones[own], channel, others, got, -left)
	}
}

// TestMixMinusLeavesNothing finds what remains of a speaker among 20 when the sum is made
// without Opus.
func TestMixMinusLeavesNothing(t *testing.T) {
	own, total := tone(1000, 0.3, 100), crowd(19, 100)
	without := slices.Clone(total)
	Add(total, own)
	mix := make([]float32, len(total))
	Subtract(mix, total, own)
	Subtract(mix, mix, without)
	if got := amplitude(mix, 1000); got > -120 {
		t.Errorf("%.1f dB of a speaker are left in the mix for him, want less than -120", got)
	}
}

func TestSubtractUndoesAdd(t *testing.T) {
	for _, n := range []int{1, 7, 8, FrameSamples, FrameSamples + 3} {
		dst, a, b := make([]float32, n), make([]float32, n), make([]float32, n)
		for i := range n {
			a[i], b[i] = float32(i), float32(2*i+1)
		}
		Add(a, b)
		Subtract(dst, a, b)
		for i := range n {
			if a[i] != float32(3*i+1) || dst[i] != float32(i) {
				t.Fatalf("%d samples: at %d the sum is %v and the difference %v, want %d and %d", n, i, a[i], dst[i], 3*i+1, i)
			}
		}
	}
}

// limit returns pcm, mono, limited frame by frame.
func limit(l *Limiter, pcm []float32) []float32 {
	out := slices.Clone(pcm)
	for frame := range slices.Chunk(out, FrameSamples) {
		l.Apply(frame, 1)
	}
	return out
}

// crowd is many speakers at once, up to several times full scale.
func crowd(speakers, frames int) []float32 {
	mix := make([]float32, frames*FrameSamples)
	speech := voice(frames + 37*speakers)
	for i := range speakers {
		Add(mix, speech[i*37*FrameSamples:][:len(mix)])
	}
	return mix
}

func TestLimiterLeavesAloneWhatIsNotLoud(t *testing.T) {
	pcm := voice(500)
	gain := 0.89 / peak(pcm)
	for i := range pcm {
		pcm[i] *= gain
	}
	var l Limiter
	if !slices.Equal(limit(&l, pcm), pcm) {
		t.Errorf("a mix up to %v, -1 dBFS, is changed", peak(pcm))
	}
	limit(&l, crowd(20, 50))
	limit(&l, pcm[:100*FrameSamples])
	if !slices.Equal(limit(&l, pcm), pcm) {
		t.Error("two seconds after a louder one a mix below -1 dBFS is changed")
	}
}

func TestLimiterKeepsAllWithinFullScale(t *testing.T) {
	knocks := make([]float32, 100*FrameSamples)
	random := rand.New(rand.NewPCG(9, 10))
	for range 300 {
		knocks[random.IntN(len(knocks))] = float32(20 * random.NormFloat64())
	}
	for i := range 50 { // where a frame begins and ends
		knocks[i*2*FrameSamples], knocks[i*2*FrameSamples+FrameSamples-1] = 7, -9
	}
	for name, pcm := range map[string][]float32{
		"20 speakers": crowd(20, 500), "knocks": knocks, "noise": at(10, white(100)), "a tone": tone(97, 20, 100),
	} {
		if peak(pcm) < 2 {
			t.Fatalf("%s: up to %v, want a test that is loud", name, peak(pcm))
		}
		for channels := 1; channels <= 2; channels++ {
			out := slices.Clone(pcm)
			var l Limiter
			for frame := range slices.Chunk(out, FrameSamples*channels) {
				l.Apply(frame, channels)
			}
			if got := peak(out); got > 1 || got < 0.5 {
				t.Errorf("%s, %d channels: up to %v, want at most 1 and no less than half", name, channels, got)
			}
		}
	}
}

// highpassed returns what pcm has above 10 kHz.
func highpassed(pcm []float32) []float32 {
	const half, cutoff = 96, 10000. / SampleRate
	var taps [2*half + 1]float64
	for i := range taps {
		x := float64(i - half)
		low := 2 * cutoff
		if x != 0 {
			low = math.Sin(2*math.Pi*cutoff*x) / (math.Pi * x)
		}
		taps[i] = -low * (0.42 + 0.5*math.Cos(math.Pi*x/half) + 0.08*math.Cos(2*math.Pi*x/half))
	}
	taps[half]++
	out := make([]float32, len(pcm)-2*half)
	for i := range out {
		var y float64
		for j, tap := range taps {
			y += tap * float64(pcm[i+j])
		}
		out[i] = float32(y)
	}
	return out
}

// TestLimiterDoesNotClick looks above 10 kHz, where 20 speakers who fade in and out have
// nothing, and where a step of the gain or a clipped peak would show.
func TestLimiterDoesNotClick(t *testing.T) {
	const frames = 100
	pcm := make([]float32, frames*FrameSamples)
	for i := range 20 {
		Add(pcm, tone(150+173*float64(i), 0.4, frames))
	}
	for i := range pcm { // swells from nothing to 20 dB too loud and back, thrice a second
		pcm[i] *= float32(math.Pow(math.Sin(math.Pi*3*float64(i)/SampleRate), 2))
	}
	before := peak(highpassed(pcm))
	var l Limiter
	out := limit(&l, pcm)
	clipped := slices.Clone(pcm)
	for i, s := range clipped {
		clipped[i] = min(max(s, -1), 1)
	}
	got, clip := peak(highpassed(out)), peak(highpassed(clipped))
	t.Logf("above 10 kHz: %.1f dB, of %.1f that came in; clipping leaves %.1f", 20*math.Log10(float64(got)), 20*math.Log10(float64(before)), 20*math.Log10(float64(clip)))
	if got > 0.003 || clip < 0.03 {
		t.Errorf("above 10 kHz the limiter leaves up to %v, want at most 0.003; clipping leaves %v", got, clip)
	}
}

func TestLimiterKeepsTonesEqual(t *testing.T) {
	pcm := tone(400, 0.6, 200)
	Add(pcm, tone(700, 0.6, 200))
	Add(pcm, tone(1100, 0.6, 200))
	var l Limiter
	out := limit(&l, pcm)[SampleRate:]
	var levels []float64
	for _, frequency := range []float64{400, 700, 1100} {
		levels = append(levels, amplitude(out, frequency))
	}
	if quietest, loudest := slices.Min(levels), slices.Max(levels); loudest-quietest > 0.1 || quietest < -12 {
		t.Errorf("three equal tones come out at %.2f dB", levels)
	}
	for _, frequency := range []float64{300, 800, 1500, 2100, 3300} {
		if got := amplitude(out, frequency); got > -60 {
			t.Errorf("there is %v Hz at %.1f dB", frequency, got)
		}
	}
}

func TestLimiterComesBackSlowly(t *testing.T) {
	var l Limiter
	limit(&l, tone(1000, 4, 10))
	soft := tone(1000, 0.1, 50)
	out := limit(&l, soft)
	for _, tt := range []struct {
		ms        int
		low, high float64 // gain
	}{{0, 0.2, 0.3}, {20, 0.25, 0.4}, {140, 0.6, 0.8}, {480, 0.9, 1}, {980, 0.99, 1}} {
		from := tt.ms * SampleRate / 1000
		got := float64(peak(out[from:from+240])) / 0.1
		if got < tt.low || got > tt.high {
			t.Errorf("%d ms after a tone four times too loud the gain is %.2f, want %v to %v", tt.ms, got, tt.low, tt.high)
		}
	}
}

func TestMixingAllocatesNothing(t *testing.T) {
	loud, mix, out := crowd(5, 1), make([]float32, FrameSamples), make([]float32, FrameSamples)
	var l Limiter
	var a Activity
	if got := testing.AllocsPerRun(100, func() {
		Add(mix, loud)
		Subtract(out, mix, loud)
		l.Apply(out, 1)
		a.Frame(Level(loud))
	}); got != 0 {
		t.Errorf("a frame allocates %v times", got)
	}
}

// BenchmarkMixFrame is a frame of 50 speakers at once: one sum, and 50 mixes without one of
// them, soft enough to pass and loud enough to be limited.
func BenchmarkMixFrame(b *testing.B) {
	const speakers = 50
	for _, level := range []float64{-50, -20} {
		b.Run(fmt.Sprintf("%v dBov", level), func(b *testing.B) {
			var frames [speakers][]float32
			var limiters [speakers]Limiter
			speech := at(level, voice(37*speakers))
			for i := range frames {
				frames[i] = speech[i*37*FrameSamples:][:FrameSamples]
			}
			total, mix := make([]float32, FrameSamples), make([]float32, FrameSamples)
			b.ReportAllocs()
			for b.Loop() {
				clear(total)
				for _, frame := range frames {
					Add(total, frame)
				}
				for i, frame := range frames {
					Subtract(mix, total, frame)
					limiters[i].Apply(mix, 1)
				}
			}
			b.ReportMetric(float64(peak(mix)), "peak")
		})
	}
}
