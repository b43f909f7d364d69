// Package audiotest makes tones and finds them again.
package audiotest

import "math"

const sampleRate = 48000

// A Tone is a sine, or silence if its frequency is 0.
type Tone struct {
	Frequency float64 // Hz
	Amplitude float64 // 1 is full scale
	phase     float64
}

// Fill fills one channel of PCM with what follows.
func (t *Tone) Fill(pcm []float32) {
	for i := range pcm {
		pcm[i] = float32(t.Amplitude * math.Sin(t.phase))
		t.phase = math.Mod(t.phase+2*math.Pi*t.Frequency/sampleRate, 2*math.Pi)
	}
}

// Power returns the power of a frequency in one channel of PCM, in dB: 0 is a sine of
// amplitude 1. The window is Blackman-Harris, so that other tones are seen 92 dB down from
// a few Hz beside them, if pcm is long enough: four times 48000 / len(pcm) Hz.
func Power(pcm []float32, frequency float64) float64 {
	var re, im, sum float64
	n := float64(len(pcm))
	for i, s := range pcm {
		x := 2 * math.Pi * float64(i) / n
		w := 0.35875 - 0.48829*math.Cos(x) + 0.14128*math.Cos(2*x) - 0.01168*math.Cos(3*x)
		a := 2 * math.Pi * frequency * float64(i) / sampleRate
		re += w * float64(s) * math.Cos(a)
		im -= w * float64(s) * math.Sin(a)
		sum += w
	}
	return 20 * math.Log10(2*math.Hypot(re, im)/sum+1e-12)
}
