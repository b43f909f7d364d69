package whip

import (
	"time"

	"sightline/internal/audit"
	"sightline/internal/rtc"
)

// event is what the audit log says of the session at either end of it.
func (s *session) event(phase audit.Phase) audit.Event {
	e := audit.Event{What: audit.Published, Phase: phase, Room: s.room, Publisher: s.publisher, Session: s.id, Who: s.who}
	for _, source := range s.peer.Sources() {
		e.Tracks = append(e.Tracks, s.publisher+"/"+string(source.Kind()))
	}
	return e
}

func (s *session) recordBegin() {
	s.connected = time.Now()
	s.record.Record(s.event(audit.Began))
}

// recordEnd records why the session has ended. One that never connected is from no time on.
func (s *session) recordEnd(err error) {
	e := s.event(audit.Ended)
	e.Cause, e.From, e.To = rtc.Cause(err), s.connected, time.Now()
	for _, source := range s.peer.Sources() {
		stats := source.Stats()
		e.Packets += stats.Packets
		e.Bytes += stats.Bytes
	}
	s.record.Record(e)
}
