package rtc

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v4"
)

const (
	maxKnocking  = 256              // TCP connections that have not shown a session's integrity
	knockTimeout = 10 * time.Second // for the first frame; it is a check, sent at once
	maxFirst     = 512              // bytes of the first frame
	maxTCP       = 8                // TCP connections of one ICE session: one for each pair of addresses
)

// A gate is the listener of ICE-TCP (RFC 6544). It gives the agents' multiplexer connections
// whose first frame (RFC 4571) is a check with a session's integrity, and closes all others: that
// would start goroutines and keep queues for anybody. Of those that have said nothing yet
// the oldest makes room for the newest, so that nobody can keep the door shut.
type gate struct {
	net.Listener
	udp *socket // knows the sessions

	admitted chan net.Conn
	closed   chan struct{}
	once     sync.Once
	workers  sync.WaitGroup
	refused  atomic.Uint64

	mu       sync.Mutex // guards what follows
	knocking []net.Conn // the oldest first
}

func newGate(l net.Listener, udp *socket) *gate {
	return &gate{Listener: l, udp: udp, admitted: make(chan net.Conn), closed: make(chan struct{})}
}

// run accepts until the gate is closed, and waits for its goroutines. The gate's owner waits for it.
func (g *gate) run() {
	defer g.workers.Wait()
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			select {
			case <-g.closed:
				return
			case <-time.After(50 * time.Millisecond): // no descriptors left: sessions will end
			}
			continue
		}
		g.knock(c)
		g.workers.Go(func() { g.admit(c) })
	}
}

// knock notes a connection, in the place of the oldest if there are too many.
func (g *gate) knock(c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.knocking) == maxKnocking {
		_ = g.knocking[0].Close()
		g.knocking = slices.Delete(g.knocking, 0, 1)
	}
	g.knocking = append(g.knocking, c)
	select {
	case <-g.closed: // Close has not seen it
		_ = c.Close()
	default:
	}
}

// admit reads the first frame and passes the connection on, or closes it.
func (g *gate) admit(c net.Conn) {
	frame, to := g.first(c)
	g.mu.Lock()
	if i := slices.Index(g.knocking, c); i >= 0 {
		g.knocking = slices.Delete(g.knocking, i, i+1)
	}
	g.mu.Unlock()
	if to == nil || !to.takeTCP() {
		g.refused.Add(1)
		_ = c.Close()
		return
	}
	a := &admittedConn{Conn: c, first: frame, generation: to}
	select {
	case g.admitted <- a:
	case <-g.closed:
		_ = a.Close()
	}
}

// first returns the first frame, with its length, and whose it is; nil if nobody's.
func (g *gate) first(c net.Conn) ([]byte, *generation) {
	_ = c.SetReadDeadline(time.Now().Add(knockTimeout))
	var length [2]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		return nil, nil
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n > maxFirst {
		return nil, nil
	}
	frame := make([]byte, 2+n)
	copy(frame, length[:])
	if _, err := io.ReadFull(c, frame[2:]); err != nil {
		return nil, nil
	}
	request, _, ok := peekSTUN(frame[2:])
	ufrag, named := peekUfrag(frame[2:])
	if !ok || !request || !named {
		return nil, nil
	}
	g.udp.mu.RLock()
	to := g.udp.ufrags[string(ufrag)]
	g.udp.mu.RUnlock()
	if to == nil || !to.isCheck(&stun.Message{Raw: frame[2:]}) {
		return nil, nil
	}
	return frame, to
}

// Accept returns the next connection whose first frame was a session's.
func (g *gate) Accept() (net.Conn, error) {
	select {
	case c := <-g.admitted:
		return c, nil
	case <-g.closed:
		return nil, net.ErrClosed
	}
}

// Close closes the listener and all who have not been admitted.
func (g *gate) Close() error {
	err := net.ErrClosed
	g.once.Do(func() {
		close(g.closed)
		err = g.Listener.Close()
		g.mu.Lock()
		for _, c := range g.knocking {
			_ = c.Close()
		}
		g.mu.Unlock()
	})
	return err
}

// An admittedConn gives its first frame once more.
type admittedConn struct {
	net.Conn
	first      []byte // what is left of it; of the reader
	generation *generation
	once       sync.Once
}

func (c *admittedConn) Read(b []byte) (int, error) {
	if len(c.first) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.first)
	c.first = c.first[n:]
	return n, nil
}

func (c *admittedConn) Close() error {
	c.once.Do(c.generation.leaveTCP)
	return c.Conn.Close()
}

// takeTCP counts one more TCP connection of the ICE session; false: it has enough.
func (g *generation) takeTCP() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.tcpConns == maxTCP {
		return false
	}
	g.tcpConns++
	return true
}

func (g *generation) leaveTCP() {
	g.mu.Lock()
	g.tcpConns--
	g.mu.Unlock()
}

// isCheck tells whether m is a check of the client's: with both ufrags, and the integrity of
// our password (RFC 8445, section 7.3). It decodes m.
func (g *generation) isCheck(m *stun.Message) bool {
	var username stun.Username
	return m.Decode() == nil && username.GetFrom(m) == nil && string(username) == g.ufrag+":"+g.remoteUfrag &&
		(!m.Contains(stun.AttrFingerprint) || stun.Fingerprint.Check(m) == nil) &&
		stun.NewShortTermIntegrity(g.pwd).Check(m) == nil
}
