package rtc

import (
	"strings"
	"testing"
)

func TestDefaultsAreValid(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidateNamesEveryKeyThatIsWrong(t *testing.T) {
	c := Config{
		UDPListen: "8189", TCPListen: "host:80", PublicAddresses: []string{"example.org", "0.0.0.0"},
		RemoteCandidates: []string{"everything", "10.1.2.3/8"},
		Servers:          []Server{{URL: "stun:a,b"}, {URL: "turn:host"}, {URL: "turn:h", Username: "a;b", Credential: "c"}},
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`ice.udp_listen: must be host:port`, `ice.tcp_listen: host must be an IP address`,
		`ice.public_addresses: must hold IP addresses such as "203.0.113.7", got "example.org"`, `got "0.0.0.0"`,
		`ice.remote_candidates: must hold "public", "private", "link-local", "loopback" or prefixes such as "10.1.0.0/16", got "everything"`,
		`ice.servers[0].url: must look like`, `ice.servers[1]: turn:host needs username and credential`, `ice.servers[2]: username and credential must not hold a comma`,
		`ice.setup_timeout: must be between`, `ice.socket_buffer: must be between`, `ice.check_timeout: must be between`,
		`ice.max_candidates: must be between 4 and 64 candidates, got 0`, `ice.max_ssrcs: must be`, `ice.max_rtcp: must be`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in:\n%v", want, err)
		}
	}
}
