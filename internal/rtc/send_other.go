//go:build !linux

package rtc

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
)

const (
	maxSegments  = 64
	maxSegmented = 65000
)

// A sendMode is how many system calls a burst costs: elsewhere than on Linux one for each
// packet.
type sendMode struct{}

func (sendMode) String() string { return "packet by packet" }

// A sender writes datagrams. It is safe for concurrent use.
type sender struct {
	conn *net.UDPConn
	ipv6 bool
	mode sendMode
}

func (s *sender) init(conn *net.UDPConn) error {
	s.conn, s.ipv6 = conn, isIPv6(conn)
	return nil
}

func (s *sender) close() {}

type udpDestination struct {
	remote netip.AddrPort
	local  netip.Addr
}

func newDestination(_ bool, remote netip.AddrPort, local netip.Addr) *udpDestination {
	return &udpDestination{remote, local}
}

// messages are datagrams on their way to the kernel.
type messages struct{ waiting []message }

type message struct {
	b      []byte
	size   int
	to     *udpDestination
	unsent *atomic.Uint64
}

// add puts in b, which is cut into datagrams of size bytes (the last may be shorter). There
// always is a place.
func (m *messages) add(_ *sender, b []byte, size int, to *udpDestination, unsent *atomic.Uint64) bool {
	m.waiting = append(m.waiting, message{b, size, to, unsent})
	return true
}

// send sends all messages and forgets them. It returns how many packets and bytes were
// sent, and how many messages were not for want of room in the socket's buffer.
func (m *messages) send(s *sender) (packets, bytes, full int) {
	for _, w := range m.waiting {
		for b := w.b; len(b) > 0; {
			n := min(w.size, len(b))
			if !s.one(b[:n], w.to) {
				w.unsent.Add(uint64((len(b) + w.size - 1) / w.size))
				full++
				break
			}
			packets, bytes, b = packets+1, bytes+n, b[n:]
		}
	}
	clear(m.waiting)
	m.waiting = m.waiting[:0]
	return packets, bytes, full
}

// one sends one datagram; false means that the socket's buffer was full.
func (s *sender) one(b []byte, to *udpDestination) bool {
	_ = s.conn.SetWriteDeadline(time.Now().Add(time.Millisecond))
	_, err := s.conn.WriteToUDPAddrPort(b, to.remote)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

func setBuffers(conn *net.UDPConn, size int, log *slog.Logger) {
	if conn.SetReadBuffer(size) != nil || conn.SetWriteBuffer(size) != nil {
		log.Warn("the system gives the media socket a smaller buffer than ice.socket_buffer", "asked", size)
	}
}
