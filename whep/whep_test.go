package whep

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"sightline/internal/auth"
	"sightline/internal/doortest"
	"sightline/internal/media"
	"sightline/internal/opt"
	"sightline/internal/rtc"
	"sightline/rooms"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, change func(*doortest.Options)) *doortest.Gateway {
	t.Helper()
	return doortest.Start(t, change, func(g *doortest.Gateway) doortest.Door {
		return New(g.Rooms, g.Bridge, g.Peers, g.Auth, g.Sessions, g.Audit, g.Log)
	})
}

const (
	head = "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE %s\n"
	part = `c=IN IP4 0.0.0.0
a=mid:%s
a=recvonly
a=rtcp-mux
a=setup:actpass
a=ice-ufrag:aaaa
a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa
a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F
`
	audioFormats = "a=rtpmap:111 opus/48000/2\na=fmtp:111 minptime=10;useinbandfec=1\n"
	videoFormats = "a=rtpmap:96 VP8/90000\na=rtcp-fb:96 nack pli\n"
)

// offer is what a player of the kinds sends, in their order.
func offer(kinds ...media.Kind) string {
	var mids []string
	var body strings.Builder
	for i, kind := range kinds {
		mids = append(mids, fmt.Sprint(i))
		line, formats := "m=audio 9 UDP/TLS/RTP/SAVPF 111\n", audioFormats
		if kind == media.Video {
			line, formats = "m=video 9 UDP/TLS/RTP/SAVPF 96\n", videoFormats
		}
		fmt.Fprintf(&body, line+part+formats, fmt.Sprint(i))
	}
	return strings.ReplaceAll(fmt.Sprintf(head, strings.Join(mids, " "))+body.String(), "\n", "\r\n")
}

