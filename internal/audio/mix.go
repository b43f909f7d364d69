package audio

import "math"

// Add adds src to dst, sample by sample. They are equally long.
func Add(dst, src []float32) {
	src = src[:len(dst)]
	for len(dst) >= 8 {
		d, s := (*[8]float32)(dst), (*[8]float32)(src)
		d[0] += s[0]
		d[1] += s[1]
		d[2] += s[2]
		d[3] += s[3]
		d[4] += s[4]
		d[5] += s[5]
		d[6] += s[6]
		d[7] += s[7]
		dst, src = dst[8:], src[8:]
	}
	for i := range dst {
		dst[i] += src[i]
	}
}

// Subtract fills dst with a - b, sample by sample. They are equally long. What b had added to
// a leaves a residue of rounding, about 140 dB below the loudest of the sum.
func Subtract(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for len(dst) >= 8 {
		d, s, t := (*[8]float32)(dst), (*[8]float32)(a), (*[8]float32)(b)
		d[0] = s[0] - t[0]
		d[1] = s[1] - t[1]
		d[2] = s[2] - t[2]
		d[3] = s[3] - t[3]
		d[4] = s[4] - t[4]
		d[5] = s[5] - t[5]
		d[6] = s[6] - t[6]
		d[7] = s[7] - t[7]
		dst, a, b = dst[8:], a[8:], b[8:]
	}
	for i := range dst {
		dst[i] = a[i] - b[i]
	}
}

const (
	threshold = 0.891 // -1 dBFS: what a Limiter leaves alone
	ceiling   = 0.999 // what no sample exceeds

	// release is how much of the way back to 1 the gain goes in a frame: a time constant of
	// 150 ms.
	release = 0.125
)

// A Limiter turns a mix down where it would exceed full scale. A mix that stays below -1 dBFS
// passes bit by bit. It adds no latency and never clips: within a frame the gain is a ramp, as
// gentle as the frame's peaks allow, and it goes on where the frame before has left it. The
// zero Limiter is ready. Each mix has its own.
type Limiter struct {
	reduction float32 // 1 - gain, where the last frame has ended
}

// Apply limits one frame of interleaved channels in place.
func (l *Limiter) Apply(pcm []float32, channels int) {
	loudest := peak(pcm)
	if l.reduction == 0 && loudest <= threshold || len(pcm) == 0 {
		return
	}
	gain, target := 1-l.reduction, float32(1)
	if loudest > threshold {
		target = threshold / loudest
	}
	step := float32(0)
	if target < gain {
		step = -steepest(pcm, channels, gain, target)
	} else {
		target = min(target, gain+release*(1-gain))
		if target > 0.9999 {
			target = 1
		}
		step = (target - gain) / float32(len(pcm)/channels)
	}
	ramp(pcm, channels, gain, target, step)
	l.reduction = 1 - target
}

// ramp multiplies pcm with a gain that goes by step with each sample until it is at target.
func ramp(pcm []float32, channels int, gain, target, step float32) {
	for len(pcm) >= channels {
		gain += step
		if step == 0 || step < 0 && gain <= target || step > 0 && gain >= target {
			break
		}
		for c := range pcm[:channels] {
			pcm[c] *= gain
		}
		pcm = pcm[channels:]
	}
	for i := range pcm {
		pcm[i] *= target
	}
}

// steepest returns how much the gain has to fall with each sample on its way to target: so
// fast that no sample exceeds the ceiling, and that it arrives with the frame's end.
func steepest(pcm []float32, channels int, gain, target float32) float32 {
	step := (gain - target) / float32(len(pcm)/channels)
	harmless := ceiling / gain
	for i, s := range pcm {
		if s < 0 {
			s = -s
		}
		if s <= harmless {
			continue
		}
		if after := float32(i/channels + 1); s*(gain-step*after) > ceiling {
			step = (gain - ceiling/s) / after
		}
	}
	return step
}

// peak returns the largest magnitude in pcm.
func peak(pcm []float32) float32 {
	var a, b, c, d uint32
	for ; len(pcm) >= 4; pcm = pcm[4:] {
		s := (*[4]float32)(pcm)
		a = max(a, math.Float32bits(s[0])&^sign)
		b = max(b, math.Float32bits(s[1])&^sign)
		c = max(c, math.Float32bits(s[2])&^sign)
		d = max(d, math.Float32bits(s[3])&^sign)
	}
	for _, s := range pcm {
		a = max(a, math.Float32bits(s)&^sign)
	}
	return math.Float32frombits(max(a, b, c, d))
}

// sign is the sign bit: without it, floats are ordered as their bits are.
const sign = 1 << 31
