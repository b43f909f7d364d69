package pull_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/cluster"
	"sightline/internal/cluster/pull"
	"sightline/internal/doortest"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
	"sightline/internal/rtc"
	"sightline/internal/rtpstream"
	"sightline/rooms"
	"sightline/whep"
	"sightline/whip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A mesh joins gateways of one process as a cluster does: requests and calls of one reach the
// other by function. A test says who owns which room.
type mesh struct {
	mu       sync.Mutex // guards what follows
	nodes    map[string]*node
	owners   map[string]string // id by room
	watchers map[chan struct{}]struct{}
	muted    map[string][]string // by room, as an owner told that is gone

	limits rooms.Config // of pullers that are made
}

func newMesh() *mesh {
	return &mesh{nodes: make(map[string]*node), owners: make(map[string]string), watchers: make(map[chan struct{}]struct{}), muted: make(map[string][]string), limits: rooms.Defaults()}
}

// A node is a whole gateway. It is a pull.Nodes and a pull.Sender.
type node struct {
	*doortest.Gateway
	mesh     *mesh
	member   cluster.Member
	puller   *pull.Puller
	handlers map[string]cluster.Handler
	wire     atomic.Pointer[wire] // that lies before it, if any
	posts    atomic.Int32         // offers of other nodes that came, also those that it
	refuses  atomic.Bool          // as all requests of other nodes
}

// join starts a gateway. Its name is its id.
func (m *mesh) join(t *testing.T, id string, near ...string) *node {
	t.Helper()
	n := &node{mesh: m, member: cluster.Member{Name: id, ID: id}, handlers: make(map[string]cluster.Handler)}
	n.Gateway = doortest.Start(t, nil,
		func(g *doortest.Gateway) doortest.Door {
			n.Gateway = g
			var err error
			parts := pull.Parts{Nodes: n, Sender: n, Peers: g.Peers, Rooms: g.Rooms, Bridge: g.Bridge}
			if n.puller, err = pull.New(cluster.Config{Near: near}, m.limits, parts, g.Log); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(n.puller.Close)
			g.Rooms.Lend(n.puller.Lend)
			d := whip.New(g.Rooms, g.Peers, g.Auth, g.Sessions, g.Audit, g.Log)
			d.LendBy(n.puller)
			return d
		},
		func(g *doortest.Gateway) doortest.Door {
			d := whep.New(g.Rooms, g.Bridge, g.Peers, g.Auth, g.Sessions, g.Audit, g.Log)
			d.RelayBy(n.puller)
			return d
		},
	)
	m.mu.Lock()
	m.nodes[id] = n
	m.mu.Unlock()
	m.changed()
	return n
}

// pair is two nodes, of which a owns the room mri.
func pair(t *testing.T) (a, b *node) {
	t.Helper()
	m := newMesh()
	a, b = m.join(t, "a"), m.join(t, "b")
	m.own("mri", a)
	return a, b
}

// own makes a node the owner of a room; nil: nobody is.
func (m *mesh) own(room string, n *node) {
	m.mu.Lock()
	delete(m.owners, room)
	if n != nil {
		m.owners[room] = n.member.ID
	}
	m.mu.Unlock()
	m.changed()
}

// forget is the end of a node's lease.
func (m *mesh) forget(n *node) {
	muted := n.Muted("mri")
	m.mu.Lock()
	m.muted["mri"] = muted
	delete(m.nodes, n.member.ID)
	maps.DeleteFunc(m.owners, func(_, owner string) bool { return owner == n.member.ID })
	m.mu.Unlock()
	m.changed()
}

func (m *mesh) changed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

func (m *mesh) node(id string) *node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nodes[id]
}

func (n *node) Self() cluster.Member { return n.member }

func (n *node) Member(id string) (cluster.Member, bool) {
	if other := n.mesh.node(id); other != nil {
		return other.member, true
	}
	return cluster.Member{}, false
}

func (n *node) Owner(room string) (cluster.Member, bool) {
	n.mesh.mu.Lock()
	id := n.mesh.owners[room]
	n.mesh.mu.Unlock()
	return n.Member(id)
}

func (n *node) Place(_ context.Context, room string) (cluster.Member, error) {
	if owner, ok := n.Owner(room); ok {
		return owner, nil
	}
	return cluster.Member{}, fault.New(fault.Unavailable, "nobody takes room %q", room)
}

// Muted is what the owner would tell, at once, or the last one that is gone.
func (n *node) Muted(room string) []string {
	if owner, ok := n.Owner(room); ok {
		for _, s := range n.mesh.node(owner.ID).Rooms.RoomStates(nil) {
			if s.Room == room {
				return s.Muted
			}
		}
	}
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	return n.mesh.muted[room]
}

