package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/fault"
	"sightline/internal/sdp"
)

const offerText = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\na=setup:actpass\r\n" +
	"a=ice-ufrag:aaaa\r\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa\r\na=rtpmap:111 opus/48000/2\r\n" +
	"a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n"

func trickle(ufrag string) string {
	return "a=ice-ufrag:" + ufrag + "\r\na=ice-pwd:" + strings.Repeat(ufrag[:1], 22) + "\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n" +
		"a=candidate:1 1 udp 2130706431 127.0.0.1 5000 typ host\r\n"
}

// peer is a Session whose ICE credentials change as in RFC 9725, section 4.3.3.
type peer struct {
	mu         sync.Mutex
	generation int
	ufrag      string
	used       map[string]bool
	candidates int
	busy       bool
	single     bool
	refuse     error
	during     func() // called within Patch

	checked, connected chan struct{}
}

func newPeer() *peer {
	return &peer{ufrag: "aaaa", used: map[string]bool{}, checked: make(chan struct{}), connected: make(chan struct{})}
}

func (p *peer) Checked() <-chan struct{}   { return p.checked }
func (p *peer) Connected() <-chan struct{} { return p.connected }

func (p *peer) SDP() []byte { return []byte("v=0\r\n") }

func (p *peer) ETag() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return `"e` + string(rune('0'+p.generation)) + `"`
}

