package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/audit"
	"sightline/internal/fault"
)

// A gate is a router that takes requests from any address, with one right token, "right".
type gate struct {
	*Router
	sessions *Resources
	peers    []*peer // of the sessions that were made, the oldest first
	causes   map[*peer]error
}

func newGate(t *testing.T, change func(*Config)) *gate {
	t.Helper()
	c := Defaults()
	change(&c)
	log := slog.New(slog.DiscardHandler)
	g := &gate{Router: NewRouter(c, log), sessions: NewResources(c, testCauses, log), causes: make(map[*peer]error)}
	t.Cleanup(g.sessions.Close)
	right := func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer right" }
	g.Recognize(func(r *http.Request) string {
		if right(r) {
			return "hospital"
		}
		return ""
	}, g.sessions)
	g.sessions.Route(g)
	g.POST("/whip", Handle(func(c *gin.Context) error {
		if c.GetHeader("Authorization") != "" && !right(c.Request) {
			return fault.New(fault.Unauthenticated, "the bearer token is not known here")
		}
		if err := g.sessions.Admit(c); err != nil {
			return err
		}
		p := newPeer()
		g.peers = append(g.peers, p)
		return g.sessions.Create(c, Resource{Session: p, Run: func(ctx context.Context) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}})
	}))
	return g
}

// from sends a request from an address and returns the status, and the limit that the answer
// names.
func (g *gate) from(t *testing.T, address, method, path, token string) (status int, limit string) {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	r.RemoteAddr = address + ":4000"
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	if w.Code == 429 || w.Code == 503 {
		var problem struct{ Detail, Limit string }
		if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil || problem.Limit == "" ||
			!strings.Contains(problem.Detail, problem.Limit) || w.Header().Get("Retry-After") == "" {
			t.Errorf("%d %s, Retry-After %q: %v; must name its limit and when to come back", w.Code, w.Body, w.Header().Get("Retry-After"), err)
		}
		limit = problem.Limit
	}
	return w.Code, limit
}

// flood sends n requests and returns how many had which status.
func (g *gate) flood(t *testing.T, n int, address, method, path, token string) map[int]int {
	t.Helper()
	got := make(map[int]int)
	for range n {
		status, _ := g.from(t, address, method, path, token)
		got[status]++
	}
	return got
}

const (
	hospital = "192.0.2.1"
	stranger = "198.51.100.7"
)

// Whoever floods from behind the address of a hospital, without a token or with wrong ones,
// takes nothing from those there who have a right one, nor from their sessions.
func TestAFloodFromOnesOwnAddressLocksNobodyOut(t *testing.T) {
	g := newGate(t, func(c *Config) { c.RateLimit, c.RateBurst, c.MaxWrongTokens, c.MaxSetupsPerAddress = 0.1, 20, 5, 1000 })
	g.flood(t, 1, hospital, "POST", "/whip", "right")
	var session string
	for id := range g.sessions.live {
		session = "/sessions/" + id
	}
	if got := g.flood(t, 100, hospital, "POST", "/whip", ""); got[429] < 75 {
		t.Fatalf("strangers got %v, want most refused", got)
	}
	if status, limit := g.from(t, hospital, "POST", "/whip", "wrong"); status != 429 || limit != "http.rate_limit" {
		t.Errorf("a wrong token in the flood got %d (%s), want 429 (http.rate_limit)", status, limit)
	}
	if got := g.flood(t, 50, hospital, "POST", "/whip", "right"); got[201] != 50 {
		t.Errorf("a right token in the flood got %v, want 50 of 201", got)
	}
	if status, _ := g.from(t, hospital, "PATCH", session, ""); status != 415 {
		t.Errorf("a PATCH to a live session got %d, want 415 as there is no body", status)
	}
	if status, _ := g.from(t, hospital, "PATCH", "/sessions/unknown", ""); status != 429 {
		t.Errorf("a PATCH to no session got %d, want 429", status)
	}
	if status, _ := g.from(t, hospital, "DELETE", session, ""); status != 200 {
		t.Errorf("its DELETE got %d, want 200", status)
	}
	if got := g.flood(t, 10, stranger, "POST", "/whip", ""); got[201] != 10 {
		t.Errorf("another address got %v, want 10 of 201", got)
	}
}

