package signin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"
	"github.com/pion/webrtc/v4"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/doortest"
	"sightline/internal/opt"
	"sightline/internal/signin"
	"sightline/internal/signin/issuertest"
	"sightline/rooms/api"
	"sightline/rooms/api/apitest"
	"sightline/whep"
	"sightline/whip"
)

// A house is a gateway where people sign in at a provider.
type house struct {
	*doortest.Gateway
	t      *testing.T
	issuer *issuertest.Issuer
	door   *signin.Door
	doc    *apitest.Description
}

func people() map[string]issuertest.Person {
	return map[string]issuertest.Person{
		"anna":  {"name": "Anna Berg", "roles": []any{"technicians", "staff"}},
		"bo":    {"name": "Bo Ek", "roles": "hospital"},
		"nina":  {"name": "Nina Nobody", "roles": []any{"cooks"}},
		"chief": {"preferred_username": "chief", "roles": map[string]any{"chiefs": map[string]any{"org": "x"}}},
	}
}

type route func(gin.IRouter)

func (r route) Route(router gin.IRouter) { r(router) }

func configure(i *issuertest.Issuer) auth.OIDCConfig {
	c := auth.Defaults().OIDC
	c.Issuer, c.ClientID, c.ClientSecret = i.URL, i.ClientID, i.Secret
	c.Roles = []auth.OIDCRole{
		{Value: "technicians", Role: "technician", Scopes: []auth.Scope{auth.Publish, auth.Play, auth.Read, auth.Speak}, Rooms: []string{"mri-*"}},
		{Value: "hospital", Role: "hospital", Scopes: []auth.Scope{auth.Publish, auth.Play, auth.Read, auth.Speak}, Rooms: []string{"mri-*"}},
		{Value: "chiefs", Scopes: auth.Scopes()},
	}
	return c
}

// build opens the house. change may be nil; before it opens, each is called.
func build(t *testing.T, i *issuertest.Issuer, change func(*doortest.Options), before ...func(*house)) *house {
	t.Helper()
	h := &house{t: t, issuer: i, doc: apitest.Load(t, api.Description)}
	var o doortest.Options
	set := func(given *doortest.Options) {
		given.Auth.OIDC = configure(i)
		if change != nil {
			change(given)
		}
		o = *given
	}
	h.Gateway = doortest.Start(t, set,
		func(g *doortest.Gateway) doortest.Door {
			door, err := signin.New(o.Auth.OIDC, o.HTTP, g.Auth, g.Audit, g.Log)
			if err != nil {
				t.Fatal(err)
			}
			h.Gateway, h.door = g, door
			for _, f := range before {
				f(h)
			}
			return door
		},
		func(g *doortest.Gateway) doortest.Door {
			return whip.New(g.Rooms, g.Peers, g.Auth, g.Sessions, g.Audit, g.Log)
		},
		func(g *doortest.Gateway) doortest.Door {
			return whep.New(g.Rooms, g.Bridge, g.Peers, g.Auth, g.Sessions, g.Audit, g.Log)
		},
		func(g *doortest.Gateway) doortest.Door {
			a := api.New(api.Defaults(), g.Rooms, g.Auth, g.Bridge, g.Audit)
			t.Cleanup(a.Close)
			return route(a.Register)
		},
	)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- h.door.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h
}

// open is build, once the provider has been found.
func open(t *testing.T, change func(*doortest.Options)) *house {
	t.Helper()
	h := build(t, issuertest.Start(t, people()), change)
	h.found()
	return h
}

func (h *house) found() {
	h.t.Helper()
	doortest.Eventually(h.t, func() string {
		if !h.door.Snapshot().Ready {
			return "the provider has not been found"
		}
		return ""
	})
}

// A browser keeps cookies, follows redirects, and says where its requests come from.
type browser struct {
	h      *house
	client *http.Client
	site   string // Sec-Fetch-Site of what it asks
}

func (h *house) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	transport := &http.Transport{}
	h.t.Cleanup(transport.CloseIdleConnections)
	return &browser{h, &http.Client{Jar: jar, Transport: transport, Timeout: 20 * time.Second}, "same-origin"}
}

type page struct {
	*http.Response
	text string
}

func (b *browser) ask(method, target, body string, header ...string) page {
	b.h.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = b.h.URL + target
	}
	req, err := http.NewRequestWithContext(b.h.t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		b.h.t.Fatal(err)
	}
	if b.site != "" {
		req.Header.Set("Sec-Fetch-Site", b.site)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := b.client.Do(req)
	if err != nil {
		b.h.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.h.t.Fatal(err)
	}
	return page{res, string(text)}
}

// signIn goes to the provider as somebody, and comes back.
func (b *browser) signIn(sub, to string) page {
	b.h.t.Helper()
	b.h.issuer.Is(sub)
	before := b.site
	b.site = ""
	defer func() { b.site = before }()
	return b.ask("GET", "/auth/login?return="+url.QueryEscape(to), "")
}

