package forward

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/cluster"
	"sightline/internal/doortest"
	"sightline/internal/httpapi"
)

const jsonType = "application/json"

func publish(t *testing.T, g *gateway, path string, header ...string) (*doortest.Peer, doortest.Response) {
	t.Helper()
	p := doortest.NewPeer(t)
	p.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8, webrtc.MimeTypeOpus)
	return p, p.Connect(t, g.Gateway, path, header...)
}

func offer(t *testing.T) string {
	t.Helper()
	p := doortest.NewPeer(t)
	p.Receive(t, webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio)
	return p.Offer(t, nil)
}

// live waits until the publisher has n live tracks, as a node tells.
func live(t *testing.T, g *gateway, room string, n int) {
	t.Helper()
	doortest.Eventually(t, func() string {
		res := g.Do(t, "GET", "/api/rooms/"+room+"/tracks", "")
		if got := strings.Count(res.Text, `"state":"live"`); got != n {
			return fmt.Sprintf("%d tracks are live, want %d: %d %s", got, n, res.StatusCode, res.Text)
		}
		return ""
	})
}

// A room lives on one node; each answers for it, under its own address.
func TestAnyNodeAnswersForARoom(t *testing.T) {
	_, a, b, c := trio(t, nil)
	p, made := publish(t, b, "/whip/mri-2/console?role=hospital")
	session := path(t, b, made.Header.Get("Location"))
	if !strings.HasPrefix(session, "/sessions/a.") {
		t.Errorf("session %q, want one of node a", session)
	}
	if links := made.Header.Values("Link"); len(links) != 1 || !strings.Contains(links[0], b.URL+"/whep/mri-2/~mix") {
		t.Errorf("Link %q, want the return audio at %s", links, b.URL)
	}
	for _, g := range []*gateway{a, b, c} {
		live(t, g, "mri-2", 2)
		res := g.Do(t, "GET", "/api/rooms/mri-2", "")
		if !strings.Contains(res.Text, g.URL+"/whep/mri-2/console") || strings.Count(res.Text, "http://") != strings.Count(res.Text, g.URL+"/") {
			t.Errorf("node %s: URLs are not of the node that was asked: %s", g.node.self.ID, res.Text)
		}
	}
	if len(b.Rooms.Rooms())+len(c.Rooms.Rooms()) != 0 || len(a.Rooms.Rooms()) != 1 {
		t.Error("the room lives on more than its owner")
	}
	viewer := doortest.NewPeer(t)
	viewer.Receive(t, webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio)
	viewer.Connect(t, c.Gateway, "/whep/mri-2/console")
	listener := doortest.NewPeer(t)
	listener.Receive(t, webrtc.RTPCodecTypeAudio)
	listener.Connect(t, b.Gateway, "/whep/mri-2/~mix")
	if a.Sessions.Len() != 3 {
		t.Errorf("the owner has %d sessions, want 3", a.Sessions.Len())
	}

	entered := c.Do(t, "POST", "/api/rooms/mri-2/participants", `{"name": "Ada", "role": "hospital"}`, "Content-Type", jsonType)
	own := path(t, c, entered.Header.Get("Location"))
	for _, step := range []struct {
		g                  *gateway
		method, path, body string
		status             int
	}{
		{b, "PATCH", own, `{"hand": true}`, 200},
		{a, "PATCH", own, `{"hand": false}`, 200},
		{b, "GET", "/api/rooms/mri-2/participants", "", 200},
		{b, "HEAD", "/api/rooms/mri-2/participants", "", 200},
		{b, "POST", own + "/leave", "bye", 204},
		{c, "DELETE", own, "", 404},
		{c, "PATCH", "/api/rooms/mri-2/publishers/console", `{"muted": true}`, 200},
		{c, "PATCH", "/api/rooms/ct-1/publishers/console", `{"muted": true}`, 404},
		{c, "GET", session, "", 200},
		{c, "HEAD", session, "", 200},
		{b, "OPTIONS", session, "", 200},
		{c, "DELETE", viewer.Session[len(c.URL):], "", 200},
		{b, "DELETE", "/api/rooms/mri-2/publishers/console", "", 204},
		{b, "POST", "/whep/ct-1/console", "v=0", 400}, // nobody has it: this node's own doors say what is wrong
	} {
		kind := jsonType
		if strings.HasPrefix(step.path, "/whep/") {
			kind = "application/sdp"
		}
		res := step.g.Do(t, step.method, step.path, step.body, "Content-Type", kind)
		if res.StatusCode != step.status {
			t.Errorf("%s %s at %s: got %d %s, want %d", step.method, step.path, step.g.node.self.ID, res.StatusCode, res.Text, step.status)
		}
	}
	p.WaitClosed(t)
	for _, g := range []*gateway{b, c} {
		if g.Sessions.Len() != 0 {
			t.Errorf("node %s has %d sessions", g.node.self.ID, g.Sessions.Len())
		}
	}
	if n := a.node.held["mri-2"]; n != 0 {
		t.Errorf("the room is still held %d times", n)
	}
}

