package rtc

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"sightline/internal/media"
	"sightline/internal/rtpstream"
	"sightline/internal/sdp"
)

// A wire relays datagrams between one client and the gateway, and loses some RTP.
type wire struct {
	front, back  *net.UDPConn
	up, down     atomic.Int64 // every how many-th RTP packet is lost; 0: none
	lost, passed atomic.Int64 // RTP packets
	lastRTP      atomic.Pointer[[]byte]
}

func newWire(t *testing.T, gateway int) *wire {
	t.Helper()
	loopback := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	front, err := net.ListenUDP("udp4", loopback)
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.DialUDP("udp4", loopback, &net.UDPAddr{IP: loopback.IP, Port: gateway})
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{front: front, back: back}
	var client atomic.Pointer[netip.AddrPort]
	var wg sync.WaitGroup
	wg.Go(func() {
		w.carry(&w.up, func(b []byte) (int, error) {
			n, from, err := front.ReadFromUDPAddrPort(b)
			client.Store(&from)
			return n, err
		}, func(b []byte) { _, _ = back.Write(b) })
	})
	wg.Go(func() {
		w.carry(&w.down, back.Read, func(b []byte) {
			if to := client.Load(); to != nil {
				_, _ = front.WriteToUDPAddrPort(b, *to)
			}
		})
	})
	t.Cleanup(func() { front.Close(); back.Close(); wg.Wait() })
	return w
}

func (w *wire) carry(every *atomic.Int64, read func([]byte) (int, error), write func([]byte)) {
	buf := make([]byte, 2000)
	count := int64(0)
	for {
		n, err := read(buf)
		if err != nil {
			return
		}
		if rtpstream.Classify(buf[:n]) == rtpstream.RTP {
			count++
			if e := every.Load(); e > 0 && count%e == 0 {
				w.lost.Add(1)
				continue
			}
			w.passed.Add(1)
			last := slices.Clone(buf[:n])
			w.lastRTP.Store(&last)
		}
		write(buf[:n])
	}
}

var candidatePort = regexp.MustCompile(`(127\.0\.0\.1) \d+ typ`)

// through makes an answer lead over the wire.
func (w *wire) through(answer []byte) string {
	port := w.front.LocalAddr().(*net.UDPAddr).Port
	return candidatePort.ReplaceAllString(string(answer), fmt.Sprintf("$1 %d typ", port))
}

// hidden returns a pion peer whose candidates the gateway doesn't learn: it comes as
// peer-reflexive, over the wire.
func hidden(t *testing.T, pc *webrtc.PeerConnection) *sdp.Offer {
	o := offer(t, pc, nil)
	o.Candidates = nil
	return o
}

func TestPacketsLostOnThePublishersPathAreRepaired(t *testing.T) {
	e := testEngine(t)
	w := newWire(t, int(e.udp.port))
	pc := client(t)
	video, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "v", "s")
	if err != nil {
		t.Fatal(err)
	}
	tr, err := pc.AddTransceiverFromTrack(video, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	if err != nil {
		t.Fatal(err)
	}
	go func() { // pion answers NACKs while somebody reads its RTCP; it ends with the peer
		for {
			if _, _, err := tr.Sender().ReadRTCP(); err != nil {
				return
			}
		}
	}()
	s, err := e.Answer(AnswerRequest{Offer: hidden(t, pc), Publish: true})
	if err != nil {
		t.Fatal(err)
	}
	l := run(t, s)
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: w.through(s.SDP())}); err != nil {
		t.Fatal(err)
	}
	l.waitConnected(t)
	bothConnected(t, pc)
	w.up.Store(20) // 5 %

	const packets = 600
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for i := range packets + 20 {
			if i == packets {
				w.up.Store(0) // what follows shows the gateway that the last ones are missing
			}
			_ = video.WriteRTP(vp8(uint16(i), uint32(i)*3000, true))
			time.Sleep(2 * time.Millisecond)
		}
	})
	src := source(t, s, media.Video)
	got := read(t, src, packets+20)
	var sequences []int
	for _, p := range got {
		sequences = append(sequences, int(p.Sequence))
	}
	slices.Sort(sequences)
	if distinct := len(slices.Compact(sequences)); distinct != packets+20 {
		t.Errorf("%d distinct packets came, want %d", distinct, packets+20)
	}
	deadline := time.Now().Add(patience)
	for src.Stats().Packets < packets+20 && time.Now().Before(deadline) {
		time.Sleep(hurry)
	}
	st := src.Stats()
	t.Logf("%d packets lost on the path; %d repaired, %d requests, loss seen %.1f %%", w.lost.Load(), st.Repaired, st.Requested, 100*st.Loss)
	if st.Repaired < 20 || st.Requested > 3*uint64(w.lost.Load()) {
		t.Errorf("repaired %d with %d requests for %d lost ones; want all, with 3 requests each at most", st.Repaired, st.Requested, w.lost.Load())
	}
}

