package forward

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sightline/internal/auth"
	"sightline/internal/cluster"
	"sightline/internal/doortest"
	"sightline/internal/opt"
	"sightline/rooms/api"
)

// A listener reads a stream of events.
type listener struct {
	t      *testing.T
	res    *http.Response
	events chan shown // closed at the end
	retry  int        // lines; valid after the end
	leave  context.CancelFunc
}

// shown is what a client sees of an event.
type shown struct {
	Line  string // its id: line
	ID    string
	Type  string
	Room  string
	Rooms []struct {
		Name         string
		Participants []struct{ Name string }
	}
	Participant *struct{ Name string }
}

func (e shown) String() string {
	s := e.Type
	if e.Room != "" && e.Type != "snapshot" {
		s += " " + e.Room
	}
	for _, r := range e.Rooms {
		s += " " + r.Name
	}
	if e.Participant != nil {
		s += " " + e.Participant.Name
	}
	return s
}

func listen(t *testing.T, g *gateway, path string, header ...string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", g.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	transport := &http.Transport{}
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{t: t, res: res, events: make(chan shown, 1000), leave: cancel}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(l.events)
		var e shown
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			line := lines.Text()
			if strings.HasPrefix(line, "retry:") {
				l.retry++
			}
			if id, ok := strings.CutPrefix(line, "id: "); ok {
				e = shown{Line: id}
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					t.Error(err)
				}
				l.events <- e
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = res.Body.Close()
		transport.CloseIdleConnections()
	})
	return l
}

// want waits for an event that reads so, and returns it; others may come before. Snapshots among them fail.
func (l *listener) want(text string) shown {
	l.t.Helper()
	var before []string
	timeout := time.After(10 * time.Second)
	for {
		select {
		case e, ok := <-l.events:
			if !ok {
				l.t.Fatalf("the stream has ended, after %q; want %q", before, text)
			}
			if e.Line != e.ID {
				l.t.Errorf("id: %s, in the JSON %s", e.Line, e.ID)
			}
			if e.String() == text {
				return e
			}
			if e.Type == "snapshot" {
				l.t.Fatalf("got %q, want %q", e, text)
			}
			before = append(before, e.String())
		case <-timeout:
			l.t.Fatalf("no %q, but %q", text, before)
		}
	}
}

// settles waits until one of two events has come, of which the second tells what the first would: a
// request that has moved the room is answered while the stream moves.
func (l *listener) settles(one, other string) {
	l.t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case e := <-l.events:
			if s := e.String(); s == one || s == other {
				return
			}
		case <-timeout:
			l.t.Fatalf("neither %q nor %q", one, other)
		}
	}
}

// wantSoon fails unless an event takes 200 ms at most, in most of five tries: a busy machine may hold up one.
func wantSoon(t *testing.T, try func(name string)) {
	t.Helper()
	var took []time.Duration
	for i := range 5 {
		began := time.Now()
		try(fmt.Sprint("Ada ", i))
		took = append(took, time.Since(began))
	}
	if slices.Sort(took); took[2] > 200*time.Millisecond {
		t.Errorf("events took %s, want 200 ms at most", took)
	}
}

// ends waits for the end of the stream.
func (l *listener) ends() {
	l.t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case _, ok := <-l.events:
			if !ok {
				return
			}
		case <-timeout:
			l.t.Fatal("the stream has not ended")
		}
	}
}

func enter(t *testing.T, g *gateway, room, name string, header ...string) string {
	t.Helper()
	res := g.Do(t, "POST", "/api/rooms/"+room+"/participants", fmt.Sprintf(`{"name": %q}`, name), append([]string{"Content-Type", jsonType}, header...)...)
	if res.StatusCode != 201 {
		t.Fatalf("enter %s: %d %s", room, res.StatusCode, res.Text)
	}
	return path(t, g, res.Header.Get("Location"))
}

