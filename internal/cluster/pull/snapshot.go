package pull

// A Snapshot is what metrics need, read in one call.
type Snapshot struct {
	Pulls    map[State]int // all states are there
	Made     uint64        // pulls that were begun
	Rebuilds uint64        // sessions that were lost, and had to be made anew
	Viewers  int           // sessions of viewers here, as rooms.Snapshot.Viewers counts them

	// Totals of the pulls of now: what came from owners, and what went to viewers here.
	Received, Sent           uint64 // packets
	ReceivedBytes, SentBytes uint64 // of RTP payload
	Lost, Repaired           uint64 // packets, on the way between nodes
	Dropped                  uint64 // packets that a viewer had no room for
}

// Snapshot returns the puller's numbers.
func (p *Puller) Snapshot() Snapshot {
	out := Snapshot{Pulls: map[State]int{Connecting: 0, Live: 0, Rebuilding: 0, Idle: 0}}
	p.mu.Lock()
	out.Made, out.Rebuilds, out.Viewers = p.made, p.rebuilds, p.sessions
	for _, l := range p.pulls {
		out.Pulls[l.state()]++
	}
	p.mu.Unlock()
	for _, t := range p.registry.Snapshot().Tracks {
		out.Received += t.Source.Packets
		out.ReceivedBytes += t.Source.Bytes
		out.Lost += t.Source.Lost
		out.Repaired += t.Source.Repaired
		out.Sent += t.Sinks.Packets
		out.SentBytes += t.Sinks.Bytes
		out.Dropped += t.Sinks.Dropped
	}
	return out
}

// state is how the pull does. The caller holds Puller.mu.
func (l *pull) state() State {
	switch {
	case !l.begun:
		return Connecting
	case !l.up:
		return Rebuilding
	case len(l.viewers) == 0:
		return Idle
	}
	return Live
}
