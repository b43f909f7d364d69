package rooms

import (
	"time"

	"sightline/internal/audit"
)

// pauseInSpeech is how long a publisher is silent before he has spoken: a pause that is shorter
// belongs to what he says, so that the audit log has a line for a speech and not for each word.
const pauseInSpeech = 10 * time.Second

// recordParticipant tells the audit log of a participant as he is now.
func (r *Registry) recordParticipant(what audit.What, p *participant, now time.Time) {
	r.record.Record(p.event(what, now))
}

func (r *Registry) recordLeft(p *participant, cause string, now time.Time) {
	e := p.event(audit.Left, now)
	e.Cause, e.From, e.To = cause, p.info.Since, now
	r.record.Record(e)
}

func (p *participant) event(what audit.What, now time.Time) audit.Event {
	e := audit.Event{Time: now, What: what, Room: p.room.name, Participant: p.info.ID, Called: p.info.Name, Who: p.who}
	e.Role = p.info.Role
	return e
}

// A talk is what the audit log will know of a publisher's speech: words, and the pauses between
// them. It is guarded by Registry.mu.
type talk struct {
	from    time.Time     // its beginning; zero: there is none
	word    time.Time     // since when he speaks; zero: he is silent
	last    time.Time     // when he fell silent
	spoken  time.Duration // before that
	session string        // that he began in, and
	who     audit.Who     // whose that is
}

// talkLocked notes that a publisher speaks, or speaks no longer.
func (r *Registry) talkLocked(p *publisher, now time.Time) {
	t := &p.talk
	switch {
	case p.speaking && t.from.IsZero():
		*t = talk{from: now, word: now, session: p.session, who: p.feed.request.Who}
		r.record.Record(p.talkEvent(audit.Began, now))
	case p.speaking:
		t.word = now
	case !t.word.IsZero():
		t.spoken += now.Sub(t.word)
		t.word, t.last = time.Time{}, now
	}
}

// endTalkLocked records a talk that is over, because he has been silent for long or, if gone,
// can't speak any more.
func (r *Registry) endTalkLocked(p *publisher, gone bool, now time.Time) {
	t := &p.talk
	if t.from.IsZero() || !gone && (!t.word.IsZero() || now.Sub(t.last) < pauseInSpeech) {
		return
	}
	if !t.word.IsZero() {
		t.spoken += now.Sub(t.word)
		t.last = now
	}
	e := p.talkEvent(audit.Ended, now)
	e.From, e.To, e.Seconds = t.from, t.last, t.spoken.Round(time.Millisecond).Seconds()
	r.record.Record(e)
	*t = talk{}
}

func (p *publisher) talkEvent(phase audit.Phase, now time.Time) audit.Event {
	return audit.Event{
		Time: now, What: audit.Spoke, Phase: phase, Room: p.room.name, Publisher: p.name, Session: p.talk.session, Who: p.talk.who,
	}
}

// recordClosingLocked records the end of all that lasts.
func (r *Registry) recordClosingLocked(now time.Time) {
	for _, m := range r.rooms {
		for _, p := range m.publishers {
			r.endTalkLocked(p, true, now)
		}
		for _, p := range m.participants {
			r.recordLeft(p, "closed", now)
		}
	}
}
