package audio

import "math"

const (
	// taps of the interpolating filter. A sample of the output needs half of them before
	// and half of them after its place.
	taps     = 16
	halfTaps = taps / 2

	// maxSlide is how many samples a frame can be longer or shorter by resampling. One
	// is 0.1 % or 1.8 cents, which nobody hears.
	maxSlide = 2

	// A splice leaves out or repeats between minLag and maxLag samples: a period of a
	// voice of 80 to 400 Hz, or several of it. Over overlap samples the two places are
	// cross-faded.
	minLag  = 120
	maxLag  = 600
	overlap = 360

	// decimation of the signal in which a lag is searched first.
	decimation = 4
)

// sinc[p] holds the filter that gives the signal p/FrameSamples samples after the middle tap.
var sinc = func() (table [FrameSamples][taps]float32) {
	const beta = 8 // Kaiser: 80 dB
	for p := range table {
		var sum float64
		var row [taps]float64
		for t := range row {
			x := float64(t-halfTaps+1) - float64(p)/FrameSamples
			w := x / halfTaps
			if w <= -1 || w >= 1 {
				continue
			}
			row[t] = bessel(beta * math.Sqrt(1-w*w))
			if x != 0 {
				row[t] *= math.Sin(math.Pi*x) / (math.Pi * x)
			}
			sum += row[t]
		}
		for t := range row {
			table[p][t] = float32(row[t] / sum)
		}
	}
	return table
}()

// bessel is the modified Bessel function of the first kind and order zero.
func bessel(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; k < 40; k++ {
		term *= x / (2 * k) * x / (2 * k)
		sum += term
	}
	return sum
}

// slide fills frame with FrameSamples samples of each channel out of the FrameSamples+change
// that begin at src[at*channels], by resampling. Before at it reads halfTaps-1 samples, and
// behind the end halfTaps. change is within ±maxSlide.
func slide(frame, src []float32, channels, at, change int) {
	for i := range FrameSamples {
		whole, phase := i, i*change
		for phase < 0 {
			whole, phase = whole-1, phase+FrameSamples
		}
		whole, phase = whole+phase/FrameSamples, phase%FrameSamples
		filter := &sinc[phase]
		from := (at + whole - halfTaps + 1) * channels
		if channels == 1 {
			x := src[from : from+taps]
			var sum float32
			for t, f := range filter {
				sum += f * x[t]
			}
			frame[i] = sum
			continue
		}
		for c := range channels {
			var sum float32
			for t, f := range filter {
				sum += f * src[from+t*channels+c]
			}
			frame[i*channels+c] = sum
		}
	}
}

// splice fills frame with FrameSamples samples of each channel that begin at src, and jumps
// from the sample from to the sample to on the way, with a cross-fade.
func splice(frame, src []float32, channels, from, to int) {
	n := copy(frame, src[:from*channels])
	copy(frame[n:], src[to*channels:])
	fade(frame[n:n+overlap*channels], src[from*channels:], channels)
}

// fade turns the beginning of pcm, over its length, from old into what it is.
func fade(pcm, old []float32, channels int) {
	n := len(pcm) / channels
	slope := 1 / float32(n+1)
	for i := range n {
		w := float32(i+1) * slope
		for c := i * channels; c < (i+1)*channels; c++ {
			pcm[c] = old[c] + w*(pcm[c]-old[c])
		}
	}
}

// A pitch searches for the distance at which a signal resembles itself.
type pitch struct {
	mono [(maxLag + overlap) / decimation]float32
}

// search returns the lag within minLag and limit, at most maxLag, at which the overlap
// samples at src resemble those a lag later most, and how much, as a correlation coefficient
// between -1 and 1. src holds limit+overlap samples of each channel. The lag is 0 if limit
// is too small.
func (p *pitch) search(src []float32, channels, limit int) (lag int, resemblance float32) {
	limit = min(limit, maxLag)
	if limit < minLag {
		return 0, 0
	}
	const width = overlap / decimation
	n := (limit + overlap) / decimation
	for i := range n {
		var sum float32
		for _, x := range src[i*decimation*channels : (i+1)*decimation*channels] {
			sum += x
		}
		p.mono[i] = sum
	}
	coarse, best := minLag/decimation, float32(-2)
	for l := minLag / decimation; l+width <= n; l++ {
		// Of several periods the longer is as good, and brings more.
		if r := correlation(p.mono[:width], p.mono[l:l+width]) + 0.02*float32(l)/maxLag; r > best {
			coarse, best = l, r
		}
	}
	best = -2
	for l := max(minLag, (coarse-1)*decimation); l <= min(limit, (coarse+1)*decimation); l++ {
		if r := correlation(src[:overlap*channels], src[l*channels:(l+overlap)*channels]); r > best {
			lag, best = l, r
		}
	}
	return lag, best
}

// correlation returns the correlation coefficient of two signals of one length; of silence
// with anything it is 0.
func correlation(a, b []float32) float32 {
	var ab, aa, bb float32
	b = b[:len(a)]
	for i, x := range a {
		ab += x * b[i]
		aa += x * x
		bb += b[i] * b[i]
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / float32(math.Sqrt(float64(aa)*float64(bb)))
}

// power returns the mean square of a signal.
func power(pcm []float32) float32 {
	var sum float32
	for _, x := range pcm {
		sum += x * x
	}
	return sum / float32(max(len(pcm), 1))
}
