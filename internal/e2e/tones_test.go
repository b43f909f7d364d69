//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"sightline/internal/audio"
	"sightline/internal/audio/audiotest"
)

// apart is how much weaker than the others a voice is where it must not be heard, in dB.
const apart = 40

// heard is how strong a voice is at least where it is heard, in dB: a sine of full scale has 0.
const heard = -30

// windows is how many stretches of sound a judgement is made of, of which the median holds: on a busy machine a player
// may stumble once.
const windows = 5

// wantTones fails the test unless all the tones are in what somebody hears and the other one, his own, is not.
func wantTones(t *testing.T, who string, sound [][]float32, rate float64, tones []float64, own float64) {
	t.Helper()
	power := func(tone float64) float64 {
		var all []float64
		for _, pcm := range sound {
			all = append(all, audiotest.Power(pcm, tone*audio.SampleRate/rate))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	weakest := math.Inf(1)
	for _, tone := range tones {
		p := power(tone)
		weakest = min(weakest, p)
		t.Logf("%s hears %.0f Hz with %.1f dB", who, tone, p)
		if p < heard {
			t.Errorf("%s hears %.0f Hz with %.1f dB, want %d", who, tone, p, heard)
		}
	}
	if own == 0 {
		return
	}
	p := power(own)
	t.Logf("%s hears %.0f Hz, his own, with %.1f dB: %.1f dB less", who, own, p, weakest-p)
	if weakest-p < apart {
		t.Errorf("%s hears %.0f Hz, his own, %.1f dB weaker than the others, want %d", who, own, weakest-p, apart)
	}
}

// wantTones listens to a session of the page, or to the page's own.
func (b *browser) wantTones(session string, tones []float64, own float64) {
	b.t.Helper()
	b.hear(session)
	var sound [][]float32
	var rate float64
	for range windows {
		time.Sleep(700 * time.Millisecond) // as long as what is heard then
		var pcm []float32
		pcm, rate = b.hear(session)
		sound = append(sound, pcm)
	}
	wantTones(b.t, strings.TrimSpace(b.p.name+" "+session), sound, rate, tones, own)
}

// hear returns the last two thirds of a second of what the page plays, and the sample rate.
func (b *browser) hear(session string) (pcm []float32, rate float64) {
	b.t.Helper()
	var got struct {
		Rate float64
		PCM  string
	}
	b.call(&got, 5*time.Second, "hear", session)
	raw, err := base64.StdEncoding.DecodeString(got.PCM)
	if err != nil {
		b.t.Fatal(err)
	}
	return floats(raw), got.Rate
}

// talk publishes a tone from the page.
func (b *browser) talk(session, url string, frequency float64) {
	b.t.Helper()
	b.call(nil, 15*time.Second, "talk", session, url, frequency)
}

// floats reads 32-bit floats, little endian.
func floats(raw []byte) []float32 {
	pcm := make([]float32, len(raw)/4)
	for i := range pcm {
		pcm[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return pcm
}