func (p *peer) Patch(f *sdp.Fragment, single bool) ([]byte, error) {
	p.mu.Lock()
	overlap := p.busy
	p.busy = true
	p.mu.Unlock()
	if overlap {
		return nil, errors.New("two at a time")
	}
	if p.during != nil {
		p.during()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = false
	p.single = single
	switch {
	case p.refuse != nil:
		return nil, p.refuse
	case f.Ufrag == p.ufrag:
		p.candidates += len(f.Candidates)
		return nil, nil
	case p.used[f.Ufrag]:
		return nil, fault.New(fault.Precondition, "an older generation")
	}
	p.used[p.ufrag] = true
	p.ufrag = f.Ufrag
	p.generation++
	return []byte("a=ice-ufrag:new\r\n"), nil
}

// A bench is a router with sessions whose peers are fakes. Its lives end with their ctx.
type bench struct {
	*Router
	sessions *Resources
	ended    chan error
}

var (
	errDeleted = errors.New("deleted")
	errDown    = errors.New("shutting down")
	errCrowded = errors.New("crowded out")

	testCauses = Causes{Deleted: errDeleted, ShutDown: errDown, CrowdedOut: errCrowded, Word: func(err error) string { return fmt.Sprint(err) }}
)

func newBench(t *testing.T, c Config) *bench {
	t.Helper()
	c.RateLimit = 0
	log := slog.New(slog.DiscardHandler)
	b := &bench{Router: NewRouter(c, log), sessions: NewResources(c, testCauses, log), ended: make(chan error, 1000)}
	b.sessions.Route(b)
	t.Cleanup(b.sessions.Close)
	return b
}

// create posts an offer and returns the path of the session.
func (b *bench) create(t *testing.T, s Session, more func(*Resource)) string {
	t.Helper()
	offer, err := sdp.Parse([]byte(offerText))
	if err != nil {
		t.Fatal(err)
	}
	resource := Resource{Session: s, Offer: offer, Run: func(ctx context.Context) error {
		<-ctx.Done()
		b.ended <- context.Cause(ctx)
		return context.Cause(ctx)
	}}
	if more != nil {
		more(&resource)
	}
	router := NewRouter(Defaults(), slog.New(slog.DiscardHandler))
	router.POST("/", Handle(func(c *gin.Context) error { return b.sessions.Create(c, resource) }))
	res := do(router, "POST", "http://127.0.0.1/", "")
	if res.StatusCode != 201 {
		t.Fatalf("got %d %s", res.StatusCode, text(t, res))
	}
	path, ok := strings.CutPrefix(res.Header.Get("Location"), "http://127.0.0.1")
	if !ok {
		t.Fatalf("Location: %q", res.Header.Get("Location"))
	}
	return path
}

// Items 1, 2, 18 and 26 of docs/CONFORMANCE.md.
func TestCreatedSessionIsDescribed(t *testing.T) {
	b := newBench(t, Defaults())
	r := NewRouter(Defaults(), slog.New(slog.DiscardHandler))
	r.POST("/", Handle(func(c *gin.Context) error {
		return b.sessions.Create(c, Resource{
			Session: newPeer(),
			Servers: []ICEServer{{URL: "stun:stun.example.org:3478"}, {"turn:turn.example.org?transport=udp", "u", "c"}},
			Links:   []Link{{Rel: "urn:x", URL: `http://localhost/a,b;c"d?e=f<g> h`}},
			Run:     func(ctx context.Context) error { <-ctx.Done(); return nil },
		})
	}))
	seen := map[string]bool{}
	for range 10 {
		res := do(r, "POST", "http://localhost:8080/", "")
		if body := text(t, res); res.StatusCode != 201 || body != "v=0\r\n" || res.Header.Get("Content-Type") != "application/sdp" {
			t.Fatalf("got %d %s %q", res.StatusCode, res.Header.Get("Content-Type"), body)
		}
		location := res.Header.Get("Location")
		id, ok := strings.CutPrefix(location, "http://localhost:8080/sessions/")
		if !ok || len(id) != 43 || seen[id] { // 256 bits in base64url
			t.Errorf("Location: %q", location)
		}
		seen[id] = true
		if got := res.Header.Get("ETag"); got != `"e0"` {
			t.Errorf("ETag: %s", got)
		}
		links := res.Header.Values("Link")
		want := []string{
			`<stun:stun.example.org:3478>; rel="ice-server"`,
			`<turn:turn.example.org?transport=udp>; rel="ice-server"; username="u"; credential="c"; credential-type="password"`,
			`<http://localhost/a%2Cb%3Bc%22d?e=f%3Cg%3E%20h>; rel="urn:x"`,
		}
		if strings.Join(links, "\n") != strings.Join(want, "\n") {
			t.Errorf("Link: %q", links)
		}
	}
}

// Items 28 to 39 and T3, rows 29, 33 to 35, 37 to 39 and 47 of docs/CONFORMANCE.md.
func TestPatch(t *testing.T) {
	const frag = "application/trickle-ice-sdpfrag"
	for _, tt := range []struct {
		name       string
		lenient    bool
		generation int // restarts before
		body       string
		header     []string
		refuse     error
		status     int
		want       map[string]string
	}{
		{name: "item 32: trickle", body: trickle("aaaa"), header: []string{"Content-Type", frag, "If-Match", `"e0"`}, status: 204, want: map[string]string{"ETag": ""}},
		{name: "item 38: trickle with *", body: trickle("aaaa"), header: []string{"Content-Type", frag, "If-Match", `*`}, status: 204},
		{name: `T3: trickle with "*"`, body: trickle("aaaa"), header: []string{"Content-Type", frag, "If-Match", `"*"`}, status: 204},
		{name: "row 34: list", body: trickle("aaaa"), header: []string{"Content-Type", frag, "If-Match", `"a", "e0"`}, status: 204},
		{name: "tag in a header called ETag", body: trickle("aaaa"), header: []string{"Content-Type", frag, "ETag", `"e0"`}, status: 204},
		{name: "Content-Type in other case", body: trickle("aaaa"), header: []string{"Content-Type", "Application/Trickle-ICE-sdpfrag; charset=utf-8", "If-Match", `"e0"`}, status: 204},

		{name: "item 34: restart", body: trickle("bbbb"), header: []string{"Content-Type", frag, "If-Match", `"e0"`}, status: 200, want: map[string]string{"ETag": `"e1"`, "Content-Type": frag}},
		{name: "item 34: restart with *", body: trickle("bbbb"), header: []string{"Content-Type", frag, "If-Match", `*`}, status: 200, want: map[string]string{"ETag": `"e1"`}},
		{name: "item 36: restart refused", body: trickle("bbbb"), header: []string{"Content-Type", frag, "If-Match", `"e0"`}, refuse: fault.New(fault.Unprocessable, "no"), status: 422, want: map[string]string{"ETag": ""}},

		{name: "item 30: no If-Match", body: trickle("aaaa"), header: []string{"Content-Type", frag}, status: 428},
		{name: "item 30: stale", generation: 1, body: trickle("bbbb"), header: []string{"Content-Type", frag, "If-Match", `"e0"`}, status: 412},
		{name: "row 33: weak", body: trickle("aaaa"), header: []string{"Content-Type", frag, "If-Match", `W/"e0"`}, status: 412},
		{name: "row 33: not quoted", body: trickle("aaaa"), header: []string{"Content-Type", frag, "If-Match", `e0`}, status: 400},
		{name: "row 35: * and more", body: trickle("aaaa"), header: []string{"Content-Type", frag, "If-Match", `*, "e0"`}, status: 400},
		{name: "row 47: old credentials and old ETag", generation: 1, body: trickle("aaaa"), header: []string{"Content-Type", frag, "If-Match", `"e0"`}, status: 412},
		{name: "item 38: old credentials and *", generation: 1, body: trickle("aaaa"), header: []string{"Content-Type", frag, "If-Match", `*`}, status: 412},

		{name: "item 28: JSON", body: "{}", header: []string{"Content-Type", "application/json", "If-Match", `"e0"`}, status: 415, want: map[string]string{"Accept-Patch": frag}},
		{name: "item 28: no Content-Type", body: trickle("aaaa"), header: []string{"If-Match", `"e0"`}, status: 415, want: map[string]string{"Accept-Patch": frag}},
		{name: "item 28: an answer", body: "v=0", header: []string{"Content-Type", "application/sdp", "If-Match", `"e0"`}, status: 415},
		{name: "row 37: no pwd", body: "a=ice-ufrag:aaaa\r\n", header: []string{"Content-Type", frag, "If-Match", `"e0"`}, status: 400},
		{name: "item 29: garbage", body: "hello", header: []string{"Content-Type", frag, "If-Match", `"e0"`}, status: 400},
		{name: "empty", header: []string{"Content-Type", frag, "If-Match", `"e0"`}, status: 400},
		{name: "too long", body: strings.Repeat("a=x\r\n", 20000), header: []string{"Content-Type", frag, "If-Match", `"e0"`}, status: 413},

		{name: "item 31: 415 before 428", body: "{}", header: []string{"Content-Type", "application/json"}, status: 415},
		{name: "item 31: 428 before 400", body: "hello", header: []string{"Content-Type", frag}, status: 428},
		{name: "item 31: 412 before 400", body: "hello", header: []string{"Content-Type", frag, "If-Match", `"x"`}, status: 412},
		{name: "item 31: 412 before 413", body: strings.Repeat("a=x\r\n", 20000), header: []string{"Content-Type", frag, "If-Match", `"x"`}, status: 412},

		{name: "lenient: no If-Match, current credentials", lenient: true, body: trickle("aaaa"), header: []string{"Content-Type", frag}, status: 204},
		{name: "lenient: no If-Match, current credentials after a restart", lenient: true, generation: 1, body: trickle("bbbb"), header: []string{"Content-Type", frag}, status: 204},
		{name: "lenient: no restart without If-Match", lenient: true, body: trickle("bbbb"), header: []string{"Content-Type", frag}, status: 428},
		{name: "lenient: no If-Match, old credentials", lenient: true, generation: 1, body: trickle("aaaa"), header: []string{"Content-Type", frag}, status: 428},
		{name: "lenient: stale is stale", lenient: true, body: trickle("aaaa"), header: []string{"Content-Type", frag, "If-Match", `"x"`}, status: 412},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Defaults()
			if tt.lenient {
				c.ETag = ETagLenient
			}
			b := newBench(t, c)
			p := newPeer()
			path := b.create(t, p, nil)
			if tt.generation == 1 {
				if res := do(b, "PATCH", path, trickle("bbbb"), "Content-Type", frag, "If-Match", `"e0"`); res.StatusCode != 200 {
					t.Fatalf("restart: got %d %s", res.StatusCode, text(t, res))
				}
			}
			p.refuse = tt.refuse
			before := p.generation
			res := do(b, "PATCH", path, tt.body, tt.header...)
			body := text(t, res)
			if res.StatusCode != tt.status {
				t.Fatalf("got %d %s, want %d", res.StatusCode, body, tt.status)
			}
			for name, want := range tt.want {
				if got := res.Header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if got := res.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control: %q, want no-store (item 19)", got)
			}
			if tt.status == 428 && !strings.Contains(body, "If-Match") {
				t.Errorf("item 30: the 428 does not say how to ask again: %s", body)
			}
			switch {
			case tt.status == 204 && (body != "" || p.candidates != 1):
				t.Errorf("body %q, %d candidates", body, p.candidates)
			case tt.status == 200 && (!strings.HasPrefix(body, "a=ice-ufrag:") || p.generation != before+1):
				t.Errorf("body %q, generation %d", body, p.generation)
			case tt.status >= 400 && p.generation != before:
				t.Error("a refused request restarted ICE")
			}
			if star := strings.Contains(strings.Join(tt.header, " "), "*"); tt.status < 300 && p.single != star {
				t.Errorf("one candidate only: %t, want %t", p.single, star)
			}
			if tt.status >= 400 && b.sessions.Len() != 1 {
				t.Error("the session has ended")
			}
		})
	}
}

