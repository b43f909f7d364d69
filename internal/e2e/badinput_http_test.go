//go:build e2e

package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	sdpType      = "application/sdp"
	fragmentType = "application/trickle-ice-sdpfrag"
)

// goodOffer is an offer of audio and video with nothing wrong; tests change a line of it.
const goodOffer = `v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=msid-semantic: WMS stream
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:wireufrag
a=ice-pwd:wirepasswordwirepasswordw
a=ice-options:trickle
a=fingerprint:sha-256 7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08
a=setup:actpass
a=mid:0
a=sendonly
a=msid:stream audio
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;useinbandfec=1
m=video 9 UDP/TLS/RTP/SAVPF 96 97 98
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:wireufrag
a=ice-pwd:wirepasswordwirepasswordw
a=ice-options:trickle
a=fingerprint:sha-256 7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08
a=setup:actpass
a=mid:1
a=sendonly
a=msid:stream video
a=rtcp-mux
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:98 H264/90000
a=fmtp:98 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
`

// change replaces all of old; that it is there is part of the test's own sanity.
func change(pairs ...string) string {
	s := goodOffer
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(s, pairs[i]) {
			panic("the offer has no " + pairs[i])
		}
		s = strings.ReplaceAll(s, pairs[i], pairs[i+1])
	}
	return crlf(s)
}

func with(lines string) string { return crlf(goodOffer + lines) }

// without drops the lines that begin so.
func without(prefixes ...string) string {
	var out strings.Builder
	dropped := 0
lines:
	for line := range strings.Lines(goodOffer) {
		for _, p := range prefixes {
			if strings.HasPrefix(line, p) {
				dropped++
				continue lines
			}
		}
		out.WriteString(line)
	}
	if dropped == 0 {
		panic(fmt.Sprint("the offer has no ", prefixes))
	}
	return crlf(out.String())
}

// playing turns an offer round: a viewer's.
func playing(offer string) string { return strings.ReplaceAll(offer, "a=sendonly", "a=recvonly") }

// A request is what is sent, and what it is answered.
type request struct {
	method, path, body string
	header             []string
	noToken            bool
	status             int
	want               map[string]string // headers; "-": none
	says               string            // in the body
}

const (
	badWHIP = "/whip/" + badRoom + "/requests"
	badWHEP = "/whep/" + room + "/console"
)

// post is a POST to the endpoint of publishers, with the token.
func post(offer string, status int) request {
	return request{method: "POST", path: badWHIP, body: offer, header: []string{"Content-Type", sdpType}, status: status}
}

func (r request) send(t *testing.T, g *target) response {
	t.Helper()
	header := r.header
	if !r.noToken {
		header = append([]string{"Authorization", "Bearer " + g.token}, header...)
	}
	res := g.do(t, r.method, r.path, r.body, header...)
	res.wants(t, r.status, r.want)
	if !strings.Contains(res.body, r.says) {
		t.Errorf("the answer doesn't say %q: %s", r.says, res.body)
	}
	if strings.Contains(res.body, g.token) {
		t.Errorf("the answer repeats the token")
	}
	if res.status == http.StatusCreated {
		if !strings.HasPrefix(res.body, "v=0\r\n") || strings.Count(res.body, "\n") != strings.Count(res.body, "\r\n") {
			t.Errorf("the answer doesn't begin with v=0, or has bare LF:\n%s", res.body)
		}
		g.do(t, "DELETE", res.header.Get("Location"), "").wants(t, 200, nil)
	}
	return res
}

// requests makes a row of some.
func requests(n int, name string, all ...request) row {
	return row{n, name, func(t *testing.T, g *target) {
		for _, r := range all {
			r.send(t, g)
		}
	}}
}

// token makes a JSON Web Token; a nil key means none.
func token(header, claims string, key []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(header)) + "." + encode([]byte(claims))
	if key == nil {
		return signed + "."
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}

func bearer(token string) []string {
	return []string{"Content-Type", sdpType, "Authorization", "Bearer " + token}
}

var (
	accept    = map[string]string{"Accept": sdpType}
	challenge = map[string]string{"Www-Authenticate": `Bearer realm="sightline"`}
	invalid   = map[string]string{"Www-Authenticate": `error="invalid_token"`}
	allowed   = map[string]string{"Allow": "POST"}
)

