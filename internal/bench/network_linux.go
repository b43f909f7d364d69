package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	readBatch  = 32      // datagrams taken by one system call
	readBuffer = 1 << 16 // what UDP GRO makes of a run of datagrams at most
	sendBatch  = 64

	// ownBuffer is asked of the system for what comes to one peer, in bytes.
	ownBuffer = 1 << 20

	// pollInterval is how often sockets are looked at when the server is on this machine: a
	// reader that sleeps in a system call is woken by who sends, at the server's expense.
	pollInterval = time.Millisecond

	// sendPatience is how long a full send buffer is waited for, in milliseconds.
	sendPatience = 20
)

// A network is the sockets of all peers. On loopback all share one, and each peer has an
// address of its own in 127.77.0.0/16; else each has a socket.
type network struct {
	mu sync.Mutex // see the package's comment

	polls  bool // the server is on this machine
	shared *socket
	epoll  int

	// Guarded by mu.
	byAddress []*peer // of the shared socket: by the address's last 16 bits
	own       map[int32]*ownSocket

	failed atomic.Uint64 // datagrams that could not be sent
}

// A socket is a UDP socket that tells when datagrams came, and how many were dropped.
type socket struct {
	net     *network
	fd      int
	local   netip.AddrPort
	dropped uint32 // by the kernel, until now; guarded by network.mu
	buffer  int    // bytes
}

// An ownSocket is the socket of one peer.
type ownSocket struct {
	socket
	peer *peer
}

// A sharedEndpoint is a peer's address on the shared socket.
type sharedEndpoint struct {
	socket *socket
	addr   netip.AddrPort
	source []byte // IP_PKTINFO with the address
}

func newNetwork(server netip.Addr) (*network, error) {
	n := &network{polls: server.IsLoopback(), own: make(map[int32]*ownSocket)}
	var err error
	if n.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return n, nil
}

// close closes the sockets. Nobody sends or receives any more.
func (n *network) close() {
	if n.shared != nil {
		unix.Close(n.shared.fd)
	}
	for _, s := range n.own {
		unix.Close(s.fd)
	}
	unix.Close(n.epoll)
}

// open gives p an endpoint from which it reaches remote.
func (n *network) open(p *peer, remote netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if remote.Is4() && remote.IsLoopback() {
		return n.openSharedLocked(p)
	}
	local, err := route(remote)
	if err != nil {
		return err
	}
	s := &ownSocket{peer: p}
	if s.socket, err = n.listen(local, ownBuffer); err != nil {
		return err
	}
	if err := unix.EpollCtl(n.epoll, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(s.fd)}); err != nil {
		unix.Close(s.fd)
		return os.NewSyscallError("epoll_ctl", err)
	}
	n.own[int32(s.fd)] = s
	p.end = s
	return nil
}

func (n *network) openSharedLocked(p *peer) error {
	if n.shared == nil {
		s, err := n.listen(netip.IPv4Unspecified(), wantedBuffer)
		if err != nil {
			return err
		}
		if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1); err != nil {
			unix.Close(s.fd)
			return os.NewSyscallError("IP_PKTINFO", err)
		}
		n.shared, n.byAddress = &s, make([]*peer, 1, 1024) // 127.77.0.0 is nobody's
	}
	i := len(n.byAddress)
	if i >= maxPeers {
		return fmt.Errorf("no address is left on loopback for more than %d peers", maxPeers-1)
	}
	n.byAddress = append(n.byAddress, p)
	addr := [4]byte{127, 77, byte(i >> 8), byte(i)}
	p.end = &sharedEndpoint{
		socket: n.shared, addr: netip.AddrPortFrom(netip.AddrFrom4(addr), n.shared.local.Port()),
		source: packetInfo(addr),
	}
	return nil
}

// route returns the address from which this machine reaches remote.
func route(remote netip.Addr) (netip.Addr, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(remote, 9)))
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// listen opens a socket on any port of local.
func (n *network) listen(local netip.Addr, buffer int) (socket, error) {
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: local.As16()})
	if local.Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Addr: local.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return socket{}, os.NewSyscallError("socket", err)
	}
	s := socket{net: n, fd: fd}
	if err := s.prepare(address, local, buffer); err != nil {
		unix.Close(fd)
		return socket{}, err
	}
	return s, nil
}