// The items and rows that the names mention are those of docs/CONFORMANCE.md.
func TestPlayAnswers(t *testing.T) {
	nurse, companion, some, named := auth.NewToken(), auth.NewToken(), auth.NewToken(), auth.NewToken()
	open := start(t, nil)
	closed := start(t, func(o *doortest.Options) {
		token := func(name, secret string, publishers ...string) {
			o.Auth.Tokens = append(o.Auth.Tokens, auth.Token{
				Name: name, SHA256: auth.HashToken(secret), Scopes: []auth.Scope{auth.Play}, Rooms: []string{"mri-*"}, Publishers: publishers,
			})
		}
		token("nurse", nurse)
		token("companion", companion, "console")
		token("some", some, "console", "gantry")
		token("named", named, "console", "gantry", "~mix")
	})
	doortest.Publish(t, open, "mri-2", "console", doortest.VP8, doortest.Opus)
	doortest.Publish(t, open, "mri-2", "intercom", doortest.Opus)
	doortest.Publish(t, open, "mri-2", "screen", doortest.H264)
	pair := offer(media.Audio, media.Video)
	const sdp, path, page = "application/sdp", "/whep/mri-2/console", "text/html,application/xhtml+xml,*/*;q=0.8"
	for _, tt := range []struct {
		name         string
		gateway      *doortest.Gateway
		method, path string
		body         string
		header       []string
		status       int
		kind         string
		want         map[string]string
		sections     string // "+" sent, "." inactive, "-" rejected
	}{
		{name: "item 1: the pair", gateway: open, method: "POST", path: path, body: pair, status: 201, want: map[string]string{"Content-Type": sdp, "Cache-Control": "no-store"}, sections: "++"},
		{name: "the video of the pair", gateway: open, method: "POST", path: path + "/video", body: offer(media.Video), status: 201, sections: "+"},
		{name: "the audio of the pair", gateway: open, method: "POST", path: path + "/audio", body: offer(media.Audio), status: 201, sections: "+"},
		{name: "T5: only the video for who offers both", gateway: open, method: "POST", path: path + "/video", body: pair, status: 201, sections: ".+"},
		{name: "T5: only the audio for who offers both", gateway: open, method: "POST", path: path + "/audio", body: pair, status: 201, sections: "+-"},
		{name: "T5: only video offered for the pair", gateway: open, method: "POST", path: path, body: offer(media.Video), status: 201, sections: "+"},
		{name: "row 62: video first, audio only", gateway: open, method: "POST", path: "/whep/mri-2/intercom", body: offer(media.Video, media.Audio), status: 201, sections: ".+"},

		{name: "row 63: no common codec", gateway: open, method: "POST", path: "/whep/mri-2/screen", body: pair, status: 422, kind: "unprocessable"},
		{name: "row 63: kind not offered", gateway: open, method: "POST", path: path + "/audio", body: offer(media.Video), status: 422, kind: "unprocessable"},
		{name: "item 53, row 58: sendonly", gateway: open, method: "POST", path: path, body: strings.ReplaceAll(pair, "recvonly", "sendonly"), status: 422, kind: "unprocessable"},
		{name: "item 53, row 58: inactive", gateway: open, method: "POST", path: path, body: strings.ReplaceAll(pair, "recvonly", "inactive"), status: 422, kind: "unprocessable"},
		{name: "item 54: no such room", gateway: open, method: "POST", path: "/whep/ct-1/console", body: pair, status: 409, kind: "conflict", want: map[string]string{"Retry-After": "2"}},
		{name: "item 54: no such publisher", gateway: open, method: "POST", path: "/whep/mri-2/door", body: pair, status: 409, kind: "conflict", want: map[string]string{"Retry-After": "2"}},
		{name: "item 54: no such track", gateway: open, method: "POST", path: "/whep/mri-2/intercom/video", body: pair, status: 409, kind: "conflict", want: map[string]string{"Retry-After": "2"}},
		{name: "no such endpoint", gateway: open, method: "POST", path: path + "/text", body: pair, status: 404, kind: "not-found"},
		{name: "not a name", gateway: open, method: "POST", path: "/whep/mri-2/~min", body: pair, status: 400, kind: "bad-request"},
		{name: "a room that is a route", gateway: open, method: "POST", path: "/whep/api/console", body: pair, status: 400, kind: "bad-request"},
		{name: "the mix of a room that is a route", gateway: open, method: "POST", path: "/whep/whip/~mix", body: offer(media.Audio), status: 400, kind: "bad-request"},
		{name: "a room's mix", gateway: open, method: "POST", path: "/whep/mri-2/~mix", body: offer(media.Audio), status: 201, want: map[string]string{"Content-Type": sdp}, sections: "+"},
		{name: "T5: a mix for who offers both", gateway: open, method: "POST", path: "/whep/mri-2/~mix?for=console", body: pair, status: 201, sections: "+-"},
		{name: "row 62: a mix, video offered first", gateway: open, method: "POST", path: "/whep/mri-2/~mix", body: offer(media.Video, media.Audio), status: 201, sections: ".+"},
		{name: "the mix of a room that is not open yet", gateway: open, method: "POST", path: "/whep/ct-9/~mix", body: offer(media.Audio), status: 201, sections: "+"},
		{name: "row 63: a mix for who offers video", gateway: open, method: "POST", path: "/whep/mri-2/~mix", body: offer(media.Video), status: 422, kind: "unprocessable"},
		{name: "a mix has no kinds", gateway: open, method: "POST", path: "/whep/mri-2/~mix/audio", body: pair, status: 404, kind: "not-found"},
		{name: "the mix of no room", gateway: open, method: "POST", path: "/whep/~mix/~mix", body: pair, status: 400, kind: "bad-request"},
		{name: "a mix for no name", gateway: open, method: "POST", path: "/whep/mri-2/~mix?for=a%20b", body: pair, status: 400, kind: "bad-request"},
		{name: "a mix for no role", gateway: open, method: "POST", path: "/whep/mri-2/~mix?role=a%20b", body: pair, status: 400, kind: "bad-request"},
		{name: "a mix opened in a browser", gateway: open, method: "GET", path: "/whep/mri-2/~mix?for=console", header: []string{"Accept", page}, status: 200, want: map[string]string{"Refresh": "0; url=" + open.URL + "/watch/mri-2/~mix?for=console"}},
		{name: "item 7: a mix", gateway: open, method: "OPTIONS", path: "/whep/mri-2/~mix", status: 200, want: map[string]string{"Accept-Post": sdp}},
		{name: "item 21: a mix without a token", gateway: closed, method: "POST", path: "/whep/mri-2/~mix", body: pair, status: 401, kind: "unauthenticated"},
		{name: "row 23: the mix of another room", gateway: closed, method: "POST", path: "/whep/ct-1/~mix", body: pair, header: []string{"Authorization", "Bearer " + nurse}, status: 403, kind: "forbidden"},
		{name: "a token for all of the room's publishers", gateway: closed, method: "POST", path: "/whep/mri-2/~mix", body: pair, header: []string{"Authorization", "Bearer " + nurse}, status: 201, sections: "+-"},
		{name: "a token for the publisher who listens", gateway: closed, method: "POST", path: "/whep/mri-2/~mix", body: pair, header: []string{"Authorization", "Bearer " + companion}, status: 201, sections: "+-"},
		{name: "a token for some publishers", gateway: closed, method: "POST", path: "/whep/mri-2/~mix", body: pair, header: []string{"Authorization", "Bearer " + some}, status: 403, kind: "forbidden"},
		{name: "a token for some publishers and the mix", gateway: closed, method: "POST", path: "/whep/mri-2/~mix", body: pair, header: []string{"Authorization", "Bearer " + named}, status: 201, sections: "+-"},
		{name: "row 1", gateway: open, method: "POST", path: path, body: pair, header: []string{"Content-Type", "text/plain"}, status: 415, kind: "media-type", want: map[string]string{"Accept": sdp}},
		{name: "row 5: empty", gateway: open, method: "POST", path: path, status: 400, kind: "bad-request"},
		{name: "item 4", gateway: open, method: "POST", path: path, body: "{}", status: 400, kind: "bad-request"},

		{name: "item 5", gateway: open, method: "GET", path: path, status: 200, want: map[string]string{"Content-Type": sdp, "Refresh": ""}},
		{name: "item 5: any type", gateway: open, method: "GET", path: path, header: []string{"Accept", "*/*"}, status: 200, want: map[string]string{"Refresh": ""}},
		{name: "opened in a browser", gateway: open, method: "GET", path: path, header: []string{"Accept", page}, status: 200, want: map[string]string{"Content-Type": sdp, "Refresh": "0; url=" + open.URL + "/watch/mri-2/console"}},
		{name: "video opened in a browser", gateway: open, method: "GET", path: path + "/video", header: []string{"Accept", page}, status: 200, want: map[string]string{"Refresh": "0; url=" + open.URL + "/watch/mri-2/console/video"}},
		{name: "audio opened in a browser", gateway: open, method: "GET", path: path + "/audio", header: []string{"Accept", page}, status: 200, want: map[string]string{"Refresh": "0; url=" + open.URL + "/watch/mri-2/console/audio"}},
		{name: "item 6", gateway: open, method: "HEAD", path: path + "/video", status: 200, want: map[string]string{"Content-Type": sdp}},
		{name: "item 7", gateway: open, method: "OPTIONS", path: path + "/video", status: 200, want: map[string]string{"Accept-Post": sdp}},
		{name: "item 10, row 13", gateway: open, method: "PATCH", path: path, status: 405, kind: "method-not-allowed", want: map[string]string{"Allow": "GET, HEAD, OPTIONS, POST"}},
		{name: "item 10, row 13", gateway: open, method: "DELETE", path: path + "/audio", status: 405, kind: "method-not-allowed", want: map[string]string{"Allow": "GET, HEAD, OPTIONS, POST"}},

		{name: "item 21, row 18", gateway: closed, method: "POST", path: path, body: pair, status: 401, kind: "unauthenticated", want: map[string]string{"Www-Authenticate": `Bearer realm="sightline"`}},
		{name: "item 25: a room that is not there, without a token", gateway: closed, method: "POST", path: "/whep/ct-1/console", body: pair, status: 401, kind: "unauthenticated"},
		{name: "row 23, item 25: another room", gateway: closed, method: "POST", path: "/whep/ct-1/console", body: pair, header: []string{"Authorization", "Bearer " + nurse}, status: 403, kind: "forbidden", want: map[string]string{"Www-Authenticate": `Bearer realm="sightline", error="insufficient_scope", scope="whep:play"`}},
		{name: "allowed, but not live", gateway: closed, method: "POST", path: path, body: pair, header: []string{"Authorization", "Bearer " + nurse}, status: 409, kind: "conflict"},
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
			if tt.status == 422 && strings.Contains(tt.name, "common codec") && (res.Problem["offered"] == nil || res.Problem["available"] == nil) {
				t.Errorf("the problem does not say what is offered and available: %v", res.Problem)
			}
			if tt.status == 201 {
				if got := sections(res.Text); got != tt.sections {
					t.Errorf("sections %s, want %s:\n%s", got, tt.sections, res.Text)
				}
				if got := tt.gateway.Do(t, "DELETE", res.Header.Get("Location"), ""); got.StatusCode != 200 {
					t.Errorf("DELETE: got %d", got.StatusCode)
				}
			}
			leftNothing(t, tt.gateway)
		})
	}
}

