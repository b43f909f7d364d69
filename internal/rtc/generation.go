package rtc

import (
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/stun/v4"
	"github.com/pion/transport/v5/deadline"

	"sightline/internal/sdp"
)

const (
	maxSources = 96 // addresses, named or that checks come from; the agent keeps a candidate of each

	// Between the checks of an agent that controls, which nominates at the next: a viewer waits
	// for that.
	pullInterval = 20 * time.Millisecond
)

// A generation is one ICE session of a peer (RFC 8445, section 2.5): a pair of
// credentials and the agent that speaks under them. A restart makes a new generation
// beside the old one, which goes on until the new one has a path or fails.
type generation struct {
	session *Session
	agent   *ice.Agent
	etag    string

	ufrag, pwd             string
	remoteUfrag, remotePwd string

	tcp bool // ICE-TCP may be used: not between gateways, neither dials

	reader sync.WaitGroup // of ICE-TCP

	tieBreaker  uint64     // of knocks
	introducing sync.Mutex // held while the agent is told of a candidate that has come

	asked []transactionID // the agent's last checks, the oldest first; guarded by the socket

	mu         sync.Mutex // guards what follows
	conn       *ice.Conn  // once started; used for ICE-TCP
	conns      []*agentConn
	candidates map[string]bool             // remote ones taken, by transport address
	accounts   map[netip.AddrPort]*account // of all addresses that it deals with
	awaited    netip.Addr                  // of the candidate that the agent is told of
	taken      chan struct{}               // closed when it takes it, and nil again
	ended      bool                        // the client said end-of-candidates
	closed     bool
	tcpConns   int // at most maxTCP
}

// newGeneration makes an agent with credentials of its own and gathers its candidates. The
// socket knows it once it is added there, with its remote credentials fixed.
func newGeneration(s *Session, remoteUfrag, remotePwd string) (*generation, error) {
	g := &generation{
		session: s, etag: newETag(),
		ufrag: newSecret(16), pwd: newSecret(32),
		remoteUfrag: remoteUfrag, remotePwd: remotePwd,
		tieBreaker: mrand.Uint64(),
		candidates: make(map[string]bool), accounts: make(map[netip.AddrPort]*account),
		tcp: s.engine.tcp != nil && !s.offers,
	}
	e := s.engine
	interfaces, err := e.net()
	if err != nil {
		return nil, fmt.Errorf("network interfaces: %w", err)
	}
	networks := []ice.NetworkType{ice.NetworkTypeUDP4, ice.NetworkTypeUDP6}
	var keepalive time.Duration
	if g.tcp {
		keepalive = consentInterval // over TCP only the agent can send checks
	}
	options := []ice.AgentOption{
		ice.WithNet(interfaces),
		ice.WithUDPMux(agentMux{g}),
		ice.WithLocalCredentials(g.ufrag, g.pwd),
		ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeHost}),
		ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled),
		ice.WithDisableActiveTCP(),
		ice.WithLoggerFactory(silent{}),
		ice.WithRemoteIPFilter(func(ip net.IP) bool {
			a, ok := netip.AddrFromSlice(ip)
			g.takes(a.Unmap())
			return ok && e.came(a)
		}),
		// Consent and liveness are the session's (see consent.go): the agent neither
		// pings a connected UDP path nor gives one up.
		ice.WithKeepaliveInterval(keepalive), ice.WithDisconnectedTimeout(0), ice.WithFailedTimeout(0),
		ice.WithMaxBindingRequests(100),
		ice.WithBindingRequestHandler(func(_ *stun.Message, _, remote ice.Candidate, _ *ice.CandidatePair) bool {
			s.check()
			if a, ok := candidateAddr(remote); ok && !remote.NetworkType().IsTCP() {
				s.authenticated(a)
			}
			return false
		}),
	}
	if s.offers {
		options = append(options, ice.WithCheckInterval(pullInterval))
	}
	if g.tcp {
		networks = append(networks, ice.NetworkTypeTCP4, ice.NetworkTypeTCP6)
		options = append(options, ice.WithTCPMux(e.tcp))
	}
	if e.loopback {
		options = append(options, ice.WithIncludeLoopback())
	}
	agent, err := ice.NewAgentWithOptions(append(options, ice.WithNetworkTypes(networks))...)
	if err != nil {
		return nil, fmt.Errorf("ice agent: %w", err)
	}
	g.agent = agent
	if err := g.gather(); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

// gather waits for the agent's candidates: they are known addresses, so at once.
func (g *generation) gather() error {
	done := make(chan struct{})
	var once sync.Once
	err := g.agent.OnCandidate(func(c ice.Candidate) {
		if c == nil {
			once.Do(func() { close(done) })
		}
	})
	if err == nil {
		err = g.agent.OnSelectedCandidatePairChange(func(local, remote ice.Candidate) { g.session.selected(g, local, remote) })
	}
	if err == nil {
		err = g.agent.GatherCandidates()
	}
	if err != nil {
		return fmt.Errorf("ice gathering: %w", err)
	}
	select {
	case <-done:
		return nil
	case <-time.After(2 * time.Second):
		return fmt.Errorf("ice gathering took more than 2 s")
	}
}

