package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/demo"
	"sightline/internal/freeport"
)

// loopback lets a gateway listen on free ports of loopback.
var loopback = []string{"SIGHTLINE_HTTP_LISTEN=127.0.0.1:0", "SIGHTLINE_ICE_UDP_LISTEN=127.0.0.1:0"}

// A running gateway.
type running struct {
	t       testing.TB
	base    string
	signals chan<- os.Signal
	ended   <-chan int // its exit code

	mu  sync.Mutex // guards log
	log strings.Builder
}

// start runs serve until a test signals it.
func start(t testing.TB, environ ...string) *running {
	t.Helper()
	signals := make(chan os.Signal, 2)
	out, in := io.Pipe()
	ended := make(chan int, 1)
	p := &process{args: []string{"serve"}, environ: append(loopback, environ...), stdout: io.Discard, stderr: in, signals: signals}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	read := make(chan struct{}) // closed when all of the log has been read
	wg.Go(func() {
		code := p.run(ctx)
		in.Close()
		<-read
		ended <- code
	})
	g := &running{t: t, signals: signals, ended: ended}
	address := make(chan string, 1)
	wg.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			g.mu.Lock()
			g.log.WriteString(lines.Text() + "\n")
			g.mu.Unlock()
			if m := regexp.MustCompile(`msg="http listens" addr=(\S+) tls=(\S+) listener=http$`).FindStringSubmatch(lines.Text()); m != nil {
				address <- map[string]string{"false": "http://", "true": "https://"}[m[2]] + m[1]
			}
		}
		close(address)
		close(read)
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", g.said())
		}
	})
	addr, ok := <-address
	if !ok {
		t.Fatalf("the gateway did not come up:\n%s", g.said())
	}
	g.base = addr
	return g
}

func (g *running) said() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.log.String()
}

// wait returns the exit code.
func (g *running) wait() int {
	g.t.Helper()
	select {
	case code := <-g.ended:
		return code
	case <-time.After(20 * time.Second):
		g.t.Fatal("the gateway does not end")
		return 0
	}
}

// get returns the status and the body of a GET.
func (g *running) get(path string) (int, string) {
	g.t.Helper()
	resp, err := client.Get(g.base + path)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// client keeps no connections, so that no goroutine outlives its test.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}

// eventually waits until ok, for 15 s at most.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("after 15 s still not: %s", what)
		}
		time.Sleep(10 * time.Millisecond) // a real server over real sockets: nothing to wait on
	}
}

// publish runs the demo's cameras against the gateway until the test or stop ends.
func (g *running) publish() (stop func()) {
	g.t.Helper()
	ctx, cancel := context.WithCancel(g.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := demo.Run(ctx, g.base, "", slog.New(slog.DiscardHandler)); err != nil {
			g.t.Error(err)
		}
	})
	stop = func() {
		cancel()
		wg.Wait()
	}
	g.t.Cleanup(stop)
	eventually(g.t, "both cameras are live", func() bool {
		status, body := g.get("/api/rooms/" + demo.Room + "/tracks")
		return status == http.StatusOK && strings.Count(body, `"state":"live"`) == 4
	})
	return stop
}

func TestEverythingAnswers(t *testing.T) {
	g := start(t)
	for path, want := range map[string]string{
		"/healthz":          "",
		"/readyz":           "",
		"/version":          buildVersion(),
		"/metrics":          "# HELP sightline_",
		"/api/rooms":        `"rooms"`,
		"/api/stations":     `"maxBitrate":1200000`,
		"/api/openapi.yaml": "openapi:",
		"/watch/demo/a":     "<html",
		"/":                 "<html",
	} {
		if status, body := g.get(path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("GET %s: %d, %.200q, want 200 with %q", path, status, body, want)
		}
	}
	if got := run(t, []string{"SIGHTLINE_HTTP_LISTEN=" + strings.TrimPrefix(g.base, "http://")}, "", "healthcheck"); got.code != 0 || got.stdout != "healthy\n" {
		t.Errorf("healthcheck: %d, %q, %q, want 0 and healthy", got.code, got.stdout, got.stderr)
	}
	g.signals <- syscall.SIGTERM
	if code := g.wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if got := run(t, []string{"SIGHTLINE_HTTP_LISTEN=" + strings.TrimPrefix(g.base, "http://")}, "", "healthcheck"); got.code != 1 || !strings.Contains(got.stderr, "unhealthy: ") {
		t.Errorf("healthcheck of an ended gateway: %d, %q, want 1", got.code, got.stderr)
	}
}

