package bridge

const (
	// judgeAfter is how many frames a suspicion of one-way sound is based on: 5 s.
	judgeAfter = 5 * frames

	// enough is how many of these frames must have had something to judge by.
	enough = frames / 2

	// mostlyLost is the loss in a listener's report when next to nothing gets through.
	mostlyLost = 0.9
)

// A suspicion is that sound goes one way only.
type suspicion struct {
	frames, concerned, fine int
}

// judge takes what happened in one frame: whether it concerns the suspicion, and whether
// all was fine then. Every 5 s, when ok, it says whether the suspicion is founded.
func (s *suspicion) judge(concerned, fine bool) (founded, ok bool) {
	s.frames++
	if concerned {
		s.concerned++
		if fine {
			s.fine++
		}
	}
	if s.frames < judgeAfter {
		return false, false
	}
	founded = s.concerned >= enough && s.fine == 0
	*s = suspicion{}
	return founded, true
}

// suspect looks for sound that goes one way only, and says so once.
func (m *mixer) suspect(cast *cast, audience []*Listener) {
	log := m.room.bridge.log
	for _, s := range cast.speakers {
		unheard, ok := s.suspicion.judge(s.speaking, s.received.Load() || s.viewers.Load() > 0)
		if ok && s.unheard.Swap(unheard) != unheard && unheard {
			log.Warn("nobody receives what a publisher says", "room", m.room.name, "publisher", s.name)
		}
	}
	for _, l := range audience {
		if l.mix == nil {
			continue
		}
		starved, ok := l.suspicion.judge(l.mix.genuine || l.mix.faulty, l.mix.genuine)
		if ok && l.starved.Swap(starved) != starved && starved {
			log.Warn("a listener receives only concealment", "room", m.room.name, "for", l.request.For)
		}
	}
}
