package rooms_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/media"
	"sightline/rooms"
	"sightline/rooms/roomstest"
)

func TestEveryViewerGetsEveryPacketInItsOwnNumbering(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		s.video.Keyframe(5)
		synctest.Wait()
		var seats []*seat
		for range 10 {
			seats = append(seats, h.watch(media.Video))
		}
		time.Sleep(frame)
		for _, v := range seats {
			v.count(t, 5)
		}
		play(s.video, 30, false, 3)
		starts := make(map[uint16]bool)
		for _, v := range seats {
			got := v.count(t, 90)
			checkLine(t, got)
			starts[got[0].Sequence] = true
			if d := got[89].Timestamp - got[0].Timestamp; d != 29*3000 {
				t.Errorf("29 frames took %d units of time, want %d", d, 29*3000)
			}
		}
		if len(starts) < 8 {
			t.Errorf("10 viewers share %d numberings, want as many as viewers", len(starts))
		}
	})
}

func TestVideoStartsAtAKeyframe(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(&roomstest.Opus, &roomstest.H264)
		s.audio.Frame(1)
		play(s.video, 3, false, 2)
		if _, err := h.Play(rooms.PlayRequest{Room: "r", Publisher: "cam", Kind: media.Video}); err == nil {
			t.Fatal("a track without a keyframe can be played")
		}
		play(s.video, 1, true, 4)
		v := h.watch(media.Video)
		time.Sleep(time.Second)
		got := v.count(t, 4)
		if media.StartOf(got[0].Codec, got[0].Payload) != media.ParameterStart {
			t.Error("the first packet does not begin a keyframe")
		}
	})
}

func TestSlowViewerDoesNotHoldTheOthersAndResumesAtAKeyframe(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		s.video.Keyframe(2)
		synctest.Wait()
		fast, slow := h.watch(media.Video), h.watch(media.Video)
		play(s.video, 10, false, 2)
		slow.SetFull(true)
		play(s.video, 10, false, 2)
		slow.SetFull(false)
		play(s.video, 10, false, 2)
		if n := len(s.video.Requests()); n == 0 {
			t.Error("no keyframe was asked for though a viewer waits for one")
		}
		play(s.video, 10, true, 2)
		checkLine(t, fast.count(t, 2+4*20))
		got := slow.count(t, 2+20+20)
		// Of the burst that was refused the sink may have sent some: it keeps its numbers.
		if d := got[22].Sequence - got[21].Sequence; d != 1+2 {
			t.Errorf("after the drop the sequence number steps by %d, want 3", d)
		}
		checkLine(t, got[:22])
		checkLine(t, got[22:])
		if media.StartOf(got[22].Codec, got[22].Payload) == media.NoStart {
			t.Error("does not resume at a keyframe")
		}
	})
}

func TestAGapSurvivesAndIsFilled(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		s.video.Keyframe(2)
		synctest.Wait()
		v := h.watch(media.Video)
		time.Sleep(frame)
		p := s.video.Packets(false, 6)
		s.video.Play(p[0], p[1], p[4], p[5])
		synctest.Wait()
		got := v.count(t, 6)
		if d := got[4].Sequence - got[3].Sequence; d != 3 {
			t.Fatalf("sequence number steps by %d over two lost packets, want 3", d)
		}
		var resent []media.Outgoing
		v.Resend([]uint16{got[3].Sequence + 1, got[2].Sequence, got[5].Sequence + 1}, func(o media.Outgoing) { resent = append(resent, o) })
		if len(resent) != 1 || resent[0].Packet != p[0] || resent[0].Sequence != got[2].Sequence || resent[0].Timestamp != got[2].Timestamp {
			t.Fatalf("resent %d packets, want the one that is held, as it was sent", len(resent))
		}
		s.video.Play(p[3])
		s.video.Play(p[2], p[3])
		synctest.Wait()
		late := v.count(t, 2)
		if late[0].Sequence != got[3].Sequence+2 || late[1].Sequence != got[3].Sequence+1 || late[0].Timestamp != got[3].Timestamp {
			t.Error("late packets did not find their places")
		}
	})
}

func TestAKeyframeWhoseFirstPacketIsLateIsNoKeyframeLost(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		s.video.Keyframe(3)
		synctest.Wait()
		v := h.watch(media.Video)
		time.Sleep(frame)
		v.SetFull(true)
		play(s.video, 2, false, 2)
		v.SetFull(false)
		v.Got()
		p := s.video.Packets(true, 4)
		s.video.Play(p[1], p[2])
		s.video.Play(p[0], p[3])
		play(s.video, 1, false, 2)
		got := v.count(t, 6)
		checkLine(t, got)
		if got[0].Packet != p[0] {
			t.Error("does not begin with the late packet")
		}
	})
}