// add takes the remote candidates; duplicates, and what a policy forbids, are
// silently dropped (RFC 8840, RFC 8838, section 14).
func (g *generation) add(values []string, end bool) {
	for _, v := range values {
		c, ok := sdp.ParseCandidate(v)
		if !ok || !g.mayName(c.Addr.Addr()) {
			continue
		}
		key := c.Transport + " " + c.Addr.String()
		g.mu.Lock()
		take := !g.ended && !g.candidates[key]
		if take && len(g.candidates) >= g.session.engine.config.MaxCandidates {
			take = false
			g.session.engine.limited.candidates.Add(1)
		}
		if take {
			g.candidates[key] = true
			now := g.takeLocked(c, v)
			g.mu.Unlock()
			if now {
				_ = g.addToAgent(v)
			}
			continue
		}
		g.mu.Unlock()
	}
	g.session.rouse() // to knock
	if end {
		g.mu.Lock()
		g.ended = true
		g.mu.Unlock()
	}
}

// takeLocked takes a candidate, and tells whether the agent shall have it now: an agent that controls begins, and
// what a check has come from it has already. Over TCP all come by themselves.
func (g *generation) takeLocked(c sdp.Candidate, value string) bool {
	if c.Transport != "udp" {
		return false
	}
	a := g.accountLocked(c.Addr)
	if a == nil {
		return false
	}
	a.named = true
	if now := g.session.offers || a.came; now {
		return true
	}
	a.value = value
	return false
}

// receiveRequest passes a client's check to the agent, on the local candidate that it
// came to. What is not the client's is dropped here, before it can fill a queue.
func (g *generation) receiveRequest(d datagram, local netip.Addr) {
	u := g.session.udp
	m := &stun.Message{Raw: d.buf}
	if !g.isCheck(m) || !g.session.engine.came(d.remote.Addr()) {
		u.stats.unknown.Add(1)
		return
	}
	integrity := stun.NewShortTermIntegrity(g.pwd)
	g.session.check()
	own := stun.AttrICEControlled
	if g.session.offers {
		own = stun.AttrICEControlling
	}
	if m.Contains(own) {
		// The gateway never changes its role: it stands by it as with the better tie-breaker
		// (RFC 8445, section 7.3.1.1).
		if reply, err := stun.Build(m, stun.BindingError, stun.ErrorCodeAttribute{Code: stun.CodeRoleConflict}, integrity, stun.Fingerprint); err == nil {
			u.send(reply.Raw, u.destination(d.remote, local))
		}
		return
	}
	if g.answerOnPath(m, d, local, integrity) {
		return
	}
	g.mu.Lock()
	a := g.accountLocked(d.remote)
	if a == nil {
		g.mu.Unlock()
		return
	}
	a.came = true
	a.credit = min(a.credit+amplification*len(d.buf), maxCredit)
	var to *agentConn
	for _, c := range g.conns {
		if c.local == local || to == nil && c.local.Is4() == d.remote.Addr().Is4() {
			to = c
			if c.local == local {
				break
			}
		}
	}
	g.mu.Unlock()
	if to != nil {
		to.receiveSTUN(d)
	}
}

// answerOnPath answers a check on the path that is in use, and reports whether it was one:
// the client wants to know whether consent goes on (RFC 7675, section 5.1), which the agent
// would find out on three goroutines.
func (g *generation) answerOnPath(m *stun.Message, d datagram, local netip.Addr, integrity stun.MessageIntegrity) bool {
	p := g.session.path.Load()
	if p == nil || p.udp == nil || p.generation != g || p.udp.remote != d.remote || p.udp.local.IsValid() && p.udp.local != local {
		return false
	}
	g.session.authenticated(d.remote)
	mapped := stun.XORMappedAddress{IP: d.remote.Addr().AsSlice(), Port: int(d.remote.Port())}
	reply, err := stun.Build(stun.NewTransactionIDSetter(m.TransactionID), stun.BindingSuccess, &mapped, integrity, stun.Fingerprint)
	if err == nil {
		g.session.udp.send(reply.Raw, p.udp)
	}
	return true
}

// start lets the agent check. Its remote credentials are fixed from here on.
func (g *generation) start() error {
	begin := g.agent.StartAccept
	if g.session.offers {
		begin = g.agent.StartDial
	}
	conn, err := begin(g.remoteUfrag, g.remotePwd)
	if err != nil {
		return fmt.Errorf("ice: %w", err)
	}
	g.mu.Lock()
	closed := g.closed
	g.conn = conn
	if g.tcp && !closed {
		g.reader.Go(func() { g.readTCP(conn) })
	}
	g.mu.Unlock()
	if closed {
		return ice.ErrClosed
	}
	if pair, err := g.agent.GetSelectedCandidatePair(); g.tcp && err == nil && pair != nil {
		g.session.selected(g, pair.Local, pair.Remote) // a TCP path that was chosen before conn was known
	}
	return nil
}

