package main

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"sightline/internal/auth"
	"sightline/internal/cluster"
	"sightline/internal/cluster/forward"
	"sightline/internal/cluster/pull"
	"sightline/internal/cluster/share"
	"sightline/internal/config"
	"sightline/internal/httpapi"
	"sightline/internal/signin"
	"sightline/metrics"
	"sightline/rooms"
	"sightline/rooms/api"
	"sightline/whep"
)

// A membership is this gateway's place in a cluster. All of its methods do nothing, at no cost, where
// it is nil: the gateway is alone.
type membership struct {
	node   *cluster.Node
	local  *local
	puller *pull.Puller
	shared *share.Share
}

// join makes the gateway a node of its cluster, which it takes part in with run. It returns nil if
// there is none. The caller closes it.
func join(c config.Config, l *local, router *httpapi.Router, tokens *auth.Auth, people *signin.Door, roomAPI *api.API, viewers *whep.Door, log *slog.Logger) (m *membership, err error) {
	if !c.Cluster.On() {
		return nil, nil
	}
	c.Cluster.Version = buildVersion()
	node, err := cluster.Open(c.Cluster, l, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			node.Close()
		}
	}()
	forwarder := forward.New(c.Cluster, node, router, tokens, roomAPI, log)
	puller, err := pull.New(c.Cluster, c.Rooms, pull.Parts{
		Nodes: node, Sender: forwarder, Peers: l.peers, Rooms: l.registry, Bridge: l.mixer,
	}, log)
	if err != nil {
		return nil, err
	}
	forwarder.RelayIf(puller.Wanted)
	viewers.RelayBy(puller)
	l.sessions.Node(node.Self().ID)
	roomAPI.Node(node.Self().ID)

	m = &membership{node: node, local: l, puller: puller}
	m.shared = share.New(node, map[string]share.Part{"auth": tokens, "people": people}, log)
	if err := tokens.Share(m.shared.Tell("auth")); err != nil {
		puller.Close()
		return nil, err
	}
	if err := people.Share([]byte(c.Cluster.Secret), m.shared.Tell("people")); err != nil {
		puller.Close()
		return nil, err
	}
	return m, nil
}

// run takes part until ctx is done.
func (m *membership) run(ctx context.Context, g *errgroup.Group) {
	if m == nil {
		return
	}
	g.Go(func() error { return m.node.Run(ctx) })
	g.Go(func() error { return m.shared.Run(ctx) })
}

// departure is how the gateway leaves; nil if it is alone.
func (m *membership) departure() *departure {
	if m == nil {
		return nil
	}
	return &departure{node: m.node, local: m.local}
}

// endRelays ends what is pulled from other nodes. Call it while run goes on, so that those learn of it,
// and once the sessions of viewers have ended.
func (m *membership) endRelays() {
	if m != nil {
		m.puller.Close()
	}
}

func (m *membership) close() {
	if m != nil {
		m.puller.Close()
		m.node.Close()
	}
}

// reasons says why the gateway can't take sessions yet.
func (m *membership) reasons() []string {
	if m != nil && !m.shared.Learned() {
		return []string{"the node does not know yet what the others have revoked"}
	}
	return nil
}

// warnings says what is wrong though sessions are taken.
func (m *membership) warnings() []string {
	if m != nil && !m.node.Connected() {
		return []string{"the node has lost the engine of its cluster, and goes on by itself"}
	}
	return nil
}

func (m *membership) snapshot() metrics.Cluster {
	if m == nil {
		return metrics.Cluster{}
	}
	s, p, sh := m.node.Snapshot(), m.puller.Snapshot(), m.shared.Snapshot()
	d := s.Directory
	out := metrics.Cluster{
		On: true, Connected: s.Connected, Routes: s.Routes + s.Leafs,
		Nodes: d.Members, Twins: d.Twins, Owned: d.Owned, Entries: d.Entries, Age: d.Age,
		Placements: d.Placements, Takeovers: make(map[string]uint64), LeasesEnded: d.LeasesEnded, Alone: d.Alone,
		Gaps: d.Gaps, Fetches: d.Fetches, BadRecords: d.Refused,
		Messages: metrics.Ways{In: s.MessagesIn, Out: s.MessagesOut}, Bytes: metrics.Ways{In: s.BytesIn, Out: s.BytesOut}, Dropped: s.Dropped,
		Forwarded: make(map[string]uint64), RefusedCalls: s.Refused,
		Serving: s.Sending, Reading: s.Reading, LostStreams: s.Slow,
		RelayViewers: p.Viewers,
		Compared:     sh.Pulls, CompareFails: sh.Failures, BadShares: sh.Refused,
	}
	for why, n := range d.Takeovers {
		out.Takeovers[string(why)] = n
	}
	for _, n := range p.Pulls {
		out.Relays += n
	}
	calls := s.Calls[forward.Verb]
	out.ForwardDelay = rooms.Histogram(calls.Delay)
	out.Forwarded["answered"] = calls.Count
	for kind, n := range calls.Errors {
		out.Forwarded[kind] += n
		out.Forwarded["answered"] -= n
	}
	return out
}
