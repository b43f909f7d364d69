package whip

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"sightline/internal/auth"
	"sightline/internal/doortest"
	"sightline/internal/rtc"
	"sightline/rooms"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, change func(*doortest.Options)) *doortest.Gateway {
	t.Helper()
	return doortest.Start(t, change, func(g *doortest.Gateway) doortest.Door {
		return New(g.Rooms, g.Peers, g.Auth, g.Sessions, g.Audit, g.Log)
	})
}

// offer is what a publisher of H.264 and Opus sends; each test changes what it is about.
const offer = `v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=msid-semantic:WMS *
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=mid:0
a=sendonly
a=msid:s a
a=rtcp-mux
a=setup:actpass
a=ice-ufrag:aaaa
a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa
a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F
a=rtpmap:111 opus/48000/2
m=video 9 UDP/TLS/RTP/SAVPF 96
c=IN IP4 0.0.0.0
a=mid:1
a=sendonly
a=msid:s v
a=rtcp-mux
a=setup:actpass
a=ice-ufrag:aaaa
a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa
a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1;profile-level-id=42e01f;level-asymmetry-allowed=1
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
`

func lines(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func without(line string) string { return lines(strings.ReplaceAll(offer, line+"\n", "")) }

func with(old, new string) string { return lines(strings.ReplaceAll(offer, old, new)) }

// The items and rows that the names mention are those of docs/CONFORMANCE.md.
func TestPublishAnswers(t *testing.T) {
	camera := auth.NewToken()
	tokens := func(o *doortest.Options) {
		o.Auth.Tokens = []auth.Token{{
			Name: "camera", SHA256: auth.HashToken(camera), Scopes: []auth.Scope{auth.Publish}, Rooms: []string{"mri-*"},
		}}
	}
	open := start(t, nil)
	closed := start(t, tokens)
	const sdp, path = "application/sdp", "/whip/mri-2/console"
	for _, tt := range []struct {
		name         string
		gateway      *doortest.Gateway
		method, path string
		body         string
		header       []string
		status       int
		kind         string
		want         map[string]string
	}{
		{"item 1", open, "POST", path, lines(offer), nil, 201, "", map[string]string{"Content-Type": sdp, "Cache-Control": "no-store", "Accept-Patch": "application/trickle-ice-sdpfrag"}},
		{"row 11: LF only", open, "POST", path, offer, nil, 201, "", nil},
		{"row 57: passive", open, "POST", path, with("setup:actpass", "setup:passive"), nil, 201, "", nil},
		{"item 42: sendrecv", open, "POST", path, with("a=sendonly", "a=sendrecv"), nil, 201, "", nil},
		{"item 24: nonsense for a token in open mode", open, "POST", path, lines(offer), []string{"Authorization", "Bearer undefined"}, 201, "", nil},

		{"row 2", open, "POST", path, "{}", []string{"Content-Type", "application/json"}, 415, "media-type", map[string]string{"Accept": sdp}},
		{"row 5", open, "POST", path, "", nil, 400, "bad-request", nil},
		{"row 6", open, "POST", path, lines(offer) + strings.Repeat("a=x\r\n", 20000), nil, 413, "too-large", nil},
		{"row 10", open, "POST", path, lines(offer) + "a=\x00\r\n", nil, 400, "bad-request", nil},
		{"row 49: no v=", open, "POST", path, without("v=0"), nil, 400, "bad-request", nil},
		{"row 50: no mid", open, "POST", path, without("a=mid:1"), nil, 400, "bad-request", nil},
		{"row 51: no bundle", open, "POST", path, without("a=group:BUNDLE 0 1"), nil, 422, "unprocessable", nil},
		{"row 53: no rtcp-mux", open, "POST", path, without("a=rtcp-mux"), nil, 422, "unprocessable", nil},
		{"row 58: recvonly", open, "POST", path, with("a=sendonly", "a=recvonly"), nil, 422, "unprocessable", nil},
		{"row 58: inactive", open, "POST", path, with("a=sendonly", "a=inactive"), nil, 422, "unprocessable", nil},
		{"item 44, row 63: no common codec", open, "POST", path, with("H264/90000", "H263/90000"), nil, 422, "unprocessable", nil},
		{"not a name", open, "POST", "/whip/mri-2/.console", lines(offer), nil, 400, "bad-request", nil},
		{"a room that is a route", open, "POST", "/whip/api/console", lines(offer), nil, 400, "bad-request", nil},
		{"tilde", open, "POST", "/whip/~mix/console", lines(offer), nil, 400, "bad-request", nil},
		{"escaped slash", open, "POST", "/whip/a%2Fb/console", lines(offer), nil, 404, "not-found", nil},

		{"item 5", open, "GET", path, "", nil, 200, "", map[string]string{"Content-Type": sdp}},
		{"item 5, by a browser", open, "GET", path, "", []string{"Accept", "text/html"}, 200, "", map[string]string{"Content-Type": sdp, "Refresh": ""}},
		{"item 6", open, "HEAD", path, "", nil, 200, "", map[string]string{"Content-Type": sdp}},
		{"item 7", open, "OPTIONS", path, "", nil, 200, "", map[string]string{"Accept-Post": sdp}},
		{"item 10, row 13: PATCH", open, "PATCH", path, "", nil, 405, "method-not-allowed", map[string]string{"Allow": "GET, HEAD, OPTIONS, POST"}},
		{"item 10, row 13: DELETE", open, "DELETE", path, "", nil, 405, "method-not-allowed", map[string]string{"Allow": "GET, HEAD, OPTIONS, POST"}},
		{"item 10: PUT", open, "PUT", path, "", nil, 405, "method-not-allowed", map[string]string{"Allow": "GET, HEAD, OPTIONS, POST"}},

		{"item 20", closed, "POST", path, lines(offer), []string{"Authorization", "bearer " + camera}, 201, "", nil},
		{"item 21, row 18", closed, "POST", path, lines(offer), nil, 401, "unauthenticated", map[string]string{"Www-Authenticate": `Bearer realm="sightline"`}},
		{"row 19: Basic", closed, "POST", path, lines(offer), []string{"Authorization", "Basic YTpi"}, 401, "unauthenticated", nil},
		{"item 22", closed, "POST", path, lines(offer), []string{"Authorization", "Bearer x"}, 401, "unauthenticated", map[string]string{"Www-Authenticate": `Bearer realm="sightline", error="invalid_token"`}},
		{"item 22: two headers", closed, "POST", path, lines(offer), []string{"Authorization", "Bearer " + camera, "Authorization", "Bearer " + camera}, 400, "bad-request", nil},
		{"row 23", closed, "POST", "/whip/ct-1/console", lines(offer), []string{"Authorization", "Bearer " + camera}, 403, "forbidden", map[string]string{"Www-Authenticate": `Bearer realm="sightline", error="insufficient_scope", scope="whip:publish"`}},
		{"401 before 415", closed, "POST", path, "{}", []string{"Content-Type", "application/json"}, 401, "unauthenticated", nil},
		{"item 23: preflight without a token", closed, "OPTIONS", path, "", []string{"Origin", "https://x.example", "Access-Control-Request-Method", "POST"}, 200, "", map[string]string{"Accept-Post": sdp, "Access-Control-Allow-Origin": "*"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header := tt.header
			if tt.method == "POST" && !strings.Contains(strings.Join(header, " "), "Content-Type") {
				header = append([]string{"Content-Type", sdp}, header...)
			}
			res := tt.gateway.Do(t, tt.method, tt.path, tt.body, header...)
			if res.StatusCode != tt.status {
				t.Fatalf("got %d %s, want %d", res.StatusCode, res.Text, tt.status)
			}
			if got, _ := res.Problem["kind"].(string); got != tt.kind {
				t.Errorf("problem %v, want kind %q", res.Problem, tt.kind)
			}
			for name, want := range tt.want {
				if got := res.Header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if tt.status != 201 {
				if n := tt.gateway.Sessions.Len(); n != 0 {
					t.Errorf("%d sessions live", n)
				}
				return
			}
			if location := res.Header.Get("Location"); !strings.HasPrefix(location, tt.gateway.URL+"/sessions/") {
				t.Errorf("Location: %q", location)
			}
			if !strings.HasPrefix(res.Text, "v=0\r\n") || strings.Count(res.Text, "\n") != strings.Count(res.Text, "\r\n") {
				t.Errorf("the answer does not begin with v=, or has bare LF:\n%s", res.Text)
			}
			if got := tt.gateway.Do(t, "DELETE", res.Header.Get("Location"), ""); got.StatusCode != 200 {
				t.Errorf("DELETE: got %d", got.StatusCode)
			}
		})
	}
	for _, g := range []*doortest.Gateway{open, closed} {
		leftNothing(t, g)
	}
}

// A publisher's role is its token's, else its URL's; who says another than the token is told.
func TestRole(t *testing.T) {
	hospital, plain := auth.NewToken(), auth.NewToken()
	scopes := []auth.Scope{auth.Publish}
	closed := start(t, func(o *doortest.Options) {
		o.Rooms.Grace = 0
		o.Auth.Tokens = []auth.Token{
			{Name: "h", SHA256: auth.HashToken(hospital), Scopes: scopes, Role: "hospital"},
			{Name: "p", SHA256: auth.HashToken(plain), Scopes: scopes},
		}
	})
	open := start(t, func(o *doortest.Options) { o.Rooms.Grace = 0 })
	for _, tt := range []struct {
		name           string
		gateway        *doortest.Gateway
		token, query   string
		status         int
		role, kind, in string
	}{
		{"none", open, "", "", 201, "", "", ""},
		{"an empty one", open, "", "?role=", 201, "", "", ""},
		{"the URL's", open, "", "?role=technician&label=x", 201, "technician", "", ""},
		{"one of no meaning", open, "", "?role=student-2", 201, "student-2", "", ""},
		{"the URL's, with a token that says none", closed, plain, "?role=technician", 201, "technician", "", ""},
		{"the token's", closed, hospital, "", 201, "hospital", "", ""},
		{"the token's, and the same in the URL", closed, hospital, "?role=hospital", 201, "hospital", "", ""},
		{"another than the token's", closed, hospital, "?role=technician", 403, "", "forbidden", `the token is for the role "hospital"`},
		{"no name", open, "", "?role=a%20b", 400, "", "bad-request", `"a b" is no role: it must be`},
		{"no name, with a token that says one", closed, hospital, "?role=a%2Fb", 400, "", "bad-request", "is no role"},
		{"two", open, "", "?role=hospital&role=technician", 400, "", "bad-request", "must stand once"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header := []string{"Content-Type", "application/sdp"}
			if tt.token != "" {
				header = append(header, "Authorization", "Bearer "+tt.token)
			}
			if tt.status != 201 {
				res := tt.gateway.Do(t, "POST", "/whip/mri-2/console"+tt.query, lines(offer), header...)
				detail, _ := res.Problem["detail"].(string)
				if res.StatusCode != tt.status || res.Problem["kind"] != tt.kind || !strings.Contains(detail, tt.in) {
					t.Errorf("got %d %s, want %d and %q", res.StatusCode, res.Text, tt.status, tt.in)
				}
				leftNothing(t, tt.gateway)
				return
			}
			p := publish(t, tt.gateway, "/whip/mri-2/console"+tt.query, header[2:]...)
			waitFor(t, tt.gateway, "console/video", rooms.Live)
			room, err := tt.gateway.Rooms.Room("mri-2")
			if err != nil || room.Publishers[0].Role != tt.role {
				t.Errorf("got %+v, %v, want the role %q", room.Publishers, err, tt.role)
			}
			// Another test's publisher may be of another subject: this one has to be gone.
			tt.gateway.Do(t, "DELETE", p.Session, "", header[2:]...)
			p.WaitClosed(t)
			doortest.Eventually(t, func() string {
				if _, err := tt.gateway.Rooms.Room("mri-2"); err == nil {
					return "the room is still there"
				}
				return ""
			})
		})
	}
}

// leftNothing fails if a session or a reservation is still there.
func leftNothing(t *testing.T, g *doortest.Gateway) {
	t.Helper()
	for _, s := range g.Peers.Snapshot().Sessions {
		if s.Count != 0 {
			t.Errorf("%d sessions of kind %+v are left", s.Count, s)
		}
	}
	if n := g.Sessions.Len(); n != 0 {
		t.Errorf("%d resources are left", n)
	}
}

func publish(t *testing.T, g *doortest.Gateway, path string, header ...string) *doortest.Peer {
	t.Helper()
	p := doortest.NewPeer(t)
	p.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8, webrtc.MimeTypeOpus)
	p.Connect(t, g, path, header...)
	return p
}

