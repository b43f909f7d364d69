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

// tap runs a subscription of the gateway's own to the sound of "r"/"cam".
func (h *house) tap() *seat {
	h.t.Helper()
	synctest.Wait()
	s, err := h.Tap("r", "cam")
	if err != nil {
		h.t.Fatal(err)
	}
	return h.sit(s)
}

func TestATapHearsWhatViewersHear(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(&roomstest.Opus, &roomstest.H264)
		tap := h.tap() // before the first packet
		s.audio.Frame(1)
		synctest.Wait()
		a := h.watch(media.Audio)
		talk(s.audio, 3)
		h.mute(t, true)
		talk(s.audio, 2)
		h.mute(t, false)
		talk(s.audio, 1)
		if got, want := heard(a.Got()), "xxx--x"; got != want {
			t.Errorf("a viewer heard %s, want %s", got, want)
		}
		got := tap.count(t, 7)
		if want := "xxxx--x"; heard(got) != want {
			t.Errorf("the tap heard %s, want %s", heard(got), want)
		}
		checkLine(t, got)
		if c := tap.Codecs(); len(c) != 1 || c[0] != roomstest.Opus || tap.Subscription.Codec() != roomstest.Opus {
			t.Errorf("the tap was told %v, want opus once", c)
		}
		if tap.Kind() != media.Audio || tap.Track() != "cam/audio" {
			t.Errorf("the tap is of %s, %s", tap.Track(), tap.Kind())
		}
	})
}

func TestATapIsNoViewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, func(c *rooms.Config) { c.MaxViewers, c.MaxViewersPerTrack = 1, 1 })
		defer h.close()
		s := h.publish(&roomstest.Opus, nil)
		s.audio.Frame(1)
		time.Sleep(time.Second)
		synctest.Wait()
		w := watchEvents(t, h, "r", 0)
		drain(t, w)
		check := func() {
			t.Helper()
			room, err := h.Room("r")
			if err != nil {
				t.Fatal(err)
			}
			shot := h.Snapshot()
			if n := room.Viewers + room.Publishers[0].Tracks[0].Viewers + shot.Viewers + shot.Tracks[0].Viewers; n != 0 {
				t.Errorf("taps show as viewers: room %d, track %d, snapshot %d", room.Viewers, room.Publishers[0].Tracks[0].Viewers, shot.Viewers)
			}
			if got := shot.Tracks[0].Sinks; got != (media.SinkStats{}) {
				t.Errorf("taps show in the sinks' totals: %+v", got)
			}
			for _, n := range shot.FirstPacket.Counts {
				if n != 0 {
					t.Error("a tap shows in the viewers' delays")
				}
			}
			if events := drain(t, w); len(events) != 0 {
				t.Errorf("taps make events:\n%s", story(events))
			}
		}
		var taps []*seat
		for range 3 { // more than there may be viewers
			tap := h.tap()
			tap.SetStats(media.SinkStats{Loss: 0.5, RTT: time.Second, NACKs: 7})
			taps = append(taps, tap)
		}
		talk(s.audio, 3)
		check()
		for _, tap := range taps {
			tap.count(t, 3)
			tap.leave()
			tap.Subscription.Close() // once more
			if err := <-tap.ended; !errors.Is(err, errStopped) {
				t.Errorf("Run returned %v, want its context's cause", err)
			}
		}
		talk(s.audio, 3)
		check()
		unused, err := h.Tap("r", "cam")
		if err != nil {
			t.Fatal(err)
		}
		unused.Close()
		check()
		h.watch(media.Audio) // the one that there may be
		if room, _ := h.Room("r"); room.Viewers != 1 {
			t.Errorf("the room has %d viewers, want 1", room.Viewers)
		}
	})
}

func TestATapHoldsOverATakeoverAndTheGrace(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(&roomstest.Opus, nil)
		s.audio.Frame(1)
		tap := h.tap()
		talk(s.audio, 1)
		n := h.publish(&roomstest.Opus, nil)
		<-s.ended
		talk(n.audio, 1)
		n.end()
		late := h.tap() // within the grace
		s = h.publish(&roomstest.Opus, nil)
		talk(s.audio, 1)
		checkLine(t, tap.count(t, 3))
		late.count(t, 1)
		s.end()
		time.Sleep(16 * time.Second)
		for _, tap := range []*seat{tap, late} {
			if err := <-tap.ended; !errors.Is(err, rooms.ErrGone) {
				t.Errorf("Run returned %v, want ErrGone", err)
			}
		}
	})
}

func TestWhatCanBeTapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		refused := func(room, publisher string, want fault.Kind) {
			t.Helper()
			if _, err := h.Tap(room, publisher); fault.KindOf(err) != want {
				t.Errorf("Tap of %s/%s returned %v, want a fault of kind %s", room, publisher, err, want)
			}
		}
		refused("r", "cam", fault.Conflict)
		s := h.publish(nil, &roomstest.H264)
		refused("r", "cam", fault.Conflict) // it has no sound
		refused("r", "nobody", fault.Conflict)
		refused("r", "~mix", fault.BadRequest)
		refused(".r", "cam", fault.BadRequest)
		s.end()
		s = h.publish(&roomstest.Opus, nil)
		tap := h.tap()
		go s.audio.End()
		h.close()
		if err := <-tap.ended; !errors.Is(err, rooms.ErrClosed) {
			t.Errorf("Run returned %v, want ErrClosed", err)
		}
		refused("r", "cam", fault.Unavailable)
	})
}
