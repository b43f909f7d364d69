package audiotest

import (
	"math"
	"math/cmplx"
	"slices"
	"time"
)

// A Quality is how like a clean signal another one is, which has the same length and has been
// aligned to it. Only what the clean signal says counts: frames of 25.6 ms, of which each
// overlaps the next by half, and which are at most 40 dB below the loudest.
type Quality struct {
	// Intelligibility is the short-time objective intelligibility of Taal, Hendriks,
	// Heusdens and Jensen (2011), at 48 kHz instead of 10: the mean correlation of the
	// envelopes of 15 third-octave bands from 150 Hz over 384 ms, where noise counts up to
	// 15 dB over the signal. 1 is the same signal; above 0.9 everything is understood.
	Intelligibility float64

	// SegmentalSNR, in dB, is the frequency-weighted one of Hu and Loizou (2008): in 25 bands
	// up to 8 kHz that are as wide as the ear's, weighted by the clean signal's magnitude to
	// the power of 0.2, and between -10 and 35 dB in each.
	SegmentalSNR float64

	// SpectralDistance, in dB, is the mean over frames of the RMS difference between the
	// logarithms of the power spectra, from 100 Hz to 8 kHz and down to 50 dB below a frame's
	// loudest bin.
	SpectralDistance float64

	// Gap is the longest time without a sound, or with next to none, where the clean signal
	// has some, and GapEnd where in the clean signal it ends.
	Gap, GapEnd time.Duration
}

const (
	window  = 1228 // samples: 25.6 ms
	hop     = window / 2
	fftSize = 2048
	floor   = 1e-10
)

// Compare compares an aligned signal with a clean one.
func Compare(clean, other []float32) Quality {
	x, y := spectra(clean), spectra(other)
	x, y = spoken(x, y)
	q := Quality{Intelligibility: intelligibility(x, y), SegmentalSNR: segmentalSNR(x, y), SpectralDistance: spectralDistance(x, y)}
	q.Gap, q.GapEnd = longestGap(clean, other)
	return q
}

// spectra returns the power spectrum of each frame.
func spectra(pcm []float32) (out [][]float64) {
	buffer := make([]complex128, fftSize)
	for at := 0; at+window <= len(pcm); at += hop {
		clear(buffer)
		for i := range window {
			w := 0.5 - 0.5*math.Cos(2*math.Pi*(float64(i)+0.5)/window)
			buffer[i] = complex(w*float64(pcm[at+i]), 0)
		}
		fft(buffer)
		power := make([]float64, fftSize/2)
		for i := range power {
			power[i] = real(buffer[i])*real(buffer[i]) + imag(buffer[i])*imag(buffer[i])
		}
		out = append(out, power)
	}
	return out
}

// fft is the discrete Fourier transform, in place, of a power of two of values.
func fft(x []complex128) {
	n := len(x)
	for i, j := 1, 0; i < n; i++ {
		bit := n >> 1
		for ; j&bit != 0; bit >>= 1 {
			j ^= bit
		}
		if j ^= bit; i < j {
			x[i], x[j] = x[j], x[i]
		}
	}
	for size := 2; size <= n; size <<= 1 {
		step := cmplx.Exp(complex(0, -2*math.Pi/float64(size)))
		for at := 0; at < n; at += size {
			w := complex(1, 0)
			for k := range size / 2 {
				a, b := x[at+k], x[at+k+size/2]*w
				x[at+k], x[at+k+size/2] = a+b, a-b
				w *= step
			}
		}
	}
}

// spoken keeps the frames in which the clean signal says something.
func spoken(x, y [][]float64) (a, b [][]float64) {
	energies := make([]float64, len(x))
	for i, frame := range x {
		for _, p := range frame {
			energies[i] += p
		}
	}
	loudest := slices.Max(append(energies, floor))
	for i := range min(len(x), len(y)) {
		if energies[i] > loudest*1e-4 {
			a, b = append(a, x[i]), append(b, y[i])
		}
	}
	return a, b
}

