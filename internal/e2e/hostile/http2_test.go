//go:build linux

package hostile

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sightline/internal/certs/certstest"
)

var (
	authorityOnce sync.Once
	authority     *certstest.Pair
)

// startTLS starts the server with a certificate that this process trusts. What it trusts is read once.
func startTLS(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	authorityOnce.Do(func() {
		authority = certstest.Authority(t)
		file := filepath.Join(dir, "authority.pem")
		authority.Write(t, file, "")
		if err := os.Setenv("SSL_CERT_FILE", file); err != nil {
			t.Fatal(err)
		}
	})
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	authority.Node(t, "127.0.0.1").Write(t, cert, key)
	return startServer(t, "rooms.grace = \"1s\"\n", "SIGHTLINE_HTTP_TLS_CERT="+cert, "SIGHTLINE_HTTP_TLS_KEY="+key)
}

// tryFlood is try, under floods.
func (s *server) tryFlood(t *testing.T, lasts time.Duration, flooders int, pause time.Duration, names ...string) *trial {
	t.Helper()
	return s.try(t, lasts, &attack{Floods: names, Flooders: flooders, FloodPause: pause, Paths: []string{"/", "/api/rooms/mri-2/events"}})
}

// judgeFlood fails the test for what floods must not do.
func judgeFlood(t *testing.T, r *trial, lasts time.Duration, names ...string) {
	t.Helper()
	if r.toll == nil {
		return
	}
	for _, name := range names {
		paid := r.toll.Floods[name]
		t.Logf("%s: %d frames by %d connections, of which the server has ended %d; it said %d", name, paid.Frames, paid.Connections, paid.Closed, paid.Answered)
		if paid.Frames < 100 {
			t.Errorf("%s: %d frames are no flood", name, paid.Frames)
		}
		if name == "continuation" && paid.Closed == 0 {
			t.Error("the server takes a header without end")
		}
	}
	if r.joins.succeeded != r.joins.asked || r.joins.asked < 2*int(lasts/time.Second)-4 {
		t.Errorf("%d of %d joins succeeded: %v", r.joins.succeeded, r.joins.asked, r.joins.failures)
	}
	if r.Report.Joins.Ended != 0 {
		t.Errorf("%d live sessions were ended", r.Report.Joins.Ended)
	}
	if mib := r.after["process_resident_memory_bytes"] / (1 << 20); mib > 400 {
		t.Errorf("the server has %.0f MiB", mib)
	}
}

// All floods of HTTP/2 at once, for some seconds, at a pace that leaves other tests their processors: memory stays bounded, nobody's session ends, and whoever has a token joins.
func TestFloodsOfHTTP2StopNobody(t *testing.T) {
	const lasts = 4 * time.Second
	s := startTLS(t)
	before := s.heap(t)
	var names []string
	for _, f := range floods {
		names = append(names, f.name)
	}
	r := s.tryFlood(t, lasts, 1, time.Millisecond, names...)
	t.Log(r)
	judgeFlood(t, r, lasts, names...)
	s.forgets(t)
	left := s.heap(t)
	// The server lingers on connections that it has ended, with what they hold. No request is kept until a deadline of
	// its own, which is a minute.
	for end := time.Now().Add(20 * time.Second); left > before+kept && time.Now().Before(end); left = s.heap(t) {
		time.Sleep(500 * time.Millisecond)
	}
	judgeHeap(t, before, left)
}