// One response, whoever the room lives on.
func TestRoomsEventsFollowItsOwner(t *testing.T) {
	m, _, b, c := trio(t, nil)
	l := listen(t, c, "/api/rooms/mri-2/events")
	if e := l.want("snapshot"); !strings.HasPrefix(e.ID, "c.") {
		t.Errorf("id %q, want one of node c", e.ID)
	}
	began := time.Now()
	own := enter(t, b, "mri-2", "Ada") // a has the room now
	l.settles("snapshot mri-2", "participant mri-2 Ada")
	t.Logf("the owner's events came %s after the request", time.Since(began))
	wantSoon(t, func(name string) {
		b.Do(t, "PATCH", own, fmt.Sprintf(`{"name": %q}`, name), "Content-Type", jsonType)
		if e := l.want("participant mri-2 " + name); !strings.HasPrefix(e.ID, "a.") {
			t.Errorf("id %q, want one of node a", e.ID)
		}
	})
	m.own("mri-2", "b") // which has nothing of it
	l.want("snapshot")
	enter(t, c, "mri-2", "Mary")
	l.want("participant mri-2 Mary")
	m.own("mri-2", "c")
	l.want("snapshot")
	m.own("mri-2", "b")
	l.want("snapshot mri-2")
	m.lose("b")
	l.want("snapshot")
	enter(t, c, "mri-2", "Rosalind")
	l.want("snapshot mri-2") // a took it again, which has Ada still
	l.leave()
	l.ends()
	if l.retry != 1 {
		t.Errorf("%d retry lines, want 1", l.retry)
	}
	if got := l.res.Header.Values("Cache-Control"); !slices.Equal(got, []string{"no-store"}) || l.res.Header.Get("X-Accel-Buffering") != "no" {
		t.Errorf("header %v", l.res.Header)
	}
}

// Who comes back, to whatever node, gets what he has missed; the ids of one node are nothing to another.
func TestComingBackToEvents(t *testing.T) {
	m, _, b, c := trio(t, nil)
	own := enter(t, b, "mri-2", "Ada")
	l := listen(t, b, "/api/rooms/mri-2/events")
	last := l.want("snapshot mri-2")
	l.leave()
	b.Do(t, "PATCH", own, `{"name": "Grace"}`, "Content-Type", jsonType)
	again := listen(t, c, "/api/rooms/mri-2/events", "Last-Event-ID", last.ID)
	again.want("participant mri-2 Grace") // and no snapshot
	m.own("mri-2", "b")
	enter(t, c, "mri-2", "Mary")
	for _, id := range []string{last.ID, strings.Replace(last.ID, "a.", "", 1), "b.", "b.x", "a.b.1"} {
		listen(t, c, "/api/rooms/mri-2/events", "Last-Event-ID", id).want("snapshot mri-2")
	}
}

// All rooms: one snapshot, and what happens anywhere.
func TestEventsOfAllNodes(t *testing.T) {
	m, a, b, c := trio(t, nil)
	for i, g := range []*gateway{a, b, c} {
		m.own(fmt.Sprintf("room-%d", 3-i), g.node.self.ID)
		enter(t, g, fmt.Sprintf("room-%d", 3-i), "Ada")
	}
	l := listen(t, b, "/api/events", "Last-Event-ID", "b.1")
	l.want("snapshot room-1 room-2 room-3")
	for i := range 3 {
		room := fmt.Sprintf("room-%d", i+1)
		enter(t, b, room, "Grace")
		l.want("participant " + room + " Grace")
	}
	start(t, m, "d", nil, cluster.Config{}) // has nothing: nobody is told
	e := start(t, m, "e", nil, cluster.Config{})
	m.own("room-4", "e")
	enter(t, b, "room-4", "Mary")
	l.settles("participant room-4 Mary", "snapshot room-1 room-2 room-3 room-4") // it has come with her, or before
	m.lose("d")
	enter(t, e, "room-4", "Rosalind")
	l.want("participant room-4 Rosalind")
	m.lose("e")
	l.want("snapshot room-1 room-2 room-3")
	m.own("room-1", "a") // it was c's, whose sessions of it will end
	l.want("snapshot room-2 room-3")
	enter(t, b, "room-1", "Lise")
	l.want("participant room-1 Lise")
	l.leave()
	l.ends()
	if l.retry != 1 {
		t.Errorf("%d retry lines, want 1", l.retry)
	}
}

