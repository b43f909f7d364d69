package httpapi

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A client of HTTP/2 whose window is 0 takes no answer: so many are kept waiting as it may have connections, on how ever
// few, and what is refused does not wait.
func TestAnswersThatNobodyTakesAreBounded(t *testing.T) {
	const most, asked = 4, 10
	dir := t.TempDir()
	c := Defaults()
	c.TLSCert, c.TLSKey, c.MaxConnectionsPerAddress = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), most
	newPair(t, c.TLSCert, c.TLSKey)
	r := NewRouter(c, quiet())
	r.GET("/", func(g *gin.Context) { g.String(http.StatusOK, "short") })
	base := serve(t, c, r)

	conn, err := tls.Dial("tcp", base[len("https://"):], &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	f := http2.NewFramer(conn, conn)
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	err = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	var block bytes.Buffer
	fields := hpack.NewEncoder(&block)
	for i := range uint32(asked) {
		block.Reset()
		for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "x"}, {":path", "/"}} {
			err = errors.Join(err, fields.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}))
		}
		err = errors.Join(err, f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}))
	}
	if err != nil {
		t.Fatal(err)
	}
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	got := make(map[string]int)
	for got["200"]+got["503"] < asked {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err, got)
		}
		if h, ok := frame.(*http2.MetaHeadersFrame); ok {
			got[h.PseudoValue("status")]++
			if refused := h.PseudoValue("status") == "503"; refused != h.StreamEnded() {
				t.Errorf("stream %d: refused %t, at its end %t", h.StreamID, refused, h.StreamEnded())
			}
		}
	}
	if got["200"] != most {
		t.Errorf("answers: %v, want %d with 200", got, most)
	}
	if n := r.Refusals()[maxConnectionsPerAddress]; n != asked-most {
		t.Errorf("%d refusals are counted, want %d", n, asked-most)
	}
	conn.Close()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		res, err := (&http.Client{Transport: transport}).Get(base + "/")
		if err == nil && res.StatusCode == http.StatusOK && text(t, res) == "short" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("who comes after it gets no answer: %v, %v", res, err)
		}
	}
}

func TestRequestsAreCountedByTheirClients(t *testing.T) {
	c := Defaults()
	c.MaxConnections, c.MaxConnectionsPerAddress = 3, 2
	a := newAnswering(c, func(string) {})
	one, two, proxy := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.Addr{}
	for i, tt := range []struct {
		client netip.Addr
		want   string
	}{{one, ""}, {one, ""}, {one, maxConnectionsPerAddress}, {proxy, ""}, {two, maxConnections}} {
		if got := a.begin(tt.client); got != tt.want {
			t.Errorf("request %d, of %s: %q, want %q", i, tt.client, got, tt.want)
		}
	}
	for _, client := range []netip.Addr{one, one, proxy} {
		a.end(client)
	}
	if a.all != 0 || len(a.clients) != 0 {
		t.Errorf("%d requests of %v are left", a.all, a.clients)
	}
}