type who struct {
	SignIn, Open bool
	Who          *struct {
		Name, Label, Kind, Role string
		Expires                 *time.Time
	}
	Scopes []string
}

func (b *browser) me(query string) (w who) {
	b.h.t.Helper()
	res := b.ask("GET", "/auth/me"+query, "")
	b.h.doc.Check(b.h.t, "/auth/me", res.Response, []byte(res.text))
	if err := json.Unmarshal([]byte(res.text), &w); err != nil {
		b.h.t.Fatalf("%s: %v", res.text, err)
	}
	return w
}

func TestWhoSignsInComesBackAndMayWhatHisRoleMay(t *testing.T) {
	h := open(t, nil)
	b := h.browser()
	if w := b.me(""); !w.SignIn || w.Open || w.Who != nil {
		t.Errorf("before, me says %+v", w)
	}
	const enter, body = "/api/rooms/mri-2/participants", `{"name": "Anna"}`
	if res := b.ask("POST", enter, body); res.StatusCode != 401 {
		t.Errorf("before, entering is answered %d, want 401", res.StatusCode)
	}
	res := b.signIn("anna", "/api/rooms?x=1")
	if res.Request.URL.Path != "/api/rooms" || res.Request.URL.RawQuery != "x=1" {
		t.Errorf("landed at %s", res.Request.URL)
	}
	w := b.me("?room=mri-2")
	if w.Who == nil || w.Who.Name != "anna" || w.Who.Label != "Anna Berg" || w.Who.Kind != "person" || w.Who.Role != "technician" || w.Who.Expires == nil || len(w.Scopes) != 4 {
		t.Fatalf("me says %+v", w)
	}
	if left := time.Until(*w.Who.Expires); left < 9*time.Hour || left > 10*time.Hour {
		t.Errorf("signed in for %s, want 10 h", left)
	}
	if w := b.me("?room=ct-1"); len(w.Scopes) != 0 {
		t.Errorf("in another room she may %q", w.Scopes)
	}
	if res := b.ask("POST", enter, body); res.StatusCode != 201 || !strings.Contains(res.text, `"role":"technician"`) {
		t.Errorf("entering is answered %d %s", res.StatusCode, res.text)
	}
	if res := b.ask("POST", enter, `{"name": "Anna", "role": "hospital"}`); res.StatusCode != 403 {
		t.Errorf("entering as another is answered %d, want 403", res.StatusCode)
	}
	if res := b.ask("GET", "/api/rooms/ct-1", ""); res.StatusCode != 403 {
		t.Errorf("another room is answered %d, want 403", res.StatusCode)
	}
	// A token that comes along counts, and the cookie doesn't.
	if res := b.ask("GET", "/api/rooms", "", "Authorization", "Bearer x"); res.StatusCode != 401 {
		t.Errorf("a wrong token beside the cookie is answered %d, want 401", res.StatusCode)
	}
	in := h.Audit.Await(t, audit.SignedIn, 1)[0]
	if in.Name != "anna" || in.Kind != "person" || in.ID == "" || in.Called != "Anna Berg" || in.Address == "" {
		t.Errorf("the audit log has %+v", in)
	}

	// Each way in which providers say roles.
	for sub, role := range map[string]string{"bo": "hospital", "chief": ""} {
		b := h.browser()
		b.signIn(sub, "/")
		if w := b.me("?room=mri-2"); w.Who == nil || w.Who.Role != role {
			t.Errorf("%s: me says %+v, want role %q", sub, w, role)
		}
	}
	if s := h.door.Snapshot(); s.Sessions != 3 || s.SignedIn != 3 || s.Refused+s.Failed != 0 {
		t.Errorf("the snapshot is %+v", s)
	}
}

func TestWhoIsNotMeantIsToldSo(t *testing.T) {
	h := open(t, nil)
	for sub, words := range map[string]string{"nina": "nothing here is for you", "stranger": "has not let you in (access_denied)"} {
		b := h.browser()
		res := b.signIn(sub, "/mri-2")
		if res.StatusCode != 403 || !strings.Contains(res.text, words) || !strings.Contains(res.text, "Sign in again") {
			t.Errorf("%s: got %d %s, want 403 and words of %q", sub, res.StatusCode, res.text, words)
		}
		if w := b.me(""); w.Who != nil {
			t.Errorf("%s is signed in: %+v", sub, w)
		}
	}
	if _, err := h.Auth.Revoke(auth.Identity{}, auth.Revocation{Name: "anna"}); err != nil {
		t.Fatal(err)
	}
	if res := h.browser().signIn("anna", "/"); res.StatusCode != 403 || !strings.Contains(res.text, "revoked") {
		t.Errorf("who was revoked: got %d %s", res.StatusCode, res.text)
	}
	if got := h.Audit.Await(t, audit.Refused, 3); got[0].Request != "GET /auth/callback" {
		t.Errorf("the audit log has %+v", got)
	}
}

