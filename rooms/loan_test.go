package rooms_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/rooms"
	"sightline/rooms/roomstest"
)

// lending lets a house lend, and returns what it has lent.
func (h *house) lending() *[]*rooms.Loan {
	var all []*rooms.Loan
	h.Lend(func(l *rooms.Loan) { all = append(all, l) })
	return &all
}

// stays publishes as a client that does not come back by itself.
func (h *house) stays(audio, video *media.Codec) *show {
	h.t.Helper()
	s, err := h.tryPublish(rooms.PublishRequest{Room: "r", Publisher: "cam", Subject: "anna", Session: "s", Stays: true}, audio, video)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// Its tracks go on, from the cached group on, for the one who borrows it alone.
func TestALoanGoesOn(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		lent := h.lending()
		s := h.stays(&roomstest.Opus, &roomstest.H264)
		talk(s.audio, 5)
		play(s.video, 5, true, 2)
		ben := h.enter("Ben", rooms.ParticipantChange{})
		watching, err := h.Play(rooms.PlayRequest{Room: "r", Publisher: "cam", Kind: media.Video, Participant: ben.id})
		if err != nil {
			t.Fatal(err)
		}
		v := h.sit(watching[0])
		h.mute(t, true)
		all := watchEvents(t, h, "", 0)
		drain(t, all)

		if n := h.Move("r", "contested"); n != 2 {
			t.Errorf("the room had %d sessions, want the publisher's and the viewer's", n)
		}
		if err := <-v.ended; !errors.Is(err, rooms.ErrMoved) {
			t.Errorf("the viewer's ended with %v, want ErrMoved", err)
		}
		if len(*lent) != 1 || (*lent)[0].Request().Publisher != "cam" || !(*lent)[0].Muted() {
			t.Fatalf("lent %+v, want the camera, muted", *lent)
		}
		l := (*lent)[0]
		if _, err := h.Room("r"); fault.KindOf(err) != fault.NotFound || len(h.RoomStates(nil)) != 0 || len(h.Snapshot().Tracks) != 0 {
			t.Errorf("the room is there still, %v", err)
		}
		if _, err := h.Play(rooms.PlayRequest{Room: "r", Publisher: "cam"}); fault.KindOf(err) != fault.Conflict {
			t.Errorf("a viewer is answered %v, want Conflict", err)
		}
		if err := h.Mute("r", "cam", false); fault.KindOf(err) != fault.NotFound {
			t.Errorf("who unmutes it here is answered %v, want NotFound", err)
		}

		tracks, err := l.Play()
		if err != nil || len(tracks) != 2 {
			t.Fatalf("got %d tracks, %v", len(tracks), err)
		}
		a, b := h.sit(tracks[0]), h.sit(tracks[1])
		if len(b.Got()) == 0 {
			t.Error("who borrows it has to wait for a keyframe, want the cached group")
		}
		talk(s.audio, 5)
		play(s.video, 5, false, 2)
		if got := heard(a.Got()); strings.Trim(got, "-") == "" {
			t.Errorf("heard %q, want speech: whoever borrows it mutes it", got)
		}
		if got := drain(t, all); len(got) != 1 || got[0].Type != rooms.RoomMoved {
			t.Errorf("watchers are told %s, want that the room has moved, and nothing of the loan", story(got))
		}

		// It comes back, and was muted where it was.
		h.Keep("r", []string{"cam"})
		synctest.Wait()
		for what, got := range map[string]error{"sound": <-a.ended, "picture": <-b.ended} {
			if !errors.Is(got, rooms.ErrMoved) {
				t.Errorf("the %s of who borrowed it ended with %v, want ErrMoved", what, got)
			}
		}
		select {
		case <-l.Done():
		default:
			t.Error("it is on loan still")
		}
		again := h.watch(media.Audio)
		talk(s.audio, 5)
		if got := heard(again.Got()[1:]); strings.Trim(got, "-") != "" {
			t.Errorf("heard %q, want silence", got)
		}
		h.watch(media.Video).leave()
		again.leave()
		info := must(h.Room("r"))
		if info.Viewers != 0 || len(info.Publishers) != 1 || info.Publishers[0].Session != "s" || info.Publishers[0].Tracks[1].Viewers != 0 {
			t.Errorf("back again there is %+v", info)
		}
		if _, err := l.Play(); fault.KindOf(err) != fault.Conflict {
			t.Errorf("who borrows it now is answered %v, want Conflict", err)
		}
		l.End(rooms.ErrRemoved) // and that does nothing
		s.end()
	})
}

