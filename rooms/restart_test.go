package rooms_test

import (
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/media"
	"sightline/rooms"
	"sightline/rooms/roomstest"
)

// starts returns where the keyframes begin in what a viewer got.
func starts(got []roomstest.Got) []roomstest.Got {
	var out []roomstest.Got
	for _, g := range got {
		if media.StartOf(g.Codec, g.Payload) == media.ParameterStart {
			out = append(out, g)
		}
	}
	return out
}

// group has a camera in the middle of a long group of pictures, which it does not cut short
// whatever it is asked, and a viewer who was there at its beginning.
func group(t *testing.T, change ...func(*rooms.Config)) (*house, *show, *seat) {
	h := open(t, change...)
	s := h.publish(nil, &roomstest.H264)
	s.video.Keyframe(4)
	v := h.watch(media.Video)
	play(s.video, 150, false, 4)
	v.Got()
	return h, s, v
}

func TestAViewerWhoNeedsAKeyframeStartsAgainWhereTheCameraGivesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, v := group(t)
		defer h.close()
		other := h.watch(media.Video)
		play(s.video, 60, false, 4)
		before := v.Got()
		other.Got()

		asked := time.Now()
		v.RequestKeyframe()
		play(s.video, 120, false, 4)
		got, live := v.Got(), other.Got()
		checkLine(t, append(before, got...))
		begun := starts(got)
		if len(begun) != 1 {
			t.Fatalf("started again %d times, want once", len(begun))
		}
		if d := begun[0].At.Sub(asked); d > time.Second {
			t.Errorf("started again after %v, want 1s at most", d)
		}
		for i := 1; i <= 45*4; i++ { // the last 1.5 s
			g, l := got[len(got)-i], live[len(live)-i]
			if g.Packet != l.Packet || g.At != l.At {
				t.Fatal("is not at the live edge again")
			}
			if g.Timestamp-lastOf(got).Timestamp != l.Timestamp-lastOf(live).Timestamp {
				t.Fatal("timestamps are not exact again")
			}
		}
		if len(starts(live)) != 0 || len(live) != 120*4 {
			t.Errorf("one who did not ask got %d packets and %d keyframes, want %d and none", len(live), len(starts(live)), 120*4)
		}

		// The camera is known by now.
		time.Sleep(time.Second)
		asked = time.Now()
		v.RequestKeyframe()
		play(s.video, 30, false, 4)
		if begun = starts(v.Got()); len(begun) != 1 || begun[0].At.Sub(asked) > 150*time.Millisecond {
			t.Errorf("started again %d times, or after more than 150 ms, though it is known that the camera does not answer", len(begun))
		}
	})
}

// Another node has the group itself: it shows it to who joins there, and asks only because the camera might have a
// newer one. To send it all again would make the picture jump back for everybody there.
func TestWhoHasTheGroupHimselfIsNotSentItAgain(t *testing.T) {
	for _, who := range []string{"a relay", "the borrower of a loan"} {
		t.Run(who, func(t *testing.T) {
			run(t, func(t *testing.T, h *house) {
				lent := h.lending()
				s := h.stays(nil, &roomstest.H264)
				s.video.Keyframe(4)
				var v *seat
				if who == "a relay" {
					v = h.relay("node-b")
				} else {
					synctest.Wait()
					h.Move("r", "contested")
					v = h.sit(must((*lent)[0].Play())[0])
				}
				play(s.video, 90, false, 4)
				v.Got()
				for range 3 { // viewers join there, now and then
					v.RequestKeyframe()
					play(s.video, 40, false, 4)
				}
				if got := v.Got(); len(starts(got)) != 0 || len(got) != 3*40*4 {
					t.Errorf("got %d packets and %d keyframes, want the camera's %d and none", len(got), len(starts(got)), 3*40*4)
				}
				for range 5 { // it has no group there
					v.RequestKeyframe()
					play(s.video, 15, false, 4)
				}
				if got := starts(v.Got()); len(got) != 1 {
					t.Errorf("who insists got %d keyframes, want one", len(got))
				}
				s.end()
			})
		})
	}
}