// OpenID Connect Core, section 3.1.3.7.
func TestIDTokensThatCannotBeTrustedLetNobodyIn(t *testing.T) {
	h := open(t, nil)
	for name, spoil := range map[string]func(jwt.MapClaims){
		"another nonce":    func(c jwt.MapClaims) { c["nonce"] = "x" },
		"no nonce":         func(c jwt.MapClaims) { delete(c, "nonce") },
		"another audience": func(c jwt.MapClaims) { c["aud"] = "x" },
		"another party":    func(c jwt.MapClaims) { c["azp"] = "x" },
		"two audiences":    func(c jwt.MapClaims) { c["aud"] = []string{"sightline", "x"} },
		"another issuer":   func(c jwt.MapClaims) { c["iss"] = "https://x" },
		"expired":          func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Minute).Unix() },
		"no sub":           func(c jwt.MapClaims) { delete(c, "sub") },
		"another at_hash":  func(c jwt.MapClaims) { c["at_hash"] = "eHh4eHh4eHh4eHh4eHh4eA" },
		"no name":          func(c jwt.MapClaims) { c["sub"] = "x\ny" },
	} {
		h.issuer.Spoil(spoil)
		b := h.browser()
		if res := b.signIn("anna", "/"); res.StatusCode != 503 && res.StatusCode != 403 {
			t.Errorf("%s: got %d %s", name, res.StatusCode, res.text)
		}
		if w := b.me(""); w.Who != nil {
			t.Errorf("%s: signed in as %+v", name, w.Who)
		}
	}
	h.issuer.Spoil(nil)
	b := h.browser()
	if b.signIn("anna", "/"); b.me("").Who == nil {
		t.Error("an ID token as it should be lets nobody in")
	}
}

func TestAnswersThatWereNotAskedForAreRefused(t *testing.T) {
	h := open(t, nil)
	h.issuer.Is("anna")
	// begun goes to the provider and stops before the way back, which it returns.
	begun := func(b *browser) *url.URL {
		t.Helper()
		b.client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
			if r.URL.Path == "/auth/callback" {
				return http.ErrUseLastResponse
			}
			return nil
		}
		back, err := b.ask("GET", "/auth/login", "").Location()
		if err != nil {
			t.Fatal(err)
		}
		return back
	}
	with := func(u *url.URL, name, value string) string {
		q := u.Query()
		q.Set(name, value)
		return u.Path + "?" + q.Encode()
	}
	for _, tt := range []struct {
		name string
		ask  func(b *browser, back *url.URL) page
	}{
		{"another state", func(b *browser, back *url.URL) page { return b.ask("GET", with(back, "state", "x"), "") }},
		{"no state", func(b *browser, back *url.URL) page { return b.ask("GET", "/auth/callback?code=x", "") }},
		{"another browser", func(_ *browser, back *url.URL) page { return h.browser().ask("GET", back.RequestURI(), "") }},
		{"another issuer (RFC 9207)", func(b *browser, back *url.URL) page { return b.ask("GET", with(back, "iss", "https://x"), "") }},
		{"no code", func(b *browser, back *url.URL) page { return b.ask("GET", with(back, "code", ""), "") }},
		{"another code", func(b *browser, back *url.URL) page { return b.ask("GET", with(back, "code", "x"), "") }},
	} {
		b := h.browser()
		back := begun(b)
		if res := tt.ask(b, back); res.StatusCode != 400 || len(res.Cookies()) > 0 && res.Cookies()[0].Name == "sightline" {
			t.Errorf("%s: got %d, want 400: %s", tt.name, res.StatusCode, res.text)
		}
	}
	b := h.browser()
	back := begun(b)
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if res := b.ask("GET", back.RequestURI(), ""); res.StatusCode != 303 {
		t.Fatalf("the right answer: got %d %s", res.StatusCode, res.text)
	}
	if res := b.ask("GET", back.RequestURI(), ""); res.StatusCode != 400 {
		t.Errorf("the right answer, again: got %d, want 400", res.StatusCode)
	}
}

