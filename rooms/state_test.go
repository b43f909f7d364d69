package rooms_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/rooms"
	"sightline/rooms/roomstest"
)

func TestStatesFollowTheMedia(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(&roomstest.Opus, &roomstest.H264)
		check := func(audio, video rooms.State) {
			t.Helper()
			synctest.Wait()
			tracks, err := h.Tracks("r")
			if err != nil {
				t.Fatal(err)
			}
			if tracks[0].State != audio || tracks[1].State != video {
				t.Errorf("audio is %q, video %q, want %q and %q", tracks[0].State, tracks[1].State, audio, video)
			}
		}
		check(rooms.Connecting, rooms.Connecting)
		s.audio.Frame(1)
		s.video.Frame(2)
		check(rooms.Live, rooms.Connecting)
		s.video.Keyframe(2)
		check(rooms.Live, rooms.Live)
		time.Sleep(1900 * time.Millisecond)
		s.video.Frame(1)
		time.Sleep(200 * time.Millisecond)
		check(rooms.Stalled, rooms.Live)
		time.Sleep(time.Minute) // its session is there: it is not gone
		check(rooms.Stalled, rooms.Stalled)
		s.audio.Frame(1)
		s.video.Frame(1)
		check(rooms.Live, rooms.Live)
		s.end()
		check(rooms.Stalled, rooms.Stalled)
		time.Sleep(14 * time.Second)
		check(rooms.Stalled, rooms.Stalled)
		time.Sleep(2 * time.Second)
		if _, err := h.Tracks("r"); fault.KindOf(err) != fault.NotFound {
			t.Errorf("after the grace Tracks returned %v, want a fault.NotFound", err)
		}
	})
}

func TestWhatCanBePlayed(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		try := func(kind media.Kind, want int) {
			t.Helper()
			synctest.Wait()
			got, err := h.Play(rooms.PlayRequest{Room: "r", Publisher: "cam", Kind: kind})
			for _, s := range got {
				s.Close()
			}
			var f *fault.Error
			if want == 0 && (!errors.As(err, &f) || f.Kind != fault.Conflict || f.RetryAfter != 2*time.Second) {
				t.Errorf("Play returned %v, want a fault.Conflict with RetryAfter 2s", err)
			}
			if len(got) != want {
				t.Errorf("Play of %q returned %d tracks and %v, want %d", kind, len(got), err, want)
			}
		}
		try("", 0) // unknown room
		s := h.publish(&roomstest.Opus, &roomstest.H264)
		try("", 0)
		try(media.Audio, 0)
		s.audio.Frame(1)
		try(media.Audio, 1)
		try("", 0) // the picture is about to come
		s.video.Keyframe(2)
		try(media.Video, 1)
		try("", 2)
		s.end()
		try("", 2) // within the grace
		n := h.publish(&roomstest.Opus, &roomstest.H264)
		n.audio.Frame(1)
		time.Sleep(4 * time.Second)
		try("", 2) // the picture does not come
		n.end()
		time.Sleep(16 * time.Second)
		try("", 0)
		if _, err := h.Play(rooms.PlayRequest{Room: "r", Publisher: "cam", Kind: "smell"}); fault.KindOf(err) != fault.NotFound {
			t.Errorf("Play of a strange kind returned %v, want a fault.NotFound", err)
		}
	})
}

func TestLimitsNameThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, func(c *rooms.Config) {
			c.MaxRooms, c.MaxPublishers, c.MaxViewers, c.MaxViewersPerTrack = 2, 2, 3, 2
		})
		defer h.close()
		full := func(key string, err error) {
			t.Helper()
			var f *fault.Error
			if !errors.As(err, &f) || f.Kind != fault.Unavailable || f.RetryAfter <= 0 || !strings.Contains(f.Detail, key) {
				t.Errorf("got %v, want a fault.Unavailable with RetryAfter that names %s", err, key)
			}
		}
		ask := func(room, publisher string) (*rooms.Publication, error) {
			return h.Publish(rooms.PublishRequest{Room: room, Publisher: publisher, Subject: "anna"})
		}
		s := h.publish(&roomstest.Opus, &roomstest.H264)
		s.audio.Frame(1)
		s.video.Keyframe(2)
		// Those who are only about to come take no place from those who do.
		reserve := func(room, publisher string) *rooms.Publication {
			t.Helper()
			p, err := ask(room, publisher)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		live := func(room, publisher string) *show {
			t.Helper()
			s, err := h.tryPublish(rooms.PublishRequest{Room: room, Publisher: publisher, Subject: "anna"}, &roomstest.Opus, nil)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		tooLate := []*rooms.Publication{reserve("r", "b"), reserve("r", "c")}
		second := live("r", "d")
		_, err := ask("r", "e")
		full("rooms.max_publishers", err)
		full("rooms.max_publishers", tooLate[0].Run(t.Context()))
		if again, err := ask("r", "d"); err != nil {
			t.Errorf("the same name again: %v", err)
		} else {
			again.Close()
		}
		elsewhere := []*rooms.Publication{reserve("r2", "a"), reserve("r3", "a"), reserve("r4", "a")}
		other := live("r5", "a")
		_, err = ask("r6", "a")
		full("rooms.max_rooms", err)
		full("rooms.max_rooms", elsewhere[0].Run(t.Context()))
		for _, p := range append(tooLate, elsewhere...) {
			p.Close()
		}
		if n := len(h.Rooms()); n != 2 {
			t.Errorf("%d rooms are open, want 2", n)
		}
		other.end()
		second.end()
		time.Sleep(time.Minute) // rooms.grace
		reserve("r", "c").Close()
		reserve("r3", "a").Close()

		synctest.Wait()
		watch := func(kind media.Kind) ([]*rooms.Subscription, error) {
			return h.Play(rooms.PlayRequest{Room: "r", Publisher: "cam", Kind: kind})
		}
		var all []*rooms.Subscription
		for _, kind := range []media.Kind{"", media.Video} {
			got, err := watch(kind)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, got...)
		}
		if room, _ := h.Room("r"); room.Viewers != 2 {
			t.Errorf("room has %d viewers, want 2: a pair is one", room.Viewers)
		}
		_, err = watch("")
		full("rooms.max_viewers_per_track", err)
		got, err := watch(media.Audio)
		if err != nil {
			t.Fatal(err)
		}
		_, err = watch(media.Audio)
		full("rooms.max_viewers", err)
		for _, s := range append(all, got...) {
			s.Close()
			s.Close()
		}
		if room, _ := h.Room("r"); room.Viewers != 0 || room.Publishers[0].Tracks[1].Viewers != 0 {
			t.Error("viewers are counted that have left")
		}
	})
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "mri-2": true, "A.b_c-9": true, "-": true, strings.Repeat("x", 64): true,
		"": false, ".a": false, "~mix": false, "a~": false, "a/b": false, "ä": false, "a b": false, "a\x00": false,
		strings.Repeat("x", 65): false, strings.Repeat("x", 1<<20): false,
	} {
		err := rooms.ValidName(name)
		if (err == nil) != want {
			t.Errorf("%.20q: got %v, want valid = %v", name, err, want)
		}
		if err != nil && (fault.KindOf(err) != fault.BadRequest || len(err.Error()) > 500) {
			t.Errorf("%.20q: error is a %q of %d bytes", name, fault.KindOf(err), len(err.Error()))
		}
	}
}

func TestLabelIsOneLineForPeople(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"  MRI 2 \n console\t":    "MRI 2 console",
		"Röntgen – Raum 3":        "Röntgen – Raum 3",
		"a\x00b\x1b[31m\u202ec":   "ab[31mc",
		"bad \xff utf-8":          "bad utf-8",
		strings.Repeat("ä", 100):  strings.Repeat("ä", 64),
		strings.Repeat("a ", 100): strings.TrimSpace(strings.Repeat("a ", 32)),
	} {
		if got := rooms.Label(in); got != want {
			t.Errorf("Label(%q) = %q, want %q", in, got, want)
		}
	}
}

