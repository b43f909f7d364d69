package forward

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/pion/webrtc/v4"

	"sightline/internal/auth"
	"sightline/internal/cluster"
	"sightline/internal/doortest"
	"sightline/internal/freeport"
	"sightline/internal/opt"
	"sightline/rooms/api"
	"sightline/whep"
	"sightline/whip"
)

// A local is what a node asks the gateway of this test.
type local struct {
	mu sync.Mutex
	g  *doortest.Gateway // nil: not yet
}

func (l *local) gateway() *doortest.Gateway {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.g
}

func (l *local) Load() cluster.Load                { return cluster.Load{} }
func (l *local) Taken(room string, k cluster.Keep) { l.gateway().Rooms.Keep(room, k.Muted) }
func (l *local) Lost(room string, _ cluster.Member, why cluster.Why) {
	l.gateway().Rooms.Move(room, string(why))
}

func (l *local) Rooms() (out []cluster.RoomState) {
	g := l.gateway()
	if g == nil {
		return nil
	}
	for _, s := range g.Rooms.RoomStates(nil) {
		out = append(out, cluster.RoomState(s))
	}
	return out
}

// A realGateway is one of an embedded cluster.
type realGateway struct {
	*doortest.Gateway
	node    *cluster.Node
	forward *Forwarder
	end     func()
}

// startReal runs n gateways whose nodes are embedded, on 127.0.0.1.
func startReal(t testing.TB, n int) []*realGateway {
	t.Helper()
	var addresses []string
	for range n {
		addresses = append(addresses, freeport.Address(t))
	}
	var out []*realGateway
	for i := range n {
		out = append(out, startRealOne(t, fmt.Sprintf("node-%d", i+1), addresses[i], addresses[:1]))
	}
	for _, g := range out {
		eventually(t, func() string {
			if got := len(g.node.Members()); got != n {
				return fmt.Sprintf("%d members, want %d", got, n)
			}
			return ""
		})
	}
	return out
}

func startRealOne(t testing.TB, name, listen string, known []string) *realGateway {
	t.Helper()
	c := cluster.Defaults()
	c.Name, c.Listen, c.Lease, c.Secret = name, listen, opt.Duration(time.Second), "a secret of these tests alone"
	if known[0] != listen {
		c.Routes = known
	}
	g, l := &realGateway{}, &local{}
	doors := func(d *doortest.Gateway) doortest.Door {
		var err error
		if g.node, err = cluster.Open(c, l, d.Log); err != nil {
			t.Fatal(err)
		}
		return routes(func(r gin.IRouter) {
			d.Sessions.Node(g.node.Self().ID)
			whip.New(d.Rooms, d.Peers, d.Auth, d.Sessions, d.Audit, d.Log).Route(r)
			whep.New(d.Rooms, d.Bridge, d.Peers, d.Auth, d.Sessions, d.Audit, d.Log).Route(r)
			a := api.New(api.Defaults(), d.Rooms, d.Auth, d.Bridge, d.Audit)
			a.Node(g.node.Self().ID)
			t.Cleanup(a.Close)
			a.Register(r)
			g.forward = New(c, g.node, d.Router, d.Auth, a, d.Log)
		})
	}
	unlimited := func(o *doortest.Options) {
		o.HTTP.RateLimit, o.HTTP.TokenRateLimit, o.HTTP.SessionRateLimit = 0, 0, 0
		o.HTTP.MaxSessionsPerAddress, o.HTTP.MaxSetups, o.HTTP.MaxSetupsPerAddress = 0, 10000, 10000
	}
	g.Gateway = doortest.Start(t, unlimited, doors)
	l.mu.Lock()
	l.g = g.Gateway
	l.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- g.node.Run(ctx) }()
	var once sync.Once
	g.end = func() {
		once.Do(func() {
			cancel()
			if err := <-ran; err != nil {
				t.Error(err)
			}
			g.node.Close()
		})
	}
	t.Cleanup(g.end)
	return g
}

func eventually(t testing.TB, check func() string) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		complaint := check()
		if complaint == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(complaint)
		}
	}
}

// Three nodes with their engines: a room is published at one, watched through another, listed and followed at
// the third; its owner goes down, and who comes back finds it elsewhere.
func TestThreeRealNodes(t *testing.T) {
	all := startReal(t, 3)
	p := doortest.NewPeer(t)
	p.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8, webrtc.MimeTypeOpus)
	made := p.Connect(t, all[0].Gateway, "/whip/mri-2/console")
	id, _, _ := strings.Cut(strings.TrimPrefix(made.Header.Get("Location"), all[0].URL+"/sessions/"), ".")
	var owner *realGateway
	var others []*realGateway
	for _, g := range all {
		if g.node.Self().ID == id {
			owner = g
		} else {
			others = append(others, g)
		}
	}
	if owner == nil {
		t.Fatalf("session %s is of no node", made.Header.Get("Location"))
	}
	for _, g := range others {
		eventually(t, func() string {
			if res := g.Do(t, "GET", "/api/rooms", ""); !strings.Contains(res.Text, `"state":"live"`) || strings.Contains(res.Text, "missing") {
				return res.Text
			}
			return ""
		})
		viewer := doortest.NewPeer(t)
		viewer.Receive(t, webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio)
		viewer.Connect(t, g.Gateway, "/whep/mri-2/console")
	}
	if n := owner.Sessions.Len(); n != 3 {
		t.Errorf("the owner has %d sessions, want 3", n)
	}
	entry := &gateway{Gateway: others[0].Gateway}
	one, every := listen(t, entry, "/api/rooms/mri-2/events"), listen(t, entry, "/api/events")
	one.want("snapshot mri-2")
	every.want("snapshot mri-2")
	wantSoon(t, func(name string) {
		enter(t, &gateway{Gateway: others[1].Gateway}, "mri-2", name)
		one.want("participant mri-2 " + name)
		every.want("participant mri-2 " + name)
	})

	r, err := http.NewRequestWithContext(t.Context(), "GET", "/api/rooms/mri-2", nil)
	if err != nil {
		t.Fatal(err)
	}
	if res, err := others[0].forward.Do(t.Context(), owner.node.Self(), r); err != nil || res.StatusCode != 200 {
		t.Errorf("a node's own request: %v %v", res, err)
	}

	owner.Sessions.Close()
	owner.Rooms.Close()
	owner.end()
	p.WaitClosed(t)
	one.want("snapshot")
	every.want("snapshot")
	next := doortest.NewPeer(t)
	next.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8)
	next.Connect(t, others[1].Gateway, "/whip/mri-2/console")
	one.settles("snapshot mri-2", "track mri-2")
	every.settles("snapshot mri-2", "track mri-2")
	if res := others[0].Do(t, "DELETE", "/sessions/"+id+".gone", ""); res.StatusCode != 404 {
		t.Errorf("a session of a node that is gone: got %d", res.StatusCode)
	}
}