// Who runs the gateway finds in its log why nobody can sign in.
func TestTheLogSaysWhySignInFails(t *testing.T) {
	for name, tt := range map[string]struct {
		sub   string
		spoil func(*doortest.Options)
		says  string
	}{
		"a wrong secret":  {"anna", func(o *doortest.Options) { o.Auth.OIDC.ClientSecret = "wrong" }, "invalid_client"},
		"no role":         {"nina", func(*doortest.Options) {}, "nothing here is for you"},
		"no answer":       {"anna", nil, "503 Service Unavailable"},
		"no such session": {"", func(*doortest.Options) {}, "not begun in this browser"},
	} {
		var log lines
		away := tt.spoil == nil
		h := open(t, func(o *doortest.Options) {
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
			if !away {
				tt.spoil(o)
			}
		})
		b := h.browser()
		if tt.sub == "" {
			b.ask("GET", "/auth/callback?code=x&state=y", "")
		} else {
			b.client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
				if r.URL.Path == "/auth/callback" {
					h.issuer.Away(away)
				}
				return nil
			}
			b.signIn(tt.sub, "/")
		}
		if text := log.String(); !strings.Contains(text, "sign-in") || !strings.Contains(text, tt.says) {
			t.Errorf("%s: the log does not say %q: %s", name, tt.says, text)
		}
		if e := h.Audit.Await(t, audit.Refused, 1)[0]; e.Request != "GET /auth/callback" || e.Address == "" || e.Detail == "" {
			t.Errorf("%s: the audit log has %+v", name, e)
		}
	}
}

// A 401 has a challenge, be it a page (RFC 9110, section 15.5.2).
func TestAPageThatIsNotForStrangersHasAChallenge(t *testing.T) {
	h := open(t, nil)
	if res := h.browser().ask("GET", "/auth/done", ""); res.StatusCode != 401 || !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Bearer realm=") {
		t.Errorf("got %d with %q", res.StatusCode, res.Header.Get("WWW-Authenticate"))
	}
}

// Each answer has the provider asked: who makes them up has to wait.
func TestWhoComesBackTooOftenHasToWait(t *testing.T) {
	h := open(t, func(o *doortest.Options) { o.HTTP.RateLimit, o.HTTP.RateBurst = 0.01, 3 })
	b := h.browser()
	for range 3 {
		if res := b.ask("GET", "/auth/callback?code=x&state=y", ""); res.StatusCode != 400 {
			t.Fatalf("got %d %s", res.StatusCode, res.text)
		}
	}
	if res := b.ask("GET", "/auth/callback?code=x&state=y", ""); res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("the fourth time: got %d %s", res.StatusCode, res.text)
	}
	if n := h.Router.Refusals()["http.rate_limit"]; n != 1 {
		t.Errorf("%d are counted, want 1", n)
	}
}

func TestLinksLeadNowhereElse(t *testing.T) {
	h := open(t, nil)
	b := h.browser()
	for _, to := range []string{
		"https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "evil", "javascript:alert(1)", "/a//evil", "/x#token=y",
		"/\tx", "/auth/login", "/auth/callback", "/" + strings.Repeat("x", 2000), "/%0d%0aX: y/../z", "http:/x",
	} {
		if res := b.ask("GET", "/auth/login?return="+url.QueryEscape(to), ""); res.StatusCode != 400 {
			t.Errorf("return=%q: got %d at %s, want 400", to, res.StatusCode, res.Request.URL)
		}
	}
	if res := b.ask("GET", "/auth/login?return=/a&return=/b", ""); res.StatusCode != 400 {
		t.Errorf("two returns: got %d, want 400", res.StatusCode)
	}
}

// Another page has the browser's cookie sent along, where the browser lets it, and gets nothing.
func TestOtherPagesChangeNothing(t *testing.T) {
	h := open(t, nil)
	b := h.browser()
	b.signIn("chief", "/")
	enter := func(header ...string) int {
		t.Helper()
		return b.ask("POST", "/api/rooms/mri-2/participants", `{"name": "x"}`, header...).StatusCode
	}
	for _, tt := range []struct {
		name string
		want int
		how  []string
	}{
		{"our page", 201, []string{"Sec-Fetch-Site", "same-origin", "Origin", h.URL}},
		{"our page, in a browser without Sec-Fetch-Site", 201, []string{"Origin", h.URL}},
		{"another page", 403, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}},
		{"another page, in a browser without Sec-Fetch-Site", 403, []string{"Origin", "https://evil.example"}},
		{"a page of a neighbour's host", 403, []string{"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:1"}},
		{"a page in a sandbox", 403, []string{"Sec-Fetch-Site", "cross-site", "Origin", "null"}},
		{"nobody says which", 403, nil},
	} {
		b.site = ""
		if got := enter(tt.how...); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
	for _, target := range []string{"/api/rooms", "/api/rooms/mri-2/events", "/auth/me"} {
		res := b.ask("GET", target, "", "Sec-Fetch-Site", "cross-site")
		if res.StatusCode != 403 || res.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("GET %s from another page: got %d, want 403", target, res.StatusCode)
		}
	}
	if res := b.ask("POST", "/auth/logout", "", "Sec-Fetch-Site", "cross-site"); res.StatusCode != 403 {
		t.Errorf("signing out from another page: got %d, want 403", res.StatusCode)
	}
	b.site = "same-origin"
	if w := b.me(""); w.Who == nil {
		t.Error("another page has signed him out")
	}
}

