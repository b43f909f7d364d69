package rooms_test

import (
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/media"
	"sightline/rooms"
	"sightline/rooms/roomstest"
)

func lastOf(got []roomstest.Got) roomstest.Got { return got[len(got)-1] }

func TestAJoinerStartsFromTheCachedGroupAndReachesTheLiveEdge(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		s.video.Keyframe(100)
		early := h.watch(media.Video)
		play(s.video, 290, false, 8)
		early.Got()

		joined := time.Now()
		late := h.watch(media.Video)
		play(s.video, 90, false, 8)
		got, live := late.Got(), early.Got()
		checkLine(t, got)
		if media.StartOf(got[0].Codec, got[0].Payload) == media.NoStart {
			t.Error("does not begin with a keyframe")
		}
		if d := got[99].At.Sub(joined); d > 50*time.Millisecond {
			t.Errorf("had the first frame after %v", d)
		}
		if want := 100 + 290*8 + 90*8; len(got) != want {
			t.Errorf("got %d packets, want all %d from the keyframe on", len(got), want)
		}

		// How late each frame is for a player that takes timestamps for the time of capture:
		// against the end, where they are exact, in milliseconds.
		end := lastOf(got)
		if end.Packet != lastOf(live).Packet || end.At != lastOf(live).At {
			t.Fatal("does not end at the live edge")
		}
		worst, best, burst := 0.0, 0.0, 0
		caught := joined
		for i, g := range got {
			lag := g.At.Sub(end.At).Seconds()*1000 - float64(int32(g.Timestamp-end.Timestamp))/90
			worst, best = max(worst, lag), min(best, lag)
			if i > 0 && g.At != got[i-1].At {
				burst = 0
			}
			if burst++; burst > 64 {
				t.Fatalf("%d packets at one instant, want at most 64", burst)
			}
			if lag > 0.1 || lag < -0.1 {
				caught = g.At
			}
		}
		if worst > 40 || best < -40 {
			t.Errorf("frames are between %.0f and %.0f ms late for a player, want all within 40 ms of live", best, worst)
		}
		if d := caught.Sub(joined); d > 2*time.Second {
			t.Errorf("timestamps are exact after %v, want 2s at most", d)
		}
		for i := 1; i <= 45*8; i++ { // the last 1.5 s
			g, l := got[len(got)-i], live[len(live)-i]
			if g.Packet != l.Packet || g.At != l.At {
				t.Fatal("is not where one who joined at the keyframe is")
			}
		}
	})
}

func TestRetransmissionsWhileCatchingUpAreAsTheyWereSent(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		play(s.video, 200, true, 4)
		late := h.watch(media.Video)
		play(s.video, 60, false, 4)
		got := late.Got()
		bySequence := make(map[uint16]uint32)
		var all []uint16
		for _, g := range got {
			bySequence[g.Sequence] = g.Timestamp
			all = append(all, g.Sequence)
		}
		n := 0
		late.Resend(all, func(o media.Outgoing) {
			n++
			if o.Timestamp != bySequence[o.Sequence] {
				t.Fatalf("packet %d was sent at %d and is resent at %d", o.Sequence, bySequence[o.Sequence], o.Timestamp)
			}
		})
		if n != len(all) {
			t.Errorf("resent %d packets of %d", n, len(all))
		}
	})
}

func TestAKeyframeSavesTheRestOfTheWay(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		play(s.video, 300, true, 4)
		late := h.watch(media.Video)
		time.Sleep(100 * time.Millisecond)
		sent := len(late.Got())
		if sent == 0 || sent > 600 {
			t.Fatalf("after 100 ms %d packets were sent of 1200", sent)
		}
		play(s.video, 30, true, 4)
		if got := late.Got(); len(got) > 300 {
			t.Errorf("still sent %d packets after the keyframe", len(got))
		} else {
			checkLine(t, got)
		}
	})
}

func TestAJoinerWhosePathIsFullTriesSlowerAndThenWaits(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		play(s.video, 100, true, 4)
		sub, err := h.Play(rooms.PlayRequest{Room: "r", Publisher: "cam", Kind: media.Video})
		if err != nil {
			t.Fatal(err)
		}
		rec := &roomstest.Recorder{}
		rec.SetFull(true)
		ended := make(chan error, 1)
		go func() { ended <- sub[0].Run(t.Context(), rec) }()
		play(s.video, 30, false, 4)
		rec.SetFull(false)
		rec.Got()
		play(s.video, 30, false, 4)
		if n := len(rec.Got()); n != 0 {
			t.Errorf("got %d packets before a keyframe", n)
		}
		if len(s.video.Requests()) == 0 {
			t.Error("no keyframe was asked for")
		}
		play(s.video, 10, true, 4)
		got := rec.Got()
		checkLine(t, got)
		if len(got) != 40 {
			t.Errorf("got %d packets from the keyframe on, want 40", len(got))
		}
		sub[0].Close()
		<-ended
	})
}

func TestAGroupThatIsTooLongIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, func(c *rooms.Config) { c.CacheBytes = 1 << 18 })
		defer h.close()
		s := h.publish(nil, &roomstest.H264)
		play(s.video, 300, true, 10) // 780 KB
		v := h.watch(media.Video)
		play(s.video, 30, false, 10)
		v.count(t, 0)
		if len(s.video.Requests()) == 0 {
			t.Error("no keyframe was asked for")
		}
		play(s.video, 30, true, 10)
		v.count(t, 300)
	})
}

func TestATakeoverWhileCatchingUp(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		play(s.video, 300, true, 4)
		v := h.watch(media.Video)
		time.Sleep(100 * time.Millisecond)
		n := h.publish(nil, &roomstest.H264)
		time.Sleep(50 * time.Millisecond)
		play(n.video, 30, true, 4)
		got := v.Got()
		checkLine(t, got)
		tail := got[len(got)-120:]
		if media.StartOf(tail[0].Codec, tail[0].Payload) == media.NoStart {
			t.Error("the new source does not begin with its keyframe")
		}
		<-s.ended
	})
}

func TestAJoinerOfALongGroupAsksForAKeyframeAsWell(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		play(s.video, 15, true, 4)
		h.watch(media.Video)
		time.Sleep(frame)
		if n := len(s.video.Requests()); n != 0 {
			t.Errorf("the camera was asked %d times for a short group", n)
		}
		play(s.video, 200, false, 4)
		s.video.OnRequest(func() { s.video.Keyframe(4) }) // an encoder that obeys
		v := h.watch(media.Video)
		play(s.video, 15, false, 4)
		if n := len(s.video.Requests()); n != 1 {
			t.Errorf("the camera was asked %d times, want 1", n)
		}
		got := v.Got()
		checkLine(t, got)
		if len(got) > 25*4 {
			t.Errorf("still got %d packets of a group that was over", len(got))
		}
	})
}
