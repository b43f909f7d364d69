package rtc

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"sightline/internal/media"
	"sightline/internal/sdp"
)

// Clients' quirks: OBS puts its header extensions on every packet, whatever the answer says.
func TestHeaderExtensionsThatWereNotNegotiatedAreIgnored(t *testing.T) {
	e := testEngine(t)
	l, video, _, _ := publish(t, e, client(t))
	for i := range 10 {
		p := vp8(uint16(i), uint32(i)*3000, true)
		for id, value := range map[uint8]string{13: "nosuch", 14: "0"} {
			if err := p.SetExtension(id, []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
		if err := video.WriteRTP(p); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range read(t, source(t, l.Session, media.Video), 10) {
		if len(p.Payload) != 502 || p.HasLevel || p.HasRotation {
			t.Errorf("got %+v, want the payload alone", p)
		}
	}
}

// Clients' quirks: OBS sends a RID although its one layer has none in the SDP, and its SSRC
// is told by its MID alone.
func TestRIDOfASingleLayerIsIgnored(t *testing.T) {
	e, pc := testEngine(t), client(t)
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "v", "s")
	if err != nil {
		t.Fatal(err)
	}
	tr, err := pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	if err != nil {
		t.Fatal(err)
	}
	offer(t, pc, nil)
	var text strings.Builder
	for line := range strings.Lines(pc.LocalDescription().SDP) {
		if !strings.HasPrefix(line, "a=ssrc") {
			text.WriteString(line)
		}
	}
	o, err := sdp.Parse([]byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
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
	for i := range 10 {
		p := vp8(uint16(i), uint32(i)*3000, true)
		if err := errors.Join(p.SetExtension(ids[sdp.ExtensionMID], []byte(tr.Mid())), p.SetExtension(ids[sdp.ExtensionRID], []byte("0"))); err != nil {
			t.Fatal(err)
		}
		if err := track.WriteRTP(p); err != nil {
			t.Fatal(err)
		}
	}
	read(t, source(t, s, media.Video), 10)
}

// Clients' quirks: GStreamer plays, and asks for keyframes by FIR. A command number that is
// repeated is the same request (RFC 5104, section 4.3.1.1).
func TestFIRIsAKeyframeRequest(t *testing.T) {
	e, pc := testEngine(t), client(t)
	_, sink := play(t, e, pc)
	feedback := &fakeFeedback{}
	sink.SetFeedback(feedback)
	ssrc := uint32(pc.GetReceivers()[1].Track().SSRC())
	for _, number := range []uint8{7, 7, 8, 8, 9} {
		fir := &rtcp.FullIntraRequest{SenderSSRC: 1, MediaSSRC: ssrc, FIR: []rtcp.FIREntry{{SSRC: ssrc, SequenceNumber: number}}}
		if err := pc.WriteRTCP([]rtcp.Packet{fir}); err != nil {
			t.Fatal(err)
		}
	}
	if err := pc.WriteRTCP([]rtcp.Packet{&rtcp.TransportLayerNack{MediaSSRC: ssrc, Nacks: []rtcp.NackPair{{PacketID: 1}}}}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); sink.Stats().NACKs == 0; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the last packet did not come")
		}
	}
	if asked := feedback.keyframes.Load(); asked != 3 {
		t.Errorf("%d keyframes asked for, want 3", asked)
	}
}