func TestARightTokenHasALimitOfItsOwn(t *testing.T) {
	g := newGate(t, func(c *Config) { c.TokenRateLimit, c.TokenRateBurst = 0.1, 10 })
	got := make(map[int]int)
	for i := range 30 { // wherever it comes from
		status, limit := g.from(t, fmt.Sprintf("192.0.2.%d", i), "POST", "/whip", "right")
		got[status]++
		if status == 429 && limit != "http.token_rate_limit" {
			t.Errorf("refused by %q", limit)
		}
	}
	if got[201] != 10 || got[429] != 20 {
		t.Errorf("got %v, want 10 taken and 20 refused", got)
	}
	if n := g.Refusals()["http.token_rate_limit"]; n != 20 {
		t.Errorf("%d are counted, want 20", n)
	}
}

func TestASessionHasALimitOfItsOwn(t *testing.T) {
	g := newGate(t, func(c *Config) { c.SessionRateLimit, c.SessionRateBurst = 0.1, 5 })
	g.flood(t, 2, hospital, "POST", "/whip", "")
	var ids []string
	for id := range g.sessions.live {
		ids = append(ids, id)
	}
	if got := g.flood(t, 20, hospital, "PATCH", "/sessions/"+ids[0], ""); got[429] != 15 {
		t.Errorf("got %v, want 5 taken and 15 refused", got)
	}
	if status, _ := g.from(t, hospital, "PATCH", "/sessions/"+ids[1], ""); status == 429 {
		t.Error("the other session is refused too")
	}
	if n := g.Refusals()["http.session_rate_limit"]; n != 15 {
		t.Errorf("%d are counted, want 15", n)
	}
}

// Guessing is slowed down by address; a right token is never refused for what others guess.
func TestWrongTokensHaveABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, func(c *Config) { c.RateLimit, c.MaxWrongTokens = 0, 30 })
		if got := g.flood(t, 500, hospital, "POST", "/whip", "wrong"); got[401] != 30 || got[429] != 470 {
			t.Errorf("got %v, want 30 of 401 and 470 of 429", got)
		}
		if n := g.Refusals()["http.max_wrong_tokens"]; n != 470 {
			t.Errorf("%d are counted, want 470", n)
		}
		if got := g.flood(t, 20, hospital, "POST", "/whip", "right"); got[201] != 20 {
			t.Errorf("a right token got %v", got)
		}
		if status, _ := g.from(t, stranger, "POST", "/whip", "wrong"); status != 401 {
			t.Errorf("another address got %d, want 401", status)
		}
		time.Sleep(time.Minute)
		if got := g.flood(t, 40, hospital, "POST", "/whip", "wrong"); got[401] != 30 {
			t.Errorf("a minute later got %v, want 30 of 401", got)
		}
		g.sessions.Close()
	})
}

// owned is a refusal of a token whose bearer is known, as one that has expired.
type owned struct{ error }

func (o owned) Unwrap() error  { return o.error }
func (o owned) Who() audit.Who { return audit.Who{Name: "anna"} }

func TestATokenThatHasExpiredIsNotGuessed(t *testing.T) {
	g := newGate(t, func(c *Config) { c.RateLimit, c.MaxWrongTokens = 0, 5 })
	g.POST("/expired", Handle(func(*gin.Context) error { return owned{fault.New(fault.Unauthenticated, "the token has expired")} }))
	if got := g.flood(t, 100, hospital, "POST", "/expired", "old"); got[401] != 100 {
		t.Errorf("got %v, want 100 of 401", got)
	}
	if got := g.flood(t, 10, hospital, "POST", "/whip", "wrong"); got[401] != 5 {
		t.Errorf("wrong tokens got %v, want 5 of 401", got)
	}
}

