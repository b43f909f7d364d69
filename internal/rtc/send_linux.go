package rtc

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxSegments and maxSegmented are what the kernel takes in one UDP GSO datagram
// (UDP_MAX_SEGMENTS, and a datagram's 16-bit length).
const (
	maxSegments  = 64
	maxSegmented = 65000
)

// maxMessages is how many datagrams go by one system call.
const maxMessages = 64

// A sendMode is how many system calls a burst costs.
type sendMode int32

const (
	sendOneByOne sendMode = iota // sendmsg(2) for each packet
	sendBatches                  // sendmmsg(2)
	sendSegments                 // likewise, and the kernel cuts packets of one size (UDP_SEGMENT, udp(7))
)

func (m sendMode) String() string {
	return [...]string{"sendmsg, packet by packet", "sendmmsg", "sendmmsg with UDP GSO"}[m]
}

// A sender writes datagrams without ever waiting. It is safe for concurrent use.
type sender struct {
	ipv6 bool
	mode sendMode

	calls atomic.Uint32 // system calls

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
		// Go sets it for every socket. A client may name the broadcast address of a network
		// that the gateway is in: the kernel knows them, and refuses without this.
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 0)
		s.mode = detectMode(s.fd)
	})
}

func detectMode(fd int) sendMode {
	// A sandbox may forbid what the kernel knows: an empty call tells.
	if _, _, err := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0); err != 0 {
		return sendOneByOne
	}
	if _, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT); err != nil {
		return sendBatches
	}
	return sendSegments
}

// close ends all sending; after it the socket may be closed.
func (s *sender) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
}

// A udpDestination is where datagrams go and which local address they come from, in
// the kernel's form. It lies in one piece: with many viewers none is in the processor's
// cache.
type udpDestination struct {
	to      [unix.SizeofSockaddrInet6]byte // struct sockaddr_in or sockaddr_in6
	toLen   uint8
	oobLen  uint8
	segment uint8            // length of oob with UDP_SEGMENT
	uncut   atomic.Bool      // on this path the kernel doesn't cut
	oob     [maxControl]byte // IP_PKTINFO or IPV6_PKTINFO, and UDP_SEGMENT with its size left open
	remote  netip.AddrPort
	local   netip.Addr
}

func newDestination(ipv6 bool, remote netip.AddrPort, local netip.Addr) *udpDestination {
	d := &udpDestination{remote: remote, local: local}
	oob := d.oob[:0]
	if ipv6 {
		sa := unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: networkOrder(remote.Port()), Addr: remote.Addr().As16()}
		d.toLen = uint8(copy(d.to[:], unsafe.Slice((*byte)(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet6)))
		if local.IsValid() {
			info := unix.Inet6Pktinfo{Addr: local.As16()}
			oob = controlMessage(oob, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unsafe.Slice((*byte)(unsafe.Pointer(&info)), unix.SizeofInet6Pktinfo))
		}
	} else {
		sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: networkOrder(remote.Port()), Addr: remote.Addr().As4()}
		d.toLen = uint8(copy(d.to[:], unsafe.Slice((*byte)(unsafe.Pointer(&sa)), unix.SizeofSockaddrInet4)))
		if local.Is4() {
			info := unix.Inet4Pktinfo{Spec_dst: local.As4()}
			oob = controlMessage(oob, unix.IPPROTO_IP, unix.IP_PKTINFO, unsafe.Slice((*byte)(unsafe.Pointer(&info)), unix.SizeofInet4Pktinfo))
		}
	}
	d.oobLen = uint8(len(oob))
	d.segment = uint8(len(controlMessage(oob, unix.IPPROTO_UDP, unix.UDP_SEGMENT, []byte{0, 0})))
	return d
}

// controlMessage appends one control message (cmsg(3)) to b, which has room for it.
func controlMessage(b []byte, level, typ int32, data []byte) []byte {
	n := len(b)
	b = b[:n+unix.CmsgSpace(len(data))]
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[n]))
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[n+unix.CmsgLen(0):], data)
	return b
}

