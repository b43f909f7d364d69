//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// siteIP is the address of this test at the site's switch.
const siteIP = "10.78.0.1"

// A host is a machine at the site's switch: a network namespace with an address.
type host struct {
	namespace
	t    *testing.T
	name string
	ip   string
}

// newSite makes a switch, at which this test has the address siteIP. It ends with the test.
func newSite(t *testing.T) {
	t.Helper()
	run(t, "ip", "link", "add", "site", "type", "bridge")
	t.Cleanup(func() { exec.Command("ip", "link", "delete", "site").Run() })
	run(t, "ip", "addr", "add", siteIP+"/24", "dev", "site")
	run(t, "ip", "link", "set", "site", "up")
}

// newHost puts a machine at the switch, which counts what comes to it: see seen. It ends with the test.
func newHost(t *testing.T, name, ip string) host {
	t.Helper()
	ns, err := newNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.close)
	h := host{ns, t, name, ip}
	port := "at-" + name
	run(t, "ip", "link", "add", port, "type", "veth", "peer", "name", "lan", "netns", fmt.Sprint(h.pid()))
	t.Cleanup(func() { exec.Command("ip", "link", "delete", port).Run() })
	// Without this a burst that was sent as one (UDP GSO) would arrive, and be counted, as one.
	run(t, "ip", "link", "set", port, "gso_max_segs", "1", "master", "site", "up")
	run(t, h.command("ip", "link", "set", "lo", "up")...)
	run(t, h.command("ip", "addr", "add", ip+"/24", "dev", "lan")...)
	run(t, h.command("ip", "link", "set", "lan", "addrgenmode", "none")...) // see main_test.go
	run(t, h.command("ip", "link", "set", "lan", "gso_max_segs", "1", "up")...)
	run(t, h.command("ip", "route", "add", "default", "via", siteIP)...)
	eventually(t, 5*time.Second, func() error {
		up, err := h.runs("lan")
		if err == nil && !up {
			err = fmt.Errorf("the link of %s doesn't come up", name)
		}
		return err
	})
	if _, err := nft(h, `
		table inet seen {
			set from {
				type ipv4_addr . inet_proto
				flags dynamic
				counter
				size 1024
			}
			chain arrive {
				type filter hook input priority -300; policy accept;
				update @from { ip saddr . meta l4proto counter }
			}
		}`, "--file", "-"); err != nil {
		t.Fatal(err)
	}
	return h
}

func run(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
}

// An arrival is what came to a host from an address by a protocol, "udp" or "tcp".
type arrival struct{ from, by string }

// seen returns how many packets have come to a host until now.
func (h host) seen() map[arrival]int {
	h.t.Helper()
	out, err := nft(h, "", "--json", "list", "set", "inet", "seen", "from")
	if err != nil {
		h.t.Fatal(err)
	}
	var list struct {
		Nftables []struct {
			Set struct {
				Elem []struct {
					Elem struct {
						Val     struct{ Concat []string }
						Counter struct{ Packets int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		h.t.Fatalf("nft's counters: %v\n%s", err, out)
	}
	all := make(map[arrival]int)
	for _, o := range list.Nftables {
		for _, e := range o.Set.Elem {
			if c := e.Elem.Val.Concat; len(c) == 2 {
				all[arrival{c[0], c[1]}] = e.Elem.Counter.Packets
			}
		}
	}
	return all
}

// udpFrom returns how many datagrams have come to a host from another since before, which is what seen said then.
func (h host) udpFrom(other host, before map[arrival]int) int {
	h.t.Helper()
	from := arrival{other.ip, "udp"}
	return h.seen()[from] - before[from]
}

// part cuts a host off from others, both ways, until heal is called or the test ends. Packets are dropped where they
// arrive, and nobody is told.
func (h host) part(others ...host) (heal func()) {
	h.t.Helper()
	cut := func(at host, from ...host) {
		var addresses []string
		for _, f := range from {
			addresses = append(addresses, f.ip)
		}
		if _, err := nft(at, fmt.Sprintf(`
			table inet cut {
				chain arrive {
					type filter hook input priority -200; policy accept;
					ip saddr { %s } drop
				}
			}`, strings.Join(addresses, ", ")), "--file", "-"); err != nil {
			h.t.Fatal(err)
		}
	}
	cut(h, others...)
	for _, o := range others {
		cut(o, h)
	}
	healed := false
	heal = func() {
		if healed {
			return
		}
		healed = true
		for _, at := range append([]host{h}, others...) {
			if _, err := nft(at, "", "delete", "table", "inet", "cut"); err != nil {
				h.t.Error(err)
			}
		}
	}
	h.t.Cleanup(heal)
	return heal
}
