package bench

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An inbox takes the media of a peer.
type inbox chan []byte

func (b inbox) receive(packet []byte, _ bool, arrival int64) {
	if age := time.Since(time.Unix(0, arrival)); age < 0 || age > time.Minute {
		packet = []byte("arrived at another time")
	}
	b <- append([]byte(nil), packet...)
}

// Datagrams find their peer and back, whichever way the peers have their sockets.
func TestNetworkBringsDatagramsToTheirPeer(t *testing.T) {
	for _, tt := range []struct {
		name, server string
		polls        bool
	}{{"one socket", "127.0.0.1", true}, {"a socket each, polled", "::1", true}, {"a socket each, waited for", "::1", false}} {
		t.Run(tt.name, func(t *testing.T) {
			server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(tt.server)})
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			at := server.LocalAddr().(*net.UDPAddr).AddrPort()
			at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
			n, err := newNetwork(at.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer n.close()
			n.polls = tt.polls
			var peers [3]*peer
			var boxes [3]inbox
			for i := range peers {
				boxes[i] = make(inbox, 100)
				peers[i] = newPeer(boxes[i])
				if err := n.open(peers[i], at.Addr()); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { n.run(ctx) })
			defer wg.Wait()
			defer cancel()
			for i, p := range peers {
				b := make([]byte, 100)
				p.end.send([][]byte{{0x80, 96, byte(i)}, {0x80, 96, byte(i), 1}}, at)
				for want := 3; want <= 4; want++ {
					k, from, err := server.ReadFromUDPAddrPort(b)
					if err != nil || k != want || b[2] != byte(i) {
						t.Fatalf("the server reads % x, %v", b[:k], err)
					}
					if from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port()); from != p.end.address() {
						t.Fatalf("from %v, want %v", from, p.end.address())
					}
				}
				// A run, cut by the kernel, as a server with UDP GSO sends it.
				run := []byte{0x80, 96, byte(i), 0, 0x80, 96, byte(i), 1, 0x80, 96, byte(i)}
				oob := segment(4)
				if _, _, err := server.WriteMsgUDPAddrPort(run, oob, p.end.address()); err != nil {
					t.Fatal(err)
				}
				for _, want := range []int{4, 4, 3} {
					select {
					case got := <-boxes[i]:
						if len(got) != want || got[2] != byte(i) {
							t.Errorf("peer %d: got % x, want %d bytes", i, got, want)
						}
					case <-time.After(10 * time.Second):
						t.Fatal("nothing came")
					}
				}
			}
			for i, b := range boxes {
				if len(b) > 0 {
					t.Errorf("peer %d has %d datagrams too many", i, len(b))
				}
			}
			if s := n.state(); s.buffer == 0 || s.dropped != 0 || s.failed != 0 {
				t.Errorf("state %+v", s)
			}
		})
	}
}

// segment is a control message that lets the kernel cut a datagram (udp(7)).
func segment(size uint16) []byte {
	b := make([]byte, unix.CmsgSpace(2))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(b[unix.CmsgLen(0):], size)
	return b
}

func TestProcessUsage(t *testing.T) {
	cpu, resident, err := processUsage(os.Getpid())
	if err != nil || cpu < 0 || resident < 1000 {
		t.Errorf("got %v, %d KiB, %v", cpu, resident, err)
	}
	if own := ownCPU(); own <= 0 {
		t.Errorf("own CPU %v", own)
	}
	if _, _, err := processUsage(1 << 30); err == nil {
		t.Error("a process that is not there has used something")
	}
}