// A session is trickled and deleted through any node; the mesh has lost its node: 404.
func TestSessionThroughAnyNode(t *testing.T) {
	m, _, b, c := trio(t, nil)
	p, made := publish(t, b, "/whip/mri-2/console")
	session := path(t, b, p.Session)
	fragment := func(g *gateway, etag string) doortest.Response {
		var ufrag, pwd string
		for line := range strings.Lines(p.LocalDescription().SDP) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "a=ice-ufrag:") {
				ufrag = line
			}
			if strings.HasPrefix(line, "a=ice-pwd:") {
				pwd = line
			}
		}
		return g.Do(t, "PATCH", session, ufrag+"\r\n"+pwd+"\r\n", "Content-Type", "application/trickle-ice-sdpfrag", "If-Match", etag)
	}
	if res := fragment(c, made.Header.Get("ETag")); res.StatusCode != 204 {
		t.Errorf("trickle: got %d %s", res.StatusCode, res.Text)
	}
	if res := fragment(c, `"stale"`); res.StatusCode != 412 {
		t.Errorf("stale ETag: got %d %s", res.StatusCode, res.Text)
	}
	if res := c.Do(t, "DELETE", session, ""); res.StatusCode != 200 || res.Header.Get("Sightline-Ended") != "deleted" {
		t.Errorf("DELETE: got %d %s, ended by %q", res.StatusCode, res.Text, res.Header.Get("Sightline-Ended"))
	}
	p.WaitClosed(t)
	if res := fragment(b, "*"); res.StatusCode != 404 {
		t.Errorf("after DELETE: got %d", res.StatusCode)
	}
	m.lose("a")
	if res := c.Do(t, "DELETE", session, ""); res.StatusCode != 404 {
		t.Errorf("its node is gone: got %d %s, want 404", res.StatusCode, res.Text)
	}
}

// What a client sees is what the owner itself would say: each header field, as often.
func TestAnswersAreAlike(t *testing.T) {
	_, a, b, _ := trio(t, func(o *doortest.Options) { o.HTTP.AllowedOrigins = []string{"https://console.example.org"} })
	publish(t, a, "/whip/mri-2/console")
	live(t, a, "mri-2", 2)
	watch := offer(t)
	for _, tt := range []struct{ method, path, kind, body string }{
		{"GET", "/api/rooms/mri-2", "", ""},
		{"HEAD", "/api/rooms/mri-2", "", ""},
		{"GET", "/api/rooms/mri-2/tracks", "", ""},
		{"POST", "/api/rooms/mri-2/participants", jsonType, `{"name": "Ada"}`},
		{"POST", "/api/rooms/mri-2/participants", jsonType, `{"name": 3}`},
		{"POST", "/api/rooms/mri-2/participants", jsonType, strings.Repeat("x", 70_000)},
		{"POST", "/whep/mri-2/console", "application/sdp", watch},
		{"POST", "/whep/mri-2/console", "text/plain", watch},
		{"POST", "/whep/mri-2/gantry", "application/sdp", watch},
		{"POST", "/whip/mri-2/gantry", "application/sdp", strings.Repeat("v=0 ", 15_000)},
		{"DELETE", "/api/rooms/mri-2/publishers/nobody", "", ""},
		{"GET", "/api/rooms", "", ""},
	} {
		var said [2]string
		for i, g := range []*gateway{a, b} {
			res := g.Do(t, tt.method, tt.path, tt.body, "Content-Type", tt.kind, "Origin", "https://console.example.org")
			said[i] = fmt.Sprintln(res.StatusCode)
			for _, name := range slices.Sorted(maps.Keys(res.Header)) {
				values := slices.Clone(res.Header.Values(name))
				for j, v := range values {
					switch name {
					case "X-Request-Id", "Etag", "Content-Length", "Date":
						v = ""
					case "Location":
						v = v[:strings.LastIndex(v, "/")]
					}
					values[j] = strings.ReplaceAll(v, g.URL, "")
				}
				said[i] += fmt.Sprintln(name, values)
			}
		}
		if said[0] != said[1] {
			t.Errorf("%s %s: the owner says\n%sanother node\n%s", tt.method, tt.path, said[0], said[1])
		}
	}
}

