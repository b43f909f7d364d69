//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// How far sound may be ahead of the picture and behind it, in milliseconds: what viewers accept (ITU-R BT.1359-1, figure
// 2). A browser brings the two together in steps of 80 ms while it plays, so that they are not as near as they will be.
const (
	soundAhead  = 90
	soundBehind = 185
)

// watch plays a publisher's pair for some seconds and checks what was decoded in that time. It returns the readings.
func watch(t *testing.T, s *server, b *browser, publisher, codec string, d time.Duration, fps int) sessionStats {
	t.Helper()
	others, _ := s.track(publisher + "/video")
	b.play("viewer", s.whep(publisher), "audio video", "")
	first := b.firstFrame("viewer", 10*time.Second)
	before := b.stats("viewer")
	time.Sleep(d)
	after := b.stats("viewer")
	b.picture(publisher + "-in-" + b.p.name)
	decoded := after.Video.FramesDecoded - before.Video.FramesDecoded
	t.Logf("%s plays %s %dx%d: first frame after %v, %d frames in %v, longest time without one %v", b.p.name, after.Video.Codec,
		after.Video.FrameWidth, after.Video.FrameHeight, first.Round(time.Millisecond), decoded, d, longestGap(b.frames("viewer")).Round(time.Millisecond))
	if want := int(d/time.Second) * fps; decoded < want {
		t.Errorf("decoded %d frames in %v, want %d", decoded, d, want)
	}
	if !strings.EqualFold(after.Video.Codec, "video/"+codec) {
		t.Errorf("plays %s, want %s", after.Video.Codec, codec)
	}
	wantSound(t, before.Audio, after.Audio, d)
	b.wantInStep("viewer", after)
	s.awaitViewers(publisher+"/video", others.Viewers+1, time.Second)
	b.stop("viewer")
	s.awaitViewers(publisher+"/video", others.Viewers, 5*time.Second)
	return after
}

// wantInStep checks that a player brings sound and picture together: it does so in steps, within 10 s, and starts anew
// when it, or an encoder that has no clock but its own loop, was short of processor. Other work is done beside these tests.
func (b *browser) wantInStep(player string, now sessionStats) {
	b.t.Helper()
	eventually(b.t, 45*time.Second, func() error {
		// Both are times on the publisher's clock, and zero before the first sender report.
		a, v := now.Audio.EstimatedPlayoutTimestamp, now.Video.EstimatedPlayoutTimestamp
		b.t.Logf("sound is %.0f ms ahead of the picture", a-v)
		if a == 0 || v == 0 || a-v > soundAhead || v-a > soundBehind {
			now = b.stats(player)
			return fmt.Errorf("sound plays %.0f, the picture %.0f, want the sound %d ms ahead at most and %d ms behind", a, v, soundAhead, soundBehind)
		}
		return nil
	})
}

func hasCodec(codec string) func(track) error {
	return func(tr track) error {
		if !strings.EqualFold(tr.Codec, codec) {
			return fmt.Errorf("the room API says %s is %s, want %s", tr.ID, tr.Codec, codec)
		}
		return nil
	}
}

// Chromium's own camera gives 20 frames/s.
const fakeCameraFPS = 15

func TestBrowsersPlayWhatChromiumPublishes(t *testing.T) {
	s := serve(t)
	pub, sub := launch(t, "chromium"), launch(t, "chromium")
	for _, codec := range []string{"VP8", "VP9", "H264", "AV1"} {
		t.Run(codec, func(t *testing.T) {
			pub.t, sub.t = t, t
			pub.publish("camera", s.whip(codec), strings.ToLower(codec))
			s.awaitTrack(codec+"/video", 10*time.Second, hasCodec(codec))
			watch(t, s, sub, codec, codec, 4*time.Second, fakeCameraFPS)
			pub.stop("camera")
			s.awaitEnd(codec, 5*time.Second)
		})
	}
}

func TestFirefoxPlaysH264AndVP8(t *testing.T) {
	s := serve(t)
	firefox := launch(t, "firefox")
	t.Run("H264", func(t *testing.T) {
		firefox.t = t
		p := ffmpeg(t, s.whip("H264"), camera{Size: "640x360", Keyframe: 60})
		s.awaitTrack("H264/video", 10*time.Second, hasCodec("H264"))
		watch(t, s, firefox, "H264", "H264", 4*time.Second, 20)
		wantEndOfFFmpeg(t, s, p, "H264")
	})
	t.Run("VP8", func(t *testing.T) {
		firefox.t = t
		chromium := launch(t, "chromium")
		chromium.publish("camera", s.whip("VP8"), "vp8")
		s.awaitTrack("VP8/video", 10*time.Second, hasCodec("VP8"))
		watch(t, s, firefox, "VP8", "VP8", 4*time.Second, fakeCameraFPS)
		chromium.stop("camera")
		s.awaitEnd("VP8", 5*time.Second)
	})
}
