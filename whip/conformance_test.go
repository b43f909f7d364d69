package whip

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/webrtc/v4"

	"sightline/internal/auth"
	"sightline/internal/doortest"
	"sightline/internal/rtc"
	"sightline/rooms"
)

// What docs/CONFORMANCE.md promises of the whole gateway, door to socket.

const fragmentType = "application/trickle-ice-sdpfrag"

// trickle is a PATCH body with the credentials of an ICE session.
func trickle(ufrag, pwd string, candidates ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "a=ice-ufrag:%s\r\na=ice-pwd:%s\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n", ufrag, pwd)
	for _, c := range candidates {
		b.WriteString("a=candidate:" + c + "\r\n")
	}
	return b.String()
}

func patch(t *testing.T, g *doortest.Gateway, session, etag, body string) doortest.Response {
	t.Helper()
	return g.Do(t, "PATCH", session, body, "Content-Type", fragmentType, "If-Match", etag)
}

// Items 1, 2 and 40, T3: what a 201 says of its session.
func TestAnswerDescribesItsSession(t *testing.T) {
	g := start(t, nil)
	strong := regexp.MustCompile(`^"[A-Za-z0-9]{22}"$`)
	location := regexp.MustCompile(`^` + regexp.QuoteMeta(g.URL) + `/sessions/[A-Za-z0-9_-]{43}$`) // absolute, no query
	etags := map[string]bool{}
	for range 20 {
		began := time.Now()
		res := g.Post(t, "/whip/mri-2/console?label=x", lines(offer))
		if took := time.Since(began); res.StatusCode != 201 || took > 4*time.Second {
			t.Errorf("got %d after %v; OBS gives up after 8 s", res.StatusCode, took)
		}
		if got := res.Header["Location"]; len(got) != 1 || !location.MatchString(got[0]) {
			t.Errorf("Location: %q", got)
		}
		if got := res.Header["Etag"]; len(got) != 1 || !strong.MatchString(got[0]) || etags[got[0]] {
			t.Errorf("ETag: %q", got)
		}
		etags[res.Header.Get("ETag")] = true
		if strings.Count(res.Text, "a=candidate:") != 1 || !strings.Contains(res.Text, "\r\na=end-of-candidates\r\n") {
			t.Errorf("not all candidates and their end:\n%s", res.Text)
		}
		if got := g.Do(t, "GET", res.Header.Get("Location"), ""); got.StatusCode != 200 || got.Text != "" {
			t.Errorf("GET of the session: got %d %q, want an empty 200", got.StatusCode, got.Text)
		}
		g.Do(t, "DELETE", res.Header.Get("Location"), "")
	}
	leftNothing(t, g)
}

// Item 41: OBS and FFmpeg name no candidates and never PATCH. They are found when they
// begin, however late (within ice.setup_timeout).
func TestClientWithoutCandidatesConnects(t *testing.T) {
	g := start(t, nil)
	p := doortest.NewPeer(t)
	p.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8, webrtc.MimeTypeOpus)
	var mute strings.Builder
	for line := range strings.Lines(p.Offer(t, nil)) {
		if !strings.HasPrefix(line, "a=candidate:") && !strings.HasPrefix(line, "a=end-of-candidates") {
			mute.WriteString(line)
		}
	}
	res := g.Post(t, "/whip/mri-2/console", mute.String())
	if res.StatusCode != 201 {
		t.Fatalf("got %d %s", res.StatusCode, res.Text)
	}
	time.Sleep(500 * time.Millisecond) // real time: what ICE does alone must not end in failure
	if err := p.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: res.Text}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, g, "console/video", rooms.Live)
}