// A node that comes with rooms is in a new snapshot.
func TestNodeComesWithRooms(t *testing.T) {
	m, a, b, _ := trio(t, nil)
	m.own("room-1", "a")
	enter(t, a, "room-1", "Ada")
	m.own("room-2", "b")
	enter(t, b, "room-2", "Ada")
	hidden := m.nodes["b"]
	m.change(func() { delete(m.nodes, "b") })
	l := listen(t, a, "/api/events")
	l.want("snapshot room-1")
	m.change(func() { m.nodes["b"] = hidden })
	l.want("snapshot room-1 room-2")
}

// A node that does not answer holds nobody up, and is in the snapshot when it does.
func TestNodeIsLate(t *testing.T) {
	m, _, b, c := trio(t, nil)
	m.own("room-1", "c")
	enter(t, c, "room-1", "Ada")
	free := make(chan struct{})
	m.change(func() {
		m.during = func(to string) {
			if to == "c" {
				<-free
			}
		}
	})
	l := listen(t, b, "/api/events")
	l.want("snapshot")
	close(free)
	l.want("snapshot room-1")
}

// Streams are counted where a client asks, once.
func TestStreamsAreCountedOnce(t *testing.T) {
	m := newMesh()
	m.api.MaxStreamsPerAddress = 1
	m.place = "a"
	a, b := start(t, m, "a", nil, cluster.Config{}), start(t, m, "b", nil, cluster.Config{})
	enter(t, b, "mri-2", "Ada")
	first := listen(t, b, "/api/rooms/mri-2/events")
	first.want("snapshot mri-2")
	for _, path := range []string{"/api/rooms/mri-2/events", "/api/events"} {
		if res := b.Do(t, "GET", path, ""); res.StatusCode != 429 || res.Problem["limit"] != "api.max_streams_per_address" {
			t.Errorf("%s, the second: got %d %s", path, res.StatusCode, res.Text)
		}
	}
	listen(t, a, "/api/rooms/mri-2/events").want("snapshot mri-2")
	first.leave()
	doortest.Eventually(t, func() string {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", b.URL+"/api/events", nil)
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		res, err := transport.RoundTrip(req)
		if err != nil {
			return err.Error()
		}
		defer res.Body.Close()
		if res.StatusCode != 200 {
			return "the first stream is still counted"
		}
		return ""
	})
}

// A stream ends with its token, though another node serves it, and its reader is not told that as
// a change of owner.
func TestStreamEndsWithItsToken(t *testing.T) {
	signer := auth.Defaults().JWT
	signer.Secret = "a secret of the tests, and of nothing else"
	_, a, b, _ := trio(t, func(o *doortest.Options) { o.Auth.JWT = signer })
	mint := func(life time.Duration) string {
		token, err := auth.Mint(signer, auth.Grant{Identity: auth.Identity{Name: "x", Expires: time.Now().Add(life)}, Scopes: []auth.Scope{auth.Read}})
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + token
	}
	enter(t, b, "mri-2", "Ada", "Authorization", mint(time.Hour))
	short := mint(3 * time.Second)
	one := listen(t, b, "/api/rooms/mri-2/events", "Authorization", short)
	all := listen(t, b, "/api/events", "Authorization", short)
	one.want("snapshot mri-2")
	all.want("snapshot mri-2")
	one.ends()
	all.ends()
	if n := len(a.Audit.Events("refused")) + len(b.Audit.Events("refused")); n != 0 {
		t.Errorf("%d refusals were recorded, of nobody", n)
	}
	if res := b.Do(t, "GET", "/api/rooms/mri-2/events", "", "Authorization", short); res.StatusCode != 401 {
		t.Errorf("coming back: got %d", res.StatusCode)
	}
}