// The viewer asks by NACK and gets RTX; a packet is not sent again within a round trip.
func TestPacketsLostOnTheViewersPathAreRepaired(t *testing.T) {
	e := testEngine(t)
	w := newWire(t, int(e.udp.port))
	pc := client(t)
	got := make(chan uint16, 1000)
	var readers sync.WaitGroup
	t.Cleanup(readers.Wait)
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		readers.Go(func() {
			for {
				p, _, err := track.ReadRTP()
				if err != nil {
					return
				}
				got <- p.SequenceNumber
			}
		})
	})
	t.Cleanup(func() { _ = pc.Close() })
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	s, err := e.Answer(AnswerRequest{Offer: hidden(t, pc), Stream: "s", Send: map[media.Kind]media.Codec{media.Video: vp8Codec}})
	if err != nil {
		t.Fatal(err)
	}
	l := run(t, s)
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: w.through(s.SDP())}); err != nil {
		t.Fatal(err)
	}
	l.waitConnected(t)
	bothConnected(t, pc)
	sink := s.Sinks()[0]
	cache := &cacheFeedback{}
	sink.SetFeedback(cache)
	w.down.Store(20)
	// pion hands a retransmission out only together with a later packet: go on until all are seen.
	const packets = 400
	stop := make(chan struct{})
	var writer sync.WaitGroup
	defer writer.Wait()
	defer close(stop)
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			p := outgoing(uint16(i))
			cache.add(p)
			sink.Write([]media.Outgoing{p})
		}
	})
	seen := make(map[uint16]bool)
	deadline := time.After(patience)
	for len(seen) < packets {
		select {
		case q := <-got:
			if q < packets {
				seen[q] = true
			}
		case <-deadline:
			t.Fatalf("%d of %d packets came", len(seen), packets)
		}
	}
	st := sink.Stats()
	t.Logf("%d RTP packets lost on the path; viewer asked for %d, %d sent again", w.lost.Load(), st.NACKs, st.Resent)
	if st.Resent == 0 {
		t.Error("nothing was sent again")
	}
}

type cacheFeedback struct {
	mu      sync.Mutex
	packets []media.Outgoing
}

func (c *cacheFeedback) add(p media.Outgoing) {
	c.mu.Lock()
	c.packets = append(c.packets, p)
	c.mu.Unlock()
}
func (c *cacheFeedback) RequestKeyframe()                   {}
func (c *cacheFeedback) Timestamp(time.Time) (uint32, bool) { return 0, false }
func (c *cacheFeedback) Resend(sequences []uint16, emit func(media.Outgoing)) {
	for _, q := range sequences {
		c.mu.Lock()
		ok := int(q) < len(c.packets)
		var p media.Outgoing
		if ok {
			p = c.packets[q]
		}
		c.mu.Unlock()
		if ok {
			emit(p)
		}
	}
}

// The largest layer that is alive is shown; when it goes, another takes over at its keyframe.
func TestSimulcastShowsTheLargestLayerThatIsAlive(t *testing.T) {
	e := testEngine(t)
	pc := client(t)
	var layers []*webrtc.TrackLocalStaticRTP
	for _, rid := range []string{"h", "l"} {
		track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "v", "s", webrtc.WithRTPStreamID(rid))
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, track)
	}
	tr, err := pc.AddTransceiverFromTrack(layers[0], webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Sender().AddEncoding(layers[1]); err != nil {
		t.Fatal(err)
	}
	o := offer(t, pc, nil)
	s, err := e.Answer(AnswerRequest{Offer: o, Publish: true})
	if err != nil {
		t.Fatal(err)
	}
	l := run(t, s)
	answered(t, pc, s)
	l.waitConnected(t)
	bothConnected(t, pc)
	ids := make(map[string]uint8)
	for _, p := range tr.Sender().GetParameters().HeaderExtensions {
		ids[p.URI] = uint8(p.ID)
	}
	if ids[sdp.ExtensionMID] == 0 || ids[sdp.ExtensionRID] == 0 {
		t.Fatalf("the answer negotiates no MID and RID: %v", ids)
	}
	var highGone atomic.Bool
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			for n, layer := range layers {
				if n == 0 && highGone.Load() {
					continue
				}
				p := vp8(uint16(i), uint32(i)*900, true)
				p.Payload = append(p.Payload, make([]byte, (1-n)*500)...)
				if i%10 != 0 {
					p.Payload[1] |= 1 // an interframe
				}
				_ = p.SetExtension(ids[sdp.ExtensionMID], []byte(tr.Mid()))
				_ = p.SetExtension(ids[sdp.ExtensionRID], []byte(layer.RID()))
				_ = layer.WriteRTP(p)
			}
		}
	})
	src := source(t, s, media.Video)
	await := func(what string, ok func(*media.Packet) bool) {
		t.Helper()
		deadline := time.Now().Add(patience)
		for !slices.ContainsFunc(read(t, src, 5), ok) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	await("the high layer never came", func(p *media.Packet) bool { return len(p.Payload) > 900 })
	highGone.Store(true)
	await("no change over to the low layer", func(p *media.Packet) bool { return p.Discontinuity && len(p.Payload) < 900 && p.Payload[1]&1 == 0 })
	highGone.Store(false)
	await("no change back to the high layer", func(p *media.Packet) bool { return p.Discontinuity && len(p.Payload) > 900 && p.Payload[1]&1 == 0 })
}