// readTCP passes on what comes over ICE-TCP; over UDP media never goes through the agent.
func (g *generation) readTCP(conn *ice.Conn) {
	buf := make([]byte, maxDatagram)
	for {
		n, err := conn.Read(buf)
		switch {
		case errors.Is(err, io.ErrShortBuffer): // longer than any datagram may be: lost, as over UDP
			continue
		case err != nil:
			return
		}
		g.session.enqueue(datagram{append([]byte(nil), buf[:n]...), netip.AddrPort{}, time.Now()})
	}
}

// bury stops answering checks. With revoked, those that still come are told that consent
// is gone.
func (g *generation) bury(revoked bool) {
	var t *tombstone
	if revoked {
		t = &tombstone{g.pwd, time.Now().Add(tombstoneTimeout)}
	}
	g.session.udp.removeUfrag(g.ufrag, t)
}

// close ends the agent and waits for its goroutines.
func (g *generation) close() {
	g.session.udp.removeUfrag(g.ufrag, nil)
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	_ = g.agent.GracefulClose()
	g.session.udp.forget(g)
	g.reader.Wait()
}

func candidateAddr(c ice.Candidate) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(c.Address())
	if err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Unmap().WithZone(""), uint16(c.Port())), true
}

// agentMux gives the agent of one generation its share of the socket.
type agentMux struct{ g *generation }

func (m agentMux) GetListenAddresses() []net.Addr {
	u := m.g.session.udp
	addrs := m.g.session.engine.localAddresses()
	out := make([]net.Addr, len(addrs))
	for i, a := range addrs {
		out[i] = net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, u.port))
	}
	return out
}

func (m agentMux) GetConn(_ string, addr net.Addr) (net.PacketConn, error) {
	a, ok := addr.(*net.UDPAddr)
	if !ok {
		return nil, fmt.Errorf("rtc: no UDP address: %v", addr)
	}
	c := &agentConn{
		g: m.g, local: a.AddrPort().Addr().Unmap(), port: uint16(a.Port),
		in: make(chan datagram, 32), closed: make(chan struct{}), deadline: deadline.New(),
	}
	m.g.mu.Lock()
	m.g.conns = append(m.g.conns, c)
	m.g.mu.Unlock()
	return c, nil
}

func (m agentMux) RemoveConnByUfrag(string) {}
func (m agentMux) Close() error             { return nil }

// An agentConn is one local candidate as the agent sees it. Only STUN passes here:
// media and DTLS go between socket and session.
type agentConn struct {
	g     *generation
	local netip.Addr
	port  uint16
	in    chan datagram

	once     sync.Once
	closed   chan struct{}
	deadline *deadline.Deadline
}

// receiveSTUN takes the response to a check of the agent's, or a check of the client.
func (c *agentConn) receiveSTUN(d datagram) {
	if !isRequest(d.buf) {
		c.g.verify(d.remote)
	}
	select {
	case c.in <- d:
	default: // a flood; checks are repeated
	}
}

func (c *agentConn) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case d := <-c.in:
		if isRequest(d.buf) {
			c.introduce(d.remote)
		}
		return copy(p, d.buf), net.UDPAddrFromAddrPort(d.remote), nil
	case <-c.closed:
		return 0, nil, net.ErrClosed
	case <-c.deadline.Done():
		return 0, nil, os.ErrDeadlineExceeded
	}
}

func (c *agentConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	a, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("rtc: no UDP address: %v", addr)
	}
	remote := netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), uint16(a.Port))
	u := c.g.session.udp
	now := time.Now()
	if !c.g.maySend(remote, len(p), now) {
		return len(p), nil // as if it were lost
	}
	if request, id, ok := peekSTUN(p); ok && request {
		u.ask(c.g, id, c, remote, now)
	}
	u.send(p, u.destination(remote, c.local))
	return len(p), nil
}

func (c *agentConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *agentConn) LocalAddr() net.Addr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.local, c.port))
}
func (c *agentConn) SetDeadline(t time.Time) error     { c.deadline.Set(t); return nil }
func (c *agentConn) SetReadDeadline(t time.Time) error { c.deadline.Set(t); return nil }
func (c *agentConn) SetWriteDeadline(time.Time) error  { return nil }

// silent keeps pion's own log lines out: they would speak of addresses per packet.
type silent struct{}

func (silent) NewLogger(string) logging.LeveledLogger { return silent{} }
func (silent) Trace(string)                           {}
func (silent) Tracef(string, ...any)                  {}
func (silent) Debug(string)                           {}
func (silent) Debugf(string, ...any)                  {}
func (silent) Info(string)                            {}
func (silent) Infof(string, ...any)                   {}
func (silent) Warn(string)                            {}
func (silent) Warnf(string, ...any)                   {}
func (silent) Error(string)                           {}
func (silent) Errorf(string, ...any)                  {}
