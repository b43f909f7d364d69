package whep

import (
	"slices"
	"time"

	"sightline/internal/audit"
	"sightline/internal/bridge"
	"sightline/internal/media"
	"sightline/internal/rtc"
)

// event is what the audit log says of the session at either end of it.
func (s *session) event(phase audit.Phase, sinks map[subscription]*rtc.LocalTrack) audit.Event {
	e := audit.Event{What: audit.Watched, Phase: phase, Room: s.room, Publisher: s.publisher, Session: s.id, Participant: s.participant, Who: s.who}
	if s.publisher == bridge.Mix {
		e.What, e.Listener = audit.Heard, s.listener
	}
	for sub := range sinks {
		e.Tracks = append(e.Tracks, s.publisher+"/"+string(sub.Kind()))
	}
	slices.Sort(e.Tracks)
	return e
}

func (s *session) recordBegin(sinks map[subscription]*rtc.LocalTrack) {
	s.connected = time.Now()
	s.record.Record(s.event(audit.Began, sinks))
}

// recordEnd records why the session has ended, and what it got. One that never connected is
// from no time on.
func (s *session) recordEnd(sinks map[subscription]*rtc.LocalTrack, total media.SinkStats, err error) {
	e := s.event(audit.Ended, sinks)
	e.Cause, e.From, e.To = rtc.Cause(err), s.connected, time.Now()
	e.Packets, e.Bytes, e.Dropped = total.Packets, total.Bytes, total.Dropped
	s.record.Record(e)
}
