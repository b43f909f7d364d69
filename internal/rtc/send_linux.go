package rtc

import (
	"encoding/binary"
	"errors"
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
	to      unix.Sockaddr
	oob     []byte // IP_PKTINFO or IPV6_PKTINFO
	segment []byte // the same, and UDP_SEGMENT with its size left open
}

func newDestination(ipv6 bool, remote netip.AddrPort, local netip.Addr) *udpDestination {
	d := &udpDestination{remote: remote, local: local}
	if ipv6 {
		d.to = &unix.SockaddrInet6{Addr: remote.Addr().As16(), Port: int(remote.Port())}
		if local.IsValid() {
			info := unix.Inet6Pktinfo{Addr: local.As16()}
			d.oob = controlMessage(nil, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unsafe.Slice((*byte)(unsafe.Pointer(&info)), unix.SizeofInet6Pktinfo))
		}
	} else {
		d.to = &unix.SockaddrInet4{Addr: remote.Addr().As4(), Port: int(remote.Port())}
		if local.Is4() {
			info := unix.Inet4Pktinfo{Spec_dst: local.As4()}
			d.oob = controlMessage(nil, unix.IPPROTO_IP, unix.IP_PKTINFO, unsafe.Slice((*byte)(unsafe.Pointer(&info)), unix.SizeofInet4Pktinfo))
		}
	}
	d.segment = controlMessage(d.oob, unix.IPPROTO_UDP, unix.UDP_SEGMENT, []byte{0, 0})
	return d
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
			if !sendmsg(fd, b[:n], to.oob, to.to) {
				return false
			}
			b = b[n:]
			continue
		}
		n := min(len(b), size*min(maxSegments, maxSegmented/size))
		oob := append(make([]byte, 0, 128), to.segment...)
		at := len(oob) - unix.CmsgSpace(2) + unix.CmsgLen(0)
		binary.NativeEndian.PutUint16(oob[at:], uint16(size))
		_, err := unix.SendmsgN(fd, b[:n], oob, to.to, unix.MSG_DONTWAIT)
		switch {
		case err == nil:
			b = b[n:]
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EIO), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EMSGSIZE):
			// A device without checksum offload on this path refuses to cut (udp(7)).
			s.gso.Store(false)
		default:
			return sent(err)
		}
	}
	return true
}

func sendmsg(fd int, b, oob []byte, to unix.Sockaddr) bool {
	for {
		_, err := unix.SendmsgN(fd, b, oob, to, unix.MSG_DONTWAIT)
		if !errors.Is(err, unix.EINTR) {
			return sent(err)
		}
	}
}

// sent tells whether a datagram counts as sent: only a full buffer does not. An
// unreachable or forbidden destination is a network that loses packets; consent tells
// whether it stays so (RFC 7675).
func sent(err error) bool {
	return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOBUFS)
}

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
