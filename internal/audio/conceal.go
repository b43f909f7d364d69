package audio

// decode appends what the packet holds, which begins gap after the end. If that is before the
// end, what has been concealed since is time gained for packets that come late.
func (l *Leg) decode(head slot, gap int64) {
	missing := l.take(head)
	if missing > 0 && l.run > 0 && hasFEC(head.payload) {
		l.missFEC()
	}
	if gap < 0 && -gap <= int64(l.run) {
		l.done.Stretched += uint64(-gap)
	} else if gap < -SampleRate {
		l.done.Resets++
	}
	at := len(l.pcm)
	n, err := l.decoder.Decode(head.payload, l.room(MaxPacketSamples))
	if err != nil || n <= 0 || n > MaxPacketSamples {
		l.pcm = l.pcm[:at]
		l.done.Bad++
		l.bad++
		return
	}
	l.pcm = l.pcm[:at+n*l.channels]
	l.end = head.ts + int64(n)
	l.unit, l.bad, l.dtx = n, 0, len(head.payload) <= 2
	l.mend(at)
}

// mend turns from what was made up to the pcm that begins at the index at.
func (l *Leg) mend(at int) {
	n := min(len(l.tail), len(l.pcm)-at)
	fade(l.pcm[at:at+n], l.tail, l.channels)
	l.tail = l.tail[:0]
	l.done.Concealed += uint64(l.unsure)
	l.run, l.unsure = 0, 0
}

// bridge appends what belongs into a hole of gap samples before the packet head, or the
// beginning of it: by error correction what reaches up to the packet, if it has any, and else
// by concealment.
func (l *Leg) bridge(head slot, gap int64) {
	n := int(min(gap, FrameSamples))
	switch {
	case !hasFEC(head.payload):
		l.conceal(n)
	case gap > int64(l.unit):
		l.conceal(min(n, int(gap)-l.unit))
	case l.decoder.DecodeFEC(head.payload, l.pcm[len(l.pcm):len(l.pcm)+int(gap)*l.channels], int(gap)) != nil:
		l.conceal(n)
	default:
		at := len(l.pcm)
		l.room(int(gap))
		l.end += gap
		l.done.FEC++
		l.fecWait = min(2*l.fecWait, fecFrames) // it is worth while
		l.mend(at)
	}
}

// hasFEC reports whether the first frame of a packet has low-bit-rate redundancy in it (RFC
// 6716, section 4.2.4), for packets of one frame or of two of the same size.
func hasFEC(payload []byte) bool {
	if len(payload) < 2 || payload[0]>>7 != 0 || payload[0]&3 > 1 {
		return false
	}
	frames := 1 // of SILK, 20 ms each
	if config := payload[0] >> 3; config < 12 {
		frames = max(1, int(config&3))
	}
	bits := payload[1] << frames
	if bits&0x80 != 0 {
		return true
	}
	return payload[0]&4 != 0 && bits<<(frames+1)&0x80 != 0
}

// conceal appends n samples, rounded up, of what may have been said.
func (l *Leg) conceal(n int) {
	n = (n + minSamples - 1) / minSamples * minSamples
	at := len(l.pcm)
	l.room(copy(l.pcm[at:cap(l.pcm)], l.tail) / l.channels)
	from := len(l.pcm)
	more := n + mended - len(l.tail)/l.channels
	made := l.room(more)
	if l.run >= maxConceal || l.decoder.Conceal(made, more) != nil {
		clear(made)
	}
	for i := range more {
		if gain := concealGain(l.run + i); gain < 1 {
			for c := range l.channels {
				l.pcm[from+i*l.channels+c] *= gain
			}
		}
	}
	l.run += more
	l.tail = append(l.tail[:0], l.pcm[at+n*l.channels:]...)
	l.pcm = l.pcm[:at+n*l.channels]
	l.end += int64(n)
	l.unsure += n
	l.made = l.made || n > 0
}

// concealGain returns the gain after so many samples of concealment.
func concealGain(run int) float32 {
	const low = 1. / 8
	switch {
	case run < fullPower:
		return 1
	case run < lowPower:
		return 1 - (1-low)*float32(run-fullPower)/(lowPower-fullPower)
	case run < maxConceal:
		return low * float32(maxConceal-run) / (maxConceal - lowPower)
	}
	return 0
}

// finish ends playing: the frame fades out.
func (l *Leg) finish() {
	l.playing = false
	if l.have() < FrameSamples {
		if len(l.tail) == 0 {
			l.conceal(0)
		}
		l.pcm = append(l.pcm, l.tail...)
	}
	l.tail = l.tail[:0]
	l.end -= int64(l.unsure)
	l.unsure = 0
	to := len(l.pcm)
	if more := FrameSamples + lookahead - l.have(); more > 0 {
		clear(l.room(more))
	} else {
		to = (FrameSamples + lookahead) * l.channels
	}
	last := l.pcm[to-mended*l.channels : to]
	for i := range last {
		last[i] *= 1 - float32(i/l.channels+1)/mended
	}
	clear(l.pcm[to:])
}