// A room's page is at /{room}.
func TestNoRoomIsCalledAsARouteOfTheGateway(t *testing.T) {
	h := open(t)
	defer h.close()
	for _, name := range []string{
		"api", "whip", "whep", "sessions", "watch", "assets", "metrics", "healthz", "readyz", "version",
		"debug", "auth", "login", "logout", "docs", "favicon.ico", "robots.txt", "~mix", "",
	} {
		_, published := h.Publish(rooms.PublishRequest{Room: name, Publisher: "cam"})
		_, played := h.Play(rooms.PlayRequest{Room: name, Publisher: "cam"})
		_, tapped := h.Tap(name, "cam")
		for what, err := range map[string]error{"ValidRoom": rooms.ValidRoom(name), "Publish": published, "Play": played, "Tap": tapped} {
			if fault.KindOf(err) != fault.BadRequest || rooms.Reserved(name) && !strings.Contains(err.Error(), "own routes") {
				t.Errorf("%s of room %q: got %v, want a bad request that says why", what, name, err)
			}
		}
		if _, err := h.Watch(name, 0); name != "" && fault.KindOf(err) != fault.BadRequest { // "" is all rooms
			t.Errorf("Watch of room %q: got %v", name, err)
		}
	}
	for _, name := range []string{"API", "apis", "mri-2", "room"} {
		if err := rooms.ValidRoom(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := rooms.ValidName("api"); err != nil {
		t.Errorf("a publisher may be called api: %v", err)
	}
}

func TestARoleIsSpeltAsANameOrNone(t *testing.T) {
	h := open(t)
	defer h.close()
	for role, want := range map[string]bool{"": true, "hospital": true, "x.9": true, ".x": false, "a b": false, strings.Repeat("x", 65): false} {
		p, err := h.Publish(rooms.PublishRequest{Room: "r", Publisher: "cam", Role: role})
		if (err == nil) != want || err != nil && (fault.KindOf(err) != fault.BadRequest || !strings.Contains(err.Error(), "is no role")) {
			t.Errorf("%.20q: got %v, want valid = %t", role, err, want)
		}
		if err == nil {
			p.Close()
		}
	}
}

func TestAnotherRoleIsAnEvent(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		w := watchEvents(t, h, "r", 0)
		for _, role := range []string{"", "technician", "technician", "hospital"} {
			req := rooms.PublishRequest{Room: "r", Publisher: "cam", Role: role}
			if _, err := h.tryPublish(req, &roomstest.Opus, nil); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, e := range drain(t, w) {
			if e.Type == rooms.TrackChanged {
				got = append(got, e.Track.Role)
			}
		}
		if room, _ := h.Room("r"); room.Publishers[0].Role != "hospital" || got[len(got)-1] != "hospital" {
			t.Errorf("the publisher has the role %q, the last event says %q, want hospital", room.Publishers[0].Role, got)
		}
	})
}

func TestConfigurationErrorsNameTheirKeys(t *testing.T) {
	if err := rooms.Defaults().Validate(); err != nil {
		t.Errorf("the defaults are not valid: %v", err)
	}
	err := (rooms.Config{Takeover: "oldest", MaxRooms: -1}).Validate()
	for _, want := range []string{
		"rooms.max_rooms: must be a positive number of rooms, got -1", "rooms.max_publishers: ", "rooms.max_viewers: ",
		"rooms.max_viewers_per_track: ", `rooms.takeover: must be "newest" or "reject", got "oldest"`, "rooms.stalled_after: ",
		"rooms.keyframe_interval: ", "rooms.cache_bytes: ", "rooms.cache_duration: ",
	} {
		if err == nil || !strings.Contains("\n"+err.Error(), "\n"+want) {
			t.Errorf("%v\ndoes not say %q", err, want)
		}
	}
}

func TestTheRoomSaysWhatATrackIs(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s, err := h.tryPublish(rooms.PublishRequest{Room: "r", Publisher: "cam", Subject: "anna", Session: "public", Client: "OBS", Label: "Console", Role: "hospital"},
			&roomstest.Opus, &roomstest.H264)
		if err != nil {
			t.Fatal(err)
		}
		s.video.SetStats(media.SourceStats{Loss: 0.1, RTT: time.Second, Path: "tcp"})
		for range 5 {
			play(s.video, 30, true, 2)
		}
		v := h.watch(media.Video)
		room, err := h.Room("r")
		if err != nil {
			t.Fatal(err)
		}
		p := room.Publishers[0]
		if p.Name != "cam" || p.Label != "Console" || p.Role != "hospital" || p.Session != "public" || p.Client != "OBS" || len(p.Tracks) != 2 {
			t.Errorf("publisher is %+v", p)
		}
		if a := p.Tracks[0]; a.ID != "cam/audio" || a.PacketAge >= 0 || a.KeyframeAge >= 0 || a.Codec.Name != "opus" {
			t.Errorf("audio is %+v", a)
		}
		got := p.Tracks[1]
		if got.ID != "cam/video" || got.Width != 1920 || got.Height != 1080 || got.Profile != "High 4.0" ||
			got.Loss != 0.1 || got.RTT != time.Second || got.Path != "tcp" || got.Viewers != 1 || got.State != rooms.Live || got.Role != "hospital" {
			t.Errorf("video is %+v", got)
		}
		if math.Abs(got.FrameRate-30) > 0.5 || got.Bitrate < 30000 || got.Bitrate > 60000 {
			t.Errorf("frame rate is %.1f, want 30; bit rate is %d", got.FrameRate, got.Bitrate)
		}
		v.leave()
		s.end()
		if tracks, _ := h.Tracks("r"); tracks[1].Session != "" || tracks[1].Viewers != 0 || tracks[1].Path != "" {
			t.Errorf("after the end: %+v", tracks[1])
		}
	})
}

