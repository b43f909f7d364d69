package rooms_test

import (
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/media"
	"sightline/rooms/roomstest"
)

func TestTwoHundredViewersAskOnce(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		s.video.Keyframe(2)
		var seats []*seat
		for range 200 {
			seats = append(seats, h.watch(media.Video))
		}
		time.Sleep(time.Second)
		for _, v := range seats {
			v.RequestKeyframe()
		}
		if n := len(s.video.Requests()); n != 1 {
			t.Errorf("the camera was asked %d times for one need, want 1", n)
		}
		s.video.Keyframe(2)
		time.Sleep(5 * time.Second)
		if n := len(s.video.Requests()); n != 1 {
			t.Errorf("the camera was asked %d times though a keyframe came, want 1", n)
		}
		if n := h.Snapshot().Tracks[0].KeyframeRequests; n != 200 {
			t.Errorf("counted %d requests of viewers, want 200", n)
		}
	})
}

func TestAtMostTwoRequestsInASecond(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		s.video.Keyframe(2)
		v := h.watch(media.Video)
		time.Sleep(time.Second)
		for range 1000 { // a storm of ten seconds
			v.RequestKeyframe()
			time.Sleep(10 * time.Millisecond)
		}
		asked := s.video.Requests()
		if len(asked) < 18 || len(asked) > 21 {
			t.Errorf("the camera was asked %d times in 10 s, want 18 to 21", len(asked))
		}
		for i := 1; i < len(asked); i++ {
			if d := asked[i].Sub(asked[i-1]); d < 500*time.Millisecond {
				t.Errorf("asked again after %v", d)
			}
		}
	})
}

func TestTheRequestIsRepeatedWhileAViewerWaits(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		s.video.Keyframe(2)
		v := h.watch(media.Video)
		time.Sleep(time.Second)
		v.SetFull(true)
		play(s.video, 1, false, 2)
		v.SetFull(false)
		time.Sleep(3 * time.Second)
		if n := len(s.video.Requests()); n < 4 || n > 7 {
			t.Errorf("asked %d times in 3 s, want 4 to 7", n)
		}
		v.leave()
		before := len(s.video.Requests())
		time.Sleep(3 * time.Second)
		if n := len(s.video.Requests()) - before; n != 0 {
			t.Errorf("asked %d times more though nobody waits", n)
		}
	})
}

func TestANewCameraWithoutKeyframeIsAsked(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		s.video.OnRequest(func() { s.video.Keyframe(2) })
		play(s.video, 30, false, 2)
		if n := len(s.video.Requests()); n != 1 {
			t.Errorf("asked %d times, want 1", n)
		}
		if tracks, _ := h.Tracks("r"); tracks[0].State != "live" {
			t.Errorf("state is %q, want live", tracks[0].State)
		}
	})
}

func TestTheIntervalOfKeyframesThatNobodyAskedFor(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		for range 4 {
			play(s.video, 60, true, 2)
		}
		v := h.watch(media.Video)
		v.RequestKeyframe()
		play(s.video, 5, true, 2)
		tracks, _ := h.Tracks("r")
		if d := tracks[0].KeyframeInterval; d < 1900*time.Millisecond || d > 2100*time.Millisecond {
			t.Errorf("interval is %v, want 2s", d)
		}
		if d := tracks[0].KeyframeAge; d < 4*frame || d > 6*frame {
			t.Errorf("age of the last keyframe is %v, want 5 frames", d)
		}
	})
}

func TestParameterSetsMayComeOnlyOnce(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		play(s.video, 30, true, 4)
		v := h.watch(media.Video)
		time.Sleep(time.Second)
		v.SetFull(true)
		play(s.video, 1, false, 2)
		v.SetFull(false)
		v.Got()
		p := s.video.Packets(true, 4)
		s.video.Sequence--
		for _, q := range p[1:] { // a keyframe without its own
			q.Sequence--
		}
		s.video.Play(p[1:]...)
		synctest.Wait()
		v.count(t, 3)
	})
}
