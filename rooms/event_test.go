package rooms_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/media"
	"sightline/rooms"
	"sightline/rooms/roomstest"
)

// drain returns all events that wait.
func drain(t *testing.T, w *rooms.Watcher) []rooms.Event {
	t.Helper()
	var out []rooms.Event
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		e, err := w.Next(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
}

// story puts events into words.
func story(events []rooms.Event) string {
	s := ""
	for _, e := range events {
		s += string(e.Type)
		if e.Track != nil {
			s += fmt.Sprintf(" %s %s %d", e.Track.ID, e.Track.State, e.Track.Viewers)
		}
		s += "\n"
	}
	return s
}

func watchEvents(t *testing.T, h *house, room string, after uint64) *rooms.Watcher {
	t.Helper()
	w, err := h.Watch(room, after)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestEventsTellTheLifeOfATrack(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		w, elsewhere := watchEvents(t, h, "r", 0), watchEvents(t, h, "other", 0)
		var got []rooms.Event
		step := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
			got = append(got, drain(t, w)...)
		}
		step(0)
		s := h.publish(nil, &roomstest.H264)
		step(200 * time.Millisecond)
		s.video.Keyframe(2)
		step(200 * time.Millisecond)
		v := h.watch(media.Video)
		step(10 * time.Millisecond)
		play(s.video, 60, false, 2) // readings that flow tell nothing
		step(0)
		v.leave()
		step(10 * time.Millisecond)
		s.end()
		step(time.Second)
		step(20 * time.Second)
		want := `snapshot
room
track cam/video connecting 0
track cam/video live 0
track cam/video live 1
track cam/video live 0
track cam/video stalled 0
track-removed cam/video gone 0
room-closed
`
		if story(got) != want {
			t.Errorf("got\n%swant\n%s", story(got), want)
		}
		for i := 2; i < len(got); i++ {
			if got[i].ID != got[i-1].ID+1 {
				t.Errorf("event %d has id %d after %d", i, got[i].ID, got[i-1].ID)
			}
		}
		if s := story(drain(t, elsewhere)); s != "snapshot\n" {
			t.Errorf("the watcher of another room got %q", s)
		}

		// Who comes back gets what he missed; who comes from another life begins anew.
		again := watchEvents(t, h, "r", got[3].ID)
		if s := story(drain(t, again)); s != story(got[4:]) {
			t.Errorf("after a pause: got\n%swant\n%s", s, story(got[4:]))
		}
		for _, after := range []uint64{1, got[0].ID - 1, got[len(got)-1].ID + 1, ^uint64(0)} {
			if s := story(drain(t, watchEvents(t, h, "r", after))); s != "snapshot\n" {
				t.Errorf("after %d: got %q, want a snapshot", after, s)
			}
		}
	})
}

func TestASlowReaderLosesRepetitionsNotFacts(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		w := watchEvents(t, h, "", 0)
		s := h.publish(nil, &roomstest.H264)
		s.video.Keyframe(2)
		for range 50 {
			v := h.watch(media.Video)
			v.leave()
		}
		h.watch(media.Video)
		time.Sleep(time.Second)
		if got, want := story(drain(t, w)), "snapshot\nroom\ntrack cam/video live 1\n"; got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	})
}

func TestAVerySlowReaderBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, func(c *rooms.Config) { c.Grace = 0 })
		defer h.close()
		w := watchEvents(t, h, "", 0)
		for i := range 400 { // names that come once
			s, err := h.tryPublish(rooms.PublishRequest{Room: fmt.Sprint("r", i), Publisher: "cam"}, &roomstest.Opus, nil)
			if err != nil {
				t.Fatal(err)
			}
			s.end()
			time.Sleep(200 * time.Millisecond)
		}
		got := drain(t, w)
		if len(got) > 256 || got[0].Type != rooms.SnapshotEvent {
			t.Errorf("got %d events, the first a %s, want 256 at most and a snapshot first", len(got), got[0].Type)
		}
		w.Close()
		w.Close()
		if _, err := w.Next(t.Context()); !errors.Is(err, rooms.ErrClosed) {
			t.Errorf("Next after Close returned %v, want ErrClosed", err)
		}
	})
}
