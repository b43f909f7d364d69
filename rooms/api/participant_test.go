package api

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"sightline/internal/auth"
	"sightline/internal/httpapi"
	"sightline/rooms"
	"sightline/rooms/api/apitest"
)

// The paths as they are described.
const (
	participantsPath = "/api/rooms/{room}/participants"
	ownPath          = participantsPath + "/{secret}"
	leavePath        = ownPath + "/leave"
)

// A lobby is the API of a real registry, and what it says in answers and in its log.
type lobby struct {
	t     *testing.T
	rooms *rooms.Registry
	url   string
	doc   *apitest.Description

	mu   sync.Mutex // guards what follows
	said bytes.Buffer
}

func (l *lobby) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.Write(b)
}

func openLobby(t *testing.T, a *auth.Auth) *lobby {
	t.Helper()
	l := &lobby{t: t, doc: description(t)}
	log := slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
	l.rooms = rooms.New(rooms.Defaults(), log)
	t.Cleanup(l.rooms.Close)
	router := httpapi.NewRouter(httpapi.Defaults(), log)
	api := newAPI(Defaults(), registry{l.rooms}, a, &fakeBridge{}, noLedger(t))
	api.Register(router)
	server := httptest.NewServer(router)
	t.Cleanup(server.Close)
	t.Cleanup(api.Close)
	l.url = server.URL
	return l
}

// ask makes a request and holds the answer against the description, which has it under path.
func (l *lobby) ask(want int, path, method, url, token, body string, header ...string) (*http.Response, []byte) {
	l.t.Helper()
	if !strings.Contains(url, "://") {
		url = l.url + url
	}
	if len(header) == 0 && body != "" {
		header = []string{"Content-Type", "application/json"}
	}
	res, answer := send(l.t, method, url, token, body, header...)
	if res.StatusCode != want {
		l.t.Errorf("%s %s %s: got %d, want %d: %s", method, path, body, res.StatusCode, want, answer)
	}
	l.doc.Check(l.t, path, res, answer)
	_, _ = l.Write(answer)
	return res, answer
}

// enter makes a participant of the room "mri-2" and returns its URL.
func (l *lobby) enter(token, body string) (string, participant) {
	l.t.Helper()
	res, answer := l.ask(201, participantsPath, "POST", "/api/rooms/mri-2/participants", token, body)
	return res.Header.Get("Location"), decode[participant](l.t, answer)
}

