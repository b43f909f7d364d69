package rooms

import (
	"strings"
	"time"

	"sightline/internal/media"
)

const (
	tick      = 100 * time.Millisecond
	statTicks = 5 // ticks between two looks at the sources' statistics
)

// keepTime does for all rooms what must be done at its time: states, the grace, keyframe
// requests that were put off or not answered, viewers that wait in vain, clocks, events.
func (r *Registry) keepTime() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	defer r.alarm.Stop()
	for n := 0; ; n++ {
		select {
		case <-r.done:
			return
		case <-r.kick:
			n--
			r.mu.Lock()
			r.tellLocked(time.Now())
			r.mu.Unlock()
		case <-r.alarm.C:
			n--
			r.tellWaiting()
		case <-ticker.C:
			r.look(time.Now(), n%statTicks == 0)
		}
	}
}

// wake lets watchers hear of a change soon.
func (r *Registry) wake() {
	select {
	case r.kick <- struct{}{}:
	default: // it is about to look anyway
	}
}

func (r *Registry) look(now time.Time, stats bool) {
	for p, tracks := range r.running() {
		var timings []timing
		for _, t := range tracks {
			timings = append(timings, t.look(now, stats))
		}
		p.reference.follow(timings, now)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now = time.Now()
	r.tellLocked(now)
	r.sweepLocked(now)
}

// running returns the publications that feed, and the tracks of their publishers.
func (r *Registry) running() map[*Publication][]*track {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[*Publication][]*track)
	for _, m := range r.rooms {
		for _, p := range m.publishers {
			if p.feed == nil {
				continue
			}
			for _, e := range p.entries() {
				out[p.feed] = append(out[p.feed], e.track)
			}
		}
	}
	for feed, l := range r.loans {
		for _, e := range l.publisher.entries() {
			out[feed] = append(out[feed], e.track)
		}
	}
	return out
}

// look asks the track's source how it is, and for a keyframe if one is due.
func (t *track) look(now time.Time, stats bool) timing {
	f := t.current()
	if f == nil {
		return timing{track: t}
	}
	t.askAgain(now)
	t.wakeStuck(now)
	if stats {
		s := f.source.Stats()
		t.mu.Lock()
		if t.feed == f {
			t.readings.stats = s
		}
		t.mu.Unlock()
	}
	clock, report := f.source.Clock()
	return t.timing(f, clock, report)
}

// sweepLocked removes the tracks that did not come back within the grace, the participants
// that are not heard of, and what is left empty by that.
func (r *Registry) sweepLocked(now time.Time) {
	for _, m := range r.rooms {
		r.sweepParticipantsLocked(m, now)
		for _, p := range m.publishers {
			r.endTalkLocked(p, false, now)
			for _, e := range p.entries() {
				if !e.since.IsZero() && now.Sub(e.since) >= r.config.Grace.D() {
					r.removeLocked(p, e, now)
				}
			}
			if p.feed == nil && len(p.entries()) == 0 {
				r.endTalkLocked(p, true, now)
				delete(m.publishers, p.name)
				m.changed()
			}
		}
		r.tidyLocked(m)
	}
}

func (r *Registry) removeLocked(p *publisher, e *trackEntry, now time.Time) {
	e.mu.Lock()
	e.readings.set(Gone, now)
	e.mu.Unlock()
	info := e.infoLocked(p, now)
	*p.entry(e.kind) = nil
	p.room.changed()
	e.end(ErrGone)
	r.log.Info("track gone", "room", p.room.name, "track", e.id)
	r.emitLocked(Event{Type: TrackRemoved, Room: p.room.name, Time: now, Track: &info})
}

// openLocked makes a room that was only reserved a room for all to see.
func (r *Registry) openLocked(m *room, now time.Time) {
	if m.since.IsZero() {
		m.since = now
		r.emitLocked(Event{Type: RoomOpened, Room: m.name, Time: now})
	}
}

// tidyLocked forgets a room in which nothing is left.
func (r *Registry) tidyLocked(m *room) {
	if len(m.publishers) > 0 || len(m.participants) > 0 {
		return
	}
	if !m.since.IsZero() {
		m.since, m.speech = time.Time{}, speech{} // that it has closed says that nobody speaks
		r.emitLocked(Event{Type: RoomClosed, Room: m.name, Time: time.Now()})
	}
	if len(m.reserved) == 0 && !m.kept.holds(time.Now()) {
		delete(r.rooms, m.name)
	}
}

// facts are what makes an event when it changes.
type facts struct {
	codec         media.Codec
	profile       string
	width, height int
	state         State
	label, role   string
	session       string
	client        string
	viewers       int
	watchers      string
	muted         bool
}

// tellLocked makes an event for each track and participant that has changed since the last.
func (r *Registry) tellLocked(now time.Time) {
	if r.closed {
		return
	}
	for _, m := range r.rooms {
		for _, p := range m.participants {
			if p.changed {
				r.tellParticipantLocked(p, now)
			}
		}
		for _, p := range m.publishers {
			for _, e := range p.entries() {
				info := e.infoLocked(p, now)
				f := facts{info.Codec, info.Profile, info.Width, info.Height, info.State,
					info.Label, info.Role, info.Session, info.Client, info.Viewers, strings.Join(info.Watchers, " "), info.Muted}
				if f != e.told {
					e.told = f
					m.changed()
					r.arrivedLocked()
					r.emitLocked(Event{Type: TrackChanged, Room: m.name, Time: now, Track: &info})
				}
			}
		}
	}
}
