//go:build !linux

package bench

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	readBuffer = 1 << 16
	ownBuffer  = 1 << 20 // asked of the system for what comes, in bytes
)

// A network is the sockets of all peers: one each. Arrival times are those of the reading,
// so a busy generator adds to what it measures.
type network struct {
	mu sync.Mutex // see the package's comment

	conns   []*ownSocket // guarded by mu
	ended   bool         // likewise
	readers sync.WaitGroup

	failed atomic.Uint64 // datagrams that could not be sent
}

// An ownSocket is the socket of one peer.
type ownSocket struct {
	net  *network
	conn *net.UDPConn
}

func newNetwork(netip.Addr) (*network, error) { return &network{}, nil }

// close has nothing left to close: run has.
func (n *network) close() {}

// open gives p an endpoint from which it reaches remote.
func (n *network) open(p *peer, remote netip.Addr) error {
	probe, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(remote, 9)))
	if err != nil {
		return err
	}
	local := probe.LocalAddr().(*net.UDPAddr).IP
	probe.Close()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: local})
	if err != nil {
		return err
	}
	_ = conn.SetReadBuffer(ownBuffer)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		conn.Close()
		return net.ErrClosed
	}
	s := &ownSocket{n, conn}
	n.conns = append(n.conns, s)
	p.end = s
	n.readers.Go(func() { s.read(p) })
	return nil
}

// run waits until ctx is done, and ends the readers.
func (n *network) run(ctx context.Context) {
	<-ctx.Done()
	n.mu.Lock()
	n.ended = true
	for _, s := range n.conns {
		s.conn.Close()
	}
	n.mu.Unlock()
	n.readers.Wait()
}

// A socketState is what a report says of the sockets.
type socketState struct {
	buffer  int    // bytes given for what comes; 0: unknown
	dropped uint64 // datagrams that the kernel dropped, as far as it has told
	failed  uint64 // datagrams that could not be sent
}

func (n *network) state() socketState { return socketState{failed: n.failed.Load()} }

func (s *ownSocket) read(p *peer) {
	b := make([]byte, readBuffer)
	for {
		k, from, err := s.conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of some earlier datagram of ours
		}
		arrival := time.Now().UnixNano()
		s.net.mu.Lock()
		p.receive(b[:k], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), arrival)
		s.net.mu.Unlock()
	}
}

func (s *ownSocket) address() netip.AddrPort {
	a := s.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func (s *ownSocket) send(packets [][]byte, to netip.AddrPort) {
	for _, b := range packets {
		if _, err := s.conn.WriteToUDPAddrPort(b, to); err != nil {
			s.net.failed.Add(1)
		}
	}
}
