package rooms

import (
	"time"

	"sightline/internal/fault"
	"sightline/internal/media"
)

// Relayed says for whom the subscription of a relay stands: who plays a track at another node,
// which pulls it once for all of them (see PlayRequest.Relay).
type Relayed struct {
	Room, Publisher string
	Kind            media.Kind
	Relay           string // as in the PlayRequest

	Viewers      int      // of the track
	Sessions     int      // of these, those that count for the room: a session that plays the pair counts with one of its tracks
	Participants []string // whose sessions they are, by ID, an entry for each; those that are not in the room count as nobody
}

// Represent counts viewers of a relay among those of the track, of which it says all at each
// call. It returns how many viewers the track has elsewhere, for the relay to keep to
// max_viewers_per_track. The error is a fault: NotFound if the relay plays no such track,
// BadRequest if the numbers are none.
func (r *Registry) Represent(who Relayed) (others int, err error) {
	if most := r.config.MaxViewersPerTrack; who.Viewers < 0 || who.Viewers > most || who.Sessions < 0 || who.Sessions > who.Viewers || len(who.Participants) > who.Viewers {
		return 0, fault.New(fault.BadRequest, "a relay's viewers must be 0 to %d (rooms.max_viewers_per_track), its sessions and participants no more than these; got %d, %d and %d",
			most, who.Viewers, who.Sessions, len(who.Participants))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var e *trackEntry
	if m := r.rooms[who.Room]; m != nil && m.publishers[who.Publisher] != nil && (who.Kind == media.Audio || who.Kind == media.Video) {
		e = *m.publishers[who.Publisher].entry(who.Kind)
	}
	if e == nil || e.relays[who.Relay] == nil {
		return 0, fault.New(fault.NotFound, "%s of publisher %q in room %q is not played to that relay", who.Kind, shown(who.Publisher), shown(who.Room))
	}
	v := e.relays[who.Relay]
	e.stopStandingLocked(v)
	v.stands = who
	e.viewers += who.Viewers
	v.room.viewers += who.Sessions
	for _, id := range who.Participants {
		if v.room.participants[id] != nil {
			e.watchLocked(id, 1)
			v.watching = append(v.watching, id)
		}
	}
	r.wake()
	return e.viewers - who.Viewers, nil
}

// relayLocked makes v the relay's subscription to the track. One that it had before, whose
// end is on its way, hands its viewers over.
func (e *trackEntry) relayLocked(v *viewer) {
	if e.relays == nil {
		e.relays = make(map[string]*viewer)
	}
	if old := e.relays[v.relay]; old != nil {
		v.stands, v.watching = old.stands, old.watching
		old.stands, old.watching = Relayed{}, nil
	}
	e.relays[v.relay] = v
}

// endRelayLocked takes back what a relay's subscription stood for. e is nil if the track is gone.
func (e *trackEntry) endRelayLocked(v *viewer) {
	if e == nil {
		v.room.viewers -= v.stands.Sessions
		return
	}
	e.stopStandingLocked(v)
	if e.relays[v.relay] == v {
		delete(e.relays, v.relay)
	}
}

func (e *trackEntry) stopStandingLocked(v *viewer) {
	e.viewers -= v.stands.Viewers
	v.room.viewers -= v.stands.Sessions
	for _, id := range v.watching {
		e.watchLocked(id, -1)
	}
	v.stands, v.watching = Relayed{}, nil
}

// Forget lets a publisher go that is away, at once instead of after the grace: whoever plays it
// ends with the cause. It does nothing to one that has a session.
func (r *Registry) Forget(room, publisher string, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.rooms[room]
	if m == nil || m.publishers[publisher] == nil || m.publishers[publisher].feed != nil {
		return
	}
	now, p := time.Now(), m.publishers[publisher]
	for _, e := range p.entries() {
		e.end(cause)
		r.removeLocked(p, e, now)
	}
	r.endTalkLocked(p, true, now)
	delete(m.publishers, publisher)
	r.tidyLocked(m)
}