func TestCookiesGoByHTTPSAloneWhereBrowsersDo(t *testing.T) {
	for public, secure := range map[string]bool{"": false, "https://media.example.org": true} {
		h := open(t, func(o *doortest.Options) { o.HTTP.PublicURL = public })
		b := h.browser()
		b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		res := b.ask("GET", "/auth/login", "")
		if len(res.Cookies()) != 1 {
			t.Fatalf("%q: %d cookies", public, len(res.Cookies()))
		}
		c := res.Cookies()[0]
		if c.Secure != secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || strings.HasPrefix(c.Name, "__Host-") != secure {
			t.Errorf("%q: the cookie is %s", public, c)
		}
		// The session's, by the same browser, which has to be told that this is https.
		issuerURL, err := res.Location()
		if err != nil {
			t.Fatal(err)
		}
		h.issuer.Is("anna")
		back, err := b.ask("GET", issuerURL.String(), "").Location()
		if err != nil {
			t.Fatal(err)
		}
		if want := public; want != "" && !strings.HasPrefix(back.String(), want+"/auth/callback?") {
			t.Errorf("the provider leads to %s", back)
		}
		res = b.ask("GET", back.RequestURI(), "", "Cookie", c.Name+"="+c.Value)
		var found *http.Cookie
		for _, c := range res.Cookies() {
			if strings.HasSuffix(c.Name, "sightline") {
				found = c
			}
		}
		if found == nil {
			t.Fatalf("%q: no cookie: %d %s", public, res.StatusCode, res.text)
		}
		if found.Secure != secure || !found.HttpOnly || found.SameSite != http.SameSiteLaxMode || found.Path != "/" || found.Domain != "" ||
			strings.HasPrefix(found.Name, "__Host-") != secure || found.MaxAge != 0 || len(found.Value) != 43 {
			t.Errorf("%q: the cookie is %s", public, found)
		}
	}
}

// watch follows a room's events with the browser's cookie, and returns its lines.
func (b *browser) watch(room string) <-chan string {
	b.h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", b.h.URL+"/api/rooms/"+room+"/events", nil)
	if err != nil {
		b.h.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	client := *b.client
	client.Timeout = 0
	res, err := client.Do(req)
	if err != nil {
		b.h.t.Fatal(err)
	}
	if res.StatusCode != 200 {
		b.h.t.Fatalf("events: %d", res.StatusCode)
	}
	lines := make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(lines)
		defer res.Body.Close()
		for s := bufio.NewScanner(res.Body); s.Scan(); {
			select {
			case lines <- s.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	b.h.t.Cleanup(func() {
		cancel()
		<-done
	})
	return lines
}

// ends waits until the lines end, and returns them. It fails after limit.
func ends(t *testing.T, lines <-chan string, limit time.Duration) (all []string) {
	t.Helper()
	timer := time.After(limit)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return all
			}
			all = append(all, line)
		case <-timer:
			t.Fatalf("the event stream goes on after %s", limit)
		}
	}
}

// begin is all that goes on for somebody: a stream of events, a participant, a session that
// publishes and one that plays. It returns the participant's URL.
func (b *browser) begin(t *testing.T) (lines <-chan string, participant string, publisher, viewer *doortest.Peer) {
	t.Helper()
	site, err := url.Parse(b.h.URL)
	if err != nil {
		t.Fatal(err)
	}
	var cookies []string
	for _, c := range b.client.Jar.Cookies(site) {
		cookies = append(cookies, c.String())
	}
	header := []string{"Cookie", strings.Join(cookies, "; "), "Sec-Fetch-Site", "same-origin"}
	lines = b.watch("mri-2")
	res := b.ask("POST", "/api/rooms/mri-2/participants", `{"name": "Anna"}`)
	if res.StatusCode != 201 {
		t.Fatalf("entering: %d %s", res.StatusCode, res.text)
	}
	publisher, viewer = doortest.NewPeer(t), doortest.NewPeer(t)
	publisher.Send(t, func(string) []byte { return []byte{0xfc, 1, 2, 3} }, webrtc.MimeTypeOpus)
	publisher.Connect(t, b.h.Gateway, "/whip/mri-2/desk", header...)
	doortest.Publish(t, b.h.Gateway, "mri-2", "console", doortest.VP8)
	viewer.Receive(t, webrtc.RTPCodecTypeVideo)
	viewer.Connect(t, b.h.Gateway, "/whep/mri-2/console/video", header...)
	b.h.Audit.Await(t, audit.Published, 1) // to the gateway, too, they are connected
	b.h.Audit.Await(t, audit.Watched, 1)
	return lines, res.Header.Get("Location"), publisher, viewer
}

func (b *browser) gone(t *testing.T, participant string) {
	t.Helper()
	doortest.Eventually(t, func() string {
		if res := b.ask("PATCH", participant, "{}"); res.StatusCode != 404 {
			return fmt.Sprintf("the participant is still there: %d", res.StatusCode)
		}
		return ""
	})
}

