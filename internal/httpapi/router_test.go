package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/opt"
)

// endpoint is a router with an endpoint as WHIP has it, that answers the body's length.
func endpoint(c Config, log *slog.Logger) *Router {
	r := NewRouter(c, log)
	const path = "/whip/:room/:publisher"
	r.POST(path, Handle(func(c *gin.Context) error {
		if err := CheckType(c, SDP, "Accept"); err != nil {
			return err
		}
		body, err := ReadBody(c)
		if err != nil {
			return err
		}
		c.String(http.StatusCreated, fmt.Sprint(len(body)))
		return nil
	}))
	get := func(c *gin.Context) { Endpoint(c, "/watch/"+c.Param("room")) }
	r.GET(path, get)
	r.HEAD(path, get)
	r.OPTIONS(path, EndpointOptions)
	return r
}

// Items 3, 5, 6, 7, 10 and 19, rows 1 to 3, 5, 9, 13 and 15 of docs/CONFORMANCE.md.
func TestEndpointAnswers(t *testing.T) {
	r := endpoint(Defaults(), slog.New(slog.DiscardHandler))
	for _, tt := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		want                     map[string]string
	}{
		{"offer", "POST", "/whip/a/b", "v=0", []string{"Content-Type", "application/sdp"}, 201, nil},
		{"row 3: case and charset", "POST", "/whip/a/b", "v=0", []string{"Content-Type", "Application/SDP; charset=UTF-8"}, 201, nil},
		{"row 1: no Content-Type", "POST", "/whip/a/b", "v=0", nil, 415, map[string]string{"Accept": "application/sdp"}},
		{"row 2: JSON", "POST", "/whip/a/b", "{}", []string{"Content-Type", "application/json"}, 415, map[string]string{"Accept": "application/sdp"}},
		{"row 2: text", "POST", "/whip/a/b", "v=0", []string{"Content-Type", "text/plain"}, 415, map[string]string{"Accept": "application/sdp"}},
		{"two Content-Types", "POST", "/whip/a/b", "v=0", []string{"Content-Type", "application/sdp", "Content-Type", "text/plain"}, 415, nil},
		{"garbage Content-Type", "POST", "/whip/a/b", "v=0", []string{"Content-Type", "\"/;;"}, 415, nil},
		{"row 5: empty", "POST", "/whip/a/b", "", []string{"Content-Type", "application/sdp"}, 400, nil},
		{"row 9: gzip", "POST", "/whip/a/b", "v=0", []string{"Content-Type", "application/sdp", "Content-Encoding", "gzip"}, 415, map[string]string{"Accept-Encoding": "identity"}},
		{"identity", "POST", "/whip/a/b", "v=0", []string{"Content-Type", "application/sdp", "Content-Encoding", "identity"}, 201, nil},
		{"item 5, row 15: GET", "GET", "/whip/a/b", "", nil, 200, map[string]string{"Content-Type": "application/sdp", "Refresh": ""}},
		{"item 6: HEAD", "HEAD", "/whip/a/b", "", nil, 200, map[string]string{"Content-Type": "application/sdp"}},
		{"GET by a browser", "GET", "/whip/a/b", "", []string{"Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}, 200,
			map[string]string{"Content-Type": "application/sdp", "Refresh": "0; url=/watch/a"}},
		{"GET by a client", "GET", "/whip/a/b", "", []string{"Accept", "*/*"}, 200, map[string]string{"Refresh": ""}},
		{"GET of SDP or HTML alike", "GET", "/whip/a/b", "", []string{"Accept", "text/html, application/sdp"}, 200, map[string]string{"Refresh": ""}},
		{"item 7: OPTIONS", "OPTIONS", "/whip/a/b", "", nil, 200, map[string]string{"Accept-Post": "application/sdp", "Link": ""}},
		{"item 10: PUT", "PUT", "/whip/a/b", "v=0", nil, 405, map[string]string{"Allow": "GET, HEAD, OPTIONS, POST"}},
		{"item 10, row 13: PATCH", "PATCH", "/whip/a/b", "v=0", nil, 405, map[string]string{"Allow": "GET, HEAD, OPTIONS, POST"}},
		{"item 10, row 13: DELETE", "DELETE", "/whip/a/b", "", nil, 405, map[string]string{"Allow": "GET, HEAD, OPTIONS, POST"}},
		{"elsewhere", "GET", "/whip/a", "", nil, 404, nil},
		{"never redirected", "GET", "/whip/a/b/", "", nil, 404, map[string]string{"Location": ""}},
		{"unknown method", "BREW", "/whip/a/b", "", nil, 405, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := do(r, tt.method, tt.path, tt.body, tt.header...)
			body := text(t, res)
			if res.StatusCode != tt.status {
				t.Errorf("got %d %s, want %d", res.StatusCode, body, tt.status)
			}
			for name, want := range tt.want {
				if got := res.Header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if got := res.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control: %q, want no-store (item 19)", got)
			}
			if got := res.Header.Get("X-Content-Type-Options"); got != "nosniff" {
				t.Errorf("X-Content-Type-Options: %q", got)
			}
			switch {
			case tt.status >= 400:
				var doc struct{ Status int }
				if err := json.Unmarshal([]byte(body), &doc); err != nil || doc.Status != tt.status ||
					res.Header.Get("Content-Type") != "application/problem+json" {
					t.Errorf("no problem document: %s %s", res.Header.Get("Content-Type"), body)
				}
			case tt.status == 200 && body != "":
				t.Errorf("has content: %q", body)
			}
		})
	}
}

