package rooms_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/audit"
	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/internal/opt"
	"sightline/rooms"
	"sightline/rooms/roomstest"
)

// Everything in a room that moves ends as moved, what has not begun too, and the room is gone at once.
func TestRoomThatMovesEndsAllThatIsInIt(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		w := &witness{}
		h.Record(w)
		s := h.publish(&roomstest.Opus, &roomstest.H264)
		talk(s.audio, 5)
		play(s.video, 10, true, 2)
		viewer := h.watch(media.Video)
		idle, err := h.Play(rooms.PlayRequest{Room: "r", Publisher: "cam", Kind: media.Audio})
		if err != nil {
			t.Fatal(err)
		}
		reserved, err := h.Publish(rooms.PublishRequest{Room: "r", Publisher: "late", Subject: "anna"})
		if err != nil {
			t.Fatal(err)
		}
		ben := h.enter("Ben", rooms.ParticipantChange{})
		own, all := watchEvents(t, h, "r", 0), watchEvents(t, h, "", 0)
		drain(t, own)
		drain(t, all)
		h.SetSpeaking("r", []string{"cam"})

		h.Move("r", "drained")
		synctest.Wait()
		for what, got := range map[string]error{"the publication": <-s.ended, "the subscription": <-viewer.ended, "one that is not run": idle[0].Err()} {
			if !errors.Is(got, rooms.ErrMoved) {
				t.Errorf("%s ended with %v, want ErrMoved", what, got)
			}
		}
		select {
		case <-reserved.Ended():
			if err := reserved.Run(t.Context()); !errors.Is(err, rooms.ErrMoved) {
				t.Errorf("the reservation ended with %v, want ErrMoved", err)
			}
		default:
			t.Error("the reservation goes on")
		}
		idle[0].Close()
		reserved.Close()
		if _, err := h.Room("r"); fault.KindOf(err) != fault.NotFound {
			t.Errorf("the room is there still, %v", err)
		}
		if got := h.RoomStates(nil); len(got) > 0 {
			t.Errorf("then there is %+v, want nothing", got)
		}
		if _, err := h.Change("r", ben.secret, rooms.ParticipantChange{}); fault.KindOf(err) != fault.NotFound {
			t.Errorf("the participant is answered %v, want NotFound", err)
		}
		if left := w.of(audit.Left); len(left) != 1 || left[0].Cause != "moved" {
			t.Errorf("recorded %+v, want that he left as moved", left)
		}
		if spoke := w.of(audit.Spoke); len(spoke) != 2 || spoke[1].Phase != audit.Ended {
			t.Errorf("recorded %+v, want that the speech has ended", spoke)
		}
		for name, watcher := range map[string]*rooms.Watcher{"the room's": own, "all rooms'": all} {
			e, err := watcher.Next(t.Context())
			if err != nil || e.Type != rooms.RoomMoved || e.Room != "r" || e.Reason != "drained" {
				t.Errorf("%s watcher got %+v, %v, want room-moved", name, e, err)
			}
		}
		if _, err := own.Next(t.Context()); !errors.Is(err, rooms.ErrMoved) {
			t.Errorf("the room's watcher ended with %v, want ErrMoved", err)
		}

		// It may come back, and nothing of before gets in its way.
		s.end()
		viewer.leave()
		again := h.publish(nil, &roomstest.H264)
		play(again.video, 5, true, 2)
		if got := drain(t, all); len(got) == 0 {
			t.Error("who watches all rooms does not hear of it")
		}
		h.watch(media.Video).leave()
		if got := h.Snapshot(); got.Viewers != 0 || len(got.Tracks) != 1 {
			t.Errorf("then there are %d viewers and %d tracks, want 0 and 1", got.Viewers, len(got.Tracks))
		}
	})
}

