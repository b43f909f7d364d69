package rooms

import (
	"slices"
	"time"
)

// speakingInterval is how long watchers of a room hear nothing more of who speaks in it:
// five times a second is as fast as a person sees a lamp blink.
const speakingInterval = 200 * time.Millisecond

// A speech is what watchers of a room know of who speaks in it. It is guarded by Registry.mu.
type speech struct {
	told  []string  // by name
	at    time.Time // when that was told
	waits bool      // something is to be told when the interval is over
}

// SetSpeaking says who speaks in a room now: speakers are all of them. Names that no
// publisher of the room has, or one that can't be heard, mean nothing. It may be called for
// every frame of sound; when nothing has changed it allocates nothing and tells nobody. It
// keeps nothing of speakers.
func (r *Registry) SetSpeaking(room string, speakers []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.rooms[room]
	if m == nil || r.closed {
		return
	}
	changed := false
	for _, p := range m.publishers {
		if speaks := p.audible() && slices.Contains(speakers, p.name); speaks != p.speaking {
			p.speaking, changed = speaks, true
			r.talkLocked(p, time.Now())
		}
	}
	if changed {
		r.tellSpeakingLocked(m, time.Now())
	}
}

// audible reports whether sound comes from the publisher's session, and reaches others.
func (p *publisher) audible() bool {
	return p.audio != nil && p.audio.since.IsZero() && !p.hushed()
}

// hushLocked makes a publisher that can't be heard any more speak no longer.
func (r *Registry) hushLocked(p *publisher, now time.Time) {
	if p.speaking && !p.audible() {
		p.speaking = false
		r.talkLocked(p, now)
		r.tellSpeakingLocked(p.room, now)
	}
}

// tellSpeakingLocked makes an event of who speaks in the room, as soon as the last one is
// long enough ago.
func (r *Registry) tellSpeakingLocked(m *room, now time.Time) {
	if r.closed {
		return
	}
	if next := m.speech.at.Add(speakingInterval); now.Before(next) {
		if !m.speech.waits {
			m.speech.waits = true
			r.wakeAtLocked(next)
		}
		return
	}
	names := []string{}
	for _, p := range byName(m.publishers) {
		if p.speaking {
			names = append(names, p.name)
		}
	}
	if !slices.Equal(names, m.speech.told) { // it may be as before again
		m.speech.told, m.speech.at = names, now
		r.emitLocked(Event{Type: SpeakingChanged, Room: m.name, Time: now, Speakers: names})
	}
}

// wakeAtLocked lets tellWaiting be called at an instant, or before.
func (r *Registry) wakeAtLocked(at time.Time) {
	if r.alarmAt.IsZero() || at.Before(r.alarmAt) {
		r.alarmAt = at
		r.alarm.Reset(time.Until(at))
	}
}

// tellWaiting tells who speaks in the rooms whose interval is over.
func (r *Registry) tellWaiting() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.alarmAt = time.Time{}
	for _, m := range r.rooms {
		if m.speech.waits {
			m.speech.waits = false
			r.tellSpeakingLocked(m, now) // it may have to wait still
		}
	}
}
