// Package share brings what all nodes of a cluster must know to all of them: what was revoked, who is
// invited, who has signed in. What has changed is told at once. Every few seconds each node tells a
// digest of all that it knows, and who sees that it lacks something asks for it: so it is with one that
// joins, that was cut off, or that a message did not reach (docs/CLUSTER.md).
package share

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sightline/internal/cluster"
	"sightline/internal/fault"
	"sightline/internal/replica"
)

const (
	compareEvery = 3 * time.Second
	askTimeout   = 5 * time.Second

	// learnWithin is how long a node that joins looks for others before it takes sessions: longer than
	// it takes to hear of them.
	learnWithin = 5 * time.Second

	// maxPages bounds what one node is asked for in a row.
	maxPages = 10_000

	maxAsks   = 1000
	askAtOnce = 8
)

// A Part is something that nodes share. *auth.Auth and *signin.Door are such. It is safe for
// concurrent use, and waits for nothing.
type Part interface {
	// Merge takes what another node has told. The error says what could not be taken.
	Merge(message []byte) error
	// Digest says what this node knows; nothing if it shares nothing.
	Digest() []byte
	// State returns a page of what the holder of a digest may lack, for Merge, and where the next
	// begins: "" at first, and at the end.
	State(digest []byte, after string) (page []byte, next string, err error)
}

// Node is what is needed of a *cluster.Node.
type Node interface {
	Self() cluster.Member
	Members() []cluster.Member
	Connected() bool
	Watch() (changed <-chan struct{}, stop func())
	Tell(verb string, data []byte) error
	HandleTell(verb string, f func(from cluster.Member, data []byte))
	Handle(verb string, f cluster.Handler)
	Call(ctx context.Context, to cluster.Member, verb string, data []byte) ([]byte, error)
}

// A Share keeps the parts of this node the same as those of the others.
type Share struct {
	node  Node
	parts map[string]Part
	log   *slog.Logger

	learned atomic.Bool
	kick    chan struct{} // holds a token when there is somebody to ask

	mu   sync.Mutex   // guards what follows
	asks map[ask]bool // who may know more, of what, and whether he is being asked
	said string       // what could not be taken last

	answers, fails bool // since there was nobody to ask: that some have answered, that some have not

	pulls, failures, refused atomic.Uint64
}

type ask struct{ part, member string }

// A Snapshot is the state of a Share.
type Snapshot struct {
	Pulls    uint64 // times that this node has asked another for what it lacked
	Failures uint64 // that did not get to their end
	Refused  uint64 // messages of others that could not be taken, or not all of them
}

// request asks for a page.
type request struct {
	Digest []byte `json:"digest"`
	After  string `json:"after,omitempty"`
}

type answer struct {
	Page []byte `json:"page"`
	Next string `json:"next,omitempty"`
}

// New shares parts, by short names. Call it before the node runs. Tell is for the parts to be told of:
// part.Share(s.Tell(name)).
func New(node Node, parts map[string]Part, log *slog.Logger) *Share {
	s := &Share{node: node, parts: parts, log: log, kick: make(chan struct{}, 1), asks: make(map[ask]bool)}
	for name, part := range parts {
		node.HandleTell("share-"+name, func(from cluster.Member, data []byte) { s.merge(name, from, data) })
		node.HandleTell("digest-"+name, func(from cluster.Member, data []byte) { s.compare(name, from, data) })
		node.Handle("state-"+name, func(_ context.Context, _ cluster.Member, data []byte) ([]byte, error) { return state(part, data) })
	}
	return s
}

// Tell returns what tells the other nodes of a part's changes. It never waits: what can't be told is
// found out by digests.
func (s *Share) Tell(part string) func(message []byte) {
	return func(message []byte) { _ = s.node.Tell("share-"+part, message) }
}

// Learned reports whether the node knows what the others knew when it joined, or has found none to ask.
func (s *Share) Learned() bool { return s.learned.Load() }

// Unready says why the node takes no new sessions because of its cluster, for /readyz: only as long as
// it does not know who was revoked while it was away. Alone, or without its engine, it takes them: all
// nodes lose an engine at once, and a load balancer must not take the last one out.
func (s *Share) Unready() []string {
	if s.Learned() {
		return nil
	}
	return []string{"the gateway learns from the other nodes who has been revoked"}
}

// Warnings says what is wrong with the cluster though the node takes new sessions, for /readyz.
func (s *Share) Warnings() []string {
	switch {
	case !s.node.Connected():
		return []string{"the gateway has lost the engine of its cluster, and goes on alone"}
	case len(s.node.Members()) < 2:
		return []string{"the gateway sees no other node of its cluster"}
	}
	return nil
}

// Snapshot returns the state of what is shared.
func (s *Share) Snapshot() Snapshot {
	return Snapshot{Pulls: s.pulls.Load(), Failures: s.failures.Load(), Refused: s.refused.Load()}
}

// merge takes what a node has told.
func (s *Share) merge(part string, from cluster.Member, data []byte) {
	err := s.parts[part].Merge(data)
	if err == nil {
		return
	}
	s.refused.Add(1)
	s.mu.Lock()
	known := s.said == err.Error()
	s.said = err.Error()
	s.mu.Unlock()
	if !known { // it is told again with each comparison
		s.log.Warn("what another node tells can't be taken", "of", part, "node", from.Name, "id", from.ID, "err", err)
	}
}

