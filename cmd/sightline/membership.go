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
	"sightline/rooms/api"
	"sightline/whep"
	"sightline/whip"
)

// A membership is this gateway's place in a cluster. All of its methods do nothing, at no cost, where
// it is nil: the gateway is alone.
type membership struct {
	node   *cluster.Node
	local  *local
	puller *pull.Puller
	shared *share.Share
	quotas *share.Quotas
}

// join makes the gateway a node of its cluster, which it takes part in with run. It returns nil if
// there is none. The caller closes it.
func join(c config.Config, l *local, router *httpapi.Router, tokens *auth.Auth, people *signin.Door, roomAPI *api.API, publishers *whip.Door, viewers *whep.Door, log *slog.Logger) (m *membership, err error) {
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
	forwarder.Relay(puller.Wanted)
	viewers.RelayBy(puller)
	publishers.LendBy(puller)
	l.registry.Lend(puller.Lend)
	l.sessions.Node(node.Self().ID)
	roomAPI.Node(node.Self().ID)

	m = &membership{node: node, local: l, puller: puller}
	m.shared = share.New(node, map[string]share.Part{"auth": tokens, "people": people}, log)
	m.quotas = share.NewQuotas(node, log, router, l.sessions, roomAPI, l.registry)
	if err := tokens.Share(m.shared.Tell("auth")); err != nil {
		log.Warn("something of auth.state_dir holds at this node alone", "err", err)
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
	g.Go(func() error { return m.quotas.Run(ctx) })
}

// departure is how the gateway leaves; nil if it is alone.
func (m *membership) departure() *departure {
	if m == nil {
		return nil
	}
	return &departure{node: m.node, local: m.local, recall: m.puller.Recall}
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

// unready says why the gateway can't take sessions yet.
func (m *membership) unready() []string {
	if m == nil {
		return nil
	}
	return m.shared.Unready()
}

// warnings says what is wrong though sessions are taken.
func (m *membership) warnings() []string {
	if m == nil {
		return nil
	}
	return m.shared.Warnings()
}

func (m *membership) snapshot() metrics.Cluster {
	if m == nil {
		return metrics.Cluster{}
	}
	out := metrics.ClusterOf(m.node.Snapshot(), forward.Verb, m.shared.Snapshot())
	p := m.puller.Snapshot()
	out.RelayViewers, out.Rebuilds, out.RelayLoss, out.Loans = p.Viewers, p.Rebuilds, p.Loss, p.Loans
	for _, n := range p.Pulls {
		out.Relays += n
	}
	return out
}
