package pull

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"sightline/internal/bridge"
	"sightline/internal/cluster"
	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/rooms"
)

// What pullers ask the owner of a room, or tell it.
const (
	verbKinds   = "relay-kinds"   // which tracks a publisher has: those of the pair
	verbViewers = "relay-viewers" // who plays a track here
	verbEnding  = "relay-ending"  // a viewer's session is about to end
)

const (
	reportEvery   = 100 * time.Millisecond // at most: of who plays a track
	reportAgain   = 2 * time.Second        // though nothing has changed: a report may be lost, and the others change
	reportTimeout = time.Second

	maxTelling      = 64 // that are on their way at a time, beside reports; more are not told
	maxParticipants = 10_000
)

// A subject is which track, or mix, is meant.
type subject struct {
	Room      string     `json:"room"`
	Publisher string     `json:"publisher,omitempty"`
	Kind      media.Kind `json:"kind,omitempty"`
	Listener  string     `json:"listener,omitempty"`
	Role      string     `json:"role,omitempty"`
}

// An audience is who plays a track at one node.
type audience struct {
	subject
	Viewers      int      `json:"viewers"`
	Sessions     int      `json:"sessions"`
	Participants []string `json:"participants,omitempty"`
}

type elsewhere struct {
	Viewers int `json:"viewers"` // of the track, that are not at the node that asks
}

type kinds struct {
	Kinds []media.Kind `json:"kinds"`
}

// An ending is a rooms.EndingInfo.
type ending struct {
	Room        string    `json:"room"`
	Session     string    `json:"session"`
	Publisher   string    `json:"publisher"`
	Participant string    `json:"participant"`
	Reason      string    `json:"reason"`
	At          time.Time `json:"at"`
}

// serve answers the pullers of other nodes.
func (p *Puller) serve() {
	p.Nodes.Handle(verbKinds, func(_ context.Context, _ cluster.Member, data []byte) ([]byte, error) {
		var of subject
		if err := read(data, &of); err != nil {
			return nil, err
		}
		all, err := p.Rooms.Kinds(of.Room, of.Publisher)
		if err != nil {
			return nil, err
		}
		return json.Marshal(kinds{all})
	})
	p.Nodes.Handle(verbViewers, func(_ context.Context, from cluster.Member, data []byte) ([]byte, error) {
		var a audience
		if err := read(data, &a); err != nil {
			return nil, err
		}
		others, err := p.represent(from, a)
		if err != nil {
			return nil, err
		}
		return json.Marshal(elsewhere{others})
	})
	p.Nodes.Handle(verbEnding, func(_ context.Context, _ cluster.Member, data []byte) ([]byte, error) {
		var e ending
		if err := read(data, &e); err != nil {
			return nil, err
		}
		p.Rooms.TellEnding(e.Room, rooms.EndingInfo{Session: e.Session, Publisher: e.Publisher, Participant: e.Participant, Reason: e.Reason, At: e.At})
		return nil, nil
	})
}

func read(data []byte, into any) error {
	if err := json.Unmarshal(data, into); err != nil {
		return fault.New(fault.BadRequest, "a relay has told what can't be read: %w", err)
	}
	return nil
}

func (p *Puller) represent(from cluster.Member, a audience) (others int, err error) {
	if a.Publisher == bridge.Mix {
		return p.Bridge.Represent(bridge.ListenRequest{Room: a.Room, For: a.Listener, Role: a.Role, Relay: from.Name}, a.Viewers, a.Participants)
	}
	return p.Rooms.Represent(rooms.Relayed{
		Room: a.Room, Publisher: a.Publisher, Kind: a.Kind, Relay: from.Name,
		Viewers: a.Viewers, Sessions: a.Sessions, Participants: a.Participants,
	})
}

// pairs are the tracks that a publisher may have.
var pairs = [][]media.Kind{{media.Audio, media.Video}, {media.Audio}, {media.Video}}

// kinds returns of which tracks a publisher's pair is.
func (p *Puller) kinds(ctx context.Context, owner cluster.Member, room, publisher string) ([]media.Kind, error) {
	pair := pairs[0]
	p.mu.Lock()
	known := true
	for _, kind := range pair {
		l := p.pulls[key{room: room, publisher: publisher, kind: kind}]
		known = known && l != nil && l.begun
	}
	p.mu.Unlock()
	if known {
		return pair, nil
	}
	data, err := json.Marshal(subject{Room: room, Publisher: publisher})
	if err != nil {
		return nil, err
	}
	reply, err := p.Nodes.Call(ctx, owner, verbKinds, data)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, err
	}
	var all kinds
	err = json.Unmarshal(reply, &all)
	for _, known := range pairs {
		if err == nil && slices.Equal(all.Kinds, known) {
			return known, nil
		}
	}
	return nil, fault.New(fault.Unavailable, "node %q can't be understood", owner.Name).After(retryAfter)
}

// count says who plays the track here. The caller holds Puller.mu.
func (l *pull) count() audience {
	a := audience{subject: subject{l.room, l.publisher, l.kind, l.listener, l.role}}
	for v := range l.viewers {
		if !v.playing {
			continue
		}
		a.Viewers++
		if v.counts() {
			a.Sessions++
		}
		if v.participant != "" && len(a.Participants) < maxParticipants {
			a.Participants = append(a.Participants, v.participant)
		}
	}
	return a
}

// report tells the owner who plays the track here, and learns how many do elsewhere. One that
// fails is made up for by the next.
func (l *pull) report(ctx context.Context) {
	p := l.puller
	p.mu.Lock()
	owner, up, a := l.owner, l.up, l.count()
	p.mu.Unlock()
	if up.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	data, err := json.Marshal(a)
	if err == nil {
		data, err = p.Nodes.Call(ctx, owner, verbViewers, data)
	}
	var others elsewhere
	if err == nil {
		err = json.Unmarshal(data, &others)
	}
	if err != nil {
		l.log.Debug("the owner was not told who plays its track", "node", owner.Name, "err", err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l.others = max(others.Viewers, 0)
}

// TellEnding lets the watchers of a room at its owner know what is about to end here. It does
// not wait for that; if too much is told at once, it is not told.
func (p *Puller) TellEnding(room string, e rooms.EndingInfo) {
	owner, ok := p.Elsewhere(room)
	data, err := json.Marshal(ending{room, e.Session, e.Publisher, e.Participant, e.Reason, e.At})
	if !ok || err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	select {
	case p.telling <- struct{}{}:
	default:
		p.log.Warn("too many sessions end at once: not all are told of", "room", room)
		return
	}
	p.workers.Go(func() {
		defer func() { <-p.telling }()
		ctx, cancel := context.WithTimeout(p.ctx, reportTimeout)
		defer cancel()
		if _, err := p.Nodes.Call(ctx, owner, verbEnding, data); err != nil {
			p.log.Debug("the owner was not told what ends", "node", owner.Name, "err", err)
		}
	})
}
