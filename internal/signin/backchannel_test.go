package signin_test

import (
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sightline/internal/audit"
	"sightline/internal/doortest"
	"sightline/internal/signin/issuertest"
)

// tell sends a logout token as the provider does: without a cookie, from no page.
func (h *house) tell(token string) page {
	h.t.Helper()
	b := h.browser()
	b.site = ""
	return b.ask("POST", "/auth/backchannel-logout", url.Values{"logout_token": {token}}.Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

// at changes when a token was issued.
func at(when time.Time) func(jwt.MapClaims) {
	return func(c jwt.MapClaims) { c["iat"] = when.Unix() }
}

// Who is locked out at the provider is out here, too, with all that he began.
func TestProviderEndsWhatGoesOn(t *testing.T) {
	h := open(t, nil)
	b := h.browser()
	b.signIn("anna", "/")
	lines, participant, publisher, viewer := b.begin(t)
	began := time.Now()
	res := h.tell(h.issuer.Logout(t, "anna", "", nil))
	h.doc.Check(t, "/auth/backchannel-logout", res.Response, []byte(res.text))
	if res.StatusCode != http.StatusOK || res.text != "" || res.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %d %s %v", res.StatusCode, res.text, res.Header)
	}
	told := strings.Join(ends(t, lines, 5*time.Second), "\n")
	publisher.WaitClosed(t)
	viewer.WaitClosed(t)
	b.gone(t, participant)
	t.Logf("all had ended %s after the provider said so", time.Since(began).Round(time.Millisecond))
	if !strings.Contains(told, "revoked") {
		t.Errorf("the room was not told: %s", told)
	}
	if w := b.me(""); w.Who != nil {
		t.Errorf("afterwards, me says %+v", w)
	}
	if out := h.Audit.Await(t, audit.SignedOut, 1)[0]; out.Name != "anna" || out.Cause != "provider" || out.Address == "" {
		t.Errorf("the audit log has %+v", out)
	}
}

// Whoever makes up logout tokens has the provider asked for its keys now and then, not each time.
func TestMadeUpLogoutTokensDoNotMakeTheProviderBusy(t *testing.T) {
	h := open(t, nil)
	b := h.browser()
	b.signIn("anna", "/")
	before := h.issuer.Asked()
	right := h.issuer.Logout(t, "anna", "", nil)
	made := right[:strings.LastIndex(right, ".")+1] + strings.Repeat("A", 342)
	for range 20 {
		if res := h.tell(made); res.StatusCode != http.StatusBadRequest {
			t.Fatalf("got %d %s", res.StatusCode, res.text)
		}
	}
	if asked := h.issuer.Asked() - before; asked > 3 {
		t.Errorf("the provider was asked %d times for its keys, want a few", asked)
	}
	if res := h.tell(right); res.StatusCode != http.StatusOK || b.me("").Who != nil {
		t.Errorf("afterwards the right one: got %d %s", res.StatusCode, res.text)
	}
}

// What a stranger writes into a logout token is no long line of the log.
func TestRefusedLogoutTokensMakeNoLongLines(t *testing.T) {
	var log lines
	h := open(t, func(o *doortest.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"` + strings.Repeat("x", 9000) + `"}`))
	if res := h.tell(header + ".e30.AA"); res.StatusCode != http.StatusBadRequest {
		t.Fatalf("got %d %s", res.StatusCode, res.text)
	}
	for line := range strings.Lines(log.String()) {
		if len(line) > 1000 {
			t.Errorf("a line of the log has %d bytes: %.200s…", len(line), line)
		}
	}
	if !strings.Contains(log.String(), "a logout token is refused") {
		t.Errorf("the log does not say it: %s", log.String())
	}
}

// lines is a log that is written while it is read.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Each session at the provider is one browser's. What a token doesn't say of that is about all.
func TestProviderEndsTheSessionsThatItMeans(t *testing.T) {
	for _, tt := range []struct {
		name, sub, sid string
		at             time.Duration // of the token, from now
		stay           string        // who of anna's first and second browser, her third, of which the provider said no session, and bo
	}{
		{"one session", "anna", "first", 0, "second bo"},
		{"one session, and no person", "", "first", 0, "second third bo"},
		{"a person", "anna", "", 0, "bo"},
		{"a person whom nobody knows", "carl", "", 0, "first second third bo"},
		{"a session of another", "bo", "first", 0, "first second third bo"},
		{"what was before", "anna", "", -time.Hour, "first second third bo"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t, nil)
			browsers := make(map[string]*browser)
			for _, name := range []string{"first", "second", "third", "bo"} {
				h.issuer.Spoil(func(c jwt.MapClaims) {
					if name != "third" {
						c["sid"] = name
					}
				})
				who := "anna"
				if name == "bo" {
					who = "bo"
				}
				browsers[name] = h.browser()
				browsers[name].signIn(who, "/")
			}
			if res := h.tell(h.issuer.Logout(t, tt.sub, tt.sid, at(time.Now().Add(tt.at)))); res.StatusCode != http.StatusOK {
				t.Fatalf("got %d %s", res.StatusCode, res.text)
			}
			var stay []string
			for _, name := range []string{"first", "second", "third", "bo"} {
				if browsers[name].me("").Who != nil {
					stay = append(stay, name)
				}
			}
			if got := strings.Join(stay, " "); got != tt.stay {
				t.Errorf("%q are signed in, want %q", got, tt.stay)
			}
		})
	}
}

// OpenID Connect Back-Channel Logout 1.0, section 2.6.
func TestLogoutTokensThatCannotBeTrustedEndNothing(t *testing.T) {
	h := open(t, nil)
	b := h.browser()
	b.signIn("anna", "/")
	without := func(name string) func(jwt.MapClaims) { return func(c jwt.MapClaims) { delete(c, name) } }
	with := func(name string, value any) func(jwt.MapClaims) { return func(c jwt.MapClaims) { c[name] = value } }
	for name, change := range map[string]func(jwt.MapClaims){
		"another issuer":   with("iss", "https://x"),
		"another audience": with("aud", "x"),
		"expired":          with("exp", time.Now().Add(-time.Minute).Unix()),
		"no exp":           without("exp"),
		"no iat":           without("iat"),
		"no jti":           without("jti"),
		"no events":        without("events"),
		"another event":    with("events", map[string]any{"https://x": map[string]any{}}),
		"neither sub, sid": without("sub"),
		"an ID token":      with("nonce", "x"),
		"a nonce of null":  with("nonce", nil),
		"sub is a number":  with("sub", 1),
	} {
		if res := h.tell(h.issuer.Logout(t, "anna", "", change)); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got %d %s, want 400", name, res.StatusCode, res.text)
		}
	}
	good := h.issuer.Logout(t, "anna", "", nil)
	stranger := issuertest.Start(t, people())
	stranger.URL = h.issuer.URL
	for name, token := range map[string]string{
		"by another key": stranger.Logout(t, "anna", "", nil), "unsigned": good[:strings.LastIndex(good, ".")+1], "none": "", "no token": "x",
	} {
		if res := h.tell(token); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got %d %s, want 400", name, res.StatusCode, res.text)
		}
	}
	body := url.Values{"logout_token": {good, good}}.Encode()
	for name, tt := range map[string]struct {
		kind, body string
		want       int
	}{
		"JSON": {"application/json", `{"logout_token": "x"}`, 415}, "two": {"application/x-www-form-urlencoded", body, 400}, "too long": {"application/x-www-form-urlencoded", "logout_token=" + strings.Repeat("x", 17<<10), 400},
	} {
		if res := h.browser().ask("POST", "/auth/backchannel-logout", tt.body, "Content-Type", tt.kind); res.StatusCode != tt.want {
			t.Errorf("%s: got %d %s, want %d", name, res.StatusCode, res.text, tt.want)
		}
	}
	if b.me("").Who == nil {
		t.Error("one of them has signed her out")
	}
	if res := h.tell(good); res.StatusCode != http.StatusOK || b.me("").Who != nil {
		t.Errorf("a token as it should be: got %d %s", res.StatusCode, res.text)
	}
	// Once more, after she has signed in again: that is not what it was about.
	h.issuer.Spoil(at(time.Now().Add(2 * time.Second)))
	b.signIn("anna", "/")
	if res := h.tell(good); res.StatusCode != http.StatusOK || b.me("").Who == nil {
		t.Errorf("a token that is sent once more: got %d, and she is %+v", res.StatusCode, b.me("").Who)
	}
}

func TestLogoutTokensNeedAProvider(t *testing.T) {
	i := issuertest.Start(t, people())
	i.Away(true)
	h := build(t, i, nil)
	if res := h.tell("x"); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("while it has not been found: got %d %s, want 503", res.StatusCode, res.text)
	}
	h = build(t, i, func(o *doortest.Options) { o.Auth.OIDC.Issuer = "" })
	if res := h.tell("x"); res.StatusCode != http.StatusNotFound {
		t.Errorf("without one: got %d %s, want 404", res.StatusCode, res.text)
	}
}
