package rooms_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/audit"
	"sightline/internal/media"
	"sightline/rooms"
	"sightline/rooms/roomstest"
)

// A witness remembers what was recorded.
type witness struct {
	mu     sync.Mutex // guards what follows
	events []audit.Event
}

func (w *witness) Record(e audit.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

func (w *witness) of(what audit.What) []audit.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []audit.Event
	for _, e := range w.events {
		if e.What == what {
			out = append(out, e)
		}
	}
	return out
}

// Who speaks is a line when he begins, and one when he has been silent for long: words and the pauses
// between them are one speech.
func TestSpeechIsRecordedAsAWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		w := &witness{}
		h.Record(w)
		end := sync.OnceFunc(h.close)
		defer end()
		_, _ = talkers(t, h, "a", "b")
		say := func(d time.Duration, speakers ...string) {
			h.SetSpeaking("r", speakers)
			time.Sleep(d)
		}
		say(2*time.Second, "a")
		say(5 * time.Second) // a pause
		say(3*time.Second, "a")
		if got := w.of(audit.Spoke); len(got) != 1 || got[0].Phase != audit.Began || got[0].Publisher != "a" || got[0].Room != "r" {
			t.Fatalf("while he speaks: %+v", got)
		}
		say(15 * time.Second)
		got := w.of(audit.Spoke)
		if len(got) != 2 {
			t.Fatalf("when he has spoken: %+v", got)
		}
		if e := got[1]; e.Phase != audit.Ended || e.Seconds != 5 || e.To.Sub(e.From) != 10*time.Second {
			t.Errorf("got %+v, want 5 s of speech within 10 s", e)
		}
		say(time.Second, "b")
		if err := h.Mute("r", "b", true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(12 * time.Second)
		if got := w.of(audit.Spoke); len(got) != 4 || got[3].Publisher != "b" || got[3].Seconds != 1 {
			t.Errorf("who is muted: %+v", got)
		}
		say(time.Second, "a")
		end()
		if got := w.of(audit.Spoke); len(got) != 6 || got[5].Publisher != "a" || got[5].Phase != audit.Ended || got[5].Seconds != 1 {
			t.Errorf("at the end of the gateway: %+v", got)
		}
	})
}

// What waits for its turn is not from before it: a room may move, and a session end, while others come.
func TestNothingEndsBeforeItHasBegun(t *testing.T) {
	r := rooms.New(rooms.Defaults(), slog.New(slog.DiscardHandler))
	w := &witness{}
	busy := &slow{witness: w}
	r.Record(busy)
	tape := roomstest.NewTape(media.Audio, roomstest.Opus)
	publication := must(r.Publish(rooms.PublishRequest{Room: "r", Publisher: "cam"}))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- publication.Run(ctx, tape) }()
	for room, err := r.Room("r"); err != nil || len(room.Publishers) == 0; room, err = r.Room("r") {
		time.Sleep(time.Millisecond)
	}
	enter := func(room string) {
		name := "Ada"
		if _, _, err := r.Enter(rooms.EnterRequest{Room: room, ParticipantChange: rooms.ParticipantChange{Name: &name}}); err != nil {
			t.Error(err)
		}
	}
	for _, next := range [][]func(){
		{func() { r.SetSpeaking("r", []string{"cam"}) }, func() { stop(); <-ended }},
		{func() { enter("r") }, func() { r.Move("r", "drained") }},
	} {
		var waiting sync.WaitGroup
		busy.hook = func() { // the registry is held: what follows waits for it, in this order
			for _, f := range next {
				waiting.Go(f)
				time.Sleep(20 * time.Millisecond)
			}
		}
		enter("another")
		waiting.Wait()
	}
	tape.End()
	publication.Close()
	r.Close()
	if len(w.of(audit.Spoke))%2 != 0 || len(w.of(audit.Left)) != 3 {
		t.Errorf("recorded %+v and %+v, want whole speeches and three who have left", w.of(audit.Spoke), w.of(audit.Left))
	}
	for _, e := range append(w.of(audit.Spoke), w.of(audit.Left)...) {
		if e.To.Before(e.From) || e.Seconds < 0 {
			t.Errorf("recorded %+v", e)
		}
	}
}

// A slow witness calls hook once, with the next event.
type slow struct {
	*witness
	hook func()
}

func (s *slow) Record(e audit.Event) {
	s.witness.Record(e)
	if hook := s.hook; hook != nil {
		s.hook = nil
		hook()
	}
}

// Participants are recorded with who let them in, and under each name that they take.
func TestParticipantsAreRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		w := &witness{}
		h.Record(w)
		defer h.close()
		name := func(s string) rooms.ParticipantChange { return rooms.ParticipantChange{Name: &s} }
		who := audit.Who{Name: "nurse", Address: "192.0.2.1"}
		secret, info, err := h.Enter(rooms.EnterRequest{Room: "r", TokenRole: "technician", Who: who, ParticipantChange: name("Ada")})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{"Ada", "Grace"} { // the first says nothing new
			time.Sleep(time.Second)
			if _, err := h.Change("r", secret, name(s)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute) // he is not heard of
		for _, tt := range []struct {
			what          audit.What
			called, cause string
		}{{audit.Entered, "Ada", ""}, {audit.Renamed, "Grace", ""}, {audit.Left, "Grace", "timeout"}} {
			got := w.of(tt.what)
			if len(got) != 1 || got[0].Called != tt.called || got[0].Cause != tt.cause || got[0].Participant != info.ID ||
				got[0].Name != "nurse" || got[0].Role != "technician" || got[0].Address != "192.0.2.1" {
				t.Errorf("%s: %+v", tt.what, got)
			}
		}
	})
}
