package audio

// delay returns how far behind the clock the next sample to be played is, in timestamps.
func (l *Leg) delay() int64 { return l.clock - (l.end - int64(l.have())) }

// excess returns by how much the delay is too long, in samples: what has to be left out until
// a frame begins where a packet begins, and whole packets more as long as the target is kept.
// It also returns how much shorter than the target the delay then is, if negative.
func (l *Leg) excess() (excess, spare int) {
	unit := max(1, min(l.unit, FrameSamples))
	rest := (l.have() - FrameSamples - lookahead) % unit
	spare = int(max(-maxExcess, min(l.delay()-l.target()-int64(FrameSamples-unit), maxExcess))) - rest
	// Where there is jitter, the target is less certain, and less precious.
	width := int(l.spread.most - l.spread.least)
	patience, reluctance := safety/4+width/20, safety/4+width/8
	switch {
	case spare < -patience:
		return rest - (-spare+unit-1)/unit*unit, spare
	case spare >= unit+reluctance:
		return rest + (spare-reluctance)/unit*unit, spare
	}
	return rest, spare
}

// correct fills frame with more or less than FrameSamples samples, and returns how many more;
// with 0 it leaves it alone.
func (l *Leg) correct(frame []float32) int {
	excess, spare := l.excess()
	if l.hold = max(l.hold-1, 0); l.hold > 0 && excess > 0 && excess < largeExcess {
		return 0
	}
	if excess >= minLag || excess <= -minLag {
		enough := float32(identical)
		switch {
		case excess >= smallExcess:
			enough = similar - min(float32(l.splice)/100, 1)
		case spare < -safety*3/4:
			enough = similar
		}
		if change := l.jump(frame, excess, enough); change != 0 {
			return change
		}
	}
	slowest := -1
	if spare < -safety/2 {
		slowest = -maxSlide
	}
	change := max(slowest, min(excess, 1))
	if l.slide++; change > 0 && excess < tinyExcess {
		if l.slide < slideFrames {
			return 0
		}
		l.slide = 0
	}
	if change == 0 || change > 0 && !l.fill(FrameSamples+lookahead+change, false) {
		return 0
	}
	slide(frame, l.pcm, l.channels, lookahead, change)
	return change
}

// jump leaves out or repeats a part of the signal that resembles what follows it enough, and
// returns how many samples that was; or 0.
func (l *Leg) jump(frame []float32, excess int, enough float32) int {
	head := l.pcm[lookahead*l.channels:]
	level := power(head[:FrameSamples*l.channels])
	quiet := level < max(nothing, l.loud/1000)
	if l.splice < spliceFrames && !quiet && excess < hugeExcess {
		return 0
	}
	limit := min(max(excess, -excess), maxLag)
	if excess > 0 {
		l.fill(FrameSamples+lookahead+limit, false)
		limit = min(limit, l.have()-FrameSamples-lookahead)
		head = l.pcm[lookahead*l.channels:]
	}
	lag, resemblance := limit, float32(1)
	if level >= nothing {
		lag, resemblance = l.pitch.search(head, l.channels, limit)
	}
	if lag < minLag || resemblance < enough && !quiet {
		return 0
	}
	l.splice = 0
	if excess > 0 {
		splice(frame, head, l.channels, 0, lag)
		return lag
	}
	splice(frame, head, l.channels, lag, 0)
	return -lag
}
