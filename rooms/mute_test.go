package rooms_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/rooms"
	"sightline/rooms/roomstest"
)

// quiet is the silence that stands for a packet of a tape's sound.
var quiet = []byte{0xfc, 0xff, 0xfe}

// talk plays n packets of sound, 20 ms each.
func talk(tape *roomstest.Tape, n int) {
	for range n {
		tape.Frame(1)
		time.Sleep(20 * time.Millisecond)
	}
	synctest.Wait()
}

// heard says of each packet whether something is heard in it: "x", or not: "-".
func heard(got []roomstest.Got) string {
	s := ""
	for _, g := range got {
		if bytes.Equal(g.Payload, quiet) {
			s += "-"
		} else {
			s += "x"
		}
	}
	return s
}

func (h *house) mute(t *testing.T, muted bool) {
	t.Helper()
	if err := h.Mute("r", "cam", muted); err != nil {
		t.Fatal(err)
	}
}

func TestMuteTakesEffectAtTheNextPacketAndLeavesNoHole(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(&roomstest.Opus, &roomstest.H264)
		s.audio.Frame(1)
		s.video.Keyframe(3)
		a, v := h.watch(media.Audio), h.watch(media.Video)
		talk(s.audio, 3)
		h.mute(t, true)
		h.mute(t, true) // changes nothing
		talk(s.audio, 4)
		play(s.video, 5, false, 3)
		h.mute(t, false)
		talk(s.audio, 2)
		got := a.count(t, 9)
		if want := "xxx----xx"; heard(got) != want {
			t.Errorf("heard %s, want %s", heard(got), want)
		}
		checkLine(t, got)
		for i := 1; i < len(got); i++ {
			if d := got[i].Timestamp - got[i-1].Timestamp; i != 7 && d != 960 { // video was played before the seventh
				t.Errorf("packet %d: timestamp steps by %d, want 960", i, d)
			}
		}
		pictures := v.count(t, 3+15)
		checkLine(t, pictures)
		for _, g := range pictures {
			if g.Payload[0] != 0x7c && g.Payload[0] != 0x78 {
				t.Errorf("a payload of video was changed to % x", g.Payload[:3])
			}
		}
		if tracks, _ := h.Tracks("r"); tracks[0].State != rooms.Live {
			t.Errorf("the muted track is %q, want live", tracks[0].State)
		}
	})
}

func TestMutedPacketsKeepTheirPlaceAndMarkAndLoseTheirLevel(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(&roomstest.Opus, nil)
		s.audio.Frame(1)
		a := h.watch(media.Audio)
		h.mute(t, true)
		made := s.audio.Packets(false, 1)[0]
		made.Payload = []byte{0x0b, 3, 1, 2, 3} // three frames of 20 ms of SILK, mono
		made.Marker, made.HasLevel, made.Level, made.Voice = true, true, 17, true
		s.audio.Play(made)
		time.Sleep(60 * time.Millisecond)
		plain := s.audio.Packets(false, 1)[0]
		plain.Level, plain.Voice = 17, true // without HasLevel they mean nothing
		s.audio.Play(plain)
		time.Sleep(20 * time.Millisecond)
		padding := s.audio.Packets(false, 1)[0]
		padding.Payload = nil
		s.audio.Play(padding)
		synctest.Wait()
		got := a.count(t, 3)
		checkLine(t, got[:2])
		if want := []byte{0xfb, 3, 0xff, 0xfe, 0xff, 0xfe, 0xff, 0xfe}; !bytes.Equal(got[0].Payload, want) {
			t.Errorf("got % x, want % x", got[0].Payload, want)
		}
		if g := got[0]; !g.Marker || !g.HasLevel || g.Level != 127 || g.Voice {
			t.Errorf("marker %t, level %t %d, voice %t; want true, true 127, false", g.Marker, g.HasLevel, g.Level, g.Voice)
		}
		if g := got[1]; g.Marker || g.HasLevel {
			t.Errorf("marker %t, level %t, want neither", g.Marker, g.HasLevel)
		}
		if len(got[2].Payload) != 0 {
			t.Errorf("padding became % x", got[2].Payload)
		}
		if made.Level != 17 || made.Payload[0] != 0x0b {
			t.Error("the source's packet was changed")
		}
	})
}

