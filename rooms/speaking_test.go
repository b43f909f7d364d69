package rooms_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sightline/rooms"
	"sightline/rooms/roomstest"
)

// said puts the events of who speaks into words.
type said struct {
	t    *testing.T
	w    *rooms.Watcher
	last time.Time
}

// next says of each event that waits when it came, in ms since the call before, and who
// speaks; those of rooms say their type, those of tracks nothing.
func (s *said) next() string {
	s.t.Helper()
	out := ""
	for _, e := range drain(s.t, s.w) {
		switch {
		case e.Type == rooms.SpeakingChanged:
			out += fmt.Sprintf("%d%v ", e.Time.Sub(s.last).Round(time.Millisecond).Milliseconds(), e.Speakers)
		case e.Track == nil:
			out += string(e.Type) + " "
		}
	}
	s.last = time.Now()
	return out
}

// talkers publishes sound under each name in room "r", and follows who speaks there.
func talkers(t *testing.T, h *house, names ...string) (map[string]*show, *said) {
	t.Helper()
	shows := make(map[string]*show)
	for _, name := range names {
		s, err := h.tryPublish(rooms.PublishRequest{Room: "r", Publisher: name}, &roomstest.Opus, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.audio.Frame(1)
		shows[name] = s
	}
	time.Sleep(time.Second)
	synctest.Wait()
	w := watchEvents(t, h, "r", 0)
	drain(t, w)
	return shows, &said{t, w, time.Now()}
}

// speaking returns the names of those that the room shows as speaking.
func (h *house) speaking(t *testing.T) []string {
	t.Helper()
	room, err := h.Room("r")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range room.Publishers {
		if p.Speaking {
			out = append(out, p.Name)
		}
	}
	return out
}

func TestWhoSpeaksIsToldAtMostFiveTimesASecondAndTheLastAlways(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		_, events := talkers(t, h, "b", "a")
		step := func(wait time.Duration, want string, speakers ...string) {
			t.Helper()
			h.SetSpeaking("r", speakers)
			if got := h.speaking(t); fmt.Sprint(got) != fmt.Sprint(slices.Sorted(slices.Values(speakers))) {
				t.Errorf("the room shows that %v speak, want %v", got, speakers)
			}
			time.Sleep(wait)
			synctest.Wait()
			if got := events.next(); got != want {
				t.Errorf("%v: got %q, want %q", speakers, got, want)
			}
		}
		step(50*time.Millisecond, "0[a] ", "a")
		step(50*time.Millisecond, "", "b", "a")
		step(50*time.Millisecond, "")
		step(49*time.Millisecond, "", "b")
		step(2*time.Millisecond, "1[b] ", "b") // 200 ms after the first
		step(100*time.Millisecond, "", "a")
		step(200*time.Millisecond, "", "b") // as it was told
		step(time.Second, "0[] ")
		step(time.Second, "") // nothing new
		step(0, "0[a b] ", "b", "a")

		// Somebody who stammers.
		for i := range 500 {
			h.SetSpeaking("r", []string{"a"}[:i%2])
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := events.next(); strings.Count(got, "[") != 1 || !strings.HasSuffix(got, "[a] ") {
			t.Errorf("for a slow watcher %q waited, want the newest alone", got)
		}
		fast, count := watchEvents(t, h, "r", 0), 0
		for i := range 50 * 10 {
			h.SetSpeaking("r", []string{"a"}[:i/3%2])
			synctest.Wait()
			for _, e := range drain(t, fast) {
				if e.Type == rooms.SpeakingChanged {
					count++
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
		if count < 20 || count > 51 {
			t.Errorf("%d events in 10 s, want at most 5 a second", count)
		}
	})
}

func TestOnlyWhoCanBeHeardSpeaks(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		shows, events := talkers(t, h, "a", "b", "c")
		if _, err := h.tryPublish(rooms.PublishRequest{Room: "r", Publisher: "picture"}, nil, &roomstest.H264); err != nil {
			t.Fatal(err)
		}
		events.next()
		check := func(want string, told string) {
			t.Helper()
			if got := fmt.Sprint(h.speaking(t)); got != want {
				t.Errorf("the room shows that %s speak, want %s", got, want)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if got := events.next(); got != told {
				t.Errorf("got %q, want %q", got, told)
			}
		}
		all := []string{"picture", "nobody", "c", "b", "a", "a", "~mix", ""}
		h.SetSpeaking("r", all)
		h.SetSpeaking("elsewhere", all)
		check("[a b c]", "0[a b c] ")

		if err := h.Mute("r", "b", true); err != nil {
			t.Fatal(err)
		}
		check("[a c]", "0[a c] ")
		h.SetSpeaking("r", all)
		check("[a c]", "")
		if err := h.Mute("r", "b", false); err != nil {
			t.Fatal(err)
		}
		check("[a c]", "") // until it is said again
		h.SetSpeaking("r", all)
		check("[a b c]", "0[a b c] ")

		shows["c"].end()
		check("[a b]", "0[a b] ")
		h.SetSpeaking("r", all)
		check("[a b]", "")
		taken, err := h.tryPublish(rooms.PublishRequest{Room: "r", Publisher: "a"}, &roomstest.Opus, nil)
		if err != nil {
			t.Fatal(err)
		}
		taken.audio.Frame(1)
		check("[a b]", "") // it speaks on
		if _, err := h.tryPublish(rooms.PublishRequest{Room: "r", Publisher: "a"}, nil, &roomstest.H264); err != nil {
			t.Fatal(err)
		}
		check("[b]", "0[b] ") // it has no sound any more
	})
}

func TestARoomThatClosesHasNoSpeakers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, func(c *rooms.Config) { c.Grace = 0 })
		defer h.close()
		shows, events := talkers(t, h, "a")
		h.SetSpeaking("r", []string{"a"})
		time.Sleep(150 * time.Millisecond)
		synctest.Wait()
		events.next()
		shows["a"].end() // 50 ms before the next event may come, and gone before
		time.Sleep(time.Second)
		synctest.Wait()
		if got, want := events.next(), "room-closed "; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		h.SetSpeaking("r", []string{"a"}) // there is no such room any more
		talkers(t, h, "a")
		events.next()
		h.SetSpeaking("r", []string{"a"})
		synctest.Wait()
		if got, want := events.next(), "0[a] "; got != want {
			t.Errorf("in the room that has opened again: got %q, want %q", got, want)
		}
	})
}

