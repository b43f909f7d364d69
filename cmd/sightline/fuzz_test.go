package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// FuzzHTTP writes bytes to a connection to a running gateway and hangs up: what comes back is
// HTTP, and never that the gateway has failed.
func FuzzHTTP(f *testing.F) {
	offer, err := os.ReadFile("../../internal/sdp/testdata/offers/chromium-156-whip-vp8.sdp")
	if err != nil {
		f.Fatal(err)
	}
	request := func(first string, lines ...string) []byte {
		return []byte(first + " HTTP/1.1\r\nHost: localhost\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n")
	}
	for _, seed := range [][]byte{
		append(request("POST /whip/mri-1/console?role=hospital&label=Console", "Content-Type: application/sdp", "Expect: 100-continue", "Content-Length: "+strconv.Itoa(len(offer))), offer...),
		append(request("POST /whep/demo/~mix?for=console", "Content-Type: application/sdp", "Transfer-Encoding: chunked"), "5\r\nv=0\r\n\r\n0\r\n\r\n"...),
		append(request("PATCH /sessions/x", "Content-Type: application/trickle-ice-sdpfrag", `If-Match: "x"`, "Content-Length: 2"), "{}"...),
		append(request("POST /api/rooms/mri-1/participants", "Content-Type: application/json", "Content-Length: 11"), `{"name":"A"`...),
		request("GET /api/events", "Accept: text/event-stream", "Last-Event-ID: 1-5"),
		request("GET /api/rooms", "Authorization: Bearer x", `If-None-Match: W/"x"`, "Origin: https://example.org"),
		request("GET /mri-1/hospital?x=%zz", "Accept: text/html", "X-Forwarded-For: ::1", "Range: bytes=5-"),
		request("GET /assets/..%2f..%2fetc/passwd", "If-Modified-Since: Tue, 24 Nov 2026 18:00:00 GMT"),
		request("OPTIONS *", "Access-Control-Request-Method: PATCH"),
		request("GET /metrics", "Accept: application/openmetrics-text;version=1.0.0", "Accept-Encoding: gzip"),
		[]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
	} {
		f.Add(seed)
	}
	// Who asks all the time is none that the limits are for here.
	g := start(f, "SIGHTLINE_HTTP_RATE_LIMIT=0", "SIGHTLINE_ICE_SETUP_TIMEOUT=6s")
	addr := strings.TrimPrefix(g.base, "http://")
	f.Fuzz(func(t *testing.T, b []byte) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := conn.Write(b); err != nil {
			return // it has seen enough
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		in := bufio.NewReader(conn)
		for {
			if _, err := in.Peek(1); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the gateway neither answers nor hangs up")
				}
				return
			}
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatalf("no HTTP comes back: %v", err)
			}
			switch resp.StatusCode {
			case http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
				t.Errorf("got %s", resp.Status)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				return // net/http breaks off, or the method was HEAD
			}
		}
	})
}
