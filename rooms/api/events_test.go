package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"sightline/internal/auth"
	"sightline/internal/opt"
	"sightline/rooms"
)

// A client reads server-sent events as a browser does (HTML, section 9.2.6).
type client struct {
	t     *testing.T
	res   *http.Response
	lines *bufio.Reader
	gone  context.CancelFunc
}

type message struct {
	id, name, data string
	comment        string // a block that only holds a comment
	retry          string
}

// connect opens a stream of events and returns it with the watcher that feeds it.
func connect(t *testing.T, h *fakeHeart, url, token string, header ...string) (*client, *fakeWatcher) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("got %d: %s", res.StatusCode, body)
	}
	c := &client{t, res, bufio.NewReader(res.Body), cancel}
	if m := c.next(); m.retry != "2000" {
		t.Fatalf("the stream begins with %+v, want retry: 2000", m)
	}
	return c, <-h.watchers
}

// next returns the next block; the test fails if the stream ends before it.
func (c *client) next() message {
	c.t.Helper()
	m, err := c.read()
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (c *client) read() (message, error) {
	var m message
	for {
		line, err := c.lines.ReadString('\n')
		if err != nil {
			return m, err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			m.id = value
		case "event":
			m.name = value
		case "data":
			m.data += value
		case "retry":
			m.retry = value
		case "":
			if line == "\n" {
				return m, nil
			}
			m.comment = value
		}
	}
}

// ended reports whether the stream ends in good order.
func (c *client) ended() error {
	for {
		if _, err := c.read(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// count returns how many streams are open.
func (a *API) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.streams
}

func quick() Config {
	return Config{MaxStreams: 2, MaxStreamsPerAddress: 2, Ping: opt.Duration(time.Minute), WriteTimeout: opt.Duration(10 * time.Second)}
}

func TestEventsBeginWithASnapshotAndAreAsDescribed(t *testing.T) {
	schema := description(t).Components.Schemas["Event"].Value
	h := &fakeHeart{all: hospital()}
	_, server := serve(t, quick(), h, auth.New(auth.Config{}))
	c, w := connect(t, h, server.URL+"/api/rooms/mri-1/events", "")
	if got := c.res.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type: got %q", got)
	}
	if w.room != "mri-1" || w.after != 0 {
		t.Errorf("watched room %q after %d, want mri-1 after 0", w.room, w.after)
	}
	changed, removed := video("mri-1", "console"), audio("mri-1", "console")
	berg := rooms.ParticipantInfo{
		ID: "nwd8ZVjiAWTk", Name: "Dr. Berg", Role: "technician", Since: began, Microphone: rooms.On, Camera: rooms.None,
		Publishers: []string{"desk"}, Speaking: true,
	}
	h.all[2].Participants = []rooms.ParticipantInfo{berg}
	for i, e := range []rooms.Event{
		{Type: rooms.SnapshotEvent, Room: "mri-1", Rooms: h.all[2:]},
		{Type: rooms.SnapshotEvent, Room: "mri-1"}, // nothing there
		{Type: rooms.TrackChanged, Room: "mri-1", Track: &changed},
		{Type: rooms.TrackRemoved, Room: "mri-1", Track: &removed},
		{Type: rooms.SpeakingChanged, Room: "mri-1", Speakers: []string{"console", "injector"}},
		{Type: rooms.SpeakingChanged, Room: "mri-1"}, // nobody speaks any more
		{Type: rooms.ParticipantChanged, Room: "mri-1", Participant: &berg},
		{Type: rooms.ParticipantLeft, Room: "mri-1", Participant: &berg},
		{Type: rooms.RoomClosed, Room: "mri-1"},
		{Type: rooms.RoomOpened, Room: "mri-1"},
	} {
		e.ID, e.Time = uint64(40+i), began
		w.events <- e
		m := c.next()
		if m.name != "" {
			t.Errorf("%s has the name %q: onmessage would not see it", e.Type, m.name)
		}
		var v map[string]any
		if err := json.Unmarshal([]byte(m.data), &v); err != nil {
			t.Fatalf("%s: %v: %s", e.Type, err, m.data)
		}
		if err := schema.VisitJSON(v, openapi3.EnableJSONSchema2020()); err != nil {
			t.Errorf("%s: %v\n%s", e.Type, err, m.data)
		}
		if v["type"] != string(e.Type) || v["id"] != m.id || m.id != fmt.Sprint(e.ID) {
			t.Errorf("got id %q and %s, want a %s with the id twice", m.id, m.data, e.Type)
		}
	}
}

func TestEventOfATrackHoldsTheTrackOfTheAPI(t *testing.T) {
	h := &fakeHeart{all: hospital()}
	_, server := serve(t, quick(), h, auth.New(auth.Config{}))
	c, w := connect(t, h, server.URL+"/api/events", "")
	info := video("mri-1", "console")
	w.events <- rooms.Event{ID: 1, Type: rooms.TrackChanged, Room: "mri-1", Time: began, Track: &info}
	var got struct{ Track json.RawMessage }
	if err := json.Unmarshal([]byte(c.next().data), &got); err != nil {
		t.Fatal(err)
	}
	_, body := request(t, "GET", server.URL+"/api/rooms/mri-1/tracks", "")
	var want struct{ Tracks []json.RawMessage }
	if err := json.Unmarshal(body, &want); err != nil {
		t.Fatal(err)
	}
	if string(got.Track) != string(want.Tracks[1]) {
		t.Errorf("event\n%s\nAPI\n%s", got.Track, want.Tracks[1])
	}
}

func TestClientThatComesBackGetsWhatItMissed(t *testing.T) {
	h := &fakeHeart{all: hospital()}
	_, server := serve(t, quick(), h, auth.New(auth.Config{}))
	c, w := connect(t, h, server.URL+"/api/rooms/mri-1/events", "")
	w.events <- rooms.Event{ID: 17, Type: rooms.RoomOpened, Room: "mri-1", Time: began}
	seen := c.next().id
	c.gone()
	<-w.closed
	for _, tt := range []struct {
		name, id string
		want     uint64
	}{
		{"the id that it saw", seen, 17},
		{"none", "", 0},
		{"something else", "x", 0},
		{"a negative number", "-17", 0},
		{"more than there is", "99999999999999999999", 0},
	} {
		c, w := connect(t, h, server.URL+"/api/rooms/mri-1/events", "", "Last-Event-ID", tt.id)
		if w.after != tt.want {
			t.Errorf("%s, %q: watched after %d, want %d", tt.name, tt.id, w.after, tt.want)
		}
		c.gone()
		<-w.closed
	}
}

func TestQuietStreamIsPinged(t *testing.T) {
	h := &fakeHeart{all: hospital()}
	config := quick()
	config.Ping = opt.Duration(20 * time.Millisecond)
	_, server := serve(t, config, h, auth.New(auth.Config{}))
	c, w := connect(t, h, server.URL+"/api/rooms/mri-1/events", "")
	for range 2 {
		if m := c.next(); m.comment != "ping" {
			t.Errorf("got %+v, want the comment ping", m)
		}
	}
	w.events <- rooms.Event{ID: 1, Type: rooms.RoomOpened, Room: "mri-1", Time: began}
	for {
		m := c.next()
		if m.comment == "ping" {
			continue
		}
		if m.data == "" {
			t.Errorf("got %+v, want the event after pings", m)
		}
		return
	}
}

func TestReaderThatTakesNothingIsCutOff(t *testing.T) {
	h := &fakeHeart{}
	for i := range 200 {
		h.all = append(h.all, roomWith(fmt.Sprintf("room-%d", i), "console", "injector"))
	}
	config := quick()
	config.WriteTimeout = opt.Duration(100 * time.Millisecond)
	_, server := serve(t, config, h, auth.New(auth.Config{}))
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /api/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	w := <-h.watchers
	for i := uint64(1); ; i++ {
		select {
		case w.events <- rooms.Event{ID: i, Type: rooms.SnapshotEvent, Time: began, Rooms: h.all}:
			if i > 10_000 {
				t.Fatal("gigabytes went to a reader that takes nothing")
			}
		case <-w.closed:
			return
		}
	}
}

func TestEventsAreOnlyOfWhatTheTokenIsFor(t *testing.T) {
	h := &fakeHeart{all: hospital()}
	_, server := serve(t, quick(), h, tokens())
	c, w := connect(t, h, server.URL+"/api/events", readMRI)
	hidden, shown := video("ct-1", "console"), video("mri-1", "console")
	w.events <- rooms.Event{ID: 1, Type: rooms.SnapshotEvent, Time: began, Rooms: h.all}
	if m := c.next(); strings.Contains(m.data, "ct-1") || !strings.Contains(m.data, "mri-1") {
		t.Errorf("snapshot: got %s, want mri-1 alone", m.data)
	}
	w.events <- rooms.Event{ID: 2, Type: rooms.RoomOpened, Room: "ct-2", Time: began}
	w.events <- rooms.Event{ID: 3, Type: rooms.TrackChanged, Room: "ct-1", Time: began, Track: &hidden}
	w.events <- rooms.Event{ID: 4, Type: rooms.TrackChanged, Room: "mri-1", Time: began, Track: &shown}
	if m := c.next(); m.id != "4" {
		t.Errorf("got event %s, want only the one of mri-1", m.id)
	}

	c, w = connect(t, h, server.URL+"/api/rooms/mri-1/events", readOne)
	other := video("mri-1", "injector")
	w.events <- rooms.Event{ID: 5, Type: rooms.TrackChanged, Room: "mri-1", Time: began, Track: &other}
	w.events <- rooms.Event{ID: 6, Type: rooms.TrackChanged, Room: "mri-1", Time: began, Track: &shown}
	if m := c.next(); m.id != "6" {
		t.Errorf("got event %s, want only the one of console", m.id)
	}
	for _, tt := range []struct {
		speakers []string
		want     string
	}{
		{[]string{"console", "injector"}, `"speakers":["console"]`},
		{[]string{"injector"}, `"speakers":[]`},
		{nil, `"speakers":[]`},
	} {
		w.events <- rooms.Event{ID: 7, Type: rooms.SpeakingChanged, Room: "mri-1", Time: began, Speakers: tt.speakers}
		if m := c.next(); !strings.Contains(m.data, tt.want) || strings.Contains(m.data, "injector") {
			t.Errorf("%v speak: got %s, want %s", tt.speakers, m.data, tt.want)
		}
	}
}

func TestTheBridgeKnowsWhoFollowsEvents(t *testing.T) {
	h := &fakeHeart{all: hospital()}
	api, server := serve(t, quick(), h, tokens())
	if res, _ := request(t, "GET", server.URL+"/api/rooms/.x/events", readAll); res.StatusCode != http.StatusBadRequest {
		t.Errorf("got %d, want 400", res.StatusCode)
	}
	for _, tt := range []struct{ path, room string }{{"/api/rooms/mri-9/events", "mri-9"}, {"/api/events", ""}} {
		c, w := connect(t, h, server.URL+tt.path, readAll)
		if n := h.bridge.count(tt.room, 0); n != 1 {
			t.Errorf("%s: %d attend, want 1", tt.path, n)
		}
		c.gone()
		<-w.closed
		for api.count() > 0 { // the handler's last steps
			runtime.Gosched()
		}
	}
	for room, n := range h.bridge.attending {
		if n != 0 {
			t.Errorf("%d still attend %q", n, room)
		}
	}
	if len(h.bridge.attending) != 2 {
		t.Errorf("attended were %v, want two", h.bridge.attending)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	doc := description(t)
	h := &fakeHeart{all: hospital()}
	api, server := serve(t, quick(), h, auth.New(auth.Config{}))
	first, w := connect(t, h, server.URL+"/api/rooms/mri-1/events", "")
	connect(t, h, server.URL+"/api/events", "")
	res, body := request(t, "GET", server.URL+"/api/rooms/mri-1/events", "")
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("third of two streams: got %d, want 503", res.StatusCode)
	}
	doc.Check(t, "/api/rooms/{room}/events", res, body)
	res, body = request(t, "GET", server.URL+"/api/events", "")
	doc.Check(t, "/api/events", res, body)

	first.gone()
	<-w.closed
	for api.count() == 2 { // the handler's last steps
		runtime.Gosched()
	}
	connect(t, h, server.URL+"/api/rooms/mri-1/events", "")
}

func TestStreamsOfOneAddressAreBounded(t *testing.T) {
	doc := description(t)
	c := quick()
	c.MaxStreams, c.MaxStreamsPerAddress = 100, 1
	h := &fakeHeart{all: hospital()}
	_, server := serve(t, c, h, auth.New(auth.Config{}))
	connect(t, h, server.URL+"/api/rooms/mri-1/events", "")
	for path, route := range map[string]string{"/api/rooms/mri-1/events": "/api/rooms/{room}/events", "/api/events": "/api/events"} {
		res, body := request(t, "GET", server.URL+path, "")
		if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" || !strings.Contains(string(body), "api.max_streams_per_address") {
			t.Errorf("%s: got %d %s, want 429 that names its limit", path, res.StatusCode, body)
		}
		doc.Check(t, route, res, body)
	}
}

func TestStreamsEndWithTheGateway(t *testing.T) {
	h := &fakeHeart{all: hospital()}
	api, server := serve(t, quick(), h, auth.New(auth.Config{}))
	c, w := connect(t, h, server.URL+"/api/rooms/mri-1/events", "")
	api.Close()
	select {
	case <-w.closed:
	default:
		t.Error("Close did not wait for the stream")
	}
	if err := c.ended(); err != nil {
		t.Errorf("the stream broke off: %v", err)
	}
	if res, _ := request(t, "GET", server.URL+"/api/rooms/mri-1/events", ""); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a stream after Close: got %d, want 503", res.StatusCode)
	}
	api.Close() // idempotent
}

func TestStreamEndsWithTheRegistry(t *testing.T) {
	h := &fakeHeart{all: hospital()}
	_, server := serve(t, quick(), h, auth.New(auth.Config{}))
	c, w := connect(t, h, server.URL+"/api/rooms/mri-1/events", "")
	close(w.events)
	if err := c.ended(); err != nil {
		t.Errorf("the stream broke off: %v", err)
	}
	<-w.closed
}

func TestImpossibleConfigurationIsNamed(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	many := Defaults()
	many.MaxStreams = mostStreams + 1
	if err := many.Validate(); err == nil || !strings.Contains(err.Error(), "between 1 and 5000") {
		t.Errorf("too many streams: %v", err)
	}
	err := Config{}.Validate()
	for _, key := range []string{"api.max_streams: ", "api.ping: ", "api.write_timeout: "} {
		if err == nil || !strings.Contains("\n"+err.Error(), "\n"+key) {
			t.Errorf("%s is not complained of: %v", key, err)
		}
	}
}
