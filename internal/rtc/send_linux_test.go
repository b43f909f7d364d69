package rtc

import (
	"net"
	"testing"

	"sightline/internal/media"
)

// Over IPv4 and IPv6, and cut by the kernel or not, the same packets arrive.
func TestIPv6AndSendingOneByOne(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0"} {
		for _, gso := range []bool{true, false} {
			e := testEngine(t, func(c *Config) { c.UDPListen = listen })
			if !gso {
				e.udp.out.gso.Store(false)
			}
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
					t.Fatalf("%s, GSO %t, packet %d: sequence %d with %d bytes", listen, gso, i, got.SequenceNumber, len(got.Payload))
				}
			}
		}
	}
}