// compare asks a node soon if it knows something that this one does not.
func (s *Share) compare(part string, from cluster.Member, digest []byte) {
	if mine := s.parts[part].Digest(); len(mine) > 0 && !slices.Equal(mine, digest) {
		s.ask(part, from.ID)
	}
}

// ask has a member asked, unless it is about to be: then its next digest comes.
func (s *Share) ask(part, member string) {
	a := ask{part, member}
	s.mu.Lock()
	if _, known := s.asks[a]; !known && len(s.asks) < maxAsks {
		s.asks[a] = false
	}
	s.mu.Unlock()
	s.poke()
}

func (s *Share) poke() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// state answers who has asked.
func state(part Part, data []byte) ([]byte, error) {
	var r request
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fault.New(fault.BadRequest, "must be a digest: %w", err)
	}
	var a answer
	var err error
	if a.Page, a.Next, err = part.State(r.Digest, r.After); err != nil {
		return nil, fault.New(fault.BadRequest, "%w", err)
	}
	return json.Marshal(a)
}

// Run compares with the other nodes until ctx is done.
func (s *Share) Run(ctx context.Context) error {
	changed, stop := s.node.Watch()
	defer stop()
	tick := time.NewTicker(compareEvery)
	defer tick.Stop()
	alone := time.NewTimer(learnWithin)
	defer alone.Stop()
	var asking sync.WaitGroup // beside the rest: who does not answer holds nothing up
	defer asking.Wait()
	for range askAtOnce {
		asking.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-s.kick:
					s.askNext(ctx)
				}
			}
		})
	}
	known := make(map[string]bool) // members that were asked since they are there
	s.greet(known)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			s.greet(known)
		case <-tick.C:
			s.greet(known)
			for name, part := range s.parts {
				if digest := part.Digest(); len(digest) > 0 {
					_ = s.node.Tell("digest-"+name, digest) // or the next one
				}
			}
		case <-alone.C: // or nobody answers: it serves all the same, as in a partition
			s.learn(false)
		}
	}
}

// greet asks members that have come at once, so that nothing is missed until they tell their digest.
func (s *Share) greet(known map[string]bool) {
	self, here := s.node.Self().ID, make(map[string]bool)
	for _, m := range s.node.Members() {
		if m.ID == self {
			continue
		}
		here[m.ID] = true
		if known[m.ID] {
			continue
		}
		known[m.ID] = true
		for name := range s.parts {
			s.ask(name, m.ID)
		}
	}
	for id := range known {
		if !here[id] {
			delete(known, id)
		}
	}
}

// askNext asks one who may know more, if there is one that nobody asks yet. Who is asked in vain tells his
// digest again.
func (s *Share) askNext(ctx context.Context) {
	a, more := s.next()
	if more {
		s.poke()
	}
	if a == (ask{}) {
		return
	}
	members := s.node.Members()
	i := slices.IndexFunc(members, func(m cluster.Member) bool { return m.ID == a.member })
	if i < 0 { // it has gone
		s.asked(a, false, nil)
		return
	}
	s.pulls.Add(1)
	err := s.pull(ctx, members[i], a.part)
	if err != nil && ctx.Err() == nil {
		s.failures.Add(1)
		s.log.Warn("another node does not tell what it knows", "of", a.part, "node", members[i].Name, "id", a.member, "err", err)
	}
	s.asked(a, true, err)
}

// next takes one that waits, and says whether there are more; nobody, if none does.
func (s *Share) next() (first ask, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a, asked := range s.asks {
		switch {
		case asked:
		case first != ask{}:
			return first, true
		default:
			first = a
			s.asks[a] = true
		}
	}
	return first, false
}

// asked is what came of an ask. Once all that there were have been answered, the node knows what the others do.
func (s *Share) asked(a ask, there bool, err error) {
	s.mu.Lock()
	delete(s.asks, a)
	s.answers = s.answers || there && err == nil
	s.fails = s.fails || err != nil
	over := len(s.asks) == 0
	whole := over && s.answers && !s.fails
	if over {
		s.answers, s.fails = false, false
	}
	s.mu.Unlock()
	if whole {
		s.learn(true)
	}
}

func (s *Share) learn(from bool) {
	if !s.learned.Swap(true) {
		s.log.Info("what nodes share is known", "from_others", from)
	}
}

// pull asks a node for what it knows and this one does not.
func (s *Share) pull(ctx context.Context, from cluster.Member, part string) error {
	r := request{Digest: s.parts[part].Digest()}
	if len(r.Digest) == 0 {
		return nil
	}
	for range maxPages {
		data, err := json.Marshal(r)
		if err != nil {
			return err
		}
		page, err := s.call(ctx, from, "state-"+part, data)
		if err != nil {
			return err
		}
		s.merge(part, from, page.Page)
		if page.Next == "" {
			return nil
		}
		r.After = page.Next
	}
	return errors.New("its pages don't end")
}

func (s *Share) call(ctx context.Context, to cluster.Member, verb string, data []byte) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	raw, err := s.node.Call(ctx, to, verb, data)
	if err != nil {
		return a, err
	}
	if len(raw) > 2*replica.MaxMessage {
		return a, errors.New("its answer is too long")
	}
	return a, json.Unmarshal(raw, &a)
}
