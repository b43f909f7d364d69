package rtc

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pion/ice/v4"
)

// The gateway knocks at what a client names as its candidates: it sends checks there, so that its own NAT or
// firewall lets in the client's. They are as good as the agent's; the client answers, and checks itself
// (RFC 8445, section 7.3.1.4). The agent gets a candidate only when a check has come from there, since for
// each that it has it makes a check every 200 ms, for every local address, be it sent or not: of
// half-open sessions with made-up candidates a few hundred would cost a processor.
//
// Each wait is twice the one before: a client whose checks a knock has to let in connects
// after twice the time, at most, that it would have taken at best.
const firstKnock = 200 * time.Millisecond

// knock sends the checks that are due of the newest generation, and returns how long none is.
func (s *Session) knock(now time.Time) time.Duration {
	s.mu.Lock()
	g := s.current
	s.mu.Unlock()
	if p := s.path.Load(); p != nil && p.generation == g {
		return rest
	}
	due, next := g.due(now)
	for _, remote := range due {
		g.sendKnock(remote, now)
	}
	return next.Sub(now)
}

// due returns who is to be knocked at now, and when somebody is next.
func (g *generation) due(now time.Time) (due []netip.AddrPort, next time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	next = now.Add(rest)
	for remote, a := range g.accounts {
		if a.value == "" || !g.hasFamilyLocked(remote.Addr()) {
			continue
		}
		if !now.Before(a.next) {
			a.wait = max(2*a.wait, firstKnock)
			a.next = now.Add(a.wait)
			due = append(due, remote)
		}
		if a.next.Before(next) {
			next = a.next
		}
	}
	return due, next
}

// hasFamilyLocked tells whether the gateway has an address of the same family.
func (g *generation) hasFamilyLocked(a netip.Addr) bool {
	return slices.ContainsFunc(g.conns, func(c *agentConn) bool { return c.local.Is4() == a.Is4() })
}

func (g *generation) sendKnock(remote netip.AddrPort, now time.Time) {
	u := g.session.udp
	m, err := buildCheck(g.remoteUfrag+":"+g.ufrag, g.remotePwd, false, g.tieBreaker)
	if err != nil || !g.maySend(remote, len(m.Raw), now) {
		return
	}
	u.ask(g, m.TransactionID, g, remote, now)
	u.send(m.Raw, u.destination(remote, netip.Addr{}))
}

// receiveSTUN takes the answer to a knock.
func (g *generation) receiveSTUN(d datagram) { g.verify(d.remote) }

// introduce gives the agent what the client has said of an address before the agent sees the first check
// from there: it would take it for a peer-reflexive candidate, and keep that one's priority.
func (c *agentConn) introduce(remote netip.AddrPort) {
	g := c.g
	g.introducing.Lock()
	defer g.introducing.Unlock()
	value := g.untold(remote)
	if value == "" {
		return
	}
	taken := make(chan struct{})
	g.mu.Lock()
	g.awaited, g.taken = remote.Addr(), taken
	g.mu.Unlock()
	if !g.addToAgent(value) {
		return
	}
	// It does so on a goroutine of its own, and then does one thing after the other.
	select {
	case <-taken:
	case <-c.closed:
	}
}

// takes takes note that the agent is about to take a candidate at a.
func (g *generation) takes(a netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.taken != nil && g.awaited == a {
		close(g.taken)
		g.taken = nil
	}
}

// untold returns what the client has said of an address, once.
func (g *generation) untold(remote netip.AddrPort) (value string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if a := g.accounts[remote]; a != nil {
		value, a.value = a.value, ""
	}
	return value
}

// addToAgent gives the agent a candidate; false if it is none.
func (g *generation) addToAgent(value string) bool {
	// As it was read here: the agent splits at single spaces only, and would find another address
	// in what has tabs in it.
	c, err := ice.UnmarshalCandidate(strings.Join(strings.Fields(value), " "))
	return err == nil && g.agent.AddRemoteCandidate(c) == nil
}