// Where a client is, its node has seen; no header field of his says otherwise.
func TestTheOwnerKnowsTheClient(t *testing.T) {
	_, a, b, _ := trio(t, func(o *doortest.Options) { o.HTTP.TrustedProxies = []string{"127.0.0.2/32", "203.0.113.0/24"} })
	forged := []string{
		"X-Forwarded-For", "192.0.2.66", "X-Real-Ip", "192.0.2.66", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https",
		"Forwarded", "for=192.0.2.66", "Connection", "X-Secret", "X-Secret", "hop",
	}
	p, made := publish(t, b, "/whip/mri-2/console", forged...)
	path(t, b, made.Header.Get("Location"))
	if e := a.Audit.Await(t, audit.Published, 1)[0]; e.Address != "127.0.0.1" {
		t.Errorf("the audit log says %q, want 127.0.0.1", e.Address)
	}
	if res := b.Do(t, "GET", "/api/rooms/mri-2", "", forged...); strings.Contains(res.Text, "evil") || strings.Contains(res.Text, "https://") {
		t.Errorf("the room repeats a forged address: %s", res.Text)
	}
	p.Close()

	// What a declared proxy says holds at the owner, and once only.
	m := newMesh()
	m.place = "a"
	behind := func(o *doortest.Options) { o.HTTP.TrustedProxies = []string{"127.0.0.0/8", "192.0.2.0/24"} }
	a, b = start(t, m, "a", behind, cluster.Config{}), start(t, m, "b", behind, cluster.Config{})
	_, made = publish(t, b, "/whip/mri-2/console", "X-Forwarded-For", "198.51.100.7, 192.0.2.66", "X-Forwarded-Host", "gateway.example", "X-Forwarded-Proto", "https")
	if l := made.Header.Get("Location"); !strings.HasPrefix(l, "https://gateway.example/sessions/a.") {
		t.Errorf("Location %q, want one at the proxy", l)
	}
	if e := a.Audit.Await(t, audit.Published, 1)[0]; e.Address != "198.51.100.7" {
		t.Errorf("the audit log says %q, want 198.51.100.7", e.Address)
	}
}

func tokens(a *auth.Config, tokens ...auth.Token) { a.Tokens = tokens }