func TestSigningOutEndsAllThatGoesOn(t *testing.T) {
	h := open(t, nil)
	b, other := h.browser(), h.browser()
	b.signIn("anna", "/")
	other.signIn("anna", "/")
	staying := other.watch("mri-2")
	lines, participant, publisher, viewer := b.begin(t)
	began := time.Now()
	res := b.ask("POST", "/auth/logout", "")
	h.doc.Check(t, "/auth/logout", res.Response, []byte(res.text))
	var out struct{ URL string }
	if err := json.Unmarshal([]byte(res.text), &out); err != nil || res.StatusCode != 200 {
		t.Fatalf("signing out: %d %s %v", res.StatusCode, res.text, err)
	}
	told := strings.Join(ends(t, lines, 5*time.Second), "\n")
	publisher.WaitClosed(t)
	viewer.WaitClosed(t)
	b.gone(t, participant)
	t.Logf("all had ended %s after signing out", time.Since(began).Round(time.Millisecond))
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s, want at most 5 s", took)
	}
	if !strings.Contains(told, "session-ending") || !strings.Contains(told, "revoked") {
		t.Errorf("the room was not told: %s", told)
	}
	if w := b.me(""); w.Who != nil {
		t.Errorf("afterwards, me says %+v", w)
	}
	select {
	case _, ok := <-staying:
		if !ok {
			t.Error("his other browser was signed out, too")
		}
	case <-time.After(10 * time.Second):
		t.Error("his other browser hears nothing")
	}
	h.Audit.Await(t, audit.SignedOut, 1)

	// The provider's session ends, too, and it leads back here.
	if landed := b.ask("GET", out.URL, ""); landed.Request.URL.String() != h.URL+"/" {
		t.Errorf("the provider leads to %s", landed.Request.URL)
	}
	if q := h.issuer.Ended(); len(q) != 1 || q[0].Get("client_id") != "sightline" || q[0].Get("id_token_hint") == "" {
		t.Errorf("the provider was told %v", q)
	}
	if res := b.ask("POST", "/auth/logout", ""); res.StatusCode != 200 || !strings.Contains(res.text, h.URL+"/") {
		t.Errorf("signing out twice: %d %s", res.StatusCode, res.text)
	}
}

// fragment is a PATCH that changes nothing: the offer's own credentials.
func fragment(p *doortest.Peer) string {
	var out strings.Builder
	for line := range strings.Lines(p.LocalDescription().SDP) {
		if strings.HasPrefix(line, "a=ice-ufrag:") || strings.HasPrefix(line, "a=ice-pwd:") {
			out.WriteString(line)
			if strings.Count(out.String(), "\n") == 2 {
				break
			}
		}
	}
	return out.String()
}

func TestAllEndsWithTheSessionUnlessOneSignsInAgain(t *testing.T) {
	h := open(t, func(o *doortest.Options) {
		o.Auth.OIDC.Session, o.Auth.Warning = opt.Duration(4*time.Second), opt.Duration(3*time.Second)
	})
	b := h.browser()
	b.signIn("anna", "/")
	lines, participant, publisher, viewer := b.begin(t)
	first := b.me("").Who.Expires
	doortest.Eventually(t, func() string { // the warning
		for {
			select {
			case line := <-lines:
				if strings.Contains(line, "session-ending") && strings.Contains(line, "expired") {
					return ""
				}
			default:
				return "nobody is warned"
			}
		}
	})
	if res := b.signIn("anna", "/auth/done"); res.StatusCode != 200 || !strings.Contains(res.text, "signed in as Anna Berg") {
		t.Fatalf("signing in again: %d %s", res.StatusCode, res.text)
	}
	second := b.me("").Who.Expires
	if !second.After(*first) {
		t.Fatalf("signed in until %s, then until %s", first, second)
	}
	time.Sleep(time.Until(first.Add(500 * time.Millisecond))) // past the first end, before the second
	select {
	case <-publisher.Closed():
		t.Error("who signed in again publishes no more")
	case <-viewer.Closed():
		t.Error("who signed in again sees no more")
	default:
	}
	if res := b.ask("PATCH", participant, "{}"); res.StatusCode != 200 {
		t.Errorf("who signed in again is not in the room: %d", res.StatusCode)
	}
	// His page trickles on, with the cookie that it has by now.
	for _, p := range []*doortest.Peer{publisher, viewer} {
		if res := b.ask("PATCH", p.Session, fragment(p), "Content-Type", "application/trickle-ice-sdpfrag", "If-Match", p.ETag); res.StatusCode != 204 {
			t.Errorf("PATCH of a session after signing in again: got %d %s, want 204", res.StatusCode, res.text)
		}
	}
	ends(t, lines, time.Until(second.Add(5*time.Second)))
	publisher.WaitClosed(t)
	viewer.WaitClosed(t)
	b.gone(t, participant)
	if late := time.Since(*second); late > 5*time.Second || late < 0 {
		t.Errorf("all had ended %s after the end, want at most 5 s", late)
	}
	if res := b.ask("GET", "/api/rooms", ""); res.StatusCode != 401 || !strings.Contains(res.text, "sign in again") {
		t.Errorf("afterwards: %d %s", res.StatusCode, res.text)
	}
	if len(h.Audit.Events(audit.SignedIn)) != 2 {
		t.Error("signing in again is not in the audit log")
	}
}

