package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/pion/webrtc/v4"

	"sightline/internal/auth"
	"sightline/internal/doortest"
	"sightline/rooms/api"
)

var update = flag.Bool("update", false, "write the table of docs/SECURITY.md anew")

// signer is how the gateways of these tests know their tokens.
func signer() auth.JWTConfig {
	c := auth.Defaults().JWT
	c.Secret = "a secret of the tests, and of nothing else"
	return c
}

func mint(t *testing.T, g auth.Grant, life time.Duration) string {
	t.Helper()
	g.Expires = time.Now().Add(life)
	token, err := auth.Mint(signer(), g)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// An access is one gateway that all that the API description names is asked of, with every
// kind of token.
type access struct {
	t     *testing.T
	g     *doortest.Gateway
	all   string // a token for everything
	offer string // of a publisher
	watch string // of a viewer
	peer  *doortest.Peer
}

// An operation is a route and a method.
type operation struct {
	method, path string
	scope        auth.Scope // that it needs; "": none
	identifies   bool       // needs none, but tells whose token comes along, which has to be right
}

// fresh is a publisher that is not there yet: console is the test's.
const fresh = "gantry"

// A column is a token, and who has it.
type column struct {
	title string
	token func(a *access, op operation) string
}

// limited returns a token for what the operation needs, but for what change changes.
func limited(change func(op operation, g *auth.Grant)) func(*access, operation) string {
	return func(a *access, op operation) string {
		g := auth.Grant{Identity: auth.Identity{Name: "who asks", ID: "its id"}, Scopes: []auth.Scope{op.scope}, Rooms: []string{"mri-2"}}
		if op.scope == "" {
			g.Scopes = auth.Scopes()
		}
		life := time.Hour
		if change != nil {
			change(op, &g)
		}
		if g.ID == "expired" {
			life = -time.Second
		}
		if strings.HasPrefix(op.path, "/api/revocations") && g.ID != "other room" { // which is of no room
			g.Rooms = nil
		}
		if op.path == "/metrics" && g.ID != "other room" {
			g.Rooms = nil
		}
		return mint(a.t, g, life)
	}
}

func columns() []column {
	out := []column{
		{"no token", func(*access, operation) string { return "" }},
		{"expired", limited(func(_ operation, g *auth.Grant) { g.ID = "expired" })},
		{"revoked", limited(func(_ operation, g *auth.Grant) { g.ID = "revoked" })},
	}
	for _, s := range auth.Scopes() {
		out = append(out, column{"`" + string(s) + "`", limited(func(_ operation, g *auth.Grant) { g.Scopes = []auth.Scope{s} })})
	}
	return append(out,
		column{"other room", limited(func(_ operation, g *auth.Grant) { g.ID, g.Rooms = "other room", []string{"ct-1"} })},
		column{"other track", limited(func(op operation, g *auth.Grant) {
			g.Publishers = []string{"console/audio"}
			if op.method == http.MethodPost && op.scope == auth.Publish {
				g.Publishers = []string{fresh + "/audio"}
			}
			if op.method == http.MethodPatch && op.scope == auth.Admin { // what is muted is sound
				g.Publishers = []string{"console/video"}
			}
		})},
		column{"other role", limited(func(_ operation, g *auth.Grant) { g.Role = "technician" })},
		column{"right", limited(func(_ operation, g *auth.Grant) { g.Role = "hospital" })},
	)
}

// Each scope, each route and method, each kind of token: what is answered stands in
// docs/SECURITY.md. go test ./cmd/sightline -run TestAccess -update writes it.
func TestAccessIsAsDocumented(t *testing.T) {
	gateway := start(t, "SIGHTLINE_AUTH_JWT_SECRET="+signer().Secret, "SIGHTLINE_HTTP_RATE_LIMIT=0", "SIGHTLINE_AUDIT_FILE="+filepath.Join(t.TempDir(), "audit.log"))
	a := &access{t: t, g: doortest.At(t, gateway.base)}
	a.all = mint(t, auth.Grant{Identity: auth.Identity{Name: "the test"}, Scopes: auth.Scopes()}, time.Hour)
	sender, receiver := doortest.NewPeer(t), doortest.NewPeer(t)
	sender.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8, webrtc.MimeTypeOpus)
	receiver.Receive(t, webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio)
	a.offer, a.watch = sender.Offer(t, nil), receiver.Offer(t, nil)
	if res := a.json("POST", "/api/revocations", `{"jti": "revoked"}`); res.StatusCode != http.StatusCreated {
		t.Fatalf("revoke: %d %s", res.StatusCode, res.Text)
	}

	var table strings.Builder
	all := columns()
	table.WriteString("| route | needs |")
	for _, c := range all {
		table.WriteString(" " + c.title + " |")
	}
	table.WriteString("\n|---|---|" + strings.Repeat("---|", len(all)) + "\n")
	for _, op := range operations(t) {
		needs := "nothing"
		if op.scope != "" {
			needs = "`" + string(op.scope) + "`"
		}
		fmt.Fprintf(&table, "| %s `%s` | %s |", op.method, op.path, needs)
		got := make(map[string]int)
		for _, c := range all {
			got[c.title] = a.ask(op, c.token(a, op))
			fmt.Fprintf(&table, " %d |", got[c.title])
		}
		table.WriteString("\n")
		a.judge(op, got)
	}
	compare(t, table.String())
}

