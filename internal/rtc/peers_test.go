package rtc

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/internal/sdp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

func testEngine(t testing.TB, change ...func(*Config)) *Engine {
	t.Helper()
	c := Defaults()
	c.UDPListen = "127.0.0.1:0"
	c.SocketBuffer = 1 << 20
	for _, f := range change {
		f(&c)
	}
	e, err := New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := len(e.sessions); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
		e.Close()
	})
	return e
}

// client returns a pion peer on loopback.
func client(t *testing.T) *webrtc.PeerConnection {
	t.Helper()
	var se webrtc.SettingEngine
	se.SetIncludeLoopbackCandidate(true)
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	se.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	se.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(se)).NewPeerConnection(webrtc.Configuration{BundlePolicy: webrtc.BundlePolicyMaxBundle})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	return pc
}

func offer(t *testing.T, pc *webrtc.PeerConnection, o *webrtc.OfferOptions) *sdp.Offer {
	t.Helper()
	d, err := pc.CreateOffer(o)
	if err != nil {
		t.Fatal(err)
	}
	text := gathered(t, pc, d)
	parsed, err := sdp.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return parsed
}

// gathered returns a description with all of the client's candidates.
func gathered(t *testing.T, pc *webrtc.PeerConnection, d webrtc.SessionDescription) string {
	t.Helper()
	all := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(d); err != nil {
		t.Fatal(err)
	}
	<-all
	return pc.LocalDescription().SDP
}

// A life is a session that runs.
type life struct {
	*Session
	cancel context.CancelCauseFunc
	ended  chan error
}

func run(t *testing.T, s *Session) *life {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	l := &life{s, cancel, make(chan error, 1)}
	var wg sync.WaitGroup
	wg.Go(func() { l.ended <- s.Run(ctx) })
	t.Cleanup(func() { cancel(Deleted); wg.Wait() })
	return l
}

func (l *life) waitConnected(t *testing.T) {
	t.Helper()
	select {
	case <-l.Connected():
	case err := <-l.ended:
		t.Fatalf("ended before it was connected: %v", err)
	case <-time.After(patience):
		t.Fatal("not connected")
	}
}

func (l *life) waitEnd(t *testing.T) error {
	t.Helper()
	select {
	case err := <-l.ended:
		return err
	case <-time.After(patience):
		t.Fatal("has not ended")
		return nil
	}
}

// bothConnected waits for the client: the DTLS server is done first, and what a client
// sends before it is done is lost.
func bothConnected(t *testing.T, pc *webrtc.PeerConnection) {
	t.Helper()
	for deadline := time.Now().Add(patience); pc.ConnectionState() != webrtc.PeerConnectionStateConnected; {
		if time.Now().After(deadline) {
			t.Fatalf("the client is %s", pc.ConnectionState())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func answered(t *testing.T, pc *webrtc.PeerConnection, s *Session) {
	t.Helper()
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(s.SDP())}); err != nil {
		t.Fatalf("%v\n%s", err, s.SDP())
	}
}

// publish connects a pion peer that sends VP8 and Opus.
func publish(t *testing.T, e *Engine, pc *webrtc.PeerConnection) (l *life, video, audio *webrtc.TrackLocalStaticRTP, videoSender *webrtc.RTPSender) {
	t.Helper()
	video, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "v", "s")
	if err != nil {
		t.Fatal(err)
	}
	audio, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "a", "s")
	if err != nil {
		t.Fatal(err)
	}
	for _, track := range []webrtc.TrackLocal{audio, video} {
		tr, err := pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		if err != nil {
			t.Fatal(err)
		}
		videoSender = tr.Sender()
	}
	s, err := e.Answer(AnswerRequest{Offer: offer(t, pc, nil), Publish: true})
	if err != nil {
		t.Fatal(err)
	}
	l = run(t, s)
	answered(t, pc, s)
	l.waitConnected(t)
	bothConnected(t, pc)
	return l, video, audio, videoSender
}

