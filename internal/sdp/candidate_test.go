package sdp

import (
	"net/netip"
	"strings"
	"testing"
)

func TestCandidatesOfRealClientsAreRead(t *testing.T) {
	for _, tt := range []struct {
		value string
		want  Candidate
	}{
		{"2624548979 1 udp 2122260223 10.77.0.2 60502 typ host generation 0 network-id 1",
			Candidate{"udp", netip.MustParseAddrPort("10.77.0.2:60502"), "host", ""}},
		{"3802174187 1 tcp 1518280447 10.77.0.2 9 typ host tcptype active generation 0 network-id 1",
			Candidate{"tcp", netip.MustParseAddrPort("10.77.0.2:9"), "host", "active"}},
		{"6 1 TCP 1010827775 fe80::e876:f9ff:fe3a:ae6b 34029 typ host tcptype passive",
			Candidate{"tcp", netip.MustParseAddrPort("[fe80::e876:f9ff:fe3a:ae6b]:34029"), "host", "passive"}},
		{"af27b904e6408300259d80f63323e9c7 1 udp 2130706431 10.77.0.2 54501 typ host",
			Candidate{"udp", netip.MustParseAddrPort("10.77.0.2:54501"), "host", ""}},
		{"1 1 UDP 1686052607 203.0.113.5 4711 typ srflx raddr 0.0.0.0 rport 0",
			Candidate{"udp", netip.MustParseAddrPort("203.0.113.5:4711"), "srflx", ""}},
		{"1 1 udp 1 2001:db8::1 1 typ relay raddr 192.0.2.1 rport 2",
			Candidate{"udp", netip.MustParseAddrPort("[2001:db8::1]:1"), "relay", ""}},
	} {
		if got, ok := ParseCandidate(tt.value); !ok || got != tt.want {
			t.Errorf("%s: got %+v %t, want %+v", tt.value, got, ok, tt.want)
		}
	}
}

// TestCandidatesThatCannotBeUsedAreIgnored: rows 42 and 43, item 33.
func TestCandidatesThatCannotBeUsedAreIgnored(t *testing.T) {
	for name, value := range map[string]string{
		"empty":                                     "",
		"too short":                                 "1 1 udp 1 192.0.2.1 1 typ",
		"row 42: component 0 (Eyevinn)":             "1 0 udp 1 192.0.2.1 1 typ host",
		"row 42: component 2":                       "1 2 udp 1 192.0.2.1 1 typ host",
		"row 42: port 0":                            "1 1 udp 1 192.0.2.1 0 typ host",
		"row 42: port 70000":                        "1 1 udp 1 192.0.2.1 70000 typ host",
		"row 42: priority 2^32":                     "1 1 udp 4294967296 192.0.2.1 1 typ host",
		"row 42: priority 2^31":                     "1 1 udp 2147483648 192.0.2.1 1 typ host",
		"priority 0":                                "1 1 udp 0 192.0.2.1 1 typ host",
		"priority below 0":                          "1 1 udp -1 192.0.2.1 1 typ host",
		"row 42: type foo":                          "1 1 udp 1 192.0.2.1 1 typ foo",
		"no typ":                                    "1 1 udp 1 192.0.2.1 1 type host",
		"item 33: unknown transport":                "1 1 sctp 1 192.0.2.1 1 typ host",
		"row 43: mDNS name (Firefox)":               "0 1 UDP 2122252543 9d19761a-50e6-4833-b294-cbf3d89c7959.local 52339 typ host",
		"row 43: host name":                         "1 1 udp 1 metadata.example.com 1 typ host",
		"row 43: multicast":                         "1 1 udp 1 224.0.0.1 1 typ host",
		"row 43: IPv6 multicast":                    "1 1 udp 1 ff02::1 1 typ host",
		"row 43: 0.0.0.0":                           "1 1 udp 1 0.0.0.0 1 typ host",
		"row 43: ::":                                "1 1 udp 1 :: 1 typ host",
		"row 43: 255.255.255.255":                   "1 1 udp 1 255.255.255.255 1 typ host",
		"row 43: IPv4-mapped, to get around a list": "1 1 udp 1 ::ffff:127.0.0.1 1 typ host",
		"row 43: with a zone":                       "1 1 udp 1 fe80::1%eth0 1 typ host",
		"address in octal":                          "1 1 udp 1 0127.0.0.1 1 typ host",
		"address as a number":                       "1 1 udp 1 2130706433 1 typ host",
		"TCP without tcptype":                       "1 1 tcp 1 192.0.2.1 1 typ host",
		"TCP with an unknown tcptype":               "1 1 tcp 1 192.0.2.1 1 typ host tcptype both",
		"foundation of 33 bytes":                    strings.Repeat("a", 33) + " 1 udp 1 192.0.2.1 1 typ host",
	} {
		if got, ok := ParseCandidate(value); ok {
			t.Errorf("%s: got %+v, want it ignored", name, got)
		}
	}
}
