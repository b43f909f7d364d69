package signin_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/doortest"
	"sightline/internal/opt"
	"sightline/internal/signin"
	"sightline/internal/signin/issuertest"
)

// A town is houses of one gateway, behind a load balancer that sends each request to another.
type town struct {
	*house  // as browsers see it
	t       *testing.T
	houses  []*house
	next    atomic.Int64
	to      atomic.Int64 // the house that all requests go to; -1: each to the next
	asked   atomic.Int64
	cut     atomic.Bool // the houses don't hear of each other
	mu      sync.Mutex  // guards what follows
	overall [][]byte    // that went between the houses
}

// found builds n houses. change may be left out.
func found(t *testing.T, n int, change ...func(*doortest.Options)) *town {
	t.Helper()
	w := &town{t: t}
	w.to.Store(-1)
	balancer := httptest.NewServer(&httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		w.asked.Add(1)
		i := w.to.Load()
		if i < 0 {
			i = w.next.Add(1) % int64(n)
		}
		u, _ := url.Parse(w.houses[i].URL)
		r.SetURL(u)
		r.SetXForwarded()
	}})
	t.Cleanup(balancer.Close)
	issuer := issuertest.Start(t, people())
	for i := range n {
		h := build(t, issuer, func(o *doortest.Options) {
			o.HTTP.PublicURL = balancer.URL
			for _, f := range change {
				f(o)
			}
		}, func(h *house) {
			if err := h.door.Share([]byte("a secret that all nodes have: 32"), w.tell(i, (*house).people)); err != nil {
				t.Fatal(err)
			}
			if err := h.Auth.Share(w.tell(i, (*house).tokens)); err != nil {
				t.Fatal(err)
			}
		})
		w.mu.Lock()
		w.houses = append(w.houses, h)
		w.mu.Unlock()
		h.found()
	}
	g := *w.houses[0].Gateway
	g.URL = balancer.URL
	w.house = &house{Gateway: &g, t: t, issuer: issuer, door: w.houses[0].door, doc: w.houses[0].doc}
	return w
}

// shared is what auth and sign-in have in common.
type shared interface {
	Merge([]byte) error
	Digest() []byte
	State([]byte, string) ([]byte, string, error)
}

func (h *house) people() shared { return h.door }
func (h *house) tokens() shared { return h.Auth }

var _ = []shared{(*signin.Door)(nil), (*auth.Auth)(nil)}

// tell brings what house i says to the others.
func (w *town) tell(i int, of func(*house) shared) func([]byte) {
	return func(message []byte) {
		if w.cut.Load() {
			return
		}
		w.mu.Lock()
		w.overall = append(w.overall, slices.Clone(message))
		others := slices.Clone(w.houses)
		w.mu.Unlock()
		for j, h := range others {
			if j == i {
				continue
			}
			if err := of(h).Merge(message); err != nil {
				w.t.Error(err)
			}
		}
	}
}

// heal lets the houses hear of each other again, and compare.
func (w *town) heal() {
	w.cut.Store(false)
	for range w.houses {
		for i, h := range w.houses {
			from := w.houses[(i+1)%len(w.houses)]
			for _, of := range []func(*house) shared{(*house).people, (*house).tokens} {
				mine, after := of(h).Digest(), ""
				for {
					page, next, err := of(from).State(mine, after)
					if err != nil {
						w.t.Fatal(err)
					}
					if err := of(h).Merge(page); err != nil {
						w.t.Fatal(err)
					}
					if after = next; after == "" {
						break
					}
				}
			}
		}
	}
}

// at is the browser at one house, without the balancer's turns.
func (w *town) at(i int, b *browser) *browser {
	w.to.Store(int64(i))
	return b
}

func TestWhoSignsInAtOneNodeIsKnownAtAll(t *testing.T) {
	w := found(t, 3)
	b := w.browser()
	// The way to the provider and back, and every request, go to another node each.
	if res := b.signIn("anna", "/api/rooms"); res.StatusCode != 200 || res.Request.URL.Path != "/api/rooms" {
		t.Fatalf("landed at %s: %d %s", res.Request.URL, res.StatusCode, res.text)
	}
	for range 6 {
		if who := b.me("?room=mri-2"); who.Who == nil || who.Who.Name != "anna" || who.Who.Label != "Anna Berg" || who.Who.Role != "technician" || len(who.Scopes) != 4 {
			t.Fatalf("me says %+v", who)
		}
	}
	if n := w.asked.Load(); n < 9 {
		t.Fatalf("the balancer was asked %d times", n)
	}
	// No cookie and no ID token is among what went between them.
	u, _ := url.Parse(w.URL)
	cookie := b.client.Jar.Cookies(u)[0].Value
	w.mu.Lock()
	for _, m := range w.overall {
		if strings.Contains(string(m), cookie) || strings.Contains(string(m), "eyJ") {
			t.Errorf("a secret goes between nodes: %s", m)
		}
	}
	told := len(w.overall)
	w.mu.Unlock()
	if told == 0 {
		t.Fatal("nothing was told")
	}

	// Signing out at any node signs out at all, and ends what goes on at another, within a second.
	w.at(2, b)
	events := b.ask("POST", "/api/rooms/mri-2/participants", `{"name": "Anna"}`)
	if events.StatusCode != 201 {
		t.Fatalf("entering is answered %d %s", events.StatusCode, events.text)
	}
	w.at(1, b)
	began := time.Now()
	out := b.ask("POST", "/auth/logout", "")
	if out.StatusCode != 200 || !strings.Contains(out.text, "id_token_hint=") {
		t.Errorf("signing out elsewhere: %d %s, want the provider's sign-out with a hint", out.StatusCode, out.text)
	}
	doortest.Eventually(t, func() string {
		if people, err := w.houses[2].Rooms.Participants("mri-2"); err == nil && len(people) > 0 {
			return "who has signed out at another node is in the room still"
		}
		return ""
	})
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %s, want a second at most", took)
	}
	old := &http.Cookie{Name: "sightline", Value: cookie}
	for i := range w.houses {
		w.at(i, b)
		if res := b.ask("GET", "/api/rooms", "", "Cookie", old.String()); res.StatusCode != 401 {
			t.Errorf("node %d: the cookie is answered %d after signing out, want 401", i, res.StatusCode)
		}
	}
	w.houses[1].Audit.Await(t, audit.SignedOut, 1)
}