// Every gateway that starts has checked its own routes.
func TestNoRoomCanHaveTheNameOfARoute(t *testing.T) {
	g := start(t)
	for _, path := range []string{"/api/rooms/metrics/tracks", "/whip/healthz/console", "/whep/assets/console"} {
		if status, body := g.get(path); status != http.StatusBadRequest || !strings.Contains(body, "own routes") {
			t.Errorf("GET %s: %d, %s, want 400 that says why", path, status, body)
		}
	}
	for path, want := range map[string]bool{"/": true, "/:room/:page": true, "/watch/:room": true, "/metrics": true, "/rooms": false, "/status/*all": false} {
		if err := checkRoutes(gin.RoutesInfo{{Method: "GET", Path: path}}); (err == nil) != want {
			t.Errorf("route %s: got %v, want it to pass: %t", path, err, want)
		}
	}
}

func TestDrainLetsSessionsGoOnAndTakesNoNewOnes(t *testing.T) {
	g := start(t, "SIGHTLINE_SHUTDOWN_DRAIN_TIMEOUT=1m")
	stop := g.publish()
	g.signals <- syscall.SIGTERM
	eventually(t, "/readyz says 503", func() bool { status, _ := g.get("/readyz"); return status == http.StatusServiceUnavailable })
	if status, _ := g.get("/healthz"); status != http.StatusOK {
		t.Errorf("/healthz while draining: %d, want 200", status)
	}
	resp, err := client.Post(g.base+"/whip/demo/third", "application/sdp", strings.NewReader("v=0\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("POST while draining: %s, Retry-After %q, want 503 with one", resp.Status, resp.Header.Get("Retry-After"))
	}
	if status, body := g.get("/api/rooms/demo/tracks"); status != http.StatusOK || strings.Count(body, `"state":"live"`) != 4 {
		t.Errorf("tracks while draining: %d, %s, want four live ones", status, body)
	}
	stop() // both cameras leave: nobody is left
	if code := g.wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	g.expectLastLine(`msg="sightline ended" ran=\S+ cause=terminated`)
	if !strings.Contains(g.said(), `cause="no session is left"`) {
		t.Error("the log does not say why the drain ended")
	}
}

func TestDrainTimeoutClosesSessions(t *testing.T) {
	g := start(t, "SIGHTLINE_SHUTDOWN_DRAIN_TIMEOUT=300ms")
	g.publish()
	g.signals <- syscall.SIGINT
	if code := g.wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	g.expectLastLine(`msg="sightline ended" ran=\S+ cause=interrupt`)
	if !strings.Contains(g.said(), "cause=shutdown.drain_timeout sessions=2") {
		t.Error("the log does not say that the drain timed out with two sessions")
	}
	if n := strings.Count(g.said(), `msg="publisher left"`); n != 2 {
		t.Errorf("%d publishers left, want 2", n)
	}
}

func TestSecondSignalSkipsTheWait(t *testing.T) {
	g := start(t, "SIGHTLINE_SHUTDOWN_DRAIN_TIMEOUT=1h")
	g.publish()
	g.signals <- syscall.SIGTERM
	g.signals <- syscall.SIGTERM
	if code := g.wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if !strings.Contains(g.said(), `cause="second signal"`) {
		t.Error("the log does not say that a second signal ended the drain")
	}
}

func (g *running) expectLastLine(pattern string) {
	g.t.Helper()
	lines := strings.Split(strings.TrimSpace(g.said()), "\n")
	if last := lines[len(lines)-1]; !regexp.MustCompile(pattern).MatchString(last) {
		g.t.Errorf("the last line is %q, want %s", last, pattern)
	}
}

func TestTakenPortSaysWhatToDo(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for _, command := range []string{"serve", "demo"} {
		for _, tt := range []struct {
			key     string
			environ []string
		}{
			{"http.listen", []string{"SIGHTLINE_ICE_UDP_LISTEN=127.0.0.1:0", "SIGHTLINE_HTTP_LISTEN=" + tcp.Addr().String()}},
			{"ice.udp_listen", []string{"SIGHTLINE_HTTP_LISTEN=127.0.0.1:0", "SIGHTLINE_ICE_UDP_LISTEN=" + udp.LocalAddr().String()}},
		} {
			got := run(t, tt.environ, "", command)
			variable := "SIGHTLINE_" + strings.ToUpper(strings.ReplaceAll(tt.key, ".", "_"))
			if got.code != 1 || !strings.Contains(got.stderr, tt.key+": ") || !strings.Contains(got.stderr, variable+"=") {
				t.Errorf("%s, %s taken: %d, %s\nwant 1 and a word about %s", command, tt.key, got.code, got.stderr, variable)
			}
		}
	}
}

// The program itself, with a real signal.
func TestProcessEndsOnSIGTERM(t *testing.T) {
	cmd := exec.Command(os.Args[0], "demo")
	cmd.Env = append(loopback, beSightline+"=1", "SIGHTLINE_HTTP_LISTEN="+freeport.Address(t))
	cmd.Dir = t.TempDir() // an empty folder
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()

	var banner strings.Builder
	links := 0
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		fmt.Fprintln(&banner, lines.Text())
		m := regexp.MustCompile(`http://\S+/(watch|api)/\S+|http://\S+/metrics`).FindString(lines.Text())
		if m != "" {
			links++
			resp, err := client.Get(m)
			if err != nil {
				t.Error(err)
				continue
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK && !strings.Contains(m, "/api/") { // the cameras may still connect
				t.Errorf("%s, a link of the banner: %s", m, resp.Status)
			}
		}
		if strings.Contains(lines.Text(), "Ctrl-C") {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("demo ended with %v, want exit code 0", err)
	}
	if links < 5 || !strings.Contains(banner.String(), "-f whip http://") {
		t.Errorf("%d links, want 5 and a command for ffmpeg:\n%s", links, banner.String())
	}
}

// A gateway with tokens shows its demo all the same: the banner's links bring one along.
func TestDemoOfAGatewayWithTokens(t *testing.T) {
	signals := make(chan os.Signal, 1)
	out, in := io.Pipe()
	p := &process{
		args: []string{"demo"}, signals: signals, stdout: in, stderr: io.Discard,
		environ: append(loopback, `SIGHTLINE_AUTH_TOKENS=[{name = "a", sha256 = "`+strings.Repeat("0", 64)+`", scopes = ["read"]}]`),
	}
	ended := make(chan int, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		ended <- p.run(t.Context())
		in.Close()
	})
	defer wg.Wait()
	var token, api string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if m := regexp.MustCompile(`watch/demo/console#token=(\S+)`).FindStringSubmatch(lines.Text()); m != nil {
			token = m[1]
		}
		if m := regexp.MustCompile(`http\S+/api/rooms/demo/tracks`).FindString(lines.Text()); m != "" {
			api = m
		}
		if strings.Contains(lines.Text(), "Ctrl-C") {
			break
		}
	}
	defer func() {
		signals <- syscall.SIGINT
		_, _ = io.Copy(io.Discard, out)
		if code := <-ended; code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
	}()
	if token == "" || api == "" {
		t.Fatal("the banner has no link with a token, or none to the API")
	}
	ask := func(token string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, api, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if status, _ := ask(""); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d, want 401", status)
	}
	eventually(t, "the cameras got in with the demo's token", func() bool {
		status, body := ask(token)
		return status == http.StatusOK && strings.Count(body, `"state":"live"`) == 4
	})
}
