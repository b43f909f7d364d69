package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/doortest"
	"sightline/rooms/api"
	"sightline/rooms/api/apitest"
)

// A lobby is a gateway with tokens, whose answers are held against the description.
type lobby struct {
	*doortest.Gateway
	t   *testing.T
	doc *apitest.Description
	jwt auth.JWTConfig
}

func openLobby(t *testing.T, change func(*doortest.Options)) *lobby {
	t.Helper()
	l := &lobby{t: t, doc: apitest.Load(t, api.Description), jwt: auth.Defaults().JWT}
	l.jwt.Secret = "a secret of the tests, and of nothing else"
	l.Gateway = gateway(t, func(o *doortest.Options) {
		o.Auth.JWT = l.jwt
		if change != nil {
			change(o)
		}
	})
	return l
}

// token signs one for room mri-2, and an hour.
func (l *lobby) token(name string, scopes ...auth.Scope) string {
	return l.sign(auth.Grant{Identity: auth.Identity{Name: name}, Scopes: scopes, Rooms: []string{"mri-2"}}, time.Hour)
}

func (l *lobby) sign(g auth.Grant, life time.Duration) string {
	l.t.Helper()
	g.Expires = time.Now().Add(life)
	token, err := auth.Mint(l.jwt, g)
	if err != nil {
		l.t.Fatal(err)
	}
	return token
}

func (l *lobby) ask(want int, token, method, path, target, body string) doortest.Response {
	l.t.Helper()
	header := []string{"Authorization", "Bearer " + token}
	if body != "" {
		header = append(header, "Content-Type", "application/json")
	}
	res := l.Do(l.t, method, target, body, header...)
	if res.StatusCode != want {
		l.t.Errorf("%s %s %s: got %d, want %d: %s", method, target, body, res.StatusCode, want, res.Text)
	}
	l.doc.Check(l.t, path, res.Response, []byte(res.Text))
	return res
}

const (
	invitationsPath, invitationPath = "/api/rooms/{room}/invitations", "/api/rooms/{room}/invitations/{invitation}"
	revocationsPath, revocationPath = "/api/revocations", "/api/revocations/{revocation}"
	participantsPath                = "/api/rooms/{room}/participants"
	ownPath                         = participantsPath + "/{secret}"
)

type made struct {
	ID, Token, URL, By, Role, Name string
	Scopes, Publishers             []string
}

func read(t *testing.T, res doortest.Response) made {
	t.Helper()
	var m made
	if err := json.Unmarshal([]byte(res.Text), &m); err != nil {
		t.Fatalf("%v: %s", err, res.Text)
	}
	return m
}

// What holds is in the audit log, be it that it could not be kept over a restart.
func TestWhatCouldNotBeKeptIsRecorded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	l := openLobby(t, func(o *doortest.Options) { o.Auth.StateDir = dir })
	root := l.sign(auth.Grant{Identity: auth.Identity{Name: "root"}, Scopes: auth.Scopes()}, time.Hour)
	const invitations, revocations = "/api/rooms/mri-2/invitations", "/api/revocations"
	i := read(t, l.ask(201, root, "POST", invitationsPath, invitations, `{"expires_in": 1800}`))
	r := read(t, l.ask(201, root, "POST", revocationsPath, revocations, `{"name": "eve"}`))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	l.ask(500, root, "DELETE", invitationPath, invitations+"/"+i.ID, "")
	l.ask(500, root, "DELETE", revocationPath, revocations+"/"+r.ID, "")
	l.ask(404, root, "DELETE", invitationPath, invitations+"/"+i.ID, "") // it held
	l.ask(404, root, "DELETE", revocationPath, revocations+"/"+r.ID, "")
	events := l.Audit.Events(audit.Revoked)
	for n, what := range []string{"revocation " + r.ID, "invitation " + i.ID, "no longer: revocation " + r.ID} {
		if n >= len(events) || !strings.HasPrefix(events[n].Detail, what) || events[n].Name != "root" {
			t.Errorf("the audit log lacks %q by root: %+v", what, events)
		}
	}
}