func state(g *doortest.Gateway, track string) rooms.TrackInfo {
	tracks, _ := g.Rooms.Tracks("mri-2")
	for _, info := range tracks {
		if info.ID == track {
			return info
		}
	}
	return rooms.TrackInfo{}
}

func waitFor(t *testing.T, g *doortest.Gateway, track string, want rooms.State) rooms.TrackInfo {
	t.Helper()
	doortest.Eventually(t, func() string {
		if got := state(g, track).State; got != want {
			return track + " is " + string(got) + ", want " + string(want)
		}
		return ""
	})
	return state(g, track)
}

func TestPublisherFeedsItsRoom(t *testing.T) {
	g := start(t, nil)
	p := publish(t, g, "/whip/mri-2/console?label=MRI%202%0A%09Console%00", "User-Agent", "camera/1")
	info := waitFor(t, g, "console/video", rooms.Live)
	waitFor(t, g, "console/audio", rooms.Live)
	if info.Label != "MRI 2 Console" || info.Client != "camera/1" || info.Session == "" {
		t.Errorf("shown as %+v", info)
	}
	if strings.Contains(p.Session, info.Session) {
		t.Errorf("the public id %s is of the secret URL %s", info.Session, p.Session)
	}
	if !info.Codec.Is("VP8") {
		t.Errorf("codec %v", info.Codec)
	}

	doortest.Eventually(t, func() string {
		if got := state(g, "console/video").Path; got != "udp" {
			return "path is " + got
		}
		return ""
	})

	// Items 14 and 16: DELETE ends the media and closes DTLS.
	if res := g.Do(t, "DELETE", p.Session, ""); res.StatusCode != 200 || res.Text != "" {
		t.Errorf("DELETE: got %d %q", res.StatusCode, res.Text)
	}
	if got := state(g, "console/video"); got.Session != "" {
		t.Errorf("after DELETE: %+v", got)
	}
	p.WaitClosed(t)
	leftNothing(t, g)
	if n := g.Peers.Snapshot().Ended[string(rtc.Deleted)]; n != 1 {
		t.Errorf("%d sessions counted as deleted, want 1", n)
	}
}

