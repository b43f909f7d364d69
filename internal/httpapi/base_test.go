package httpapi

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
)

// Row 25 of docs/CONFORMANCE.md: what absolute URLs begin with never comes from a header
// that anybody can set.
func TestBaseURL(t *testing.T) {
	lan := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 80), Port: 8080}
	for _, tt := range []struct {
		name    string
		public  string
		proxies []string
		host    string
		header  map[string]string
		tls     bool
		want    string
	}{
		{name: "configured", public: "https://media.example.org/", host: "evil.example", want: "https://media.example.org"},
		{name: "configured with a path", public: "https://example.org/media", host: "evil.example", want: "https://example.org/media"},
		{name: "own address", host: "192.0.2.80:8080", want: "http://192.0.2.80:8080"},
		{name: "own address, mapped port", host: "192.0.2.80:80", want: "http://192.0.2.80:80"},
		{name: "own address, HTTPS", host: "192.0.2.80", tls: true, want: "https://192.0.2.80"},
		{name: "loopback", host: "127.0.0.1:8080", want: "http://127.0.0.1:8080"},
		{name: "loopback, IPv6", host: "[::1]:8080", want: "http://[::1]:8080"},
		{name: "localhost", host: "LocalHost:8080", want: "http://LocalHost:8080"},
		{name: "own name", host: "gateway:8080", want: "http://gateway:8080"},
		{name: "foreign name", host: "evil.example"},
		{name: "foreign address", host: "203.0.113.1"},
		{name: "name that starts well", host: "localhost.evil.example"},
		{name: "user info", host: "localhost@evil.example"},
		{name: "path", host: "localhost/../x"},
		{name: "line break", host: "localhost\r\nX: y"},
		{name: "no host", host: ""},
		{
			name: "forwarded by nobody declared", host: "127.0.0.1:8080",
			header: map[string]string{"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example"},
			want:   "http://127.0.0.1:8080",
		},
		{
			name: "forwarded by another than the declared", proxies: []string{"198.51.100.0/24"}, host: "127.0.0.1:8080",
			header: map[string]string{"X-Forwarded-Host": "evil.example"}, want: "http://127.0.0.1:8080",
		},
		{
			name: "forwarded by the declared proxy", proxies: []string{"192.0.2.0/24"}, host: "127.0.0.1:8080",
			header: map[string]string{"X-Forwarded-Host": "media.example.org", "X-Forwarded-Proto": "https"}, want: "https://media.example.org",
		},
		{
			name: "proxy that leaves the Host", proxies: []string{"192.0.2.1"}, host: "media.example.org",
			header: map[string]string{"X-Forwarded-Proto": "javascript"}, want: "http://media.example.org",
		},
		{
			name: "nonsense from the declared proxy", proxies: []string{"192.0.2.1"}, host: "media.example.org",
			header: map[string]string{"X-Forwarded-Host": "a, b"}, want: "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Defaults()
			c.PublicURL, c.TrustedProxies = tt.public, tt.proxies
			b := newBase(c)
			b.hostname = "gateway"
			r := httptest.NewRequest(http.MethodPost, "/", nil) // from 192.0.2.1
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, lan))
			r.Host = tt.host
			if tt.tls {
				r.TLS = &tls.ConnectionState{}
			}
			for name, value := range tt.header {
				r.Header.Set(name, value)
			}
			if got := b.of(r); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestBaseURLReachesHandlers(t *testing.T) {
	r := NewRouter(Defaults(), slog.New(slog.DiscardHandler))
	r.GET("/", func(c *gin.Context) { c.String(200, BaseURL(c)) })
	base := serve(t, Defaults(), r)
	res, err := http.Get(base)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	if got := text(t, res); got != base {
		t.Errorf("got %q, want %q", got, base)
	}
}