// Item 25: who may not play in a room is not told whether it is there.
func TestForbiddenRoomTellsNothing(t *testing.T) {
	nurse := auth.NewToken()
	g := start(t, func(o *doortest.Options) {
		o.Auth.Tokens = []auth.Token{{
			Name: "nurse", SHA256: auth.HashToken(nurse), Scopes: []auth.Scope{auth.Play}, Rooms: []string{"mri-*"},
		}}
	})
	doortest.Publish(t, g, "ct-1", "console", doortest.VP8)
	for _, header := range [][]string{nil, {"Authorization", "Bearer x"}, {"Authorization", "Bearer " + nurse}} {
		for _, path := range []string{"console", "console/video", "door"} {
			there := g.Post(t, "/whep/ct-1/"+path, offer(media.Video), header...)
			missing := g.Post(t, "/whep/ct-2/"+path, offer(media.Video), header...)
			if there.StatusCode != missing.StatusCode || there.Text != missing.Text || there.StatusCode/100 != 4 {
				t.Errorf("%q, %s: got %d %s where it is and %d %s where it is not", header, path, there.StatusCode, there.Text, missing.StatusCode, missing.Text)
			}
			for _, name := range []string{"Www-Authenticate", "Retry-After", "Link", "Location"} {
				if a, b := there.Header.Get(name), missing.Header.Get(name); a != b {
					t.Errorf("%q, %s: %s is %q where it is and %q where it is not", header, path, name, a, b)
				}
			}
		}
	}
}