// Item 39, row 46 of docs/CONFORMANCE.md.
func TestPatchesOfASessionTakeTurns(t *testing.T) {
	b := newBench(t, Defaults())
	p := newPeer()
	started, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	p.during = func() { once.Do(func() { close(started); <-release }) }
	path := b.create(t, p, nil)
	var wg sync.WaitGroup
	status := make(chan int, 10)
	patch := func(ufrag, cond string) {
		wg.Go(func() {
			status <- do(b, "PATCH", path, trickle(ufrag), "Content-Type", Fragment, "If-Match", cond).StatusCode
		})
	}
	patch("bbbb", "*")
	<-started
	for range 4 {
		patch("bbbb", `"e0"`) // as it was sent before the restart was answered
	}
	close(release)
	wg.Wait()
	close(status)
	got := map[int]int{}
	for s := range status {
		got[s]++
	}
	if got[200] != 1 || got[412] != 4 {
		t.Errorf("got %v, want one restart and four that came too late", got)
	}
}

// Items 14 and 15, row 30 of docs/CONFORMANCE.md.
func TestDeleteIsAnswered200AgainAndAgain(t *testing.T) {
	b := newBench(t, Defaults())
	path := b.create(t, newPeer(), nil)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if res := do(b, "DELETE", path, "", "If-Match", `"stale"`); res.StatusCode != 200 || res.ContentLength > 0 {
				t.Errorf("got %d", res.StatusCode)
			}
			if n := b.sessions.Len(); n != 0 {
				t.Errorf("%d sessions live after DELETE was answered", n)
			}
		})
	}
	wg.Wait()
	if err := <-b.ended; err != errDeleted {
		t.Errorf("ended by %v", err)
	}
	for method, want := range map[string]int{"DELETE": 200, "PATCH": 404, "GET": 404, "HEAD": 404} {
		if res := do(b, method, path, "", "If-Match", `"e0"`); res.StatusCode != want {
			t.Errorf("%s of what is gone: %d, want %d", method, res.StatusCode, want)
		}
	}
}

