package rtc

import (
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"sightline/internal/media"
)

// A tap is the TCP socket of one client, which at some time isn't read any more.
type tap struct {
	client  net.Listener // where the client goes instead of to the gateway
	gateway *net.TCPConn
	stalled chan struct{} // closed when nothing is read any more
	copying sync.WaitGroup
}

// newTap connects to the TCP address of a gateway, with the least receive buffer.
func newTap(t *testing.T, gateway uint16) *tap {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to, err := net.DialTCP("tcp4", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(gateway)})
	if err != nil {
		t.Fatal(err)
	}
	if err := to.SetReadBuffer(1); err != nil {
		t.Fatal(err)
	}
	p := &tap{client: l, gateway: to, stalled: make(chan struct{})}
	p.copying.Go(func() { p.copy(t.Context().Done()) })
	t.Cleanup(func() {
		_ = l.Close()
		_ = to.Close()
		p.copying.Wait()
	})
	return p
}

// copy serves the client until done.
func (p *tap) copy(done <-chan struct{}) {
	defer close(p.stalled)
	client, err := p.client.Accept()
	if err != nil {
		return
	}
	p.copying.Go(func() { _, _ = io.Copy(p.gateway, client) }) // goes on while the tap is stalled
	p.copying.Go(func() {
		<-done
		_ = client.Close()
	})
	_, _ = io.Copy(client, p.gateway)
}

// stall ends all reading from the gateway. The connection stays open.
func (p *tap) stall() {
	_ = p.gateway.SetReadDeadline(time.Unix(1, 0))
	<-p.stalled
}

// playTCP connects a viewer over ICE-TCP (RFC 6544).
func playTCP(t *testing.T, e *Engine) (*webrtc.PeerConnection, *tap, *life) {
	t.Helper()
	pc := newTCPPeer(t)
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	s, err := e.Answer(AnswerRequest{Offer: offer(t, pc, nil), Stream: "s", Send: map[media.Kind]media.Codec{media.Video: vp8Codec}})
	if err != nil {
		t.Fatal(err)
	}
	p := newTap(t, e.tcpPort)
	l := run(t, s)
	port := strconv.Itoa(p.client.Addr().(*net.TCPAddr).Port)
	answer := strings.ReplaceAll(string(s.SDP()), " "+strconv.Itoa(int(e.tcpPort))+" typ host tcptype", " "+port+" typ host tcptype")
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		t.Fatalf("%v\n%s", err, answer)
	}
	l.waitConnected(t)
	bothConnected(t, pc)
	if l.Path() != "tcp" {
		t.Fatalf("path %q, want tcp", l.Path())
	}
	return pc, p, l
}

// A viewer over TCP that takes nothing any more fills what the gateway and the kernel hold for
// it. From then on its packets are dropped and it is told so, while the others get everything.
func TestAViewerThatReadsItsTCPNoMoreCostsTheOthersNothing(t *testing.T) {
	e := testEngine(t, func(c *Config) { c.TCPListen = "127.0.0.1:0" })
	_, tap, stuck := playTCP(t, e)
	alive := []*rawPeer{newRawPeer(t, e, rawOptions{}), newRawPeer(t, e, rawOptions{})}
	s := &stage{t: t, sequence: 1000, sinks: []*LocalTrack{alive[0].life.Sinks()[0], stuck.Sinks()[0], alive[1].life.Sinks()[0]}}
	write := func() (stuckOK bool) {
		t.Helper()
		burst := s.burst(stageBurst)
		ok := s.write(burst)
		if !ok[0] || !ok[2] {
			t.Fatalf("after %d packets a viewer over UDP is called full", s.written)
		}
		checkCame(t, alive[0], burst)
		checkCame(t, alive[1], burst)
		return ok[1]
	}
	if !write() {
		t.Fatal("the viewer over TCP is called full at once")
	}

	tap.stall()
	// 1 MiB in the gateway, and what Linux lets a socket grow to: 4 MiB, of which packets are half.
	const fills = 12000
	for write() {
		if s.written > fills {
			t.Fatalf("%d packets of %d bytes were written to a TCP socket that nobody reads, and none is called dropped: %+v",
				s.written, stagePayload, stuck.Sinks()[0].Stats())
		}
	}
	const bursts = 100
	before := heap()
	for range bursts {
		if write() {
			t.Fatalf("after %d packets the viewer over TCP is called served, though nobody reads its socket", s.written)
		}
	}
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("%d bytes more are in use after %d bytes were dropped", grown, bursts*stageBurst*stagePayload)
	}
	if sink := stuck.Sinks()[0]; sink.Write(s.burst(stageBurst)) {
		t.Error("Write says that everything was sent")
	} else if st := sink.Stats(); st.Dropped < bursts*stageBurst || st.Packets+st.Dropped != s.written {
		t.Errorf("%d packets sent and %d dropped; want %d in all, %d dropped at least", st.Packets, st.Dropped, s.written, bursts*stageBurst)
	}
	for _, v := range alive {
		if st := v.life.Sinks()[0].Stats(); st.Packets != s.written-stageBurst || st.Dropped != 0 {
			t.Errorf("a viewer over UDP: %d packets sent, %d dropped; want %d, 0", st.Packets, st.Dropped, s.written-stageBurst)
		}
	}
}

// A frame may be longer than any datagram: it is lost, as that would be, and what comes behind it is not.
func TestAFrameThatIsTooLongIsLostAlone(t *testing.T) {
	e := testEngine(t, func(c *Config) { c.TCPListen = "127.0.0.1:0" })
	pc, tap, l := playTCP(t, e)
	frame := make([]byte, 2+maxDatagram+1)
	binary.BigEndian.PutUint16(frame, maxDatagram+1)
	frame[2] = 0x80 // RTP
	if _, err := tap.gateway.Write(frame); err != nil {
		t.Fatal(err)
	}
	// What comes behind it is heard: each PLI is said again until then.
	sink, feedback := l.Sinks()[0], &fakeFeedback{}
	sink.SetFeedback(feedback)
	for deadline := time.Now().Add(patience); feedback.keyframes.Load() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the client is not heard any more")
		}
		if err := pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: sink.ssrc}}); err != nil {
			t.Fatal(err)
		}
	}
}