func (s *socket) prepare(address unix.Sockaddr, local netip.Addr, buffer int) error {
	// SO_RCVBUFFORCE may pass the system's limit; only root has it.
	for _, o := range [2][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, o[0], buffer) != nil {
			_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, o[1], buffer)
		}
	}
	if got, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil {
		s.buffer = got / 2 // the kernel counts its own share too
	}
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return os.NewSyscallError("SO_TIMESTAMPNS", err)
	}
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1); err != nil {
		return os.NewSyscallError("SO_RXQ_OVFL", err)
	}
	// Without it (before Linux 5.0) datagrams come one by one.
	_ = unix.SetsockoptInt(s.fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	if err := unix.Bind(s.fd, address); err != nil {
		return os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(s.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		s.local = netip.AddrPortFrom(local, uint16(a.Port))
	case *unix.SockaddrInet6:
		s.local = netip.AddrPortFrom(local, uint16(a.Port))
	}
	return nil
}

// A socketState is what a report says of the sockets.
type socketState struct {
	buffer  int    // bytes given for what comes, of the smallest; 0: unknown
	dropped uint64 // datagrams that the kernel dropped, as far as it has told
	failed  uint64 // datagrams that could not be sent
}

func (n *network) state() socketState {
	n.mu.Lock()
	defer n.mu.Unlock()
	state := socketState{failed: n.failed.Load()}
	add := func(s *socket) {
		state.dropped += uint64(s.dropped)
		if state.buffer == 0 || s.buffer < state.buffer {
			state.buffer = s.buffer
		}
	}
	if n.shared != nil {
		add(n.shared)
	}
	for _, s := range n.own {
		add(&s.socket)
	}
	return state
}

// run reads until ctx is done.
func (n *network) run(ctx context.Context) {
	r := newReader()
	events := make([]unix.EpollEvent, 256)
	for ctx.Err() == nil {
		n.mu.Lock()
		shared, own := n.shared, len(n.own)
		n.mu.Unlock()
		read := 0
		if shared != nil {
			read += n.drain(r, shared, nil)
		}
		if own > 0 {
			read += n.drainOwn(r, events)
		}
		if read == 0 && (n.polls || own == 0) {
			time.Sleep(pollInterval)
		}
	}
}

// drainOwn reads the peers' own sockets. It waits for them if the server is elsewhere.
func (n *network) drainOwn(r *reader, events []unix.EpollEvent) (read int) {
	patience := 0
	if !n.polls {
		patience = 100
	}
	ready, err := unix.EpollWait(n.epoll, events, patience)
	if err != nil {
		return 0
	}
	for _, e := range events[:ready] {
		n.mu.Lock()
		s := n.own[e.Fd]
		n.mu.Unlock()
		read += n.drain(r, &s.socket, s.peer)
	}
	return read
}

// drain hands on all that a socket holds; owner is nil for the shared one. It returns the
// number of datagrams, runs of GRO counted as one.
func (n *network) drain(r *reader, s *socket, owner *peer) (read int) {
	for {
		count := r.read(s.fd)
		if count <= 0 {
			return read
		}
		read += count
		n.mu.Lock()
		for i := range count {
			n.dispatchLocked(r, i, s, owner)
		}
		n.mu.Unlock()
		if count < readBatch {
			return read
		}
		runtime.Gosched() // with one CPU, publishers have to get their turn
	}
}

func (n *network) dispatchLocked(r *reader, i int, s *socket, owner *peer) {
	b, c := r.message(i)
	s.dropped = max(s.dropped, c.dropped)
	p := owner
	if p == nil {
		index := int(c.to[2])<<8 | int(c.to[3])
		if c.to[0] != 127 || c.to[1] != 77 || index >= len(n.byAddress) {
			return
		}
		if p = n.byAddress[index]; p == nil {
			return
		}
	}
	from := r.from(i)
	size := c.segment
	if size <= 0 {
		size = len(b)
	}
	for len(b) > 0 {
		k := min(size, len(b))
		p.receive(b[:k], from, c.arrival)
		b = b[k:]
	}
}

// A messageHeader is struct mmsghdr of recvmmsg(2).
type messageHeader struct {
	header unix.Msghdr
	length uint32
}

// A reader holds what recvmmsg fills.
type reader struct {
	headers [readBatch]messageHeader
	iovecs  [readBatch]unix.Iovec
	names   [readBatch]unix.RawSockaddrInet6 // has room for the other family
	control [readBatch][256]byte
	buffers []byte
}

func newReader() *reader {
	r := &reader{buffers: make([]byte, readBatch*readBuffer)}
	for i := range readBatch {
		r.iovecs[i].Base = &r.buffers[i*readBuffer]
		r.iovecs[i].SetLen(readBuffer)
		h := &r.headers[i].header
		h.Iov = &r.iovecs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Control = &r.control[i][0]
	}
	return r
}

// read takes what is there; 0 if nothing is.
func (r *reader) read(fd int) int {
	for i := range r.headers {
		h := &r.headers[i].header
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(len(r.control[i]))
	}
	for {
		n, _, err := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.headers[0])), readBatch, unix.MSG_DONTWAIT, 0, 0)
		switch err {
		case 0:
			return int(n)
		case unix.EINTR, unix.ECONNREFUSED: // an ICMP error of some earlier datagram of ours
		default:
			return 0
		}
	}
}