// A publisher that was replaced deletes its session late: nothing else may happen by that.
func TestDeleteOfASessionThatEndedByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Defaults())
		end := make(chan struct{})
		path := b.create(t, newPeer(), func(r *Resource) { r.Run = func(context.Context) error { <-end; return errors.New("moved") } })
		other := b.create(t, newPeer(), nil)
		close(end)
		synctest.Wait()
		if n := b.sessions.Len(); n != 1 {
			t.Errorf("%d sessions live, want 1", n)
		}
		res := do(b, "DELETE", path, "")
		if res.StatusCode != 200 || res.Header.Get("Sightline-Ended") != "moved" {
			t.Errorf("got %d and %q, want 200 and why it ended", res.StatusCode, res.Header.Get("Sightline-Ended"))
		}
		if res := do(b, "DELETE", other, ""); res.Header.Get("Sightline-Ended") != "deleted" {
			t.Errorf("the other session: ended by %q, want by this DELETE", res.Header.Get("Sightline-Ended"))
		}
		other = b.create(t, newPeer(), nil)
		if res := do(b, "GET", other, ""); res.StatusCode != 200 {
			t.Errorf("the other session: got %d, want 200", res.StatusCode)
		}
	})
}

func TestTombstonesLastFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Defaults())
		path := b.create(t, newPeer(), nil)
		do(b, "DELETE", path, "")
		time.Sleep(tombstoneAge)
		if res := do(b, "DELETE", path, ""); res.StatusCode != 200 {
			t.Errorf("after five minutes: %d", res.StatusCode)
		}
		time.Sleep(time.Second)
		if res := do(b, "DELETE", path, ""); res.StatusCode != 404 {
			t.Errorf("after more than that: %d, want 404", res.StatusCode)
		}
		do(b, "DELETE", b.create(t, newPeer(), nil), "")
		if n := len(b.sessions.graves); n != 1 {
			t.Errorf("%d tombstones kept, want the new one", n)
		}
	})
}

