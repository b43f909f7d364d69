package share

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"sightline/internal/cluster"
	"sightline/internal/quota"
)

// A Spender has limits of what clients do: of requests a second. *httpapi.Router is one. It is safe for
// concurrent use.
type Spender interface {
	Spent(quota.Use) // adds what was spent at this node since the last time
	Spend(quota.Use) // takes what was spent at another one
}

// A Holder has limits of what clients have at a time, such as sessions. It is safe for concurrent use.
type Holder interface {
	Held(quota.Use)      // adds what clients have at this node
	Elsewhere(quota.Use) // says what they have at all others
}

const (
	spentEvery = 250 * time.Millisecond
	heldEvery  = time.Second

	// heldFor is for how long what a node holds is believed. One that holds nothing any more says
	// so once, which may be lost.
	heldFor = 5 * heldEvery

	// What a node tells is bounded: of more clients those that use least are left out, and so are
	// names that are longer than any of a person.
	maxLimits  = 16
	maxClients = 500
	maxClient  = 256
	maxUse     = 1 << 20
)

// Quotas let the nodes hold clients to one limit together: each tells the others what clients use at it,
// and they count that. No node asks another before it answers, so somebody who asks all at once
// gets more, for as long as it takes to tell.
type Quotas struct {
	node    Node
	spender Spender
	holders []Holder
	log     *slog.Logger

	mu   sync.Mutex // guards what follows
	held map[string]holding
	said string // what could not be taken last
}

// A holding is what one node holds.
type holding struct {
	use quota.Use
	at  time.Time
}

// NewQuotas lets nodes hold limits together. Call it before the node runs.
func NewQuotas(node Node, log *slog.Logger, spender Spender, holders ...Holder) *Quotas {
	q := &Quotas{node: node, spender: spender, holders: holders, log: log, held: make(map[string]holding)}
	q.handle("spent", func(_ cluster.Member, use quota.Use) { spender.Spend(use) })
	q.handle("held", func(from cluster.Member, use quota.Use) { q.take(from.ID, use, time.Now()) })
	return q
}

func (q *Quotas) handle(verb string, f func(from cluster.Member, use quota.Use)) {
	q.node.HandleTell(verb, func(from cluster.Member, data []byte) {
		use, err := readUse(data)
		if err != nil {
			q.refuse(verb, from, err)
			return
		}
		f(from, use)
	})
}

// refuse logs what a node tells that can't be taken, once: it will be told again and again.
func (q *Quotas) refuse(verb string, from cluster.Member, err error) {
	q.mu.Lock()
	known := q.said == err.Error()
	q.said = err.Error()
	q.mu.Unlock()
	if !known {
		q.log.Warn("what another node tells can't be taken", "of", verb, "node", from.Name, "id", from.ID, "err", err)
	}
}

// Run tells the other nodes what is used here until ctx is done.
func (q *Quotas) Run(ctx context.Context) error {
	spent, held := time.NewTicker(spentEvery), time.NewTicker(heldEvery)
	defer spent.Stop()
	defer held.Stop()
	said := false // that something is held
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-spent.C:
			use := make(quota.Use)
			if q.spender.Spent(use); len(use) > 0 {
				q.tell("spent", use)
			}
		case now := <-held.C:
			use := make(quota.Use)
			for _, h := range q.holders {
				h.Held(use)
			}
			if said || len(use) > 0 {
				q.tell("held", use)
			}
			said = len(use) > 0
			q.forget(now)
		}
	}
}

func (q *Quotas) tell(verb string, use quota.Use) {
	for limit, clients := range use {
		maps.DeleteFunc(clients, func(client string, _ int) bool { return len(client) > maxClient })
		if len(clients) > maxClients {
			most := slices.SortedFunc(maps.Keys(clients), func(a, b string) int { return cmp.Compare(clients[b], clients[a]) })
			for _, client := range most[maxClients:] {
				delete(clients, client)
			}
		}
		use[limit] = clients
	}
	data, err := json.Marshal(use)
	if err == nil {
		_ = q.node.Tell(verb, data) // or next time
	}
}

// readUse reads what another node tells, which must be within bounds.
func readUse(data []byte) (use quota.Use, err error) {
	if err := json.Unmarshal(data, &use); err != nil {
		return nil, err
	}
	if len(use) > maxLimits {
		return nil, fmt.Errorf("%d limits are more than there are", len(use))
	}
	for limit, clients := range use {
		if len(clients) > maxClients {
			return nil, fmt.Errorf("%s: %d clients are more than are told", limit, len(clients))
		}
		for client, n := range clients {
			if n < 0 || n > maxUse || len(client) > maxClient {
				return nil, errors.New(limit + ": nobody can use so much")
			}
		}
	}
	return use, nil
}

// take notes what a node holds.
func (q *Quotas) take(node string, use quota.Use, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(use) == 0 {
		delete(q.held, node)
	} else {
		q.held[node] = holding{use, now}
	}
	q.sumLocked()
}

// forget drops what was held by nodes that are gone, or are not heard of.
func (q *Quotas) forget(now time.Time) {
	members := q.node.Members()
	q.mu.Lock()
	defer q.mu.Unlock()
	before := len(q.held)
	maps.DeleteFunc(q.held, func(node string, h holding) bool {
		return now.Sub(h.at) > heldFor || !slices.ContainsFunc(members, func(m cluster.Member) bool { return m.ID == node })
	})
	if len(q.held) != before {
		q.sumLocked()
	}
}

func (q *Quotas) sumLocked() {
	sum := make(quota.Use)
	for _, h := range q.held {
		for limit, clients := range h.use {
			for client, n := range clients {
				sum.Add(limit, client, n)
			}
		}
	}
	for _, h := range q.holders {
		h.Elsewhere(sum)
	}
}
