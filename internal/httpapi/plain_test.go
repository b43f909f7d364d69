package httpapi

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
)

// from asks a handler as a client at an address would.
func from(h http.Handler, remote string, secure bool, method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, strings.NewReader("v=0"))
	r.RemoteAddr = remote
	if secure {
		r.TLS = &tls.ConnectionState{}
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// Item 17 of docs/CONFORMANCE.md.
func TestPlainRequestsAreTakenFromDeclaredProxiesOnly(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Config)
		remote string
		tls    bool
		path   string
		header []string
		want   int
	}{
		{name: "another machine", remote: "192.0.2.9:1", want: 403},
		{name: "another machine, IPv6", remote: "[2001:db8::9]:1", want: 403},
		{name: "that says it is a proxy", remote: "192.0.2.9:1", header: []string{"X-Forwarded-Proto", "https", "X-Forwarded-For", "127.0.0.1", "Forwarded", "for=127.0.0.1;proto=https"}, want: 403},
		{name: "by HTTPS", remote: "192.0.2.9:1", tls: true, want: 201},
		{name: "this machine", remote: "127.0.0.1:1", want: 201},
		{name: "this machine, IPv6", remote: "[::1]:1", want: 201},
		{name: "this machine, mapped", remote: "[::ffff:127.0.0.1]:1", want: 201},
		{name: "the proxy", remote: "203.0.113.5:1", want: 201},
		{name: "a network of proxies", remote: "[2001:db8:1::5]:1", want: 201},
		{name: "a mapped proxy", remote: "[::ffff:203.0.113.5]:1", want: 201},
		{name: "a supervisor", remote: "192.0.2.9:1", path: "/healthz", want: 201},
		{name: "no address", remote: "@", want: 403},
		{name: "insecure", change: func(c *Config) { c.Insecure = true }, remote: "192.0.2.9:1", want: 201},
		{name: "open", change: func(c *Config) { c.Open = true }, remote: "192.0.2.9:1", want: 201},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Defaults()
			c.Listen, c.PublicURL = ":8080", "https://media.example.org"
			c.TrustedProxies = []string{"203.0.113.5", "2001:db8:1::/48"}
			if tt.change != nil {
				tt.change(&c)
			}
			r := NewRouter(c, quiet())
			for _, path := range []string{"/whip/a/b", "/healthz"} {
				r.POST(path, func(g *gin.Context) { g.Status(201) })
			}
			path := tt.path
			if path == "" {
				path = "/whip/a/b"
			}
			res := from(r, tt.remote, tt.tls, "POST", path, append(tt.header, "Authorization", "Bearer hush")...)
			body := text(t, res)
			if res.StatusCode != tt.want {
				t.Errorf("got %d %s, want %d", res.StatusCode, body, tt.want)
			}
			if refused := r.plain.Load(); (refused == 1) != (tt.want == 403) {
				t.Errorf("%d refusals counted", refused)
			}
			if tt.want != 403 {
				return
			}
			for _, want := range []string{"https://media.example.org", "http.trusted_proxies", "unencrypted"} {
				if !strings.Contains(body, want) {
					t.Errorf("the answer does not say %q: %s", want, body)
				}
			}
			if strings.Contains(body, "hush") || res.Header.Get("Location") != "" {
				t.Errorf("got %s, Location %q", body, res.Header.Get("Location"))
			}
		})
	}
}

