package httpapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
)

// A crowd is a server and the clients that connect to it from several addresses of
// loopback.
type crowd struct {
	t       *testing.T
	server  *Server
	release chan struct{} // ends the requests to /wait
	waiting atomic.Int64
}

func newCrowd(t *testing.T, change func(*Config)) *crowd {
	t.Helper()
	w := &crowd{t: t, release: make(chan struct{})}
	c := Defaults()
	c.Listen, c.MaxConnections, c.MaxConnectionsPerAddress = "127.0.0.1:0", 10, 4
	if change != nil {
		change(&c)
	}
	r := NewRouter(c, quiet())
	r.GET("/", func(g *gin.Context) { g.Status(204) })
	r.GET("/wait", func(g *gin.Context) {
		w.waiting.Add(1)
		select {
		case <-w.release:
		case <-g.Request.Context().Done():
		}
		g.Status(204)
	})
	var err error
	if w.server, err = NewServer("http", c, r, nil, quiet()); err != nil {
		t.Fatal(err)
	}
	runAll(t, []*Server{w.server})
	return w
}

// A client is one connection.
type client struct {
	net.Conn
	r *bufio.Reader
}

func (w *crowd) connect(from string) *client {
	w.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.DialContext(w.t.Context(), "tcp", w.server.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return &client{conn, bufio.NewReader(conn)}
}

// ask returns the status, or 0 if the connection is closed.
func (c *client) ask(t *testing.T, path string) int {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
	return c.status(t)
}

func (c *client) status(t *testing.T) int {
	t.Helper()
	res, err := http.ReadResponse(c.r, nil)
	if errors.Is(err, context.DeadlineExceeded) || err != nil && strings.Contains(err.Error(), "i/o timeout") {
		t.Fatal(err)
	}
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

// open waits until so many connections are open.
func (w *crowd) open(n int) {
	w.t.Helper()
	w.until("connections", func() int { return w.server.Snapshot().Open }, n)
}

func (w *crowd) until(what string, get func() int, want int) {
	w.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); get() != want; {
		if time.Now().After(deadline) {
			w.t.Fatalf("%d %s, want %d", get(), what, want)
		}
		time.Sleep(time.Millisecond) // real sockets: nothing to wait on
	}
}

func TestClosedConnectionsMakeRoom(t *testing.T) {
	w := newCrowd(t, nil)
	for range 30 {
		c := w.connect("127.0.0.1")
		if got := c.ask(t, "/"); got != 204 {
			t.Fatalf("got %d", got)
		}
		c.Close()
	}
	w.open(0)
	s := w.server.Snapshot()
	if s.Refused[tooMany]+s.Refused[tooManyPerAddress] != 0 {
		t.Errorf("got %+v, want none refused", s)
	}
	w.server.connections.mu.Lock()
	defer w.server.connections.mu.Unlock()
	if n := len(w.server.connections.clients); n != 0 {
		t.Errorf("%d addresses are remembered, want none", n)
	}
}

func TestOneAddressCannotTakeAllConnections(t *testing.T) {
	w := newCrowd(t, nil)
	for i := range 4 {
		c := w.connect("127.0.0.2")
		_, _ = io.WriteString(c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
		w.until("requests", func() int { return int(w.waiting.Load()) }, i+1)
	}
	if got := w.connect("127.0.0.2").status(t); got != 503 {
		t.Errorf("the fifth of an address that is busy with four: got %d, want 503", got)
	}
	if got := w.connect("127.0.0.3").ask(t, "/"); got != 204 {
		t.Errorf("another address: got %d, want 204", got)
	}
	if n := w.server.Snapshot().Refused[tooManyPerAddress]; n != 1 {
		t.Errorf("%d refusals counted, want 1", n)
	}
}

func TestIdleConnectionGivesWayToANewerOneOfItsAddress(t *testing.T) {
	w := newCrowd(t, nil)
	first := w.connect("127.0.0.2")
	if got := first.ask(t, "/"); got != 204 {
		t.Fatalf("got %d", got)
	}
	w.until("idle connections", func() int { return w.idle() }, 1)
	for range 3 {
		if got := w.connect("127.0.0.2").ask(t, "/"); got != 204 {
			t.Fatalf("got %d", got)
		}
	}
	if got := w.connect("127.0.0.2").ask(t, "/"); got != 204 {
		t.Errorf("the fifth: got %d, want 204", got)
	}
	if got := first.status(t); got != 0 {
		t.Errorf("the first is still open, got %d", got)
	}
	if s := w.server.Snapshot(); s.Evicted != 1 {
		t.Errorf("%d evicted, want 1", s.Evicted)
	}
}

func (w *crowd) idle() int {
	w.server.connections.mu.Lock()
	defer w.server.connections.mu.Unlock()
	n := 0
	for c := range w.server.connections.open {
		if !c.busy {
			n++
		}
	}
	return n
}

// Who holds connections open without asking for anything keeps nobody out.
func TestGreedyClientsGiveWayWhenTheListenerIsFull(t *testing.T) {
	w := newCrowd(t, nil)
	for _, from := range []string{"127.0.0.2", "127.0.0.3"} {
		for range 4 {
			w.connect(from) // and says nothing
		}
	}
	modest := w.connect("127.0.0.4")
	if got := modest.ask(t, "/"); got != 204 {
		t.Fatalf("got %d", got)
	}
	w.connect("127.0.0.5")
	w.open(10)
	for range 5 {
		c := w.connect("127.0.0.6")
		if got := c.ask(t, "/"); got != 204 {
			t.Errorf("a newcomer to a full listener: got %d, want 204", got)
		}
		c.Close()
	}
	if got := modest.ask(t, "/"); got != 204 {
		t.Errorf("who had one connection has lost it: got %d", got)
	}
	if s := w.server.Snapshot(); s.Open > 10 || s.Evicted == 0 || s.Refused[tooMany] != 0 {
		t.Errorf("got %+v, want at most 10 open, some evicted, none refused", s)
	}
}

func TestFullListenerRefuses(t *testing.T) {
	w := newCrowd(t, func(c *Config) { c.MaxConnectionsPerAddress = 10 })
	for i := range 10 {
		c := w.connect("127.0.0.2")
		_, _ = io.WriteString(c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
		w.until("requests", func() int { return int(w.waiting.Load()) }, i+1)
	}
	if got := w.connect("127.0.0.3").status(t); got != 503 {
		t.Errorf("got %d, want 503", got)
	}
	if n := w.server.Snapshot().Refused[tooMany]; n != 1 {
		t.Errorf("%d refusals counted, want 1", n)
	}
	close(w.release)
	w.until("idle connections", w.idle, 10)
	if got := w.connect("127.0.0.3").ask(t, "/"); got != 204 {
		t.Errorf("after that: got %d, want 204", got)
	}
}

// A proxy has the connections of all its clients.
func TestTrustedProxyHasNoLimitOfItsOwn(t *testing.T) {
	w := newCrowd(t, func(c *Config) { c.TrustedProxies = []string{"127.0.0.9"} })
	var all []*client
	for range 8 {
		c := w.connect("127.0.0.9")
		if got := c.ask(t, "/"); got != 204 {
			t.Fatalf("got %d", got)
		}
		all = append(all, c)
	}
	for i, c := range all {
		if got := c.ask(t, "/"); got != 204 {
			t.Errorf("connection %d: got %d, want 204", i, got)
		}
	}
}