// sections tells which m= sections of an answer are accepted. It fails those without
// candidates in the first one (RFC 9143, section 7.3.1).
func sections(answer string) string {
	var out strings.Builder
	for i, section := range strings.Split(answer, "m=")[1:] {
		rejected := strings.Fields(section)[1] == "0"
		switch {
		case rejected:
			out.WriteString("-")
		case !strings.ContainsAny(out.String(), "+.") && !strings.Contains(section, "a=candidate:"):
			out.WriteString(fmt.Sprintf("(no candidates in %d)", i))
		case strings.Contains(section, "\r\na=inactive\r\n"):
			out.WriteString(".")
		default:
			out.WriteString("+")
		}
	}
	return out.String()
}

// leftNothing fails if a session or a subscription is still there.
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
	if n := g.Rooms.Snapshot().Viewers; n != 0 {
		t.Errorf("%d viewers are left", n)
	}
	if n := g.Bridge.Snapshot().Listeners; n != 0 {
		t.Errorf("%d listeners are left", n)
	}
}

// A viewer counts what he gets.
type viewer struct {
	*doortest.Peer
	audio, video atomic.Int64
	ssrc         sync.Map // of all packets
}

func play(t *testing.T, g *doortest.Gateway, path string, vp8Only bool, kinds ...webrtc.RTPCodecType) *viewer {
	t.Helper()
	v := &viewer{Peer: doortest.NewPeer(t, vp8Only)}
	var readers sync.WaitGroup
	v.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		readers.Add(1)
		defer readers.Done()
		count := &v.video
		if track.Kind() == webrtc.RTPCodecTypeAudio {
			count = &v.audio
		}
		for {
			if _, _, err := track.ReadRTP(); err != nil {
				return
			}
			v.ssrc.Store(track.SSRC(), true)
			count.Add(1)
		}
	})
	v.Receive(t, kinds...)
	v.Connect(t, g, path)
	return v
}