func plain(method, path, body string, status int, want map[string]string, header ...string) request {
	return request{method: method, path: path, body: body, status: status, want: want, header: header}
}

func anonymous(body string, status int, want map[string]string, header ...string) request {
	return request{method: "POST", path: badWHIP, body: body, status: status, want: want, header: header, noToken: true}
}

func claims(from, to time.Duration) string {
	now := time.Now()
	return fmt.Sprintf(`{"iss":"sightline","aud":"sightline","sub":"x","jti":"1","room":"bad","scope":"whip:publish","iat":%d,"nbf":%d,"exp":%d}`,
		now.Add(from).Unix(), now.Add(from).Unix(), now.Add(to).Unix())
}

var requestRows = []row{
	requests(1, "POST without Content-Type", plain("POST", badWHIP, change(), 415, accept)),
	requests(2, "POST of JSON or text",
		plain("POST", badWHIP, "{}", 415, accept, "Content-Type", "application/json"),
		plain("POST", badWHIP, change(), 415, accept, "Content-Type", "text/plain")),
	requests(3, "Content-Type in capitals with a parameter", plain("POST", badWHIP, change(), 201, nil, "Content-Type", "Application/SDP; charset=UTF-8")),
	requests(5, "empty body", post("", 400), plain("POST", badWHEP, "", 400, nil, "Content-Type", sdpType)),
	{6, "body above 64 KiB", func(t *testing.T, g *target) {
		res, closed := g.raw(t, g.head("POST", badWHIP, fmt.Sprintf("Content-Length: %d\r\n", 65537))+strings.Repeat("a", 65537), false)
		res.wants(t, 413, nil)
		if !closed {
			t.Error("the connection stays open")
		}
	}},
	{7, "in chunks, or with a length that lies", func(t *testing.T, g *target) {
		big := strings.Repeat("a", 65537)
		res, _ := g.raw(t, g.head("POST", badWHIP, "Transfer-Encoding: chunked\r\n")+fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(big), big), false)
		res.wants(t, 413, nil)
		res, _ = g.raw(t, g.head("POST", badWHIP, "Transfer-Encoding: chunked\r\n")+"zz\r\n", false)
		res.wants(t, 400, nil)
		res, _ = g.raw(t, g.head("POST", badWHIP, "Content-Length: 100\r\n")+"v=0", true)
		res.wants(t, 400, nil)
	}},
	{9, "compressed body", func(t *testing.T, g *target) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.CopyN(z, zeros{}, 16<<20)
		_ = z.Close()
		for _, encoding := range []string{"gzip", "br", "deflate"} {
			r := post(b.String(), 415)
			r.header = append(r.header, "Content-Encoding", encoding)
			r.want = map[string]string{"Accept-Encoding": "identity"}
			r.send(t, g)
		}
	}},
	requests(10, "NUL, invalid UTF-8, bare CR", post(with("a=\x00\n"), 400), post(with("a=\xff\xfe\n"), 400), post(with("a=x\ry\n"), 400)),
	requests(11, "lines that end in LF", post(goodOffer, 201)),
	requests(13, "PATCH, DELETE and PUT of an endpoint",
		plain("PATCH", badWHIP, "", 405, allowed), plain("DELETE", badWHIP, "", 405, allowed), plain("PUT", badWHIP, "", 405, allowed),
		plain("PATCH", badWHEP, "", 405, allowed), plain("DELETE", badWHEP, "", 405, allowed)),
	requests(17, "preflight of an origin that is not allowed", request{
		method: "OPTIONS", path: badWHIP, noToken: true, status: 200, want: map[string]string{"Access-Control-Allow-Origin": "-", "Accept-Post": sdpType},
		header: []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST"},
	}, request{
		method: "OPTIONS", path: badWHIP, noToken: true, status: 200, want: map[string]string{"Access-Control-Allow-Origin": "https://console.example.org"},
		header: []string{"Origin", "https://console.example.org", "Access-Control-Request-Method", "POST"},
	}),
	requests(18, "no token", anonymous(change(), 401, challenge, "Content-Type", sdpType)),
	requests(19, "Basic, bare, and lower case",
		anonymous(change(), 401, challenge, "Content-Type", sdpType, "Authorization", "Basic YTpi"),
		anonymous(change(), 401, challenge, "Content-Type", sdpType, "Authorization", fullToken),
		anonymous(change(), 201, nil, "Content-Type", sdpType, "Authorization", "bearer "+fullToken)),
	{21, "JSON Web Tokens that are none", func(t *testing.T, g *target) {
		const hs = `{"alg":"HS256","typ":"JWT"}`
		secret, good := []byte(jwtSecret), claims(-time.Minute, time.Hour)
		anonymous(change(), 201, nil, bearer(token(hs, good, secret))...).send(t, g)
		for name, bad := range map[string]string{
			"none":           token(`{"alg":"none","typ":"JWT"}`, good, nil),
			"None":           token(`{"alg":"None","typ":"JWT"}`, good, nil),
			"no signature":   token(hs, good, nil),
			"another secret": token(hs, good, []byte("guessed")),
			"empty secret":   token(hs, good, []byte{}),
			"swapped":        token(`{"alg":"RS256","typ":"JWT"}`, good, secret),
			"another hash":   token(`{"alg":"HS512","typ":"JWT"}`, good, secret),
			"expired":        token(hs, claims(-time.Hour, -time.Minute), secret),
			"not yet":        token(hs, claims(time.Hour, 2*time.Hour), secret),
			"no end":         token(hs, `{"iss":"sightline","aud":"sightline","sub":"x","scope":"whip:publish"}`, secret),
			"another issuer": token(hs, strings.Replace(good, `"iss":"sightline"`, `"iss":"other"`, 1), secret),
			"for another":    token(hs, strings.Replace(good, `"aud":"sightline"`, `"aud":"other"`, 1), secret),
			"its own key":    token(`{"alg":"RS256","jku":"http://169.254.169.254/","kid":"../../etc/passwd"}`, good, secret),
			"dots":           "..",
			"garbage":        "e30.e30.e30",
		} {
			t.Run(name, func(t *testing.T) { anonymous(change(), 401, invalid, bearer(bad)...).send(t, g) })
		}
	}},
	{22, "token of 16 KiB; a line break in it", func(t *testing.T, g *target) {
		for name, tt := range map[string]struct {
			token  string
			status int
		}{"16 KiB": {strings.Repeat("x", 16<<10), 431}, "CRLF": {"x\r\ny", 400}, "CR": {"x\ry", 400}, "NUL": {"x\x00y", 400}} {
			res, _ := g.raw(t, "POST "+badWHIP+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nAuthorization: Bearer "+tt.token+"\r\n\r\n", false)
			if res.status != tt.status { // net/http answers these itself, in plain text
				t.Errorf("%s: got %d %s, want %d", name, res.status, res.body, tt.status)
			}
		}
	}},
	{23, "another room's token", func(t *testing.T, g *target) {
		scope := map[string]string{"Www-Authenticate": `error="insufficient_scope"`}
		anonymous(change(), 403, scope, bearer(narrowToken)...).send(t, g)
		r := anonymous(playing(change()), 403, scope, bearer(narrowToken)...)
		r.path = badWHEP
		r.send(t, g)
		r.path, r.body = "/whip/elsewhere/other", change()
		r.send(t, g)
	}},
	{25, "forged Host and X-Forwarded-Host", func(t *testing.T, g *target) {
		r := post(change(), 201)
		r.header = append(r.header, "Host", "evil.example", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https", "Forwarded", "host=evil.example")
		res := r.send(t, g)
		if all := fmt.Sprint(res.header, res.body); strings.Contains(all, "evil.example") {
			t.Errorf("the answer repeats it: %v", all)
		}
	}},
	{26, "1,000 POST a second of one address", func(t *testing.T, g *target) {
		// From an address of its own: this test's must go on.
		from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
		transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return from.DialContext(ctx, network, addr)
		}}
		defer transport.CloseIdleConnections()
		flood := *g
		flood.client = &http.Client{Transport: transport, Timeout: 10 * time.Second}
		refused := 0
		for range 1000 {
			res := flood.do(t, "POST", badWHIP, "", "Content-Type", sdpType) // of a stranger: a right token is counted apart
			switch res.status {
			case http.StatusTooManyRequests:
				if refused++; refused == 1 {
					res.wants(t, 429, map[string]string{"Retry-After": ""})
					if res.header.Get("Retry-After") == "" {
						t.Error("429 without Retry-After")
					}
				}
			case http.StatusUnauthorized:
			default:
				t.Fatalf("got %d %s", res.status, res.body)
			}
		}
		// Who has a token gets through, from the same address.
		if res := flood.do(t, "POST", badWHIP, "", "Content-Type", sdpType, "Authorization", "Bearer "+g.token); res.status != 400 {
			t.Errorf("a right token from there: got %d %s, want 400 for an empty body", res.status, res.body)
		}
		if refused < 300 {
			t.Errorf("%d of 1,000 are refused, want 300 and more", refused)
		}
		post("", 400).send(t, g) // others are not
	}},
	{27, "a client that is gone before the answer, or never connects", func(t *testing.T, g *target) {
		for range 20 {
			c, err := net.Dial("tcp", strings.TrimPrefix(g.base, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			offer := change()
			_, _ = io.WriteString(c, g.head("POST", "/whip/"+badRoom+"/gone", fmt.Sprintf("Content-Length: %d\r\n", len(offer)))+offer)
			_ = c.Close()
		}
		eventually(t, 15*time.Second, func() error { // 6 s of setup_timeout
			if n := g.count(t, "sightline_whip_sessions"); n != 1 {
				return fmt.Errorf("%v publishers are there, want the camera alone", n)
			}
			return nil
		})
	}},
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// head is the head of a request that is written by hand, with the token.
func (g *target) head(method, path, lines string) string {
	return method + " " + path + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(g.base, "http://") +
		"\r\nContent-Type: application/sdp\r\nAuthorization: Bearer " + g.token + "\r\n" + lines + "\r\n"
}

func viewer(offer string, path string, status int) request {
	return request{method: "POST", path: path, body: playing(offer), header: []string{"Content-Type", sdpType}, status: status}
}

// swapped is the offer with video first.
func swapped() string {
	head, rest, _ := strings.Cut(goodOffer, "m=audio")
	audio, video, _ := strings.Cut(rest, "m=video")
	return crlf(strings.Replace(head, "BUNDLE 0 1", "BUNDLE 1 0", 1) + "m=video" + video + "m=audio" + audio)
}

// simulcast is the offer with layers, one of them paused.
func simulcast() string {
	return with("a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\na=extmap:2 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\n" +
		"a=rid:h send\na=rid:l send\na=simulcast:send h;~l\n")
}

// manySections is the offer with n more of audio.
func manySections(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "m=audio 9 UDP/TLS/RTP/SAVPF 111\nc=IN IP4 0.0.0.0\na=mid:x%d\na=sendonly\na=rtcp-mux\na=rtpmap:111 opus/48000/2\n", i)
	}
	return with(b.String())
}

