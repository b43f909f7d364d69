package rtc

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sightline/internal/rtpstream"
)

const (
	maxDatagram = 1600 // what a datagram of ours may hold: an Ethernet frame and some
	readBatch   = 32   // datagrams taken by one system call

	maxTransactions    = 1 << 16 // checks of agents that wait for a response
	maxAsked           = 128     // of one ICE session
	transactionTimeout = 10 * time.Second

	maxTombstones    = 1 << 12
	tombstoneTimeout = time.Minute
)

// A datagram is what came in one UDP datagram or one ICE-TCP frame.
type datagram struct {
	buf     []byte
	remote  netip.AddrPort
	arrival time.Time
}

// A socket is the one UDP port of all sessions, or that of a pull. It knows whose a datagram is:
//
//   - a STUN request by the ufrag in its USERNAME;
//   - a STUN response by its transaction, which only a request of ours to that address has made;
//   - everything else by the remote address, once a STUN request from there carried a
//     session's integrity (so nobody is served before his address is verified).
//
// What belongs to nobody is dropped without an answer.
type socket struct {
	conn *net.UDPConn
	in   *reader
	out  sender
	log  *slog.Logger

	port  uint16
	bound bool // to one address

	mu           sync.RWMutex // guards what follows
	ufrags       map[string]*generation
	remotes      map[netip.AddrPort]*Session
	transactions map[transactionID]transaction
	tombstones   map[string]tombstone

	stats socketStats
	done  chan struct{} // closed when the reader has ended
}

type socketStats struct {
	received, receivedBytes atomic.Uint64
	sent, sentBytes         atomic.Uint64
	unknown                 atomic.Uint64 // belonged to nobody
	overflow                atomic.Uint64 // its session's queue was full
	full                    atomic.Uint64 // not sent: the socket's buffer was full
}

func (s *socketStats) snapshot() SocketSnapshot {
	return SocketSnapshot{
		Received: s.received.Load(), ReceivedBytes: s.receivedBytes.Load(),
		Sent: s.sent.Load(), SentBytes: s.sentBytes.Load(),
		Unknown: s.unknown.Load(), Overflow: s.overflow.Load(), Full: s.full.Load(),
	}
}

type transactionID [12]byte

type transaction struct {
	to      stunReceiver
	remote  netip.AddrPort // who was asked
	expires time.Time
}

// A stunReceiver takes STUN responses to requests that it has sent.
type stunReceiver interface{ receiveSTUN(datagram) }

func listenUDP(addr string, bufferSize int, log *slog.Logger) (*socket, error) {
	conn, err := listenPacket(addr)
	if err != nil {
		return nil, err
	}
	s := &socket{
		conn:         conn,
		log:          log,
		port:         uint16(conn.LocalAddr().(*net.UDPAddr).Port),
		bound:        !conn.LocalAddr().(*net.UDPAddr).IP.IsUnspecified(),
		ufrags:       make(map[string]*generation),
		remotes:      make(map[netip.AddrPort]*Session),
		transactions: make(map[transactionID]transaction),
		tombstones:   make(map[string]tombstone),
		done:         make(chan struct{}),
	}
	err = s.out.init(conn)
	if err == nil {
		s.in, err = newReader(conn)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("ice.udp_listen: %w", err)
	}
	setBuffers(conn, bufferSize, log)
	return s, nil
}

func listenPacket(addr string) (*net.UDPConn, error) {
	a, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("ice.udp_listen: %w", err)
	}
	network := "udp"
	if a.IP.To4() != nil {
		network = "udp4"
	}
	conn, err := net.ListenUDP(network, a)
	if err != nil {
		return nil, fmt.Errorf("ice.udp_listen: %w", err)
	}
	return conn, nil
}

// isIPv6 tells whether the socket speaks the IPv6 system calls; IPv4 addresses are
// mapped then (RFC 4291, section 2.5.5.2).
func isIPv6(conn *net.UDPConn) bool {
	return conn.LocalAddr().(*net.UDPAddr).IP.To4() == nil
}

// run reads until the socket is closed. Its owner waits for it.
func (s *socket) run() {
	defer close(s.done)
	for {
		n, err := s.in.read()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// An ICMP error of some earlier datagram of ours; the next read goes on.
			s.log.Debug("udp read", "error", err)
			continue
		}
		now := time.Now()
		for i := range n {
			b, from := s.in.datagram(i)
			s.take(b, from, s.in.local(i), now)
		}
	}
}

// take counts a datagram and hands it to whom it belongs.
func (s *socket) take(b []byte, from netip.AddrPort, local netip.Addr, now time.Time) {
	s.stats.received.Add(1)
	s.stats.receivedBytes.Add(uint64(len(b)))
	if len(b) > 0 && rtpstream.Classify(b) == rtpstream.STUN {
		s.dispatchSTUN(b, from, local, now)
	} else {
		s.dispatch(b, from, now)
	}
}

// dispatch hands DTLS, RTP and RTCP to the session that has the remote address. It copies b.
func (s *socket) dispatch(b []byte, remote netip.AddrPort, now time.Time) {
	s.mu.RLock()
	session := s.remotes[remote]
	s.mu.RUnlock()
	if session == nil {
		s.stats.unknown.Add(1)
		return
	}
	if !session.enqueue(datagram{append([]byte(nil), b...), remote, now}) {
		s.stats.overflow.Add(1)
	}
}