func TestBrowsersAreToldToKeepToHTTPS(t *testing.T) {
	for _, tt := range []struct {
		name   string
		off    bool
		remote string
		tls    bool
		header []string
		want   string
	}{
		{name: "HTTPS", remote: "192.0.2.9:1", tls: true, want: "max-age=2592000"},
		{name: "plain", remote: "127.0.0.1:1"},
		{name: "plain, that says it is HTTPS", remote: "127.0.0.1:1", header: []string{"X-Forwarded-Proto", "https"}},
		{name: "a proxy that has it by HTTPS", remote: "203.0.113.5:1", header: []string{"X-Forwarded-Proto", "https"}, want: "max-age=2592000"},
		{name: "a proxy that has it by HTTP", remote: "203.0.113.5:1", header: []string{"X-Forwarded-Proto", "http"}},
		{name: "off", off: true, remote: "192.0.2.9:1", tls: true},
	} {
		c := Defaults()
		c.TrustedProxies = []string{"203.0.113.5"}
		if tt.off {
			c.HSTS = 0
		}
		r := NewRouter(c, quiet())
		res := from(r, tt.remote, tt.tls, "GET", "/", tt.header...)
		if got := res.Header.Get("Strict-Transport-Security"); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// What is redirected goes to the configured URL and nowhere else, and nothing that has a
// token or an offer is.
func TestRedirects(t *testing.T) {
	c := Defaults()
	c.PublicURL, c.TLSCert, c.TLSKey, c.RedirectListen = "https://media.example.org", "x", "y", ":80"
	r := NewRedirects(c, nil, quiet())
	const home = "https://media.example.org"
	for _, tt := range []struct {
		name, method, target string
		header               []string
		status               int
		location             string
	}{
		{"page", "GET", "/watch/mri-2/console?x=1&y=%0a", nil, 308, home + "/watch/mri-2/console?x=1&y=%0a"},
		{"HEAD", "HEAD", "/", nil, 308, home + "/"},
		{"escaped path", "GET", "/watch/a%2Fb/%0d%0aX:y", nil, 308, home + "/watch/a%2Fb/%0d%0aX:y"},
		{"row 25: foreign Host", "GET", "/x", []string{"X-Forwarded-Host", "evil.example"}, 308, home + "/x"},
		{"path like a host", "GET", "//evil.example/x", nil, 308, home + "//evil.example/x"},
		{"whole URL", "GET", "http://evil.example/x", nil, 308, home + "/x"},
		{"offer", "POST", "/whip/a/b", nil, 403, ""},
		{"offer with token", "POST", "/whip/a/b", []string{"Authorization", "Bearer hush"}, 403, ""},
		{"PATCH", "PATCH", "/sessions/x", nil, 403, ""},
		{"DELETE", "DELETE", "/sessions/x", nil, 403, ""},
		{"OPTIONS", "OPTIONS", "/whip/a/b", []string{"Origin", "https://x.example"}, 403, ""},
		{"unknown method", "BREW", "/", nil, 403, ""},
		{"GET with token", "GET", "/api/rooms", []string{"Authorization", "Bearer hush"}, 403, ""},
		{"token in the query", "GET", "/api/rooms?access_token=hush", nil, 403, ""},
		{"no challenge", "GET", "/.well-known/acme-challenge/x", nil, 308, home + "/.well-known/acme-challenge/x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := r.plain.Load()
			res := from(r, "192.0.2.9:1", false, tt.method, tt.target, tt.header...)
			body := text(t, res)
			if res.StatusCode != tt.status || res.Header.Get("Location") != tt.location {
				t.Errorf("got %d to %q, want %d to %q", res.StatusCode, res.Header.Get("Location"), tt.status, tt.location)
			}
			if strings.Contains(body, "hush") {
				t.Errorf("the token is in the answer: %s", body)
			}
			if tt.status == 403 && (!strings.Contains(body, home) || r.plain.Load() != before+1) {
				t.Errorf("the answer does not say where to ask, or is not counted: %s", body)
			}
			if res.Header.Get("Strict-Transport-Security") != "" || res.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("too much said: %v", res.Header)
			}
		})
	}
}

// Both listeners over real sockets: a browser gets from one to the other.
func TestPlainListenerLeadsToHTTPS(t *testing.T) {
	dir := t.TempDir()
	c := Defaults()
	c.Listen, c.RedirectListen = "127.0.0.1:0", "127.0.0.1:0"
	c.TLSCert, c.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	newPair(t, c.TLSCert, c.TLSKey)
	certificates, err := OpenCertificates(c, quiet())
	if err != nil {
		t.Fatal(err)
	}
	// The port is known once it is open: take one, and use it for both.
	probe, err := NewServer("http", c, nil, nil, quiet())
	if err != nil {
		t.Fatal(err)
	}
	c.Listen = probe.Addr().String()
	probe.Close()
	c.PublicURL = "https://" + c.Listen
	r := NewRouter(c, quiet())
	r.GET("/x", func(g *gin.Context) { g.String(200, g.Request.Proto+" "+BaseURL(g)) })
	servers, err := Listen(c, r, certificates, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if len(servers) != 2 {
		t.Fatalf("%d listeners, want two", len(servers))
	}
	runAll(t, servers)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Get("http://" + servers[1].Addr().String() + "/x")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := text(t, res), "HTTP/2.0 "+c.PublicURL; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if res.Header.Get("Strict-Transport-Security") == "" {
		t.Error("the browser is not told to keep to HTTPS")
	}
}

// runAll runs servers until the test ends.
func runAll(t *testing.T, servers []*Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	for _, s := range servers {
		go func() { done <- s.Run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		for range servers {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// TLS as it is offered: no version below 1.2, nothing that Go's defaults leave out.
func TestOldTLSIsRefused(t *testing.T) {
	dir := t.TempDir()
	c := Defaults()
	c.TLSCert, c.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	newPair(t, c.TLSCert, c.TLSKey)
	addr := strings.TrimPrefix(serve(t, c, NewRouter(c, slog.New(slog.DiscardHandler))), "https://")
	for _, tt := range []struct {
		name   string
		config *tls.Config
		proto  string
		ok     bool
	}{
		{"1.3", &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}}, "h2", true},
		{"1.2", &tls.Config{MaxVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}, "http/1.1", true},
		{"no ALPN", &tls.Config{}, "", true},
		{"1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "", false},
		{"RC4", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA}}, "", false},
		{"CBC with SHA-256", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256}}, "", false},
		{"ACME's, without ACME", &tls.Config{NextProtos: []string{"acme-tls/1"}}, "", false},
	} {
		tt.config.InsecureSkipVerify = true
		conn, err := tls.Dial("tcp", addr, tt.config)
		if (err == nil) != tt.ok {
			t.Errorf("%s: got %v, want it to connect: %t", tt.name, err, tt.ok)
		}
		if err == nil {
			if got := conn.ConnectionState().NegotiatedProtocol; got != tt.proto {
				t.Errorf("%s: protocol %q, want %q", tt.name, got, tt.proto)
			}
			conn.Close()
		}
	}
}
