//go:build e2e

package e2e

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A target is a gateway with tokens that the bad input goes to, while a browser plays a live picture.
type target struct {
	*server
	token  string // may do everything in the rooms or-1 and bad
	client *http.Client
}

const (
	badRoom  = "bad"
	debugURL = "http://127.0.0.1:6061"
)

// targetConfig is the gateway's configuration; %s are the origin of the browser's page and hashes of tokens.
const targetConfig = `
[http]
listen = "` + serverIP + `:8080"
insecure = true
allowed_origins = ["https://console.example.org", "%s"]

[ice]
tcp_listen = ":8189"
setup_timeout = "6s"

[rooms]
grace = "3s"

[metrics]
debug_listen = "127.0.0.1:6061"

[auth.jwt]
secret = "` + jwtSecret + `"

[[auth.tokens]]
name = "everything"
sha256 = "%s"
scopes = ["publish", "play", "read", "admin"]

[[auth.tokens]]
name = "narrow"
sha256 = "%s"
scopes = ["publish", "play"]
rooms = ["elsewhere"]
publishers = ["console"]
`

const (
	jwtSecret   = "secret-0123456789abcdef0123456789abcdef"
	fullToken   = "full-0123456789abcdef0123456789abcdef0123456789"
	narrowToken = "narrow-0123456789abcdef0123456789abcdef01234567"
)

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// serveTarget starts the gateway of this test, for a browser whose page is of the origin.
func serveTarget(t *testing.T, origin string) *target {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, targetConfig, origin, hashOf(fullToken), hashOf(narrowToken)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, base: "http://" + serverIP + ":8080"}
	s.p = start(t, "sightline", []string{os.Getenv(insideEnv), "serve", "-config", file})
	s.awaitReady()
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8}
	t.Cleanup(transport.CloseIdleConnections)
	return &target{s, fullToken, &http.Client{
		Transport:     transport,
		Timeout:       20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// A response is an answer to a request, read to its end.
type response struct {
	status int
	header http.Header
	body   string
}

// do makes a request; header are names and values in turn. A path begins at the gateway.
func (g *target) do(t *testing.T, method, target, body string, header ...string) response {
	t.Helper()
	if strings.HasPrefix(target, "/") {
		target = g.base + target
	}
	req, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Add(header[i], header[i+1])
	}
	res, err := g.client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{res.StatusCode, res.Header, string(text)}
}

// raw sends bytes as they are, from the address from ("": any), and reads the response.
func (g *target) raw(t *testing.T, request string, halfClose bool) (response, bool) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(g.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	var writing sync.WaitGroup
	writing.Go(func() {
		_, _ = io.WriteString(c, request) // the gateway may have heard enough
		if halfClose {
			_ = c.(*net.TCPConn).CloseWrite()
		}
	})
	defer writing.Wait()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no response: %v", err)
	}
	body, _ := io.ReadAll(res.Body)
	closed := res.Close
	_ = c.Close()
	return response{res.StatusCode, res.Header, string(body)}, closed
}

// wants checks a refusal or a success: its status, that failures are problem documents, and what headers say.
func (r response) wants(t *testing.T, status int, header map[string]string) {
	t.Helper()
	if r.status != status {
		t.Errorf("got %d %s, want %d", r.status, r.body, status)
		return
	}
	if status >= 400 {
		var problem struct{ Title, Detail string }
		if got := r.header.Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("a refusal of type %q: %s", got, r.body)
		} else if err := json.Unmarshal([]byte(r.body), &problem); err != nil || problem.Detail+problem.Title == "" {
			t.Errorf("no problem document: %v: %s", err, r.body)
		}
	}
	for name, want := range header {
		got := r.header.Get(name)
		if want == "-" && got != "" || want != "-" && !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// A reading is what the gateway holds.
type reading struct{ goroutines, files, heap int }

func (r reading) String() string {
	return fmt.Sprintf("%d goroutines, %d open files (sockets), %.2f MiB of heap", r.goroutines, r.files, float64(r.heap)/(1<<20))
}

// read takes a reading after a garbage collection.
func (g *target) read(t *testing.T) (r reading) {
	t.Helper()
	scan := func(path, format string, v *int) {
		res, err := http.Get(debugURL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		prefix, _, _ := strings.Cut(format, "%")
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), prefix) {
				if _, err := fmt.Sscanf(lines.Text(), format, v); err != nil {
					t.Fatal(err)
				}
				return
			}
		}
		t.Fatalf("%s has no line like %q", path, format)
	}
	scan("/debug/pprof/heap?gc=1&debug=1", "# HeapAlloc = %d", &r.heap)
	scan("/debug/pprof/goroutine?debug=1", "goroutine profile: total %d", &r.goroutines)
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	r.files = len(files)
	return r
}

// settled returns the first reading that is no more than want with some slack, or the last after a while.
func (g *target) settled(t *testing.T, want reading, limit time.Duration) reading {
	t.Helper()
	// The debug listener's own connections. Of the heap 0.4 MiB is what bad input leaves (docs/SECURITY.md says what); the
	// rest is the live picture's packets, of which there are more or fewer at any moment: one reading of several must fit.
	slack := reading{goroutines: 4, files: 2, heap: 1 << 20}
	for end := time.Now().Add(limit); ; time.Sleep(500 * time.Millisecond) {
		g.client.CloseIdleConnections()
		http.DefaultClient.CloseIdleConnections()
		r := g.read(t)
		fits := r.goroutines <= want.goroutines+slack.goroutines && r.files <= want.files+slack.files && r.heap <= want.heap+slack.heap
		if fits || time.Now().After(end) {
			if !fits {
				t.Errorf("afterwards %v; before it were %v", r, want)
			}
			return r
		}
	}
}