// Who comes back to the events of a room that was elsewhere meanwhile is told all anew.
func TestEventsBeforeAMoveAreNotGoneOnWith(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		h.enter("Ben", rooms.ParticipantChange{})
		w := watchEvents(t, h, "r", 0)
		before := drain(t, w)
		h.Move("r", "contested")
		moved := must(w.Next(t.Context()))
		h.enter("Cleo", rooms.ParticipantChange{})
		for what, id := range map[string]uint64{"before": before[0].ID, "at": moved.ID} {
			if got := drain(t, watchEvents(t, h, "r", id)); len(got) != 1 || got[0].Type != rooms.SnapshotEvent {
				t.Errorf("who goes on %s the move is told %s, want a snapshot", what, story(got))
			}
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A mute holds over a move: from the publisher's first packet on.
func TestMuteIsKeptOverAMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to := open(t), open(t)
		defer from.close()
		defer to.close()
		s := from.publish(&roomstest.Opus, nil)
		talk(s.audio, 5)
		from.mute(t, true)
		muted := from.RoomStates(nil)[0].Muted
		from.Move("r", "drained")
		s.end()
		to.Keep("r", muted)
		if got := to.RoomStates(nil); len(got) > 0 {
			t.Errorf("a room that is only kept is told as %+v", got)
		}
		time.Sleep(30 * time.Second) // an encoder that takes its time

		to.enter("Ben", rooms.ParticipantChange{})
		if got := to.RoomStates(nil); len(got) != 1 || !slices.Equal(got[0].Muted, []string{"cam"}) {
			t.Errorf("before he comes the room is told as %+v, want him muted: it may move on", got)
		}
		s = to.publish(&roomstest.Opus, nil)
		talk(s.audio, 1)
		v := to.watch(media.Audio)
		talk(s.audio, 5)
		if got := heard(v.Got()); strings.Trim(got, "-") != "" {
			t.Errorf("heard %q, want silence", got)
		}
		to.mute(t, false)
		talk(s.audio, 5)
		if got := heard(v.Got()); strings.Trim(got, "-") == "" {
			t.Error("nothing is heard after the mute was taken back")
		}
		if got := to.RoomStates(nil)[0].Muted; len(got) > 0 {
			t.Errorf("still told as muted: %v", got)
		}
	})
}

// What another node says is bounded, and forgotten.
func TestKeptMutesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, func(c *rooms.Config) { c.MaxRooms, c.MaxPublishers = 3, 2 })
		defer h.close()
		h.Keep("no room/", []string{"cam"})
		for i := range 100 {
			h.Keep(fmt.Sprint("room-", i), []string{"a", "b", "c", "a", "not a name/"})
		}
		ben := "Ben"
		for i := range 3 {
			if _, _, err := h.Enter(rooms.EnterRequest{Room: fmt.Sprint("room-", i), ParticipantChange: rooms.ParticipantChange{Name: &ben}}); err != nil {
				t.Fatalf("kept rooms take places: %v", err)
			}
		}
		for _, s := range h.RoomStates(nil) {
			if !slices.Equal(s.Muted, []string{"a", "b"}) {
				t.Errorf("%s keeps %v, want a and b", s.Room, s.Muted)
			}
		}
		h.Keep("room-0", []string{"a"}) // he may be told twice
		time.Sleep(2 * time.Minute)     // all have gone, and the minute is over
		if _, _, err := h.Enter(rooms.EnterRequest{Room: "room-0", ParticipantChange: rooms.ParticipantChange{Name: &ben}}); err != nil {
			t.Fatal(err)
		}
		if got := h.RoomStates(nil); len(got) != 1 || len(got[0].Muted) > 0 {
			t.Errorf("after two minutes there is %+v, want one room with nobody muted", got)
		}
	})
}

// Who is earlier than the publisher of a room that has just come waits for him, but not for long.
func TestViewerAwaitsAPublisherWhoIsAboutToComeBack(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		await := func(room string, limit time.Duration) time.Duration {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			began := time.Now()
			h.Await(ctx, rooms.PlayRequest{Room: room, Publisher: "cam"})
			return time.Since(began)
		}
		if got := await("r", time.Minute); got != 2*time.Second {
			t.Errorf("when the gateway has just started he waits for %v, want 2s", got)
		}
		time.Sleep(10 * time.Second)
		if got := await("r", time.Minute); got != 0 {
			t.Errorf("in a room that was always here he waits for %v, want no time", got)
		}
		h.Keep("r", nil)
		if got := await("r", time.Second); got != time.Second {
			t.Errorf("who leaves meanwhile waits for %v, want 1s", got)
		}
		done := make(chan time.Duration, 1)
		go func() { done <- await("r", time.Minute) }()
		time.Sleep(500 * time.Millisecond)
		s := h.publish(nil, &roomstest.H264)
		play(s.video, 10, true, 2)
		if got := <-done; got < 500*time.Millisecond || got > 700*time.Millisecond {
			t.Errorf("he waits for %v, want until the picture is there after 500ms", got)
		}
		h.watch(media.Video).leave()
		if got := await("r", time.Minute); got != 0 {
			t.Errorf("for what is live he waits for %v, want no time", got)
		}
	})
}

