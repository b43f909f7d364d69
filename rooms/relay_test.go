package rooms_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/rooms"
	"sightline/rooms/roomstest"
)

// relay runs a relay's subscription to the video of "r"/"cam".
func (h *house) relay(node string) *seat {
	h.t.Helper()
	synctest.Wait()
	subscriptions, err := h.Play(rooms.PlayRequest{Room: "r", Publisher: "cam", Kind: media.Video, Relay: node})
	if err != nil {
		h.t.Fatal(err)
	}
	return h.sit(subscriptions[0])
}

// viewers returns how many the room and its video show, and who watches.
func (h *house) viewers() (room, track int, watchers []string) {
	h.t.Helper()
	m, err := h.Room("r")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, info := range m.Publishers[0].Tracks {
		if info.Kind == media.Video {
			return m.Viewers, info.Viewers, info.Watchers
		}
	}
	h.t.Fatal("there is no video")
	return 0, 0, nil
}

func (h *house) want(what string, room, track int, watchers ...string) {
	h.t.Helper()
	if r, n, w := h.viewers(); r != room || n != track || !slices.Equal(w, watchers) {
		h.t.Errorf("%s: the room has %d viewers, the track %d, watched by %q; want %d, %d, %q", what, r, n, w, room, track, watchers)
	}
}

func TestARelayCountsAsThoseItStandsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, func(c *rooms.Config) { c.MaxViewersPerTrack = 5; c.MaxViewers = 1 })
		defer h.close()
		s := h.publish(nil, &roomstest.VP8)
		play(s.video, 3, true, 1)
		_, anna, err := h.Enter(rooms.EnterRequest{Room: "r", ParticipantChange: rooms.ParticipantChange{Name: new("Anna")}})
		if err != nil {
			t.Fatal(err)
		}
		r := h.relay("node-b")
		h.want("a relay alone", 0, 0)
		if h.Snapshot().Viewers != 0 {
			t.Error("a relay counts as a viewer of the gateway")
		}

		stand := rooms.Relayed{Room: "r", Publisher: "cam", Kind: media.Video, Relay: "node-b", Viewers: 3, Sessions: 2, Participants: []string{anna.ID, anna.ID, "nobody"}}
		if others, err := h.Represent(stand); err != nil || others != 0 {
			t.Errorf("got %d others, %v, want none", others, err)
		}
		h.want("3 viewers there", 2, 3, anna.ID)
		here := h.watch(media.Video)
		h.want("and one here", 3, 4, anna.ID)
		stand.Viewers, stand.Sessions, stand.Participants = 4, 4, nil
		if others, err := h.Represent(stand); err != nil || others != 1 {
			t.Errorf("got %d others, %v, want 1", others, err)
		}
		h.want("nobody says who", 5, 5)
		if _, err := h.Play(rooms.PlayRequest{Room: "r", Publisher: "cam", Kind: media.Video, Relay: "node-c"}); fault.KindOf(err) != fault.Unavailable {
			t.Errorf("got %v, want the limit of the track's viewers to hold for relays", err)
		}

		// A relay that begins anew takes its viewers along, whichever of its sessions ends first.
		again := h.relay("node-b")
		h.want("a second session of the relay", 5, 5)
		r.leave()
		h.want("the first has ended", 5, 5)
		here.leave()
		h.want("the one here left", 4, 4)
		again.leave()
		h.want("the relay left", 0, 0)
		if _, err := h.Represent(stand); fault.KindOf(err) != fault.NotFound {
			t.Errorf("got %v, want that there is no such relay", err)
		}
	})
}

func TestARelaysViewersLeaveWithTheTrack(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(&roomstest.Opus, &roomstest.VP8)
		play(s.video, 3, true, 1)
		s.audio.Frame(1)
		synctest.Wait()
		r := h.relay("node-b")
		if _, err := h.Represent(rooms.Relayed{Room: "r", Publisher: "cam", Kind: media.Video, Relay: "node-b", Viewers: 2, Sessions: 2}); err != nil {
			t.Fatal(err)
		}
		s.end()
		if _, _, err := h.Enter(rooms.EnterRequest{Room: "r", ParticipantChange: rooms.ParticipantChange{Name: new("Anna")}}); err != nil { // keeps the room
			t.Fatal(err)
		}
		h.Forget("r", "cam", rooms.ErrMoved)
		if err := <-r.ended; !errors.Is(err, rooms.ErrMoved) {
			t.Errorf("the relay ended with %v, want the cause, ErrMoved", err)
		}
		if m, err := h.Room("r"); err != nil || m.Viewers != 0 || len(m.Publishers) != 0 {
			t.Errorf("got %+v, %v, want a room without viewers and publishers", m, err)
		}
	})
}

