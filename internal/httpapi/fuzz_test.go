package httpapi

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
)

// FuzzBaseURL: whatever a client or a proxy says of the address that was asked for, the
// gateway's own URLs begin with an origin of http or https, or with nothing.
func FuzzBaseURL(f *testing.F) {
	f.Add("127.0.0.1:8080", "", "")
	f.Add("[::1]:8080", "media.example.org", "https")
	f.Add("localhost:80", "evil.example/\r\nX: y", "javascript")
	f.Add("[fe80::1%25lo]", "a,b", "http,https")
	direct := newBase(Defaults())
	c := Defaults()
	c.TrustedProxies = []string{"192.0.2.1"}
	behind := newBase(c)
	f.Fuzz(func(t *testing.T, host, forwardedHost, forwardedProto string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr, r.Host = "192.0.2.1:1234", host
		r.Header = http.Header{"X-Forwarded-Host": {forwardedHost}, "X-Forwarded-Proto": {forwardedProto}}
		for _, b := range []*base{direct, behind} {
			got := b.of(r)
			if got == "" {
				continue
			}
			u, err := url.Parse(got + "/sessions/x")
			switch {
			case strings.ContainsAny(got, "\r\n\t \"<>,;"):
				t.Errorf("%q can't stand in a header", got)
			case err != nil: // such as [1:2:], which the pattern lets pass: of nobody but the client himself, or his proxy
			case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.User != nil, u.Path != "/sessions/x", u.RawQuery != "":
				t.Errorf("%q is no origin: %+v", got, u)
			}
			if b == direct && !strings.EqualFold(u.Hostname(), "localhost") && !strings.EqualFold(u.Hostname(), b.hostname) {
				if ip, err := netip.ParseAddr(u.Hostname()); err != nil || !ip.IsLoopback() {
					t.Errorf("%q is none of this machine", got)
				}
			}
		}
	})
}

// FuzzAccept: a weight is between 0 and 1, and what ranks is not changed by the letters' case.
func FuzzAccept(f *testing.F) {
	f.Add("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	f.Add("application/sdp;q=0.1, text/*; q=1.0 ,text/html;q=0.x")
	f.Add("*/*;q=NaN;q=+Inf;Q=1e-400")
	f.Fuzz(func(t *testing.T, accept string) {
		for _, mediaType := range [][2]string{{"text", "html"}, {"application", "sdp"}} {
			if q := quality(accept, mediaType[0], mediaType[1]); !(q >= 0 && q <= 1) {
				t.Errorf("%q weighs %v", accept, q)
			}
		}
		prefersHTML(http.Header{"Accept": {accept}})
	})
}

// FuzzContentType: what is taken for SDP is called so, and all else is a 415.
func FuzzContentType(f *testing.F) {
	for _, seed := range []string{"application/sdp", "Application/SDP; charset=utf-8", `application/sdp;a="`, "application/json", ""} {
		f.Add(seed, "")
	}
	f.Add("application/sdp", "gzip")
	router := NewRouter(Defaults(), slog.New(slog.DiscardHandler))
	router.GET("/", Handle(func(c *gin.Context) error { return CheckType(c, SDP, "Accept") }))
	f.Fuzz(func(t *testing.T, contentType, coding string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Content-Type"] = []string{contentType}
		if coding != "" {
			r.Header["Content-Encoding"] = []string{coding}
		}
		w := httptest.NewRecorder()
		router.ServeHTTP(w, r)
		called := strings.HasPrefix(strings.ToLower(strings.TrimSpace(contentType)), SDP)
		plain := coding == "" || strings.EqualFold(strings.TrimSpace(coding), "identity")
		if w.Code != http.StatusUnsupportedMediaType && (w.Code != http.StatusOK || !called || !plain) {
			t.Errorf("%q in %q: got %d", contentType, coding, w.Code)
		}
	})
}