// Items 7 to 9 and 23, row 17 of docs/CONFORMANCE.md.
func TestCORS(t *testing.T) {
	only := Defaults()
	only.AllowedOrigins = []string{"https://console.example.org"}
	none := Defaults()
	none.AllowedOrigins = nil
	for _, tt := range []struct {
		name, origin string
		config       Config
		allowed      string
	}{
		{"all", "https://other.example.org", Defaults(), "*"},
		{"opaque origin", "null", Defaults(), "*"},
		{"named", "https://console.example.org", only, "https://console.example.org"},
		{"row 17: not named", "https://other.example.org", only, ""},
		{"row 17: prefix of a name", "https://console.example.or", only, ""},
		{"row 17: none", "https://console.example.org", none, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := endpoint(tt.config, slog.New(slog.DiscardHandler))
			res := do(r, "OPTIONS", "/whip/a/b", "", "Origin", tt.origin,
				"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type")
			h := res.Header
			if res.StatusCode != 200 {
				t.Errorf("preflight got %d, want 200", res.StatusCode)
			}
			if got := h.Get("Access-Control-Allow-Origin"); got != tt.allowed {
				t.Errorf("Access-Control-Allow-Origin: %q, want %q", got, tt.allowed)
			}
			if got := h.Get("Accept-Post"); got != "application/sdp" {
				t.Errorf("Accept-Post: %q", got)
			}
			if h.Get("Access-Control-Allow-Credentials") != "" || h.Get("Link") != "" {
				t.Errorf("too much said: %v", h)
			}
			if tt.allowed == "" {
				if h.Get("Access-Control-Allow-Methods") != "" || h.Get("Access-Control-Allow-Headers") != "" {
					t.Errorf("a foreign origin is told: %v", h)
				}
			} else {
				contains(t, h, "Access-Control-Allow-Methods", "OPTIONS", "GET", "HEAD", "POST", "PATCH", "DELETE")
				contains(t, h, "Access-Control-Allow-Headers", "Authorization", "Content-Type", "If-Match", "ETag", "Last-Event-ID")
				contains(t, h, "Access-Control-Max-Age", "7200")
			}
			res = do(r, "POST", "/whip/a/b", "", "Origin", tt.origin)
			if got := res.Header.Get("Access-Control-Allow-Origin"); got != tt.allowed {
				t.Errorf("failure: Access-Control-Allow-Origin: %q, want %q", got, tt.allowed)
			}
			if tt.allowed != "" {
				contains(t, res.Header, "Access-Control-Expose-Headers", "Location", "Link", "ETag", "Accept-Post", "Accept-Patch", "Sightline-Ended",
					"Access-Control-Allow-Methods", "Retry-After", "WWW-Authenticate")
				// Eyevinn's client and MediaMTX's ask OPTIONS themselves and read this.
				res = do(r, "OPTIONS", "/whip/a/b", "", "Origin", tt.origin, "Authorization", "Bearer x")
				contains(t, res.Header, "Access-Control-Allow-Methods", "PATCH")
				contains(t, res.Header, "Access-Control-Expose-Headers", "Access-Control-Allow-Methods", "Accept-Post")
			}
			if tt.config.AllowedOrigins != nil && tt.allowed != "*" {
				contains(t, res.Header, "Vary", "Origin")
			}
		})
	}
}