// answerHas makes a row of an offer whose answer has, and has not, some text.
func answerHas(n int, name, offer, has, hasNot string) row {
	return row{n, name, func(t *testing.T, g *target) {
		res := post(offer, 201).send(t, g)
		if !strings.Contains(res.body, has) || hasNot != "" && strings.Contains(res.body, hasNot) {
			t.Errorf("want %q and not %q in\n%s", has, hasNot, res.body)
		}
	}}
}

var offerRows = []row{
	requests(49, "SDP without v=, o=, t= or m=", post(without("v="), 400), post(without("o="), 400), post(without("t="), 400),
		post(crlf("v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nt=0 0\n"), 400)),
	requests(50, "no mid, or one twice", post(without("a=mid:1"), 400), post(change("a=mid:1", "a=mid:0"), 400)),
	requests(51, "no BUNDLE, two, a section outside", post(without("a=group:BUNDLE"), 422), post(change("a=group:BUNDLE 0 1", "a=group:BUNDLE 0\na=group:BUNDLE 1"), 422),
		post(change("a=group:BUNDLE 0 1", "a=group:BUNDLE 0"), 422)),
	requests(53, "no rtcp-mux", post(without("a=rtcp-mux"), 422)),
	requests(54, "no fingerprint, of an unknown hash, of bad hex", post(without("a=fingerprint"), 422), post(change("sha-256", "sha-0"), 422), post(change("7B:8B", "7B:8G"), 400)),
	answerHas(55, "another RTP profile", change("UDP/TLS/RTP/SAVPF", "RTP/SAVPF"), " RTP/SAVPF ", "UDP/TLS"),
	answerHas(55, "another RTP profile: AVP", change("UDP/TLS/RTP/SAVPF", "RTP/AVP"), " RTP/AVP ", "SAVPF"),
	answerHas(55, "another RTP profile: TCP", change("UDP/TLS/RTP/SAVPF", "TCP/DTLS/RTP/SAVPF"), " TCP/DTLS/RTP/SAVPF ", "UDP/TLS"),
	requests(55, "SDES without a fingerprint", post(strings.ReplaceAll(without("a=fingerprint"), "a=setup:actpass", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"), 422)),
	answerHas(57, "setup passive", change("a=setup:actpass", "a=setup:passive"), "a=setup:active", "a=setup:passive"),
	requests(58, "the wrong direction", post(change("a=sendonly", "a=recvonly"), 422), post(change("a=sendonly", "a=inactive"), 422),
		plain("POST", badWHEP, change(), 422, nil, "Content-Type", sdpType)),
	requests(59, "two videos, two streams, 200 sections", post(change("a=group:BUNDLE 0 1", "a=group:BUNDLE 0 1 2")+
		"m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n", 422),
		post(change("a=msid:stream video", "a=msid:another video"), 422), post(manySections(200), 422)),
	answerHas(61, "bundle-only with port 0", change("m=video 9", "m=video 0", "a=mid:1", "a=mid:1\na=bundle-only"), "m=video 9 ", "bundle-only"),
	{62, "nothing is sent in the first section", func(t *testing.T, g *target) {
		res := viewer(swapped(), badWHEP+"/audio", 201).send(t, g)
		video, audio, _ := strings.Cut(res.body, "m=audio 9 ")
		if !strings.Contains(video, "m=video 9 ") || !strings.Contains(video, "a=inactive") || !strings.Contains(video, "a=candidate:") || !strings.Contains(audio, "a=sendonly") {
			t.Errorf("want video inactive and with the candidates, and audio sent:\n%s", res.body)
		}
	}},
	requests(63, "no common codec", request{
		method: "POST", path: badWHIP, body: change("VP8/90000", "H263/90000", "H264/90000", "theora/90000"), header: []string{"Content-Type", sdpType}, status: 422, says: "H263",
	}, request{
		method: "POST", path: badWHEP + "/video", body: playing(change("H264/90000", "theora/90000")), header: []string{"Content-Type", sdpType}, status: 422, says: "H264",
	}),
	answerHas(65, "RTX of nothing", change("apt=96", "apt=55"), "m=video 9 ", "rtx/90000"),
	answerHas(65, "RTX of itself", change("apt=96", "apt=97"), "m=video 9 ", "rtx/90000"),
	requests(66, "fmtp of 60 KiB", post(change("minptime=10", "minptime=10;x="+strings.Repeat("y", 60<<10)), 400)),
	answerHas(66, "profile-level-id that is none", change("42e01f", "zz"), "VP8/90000", "a=rtpmap:98"),
	answerHas(67, "extension ids 0, 15, 256, and one twice", with("a=extmap:0 urn:ietf:params:rtp-hdrext:sdes:mid\na=extmap:15 urn:3gpp:video-orientation\n"+
		"a=extmap:256 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\n"),
		"m=video 9 ", "a=extmap:0"),
	answerHas(69, "a paused rid", simulcast(), "recv h;l", "~"),
	requests(70, "an ICE-lite client", post(change("t=0 0", "t=0 0\na=ice-lite"), 422)),
}

// fragment is a fragment of the offerer with candidates.
func fragment(ufrag, pwd string, candidates ...string) string {
	var b strings.Builder
	b.WriteString("a=ice-ufrag:" + ufrag + "\na=ice-pwd:" + pwd + "\nm=audio 9 UDP/TLS/RTP/SAVPF 0\na=mid:0\n")
	for _, c := range candidates {
		b.WriteString("a=candidate:" + c + "\n")
	}
	return crlf(b.String())
}

// A visit is a session that only HTTP knows: nobody connects.
type visit struct {
	g   *target
	url string
	tag string // its ETag, with quotes
}

// visit makes one, which ends with the test.
func (g *target) visit(t *testing.T, publisher string) *visit {
	t.Helper()
	res := g.do(t, "POST", "/whip/"+badRoom+"/"+publisher, change(), bearer(g.token)...)
	if res.status != 201 {
		t.Fatalf("POST is answered %d %s", res.status, res.body)
	}
	v := &visit{g, res.header.Get("Location"), res.header.Get("ETag")}
	t.Cleanup(func() { v.delete(t) })
	return v
}

func (v *visit) delete(t *testing.T, header ...string) {
	t.Helper()
	v.g.do(t, "DELETE", v.url, "", header...).wants(t, 200, nil)
}

// patch sends a fragment; ifMatch "" sends no such header.
func (v *visit) patch(t *testing.T, body, ifMatch string) response {
	t.Helper()
	header := []string{"Content-Type", fragmentType, "Authorization", "Bearer " + v.g.token}
	if ifMatch != "" {
		header = append(header, "If-Match", ifMatch)
	}
	return v.g.do(t, "PATCH", v.url, body, header...)
}

// current is a fragment with the credentials of the offer.
func current(candidates ...string) string {
	return fragment("wireufrag", "wirepasswordwirepasswordw", candidates...)
}

// patches makes a row of fragments that get one status each.
func patches(n int, name string, status int, bodies ...string) row {
	return row{n, name, func(t *testing.T, g *target) {
		v := g.visit(t, "patches")
		for _, b := range bodies {
			v.patch(t, b, v.tag).wants(t, status, nil)
		}
		// The session is what it was.
		v.patch(t, current(), v.tag).wants(t, 204, map[string]string{"ETag": "-"})
	}}
}

const newPwd = "newpasswordnewpasswordne"

var sessionRows = []row{
	{14, "POST to a session", func(t *testing.T, g *target) {
		v := g.visit(t, "sessions")
		g.do(t, "POST", v.url, change(), bearer(g.token)...).wants(t, 405, map[string]string{"Allow": "PATCH"})
	}},
	{15, "GET and HEAD of endpoint and session", func(t *testing.T, g *target) {
		v := g.visit(t, "sessions")
		for _, path := range []string{badWHIP, badWHEP, v.url} {
			for _, method := range []string{"GET", "HEAD"} {
				res := g.do(t, method, path, "", "Authorization", "Bearer "+g.token)
				res.wants(t, 200, nil)
				if res.body != "" {
					t.Errorf("%s %s has a body: %s", method, path, res.body)
				}
			}
		}
	}},
	{29, "a session that isn't there", func(t *testing.T, g *target) {
		for _, id := range []string{"nosuch", strings.Repeat("A", 43), strings.Repeat("x", 2000), "..%2f..%2fetc", "%00"} {
			for _, method := range []string{"PATCH", "DELETE"} {
				g.do(t, method, "/sessions/"+id, current(), "Content-Type", fragmentType, "If-Match", "*").wants(t, 404, nil)
			}
		}
	}},
	{30, "DELETE twice, at once, with a stale If-Match", func(t *testing.T, g *target) {
		v := g.visit(t, "sessions")
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { v.delete(t, "If-Match", `"stale"`) })
		}
		all.Wait()
		v.delete(t)
	}},
	{31, "DELETE during a restart", func(t *testing.T, g *target) {
		for i := range 5 {
			v := g.visit(t, "sessions")
			var all sync.WaitGroup
			all.Go(func() {
				res := v.patch(t, fragment(fmt.Sprint("restart", i), newPwd), v.tag)
				if res.status != 200 && res.status != 404 {
					t.Errorf("the restart is answered %d %s", res.status, res.body)
				}
			})
			all.Go(func() { v.delete(t) })
			all.Wait()
		}
	}},
	{33, "If-Match stale, weak, without quotes", func(t *testing.T, g *target) {
		v := g.visit(t, "sessions")
		v.patch(t, current(), `"stale"`).wants(t, 412, nil)
		v.patch(t, current(), "W/"+v.tag).wants(t, 412, nil)
		v.patch(t, current(), "garbage").wants(t, 400, nil)
		v.patch(t, current(), "").wants(t, 428, nil)
	}},
	{34, "If-Match with a star, and a list", func(t *testing.T, g *target) {
		v := g.visit(t, "sessions")
		for _, m := range []string{`"*"`, "*", `"a", ` + v.tag} {
			v.patch(t, current(), m).wants(t, 204, nil)
		}
	}},
	{35, "a star in a list", func(t *testing.T, g *target) {
		v := g.visit(t, "sessions")
		v.patch(t, current(), "*, "+v.tag).wants(t, 400, nil)
	}},
	patches(37, "fragment without ufrag or pwd", 400, crlf("a=ice-ufrag:wireufrag\nm=audio 9 RTP/AVP 0\na=mid:0\n"), crlf("a=ice-pwd:wirepasswordwirepasswordw\nm=audio 9 RTP/AVP 0\na=mid:0\n")),
	patches(38, "ufrag and pwd of wrong lengths and letters", 400, fragment("abc", newPwd), fragment(strings.Repeat("a", 257), newPwd),
		fragment("newufrag", strings.Repeat("a", 21)), fragment("newufrag", strings.Repeat("a", 257)), fragment("new_frag", newPwd)),
	patches(39, "only the ufrag is new", 400, fragment("newufrag", "wirepasswordwirepasswordw"), fragment("wireufrag", newPwd)),
	{41, "unknown mid; candidate without mid", func(t *testing.T, g *target) {
		v := g.visit(t, "sessions")
		v.patch(t, strings.ReplaceAll(current("1 1 udp 2130706431 192.0.2.1 5000 typ host"), "a=mid:0", "a=mid:nosuch"), v.tag).wants(t, 204, nil)
		v.patch(t, strings.ReplaceAll(current("1 1 udp 2130706431 192.0.2.1 5000 typ host"), "a=mid:0\r\n", ""), v.tag).wants(t, 400, nil)
	}},
	patches(42, "candidates of impossible numbers", 204, current(
		"1 0 udp 2130706431 192.0.2.1 5000 typ host", "1 2 udp 2130706431 192.0.2.1 5000 typ host", "1 1 udp 2130706431 192.0.2.1 0 typ host",
		"1 1 udp 2130706431 192.0.2.1 70000 typ host", "1 1 udp 4294967296 192.0.2.1 5000 typ host", "1 1 udp 2130706431 192.0.2.1 5000 typ foo", "garbage", "")),
	{43, "candidates that the gateway must not send to", candidatesThatAreNotSentTo},
	patches(45, "candidates after their end", 204, current("1 1 udp 2130706431 192.0.2.1 5000 typ host")+"a=end-of-candidates\r\n", current("1 1 udp 2130706431 192.0.2.9 5000 typ host")),
	{46, "two restarts at once", func(t *testing.T, g *target) {
		v := g.visit(t, "sessions")
		tags := make([]string, 2)
		var all sync.WaitGroup
		for i := range tags {
			all.Go(func() {
				res := v.patch(t, fragment(fmt.Sprint("racer", i), newPwd+fmt.Sprint(i)), "*")
				res.wants(t, 200, map[string]string{"Content-Type": fragmentType})
				tags[i] = res.header.Get("ETag")
			})
		}
		all.Wait()
		good := 0
		for i, tag := range tags {
			if res := v.patch(t, fragment(fmt.Sprint("racer", i), newPwd+fmt.Sprint(i)), tag); res.status == 204 {
				good++
			} else {
				res.wants(t, 412, nil)
			}
		}
		if good != 1 || tags[0] == tags[1] {
			t.Errorf("%d of the ETags %v are current, want 1", good, tags)
		}
	}},
	{47, "trickle of an older ICE session", func(t *testing.T, g *target) {
		v := g.visit(t, "sessions")
		res := v.patch(t, fragment("newufrag", newPwd), v.tag)
		res.wants(t, 200, nil)
		v.patch(t, current(), v.tag).wants(t, 412, nil)
		v.patch(t, current(), "*").wants(t, 412, nil)
		v.patch(t, fragment("newufrag", newPwd), res.header.Get("ETag")).wants(t, 204, nil)
	}},
	{89, "events of a session, which there are none of", notThere("/sse", `["active"]`, "{}", strings.Repeat("x", 1<<16))},
	{90, "layers, which can't be chosen", notThere("/layer", `{"mediaId":"99","rid":"nosuch"}`, `{"mediaId":1}`)},
	{91, "an answer to a counter-offer that was never made", func(t *testing.T, g *target) {
		v := g.visit(t, "sessions")
		for range 2 {
			v.g.do(t, "PATCH", v.url, change(), "Content-Type", sdpType, "Authorization", "Bearer "+g.token).wants(t, 415, map[string]string{"Accept-Patch": fragmentType})
		}
	}},
}

// notThere wants 404 below a session for what may be there once.
func notThere(path string, bodies ...string) func(*testing.T, *target) {
	return func(t *testing.T, g *target) {
		v := g.visit(t, "sessions")
		for _, b := range bodies {
			g.do(t, "POST", v.url+path, b, "Content-Type", "application/json", "Authorization", "Bearer "+g.token).wants(t, 404, nil)
		}
	}
}
