//go:build !linux

package rtc

import (
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// A reader takes one datagram at a time.
type reader struct {
	conn net.PacketConn
	six  *ipv6.PacketConn // nil: IPv4
	four *ipv4.PacketConn
	buf  [maxDatagram]byte
	n    int
	from netip.AddrPort
	to   netip.Addr
}

func newReader(conn *net.UDPConn) (*reader, error) {
	r := &reader{conn: conn}
	// Where a datagram was sent to is where its answer must come from.
	if isIPv6(conn) {
		r.six = ipv6.NewPacketConn(conn)
		_ = r.six.SetControlMessage(ipv6.FlagDst, true)
	} else {
		r.four = ipv4.NewPacketConn(conn)
		_ = r.four.SetControlMessage(ipv4.FlagDst, true)
	}
	return r, nil
}

// read waits for a datagram; it is valid until the next read.
func (r *reader) read() (int, error) {
	var dst net.IP
	var from net.Addr
	var err error
	if r.six != nil {
		var cm *ipv6.ControlMessage
		if r.n, cm, from, err = r.six.ReadFrom(r.buf[:]); cm != nil {
			dst = cm.Dst
		}
	} else {
		var cm *ipv4.ControlMessage
		if r.n, cm, from, err = r.four.ReadFrom(r.buf[:]); cm != nil {
			dst = cm.Dst
		}
	}
	if err != nil {
		return 0, err
	}
	ap := from.(*net.UDPAddr).AddrPort()
	r.from = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	r.to, _ = netip.AddrFromSlice(dst)
	r.to = r.to.Unmap()
	return 1, nil
}

func (r *reader) datagram(int) ([]byte, netip.AddrPort) { return r.buf[:r.n], r.from }
func (r *reader) local(int) netip.Addr                  { return r.to }
