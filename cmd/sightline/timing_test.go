package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"sightline/internal/auth"
	"sightline/internal/doortest"
)

// A question is a request, and how long its answers took.
type question struct {
	method, target, body, token string
	took                        []time.Duration
	said                        string // status, challenge and body of the last answer
}

func (q *question) ask(t *testing.T, g *doortest.Gateway) {
	t.Helper()
	header := []string{"Content-Type", "application/json", "If-Match", "*"}
	if q.token != "" {
		header = append(header, "Authorization", "Bearer "+q.token)
	}
	began := time.Now()
	res := g.Do(t, q.method, q.target, q.body, header...)
	q.took = append(q.took, time.Since(began))
	q.said = fmt.Sprint(res.StatusCode, " ", res.Header.Get("WWW-Authenticate"), " ", res.Text)
}

const (
	rounds = 150 // questions of each kind

	// maxShare is how much more often than not one kind of answer may take longer. Without a
	// leak it is 0.5, give or take 0.04 (one standard deviation of 150 pairs): noise pulls
	// towards 0.5, whatever its size and form. maxGap is what it may be about, all the same.
	maxShare = 0.62
	maxGap   = 25 * time.Microsecond

	// maxRatio is between the medians of two answers whose words differ: what is said, and done, is not the same.
	maxRatio = 2
)

// A verdict is how the times of two kinds of answers compare.
type verdict struct {
	a, b  time.Duration // medians
	share float64       // how often a took longer than the b that was asked beside it
}

func (v verdict) String() string {
	return fmt.Sprintf("%s and %s, the first took longer in %.0f %% of pairs", v.a.Round(time.Microsecond), v.b.Round(time.Microsecond), 100*v.share)
}

// differ reports whether the two can be told apart by their times.
func (v verdict) differ() bool {
	return max(v.share, 1-v.share) > maxShare && (v.a-v.b).Abs() > maxGap
}

// farApart reports whether one takes more than so many times as long as the other.
func (v verdict) farApart() bool { return max(v.a, v.b) > maxRatio*min(v.a, v.b) }

// tellTimes is compareTimes, and whether it tells them apart: twice where it does, since what is there shows again.
func tellTimes(t *testing.T, g *doortest.Gateway, a, b *question, told func(verdict) bool) (v verdict, apart bool) {
	t.Helper()
	v = compareTimes(t, g, a, b)
	if told(v) {
		v = compareTimes(t, g, a, b)
	}
	return v, told(v)
}

// compareTimes asks both again and again, in turn and in an order that changes, so that what
// else the machine does meets both.
func compareTimes(t *testing.T, g *doortest.Gateway, a, b *question) verdict {
	t.Helper()
	longer := 0.0
	a.took, b.took = nil, nil
	for range rounds {
		pair := []*question{a, b}
		if rand.N(2) == 0 {
			slices.Reverse(pair)
		}
		for _, q := range pair {
			q.ask(t, g)
		}
		if n := len(a.took) - 1; a.took[n] > b.took[n] {
			longer++
		}
	}
	median := func(d []time.Duration) time.Duration {
		d = slices.Sorted(slices.Values(d))
		return d[len(d)/2]
	}
	return verdict{median(a.took), median(b.took), longer / rounds}
}

// near returns a secret that is right but for its last character.
func near(secret string) string {
	last := "A"
	if strings.HasSuffix(secret, last) {
		last = "B"
	}
	return secret[:len(secret)-1] + last
}

// far returns a secret of that length that shares nothing with it.
func far(secret string) string {
	return strings.Map(func(r rune) rune {
		if r == 'x' {
			return 'y'
		}
		return 'x'
	}, secret)
}

// busy takes longer for what is known, as a leak would.
func busy(d time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/known" {
			for began := time.Now(); time.Since(began) < d; {
			}
		}
		w.WriteHeader(http.StatusNotFound)
	}
}

// What the other tests of times say is worth something only if they can fail.
func TestTimesTellALeak(t *testing.T) {
	for _, tt := range []struct {
		more time.Duration
		leak bool
		told func(verdict) bool
	}{{150 * time.Microsecond, true, verdict.differ}, {0, false, verdict.differ}, {5 * time.Millisecond, true, verdict.farApart}, {0, false, verdict.farApart}} {
		server := httptest.NewServer(busy(tt.more))
		v, apart := tellTimes(t, doortest.At(t, server.URL), &question{method: "GET", target: "/known"}, &question{method: "GET", target: "/unknown"}, tt.told)
		server.Close()
		if t.Logf("%s more: %s", tt.more, v); apart != tt.leak {
			t.Errorf("%s more: told apart: %v, want %v: %s", tt.more, apart, tt.leak, v)
		}
	}
}

