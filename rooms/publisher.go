package rooms

import (
	"time"

	"sightline/internal/media"
)

// A room holds publishers by name, and participants by ID. It is there while one of them is,
// or a publisher is about to come.
type room struct {
	name       string
	since      time.Time // when its first publisher or participant came; zero before
	publishers map[string]*publisher
	viewers    int                       // WHEP sessions
	reserved   map[string][]*Publication // by the name that is about to come
	speech     speech

	participants map[string]*participant

	kept  kept
	state *RoomState // as RoomStates has told it; nil: something has changed since
}

// A publisher has a name, and tracks that outlive the sessions that feed them. It is guarded
// by Registry.mu.
type publisher struct {
	room    *room
	name    string
	subject string
	since   time.Time

	feed    *Publication // nil while it is away
	label   string       // of the last session, as role and client
	role    string
	client  string
	session string // "" while it is away
	muted   bool   // its audio track is, and will be if it has none yet
	silent  bool   // likewise, for as long as its last session's request holds

	speaking bool // by SetSpeaking; never while it is not audible
	talk     talk

	audio, video *trackEntry
}

// A trackEntry is a track with what the registry keeps about it, guarded by Registry.mu.
type trackEntry struct {
	*track
	viewers  int
	watchers map[string]int // subscriptions of participants, by ID
	relays   map[string]*viewer
	since    time.Time // when its feed ended; zero while it has one
	told     facts     // what watchers know; zero: nothing
}

// hushed reports whether what comes from the publisher is to be silence.
func (p *publisher) hushed() bool { return p.muted || p.silent }

// entries returns the publisher's tracks, audio before video.
func (p *publisher) entries() []*trackEntry {
	var out []*trackEntry
	for _, e := range []*trackEntry{p.audio, p.video} {
		if e != nil {
			out = append(out, e)
		}
	}
	return out
}

func (p *publisher) entry(kind media.Kind) **trackEntry {
	if kind == media.Audio {
		return &p.audio
	}
	return &p.video
}

// A viewer is a WHEP session: its subscriptions count as one.
type viewer struct {
	room          *room
	participant   string // whose it is; "": nobody says
	subscriptions int

	relay    string   // the node that it plays on from; "": none
	stands   Relayed  // for whom a relay stands, guarded by Registry.mu
	watching []string // of its participants those that were counted, likewise
}
