package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"sightline/internal/audit"
	"sightline/internal/doortest"
	"sightline/internal/rtc"
	"sightline/rooms/api"
	"sightline/rooms/api/apitest"
)

// A room moves from a gateway to another: all sessions in it end at once and as moved, those that
// are not connected yet and those of the mix too, and so does the stream of its events; at the other
// gateway a viewer who comes before his publisher waits for him.
func TestRoomMovesToAnotherGateway(t *testing.T) {
	from, to := gateway(t, nil), gateway(t, nil)

	camera := doortest.NewPeer(t)
	camera.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8, webrtc.MimeTypeOpus)
	camera.Connect(t, from, "/whip/mri-2/console")
	viewer, listener := doortest.NewPeer(t), doortest.NewPeer(t)
	viewer.Receive(t, webrtc.RTPCodecTypeVideo)
	viewer.Connect(t, from, "/whep/mri-2/console/video")
	listener.Receive(t, webrtc.RTPCodecTypeAudio)
	listener.Connect(t, from, "/whep/mri-2/~mix")

	// Those that never connect.
	later := func(receive bool) string {
		p := doortest.NewPeer(t)
		if receive {
			p.Receive(t, webrtc.RTPCodecTypeAudio)
		} else {
			p.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8)
		}
		return p.Offer(t, nil)
	}
	for path, offer := range map[string]string{"/whip/mri-2/late": later(false), "/whep/mri-2/console/audio": later(true), "/whep/mri-2/~mix": later(true)} {
		if res := from.Post(t, path, offer); res.StatusCode != 201 {
			t.Fatalf("POST %s: got %d %s", path, res.StatusCode, res.Text)
		}
	}
	res, err := http.Get(from.URL + "/api/rooms/mri-2/events")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()

	began := time.Now()
	from.Bridge.Move("mri-2")
	from.Rooms.Move("mri-2", "drained")
	for _, p := range []*doortest.Peer{camera, viewer, listener} {
		p.WaitClosed(t)
	}
	if took := time.Since(began); took > 4*time.Second { // pion takes silence for an end after 5 s
		t.Errorf("the clients know it after %v, want at once: is there a close_notify?", took)
	}
	doortest.Eventually(t, func() string {
		if got := from.Peers.Snapshot().Ended[string(rtc.Moved)]; got != 6 || from.Sessions.Len() != 0 {
			return "not all six sessions have ended as moved"
		}
		return ""
	})
	for _, what := range []audit.What{audit.Published, audit.Watched, audit.Heard} {
		for _, e := range from.Audit.Events(what) {
			if e.Phase == audit.Ended && e.Cause != "moved" {
				t.Errorf("recorded as ended: %+v, want the cause moved", e)
			}
		}
	}
	stream, err := io.ReadAll(res.Body) // to its end
	if err != nil {
		t.Fatal(err)
	}
	messages := strings.Split(strings.TrimSpace(string(stream)), "\n\n")
	lines := strings.Split(messages[len(messages)-1], "\n")
	var last map[string]any
	if err := json.Unmarshal([]byte(strings.TrimPrefix(lines[len(lines)-1], "data: ")), &last); err != nil {
		t.Fatalf("%v in %q", err, messages)
	}
	if last["type"] != "room-moved" || last["reason"] != "drained" || lines[0] != "retry: 100" {
		t.Errorf("the last event is %q, want room-moved, and to come back at once", lines)
	}
	if err := apitest.Load(t, api.Description).Components.Schemas["Event"].Value.VisitJSON(last); err != nil {
		t.Error(err)
	}

	// At the other gateway.
	to.Rooms.Keep("mri-2", []string{"console"})
	second := doortest.NewPeer(t)
	second.Receive(t, webrtc.RTPCodecTypeVideo)
	offer, answer := second.Offer(t, nil), make(chan int, 1)
	go func() {
		res, err := http.Post(to.URL+"/whep/mri-2/console/video", "application/sdp", strings.NewReader(offer))
		if err != nil {
			answer <- 0
			return
		}
		res.Body.Close()
		answer <- res.StatusCode
	}()
	again := doortest.NewPeer(t)
	again.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8, webrtc.MimeTypeOpus)
	again.Connect(t, to, "/whip/mri-2/console")
	if got := <-answer; got != 201 {
		t.Errorf("the viewer who comes before the publisher is answered %d, want 201", got)
	}
	if got := to.Do(t, "GET", "/api/rooms/mri-2/tracks", ""); !strings.Contains(got.Text, `"muted":true`) {
		t.Errorf("the publisher is not muted any more: %s", got.Text)
	}
}