// However a room changes, its state is what it would be if looked at anew.
func TestRoomStateIsAlwaysThatOfNow(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		check := func(what string, want rooms.RoomState) {
			t.Helper()
			time.Sleep(200 * time.Millisecond) // a look of the keeper's: which tracks are live
			synctest.Wait()
			got := h.RoomStates(nil)
			if want.Room == "" {
				if len(got) > 0 {
					t.Errorf("%s: got %+v, want nothing", what, got)
				}
				return
			}
			if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
				t.Errorf("%s: got %+v, want %+v", what, got, want)
			}
		}
		none := []string(nil)
		p, err := h.Publish(rooms.PublishRequest{Room: "r", Publisher: "cam"})
		if err != nil {
			t.Fatal(err)
		}
		check("reserved", rooms.RoomState{Room: "r"})
		p.Close()
		check("given back", rooms.RoomState{})
		s := h.publish(&roomstest.Opus, &roomstest.H264)
		check("connected", rooms.RoomState{Room: "r", Publishers: 1, Sessions: 1})
		talk(s.audio, 1)
		play(s.video, 1, true, 1)
		check("live", rooms.RoomState{Room: "r", Publishers: 1, Sessions: 1, Tracks: []string{"cam/audio", "cam/video"}})
		v := h.watch(media.Video)
		check("watched", rooms.RoomState{Room: "r", Publishers: 1, Sessions: 2, Tracks: []string{"cam/audio", "cam/video"}})
		h.mute(t, true)
		check("muted", rooms.RoomState{Room: "r", Publishers: 1, Sessions: 2, Tracks: []string{"cam/audio", "cam/video"}, Muted: []string{"cam"}})
		time.Sleep(3 * time.Second)
		check("stalled", rooms.RoomState{Room: "r", Publishers: 1, Sessions: 2, Tracks: none, Muted: []string{"cam"}})
		s.end()
		check("away", rooms.RoomState{Room: "r", Sessions: 1, Muted: []string{"cam"}})
		v.leave()
		check("not watched", rooms.RoomState{Room: "r", Muted: []string{"cam"}})
		time.Sleep(rooms.Defaults().Grace.D())
		check("gone", rooms.RoomState{})
		g := h.enter("Ben", rooms.ParticipantChange{})
		check("a person", rooms.RoomState{Room: "r"})
		g.leave()
		check("nobody", rooms.RoomState{})
	})
}

// BenchmarkRoomStates is what a node asks for ten times a second, with 10,000 rooms of which one in
// a hundred has changed.
func BenchmarkRoomStates(b *testing.B) {
	c := rooms.Defaults()
	c.MaxRooms, c.ParticipantTimeout = 10_000, opt.Duration(10*time.Minute)
	r := rooms.New(c, slog.New(slog.DiscardHandler))
	defer r.Close()
	name := "Ben"
	for i := range 10_000 {
		if _, _, err := r.Enter(rooms.EnterRequest{Room: fmt.Sprint("room-", i), ParticipantChange: rooms.ParticipantChange{Name: &name}}); err != nil {
			b.Fatal(err)
		}
	}
	var states []rooms.RoomState
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for range 100 {
			r.Keep(fmt.Sprint("room-", rand.IntN(10_000)), nil)
		}
		b.StartTimer()
		if states = r.RoomStates(states[:0]); len(states) < 9_000 {
			b.Fatalf("%d rooms", len(states))
		}
	}
}