func contains(t *testing.T, h http.Header, name string, want ...string) {
	t.Helper()
	got := strings.Split(h.Get(name), ", ")
	for _, w := range want {
		found := false
		for _, g := range got {
			found = found || g == w
		}
		if !found {
			t.Errorf("%s: %q lacks %s", name, h.Get(name), w)
		}
	}
}

// A path that has no OPTIONS of its own answers it all the same.
func TestOptionsEverywhere(t *testing.T) {
	r := NewRouter(Defaults(), slog.New(slog.DiscardHandler))
	r.GET("/api/rooms", func(c *gin.Context) { c.Status(200) })
	res := do(r, "OPTIONS", "/api/rooms", "", "Origin", "https://x.example", "Access-Control-Request-Method", "GET")
	if res.StatusCode != 200 || res.Header.Get("Allow") != "GET, OPTIONS" || res.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("got %d %v", res.StatusCode, res.Header)
	}
}

// Row 26 of docs/CONFORMANCE.md.
func TestThousandRequestsASecondAreSlowedDown(t *testing.T) {
	r := endpoint(Defaults(), slog.New(slog.DiscardHandler))
	answers := map[int]int{}
	for range 1000 {
		res := do(r, "POST", "/whip/a/b", "v=0", "Content-Type", "application/sdp")
		answers[res.StatusCode]++
		if res.StatusCode == 429 && res.Header.Get("Retry-After") != "1" {
			t.Fatalf("Retry-After: %q", res.Header.Get("Retry-After"))
		}
	}
	if answers[201] < 400 || answers[429] < 400 || answers[201]+answers[429] != 1000 {
		t.Errorf("got %v, want the burst of 400 taken and most of the rest refused", answers)
	}
	if res := do(r, "GET", "/whip/a/b", ""); res.StatusCode != 200 {
		t.Errorf("reading is not limited, got %d", res.StatusCode)
	}
}

// Item 18 of docs/CONFORMANCE.md: PATCH and DELETE count too.
func TestEveryChangeIsLimited(t *testing.T) {
	for _, method := range []string{"POST", "PATCH", "DELETE"} {
		c := Defaults()
		c.RateLimit, c.RateBurst = 0.1, 3
		r := NewRouter(c, slog.New(slog.DiscardHandler))
		r.Handle(method, "/sessions/:id", func(c *gin.Context) { c.Status(204) })
		r.GET("/sessions/:id", func(c *gin.Context) { c.Status(200) })
		var got []int
		for range 4 {
			res := do(r, method, "/sessions/x", "")
			got = append(got, res.StatusCode)
			if res.StatusCode == 429 && res.Header.Get("Retry-After") != "10" {
				t.Errorf("%s: Retry-After %q, want 10", method, res.Header.Get("Retry-After"))
			}
		}
		if !slices.Equal(got, []int{204, 204, 204, 429}) {
			t.Errorf("%s: got %v, want three answers and a 429", method, got)
		}
		for range 10 {
			if res := do(r, "GET", "/sessions/x", ""); res.StatusCode != 200 {
				t.Errorf("GET after that: got %d, want 200", res.StatusCode)
			}
		}
	}
}

