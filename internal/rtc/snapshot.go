package rtc

import "maps"

// A Snapshot is what metrics need, read in one call.
type Snapshot struct {
	Sessions  []SessionCount    // with clients
	Pulls     int               // sessions that the gateway has offered itself
	Exempt    int               // sessions that live on SRTP alone: their client answers no consent checks
	Ended     map[string]uint64 // sessions that have ended, by Cause
	Discarded uint64            // SRTP and SRTCP: before DTLS, bad tag, replayed, of nobody
	Records   uint64            // DTLS records that were dropped: in the clear where nothing may be, or none
	Refused   uint64            // ICE-TCP connections that belonged to nobody, or were one too many of their session
	Limited   map[string]uint64 // what was not taken because of a limit, by its key in the configuration
	Socket    SocketSnapshot
}

// A SessionCount counts the sessions of now.
type SessionCount struct {
	Publish bool
	Path    string // "udp", "tcp", "relay"; "" while connecting
	Count   int
}

// A SocketSnapshot holds the totals of the media socket, and of those that pulls have.
type SocketSnapshot struct {
	Received, ReceivedBytes uint64
	Sent, SentBytes         uint64
	Unknown                 uint64 // datagrams that belonged to nobody
	Overflow                uint64 // dropped: their session's queue was full
	Full                    uint64 // not sent: the socket's buffer was full
}

// SentBytes returns how many bytes the media socket has sent: what Snapshot says of it, without
// looking at every session.
func (e *Engine) SentBytes() uint64 { return e.udp.stats.sentBytes.Load() }

// Snapshot returns the engine's numbers. It is safe for concurrent use.
func (e *Engine) Snapshot() Snapshot {
	out := Snapshot{Records: e.records.Load(), Limited: e.limited.snapshot()}
	if e.gate != nil {
		out.Refused = e.gate.refused.Load()
	}
	e.mu.Lock()
	out.Ended, out.Discarded = maps.Clone(e.ended), e.discards
	out.Socket = e.udp.stats.snapshot()
	out.Socket.add(e.branches)
	sessions := make([]*Session, 0, len(e.sessions))
	for s := range e.sessions {
		sessions = append(sessions, s)
	}
	e.mu.Unlock()
	counts := make(map[SessionCount]int)
	for _, s := range sessions {
		out.Discarded += s.discarded.Load()
		if s.offers {
			out.Pulls++
			out.Socket.add(s.udp.stats.snapshot())
		} else {
			counts[SessionCount{Publish: s.receives, Path: s.Path()}]++
		}
		s.mu.Lock()
		if s.exempted {
			out.Exempt++
		}
		s.mu.Unlock()
	}
	for k, n := range counts {
		k.Count = n
		out.Sessions = append(out.Sessions, k)
	}
	return out
}

func (s *SocketSnapshot) add(other SocketSnapshot) {
	s.Received += other.Received
	s.ReceivedBytes += other.ReceivedBytes
	s.Sent += other.Sent
	s.SentBytes += other.SentBytes
	s.Unknown += other.Unknown
	s.Overflow += other.Overflow
	s.Full += other.Full
}