func TestALoanEndsWithItsSession(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		lent := h.lending()
		s := h.stays(&roomstest.Opus, nil)
		talk(s.audio, 5)
		h.Move("r", "drained")
		l := (*lent)[0]
		tracks := must(l.Play())
		a := h.sit(tracks[0])
		s.end()
		if err := <-a.ended; !errors.Is(err, rooms.ErrGone) {
			t.Errorf("who borrowed it ended with %v, want ErrGone", err)
		}
		<-l.Done()
		h.Keep("r", nil)
		if _, err := h.Room("r"); fault.KindOf(err) != fault.NotFound {
			t.Errorf("it came back: %v", err)
		}
	})
}

// Whoever ends it says why, once.
func TestALoanIsEndedWithACause(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		lent := h.lending()
		s := h.stays(&roomstest.Opus, nil)
		h.Move("r", "drained")
		(*lent)[0].End(rooms.ErrReplaced)
		(*lent)[0].End(rooms.ErrRemoved)
		if err := <-s.ended; !errors.Is(err, rooms.ErrReplaced) {
			t.Errorf("got %v, want ErrReplaced", err)
		}
		s.end()
	})
}

// Of two of one name the one in the room is the newer, and a registry that closes ends loans, too.
func TestALoanThatComesBackTooLate(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		h.lending()
		s := h.stays(&roomstest.Opus, nil)
		h.Move("r", "drained")
		newer := h.publish(&roomstest.Opus, nil)
		h.Keep("r", nil)
		if err := <-s.ended; !errors.Is(err, rooms.ErrReplaced) {
			t.Errorf("got %v, want ErrReplaced", err)
		}
		s.end()
		newer.end()
		time.Sleep(time.Minute)
		third := h.stays(&roomstest.Opus, nil)
		h.Move("r", "drained")
		ended := make(chan error)
		go func() {
			err := <-third.ended
			third.audio.End() // as its session does
			ended <- err
		}()
		go h.Close()
		if err := <-ended; !errors.Is(err, rooms.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	})
}

// Who was muted when the room moved is so when it comes back, be it that nobody has learnt of that meanwhile.
func TestALoanComesBackMuted(t *testing.T) {
	for _, told := range []bool{false, true} {
		run(t, func(t *testing.T, h *house) {
			lent := h.lending()
			s := h.stays(&roomstest.Opus, nil)
			talk(s.audio, 5)
			h.mute(t, true)
			h.Move("r", "drained")
			l := (*lent)[0]
			a := h.sit(must(l.Play())[0]) // of whom nothing is heard any more
			if told {
				l.Mute(false) // the owner has it, and tells whoever has the room next
			}
			h.Keep("r", nil)
			<-a.ended
			again := h.watch(media.Audio)
			talk(s.audio, 5)
			if got := heard(again.Got()[1:]); (strings.Trim(got, "-") == "") == told {
				t.Errorf("told of it: %t, heard %q", told, got)
			}
			again.leave()
			s.end()
		})
	}
}

// Who is about to connect when the room moves is lent once he has, and until then nothing of the room is here. He
// is of the room if that has come back meanwhile.
func TestWhoConnectsWhileTheRoomMovesIsLent(t *testing.T) {
	for _, back := range []bool{false, true} {
		run(t, func(t *testing.T, h *house) {
			lent := h.lending()
			p := must(h.Publish(rooms.PublishRequest{Room: "r", Publisher: "cam", Session: "s", Stays: true}))
			given := must(h.Publish(rooms.PublishRequest{Room: "r", Publisher: "door", Session: "d", Stays: true}))
			all := watchEvents(t, h, "", 0)
			drain(t, all)
			h.Move("r", "contested")
			if got := drain(t, all); len(got) != 1 || len(h.RoomStates(nil)) != 0 {
				t.Errorf("watchers are told %s, and there is %+v; want that the room has moved, and nothing", story(got), h.RoomStates(nil))
			}
			given.Close()
			if back {
				h.Keep("r", []string{"cam"})
				if got := h.RoomStates(nil); len(got) != 1 {
					t.Errorf("the room is back, and there is %+v", got)
				}
			}
			tape := roomstest.NewTape(media.Audio, roomstest.Opus)
			h.tapes = append(h.tapes, tape)
			ended := make(chan error, 1)
			go func() {
				defer p.Close()
				ended <- p.Run(t.Context(), tape)
			}()
			synctest.Wait()
			if back {
				if info := must(h.Room("r")); len(*lent) != 0 || len(info.Publishers) != 1 || !info.Publishers[0].Muted {
					t.Errorf("%d are lent, and the room has %+v", len(*lent), info)
				}
				h.Move("r", "contested")
			} else if got := drain(t, all); len(got) != 0 || len(h.Rooms()) != 0 {
				t.Errorf("watchers are told %s of him", story(got))
			}
			if len(*lent) != 1 {
				t.Fatalf("%d are lent, want one", len(*lent))
			}
			l := (*lent)[0]
			if l.Muted() != back {
				t.Errorf("muted: %t", l.Muted())
			}
			seat := h.sit(must(l.Play())[0])
			talk(tape, 5)
			if len(seat.Got()) == 0 {
				t.Error("nothing comes of him")
			}
			l.End(rooms.ErrMoved)
			if err := <-ended; !errors.Is(err, rooms.ErrMoved) {
				t.Errorf("got %v, want ErrMoved", err)
			}
			tape.End()
			<-seat.ended
		})
	}
}