func (n *node) Hold(string) func() { return func() {} }

func (n *node) Watch() (<-chan struct{}, func()) {
	w := make(chan struct{}, 1)
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	n.mesh.watchers[w] = struct{}{}
	return w, func() {
		n.mesh.mu.Lock()
		defer n.mesh.mu.Unlock()
		delete(n.mesh.watchers, w)
	}
}

func (n *node) Handle(verb string, f cluster.Handler) { n.handlers[verb] = f }

func (n *node) Call(ctx context.Context, to cluster.Member, verb string, data []byte) ([]byte, error) {
	other := n.mesh.node(to.ID)
	if other == nil {
		return nil, fault.New(fault.Unavailable, "node %q is gone", to.Name)
	}
	return other.handlers[verb](ctx, n.member, data)
}

// Do gives a request to the other's router, as the forwarder does there.
func (n *node) Do(_ context.Context, to cluster.Member, r *http.Request) (*http.Response, error) {
	other := n.mesh.node(to.ID)
	if other == nil {
		return nil, errors.New("no such node")
	}
	if r.Method == http.MethodPost {
		other.posts.Add(1)
	}
	if other.refuses.Load() {
		return nil, errors.New("it does not answer")
	}
	w := other.wire.Load()
	if r.Method == http.MethodPost && w != nil {
		offer, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(withoutCandidates(offer)))
	}
	answer := httptest.NewRecorder()
	other.Router.ServeHTTP(answer, auth.AsNode(httpapi.WithArrival(r, httpapi.Arrival{Node: n.member.Name, Own: true}), n.member.Name))
	if w != nil {
		answer.Body = bytes.NewBufferString(w.through(answer.Body.Bytes()))
	}
	return answer.Result(), nil
}

// A wire carries datagrams between a gateway and those who are told of its other end, and
// loses some RTP of the gateway's first SSRC: not what is sent again, of which three in a row may
// be lost by chance.
type wire struct {
	front   *net.UDPConn
	every   atomic.Int64 // how many-th RTP packet is lost; 0: none
	lost    atomic.Int64
	gateway chan *net.UDPConn
}

var candidate = regexp.MustCompile(`127\.0\.0\.1 (\d+) typ host`)

// through makes an answer lead over the wire.
func (w *wire) through(answer []byte) string {
	port := w.front.LocalAddr().(*net.UDPAddr).Port
	if m := candidate.FindSubmatch(answer); m != nil && len(w.gateway) == 0 {
		if back, err := net.Dial("udp4", "127.0.0.1:"+string(m[1])); err == nil {
			w.gateway <- back.(*net.UDPConn)
		}
	}
	return candidate.ReplaceAllString(string(answer), fmt.Sprintf("127.0.0.1 %d typ host", port))
}

func withoutCandidates(offer []byte) []byte {
	var out []byte
	for line := range strings.Lines(string(offer)) {
		if !strings.HasPrefix(line, "a=candidate") {
			out = append(out, line...)
		}
	}
	return out
}

