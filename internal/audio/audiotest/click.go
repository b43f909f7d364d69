package audiotest

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Clicks is a quiet room in which something clicks every 300 to 700 ms: 4 ms of 1 kHz, far
// louder than the room.
type Clicks struct {
	random *rand.Rand
	wait   int // samples until the next one
	at     int // sample of the click that goes on; 0: none
}

const (
	clickSamples = 4 * sampleRate / 1000
	clickPeak    = 0.7
	clickOnset   = 0.3  // what the first sample of a click exceeds
	clickApart   = 0.15 // seconds: two are not nearer than that
)

// NewClicks returns clicks of which those of one seed are the same.
func NewClicks(seed uint64) *Clicks {
	c := &Clicks{random: rand.New(rand.NewPCG(seed, 0x636c69636b))}
	c.wait = c.pause()
	return c
}

func (c *Clicks) pause() int { return sampleRate * (300 + c.random.IntN(400)) / 1000 }

// Fill fills one channel of PCM with what follows.
func (c *Clicks) Fill(pcm []float32) {
	for i := range pcm {
		pcm[i] = float32(0.0005 * c.random.NormFloat64())
		if c.wait--; c.wait > 0 {
			continue
		}
		x := 2 * math.Pi * 1000 * float64(c.at) / sampleRate
		pcm[i] += float32(clickPeak * math.Cos(x))
		if c.at++; c.at == clickSamples {
			c.at, c.wait = 0, c.pause()
		}
	}
}

// An Onset finds where clicks begin. The zero Onset is ready.
type Onset struct {
	n    int64
	last int64 // plus one
}

// Find returns the positions of clicks that begin in pcm, which follows on what it was given
// before, in samples since the first.
func (o *Onset) Find(pcm []float32) (at []int64) {
	for _, s := range pcm {
		if math.Abs(float64(s)) > clickOnset {
			if o.last == 0 || o.n+1-o.last > clickApart*sampleRate {
				at = append(at, o.n)
			}
			o.last = o.n + 1
		}
		o.n++
	}
	return at
}

// Quantile returns the duration that the share q of all does not exceed. It sorts them.
func Quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(max(int(math.Ceil(q*float64(len(all))))-1, 0), len(all)-1)]
}
