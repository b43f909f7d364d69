package rooms_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/rooms"
	"sightline/rooms/roomstest"
)

func TestViewersSeeNothingOfATakeoverButAGap(t *testing.T) {
	for _, codec := range []media.Codec{roomstest.H264, roomstest.VP8} {
		t.Run(codec.Name, func(t *testing.T) {
			run(t, func(t *testing.T, h *house) {
				s := h.publish(nil, &codec)
				s.video.Keyframe(3)
				v := h.watch(media.Video)
				time.Sleep(frame)
				play(s.video, 30, false, 3)
				var all []roomstest.Got
				for i := range 10 {
					n := h.publish(nil, &codec) // the old session is still there
					if err := <-s.ended; !errors.Is(err, rooms.ErrReplaced) {
						t.Fatalf("the old one ended with %v, want ErrReplaced", err)
					}
					old := s
					s = n
					s.video.Sequence, s.video.Timestamp = uint16(i*9000), uint32(i)<<29
					s.video.Picture, s.video.Layer = uint16(i*7000)&0x7fff, byte(i*31)
					old.video.Frame(3)
					play(s.video, 5, false, 3)
					old.video.Keyframe(3)
					synctest.Wait()
					all = append(all, v.Got()...)
					last := all[len(all)-1]
					play(s.video, 30, true, 3)
					got := v.Got()
					if len(got) != 90 {
						t.Fatalf("takeover %d: got %d packets of the new source, want 90", i, len(got))
					}
					passed := got[0].At.Sub(last.At)
					if d := got[0].Timestamp - last.Timestamp; d != uint32(passed*90000/time.Second) {
						t.Errorf("takeover %d: timestamp goes on by %d after %v", i, d, passed)
					}
					all = append(all, got...)
				}
				checkLine(t, all)
				if codec.Name == "VP8" {
					checkPictures(t, all)
				}
				old := h.Snapshot()
				if old.Takeovers != 10 {
					t.Errorf("counted %d takeovers, want 10", old.Takeovers)
				}
			})
		})
	}
}

// checkPictures fails the test unless the picture ids of VP8 and TL0PICIDX grow by one with
// each frame.
func checkPictures(t *testing.T, got []roomstest.Got) {
	t.Helper()
	for i := 1; i < len(got); i++ {
		id := func(g roomstest.Got) (uint16, byte) {
			return uint16(g.Payload[2]&0x7f)<<8 | uint16(g.Payload[3]), g.Payload[4]
		}
		step := uint16(0)
		if got[i].Timestamp != got[i-1].Timestamp {
			step = 1
		}
		picture, layer := id(got[i])
		before, layerBefore := id(got[i-1])
		if (picture-before)&0x7fff != step || layer-layerBefore != byte(step) {
			t.Fatalf("packet %d: picture id %d after %d, TL0PICIDX %d after %d", i, picture, before, layer, layerBefore)
		}
	}
}

func TestAPublisherComesBackWithinTheGrace(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(&roomstest.Opus, &roomstest.H264)
		s.audio.Frame(1)
		s.video.Keyframe(3)
		a, v := h.watch(media.Audio), h.watch(media.Video)
		time.Sleep(frame)
		s.audio.Frame(1)
		play(s.video, 30, false, 3)
		s.end()
		time.Sleep(10 * time.Second)
		s = h.publish(&roomstest.Opus, &roomstest.H264)
		s.audio.Frame(1)
		play(s.video, 30, true, 3)
		got := v.count(t, 3+90+90)
		checkLine(t, got)
		if d := time.Duration(got[93].Timestamp-got[92].Timestamp) * time.Second / 90000; d < 10*time.Second || d > 11*time.Second {
			t.Errorf("timestamp goes on by %v, want what has passed", d)
		}
		sound := a.count(t, 2)
		checkLine(t, sound)
		if !sound[1].Marker || sound[0].Marker {
			t.Error("the first packet of sound after the pause, and only that, must be marked")
		}
		time.Sleep(20 * time.Second) // the grace of the first session has passed
		if room, err := h.Room("r"); err != nil || len(room.Publishers) != 1 {
			t.Error("the publisher that came back is gone")
		}
	})
}

