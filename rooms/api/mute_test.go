package api_test

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"sightline/internal/doortest"
)

// listen connects a viewer to a publisher's audio and returns the packets of
// its sound as they come.
func listen(t *testing.T, g *doortest.Gateway, path string, header ...string) <-chan *rtp.Packet {
	t.Helper()
	viewer := doortest.NewPeer(t)
	viewer.Receive(t, webrtc.RTPCodecTypeAudio)
	sound := make(chan *rtp.Packet, 4096) // 80 s of packets
	var reader sync.WaitGroup
	viewer.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		reader.Add(1)
		defer reader.Done()
		for {
			p, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			sound <- p
		}
	})
	t.Cleanup(func() {
		_ = viewer.Close()
		reader.Wait()
	})
	viewer.Connect(t, g, path, header...)
	return sound
}

// TestMuteIsHeardByAViewerWithin100Milliseconds mutes a publisher that knows nothing of it.
func TestMuteIsHeardByAViewerWithin100Milliseconds(t *testing.T) {
	g := gateway(t, nil)
	voice, silence := []byte{0xfc, 1, 2, 3, 4, 5, 6, 7}, []byte{0xfc, 0xff, 0xfe}
	publisher := doortest.NewPeer(t)
	publisher.Send(t, func(mime string) []byte {
		if mime == webrtc.MimeTypeOpus {
			return voice
		}
		return doortest.Keyframe(mime)
	}, webrtc.MimeTypeOpus, webrtc.MimeTypeVP8)
	publisher.Connect(t, g, "/whip/mri-2/console")
	doortest.Eventually(t, func() string {
		if res := g.Do(t, "GET", "/api/rooms/mri-2/tracks", ""); strings.Count(res.Text, `"state":"live"`) != 2 {
			return "the pair is not live: " + res.Text
		}
		return ""
	})
	next := events(t, g, "/api/rooms/mri-2/events", "")
	sound := listen(t, g, "/whep/mri-2/console/audio")

	const most = 5 // packets of 20 ms in 100 ms
	var last *rtp.Packet
	// expect reads n packets of the payload, before which at most some others may come.
	expect := func(payload []byte, n, others int) {
		t.Helper()
		for passed := 0; n > 0; {
			var p *rtp.Packet
			select {
			case p = <-sound:
			case <-time.After(10 * time.Second):
				t.Fatal("no packet comes to the viewer")
			}
			if last != nil && (p.SequenceNumber != last.SequenceNumber+1 || p.Timestamp != last.Timestamp+960) {
				t.Errorf("sequence number goes on by %d, timestamp by %d, want 1 and 960",
					p.SequenceNumber-last.SequenceNumber, p.Timestamp-last.Timestamp)
			}
			last = p
			if bytes.Equal(p.Payload, payload) {
				n--
				continue
			}
			if passed++; passed > others || !bytes.Equal(p.Payload, voice) && !bytes.Equal(p.Payload, silence) {
				t.Fatalf("packet %d that is not % x: % x", passed, payload, p.Payload)
			}
		}
	}
	mute := func(change string) {
		t.Helper()
		res := g.Do(t, "PATCH", "/api/rooms/mri-2/publishers/console", `{"muted":`+change+`}`, "Content-Type", "application/json")
		if res.StatusCode != http.StatusOK || !strings.Contains(res.Text, `"muted":`+change) {
			t.Fatalf("PATCH: got %d %s", res.StatusCode, res.Text)
		}
		for len(sound) > 0 { // what came before the answer
			last = <-sound
		}
		for {
			_, event := next()
			if track, ok := event["track"].(map[string]any); ok && track["id"] == "console/audio" && track["muted"] == (change == "true") {
				return
			}
		}
	}
	expect(voice, 10, 0)
	mute("true")
	expect(silence, 25, most)
	mute("false")
	expect(voice, 25, most)
}