func TestTombstonesAreBounded(t *testing.T) {
	r := NewResources(Defaults(), testCauses, slog.New(slog.DiscardHandler))
	for i := range tombstoneMax + 100 {
		s := &resource{Resource: Resource{Session: newPeer()}, id: string(rune(i)) + "x", done: make(chan struct{})}
		r.mu.Lock()
		r.census.add(s)
		r.live = map[string]*resource{s.id: s, "other": nil}
		r.mu.Unlock()
		r.bury(s)
	}
	if len(r.graves) != tombstoneMax || len(r.order) != tombstoneMax {
		t.Errorf("%d tombstones in a list of %d, want %d", len(r.graves), len(r.order), tombstoneMax)
	}
}

// Item 24: the URL suffices, but a token that comes along must be right. Item 31: first
// whether there is a session, then who asks.
func TestTokenOfASessionIsCheckedWhenItComesAlong(t *testing.T) {
	b := newBench(t, Defaults())
	path := b.create(t, newPeer(), func(r *Resource) {
		r.Authorize = func(r *http.Request) error {
			if r.Header.Get("Authorization") == "Bearer right" {
				return nil
			}
			return WithHeader(fault.New(fault.Unauthenticated, "no"), "WWW-Authenticate", "Bearer")
		}
	})
	for _, tt := range []struct {
		name, method, path string
		header             []string
		status             int
	}{
		{"PATCH, wrong token before 415", "PATCH", path, []string{"Authorization", "Bearer wrong"}, 401},
		{"PATCH, right token", "PATCH", path, []string{"Authorization", "Bearer right"}, 415},
		{"PATCH, no token", "PATCH", path, nil, 415},
		{"GET, wrong token", "GET", path, []string{"Authorization", "Bearer wrong"}, 401},
		{"item 31: 404 before 401", "DELETE", "/sessions/nosuch", []string{"Authorization", "Bearer wrong"}, 404},
		{"row 29: PATCH", "PATCH", "/sessions/nosuch", nil, 404},
		{"DELETE, wrong token", "DELETE", path, []string{"Authorization", "Bearer wrong"}, 401},
		{"still there", "GET", path, nil, 200},
		{"DELETE, no token", "DELETE", path, nil, 200},
		{"DELETE again, wrong token", "DELETE", path, []string{"Authorization", "Bearer wrong"}, 401},
		{"DELETE again, right token", "DELETE", path, []string{"Authorization", "Bearer right"}, 200},
	} {
		res := do(b, tt.method, tt.path, "", tt.header...)
		if res.StatusCode != tt.status {
			t.Errorf("%s: got %d, want %d", tt.name, res.StatusCode, tt.status)
		}
		if tt.status == 401 && res.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no challenge", tt.name)
		}
	}
}

// Row 29 of docs/CONFORMANCE.md: the answer does not tell how near an id came. Neither does
// its time: sessions are found by a hash, not by comparing ids.
func TestUnknownSessionsAreAllAlike(t *testing.T) {
	b := newBench(t, Defaults())
	known := b.create(t, newPeer(), nil)
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		var first string
		for _, path := range []string{
			known[:len(known)-1], known[:len(known)-1] + "_", known + "x", "/sessions/" + PublicID(), "/sessions/x", "/sessions/%00", "/sessions/..%2f",
		} {
			if path == known {
				continue
			}
			res := do(b, method, path, trickle("aaaa"), "Content-Type", Fragment, "If-Match", `"e0"`)
			body := text(t, res)
			if res.StatusCode != 404 {
				t.Errorf("%s %s: got %d, want 404", method, path, res.StatusCode)
			}
			if first == "" {
				first = body
			}
			if body != first && !strings.Contains(path, "%2f") { // that one is another path
				t.Errorf("%s %s: got %s, want %s as for the others", method, path, body, first)
			}
		}
	}
	if res := do(b, "GET", known, ""); res.StatusCode != 200 {
		t.Errorf("the one that is there: got %d", res.StatusCode)
	}
}

// Items 5 and 10, rows 14 and 15 of docs/CONFORMANCE.md.
func TestOtherMethodsOfASession(t *testing.T) {
	b := newBench(t, Defaults())
	path := b.create(t, newPeer(), nil)
	for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
		res := do(b, method, path, "")
		if body := text(t, res); res.StatusCode != 200 || body != "" {
			t.Errorf("%s: got %d %q", method, res.StatusCode, body)
		}
		if got := res.Header.Get("Accept-Patch"); method == "OPTIONS" && got != Fragment {
			t.Errorf("Accept-Patch: %q", got)
		}
	}
	for _, method := range []string{"POST", "PUT"} {
		res := do(b, method, path, "{}", "Content-Type", "application/json")
		if got := res.Header.Get("Allow"); res.StatusCode != 405 || got != "DELETE, GET, HEAD, OPTIONS, PATCH" {
			t.Errorf("%s: got %d, Allow: %s", method, res.StatusCode, got)
		}
	}
}

