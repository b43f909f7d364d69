package api

import (
	"math"
	"net/url"
	"time"

	"sightline/internal/httpapi"
	"sightline/internal/media"
	"sightline/rooms"
)

// What follows is the JSON of the room API; openapi.yaml describes each member.

type roomList struct {
	Rooms []room `json:"rooms"`
}

type room struct {
	Name       string      `json:"name"`
	Since      time.Time   `json:"since"`
	Viewers    int         `json:"viewers"`
	Mix        string      `json:"mix"`
	Listeners  int         `json:"listeners"`
	Publishers []publisher `json:"publishers"`

	Participants []participant `json:"participants"`
}

type participantList struct {
	Room         string        `json:"room"`
	Participants []participant `json:"participants"`
}

type participant struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Role       string     `json:"role"`
	Since      time.Time  `json:"since"`
	Microphone string     `json:"microphone"`
	Camera     string     `json:"camera"`
	Hand       bool       `json:"hand"`
	HandSince  *time.Time `json:"handSince"`
	Privacy    bool       `json:"privacy"`
	Call       string     `json:"call"`
	Publishers []string   `json:"publishers"`
	Speaking   bool       `json:"speaking"`
	Listening  bool       `json:"listening"`
}

type publisher struct {
	Name        string    `json:"name"`
	Label       string    `json:"label"`
	Role        string    `json:"role"`
	Session     string    `json:"session"`
	Client      string    `json:"client"`
	Since       time.Time `json:"since"`
	Muted       bool      `json:"muted"`
	Speaking    bool      `json:"speaking"`
	WHIP        string    `json:"whip"`
	WHEP        string    `json:"whep"`
	ReturnAudio string    `json:"returnAudio"`
	Watch       string    `json:"watch"`
	Tracks      []track   `json:"tracks"`
}

type trackList struct {
	Room   string  `json:"room"`
	Tracks []track `json:"tracks"`
}

type track struct {
	ID                 string    `json:"id"`
	Room               string    `json:"room"`
	Publisher          string    `json:"publisher"`
	Kind               string    `json:"kind"`
	Label              string    `json:"label"`
	Role               string    `json:"role"`
	Codec              string    `json:"codec"`
	Profile            string    `json:"profile"`
	Width              int       `json:"width"`
	Height             int       `json:"height"`
	FPS                float64   `json:"fps"`
	Bitrate            int       `json:"bitrate"`
	State              string    `json:"state"`
	Since              time.Time `json:"since"`
	Muted              bool      `json:"muted"`
	PacketAgeMs        *int64    `json:"packetAgeMs"`
	KeyframeAgeMs      *int64    `json:"keyframeAgeMs"`
	KeyframeIntervalMs *int64    `json:"keyframeIntervalMs"`
	Loss               float64   `json:"loss"`
	RTTMs              *float64  `json:"rttMs"`
	Viewers            int       `json:"viewers"`
	Watchers           []string  `json:"watchers"`
	Session            string    `json:"session"`
	Client             string    `json:"client"`
	Path               string    `json:"path"`
	WHEP               string    `json:"whep"`
	Watch              string    `json:"watch"`
}

