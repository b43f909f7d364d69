package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/certs/certstest"
	"sightline/internal/opt"
)

func TestListenErrorNamesItsKey(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := Defaults()
	c.Listen = l.Addr().String()
	for name, key := range listenKeys {
		if _, err := NewServer(name, c, nil, nil, quiet()); err == nil || !strings.HasPrefix(err.Error(), key+": ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	c.TLSCert, c.TLSKey = "/nowhere/cert.pem", "/nowhere/key.pem"
	if _, err := OpenCertificates(c, quiet()); err == nil || !strings.HasPrefix(err.Error(), "http.tls_cert: ") {
		t.Errorf("got %v", err)
	}
}

func TestServerThatNeverRanIsClosed(t *testing.T) {
	c := Defaults()
	c.Listen = "127.0.0.1:0"
	s, err := NewServer("http", c, nil, nil, quiet())
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close()
	if l, err := net.Listen("tcp", s.Addr().String()); err != nil {
		t.Errorf("the port is still taken: %v", err)
	} else {
		l.Close()
	}
}

// A stream of events has no end of its own: the end of the server is its end.
func TestEndOfRunEndsStreams(t *testing.T) {
	c := Defaults()
	c.Listen = "127.0.0.1:0"
	r := NewRouter(c, slog.New(slog.DiscardHandler))
	r.GET("/events", Handle(func(c *gin.Context) error {
		c.Header("Content-Type", "text/event-stream")
		_, _ = c.Writer.WriteString("data: 1\n\n")
		c.Writer.Flush()
		<-c.Request.Context().Done()
		return context.Cause(c.Request.Context())
	}))
	s, err := NewServer("http", c, r, nil, quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
	lines := bufio.NewReader(conn)
	for line := ""; line != "data: 1\n"; {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("Run took %v to end", took)
	}
}

// The times that requests may take do not count for what streams.
// timed notes the deadline of its writes.
type timed struct {
	*httptest.ResponseRecorder
	until time.Time
}

func (w *timed) SetWriteDeadline(t time.Time) error { w.until = t; return nil }

// Whatever a client says that it accepts, who takes no answer holds its connection for a minute only.
func TestEveryAnswerHasADeadline(t *testing.T) {
	r := NewRouter(Defaults(), slog.New(slog.DiscardHandler))
	r.GET("/large", func(c *gin.Context) { c.String(200, "large") })
	for _, accept := range []string{"", "*/*", "text/event-stream"} {
		w := &timed{ResponseRecorder: httptest.NewRecorder()}
		req := httptest.NewRequest("GET", "/large", nil)
		req.Header.Set("Accept", accept)
		r.ServeHTTP(w, req)
		if left := time.Until(w.until); left < 50*time.Second || left > time.Minute {
			t.Errorf("Accept %q: %s, want a minute", accept, left)
		}
	}
}

func TestStreamOutlivesTheTimeouts(t *testing.T) {
	c := Defaults()
	const timeout = opt.Duration(500 * time.Millisecond) // the request itself has to come in it, on a busy machine, too
	c.ReadHeaderTimeout, c.BodyTimeout, c.IdleTimeout = timeout, timeout, timeout
	r := NewRouter(c, slog.New(slog.DiscardHandler))
	r.GET("/events", Handle(func(c *gin.Context) error {
		for range 5 {
			select {
			case <-c.Request.Context().Done():
				return context.Cause(c.Request.Context())
			case <-time.After(timeout.D() / 3):
			}
			_, _ = c.Writer.WriteString("data: 1\n\n")
			c.Writer.Flush()
		}
		return nil
	}))
	base := serve(t, c, r)
	_, got := raw(t, base, "GET /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
	if want := strings.Repeat("data: 1\n\n", 5); got != want {
		t.Errorf("got %q", got)
	}
}

func TestHeaderThatNeverEndsIsCutOff(t *testing.T) {
	c := Defaults()
	c.ReadHeaderTimeout = opt.Duration(100 * time.Millisecond)
	base := serve(t, c, NewRouter(c, slog.New(slog.DiscardHandler)))
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open")
	}
}

// Nor may a TLS handshake take longer than a header.
// A proxy may go by the other length of a request that has two, and take what follows for a part of it.
func TestNothingIsSmuggledBehindARequestOfTwoLengths(t *testing.T) {
	r := NewRouter(Defaults(), quiet())
	r.POST("/", Handle(func(c *gin.Context) error {
		_, err := ReadBody(c)
		return err
	}))
	conn, err := net.Dial("tcp", strings.TrimPrefix(serve(t, Defaults(), r), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	const one = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
	if _, err := io.WriteString(conn, one+one); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if n := bytes.Count(got, []byte("HTTP/1.1 ")); err != nil || n != 1 {
		t.Errorf("%d answers, %v, want one and the end: %s", n, err, got)
	}
}

func TestHandshakeThatNeverBeginsIsCutOff(t *testing.T) {
	dir := t.TempDir()
	c := Defaults()
	c.ReadHeaderTimeout = opt.Duration(100 * time.Millisecond)
	c.TLSCert, c.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	newPair(t, c.TLSCert, c.TLSKey)
	base := serve(t, c, NewRouter(c, quiet()))
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open")
	}
}

// newPair writes a certificate for 127.0.0.1, and its key.
func newPair(t *testing.T, certFile, keyFile string) {
	t.Helper()
	certstest.New(t, x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, nil).Write(t, certFile, keyFile)
}

func TestHTTPSSpeaksHTTP2(t *testing.T) {
	dir := t.TempDir()
	c := Defaults()
	c.TLSCert, c.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	newPair(t, c.TLSCert, c.TLSKey)
	base := serve(t, c, endpoint(c, slog.New(slog.DiscardHandler)))
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}

	res, err := client.Post(base+"/whip/a/b", "application/sdp", strings.NewReader("v=0"))
	if err != nil {
		t.Fatal(err)
	}
	if body := text(t, res); res.StatusCode != 201 || res.ProtoMajor != 2 || body != "3" {
		t.Errorf("got %s %d %q", res.Proto, res.StatusCode, body)
	}
	// Row 6 over HTTP/2: the connection may stay, the request may not.
	res, err = client.Post(base+"/whip/a/b", "application/sdp", bytes.NewReader(make([]byte, c.MaxBody+1)))
	if err != nil {
		t.Fatal(err)
	}
	if text(t, res); res.StatusCode != 413 {
		t.Errorf("got %d, want 413", res.StatusCode)
	}
}