// pipes is a network without any buffer: a reader that takes nothing is noticed at the next byte.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil } // net/http calls it once
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// A reader that takes nothing is cut off, and nothing goes on for it anywhere.
func TestSlowReaderOfAnothersEvents(t *testing.T) {
	for _, target := range []string{"/api/rooms/mri-2/events", "/api/events"} {
		m := newMesh()
		m.api.WriteTimeout = opt.Duration(300 * time.Millisecond)
		m.place = "a"
		a, b := start(t, m, "a", nil, cluster.Config{}), start(t, m, "b", nil, cluster.Config{})
		own := enter(t, a, "mri-2", "Ada")
		network := &pipes{make(chan net.Conn), make(chan struct{})}
		server := &http.Server{Handler: b.Router}
		served := make(chan error, 1)
		go func() { served <- server.Serve(network) }()
		near, far := net.Pipe()
		_ = near.SetDeadline(time.Now().Add(10 * time.Second))
		network.conns <- far
		go func() { _, _ = fmt.Fprintf(near, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target) }()
		r := bufio.NewReader(near)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(line, "data: ") {
				break
			}
		}
		for i := range 20 { // and he reads no more
			a.Do(t, "PATCH", own, fmt.Sprintf(`{"name": "Ada %d"}`, i), "Content-Type", jsonType)
		}
		var err error
		for err == nil { // until the far side is closed: nobody reads there
			_, err = near.Write([]byte("x"))
		}
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: the connection is still open: %v", target, err)
		}
		_ = near.Close()
		_ = server.Close()
		<-served
	}
}

// The gateway ends, and with it the streams of its own clients.
func TestStreamsEndWithTheGateway(t *testing.T) {
	m := newMesh()
	m.place = "a"
	start(t, m, "a", nil, cluster.Config{})
	var a *api.API
	b := start(t, m, "b", nil, cluster.Config{})
	a = b.api
	enter(t, b, "mri-2", "Ada")
	one, all := listen(t, b, "/api/rooms/mri-2/events"), listen(t, b, "/api/events")
	one.want("snapshot mri-2")
	all.want("snapshot mri-2")
	a.Close() // waits for both
	one.ends()
	all.ends()
}

// Who follows a room is told that it has moved, and why, whichever node he asks.
func TestMoveIsTold(t *testing.T) {
	m, a, b, c := trio(t, nil)
	enter(t, b, "mri-2", "Ada")
	followers := []*listener{listen(t, a, "/api/rooms/mri-2/events"), listen(t, b, "/api/rooms/mri-2/events"), listen(t, c, "/api/rooms/mri-2/events")}
	for _, l := range followers {
		l.want("snapshot mri-2")
	}
	m.own("mri-2", "b") // as the new owner says it, before the old one lets go
	a.Rooms.Move("mri-2", "drained")
	for i, l := range followers {
		if e := l.want("room-moved mri-2"); !strings.HasPrefix(e.ID, "a.") {
			t.Errorf("follower %d: id %q, want one of node a", i, e.ID)
		}
		l.want("snapshot")
	}
	enter(t, c, "mri-2", "Ada")
	for _, l := range followers {
		l.want("participant mri-2 Ada")
		if l.leave(); l.retry != 1 {
			t.Errorf("%d retry lines, want 1: the stream goes on", l.retry)
		}
	}
	all := listen(t, c, "/api/events")
	all.want("snapshot mri-2")
	b.Rooms.Move("mri-2", "contested")
	all.want("room-moved mri-2")
	m.own("mri-2", "a")
	all.want("snapshot")
}

// In a large cluster something changes all the time: a stream of all rooms does not look at each of them each time.
func TestStreamOfAllRoomsLooksNowAndThen(t *testing.T) {
	m, a, b, _ := trio(t, nil)
	m.own("mri-2", "a")
	enter(t, a, "mri-2", "Ada")
	l := listen(t, b, "/api/events")
	l.want("snapshot mri-2")
	looks := func() (n int) {
		m.change(func() { n = m.looked })
		return n
	}
	before, changes := looks(), 0
	for began := time.Now(); time.Since(began) < 10*lookEvery; changes++ {
		m.own("other", "a")
		time.Sleep(time.Millisecond) // that much changes is the test
	}
	if n := looks() - before; n > 30 {
		t.Errorf("%d looks at an owner, with %d changes, in %s, want one each %s and a few", n, changes, 10*lookEvery, lookEvery)
	}
	m.own("mri-2", "b")
	l.want("snapshot")
}