func source(t *testing.T, s *Session, kind media.Kind) media.Source {
	t.Helper()
	for _, src := range s.Sources() {
		if src.Kind() == kind {
			return src
		}
	}
	t.Fatalf("no %s", kind)
	return nil
}

func vp8(seq uint16, ts uint32, marker bool) *rtp.Packet {
	return &rtp.Packet{
		Header:  rtp.Header{Version: 2, SequenceNumber: seq, Timestamp: ts, Marker: marker},
		Payload: append([]byte{0x10, 0x00}, make([]byte, 500)...),
	}
}

// read reads n packets of src.
func read(t *testing.T, src media.Source, n int) []*media.Packet {
	t.Helper()
	got := make(chan []*media.Packet, 1)
	go func() { // ends with its session at the latest
		var all []*media.Packet
		for len(all) < n {
			var err error
			if all, err = src.ReadBurst(all); err != nil {
				break
			}
		}
		got <- all
	}()
	select {
	case all := <-got:
		return all
	case <-time.After(patience):
		t.Fatalf("fewer than %d packets came", n)
		return nil
	}
}

func TestAPublishersPacketsComeOutAsTheyWereSent(t *testing.T) {
	e := testEngine(t)
	l, video, _, _ := publish(t, e, client(t))
	for i := range 30 {
		if err := video.WriteRTP(vp8(uint16(i), uint32(i/3)*3000, i%3 == 2)); err != nil {
			t.Fatal(err)
		}
	}
	packets := read(t, source(t, l.Session, media.Video), 30)
	for i, p := range packets[1:] {
		if p.Sequence != packets[i].Sequence+1 {
			t.Errorf("sequence %d follows %d", p.Sequence, packets[i].Sequence)
		}
	}
	if p := packets[2]; !p.Marker || !p.Codec.Is("VP8") || len(p.Payload) != 502 {
		t.Errorf("got %+v, want the last packet of a VP8 frame with 502 bytes", p)
	}
	if l.Path() != "udp" || l.State() != "connected" {
		t.Errorf("path %q, state %q; want udp, connected", l.Path(), l.State())
	}
}

func TestAKeyframeRequestReachesThePublisher(t *testing.T) {
	e := testEngine(t)
	l, video, _, sender := publish(t, e, client(t))
	src := source(t, l.Session, media.Video)
	src.RequestKeyframe() // before the SSRC is known, perhaps: it is kept
	if err := video.WriteRTP(vp8(1, 0, true)); err != nil {
		t.Fatal(err)
	}
	_ = sender.SetReadDeadline(time.Now().Add(patience))
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			t.Fatalf("no PLI: %v", err)
		}
		for _, p := range packets {
			if _, ok := p.(*rtcp.PictureLossIndication); ok {
				return
			}
		}
	}
}

func TestTheGatewaysEndClosesDTLSAndRevokesConsent(t *testing.T) {
	e := testEngine(t)
	pc := client(t)
	closed := make(chan struct{})
	l, _, _, _ := publish(t, e, pc)
	var once sync.Once
	pc.SCTP()
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateClosed || s == webrtc.PeerConnectionStateFailed || s == webrtc.PeerConnectionStateDisconnected {
			once.Do(func() { close(closed) })
		}
	})
	l.cancel(Removed)
	if err := l.waitEnd(t); !errors.Is(err, Removed) {
		t.Errorf("ended by %v, want Removed", err)
	}
	select {
	case <-closed:
	case <-time.After(patience):
		t.Error("the peer has not noticed the close_notify")
	}
	if got := e.Snapshot().Ended["removed"]; got != 1 {
		t.Errorf("%d sessions ended as removed, want 1", got)
	}
}

func TestThePeersCloseNotifyEndsTheSession(t *testing.T) {
	e := testEngine(t)
	pc := client(t)
	l, _, _, _ := publish(t, e, pc)
	if err := pc.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.waitEnd(t); !errors.Is(err, PeerClosed) {
		t.Errorf("ended by %v, want PeerClosed", err)
	}
}