// bands sums spectra up in bands between the edges, in Hz.
func bands(x [][]float64, edges [][2]float64) [][]float64 {
	out := make([][]float64, len(x))
	for i, frame := range x {
		out[i] = make([]float64, len(edges))
		for b, e := range edges {
			from := int(math.Round(e[0] * fftSize / sampleRate))
			for _, p := range frame[from:max(from+1, int(math.Round(e[1]*fftSize/sampleRate)))] {
				out[i][b] += p
			}
		}
	}
	return out
}

func intelligibility(x, y [][]float64) float64 {
	const segment, least = 30, -15
	var edges [][2]float64
	for b := range 15 {
		centre := 150 * math.Pow(2, float64(b)/3)
		edges = append(edges, [2]float64{centre * math.Pow(2, -1./6), centre * math.Pow(2, 1./6)})
	}
	xs, ys := bands(x, edges), bands(y, edges)
	sum, n := 0.0, 0
	clip := 1 + math.Pow(10, -least/20.)
	for at := 0; at+segment <= len(xs); at++ {
		for b := range edges {
			var a, c [segment]float64
			var energyX, energyY float64
			for i := range segment {
				a[i], c[i] = math.Sqrt(xs[at+i][b]), math.Sqrt(ys[at+i][b])
				energyX += xs[at+i][b]
				energyY += ys[at+i][b]
			}
			gain := math.Sqrt(energyX / (energyY + floor))
			for i := range segment {
				c[i] = min(c[i]*gain, a[i]*clip)
			}
			sum += correlate(a[:], c[:])
			n++
		}
	}
	return sum / float64(max(n, 1))
}

// correlate returns the correlation coefficient.
func correlate(a, b []float64) float64 {
	var meanA, meanB float64
	for i := range a {
		meanA += a[i] / float64(len(a))
		meanB += b[i] / float64(len(b))
	}
	var ab, aa, bb float64
	for i := range a {
		ab += (a[i] - meanA) * (b[i] - meanB)
		aa += (a[i] - meanA) * (a[i] - meanA)
		bb += (b[i] - meanB) * (b[i] - meanB)
	}
	return ab / (math.Sqrt(aa*bb) + floor)
}

func segmentalSNR(x, y [][]float64) float64 {
	var edges [][2]float64
	bark := func(f float64) float64 { return 6 * math.Asinh(f/600) }
	hertz := func(b float64) float64 { return 600 * math.Sinh(b/6) }
	low, high := bark(50), bark(8000)
	for b := range 25 {
		at := func(i int) float64 { return hertz(low + (high-low)*float64(i)/25) }
		edges = append(edges, [2]float64{at(b), at(b + 1)})
	}
	xs, ys := bands(x, edges), bands(y, edges)
	total := 0.0
	for i := range xs {
		var sum, weights float64
		for b := range edges {
			a, c := math.Sqrt(xs[i][b]), math.Sqrt(ys[i][b])
			snr := 10 * math.Log10((a*a+floor)/((a-c)*(a-c)+floor))
			w := math.Pow(a, 0.2)
			sum += w * min(max(snr, -10), 35)
			weights += w
		}
		total += sum / (weights + floor)
	}
	return total / float64(max(len(xs), 1))
}

func spectralDistance(x, y [][]float64) float64 {
	const from, to = 100 * fftSize / sampleRate, 8000 * fftSize / sampleRate
	total := 0.0
	for i := range x {
		least := slices.Max(x[i]) * 1e-5
		sum := 0.0
		for k := from; k < to; k++ {
			d := 10 * math.Log10(max(x[i][k], least)/max(y[i][k], least))
			sum += d * d
		}
		total += math.Sqrt(sum / (to - from))
	}
	return total / float64(max(len(x), 1))
}

