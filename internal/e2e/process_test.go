//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A process is a program that a test started. It ends with the test, and shows what it said if the test fails.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  *lastLines
	done chan struct{} // closed once it has ended and all it said has been read
}

// An option changes how a process is started.
type option func(*exec.Cmd)

func withEnv(kv ...string) option { return func(c *exec.Cmd) { c.Env = append(c.Env, kv...) } }

// withOutput gives what the process writes to its standard output to w, not to the log.
func withOutput(w io.Writer) option { return func(c *exec.Cmd) { c.Stdout = w } }

// withInput gives the process what r has. Wait doesn't wait for r.
func withInput(r *os.File) option { return func(c *exec.Cmd) { c.Stdin = r } }

// start runs argv until the test ends, or until it ends by itself.
func start(t *testing.T, name string, argv []string, options ...option) *process {
	t.Helper()
	p := &process{t: t, name: name, log: &lastLines{}, done: make(chan struct{})}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	// The server takes an unknown SIGHTLINE_ variable for a mistake.
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "SIGHTLINE_") })
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	for _, o := range options {
		o(p.cmd)
	}
	if dir := os.Getenv("SIGHTLINE_E2E_LOGS"); dir != "" {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%s-%d.log", strings.ReplaceAll(t.Name(), "/", "-"), name, time.Now().UnixMilli())))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		p.log.also = f
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	go func() {
		defer close(p.done)
		p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.stop(syscall.SIGTERM, 5*time.Second)
		if t.Failed() {
			t.Logf("%s (%v) said at last:\n%s", name, p.cmd.ProcessState, p.log)
		}
	})
	return p
}

// stop sends a signal, and after the patience SIGKILL to all that the process started. It returns the exit code, which
// is -1 if a signal ended the process.
func (p *process) stop(sig os.Signal, patience time.Duration) int {
	p.cmd.Process.Signal(sig) // an error says that it has ended
	select {
	case <-p.done:
	case <-time.After(patience):
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
	return p.cmd.ProcessState.ExitCode()
}

// wait returns the exit code of a process that ends by itself. The test fails if it has not ended in time.
func (p *process) wait(d time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(d):
		p.t.Fatalf("%s still runs after %v", p.name, d)
		return 0
	}
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// output runs argv to its end and returns its standard output.
func output(t *testing.T, name string, argv []string, limit time.Duration, options ...option) []byte {
	t.Helper()
	var out bytes.Buffer
	p := start(t, name, argv, append(options, withOutput(&out))...)
	if code := p.wait(limit); code != 0 {
		t.Fatalf("%s ended with %d and said %q", name, code, out.String())
	}
	return out.Bytes()
}

// inRoot returns argv such that it runs in the unpacked Debian testing, with the folder share as its /srv and its home.
// The process keeps its id.
func inRoot(share string, argv ...string) []string {
	script, err := filepath.Abs("drivers/in-root.sh")
	if err != nil {
		panic(err) // the working directory is gone
	}
	return append([]string{"env", "SIGHTLINE_SHARE=" + share, "SIGHTLINE_HOME=/srv", script, filepath.Join(cache, "root")}, argv...)
}

// eventually calls ok until it returns nil, and fails the test with its last error when the limit has passed.
func eventually(t *testing.T, limit time.Duration, ok func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still after %v: %v", limit, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// lastLines keeps the last of what is written to it.
type lastLines struct {
	also io.Writer // gets everything; may be nil

	mu  sync.Mutex // guards what follows
	buf []byte
}

const lastLinesSize = 6 << 10

func (l *lastLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, p...)
	if len(l.buf) > 2*lastLinesSize {
		l.buf = append(l.buf[:0], l.buf[len(l.buf)-lastLinesSize:]...)
	}
	if l.also != nil {
		l.also.Write(p)
	}
	return len(p), nil
}

func (l *lastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.buf[max(0, len(l.buf)-lastLinesSize):])
}
