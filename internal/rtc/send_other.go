//go:build !linux

package rtc

import (
	"log/slog"
	"net"
	"net/netip"
	"time"
)

const (
	maxSegments  = 64
	maxSegmented = 65000
)

// A sender writes datagrams; elsewhere than on Linux one by one.
type sender struct {
	conn *net.UDPConn
	ipv6 bool
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

func (s *sender) send(b []byte, size int, to *udpDestination) bool {
	_ = s.conn.SetWriteDeadline(time.Now().Add(time.Millisecond))
	for len(b) > 0 {
		n := min(size, len(b))
		if _, err := s.conn.WriteToUDPAddrPort(b[:n], to.remote); err != nil {
			var ne net.Error
			if e, ok := err.(net.Error); ok {
				ne = e
			}
			if ne != nil && ne.Timeout() {
				return false
			}
		}
		b = b[n:]
	}
	return true
}

func setBuffers(conn *net.UDPConn, size int, log *slog.Logger) {
	if conn.SetReadBuffer(size) != nil || conn.SetWriteBuffer(size) != nil {
		log.Warn("the system gives the media socket a smaller buffer than ice.socket_buffer", "asked", size)
	}
}

func (s *sender) batched() string { return "one by one" }