func TestAPublisherWithASessionIsNotForgotten(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.VP8)
		play(s.video, 3, true, 1)
		v := h.watch(media.Video)
		h.Forget("r", "cam", rooms.ErrGone)
		h.Forget("r", "nobody", rooms.ErrGone)
		h.Forget("nowhere", "cam", rooms.ErrGone)
		play(s.video, 3, true, 1)
		if len(v.Got()) == 0 {
			t.Error("nothing comes any more")
		}
		began := time.Now()
		s.end()
		h.Forget("r", "cam", rooms.ErrGone)
		if err := <-v.ended; !errors.Is(err, rooms.ErrGone) || time.Since(began) > time.Second {
			t.Errorf("the viewer ended with %v after %v, want ErrGone at once", err, time.Since(began))
		}
	})
}

// A relay asks of what the pair is, and is told what a viewer would get.
func TestKindsAreThoseOfThePair(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		want := func(what string, kind fault.Kind, kinds ...media.Kind) {
			t.Helper()
			if got, err := h.Kinds("r", "cam"); !slices.Equal(got, kinds) || fault.KindOf(err) != kind {
				t.Errorf("%s: got %q, %v, want %q", what, got, err, kinds)
			}
		}
		want("nobody is there", fault.Conflict)
		if _, err := h.Kinds("..", "cam"); fault.KindOf(err) != fault.BadRequest {
			t.Errorf("got %v for a room that can't be", err)
		}
		s := h.publish(&roomstest.Opus, &roomstest.VP8)
		s.audio.Frame(1)
		synctest.Wait()
		want("the picture is about to begin", fault.Conflict)
		play(s.video, 3, true, 1)
		want("both are there", "", media.Audio, media.Video)
		s.end()
		want("within the grace", "", media.Audio, media.Video)
	})
}

// A relay has the sound of a pair before there is any.
func TestATrackMayBeHadBeforeItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		defer h.close()
		s := h.publish(&roomstest.Opus, &roomstest.VP8)
		play(s.video, 3, true, 1)
		sound := rooms.PlayRequest{Room: "r", Publisher: "cam", Kind: media.Audio, Relay: "node-b"}
		if _, err := h.Play(sound); fault.KindOf(err) != fault.Conflict {
			t.Errorf("got %v for sound that has not begun", err)
		}
		sound.Early = true
		subscriptions, err := h.Play(sound)
		if err != nil || !subscriptions[0].Codec().Is("opus") {
			t.Fatalf("got %v, %v, want the sound early", subscriptions, err)
		}
		subscriptions[0].Close()
		sound.Publisher = "nobody"
		if _, err := h.Play(sound); fault.KindOf(err) != fault.Conflict {
			t.Errorf("got %v for nobody's sound", err)
		}
	})
}

func TestWhatARelaySaysIsChecked(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(nil, &roomstest.VP8)
		play(s.video, 3, true, 1)
		h.relay("node-b")
		if _, err := h.Play(rooms.PlayRequest{Room: "r", Publisher: "cam", Relay: "node-b"}); fault.KindOf(err) != fault.BadRequest {
			t.Errorf("got %v, want that a relay can't have the pair", err)
		}
		good := rooms.Relayed{Room: "r", Publisher: "cam", Kind: media.Video, Relay: "node-b", Viewers: 2, Sessions: 1}
		for _, tt := range []struct {
			name   string
			change func(*rooms.Relayed)
			kind   fault.Kind
		}{
			{"fewer than none", func(r *rooms.Relayed) { r.Viewers = -1 }, fault.BadRequest},
			{"more than a track has", func(r *rooms.Relayed) { r.Viewers = 1001 }, fault.BadRequest},
			{"more sessions than viewers", func(r *rooms.Relayed) { r.Sessions = 3 }, fault.BadRequest},
			{"more participants than viewers", func(r *rooms.Relayed) { r.Participants = []string{"a", "b", "c"} }, fault.BadRequest},
			{"another room", func(r *rooms.Relayed) { r.Room = "q" }, fault.NotFound},
			{"another publisher", func(r *rooms.Relayed) { r.Publisher = "x" }, fault.NotFound},
			{"another relay", func(r *rooms.Relayed) { r.Relay = "node-c" }, fault.NotFound},
			{"another kind", func(r *rooms.Relayed) { r.Kind = media.Audio }, fault.NotFound},
			{"no kind", func(r *rooms.Relayed) { r.Kind = "smell" }, fault.NotFound},
		} {
			r := good
			tt.change(&r)
			if _, err := h.Represent(r); fault.KindOf(err) != tt.kind {
				t.Errorf("%s: got %v, want %s", tt.name, err, tt.kind)
			}
		}
		h.want("after all that", 0, 0)
	})
}