// Who may nothing is refused where he asks, is in one audit log, and fills no directory.
func TestStrangersAreRefusedAtTheEntry(t *testing.T) {
	camera := auth.NewToken()
	m, a, b, _ := trio(t, func(o *doortest.Options) {
		tokens(&o.Auth, auth.Token{Name: "camera", SHA256: auth.HashToken(camera), Scopes: []auth.Scope{auth.Publish}, Rooms: []string{"mri-*"}})
	})
	m.during = func(to string) { t.Errorf("something was brought to node %s", to) }
	for _, tt := range []struct {
		path, token string
		status      int
	}{
		{"/whip/mri-2/console", "", 401},
		{"/whip/mri-2/console", "wrong", 401},
		{"/whip/ct-1/console", camera, 403},
		{"/whep/mri-2/~mix", camera, 403},
		{"/whep/mri-2/console", camera, 403},
		{"/whip/api/console", camera, 403},
		{"/whip/mri-2/~console", camera, 400},
		{"/api/rooms/mri-2/participants", camera, 403},
	} {
		header := []string{}
		if tt.token != "" {
			header = []string{"Authorization", "Bearer " + tt.token}
		}
		if res := b.Post(t, tt.path, "v=0", header...); res.StatusCode != tt.status {
			t.Errorf("%s with %q: got %d %s, want %d", tt.path, tt.token, res.StatusCode, res.Text, tt.status)
		}
	}
	if m.placed != 0 {
		t.Errorf("%d rooms were placed for strangers", m.placed)
	}
	if n := len(b.Audit.Events(audit.Refused)); n != 7 {
		t.Errorf("%d refusals in the entry's audit log, want 7", n)
	}

	// What only the owner can refuse is in its log alone.
	m.change(func() { m.during = nil })
	_, made := publish(t, b, "/whip/mri-2/console", "Authorization", "Bearer "+camera)
	before := len(b.Audit.Events(audit.Refused))
	if res := b.Do(t, "DELETE", made.Header.Get("Location"), "", "Authorization", "Bearer wrong"); res.StatusCode != 401 {
		t.Errorf("a wrong token at a session: got %d", res.StatusCode)
	}
	if got := len(a.Audit.Events(audit.Refused)); got != 1 || len(b.Audit.Events(audit.Refused)) != before {
		t.Errorf("the owner's audit log has %d refusals, the entry's %d more; want 1 and 0", got, len(b.Audit.Events(audit.Refused))-before)
	}
	if e := a.Audit.Events(audit.Refused); len(e) == 1 && (e[0].Address != "127.0.0.1" || e[0].Request != "DELETE /sessions/:id") {
		t.Errorf("refused: %+v", e[0])
	}
}

// The owner goes down with a request in hand: a new one gets it, or there is none.
func TestOwnerIsLostInTheMiddle(t *testing.T) {
	m, _, b, c := trio(t, nil)
	m.own("mri-2", "a")
	m.during = func(to string) {
		if to == "a" {
			m.change(func() { m.place = "c" })
			m.lose("a")
		}
	}
	_, made := publish(t, b, "/whip/mri-2/console")
	if s := path(t, b, made.Header.Get("Location")); !strings.HasPrefix(s, "/sessions/c.") {
		t.Errorf("session %q, want one of node c", s)
	}
	m.change(func() {
		m.during = func(string) { m.change(func() { delete(m.nodes, "c"); delete(m.owners, "mri-2") }) }
	})
	if res := b.Do(t, "GET", "/api/rooms/mri-2", ""); res.StatusCode != 200 && res.StatusCode != 404 {
		t.Errorf("a room whose owner is lost: got %d %s, want 404", res.StatusCode, res.Text)
	}
	if res := b.Do(t, "GET", "/api/rooms/mri-2", ""); res.StatusCode != 404 {
		t.Errorf("a room whose owner is lost: got %d %s, want 404", res.StatusCode, res.Text)
	}
	_ = c
}