// The room without a name is none: who may something in one room must not see, by it, what there is in others.
func TestARoomWithoutANameIsNone(t *testing.T) {
	l := openLobby(t, nil)
	root := l.sign(auth.Grant{Identity: auth.Identity{Name: "root"}, Scopes: auth.Scopes()}, time.Hour)
	i := read(t, l.ask(201, root, "POST", invitationsPath, "/api/rooms/ct-1/invitations", `{"label": "of another room", "expires_in": 1800}`))
	limited := l.sign(auth.Grant{Identity: auth.Identity{Name: "x"}, Scopes: auth.Scopes(), Rooms: []string{"mri-2"}}, time.Hour)
	for _, request := range []string{
		"GET invitations", "POST invitations", "DELETE invitations/" + i.ID, "GET tracks", "POST participants", "PATCH participants/x", "GET ",
	} {
		method, path, _ := strings.Cut(request, " ")
		res := l.Do(t, method, "/api/rooms//"+path, `{"expires_in": 1800}`, "Authorization", "Bearer "+limited, "Content-Type", "application/json")
		if res.StatusCode != http.StatusNotFound || strings.Contains(res.Text, "another room") {
			t.Errorf("%s: got %d %s, want 404", request, res.StatusCode, res.Text)
		}
	}
	for _, path := range []string{"/whip//console", "/whep//console"} {
		if res := l.Do(t, "POST", path, "v=0", "Authorization", "Bearer "+limited, "Content-Type", "application/sdp"); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404", path, res.StatusCode)
		}
	}
}

func TestInvitationLetsInUntilItIsTakenBack(t *testing.T) {
	dir := t.TempDir()
	l := openLobby(t, func(o *doortest.Options) { o.Auth.StateDir, o.Auth.MaxInvitations = dir, 3 })
	const all = "/api/rooms/mri-2/invitations"
	host := l.token("host", auth.Scopes()...)
	res := l.ask(201, host, "POST", invitationsPath, all, `{"role": "technician", "label": "Dr. Who", "expires_in": 1800}`)
	i := read(t, res)
	if want := l.URL + "/mri-2/technician#token=" + i.Token; i.URL != want || len(i.Token) != 43 || i.By != "host" {
		t.Errorf("got %+v, want the URL %s", i, want)
	}
	if want := l.URL + all + "/" + i.ID; res.Header.Get("Location") != want {
		t.Errorf("Location is %q, want %q", res.Header.Get("Location"), want)
	}
	// Whoever has it takes part, in this room and as that role alone.
	own := l.ask(201, i.Token, "POST", participantsPath, "/api/rooms/mri-2/participants", `{"name": "Who", "microphone": "on"}`)
	if p := read(t, own); p.Role != "technician" {
		t.Errorf("the guest is a %q, want a technician", p.Role)
	}
	l.ask(403, i.Token, "POST", participantsPath, "/api/rooms/mri-2/participants", `{"name": "Who", "role": "hospital"}`)
	l.ask(403, i.Token, "POST", participantsPath, "/api/rooms/ct-1/participants", `{"name": "Who"}`)
	l.ask(403, i.Token, "GET", invitationsPath, all, "")

	list := l.ask(200, host, "GET", invitationsPath, all, "")
	kept, err := os.ReadFile(filepath.Join(dir, "auth.json"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "auth.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v, want 0600", info.Mode(), err)
	}
	if !strings.Contains(list.Text, i.ID) || strings.Contains(list.Text, i.Token) || bytes.Contains(kept, []byte(i.Token)) {
		t.Errorf("the list must name the invitation, and neither it nor the file its secret: %s", list.Text)
	}

	l.ask(404, host, "DELETE", invitationPath, all+"/nothing", "")
	l.ask(204, host, "DELETE", invitationPath, all+"/"+i.ID, "")
	l.ask(404, host, "DELETE", invitationPath, all+"/"+i.ID, "")
	if res := l.ask(401, i.Token, "GET", participantsPath, "/api/rooms/mri-2/participants", ""); !strings.Contains(res.Header.Get("WWW-Authenticate"), "invalid_token") {
		t.Errorf("the challenge is %q", res.Header.Get("WWW-Authenticate"))
	}
	doortest.Eventually(t, func() string { // the participant has left with it
		res := l.Do(t, "PATCH", own.Header.Get("Location"), `{}`, "Content-Type", "application/json")
		if res.StatusCode != http.StatusNotFound {
			return "the guest is still there: " + res.Text
		}
		return ""
	})
}