// dispatchSTUN hands STUN to whom its transaction or its ufrag belongs. It copies b once it
// knows that there is such a one: garbage costs no allocation and no exclusive lock.
func (s *socket) dispatchSTUN(b []byte, remote netip.AddrPort, local netip.Addr, now time.Time) {
	request, id, ok := peekSTUN(b)
	if !ok {
		s.stats.unknown.Add(1)
		return
	}
	own := func() datagram { return datagram{append([]byte(nil), b...), remote, now} }
	if !request {
		if t, ok := s.answered(id, remote); ok {
			t.to.receiveSTUN(own())
		} else {
			s.stats.unknown.Add(1)
		}
		return
	}
	ufrag, ok := peekUfrag(b)
	if !ok {
		s.stats.unknown.Add(1)
		return
	}
	s.mu.RLock()
	g := s.ufrags[string(ufrag)] // which allocates nothing
	grave, buried := s.tombstones[string(ufrag)]
	s.mu.RUnlock()
	switch {
	case g != nil:
		g.receiveRequest(own(), local)
	case buried && now.Before(grave.expires):
		s.revoke(grave, own(), local)
	default:
		s.stats.unknown.Add(1)
	}
}

// answered returns the request of ours that a response from remote is to, and forgets it.
func (s *socket) answered(id transactionID, remote netip.AddrPort) (transaction, bool) {
	s.mu.RLock()
	t, ok := s.transactions[id]
	s.mu.RUnlock()
	if !ok || t.remote != remote {
		return transaction{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok = s.transactions[id]
	delete(s.transactions, id)
	return t, ok
}

// expect registers a consent check, so that its response finds the way back. A session has few of them,
// and lives by them.
func (s *socket) expect(id transactionID, to stunReceiver, remote netip.AddrPort, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.transactions[id] = transaction{to, remote, now.Add(transactionTimeout)}
}

// ask registers a check of an ICE session, whose response goes to the agent or to who has knocked. A session forgets its oldest for it if it has too many: a client that
// answers none takes no place from others.
func (s *socket) ask(g *generation, id transactionID, to stunReceiver, remote netip.AddrPort, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(g.asked) == maxAsked {
		delete(s.transactions, g.asked[0])
		g.asked = g.asked[1:]
	}
	if len(s.transactions) >= maxTransactions {
		return // the response will be dropped, the check be repeated
	}
	g.asked = append(g.asked, id)
	s.transactions[id] = transaction{to, remote, now.Add(transactionTimeout)}
}

// forget forgets the checks of a closed agent.
func (s *socket) forget(g *generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range g.asked {
		delete(s.transactions, id)
	}
	g.asked = nil
}

// sweep forgets what has expired. The engine calls it now and then.
func (s *socket) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, t := range s.transactions {
		if now.After(t.expires) {
			delete(s.transactions, k)
		}
	}
	for k, t := range s.tombstones {
		if now.After(t.expires) {
			delete(s.tombstones, k)
		}
	}
}

// addUfrag makes requests for ufrag reach g.
func (s *socket) addUfrag(ufrag string, g *generation) {
	s.mu.Lock()
	s.ufrags[ufrag] = g
	s.mu.Unlock()
}

// removeUfrag forgets g. With a tombstone, checks that still come are told that
// consent is revoked (RFC 7675, section 5.2) for a while.
func (s *socket) removeUfrag(ufrag string, t *tombstone) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ufrags, ufrag)
	if t != nil && len(s.tombstones) < maxTombstones {
		s.tombstones[ufrag] = *t
	}
}

// claim makes datagrams from remote reach session. A live session keeps the address of its
// path: nobody else can take it while what comes from there is authenticated. What a
// session has only sent checks from, perhaps with a forged source, it doesn't keep.
func (s *socket) claim(remote netip.AddrPort, session *Session, now time.Time) bool {
	s.mu.RLock()
	mine := s.remotes[remote] == session
	s.mu.RUnlock()
	if mine {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.remotes[remote]; old != nil && old != session && old.alive(now) && old.uses(remote) {
		return false
	}
	s.remotes[remote] = session
	return true
}

// release forgets the addresses of a session.
func (s *socket) release(session *Session, remotes []netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range remotes {
		if s.remotes[r] == session {
			delete(s.remotes, r)
		}
	}
}

// destination is where datagrams go to remote from the local address.
func (s *socket) destination(remote netip.AddrPort, local netip.Addr) *udpDestination {
	if s.bound {
		local = netip.Addr{} // there is no other, and the kernel need not be told
	}
	return newDestination(s.out.ipv6, remote, local)
}

// send sends one datagram. It never blocks: where there is no room it is lost.
func (s *socket) send(b []byte, to *udpDestination) {
	if !s.out.one(b, to) {
		s.stats.full.Add(1)
		return
	}
	s.stats.sent.Add(1)
	s.stats.sentBytes.Add(uint64(len(b)))
}

func (s *socket) close() {
	s.out.close()
	s.conn.Close()
	<-s.done
}