func TestMutedPacketsAreSilentWhenSentAgain(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(&roomstest.Opus, nil)
		s.audio.Frame(1)
		a := h.watch(media.Audio)
		talk(s.audio, 1)
		h.mute(t, true)
		talk(s.audio, 1)
		lost := s.audio.Packets(false, 1)[0]
		time.Sleep(20 * time.Millisecond)
		talk(s.audio, 1)
		s.audio.Play(lost) // late
		synctest.Wait()
		h.mute(t, false)
		talk(s.audio, 1)
		got := a.count(t, 5)
		if want := "x---x"; heard(got) != want {
			t.Errorf("heard %s, want %s", heard(got), want)
		}
		var asked []uint16
		for _, g := range got {
			asked = append(asked, g.Sequence)
		}
		var again []roomstest.Got
		a.Resend(asked, func(o media.Outgoing) { again = append(again, roomstest.Got{Outgoing: o}) })
		if want := "x---x"; heard(again) != want {
			t.Errorf("sent again: heard %s, want %s", heard(again), want)
		}
	})
}

func TestMuteHoldsForTheNameUntilThePublisherIsGone(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		if err := h.Mute("r", "cam", true); fault.KindOf(err) != fault.NotFound {
			t.Errorf("Mute of nobody returned %v, want a fault.NotFound", err)
		}
		s := h.publish(nil, &roomstest.H264)
		if err := h.Mute("r", "nobody", true); fault.KindOf(err) != fault.NotFound {
			t.Errorf("Mute of nobody in a room returned %v, want a fault.NotFound", err)
		}
		h.mute(t, true) // before there is any sound
		check := func(want bool) {
			t.Helper()
			room, err := h.Room("r")
			if err != nil {
				t.Fatal(err)
			}
			p := room.Publishers[0]
			if p.Muted != want {
				t.Errorf("the publisher is muted: %t, want %t", p.Muted, want)
			}
			for _, info := range p.Tracks {
				if info.Muted != (want && info.Kind == media.Audio) {
					t.Errorf("%s is muted: %t", info.ID, info.Muted)
				}
			}
			for _, info := range h.Snapshot().Tracks {
				if info.Muted != (want && info.Kind == media.Audio) {
					t.Errorf("the snapshot says of %s that it is muted: %t", info.ID, info.Muted)
				}
			}
		}
		check(true)
		n := h.publish(&roomstest.Opus, &roomstest.H264) // takes over
		<-s.ended
		n.audio.Frame(1)
		a := h.watch(media.Audio)
		talk(n.audio, 2)
		check(true)
		n.end()
		time.Sleep(10 * time.Second)
		check(true)
		s = h.publish(&roomstest.Opus, nil) // within the grace
		talk(s.audio, 2)
		if got := a.count(t, 4); heard(got) != "----" {
			t.Errorf("heard %s, want nothing", heard(got))
		} else {
			checkLine(t, got)
		}
		s.end()
		time.Sleep(5 * time.Second)
		h.mute(t, true) // while it is away
		time.Sleep(20 * time.Second)
		if err := h.Mute("r", "cam", false); fault.KindOf(err) != fault.NotFound {
			t.Errorf("Mute of one that is gone returned %v, want a fault.NotFound", err)
		}
		s = h.publish(&roomstest.Opus, nil)
		s.audio.Frame(1)
		a = h.watch(media.Audio)
		talk(s.audio, 2)
		if got := a.count(t, 2); heard(got) != "xx" {
			t.Errorf("after it was gone heard %s, want all", heard(got))
		}
		check(false)
	})
}

func TestMuteIsAnEventAtOnce(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(&roomstest.Opus, &roomstest.H264)
		s.audio.Frame(1)
		s.video.Keyframe(2)
		time.Sleep(time.Second)
		synctest.Wait()
		w := watchEvents(t, h, "r", 0)
		drain(t, w)
		for _, tt := range []struct {
			muted bool
			want  int
		}{{true, 1}, {true, 0}, {false, 1}} {
			h.mute(t, tt.muted)
			synctest.Wait() // without any time
			events := drain(t, w)
			if len(events) != tt.want {
				t.Errorf("muted %t: %d events, want %d:\n%s", tt.muted, len(events), tt.want, story(events))
			}
			for _, e := range events {
				if e.Type != rooms.TrackChanged || e.Track.ID != "cam/audio" || e.Track.Muted != tt.muted {
					t.Errorf("muted %t: got %s of %s, muted %t", tt.muted, e.Type, e.Track.ID, e.Track.Muted)
				}
			}
		}
	})
}
