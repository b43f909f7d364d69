package audiotest

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// noisy adds white noise, so much weaker than the signal, in dB.
func noisy(clean []float32, snr float64) []float32 {
	random := rand.New(rand.NewPCG(1, 1))
	gain := rms(clean) * math.Pow(10, -snr/20)
	out := make([]float32, len(clean))
	for i, s := range clean {
		out[i] = s + float32(gain*random.NormFloat64())
	}
	return out
}

func TestQualityFallsWithNoise(t *testing.T) {
	clean := make([]float32, 8*sampleRate)
	NewVoice(1).Fill(clean)
	if q := Compare(clean, clean); q.Intelligibility < 0.9999 || q.SegmentalSNR < 34.9 || q.SpectralDistance > 0.001 || q.Gap > 0 {
		t.Errorf("a signal compared with itself is %+v", q)
	}
	last := Quality{Intelligibility: 1, SegmentalSNR: 35}
	for _, snr := range []float64{30, 20, 10, 0, -10} {
		q := Compare(clean, noisy(clean, snr))
		t.Logf("%3.0f dB: %+v", snr, q)
		if q.Intelligibility >= last.Intelligibility || q.SegmentalSNR >= last.SegmentalSNR || q.SpectralDistance <= last.SpectralDistance {
			t.Errorf("with noise at %v dB it is %+v, and with less %+v", snr, q, last)
		}
		last = q
	}
	if last.Intelligibility > 0.6 {
		t.Errorf("intelligibility in noise of 10 dB more than the signal is %.2f", last.Intelligibility)
	}
}

func TestGapIsFound(t *testing.T) {
	clean := make([]float32, 2*sampleRate)
	for i := range clean {
		clean[i] = float32(0.2 * math.Sin(float64(i)*0.1))
	}
	other := append([]float32(nil), clean...)
	for i := sampleRate; i < sampleRate+sampleRate*7/100; i++ {
		other[i] *= 0.01
	}
	if got := Compare(clean, other).Gap; got != 70*time.Millisecond {
		t.Errorf("the gap is %v, want 70 ms", got)
	}
}

func TestAlignFollowsTheDelay(t *testing.T) {
	clean := make([]float32, 6*sampleRate)
	NewVoice(2).Fill(clean)
	const first, jump = 2000, 500
	var other []float32
	other = append(other, make([]float32, first)...)
	other = append(other, clean[:3*sampleRate]...)
	other = append(other, clean[3*sampleRate-jump:]...) // 10 ms are said twice
	if q := Compare(clean, Align(clean, other, 0, 100*time.Millisecond)); q.Intelligibility < 0.95 {
		t.Errorf("aligned: %+v", q)
	}
	if q := Compare(clean, other[first:]); q.Intelligibility > 0.92 {
		t.Errorf("not aligned: %+v, the test tests nothing", q)
	}
}
