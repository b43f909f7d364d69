package rooms

import (
	"maps"
	"slices"
	"time"

	"sightline/internal/fault"
	"sightline/internal/media"
)

// Rooms returns all rooms by name.
func (r *Registry) Rooms() []RoomInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.roomsLocked(time.Now())
}

// Room returns one room. The error is a fault.NotFound if it is not there.
func (r *Registry) Room(name string) (RoomInfo, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.rooms[name]
	if m == nil || m.since.IsZero() {
		return RoomInfo{}, fault.New(fault.NotFound, "no room %q", shown(name))
	}
	return r.roomLocked(m, time.Now()), nil
}

// Tracks returns the tracks of a room by ID. The error is a fault.NotFound if it is not there.
func (r *Registry) Tracks(name string) ([]TrackInfo, error) {
	m, err := r.Room(name)
	if err != nil {
		return nil, err
	}
	var out []TrackInfo
	for _, p := range m.Publishers {
		out = append(out, p.Tracks...)
	}
	return out, nil
}

// shown bounds what an error repeats.
func shown(name string) string {
	if len(name) > maxName {
		return name[:maxName] + "…"
	}
	return name
}

// byName returns the values of m in the order of their keys.
func byName[V any](m map[string]V) []V {
	out := make([]V, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[name])
	}
	return out
}

func (r *Registry) roomsLocked(now time.Time) []RoomInfo {
	out := make([]RoomInfo, 0, len(r.rooms))
	for _, m := range byName(r.rooms) {
		if !m.since.IsZero() {
			out = append(out, r.roomLocked(m, now))
		}
	}
	return out
}

func (r *Registry) roomLocked(m *room, now time.Time) RoomInfo {
	info := RoomInfo{Name: m.name, Since: m.since, Viewers: m.viewers, Participants: m.participantsLocked()}
	for _, p := range byName(m.publishers) {
		pub := PublisherInfo{
			Name: p.name, Label: p.label, Role: p.role, Session: p.session, Client: p.client, Since: p.since, Muted: p.hushed(), Speaking: p.speaking,
		}
		for _, e := range p.entries() {
			pub.Tracks = append(pub.Tracks, e.infoLocked(p, now))
		}
		info.Publishers = append(info.Publishers, pub)
	}
	return info
}

// infoLocked describes a track. The caller holds Registry.mu.
func (e *trackEntry) infoLocked(p *publisher, now time.Time) TrackInfo {
	info := e.info(now)
	info.Label, info.Role, info.Client, info.Session, info.Viewers = p.label, p.role, p.client, p.session, e.viewers
	info.Watchers = e.watchersLocked(p.room)
	if !e.since.IsZero() { // the session, if there is one, does not feed this track
		info.Session = ""
	}
	return info
}

// info describes what the track knows by itself.
func (t *track) info(now time.Time) TrackInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &t.readings
	if t.feed != nil {
		r.look(t.began, t.config.StalledAfter.D(), now)
	}
	age := func(at time.Time) time.Duration {
		if at.IsZero() {
			return -1
		}
		return max(now.Sub(at), 0)
	}
	info := TrackInfo{
		ID: t.id, Room: t.room, Publisher: t.publisher, Kind: t.kind,
		Codec: t.codec, Profile: r.profile, Width: r.width, Height: r.height,
		Bitrate: int(r.bits.PerSecond(now)),
		State:   r.state, Since: r.since, Muted: t.muted,
		PacketAge: age(r.lastPacket), KeyframeAge: age(r.lastKey), KeyframeInterval: r.interval,
		Loss: r.stats.Loss, RTT: r.stats.RTT, Path: r.stats.Path,
	}
	if info.Profile == "" {
		info.Profile = media.Profile(t.codec)
	}
	if t.kind == media.Video {
		info.FrameRate = r.frames.PerSecond(now)
	}
	return info
}

// Snapshot returns all that metrics need.
func (r *Registry) Snapshot() Snapshot {
	now := time.Now()
	out := Snapshot{
		FirstPacket:     r.firstPacket.read(),
		FirstKeyframe:   r.firstKeyframe.read(),
		ForwardingDelay: r.forwardingDelay.read(),
	}
	var tracks []*track
	r.mu.Lock()
	out.Viewers, out.Takeovers = len(r.viewers), r.takeovers
	for _, m := range byName(r.rooms) {
		if !m.since.IsZero() {
			out.Rooms++
		}
		out.Participants += len(m.participants)
		for _, p := range byName(m.publishers) {
			for _, e := range p.entries() {
				tracks = append(tracks, e.track)
				out.Tracks = append(out.Tracks, TrackSnapshot{TrackInfo: e.infoLocked(p, now)})
			}
		}
	}
	r.mu.Unlock()
	for i, t := range tracks {
		t.snapshot(&out.Tracks[i])
	}
	return out
}

// snapshot adds the totals of a track.
func (t *track) snapshot(out *TrackSnapshot) {
	t.mu.Lock()
	out.Source, out.Sinks, out.KeyframeRequests = t.totals.source, t.totals.sinks, t.totals.keyframeRequests
	now, feeds := t.feed, slices.Clone(t.feeds)
	sinks := make([]media.Sink, 0, len(t.viewing))
	for s, sink := range t.viewing {
		if sink != nil && !s.isTap() {
			sinks = append(sinks, sink)
		}
	}
	t.mu.Unlock()

	for _, f := range feeds {
		s := f.source.Stats()
		addSource(&out.Source, s)
		if f == now {
			out.Source.Jitter, out.Source.Loss, out.Source.RTT, out.Source.Path = s.Jitter, s.Loss, s.RTT, s.Path
		}
	}
	var loss float64
	var rtt, jitter time.Duration
	var measured int
	for _, sink := range sinks {
		s := sink.Stats()
		addSink(&out.Sinks, s)
		loss, jitter = loss+s.Loss, jitter+s.Jitter
		if s.RTT > 0 {
			rtt += s.RTT
			measured++
		}
	}
	if n := len(sinks); n > 0 {
		out.Sinks.Loss, out.Sinks.Jitter = loss/float64(n), jitter/time.Duration(n)
	}
	if measured > 0 {
		out.Sinks.RTT = rtt / time.Duration(measured)
	}
}
