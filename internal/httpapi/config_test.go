package httpapi

import (
	"slices"
	"strings"
	"testing"
)

func TestValidateNamesEveryWrongKey(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Fatalf("defaults: %v", err)
	}
	c := Config{
		Listen: "8080", PublicURL: "media.example.org", TLSCert: "x.pem", TrustedProxies: []string{"10.0.0.0/8", "proxy"},
		AllowedOrigins: []string{"*", "https://x.example/", "x"}, MaxBody: 10, RateLimit: 5, TokenRateLimit: -1, SessionRateLimit: 1, MaxWrongTokens: -1,
		MaxSessionsPerAddress: -1, MaxSessionsPerToken: -1, ETag: "maybe",
	}
	var got []string
	for line := range strings.SplitSeq(c.Validate().Error(), "\n") {
		key, _, _ := strings.Cut(line, ":")
		got = append(got, key)
	}
	want := []string{
		"http.listen", "http.public_url", "http.tls_cert", "http.acme.challenge", "http.acme.directory", "http.trusted_proxies",
		"http.allowed_origins", "http.allowed_origins", "http.max_body", "http.rate_burst", "http.token_rate_limit",
		"http.session_rate_burst", "http.max_wrong_tokens", "http.max_sessions_per_address", "http.max_sessions_per_token",
		"http.max_setups", "http.max_setups_per_address", "http.max_connections",
		"http.max_connections_per_address", "http.etag", "http.read_header_timeout", "http.body_timeout", "http.idle_timeout",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q,\nwant %q", got, want)
	}
	for _, wrong := range []string{"ftp://x", "https://", "https://u:p@x", "https://x?y=z", "https://x#y", "https:x"} {
		c := Defaults()
		c.PublicURL = wrong
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "http.public_url: ") {
			t.Errorf("public_url %q: %v", wrong, err)
		}
	}
	for _, wrong := range []string{"127.0.0.1", "127.0.0.1:http", "127.0.0.1:65536", ""} {
		c := Defaults()
		c.Listen = wrong
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "http.listen: ") {
			t.Errorf("listen %q: %v", wrong, err)
		}
	}
}

// Item 17 of docs/CONFORMANCE.md.
func TestTokensDoNotTravelInTheClearUnlessTold(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*Config)
		open bool
		ok   bool
	}{
		{"loopback", func(c *Config) {}, false, true},
		{"all addresses", func(c *Config) { c.Listen = ":8080" }, false, false},
		{"the LAN", func(c *Config) { c.Listen = "192.0.2.80:8080" }, false, false},
		{"no tokens to lose", func(c *Config) { c.Listen = ":8080" }, true, true},
		{"own certificate", func(c *Config) { c.Listen, c.TLSCert, c.TLSKey = ":443", "c", "k" }, false, true},
		{"declared proxy", func(c *Config) { c.Listen, c.PublicURL = ":8080", "https://media.example.org" }, false, true},
		{"plain public URL", func(c *Config) { c.Listen, c.PublicURL = ":8080", "http://media.example.org" }, false, false},
		{"told", func(c *Config) { c.Listen, c.Insecure = ":8080", true }, false, true},
	} {
		c := Defaults()
		tt.set(&c)
		err := CheckTransport(c, tt.open)
		if (err == nil) != tt.ok {
			t.Errorf("%s: got %v, want ok %t", tt.name, err, tt.ok)
		}
		if err == nil {
			continue
		}
		for _, way := range []string{"http.tls_cert", "http.public_url", "http.insecure = true"} {
			if !strings.Contains(err.Error(), way) {
				t.Errorf("%s: the error does not name %s: %v", tt.name, way, err)
			}
		}
	}
}

func TestKeysThatNeedEachOther(t *testing.T) {
	tls := func(c *Config) { c.TLSCert, c.TLSKey, c.PublicURL = "c", "k", "https://media.example.org" }
	acme := func(c *Config) {
		c.ACME.Domains, c.ACME.Agree, c.ACME.CacheDir = []string{"media.example.org"}, true, "/x"
		c.PublicURL = "https://media.example.org"
	}
	for _, tt := range []struct {
		name string
		set  []func(*Config)
		want string // the key that is wrong, "" for none
	}{
		{"files and redirect", []func(*Config){tls, func(c *Config) { c.RedirectListen = ":80" }}, ""},
		{"redirect to nothing", []func(*Config){func(c *Config) { c.RedirectListen = ":80"; c.PublicURL = "https://x.example" }}, "http.redirect_listen"},
		{"redirect to nowhere", []func(*Config){tls, func(c *Config) { c.RedirectListen = ":80"; c.PublicURL = "" }}, "http.redirect_listen"},
		{"redirect to plain HTTP", []func(*Config){tls, func(c *Config) { c.RedirectListen = ":80"; c.PublicURL = "http://x.example" }}, "http.redirect_listen"},
		{"redirect without a port", []func(*Config){tls, func(c *Config) { c.RedirectListen = "80" }}, "http.redirect_listen"},
		{"ACME", []func(*Config){acme}, ""},
		{"ACME and files", []func(*Config){acme, tls}, "http.tls_cert"},
		{"http-01 without its listener", []func(*Config){acme, func(c *Config) { c.ACME.Challenge = "http-01" }}, "http.acme.challenge"},
		{"http-01", []func(*Config){acme, func(c *Config) { c.ACME.Challenge, c.RedirectListen = "http-01", ":80" }}, ""},
		{"HSTS for ever", []func(*Config){func(c *Config) { c.HSTS = 1 << 60 }}, "http.hsts"},
		{"HSTS in the past", []func(*Config){func(c *Config) { c.HSTS = -1 }}, "http.hsts"},
	} {
		c := Defaults()
		for _, set := range tt.set {
			set(&c)
		}
		err := c.Validate()
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want+": ")):
			t.Errorf("%s: got %v, want an error of %s", tt.name, err, tt.want)
		}
	}
}
