// Package cluster makes one gateway of several nodes: who is there, which node each room lives
// on, and calls between nodes, all over NATS. docs/CLUSTER.md is its design. It knows nothing of
// HTTP, rooms or WebRTC.
package cluster

import (
	"context"
	"log/slog"
	"time"
)

// Local is the node's own gateway. Its methods are called with no lock held.
type Local interface {
	// Load is asked for once for each heartbeat.
	Load() Load
	// Rooms are all that are alive here, whatever the directory says of them.
	Rooms() []RoomState
	// Lost says that a room is another's now: its sessions here end as moved.
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
	Sessions   int      // of publishers and viewers
	Tracks     []string // live, "console/video", sorted
	Muted      []string // publishers that were muted, sorted
}

// Keep is what outlives a room's owner.
type Keep struct {
	Muted []string // publishers that were muted
}

// Why is the reason for which a room has another owner. Its text is a metric's label.
type Why string

const (
	Drained   Why = "drained"   // the node gave it away, because it leaves
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
type Node struct{}

func Open(c Config, l Local, log *slog.Logger) (*Node, error) { panic("skeleton") }
func (n *Node) Run(ctx context.Context) error                 { panic("skeleton") }
func (n *Node) Close()                                        { panic("skeleton") }

func (n *Node) Self() Member                                           { panic("skeleton") }
func (n *Node) Members() []Member                                      { panic("skeleton") }
func (n *Node) Member(id string) (Member, bool)                        { panic("skeleton") }
func (n *Node) Owner(room string) (Member, bool)                       { panic("skeleton") }
func (n *Node) Place(ctx context.Context, room string) (Member, error) { panic("skeleton") }
func (n *Node) Hold(room string) (release func())                      { panic("skeleton") }
func (n *Node) Directory() []Entry                                     { panic("skeleton") }
func (n *Node) Watch() (changed <-chan struct{}, stop func())          { panic("skeleton") }
func (n *Node) Drain(ctx context.Context) error                        { panic("skeleton") }
func (n *Node) Connected() bool                                        { panic("skeleton") }

type (
	// A Handler answers a call. Its error reaches the caller as a fault of the same kind.
	Handler func(ctx context.Context, from Member, data []byte) ([]byte, error)
	// A StreamHandler answers with any number of messages, until it returns or ctx is done: the reader has gone.
	StreamHandler func(ctx context.Context, from Member, data []byte, send func([]byte) error) error
)

func (n *Node) Handle(verb string, f Handler)                            { panic("skeleton") }
func (n *Node) HandleStream(verb string, f StreamHandler)                { panic("skeleton") }
func (n *Node) HandleTell(verb string, f func(from Member, data []byte)) { panic("skeleton") }
func (n *Node) Call(ctx context.Context, to Member, verb string, data []byte) ([]byte, error) {
	panic("skeleton")
}
func (n *Node) Tell(verb string, data []byte) error { panic("skeleton") }
func (n *Node) Stream(ctx context.Context, to Member, verb string, data []byte) (*Stream, error) {
	panic("skeleton")
}

// A Stream is what a StreamHandler of another node sends.
type Stream struct{}

// Next returns the next message, io.EOF at the end, a fault if the node is gone or the reader was too slow.
func (s *Stream) Next(ctx context.Context) ([]byte, error) { panic("skeleton") }
func (s *Stream) Close()                                   { panic("skeleton") }