// fakeFeedback answers a viewer's requests.
type fakeFeedback struct {
	keyframes atomic.Int32
	packet    atomic.Pointer[media.Outgoing]
}

func (f *fakeFeedback) RequestKeyframe() { f.keyframes.Add(1) }
func (f *fakeFeedback) Resend(sequences []uint16, emit func(media.Outgoing)) {
	for _, q := range sequences {
		if p := f.packet.Load(); p != nil && p.Sequence == q {
			emit(*p)
		}
	}
}
func (f *fakeFeedback) Timestamp(time.Time) (uint32, bool) { return 90000, true }

var vp8Codec = media.Codec{Name: "VP8", ClockRate: 90000}

func play(t *testing.T, e *Engine, pc *webrtc.PeerConnection) (*life, *LocalTrack) {
	t.Helper()
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		if _, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			t.Fatal(err)
		}
	}
	s, err := e.Answer(AnswerRequest{
		Offer: offer(t, pc, nil), Stream: "stream",
		Send: map[media.Kind]media.Codec{media.Video: vp8Codec},
	})
	if err != nil {
		t.Fatal(err)
	}
	l := run(t, s)
	answered(t, pc, s)
	l.waitConnected(t)
	bothConnected(t, pc)
	if len(s.Sinks()) != 1 || s.Sinks()[0].Kind() != media.Video {
		t.Fatalf("got %d sinks, want one for video: audio was not to be sent", len(s.Sinks()))
	}
	return l, s.Sinks()[0]
}

func outgoing(seq uint16) media.Outgoing {
	return media.Outgoing{
		Packet:   &media.Packet{Codec: &vp8Codec, Payload: append([]byte{0x10, 0, byte(seq)}, make([]byte, 300)...), Marker: true},
		Sequence: seq, Timestamp: uint32(seq) * 3000,
	}
}

func TestAViewerGetsWhatIsWritten(t *testing.T) {
	e := testEngine(t)
	pc := client(t)
	got := make(chan *rtp.Packet, 200)
	tracks := make(chan *webrtc.TrackRemote, 1)
	var readers sync.WaitGroup
	t.Cleanup(readers.Wait)
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		tracks <- track
		readers.Go(func() {
			for {
				p, _, err := track.ReadRTP()
				if err != nil {
					return
				}
				got <- p
			}
		})
	})
	t.Cleanup(func() { _ = pc.Close() })
	l, sink := play(t, e, pc)
	if !sink.SetCodec(vp8Codec) || sink.SetCodec(media.Codec{Name: "AV2", ClockRate: 90000}) {
		t.Error("VP8 has to be taken, AV2 can't be")
	}
	feedback := &fakeFeedback{}
	sink.SetFeedback(feedback)
	var all []media.Outgoing
	for i := range 100 {
		all = append(all, outgoing(uint16(i)))
	}
	for at := 0; at < len(all); at += 10 {
		if !sink.Write(all[at : at+10]) {
			t.Fatal("not written")
		}
	}
	for i := range 100 {
		select {
		case p := <-got:
			if p.SequenceNumber != uint16(i) || p.Timestamp != uint32(i)*3000 || p.Payload[2] != byte(i) {
				t.Fatalf("packet %d: got sequence %d, timestamp %d", i, p.SequenceNumber, p.Timestamp)
			}
		case <-time.After(patience):
			t.Fatalf("packet %d did not come", i)
		}
	}
	track := <-tracks
	if track.StreamID() != "stream" {
		t.Errorf("stream %q, want \"stream\"", track.StreamID())
	}

	p := outgoing(50)
	feedback.packet.Store(&p)
	if err := pc.WriteRTCP([]rtcp.Packet{
		&rtcp.PictureLossIndication{MediaSSRC: uint32(track.SSRC())},
		&rtcp.TransportLayerNack{MediaSSRC: uint32(track.SSRC()), Nacks: rtcp.NackPairsFromSequenceNumbers([]uint16{50, 70})},
	}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for sink.Stats().Resent != 1 || feedback.keyframes.Load() != 1 {
		if time.Now().After(deadline) {
			t.Fatalf("resent %d, keyframes %d; want 1, 1", sink.Stats().Resent, feedback.keyframes.Load())
		}
		time.Sleep(5 * time.Millisecond)
	}
	if st := sink.Stats(); st.Packets != 100 || st.NACKs != 2 || st.Dropped != 0 {
		t.Errorf("got %+v, want 100 packets, 2 NACKs, nothing dropped", st)
	}
	_ = l
}