// maxControl holds IPV6_PKTINFO and UDP_SEGMENT.
const maxControl = 64

// messages are datagrams on their way to the kernel.
type messages struct {
	n       int
	headers [maxMessages]messageHeader
	iovecs  [maxMessages]unix.Iovec
	control [maxMessages][maxControl]byte
	notes   [maxMessages]note
}

// A messageHeader is struct mmsghdr of sendmmsg(2).
type messageHeader struct {
	header unix.Msghdr
	length uint32 // that was sent or received
}

// A note is what there is to know of a message besides what the kernel is told.
type note struct {
	to      *udpDestination
	size    int // of a segment
	segment bool
	unsent  *atomic.Uint64 // counts the packets for which there was no room
}

func (s *sender) cuts(to *udpDestination) bool { return s.mode == sendSegments && !to.uncut.Load() }

// add puts in b, which is cut into datagrams of size bytes (the last may be shorter), at
// most maxSegments and maxSegmented bytes. It returns false, and has put in nothing, if there
// is no place; there always is one when nothing waits.
func (m *messages) add(s *sender, b []byte, size int, to *udpDestination, unsent *atomic.Uint64) bool {
	// Asked once: another goroutine may find out meanwhile that the path can't be cut.
	whole, need := len(b) <= size || s.cuts(to), 1
	if !whole {
		need = (len(b) + size - 1) / size
	}
	if m.n+need > maxMessages {
		return false
	}
	if whole {
		m.put(b, size, to, unsent)
		return true
	}
	for len(b) > 0 {
		n := min(size, len(b))
		m.put(b[:n], n, to, unsent)
		b = b[n:]
	}
	return true
}

func (m *messages) put(b []byte, size int, to *udpDestination, unsent *atomic.Uint64) {
	i := m.n
	m.n++
	m.notes[i] = note{to: to, size: size, segment: len(b) > size, unsent: unsent}
	iov, h := &m.iovecs[i], &m.headers[i].header
	iov.Base = &b[0]
	iov.SetLen(len(b))
	h.Iov = iov
	h.SetIovlen(1)
	// The kernel writes nothing of it, so that many may point to one.
	h.Name, h.Namelen = &to.to[0], uint32(to.toLen)
	oob := to.oob[:to.oobLen]
	if m.notes[i].segment {
		oob = m.control[i][:copy(m.control[i][:], to.oob[:to.segment])]
		binary.NativeEndian.PutUint16(oob[len(oob)-unix.CmsgSpace(2)+unix.CmsgLen(0):], uint16(size))
	}
	h.Control = nil
	h.SetControllen(len(oob))
	if len(oob) > 0 {
		h.Control = &oob[0]
	}
}

// send sends all messages and forgets them. It returns how many packets and bytes were
// sent, and how many messages were not for want of room in the socket's buffer.
func (m *messages) send(s *sender) (packets, bytes, full int) {
	defer m.forget()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for at := 0; at < m.n && !s.closed; {
		n, err := s.some(m.headers[at:m.n])
		for i := at; i < at+n; i++ {
			packets += m.packets(i)
			bytes += int(m.iovecs[i].Len)
		}
		at += n
		if err == 0 || at == m.n {
			continue
		}
		failed := &m.notes[at]
		switch {
		case failed.segment && (err == unix.EIO || err == unix.EINVAL || err == unix.EOPNOTSUPP || err == unix.EMSGSIZE):
			// A device without checksum offload, or a path with a smaller MTU, refuses to cut
			// (udp(7)); other paths don't.
			failed.to.uncut.Store(true)
			p, b, f := s.each(&m.iovecs[at], failed)
			packets, bytes, full = packets+p, bytes+b, full+f
		case isFull(err):
			full++
			failed.unsent.Add(uint64(m.packets(at)))
		}
		at++
	}
	return packets, bytes, full
}

