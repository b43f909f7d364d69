package rtc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/pion/rtp"
	"golang.org/x/sys/unix"

	"sightline/internal/rtpstream"
	"sightline/internal/seal"
)

// A mailbox is where a viewer's packets go instead of to its UDP socket.
//
// On loopback a UDP socket's send buffer is never full: what is sent is at once the
// receiver's. So a socket for local addresses takes its place (unix(7)). There the kernel
// refuses a datagram by EAGAIN as well, and that for want of room at its receiver, so that a
// test can say which message of a sendmmsg(2) it shall be.
type mailbox struct {
	fd     int
	addr   unix.Sockaddr
	to     *udpDestination
	viewer *rawPeer
	sink   *LocalTrack
}

// localSocket makes a datagram socket for local addresses, that waits for nothing. It is
// closed at the end of the test.
func localSocket(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// newMailboxes connects n viewers and then leads all that the engine sends to local sockets.
func newMailboxes(t *testing.T, e *Engine, n int) []*mailbox {
	t.Helper()
	boxes := make([]*mailbox, n)
	for i := range boxes {
		viewer := newRawPeer(t, e, rawOptions{})
		boxes[i] = newMailbox(t, viewer)
	}
	out := &e.udp.out
	instead := func(fd int) (old int) {
		out.mu.Lock()
		defer out.mu.Unlock()
		old, out.fd = out.fd, fd
		return old
	}
	own := instead(localSocket(t))
	for _, m := range boxes {
		s := m.viewer.life.Session
		usual := s.path.Load()
		s.path.Store(&path{generation: usual.generation, name: "udp", udp: m.to})
		t.Cleanup(func() { s.path.Store(usual) })
	}
	t.Cleanup(func() { instead(own) })
	return boxes
}

func newMailbox(t *testing.T, viewer *rawPeer) *mailbox {
	t.Helper()
	m := &mailbox{fd: localSocket(t), to: newDestination(false, netip.MustParseAddrPort("192.0.2.1:9"), netip.Addr{}), viewer: viewer, sink: viewer.life.Sinks()[0]}
	if err := unix.Bind(m.fd, &unix.SockaddrUnix{}); err != nil { // the kernel chooses a name
		t.Fatal(err)
	}
	var err error
	if m.addr, err = unix.Getsockname(m.fd); err != nil {
		t.Fatal(err)
	}
	// struct sockaddr_un; x/sys writes the leading zero of a name that is in no file system as @.
	name := m.addr.(*unix.SockaddrUnix).Name
	binary.NativeEndian.PutUint16(m.to.to[:], unix.AF_UNIX)
	m.to.toLen = uint8(2 + copy(m.to.to[2:], "\x00"+name[1:]))
	m.to.segment = uint8(len(controlMessage(m.to.oob[:0], unix.IPPROTO_UDP, unix.UDP_SEGMENT, []byte{0, 0})))
	return m
}

// fill leaves room for free datagrams in the mailbox.
func (m *mailbox) fill(t *testing.T, free int) {
	t.Helper()
	from := localSocket(t)
	for {
		err := unix.Sendto(from, []byte{0}, 0, m.addr)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for range free {
		if _, err := unix.Read(m.fd, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
}

// empty returns the RTP packets that have come. The gateway's checks of consent come, too.
func (m *mailbox) empty(t *testing.T) (packets []*rtp.Packet) {
	t.Helper()
	const sealed = 12 + stagePayload + seal.Overhead
	buf := make([]byte, maxSegmented)
	for {
		n, err := unix.Read(m.fd, buf)
		if errors.Is(err, unix.EAGAIN) {
			return packets
		}
		if err != nil {
			t.Fatal(err)
		}
		b := buf[:n]
		if n < sealed || rtpstream.Classify(b) != rtpstream.RTP {
			continue
		}
		if n%sealed != 0 {
			t.Fatalf("a datagram of %d bytes came, want packets of %d", n, sealed)
		}
		for ; len(b) > 0; b = b[sealed:] { // nobody cuts what goes to a local address
			plain, err := m.viewer.open.DecryptRTP(nil, b[:sealed], nil)
			if err != nil {
				t.Fatal(err)
			}
			packet := &rtp.Packet{}
			if err := packet.Unmarshal(plain); err != nil {
				t.Fatal(err)
			}
			packets = append(packets, packet)
		}
	}
}

// Where the kernel has no room for the messages to one viewer, those before and behind them
// leave by the same calls; what has not left is counted to the packet, and told once.
func TestWhatTheKernelHasNoRoomForIsCountedAndTheRestLeaves(t *testing.T) {
	const burst = 8 // the kernel lets ten datagrams wait for a local socket, or more
	for _, tt := range []struct {
		mode sendMode
		free int
		lost uint64
	}{
		{sendSegments, 0, burst}, // all are one message
		{sendBatches, 0, burst},
		{sendBatches, 3, burst - 3},
		{sendOneByOne, 0, burst},
		{sendOneByOne, 3, burst - 3},
	} {
		t.Run(fmt.Sprintf("%s, room for %d", tt.mode, tt.free), func(t *testing.T) {
			e := testEngine(t)
			if tt.mode > e.udp.out.mode {
				t.Fatalf("the kernel of a test machine knows %s only", e.udp.out.mode)
			}
			e.udp.out.mode = tt.mode
			boxes := newMailboxes(t, e, 3)
			full := boxes[1]
			s := &stage{t: t, sequence: 1000}
			for _, m := range boxes {
				s.sinks = append(s.sinks, m.sink)
			}
			// write returns what each viewer got, and whether it is called full.
			write := func() (came [3]int, ok []bool) {
				t.Helper()
				out := s.burst(burst)
				ok = s.write(out)
				for i, m := range boxes {
					packets := m.empty(t)
					came[i] = len(packets)
					for k, p := range packets {
						checkPacket(t, p, &out[k])
					}
				}
				return came, ok
			}
			check := func(when string, secondOK bool, secondCame int) {
				t.Helper()
				came, ok := write()
				if want := [3]int{burst, secondCame, burst}; came != want {
					t.Errorf("%s: %v packets of %d came, want %v", when, came, burst, want)
				}
				if !ok[0] || ok[1] != secondOK || !ok[2] {
					t.Errorf("%s: WriteTo returned %v, want [true %t true]", when, ok, secondOK)
				}
			}
			check("with room", true, burst)
			full.fill(t, tt.free)
			check("without room", true, tt.free)
			check("with room again", false, burst)
			check("later", true, burst)
			for i, m := range boxes {
				want := uint64(0)
				if m == full {
					want = tt.lost
				}
				if st := m.sink.Stats(); st.Dropped != want || st.Packets != s.written-want {
					t.Errorf("viewer %d: %d packets sent, %d dropped; want %d, %d", i, st.Packets, st.Dropped, s.written-want, want)
				}
			}
		})
	}
}

// The kernel cuts nothing for a socket that sends without checksums (SO_NO_CHECK, socket(7)):
// a refusal as a device without checksum offload makes it. What it has refused leaves packet by
// packet, and to that viewer everything from then on.
func TestWhatTheKernelRefusesToCutLeavesPacketByPacket(t *testing.T) {
	e := testEngine(t)
	if e.udp.out.mode != sendSegments {
		t.Fatal("the kernel of a test machine does not cut")
	}
	s := &stage{t: t, sequence: 1000}
	var viewers []*rawPeer
	for range 3 {
		v := newRawPeer(t, e, rawOptions{})
		viewers = append(viewers, v)
		s.sinks = append(s.sinks, v.life.Sinks()[0])
	}
	const burst = 8
	// write writes the first packets of a burst to each viewer, and returns how many messages
	// they were.
	write := func(counts [3]int) (messages [3]int) {
		t.Helper()
		out := s.burst(burst)
		into := s.sinks[0].NewBatch().(*batch)
		for i, n := range counts {
			before := into.messages.n
			if n > 0 && !s.sinks[i].WriteTo(into, out[:n]) {
				t.Errorf("viewer %d is called full", i)
			}
			messages[i] = into.messages.n - before
		}
		into.Flush()
		for i, n := range counts {
			checkCame(t, viewers[i], out[:n])
		}
		return messages
	}
	withoutChecksums := func(on int) {
		t.Helper()
		raw, err := e.udp.conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, on) }), err)
		if err != nil {
			t.Fatal(err)
		}
	}

	if got, want := write([3]int{burst, burst, burst}), [3]int{1, 1, 1}; got != want {
		t.Fatalf("%v messages, want %v", got, want)
	}
	withoutChecksums(1)
	if got, want := write([3]int{burst, 1, 0}), [3]int{1, 1, 0}; got != want {
		t.Fatalf("%v messages, want %v", got, want)
	}
	withoutChecksums(0)
	for range 2 {
		if got, want := write([3]int{burst, burst, burst}), [3]int{burst, 1, 1}; got != want {
			t.Errorf("after a refusal of what went to the first: %v messages, want %v", got, want)
		}
	}
	for i, want := range []uint64{4 * burst, 3*burst + 1, 3 * burst} {
		if st := s.sinks[i].Stats(); st.Packets != want || st.Dropped != 0 {
			t.Errorf("viewer %d: %d packets sent, %d dropped; want %d, 0", i, st.Packets, st.Dropped, want)
		}
	}
}