// Row 27 of docs/CONFORMANCE.md.
func TestClientThatDidNotWaitGetsNoSession(t *testing.T) {
	b := newBench(t, Defaults())
	r := NewRouter(Defaults(), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	freed := false
	r.POST("/", Handle(func(c *gin.Context) error {
		cancel()
		err := b.sessions.Create(c, Resource{Session: newPeer(), Run: func(context.Context) error { t.Error("it runs"); return nil }})
		freed = err != nil
		return err
	}))
	req, _ := http.NewRequestWithContext(ctx, "POST", "/", nil)
	r.ServeHTTP(&discard{header: http.Header{}}, req)
	if !freed || b.sessions.Len() != 0 {
		t.Errorf("told to free it: %t, %d sessions live", freed, b.sessions.Len())
	}
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// Item 12 of docs/CONFORMANCE.md.
func TestDrainTakesNoMoreAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Defaults())
		path := b.create(t, newPeer(), nil)
		c := gin.CreateTestContextOnly(httptest.NewRecorder(), b.Engine)
		c.Request = httptest.NewRequest("POST", "/", nil)
		if err := b.sessions.Admit(c); err != nil {
			t.Fatal(err)
		}
		b.sessions.Drain()
		err := b.sessions.Admit(c)
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Unavailable || f.RetryAfter <= 0 {
			t.Errorf("while draining: %v", err)
		}
		if !b.sessions.Draining() {
			t.Error("Draining is false")
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.sessions.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait with a session: %v", err)
		}
		go func() {
			time.Sleep(time.Second)
			do(b, "DELETE", path, "")
		}()
		if err := b.sessions.Wait(t.Context()); err != nil {
			t.Errorf("Wait until it is deleted: %v", err)
		}
	})
}

func TestCloseEndsAllAndWaits(t *testing.T) {
	b := newBench(t, Defaults())
	for range 3 {
		b.create(t, newPeer(), nil)
	}
	b.sessions.Close()
	if n := b.sessions.Len(); n != 0 {
		t.Errorf("%d sessions live", n)
	}
	for range 3 {
		if err := <-b.ended; err != errDown {
			t.Errorf("ended by %v", err)
		}
	}
	b.sessions.Close()
}

// Row 31 of docs/CONFORMANCE.md.
func TestDeleteDuringARestart(t *testing.T) {
	b := newBench(t, Defaults())
	p := newPeer()
	started, release := make(chan struct{}), make(chan struct{})
	p.during = func() { close(started); <-release }
	p.refuse = errors.New("closed")
	path := b.create(t, p, nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		if res := do(b, "PATCH", path, trickle("bbbb"), "Content-Type", Fragment, "If-Match", `"e0"`); res.StatusCode != 404 {
			t.Errorf("PATCH: got %d, want 404", res.StatusCode)
		}
	})
	<-started
	if res := do(b, "DELETE", path, ""); res.StatusCode != 200 {
		t.Errorf("DELETE: got %d", res.StatusCode)
	}
	close(release)
	wg.Wait()
}

func TestPanicEndsOneSessionOnly(t *testing.T) {
	b := newBench(t, Defaults())
	other := b.create(t, newPeer(), nil)
	path := b.create(t, newPeer(), func(r *Resource) { r.Run = func(context.Context) error { panic("x") } })
	if res := do(b, "DELETE", path, ""); res.StatusCode != 200 {
		t.Errorf("got %d", res.StatusCode)
	}
	if res := do(b, "GET", other, ""); res.StatusCode != 200 {
		t.Errorf("the other session: got %d", res.StatusCode)
	}
}

// So each node knows whose a session is.
func TestIDsOfSessionsBeginWithTheNodes(t *testing.T) {
	b := newBench(t, Defaults())
	b.sessions.Node("north")
	if path := b.create(t, newPeer(), nil); !strings.HasPrefix(path, "/sessions/north.") {
		t.Errorf("path %q, want the node's id in it", path)
	}
}
