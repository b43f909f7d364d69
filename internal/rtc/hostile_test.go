package rtc

import (
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"sightline/internal/media"
)

// The rows are those of docs/CONFORMANCE.md.

// wired connects a pion peer that publishes VP8 over a wire of the test's.
func wired(t *testing.T) (*life, *wire, *webrtc.TrackLocalStaticRTP, *webrtc.PeerConnection) {
	t.Helper()
	e, pc := testEngine(t), client(t)
	w := newWire(t, int(e.udp.port))
	video, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "v", "s")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pc.AddTransceiverFromTrack(video, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
		t.Fatal(err)
	}
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
	return l, w, video, pc
}

func (l *life) waitDiscarded(t *testing.T, want uint64) {
	t.Helper()
	for deadline := time.Now().Add(patience); l.discarded.Load() < want; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d packets discarded, want %d", l.discarded.Load(), want)
		}
	}
	if got := l.discarded.Load(); got != want {
		t.Errorf("%d packets discarded, want %d", got, want)
	}
}

// Row 77: before DTLS nothing is media, whoever sends it.
func TestRTPBeforeDTLSIsDropped(t *testing.T) {
	b := newConsentBench(t, true)
	plain, err := vp8(1, 0, true).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	b.Session.receive(datagram{plain, b.addr, time.Now()})
	if b.discarded.Load() != 1 || b.lastMedia.Load() != 0 {
		t.Errorf("%d packets discarded, last media at %d; want 1 and none", b.discarded.Load(), b.lastMedia.Load())
	}
	b.engine.udp.dispatch(plain, b.addr, time.Now()) // from an address that has shown no integrity
	if n := b.engine.udp.stats.unknown.Load(); n != 1 || len(b.in) != 0 {
		t.Errorf("%d datagrams of nobody, %d handed to the session; want 1 and none", n, len(b.in))
	}
}

// Rows 77 and 78: what is not encrypted, is a replay or has a bad tag is dropped and counted,
// though it comes from the peer's own address; the media goes on.
func TestForgedAndReplayedRTPIsDropped(t *testing.T) {
	l, w, video, _ := wired(t)
	src := source(t, l.Session, media.Video)
	if err := video.WriteRTP(vp8(1, 0, true)); err != nil {
		t.Fatal(err)
	}
	read(t, src, 1)
	sealed := *w.lastRTP.Load()
	forged := slices.Clone(sealed)
	forged[len(forged)-1] ^= 1
	plain, err := vp8(2, 3000, true).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	before := l.discarded.Load()
	for i, b := range [][]byte{sealed, forged, plain, sealed[:14]} {
		if _, err := w.back.Write(b); err != nil {
			t.Fatal(err)
		}
		l.waitDiscarded(t, before+uint64(i)+1)
	}
	if err := video.WriteRTP(vp8(2, 3000, true)); err != nil {
		t.Fatal(err)
	}
	if got := read(t, src, 1); len(got) != 1 || got[0].Timestamp != 3000 {
		t.Errorf("got %d packets, want the one that was sent", len(got))
	}
	for deadline := time.Now().Add(patience); src.Stats().Packets != 2; time.Sleep(publisherTick) {
		if time.Now().After(deadline) {
			t.Fatalf("%d packets counted, want 2", src.Stats().Packets)
		}
	}
}

// Row 79: SSRCs without end are not remembered without end, and the track keeps its own.
func TestSSRCsOfASessionAreBounded(t *testing.T) {
	b := newConsentBench(t, true)
	r := b.receiver
	pt := b.Session.answer.Sections[0].Formats[0].PayloadType
	for i := range uint32(10_000) {
		h := rtp.Header{Version: 2, SSRC: 1_000_000 + i, PayloadType: 90}
		if i%2 == 0 {
			h.PayloadType = pt
		}
		r.adopt(&h)
	}
	if n := len(r.streams) + len(r.refused); n > maxSSRCs {
		t.Errorf("%d SSRCs are remembered, want %d at most", n, maxSSRCs)
	}
	for i := range 2 * maxSSRCs {
		if st := r.adopt(&rtp.Header{Version: 2, SSRC: 5_000_000 + uint32(i), PayloadType: 90}); st != nil {
			t.Fatalf("an unknown payload type is taken for %+v", st)
		}
	}
}

// Row 86: BYE alone ends nothing (RFC 7675, section 5.2).
func TestBYEEndsNothing(t *testing.T) {
	l, _, video, pc := wired(t)
	if err := video.WriteRTP(vp8(1, 0, true)); err != nil {
		t.Fatal(err)
	}
	src := source(t, l.Session, media.Video)
	read(t, src, 1)
	ssrc := l.receiver.tracks[0].layers[0].ssrc.Load()
	if err := pc.WriteRTCP([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: ssrc}, &rtcp.Goodbye{Sources: []uint32{ssrc}}}); err != nil {
		t.Fatal(err)
	}
	if err := video.WriteRTP(vp8(2, 3000, true)); err != nil {
		t.Fatal(err)
	}
	if got := read(t, src, 1); len(got) != 1 || l.State() != "connected" {
		t.Errorf("got %d packets after BYE, the session is %s", len(got), l.State())
	}
}
