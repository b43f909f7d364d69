package cluster

import (
	"maps"
	"time"
)

// directoryStats are counted since the start.
type directoryStats struct {
	in, out    map[string]Traffic // by what: beat, changes, bye, and the verbs of calls; without answers
	placements uint64             // that this node has decided
	takeovers  map[Why]uint64     // rooms that came to this node from another
	died       uint64             // leases of others that ended
	alone      uint64             // times that the engine was away for longer than a lease
	gaps       uint64             // changes of others that were missed
	fetches    uint64             // times that others were asked for what was missed
	refused    uint64             // records of others that were beyond the bounds
}

// Traffic is messages, and the bytes in them.
type Traffic struct{ Messages, Bytes uint64 }

func (s *directoryStats) init() {
	s.in, s.out = map[string]Traffic{}, map[string]Traffic{}
	s.takeovers = map[Why]uint64{Died: 0, Drained: 0, Contested: 0}
	for _, what := range []string{"beat", "changes", "bye", verbPlace, verbTake, verbChanges, verbPing} {
		s.in[what], s.out[what] = Traffic{}, Traffic{}
	}
}

// count counts a message that came in, or one that goes out. what is one of those of init.
func (d *directory) count(in bool, what string, bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	by := d.stats.out
	if in {
		by = d.stats.in
	}
	t := by[what]
	by[what] = Traffic{t.Messages + 1, t.Bytes + uint64(bytes)}
}

// A DirectorySnapshot is what metrics tell of the directory.
type DirectorySnapshot struct {
	Members int           // this node among them
	Owned   int           // rooms
	Entries int           // rooms of all nodes
	Age     time.Duration // since the last heartbeat of the member that was heard least lately
	Twins   int           // members that share their name with another

	In, Out     map[string]Traffic // by what: beat, changes, bye, and calls by verb; no answers
	Placements  uint64             // that this node has decided, as the arbiter
	Takeovers   map[Why]uint64     // rooms that came to this node from another
	LeasesEnded uint64             // of other nodes
	Alone       uint64             // times that this node was without its engine for longer than a lease
	Gaps        uint64             // times that this node has missed changes
	Fetches     uint64             // times that it has asked for what it had missed
	Refused     uint64             // records of others that were not taken in, because they were too many or too large
}

func (d *directory) snapshot() DirectorySnapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &d.stats
	out := DirectorySnapshot{
		Members: 1 + len(d.peers), Owned: len(d.own), Entries: len(d.claims),
		In: maps.Clone(s.in), Out: maps.Clone(s.out),
		Placements: s.placements, Takeovers: maps.Clone(s.takeovers),
		LeasesEnded: s.died, Alone: s.alone, Gaps: s.gaps, Fetches: s.fetches, Refused: s.refused,
	}
	now := time.Now()
	for _, p := range d.peers {
		out.Age = max(out.Age, now.Sub(p.heard))
		out.Twins += toInt(p.twin)
	}
	out.Twins += toInt(d.me.twin)
	return out
}
