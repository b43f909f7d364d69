//go:build linux

// Package process runs the real gateway for tests, in a process of its own.
package process

import (
	"bufio"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sightline/internal/freeport"
)

// A Server is a gateway that runs until the test ends.
type Server struct {
	Base  string // URL, without a trailing slash
	Debug string // likewise, of its profiles
	Media netip.AddrPort
	PID   int
}

// Start builds the gateway as it is released, runs it on loopback and waits until it is ready. Its configuration
// is environ, such as "SIGHTLINE_LOG_LEVEL=warn", and nothing else: what configures a gateway of whoever runs
// the test is none of the test's business. With SIGHTLINE_HTTP_TLS_CERT it speaks TLS; the test's own roots have to know it.
func Start(t testing.TB, environ ...string) *Server {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "sightline")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "sightline/cmd/sightline")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make dist, whose work need not be done again
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the server: %v\n%s", err, out)
	}
	listen, debug, media := freeport.Address(t), freeport.Address(t), freeport.Address(t)
	cmd := exec.Command(binary, "serve")
	cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "SIGHTLINE_") })
	cmd.Env = append(cmd.Env, "SIGHTLINE_HTTP_LISTEN="+listen, "SIGHTLINE_METRICS_DEBUG_LISTEN="+debug, "SIGHTLINE_ICE_UDP_LISTEN="+media)
	cmd.Env = append(cmd.Env, environ...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	spawn(t, cmd)
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server's end: %v", err)
		}
	})
	scheme := "http://"
	if slices.ContainsFunc(environ, func(kv string) bool { return strings.HasPrefix(kv, "SIGHTLINE_HTTP_TLS_CERT=") }) {
		scheme = "https://"
	}
	s := &Server{Base: scheme + listen, Debug: "http://" + debug, Media: netip.MustParseAddrPort(media), PID: cmd.Process.Pid}
	for range 300 {
		if res, err := http.Get(s.Base + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return s
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the server is not ready after 30 s")
	return nil
}

// spawn starts a process that ends with this one.
func spawn(t testing.TB, cmd *exec.Cmd) {
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

// Metrics reads all samples, by name and labels as they are written.
func (s *Server) Metrics() (map[string]float64, error) {
	res, err := http.Get(s.Base + "/metrics")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/metrics is answered %s", res.Status)
	}
	out := make(map[string]float64)
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if i := strings.LastIndexByte(lines.Text(), ' '); i > 0 {
			if v, err := strconv.ParseFloat(lines.Text()[i+1:], 64); err == nil {
				out[lines.Text()[:i]] = v
			}
		}
	}
	return out, lines.Err()
}