// Item 33, rows 41 to 43 and 45: nothing of a list of candidates is an error, and no name
// in it is looked up.
func TestUselessCandidatesAreAnswered204(t *testing.T) {
	g := start(t, nil)
	p := publish(t, g, "/whip/mri-2/console")
	ufrag, pwd := credentials(p.LocalDescription().SDP)
	body := trickle(ufrag, pwd,
		"1 0 udp 2130706431 192.0.2.1 5000 typ host", "1 2 udp 2130706431 192.0.2.1 5000 typ host",
		"1 1 udp 2130706431 192.0.2.1 0 typ host", "1 1 udp 2130706431 192.0.2.1 70000 typ host",
		"1 1 udp 4294967296 192.0.2.1 5000 typ host", "1 1 udp 2130706431 192.0.2.1 5000 typ foo",
		"1 1 sctp 2130706431 192.0.2.1 5000 typ host", "1 1 udp 2130706431 x.local 5000 typ host",
		"1 1 udp 2130706431 metadata.example.com 80 typ host", "1 1 udp 2130706431 169.254.169.254 80 typ host",
		"1 1 udp 2130706431 224.0.0.1 5000 typ host", "1 1 udp 2130706431 0.0.0.0 5000 typ host",
		"1 1 udp 2130706431 255.255.255.255 5000 typ host", "garbage", "",
	) + "m=audio 9 RTP/AVP 0\r\na=mid:nosuch\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n" +
		"m=audio 9 RTP/AVP 0\r\na=mid:1\r\na=end-of-candidates\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n"
	for range 2 {
		res := patch(t, g, p.Session, p.ETag, body)
		if res.StatusCode != 204 || res.Text != "" || res.Header.Get("ETag") != "" || res.Header.Get("Content-Type") != "" {
			t.Errorf("got %d %q, %v, want 204 without ETag", res.StatusCode, res.Text, res.Header)
		}
	}
	if res := g.Do(t, "PATCH", p.Session, trickle(ufrag, pwd), "Content-Type", fragmentType); res.StatusCode != 428 {
		t.Errorf("without If-Match: got %d, want 428", res.StatusCode)
	}
	waitFor(t, g, "console/video", rooms.Live)
}

// credentials are those of an offer.
func credentials(sdp string) (ufrag, pwd string) {
	for line := range strings.Lines(sdp) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "a=ice-ufrag:"); ok {
			ufrag = v
		}
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "a=ice-pwd:"); ok {
			pwd = v
		}
	}
	return ufrag, pwd
}

// Items 36 and 39, rows 37 to 39: the ICE session of before goes on, under its ETag.
func TestRefusedRestartLeavesTheSession(t *testing.T) {
	g := start(t, nil)
	p := publish(t, g, "/whip/mri-2/console")
	ufrag, pwd := credentials(p.LocalDescription().SDP)
	fresh := strings.Repeat("n", 24)
	for _, tt := range []struct{ name, body string }{
		{"only the ufrag is new", trickle("newfrag", pwd)},
		{"only the pwd is new", trickle(ufrag, fresh)},
		{"ufrag too short", trickle("new", fresh)},
		{"pwd too short", trickle("newfrag", fresh[:21])},
		{"a character that is no ice-char", trickle("new_frag", fresh)},
		{"no pwd", "a=ice-ufrag:newfrag\r\n"},
		{"no ufrag", "a=ice-pwd:" + fresh + "\r\n"},
	} {
		for _, etag := range []string{p.ETag, "*"} {
			if res := patch(t, g, p.Session, etag, tt.body); res.StatusCode != 400 || res.Header.Get("ETag") != "" || res.Problem["kind"] != "bad-request" {
				t.Errorf("%s, If-Match %s: got %d %s, want 400", tt.name, etag, res.StatusCode, res.Text)
			}
		}
	}
	if res := patch(t, g, p.Session, p.ETag, trickle(ufrag, pwd)); res.StatusCode != 204 {
		t.Errorf("trickle after that: got %d %s, want 204", res.StatusCode, res.Text)
	}
	flows(t, g)
}

// flows waits for more packets of the camera.
func flows(t *testing.T, g *doortest.Gateway) {
	t.Helper()
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
		if packets() < before+10 {
			return "no media"
		}
		return ""
	})
}

// Item 38, rows 46 and 47: of restarts that race, the last one's ETag is the session's; what
// belongs to an older ICE session is refused, never taken for a restart.
func TestRacingRestarts(t *testing.T) {
	g := start(t, nil)
	p := publish(t, g, "/whip/mri-2/console")
	ufrag, pwd := credentials(p.LocalDescription().SDP)
	var wg sync.WaitGroup
	replies := make(chan doortest.Response, 2)
	for _, c := range "xy" {
		wg.Go(func() {
			replies <- patch(t, g, p.Session, "*", trickle(strings.Repeat(string(c), 8), strings.Repeat(string(c), 24)))
		})
	}
	wg.Wait()
	close(replies)
	current, accepted := "", 0
	for res := range replies {
		etag := res.Header.Get("ETag")
		if res.StatusCode != 200 || etag == "" || etag == p.ETag || strings.Count(res.Text, "a=candidate:") != 1 {
			t.Errorf("got %d, ETag %s:\n%s", res.StatusCode, etag, res.Text)
		}
		for _, c := range "xy" {
			switch got := patch(t, g, p.Session, etag, trickle(strings.Repeat(string(c), 8), strings.Repeat(string(c), 24))); got.StatusCode {
			case 204:
				accepted++
				current = etag
			case 412:
			default:
				t.Errorf("trickle: got %d %s", got.StatusCode, got.Text)
			}
		}
	}
	if accepted != 1 {
		t.Errorf("%d pairs of ETag and credentials are current, want one", accepted)
	}
	for _, etag := range []string{p.ETag, "*", current} {
		if res := patch(t, g, p.Session, etag, trickle(ufrag, pwd)); res.StatusCode != 412 {
			t.Errorf("credentials of before, If-Match %s: got %d, want 412", etag, res.StatusCode)
		}
	}
	flows(t, g) // neither restart has a path: the ICE session of before carries on
}

