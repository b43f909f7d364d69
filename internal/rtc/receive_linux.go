package rtc

import (
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A reader takes many datagrams by one system call, without allocation.
type reader struct {
	raw     syscall.RawConn
	take    func(fd uintptr) bool // recvmmsg(2), kept so that it is made once
	n       int
	err     unix.Errno
	headers [readBatch]messageHeader
	iovecs  [readBatch]unix.Iovec
	names   [readBatch]unix.RawSockaddrInet6 // or a RawSockaddrInet4, which is shorter
	control [readBatch][maxControl]byte
	buf     [readBatch][maxDatagram]byte
}

func newReader(conn *net.UDPConn) (*reader, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	// Where a datagram was sent to is where its answer must come from.
	err = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		if isIPv6(conn) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
	})
	if err != nil {
		return nil, err
	}
	r := &reader{raw: raw}
	for i := range r.headers {
		r.iovecs[i].Base = &r.buf[i][0]
		r.iovecs[i].SetLen(maxDatagram)
		h := &r.headers[i].header
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.iovecs[i]
		h.SetIovlen(1)
		h.Control = &r.control[i][0]
	}
	r.take = func(fd uintptr) bool {
		for {
			// It never blocks, so that the Go scheduler need not know; told of a system call, it
			// would wake a thread that watches it, which costs more than the call itself.
			n, _, err := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.headers[0])), readBatch, unix.MSG_DONTWAIT, 0, 0)
			switch err {
			case unix.EINTR:
				continue
			case unix.EAGAIN:
				return false
			}
			r.n, r.err = int(n), err
			return true
		}
	}
	return r, nil
}

// read waits for datagrams and returns how many there are; they are valid until the next
// read. The error is net.ErrClosed when the socket is closed.
func (r *reader) read() (int, error) {
	for i := range r.headers {
		h := &r.headers[i].header
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(maxControl)
	}
	r.n, r.err = 0, 0
	if err := r.raw.Read(r.take); err != nil {
		return 0, err
	}
	if r.err != 0 {
		return 0, r.err
	}
	return r.n, nil
}

// datagram returns the i-th datagram's bytes and where it came from.
func (r *reader) datagram(i int) ([]byte, netip.AddrPort) {
	b := r.buf[i][:min(int(r.headers[i].length), maxDatagram)]
	name := &r.names[i]
	switch name.Family {
	case unix.AF_INET:
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return b, netip.AddrPortFrom(netip.AddrFrom4(four.Addr), networkOrder(four.Port))
	case unix.AF_INET6:
		return b, netip.AddrPortFrom(netip.AddrFrom16(name.Addr).Unmap(), networkOrder(name.Port))
	}
	return b, netip.AddrPort{}
}

// local returns which address the i-th datagram was sent to; it is invalid if the system
// does not say.
func (r *reader) local(i int) netip.Addr {
	b := r.control[i][:min(int(r.headers[i].header.Controllen), maxControl)]
	for len(b) >= unix.CmsgLen(0) {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		n := int(h.Len)
		if n < unix.CmsgLen(0) || n > len(b) {
			break
		}
		data := b[unix.CmsgLen(0):n]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4([4]byte(data[8:12])) // ipi_addr
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16([16]byte(data[:16])).Unmap()
		}
		b = b[min(unix.CmsgSpace(n-unix.CmsgLen(0)), len(b)):]
	}
	return netip.Addr{}
}

// networkOrder returns a port as it stands in a socket address, and the other way round.
func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}
