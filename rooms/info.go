package rooms

import (
	"time"

	"sightline/internal/media"
)

// A State is where a track is in its life, as its RTP tells:
//
//	connecting ──▶ live ◀──▶ stalled
//	                 └──────────┴──▶ gone ──▶ connecting (its publisher came back)
//
// A track whose publisher's session ended is stalled until the grace has passed.
type State string

const (
	Connecting State = "connecting" // its session is up, nothing to show yet (video: no keyframe)
	Live       State = "live"
	Stalled    State = "stalled" // nothing came for 2 s
	Gone       State = "gone"    // its publisher left and did not come back within the grace
)

// RoomInfo is a room as the room API shows it.
type RoomInfo struct {
	Name       string
	Since      time.Time
	Publishers []PublisherInfo // by name
	Viewers    int             // WHEP sessions, each counted once

	Participants []ParticipantInfo // in the order of entering
}

// PublisherInfo is a publisher as the room API shows it.
type PublisherInfo struct {
	Name     string
	Label    string
	Role     string // what it is to the others: "hospital", "technician", or of no meaning here; "" if it has none
	Session  string // public id of the WHIP session that feeds it now, "" if none does
	Client   string // its User-Agent
	Since    time.Time
	Muted    bool        // by Registry.Mute, or as PublishRequest.Silent; it may have no audio
	Speaking bool        // by Registry.SetSpeaking
	Tracks   []TrackInfo // audio before video
}

// TrackInfo is a track as the room API shows it. Its name is ID, "publisher/kind".
type TrackInfo struct {
	ID        string
	Room      string
	Publisher string
	Kind      media.Kind
	Label     string
	Role      string // of its publisher

	Codec         media.Codec // what it carries now
	Profile       string      // in words, e.g. "Constrained Baseline 3.1"; "" if the codec says none
	Width, Height int         // 0: not known
	FrameRate     float64     // frames per second over the last seconds
	Bitrate       int         // bit/s of RTP payload over the last seconds

	State State
	Since time.Time // of the state
	Muted bool      // audio: what its publisher sends is forwarded as silence

	PacketAge        time.Duration // since the last packet; negative: none yet
	KeyframeAge      time.Duration // since the last keyframe; negative: none yet
	KeyframeInterval time.Duration // between the last two that nobody asked for; 0: not seen

	Loss    float64       // of the publisher's leg, before repair, 0 to 1
	RTT     time.Duration // of the publisher's leg; 0: not known
	Path    string        // ICE path: "udp", "tcp", "relay"; "" without a session
	Viewers int
	Session string
	Client  string

	Watchers []string // IDs of the room's participants who are among the viewers, sorted
}

// An EventType is what happened.
type EventType string

const (
	// Snapshot is the first event of a watcher that could not be resumed: Rooms holds all
	// that is there.
	SnapshotEvent EventType = "snapshot"
	// TrackChanged says that Track is new or has changed: state, codec, size, session, label,
	// role, viewers, watchers, whether it is muted. Readings that flow (rates, ages) do not make an event.
	TrackChanged EventType = "track"
	TrackRemoved EventType = "track-removed" // Track holds what it was
	// SpeakingChanged says that Speakers are all who speak in the room now. There are at most
	// five a second of a room, the last of which is what holds.
	SpeakingChanged EventType = "speaking"
	// ParticipantChanged says that Participant has come or changed, but for whether he speaks.
	ParticipantChanged EventType = "participant"
	ParticipantLeft    EventType = "participant-left" // Participant holds what he was
	// SessionEnding says that what somebody does in the room is about to end, because what lets
	// him has expired or been revoked. It may go on yet, with something newer.
	SessionEnding EventType = "session-ending"
	RoomOpened    EventType = "room"
	RoomClosed    EventType = "room-closed"
	// RoomMoved is the last that a watcher of the room gets of it: it is on another node now, and
	// all that was in it is about to come back there. Reason says why.
	RoomMoved EventType = "room-moved"
)

// An Event is one change in a room.
type Event struct {
	ID       uint64 // grows by one for each event of the registry
	Type     EventType
	Room     string
	Time     time.Time
	Track    *TrackInfo // TrackChanged, TrackRemoved
	Rooms    []RoomInfo // SnapshotEvent
	Speakers []string   // SpeakingChanged: names of publishers, sorted; not to be changed

	Participant *ParticipantInfo // ParticipantChanged, ParticipantLeft
	Ending      *EndingInfo      // SessionEnding; not to be changed
	Reason      string           // RoomMoved
}

// EndingInfo says what is about to end: a session, of WHIP or WHEP, or a participant.
type EndingInfo struct {
	Session     string // public id; "" if it is a participant
	Publisher   string // who publishes, or is watched, in the session; may be the mix
	Participant string // by ID, whose it is; "" if nobody says
	Reason      string // "expired" or "revoked"
	At          time.Time
}

// A Snapshot is all that metrics need, read in one call.
type Snapshot struct {
	Rooms     int
	Viewers   int // WHEP sessions
	Takeovers uint64

	Participants int

	Tracks []TrackSnapshot // those that are not gone, by room and ID

	FirstPacket     Histogram // seconds from the viewer's Run to his first packet
	FirstKeyframe   Histogram // seconds from the viewer's Run to his first keyframe
	ForwardingDelay Histogram // seconds from a packet's arrival until it was written to all sinks
}

// A TrackSnapshot is a track with its totals since the track began, over all its
// sources and subscriptions, the ended ones included.
type TrackSnapshot struct {
	TrackInfo
	Source           media.SourceStats
	Sinks            media.SinkStats // sums; Loss and RTT are means over the viewers of now
	KeyframeRequests uint64          // what viewers asked for, before coalescing
}

// A Histogram counts observations. Counts[i] holds those at most Bounds[i], without
// those of lower buckets; one more bucket at the end holds the rest.
type Histogram struct {
	Bounds []float64
	Counts []uint64
	Sum    float64
}