func TestInvitationsGiveNoMoreThanTheirGiverHas(t *testing.T) {
	l := openLobby(t, func(o *doortest.Options) { o.Auth.MaxInvitations = 2 })
	const all = "/api/rooms/mri-2/invitations"
	full := l.token("full", auth.Scopes()...)
	weak := l.token("weak", auth.Admin, auth.Play)
	console := l.sign(auth.Grant{Identity: auth.Identity{Name: "c"}, Scopes: auth.Scopes(), Publishers: []string{"console", "gantry/video"}}, time.Hour)
	for _, tt := range []struct {
		name, token, body string
		want              int
	}{
		{"scopes", weak, `{"expires_in": 60, "scopes": ["whip:publish"]}`, 403},
		{"the usual scopes", weak, `{"expires_in": 60, "role": "hospital"}`, 403},
		{"a longer life", full, `{"expires_in": 7200}`, 403},
		{"all publishers", console, `{"expires_in": 60}`, 403},
		{"another publisher", console, `{"expires_in": 60, "publishers": ["desk"]}`, 403},
		{"a glob", console, `{"expires_in": 60, "publishers": ["con*"]}`, 403},
		{"a publisher of whom one track is his", console, `{"expires_in": 60, "publishers": ["gantry"]}`, 403},
		{"another track", console, `{"expires_in": 60, "publishers": ["gantry/audio"]}`, 403},
		{"who may not invite", l.token("x", auth.Read), `{"expires_in": 60}`, 403},
		{"another room's", l.sign(auth.Grant{Identity: auth.Identity{Name: "x"}, Scopes: auth.Scopes(), Rooms: []string{"ct-1"}}, time.Hour), `{"expires_in": 60}`, 403},

		{"no life", full, `{}`, 400},
		{"nothing of a life", full, `{"expires_in": 0}`, 400},
		{"half a second", full, `{"expires_in": 0.5}`, 400},
		{"for ever", full, `{"expires_in": 99999999999}`, 400},
		{"a scope that is none", full, `{"expires_in": 60, "scopes": ["root"]}`, 400},
		{"no scope", full, `{"expires_in": 60, "scopes": []}`, 400},
		{"a role that is none", full, `{"expires_in": 60, "role": "a b"}`, 400},
		{"a track that is none", full, `{"expires_in": 60, "publishers": ["console/sound"]}`, 400},
		{"another member", full, `{"expires_in": 60, "room": "ct-1"}`, 400},
		{"no object", full, `[]`, 400},

		{"a track of his", console, `{"expires_in": 60, "publishers": ["gantry/video", "console/audio"]}`, 201},
		{"what he has", weak, `{"expires_in": 60, "scopes": ["whep:play"], "publishers": ["console/video"]}`, 201},
		{"one too many", full, `{"expires_in": 60}`, 503},
	} {
		res := l.ask(tt.want, tt.token, "POST", invitationsPath, all, tt.body)
		if t.Failed() {
			t.Fatal(tt.name)
		}
		if tt.want == 503 && !strings.Contains(res.Text, `"limit":"auth.max_invitations"`) {
			t.Errorf("%s: the answer does not name its limit: %s", tt.name, res.Text)
		}
		if m := read(t, res); tt.name == "what he has" && m.URL != l.URL+"/watch/mri-2/console/video#token="+m.Token {
			t.Errorf("%s: the URL is %s", tt.name, m.URL)
		}
	}
}

func TestOpenGatewayHasNothingToInviteTo(t *testing.T) {
	g := gateway(t, nil)
	res := g.Do(t, "POST", "/api/rooms/mri-2/invitations", `{"expires_in": 60}`, "Content-Type", "application/json")
	apitest.Load(t, api.Description).Check(t, invitationsPath, res.Response, []byte(res.Text))
	if res.StatusCode != http.StatusConflict {
		t.Errorf("got %d, want 409: %s", res.StatusCode, res.Text)
	}
}

