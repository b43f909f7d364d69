package forward

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gin-gonic/gin"

	"sightline/internal/cluster"
	"sightline/internal/doortest"
	"sightline/internal/fault"
	"sightline/rooms/api"
	"sightline/whep"
	"sightline/whip"
)

// A mesh is a cluster in memory, whose members and owners the test sets.
type mesh struct {
	mu     sync.Mutex
	nodes  map[string]*fakeNode
	owners map[string]string // of rooms, by id
	place  string            // who gets the next room
	placed int
	looked int             // times that anybody has asked for an owner
	during func(to string) // called before a request is served
	api    api.Config
}

// A fakeNode is one node of a mesh.
type fakeNode struct {
	mesh     *mesh
	self     cluster.Member
	view     map[string]string // owners that this node alone believes in
	call     map[string]cluster.Handler
	streams  map[string]cluster.StreamHandler
	watchers map[chan struct{}]bool
	held     map[string]int
	gone     context.Context
	die      context.CancelFunc
}

func newMesh() *mesh {
	return &mesh{nodes: make(map[string]*fakeNode), owners: make(map[string]string), api: api.Defaults()}
}

// node returns one that has not joined yet.
func (m *mesh) node(id string) *fakeNode {
	n := &fakeNode{
		mesh: m, self: cluster.Member{Name: "node-" + id, ID: id}, view: make(map[string]string), held: make(map[string]int),
		call: make(map[string]cluster.Handler), streams: make(map[string]cluster.StreamHandler), watchers: make(map[chan struct{}]bool),
	}
	n.gone, n.die = context.WithCancel(context.Background())
	return n
}

// change changes something, and tells all.
func (m *mesh) change(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	for _, n := range m.nodes {
		for w := range n.watchers {
			select {
			case w <- struct{}{}:
			default:
			}
		}
	}
}

func (m *mesh) own(room, id string) { m.change(func() { m.owners[room] = id }) }

// lose lets a node be gone, and its rooms with it.
func (m *mesh) lose(id string) {
	m.change(func() {
		m.nodes[id].die()
		delete(m.nodes, id)
		maps.DeleteFunc(m.owners, func(_, owner string) bool { return owner == id })
	})
}

func (n *fakeNode) Self() cluster.Member { return n.self }

func (n *fakeNode) Members() []cluster.Member {
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	var out []cluster.Member
	for _, id := range slices.Sorted(maps.Keys(n.mesh.nodes)) {
		out = append(out, n.mesh.nodes[id].self)
	}
	return out
}

func (n *fakeNode) Member(id string) (cluster.Member, bool) {
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	if m := n.mesh.nodes[id]; m != nil {
		return m.self, true
	}
	return cluster.Member{}, false
}

func (n *fakeNode) Owner(room string) (cluster.Member, bool) {
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	n.mesh.looked++
	id := n.mesh.owners[room]
	if own, ok := n.view[room]; ok {
		id = own
	}
	if m := n.mesh.nodes[id]; m != nil {
		return m.self, true
	}
	return cluster.Member{}, false
}

func (n *fakeNode) Place(_ context.Context, room string) (cluster.Member, error) {
	n.mesh.mu.Lock()
	to := n.mesh.nodes[n.mesh.place]
	n.mesh.placed++
	n.mesh.mu.Unlock()
	if to == nil {
		return cluster.Member{}, fault.New(fault.Unavailable, "all are full")
	}
	n.mesh.own(room, to.self.ID)
	return to.self, nil
}

func (n *fakeNode) Hold(room string) func() {
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	n.held[room]++
	return func() {
		n.mesh.mu.Lock()
		defer n.mesh.mu.Unlock()
		n.held[room]--
	}
}

func (n *fakeNode) Look() {}

func (n *fakeNode) Watch() (<-chan struct{}, func()) {
	w := make(chan struct{}, 1)
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	n.watchers[w] = true
	return w, func() {
		n.mesh.mu.Lock()
		defer n.mesh.mu.Unlock()
		delete(n.watchers, w)
	}
}

