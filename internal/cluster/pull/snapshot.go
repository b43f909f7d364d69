package pull

// A Snapshot is what metrics need, read in one call.
type Snapshot struct {
	Pulls    map[State]int // all states are there
	Made     uint64        // pulls that were begun
	Rebuilds uint64        // times that a session was lost, and made anew
	Viewers  int           // sessions of viewers here, as rooms.Snapshot.Viewers counts them
	Loans    int           // publishers here whose room is elsewhere

	// Loss is how much was lost between the nodes in the last seconds, of the pull that lost most: from
	// 0 to 1, before what was repaired.
	Loss float64
}

// Snapshot returns the puller's numbers.
func (p *Puller) Snapshot() Snapshot {
	out := Snapshot{Pulls: map[State]int{Connecting: 0, Live: 0, Rebuilding: 0, Idle: 0}}
	p.mu.Lock()
	out.Made, out.Rebuilds, out.Viewers = p.made, p.rebuilds, p.sessions
	out.Loans = len(p.loans)
	for _, l := range p.pulls {
		out.Pulls[l.state()]++
	}
	p.mu.Unlock()
	for _, t := range p.registry.Snapshot().Tracks {
		out.Loss = max(out.Loss, t.Source.Loss)
	}
	return out
}

// state is how the pull does. The caller holds Puller.mu.
func (l *pull) state() State {
	switch {
	case !l.begun:
		return Connecting
	case l.up.IsZero():
		return Rebuilding
	case len(l.viewers) == 0:
		return Idle
	}
	return Live
}
