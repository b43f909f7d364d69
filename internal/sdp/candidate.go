package sdp

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// ParseCandidate reads the value of an a=candidate line; false for what the gateway
// does not use: another component than 1, a name instead of an address, port 0, an
// unknown transport or type, numbers out of range, and addresses that no peer can have
// (unspecified, multicast, broadcast, IPv4-mapped, scoped). Names are never resolved.
func ParseCandidate(value string) (Candidate, bool) {
	if len(value) > maxLine {
		return Candidate{}, false
	}
	f := strings.Fields(value)
	if len(f) < 8 || f[6] != "typ" || !isICE(f[0], 1, 32) || f[1] != "1" {
		return Candidate{}, false
	}
	c := Candidate{Transport: strings.ToLower(f[2]), Type: f[7]}
	if c.Transport != "udp" && c.Transport != "tcp" {
		return Candidate{}, false
	}
	switch c.Type {
	case "host", "srflx", "prflx", "relay":
	default:
		return Candidate{}, false
	}
	// RFC 8445, section 5.1.2: from 1 to 2^31-1.
	if priority, err := strconv.ParseUint(f[3], 10, 32); err != nil || priority == 0 || priority > math.MaxInt32 {
		return Candidate{}, false
	}
	port, err := strconv.ParseUint(f[5], 10, 16)
	if err != nil || port == 0 {
		return Candidate{}, false
	}
	addr, err := netip.ParseAddr(f[4])
	if err != nil || addr.Zone() != "" || addr.Is4In6() || addr.IsUnspecified() || addr.IsMulticast() ||
		addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return Candidate{}, false
	}
	c.Addr = netip.AddrPortFrom(addr, uint16(port))
	if c.Transport == "udp" {
		return c, true
	}
	for i := 8; i+1 < len(f); i += 2 {
		if f[i] == "tcptype" {
			c.TCPType = f[i+1]
			break
		}
	}
	switch c.TCPType { // RFC 6544, section 4.5
	case "active", "passive", "so":
		return c, true
	}
	return Candidate{}, false
}