// A room in which somebody publishes with FFmpeg says so: it should not have to move.
func TestFFmpegIsDeaf(t *testing.T) {
	g := start(t, nil)
	for i, client := range []string{"Mozilla/5.0", "Lavf/62.3.100"} {
		peer := doortest.NewPeer(t)
		peer.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8)
		peer.Connect(t, g, fmt.Sprintf("/whip/mri-2/camera-%d", i), "User-Agent", client)
		doortest.Eventually(t, func() string {
			if got := g.Rooms.RoomStates(nil); len(got) != 1 || got[0].Publishers != i+1 || got[0].Deaf != i {
				return fmt.Sprintf("after %s: %+v, want %d publishers, of which %d are deaf", client, got, i+1, i)
			}
			return ""
		})
	}
}

// A client that closes its connection without DELETE (DTLS close_notify) has left.
func TestPublisherThatClosesHasLeft(t *testing.T) {
	g := start(t, nil)
	p := publish(t, g, "/whip/mri-2/console")
	waitFor(t, g, "console/video", rooms.Live)
	if err := p.GracefulClose(); err != nil {
		t.Fatal(err)
	}
	doortest.Eventually(t, func() string {
		if g.Sessions.Len() != 0 {
			return "the session lives on"
		}
		return ""
	})
	if n := g.Peers.Snapshot().Ended[string(rtc.PeerClosed)]; n != 1 {
		t.Errorf("%d sessions counted as closed by the peer, want 1: %v", n, g.Peers.Snapshot().Ended)
	}
	// OBS sends its DELETE after it has closed DTLS.
	if res := g.Do(t, "DELETE", p.Session, ""); res.StatusCode != 200 {
		t.Errorf("late DELETE: got %d", res.StatusCode)
	}
}