func TestAnICERestartKeepsTheSession(t *testing.T) {
	e := testEngine(t)
	pc := client(t)
	l, video, _, _ := publish(t, e, pc)
	src := source(t, l.Session, media.Video)
	if err := video.WriteRTP(vp8(1, 0, true)); err != nil {
		t.Fatal(err)
	}
	read(t, src, 1)
	before, etag := l.path.Load(), l.ETag()

	again := offer(t, pc, &webrtc.OfferOptions{ICERestart: true})
	reply, err := l.Patch(&sdp.Fragment{Ufrag: again.Ufrag, Pwd: again.Pwd, Candidates: again.Candidates}, false)
	if err != nil {
		t.Fatal(err)
	}
	if l.ETag() == etag {
		t.Error("the ETag has to change with a restart")
	}
	answer := splice(string(l.SDP()), string(reply))
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		t.Fatalf("%v\n%s", err, answer)
	}
	deadline := time.Now().Add(patience)
	for l.path.Load().generation == before.generation {
		if time.Now().After(deadline) {
			t.Fatal("the path has not changed over")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := video.WriteRTP(vp8(2, 3000, true)); err != nil {
		t.Fatal(err)
	}
	read(t, src, 1)

	if _, err := l.Patch(&sdp.Fragment{Ufrag: before.generation.remoteUfrag, Pwd: before.generation.remotePwd}, false); fault.KindOf(err) != fault.Precondition {
		t.Errorf("old credentials: got %v, want a failed precondition", err)
	}
	if _, err := l.Patch(&sdp.Fragment{Ufrag: again.Ufrag, Pwd: strings.Repeat("x", 22)}, false); fault.KindOf(err) != fault.BadRequest {
		t.Errorf("only one of ufrag and pwd new: got %v, want a bad request", err)
	}
	if restart, err := l.Patch(&sdp.Fragment{Ufrag: again.Ufrag, Pwd: again.Pwd, EndOfCandidates: true}, false); restart != nil || err != nil {
		t.Errorf("trickle: got %q, %v", restart, err)
	}
}

// splice puts the credentials of a restart fragment into an answer, as a client does.
func splice(answer, fragment string) string {
	value := func(name string) string {
		for line := range strings.SplitSeq(fragment, "\r\n") {
			if v, ok := strings.CutPrefix(line, "a="+name+":"); ok {
				return v
			}
		}
		return ""
	}
	var out []string
	for line := range strings.SplitSeq(answer, "\r\n") {
		for _, name := range []string{"ice-ufrag", "ice-pwd"} {
			if strings.HasPrefix(line, "a="+name+":") {
				line = "a=" + name + ":" + value(name)
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, "\r\n")
}

func TestAWrongCertificateEndsTheSession(t *testing.T) {
	e := testEngine(t)
	pc := client(t)
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	o := offer(t, pc, nil)
	o.Fingerprints = []sdp.Fingerprint{{Hash: "sha-256", Value: make([]byte, 32)}}
	s, err := e.Answer(AnswerRequest{Offer: o, Stream: "s", Send: map[media.Kind]media.Codec{media.Video: vp8Codec}})
	if err != nil {
		t.Fatal(err)
	}
	l := run(t, s)
	answered(t, pc, s)
	if err := l.waitEnd(t); !errors.Is(err, DTLSFailed) {
		t.Errorf("ended by %v, want DTLSFailed", err)
	}
}
