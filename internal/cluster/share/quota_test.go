package share

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/cluster"
	"sightline/internal/quota"
)

// An ether carries what nodes tell, at once.
type ether struct {
	mu     sync.Mutex // guards what follows
	nodes  map[string]*station
	silent string // is there, but not heard
}

type station struct {
	Node
	ether *ether
	id    string
	takes map[string]func(cluster.Member, []byte)

	mu    sync.Mutex // guards what follows
	spent quota.Use
	taken quota.Use
	held  quota.Use
	away  quota.Use
	told  int
}

func (e *ether) station(id string) *station {
	s := &station{ether: e, id: id, takes: make(map[string]func(cluster.Member, []byte)), spent: make(quota.Use), taken: make(quota.Use), held: make(quota.Use)}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.nodes[id] = s
	return s
}

func (e *ether) off(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.nodes, id)
}

func (e *ether) hush(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.silent = id
}

func (s *station) Members() (out []cluster.Member) {
	s.ether.mu.Lock()
	defer s.ether.mu.Unlock()
	for id := range s.ether.nodes {
		out = append(out, cluster.Member{ID: id})
	}
	return out
}

func (s *station) HandleTell(verb string, f func(cluster.Member, []byte)) { s.takes[verb] = f }

func (s *station) Tell(verb string, data []byte) error {
	s.mu.Lock()
	s.told++
	s.mu.Unlock()
	s.ether.mu.Lock()
	defer s.ether.mu.Unlock()
	if s.ether.nodes[s.id] == nil || s.ether.silent == s.id {
		return nil
	}
	for id, other := range s.ether.nodes {
		if id != s.id {
			other.takes[verb](cluster.Member{ID: s.id}, data)
		}
	}
	return nil
}

func (s *station) Spent(use quota.Use) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(use, s.spent)
	clear(s.spent)
}

func (s *station) Spend(use quota.Use) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for limit, clients := range use {
		for client, n := range clients {
			s.taken.Add(limit, client, n)
		}
	}
}

func (s *station) Held(use quota.Use) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for limit, clients := range s.held {
		for client, n := range clients {
			use.Add(limit, client, n)
		}
	}
}

func (s *station) Elsewhere(use quota.Use) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = use
}

// do changes or reads what a station has.
func (s *station) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func TestNodesTellWhatIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &ether{nodes: make(map[string]*station)}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		var nodes []*station
		for _, id := range []string{"a", "b", "c"} {
			s := e.station(id)
			nodes = append(nodes, s)
			q := NewQuotas(s, slog.New(slog.DiscardHandler), s, s)
			running.Go(func() { _ = q.Run(ctx) })
		}
		defer running.Wait()
		defer cancel()
		a, b, c := nodes[0], nodes[1], nodes[2]
		time.Sleep(time.Minute)
		for _, s := range nodes {
			s.do(func() {
				if s.told != 0 {
					t.Errorf("%s tells %d times that nothing is used", s.id, s.told)
				}
			})
		}

		a.do(func() { a.spent.Add("rate", "ada", 7) })
		a.do(func() { a.held.Add("sessions", "ada", 3) })
		b.do(func() { b.held.Add("sessions", "ada", 2) })
		time.Sleep(2 * heldEvery)
		wants := func(s *station, taken, away int) {
			t.Helper()
			s.do(func() {
				if got, other := s.taken["rate"]["ada"], s.away["sessions"]["ada"]; got != taken || other != away {
					t.Errorf("%s knows of %d spent and %d held elsewhere, want %d and %d", s.id, got, other, taken, away)
				}
			})
		}
		wants(a, 0, 2)
		wants(b, 7, 3)
		wants(c, 7, 5)

		a.do(func() { clear(a.held) })
		time.Sleep(2 * heldEvery)
		wants(c, 7, 2)

		// What a node holds goes with it; and with its words, if it is there and says nothing.
		e.off("b")
		time.Sleep(2 * heldEvery)
		wants(c, 7, 0)
		a.do(func() { a.held.Add("sessions", "ada", 1) })
		time.Sleep(2 * heldEvery)
		wants(c, 7, 1)
		e.hush("a")
		time.Sleep(2 * heldFor)
		wants(c, 7, 0)
	})
}

// However many clients there are, the others learn of those that use most, and a name of any length
// does no harm.
func TestWhatIsToldIsBounded(t *testing.T) {
	e := &ether{nodes: make(map[string]*station)}
	a, b := e.station("a"), e.station("b")
	q := NewQuotas(a, slog.New(slog.DiscardHandler), a, a)
	NewQuotas(b, slog.New(slog.DiscardHandler), b, b)
	use := make(quota.Use)
	for i := range 10_000 {
		use.Add("rate", fmt.Sprintf("client-%d", i), i)
	}
	use.Add("rate", string(make([]byte, maxClient+1)), 1_000_000)
	q.tell("spent", use)
	if n := len(b.taken["rate"]); n != maxClients {
		t.Errorf("%d clients are told of, want %d", n, maxClients)
	}
	for i := 10_000 - maxClients; i < 10_000; i++ {
		if got := b.taken["rate"][fmt.Sprintf("client-%d", i)]; got != i {
			t.Fatalf("client-%d uses %d, want %d", i, got, i)
		}
	}
}

func TestBadUseIsRefused(t *testing.T) {
	many := make(quota.Use)
	for i := range maxClients + 1 {
		many.Add("rate", fmt.Sprint(i), 1)
	}
	limits := make(quota.Use)
	for i := range maxLimits + 1 {
		limits.Add(fmt.Sprint(i), "ada", 1)
	}
	for name, use := range map[string]any{
		"not an object":    3,
		"clients":          many,
		"limits":           limits,
		"less than none":   quota.Use{"rate": {"ada": -1}},
		"more than can be": quota.Use{"rate": {"ada": maxUse + 1}},
		"a long name":      quota.Use{"rate": {string(make([]byte, maxClient+1)): 1}},
	} {
		data, err := json.Marshal(use)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readUse(data); err == nil {
			t.Errorf("%s: %v is taken", name, got)
		}
	}
	want := quota.Use{"rate": {"ada": 1}}
	if got, err := readUse([]byte(`{"rate":{"ada":1}}`)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func FuzzReadUse(f *testing.F) {
	f.Add([]byte(`{"http.rate_limit":{"192.0.2.1":12},"http.max_sessions_per_token":{"jwt:kim":3}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		use, err := readUse(data)
		if err != nil {
			return
		}
		for limit, clients := range use {
			for client, n := range clients {
				if n < 0 || n > maxUse || len(client) > maxClient {
					t.Errorf("%s: %q uses %d", limit, client, n)
				}
			}
		}
	})
}