func TestRevocationsHoldUntilTheyAreTakenBack(t *testing.T) {
	dir := t.TempDir()
	l := openLobby(t, func(o *doortest.Options) { o.Auth.StateDir, o.Auth.MaxRevocations = dir, 2 })
	root := l.sign(auth.Grant{Identity: auth.Identity{Name: "root", ID: "r"}, Scopes: []auth.Scope{auth.Admin}}, time.Hour)
	alice := l.sign(auth.Grant{Identity: auth.Identity{Name: "alice", ID: "a1"}, Scopes: auth.Scopes()}, time.Hour)
	newer := l.sign(auth.Grant{Identity: auth.Identity{Name: "alice", ID: "a2"}, Scopes: auth.Scopes()}, time.Hour)
	for _, tt := range []struct {
		token, body string
		want        int
	}{
		{l.token("of one room", auth.Admin), `{"jti": "a1"}`, 403},
		{root, `{}`, 400},
		{root, `{"jti": "a1", "name": "alice"}`, 400},
		{root, `{"jti": ""}`, 400},
		{root, `{"name": "alice", "expires": "2020-01-01T00:00:00Z"}`, 400},
		{root, `{"name": "alice", "expires": "soon"}`, 400},
		{root, `{"name": 5}`, 400},
		{root, `{"name": "root"}`, 409},
		{root, `{"jti": "r"}`, 409},
	} {
		l.ask(tt.want, tt.token, "POST", revocationsPath, revocationsPath, tt.body)
	}
	const probe = "/api/rooms/mri-2/invitations"
	one := read(t, l.ask(201, root, "POST", revocationsPath, revocationsPath, `{"jti": "a1", "reason": "lost"}`))
	l.ask(401, alice, "GET", invitationsPath, probe, "")
	l.ask(200, newer, "GET", invitationsPath, probe, "")
	two := read(t, l.ask(201, root, "POST", revocationsPath, revocationsPath, `{"name": "alice", "expires": "2100-01-01T00:00:00Z"}`))
	l.ask(401, newer, "GET", invitationsPath, probe, "")
	if res := l.ask(503, root, "POST", revocationsPath, revocationsPath, `{"jti": "x"}`); !strings.Contains(res.Text, `"limit":"auth.max_revocations"`) || l.Router.Refusals()["auth.max_revocations"] != 1 {
		t.Errorf("the limit must be named and counted: %s, %v", res.Text, l.Router.Refusals())
	}
	if list := l.ask(200, root, "GET", revocationsPath, revocationsPath, ""); !strings.Contains(list.Text, one.ID) || !strings.Contains(list.Text, two.ID) {
		t.Errorf("the list lacks one: %s", list.Text)
	}

	// The same after a restart.
	l.Auth.Close()
	again := openLobby(t, func(o *doortest.Options) { o.Auth.StateDir = dir })
	again.ask(401, alice, "GET", invitationsPath, probe, "")
	again.ask(401, newer, "GET", invitationsPath, probe, "")
	again.ask(204, root, "DELETE", revocationPath, revocationsPath+"/"+two.ID, "")
	again.ask(404, root, "DELETE", revocationPath, revocationsPath+"/"+two.ID, "")
	again.ask(200, newer, "GET", invitationsPath, probe, "")
	again.ask(401, alice, "GET", invitationsPath, probe, "")
}

// What is begun with a token ends with it; a newer one prolongs it.
func TestParticipantsAndEventsEndWithTheirToken(t *testing.T) {
	l := openLobby(t, nil)
	short := func(id string, life time.Duration, more ...auth.Scope) string {
		return l.sign(auth.Grant{Identity: auth.Identity{Name: "guest", ID: id}, Scopes: append(more, auth.Read), Rooms: []string{"mri-2"}}, life)
	}
	const all = "/api/rooms/mri-2/participants"
	first := short("1", 3*time.Second)
	stream := events(t, l.Gateway, "/api/rooms/mri-2/events", "", "Authorization", "Bearer "+l.token("watch", auth.Read))
	stream() // the snapshot
	leaving := l.ask(201, first, "POST", participantsPath, all, `{"name": "goes"}`)
	staying := l.ask(201, first, "POST", participantsPath, all, `{"name": "stays"}`)
	speaking := l.ask(201, short("1", 3*time.Second, auth.Speak), "POST", participantsPath, all, `{"name": "speaks", "microphone": "on"}`)
	ended := make(chan time.Time, 1)
	go func() { // a stream of the same token: the answer is whole when it ends
		l.Do(t, "GET", "/api/rooms/mri-2/events", "", "Authorization", "Bearer "+first, "Accept", "text/event-stream")
		ended <- time.Now()
	}()
	l.ask(200, short("2", time.Hour), "PATCH", ownPath, staying.Header.Get("Location"), `{}`)
	l.ask(200, short("5", time.Hour), "PATCH", ownPath, speaking.Header.Get("Location"), `{}`) // which may do less
	l.ask(401, short("3", -time.Second), "PATCH", ownPath, staying.Header.Get("Location"), `{}`)

	warned, left := false, false
	for !left { // fails by itself when the stream ends before
		_, e := stream()
		ending, _ := e["ending"].(map[string]any)
		warned = warned || e["type"] == "session-ending" && ending["reason"] == "expired" && ending["participant"] == read(t, leaving).ID
		left = e["type"] == "participant-left"
	}
	if !warned {
		t.Error("the room was not told that a participant's token is about to expire")
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the event stream of an expired token goes on")
	}
	for _, own := range []doortest.Response{leaving, speaking} {
		doortest.Eventually(t, func() string {
			if res := l.Do(t, "PATCH", own.Header.Get("Location"), `{}`, "Content-Type", "application/json"); res.StatusCode != http.StatusNotFound {
				return "he whose token has expired is still there: " + own.Text
			}
			return ""
		})
	}
	l.ask(200, short("4", time.Hour), "PATCH", ownPath, staying.Header.Get("Location"), `{}`)
}