// A node that is asked for a room that is not its own says so, and never brings it on.
func TestEntryLooksAgain(t *testing.T) {
	m, a, b, c := trio(t, nil)
	publish(t, c, "/whip/mri-2/console") // a has it
	live(t, c, "mri-2", 2)
	m.change(func() { b.node.view["mri-2"] = "c" })
	asked := 0
	m.change(func() {
		m.during = func(to string) {
			if asked++; to == "c" {
				m.change(func() { delete(b.node.view, "mri-2") })
			}
		}
	})
	if res := b.Do(t, "GET", "/api/rooms/mri-2", ""); res.StatusCode != 200 || asked != 2 {
		t.Errorf("got %d %s, after %d calls, want 200 after 2", res.StatusCode, res.Text, asked)
	}
	asked = 0
	m.change(func() {
		m.during = func(string) { asked++ }
		b.node.view["mri-2"], a.node.view["mri-2"], c.node.view["mri-2"] = "c", "b", "a"
	})
	for _, method := range []string{"GET", "DELETE"} {
		target := map[string]string{"GET": "/api/rooms/mri-2", "DELETE": "/api/rooms/mri-2/publishers/console"}[method]
		res := b.Do(t, method, target, "")
		if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || res.Problem["status"] != 503.0 {
			t.Errorf("%s that nobody owns: got %d %s", method, res.StatusCode, res.Text)
		}
	}
	if asked != 2*attempts {
		t.Errorf("%d calls for two requests, want %d", asked, 2*attempts)
	}
}

func TestNoNodeTakesARoom(t *testing.T) {
	m, _, b, _ := trio(t, nil)
	m.place = ""
	if res := b.Post(t, "/whip/mri-2/console", "v=0"); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %s, want 503 with Retry-After", res.StatusCode, res.Text)
	}
}

