//go:build e2e

package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// An encoder that crashes and is started again is back in the same viewer's picture within two seconds of its first
// keyframe, ten times in a row, and the viewer's session stays what it was.
func TestViewerSeesAPublisherThatComesBack(t *testing.T) {
	s := serve(t)
	cam := camera{Size: "640x360", Keyframe: 60, Run: 1}
	p := ffmpeg(t, s.whip("console"), cam)
	s.awaitTrack("console/video", 10*time.Second, nil)
	b := launch(t, "chromium")
	b.play("viewer", s.whep("console"), "audio video", "")
	b.firstFrame("viewer", 5*time.Second)
	first := b.stats("viewer")

	var waits, wholes []time.Duration
	for range 10 {
		before, _ := s.track("console/video")
		p.stop(syscall.SIGKILL, time.Second)
		cam.Run++
		started := time.Now()
		p = ffmpeg(t, s.whip("console"), cam)

		var keyframe time.Time
		eventually(t, 15*time.Second, func() error {
			tr, _ := s.track("console/video")
			if tr.Session == before.Session || tr.Session == "" || tr.KeyframeAge == nil {
				return fmt.Errorf("the restarted publisher is not there: %+v", tr)
			}
			keyframe = time.Now().Add(-time.Duration(*tr.KeyframeAge) * time.Millisecond)
			if keyframe.Before(started) {
				return fmt.Errorf("no keyframe of the restarted publisher yet")
			}
			return nil
		})
		eventually(t, 10*time.Second, func() error {
			for _, f := range b.frames("viewer") {
				if f.Mark>>16 == cam.Run {
					shown := time.UnixMilli(int64(f.At))
					waits = append(waits, shown.Sub(keyframe).Round(time.Millisecond))
					wholes = append(wholes, shown.Sub(started).Round(time.Millisecond))
					return nil
				}
			}
			return fmt.Errorf("the viewer doesn't show run %d", cam.Run)
		})
	}
	b.picture("takeover")
	// The age of the keyframe comes from the server and is some milliseconds old when it is read; the second reading is
	// ours alone, and holds the encoder's start and its handshakes, too.
	t.Logf("the new picture after its first keyframe: %v; after the start of its encoder: %v", waits, wholes)
	for i, w := range waits {
		if w > 2*time.Second {
			t.Errorf("restart %d: the new picture %v after its first keyframe, want 2 s at most", i+1, w)
		}
	}

	last := b.stats("viewer")
	if last.State != "connected" || last.Video.SSRC != first.Video.SSRC || last.Audio.SSRC != first.Audio.SSRC {
		t.Errorf("the viewer's session is %s with SSRCs %d and %d, want connected with %d and %d", last.State,
			last.Video.SSRC, last.Audio.SSRC, first.Video.SSRC, first.Audio.SSRC)
	}
	if last.Video.PacketsLost > 0 || last.Audio.PacketsLost > 0 {
		t.Errorf("the viewer counts %d and %d packets as lost, want none: the numbering has holes", last.Video.PacketsLost, last.Audio.PacketsLost)
	}
	b.stop("viewer")
	s.awaitViewers("console/video", 0, 5*time.Second)
}