// However a token in the query is written, it is one that was guessed.
func TestATokenInTheQueryIsGuessed(t *testing.T) {
	g := newGate(t, func(c *Config) { c.RateLimit, c.MaxWrongTokens = 0, 5 })
	g.GET("/query", Handle(func(*gin.Context) error {
		return fault.New(fault.Unauthenticated, "the bearer token is not known here")
	}))
	for i, query := range []string{"?access_token=x", "?a&access_token=x", "?access%5Ftoken=x", "?%61ccess_token=x"} {
		address := fmt.Sprint("192.0.2.", 10+i)
		if got := g.flood(t, 10, address, "GET", "/query"+query, ""); got[401] != 5 || got[429] != 5 {
			t.Errorf("%s: got %v, want 5 of 401 and 5 of 429", query, got)
		}
	}
	if got := g.flood(t, 10, hospital, "GET", "/query", ""); got[401] != 10 {
		t.Errorf("without a token: got %v, want 10 of 401", got)
	}
}

func TestSessionsArePartedByAddressAndByToken(t *testing.T) {
	g := newGate(t, func(c *Config) { c.MaxSessionsPerAddress, c.MaxSessionsPerToken = 3, 5 })
	for _, tt := range []struct {
		address, token string
		status         int
		limit          string
	}{
		{hospital, "", 201, ""}, {hospital, "", 201, ""}, {hospital, "", 201, ""},
		{hospital, "", 429, "http.max_sessions_per_address"},
		{hospital, "right", 429, "http.max_sessions_per_address"},
		{"192.0.2.2", "right", 201, ""}, {"192.0.2.2", "right", 201, ""}, {"192.0.2.2", "right", 201, ""},
		{"192.0.2.3", "right", 201, ""}, {"192.0.2.3", "right", 201, ""},
		{"192.0.2.3", "right", 429, "http.max_sessions_per_token"},
		{"192.0.2.3", "", 201, ""},
	} {
		if status, limit := g.from(t, tt.address, "POST", "/whip", tt.token); status != tt.status || limit != tt.limit {
			t.Errorf("%s with token %q: got %d (%s), want %d (%s)", tt.address, tt.token, status, limit, tt.status, tt.limit)
		}
	}
	for id := range g.sessions.live {
		g.from(t, stranger, "DELETE", "/sessions/"+id, "")
	}
	if n := len(g.sessions.census.addresses) + len(g.sessions.census.tokens) + g.sessions.census.setups; n != 0 {
		t.Errorf("%d entries are left of sessions that have ended", n)
	}
	if status, _ := g.from(t, hospital, "POST", "/whip", "right"); status != 201 {
		t.Errorf("after all have left: got %d", status)
	}
}

// ended tells which of the sessions have given way, by their numbers.
func (g *gate) ended() (out []int) {
	synctest.Wait()
	g.sessions.mu.Lock()
	defer g.sessions.mu.Unlock()
	live := make(map[Session]bool)
	for _, s := range g.sessions.live {
		live[s.Session] = true
	}
	for i, p := range g.peers {
		if !live[p] {
			out = append(out, i)
		}
	}
	return out
}