func TestTheNewcomerWinsOnceItRuns(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		s.video.Keyframe(3)
		v := h.watch(media.Video)
		first, err := h.Publish(rooms.PublishRequest{Room: "r", Publisher: "cam", Subject: "anna"})
		if err != nil {
			t.Fatal(err)
		}
		play(s.video, 5, false, 1)
		v.count(t, 8)
		n := h.publish(nil, &roomstest.H264)
		<-s.ended
		// The one that asked first is connected last: it is not newer.
		tape := roomstest.NewTape(media.Video, roomstest.H264)
		if err := first.Run(t.Context(), tape); !errors.Is(err, rooms.ErrReplaced) {
			t.Errorf("Run of the older one returned %v, want ErrReplaced", err)
		}
		first.Close()
		s.publication.Close() // a late DELETE
		play(n.video, 5, true, 2)
		v.count(t, 10)
	})
}

func TestAnotherSubjectCannotHaveTheName(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		early, err := h.Publish(rooms.PublishRequest{Room: "r", Publisher: "cam", Subject: "eve"})
		if err != nil {
			t.Fatal(err)
		}
		defer early.Close()
		s := h.publish(nil, &roomstest.H264)
		_, err = h.Publish(rooms.PublishRequest{Room: "r", Publisher: "cam", Subject: "eve"})
		if fault.KindOf(err) != fault.Forbidden {
			t.Errorf("Publish returned %v, want a fault.Forbidden", err)
		}
		if err := early.Run(t.Context()); fault.KindOf(err) != fault.Forbidden {
			t.Errorf("Run returned %v, want a fault.Forbidden", err)
		}
		select {
		case err := <-s.ended:
			t.Errorf("the publisher ended with %v", err)
		default:
		}
	})
}

func TestTakeoverRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, func(c *rooms.Config) { c.Takeover = rooms.TakeoverReject })
		defer h.close()
		s := h.publish(nil, &roomstest.H264)
		req := rooms.PublishRequest{Room: "r", Publisher: "cam", Subject: "anna"}
		_, err := h.Publish(req)
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Conflict || f.RetryAfter <= 0 {
			t.Errorf("Publish returned %v, want a fault.Conflict with RetryAfter", err)
		}
		s.end()
		<-s.ended
		p, err := h.Publish(req)
		if err != nil {
			t.Fatalf("after the end: %v", err)
		}
		if _, err := h.Publish(req); fault.KindOf(err) != fault.Conflict {
			t.Errorf("while it is reserved: %v, want a fault.Conflict", err)
		}
		p.Close()
		p.Close()
		if p, err = h.Publish(req); err != nil {
			t.Fatalf("after the reservation: %v", err)
		}
		p.Close()
	})
}

func TestATrackThatTheNewcomerDoesNotHaveGoes(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(&roomstest.Opus, &roomstest.H264)
		s.audio.Frame(1)
		s.video.Keyframe(2)
		a, v := h.watch(media.Audio), h.watch(media.Video)
		n := h.publish(&roomstest.Opus, nil)
		n.audio.Frame(1)
		<-s.ended
		time.Sleep(16 * time.Second)
		if err := <-v.ended; !errors.Is(err, rooms.ErrGone) {
			t.Errorf("video ended with %v, want ErrGone", err)
		}
		select {
		case err := <-a.ended:
			t.Errorf("audio ended with %v", err)
		default:
		}
		if tracks, _ := h.Tracks("r"); len(tracks) != 1 || tracks[0].ID != "cam/audio" {
			t.Errorf("%d tracks are left, want cam/audio", len(tracks))
		}
	})
}

func TestAnAdministratorEndsAPublisher(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.H264)
		if err := h.Remove("r", "nobody"); fault.KindOf(err) != fault.NotFound {
			t.Errorf("Remove of nobody returned %v, want a fault.NotFound", err)
		}
		if err := h.Remove("r", "cam"); err != nil {
			t.Fatal(err)
		}
		if err := <-s.ended; err != rooms.ErrRemoved {
			t.Errorf("Run returned %v, want ErrRemoved", err)
		}
		synctest.Wait()
		if err := h.Remove("r", "cam"); fault.KindOf(err) != fault.NotFound {
			t.Errorf("Remove of one that is away returned %v, want a fault.NotFound", err)
		}
	})
}