// A node leaves: who follows its room is told, though the others know the next owner before this one has
// ended anything.
func TestDrainIsTold(t *testing.T) {
	all := startReal(t, 2)
	enter(t, &gateway{Gateway: all[0].Gateway}, "mri-2", "Ada")
	var followers []*listener
	for _, g := range all {
		eventually(t, func() string {
			if _, ok := g.node.Owner("mri-2"); !ok {
				return "a node does not know the owner"
			}
			return ""
		})
		l := listen(t, &gateway{Gateway: g.Gateway}, "/api/rooms/mri-2/events")
		l.want("snapshot mri-2")
		followers = append(followers, l)
	}
	for _, g := range all {
		if to, _ := g.node.Owner("mri-2"); to.ID == g.node.Self().ID {
			if err := g.node.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	for _, l := range followers {
		l.want("room-moved mri-2")
		l.want("snapshot")
	}
}

// Somebody is muted, at another node than the room's, which leaves or dies as soon as that has been answered: he is
// muted where the room is next.
func TestMuteGoesWithTheRoom(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, *realGateway){
		"leaves": func(t *testing.T, g *realGateway) {
			if err := g.node.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"dies": func(_ *testing.T, g *realGateway) { g.end() },
	} {
		t.Run(name, func(t *testing.T) {
			all := startReal(t, 2)
			owner, other := all[0], all[1]
			p := doortest.NewPeer(t)
			p.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8, webrtc.MimeTypeOpus)
			p.Connect(t, owner.Gateway, "/whip/mri-2/console")
			eventually(t, func() string {
				to, ok := other.node.Owner("mri-2")
				if ok && to.ID == other.node.Self().ID {
					owner, other = other, owner
				}
				if res := other.Do(t, "GET", "/api/rooms/mri-2", ""); !strings.Contains(res.Text, `"state":"live"`) {
					return res.Text
				}
				return ""
			})
			for _, muted := range []bool{true, false, true} {
				r := other.Do(t, "PATCH", "/api/rooms/mri-2/publishers/console", fmt.Sprintf(`{"muted":%t}`, muted), "Content-Type", "application/json")
				if r.StatusCode != 200 {
					t.Fatalf("%d %s", r.StatusCode, r.Text)
				}
			}
			lost := owner.node.Self().ID
			lose(t, owner)
			eventually(t, func() string { // before, who comes may be told to come again
				if to, ok := other.node.Owner("mri-2"); ok && to.ID == lost {
					return "the room is still that of a node that is lost"
				}
				return ""
			})
			next := doortest.NewPeer(t)
			next.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8, webrtc.MimeTypeOpus)
			next.Connect(t, other.Gateway, "/whip/mri-2/console")
			eventually(t, func() string {
				m, err := other.Rooms.Room("mri-2")
				switch {
				case err != nil || len(m.Publishers) != 1:
					return "the publisher has not come"
				case !m.Publishers[0].Muted:
					t.Fatal("the mute is lost")
				}
				return ""
			})
		})
	}
}

// What bringing a WHEP POST to another node adds: go test -bench Post -run '^$' ./internal/cluster/forward
func BenchmarkPost(b *testing.B) {
	all := startReal(b, 2)
	var owner, entry *realGateway
	p := doortest.NewPeer(b)
	p.Send(b, doortest.Keyframe, webrtc.MimeTypeVP8, webrtc.MimeTypeOpus)
	p.Connect(b, all[0].Gateway, "/whip/mri-2/console")
	if to, _ := all[0].node.Owner("mri-2"); to.ID == all[0].node.Self().ID {
		owner, entry = all[0], all[1]
	} else {
		owner, entry = all[1], all[0]
	}
	eventually(b, func() string {
		if to, ok := entry.node.Owner("mri-2"); !ok || to.ID != owner.node.Self().ID {
			return "the entry does not know the owner"
		}
		return ""
	})
	viewer := doortest.NewPeer(b)
	viewer.Receive(b, webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio)
	offer := viewer.Offer(b, nil)
	for name, g := range map[string]*realGateway{"owner": owner, "entry": entry} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				res := g.Post(b, "/whep/mri-2/console", offer)
				b.StopTimer()
				if res.StatusCode != 201 {
					b.Fatalf("%d %s", res.StatusCode, res.Text)
				}
				owner.Do(b, "DELETE", strings.Replace(res.Header.Get("Location"), g.URL, owner.URL, 1), "")
				b.StartTimer()
			}
		})
	}
}

var (
	_ node       = realNode{}
	_ Streams    = (*api.API)(nil)
	_ Authorizer = (*auth.Auth)(nil)
)
