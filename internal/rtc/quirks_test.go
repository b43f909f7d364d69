package rtc

import (
	"testing"
	"time"

	"github.com/pion/rtcp"

	"sightline/internal/media"
)

// Clients' quirks: OBS puts its header extensions on every packet, whatever the answer
// says, and a RID where there is one layer only.
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

// Clients' quirks: GStreamer plays, and asks for keyframes by FIR. A command number that is
// repeated is the same request (RFC 5104, section 4.3.1.1).
func TestFIRIsAKeyframeRequest(t *testing.T) {
	e, pc := testEngine(t), client(t)
	_, sink := play(t, e, pc)
	feedback := &fakeFeedback{}
	sink.SetFeedback(feedback)
	ssrc := uint32(pc.GetReceivers()[1].Track().SSRC())
	asked := int32(0)
	for _, number := range []uint8{7, 7, 8, 8, 9} {
		fir := &rtcp.FullIntraRequest{SenderSSRC: 1, MediaSSRC: ssrc, FIR: []rtcp.FIREntry{{SSRC: ssrc, SequenceNumber: number}}}
		if err := pc.WriteRTCP([]rtcp.Packet{fir}); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(patience); asked != 3; asked = feedback.keyframes.Load() {
		if time.Now().After(deadline) || asked > 3 {
			t.Fatalf("%d keyframes asked for, want 3", asked)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
