// Package audit is the record of who did what: who published, watched, heard, spoke, muted,
// ended, entered or was refused, from where, under which token's name, from when to when.
//
// Doors and the heart tell a Recorder of events. A Log writes them to a file of JSON lines,
// each of which carries the hash of the one before, so that Verify finds what was changed,
// removed, added or cut off later. docs/SECURITY.md says what that proves, and what not.
package audit

import (
	"strings"
	"time"
)

// A Recorder is told of events. Record never waits, whatever the disk does, and may be
// called with locks held. It is safe for concurrent use.
type Recorder interface {
	Record(Event)
}

// Discard records nothing.
var Discard Recorder = discard{}

type discard struct{}

func (discard) Record(Event) {}

// A What is a kind of event. Its text is the word in the log.
type What string

// What people do. Those that last have a Phase.
const (
	Published What = "published" // sent a camera or a microphone (WHIP); lasts
	Watched   What = "watched"   // got a publisher's tracks (WHEP); lasts
	Heard     What = "heard"     // got a room's mix; lasts
	Spoke     What = "spoke"     // was heard to speak; lasts, pauses of less than ten seconds included

	Entered What = "entered" // a room, as a participant
	Renamed What = "renamed" // says that he is somebody else, or has another role
	Left    What = "left"

	Muted   What = "muted" // somebody else's sound
	Unmuted What = "unmuted"
	Removed What = "removed" // ended somebody else's session

	Refused What = "refused" // had no token, a wrong one, or one that is not for this

	Invited   What = "invited"
	Revoked   What = "revoked"
	SignedIn  What = "signed-in"
	SignedOut What = "signed-out"

	Inspected What = "inspected" // read this log
)

// What the gateway and the log do.
const (
	Started   What = "started"   // the gateway
	Stopped   What = "stopped"   // the gateway, in order: nothing follows but a start
	Opened    What = "opened"    // a file; its first line
	Recovered What = "recovered" // the gateway has ended without a stop before
	Lost      What = "lost"      // there were events that could not be written
)

// A Phase says which end of what lasts an event is.
type Phase string

// The phases. What is in the log as begun and not as ended lasts still, or was cut short by
// the gateway's own end. What never began (a session that did not connect) ends only.
const (
	Began Phase = "began"
	Ended Phase = "ended"
)

// Who is the person or machine behind an event.
type Who struct {
	Name    string `json:"name,omitempty"`    // of the token, or of the person; "" in an open gateway
	Kind    string `json:"kind,omitempty"`    // of identity: token, jwt, invitation, person
	ID      string `json:"id,omitempty"`      // by which the identity can be revoked; never a secret
	Role    string `json:"role,omitempty"`    // in the room
	Address string `json:"address,omitempty"` // IP address of the HTTP client
	Agent   string `json:"agent,omitempty"`   // its User-Agent
}

// An Event is one thing that happened. It never holds a token, a session's URL, SDP or media.
type Event struct {
	Time  time.Time `json:"time"` // zero: now
	What  What      `json:"event"`
	Phase Phase     `json:"phase,omitempty"`

	Room      string   `json:"room,omitempty"`
	Publisher string   `json:"publisher,omitempty"` // who is watched, muted, …
	Tracks    []string `json:"tracks,omitempty"`    // "console/video"
	Session   string   `json:"session,omitempty"`   // public id

	Participant string `json:"participant,omitempty"` // public id
	Called      string `json:"called,omitempty"`      // what a participant calls himself
	Listener    string `json:"listener,omitempty"`    // publisher that hears the mix, as the session says

	Who

	Cause string    `json:"cause,omitempty"` // why it ended or was refused, one word
	From  time.Time `json:"from,omitzero"`   // of what has ended
	To    time.Time `json:"to,omitzero"`

	Seconds float64 `json:"seconds,omitempty"` // spoken, without pauses
	Count   uint64  `json:"count,omitempty"`   // how many alike this stands for; 0: one
	Packets uint64  `json:"packets,omitempty"` // of media, received or sent
	Bytes   uint64  `json:"bytes,omitempty"`   // likewise; of a file, those cut off
	Dropped uint64  `json:"dropped,omitempty"` // packets that a viewer's path had no place for

	Request string `json:"request,omitempty"` // method and pattern of the route that was refused
	Detail  string `json:"detail,omitempty"`  // words
	Version string `json:"version,omitempty"` // of the gateway
	Config  string `json:"config,omitempty"`  // SHA-256 of its configuration

	Opening *Opening `json:"opening,omitempty"` // of Opened
}

// An Opening is what a file says of itself and of those before it.
type Opening struct {
	File      int    `json:"file"`   // from 1
	Oldest    int    `json:"oldest"` // file that is kept; those before were deleted by rotation
	Algorithm string `json:"algorithm"`
	Key       string `json:"key,omitempty"` // which key, see KeyID
}

// The longest texts of others that the log takes, in bytes.
const (
	maxText = 400
	maxName = 128
)

// bound cuts what others have said, so that an event has a longest line.
func (e *Event) bound() {
	for _, s := range []*string{&e.Agent, &e.Called, &e.Detail, &e.Request} {
		*s = clip(*s, maxText)
	}
	for _, s := range []*string{&e.Room, &e.Publisher, &e.Session, &e.Participant, &e.Listener, &e.Name, &e.Kind, &e.ID, &e.Role, &e.Address, &e.Cause, &e.Version} {
		*s = clip(*s, maxName)
	}
	if len(e.Tracks) > 8 {
		e.Tracks = e.Tracks[:8]
	}
	e.Time, e.From, e.To = stamp(e.Time), stamp(e.From), stamp(e.To)
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// stamp is a time as lines have it: UTC, milliseconds.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