// control is what the kernel tells of a datagram.
type control struct {
	arrival int64 // nanoseconds since 1970
	segment int   // bytes of each datagram in a run; 0: it is one
	to      [4]byte
	dropped uint32
}

func (r *reader) message(i int) ([]byte, control) {
	b := r.buffers[i*readBuffer:][:r.headers[i].length]
	return b, parseControl(r.control[i][:r.headers[i].header.Controllen])
}

// parseControl reads control messages (cmsg(3)).
func parseControl(b []byte) (c control) {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		size := int(h.Len)
		if size < unix.CmsgLen(0) || size > len(b) {
			break
		}
		data := b[unix.CmsgLen(0):size]
		switch {
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPNS && len(data) >= int(unsafe.Sizeof(unix.Timespec{})):
			c.arrival = (*unix.Timespec)(unsafe.Pointer(&data[0])).Nano()
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			c.dropped = binary.NativeEndian.Uint32(data)
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			c.segment = int(int32(binary.NativeEndian.Uint32(data)))
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			c.to = (*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0])).Addr
		}
		b = b[min(unix.CmsgSpace(size-unix.CmsgLen(0)), len(b)):]
	}
	return c
}

// from returns the source of a message.
func (r *reader) from(i int) netip.AddrPort {
	if r.names[i].Family == unix.AF_INET {
		a := (*unix.RawSockaddrInet4)(unsafe.Pointer(&r.names[i]))
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), hostOrder(a.Port))
	}
	return netip.AddrPortFrom(netip.AddrFrom16(r.names[i].Addr).Unmap(), hostOrder(r.names[i].Port))
}

// hostOrder turns a port as it stands in a socket address into a number, and back.
func hostOrder(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}

// packetInfo is a control message that says where a datagram comes from (ip(7)).
func packetInfo(source [4]byte) []byte {
	b := make([]byte, unix.CmsgSpace(unix.SizeofInet4Pktinfo))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	(*unix.Inet4Pktinfo)(unsafe.Pointer(&b[unix.CmsgLen(0)])).Spec_dst = source
	return b
}

func (e *sharedEndpoint) address() netip.AddrPort { return e.addr }

func (e *sharedEndpoint) send(packets [][]byte, to netip.AddrPort) {
	e.socket.send(packets, to, e.source)
}

func (s *ownSocket) address() netip.AddrPort { return s.local }

func (s *ownSocket) send(packets [][]byte, to netip.AddrPort) { s.socket.send(packets, to, nil) }

// A writer holds what sendmmsg reads.
type writer struct {
	headers [sendBatch]messageHeader
	iovecs  [sendBatch]unix.Iovec
	name    unix.RawSockaddrInet6
}

var writers = sync.Pool{New: func() any { return new(writer) }}

// send sends packets, sendBatch with each system call.
func (s *socket) send(packets [][]byte, to netip.AddrPort, source []byte) {
	w := writers.Get().(*writer)
	defer writers.Put(w)
	size := w.address(to, s.local.Addr().Is4())
	for len(packets) > 0 {
		n := min(len(packets), sendBatch)
		for i, b := range packets[:n] {
			w.iovecs[i].Base = &b[0]
			w.iovecs[i].SetLen(len(b))
			h := &w.headers[i].header
			h.Name, h.Namelen = (*byte)(unsafe.Pointer(&w.name)), size
			h.Iov = &w.iovecs[i]
			h.SetIovlen(1)
			h.Control = nil
			h.SetControllen(len(source))
			if len(source) > 0 {
				h.Control = &source[0]
			}
		}
		s.net.failed.Add(uint64(s.sendAll(w.headers[:n])))
		packets = packets[n:]
	}
}

// address sets where messages go, and returns its length.
func (w *writer) address(to netip.AddrPort, ipv4 bool) uint32 {
	if ipv4 {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(&w.name)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: hostOrder(to.Port()), Addr: to.Addr().As4()}
		return unix.SizeofSockaddrInet4
	}
	w.name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: hostOrder(to.Port()), Addr: to.Addr().As16()}
	return unix.SizeofSockaddrInet6
}

// sendAll returns how many messages could not be sent.
func (s *socket) sendAll(headers []messageHeader) (failed int) {
	for len(headers) > 0 {
		n, _, err := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&headers[0])), uintptr(len(headers)), unix.MSG_DONTWAIT, 0, 0)
		switch err {
		case 0:
			headers = headers[n:]
		case unix.EINTR, unix.ECONNREFUSED:
		case unix.EAGAIN:
			if ready, _ := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, sendPatience); ready <= 0 {
				return failed + len(headers)
			}
		default:
			failed++
			headers = headers[1:]
		}
	}
	return failed
}