func TestTheLifeOfAParticipant(t *testing.T) {
	l := openLobby(t, auth.New(auth.Config{}))
	const all, room = "/api/rooms/mri-2/participants", "/api/rooms/mri-2"
	l.ask(404, participantsPath, "GET", all, "", "")
	own, anna := l.enter("", `{"name": " Dr. Berg\n", "role": "technician", "microphone": "on", "publishers": ["desk", "desk-screen"]}`)
	secret, ok := strings.CutPrefix(own, l.url+all+"/")
	if !ok || len(secret) < 26 { // of 5 bits each
		t.Errorf("Location: got %s, want one below %s with a secret of 128 bits", own, l.url+all)
	}
	_, answer := l.ask(200, participantsPath, "GET", all, "", "")
	want := `{"room":"mri-2","participants":[{"id":"` + anna.ID + `","name":"Dr. Berg","role":"technician","since":"` + anna.Since.Format("2006-01-02T15:04:05.999Z07:00") +
		`","microphone":"on","camera":"none","hand":false,"handSince":null,"privacy":false,"call":"","publishers":["desk","desk-screen"],"speaking":false,"listening":false}]}`
	if string(answer) != want {
		t.Errorf("got\n%s\nwant\n%s", answer, want)
	}
	if _, answer := l.ask(200, "/api/rooms/{room}", "GET", room, "", ""); !bytes.Contains(answer, []byte(want[len(`{"room":"mri-2",`):])) {
		t.Errorf("the room does not have its participant: %s", answer)
	}
	l.ask(200, "/api/rooms", "GET", "/api/rooms", "", "")

	w, err := l.rooms.Watch("", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	story := func() string { // the next event
		e, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		shown, _ := view{sees: func(string, string) bool { return true }, listeners: (&fakeBridge{}).Listeners}.event(e, "1")
		body, err := encode(shown)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = l.Write(body)
		return string(e.Type)
	}
	events := story()
	for body, want := range map[string]string{
		`{}`: `"hand":false,"handSince":null`, `{"hand": true, "call": "hospital"}`: `"hand":true,"handSince":"` + anna.Since.Format("2006-01-02T"),
		`{"call": "hospital"}`: `"hand":false,"handSince":null,"privacy":false,"call":"hospital"`,
	} {
		res, answer := l.ask(200, ownPath, "PATCH", own, "", body)
		if !bytes.Contains(answer, []byte(want)) || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("ETag") != "" {
			t.Errorf("PATCH %s: got %s, %v, want %s, not to be stored", body, answer, res.Header, want)
		}
		l.ask(200, ownPath, "PATCH", own, "", `{"hand": false, "call": ""}`)
	}
	l.ask(200, ownPath, "PATCH", own, "", `{"hand": true, "publishers": []}`)
	events += " " + story()

	bertsOwn, bert := l.enter("", `{"name": "Bert", "call": "technician"}`)
	for range 2 { // the second time nothing changes
		l.ask(200, ownPath, "PATCH", own, "", `{"answer": "`+bert.ID+`"}`)
		l.ask(200, ownPath, "PATCH", bertsOwn, "", `{"lower": "`+anna.ID+`"}`)
	}
	l.ask(409, ownPath, "PATCH", own, "", `{"answer": "nobody"}`)
	for _, p := range decode[participantList](t, second(l.ask(200, participantsPath, "GET", all, "", ""))).Participants {
		if p.Hand || p.Call != "" {
			t.Errorf("%s: hand %t, call %q, want neither", p.Name, p.Hand, p.Call)
		}
	}

	l.ask(204, ownPath, "DELETE", own, "", "")
	for events += " " + story(); !strings.HasSuffix(events, "participant-left"); {
		events += " " + story()
	}
	if want := "snapshot participant participant"; !strings.HasPrefix(events, want) {
		t.Errorf("events: got %s, want %s first", events, want)
	}
	l.ask(404, ownPath, "PATCH", own, "", `{}`)
	l.ask(404, ownPath, "DELETE", own, "", "")
	l.ask(404, leavePath, "POST", own+"/leave", "", "")
	l.ask(204, leavePath, "POST", bertsOwn+"/leave", "", "bye", "Content-Type", "text/plain;charset=UTF-8")
	l.ask(404, ownPath, "PATCH", bertsOwn, "", `{"answer": "`+anna.ID+`"}`)
	l.ask(404, "/api/rooms/{room}", "GET", room, "", "")

	_, bertsSecret, _ := strings.Cut(bertsOwn, "/participants/")
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range []string{secret, bertsSecret} {
		if strings.Contains(l.said.String(), s) {
			t.Errorf("the secret %s is told in answers, events or the log:\n%s", s, l.said.String())
		}
	}
	for _, line := range strings.Split(l.said.String(), "\n") {
		routine := strings.Contains(line, "method=PATCH") && strings.Contains(line, "status=200")
		if routine && !strings.Contains(line, "level=DEBUG") || strings.Contains(line, "method=DELETE") && strings.Contains(line, "level=DEBUG") {
			t.Errorf("in the log at another level: %s", line)
		}
	}
	if !strings.Contains(l.said.String(), "/participants/:secret") {
		t.Error("the log has no request of a participant")
	}
}

func second[A, B any](_ A, b B) B { return b }

func TestAParticipantSaysNothingElse(t *testing.T) {
	l := openLobby(t, auth.New(auth.Config{}))
	const all = "/api/rooms/mri-2/participants"
	own, anna := l.enter("", `{"name": "Anna"}`)
	for _, tt := range []struct {
		body string
		want int
		says string
	}{
		{``, 400, "empty"}, {`null`, 400, "object"}, {`[]`, 400, "object"}, {`{"name":"Anna"`, 400, "object"}, {`{} {}`, 400, "object"},
		{`{"name":"A","Hand":true}`, 400, `no member "Hand", only`}, {`{"name":"A","id":"x"}`, 400, `microphone, name, privacy, publishers, role`},
		{`{"name":"A","speaking":true}`, 400, "speaking"}, {`{"name":"A","` + strings.Repeat("x", 1000) + `":1}`, 400, "…"},
		{`{"name":"A","hand":"true"}`, 400, "hand: must be true or false"}, {`{"name":"A","hand":null}`, 400, "hand"}, {`{"name":"A","privacy":1}`, 400, "privacy"},
		{`{"name":1}`, 400, "name: must be a text"}, {`{"name":" "}`, 400, "name"}, {`{"name":null}`, 400, "name"}, {`{"name":"A","role":"a b"}`, 400, "role"},
		{`{"name":"A","microphone":"loud"}`, 400, `"on", "off" or "none"`}, {`{"name":"A","camera":true}`, 400, "camera"},
		{`{"name":"A","call":"~"}`, 400, "role"}, {`{"name":"A","call":["x"]}`, 400, "call"},
		{`{"name":"A","publishers":"desk"}`, 400, "a list of names"}, {`{"name":"A","publishers":["a",1]}`, 400, "publishers"},
		{`{"name":"A","publishers":[null]}`, 400, "name"}, {`{"name":"A","publishers":["a b"]}`, 400, "name"},
		{`{"name":"A","publishers":[` + strings.Repeat(`"a",`, 16) + `"a"]}`, 400, "16"},
		{`{"name":"A"` + strings.Repeat(" ", 64<<10) + `}`, 413, "longer"},
	} {
		for path, ask := range map[string][]string{participantsPath: {"POST", all}, ownPath: {"PATCH", own}} {
			_, answer := l.ask(tt.want, path, ask[0], ask[1], "", tt.body, "Content-Type", "application/json")
			if got := decode[map[string]any](t, answer)["detail"].(string); !strings.Contains(got, tt.says) || len(got) > 300 {
				t.Errorf("%s %.80s: got %q, want %q in it", ask[0], tt.body, got, tt.says)
			}
		}
	}
	l.ask(400, participantsPath, "POST", all, "", `{}`)
	l.ask(400, participantsPath, "POST", all, "", `{"name":"Bert","answer":"`+anna.ID+`"}`) // he is not there yet
	l.ask(400, ownPath, "PATCH", own, "", `{"answer":true}`)
	l.ask(415, participantsPath, "POST", all, "", `{"name":"Bert"}`, "Content-Type", "text/plain")
	l.ask(415, ownPath, "PATCH", own, "", `{}`, "Content-Type", "application/merge-patch+json")
	l.ask(400, participantsPath, "POST", "/api/rooms/whip/participants", "", `{"name":"Bert"}`)
	l.ask(400, participantsPath, "GET", "/api/rooms/whip/participants", "", "")
	l.ask(400, ownPath, "PATCH", "/api/rooms/whip/participants/x", "", `{}`)
	l.ask(404, ownPath, "PATCH", strings.Replace(own, "mri-2", "mri-1", 1), "", `{}`)
	l.ask(404, ownPath, "PATCH", all+"/"+anna.ID, "", `{}`) // the public id opens nothing
	if _, answer := l.ask(200, ownPath, "PATCH", own, "", `{}`); decode[participant](t, answer).Name != "Anna" {
		t.Errorf("after all that: got %s", answer)
	}

	for url, want := range map[string][]string{
		all: {"Accept-Post", "GET, HEAD, OPTIONS, POST"}, own: {"Accept-Patch", "DELETE, OPTIONS, PATCH"}, own + "/leave": {"", "OPTIONS, POST"},
	} {
		if !strings.Contains(url, "://") {
			url = l.url + url
		}
		res, _ := request(t, "OPTIONS", url, "", "Origin", "https://desk.example", "Access-Control-Request-Method", "PATCH")
		h := res.Header
		if res.StatusCode != 200 || h.Get("Allow") != want[1] || want[0] != "" && h.Get(want[0]) != "application/json" ||
			h.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(h.Get("Access-Control-Allow-Methods"), "PATCH, DELETE") {
			t.Errorf("OPTIONS: got %d, %v, want Allow: %s, %s, and CORS", res.StatusCode, h, want[1], want[0])
		}
		if res, _ := request(t, "PUT", url, ""); res.StatusCode != 405 || res.Header.Get("Allow") != want[1] {
			t.Errorf("PUT: got %d, Allow: %s, want 405, %s", res.StatusCode, res.Header.Get("Allow"), want[1])
		}
	}
}

func TestParticipantsNeedATokenThatReads(t *testing.T) {
	const hospitals, technicians = "of-the-hospital", "of-the-technician"
	c := auth.Config{Tokens: []auth.Token{
		{Name: "all", SHA256: auth.HashToken(readAll), Scopes: []auth.Scope{auth.Read}},
		{Name: "one", SHA256: auth.HashToken(readOne), Scopes: []auth.Scope{auth.Read}, Publishers: []string{"console"}},
		{Name: "player", SHA256: auth.HashToken(playsOnly), Scopes: []auth.Scope{auth.Play}},
		{Name: "ct", SHA256: auth.HashToken(hospitals), Scopes: []auth.Scope{auth.Read}, Rooms: []string{"ct-1"}, Role: "hospital"},
		{Name: "tech", SHA256: auth.HashToken(technicians), Scopes: []auth.Scope{auth.Read, auth.Publish}, Publishers: []string{"desk", "cons*"}, Role: "technician"},
	}}
	l := openLobby(t, auth.New(c))
	const all, body = "/api/rooms/mri-2/participants", `{"name": "Anna", "role": "hospital"}`
	for _, tt := range []struct {
		token string
		want  int
	}{{"", 401}, {"guess", 401}, {playsOnly, 403}, {hospitals, 403}, {technicians, 403}, {readAll, 201}, {readOne, 201}} {
		l.ask(tt.want, participantsPath, "POST", all, tt.token, body)
	}
	if _, answer := l.ask(403, participantsPath, "POST", all, technicians, body); !bytes.Contains(answer, []byte(`role \"technician\"`)) {
		t.Errorf("got %s, want a word about the token's role", answer)
	}
	// A guest can't say that a camera is his, and have it taken for paused.
	guest, anna := l.enter(readAll, `{"name": "Anna", "publishers": ["console"], "privacy": true}`)
	if len(anna.Publishers) != 0 {
		t.Errorf("who may publish nothing says that he is %q", anna.Publishers)
	}
	for _, token := range []string{"", technicians} { // nor later, nor with another's token
		if _, answer := l.ask(200, ownPath, "PATCH", guest, token, `{"publishers": ["console"]}`); len(decode[participant](t, answer).Publishers) != 0 {
			t.Errorf("with the token %q he becomes %s", token, answer)
		}
	}
	l.ask(204, leavePath, "POST", guest+"/leave", "", "")

	own, berg := l.enter(technicians, `{"name": "Dr. Berg", "publishers": ["desk", "gantry", "console"]}`)
	if berg.Role != "technician" {
		t.Errorf("the role is %q, want the token's", berg.Role)
	}
	for _, tt := range []struct {
		token string
		want  int
	}{{"", 401}, {playsOnly, 403}, {hospitals, 403}, {readAll, 200}} {
		l.ask(tt.want, participantsPath, "GET", all, tt.token, "")
	}
	// The URL is enough, but a token that comes along has to be right.
	for _, tt := range []struct {
		token string
		want  int
	}{{"", 200}, {technicians, 200}, {"guess", 401}, {hospitals, 403}} {
		l.ask(tt.want, ownPath, "PATCH", own, tt.token, `{}`)
	}
	l.ask(403, ownPath, "PATCH", own, "", `{"role": "hospital"}`)

	// Who may not see a publisher doesn't see his name, nor that he speaks.
	seen := view{sees: func(_, publisher string) bool { return publisher != "desk" }}.
		participant("mri-2", rooms.ParticipantInfo{Publishers: []string{"desk", "console"}, Speaking: true})
	if len(seen.Publishers) != 1 || seen.Publishers[0] != "console" || seen.Speaking {
		t.Errorf("who may not see desk gets %+v", seen)
	}
	_, answer := l.ask(200, participantsPath, "GET", all, readOne, "")
	list := decode[participantList](t, answer).Participants
	if p := list[len(list)-1]; p.ID != berg.ID || len(p.Publishers) != 1 {
		t.Errorf("who may see console alone gets %+v", p)
	}
	if _, answer := l.ask(200, ownPath, "PATCH", own, "", `{}`); len(decode[participant](t, answer).Publishers) != 2 {
		t.Errorf("he himself gets %s", answer)
	}
	l.ask(401, leavePath, "POST", own+"/leave", "guess", "")
	l.ask(204, leavePath, "POST", own+"/leave", "", "")
}