// longestGap looks at 10 ms at a time: the clean signal is at most 25 dB below its loud
// parts, and the other one more than 26 dB below it.
func longestGap(clean, other []float32) (gap, end time.Duration) {
	const step = sampleRate / 100
	level := func(pcm []float32) float64 {
		sum := 0.0
		for _, s := range pcm {
			sum += float64(s) * float64(s)
		}
		return 10 * math.Log10(sum/float64(len(pcm))+1e-12)
	}
	var levels []float64
	for at := 0; at+step <= len(clean); at += step {
		levels = append(levels, level(clean[at:at+step]))
	}
	sorted := slices.Sorted(slices.Values(levels))
	if len(sorted) == 0 {
		return 0, 0
	}
	loud := sorted[len(sorted)*95/100]
	const tick = 10 * time.Millisecond
	run := time.Duration(0)
	for i, l := range levels {
		if at := i * step; l > loud-25 && level(other[at:at+step]) < l-26 {
			if run += tick; run > gap {
				gap, end = run, time.Duration(i+1)*tick
			}
		} else {
			run = 0
		}
	}
	return gap, end
}

// Align returns what other says when clean says it, as long as clean: it follows a delay that
// grows or shrinks, to 1 ms. other begins at most early after clean does, or late before it.
//
// It goes by the envelopes of six bands. Waveforms do not tell: codecs of speech keep their
// looks only roughly, and a vowel resembles itself a period later.
func Align(clean, other []float32, early, late time.Duration) []float32 {
	const (
		block   = 100 // ms
		context = 200 // ms on either side of a block
		reach   = 40  // ms
		proof   = 0.02
	)
	a, b := envelopes(clean), envelopes(other)
	n := len(a[0])
	lag, _ := bestLag(a, b, 0, min(n, 5000), -int(early.Milliseconds()), int(late.Milliseconds()))
	out := make([]float32, len(clean))
	for at := 0; at*tickSamples < len(clean); at += block {
		from, to := max(at-context, 0), min(at+block+context, n)
		old := lag
		if best, r := bestLag(a, b, from, to, lag-reach, lag+reach); r > similarity(a, b, from, to, lag)+proof {
			lag = best
		}
		const fade = 5 * tickSamples
		first := at * tickSamples
		for i := first; i < min(first+block*tickSamples, len(clean)); i++ {
			s := sampleAt(other, i+lag*tickSamples)
			if w := float32(i-first) / fade; w < 1 && lag != old {
				s = w*s + (1-w)*sampleAt(other, i+old*tickSamples)
			}
			out[i] = s
		}
	}
	return out
}

func sampleAt(pcm []float32, i int) float32 {
	if i < 0 || i >= len(pcm) {
		return 0
	}
	return pcm[i]
}

const tickSamples = sampleRate / 1000

// envelopes returns the loudness of each band in each millisecond, over five.
func envelopes(pcm []float32) (out [6][]float64) {
	for band, centre := range []float64{300, 600, 1100, 2000, 3200, 5000} {
		var filter resonator
		filter.tune(centre, centre/2)
		raw := make([]float64, len(pcm)/tickSamples)
		for i := range raw {
			for _, s := range pcm[i*tickSamples : (i+1)*tickSamples] {
				raw[i] += math.Abs(filter.next(float64(s)))
			}
		}
		out[band] = make([]float64, len(raw))
		for i := range raw {
			for _, v := range raw[max(i-2, 0):min(i+3, len(raw))] {
				out[band][i] += v
			}
		}
	}
	return out
}

// bestLag returns the lag from low to high, in ms, at which b resembles a most between from
// and to.
func bestLag(a, b [6][]float64, from, to, low, high int) (lag int, r float64) {
	r = -2
	for l := low; l <= high; l++ {
		if s := similarity(a, b, from, to, l); s > r {
			lag, r = l, s
		}
	}
	return lag, r
}

// similarity is the mean of the bands' correlation coefficients.
func similarity(a, b [6][]float64, from, to, lag int) float64 {
	sum := 0.0
	from, to = max(from, -lag), min(to, len(b[0])-lag)
	if to-from < 2 {
		return 0
	}
	for band := range a {
		sum += correlate(a[band][from:to], b[band][from+lag:to+lag])
	}
	return sum / float64(len(a))
}

func rms(pcm []float32) float64 {
	sum := 0.0
	for _, s := range pcm {
		sum += float64(s) * float64(s)
	}
	return math.Sqrt(sum / float64(max(len(pcm), 1)))
}