func TestANewSourceMayBeginWithALatePacket(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		p := s.video.Packets(true, 4)
		s.video.Play(p[1], p[2])
		s.video.Play(p[0])
		s.video.Play(p[3])
		synctest.Wait()
		v := h.watch(media.Video)
		time.Sleep(frame)
		checkLine(t, v.count(t, 4))
	})
}

func TestAudioStartsAtTheLiveEdge(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(&roomstest.Opus, nil)
		for range 50 {
			s.audio.Frame(1)
			time.Sleep(20 * time.Millisecond)
		}
		v := h.watch(media.Audio)
		synctest.Wait()
		v.count(t, 0)
		for range 50 {
			s.audio.Frame(1)
			time.Sleep(20 * time.Millisecond)
		}
		synctest.Wait()
		checkLine(t, v.count(t, 50))
	})
}

func TestTheEndOfASource(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(&roomstest.Opus, &roomstest.H264)
		s.audio.Frame(1)
		s.video.Keyframe(2)
		v := h.watch(media.Video)
		s.audio.End()
		s.video.End()
		synctest.Wait()
		if err := <-s.ended; err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
		time.Sleep(14 * time.Second)
		synctest.Wait()
		select {
		case err := <-v.ended:
			t.Fatalf("viewer ended within the grace: %v", err)
		default:
		}
		time.Sleep(2 * time.Second)
		if err := <-v.ended; !errors.Is(err, rooms.ErrGone) {
			t.Errorf("viewer ended with %v, want ErrGone", err)
		}
		if _, err := h.Room("r"); err == nil {
			t.Error("the empty room is still there")
		}
	})
}

func TestAViewerEndsWithItsCause(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		s.video.Keyframe(2)
		v := h.watch(media.Video)
		v.leave()
		if err := <-v.ended; err != errStopped {
			t.Errorf("ended with %v, want the cause of its context", err)
		}
		v.Got()
		play(s.video, 3, false, 2)
		v.count(t, 0)
		w := h.watch(media.Video)
		w.Subscription.Close()
		if err := <-w.ended; err != rooms.ErrClosed {
			t.Errorf("ended with %v, want ErrClosed", err)
		}
	})
}

func TestASinkMayAskWhileItIsWrittenTo(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		s.video.Keyframe(2)
		v := h.watch(media.Video)
		time.Sleep(frame)
		resent := 0
		v.OnWrite(func(burst []media.Outgoing) {
			v.RequestKeyframe()
			v.Resend([]uint16{burst[0].Sequence}, func(media.Outgoing) { resent++ })
		})
		play(s.video, 10, false, 2)
		if resent != 10 {
			t.Errorf("resent %d packets, want 10", resent)
		}
	})
}

func TestTheCodecChangesWithThePacketThatHasIt(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		s.video.Keyframe(2)
		v, fussy := h.watch(media.Video), h.watch(media.Video)
		fussy.Refuse("VP8")
		time.Sleep(frame)
		other := roomstest.NewTape(media.Video, roomstest.VP8)
		p := append(s.video.Packets(false, 2), other.Packets(true, 2)...)
		p[2].Discontinuity = true
		s.video.Play(p...)
		synctest.Wait()
		names := []string{}
		for _, c := range v.Codecs() {
			names = append(names, c.Name)
		}
		if !slices.Equal(names, []string{"H264", "VP8"}) {
			t.Errorf("sink was told of %q, want each once", names)
		}
		checkLine(t, v.count(t, 6))
		if err := <-fussy.ended; !errors.Is(err, rooms.ErrCodec) {
			t.Errorf("the other ended with %v, want ErrCodec", err)
		}
		fussy.count(t, 4)
		if tracks, _ := h.Tracks("r"); tracks[0].Codec.Name != "VP8" {
			t.Errorf("room says %q, want VP8", tracks[0].Codec.Name)
		}
	})
}

func TestAJumpInASourcesNumbersIsNoneForViewers(t *testing.T) {
	for _, jump := range []uint16{1 << 15, 1<<15 - 1, 1<<15 + 1, 10000, 1<<16 - 10000} {
		run(t, func(t *testing.T, h *house) {
			s := h.publish(nil, &roomstest.VP8)
			play(s.video, 1, true, 3)
			v := h.watch(media.Video)
			play(s.video, 10, false, 3)
			s.video.Sequence += jump
			play(s.video, 10, false, 3)
			got := v.count(t, 3+60)
			checkLine(t, got)
			checkPictures(t, got)
		})
	}
}