func TestTalkDoesNotDriveOutOtherEvents(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		w := watchEvents(t, h, "r", 0)
		first := drain(t, w)[0].ID
		talkers(t, h, "a")
		for i := range 3000 { // ten minutes
			h.SetSpeaking("r", []string{"a"}[:i%2])
			time.Sleep(200 * time.Millisecond)
		}
		h.SetSpeaking("r", []string{"a"})
		time.Sleep(time.Second)
		synctest.Wait()
		again := &said{t, watchEvents(t, h, "r", first), time.Now().Add(-time.Second)}
		story := drain(t, again.w)
		if n := len(story); n > 5 || story[0].Type != rooms.RoomOpened || story[n-1].Type != rooms.SpeakingChanged || len(story[n-1].Speakers) != 1 {
			t.Errorf("who comes back after ten minutes of talk gets %v", story)
		}
		snapshot := drain(t, watchEvents(t, h, "r", 0))
		if p := snapshot[0].Rooms[0].Publishers[0]; len(snapshot) != 1 || !p.Speaking {
			t.Errorf("the snapshot says that %s speaks: %t", p.Name, p.Speaking)
		}
	})
}

func TestSayingTheSameAgainIsCheap(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		names := make([]string, 20)
		for i := range names {
			names[i] = fmt.Sprint("p", i)
		}
		talkers(t, h, names...)
		h.SetSpeaking("r", names)
		if n := testing.AllocsPerRun(100, func() { h.SetSpeaking("r", names) }); n != 0 {
			t.Errorf("%v allocations, want none", n)
		}
	})
}

func TestNobodySpeaksInAClosedRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		talkers(t, h, "a")
		h.SetSpeaking("r", []string{"a"})
		h.SetSpeaking("r", nil) // waits to be told
		h.close()
		h.SetSpeaking("r", []string{"a"})
		time.Sleep(time.Second)
	})
}