// judge holds what was observed against the rules, so that -update can't write down a hole.
func (a *access) judge(op operation, got map[string]int) {
	a.t.Helper()
	bad := func(format string, args ...any) {
		a.t.Errorf("%s %s: %s", op.method, op.path, fmt.Sprintf(format, args...))
	}
	if right := got["right"]; right >= 300 && right != http.StatusNotFound {
		bad("the right token is answered %d", right)
	}
	if op.scope == "" {
		for title, status := range got {
			wrong := op.identifies && (title == "expired" || title == "revoked")
			if refused := status == http.StatusUnauthorized || status == http.StatusForbidden; refused != wrong {
				bad("it needs nothing, and %s is answered %d", title, status)
			}
		}
		return
	}
	if open := capability(op) && got["no token"] < 300; !open && got["no token"] != http.StatusUnauthorized {
		bad("no token is answered %d, want 401", got["no token"])
	}
	for _, title := range []string{"expired", "revoked"} {
		if got[title] != http.StatusUnauthorized {
			bad("%s is answered %d, want 401", title, got[title])
		}
	}
	for _, s := range auth.Scopes() {
		if title := "`" + string(s) + "`"; s != op.scope && got[title] != http.StatusForbidden {
			bad("%s is answered %d, want 403", title, got[title])
		} else if s == op.scope && got[title] >= 300 {
			bad("%s is answered %d", title, got[title])
		}
	}
	inRoom := strings.Contains(op.path, "{room}") || strings.Contains(op.path, "{session}") || strings.HasPrefix(op.path, "/api/revocations") || op.path == "/metrics"
	if inRoom && got["other room"] != http.StatusForbidden {
		bad("a token for another room is answered %d, want 403", got["other room"])
	}
	ofTrack := strings.Contains(op.path, "{publisher}") || strings.Contains(op.path, "{session}")
	if ofTrack && got["other track"] != http.StatusForbidden {
		bad("a token for another track is answered %d, want 403", got["other track"])
	}
	says := op.method == http.MethodPost && strings.HasPrefix(op.path, "/whip/") || strings.Contains(op.path, "/participants") && (op.method == http.MethodPatch || op.method == http.MethodPost && !strings.Contains(op.path, "{secret}"))
	if says && got["other role"] != http.StatusForbidden {
		bad("a token of another role is answered %d, want 403", got["other role"])
	}
}