// more waits for ten more packets of each kind that is wanted.
func (v *viewer) more(t *testing.T, audio, video bool) {
	t.Helper()
	a, b := v.audio.Load(), v.video.Load()
	doortest.Eventually(t, func() string {
		if audio && v.audio.Load() < a+10 || video && v.video.Load() < b+10 {
			return fmt.Sprintf("only %d more packets of audio and %d of video", v.audio.Load()-a, v.video.Load()-b)
		}
		return ""
	})
}

func viewers(g *doortest.Gateway, track string) int {
	tracks, _ := g.Rooms.Tracks("mri-2")
	for _, info := range tracks {
		if info.ID == track {
			return info.Viewers
		}
	}
	return -1
}

func ended(g *doortest.Gateway, end rtc.End) func() string {
	return func() string {
		if got := g.Peers.Snapshot().Ended; got[string(end)] != 1 {
			return fmt.Sprintf("sessions ended by %v, want one %s", got, end)
		}
		return ""
	}
}

func TestViewerGetsThePair(t *testing.T) {
	g := start(t, nil)
	doortest.Publish(t, g, "mri-2", "console", doortest.VP8, doortest.Opus)
	v := play(t, g, "/whep/mri-2/console", false, webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio)
	v.more(t, true, true)
	if a, b := viewers(g, "console/audio"), viewers(g, "console/video"); a != 1 || b != 1 {
		t.Errorf("%d viewers of the audio, %d of the video, want 1 each", a, b)
	}
	if n := g.Rooms.Snapshot().Viewers; n != 1 {
		t.Errorf("%d viewers, want 1", n)
	}
	// Items 14 and 16.
	if res := g.Do(t, "DELETE", v.Session, ""); res.StatusCode != 200 {
		t.Errorf("DELETE: got %d", res.StatusCode)
	}
	leftNothing(t, g)
	v.WaitClosed(t)
	doortest.Eventually(t, ended(g, rtc.Deleted))
}

func TestViewerGetsOneTrack(t *testing.T) {
	g := start(t, nil)
	doortest.Publish(t, g, "mri-2", "console", doortest.VP8, doortest.Opus)
	for _, tt := range []struct {
		path         string
		kinds        []webrtc.RTPCodecType
		audio, video int
	}{
		{"/whep/mri-2/console/audio", []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio}, 1, 0},
		{"/whep/mri-2/console/audio", []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo}, 1, 0},
		{"/whep/mri-2/console/audio", []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio}, 1, 0},
		{"/whep/mri-2/console/video", []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio}, 0, 1},
		{"/whep/mri-2/console/video", []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo}, 0, 1},
		{"/whep/mri-2/console", []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo}, 0, 1},
	} {
		v := play(t, g, tt.path, false, tt.kinds...)
		v.more(t, tt.audio == 1, tt.video == 1)
		if a, b := viewers(g, "console/audio"), viewers(g, "console/video"); a != tt.audio || b != tt.video {
			t.Errorf("%s: %d viewers of the audio, %d of the video, want %d and %d", tt.path, a, b, tt.audio, tt.video)
		}
		if tt.audio == 0 && v.audio.Load() > 0 || tt.video == 0 && v.video.Load() > 0 {
			t.Errorf("%s: %d packets of audio, %d of video", tt.path, v.audio.Load(), v.video.Load())
		}
		g.Do(t, "DELETE", v.Session, "")
	}
	leftNothing(t, g)
}

