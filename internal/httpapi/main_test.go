package httpapi

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// serve runs a router on 127.0.0.1 with the server's own limits and returns its URL.
func serve(t *testing.T, c Config, h http.Handler) string {
	t.Helper()
	c.Listen = "127.0.0.1:0"
	certificates, err := OpenCertificates(c, quiet())
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer("http", c, h, certificates, quiet())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Run(t.Context()) }()
	t.Cleanup(func() { // t's context is done by now
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	scheme := "http://"
	if c.TLSCert != "" {
		scheme = "https://"
	}
	return scheme + s.Addr().String()
}

// do asks a handler without a network in between.
func do(h http.Handler, method, target, body string, header ...string) *http.Response {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, reader)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// raw sends bytes to a server and returns its first response.
func raw(t *testing.T, base, request string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return res, text(t, res)
}

func text(t *testing.T, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
