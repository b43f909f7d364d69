//go:build linux

package hostile

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sightline/internal/freeport"
)

// A server is the real one, in a process of its own, with its shipped limits but for what a
// test adds to its configuration.
type server struct {
	base  string
	debug string // URL of its profiles
	media netip.AddrPort
	pid   int
}

const hospitalToken, leakedTokens = "of-the-hospital-and-its-technicians", 4

func leakedToken(i int) string { return fmt.Sprintf("leaked-%d", i) }

func startServer(t *testing.T, more string) *server {
	t.Helper()
	dir := t.TempDir()
	binary, file := filepath.Join(dir, "sightline"), filepath.Join(dir, "config.toml")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "sightline/cmd/sightline")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make dist, whose work need not be done again
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the server: %v\n%s", err, out)
	}
	s := &server{media: netip.MustParseAddrPort(freeport.Address(t))}
	listen, debug := freeport.Address(t), freeport.Address(t)
	s.base, s.debug = "http://"+listen, "http://"+debug
	var config strings.Builder
	fmt.Fprintf(&config, "http.listen = %q\nice.udp_listen = %q\nmetrics.auth = false\nmetrics.debug_listen = %q\nlog.level = \"error\"\n", listen, s.media, debug)
	config.WriteString(more)
	token := func(name, secret string) {
		sum := sha256.Sum256([]byte(secret))
		fmt.Fprintf(&config, "[[auth.tokens]]\nname = %q\nsha256 = %q\nscopes = [\"publish\", \"play\"]\n", name, hex.EncodeToString(sum[:]))
	}
	token("hospital", hospitalToken)
	for i := range leakedTokens {
		token(fmt.Sprintf("leaked-%d", i), leakedToken(i))
	}
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "serve", "-config", file)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "SIGHTLINE_") })
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	spawn(t, cmd)
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server's end: %v", err)
		}
	})
	s.pid = cmd.Process.Pid
	for range 100 {
		if res, err := http.Get(s.base + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return s
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the server is not ready after 10 s")
	return nil
}

// spawn starts a process that ends with this one.
func spawn(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// Pdeathsig is about the thread that starts the process: this one stays.
		runtime.LockOSThread()
		started <- cmd.Start()
		<-t.Context().Done()
		runtime.UnlockOSThread()
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
}

// metrics reads all samples, by name and labels as they are written.
func (s *server) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	res, err := http.Get(s.base + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out := make(map[string]float64)
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if i := strings.LastIndexByte(lines.Text(), ' '); i > 0 {
			if v, err := strconv.ParseFloat(lines.Text()[i+1:], 64); err == nil {
				out[lines.Text()[:i]] = v
			}
		}
	}
	return out
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
	res, err := http.Get(s.debug + "/debug/pprof/heap?gc=1&debug=1")
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
	port := fmt.Sprintf(":%04X", s.media.Port())
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
	stat, err = os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
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