// state is that of a track in a room, "" if there is none.
func (g *target) state(t *testing.T, in, id string) (tr track) {
	t.Helper()
	res := g.do(t, http.MethodGet, "/api/rooms/"+in+"/tracks", "", "Authorization", "Bearer "+g.token)
	if res.status == http.StatusNotFound {
		return track{}
	}
	var list struct{ Tracks []track }
	if err := json.Unmarshal([]byte(res.body), &list); err != nil {
		t.Fatalf("%d %s: %v", res.status, res.body, err)
	}
	for _, tr := range list.Tracks {
		if tr.ID == id {
			return tr
		}
	}
	return track{}
}

// count sums the samples of a metric whose labels contain all of those given.
func (g *target) count(t *testing.T, name string, labels ...string) (sum float64) {
	t.Helper()
	res := g.do(t, http.MethodGet, "/metrics", "", "Authorization", "Bearer "+g.token)
	if res.status != http.StatusOK {
		t.Fatalf("/metrics is answered %d", res.status)
	}
	for line := range strings.Lines(res.body) {
		if v, err := sample(strings.TrimSpace(line), name, labels); err == nil {
			sum += v
		}
	}
	return sum
}

// An onlooker is a browser that plays the live picture all the while.
type onlooker struct {
	*browser
	frames []frame
}

// look takes in what was shown since, and fails the test if the picture stopped.
func (w *onlooker) look(t *testing.T, during string) {
	t.Helper()
	last := len(w.frames)
	w.browser.t = t
	w.frames = append(w.frames, w.browser.frames("viewer")...)
	gap := longestGap(w.frames[max(0, last-1):])
	if gap > time.Second {
		t.Errorf("%s: the viewer's picture stood still for %v", during, gap.Round(time.Millisecond))
	}
}

// Every row of the catalogue of bad input (docs/CONFORMANCE.md) against the running gateway, which meanwhile forwards a
// live picture to a browser: that never stops, and afterwards the gateway holds what it held before.
func TestBadInput(t *testing.T) {
	b := launch(t, "chromium")
	var origin string
	b.call(&origin, 5*time.Second, "origin")
	g := serveTarget(t, origin)
	ffmpeg(t, g.whip("console"), camera{Size: "640x360", Keyframe: 30, Token: g.token})
	eventually(t, 15*time.Second, func() error {
		if tr := g.state(t, room, "console/video"); tr.State != "live" {
			return fmt.Errorf("the camera is %q", tr.State)
		}
		return nil
	})
	b.play("viewer", g.whep("console")+"#"+g.token, "audio video", "")
	b.firstFrame("viewer", 10*time.Second)
	w := &onlooker{browser: b}
	session := g.state(t, room, "console/video").Session

	g.do(t, http.MethodGet, "/api/rooms", "", "Authorization", "Bearer "+g.token) // what is made once is made
	before := g.settled(t, reading{1 << 20, 1 << 20, 1 << 30}, 0)
	began := time.Now()
	b.frames("viewer") // those until now don't count
	first := b.stats("viewer")

	rows := slices.Concat(requestRows, offerRows, sessionRows, wireRows)
	for _, r := range rows {
		t.Run(fmt.Sprintf("row %d: %s", r.row, r.name), func(t *testing.T) { r.do(t, g) })
		w.look(t, r.name)
	}
	b.t = t

	last := b.stats("viewer")
	decoded, took := last.Video.FramesDecoded-first.Video.FramesDecoded, time.Since(began)
	t.Logf("%d rows in %v; the viewer decoded %d frames, longest time without one %v, %d freezes", len(rows), took.Round(time.Second),
		decoded, longestGap(w.frames).Round(time.Millisecond), last.Video.FreezeCount)
	if want := int(took.Seconds() * 30 * 0.9); decoded < want {
		t.Errorf("the viewer decoded %d frames in %v, want %d", decoded, took, want)
	}
	if now := g.state(t, room, "console/video"); now.Session != session || now.State != "live" {
		t.Errorf("the camera's session is %q, %s; it was %q", now.Session, now.State, session)
	}
	// Who never connected is ended by the setup's timeout, 6 s; a room stays for its grace, 3 s.
	after := g.settled(t, before, 20*time.Second)
	t.Logf("before: %v; after: %v", before, after)
	for _, doors := range []string{"sightline_whip_sessions", "sightline_whep_sessions"} {
		if n := g.count(t, doors); n != 1 {
			t.Errorf("%s is %v, want 1: the camera or the viewer", doors, n)
		}
	}
	for _, want := range requiredRows() {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.row == want }) {
			t.Errorf("row %d of docs/CONFORMANCE.md is not tried", want)
		}
	}
}

// requiredRows are the numbers of the catalogue.
func requiredRows() (rows []int) {
	text, err := os.ReadFile("../../docs/CONFORMANCE.md")
	if err != nil {
		panic(err) // the test runs in its folder
	}
	_, catalogue, _ := strings.Cut(string(text), "\n## Bad input\n")
	catalogue, _, _ = strings.Cut(catalogue, "\n## ")
	for line := range strings.Lines(catalogue) {
		var n int
		if _, err := fmt.Sscanf(line, "| %d |", &n); err == nil {
			rows = append(rows, n)
		}
	}
	return rows
}

// A row is one kind of bad input, and what becomes of it.
type row struct {
	row  int
	name string
	do   func(t *testing.T, g *target)
}