// An encoder that was started again just before the room moved is the one that is lent, not what it was before.
func TestOfTwoLoansOfOneNameTheNewerHolds(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		h.lending()
		before := h.stays(&roomstest.Opus, nil)
		p := must(h.Publish(rooms.PublishRequest{Room: "r", Publisher: "cam", Subject: "anna", Session: "t", Stays: true}))
		h.Move("r", "contested")
		tape := roomstest.NewTape(media.Audio, roomstest.Opus)
		h.tapes = append(h.tapes, tape)
		ended := make(chan error, 1)
		go func() { ended <- p.Run(t.Context(), tape) }()
		if err := <-before.ended; !errors.Is(err, rooms.ErrReplaced) {
			t.Errorf("what it was before ended with %v, want ErrReplaced", err)
		}
		before.end()
		tape.End()
		if err := <-ended; err != nil {
			t.Errorf("what it is now ended with %v", err)
		}
		p.Close()
	})
}

// A track that only the session before had is not lent: nothing will come of it.
func TestALoanHasTheTracksOfItsSession(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		lent := h.lending()
		before := h.stays(&roomstest.Opus, &roomstest.H264)
		talk(before.audio, 5)
		play(before.video, 5, true, 2)
		s := h.stays(&roomstest.Opus, nil)
		<-before.ended
		before.end()
		talk(s.audio, 5)
		h.Move("r", "contested")
		l := (*lent)[0]
		tracks := must(l.Play())
		if got := l.Kinds(); len(got) != 1 || got[0] != media.Audio || len(tracks) != 1 {
			t.Errorf("lent are %q, and %d are played; want the sound", got, len(tracks))
		}
		tracks[0].Close()
		s.end()
	})
}

// What yields has a name only while nobody else wants it.
func TestABorrowedPublisherYields(t *testing.T) {
	for _, takeover := range []string{rooms.TakeoverNewest, rooms.TakeoverReject} {
		t.Run(takeover, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := open(t, func(c *rooms.Config) { c.Takeover = takeover })
				defer h.close()
				borrowed := rooms.PublishRequest{Room: "r", Publisher: "cam", Session: "lent", Muted: true, Lender: "a"}
				early := must(h.Publish(rooms.PublishRequest{Room: "r", Publisher: "cam", Session: "s"})) // about to connect
				one, err := h.tryPublish(borrowed, &roomstest.Opus, nil)
				if err != nil {
					t.Fatal(err)
				}
				if info := must(h.Room("r")); !info.Publishers[0].Muted {
					t.Error("it is not muted")
				}
				other := borrowed
				other.Lender = "b"
				if _, err := h.Publish(other); fault.KindOf(err) != fault.Conflict {
					t.Errorf("one of another node: got %v, want Conflict", err)
				}
				two, err := h.tryPublish(borrowed, &roomstest.Opus, nil) // lent once more
				if err != nil {
					t.Fatal(err)
				}
				if err := <-one.ended; !errors.Is(err, rooms.ErrReplaced) {
					t.Errorf("the session of before ended with %v, want ErrReplaced", err)
				}
				tape := roomstest.NewTape(media.Audio, roomstest.Opus)
				h.tapes = append(h.tapes, tape)
				ended := make(chan error, 1)
				go func() { ended <- early.Run(t.Context(), tape) }()
				synctest.Wait()
				if takeover == rooms.TakeoverReject {
					if err := <-ended; fault.KindOf(err) != fault.Conflict {
						t.Errorf("got %v, want Conflict: nobody may take over", err)
					}
					two.end()
					early.Close()
					return
				}
				if err := <-two.ended; !errors.Is(err, rooms.ErrReplaced) {
					t.Errorf("the borrowed one ended with %v, want ErrReplaced", err)
				}
				if _, err := h.Publish(borrowed); fault.KindOf(err) != fault.Conflict {
					t.Errorf("a name that is taken: got %v, want Conflict", err)
				}
				tape.End()
				synctest.Wait()
				early.Close()
			})
		})
	}
}
