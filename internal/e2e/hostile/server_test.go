//go:build linux

package hostile

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sightline/internal/auth"
	"sightline/internal/e2e/process"
)

// A server is the real one, with its shipped limits but for what a test adds to its configuration.
type server struct{ *process.Server }

// The tokens: who publishes and watches has the hospital's, the attackers have those that leaked.
const hospitalToken, leakedTokens = "of-the-hospital-and-its-technicians", 4

func leakedToken(i int) string { return fmt.Sprintf("leaked-%d", i) }

func startServer(t *testing.T, more string, environ ...string) *server {
	t.Helper()
	config := "metrics.auth = false\nlog.level = \"error\"\n" + more
	token := func(name, secret string) {
		config += fmt.Sprintf("[[auth.tokens]]\nname = %q\nsha256 = %q\nscopes = [\"whip:publish\", \"room:speak\", \"whep:play\"]\n", name, auth.HashToken(secret))
	}
	token("hospital", hospitalToken)
	for i := range leakedTokens {
		token(fmt.Sprintf("leaked-%d", i), leakedToken(i))
	}
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return &server{process.Start(t, append(environ, "SIGHTLINE_CONFIG="+file)...)}
}

func (s *server) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	m, err := s.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var heapLine = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)`)

// heap returns the bytes of heap in use after two garbage collections: what a pool holds goes
// with the second.
func (s *server) heap(t *testing.T) int {
	t.Helper()
	s.collect(t)
	return s.collect(t)
}

// collect lets the server collect its garbage and returns the bytes that are in use.
func (s *server) collect(t *testing.T) int {
	t.Helper()
	res, err := http.Get(s.Debug + "/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := heapLine.FindSubmatch(body)
	if m == nil {
		t.Fatalf("no HeapAlloc in %s", body[:min(len(body), 200)])
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// dropped returns how many datagrams the kernel has dropped at the media socket, because the
// server did not get the processor in time (proc_net_udp(5)).
func (s *server) dropped(t *testing.T) int {
	t.Helper()
	raw, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprintf(":%04X", s.Media.Port())
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		if len(f) > 12 && strings.HasSuffix(f[1], port) {
			n, err := strconv.Atoi(f[len(f)-1])
			if err != nil {
				t.Fatalf("/proc/net/udp: %v", err)
			}
			return n
		}
	}
	t.Fatal("/proc/net/udp does not have the media socket")
	return 0
}

// userHZ is what /proc/stat counts in (proc_stat(5)): 100 on all of Go's ports.
const userHZ = 100

// strangers returns how much CPU time was used by all but the server, this process and the
// attackers that it has waited for. What was taken from this machine as a virtual one is
// theirs, too.
func (s *server) strangers(t *testing.T) time.Duration {
	t.Helper()
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	var user, nice, system, idle, wait, irq, softirq, steal int64
	if _, err := fmt.Sscanf(string(stat), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &softirq, &steal); err != nil {
		t.Fatalf("/proc/stat: %v", err)
	}
	used := time.Duration(user+nice+system+irq+softirq+steal) * time.Second / userHZ
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var r syscall.Rusage
		if err := syscall.Getrusage(who, &r); err != nil {
			t.Fatal(err)
		}
		used -= time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	stat, err = os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest) // from the third field on; utime and stime are 14 and 15
	for _, field := range f[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatalf("the server's stat: %v", err)
		}
		used -= time.Duration(n) * time.Second / userHZ
	}
	return used
}