// The newcomer wins once it is connected; the old session is closed properly, and its late
// PATCH and DELETE touch nothing.
func TestTakeover(t *testing.T) {
	g := start(t, nil)
	first := publish(t, g, "/whip/mri-2/console")
	before := waitFor(t, g, "console/video", rooms.Live)

	// One that never connects takes nothing.
	if res := g.Post(t, "/whip/mri-2/console", lines(offer)); res.StatusCode != 201 {
		t.Fatalf("got %d %s", res.StatusCode, res.Text)
	}
	if got := state(g, "console/video").Session; got != before.Session {
		t.Errorf("fed by %s before the newcomer is connected, want %s", got, before.Session)
	}

	second := publish(t, g, "/whip/mri-2/console")
	first.WaitClosed(t)
	doortest.Eventually(t, func() string {
		if got := state(g, "console/video"); got.Session == before.Session || got.Session == "" || got.State != rooms.Live {
			return "not taken over: " + got.Session
		}
		return ""
	})
	now := state(g, "console/video").Session
	if res := g.Do(t, "PATCH", first.Session, "", "Content-Type", "application/trickle-ice-sdpfrag", "If-Match", "*"); res.StatusCode != 404 {
		t.Errorf("late PATCH: got %d", res.StatusCode)
	}
	if res := g.Do(t, "DELETE", first.Session, ""); res.StatusCode != 200 || res.Header.Get("Sightline-Ended") != "replaced" {
		t.Errorf("late DELETE: got %d, ended by %q", res.StatusCode, res.Header.Get("Sightline-Ended"))
	}
	if got := state(g, "console/video"); got.Session != now || got.State != rooms.Live {
		t.Errorf("the late DELETE touched the new session: %+v", got)
	}
	if res := g.Do(t, "GET", second.Session, ""); res.StatusCode != 200 {
		t.Errorf("the new session: %d", res.StatusCode)
	}
	if n := g.Peers.Snapshot().Ended[string(rtc.Replaced)]; n != 1 {
		t.Errorf("%d sessions counted as replaced, want 1: %v", n, g.Peers.Snapshot().Ended)
	}
}