// capability says of an operation that its URL is a secret, which stands for a token.
func capability(op operation) bool {
	return strings.Contains(op.path, "{session}") || strings.Contains(op.path, "{secret}")
}

// operations are all that the API description names, but for OPTIONS, which preflights ask
// without a token.
func operations(t *testing.T) []operation {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(api.Description)
	if err != nil {
		t.Fatal(err)
	}
	var out []operation
	items := doc.Paths.Map()
	for _, path := range slices.Sorted(maps.Keys(items)) {
		methods := items[path].Operations()
		for _, method := range slices.Sorted(maps.Keys(methods)) {
			if method == http.MethodOptions {
				continue
			}
			op := operation{method: method, path: path}
			security := doc.Security
			if s := methods[method].Security; s != nil {
				security = *s
			}
			for _, requirement := range security {
				if scopes, bearer := requirement["bearer"]; bearer && len(scopes) == 0 {
					op.identifies = true
				}
				for _, scope := range requirement["bearer"] {
					op.scope = auth.Scope(scope)
				}
			}
			if strings.HasPrefix(path, "/sessions/") {
				op.scope = auth.Publish // of the session that the test begins
			}
			out = append(out, op)
		}
	}
	if len(out) < 25 {
		t.Fatalf("the description has %d operations, want 25 or more", len(out))
	}
	return out
}

// ask makes a request of its kind that is right but for its token, and returns the status.
func (a *access) ask(op operation, token string) int {
	a.t.Helper()
	if a.peer == nil {
		a.peer = doortest.NewPeer(a.t)
		a.peer.Send(a.t, doortest.Keyframe, webrtc.MimeTypeVP8, webrtc.MimeTypeOpus)
		a.peer.Connect(a.t, a.g, "/whip/mri-2/console?role=hospital", "Authorization", "Bearer "+a.all)
		a.live()
	}
	target := strings.NewReplacer("{room}", "mri-2", "{publisher}", "console", "{kind}", "video").Replace(op.path)
	body, kind := "", "application/json"
	header := []string{}
	switch {
	case strings.Contains(target, "{session}"):
		target = strings.Replace(target, "/sessions/{session}", a.session(), 1)
		body, kind = "a=end-of-candidates\r\n", "application/trickle-ice-sdpfrag"
		header = append(header, "If-Match", "*")
		if op.method == http.MethodPatch {
			body = fragment(a.offer)
		}
	case strings.Contains(target, "{secret}"):
		target = strings.Replace(target, "/api/rooms/mri-2/participants/{secret}", a.participant(), 1)
		body = `{"role": "hospital"}`
	case strings.HasSuffix(target, "/participants"):
		body = `{"name": "somebody", "role": "hospital"}`
	case strings.Contains(target, "{invitation}"):
		target = strings.Replace(target, "{invitation}", a.made("/api/rooms/mri-2/invitations", `{"expires_in": 60}`), 1)
	case strings.HasSuffix(target, "/invitations"):
		body = `{"expires_in": 60, "scopes": ["room:admin"], "publishers": ["console/audio"]}`
	case strings.Contains(target, "{revocation}"):
		target = strings.Replace(target, "{revocation}", a.made("/api/revocations", `{"jti": "x"}`), 1)
	case target == "/api/revocations":
		body = `{"jti": "another"}`
	case op.method == http.MethodPost && strings.HasPrefix(target, "/whip/"):
		target = strings.Replace(target, "console", fresh, 1) + "?role=hospital"
		body, kind = a.offer, "application/sdp"
	case op.method == http.MethodPost && strings.HasPrefix(target, "/whep/"):
		body, kind = a.watch, "application/sdp"
	case op.method == http.MethodPatch:
		body = `{"muted": false}`
	}
	if op.method == http.MethodGet || op.method == http.MethodDelete {
		body = ""
	}
	req, err := http.NewRequestWithContext(a.t.Context(), op.method, a.g.URL+target, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if body != "" {
		req.Header.Set("Content-Type", kind)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") { // which has no end
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			a.t.Fatal(err)
		}
	}
	if res.StatusCode == http.StatusCreated && kind == "application/sdp" {
		a.json("DELETE", res.Header.Get("Location"), "")
	}
	if op.method == http.MethodDelete && op.scope == auth.Admin && strings.Contains(op.path, "/publishers/") && res.StatusCode == http.StatusNoContent {
		a.peer.WaitClosed(a.t)
		a.peer = nil
	}
	return res.StatusCode
}