// Who guesses learns nothing from how long an answer takes: not how much of a secret he has,
// and not whether what he may not see is there.
func TestAnswersTakeAsLongForTheKnownAsForTheUnknown(t *testing.T) {
	const static, gone = "kM3vUq0dXbJ5nYw8Zr2tPc7fLh1aGs6eDi4oBxNuQyE", "pM3vUq0dXbJ5nYw8Zr2tPc7fLh1aGs6eDi4oBxNuQyE"
	file := filepath.Join(t.TempDir(), "config.toml")
	var tokens strings.Builder
	for name, token := range map[string]string{"camera": static, "gone": gone} {
		fmt.Fprintf(&tokens, "[[auth.tokens]]\nname = %q\nsha256 = %q\nscopes = [\"room:read\"]\n", name, auth.HashToken(token))
	}
	if err := os.WriteFile(file, []byte(tokens.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	gateway := start(t, "SIGHTLINE_CONFIG="+file, "SIGHTLINE_AUTH_JWT_SECRET="+signer().Secret, "SIGHTLINE_HTTP_RATE_LIMIT=0", "SIGHTLINE_HTTP_SESSION_RATE_LIMIT=0",
		"SIGHTLINE_HTTP_TOKEN_RATE_LIMIT=0", "SIGHTLINE_HTTP_MAX_WRONG_TOKENS=0")
	g := doortest.At(t, gateway.base)
	all := mint(t, auth.Grant{Identity: auth.Identity{Name: "the test"}, Scopes: auth.Scopes()}, time.Hour)
	desk := mint(t, auth.Grant{Identity: auth.Identity{Name: "x"}, Scopes: auth.Scopes(), Publishers: []string{"desk"}}, time.Hour)
	ct := mint(t, auth.Grant{Identity: auth.Identity{Name: "y"}, Scopes: auth.Scopes(), Rooms: []string{"ct-1"}}, time.Hour)
	post := func(target, body string) doortest.Response {
		t.Helper()
		res := g.Do(t, "POST", target, body, "Content-Type", "application/json", "Authorization", "Bearer "+all)
		if res.StatusCode != http.StatusCreated {
			t.Fatalf("POST %s: %d %s", target, res.StatusCode, res.Text)
		}
		return res
	}
	invite := func() (id, secret string) {
		var made struct{ ID, Token string }
		if err := json.Unmarshal([]byte(post("/api/rooms/mri-2/invitations", `{"expires_in": 60}`).Text), &made); err != nil {
			t.Fatal(err)
		}
		return made.ID, made.Token
	}
	peer := doortest.NewPeer(t)
	peer.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8, webrtc.MimeTypeOpus)
	peer.Connect(t, g, "/whip/mri-2/console", "Authorization", "Bearer "+all)
	session := strings.TrimPrefix(peer.Session, g.URL)
	participant := strings.TrimPrefix(post("/api/rooms/mri-2/participants", `{"name": "somebody"}`).Header.Get("Location"), g.URL)
	post("/api/revocations", `{"name": "gone"}`)
	invitation, invited := invite()
	taken, back := invite()
	if res := g.Do(t, "DELETE", "/api/rooms/mri-2/invitations/"+taken, "", "Authorization", "Bearer "+all); res.StatusCode != http.StatusNoContent {
		t.Fatalf("take an invitation back: %d %s", res.StatusCode, res.Text)
	}

	const rooms = "/api/rooms"
	get := func(target, token string) *question { return &question{method: "GET", target: target, token: token} }
	send := func(method, target, body, token string) *question {
		return &question{method: method, target: target, body: body, token: token}
	}
	secretOf := func(target string) (dir, secret string) {
		return target[:strings.LastIndex(target, "/")+1], target[strings.LastIndex(target, "/")+1:]
	}
	sessions, id := secretOf(session)
	participants, secret := secretOf(participant)
	for _, tt := range []struct {
		name  string
		a, b  *question
		words bool // the answers' words may differ: who asks has the whole secret
	}{
		{"a static token but for its last character; nothing like it", get(rooms, near(static)), get(rooms, far(static)), false},
		{"a JWT but for the end of its signature; with another", get(rooms, near(all[:len(all)-1])+"A"), get(rooms, all[:len(all)-43]+strings.Repeat("A", 43)), false},
		{"an invitation's secret but for its last character; nothing like it", get(rooms, near(invited)), get(rooms, far(invited)), false},
		{"an invitation that was taken back; none", get(rooms, back), get(rooms, far(back)), false},
		{"a token that was revoked; none", get(rooms, gone), get(rooms, far(gone)), true},
		{"a session's URL but for its last character; nothing like it", get(sessions+near(id), ""), get(sessions+far(id), ""), false},
		{"the same, DELETE", send("DELETE", sessions+near(id), "", ""), send("DELETE", sessions+far(id), "", ""), false},
		{"the same, with a wrong token", get(sessions+near(id), far(static)), get(sessions+far(id), far(static)), false},
		{"a participant's secret but for its last character; nothing like it", send("PATCH", participants+near(secret), "{}", ""), send("PATCH", participants+far(secret), "{}", ""), false},
		{"a participant's room; none", send("PATCH", participants+far(secret), "{}", ""), send("PATCH", "/api/rooms/mri-9/participants/"+far(secret), "{}", ""), false},
		{"an invitation to a room that is forbidden; none", send("DELETE", "/api/rooms/mri-2/invitations/"+invitation, "", ct), send("DELETE", "/api/rooms/mri-2/invitations/"+far(invitation), "", ct), false},
		{"inviting to a room that is forbidden; to none", send("POST", "/api/rooms/mri-2/invitations", `{"expires_in": 60}`, ct), send("POST", "/api/rooms/mri-9/invitations", `{"expires_in": 60}`, ct), false},
		{"a room that is forbidden; none", get("/api/rooms/mri-2", ct), get("/api/rooms/mri-9", ct), false},
		{"its tracks", get("/api/rooms/mri-2/tracks", ct), get("/api/rooms/mri-9/tracks", ct), false},
		{"its participants", get("/api/rooms/mri-2/participants", ct), get("/api/rooms/mri-9/participants", ct), false},
		{"its events", get("/api/rooms/mri-2/events", ct), get("/api/rooms/mri-9/events", ct), false},
		{"a publisher that is forbidden, to be played; none", send("POST", "/whep/mri-2/console", "{}", desk), send("POST", "/whep/mri-2/nobody", "{}", desk), false},
		{"a track that is forbidden, to be played; none", send("POST", "/whep/mri-2/console/video", "{}", desk), send("POST", "/whep/mri-2/nobody/video", "{}", desk), false},
		{"a publisher that is forbidden, to be ended; none", send("DELETE", "/api/rooms/mri-2/publishers/console", "", desk), send("DELETE", "/api/rooms/mri-2/publishers/nobody", "", desk), false},
		{"a publisher that is forbidden, to be muted; none", send("PATCH", "/api/rooms/mri-2/publishers/console", `{"muted": true}`, desk), send("PATCH", "/api/rooms/mri-2/publishers/nobody", `{"muted": true}`, desk), false},
	} {
		v, apart := tellTimes(t, g, tt.a, tt.b, verdict.differ)
		if tt.a.said != tt.b.said && !tt.words {
			t.Errorf("%s: one is answered %q, the other %q", tt.name, tt.a.said, tt.b.said)
		}
		if strings.HasPrefix(tt.a.said, "2") || strings.HasPrefix(tt.b.said, "2") {
			t.Errorf("%s: let in: %q, %q", tt.name, tt.a.said, tt.b.said)
		}
		if t.Logf("%s: %.3s, %s", tt.name, tt.a.said, v); apart {
			t.Errorf("%s: the times tell them apart: %s", tt.name, v)
		}
	}
	// Who has a session's whole URL is told that it is there: 401, not 404. The time says no more, such as what the session does.
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		there, none := send(method, session, "", far(static)), send(method, sessions+far(id), "", far(static))
		v, apart := tellTimes(t, g, there, none, verdict.farApart)
		if t.Logf("%s of a session's URL with a wrong token: %.3s, one that is not there: %.3s, %s", method, there.said, none.said, v); apart {
			t.Errorf("%s of a session's URL with a wrong token: more than %d times as long as where there is none, or less: %s", method, maxRatio, v)
		}
		if !strings.HasPrefix(there.said, "401 ") || !strings.HasPrefix(none.said, "404 ") {
			t.Errorf("%s of a session's URL with a wrong token: %q, and %q where there is none, want 401 and 404", method, there.said, none.said)
		}
	}
}
