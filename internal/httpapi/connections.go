package httpapi

import (
	"maps"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Connections are the counts of a listener's connections.
type Connections struct {
	Open    int    // now
	Evicted uint64 // that have given way to a newer one
	Refused map[string]uint64
}

// Why a connection is refused: the keys of Connections.Refused.
const (
	tooMany           = "total"
	tooManyPerAddress = "address"
)

// connections is a listener that holds no more connections than the configuration allows.
// When it is full, one that does nothing gives way, of the client that has most of them:
// so a client that opens all it can loses its own, and who comes next gets in.
type connections struct {
	net.Listener
	secure     bool // TLS: nothing can be said to who is refused
	most       int
	perAddress int
	proxies    []netip.Prefix

	mu      sync.Mutex // guards what follows
	open    map[*connection]struct{}
	clients map[netip.Addr]int // of those that are no proxies
	evicted uint64
	refused map[string]uint64
}

// A connection is one that is counted.
type connection struct {
	net.Conn
	client netip.Addr // invalid for a trusted proxy
	of     *connections
	once   sync.Once // it is closed

	// Guarded by of.mu.
	busy  bool      // a request is being answered
	since time.Time // it is or isn't
}

func newConnections(l net.Listener, c Config, secure bool) *connections {
	return &connections{
		Listener: l, secure: secure, most: c.MaxConnections, perAddress: c.MaxConnectionsPerAddress, proxies: c.proxies(),
		open:    make(map[*connection]struct{}),
		clients: make(map[netip.Addr]int),
		refused: map[string]uint64{tooMany: 0, tooManyPerAddress: 0},
	}
}

// Accept implements net.Listener.
func (l *connections) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &connection{Conn: raw, of: l, client: l.clientOf(raw), since: time.Now()}
		idle, ok := l.admit(c)
		if idle != nil {
			_ = idle.Close()
		}
		if ok {
			return c, nil
		}
		l.refuse(raw)
	}
}

func (l *connections) clientOf(conn net.Conn) netip.Addr {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok || within(l.proxies, tcp.AddrPort().Addr()) {
		return netip.Addr{}
	}
	return subscriber(tcp.AddrPort().Addr())
}

// admit counts a connection in, if there is room or another one gives way, which the
// caller has to close.
func (l *connections) admit(c *connection) (idle *connection, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.client.IsValid() && l.clients[c.client] >= l.perAddress {
		if idle = l.idleLocked(c.client); idle == nil {
			l.refused[tooManyPerAddress]++
			return nil, false
		}
	} else if len(l.open) >= l.most {
		if idle = l.idleLocked(l.greediestLocked()); idle == nil {
			l.refused[tooMany]++
			return nil, false
		}
	}
	if idle != nil {
		l.evicted++
		l.forgetLocked(idle)
	}
	l.open[c] = struct{}{}
	if c.client.IsValid() {
		l.clients[c.client]++
	}
	return idle, true
}

// greediestLocked returns the client that has most connections.
func (l *connections) greediestLocked() (client netip.Addr) {
	most := 0
	for c, n := range l.clients {
		if n > most {
			client, most = c, n
		}
	}
	return client
}

// idleLocked returns the connection of a client that has done nothing for longest, or nil
// if all of them are busy.
func (l *connections) idleLocked(client netip.Addr) (longest *connection) {
	if !client.IsValid() {
		return nil
	}
	for c := range l.open {
		if c.client == client && !c.busy && (longest == nil || c.since.Before(longest.since)) {
			longest = c
		}
	}
	return longest
}

func (l *connections) forgetLocked(c *connection) {
	if _, there := l.open[c]; !there {
		return
	}
	delete(l.open, c)
	if !c.client.IsValid() {
		return
	}
	if l.clients[c.client]--; l.clients[c.client] == 0 {
		delete(l.clients, c.client)
	}
}

// refuse tells a client that speaks plain HTTP why, as far as that goes without waiting.
func (l *connections) refuse(conn net.Conn) {
	if !l.secure {
		_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		_, _ = conn.Write([]byte("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n" +
			"Content-Type: text/plain\r\nContent-Length: 21\r\n\r\ntoo many connections\n"))
	}
	_ = conn.Close()
}

// changed is http.Server.ConnState.
func (l *connections) changed(conn net.Conn, state http.ConnState) {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = t.NetConn()
	}
	c, ok := conn.(*connection)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.busy, c.since = state == http.StateActive, time.Now()
}

func (l *connections) snapshot() Connections {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Connections{Open: len(l.open), Evicted: l.evicted, Refused: maps.Clone(l.refused)}
}

// CloseWrite closes one way, so that an answer arrives though the request has more to
// say: net/http asks for it before it closes a connection.
func (c *connection) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.once.Do(func() {
		c.of.mu.Lock()
		defer c.of.mu.Unlock()
		c.of.forgetLocked(c)
	})
	return c.Conn.Close()
}