func TestTakenNameIsRefusedWhenConfigured(t *testing.T) {
	g := start(t, func(o *doortest.Options) { o.Rooms.Takeover = rooms.TakeoverReject })
	publish(t, g, "/whip/mri-2/console")
	waitFor(t, g, "console/video", rooms.Live)
	res := g.Post(t, "/whip/mri-2/console", lines(offer))
	if res.StatusCode != 409 || res.Header.Get("Retry-After") != "2" || res.Problem["kind"] != "conflict" {
		t.Errorf("got %d %v, Retry-After %q", res.StatusCode, res.Problem, res.Header.Get("Retry-After"))
	}
	if n := g.Sessions.Len(); n != 1 {
		t.Errorf("%d sessions live, want 1", n)
	}
}

func TestNameOfAnotherSubject(t *testing.T) {
	one, two := auth.NewToken(), auth.NewToken()
	g := start(t, func(o *doortest.Options) {
		o.Auth.Tokens = []auth.Token{
			{Name: "one", SHA256: auth.HashToken(one), Scopes: []auth.Scope{auth.Publish}},
			{Name: "two", SHA256: auth.HashToken(two), Scopes: []auth.Scope{auth.Publish}},
		}
	})
	late := doortest.NewPeer(t) // who asks before the other has connected
	late.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8)
	answer := g.Post(t, "/whip/mri-2/console", late.Offer(t, nil), "Authorization", "Bearer "+two)
	publish(t, g, "/whip/mri-2/console", "Authorization", "Bearer "+one)
	waitFor(t, g, "console/video", rooms.Live)
	if err := late.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer.Text}); err != nil {
		t.Fatal(err)
	}
	late.WaitClosed(t)
	doortest.Eventually(t, func() string {
		if n := g.Peers.Snapshot().Ended[string(rtc.CrowdedOut)]; n != 1 {
			return fmt.Sprintf("ended by %v, want one %s", g.Peers.Snapshot().Ended, rtc.CrowdedOut)
		}
		return ""
	})
	if res := g.Post(t, "/whip/mri-2/console", lines(offer), "Authorization", "Bearer "+two); res.StatusCode != 403 {
		t.Errorf("got %d %s, want 403", res.StatusCode, res.Text)
	}
	if res := g.Post(t, "/whip/mri-2/console", lines(offer), "Authorization", "Bearer "+one); res.StatusCode != 201 {
		t.Errorf("got %d %s, want 201", res.StatusCode, res.Text)
	}
}

