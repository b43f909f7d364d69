package rtc

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"sightline/internal/media"
)

// Over IPv4 and IPv6, and in whatever way they are sent, the same packets arrive.
func TestEveryWayToSendIsTheSame(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0"} {
		for _, mode := range []sendMode{sendSegments, sendBatches, sendOneByOne} {
			e := testEngine(t, func(c *Config) { c.UDPListen = listen })
			if mode == sendSegments && e.udp.out.mode != mode {
				t.Fatalf("the kernel of a test machine knows UDP GSO; detected: %s", e.udp.out.mode)
			}
			e.udp.out.mode = mode
			host, _, _ := net.SplitHostPort(listen)
			publisher := newRawPeer(t, e, rawOptions{publish: true, host: host})
			publisher.lives(t, 7, 1)
			viewer := newRawPeer(t, e, rawOptions{host: host})
			var burst []media.Outgoing
			for i := range uint16(100) {
				p := outgoing(i)
				if i%7 == 0 {
					q := *p.Packet
					q.Payload = q.Payload[:20+i]
					p.Packet = &q
				}
				burst = append(burst, p)
			}
			if !viewer.life.Sinks()[0].Write(burst) {
				t.Fatal("not written")
			}
			for i := range burst {
				got := viewer.nextRTP(t)
				if got.SequenceNumber != uint16(i) || string(got.Payload) != string(burst[i].Payload) {
					t.Fatalf("%s, %s, packet %d: sequence %d with %d bytes", listen, mode, i, got.SequenceNumber, len(got.Payload))
				}
			}
		}
	}
}

// A path is found not to be cut by one goroutine while another fills its messages: a run
// that then needs a place for each packet gets all of them, or none.
func TestARunThatIsNotCutHasAPlaceForEveryPacket(t *testing.T) {
	var m messages
	var unsent atomic.Uint64
	s := &sender{mode: sendSegments}
	to := newDestination(false, netip.MustParseAddrPort("127.0.0.1:9"), netip.Addr{})
	run := make([]byte, 10*100)
	for range maxMessages - 1 {
		if !m.add(s, run, 100, to, &unsent) {
			t.Fatalf("no place after %d messages of %d", m.n, maxMessages)
		}
	}
	to.uncut.Store(true)
	if m.add(s, run, 100, to, &unsent) || m.n != maxMessages-1 {
		t.Errorf("ten packets are put where one has a place: %d messages", m.n)
	}
	m.forget()
	if !m.add(s, make([]byte, maxSegments*100), 100, to, &unsent) || m.n != maxSegments {
		t.Errorf("the longest run has no place among no others: %d messages", m.n)
	}
}

// The socket can't send to a network's broadcast address, which only the kernel knows for one.
func TestNothingIsBroadcast(t *testing.T) {
	e := testEngine(t)
	to := e.udp.destination(netip.MustParseAddrPort("127.255.255.255:9"), netip.Addr{})
	if err := e.udp.out.datagram([]byte("x"), to); err != unix.EACCES {
		t.Errorf("got %v, want EACCES", err)
	}
}
