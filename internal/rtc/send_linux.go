package rtc

import (
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxSegments and maxSegmented are what the kernel takes in one UDP GSO call
// (UDP_MAX_SEGMENTS, and a datagram's 16-bit length).
const (
	maxSegments  = 64
	maxSegmented = 65000
)

// A sender writes datagrams without ever waiting.
type sender struct {
	ipv6 bool
	gso  atomic.Bool // the kernel cuts: UDP_SEGMENT

	mu     sync.RWMutex // held for reading while fd is used, so that it can't become another file's
	fd     int
	closed bool
}

func (s *sender) init(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	s.ipv6 = isIPv6(conn)
	return raw.Control(func(fd uintptr) {
		s.fd = int(fd)
		_, err := unix.GetsockoptInt(s.fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		s.gso.Store(err == nil)
	})
}

// close ends all sending; after it the socket may be closed.
func (s *sender) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
}

// A udpDestination is where datagrams go and which local address they come from, in
// the kernel's form. It is immutable.
type udpDestination struct {
	remote  netip.AddrPort
	local   netip.Addr
	to      []byte // struct sockaddr_in or sockaddr_in6
	oob     []byte // IP_PKTINFO or IPV6_PKTINFO
	segment []byte // the same, and UDP_SEGMENT with its size left open
}

func newDestination(ipv6 bool, remote netip.AddrPort, local netip.Addr) *udpDestination {
	d := &udpDestination{remote: remote, local: local}
	if ipv6 {
		sa := unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: networkOrder(remote.Port()), Addr: remote.Addr().As16()}
		d.to = append(d.to, unsafe.Slice((*byte)(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet6)...)
		if local.IsValid() {
			info := unix.Inet6Pktinfo{Addr: local.As16()}
			d.oob = controlMessage(nil, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unsafe.Slice((*byte)(unsafe.Pointer(&info)), unix.SizeofInet6Pktinfo))
		}
	} else {
		sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: networkOrder(remote.Port()), Addr: remote.Addr().As4()}
		d.to = append(d.to, unsafe.Slice((*byte)(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet4)...)
		if local.Is4() {
			info := unix.Inet4Pktinfo{Spec_dst: local.As4()}
			d.oob = controlMessage(nil, unix.IPPROTO_IP, unix.IP_PKTINFO, unsafe.Slice((*byte)(unsafe.Pointer(&info)), unix.SizeofInet4Pktinfo))
		}
	}
	d.segment = controlMessage(d.oob, unix.IPPROTO_UDP, unix.UDP_SEGMENT, []byte{0, 0})
	return d
}

// networkOrder returns a port as it stands in a socket address.
func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

// controlMessage returns head followed by one control message (cmsg(3)).
func controlMessage(head []byte, level, typ int32, data []byte) []byte {
	b := make([]byte, len(head)+unix.CmsgSpace(len(data)))
	n := copy(b, head)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[n]))
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[n+unix.CmsgLen(0):], data)
	return b
}

// send sends b in datagrams of size bytes; false means that not all could be sent
// at once.
func (s *sender) send(b []byte, size int, to *udpDestination) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return true
	}
	fd := s.fd
	for len(b) > 0 {
		if len(b) <= size || !s.gso.Load() {
			n := min(size, len(b))
			if !sent(sendmsg(fd, b[:n], to.oob, to.to)) {
				return false
			}
			b = b[n:]
			continue
		}
		n := min(len(b), size*min(maxSegments, maxSegmented/size))
		oob := append(make([]byte, 0, 128), to.segment...)
		at := len(oob) - unix.CmsgSpace(2) + unix.CmsgLen(0)
		binary.NativeEndian.PutUint16(oob[at:], uint16(size))
		switch err := sendmsg(fd, b[:n], oob, to.to); err {
		case 0:
			b = b[n:]
		case unix.EIO, unix.EINVAL, unix.EOPNOTSUPP, unix.EMSGSIZE:
			// A device without checksum offload on this path refuses to cut (udp(7)).
			s.gso.Store(false)
		default:
			return sent(err)
		}
	}
	return true
}

// sendmsg is sendmsg(2). The standard wrappers write into the address that they are given;
// here many goroutines send to one.
func sendmsg(fd int, b, oob, to []byte) unix.Errno {
	iov := unix.Iovec{Base: &b[0]}
	iov.SetLen(len(b))
	m := unix.Msghdr{Name: &to[0], Namelen: uint32(len(to)), Iov: &iov}
	m.SetIovlen(1)
	if len(oob) > 0 {
		m.Control = &oob[0]
		m.SetControllen(len(oob))
	}
	for {
		_, _, err := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			return err
		}
	}
}

// sent tells whether a datagram counts as sent: only a full buffer does not. An
// unreachable or forbidden destination is a network that loses packets; consent tells
// whether it stays so (RFC 7675).
func sent(err unix.Errno) bool { return err != unix.EAGAIN && err != unix.ENOBUFS }

// setBuffers asks for large socket buffers: a keyframe to many viewers is a burst.
func setBuffers(conn *net.UDPConn, size int, log *slog.Logger) {
	_ = conn.SetReadBuffer(size)
	_ = conn.SetWriteBuffer(size)
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		// SO_RCVBUFFORCE may pass the system's limit; only root has it.
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, size)
		for _, o := range []struct {
			name, limit string
			option      int
		}{{"receive", "net.core.rmem_max", unix.SO_RCVBUF}, {"send", "net.core.wmem_max", unix.SO_SNDBUF}} {
			got, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, o.option)
			if err == nil && got/2 < size { // the kernel counts its own share too
				log.Warn("the system gives the media socket a smaller buffer than ice.socket_buffer; bursts may be lost",
					"buffer", o.name, "asked", size, "got", got/2, "raise", "sysctl -w "+o.limit+"=...")
			}
		}
	})
}

// batched names how several datagrams go to one destination.
func (s *sender) batched() string {
	if s.gso.Load() {
		return "UDP GSO"
	}
	return "one by one"
}