// fragment is a PATCH that changes nothing: the offer's own credentials.
func fragment(offer string) string {
	var out strings.Builder
	for line := range strings.Lines(offer) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "a=ice-ufrag:") || strings.HasPrefix(line, "a=ice-pwd:") {
			out.WriteString(line + "\r\n")
		}
		if strings.HasPrefix(line, "a=ice-pwd:") {
			break
		}
	}
	return out.String()
}

// json makes a request with the token for everything.
func (a *access) json(method, target, body string) doortest.Response {
	a.t.Helper()
	return a.g.Do(a.t, method, target, body, "Content-Type", "application/json", "Authorization", "Bearer "+a.all)
}

// live waits until both tracks of the publisher are.
func (a *access) live() {
	a.t.Helper()
	doortest.Eventually(a.t, func() string {
		res := a.json("GET", "/api/rooms/mri-2/tracks", "")
		if n := strings.Count(res.Text, `"state":"live"`); n != 2 {
			return fmt.Sprintf("%d tracks are live, want 2: %s", n, res.Text)
		}
		return ""
	})
}

// session begins a session of WHIP, and returns its path.
func (a *access) session() string {
	a.t.Helper()
	// It never connects, and so takes nothing over.
	res := a.g.Post(a.t, "/whip/mri-2/console", a.offer, "Authorization", "Bearer "+a.all)
	if res.StatusCode != http.StatusCreated {
		a.t.Fatalf("begin a session: %d %s", res.StatusCode, res.Text)
	}
	return strings.TrimPrefix(res.Header.Get("Location"), a.g.URL)
}

// participant enters the room, and returns the path of the participant's own URL.
func (a *access) participant() string {
	a.t.Helper()
	res := a.json("POST", "/api/rooms/mri-2/participants", `{"name": "somebody"}`)
	if res.StatusCode != http.StatusCreated {
		a.t.Fatalf("enter the room: %d %s", res.StatusCode, res.Text)
	}
	return strings.TrimPrefix(res.Header.Get("Location"), a.g.URL)
}

// made makes something and returns its id.
func (a *access) made(path, body string) string {
	a.t.Helper()
	res := a.json("POST", path, body)
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(res.Text), &made); err != nil || res.StatusCode != http.StatusCreated {
		a.t.Fatalf("POST %s: %d %s", path, res.StatusCode, res.Text)
	}
	return made.ID
}

// compare holds the table against the one between the marks in docs/SECURITY.md, or puts it there.
func compare(t *testing.T, table string) {
	t.Helper()
	const begin, end = "<!-- access: written by TestAccessIsAsDocumented -->\n", "<!-- /access -->"
	path := filepath.Join(root, "docs/SECURITY.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(text, []byte(begin))
	documented, after, closed := bytes.Cut(rest, []byte(end))
	if !ok || !closed {
		t.Fatalf("%s has no marks %q and %q", path, begin, end)
	}
	if string(documented) == table {
		return
	}
	if !*update {
		t.Errorf("docs/SECURITY.md says\n%s\nobserved was\n%s\n-update writes it", documented, table)
		return
	}
	if t.Failed() {
		t.Fatal("not written: see above")
	}
	if err := os.WriteFile(path, slices.Concat(before, []byte(begin), []byte(table), []byte(end), after), 0o644); err != nil {
		t.Fatal(err)
	}
}