func TestWhoMayNotSpeakIsNotHeard(t *testing.T) {
	l := openLobby(t, nil)
	mute, watch := l.token("mute", auth.Publish, auth.Read), l.token("all", auth.Scopes()...)
	l.ask(403, mute, "POST", participantsPath, "/api/rooms/mri-2/participants", `{"name": "x", "microphone": "on"}`)
	own := l.ask(201, mute, "POST", participantsPath, "/api/rooms/mri-2/participants", `{"name": "x", "microphone": "off"}`)
	l.ask(403, mute, "PATCH", ownPath, own.Header.Get("Location"), `{"microphone": "on"}`)

	voice, silence := []byte{0xfc, 1, 2, 3, 4, 5, 6, 7}, []byte{0xfc, 0xff, 0xfe}
	publisher := doortest.NewPeer(t)
	publisher.Send(t, func(string) []byte { return voice }, webrtc.MimeTypeOpus)
	publisher.Connect(t, l.Gateway, "/whip/mri-2/console", "Authorization", "Bearer "+mute)
	doortest.Eventually(t, func() string {
		if res := l.Do(t, "GET", "/api/rooms/mri-2/tracks", "", "Authorization", "Bearer "+watch); !strings.Contains(res.Text, `"state":"live"`) {
			return res.Text
		}
		return ""
	})
	sound := listen(t, l.Gateway, "/whep/mri-2/console/audio", "Authorization", "Bearer "+watch)
	for range 50 {
		select {
		case p := <-sound:
			if !bytes.Equal(p.Payload, silence) {
				t.Fatalf("a packet of %x came through, want silence", p.Payload)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no sound, not even silence")
		}
	}
	const path = "/api/rooms/{room}/publishers/{publisher}"
	l.ask(403, watch, "PATCH", path, "/api/rooms/mri-2/publishers/console", `{"muted": false}`)
	l.ask(200, watch, "PATCH", path, "/api/rooms/mri-2/publishers/console", `{"muted": true}`)

	// With the scope, the same name is heard.
	speaker := doortest.NewPeer(t)
	speaker.Send(t, func(string) []byte { return voice }, webrtc.MimeTypeOpus)
	l.ask(403, watch, "PATCH", path, "/api/rooms/mri-2/publishers/console", `{"muted": false}`)
	speaker.Connect(t, l.Gateway, "/whip/mri-2/console", "Authorization", "Bearer "+l.token("mute", auth.Publish, auth.Speak))
	doortest.Eventually(t, func() string {
		if res := l.Do(t, "PATCH", "/api/rooms/mri-2/publishers/console", `{"muted": false}`,
			"Authorization", "Bearer "+watch, "Content-Type", "application/json"); res.StatusCode != http.StatusOK {
			return res.Text
		}
		return ""
	})
	deadline := time.After(10 * time.Second)
	for {
		select {
		case p := <-sound:
			if bytes.Equal(p.Payload, voice) {
				return
			}
		case <-deadline:
			t.Fatal("who may speak is not heard")
		}
	}
}

func TestTokenForOneTrackSeesAndPlaysThatAlone(t *testing.T) {
	l := openLobby(t, nil)
	doortest.Publish(t, l.Gateway, "mri-2", "console", doortest.VP8, doortest.Opus)
	one := l.sign(auth.Grant{
		Identity: auth.Identity{Name: "x"}, Scopes: []auth.Scope{auth.Read, auth.Play}, Rooms: []string{"mri-2"}, Publishers: []string{"console/video"},
	}, time.Hour)
	var list struct{ Tracks []struct{ ID string } }
	if err := json.Unmarshal([]byte(l.ask(200, one, "GET", "/api/rooms/{room}/tracks", "/api/rooms/mri-2/tracks", "").Text), &list); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, track := range list.Tracks {
		ids = append(ids, track.ID)
	}
	if want := []string{"console/video"}; !slices.Equal(ids, want) {
		t.Errorf("it sees %q, want %q", ids, want)
	}
	peer := doortest.NewPeer(t)
	peer.Receive(t, webrtc.RTPCodecTypeVideo)
	offer := peer.Offer(t, nil)
	for path, want := range map[string]int{
		"/whep/mri-2/console/video": 201, "/whep/mri-2/console/audio": 403, "/whep/mri-2/console": 403, "/whep/mri-2/~mix": 403, "/whep/mri-2/gantry/video": 403,
	} {
		if res := l.Post(t, path, offer, "Authorization", "Bearer "+one); res.StatusCode != want {
			t.Errorf("POST %s: got %d, want %d", path, res.StatusCode, want)
		}
	}
}