func TestTotalsOutliveSourcesAndViewers(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		var source, sinks uint64
		for range 3 {
			s := h.publish(nil, &roomstest.H264)
			s.video.Keyframe(2)
			a, b := h.watch(media.Video), h.watch(media.Video)
			time.Sleep(frame)
			play(s.video, 10, false, 2)
			a.leave()
			play(s.video, 10, false, 2)
			now := h.Snapshot().Tracks[0]
			if now.Source.Packets < source || now.Sinks.Packets < sinks {
				t.Error("totals went back")
			}
			b.leave()
			s.end()
			got := h.Snapshot().Tracks[0]
			if d := got.Source.Packets - source; d != 42 {
				t.Errorf("source's packets grew by %d, want 42", d)
			}
			if d := got.Sinks.Packets - sinks; d != 22+42 {
				t.Errorf("sinks' packets grew by %d, want 64", d)
			}
			source, sinks = got.Source.Packets, got.Sinks.Packets
		}
		shot := h.Snapshot()
		for name, h := range map[string]rooms.Histogram{"first packet": shot.FirstPacket, "first keyframe": shot.FirstKeyframe} {
			n := uint64(0)
			for _, c := range h.Counts {
				n += c
			}
			if n != 6 || len(h.Counts) != len(h.Bounds)+1 {
				t.Errorf("%s: %d observations, want 6", name, n)
			}
		}
	})
}

func TestCloseEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		s := h.publish(&roomstest.Opus, &roomstest.H264)
		s.video.Keyframe(2)
		s.audio.Frame(1)
		v, a := h.watch(media.Video), h.watch(media.Audio)
		w, err := h.Watch("", 0)
		if err != nil {
			t.Fatal(err)
		}
		next := make(chan error)
		go func() {
			for {
				if _, err := w.Next(t.Context()); err != nil {
					next <- err
					return
				}
			}
		}()
		go func() {
			err := <-s.ended // a session ends when Run returns
			s.audio.End()
			s.video.End()
			s.ended <- err
		}()
		late := must(h.Publish(rooms.PublishRequest{Room: "r", Publisher: "late"})) // it has not connected yet
		h.Close()
		h.Close()
		if err := late.Run(t.Context()); !errors.Is(err, rooms.ErrClosed) {
			t.Errorf("who connects after Close ends with %v, want ErrClosed", err)
		}
		for name, c := range map[string]chan error{"publisher": s.ended, "video": v.ended, "audio": a.ended, "watcher": next} {
			if err := <-c; !errors.Is(err, rooms.ErrClosed) {
				t.Errorf("%s ended with %v, want ErrClosed", name, err)
			}
		}
		_, err1 := h.Publish(rooms.PublishRequest{Room: "r", Publisher: "x"})
		_, err2 := h.Play(rooms.PlayRequest{Room: "r", Publisher: "cam"})
		_, err3 := h.Watch("", 0)
		for _, err := range []error{err1, err2, err3} {
			if fault.KindOf(err) != fault.Unavailable {
				t.Errorf("after Close: %v, want a fault.Unavailable", err)
			}
		}
	})
}

// As many follow as api.max_streams can let in, and as many of other nodes'.
func TestWatchersOfAllStreamsThatCanBe(t *testing.T) {
	h := open(t)
	defer h.close()
	for i := range 2 * 5000 {
		w, err := h.Watch("", 0)
		if err != nil {
			t.Fatalf("watcher %d: %v", i+1, err)
		}
		defer w.Close()
	}
	if _, err := h.Watch("", 0); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("one more: %v, want fault.Unavailable", err)
	}
}

func TestReservationsLeaveNothingBehind(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		for i := range 1000 {
			p, err := h.Publish(rooms.PublishRequest{Room: fmt.Sprint("r", i), Publisher: "cam"})
			if err != nil {
				t.Fatal(err)
			}
			if len(h.Rooms()) != 0 {
				t.Fatal("a reservation shows")
			}
			p.Close()
			if err := p.Run(t.Context()); !errors.Is(err, rooms.ErrClosed) {
				t.Fatalf("Run after Close returned %v, want ErrClosed", err)
			}
		}
	})
}
