package audio

import "math"

// Silence is the level of no sound at all, as Level gives it.
const Silence = 127

// Level returns how loud pcm is: its RMS in -dBov, 0 (a square wave at full scale) to 127
// (silence), as RTP carries it (RFC 6464, section 3, and RFC 6465, appendix A). A sine at full
// scale is 3.
func Level(pcm []float32) uint8 {
	var a, b, c, d float32
	rest := pcm
	for ; len(rest) >= 4; rest = rest[4:] {
		s := (*[4]float32)(rest)
		a += s[0] * s[0]
		b += s[1] * s[1]
		c += s[2] * s[2]
		d += s[3] * s[3]
	}
	for _, s := range rest {
		a += s * s
	}
	power := float64(a+b+c+d) / float64(len(pcm))
	if !(power > 0) {
		return Silence
	}
	return uint8(math.Round(min(max(-10*math.Log10(power), 0), Silence)))
}

// What an Activity goes by, in dBov, dB and frames.
const (
	margin        = 8   // dB over the noise that speech has
	quietestNoise = -60 // dBov: speech starts at -52
	loudestNoise  = -30 // dBov of what may be taken for noise after a second
	presumedNoise = -45 // dBov, before any was heard
	steady        = 6   // dB between the softest and the loudest frame of a second of noise

	second   = 50 // frames
	memory   = 10 // seconds
	attack   = 3  // frames: 60 ms
	hangover = 15 // frames: 300 ms
)

// An Activity tells by the levels of their frames whether a participant is speaking. Speech is
// 8 dB above the noise for 60 ms, and lasts 300 ms longer than it is heard. Noise is the
// softest that was heard in the last ten seconds, or a whole second of steady sound below
// -30 dBov: a fan that starts is speech for at most two seconds, a louder tone for ten. The
// zero Activity is ready. One goroutine uses it.
type Activity struct {
	started bool
	minima  [memory]int // dBov, the softest frame of each of the last seconds
	oldest  int         // in minima

	frames           int // of the second that runs
	softest, loudest int // dBov, in it

	rising int // frames above the noise, less those that were not; at most attack
	left   int // frames that still count as speaking
}

// Frame takes the level of the next frame, in -dBov as Level gives it, and returns whether the
// participant is speaking.
func (a *Activity) Frame(level uint8) bool {
	loudness := -int(level)
	a.learn(loudness)
	switch {
	case loudness < a.noise()+margin:
		a.rising = max(a.rising-1, 0)
		a.left = max(a.left-1, 0)
	case a.rising < attack-1 && a.left == 0:
		a.rising++
	default:
		a.rising, a.left = 0, hangover+1
	}
	return a.left > 0
}

// noise returns the noise by what was heard so far, in dBov.
func (a *Activity) noise() int {
	noise := a.softest
	for _, softest := range a.minima {
		noise = min(noise, softest)
	}
	return max(noise, quietestNoise)
}

// learn takes a frame into what is known of the noise.
func (a *Activity) learn(loudness int) {
	if !a.started {
		a.started = true
		a.assume(presumedNoise)
	}
	if a.frames == 0 {
		a.softest, a.loudest = loudness, loudness
	}
	a.softest, a.loudest = min(a.softest, loudness), max(a.loudest, loudness)
	if a.frames++; a.frames < second {
		return
	}
	a.frames = 0
	if a.loudest-a.softest <= steady && a.loudest < loudestNoise {
		a.assume(a.softest)
		return
	}
	a.minima[a.oldest] = a.softest
	a.oldest = (a.oldest + 1) % memory
}

// assume forgets what was heard: noise is this loud.
func (a *Activity) assume(noise int) {
	for i := range a.minima {
		a.minima[i] = noise
	}
}
