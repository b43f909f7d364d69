//go:build figures

package bridge

import (
	"encoding/binary"
	"math"
	"os/exec"
	"testing"

	"sightline/internal/audio"
)

// spoken is what a technician and a hospital may say to each other.
var spoken = []struct{ voice, text string }{
	{"en-us", "Good morning, this is the scan room. The patient is ready on the table, the coil is connected, and we can begin with the localizer whenever you like."},
	{"en-us+f3", "Thank you. Please ask him to breathe in, breathe out, and hold his breath for fifteen seconds. Then we will repeat the third sequence with a smaller field of view."},
	{"en-gb", "He says that his left hand is getting warm. Shall I stop the table, or do we wait for the end of this series? There are forty five seconds left."},
}

// The same as TestSpeechBehindTheBridgeIsAsForwarded, with speech by espeak-ng.
func TestSpokenSentencesBehindTheBridge(t *testing.T) {
	var speech []float32
	for _, s := range spoken {
		speech = append(speech, synthesize(t, s.voice, s.text)...)
		speech = append(speech, make([]float32, audio.SampleRate/2)...)
	}
	t.Logf("%.1f s of speech", float64(len(speech))/audio.SampleRate)
	holdQuality(t, compareAll(t, speech, senders, 0, 0.05, 0.10), 0.03)
}

// synthesize returns a text as 48 kHz speech.
func synthesize(t *testing.T, voice, text string) []float32 {
	t.Helper()
	wav, err := exec.Command("espeak-ng", "-v", voice, "-s", "150", "--stdout", text).Output()
	if err != nil {
		t.Fatalf("espeak-ng (internal/e2e/setup.sh installs it): %v", err)
	}
	// RIFF with one chunk "fmt " of 16 bytes: PCM, mono, 16 bits.
	const header = 44
	if len(wav) < header || string(wav[8:12]) != "WAVE" || binary.LittleEndian.Uint16(wav[22:]) != 1 || binary.LittleEndian.Uint16(wav[34:]) != 16 {
		t.Fatal("espeak-ng has not written mono of 16 bits")
	}
	rate := binary.LittleEndian.Uint32(wav[24:])
	var pcm []float32
	for b := wav[header:]; len(b) >= 2; b = b[2:] {
		pcm = append(pcm, float32(int16(binary.LittleEndian.Uint16(b)))/32768)
	}
	return resample(pcm, float64(rate)/audio.SampleRate)
}

// resample returns the signal at another rate; step is the old one by the new one, at most 1.
func resample(pcm []float32, step float64) []float32 {
	const half = 24
	out := make([]float32, int(float64(len(pcm))/step))
	for i := range out {
		at := float64(i) * step
		sum := 0.0
		for k := int(at) - half + 1; k <= int(at)+half; k++ {
			if k < 0 || k >= len(pcm) {
				continue
			}
			x := at - float64(k)
			w := 0.5 + 0.5*math.Cos(math.Pi*x/half)
			if x != 0 {
				w *= math.Sin(math.Pi*x) / (math.Pi * x)
			}
			sum += w * float64(pcm[k])
		}
		out[i] = float32(sum)
	}
	return out
}
