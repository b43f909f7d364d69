package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/pion/webrtc/v4"

	"sightline/internal/auth"
	"sightline/internal/doortest"
	"sightline/metrics"
	"sightline/rooms/api"
	"sightline/rooms/api/apitest"
	"sightline/whep"
	"sightline/whip"
)

// route lets a door have its routes under another name.
type route func(gin.IRouter)

func (r route) Route(router gin.IRouter) { r(router) }

// gateway runs all doors of a gateway.
func gateway(t *testing.T, change func(*doortest.Options)) *doortest.Gateway {
	t.Helper()
	return doortest.Start(t, change,
		func(g *doortest.Gateway) doortest.Door {
			return whip.New(g.Rooms, g.Peers, g.Auth, g.Sessions, g.Audit, g.Log)
		},
		func(g *doortest.Gateway) doortest.Door {
			return whep.New(g.Rooms, g.Bridge, g.Peers, g.Auth, g.Sessions, g.Audit, g.Log)
		},
		func(g *doortest.Gateway) doortest.Door {
			a := api.New(api.Defaults(), g.Rooms, g.Auth, g.Bridge, g.Audit)
			t.Cleanup(a.Close)
			return route(a.Register)
		},
		func(g *doortest.Gateway) doortest.Door {
			return route(metrics.NewHealth(metrics.ReadBuild("1"), func() []string { return nil }).Register)
		},
	)
}