func TestSessionSaysWhoseItIs(t *testing.T) {
	g := start(t, nil)
	doortest.Publish(t, g, "mri-2", "console", doortest.VP8, doortest.Opus)
	name := "Dr. Berg"
	_, berg, err := g.Rooms.Enter(rooms.EnterRequest{Room: "mri-2", ParticipantChange: rooms.ParticipantChange{Name: &name}})
	if err != nil {
		t.Fatal(err)
	}
	state := func() string {
		room, err := g.Rooms.Room("mri-2")
		if err != nil {
			t.Fatal(err)
		}
		tracks := room.Publishers[0].Tracks
		return fmt.Sprint(tracks[0].Watchers, tracks[1].Watchers, room.Participants[0].Listening)
	}
	post := func(want int, path string, kinds ...media.Kind) string {
		t.Helper()
		res := g.Post(t, path, offer(kinds...))
		if res.StatusCode != want {
			t.Errorf("%s: got %d, want %d: %s", path, res.StatusCode, want, res.Text)
		}
		return res.Header.Get("Location")
	}
	self := "?participant=" + berg.ID
	sessions := []string{
		post(201, "/whep/mri-2/console/video"+self, media.Video),
		post(201, "/whep/mri-2/~mix"+self, media.Audio),
		post(201, "/whep/mri-2/console?participant=~nobody%0a", media.Audio, media.Video),
		post(201, "/whep/mri-2/~mix?participant=~nobody%0a", media.Audio),
		post(201, "/whep/mri-2/console/audio?participant=", media.Audio),
	}
	if got, want := state(), fmt.Sprintf("[] [%s] true", berg.ID); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	post(422, "/whep/mri-2/console/audio"+self, media.Video) // refused: it watches nothing
	for _, s := range sessions {
		g.Do(t, "DELETE", s, "")
	}
	if got, want := state(), "[] [] false"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestViewerThatClosesHasLeft(t *testing.T) {
	g := start(t, nil)
	doortest.Publish(t, g, "mri-2", "console", doortest.VP8)
	v := play(t, g, "/whep/mri-2/console", false, webrtc.RTPCodecTypeVideo)
	v.more(t, false, true)
	if err := v.GracefulClose(); err != nil {
		t.Fatal(err)
	}
	doortest.Eventually(t, ended(g, rtc.PeerClosed))
	doortest.Eventually(t, func() string {
		if n := g.Rooms.Snapshot().Viewers; n != 0 {
			return "the viewer still counts"
		}
		return ""
	})
}

// A viewer never notices more than a gap: same session, same SSRC.
func TestViewerOutlivesItsPublishersSession(t *testing.T) {
	g := start(t, nil)
	first := doortest.Publish(t, g, "mri-2", "console", doortest.VP8, doortest.Opus)
	v := play(t, g, "/whep/mri-2/console", false, webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio)
	v.more(t, true, true)
	first.Stop()
	doortest.Publish(t, g, "mri-2", "console", doortest.VP8, doortest.Opus)
	v.more(t, true, true)
	if res := g.Do(t, "GET", v.Session, ""); res.StatusCode != 200 {
		t.Errorf("the session: got %d", res.StatusCode)
	}
	n := 0
	v.ssrc.Range(func(any, any) bool { n++; return true })
	if n != 2 {
		t.Errorf("packets of %d SSRCs, want 2", n)
	}
}

func TestViewerEndsWithItsTrack(t *testing.T) {
	g := start(t, func(o *doortest.Options) {
		o.Rooms.Grace = opt.Duration(200 * time.Millisecond)
		o.Rooms.StalledAfter = opt.Duration(100 * time.Millisecond)
	})
	feed := doortest.Publish(t, g, "mri-2", "console", doortest.VP8)
	v := play(t, g, "/whep/mri-2/console", false, webrtc.RTPCodecTypeVideo)
	v.more(t, false, true)
	feed.Stop()
	v.WaitClosed(t)
	doortest.Eventually(t, ended(g, rtc.Gone))
	if res := g.Do(t, "DELETE", v.Session, ""); res.StatusCode != 200 {
		t.Errorf("late DELETE: got %d", res.StatusCode)
	}
}

// A codec that the viewer can't take ends its session, so that it comes back.
func TestViewerEndsWithACodecItCannotTake(t *testing.T) {
	g := start(t, nil)
	feed := doortest.Publish(t, g, "mri-2", "console", doortest.VP8)
	all := play(t, g, "/whep/mri-2/console", false, webrtc.RTPCodecTypeVideo)
	vp8 := play(t, g, "/whep/mri-2/console", true, webrtc.RTPCodecTypeVideo)
	all.more(t, false, true)
	vp8.more(t, false, true)
	feed.Stop()
	doortest.Publish(t, g, "mri-2", "console", doortest.H264)
	vp8.WaitClosed(t)
	doortest.Eventually(t, ended(g, rtc.Codec))
	all.more(t, false, true)
}

func TestViewersPLIReachesTheCamera(t *testing.T) {
	g := start(t, nil)
	feed := doortest.Publish(t, g, "mri-2", "console", doortest.VP8)
	v := play(t, g, "/whep/mri-2/console", false, webrtc.RTPCodecTypeVideo)
	v.more(t, false, true)
	before := feed.Keyframes.Load()
	ssrc := uint32(v.GetReceivers()[0].Track().SSRC())
	if err := v.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: ssrc}}); err != nil {
		t.Fatal(err)
	}
	doortest.Eventually(t, func() string {
		if feed.Keyframes.Load() == before {
			return "the camera was not asked for a keyframe"
		}
		return ""
	})
}

