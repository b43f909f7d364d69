package rtc

import (
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// framed puts the length before a frame (RFC 4571, section 2).
func framed(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }

func dialTCP(t *testing.T, e *Engine) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(e.tcpPort))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// isClosed waits until the other end has closed c without a word.
func isClosed(t *testing.T, what string, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	n, err := c.Read(make([]byte, 100))
	if timeout, ok := err.(net.Error); n != 0 || err == nil || ok && timeout.Timeout() {
		t.Errorf("%s: got %d bytes, %v; want the end", what, n, err)
	}
}

// What begins with no check of a session is closed, whatever its lengths say.
func TestICETCPOpensToSessionsOnly(t *testing.T) {
	e := testEngine(t, func(c *Config) { c.TCPListen = "127.0.0.1:0" })
	p := newRawPeer(t, e, rawOptions{publish: true, noHandshake: true})
	good := func() []byte { return p.request("", controlling, priority).Raw }
	huge := good()
	binary.BigEndian.PutUint16(huge[22:], 0xffff)
	for name, b := range map[string][]byte{
		"length above all":   {0xff, 0xff, 0, 1},
		"length 0":           {0, 0},
		"no STUN":            framed([]byte("GET / HTTP/1.1\r\n\r\n")),
		"DTLS":               framed(record(handshakeRecord, 0, 1, message(1, 2, 0, 0, 1, 2)...)),
		"unknown ufrag":      framed(stun.MustBuild(stun.BindingRequest, stun.TransactionID, stun.NewUsername("nobody:"+rawUfrag), stun.NewShortTermIntegrity("x"), stun.Fingerprint).Raw),
		"wrong integrity":    framed(p.request("wrong", controlling).Raw),
		"attribute too long": framed(huge),
		"shorter than said":  framed(good())[:60],
	} {
		c := dialTCP(t, e)
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if name == "shorter than said" {
			_ = c.(*net.TCPConn).CloseWrite()
		}
		isClosed(t, name, c)
	}
	if got := e.gate.refused.Load(); got != 8 {
		t.Errorf("%d are counted, want 8", got)
	}
	c := dialTCP(t, e)
	m := p.request("", controlling, priority)
	for _, b := range framed(m.Raw) { // byte by byte
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var length [2]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		t.Fatalf("a session's check is not answered: %v", err)
	}
	// Later frames may lie too: it ends the connection, not the session.
	if _, err := c.Write([]byte{0xff, 0xff, 1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	p.check(t)
}

// Who says nothing makes room for who comes later; who is a session's has eight.
func TestICETCPIsBounded(t *testing.T) {
	e := testEngine(t, func(c *Config) { c.TCPListen = "127.0.0.1:0" })
	p := newRawPeer(t, e, rawOptions{publish: true, noHandshake: true})
	first := dialTCP(t, e)
	for range maxKnocking {
		dialTCP(t, e)
	}
	isClosed(t, "the oldest", first)
	e.gate.mu.Lock()
	n := len(e.gate.knocking)
	e.gate.mu.Unlock()
	if n > maxKnocking {
		t.Errorf("%d knock", n)
	}
	for i := range maxTCP + 1 {
		c := dialTCP(t, e)
		if _, err := c.Write(framed(p.request("", controlling, priority).Raw)); err != nil {
			t.Fatal(err)
		}
		if i == maxTCP {
			isClosed(t, "one more", c)
			break
		}
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Errorf("connection %d: %v", i, err)
		}
	}
}
