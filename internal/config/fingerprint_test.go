package config

import (
	"testing"

	"sightline/internal/rtc"
)

func TestFingerprint(t *testing.T) {
	c := Defaults()
	first := c.Fingerprint()
	if len(first) != 64 || c.Fingerprint() != first {
		t.Errorf("got %q, then %q", first, c.Fingerprint())
	}
	c.ICE.Servers = []rtc.Server{{URL: "turn:a", Username: "u", Credential: "one"}}
	server := c.Fingerprint()
	if server == first {
		t.Error("a change makes no other fingerprint")
	}
	c.ICE.Servers = []rtc.Server{{URL: "turn:a", Username: "u", Credential: "two"}}
	if c.Fingerprint() != server {
		t.Error("a secret can be guessed from the fingerprint")
	}
	c.Cluster.URLs = []string{"tls://user:one@nats:4222"}
	nats := c.Fingerprint()
	c.Cluster.URLs = []string{"tls://user:two@nats:4222"}
	if nats == server || c.Fingerprint() != nats {
		t.Error("a password in a URL can be guessed from the fingerprint")
	}
	c.Cluster.URLs = []string{"tls://one@nats:4222"}
	token := c.Fingerprint()
	c.Cluster.URLs = []string{"tls://two@nats:4222"}
	if token == nats || c.Fingerprint() != token {
		t.Error("a token in a URL can be guessed from the fingerprint")
	}
	c.Auth.JWT.JWKS = "https://user:one@keys"
	keys := c.Fingerprint()
	c.Auth.JWT.JWKS = "https://user:two@keys"
	if keys == token || c.Fingerprint() != keys {
		t.Error("a password in the URL of keys can be guessed from the fingerprint")
	}
}