// Item 6 and T6 of docs/CONFORMANCE.md, on the wire: HEAD has the header fields of GET.
func TestHeadHasTheHeadersOfGet(t *testing.T) {
	b := newBench(t, Defaults())
	session := b.create(t, newPeer(), nil)
	c := Defaults()
	r := endpoint(c, slog.New(slog.DiscardHandler))
	b.sessions.Route(r)
	base := serve(t, c, r)
	client := http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for path, contentType := range map[string]string{"/whip/a/b": SDP, session: ""} {
		var headers []http.Header
		for _, method := range []string{"GET", "HEAD"} {
			req, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if body := text(t, res); res.StatusCode != 200 || body != "" {
				t.Errorf("%s %s: got %d %q, want an empty 200", method, path, res.StatusCode, body)
			}
			for _, volatile := range []string{"Date", "X-Request-Id"} {
				res.Header.Del(volatile)
			}
			headers = append(headers, res.Header)
		}
		if get, head := headers[0], headers[1]; !reflect.DeepEqual(get, head) {
			t.Errorf("%s: HEAD has\n%v\nand GET\n%v", path, head, get)
		}
		if got := headers[0]; got.Get("Content-Length") != "0" || got.Get("Content-Type") != contentType {
			t.Errorf("%s: Content-Length %q, Content-Type %q", path, got.Get("Content-Length"), got.Get("Content-Type"))
		}
	}
}

// Rows 6, 7 and 22 of docs/CONFORMANCE.md, on the wire.
func TestOversizedAndBrokenRequests(t *testing.T) {
	c := Defaults()
	c.BodyTimeout = opt.Duration(100 * time.Millisecond)
	base := serve(t, c, endpoint(c, slog.New(slog.DiscardHandler)))
	post := "POST /whip/a/b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/sdp\r\n"
	big := strings.Repeat("a", c.MaxBody+1)
	for _, tt := range []struct {
		name, request string
		status        int
		closed        bool
	}{
		{"longest body", post + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", c.MaxBody, big[1:]), 201, false},
		{"row 6: honest length", post + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(big)), 413, true},
		{"row 6: honest length, and the body", post + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(big), big), 413, true},
		{"row 6: honest length, 10 GB", post + "Content-Length: 10000000000\r\n\r\n", 413, true},
		{"row 7: chunked", post + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(big), big), 413, true},
		{"row 7: bad chunk", post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, true},
		{"row 7: body that never comes", post + "Content-Length: 100\r\n\r\nv=0", 400, true},
		{"row 22: token of 16 KiB", post + "Authorization: Bearer " + strings.Repeat("x", 16<<10) + "\r\n\r\n", 431, true},
		{"row 22: header of 64 KiB", post + "Authorization: Bearer " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431, true},
		{"row 22: a line break in the token", post + "Authorization: Bearer x\r\ny\r\n\r\n", 400, true},
		{"row 22: CR in the token", post + "Authorization: Bearer x\ry\r\n\r\n", 400, true},
		{"NUL in a header", post + "X: a\x00b\r\n\r\n", 400, true},
		{"no Host", "GET /whip/a/b HTTP/1.1\r\n\r\n", 400, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, body := raw(t, base, tt.request)
			if res.StatusCode != tt.status {
				t.Errorf("got %d %s, want %d", res.StatusCode, body, tt.status)
			}
			if res.Close != tt.closed {
				t.Errorf("Connection: close is %t, want %t", res.Close, tt.closed)
			}
		})
	}
	t.Run("row 6: whoever sends at once reads the answer", func(t *testing.T) {
		for i := range 50 {
			res, err := http.Post(base+"/whip/a/b", "application/sdp", strings.NewReader(strings.Repeat("a", c.MaxBody+13+i*20_000)))
			if err != nil {
				t.Fatal(err)
			}
			if text(t, res); res.StatusCode != 413 {
				t.Fatalf("got %d, want 413", res.StatusCode)
			}
		}
	})
	t.Run("row 7: less than was said", func(t *testing.T) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, post+"Content-Length: 100\r\n\r\nv=0")
		_ = conn.(*net.TCPConn).CloseWrite()
		if answer, _ := io.ReadAll(conn); !bytes.HasPrefix(answer, []byte("HTTP/1.1 400")) {
			t.Errorf("got %.100s", answer)
		}
	})
}