// Half-open sessions are bounded; he who has none of the places gets one.
func TestTheOldestHalfOpenSessionGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, func(c *Config) { c.MaxSetups, c.MaxSetupsPerAddress = 6, 3 })
		open := func(address string, want int) {
			t.Helper()
			if status, _ := g.from(t, address, "POST", "/whip", ""); status != want {
				t.Errorf("%s: got %d, want %d", address, status, want)
			}
		}
		expect := func(why string, want ...int) {
			t.Helper()
			if got := g.ended(); !slices.Equal(got, want) {
				t.Errorf("%s: %v have ended, want %v", why, got, want)
			}
		}
		open(hospital, 201) // 0
		open(hospital, 201) // 1
		open(hospital, 201) // 2
		open(hospital, 503)
		expect("none of them had time for a check")
		close(g.peers[0].checked)
		time.Sleep(time.Second)
		open(hospital, 201) // 3
		expect("the oldest without a check makes room at its own address", 1)
		close(g.peers[2].checked)
		close(g.peers[3].checked)
		open(hospital, 503)
		expect("those with checks stay", 1)
		close(g.peers[2].connected)
		open(hospital, 201) // 4
		expect("who is connected takes no place", 1)

		open("198.51.100.1", 201) // 5
		open("198.51.100.1", 201) // 6
		open("198.51.100.2", 201) // 7: six of six
		time.Sleep(time.Second)
		open("198.51.100.3", 201) // 8
		expect("of the address with most places one without a check makes room", 1, 4)
		// By now: 0, 3 of the hospital; 5, 6; 7; 8.
		for _, i := range []int{5, 6, 7, 8} {
			close(g.peers[i].checked)
		}
		open("198.51.100.4", 201) // 9, in the place of one of the addresses that have two
		if got := g.ended(); len(got) != 3 || !slices.Contains(got, 0) && !slices.Contains(got, 5) {
			t.Errorf("%v have ended, want 1, 4 and the oldest of an address that has two", got)
		}
		close(g.peers[9].checked)
		open("198.51.100.4", 503)
		if n := g.sessions.census.setups; n != 6 {
			t.Errorf("%d setups are counted, want 6", n)
		}
		if got := g.Refusals(); got["http.max_setups"] != 3 || got["http.max_setups_per_address"] != 3 {
			t.Errorf("counted %v", got)
		}
		g.sessions.Close()
	})
}

// Another node has no address, and pulls for many clients of its own.
func TestNodesAreNotHeldToTheLimitsOfAnAddress(t *testing.T) {
	g := newGate(t, func(c *Config) {
		c.MaxSessionsPerAddress, c.MaxSessionsPerToken, c.MaxSetups, c.MaxSetupsPerAddress = 1, 1, 3, 1
	})
	for i, want := range []int{201, 201, 201, 503} {
		r := WithArrival(httptest.NewRequest("POST", "/whip", nil), Arrival{Node: "a", Own: true})
		w := httptest.NewRecorder()
		if g.ServeHTTP(w, r); w.Code != want {
			t.Errorf("pull %d: got %d %s, want %d", i+1, w.Code, w.Body, want)
		}
	}
}

// Two hundred half-open sessions a second from one address, for half a minute: whoever means
// it has time for his checks, and keeps his place.
func TestLegitimateJoinsOutliveAFloodOfHalfOpenSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, func(c *Config) {}) // as shipped: 100 a second of these get in
		joined, asked := 0, 0
		for i := range 30 * 200 {
			g.from(t, stranger, "POST", "/whip", "")
			if i%200 == 0 {
				asked++
				if status, _ := g.from(t, stranger, "POST", "/whip", "right"); status == 201 {
					p := g.peers[len(g.peers)-1]
					time.Sleep(250 * time.Millisecond) // a slow round trip
					close(p.checked)
					close(p.connected)
					joined++
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
		dead := g.ended()
		for i, p := range g.peers {
			if over(p.connected) && slices.Contains(dead, i) {
				joined--
			}
		}
		if asked != 30 || joined != asked {
			t.Errorf("%d of %d joins succeeded", joined, asked)
		}
		if n, limit := g.sessions.Len(), Defaults().MaxSetupsPerAddress+joined; n > limit {
			t.Errorf("%d sessions live, want at most %d", n, limit)
		}
		g.sessions.Close()
	})
}

// Of sessions elsewhere the last few thousand are remembered, whatever is asked for.
func TestRecentIsBounded(t *testing.T) {
	var r recent
	for i := range 5 * maxRecent {
		r.add(fmt.Sprint(i))
	}
	if n := len(r.now) + len(r.before); n > 2*maxRecent || !r.has(fmt.Sprint(5*maxRecent-1)) || !r.has(fmt.Sprint(4*maxRecent+1)) || r.has("0") {
		t.Errorf("%d are remembered", n)
	}
	if r.remove(fmt.Sprint(5*maxRecent - 1)); r.has(fmt.Sprint(5*maxRecent - 1)) {
		t.Error("it is not forgotten")
	}
}
