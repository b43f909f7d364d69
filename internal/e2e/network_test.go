//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// A namespace is a network namespace, held open by a process that ends with this one.
type namespace struct {
	holder *exec.Cmd
	stdin  io.WriteCloser
}

// newNamespace returns once the namespace exists.
func newNamespace() (namespace, error) {
	cmd := exec.Command("sh", "-c", "echo; exec cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return namespace{}, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return namespace{}, err
	}
	if err := cmd.Start(); err != nil {
		return namespace{}, fmt.Errorf("make a network namespace: %w", err)
	}
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		return namespace{}, fmt.Errorf("make a network namespace: %w", err)
	}
	return namespace{cmd, stdin}, nil
}

func (n namespace) pid() int { return n.holder.Process.Pid }

// command makes a namespace a place.
func (n namespace) command(argv ...string) []string {
	return append([]string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", n.pid()), "--"}, argv...)
}

// runs says whether a link is up and has a carrier.
func (n namespace) runs(link string) (bool, error) {
	argv := n.command("ip", "link", "show", link)
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return false, fmt.Errorf("ip link show: %w\n%s", err, out)
	}
	return strings.Contains(string(out), "state UP"), nil
}

func (n namespace) close() {
	n.stdin.Close()
	n.holder.Wait()
}

// A place is where a program may run.
type place interface {
	// command returns argv such that it runs there. The process keeps its id.
	command(argv ...string) []string
}

// A side is one end of the cable between the server's host and the clients' host.
type side string

const (
	serverSide side = "server"
	clientSide side = "client"
)

func (s side) command(argv ...string) []string {
	if s == clientSide {
		return clients.command(argv...)
	}
	return argv
}

// nft changes or lists the packet filter of a place.
func nft(at place, input string, args ...string) (string, error) {
	argv := at.command(append([]string{"nft"}, args...)...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("nft: %w\n%s", err, out)
	}
	return string(out), nil
}

// lose drops percent of the UDP packets that arrive at a side, until the returned function is called or the test ends.
// That function returns how many packets came and how many of them were dropped. Packets are dropped where they arrive,
// because a sender whose own filter drops them is told so.
func lose(t *testing.T, at side, percent int) (stop func() (came, dropped int)) {
	t.Helper()
	pass := fmt.Sprintf("numgen random mod 100 >= %d accept", percent)
	if percent == 100 {
		pass = "" // nft refuses a condition that never holds
	}
	_, err := nft(at, fmt.Sprintf(`
		table netdev loss {
			counter came {}
			counter dropped {}
			chain arrive {
				type filter hook ingress device %q priority 0; policy accept;
				meta l4proto != udp accept
				counter name came
				%s
				counter name dropped
				drop
			}
		}`, at, pass), "--file", "-")
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() (came, dropped int) {
		if stopped {
			return 0, 0
		}
		stopped = true
		out, err := nft(at, "", "--json", "list", "counters", "netdev")
		if err != nil {
			t.Error(err)
		}
		if _, err := nft(at, "", "delete", "table", "netdev", "loss"); err != nil {
			t.Error(err)
		}
		var list struct {
			Nftables []struct {
				Counter struct {
					Name    string
					Packets int
				}
			}
		}
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			t.Errorf("nft's counters: %v\n%s", err, out)
		}
		for _, o := range list.Nftables {
			switch o.Counter.Name {
			case "came":
				came = o.Counter.Packets
			case "dropped":
				dropped = o.Counter.Packets
			}
		}
		return came, dropped
	}
	t.Cleanup(func() { stop() })
	return stop
}