func TestLimitsAreAnswered503(t *testing.T) {
	for name, set := range map[string]func(*doortest.Options){
		"in all":      func(o *doortest.Options) { o.Rooms.MaxViewers = 1 },
		"for a track": func(o *doortest.Options) { o.Rooms.MaxViewersPerTrack = 1 },
		"of the mix":  func(o *doortest.Options) { o.Bridge.MaxListeners = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, set)
			doortest.Publish(t, g, "mri-2", "console", doortest.VP8, doortest.Opus)
			path := "/whep/mri-2/console"
			if name == "of the mix" {
				path = "/whep/mri-2/~mix"
			}
			first := g.Post(t, path, offer(media.Audio, media.Video))
			if first.StatusCode != 201 {
				t.Fatalf("got %d %s", first.StatusCode, first.Text)
			}
			res := g.Post(t, path, offer(media.Audio, media.Video))
			if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || res.Problem["limit"] == nil {
				t.Errorf("got %d %v, Retry-After %q", res.StatusCode, res.Problem, res.Header.Get("Retry-After"))
			}
			g.Do(t, "DELETE", first.Header.Get("Location"), "")
			if res := g.Post(t, path, offer(media.Audio, media.Video)); res.StatusCode != 201 {
				t.Errorf("after the first has left: got %d", res.StatusCode)
			}
		})
	}
}

// Nothing is negotiated again while speakers come, go, are replaced and muted.
func TestMixIsOneTrackWhateverHappensInTheRoom(t *testing.T) {
	g := start(t, nil)
	v := play(t, g, "/whep/mri-2/~mix?for=desk", false, webrtc.RTPCodecTypeAudio)
	v.more(t, true, false)
	console := doortest.Publish(t, g, "mri-2", "console", doortest.VP8, doortest.Opus)
	v.more(t, true, false)
	doortest.Publish(t, g, "mri-2", "desk", doortest.Opus)
	doortest.Eventually(t, func() string {
		if n := len(g.Bridge.Snapshot().Speakers); n != 2 {
			return fmt.Sprintf("%d speakers, want 2", n)
		}
		return ""
	})
	console.Stop()
	v.more(t, true, false)
	doortest.Publish(t, g, "mri-2", "console", doortest.Opus)
	v.more(t, true, false)
	if err := g.Rooms.Mute("mri-2", "console", true); err != nil {
		t.Fatal(err)
	}
	v.more(t, true, false)
	if n := viewers(g, "console/audio"); n != 0 {
		t.Errorf("the bridge counts as %d viewers of what it mixes", n)
	}
	streams := 0
	v.ssrc.Range(func(_, _ any) bool { streams++; return true })
	if streams != 1 {
		t.Errorf("the mix came as %d streams, want one", streams)
	}
	g.Sessions.Close()
	v.WaitClosed(t)
	doortest.Eventually(t, ended(g, rtc.Draining))
	leftNothing(t, g)
}

// Item 12.
func TestDrainingIsAnswered503(t *testing.T) {
	g := start(t, nil)
	doortest.Publish(t, g, "mri-2", "console", doortest.VP8)
	v := play(t, g, "/whep/mri-2/console", false, webrtc.RTPCodecTypeVideo)
	g.Sessions.Drain()
	if res := g.Post(t, "/whep/mri-2/console", offer(media.Video)); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("got %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
	}
	v.more(t, false, true)
	g.Sessions.Close()
	v.WaitClosed(t)
	doortest.Eventually(t, ended(g, rtc.Draining))
}
