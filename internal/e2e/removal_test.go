//go:build e2e

package e2e

import (
	"bytes"
	"testing"
	"time"
)

// Removed through the room API, OBS's engine is told at once by the end of its DTLS. ffmpeg would hang for good on that:
// to it the server only falls silent, until ffmpeg's own check of consent ends it.
func TestRemovedPublishersEnd(t *testing.T) {
	s := serve(t)
	video, audio := clips(t)
	ff := ffmpeg(t, s.whip("ffmpeg"), camera{Size: "640x360", Keyframe: 60})
	var out bytes.Buffer
	obs := datachannel(t, &out, "publish", s.whip("obs-engine"), video, audio)
	s.awaitTrack("ffmpeg/video", 10*time.Second, nil)
	s.awaitTrack("obs-engine/video", 10*time.Second, nil)

	s.remove("obs-engine")
	removed := time.Now()
	obs.wait(2 * time.Second)
	t.Logf("libdatachannel ended %v after its removal", time.Since(removed).Round(time.Millisecond))
	parseDatachannel(t, &out)
	s.awaitEnd("obs-engine", time.Second)

	s.remove("ffmpeg")
	removed = time.Now()
	s.awaitEnd("ffmpeg", 2*time.Second)
	// Consent expires 30 s after the last answer (RFC 7675, section 5.1).
	code := ff.wait(36 * time.Second)
	t.Logf("ffmpeg ended with %d, %v after its removal", code, time.Since(removed).Round(time.Second))
	if code < 0 {
		t.Errorf("ffmpeg was ended by a signal, want an end by itself")
	}
	if _, there := s.track("ffmpeg/video"); there {
		t.Errorf("the room API still lists a track of ffmpeg, want none after the grace")
	}
}