// packets is how many the message i holds.
func (m *messages) packets(i int) int {
	return (int(m.iovecs[i].Len) + m.notes[i].size - 1) / m.notes[i].size
}

// forget lets go of what the messages point to.
func (m *messages) forget() {
	for i := range m.n {
		m.headers[i].header.Control, m.headers[i].header.Name = nil, nil
		m.iovecs[i].Base = nil
		m.notes[i] = note{}
	}
	m.n = 0
}

// some sends the first headers, at least one unless there is an error.
func (s *sender) some(headers []messageHeader) (int, unix.Errno) {
	for {
		var n uintptr
		var err unix.Errno
		if s.mode == sendOneByOne || len(headers) == 1 {
			err = s.sendmsg(&headers[0].header)
			n = 1
		} else {
			n, err = s.sendmmsg(headers)
		}
		switch err {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, err
		}
	}
}

// The Go scheduler is not told of most system calls that send: they never block, but take as
// long as makes it give the processor to another thread, and it would wake a thread that
// watches, every time. That thread also sees to it that the network is looked at while all
// processors are busy: so one call in tellEvery is told.
const tellEvery = 32

func (s *sender) sendmmsg(headers []messageHeader) (n uintptr, err unix.Errno) {
	if s.calls.Add(1)%tellEvery == 0 {
		n, _, err = unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&headers[0])), uintptr(len(headers)), unix.MSG_DONTWAIT, 0, 0)
	} else {
		n, _, err = unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&headers[0])), uintptr(len(headers)), unix.MSG_DONTWAIT, 0, 0)
	}
	return n, err
}

func (s *sender) sendmsg(header *unix.Msghdr) (err unix.Errno) {
	if s.calls.Add(1)%tellEvery == 0 {
		_, _, err = unix.Syscall(unix.SYS_SENDMSG, uintptr(s.fd), uintptr(unsafe.Pointer(header)), unix.MSG_DONTWAIT)
	} else {
		_, _, err = unix.RawSyscall(unix.SYS_SENDMSG, uintptr(s.fd), uintptr(unsafe.Pointer(header)), unix.MSG_DONTWAIT)
	}
	return err
}

// each sends the segments of one message as datagrams of their own.
func (s *sender) each(iov *unix.Iovec, n *note) (packets, bytes, full int) {
	b := unsafe.Slice(iov.Base, int(iov.Len))
	for len(b) > 0 {
		k := min(n.size, len(b))
		switch err := s.datagram(b[:k], n.to); {
		case err == 0:
			packets, bytes = packets+1, bytes+k
		case isFull(err):
			n.unsent.Add(uint64((len(b) + n.size - 1) / n.size))
			return packets, bytes, full + 1
		}
		b = b[k:]
	}
	return packets, bytes, full
}

// one sends one datagram; false means that the socket's buffer was full.
func (s *sender) one(b []byte, to *udpDestination) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closed || !isFull(s.datagram(b, to))
}

// datagram sends one. The standard wrappers write into the address that they are given; here
// many goroutines send to one.
func (s *sender) datagram(b []byte, to *udpDestination) unix.Errno {
	iov := unix.Iovec{Base: &b[0]}
	iov.SetLen(len(b))
	m := unix.Msghdr{Name: &to.to[0], Namelen: uint32(to.toLen), Iov: &iov}
	m.SetIovlen(1)
	if to.oobLen > 0 {
		m.Control = &to.oob[0]
		m.SetControllen(int(to.oobLen))
	}
	for {
		if err := s.sendmsg(&m); err != unix.EINTR {
			return err
		}
	}
}

// isFull tells whether a datagram was not sent for want of room. An unreachable or forbidden
// destination is a network that loses packets; consent tells whether it stays so (RFC 7675).
func isFull(err unix.Errno) bool { return err == unix.EAGAIN || err == unix.ENOBUFS }

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
					"buffer", o.name, "asked", size, "got", got/2, "raise", fmt.Sprintf("sysctl -w %s=%d", o.limit, size))
			}
		}
	})
}
