package pull_test

import (
	"context"
	"testing"
	"time"

	"sightline/internal/cluster"
	"sightline/internal/cluster/forward"
	"sightline/internal/cluster/pull"
	"sightline/internal/doortest"
	"sightline/internal/freeport"
	"sightline/internal/opt"
	"sightline/rooms"
	"sightline/whep"
	"sightline/whip"

	"github.com/pion/webrtc/v4"
)

// A local tells a real node of its gateway.
type local struct{ *doortest.Gateway }

func (l local) Load() cluster.Load                       { return cluster.Load{Rooms: len(l.Gateway.Rooms.Rooms())} }
func (l local) Lost(string, cluster.Member, cluster.Why) {}
func (l local) Taken(string, cluster.Keep)               {}
func (l local) Rooms() (out []cluster.RoomState) {
	for _, m := range l.Gateway.Rooms.Rooms() {
		out = append(out, cluster.RoomState{Room: m.Name, Publishers: len(m.Publishers), Sessions: m.Viewers})
	}
	return out
}

type realNode struct {
	*doortest.Gateway
	node   *cluster.Node
	puller *pull.Puller
	stop   func() // as if the machine lost its power, but that its sockets close
}

// startReal starts a gateway that is a node of a cluster, over NATS.
func startReal(t *testing.T, name, listen string, routes []string, near ...string) *realNode {
	t.Helper()
	c := cluster.Defaults()
	c.Name, c.Listen, c.Routes, c.Secret, c.Near = name, listen, routes, "a secret of this test alone", near
	c.Lease = opt.Duration(2 * time.Second)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	n := &realNode{}
	n.Gateway = doortest.Start(t, nil,
		func(g *doortest.Gateway) doortest.Door {
			return whip.New(g.Rooms, g.Peers, g.Auth, g.Sessions, g.Audit, g.Log)
		},
		func(g *doortest.Gateway) doortest.Door {
			var err error
			if n.node, err = cluster.Open(c, local{g}, g.Log); err != nil {
				t.Fatal(err)
			}
			g.Sessions.Node(n.node.Self().ID)
			forwarder := forward.New(c, n.node, g.Router, g.Auth, nil, g.Log)
			parts := pull.Parts{Nodes: n.node, Sender: forwarder, Peers: g.Peers, Rooms: g.Rooms, Bridge: g.Bridge}
			if n.puller, err = pull.New(c, rooms.Defaults(), parts, g.Log); err != nil {
				t.Fatal(err)
			}
			forwarder.Relay(n.puller.Wanted)
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- n.node.Run(ctx) }()
			stopped := false
			n.stop = func() {
				if stopped {
					return
				}
				stopped = true
				n.puller.Close()
				cancel()
				if err := <-ended; err != nil && ctx.Err() == nil {
					t.Error(err)
				}
				n.node.Close()
			}
			t.Cleanup(n.stop)
			d := whep.New(g.Rooms, g.Bridge, g.Peers, g.Auth, g.Sessions, g.Audit, g.Log)
			d.RelayBy(n.puller)
			return d
		},
	)
	return n
}

// Over NATS, by the forwarder: a viewer near one node watches what another one has, until that
// goes down and a third has the room.
func TestRelayOverARealCluster(t *testing.T) {
	ports := []string{freeport.Address(t), freeport.Address(t), freeport.Address(t)}
	a := startReal(t, "a", ports[0], ports)
	b := startReal(t, "b", ports[1], ports, "127.0.0.0/8")
	c := startReal(t, "c", ports[2], ports)
	for _, n := range []*realNode{a, b, c} {
		doortest.Eventually(t, func() string {
			if len(n.node.Members()) != 3 {
				return "the nodes have not found each other"
			}
			return ""
		})
	}
	publish := func(n *realNode) {
		p := doortest.NewPeer(t)
		p.Send(t, doortest.Keyframe, webrtc.MimeTypeH264, webrtc.MimeTypeOpus)
		p.Connect(t, n.Gateway, "/whip/mri/console")
	}
	publish(a)
	doortest.Eventually(t, func() string {
		if owner, ok := b.node.Owner("mri"); !ok || owner.Name != "a" {
			return "node b does not know that node a has the room"
		}
		if kinds, _ := a.Rooms.Kinds("mri", "console"); len(kinds) != 2 {
			return "sound and picture are not live"
		}
		return ""
	})
	viewer := &node{Gateway: b.Gateway}
	e := viewer.watch(t, "mri/console", video, audio)
	e.more(t, video, 20)
	e.more(t, audio, 20)
	(&node{Gateway: a.Gateway}).shows(t, "mri", "console/video", 1, 1)
	if s := b.puller.Snapshot(); s.Pulls[pull.Live] != 2 || s.Viewers != 1 {
		t.Errorf("got %+v, want two tracks for one viewer", s)
	}
	// Who is not near is sent on: from c he watches at a.
	far := (&node{Gateway: c.Gateway}).watch(t, "mri/console", video)
	far.more(t, video, 5)
	(&node{Gateway: a.Gateway}).shows(t, "mri", "console/video", 2, 2)
	if s := c.puller.Snapshot(); s.Made != 0 {
		t.Errorf("node c has pulled: %+v", s)
	}

	// So is who does not hear himself in the mix, though he is near.
	(&node{Gateway: b.Gateway}).watch(t, "mri/~mix?for=technician", audio).more(t, audio, 5)
	if s, n := b.puller.Snapshot(), a.Bridge.Listeners("mri"); s.Made != 2 || n != 1 {
		t.Errorf("node b has made %d pulls, and node a has %d listeners; want 2, 1", s.Made, n)
	}

	a.Sessions.Close() // the publisher and all pulls
	a.stop()
	doortest.Eventually(t, func() string {
		if _, ok := b.node.Member(a.node.Self().ID); ok {
			return "node a is still there"
		}
		return ""
	})
	publish(c)
	e.more(t, video, 20)
	e.more(t, audio, 20)
	if n := e.holes(video) + e.holes(audio); n != 0 {
		t.Errorf("%d packets are missing", n)
	}
	(&node{Gateway: c.Gateway}).shows(t, "mri", "console/video", 1, 1)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	(&node{Gateway: c.Gateway}).shows(t, "mri", "console/video", 0, 0)
}