// TestDoorsAnswerAsDescribed holds the doors of a real gateway against the description:
// the life of a publisher and a viewer, and what can go wrong around it.
func TestDoorsAnswerAsDescribed(t *testing.T) {
	doc := apitest.Load(t, api.Description)
	g := gateway(t, nil)
	const (
		whipPath, whepPath, trackPath  = "/whip/{room}/{publisher}", "/whep/{room}/{publisher}", "/whep/{room}/{publisher}/{kind}"
		mixPath, sessionPath           = "/whep/{room}/~mix", "/sessions/{session}"
		roomsPath, roomPath, tracksAPI = "/api/rooms", "/api/rooms/{room}", "/api/rooms/{room}/tracks"
		removePath                     = "/api/rooms/{room}/publishers/{publisher}"
		sdp, fragment                  = "application/sdp", "application/trickle-ice-sdpfrag"
	)
	ask := func(want int, path, method, target, body string, header ...string) doortest.Response {
		t.Helper()
		res := g.Do(t, method, target, body, header...)
		if res.StatusCode != want {
			t.Errorf("%s %s: got %d, want %d: %s", method, path, res.StatusCode, want, res.Text)
		}
		doc.Check(t, path, res.Response, []byte(res.Text))
		return res
	}

	ask(200, roomsPath, "GET", "/api/rooms", "")
	ask(404, roomPath, "GET", "/api/rooms/mri-2", "")
	ask(200, whipPath, "GET", "/whip/mri-2/console", "")
	ask(400, whipPath, "GET", "/whip/mri-2/.console", "")
	ask(200, whipPath, "OPTIONS", "/whip/mri-2/console", "")
	ask(415, whipPath, "POST", "/whip/mri-2/console", "{}", "Content-Type", "application/json")
	ask(400, whipPath, "POST", "/whip/mri-2/console", "no SDP", "Content-Type", sdp)
	ask(413, whipPath, "POST", "/whip/mri-2/console", strings.Repeat("v", 65<<10), "Content-Type", sdp)
	ask(200, trackPath, "GET", "/whep/mri-2/console/video", "")
	ask(200, whepPath, "GET", "/whep/mri-2/console", "", "Accept", "text/html")
	ask(200, trackPath, "OPTIONS", "/whep/mri-2/console/audio", "")
	ask(404, sessionPath, "DELETE", "/sessions/unknown", "")

	viewer := doortest.NewPeer(t)
	viewer.Receive(t, webrtc.RTPCodecTypeVideo)
	offer := viewer.Offer(t, nil)
	ask(409, trackPath, "POST", "/whep/mri-2/console/video", offer, "Content-Type", sdp)

	ask(422, mixPath, "POST", "/whep/mri-2/~mix", offer, "Content-Type", sdp)
	ask(200, mixPath, "GET", "/whep/mri-2/~mix", "")
	ask(200, mixPath, "OPTIONS", "/whep/mri-2/~mix", "")
	ask(400, mixPath, "POST", "/whep/mri-2/~mix?for=~", offer, "Content-Type", sdp)
	ear := doortest.NewPeer(t)
	ear.Receive(t, webrtc.RTPCodecTypeAudio)
	res := ask(201, mixPath, "POST", "/whep/mri-2/~mix?for=console", ear.Offer(t, nil), "Content-Type", sdp)
	ask(200, sessionPath, "DELETE", res.Header.Get("Location"), "")

	camera := doortest.NewPeer(t)
	camera.Send(t, func(string) []byte { return []byte{0x10, 0, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00} }, webrtc.MimeTypeVP8)
	res = camera.Connect(t, g, "/whip/mri-2/console")
	doc.Check(t, whipPath, res.Response, []byte(res.Text))
	doortest.Eventually(t, func() string {
		if res := g.Do(t, "GET", "/api/rooms/mri-2/tracks", ""); !strings.Contains(res.Text, `"state":"live"`) || !strings.Contains(res.Text, `"path":"udp"`) {
			return "the track is not live by udp: " + res.Text
		}
		return ""
	})

	res = ask(200, tracksAPI, "GET", "/api/rooms/mri-2/tracks", "")
	var list struct{ Tracks []map[string]any }
	if err := json.Unmarshal([]byte(res.Text), &list); err != nil || len(list.Tracks) != 1 {
		t.Fatalf("%v: %s", err, res.Text)
	}
	got := list.Tracks[0]
	for member, want := range map[string]any{
		"id": "console/video", "codec": "VP8", "width": 320.0, "height": 240.0, "path": "udp",
		"whep": g.URL + "/whep/mri-2/console/video", "watch": g.URL + "/watch/mri-2/console/video",
	} {
		if got[member] != want {
			t.Errorf("%s of the track: got %v, want %v", member, got[member], want)
		}
	}
	if id, _ := got["session"].(string); id == "" || strings.Contains(camera.Session, id) {
		t.Errorf("session of the track: %q, want one that is no part of %s", id, camera.Session)
	}
	ask(200, roomsPath, "GET", "/api/rooms", "")
	ask(200, roomPath, "GET", "/api/rooms/mri-2", "")

	// The WHEP URL of the API is where it is played.
	whepURL, _ := got["whep"].(string)
	res = ask(201, trackPath, "POST", whepURL, offer, "Content-Type", sdp)
	session, etag := res.Header.Get("Location"), res.Header.Get("ETag")
	ask(422, trackPath, "POST", whepURL, strings.ReplaceAll(offer, "VP8/90000", "VP7/90000"), "Content-Type", sdp)
	ask(200, sessionPath, "GET", session, "")
	ask(200, sessionPath, "OPTIONS", session, "")
	ask(415, sessionPath, "PATCH", session, "x", "Content-Type", sdp, "If-Match", etag)
	ask(428, sessionPath, "PATCH", session, "x", "Content-Type", fragment)
	ask(412, sessionPath, "PATCH", session, "x", "Content-Type", fragment, "If-Match", `"stale"`)
	ask(400, sessionPath, "PATCH", session, "x", "Content-Type", fragment, "If-Match", etag)
	var credentials []string
	for line := range strings.Lines(offer) {
		if strings.HasPrefix(line, "a=ice-ufrag:") || strings.HasPrefix(line, "a=ice-pwd:") {
			credentials = append(credentials, line)
		}
	}
	trickle := strings.Join(credentials[:2], "") + "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=end-of-candidates\r\n"
	ask(204, sessionPath, "PATCH", session, trickle, "Content-Type", fragment, "If-Match", etag)
	restart := "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
	ask(200, sessionPath, "PATCH", session, restart, "Content-Type", fragment, "If-Match", etag)
	ask(200, sessionPath, "DELETE", session, "")

	const mute, asJSON = `{"muted":true}`, "application/json"
	ask(200, removePath, "OPTIONS", "/api/rooms/mri-2/publishers/console", "")
	ask(404, removePath, "PATCH", "/api/rooms/mri-2/publishers/nobody", mute, "Content-Type", asJSON)
	ask(415, removePath, "PATCH", "/api/rooms/mri-2/publishers/console", mute, "Content-Type", "application/merge-patch+json")
	ask(200, removePath, "PATCH", "/api/rooms/mri-2/publishers/console", mute, "Content-Type", asJSON)
	ask(404, removePath, "DELETE", "/api/rooms/mri-2/publishers/nobody", "")
	ask(204, removePath, "DELETE", "/api/rooms/mri-2/publishers/console", "")
	camera.WaitClosed(t)

	ask(200, "/healthz", "GET", "/healthz", "")
	ask(200, "/readyz", "GET", "/readyz", "")
	ask(200, "/version", "GET", "/version", "")

	g.Sessions.Drain()
	ask(503, whipPath, "POST", "/whip/mri-2/console", offer, "Content-Type", sdp)
}