func TestAccessLogHasNoSecrets(t *testing.T) {
	var log bytes.Buffer
	c := Defaults()
	r := endpoint(c, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	r.PATCH("/sessions/:id", func(c *gin.Context) { c.Status(204) })
	do(r, "POST", "/whip/mri-2/console?access_token=hush1", "", "Authorization", "Bearer hush2", "User-Agent", "ffmpeg")
	do(r, "PATCH", "/sessions/hush3?x=hush4", "")
	do(r, "GET", "/hush5", "")
	got := log.String()
	if strings.Contains(got, "hush") {
		t.Errorf("a secret in the log:\n%s", got)
	}
	for _, want := range []string{"room=mri-2", "publisher=console", "status=415", "route=/sessions/:id", "status=204", "agent=ffmpeg", "client=192.0.2.1"} {
		if !strings.Contains(got, want) {
			t.Errorf("the log lacks %s:\n%s", want, got)
		}
	}
}

func TestRequestsAreCountedByPattern(t *testing.T) {
	r := endpoint(Defaults(), slog.New(slog.DiscardHandler))
	for i := range 3 {
		do(r, "GET", fmt.Sprintf("/whip/a/%d", i), "")
		do(r, fmt.Sprintf("X%d", i), fmt.Sprintf("/nowhere/%d", i), "")
	}
	do(r, "POST", "/whip/a/b", "")
	want := []RequestCount{
		{"/whip/:room/:publisher", "GET", "2xx", 3}, {"/whip/:room/:publisher", "POST", "4xx", 1}, {"none", "other", "4xx", 3},
	}
	if got := r.Requests(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The proxy's own word for who is last in X-Forwarded-For counts, on however many lines it is, and
// no other field that a client may have sent along.
func TestClientsDoNotSayWhoTheyAre(t *testing.T) {
	c := Defaults()
	c.TrustedProxies = []string{"192.0.2.1", "198.51.100.0/24"}
	r := NewRouter(c, slog.New(slog.DiscardHandler))
	r.GET("/", func(c *gin.Context) { c.String(200, c.ClientIP()) })
	for _, tt := range []struct {
		name   string
		header []string
		want   string
	}{
		{"appended", []string{"X-Forwarded-For", "10.0.0.1, 203.0.113.9"}, "203.0.113.9"},
		{"by two proxies", []string{"X-Forwarded-For", "10.0.0.1, 203.0.113.9, 198.51.100.7"}, "203.0.113.9"},
		{"a line of its own", []string{"X-Forwarded-For", "10.0.0.1", "X-Forwarded-For", "203.0.113.9"}, "203.0.113.9"},
		{"nothing but another field", []string{"X-Real-IP", "10.0.0.1"}, "192.0.2.1"},
		{"with a port, and another field", []string{"X-Forwarded-For", "203.0.113.9:1234", "X-Real-IP", "10.0.0.1"}, "192.0.2.1"},
		{"Forwarded", []string{"Forwarded", "for=10.0.0.1"}, "192.0.2.1"},
	} {
		req := httptest.NewRequest("GET", "/", nil)
		for i := 0; i < len(tt.header); i += 2 {
			req.Header.Add(tt.header[i], tt.header[i+1])
		}
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		if got := w.Body.String(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestClientBehindADeclaredProxy(t *testing.T) {
	for _, tt := range []struct {
		proxies []string
		want    string
	}{
		{nil, "192.0.2.1"},
		{[]string{"198.51.100.0/24"}, "192.0.2.1"},
		{[]string{"192.0.2.1"}, "203.0.113.9"},
	} {
		c := Defaults()
		c.TrustedProxies = tt.proxies
		r := NewRouter(c, slog.New(slog.DiscardHandler))
		r.GET("/", func(c *gin.Context) { c.String(200, c.ClientIP()) })
		if got := text(t, do(r, "GET", "/", "", "X-Forwarded-For", "203.0.113.9")); got != tt.want {
			t.Errorf("trusted %v: %s, want %s", tt.proxies, got, tt.want)
		}
	}
}
