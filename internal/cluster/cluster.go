// Package cluster makes one gateway of several nodes: who is there, which node each room lives
// on, and calls between nodes, all over NATS. docs/CLUSTER.md is its design. It knows nothing of
// HTTP, rooms or WebRTC.
package cluster

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Local is the node's own gateway. Its methods are called with no lock held.
type Local interface {
	// Load is asked for once for each heartbeat.
	Load() Load
	// Rooms are all that are alive here, whatever the directory says of them.
	Rooms() []RoomState
	// Lost says that a room is another's now: its sessions here end as moved. It is said again
	// each second as long as Rooms names the room. For one room Lost and Taken come in order.
	Lost(room string, to Member, why Why)
	// Taken says that a room is this node's from now on, and what the last owner left.
	Taken(room string, keep Keep)
}

// Load is how much of the node is in use, each a share of its limit: 0 to 1, and more beyond it.
type Load struct {
	Processor, Egress, Sessions float64
	Rooms                       int
}

// RoomState is what the directory tells of a room beside its owner.
type RoomState struct {
	Room       string
	Publishers int      // that are live
	Deaf       int      // of them, those that can't be told that the room has moved: they would stay away for long
	Sessions   int      // of publishers and viewers
	Tracks     []string // live, "console/video", sorted
	Muted      []string // publishers that were muted, those too that Taken told of and that are not there, sorted
}

// Keep is what outlives a room's owner.
type Keep struct {
	Muted []string // publishers that were muted
}

// Why is the reason for which a room has another owner. Its text is a metric's label.
type Why string

const (
	Drained   Why = "drained"   // the node gave it away, because it leaves
	Died      Why = "died"      // its owner is no more; counted where it goes, no Local.Lost is called with it
	Contested Why = "contested" // two nodes had it, after a partition, and the other's claim was greater
)

// A Member is a node that is there.
type Member struct {
	Name    string // configured
	ID      string // of this run of it
	URL     string // where clients reach it, for redirects; "" if it does not say
	Since   time.Time
	Load    Load
	Version string

	Draining, Full, Busy bool // Busy: over cluster.relay_above
}

// An Entry is a room of the directory.
type Entry struct {
	RoomState
	Owner string // id
	Epoch uint64
	Since time.Time
}

// A Node is this gateway's part of the cluster.
type Node struct {
	self      Member // as it was at the start
	engine    *engine
	bus       *natsBus
	directory *directory
}

// Open starts the engine, or connects to the external one, be it that it can't be reached
// yet. The node joins with Run. Handlers are set in between.
func Open(c Config, l Local, log *slog.Logger) (*Node, error) {
	name, err := c.name()
	if err != nil {
		return nil, err
	}
	self := Member{Name: name, ID: newID(), URL: c.URL, Since: time.Now(), Version: c.Version}
	e, err := openEngine(c, self.Name+"-"+self.ID, log)
	if err != nil {
		return nil, err
	}
	n := &Node{self: self, engine: e, bus: newBus(self.ID, c.Group, e.conn, log)}
	n.directory = newDirectory(c, self, l, n.bus, log)
	n.directory.lost = n.bus.gone // ends what is under way with a node that is no more
	return n, nil
}

// NodeName is what a node of this configuration is called. The error says that its name must be given.
func NodeName(c Config) (string, error) { return c.name() }

// newID returns an id that no other run of a node has, for all that chance can say.
func newID() string { return strings.ToLower(rand.Text()[:idLen]) }

// Run takes part in the cluster until ctx is done: heartbeats, leases, the directory, and
// what other nodes ask of this one. It waits for all handlers.
func (n *Node) Run(ctx context.Context) error {
	if err := n.bus.listen(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { n.bus.run(ctx); return nil })
	g.Go(func() error { n.engine.run(ctx); return nil })
	g.Go(func() error { return n.directory.run(ctx) })
	return g.Wait()
}

// Close says that the node leaves, and ends the engine. After Run, or without it.
func (n *Node) Close() {
	n.directory.leave()
	n.bus.close()
	n.engine.stop()
}

// Self is this node as the others see it.
func (n *Node) Self() Member {
	if m, ok := n.directory.member(n.self.ID); ok {
		return m
	}
	return n.self
}

// Members are all that are there, by name, this one among them.
func (n *Node) Members() []Member { return n.directory.members() }

// Member returns the one with the id, if it is there.
func (n *Node) Member(id string) (Member, bool) { return n.directory.member(id) }