// events opens a stream and returns its messages' data, one by one; it ends with the test.
func events(t *testing.T, g *doortest.Gateway, path, last string, header ...string) func() (id string, event map[string]any) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", g.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Last-Event-ID", last)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		res.Body.Close()
	})
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	return func() (string, map[string]any) {
		t.Helper()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var event map[string]any
				if err := json.Unmarshal([]byte(data), &event); err != nil {
					t.Fatal(err)
				}
				id, _ := event["id"].(string)
				return id, event
			}
		}
		t.Fatalf("the stream has ended: %v", lines.Err())
		return "", nil
	}
}

// TestEventsTellARoomsStory follows a room that is not there yet: a publisher comes and
// goes, and a reader that was away gets what it missed.
func TestEventsTellARoomsStory(t *testing.T) {
	g := gateway(t, nil)
	next := events(t, g, "/api/rooms/mri-2/events", "")
	first, event := next()
	if list, ok := event["rooms"].([]any); event["type"] != "snapshot" || !ok || len(list) != 0 {
		t.Fatalf("got %v, want a snapshot without rooms", event)
	}
	doortest.Publish(t, g, "ct-1", "elsewhere", doortest.VP8)
	feed := doortest.Publish(t, g, "mri-2", "console", doortest.VP8)
	var story []string
	until := func(next func() (string, map[string]any), want string) {
		t.Helper()
		for {
			_, event := next()
			chapter, _ := event["type"].(string)
			if track, ok := event["track"].(map[string]any); ok {
				chapter += " " + track["id"].(string) + " " + track["state"].(string)
			}
			if event["room"] != "mri-2" {
				t.Errorf("an event of another room: %v", event)
			}
			story = append(story, chapter)
			if chapter == want {
				return
			}
		}
	}
	until(next, "track console/video live")
	feed.Stop()
	until(next, "track console/video stalled")
	if !slices.Contains(story, "room") {
		t.Errorf("the story does not tell that the room has opened: %v", story)
	}

	// Whoever comes back with the first id gets the same, and no snapshot.
	story = nil
	again := events(t, g, "/api/rooms/mri-2/events", first)
	until(again, "track console/video live")
	until(again, "track console/video stalled")
	if slices.Contains(story, "snapshot") {
		t.Errorf("a reader that missed a few events got a snapshot: %v", story)
	}
	if _, event := events(t, g, "/api/rooms/mri-2/events", "1")(); event["type"] != "snapshot" {
		t.Errorf("a reader with an id from long ago got %v, want a snapshot", event["type"])
	}
}

func TestRefusalsOfAllDoorsAreAsDescribed(t *testing.T) {
	doc := apitest.Load(t, api.Description)
	reader := auth.NewToken()
	g := gateway(t, func(o *doortest.Options) {
		o.Auth.Tokens = []auth.Token{{Name: "reader", SHA256: auth.HashToken(reader), Scopes: []auth.Scope{auth.Read}}}
	})
	for path, requests := range map[string][]string{
		"/whip/{room}/{publisher}":                 {"POST", "/whip/r/p"},
		"/whep/{room}/{publisher}":                 {"POST", "/whep/r/p"},
		"/whep/{room}/{publisher}/{kind}":          {"POST", "/whep/r/p/video"},
		"/api/rooms/{room}/publishers/{publisher}": {"DELETE", "/api/rooms/r/publishers/p"},
	} {
		for _, tt := range []struct {
			header []string
			want   int
		}{
			{nil, http.StatusUnauthorized},
			{[]string{"Authorization", "Bearer guess"}, http.StatusUnauthorized},
			{[]string{"Authorization", "Bearer " + reader}, http.StatusForbidden},
			{[]string{"Authorization", "Bearer a", "Authorization", "Bearer b"}, http.StatusBadRequest},
		} {
			res := g.Do(t, requests[0], requests[1], "", tt.header...)
			if res.StatusCode != tt.want {
				t.Errorf("%s %s with %v: got %d, want %d", requests[0], requests[1], tt.header, res.StatusCode, tt.want)
			}
			doc.Check(t, path, res.Response, []byte(res.Text))
		}
	}
}