func TestAnotherRoleOrPersonIsAnotherSession(t *testing.T) {
	h := open(t, nil)
	b := h.browser()
	b.signIn("anna", "/")
	lines := b.watch("mri-2")
	h.issuer.Change("anna", issuertest.Person{"roles": "hospital"})
	b.signIn("anna", "/")
	ends(t, lines, 5*time.Second)
	if w := b.me("?room=mri-2"); w.Who.Role != "hospital" {
		t.Errorf("me says %+v", w.Who)
	}
	lines = b.watch("mri-2")
	b.signIn("bo", "/")
	ends(t, lines, 5*time.Second)
	if n := h.door.Snapshot().Sessions; n != 1 {
		t.Errorf("%d sessions of one browser", n)
	}
	// One who was revoked and may come again has a session that counts.
	id := h.Audit.Events(audit.SignedIn)[2].ID
	if _, err := h.Auth.Revoke(auth.Identity{}, auth.Revocation{JTI: id}); err != nil {
		t.Fatal(err)
	}
	if res := b.ask("GET", "/api/rooms", ""); res.StatusCode != 401 {
		t.Errorf("a revoked session: got %d, want 401", res.StatusCode)
	}
	b.signIn("bo", "/")
	if res := b.ask("GET", "/api/rooms", ""); res.StatusCode != 200 {
		t.Errorf("signed in again after the revocation of a session: got %d, want 200", res.StatusCode)
	}
}

func TestGatewayRunsWhileTheProviderIsAway(t *testing.T) {
	i := issuertest.Start(t, people())
	i.Away(true)
	h := build(t, i, func(o *doortest.Options) {
		o.Auth.Tokens = []auth.Token{{Name: "camera", SHA256: auth.HashToken("camera"), Scopes: auth.Scopes()}}
	})
	b := h.browser()
	if res := b.ask("GET", "/auth/login", ""); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || !strings.Contains(res.text, "does not answer") {
		t.Errorf("signing in: %d %s", res.StatusCode, res.text)
	}
	if res := b.ask("GET", "/api/rooms", "", "Authorization", "Bearer camera"); res.StatusCode != 200 {
		t.Errorf("a token: %d", res.StatusCode)
	}
	if res := b.ask("GET", "/api/rooms", ""); res.StatusCode != 401 {
		t.Errorf("nobody: %d, want 401", res.StatusCode)
	}
	if w := b.me(""); !w.SignIn || w.Open {
		t.Errorf("me says %+v", w)
	}
	i.Away(false)
	h.found()
	if b.signIn("anna", "/"); b.me("").Who == nil {
		t.Error("nobody can sign in when the provider is back")
	}
	// One who is signed in doesn't need it.
	i.Away(true)
	if res := b.ask("GET", "/api/rooms", ""); res.StatusCode != 200 {
		t.Errorf("signed in while the provider is away: %d", res.StatusCode)
	}
	if res := h.browser().signIn("anna", "/"); res.StatusCode != 503 {
		t.Errorf("the provider has gone again: %d", res.StatusCode)
	}
}

func TestNoMorePeopleThanTheLimit(t *testing.T) {
	h := open(t, func(o *doortest.Options) { o.Auth.OIDC.MaxSessions = 1 })
	h.browser().signIn("anna", "/")
	res := h.browser().signIn("bo", "/")
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || !strings.Contains(res.text, "auth.oidc.max_sessions") {
		t.Errorf("the second: %d %s", res.StatusCode, res.text)
	}
	if n := h.Router.Refusals()["auth.oidc.max_sessions"]; n != 1 {
		t.Errorf("%d are counted, want 1", n)
	}
}