// The rooms of all nodes are one list, with one tag.
func TestListOfAllNodes(t *testing.T) {
	m, a, b, c := trio(t, nil)
	for i, g := range []*gateway{a, b, c} {
		name := fmt.Sprintf("room-%d", 3-i)
		m.own(name, g.node.self.ID)
		if res := g.Do(t, "POST", "/api/rooms/"+name+"/participants", `{"name": "Ada"}`, "Content-Type", jsonType); res.StatusCode != 201 {
			t.Fatalf("enter: %d %s", res.StatusCode, res.Text)
		}
	}
	// c has room-3, which is a's, from before.
	m.change(func() { c.node.view["room-3"] = "c" })
	c.Do(t, "POST", "/api/rooms/room-3/participants", `{"name": "Old"}`, "Content-Type", jsonType)
	m.change(func() { delete(c.node.view, "room-3") })

	read := func(g *gateway, header ...string) (names []string, missing []string, res doortest.Response) {
		res = g.Do(t, "GET", "/api/rooms", "", header...)
		var l struct {
			Rooms []struct {
				Name         string
				Participants []struct{ Name string }
			}
			Missing []string
		}
		if res.StatusCode == 200 {
			if err := json.Unmarshal([]byte(res.Text), &l); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range l.Rooms {
			names = append(names, r.Name)
			if len(r.Participants) != 1 || r.Participants[0].Name != "Ada" {
				t.Errorf("%s is not as its owner has it: %v", r.Name, r.Participants)
			}
		}
		return names, l.Missing, res
	}
	want := []string{"room-1", "room-2", "room-3"}
	for _, g := range []*gateway{a, b, c} {
		names, missing, res := read(g)
		if !slices.Equal(names, want) || missing != nil || strings.Contains(res.Text, "missing") {
			t.Errorf("node %s: %v, without %v, want %v", g.node.self.ID, names, missing, want)
		}
		if !strings.Contains(res.Text, g.URL) || strings.Count(res.Text, "http://") != strings.Count(res.Text, g.URL) {
			t.Errorf("node %s: URLs of others: %s", g.node.self.ID, res.Text)
		}
		if _, _, again := read(g, "If-None-Match", res.Header.Get("ETag")); again.StatusCode != 304 {
			t.Errorf("with its tag: got %d", again.StatusCode)
		}
	}
	withoutC := func(why string) {
		t.Helper()
		if names, missing, _ := read(b); !slices.Equal(names, want[1:]) || !slices.Equal(missing, []string{"node-c"}) {
			t.Errorf("%s: got %v, without %v, want %v without node-c", why, names, missing, want[1:])
		}
	}
	m.change(func() {
		m.during = func(to string) {
			if to == "c" {
				time.Sleep(gatherFor + 100*time.Millisecond)
			}
		}
	})
	withoutC("it is late")
	m.change(func() { m.during = nil; m.nodes["c"].die() })
	withoutC("it is there, and does not answer")
}

// RFC 9725, section 4.5: 307, with an absolute Location.
func TestRedirect(t *testing.T) {
	m := newMesh()
	m.place = "a"
	c := cluster.Config{Forward: "redirect"}
	named := c
	named.URL = "https://a.example/gateway/"
	start(t, m, "a", nil, named)
	b := start(t, m, "b", nil, c)
	b.Gateway = b.Gateway.Still()
	for _, tt := range []struct {
		method, path string
		status       int
		location     string
	}{
		{"POST", "/whip/mri-2/console?role=hospital&label=M%20R", 307, "https://a.example/gateway/whip/mri-2/console?role=hospital&label=M%20R"},
		{"POST", "/whep/mri-2/console/video", 307, "https://a.example/gateway/whep/mri-2/console/video"},
		{"GET", "/whip/mri-2/console", 200, ""},
		{"GET", "/api/rooms/mri-2/tracks", 404, ""},
		{"POST", "/api/rooms/mri-2/participants", 415, ""},
		{"DELETE", "/sessions/a.xyz", 404, ""},
	} {
		res := b.Do(t, tt.method, tt.path, "v=0", "Content-Type", "application/sdp")
		if res.StatusCode != tt.status || res.Header.Get("Location") != tt.location {
			t.Errorf("%s %s: got %d to %q, want %d to %q", tt.method, tt.path, res.StatusCode, res.Header.Get("Location"), tt.status, tt.location)
		}
	}
	// Our own pages may ask their own origin alone, and any page's token is dropped on the way to another one.
	if res := b.Do(t, "POST", "/whip/mri-2/console", "v=0", "Content-Type", "application/sdp", "Origin", "https://b.example"); res.StatusCode != 400 {
		t.Errorf("a page: got %d to %q, want 400 from the owner", res.StatusCode, res.Header.Get("Location"))
	}
	m.change(func() { m.nodes["a"].self.URL = "" })
	if res := b.Post(t, "/whip/mri-2/console", "v=0"); res.StatusCode != 400 {
		t.Errorf("to a node without a URL: got %d, want 400 from there", res.StatusCode)
	}
}

// A node asks in its own name, and may everything; nobody else gets that name.
func TestNodesOwnRequests(t *testing.T) {
	m, a, b, _ := trio(t, func(o *doortest.Options) {
		tokens(&o.Auth, auth.Token{Name: "nobody", SHA256: auth.HashToken(auth.NewToken()), Scopes: []auth.Scope{auth.Read}})
	})
	m.own("mri-2", "a")
	for _, to := range []*gateway{a, b} {
		m.own("mri-2", to.node.self.ID)
		r, err := http.NewRequestWithContext(t.Context(), "POST", "/api/rooms/mri-2/participants", strings.NewReader(`{"name": "Ada"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", jsonType)
		res, err := b.forward.Do(t.Context(), to.node.self, r)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 201 || !strings.HasPrefix(res.Header.Get("Location"), "/api/rooms/mri-2/participants/") {
			t.Errorf("got %d to %q", res.StatusCode, res.Header.Get("Location"))
		}
		if e := to.Audit.Await(t, audit.Entered, 1)[0]; e.Name != "node node-b" || e.Kind != "node" {
			t.Errorf("the audit log says %q, a %q", e.Name, e.Kind)
		}
	}
	for _, header := range [][]string{
		{"Authorization", "Bearer node node-b"}, {"Authorization", "node node-b"}, {"Own", "true"}, {"From", "node-b"},
	} {
		if res := b.Do(t, "GET", "/api/rooms/mri-2", "", header...); res.StatusCode != 401 {
			t.Errorf("%q: got %d, want 401", header, res.StatusCode)
		}
	}
}

// The log of another node is read at any.
func TestAuditOfANode(t *testing.T) {
	_, a, b, _ := trio(t, nil)
	direct := a.Do(t, "GET", "/api/audit", "")
	for query, want := range map[string]int{"": direct.StatusCode, "?node=node-b": direct.StatusCode, "?node=node-a": direct.StatusCode, "?node=node-x": 404} {
		res := b.Do(t, "GET", "/api/audit"+query, "")
		if res.StatusCode != want {
			t.Errorf("%q: got %d %s, want %d", query, res.StatusCode, res.Text, want)
		}
		if detail, _ := res.Problem["detail"].(string); query == "?node=node-x" && !strings.Contains(detail, "node-a, node-b, node-c") {
			t.Errorf("%q: %s doesn't say what would be right", query, detail)
		}
	}
}

// A URL that looks like that of a session elsewhere is no way round the limit of the address.
func TestSessionsOfOthersAreLimited(t *testing.T) {
	_, _, b, _ := trio(t, func(o *doortest.Options) {
		o.HTTP.RateLimit, o.HTTP.RateBurst = 0.001, 5
		o.HTTP.SessionRateLimit, o.HTTP.SessionRateBurst = 0.001, 8
	})
	_, made := publish(t, b, "/whip/mri-2/console")
	session := path(t, b, made.Header.Get("Location"))
	statuses := make(map[int]int)
	for i := range 10 {
		statuses[b.Do(t, "DELETE", fmt.Sprintf("/sessions/a.%d", i), "").StatusCode]++
	}
	if statuses[404] != 4 || statuses[429] != 6 {
		t.Errorf("sessions that are not: %v, want 4 times 404 and 6 times 429", statuses)
	}
	clear(statuses)
	for range 10 {
		statuses[b.Do(t, "PATCH", session, "x").StatusCode]++
	}
	if statuses[415] != 8 || statuses[429] != 2 {
		t.Errorf("one that is: %v, want 8 times 415 and 2 times 429", statuses)
	}
}

// A node that has not been heard of yet is told, as any, when the room is not here.
func TestStrangerAmongNodesHasToLookAgain(t *testing.T) {
	m, _, b, _ := trio(t, nil)
	m.own("mri-2", "a")
	r, err := http.NewRequestWithContext(t.Context(), "POST", "/api/rooms/mri-2/participants", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", jsonType)
	data, err := pack(r, []byte(`{"name": "Ada"}`), httpapi.Arrival{Client: netip.MustParseAddr("192.0.2.1")})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := b.node.call[Verb](t.Context(), cluster.Member{ID: "new"}, data)
	if err != nil {
		t.Fatal(err)
	}
	if res, body, err := readResponse(answer, "b"); err != nil || res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("got %v %s %v, want 421", res.Status, body, err)
	}
}

// Who looks again waits for what there is to see of this room, though much else changes.
func TestEntryLooksAgainWhileOthersChange(t *testing.T) {
	m, _, b, c := trio(t, nil)
	enter(t, c, "mri-2", "Ada") // a has it
	m.change(func() { b.node.view["mri-2"] = "c" })
	right := time.Now().Add(50 * time.Millisecond)
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
			m.change(func() {
				if time.Now().After(right) {
					delete(b.node.view, "mri-2")
				}
			})
		}
	}()
	res := b.Do(t, "GET", "/api/rooms/mri-2", "")
	close(done)
	<-stopped
	if res.StatusCode != 200 {
		t.Errorf("got %d %s, want 200", res.StatusCode, res.Text)
	}
}

// Whether a viewer is near is a matter of his own address, not of the /64 that he is counted by.
func TestRelayKnowsTheViewersAddress(t *testing.T) {
	m := newMesh()
	m.place = "a"
	behind := func(o *doortest.Options) { o.HTTP.TrustedProxies = []string{"127.0.0.0/8"} }
	start(t, m, "a", behind, cluster.Config{})
	b := start(t, m, "b", behind, cluster.Config{})
	m.own("mri-2", "a")
	var near netip.Addr
	b.forward.Relay(func(client netip.Addr, _ cluster.Member) bool { near = client; return false })
	b.Post(t, "/whep/mri-2/console", "v=0", "X-Forwarded-For", "2001:db8::a:0:0:5")
	if want := netip.MustParseAddr("2001:db8::a:0:0:5"); near != want {
		t.Errorf("the viewer is at %s, want %s", near, want)
	}
}