func TestLimitIsAnswered503(t *testing.T) {
	g := start(t, func(o *doortest.Options) { o.Rooms.MaxRooms = 1 })
	// A half-open session takes no place from one that connects, which then has it.
	if res := g.Post(t, "/whip/a/b", lines(offer)); res.StatusCode != 201 {
		t.Fatalf("got %d %s", res.StatusCode, res.Text)
	}
	late := doortest.NewPeer(t)
	late.Send(t, func(string) []byte { return make([]byte, 10) }, webrtc.MimeTypeVP8)
	answer := g.Post(t, "/whip/late/b", late.Offer(t, nil))
	publish(t, g, "/whip/c/d")
	doortest.Eventually(t, func() string {
		if g.Rooms.Snapshot().Rooms != 1 {
			return "the room is not open"
		}
		return ""
	})
	res := g.Post(t, "/whip/e/f", lines(offer))
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || res.Problem["kind"] != "unavailable" {
		t.Errorf("got %d %v, Retry-After %q", res.StatusCode, res.Problem, res.Header.Get("Retry-After"))
	}
	if n := g.Sessions.Len(); n != 3 {
		t.Errorf("%d sessions live, want 3", n)
	}
	if err := late.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer.Text}); err != nil {
		t.Fatal(err)
	}
	late.WaitClosed(t)
	doortest.Eventually(t, func() string {
		if n := g.Peers.Snapshot().Ended[string(rtc.CrowdedOut)]; n != 1 {
			return fmt.Sprintf("ended by %v, want one %s", g.Peers.Snapshot().Ended, rtc.CrowdedOut)
		}
		return ""
	})
}

// Item 12.
func TestDrainingIsAnswered503(t *testing.T) {
	g := start(t, nil)
	p := publish(t, g, "/whip/mri-2/console")
	g.Sessions.Drain()
	res := g.Post(t, "/whip/mri-2/console", lines(offer))
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("got %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
	}
	if res := g.Do(t, "GET", p.Session, ""); res.StatusCode != 200 {
		t.Errorf("the session of before: got %d", res.StatusCode)
	}
	g.Sessions.Close()
	p.WaitClosed(t)
	leftNothing(t, g)
}

// Item 16: the room API's way to end a publisher.
func TestRemovedPublisherIsClosed(t *testing.T) {
	g := start(t, nil)
	p := publish(t, g, "/whip/mri-2/console")
	waitFor(t, g, "console/video", rooms.Live)
	if err := g.Rooms.Remove("mri-2", "console"); err != nil {
		t.Fatal(err)
	}
	p.WaitClosed(t)
	doortest.Eventually(t, func() string {
		if g.Peers.Snapshot().Ended[string(rtc.Removed)] != 1 {
			return "not counted as removed"
		}
		return ""
	})
}

// Items 34 and 35: an ICE restart by PATCH, and the media goes on.
func TestRestart(t *testing.T) {
	g := start(t, nil)
	p := publish(t, g, "/whip/mri-2/console")
	waitFor(t, g, "console/video", rooms.Live)
	offer := p.Offer(t, &webrtc.OfferOptions{ICERestart: true})
	res := g.Do(t, "PATCH", p.Session, fragment(offer), "Content-Type", "application/trickle-ice-sdpfrag", "If-Match", p.ETag)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/trickle-ice-sdpfrag" {
		t.Fatalf("got %d %s", res.StatusCode, res.Text)
	}
	etag := res.Header.Get("ETag")
	if etag == "" || etag == p.ETag {
		t.Errorf("ETag %s after %s", etag, p.ETag)
	}
	restarted := g.Do(t, "PATCH", p.Session, fragment(offer), "Content-Type", "application/trickle-ice-sdpfrag", "If-Match", p.ETag)
	if restarted.StatusCode != 412 {
		t.Errorf("the old ETag: got %d, want 412", restarted.StatusCode)
	}
	if err := p.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: spliced(p.RemoteDescription().SDP, res.Text)}); err != nil {
		t.Fatal(err)
	}
	packets := func() uint64 {
		for _, s := range g.Rooms.Snapshot().Tracks {
			if s.ID == "console/video" {
				return s.Source.Packets
			}
		}
		return 0
	}
	before := packets()
	doortest.Eventually(t, func() string {
		if p.ICEConnectionState() != webrtc.ICEConnectionStateConnected || packets() < before+50 {
			return "no media after the restart: " + p.ICEConnectionState().String()
		}
		return ""
	})
	if n := g.Sessions.Len(); n != 1 {
		t.Errorf("%d sessions live", n)
	}
}

