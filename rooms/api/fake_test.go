package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
	"sightline/internal/media"
	"sightline/rooms"
)

// began is when everything in these tests began.
var began = time.Date(2026, 11, 24, 18, 0, 0, 123456789, time.UTC)

func video(room, publisher string) rooms.TrackInfo {
	return rooms.TrackInfo{
		ID: publisher + "/video", Room: room, Publisher: publisher, Kind: media.Video, Label: "Console", Role: "hospital",
		Codec: media.Codec{Name: "H264", ClockRate: 90000}, Profile: "Constrained Baseline 3.1",
		Width: 1280, Height: 720, FrameRate: 29.97, Bitrate: 2_500_000,
		State: rooms.Live, Since: began,
		PacketAge: 12 * time.Millisecond, KeyframeAge: 400 * time.Millisecond, KeyframeInterval: time.Second,
		Loss: 0.0123, RTT: 1500 * time.Microsecond, Path: "udp", Viewers: 2, Session: "s-1", Client: "Lavf/62",
		Watchers: []string{"nwd8ZVjiAWTk"},
	}
}

func audio(room, publisher string) rooms.TrackInfo {
	return rooms.TrackInfo{
		ID: publisher + "/audio", Room: room, Publisher: publisher, Kind: media.Audio,
		Codec: media.Codec{Name: "opus", ClockRate: 48000, Channels: 2},
		State: rooms.Connecting, Since: began, PacketAge: -1, KeyframeAge: -1,
	}
}

func roomWith(name string, publishers ...string) rooms.RoomInfo {
	info := rooms.RoomInfo{Name: name, Since: began, Viewers: 2}
	for _, p := range publishers {
		info.Publishers = append(info.Publishers, rooms.PublisherInfo{
			Name: p, Label: "Console", Role: "hospital", Session: "s-1", Client: "Lavf/62", Since: began,
			Tracks: []rooms.TrackInfo{audio(name, p), video(name, p)},
		})
	}
	return info
}

// fakeHeart holds rooms that do not change, and gives out watchers that tests feed.
type fakeHeart struct {
	heart  // nil: participants are tested with the real one
	all    []rooms.RoomInfo
	bridge fakeBridge

	watchers chan *fakeWatcher // those that were given out; nil: none is

	mu      sync.Mutex // guards what follows
	removed []string
	broken  error // returned instead of an answer
}

func (f *fakeHeart) Rooms() []rooms.RoomInfo { return f.all }

func (f *fakeHeart) Room(name string) (rooms.RoomInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return rooms.RoomInfo{}, f.broken
	}
	for _, r := range f.all {
		if r.Name == name {
			return r, nil
		}
	}
	if strings.HasPrefix(name, ".") {
		return rooms.RoomInfo{}, fault.New(fault.BadRequest, "room %q must not start with a dot", name)
	}
	return rooms.RoomInfo{}, fault.New(fault.NotFound, "there is no room %q", name)
}

func (f *fakeHeart) Tracks(name string) ([]rooms.TrackInfo, error) {
	r, err := f.Room(name)
	var out []rooms.TrackInfo
	for _, p := range r.Publishers {
		out = append(out, p.Tracks...)
	}
	return out, err
}

func (f *fakeHeart) Remove(room, publisher string) error {
	r, err := f.Room(room)
	if err != nil {
		return err
	}
	for _, p := range r.Publishers {
		if p.Name == publisher {
			f.mu.Lock()
			f.removed = append(f.removed, room+"/"+publisher)
			f.mu.Unlock()
			return nil
		}
	}
	return fault.New(fault.NotFound, "there is no publisher %q in room %q", publisher, room)
}

func (f *fakeHeart) Mute(room, publisher string, muted bool) error {
	r, err := f.Room(room)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range r.Publishers {
		if p := &r.Publishers[i]; p.Name == publisher {
			p.Muted, p.Tracks[0].Muted = muted, muted
			return nil
		}
	}
	return fault.New(fault.NotFound, "there is no publisher %q in room %q", publisher, room)
}