func TestProvidersDiffer(t *testing.T) {
	t.Run("keys change", func(t *testing.T) {
		h := open(t, nil)
		h.browser().signIn("anna", "/")
		h.issuer.Rotate(t)
		b := h.browser()
		if res := b.signIn("anna", "/"); b.me("").Who == nil {
			t.Errorf("with a new key: %d %s", res.StatusCode, res.text)
		}
	})
	t.Run("roles in UserInfo", func(t *testing.T) {
		h := open(t, nil)
		h.issuer.OnlyUserInfo()
		b := h.browser()
		if res := b.signIn("anna", "/"); b.me("?room=mri-2").Who == nil {
			t.Errorf("%d %s", res.StatusCode, res.text)
		}
	})
	t.Run("a public client", func(t *testing.T) {
		i := issuertest.Start(t, people())
		i.Secret = ""
		h := build(t, i, nil)
		h.found()
		b := h.browser()
		if res := b.signIn("anna", "/"); b.me("").Who == nil {
			t.Errorf("%d %s", res.StatusCode, res.text)
		}
	})
	t.Run("a wrong secret", func(t *testing.T) {
		h := open(t, func(o *doortest.Options) { o.Auth.OIDC.ClientSecret = "x" })
		if res := h.browser().signIn("anna", "/"); res.StatusCode != 503 || !strings.Contains(res.text, "invalid_client") {
			t.Errorf("%d %s", res.StatusCode, res.text)
		}
	})
	t.Run("an authority of its own", func(t *testing.T) {
		i, ca := issuertest.StartTLS(t, people())
		h := build(t, i, func(o *doortest.Options) { o.Auth.OIDC.CAFile = ca })
		h.found()
	})
	t.Run("nested roles and names", func(t *testing.T) {
		h := open(t, func(o *doortest.Options) {
			o.Auth.OIDC.RoleClaim, o.Auth.OIDC.NameClaim = "realm_access.roles", "email"
		})
		h.issuer.Change("anna", issuertest.Person{"realm_access": map[string]any{"roles": []any{"technicians"}}, "email": "anna@example.org", "email_verified": true})
		b := h.browser()
		b.signIn("anna", "/")
		if w := b.me("").Who; w == nil || w.Name != "anna@example.org" || w.Role != "technician" {
			t.Errorf("me says %+v", w)
		}
		h.issuer.Change("bo", issuertest.Person{"realm_access": map[string]any{"roles": []any{"technicians"}}, "email": "anna@example.org", "email_verified": false})
		if res := h.browser().signIn("bo", "/"); res.StatusCode != 403 {
			t.Errorf("an address that was not checked: %d %s", res.StatusCode, res.text)
		}
	})
	t.Run("with the ID token", func(t *testing.T) {
		h := open(t, func(o *doortest.Options) { o.Auth.OIDC.WithToken = true })
		h.issuer.Life(time.Minute)
		b := h.browser()
		b.signIn("anna", "/")
		if left := time.Until(*b.me("").Who.Expires); left > time.Minute {
			t.Errorf("signed in for %s, longer than the token", left)
		}
	})
}

// A player in a page of another origin has a token in its URL: that counts, not the cookie beside it.
func TestTokenInTheQueryCountsBeforeTheCookie(t *testing.T) {
	h := open(t, func(o *doortest.Options) {
		o.Auth.QueryTokens = true
		o.Auth.Tokens = []auth.Token{{Name: "camera", SHA256: auth.HashToken("camera"), Scopes: []auth.Scope{auth.Play}}}
	})
	b := h.browser()
	b.signIn("anna", "/")
	b.site = "same-site"
	// 415: let in, and then told that this is no offer.
	if res := b.ask("POST", "/whep/mri-2/console?access_token=camera", "{}"); res.StatusCode != 415 {
		t.Errorf("with a token: got %d %s, want 415", res.StatusCode, res.text)
	}
	if res := b.ask("POST", "/whep/mri-2/console?access_token=x", "{}"); res.StatusCode != 401 {
		t.Errorf("with a wrong token: got %d, want 401", res.StatusCode)
	}
	if res := b.ask("POST", "/whep/mri-2/console", "{}"); res.StatusCode != 403 {
		t.Errorf("with the cookie alone: got %d, want 403", res.StatusCode)
	}
}

func TestFilesThatCannotBeReadStopTheGateway(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	i := issuertest.Start(t, people())
	for name, change := range map[string]func(*auth.OIDCConfig){
		"auth.oidc.ca_file: ":            func(c *auth.OIDCConfig) { c.CAFile = empty },
		"auth.oidc.client_secret_file: ": func(c *auth.OIDCConfig) { c.ClientSecret, c.ClientSecretFile = "", filepath.Join(dir, "none") },
	} {
		c := auth.Defaults()
		c.OIDC = configure(i)
		change(&c.OIDC)
		h := doortest.Options{}
		if _, err := signin.New(c.OIDC, h.HTTP, auth.New(c), audit.Discard, nil); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("got %v, want an error of %s", err, name)
		}
	}
}

func TestWithoutAProviderNobodySignsIn(t *testing.T) {
	i := issuertest.Start(t, people())
	h := build(t, i, func(o *doortest.Options) { o.Auth.OIDC.Issuer = "" })
	b := h.browser()
	if w := b.me(""); w.SignIn || !w.Open || len(w.Scopes) != 5 {
		t.Errorf("me says %+v", w)
	}
	if res := b.ask("GET", "/auth/login", ""); res.StatusCode != 404 {
		t.Errorf("signing in: got %d, want 404", res.StatusCode)
	}
	if res := b.ask("POST", "/auth/logout", ""); res.StatusCode != 404 {
		t.Errorf("signing out: got %d, want 404", res.StatusCode)
	}
}