// Browsers ask for a keyframe when no picture comes, also where the camera sends nothing: then
// there is nothing that they lack, and what they have seen must not move again.
func TestNoViewerStartsAgainWhileTheCameraSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, v := group(t)
		defer h.close()
		time.Sleep(2 * time.Second)
		for range 3 {
			v.RequestKeyframe()
			time.Sleep(time.Second)
		}
		if got := v.Got(); len(got) != 0 {
			t.Errorf("got %d packets of a camera that sends nothing", len(got))
		}
		// The camera goes on: who still needs a keyframe is helped.
		play(s.video, 90, false, 4)
		if begun := starts(v.Got()); len(begun) != 1 {
			t.Errorf("started again %d times when the camera went on, want once", len(begun))
		}
	})
}

func TestACameraThatAnswersIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, v := group(t)
		defer h.close()
		s.video.OnRequest(func() {
			go func() {
				time.Sleep(400 * time.Millisecond)
				s.video.Keyframe(4)
			}()
		})
		for range 5 {
			v.RequestKeyframe()
			play(s.video, 90, false, 4)
		}
		got := v.Got()
		checkLine(t, got)
		if want := 5 * (90*4 + 4); len(got) != want {
			t.Errorf("got %d packets, want the %d that the camera sent", len(got), want)
		}
	})
}

func TestWhatIsAskedWithinAKeyframesWayIsAboutWhatWasBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, v := group(t)
		defer h.close()
		v.RequestKeyframe()
		play(s.video, 60, false, 4) // now it is known
		play(s.video, 5, true, 4)
		v.Got()
		v.RequestKeyframe()
		play(s.video, 90, false, 4)
		v.count(t, 90*4)
	})
}

func TestAStormOfRequestsOfOneViewerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, v := group(t, func(c *rooms.Config) { c.CacheDuration *= 10 })
		defer h.close()
		other := h.watch(media.Video)
		play(s.video, 60, false, 4)
		v.Got()
		other.Got()
		for range 20 * 30 {
			for range 10 {
				v.RequestKeyframe()
			}
			play(s.video, 1, false, 4)
		}
		got, live := v.Got(), other.Got()
		checkLine(t, got)
		begun := starts(got)
		if len(begun) < 3 || len(begun) > 5 {
			t.Errorf("started again %d times in 20 s, want 3 to 5", len(begun))
		}
		for i := 1; i < len(begun); i++ {
			if d := begun[i].At.Sub(begun[i-1].At); d < 2*time.Second {
				t.Errorf("started again after %v, want 2s at least", d)
			}
		}
		for _, g := range live {
			if g.At != g.Packet.Arrival {
				t.Fatal("another viewer was held up")
			}
		}
		if len(live) != 20*30*4 {
			t.Errorf("another viewer got %d packets, want %d", len(live), 20*30*4)
		}
	})
}

func TestTwoHundredWhoAskAtOnceTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, calm := group(t)
		defer h.close()
		var seats []*seat
		for range 200 {
			seats = append(seats, h.watch(media.Video))
		}
		play(s.video, 90, false, 4)
		for _, v := range seats {
			v.Got()
		}
		calm.Got()
		for _, v := range seats {
			v.RequestKeyframe()
		}
		play(s.video, 60, false, 4)
		for _, g := range calm.count(t, 60*4) {
			if g.At != g.Packet.Arrival {
				t.Fatal("a viewer who did not ask was held up")
			}
		}
		began, late := 0, make(map[time.Time]int) // how many are behind at an instant
		for _, v := range seats {
			got := v.Got()
			checkLine(t, got)
			began += len(starts(got))
			at := make(map[time.Time]bool)
			for _, g := range got {
				if g.At.Sub(g.Packet.Arrival) > time.Second && !at[g.At] {
					at[g.At] = true
					late[g.At]++
				}
			}
		}
		if began < 16 {
			t.Errorf("%d started again in 2 s, want 16 at least", began)
		}
		for at, n := range late {
			if n > 16 {
				t.Fatalf("%d catch up at the instant %v, want 16 at most", n, at)
			}
		}
		play(s.video, 1, true, 4)
		play(s.video, 60, false, 4)
		for _, v := range seats {
			got := v.Got()
			if lastOf(got).At != lastOf(got).Packet.Arrival {
				t.Fatal("is not at the live edge after a keyframe")
			}
		}
	})
}

func TestAPathThatWasFullIsGivenTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, v := group(t)
		defer h.close()
		v.SetFull(true)
		dropped := time.Now()
		play(s.video, 5, false, 4)
		v.SetFull(false)
		play(s.video, 90, false, 4)
		begun := starts(v.Got())
		if len(begun) != 1 {
			t.Fatalf("started again %d times after the path was clear, want once", len(begun))
		}
		if d := begun[0].At.Sub(dropped); d < time.Second || d > 1500*time.Millisecond {
			t.Errorf("started again %v after the drop, want 1s or a little more", d)
		}

		var tries []time.Time
		v.OnWrite(func([]media.Outgoing) { tries = append(tries, time.Now()) })
		v.SetFull(true)
		play(s.video, 20*30, false, 4)
		if len(tries) < 2 || len(tries) > 5 {
			t.Errorf("a full path was tried %d times in 20 s, want 2 to 5", len(tries))
		}
		for i := 1; i < len(tries); i++ {
			if d := tries[i].Sub(tries[i-1]); d < 990*time.Millisecond || i > 1 && d < 3900*time.Millisecond {
				t.Errorf("was tried again after %v", d)
			}
		}
	})
}

func TestNoViewerStartsAgainFromWhatIsNotWhole(t *testing.T) {
	t.Run("the beginning is gone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, s, v := group(t, func(c *rooms.Config) { c.CacheBytes = 1 << 18 })
			defer h.close()
			play(s.video, 300, false, 4)
			v.Got()
			v.RequestKeyframe()
			play(s.video, 90, false, 4)
			v.count(t, 90*4)
		})
	})
	t.Run("the camera lost a packet", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, s, v := group(t)
			defer h.close()
			lost := s.video.Packets(false, 1)
			v.RequestKeyframe()
			play(s.video, 90, false, 4)
			v.count(t, 90*4)
			s.video.Play(lost...)
			play(s.video, 15, false, 4)
			if n := len(starts(v.Got())); n != 1 {
				t.Errorf("started again %d times after it was repaired, want once", n)
			}
		})
	})
}

func TestRetransmissionsAfterARestartAreAsTheyWereSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, v := group(t)
		defer h.close()
		play(s.video, 30, false, 4)
		v.RequestKeyframe()
		play(s.video, 60, false, 4)
		got := v.Got()
		sent := make(map[uint16]media.Outgoing)
		var all []uint16
		restarted := false
		after := 0
		for _, g := range got {
			restarted = restarted || media.StartOf(g.Codec, g.Payload) == media.ParameterStart
			if restarted {
				after++
			}
			sent[g.Sequence] = g.Outgoing
			all = append(all, g.Sequence)
		}
		n := 0
		v.Resend(all, func(o media.Outgoing) {
			n++
			if sent[o.Sequence] != o {
				t.Fatalf("packet %d was sent at %d and is resent at %d", o.Sequence, sent[o.Sequence].Timestamp, o.Timestamp)
			}
		})
		if n != after || !restarted {
			t.Errorf("resent %d packets, want the %d since the restart", n, after)
		}
	})
}

func TestAViewerMayLeaveWhileItStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, s, calm := group(t)
		defer h.close()
		for range 40 { // more than may restart at once: none keeps a place that it has left
			v := h.watch(media.Video)
			play(s.video, 1, true, 4)
			play(s.video, 75, false, 4)
			v.RequestKeyframe()
			play(s.video, 24, false, 4)
			if len(starts(v.Got())) == 0 {
				t.Fatal("did not start again")
			}
			v.leave()
		}
		if n := len(starts(calm.Got())); n != 40 {
			t.Errorf("another viewer got %d keyframes, want 40", n)
		}
	})
}
