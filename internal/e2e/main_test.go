//go:build e2e

package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	serverIP = "10.77.0.1"
	clientIP = "10.77.0.2"
)

// insideEnv is set for the run of the test binary that is inside its own namespaces, to the path of the server's binary.
const insideEnv = "SIGHTLINE_E2E_INSIDE"

// clientEnv is the path of our own client, bundled for a browser.
const clientEnv = "SIGHTLINE_E2E_CLIENT"

// cache is where setup.sh has put the clients.
var cache = cacheFolder()

// clients is the network namespace of the clients.
var clients namespace

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.list").Value.String() != "" {
		os.Exit(m.Run())
	}
	if _, inside := os.LookupEnv(insideEnv); !inside {
		code, err := runInNamespaces()
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			code = 1
		}
		os.Exit(code)
	}
	if err := prepareHost(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	code := m.Run()
	clients.close()
	os.Exit(code)
}

// runInNamespaces builds the server and the web client, and runs the tests.
func runInNamespaces() (int, error) {
	if os.Getuid() != 0 {
		return 0, errors.New("these tests make network namespaces and therefore need root")
	}
	for _, d := range []string{"root/.stamp", "node/.stamp"} {
		if _, err := os.Stat(filepath.Join(cache, d)); err != nil {
			return 0, fmt.Errorf("%s is missing, run internal/e2e/setup.sh first: %w", filepath.Join(cache, d), err)
		}
	}
	scratch, err := os.MkdirTemp("", "sightline-e2e-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(scratch)

	binary := os.Getenv("SIGHTLINE_E2E_BINARY") // for those who have one, such as a release to be tested
	if binary == "" {
		binary = filepath.Join(scratch, "sightline")
		build := exec.Command("go", "build", "-trimpath", "-o", binary, "sightline/cmd/sightline")
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is released, and as CI has built its parts already
		if out, err := build.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("build the server: %w\n%s", err, out)
		}
	}
	client := filepath.Join(scratch, "client.js")
	bundle := exec.Command("go", "tool", "-modfile=../../.ci/tools/go.mod", "esbuild", "--bundle", "--format=esm", "--log-level=warning",
		"--outfile="+client, "../../web/src/testing/browser.ts")
	if out, err := bundle.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("bundle the web client: %w\n%s", err, out)
	}
	return runAll([]string{insideEnv + "=" + binary, clientEnv + "=" + client})
}

// prepareHost makes what the namespaces of this run lack: their own /proc, X sockets that no other display server sees,
// and the two hosts' network.
func prepareHost() error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := os.MkdirAll("/tmp/.X11-unix", 0o1777); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/tmp/.X11-unix", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /tmp/.X11-unix: %w", err)
	}
	var err error
	clients, err = newNamespace()
	if err != nil {
		return err
	}
	for _, c := range [][]string{
		{"ip", "link", "set", "lo", "up"},
		{"ip", "link", "add", "server", "type", "veth", "peer", "name", "client", "netns", fmt.Sprint(clients.pid())},
		// Without this a burst that was sent as one (UDP GSO) would arrive, or be lost, as one.
		{"ip", "link", "set", "server", "gso_max_segs", "1"},
		clients.command("ip", "link", "set", "client", "gso_max_segs", "1"),
		// A link-local address would turn up a second later, and Chromium break off what it loads then: the network has changed.
		{"ip", "link", "set", "server", "addrgenmode", "none"},
		clients.command("ip", "link", "set", "client", "addrgenmode", "none"),
		{"ip", "addr", "add", serverIP + "/24", "dev", "server"},
		{"ip", "link", "set", "server", "up"},
		clients.command("ip", "link", "set", "lo", "up"),
		clients.command("ip", "addr", "add", clientIP+"/24", "dev", "client"),
		clients.command("ip", "link", "set", "client", "up"),
		// Firefox gathers nothing without a default route.
		clients.command("ip", "route", "add", "default", "via", serverIP),
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", c, err, out)
		}
	}
	// The kernel takes up to a second to call a link running, and libnice looks for running ones only once.
	for range 100 {
		if c, err := clients.runs("client"); err != nil || c {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("the link between server and clients doesn't come up")
}

// cacheFolder follows the rule of setup.sh.
func cacheFolder() string {
	if dir := os.Getenv("SIGHTLINE_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "/root/.cache/sightline"
	}
	return filepath.Join(dir, "sightline")
}