func (n *fakeNode) Handle(verb string, f cluster.Handler)             { n.call[verb] = f }
func (n *fakeNode) HandleStream(verb string, f cluster.StreamHandler) { n.streams[verb] = f }

func (n *fakeNode) find(id string) (*fakeNode, error) {
	n.mesh.mu.Lock()
	to, during := n.mesh.nodes[id], n.mesh.during
	n.mesh.mu.Unlock()
	if to == nil {
		return nil, fault.New(fault.Unavailable, "node %s is gone", id)
	}
	if during != nil {
		during(id)
	}
	return to, nil
}

func (n *fakeNode) Call(ctx context.Context, m cluster.Member, verb string, data []byte) ([]byte, error) {
	to, err := n.find(m.ID)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, fault.New(fault.Unavailable, "node %s is late", m.ID)
	}
	answer, err := to.call[verb](ctx, n.self, data)
	if to.gone.Err() != nil {
		return nil, fault.New(fault.Unavailable, "node %s is gone", m.ID)
	}
	return answer, err
}

func (n *fakeNode) stream(_ context.Context, m cluster.Member, verb string, data []byte) (reader, error) {
	to, err := n.find(m.ID)
	if err != nil {
		return nil, err
	}
	s := &fakeStream{messages: make(chan []byte, 256), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(to.gone)
	s.cancel = cancel
	go func() {
		defer close(s.done)
		s.err = to.streams[verb](ctx, n.self, data, func(message []byte) error {
			select {
			case s.messages <- message:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return s, nil
}

type fakeStream struct {
	messages chan []byte
	done     chan struct{} // closed once err is set
	err      error
	cancel   context.CancelFunc
}

func (s *fakeStream) Next(ctx context.Context) ([]byte, error) {
	select {
	case m := <-s.messages:
		return m, nil
	default:
	}
	select {
	case m := <-s.messages:
		return m, nil
	case <-s.done:
		if s.err != nil {
			return nil, s.err
		}
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *fakeStream) Close() {
	s.cancel()
	<-s.done
}

// A gateway is one node with all doors.
type gateway struct {
	*doortest.Gateway
	node    *fakeNode
	forward *Forwarder
	api     *api.API
}

type routes func(gin.IRouter)

func (r routes) Route(router gin.IRouter) { r(router) }

// start runs a gateway as a node of the mesh.
func start(t *testing.T, m *mesh, id string, change func(*doortest.Options), c cluster.Config) *gateway {
	t.Helper()
	g := &gateway{node: m.node(id)}
	if c.URL != "" {
		g.node.self.URL = c.URL
	}
	doors := func(d *doortest.Gateway) doortest.Door {
		return routes(func(r gin.IRouter) {
			d.Sessions.Node(id)
			whip.New(d.Rooms, d.Peers, d.Auth, d.Sessions, d.Audit, d.Log).Route(r)
			whep.New(d.Rooms, d.Bridge, d.Peers, d.Auth, d.Sessions, d.Audit, d.Log).Route(r)
			a := api.New(m.api, d.Rooms, d.Auth, d.Bridge, d.Audit)
			a.Node(id)
			t.Cleanup(a.Close)
			a.Register(r)
			g.api = a
			g.forward = newForwarder(c, g.node, d.Router, d.Auth, a, d.Log)
		})
	}
	g.Gateway = doortest.Start(t, change, doors)
	m.change(func() { m.nodes[id] = g.node })
	return g
}

// trio is three nodes, a, b and c; a gets all rooms.
func trio(t *testing.T, change func(*doortest.Options)) (m *mesh, a, b, c *gateway) {
	t.Helper()
	m = newMesh()
	m.place = "a"
	return m, start(t, m, "a", change, cluster.Config{}), start(t, m, "b", change, cluster.Config{}), start(t, m, "c", change, cluster.Config{})
}

func path(t *testing.T, g *gateway, u string) string {
	t.Helper()
	p, ok := strings.CutPrefix(u, g.URL)
	if !ok {
		t.Fatalf("%q does not begin with %q, the address that was asked", u, g.URL)
	}
	return p
}