type event struct {
	Type     string    `json:"type"`
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`
	Room     string    `json:"room,omitempty"`
	Track    *track    `json:"track,omitempty"`
	Rooms    *[]room   `json:"rooms,omitempty"`    // a snapshot without rooms says so
	Speakers *[]string `json:"speakers,omitempty"` // likewise

	Participant *participant `json:"participant,omitempty"`
	Ending      *ending      `json:"ending,omitempty"`
	Reason      string       `json:"reason,omitempty"` // of a move
}

type ending struct {
	Session     string    `json:"session,omitempty"`
	Publisher   string    `json:"publisher,omitempty"`
	Participant string    `json:"participant,omitempty"`
	Reason      string    `json:"reason"`
	At          time.Time `json:"at"`
}

// A view is how one request sees the rooms: under which URL it reached the gateway, and
// what its token lets it see.
type view struct {
	base string // "https://example.org", without a slash at the end

	// listeners returns how many listen to a room's mix.
	listeners func(room string) int

	// sees reports whether the caller may read of a publisher, or one of its tracks, in a room;
	// an empty publisher stands for the room itself.
	sees func(room, publisher string) bool
}

func (v view) rooms(infos []rooms.RoomInfo) []room {
	out := make([]room, 0, len(infos)) // never null
	for _, info := range infos {
		if v.sees(info.Name, "") {
			out = append(out, v.room(info))
		}
	}
	return out
}

func (v view) room(info rooms.RoomInfo) room {
	out := room{
		Name:       info.Name,
		Since:      instant(info.Since),
		Viewers:    info.Viewers,
		Mix:        httpapi.MixURL(v.base, info.Name, ""),
		Listeners:  v.listeners(info.Name),
		Publishers: make([]publisher, 0, len(info.Publishers)),

		Participants: v.participants(info.Name, info.Participants),
	}
	for _, p := range info.Publishers {
		if v.sees(info.Name, p.Name) {
			out.Publishers = append(out.Publishers, v.publisher(info.Name, p))
		}
	}
	return out
}

func (v view) publisher(room string, info rooms.PublisherInfo) publisher {
	out := publisher{
		Name:        info.Name,
		Label:       info.Label,
		Role:        info.Role,
		Session:     info.Session,
		Client:      info.Client,
		Since:       instant(info.Since),
		Muted:       info.Muted,
		Speaking:    info.Speaking,
		WHIP:        v.url("whip", room, info.Name),
		WHEP:        v.url("whep", room, info.Name),
		ReturnAudio: httpapi.MixURL(v.base, room, info.Name),
		Watch:       v.url("watch", room, info.Name),
		Tracks:      make([]track, 0, len(info.Tracks)),
	}
	for _, t := range info.Tracks {
		if v.sees(room, t.ID) {
			out.Tracks = append(out.Tracks, v.track(t))
		}
	}
	return out
}

func (v view) participants(room string, infos []rooms.ParticipantInfo) []participant {
	out := make([]participant, 0, len(infos))
	for _, info := range infos {
		out = append(out, v.participant(room, info))
	}
	return out
}

// participant leaves out the publishers that the caller may not see, and that they speak.
func (v view) participant(room string, info rooms.ParticipantInfo) participant {
	return participant{
		ID:         info.ID,
		Name:       info.Name,
		Role:       info.Role,
		Since:      instant(info.Since),
		Microphone: string(info.Microphone),
		Camera:     string(info.Camera),
		Hand:       info.Hand,
		HandSince:  instantOrNull(info.HandSince),
		Privacy:    info.Privacy,
		Call:       info.Call,
		Publishers: v.names(room, info.Publishers),
		Speaking:   info.Speaking && v.sees(room, info.Publishers[0]),
		Listening:  info.Listening,
	}
}

// active lists the tracks that are not gone.
func (v view) active(infos []rooms.TrackInfo) []track {
	out := make([]track, 0, len(infos))
	for _, info := range infos {
		if info.State != rooms.Gone && v.sees(info.Room, info.ID) {
			out = append(out, v.track(info))
		}
	}
	return out
}

func (v view) track(info rooms.TrackInfo) track {
	t := track{
		ID:          info.ID,
		Room:        info.Room,
		Publisher:   info.Publisher,
		Kind:        string(info.Kind),
		Label:       info.Label,
		Role:        info.Role,
		Codec:       info.Codec.Name,
		Profile:     info.Profile,
		Width:       info.Width,
		Height:      info.Height,
		FPS:         round(info.FrameRate, 10),
		Bitrate:     info.Bitrate,
		State:       string(info.State),
		Since:       instant(info.Since),
		Muted:       info.Muted,
		PacketAgeMs: milliseconds(info.PacketAge),
		Loss:        round(info.Loss, 1e4),
		Viewers:     info.Viewers,
		Watchers:    append([]string{}, info.Watchers...),
		Session:     info.Session,
		Client:      info.Client,
		Path:        info.Path,
		WHEP:        v.url("whep", info.Room, info.Publisher, string(info.Kind)),
		Watch:       v.url("watch", info.Room, info.Publisher, string(info.Kind)),
	}
	if info.Kind == media.Video {
		t.KeyframeAgeMs = milliseconds(info.KeyframeAge)
		if info.KeyframeInterval > 0 {
			t.KeyframeIntervalMs = milliseconds(info.KeyframeInterval)
		}
	}
	if info.RTT > 0 {
		ms := round(float64(info.RTT)/float64(time.Millisecond), 100)
		t.RTTMs = &ms
	}
	return t
}

// event returns false for what the caller may not see.
func (v view) event(e rooms.Event, id string) (event, bool) {
	out := event{Type: string(e.Type), ID: id, Time: instant(e.Time), Room: e.Room, Reason: e.Reason}
	switch {
	case e.Type == rooms.SnapshotEvent:
		all := v.rooms(e.Rooms)
		out.Rooms = &all
		return out, true
	case e.Track != nil:
		t := v.track(*e.Track)
		out.Room, out.Track = t.Room, &t
		return out, v.sees(t.Room, t.ID)
	case e.Type == rooms.SpeakingChanged:
		names := v.names(e.Room, e.Speakers)
		out.Speakers = &names
	case e.Participant != nil:
		p := v.participant(e.Room, *e.Participant)
		out.Participant = &p
	case e.Ending != nil:
		out.Ending = &ending{e.Ending.Session, e.Ending.Publisher, e.Ending.Participant, e.Ending.Reason, instant(e.Ending.At)}
		return out, v.sees(e.Room, e.Ending.Publisher)
	}
	return out, v.sees(e.Room, "")
}

// names lists the publishers that the caller may see.
func (v view) names(room string, all []string) []string {
	out := make([]string, 0, len(all))
	for _, name := range all {
		if v.sees(room, name) {
			out = append(out, name)
		}
	}
	return out
}

func (v view) url(elements ...string) string {
	u := v.base
	for _, e := range elements {
		u += "/" + url.PathEscape(e)
	}
	return u
}

// instant returns t as the API writes it: UTC, to the millisecond.
func instant(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// instantOrNull returns nil for the zero time.
func instantOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(instant(t))
}

// milliseconds returns nil for a negative duration, which stands for "none yet".
func milliseconds(d time.Duration) *int64 {
	if d < 0 {
		return nil
	}
	ms := d.Milliseconds()
	return &ms
}

// round keeps 1/unit of v. What is no number has no JSON and becomes 0.
func round(v, unit float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return math.Round(v*unit) / unit
}
