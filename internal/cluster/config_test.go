package cluster

import (
	"strings"
	"testing"
	"time"

	"sightline/internal/opt"
)

func TestDefaultsAreValidAndOff(t *testing.T) {
	if err := Defaults().Validate(); err != nil || Defaults().On() {
		t.Errorf("on: %t, %v", Defaults().On(), err)
	}
}

func TestValidate(t *testing.T) {
	tlsFiles := func(c *Config) { c.TLSCert, c.TLSKey, c.TLSCA = "cert.pem", "key.pem", "ca.pem" }
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string // of the error; "": none
	}{
		{"on this machine, bare", func(c *Config) { c.Listen, c.Routes = "127.0.0.1:6222", []string{"localhost:6223", "[::1]:6224"} }, ""},
		{"beyond it, with all", func(c *Config) {
			tlsFiles(c)
			c.Listen, c.Advertise, c.Routes, c.Secret = ":6222", "node-1:6222", []string{"node-2:6222"}, testSecret
			c.LeafListen = "[::]:7422"
		}, ""},
		{"a remote site", func(c *Config) { tlsFiles(c); c.Leaf, c.Secret = []string{"centre:7422"}, testSecret }, ""},
		{"an external NATS", func(c *Config) { c.URLs, c.Credentials = []string{"tls://user:password@nats:4222"}, "nats.creds" }, ""},
		{"a password of all sorts", func(c *Config) { c.URLs = []string{"tls://user:a,b%2F%25%3F@c:d@nats:4222"} }, ""},
		{"an external NATS on this machine", func(c *Config) { c.URLs = []string{"nats://127.0.0.1:4222"} }, ""},

		{"a name with a space", func(c *Config) { c.Name = "node 1" }, "cluster.name: must have 1 to 64"},
		{"no group", func(c *Config) { c.Group = "" }, "cluster.group: must have"},
		{"a group of two tokens", func(c *Config) { c.Group = "a.b" }, "cluster.group: must have"},
		{"listen without a port", func(c *Config) { c.Listen = "127.0.0.1" }, `cluster.listen: must be host:port such as ":6222", got "127.0.0.1"`},
		{"routes without listen", func(c *Config) { c.Routes = []string{"127.0.0.1:6222"} }, "cluster.routes: needs cluster.listen"},
		{"leaf_listen without listen", func(c *Config) { c.LeafListen = "127.0.0.1:7422" }, "cluster.leaf_listen: needs cluster.listen"},
		{"advertise without listen", func(c *Config) { c.Advertise = "127.0.0.1:7422" }, "cluster.advertise: needs cluster.listen"},
		{"a route that is a URL", func(c *Config) { c.Listen, c.Routes = "127.0.0.1:6222", []string{"nats://node-2:6222"} }, "cluster.routes[0]: must be host:port"},
		{"no host in a route", func(c *Config) { c.Listen, c.Routes = "127.0.0.1:6222", []string{":6222"} }, "cluster.routes[0]: must be host:port"},
		{"beyond this machine without TLS", func(c *Config) { c.Listen, c.Secret = ":6222", testSecret }, "cluster.tls_cert: nodes on several machines need TLS"},
		{"a route beyond it without TLS", func(c *Config) {
			c.Listen, c.Secret, c.Routes = "127.0.0.1:6222", testSecret, []string{"node-2:6222"}
		}, "cluster.tls_cert: nodes on several machines need TLS"},
		{"beyond this machine without a secret", func(c *Config) { tlsFiles(c); c.Listen = ":6222" }, "cluster.secret: nodes on several machines need"},
		{"leaf nodes without a secret", func(c *Config) { c.Listen, c.LeafListen = "127.0.0.1:6222", "127.0.0.1:7422" }, "cluster.secret: nodes on several"},
		{"a short secret", func(c *Config) { c.Listen, c.Secret = "127.0.0.1:6222", "sesame" }, "cluster.secret: must have 16 characters or more, got 6"},
		{"half of TLS", func(c *Config) { c.Listen, c.TLSCert, c.TLSCA = "127.0.0.1:6222", "cert.pem", "ca.pem" }, "cluster.tls_cert: tls_cert and tls_key go together"},
		{"no authority", func(c *Config) { c.Listen, c.TLSCert, c.TLSKey = "127.0.0.1:6222", "cert.pem", "key.pem" }, "cluster.tls_ca: nodes check each other"},
		{"centre and site at once", func(c *Config) {
			c.Listen, c.LeafListen, c.Secret, c.Leaf = "127.0.0.1:6222", "127.0.0.1:7422", testSecret, []string{"127.0.0.1:7423"}
		}, "cluster.leaf: a node is either at the centre"},

		{"both engines", func(c *Config) { c.Listen, c.URLs = "127.0.0.1:6222", []string{"nats://127.0.0.1"} }, "cluster.listen: is for the embedded engine"},
		{"a secret for an external NATS", func(c *Config) { c.Secret, c.URLs = testSecret, []string{"nats://127.0.0.1"} }, "cluster.secret: is for the embedded engine"},
		{"an external NATS in the clear", func(c *Config) { c.URLs = []string{"nats://user:password@nats:4222"} }, "cluster.urls[0]: must begin with tls://"},
		{"a URL that is none", func(c *Config) { c.URLs = []string{"user:password@nats:4222"} }, "cluster.urls[0]: must be a URL"},
		{"a password with a slash", func(c *Config) { c.URLs = []string{"tls://user:12/password@nats:4222"} }, "cluster.urls[0]: must be a URL"},
		{"a password with a question mark", func(c *Config) { c.URLs = []string{"nats://user:12?password@nats:4222"} }, "cluster.urls[0]: must be a URL"},
		{"a password with a hash", func(c *Config) { c.URLs = []string{"nats://user:12#password@nats:4222"} }, "cluster.urls[0]: must be a URL"},
		{"a password with a percent sign", func(c *Config) { c.URLs = []string{"tls://user:%password@nats:4222"} }, "\"%\" %25"},
		{"two URLs in one", func(c *Config) { c.URLs = []string{"tls://nats-1:4222,tls://nats-2:4222"} }, "one in each entry"},
		{"two hosts in one", func(c *Config) { c.URLs = []string{"tls://nats-1,nats-2:4222"} }, "one in each entry"},
		{"credentials for nobody", func(c *Config) { c.Credentials = "nats.creds" }, "cluster.credentials: is for an external NATS"},

		{"forward", func(c *Config) { c.Forward = "bounce" }, `cluster.forward: must be "proxy" or "redirect", got "bounce"`},
		{"nowhere to send clients", func(c *Config) { c.Listen, c.Forward = "127.0.0.1:6222", Redirect }, "cluster.url: must say where clients reach this node"},
		{"a url with a password", func(c *Config) { c.URL = "https://user:password@node-1" }, "cluster.url: must be a URL"},
		{"lease", func(c *Config) { c.Lease = opt.Duration(time.Millisecond) }, "cluster.lease: must be between 2s and 1m, got 1ms"},
		{"linger", func(c *Config) { c.Linger = -1 }, "cluster.linger: must be between 0s and 1h"},
		{"max_egress", func(c *Config) { c.MaxEgress = -1 }, "cluster.max_egress: must be"},
		{"max_sessions", func(c *Config) { c.MaxSessions = -1 }, "cluster.max_sessions: must be"},
		{"full_above", func(c *Config) { c.FullAbove = 0 }, "cluster.full_above: must be a share"},
		{"relay_above", func(c *Config) { c.RelayAbove = 75 }, "cluster.relay_above: must be a share"},
		{"near", func(c *Config) { c.Near = []string{"10.0.0.0/8", "10.1"} }, `cluster.near[1]: must be a network such as "10.20.0.0/16", got "10.1"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Defaults()
			tt.change(&c)
			err := c.Validate()
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			} else if strings.Contains(err.Error(), "password@") {
				t.Errorf("the error has the password: %v", err)
			}
		})
	}
}
