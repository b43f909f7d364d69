package rtc

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A remotePolicy says which addresses the gateway sends checks to because a client has
// named them: a client must not make it knock at doors that only it can reach.
type remotePolicy struct {
	public, private, linkLocal, loopback bool
	prefixes                             []netip.Prefix
}

// parseRemotePolicy reads ice.remote_candidates: words and prefixes.
func parseRemotePolicy(entries []string) (p remotePolicy, err error) {
	for _, s := range entries {
		switch s {
		case "public":
			p.public = true
		case "private":
			p.private = true
		case "link-local":
			p.linkLocal = true
		case "loopback":
			p.loopback = true
		default:
			prefix, err := netip.ParsePrefix(s)
			if err != nil {
				return p, fmt.Errorf("must hold \"public\", \"private\", \"link-local\", \"loopback\" or prefixes such as \"10.1.0.0/16\", got %q", s)
			}
			if prefix != prefix.Masked() || prefix.Addr().Is4In6() {
				return p, fmt.Errorf("must hold prefixes without host bits, such as \"10.1.0.0/16\", got %q", s)
			}
			p.prefixes = append(p.prefixes, prefix)
		}
	}
	return p, nil
}

// metadata are where clouds answer their machines, with credentials among other things:
// AWS and most others, AWS by IPv6, Google by IPv6, Alibaba, Oracle, Azure's WireServer.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd20:ce::254"),
	netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("192.0.0.192"), netip.MustParseAddr("168.63.129.16"),
}

var (
	carrierNAT = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
	siteLocal  = netip.MustParsePrefix("fec0::/10")     // RFC 3879: deprecated, still private
	nat64      = netip.MustParsePrefix("64:ff9b::/96")  // RFC 6052
	sixToFour  = netip.MustParsePrefix("2002::/16")     // RFC 3056
	compatible = netip.MustParsePrefix("::/96")         // RFC 4291, section 2.5.5.1: deprecated
)

// allows tells whether the gateway may send to a: never to groups, to all, or to nobody;
// to a cloud's metadata only if a prefix names just that address.
func (p *remotePolicy) allows(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240) {
		return false
	}
	if inner, ok := embedded(a); ok && !a.IsLoopback() && !p.allows(inner) {
		return false
	}
	if slices.Contains(metadata, a) {
		return slices.Contains(p.prefixes, netip.PrefixFrom(a, a.BitLen()))
	}
	if slices.ContainsFunc(p.prefixes, func(n netip.Prefix) bool { return n.Contains(a) }) {
		return true
	}
	switch {
	case a.IsLoopback():
		return p.loopback
	case a.IsLinkLocalUnicast():
		return p.linkLocal
	case a.IsPrivate() || carrierNAT.Contains(a) || siteLocal.Contains(a):
		return p.private
	}
	return p.public
}

// embedded returns the IPv4 address that a translator would make of a.
func embedded(a netip.Addr) (netip.Addr, bool) {
	b := a.As16()
	switch {
	case a.Is4():
		return netip.Addr{}, false
	case nat64.Contains(a) || compatible.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:])), true
	case sixToFour.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:])), true
	}
	return netip.Addr{}, false
}

// named tells whether a client may have the gateway send checks to a.
func (e *Engine) named(a netip.Addr) bool { return e.remote.allows(a) }

// mayName tells whether the peer may have the gateway send checks to a. A client by the policy
// only. Who answers an offer of the gateway's own is a node that it has chosen: one of the two
// must begin, so it may name what may come.
func (g *generation) mayName(a netip.Addr) bool {
	if g.session.offers {
		return g.session.engine.came(a)
	}
	return g.session.engine.named(a)
}

// came tells whether the gateway answers a client that comes from a by itself: what is
// private and not to be named may still come.
func (e *Engine) came(a netip.Addr) bool {
	p := e.remote
	p.public, p.private, p.loopback = true, true, p.loopback || e.loopback
	return p.allows(a)
}

const (
	// What an address that has not yet answered is sent in reply, for each byte that came
	// from it: a check of a client is answered, and answered by a check.
	amplification = 3

	maxCredit = 16 << 10 // bytes, of a client that checks and checks

	// Checks for an address that a client has named, and that says nothing: the first at the
	// agent's pace, every 200 ms, then slower. RFC 8445, section 14.3, sends 7 in 39.5 s.
	quickChecks = 10
	slowChecks  = time.Second
)

// An account limits what an address is sent that has not proved to be the client's: who
// sends checks with a forged source, or names somebody else's address, must not turn the
// gateway's checks on him.
type account struct {
	verified bool // it has answered a check of ours: no forger can
	came     bool // a check from there has come
	named    bool // as a candidate
	credit   int  // bytes
	checks   int
	last     time.Time

	value string // what the client has said of it; "" once the agent knows
	next  time.Time
	wait  time.Duration // between two knocks
}

// spend tells whether n bytes may be sent now.
func (a *account) spend(n int, now time.Time) bool {
	switch {
	case a.verified:
		return true
	case a.credit >= n:
		a.credit -= n
		return true
	case a.named && (a.checks < quickChecks || now.Sub(a.last) >= slowChecks):
		a.checks, a.last = a.checks+1, now
		return true
	}
	return false
}

// account returns that of a remote address, nil where there are too many. The caller holds g.mu.
func (g *generation) accountLocked(remote netip.AddrPort) *account {
	a := g.accounts[remote]
	if a == nil && len(g.accounts) < maxSources {
		a = &account{}
		g.accounts[remote] = a
	}
	return a
}

// maySend tells whether n bytes may be sent to remote now.
func (g *generation) maySend(remote netip.AddrPort, n int, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.accounts[remote]
	return a != nil && a.spend(n, now)
}

// verify takes note that remote has answered a check.
func (g *generation) verify(remote netip.AddrPort) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if a := g.accounts[remote]; a != nil {
		a.verified = true
	}
}

// describe is the policy in words, for the log.
func (c *Config) describeRemotes() string {
	if len(c.RemoteCandidates) == 0 {
		return "none"
	}
	return strings.Join(c.RemoteCandidates, " ")
}