func (f *fakeHeart) watch(room string, after uint64) (watcher, error) {
	if strings.HasPrefix(room, ".") {
		return nil, fault.New(fault.BadRequest, "room %q must not start with a dot", room)
	}
	w := &fakeWatcher{room: room, after: after, events: make(chan rooms.Event), closed: make(chan struct{})}
	f.watchers <- w
	return w, nil
}

// fakeBridge counts who follows events, by room. Two listen to each room's mix.
type fakeBridge struct {
	mu        sync.Mutex
	attending map[string]int
}

func (b *fakeBridge) Attend(room string) func() {
	b.count(room, 1)
	return func() { b.count(room, -1) }
}

// count adds n to those who follow a room's events, and returns how many they are.
func (b *fakeBridge) count(room string, n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.attending == nil {
		b.attending = make(map[string]int)
	}
	b.attending[room] += n
	return b.attending[room]
}

func (b *fakeBridge) Listeners(string) int { return 2 }

type fakeWatcher struct {
	room   string
	after  uint64
	events chan rooms.Event // closed by tests: the registry has closed
	closed chan struct{}
}

func (w *fakeWatcher) Next(ctx context.Context) (rooms.Event, error) {
	select {
	case e, ok := <-w.events:
		if !ok {
			return rooms.Event{}, io.EOF
		}
		return e, nil
	case <-ctx.Done():
		return rooms.Event{}, ctx.Err()
	}
}

func (w *fakeWatcher) Close() { close(w.closed) }

// The tokens of the tests.
const (
	readAll   = "reads-everything"
	readMRI   = "reads-mri-rooms"
	readOne   = "reads-one-publisher"
	adminMRI  = "ends-in-mri-rooms"
	playsOnly = "plays"
)

func tokens() *auth.Auth {
	return auth.New(auth.Config{Tokens: []auth.Token{
		{Name: "all", SHA256: auth.HashToken(readAll), Scopes: []auth.Scope{auth.Read}},
		{Name: "mri", SHA256: auth.HashToken(readMRI), Scopes: []auth.Scope{auth.Read}, Rooms: []string{"mri-*"}},
		{Name: "one", SHA256: auth.HashToken(readOne), Scopes: []auth.Scope{auth.Read}, Publishers: []string{"console"}},
		{Name: "admin", SHA256: auth.HashToken(adminMRI), Scopes: []auth.Scope{auth.Admin}, Rooms: []string{"mri-*"}},
		{Name: "player", SHA256: auth.HashToken(playsOnly), Scopes: []auth.Scope{auth.Play}},
	}})
}

// noLedger is an audit log that is off.
func noLedger(t testing.TB) *audit.Log {
	t.Helper()
	l, err := audit.Open(audit.Config{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// serve starts a server with the API of h, which ends with the test.
func serve(t *testing.T, c Config, h *fakeHeart, a *auth.Auth) (*API, *httptest.Server) {
	t.Helper()
	return serveBehind(t, httpapi.Defaults(), c, h, a)
}

// serveBehind is serve with the middleware of another configuration.
func serveBehind(t *testing.T, middleware httpapi.Config, c Config, h *fakeHeart, a *auth.Auth) (*API, *httptest.Server) {
	t.Helper()
	h.watchers = make(chan *fakeWatcher, 8)
	router := httpapi.NewRouter(middleware, slog.New(slog.DiscardHandler))
	api := newAPI(c, h, a, &h.bridge, noLedger(t))
	api.Register(router)
	server := httptest.NewServer(router)
	t.Cleanup(server.Close)
	t.Cleanup(api.Close) // first: the server waits for its handlers
	return api, server
}

// request makes a request and returns the response and its whole body.
func request(t *testing.T, method, url, token string, header ...string) (*http.Response, []byte) {
	t.Helper()
	return send(t, method, url, token, "", header...)
}

// send makes a request with a body.
func send(t *testing.T, method, url, token, content string, header ...string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}