// fragment is the ICE part of an offer (RFC 8840, section 9).
func fragment(offer string) string {
	var out strings.Builder
	seen := map[string]bool{}
	mid := false
	for line := range strings.Lines(offer) {
		switch {
		case strings.HasPrefix(line, "a=ice-ufrag:"), strings.HasPrefix(line, "a=ice-pwd:"):
			if !seen[line] {
				out.WriteString(line)
			}
			seen[line] = true
		}
	}
	for line := range strings.Lines(offer) {
		switch {
		case strings.HasPrefix(line, "a=mid:") && !mid:
			mid = true
			out.WriteString("m=video 9 RTP/AVP 0\r\n" + line)
		case strings.HasPrefix(line, "a=candidate:") && mid && !seen[line]:
			seen[line] = true
			out.WriteString(line)
		}
	}
	return out.String()
}

// spliced is an answer with the credentials and candidates of a restart's reply.
func spliced(answer, reply string) string {
	fresh := map[string]string{}
	var candidates string
	for line := range strings.Lines(reply) {
		name, _, _ := strings.Cut(line, ":")
		if name == "a=candidate" {
			candidates += line
			continue
		}
		fresh[name] = line
	}
	var out strings.Builder
	for line := range strings.Lines(answer) {
		name, _, _ := strings.Cut(line, ":")
		switch name {
		case "a=ice-ufrag":
			out.WriteString(fresh[name])
		case "a=ice-pwd":
			out.WriteString(fresh[name] + candidates)
			candidates = ""
		case "a=candidate":
		default:
			out.WriteString(line)
		}
	}
	return out.String()
}

// Row 27: a client that is gone before its answer leaves nothing.
func TestClientThatDidNotWait(t *testing.T) {
	g := start(t, func(o *doortest.Options) { o.ICE.SetupTimeout = 0 })
	if res := g.Post(t, "/whip/mri-2/console", lines(offer)); res.StatusCode != 201 {
		t.Fatalf("got %d", res.StatusCode)
	}
	// It has its answer and never comes: the time for the set-up ends it.
	doortest.Eventually(t, func() string {
		if g.Sessions.Len() != 0 {
			return "the session lives on"
		}
		return ""
	})
	leftNothing(t, g)
	if n := g.Peers.Snapshot().Ended[string(rtc.Unreached)]; n != 1 {
		t.Errorf("failures: %v", g.Peers.Snapshot().Ended)
	}
}

// Item 26.
func TestICEServersAreTold(t *testing.T) {
	g := start(t, func(o *doortest.Options) {
		o.ICE.Servers = []rtc.Server{{URL: "turn:turn.example.org?transport=udp", Username: "u", Credential: "c"}, {URL: "stun:stun.example.org"}}
	})
	res := g.Post(t, "/whip/mri-2/console", lines(offer))
	want := []string{
		`<turn:turn.example.org?transport=udp>; rel="ice-server"; username="u"; credential="c"; credential-type="password"`,
		`<stun:stun.example.org>; rel="ice-server"`,
		`<` + g.URL + `/whep/mri-2/~mix?for=console>; rel="urn:sightline:return-audio"`,
	}
	if got := res.Header.Values("Link"); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("Link: %q", got)
	}
	for _, method := range []string{http.MethodOptions, http.MethodGet} {
		if got := g.Do(t, method, "/whip/mri-2/console", "").Header.Values("Link"); len(got) != 0 {
			t.Errorf("%s tells %q", method, got)
		}
	}
}