// Row 31: DELETE is answered 200 whatever else is going on, and leaves nothing.
func TestDeleteAmongPatches(t *testing.T) {
	g := start(t, nil)
	for round := range 5 {
		res := g.Post(t, "/whip/mri-2/console", lines(offer))
		session := res.Header.Get("Location")
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				secret := fmt.Sprintf("r%dc%d", round, i)
				if got := patch(t, g, session, "*", trickle(secret, strings.Repeat(secret, 6))); got.StatusCode != 200 && got.StatusCode != 404 {
					t.Errorf("restart: got %d %s, want 200 or 404", got.StatusCode, got.Text)
				}
			})
		}
		for range 2 {
			wg.Go(func() {
				if got := g.Do(t, "DELETE", session, "", "If-Match", `"stale"`); got.StatusCode != 200 {
					t.Errorf("DELETE: got %d", got.StatusCode)
				}
			})
		}
		wg.Wait()
	}
	leftNothing(t, g)
}

// Item 16: once the gateway has ended a session, whoever goes on checking is told with 403
// that consent is revoked (RFC 7675, section 5.2), and who was never its peer is told nothing.
func TestConsentOfAnEndedSessionIsRevoked(t *testing.T) {
	g := start(t, nil)
	res := g.Post(t, "/whip/mri-2/console", lines(offer))
	ufrag, pwd := credentials(res.Text)
	_, rest, _ := strings.Cut(res.Text, "a=candidate:")
	f := strings.Fields(rest)
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(f[4]+":"+f[5])))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	check := func(pwd string) *stun.Message {
		request, err := stun.Build(stun.BindingRequest, stun.TransactionID, stun.NewUsername(ufrag+":aaaa"),
			stun.RawAttribute{Type: stun.AttrICEControlling, Length: 8, Value: make([]byte, 8)},
			stun.RawAttribute{Type: stun.AttrPriority, Length: 4, Value: []byte{0x6e, 0, 0, 1}},
			stun.NewShortTermIntegrity(pwd), stun.Fingerprint)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(request.Raw); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		for b := make([]byte, 1500); ; {
			n, err := conn.Read(b)
			if err != nil {
				return nil
			}
			m := &stun.Message{Raw: append([]byte(nil), b[:n]...)}
			if m.Decode() == nil && m.TransactionID == request.TransactionID { // else a check of the gateway's own
				return m
			}
		}
	}
	eventually := func(want stun.MessageType) *stun.Message {
		t.Helper()
		var m *stun.Message
		doortest.Eventually(t, func() string {
			if m = check(pwd); m == nil || m.Type != want {
				return fmt.Sprintf("got %v, want %v", m, want)
			}
			return ""
		})
		return m
	}
	eventually(stun.BindingSuccess)
	if got := g.Do(t, "DELETE", res.Header.Get("Location"), ""); got.StatusCode != 200 {
		t.Fatalf("DELETE: got %d", got.StatusCode)
	}
	var code stun.ErrorCodeAttribute
	if m := eventually(stun.BindingError); code.GetFrom(m) != nil || code.Code != stun.CodeForbidden || stun.NewShortTermIntegrity(pwd).Check(m) != nil {
		t.Errorf("got %v with code %d, want 403 with the session's integrity", m, code.Code)
	}
	if m := check(strings.Repeat("w", 32)); m != nil {
		t.Errorf("a check with another password is answered: %v", m)
	}
}