// Owner says whose the room is, from this node's copy of the directory.
func (n *Node) Owner(room string) (Member, bool) { return n.directory.owner(room) }

// Muted returns which publishers of a room are muted, as its owner has told last, or did before it died.
func (n *Node) Muted(room string) []string { return n.directory.muted(room) }

// Place returns the room's owner; one is chosen, and told all, if there is none. It is
// fault.Unavailable if no node takes the room.
func (n *Node) Place(ctx context.Context, room string) (Member, error) {
	return n.directory.place(ctx, room)
}

// Hold says that something of the room is in the making here: it is not let go of.
func (n *Node) Hold(room string) (release func()) { return n.directory.hold(room) }

// Look has the others told at once what has changed in the gateway's rooms, which is done each 100 ms besides.
func (n *Node) Look() { n.directory.poll() }

// Directory lists all rooms.
func (n *Node) Directory() []Entry { return n.directory.entries() }

// Watch tells of changes of members and owners, those in quick succession once.
func (n *Node) Watch() (changed <-chan struct{}, stop func()) { return n.directory.watch() }

// Drain gives all rooms away, and takes no new ones. It returns when none is left, or ctx is done.
func (n *Node) Drain(ctx context.Context) error { return n.directory.drain(ctx) }

// Connected says whether there is an engine: for an external NATS, that it is reached. An
// embedded one is part of this process, and so it stays true when all other nodes are lost:
// from here nobody can tell a dead cluster from a cut cable, and the last node of two must
// not send its clients away because the other has died. Snapshot says how many are seen.
func (n *Node) Connected() bool { return n.engine.connected() }

type (
	// A Handler answers a call. Its error reaches the caller as a fault of the same kind. Its
	// ctx ends when the caller does not wait any more.
	Handler func(ctx context.Context, from Member, data []byte) ([]byte, error)
	// A StreamHandler answers with any number of messages, until it returns or ctx is done:
	// the reader has gone. send may be called by several goroutines; it fails once the
	// reader has gone.
	StreamHandler func(ctx context.Context, from Member, data []byte, send func([]byte) error) error
)

// Handle sets who answers calls of a verb: a word of a-z, 0-9 and "-", or two with a dot
// between them. A verb has one handler. Before Run.
func (n *Node) Handle(verb string, f Handler) {
	n.bus.onCall(verb, func(ctx context.Context, from string, data []byte) ([]byte, error) {
		return f(ctx, n.known(from), data)
	})
}

// HandleStream sets who serves streams of a verb. Before Run.
func (n *Node) HandleStream(verb string, f StreamHandler) {
	n.bus.onStream(verb, func(ctx context.Context, from string, data []byte, send func([]byte) error) error {
		return f(ctx, n.known(from), data, send)
	})
}

// HandleTell sets who takes what others tell all, in the order of each sender. f must not
// block on the network. Before Run.
func (n *Node) HandleTell(verb string, f func(from Member, data []byte)) {
	n.bus.onTell(verb, func(from string, data []byte) { f(n.known(from), data) })
}

// known is the member with the id; of one that this node has not heard of yet, the id alone.
func (n *Node) known(id string) Member {
	if m, ok := n.directory.member(id); ok {
		return m
	}
	return Member{ID: id}
}

// Call asks another node, or this one, with at most 512 KiB; it waits 10 s if ctx has no
// deadline. The error is the handler's fault, with its kind, detail, fields and RetryAfter;
// fault.Unavailable if the node is gone (at once), too busy or too slow; fault.NotFound if it is of
// another version and does not know the verb; fault.TooLarge; the cause of ctx if that ended
// otherwise; and an error without a kind if the handler's had none.
func (n *Node) Call(ctx context.Context, to Member, verb string, data []byte) ([]byte, error) {
	return n.bus.call(ctx, to.ID, verb, data)
}

// Tell sends all others at most 512 KiB. There is no answer, and it never waits; the error
// is fault.TooLarge, or fault.Unavailable if too much waits to be sent.
func (n *Node) Tell(verb string, data []byte) error { return n.bus.tell(verb, data) }

// Stream opens a stream, with the errors of Call. ctx is for the opening alone: whoever has
// opened it closes it.
func (n *Node) Stream(ctx context.Context, to Member, verb string, data []byte) (*Stream, error) {
	return n.bus.stream(ctx, to.ID, verb, data)
}