func TestSignInIsRenewedAtAnotherNode(t *testing.T) {
	w := found(t, 2, func(o *doortest.Options) { o.Auth.OIDC.Session = opt.Duration(5 * time.Second) })
	b := w.browser()
	w.at(0, b).signIn("anna", "/")
	first := b.me("").Who
	enter := b.ask("POST", "/api/rooms/mri-2/participants", `{"name": "Anna"}`)
	if first == nil || enter.StatusCode != 201 {
		t.Fatalf("%+v, %d", first, enter.StatusCode)
	}
	id := w.houses[0].Audit.Await(t, audit.SignedIn, 1)[0].Who
	lease := w.houses[0].Auth.Keep(auth.Identity{Name: id.Name, Kind: auth.Person, ID: id.ID, Expires: *first.Expires})
	defer lease.Release()
	time.Sleep(time.Second) // its end is later by that
	w.at(1, b).signIn("anna", "/")
	second := b.me("").Who
	if second == nil || !second.Expires.After(*first.Expires) {
		t.Fatalf("%+v, then %+v", first, second)
	}
	w.at(0, b)
	if again := b.me("").Who; again == nil || !again.Expires.Equal(*second.Expires) {
		t.Errorf("the first node says %+v, want until %s", again, second.Expires)
	}
	for i, h := range w.houses {
		if n := h.door.Snapshot().Sessions; n != 1 {
			t.Errorf("node %d knows %d sessions, want one that was renewed", i, n)
		}
	}
	if people, err := w.houses[0].Rooms.Participants("mri-2"); err != nil || len(people) != 1 {
		t.Errorf("what went on has ended: %v, %v", people, err)
	}
	time.Sleep(time.Until(first.Expires.Add(200 * time.Millisecond)))
	if lease.Err() != nil {
		t.Errorf("what goes on at the first node has ended when it would have without: %v", lease.Err())
	}
}

func TestSignInsOfAPartitionAreFoundOutAfterwards(t *testing.T) {
	w := found(t, 3)
	out, in := w.browser(), w.browser()
	w.at(0, out).signIn("anna", "/")
	w.cut.Store(true)
	w.at(0, in).signIn("bo", "/")
	if res := w.at(0, out).ask("POST", "/auth/logout", ""); res.StatusCode != 200 {
		t.Fatal(res.text)
	}
	w.at(1, in)
	if who := in.me(""); who.Who != nil {
		t.Errorf("behind the partition, me says %+v", who)
	}
	if _, err := w.houses[2].Auth.Revoke(auth.Identity{}, auth.Revocation{Name: "chief"}); err != nil {
		t.Fatal(err)
	}
	w.heal()
	for i, h := range w.houses {
		w.at(i, in)
		if who := in.me(""); who.Who == nil || who.Who.Name != "bo" {
			t.Errorf("node %d: me says %+v, want bo", i, who)
		}
		if n := h.door.Snapshot().Sessions; n != 1 {
			t.Errorf("node %d knows %d sessions, want one: the other has signed out", i, n)
		}
		if n := len(h.Auth.Revocations()); n != 1 {
			t.Errorf("node %d knows %d revocations", i, n)
		}
	}
	chief := w.browser()
	w.to.Store(-1)
	if res := chief.signIn("chief", "/"); res.StatusCode != 403 {
		t.Errorf("who was revoked at one node signs in at another: %d", res.StatusCode)
	}
}

// A browser may be faster than what nodes tell each other.
func TestCookieWaitsForTheNodeWhereItWasMade(t *testing.T) {
	w := found(t, 2)
	known := false
	for range 3 { // on a busy machine it may be told later than a cookie waits
		b := w.browser()
		w.cut.Store(true)
		w.at(0, b).signIn("anna", "/")
		healed := make(chan struct{})
		time.AfterFunc(50*time.Millisecond, func() { w.heal(); close(healed) })
		known = w.at(1, b).me("").Who != nil
		<-healed
		if known {
			break
		}
	}
	if !known {
		t.Error("a cookie that came before what is told of it lets nobody in")
	}
	began := time.Now()
	stranger := w.browser()
	if res := stranger.ask("GET", "/api/rooms", "", "Cookie", "sightline="+auth.NewToken()); res.StatusCode != 401 || time.Since(began) > 2*time.Second {
		t.Errorf("a cookie that nobody has made: %d after %s", res.StatusCode, time.Since(began))
	}
}

func TestSignInNeedsASecretOfAllNodes(t *testing.T) {
	issuer := issuertest.Start(t, people())
	build(t, issuer, nil, func(h *house) {
		if err := h.door.Share(nil, func([]byte) {}); err != nil {
			t.Errorf("the client's secret is one: %v", err)
		}
	})
	public := func(o *doortest.Options) { o.Auth.OIDC.ClientSecret = "" }
	build(t, issuer, public, func(h *house) {
		if err := h.door.Share(nil, func([]byte) {}); err == nil || !strings.Contains(err.Error(), "cluster.secret") {
			t.Errorf("without any: %v, want what would be right", err)
		}
	})
}
