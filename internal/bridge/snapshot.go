package bridge

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"sightline/internal/audio"
)

// A Snapshot is all that metrics need, read in one call.
type Snapshot struct {
	Rooms     int // that are being mixed
	Listeners int
	Mixes     int // distinct ones

	// Totals over all rooms that were ever mixed.
	Ticks    uint64        // frames mixed
	Overruns uint64        // of these, done later than the next was due
	Skipped  uint64        // frames left out, because the mixing was too far behind
	Busy     time.Duration // what the mixing took

	Past     audio.Stats // totals of speakers that are no more
	Speakers []SpeakerSnapshot

	Starved int // listeners who receive only concealment, it seems
	Deaf    int // listeners to whom next to nothing gets through, as they report
}

// A SpeakerSnapshot is a publisher whose sound is being mixed.
type SpeakerSnapshot struct {
	Room, Publisher string
	Speaking        bool
	Level           uint8 // -dBov, 127 for silence
	Unheard         bool  // it speaks and nobody receives it, it seems
	Stats           audio.Stats
}

// counts are what a room adds to a snapshot.
type counts struct {
	Ticks, Overruns, Skipped uint64
	Busy                     time.Duration
	Mixes                    int
	Past                     audio.Stats
}

func (s *Snapshot) add(c counts) {
	s.Ticks += c.Ticks
	s.Overruns += c.Overruns
	s.Skipped += c.Skipped
	s.Busy += c.Busy
	s.Past = s.Past.Plus(c.Past)
}

// retire keeps the totals of a room that is no more.
func (b *Bridge) retire(r *room) {
	c := r.totals()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.leaving, r)
	b.past.add(c)
}

// totals returns the room's counts with those of its speakers.
func (r *room) totals() counts {
	r.mu.Lock()
	c, cast := r.counts, r.cast
	r.mu.Unlock()
	for _, s := range cast.speakers {
		c.Past = c.Past.Plus(s.leg.Stats())
	}
	return c
}

// Snapshot returns what the bridge does now.
func (b *Bridge) Snapshot() Snapshot {
	b.mu.Lock()
	s := b.past
	s.Listeners, s.Rooms = b.listeners, len(b.rooms)
	mixed, leaving := slices.Collect(maps.Values(b.rooms)), slices.Collect(maps.Keys(b.leaving))
	b.mu.Unlock()
	for _, r := range mixed {
		r.snapshot(&s)
	}
	// A room that retires meanwhile is not in b.past as it was read. Who has spoken there may be a speaker
	// already in another room of that name, and is told once.
	for _, r := range leaving {
		s.add(r.totals())
	}
	slices.SortFunc(s.Speakers, func(a, b SpeakerSnapshot) int {
		return cmp.Or(cmp.Compare(a.Room, b.Room), cmp.Compare(a.Publisher, b.Publisher))
	})
	return s
}

func (r *room) snapshot(s *Snapshot) {
	r.mu.Lock()
	c, cast, audience := r.counts, r.cast, r.audience
	r.mu.Unlock()
	s.add(c)
	s.Mixes += c.Mixes
	for _, speaker := range cast.speakers {
		s.Speakers = append(s.Speakers, SpeakerSnapshot{
			Room: r.name, Publisher: speaker.name,
			Speaking: speaker.talks.Load(), Level: uint8(speaker.loudness.Load()), Unheard: speaker.unheard.Load(),
			Stats: speaker.leg.Stats(),
		})
	}
	for _, l := range audience {
		if l.starved.Load() {
			s.Starved++
		}
		if l.report().Loss >= mostlyLost {
			s.Deaf++
		}
	}
}