func newWire(t *testing.T) *wire {
	t.Helper()
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{front: front, gateway: make(chan *net.UDPConn, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run()
	}()
	t.Cleanup(func() { front.Close(); <-ended })
	return w
}

// run carries until the front is closed.
func (w *wire) run() {
	var back *net.UDPConn
	var down sync.WaitGroup
	defer down.Wait()
	buf := make([]byte, 2000)
	for {
		n, from, err := w.front.ReadFromUDPAddrPort(buf)
		if err != nil {
			if back != nil {
				back.Close()
			}
			return
		}
		if back == nil {
			back = <-w.gateway
			w.gateway <- back // that there is one is known by it
			down.Go(func() { w.carry(back, from) })
		}
		_, _ = back.Write(buf[:n])
	}
}

func (w *wire) carry(back *net.UDPConn, to netip.AddrPort) {
	buf := make([]byte, 2000)
	var first []byte // its SSRC
	for count := int64(1); ; {
		n, err := back.Read(buf)
		if err != nil {
			return
		}
		if rtpstream.Classify(buf[:n]) == rtpstream.RTP && n >= 12 {
			if first == nil {
				first = bytes.Clone(buf[8:12])
			}
			if !bytes.Equal(first, buf[8:12]) {
				_, _ = w.front.WriteToUDPAddrPort(buf[:n], to)
				continue
			}
			count++
			if e := w.every.Load(); e > 0 && count%e == 0 {
				w.lost.Add(1)
				continue
			}
		}
		_, _ = w.front.WriteToUDPAddrPort(buf[:n], to)
	}
}

// An eye is a viewer, a pion peer.
type eye struct {
	*doortest.Peer
	began time.Time

	mu     sync.Mutex // guards what follows
	tracks map[webrtc.RTPCodecType]*track
}

type track struct {
	codec     string
	packets   []*rtp.Header
	last      time.Time
	keyframes int
}

// watch connects a viewer at a node.
func (n *node) watch(t *testing.T, path string, kinds ...webrtc.RTPCodecType) *eye {
	t.Helper()
	e := &eye{Peer: doortest.NewPeer(t), began: time.Now(), tracks: make(map[webrtc.RTPCodecType]*track)}
	e.Receive(t, kinds...)
	e.OnTrack(e.see)
	e.Connect(t, n.Gateway, "/whep/"+path)
	return e
}

func (e *eye) see(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
	got := &track{codec: remote.Codec().MimeType}
	e.mu.Lock()
	e.tracks[remote.Kind()] = got
	e.mu.Unlock()
	for {
		p, _, err := remote.ReadRTP()
		if err != nil {
			return
		}
		e.mu.Lock()
		got.packets, got.last = append(got.packets, &p.Header), time.Now()
		if slices.Equal(p.Payload, doortest.Keyframe(got.codec)) {
			got.keyframes++
		}
		e.mu.Unlock()
	}
}

func (e *eye) count(kind webrtc.RTPCodecType) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if got := e.tracks[kind]; got != nil {
		return len(got.packets)
	}
	return 0
}

// more waits until n more packets have come.
func (e *eye) more(t *testing.T, kind webrtc.RTPCodecType, n int) {
	t.Helper()
	from := e.count(kind)
	doortest.Eventually(t, func() string {
		if got := e.count(kind) - from; got < n {
			return fmt.Sprintf("%d more packets of %s came, want %d", got, kind, n)
		}
		return ""
	})
}

// holes is how many sequence numbers are missing.
func (e *eye) holes(kind webrtc.RTPCodecType) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := make(map[uint16]bool)
	first, last := e.tracks[kind].packets[0].SequenceNumber, uint16(0)
	for _, p := range e.tracks[kind].packets {
		seen[p.SequenceNumber] = true
		if d := p.SequenceNumber - first; d < 1<<15 {
			last = max(last, d)
		}
	}
	n := 0
	for d := range last {
		if !seen[first+d] {
			n++
		}
	}
	return n
}

// shows waits until the owner counts so many viewers of a track, watched by those.
func (n *node) shows(t *testing.T, room, track string, roomViewers, viewers int, watchers ...string) {
	t.Helper()
	doortest.Eventually(t, func() string {
		m, err := n.Rooms.Room(room)
		if err != nil {
			return err.Error()
		}
		for _, p := range m.Publishers {
			for _, info := range p.Tracks {
				if info.ID != track {
					continue
				}
				if m.Viewers != roomViewers || info.Viewers != viewers || !slices.Equal(info.Watchers, watchers) {
					return fmt.Sprintf("the room shows %d viewers, %s %d, watched by %q; want %d, %d, %q", m.Viewers, track, info.Viewers, info.Watchers, roomViewers, viewers, watchers)
				}
				return ""
			}
		}
		return "there is no track " + track
	})
}

// pulls waits until the node has so many.
func (n *node) pulls(t *testing.T, want int) {
	t.Helper()
	doortest.Eventually(t, func() string {
		all := 0
		for _, count := range n.puller.Snapshot().Pulls {
			all += count
		}
		if all != want {
			return fmt.Sprintf("%d pulls, want %d: %v", all, want, n.puller.Snapshot().Pulls)
		}
		return ""
	})
}

// ended waits until a viewer's session has ended at the node, by that.
func (n *node) ended(t *testing.T, by rtc.End) {
	t.Helper()
	doortest.Eventually(t, func() string {
		var causes []string
		for _, e := range n.Audit.Events("watched") {
			if e.Phase == audit.Ended {
				causes = append(causes, e.Cause)
			}
		}
		if !slices.Equal(causes, []string{string(by)}) {
			return fmt.Sprintf("viewers' sessions have ended by %q, want one by %s", causes, by)
		}
		return ""
	})
}

// sessions waits until the node has so many sessions.
func (n *node) sessions(t *testing.T, want int) {
	t.Helper()
	doortest.Eventually(t, func() string {
		if got := n.Sessions.Len(); got != want {
			return fmt.Sprintf("node %s has %d sessions, want %d", n.member.Name, got, want)
		}
		return ""
	})
}
