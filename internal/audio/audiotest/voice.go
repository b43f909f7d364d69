package audiotest

import (
	"math"
	"math/rand/v2"
)

// A Voice sounds like speech to a codec: syllables of voiced sound with the formants of
// vowels, hisses between some of them, and pauses between words. It never says the same
// twice, and two of one seed say the same.
type Voice struct {
	random *rand.Rand

	left     int     // samples of the sound that goes on
	total    int     // of these at its beginning
	loudness float64 // of it
	voiced   bool
	pitch    float64 // Hz
	glide    float64 // Hz a sample
	phase    float64 // 0 to 1: of the glottis
	tract    [3]resonator
	hiss     resonator
	words    int // syllables until the next pause
}

// NewVoice returns a voice whose speech is at about -20 dBov, and never clips.
func NewVoice(seed uint64) *Voice {
	return &Voice{random: rand.New(rand.NewPCG(seed, 0x766f696365))}
}

// vowels are the first three formants, in Hz, of a, e, i, o, u and schwa.
var vowels = [][3]float64{{730, 1090, 2440}, {530, 1840, 2480}, {270, 2290, 3010}, {570, 840, 2410}, {300, 870, 2240}, {500, 1500, 2500}}

// Fill fills one channel of PCM with what the voice says next.
func (v *Voice) Fill(pcm []float32) {
	for i := range pcm {
		if v.left == 0 {
			v.next()
		}
		pcm[i] = float32(v.sample())
		v.left--
	}
}

// next begins another sound.
func (v *Voice) next() {
	r := v.random
	between := func(low, high float64) float64 { return low + (high-low)*r.Float64() }
	wasVoiced := v.voiced
	switch {
	case v.words <= 0:
		v.words = 3 + r.IntN(8)
		v.loudness, v.voiced = 0, false
		v.left = int(between(0.15, 0.4) * sampleRate)
	case wasVoiced && r.IntN(2) == 0:
		v.voiced, v.loudness = false, between(0.02, 0.06)
		v.left = int(between(0.04, 0.1) * sampleRate)
		v.hiss.tune(between(3000, 6500), 1500)
	default:
		v.words--
		v.voiced, v.loudness = true, between(0.5, 1)
		v.left = int(between(0.1, 0.25) * sampleRate)
		v.pitch = between(100, 150)
		v.glide = between(-30, 20) / float64(v.left)
		for i, f := range vowels[r.IntN(len(vowels))] {
			v.tract[i].tune(f, 60+float64(i)*40)
		}
	}
	v.total = v.left
}

// sample says one sample.
func (v *Voice) sample() float64 {
	const attack = 0.015 * sampleRate
	done := float64(v.total - v.left)
	envelope := v.loudness * min(1, done/attack, float64(v.left)/attack)
	noise := v.random.Float64() - 0.5
	if !v.voiced {
		return envelope * v.hiss.next(noise) * 2
	}
	v.pitch += v.glide
	if v.phase += v.pitch / sampleRate; v.phase >= 1 {
		v.phase--
	}
	// A glottal pulse: it rises for two thirds of the period and falls off sharply.
	pulse := v.phase * 1.5
	if pulse > 1 {
		pulse = max(0, 1-(pulse-1)*6)
	}
	source := pulse - 0.4 + noise*0.04
	out := 0.0
	for i, gain := range [...]float64{0.22, 0.12, 0.07} {
		out += gain * v.tract[i].next(source)
	}
	return envelope * math.Tanh(out)
}

// A resonator lets one frequency pass.
type resonator struct{ a, b, gain, y1, y2 float64 }

// tune sets the centre and the width, in Hz. Its gain at the centre is about 1.
func (r *resonator) tune(centre, width float64) {
	radius := math.Exp(-math.Pi * width / sampleRate)
	r.a, r.b = 2*radius*math.Cos(2*math.Pi*centre/sampleRate), -radius*radius
	r.gain = (1 - radius) * math.Sqrt(1-2*radius*math.Cos(4*math.Pi*centre/sampleRate)+radius*radius) * 4
}

func (r *resonator) next(x float64) float64 {
	y := r.gain*x + r.a*r.y1 + r.b*r.y2
	r.y1, r.y2 = y, r.y1
	return y
}
