package audio

import (
	"math"
	"testing"
)

// residue returns what is in pcm beside tones of these frequencies and one amplitude, in dB
// of it: the least-squares fit is taken away.
func residue(pcm []float32, amplitude float64, frequencies ...float64) float64 {
	rest := make([]float64, len(pcm))
	for i, x := range pcm {
		rest[i] = float64(x)
	}
	for range 20 { // the tones are nearly orthogonal: a few rounds fit them all
		for _, f := range frequencies {
			var re, im float64
			for i, x := range rest {
				s, c := math.Sincos(2 * math.Pi * f * float64(i) / SampleRate)
				re, im = re+x*c, im+x*s
			}
			for i := range rest {
				s, c := math.Sincos(2 * math.Pi * f * float64(i) / SampleRate)
				rest[i] -= (re*c + im*s) * 2 / float64(len(rest))
			}
		}
	}
	var sum float64
	for _, x := range rest {
		sum += x * x
	}
	return 10 * math.Log10(sum/float64(len(rest))/(amplitude*amplitude/2)+1e-30)
}

func TestSlideKeepsTonesClean(t *testing.T) {
	const frames = 10
	for _, frequency := range []float64{400, 700, 1100, 4000, 12000} {
		src := tone(frequency, 0.5, frames+2)
		for change := -maxSlide; change <= maxSlide; change++ {
			out := make([]float32, frames*FrameSamples)
			at := 100
			for i := range frames {
				slide(out[i*FrameSamples:(i+1)*FrameSamples], src, 1, at, change)
				at += FrameSamples + change
			}
			moved := frequency * (1 + float64(change)/FrameSamples)
			if got := residue(out, 0.5, moved); got > -60 {
				t.Errorf("%v Hz, %d samples: beside the tone there is %.0f dB", frequency, change, got)
			}
		}
	}
}

func TestSlideKeepsChannelsApart(t *testing.T) {
	left, right := tone(400, 0.5, 2), tone(700, 0.5, 2)
	both := make([]float32, 2*FrameSamples)
	one := make([]float32, FrameSamples)
	slide(both, interleave(left, right), 2, 50, 2)
	for c, src := range [][]float32{left, right} {
		slide(one, src, 1, 50, 2)
		if got := channel(both, c); distance(got, one) > -100 {
			t.Errorf("channel %d is another than alone", c)
		}
	}
}

func TestSpliceFindsThePeriod(t *testing.T) {
	// 400, 700 and 1100 Hz repeat themselves every 10 ms.
	var src []float32
	for i, x := range tone(400, 0.2, 3) {
		src = append(src, x+tone(700, 0.2, 3)[i]+tone(1100, 0.2, 3)[i])
		if i == 3*FrameSamples-1 {
			break
		}
	}
	var p pitch
	lag, resemblance := p.search(src, 1, maxLag)
	if lag != 480 || resemblance < 0.9999 {
		t.Fatalf("lag %d with correlation %v, want 480 and 1", lag, resemblance)
	}
	frame := make([]float32, FrameSamples)
	for _, jump := range [][2]int{{0, lag}, {lag, 0}} {
		splice(frame, src, 1, jump[0], jump[1])
		if got := residue(frame, 0.2, 400, 700, 1100); got > -60 {
			t.Errorf("from %d to %d: beside the tones there is %.0f dB", jump[0], jump[1], got)
		}
	}
}

func TestSearchNeedsRoom(t *testing.T) {
	var p pitch
	if lag, _ := p.search(make([]float32, 2*FrameSamples), 1, minLag-1); lag != 0 {
		t.Errorf("lag %d within %d", lag, minLag-1)
	}
}