// Items 7, 8, 23 and 27: a preflight needs no token and tells no ICE server, at the session
// as at the endpoint.
func TestPreflights(t *testing.T) {
	token := auth.NewToken()
	g := start(t, func(o *doortest.Options) {
		o.Auth.Tokens = []auth.Token{{Name: "camera", SHA256: auth.HashToken(token), Scopes: []auth.Scope{auth.Publish}}}
		o.ICE.Servers = []rtc.Server{{URL: "stun:stun.example.org"}}
	})
	res := g.Post(t, "/whip/mri-2/console", lines(offer), "Authorization", "Bearer "+token)
	if len(res.Header.Values("Link")) != 2 {
		t.Errorf("the 201 tells %q, want one ICE server and the return audio", res.Header.Values("Link"))
	}
	for target, methods := range map[string][]string{
		"/whip/mri-2/console": {"POST", "OPTIONS"}, res.Header.Get("Location"): {"PATCH", "DELETE"}, "/sessions/unknown": {"PATCH"},
	} {
		for _, method := range methods {
			got := g.Do(t, "OPTIONS", target, "", "Origin", "https://console.example", "Access-Control-Request-Method", method,
				"Access-Control-Request-Headers", "authorization,content-type,if-match")
			if got.StatusCode != 200 || got.Text != "" || got.Header.Get("Access-Control-Allow-Origin") != "*" || len(got.Header.Values("Link")) > 0 {
				t.Errorf("%s for %s: got %d %v", target, method, got.StatusCode, got.Header)
			}
			if allowed := got.Header.Get("Access-Control-Allow-Methods"); !strings.Contains(allowed, method) {
				t.Errorf("%s: Access-Control-Allow-Methods %q lacks %s", target, allowed, method)
			}
		}
	}
	// Item 24: the session's URL suffices.
	if got := g.Do(t, "DELETE", res.Header.Get("Location"), ""); got.StatusCode != 200 {
		t.Errorf("DELETE without a token: got %d", got.StatusCode)
	}
}

// Item 31: a request with everything wrong is refused for one thing after the other, in the
// order of RFC 9110, section 13.2.1: whether it is there, who asks, what kind of body; then
// the precondition; then the body.
func TestRefusalsComeInOrder(t *testing.T) {
	mri, ct := auth.NewToken(), auth.NewToken()
	g := start(t, func(o *doortest.Options) {
		o.Auth.Tokens = []auth.Token{
			{Name: "mri", SHA256: auth.HashToken(mri), Scopes: []auth.Scope{auth.Publish}, Rooms: []string{"mri-*"}},
			{Name: "ct", SHA256: auth.HashToken(ct), Scopes: []auth.Scope{auth.Publish}, Rooms: []string{"ct-*"}},
		}
	})
	const path = "/whip/mri-2/console"
	res := g.Post(t, path, lines(offer), "Authorization", "Bearer "+mri)
	session, etag := res.Header.Get("Location"), res.Header.Get("ETag")
	for _, tt := range []struct {
		method, target, token, contentType, ifMatch, body string
		status                                            int
	}{
		{"POST", "/whip/mri-2", "x", "text/plain", "", "hello", 404},
		{"POST", "/whip/mri-2/~", "x", "text/plain", "", "hello", 401},
		{"POST", "/whip/mri-2/~", ct, "text/plain", "", "hello", 403},
		{"POST", "/whip/mri-2/~", mri, "text/plain", "", "hello", 400}, // the name
		{"POST", path, mri, "text/plain", "", "hello", 415},
		{"POST", path, mri, "application/sdp", "", "hello", 400},
		{"POST", path, mri, "application/sdp", "", with("a=sendonly", "a=inactive"), 422},
		{"POST", session, "x", "text/plain", "", "hello", 405},

		{"PATCH", "/sessions/x", "x", "text/plain", "", "hello", 404},
		{"PATCH", session, "x", "text/plain", "", "hello", 401},
		{"PATCH", session, ct, "text/plain", "", "hello", 403},
		{"PATCH", session, mri, "text/plain", "", "hello", 415},
		{"PATCH", session, mri, fragmentType, "", "hello", 428},
		{"PATCH", session, mri, fragmentType, `"stale"`, "hello", 412},
		{"PATCH", session, mri, fragmentType, etag, "hello", 400},
		{"PATCH", session, mri, fragmentType, etag, trickle("aaaa", strings.Repeat("a", 22)), 204},

		{"DELETE", "/sessions/x", "x", "", `"stale"`, "", 404},
		{"DELETE", session, "x", "", `"stale"`, "", 401},
		{"DELETE", session, ct, "", `"stale"`, "", 403},
		{"DELETE", session, mri, "", `"stale"`, "", 200},
		{"PATCH", session, "x", "text/plain", "", "hello", 404},
		{"DELETE", session, "x", "", "", "", 401},
	} {
		header := []string{"Authorization", "Bearer " + tt.token}
		if tt.contentType != "" {
			header = append(header, "Content-Type", tt.contentType)
		}
		if tt.ifMatch != "" {
			header = append(header, "If-Match", tt.ifMatch)
		}
		got := g.Do(t, tt.method, tt.target, tt.body, header...)
		if got.StatusCode != tt.status || got.StatusCode >= 400 && got.Problem["status"] != float64(tt.status) {
			t.Errorf("%s %s with %s, If-Match %q: got %d %s, want %d", tt.method, tt.target, tt.contentType, tt.ifMatch, got.StatusCode, got.Text, tt.status)
		}
		if got.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%d: Cache-Control %q (item 19)", got.StatusCode, got.Header.Get("Cache-Control"))
		}
	}
	leftNothing(t, g)
}