// A publisher learns where it hears the others, last and on a line of its own. Clients that
// parse Link by text find no ICE server there, and those of before as they were.
func TestReturnAudioIsTold(t *testing.T) {
	const ice = `<turn:turn.example.org?transport=udp>; rel="ice-server"; username="u"; credential="c"; credential-type="password"`
	for _, tt := range []struct {
		name, public, path, want string
		servers                  bool
	}{
		{"alone", "", "/whip/mri-2/console", "BASE/whep/mri-2/~mix?for=console", false},
		{"after ICE servers", "", "/whip/mri-2/console?label=x&role=hospital", "BASE/whep/mri-2/~mix?for=console", true},
		{"all that names may hold", "", "/whip/M.r_i-2/-c.o_n%73ole", "BASE/whep/M.r_i-2/~mix?for=-c.o_nsole", true},
		{"a public URL", "https://media.example.org/gate", "/whip/mri-2/console", "https://media.example.org/gate/whep/mri-2/~mix?for=console", true},
		{"a public URL with separators", "https://media.example.org/a,b;c", "/whip/mri-2/console", "https://media.example.org/a%2Cb%3Bc/whep/mri-2/~mix?for=console", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, func(o *doortest.Options) {
				o.HTTP.PublicURL = tt.public
				if tt.servers {
					o.ICE.Servers = []rtc.Server{{URL: "turn:turn.example.org?transport=udp", Username: "u", Credential: "c"}}
				}
			})
			res := g.Do(t, "POST", tt.path, lines(offer), "Content-Type", "application/sdp", "Origin", "https://console.example.org")
			if res.StatusCode != 201 {
				t.Fatalf("got %d %s", res.StatusCode, res.Text)
			}
			want := []string{`<` + strings.Replace(tt.want, "BASE", g.URL, 1) + `>; rel="urn:sightline:return-audio"`}
			if tt.servers {
				want = append([]string{ice}, want...)
			}
			got := res.Header.Values("Link")
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Fatalf("Link: %q, want %q", got, want)
			}
			if exposed := res.Header.Get("Access-Control-Expose-Headers"); !strings.Contains(exposed, "Link") {
				t.Errorf("exposed to pages: %q, want Link too", exposed)
			}

			ours := got[len(got)-1]
			if strings.Count(ours, ";") != 1 || strings.Count(ours, ",") != 0 || strings.Count(ours, `"`) != 2 {
				t.Errorf("Link holds what clients split at: %s", ours)
			}
			servers := strings.Join(got[:len(got)-1], "\n")
			if found := obsServers(got); strings.Join(found, "\n") != servers {
				t.Errorf("OBS finds the ICE servers %q", found)
			}
			combined := strings.Join(got, ", ") // fetch joins the lines, and so do some proxies
			if found := obsServers([]string{combined}); tt.servers && (len(found) == 0 || found[0] != ice) {
				t.Errorf("behind a proxy OBS finds the ICE servers %q", found)
			}
			if found := relations(combined)["urn:sightline:return-audio"]; found != strings.Trim(strings.Split(ours, ";")[0], "<>") {
				t.Errorf("whip-whep-js finds the return audio %q", found)
			}
			if found, ok := relations(combined)["ice-server"]; ok != tt.servers || tt.servers && found != "turn:turn.example.org?transport=udp" {
				t.Errorf("whip-whep-js finds the ICE server %q", found)
			}
		})
	}
	g := start(t, nil)
	for _, method := range []string{"OPTIONS", "GET", "HEAD", "PUT"} {
		if got := g.Do(t, method, "/whip/mri-2/console", "").Header.Values("Link"); len(got) != 0 {
			t.Errorf("%s tells %q", method, got)
		}
	}
	for _, body := range []string{"", "v=0", with("a=sendonly", "a=recvonly")} {
		if res := g.Post(t, "/whip/mri-2/console", body); res.StatusCode == 201 || len(res.Header.Values("Link")) != 0 {
			t.Errorf("%d tells %q", res.StatusCode, res.Header.Values("Link"))
		}
	}
}

// obsServers finds ICE servers as OBS does (whip-output.cpp): each header is split at commas,
// each piece at semicolons, and what begins with a scheme of ICE is one's URL. It returns the
// pieces in which there is one.
func obsServers(headers []string) []string {
	var out []string
	for _, header := range headers {
		for piece := range strings.SplitSeq(header, ",") {
			url := ""
			for token := range strings.SplitSeq(piece, ";") {
				if strings.HasPrefix(token, "<stun:") || strings.HasPrefix(token, "<turn:") {
					url = token
				}
			}
			if url != "" {
				out = append(out, piece)
			}
		}
	}
	return out
}

// relations finds the last URL of each relation as whip-whep-js does: the header, which fetch
// has joined, is split at a comma with a space, and each piece at semicolons.
func relations(header string) map[string]string {
	out := make(map[string]string)
	for piece := range strings.SplitSeq(header, ", ") {
		items := strings.Split(piece, ";")
		for _, item := range items[1:] {
			if key, value, _ := strings.Cut(strings.TrimSpace(item), "="); key == "rel" {
				out[strings.ReplaceAll(value, `"`, "")] = strings.Trim(strings.TrimSpace(items[0]), "<>")
			}
		}
	}
	return out
}
