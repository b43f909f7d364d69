package rooms_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/rooms"
	"sightline/rooms/roomstest"
)

// A guest is a participant of room "r".
type guest struct {
	h      *house
	secret string
	id     string
}

// enter lets a person into room "r".
func (h *house) enter(name string, change rooms.ParticipantChange) *guest {
	h.t.Helper()
	change.Name = &name
	secret, info, err := h.Enter(rooms.EnterRequest{Room: "r", ParticipantChange: change})
	if err != nil {
		h.t.Fatal(err)
	}
	return &guest{h, secret, info.ID}
}

func (g *guest) change(c rooms.ParticipantChange) rooms.ParticipantInfo {
	g.h.t.Helper()
	info, err := g.h.Change("r", g.secret, c)
	if err != nil {
		g.h.t.Fatal(err)
	}
	return info
}

func (g *guest) leave() {
	g.h.t.Helper()
	if err := g.h.Leave("r", g.secret); err != nil {
		g.h.t.Fatal(err)
	}
}

// crowd puts events into words: type, name of the participant, and what he says.
func crowd(events []rooms.Event) string {
	var out []string
	for _, e := range events {
		s := string(e.Type)
		if p := e.Participant; p != nil {
			s += " " + p.Name
			if p.Hand {
				s += " hand"
			}
			if p.Call != "" {
				s += " calls " + p.Call
			}
			if p.Listening {
				s += " listens"
			}
		}
		if e.Track != nil {
			s += fmt.Sprintf(" %s %d", e.Track.ID, len(e.Track.Watchers))
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func TestAParticipantKeepsARoomOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, func(c *rooms.Config) { c.Grace = 0 })
		defer h.close()
		w := watchEvents(t, h, "", 0)
		anna := h.enter("Anna", rooms.ParticipantChange{})
		if all := h.Rooms(); len(all) != 1 || len(all[0].Participants) != 1 || all[0].Participants[0].ID != anna.id {
			t.Errorf("rooms: got %+v, want one with Anna", all)
		}
		anna.leave()
		if all := h.Rooms(); len(all) != 0 {
			t.Errorf("rooms: got %+v, want none", all)
		}
		if _, err := h.Participants("r"); fault.KindOf(err) != fault.NotFound {
			t.Errorf("participants of a closed room: got %v, want not found", err)
		}
		if got, want := crowd(drain(t, w)), "snapshot, participant-left Anna, room-closed"; got != want {
			t.Errorf("a slow watcher got %q, want %q", got, want)
		}

		anna = h.enter("Anna", rooms.ParticipantChange{})
		s := h.publish(&roomstest.Opus, nil)
		s.audio.Frame(1)
		anna.leave()
		if all := h.Rooms(); len(all) != 1 {
			t.Errorf("rooms with a publisher: got %d, want 1", len(all))
		}
		bert := h.enter("Bert", rooms.ParticipantChange{})
		s.end()
		time.Sleep(time.Second)
		synctest.Wait()
		if all := h.Rooms(); len(all) != 1 || len(all[0].Publishers) != 0 {
			t.Errorf("rooms with a participant: got %+v, want one without publishers", all)
		}
		drain(t, w)
		bert.leave()
		if got, want := crowd(drain(t, w)), "participant-left Bert, room-closed"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestWhoIsNotHeardOfIsGone(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		anna, bert := h.enter("Anna", rooms.ParticipantChange{}), h.enter("Bert", rooms.ParticipantChange{})
		w := watchEvents(t, h, "r", 0)
		for range 10 {
			time.Sleep(9 * time.Second)
			anna.change(rooms.ParticipantChange{})
		}
		synctest.Wait()
		if got, want := crowd(drain(t, w)), "snapshot, participant-left Bert"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if _, err := h.Change("r", bert.secret, rooms.ParticipantChange{}); fault.KindOf(err) != fault.NotFound || strings.Contains(err.Error(), bert.secret) {
			t.Errorf("Bert's word after he is gone: got %v, want not found", err)
		}
		if err := h.Leave("r", bert.secret); fault.KindOf(err) != fault.NotFound {
			t.Errorf("Bert leaves after he is gone: got %v, want not found", err)
		}
		if _, err := h.Change("elsewhere", anna.secret, rooms.ParticipantChange{}); fault.KindOf(err) != fault.NotFound {
			t.Errorf("Anna in another room: got %v, want not found", err)
		}
		for _, guess := range []string{"", anna.id, anna.secret[1:]} {
			if _, err := h.Change("r", guess, rooms.ParticipantChange{}); fault.KindOf(err) != fault.NotFound {
				t.Errorf("the secret %q: got %v, want not found", guess, err)
			}
		}
		wrong := rooms.Device("loud")
		time.Sleep(9 * time.Second)
		if _, err := h.Change("r", anna.secret, rooms.ParticipantChange{Camera: &wrong}); fault.KindOf(err) != fault.BadRequest {
			t.Errorf("got %v, want a bad request", err)
		}
		time.Sleep(time.Second + 200*time.Millisecond) // what is refused is not heard
		synctest.Wait()
		if got, want := crowd(drain(t, w)), "participant-left Anna, room-closed"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestAParticipantIsWhatHeSays(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		anna := h.enter("  Dr.\n Anna \x00", rooms.ParticipantChange{})
		time.Sleep(time.Second)
		want := rooms.ParticipantInfo{
			ID: anna.id, Name: "Dr. Anna", Since: time.Now().Add(-time.Second), Microphone: rooms.None, Camera: rooms.None, Publishers: []string{},
		}
		check := func(got rooms.ParticipantInfo) {
			t.Helper()
			all, err := h.Participants("r")
			if fmt.Sprint(got) != fmt.Sprint(want) || err != nil || len(all) != 1 || fmt.Sprint(all[0]) != fmt.Sprint(want) {
				t.Errorf("got\n%+v, the room\n%+v (%v), want\n%+v", got, all, err, want)
			}
		}
		check(anna.change(rooms.ParticipantChange{}))
		want.Name, want.Role, want.Microphone, want.Camera, want.Hand, want.Privacy, want.Call = "Anna", "technician", rooms.On, rooms.Off, true, true, "hospital"
		want.Publishers = []string{"desk", "desk-screen"}
		want.HandSince = time.Now()
		all := rooms.ParticipantChange{
			Name: &want.Name, Role: &want.Role, Microphone: &want.Microphone, Camera: &want.Camera, Hand: &want.Hand, Privacy: &want.Privacy,
			Call: &want.Call, Publishers: want.Publishers,
		}
		check(anna.change(all))
		for _, bad := range []rooms.ParticipantChange{
			{Name: new(" \n")}, {Name: new("\x1b")}, {Role: new("a b")}, {Call: new("~mix")}, {Camera: new(rooms.Device(""))},
			{Microphone: new(rooms.Device("On"))}, {Publishers: []string{"desk", ""}}, {Publishers: []string{"~mix"}},
			{Publishers: strings.Fields(strings.Repeat("x ", 17))},
		} {
			bad.Hand = new(false)
			if _, err := h.Change("r", anna.secret, bad); fault.KindOf(err) != fault.BadRequest {
				t.Errorf("%+v: got %v, want a bad request", bad, err)
			}
			if bad.Name == nil {
				bad.Name = new("Bert")
			}
			if _, _, err := h.Enter(rooms.EnterRequest{Room: "r", ParticipantChange: bad}); fault.KindOf(err) != fault.BadRequest {
				t.Errorf("enter with %+v: got %v, want a bad request", bad, err)
			}
		}
		check(anna.change(rooms.ParticipantChange{Publishers: want.Publishers})) // nothing of it has happened
		for _, nobody := range []rooms.EnterRequest{
			{Room: "r"}, {Room: "api", ParticipantChange: rooms.ParticipantChange{Name: new("Bert")}},
			{Room: "", ParticipantChange: rooms.ParticipantChange{Name: new("Bert")}},
		} {
			if _, _, err := h.Enter(nobody); fault.KindOf(err) != fault.BadRequest {
				t.Errorf("enter with %+v: got %v, want a bad request", nobody, err)
			}
		}
	})
}

func TestATokensRoleIsTheParticipants(t *testing.T) {
	h := open(t)
	defer h.close()
	enter := func(token string, role *string) (string, rooms.ParticipantInfo, error) {
		return h.Enter(rooms.EnterRequest{Room: "r", TokenRole: token, ParticipantChange: rooms.ParticipantChange{Name: new("Anna"), Role: role}})
	}
	for _, role := range []*string{nil, new(""), new("hospital")} {
		secret, info, err := enter("hospital", role)
		if err != nil || info.Role != "hospital" {
			t.Fatalf("got the role %q, %v, want hospital", info.Role, err)
		}
		for _, other := range []string{"technician", ""} {
			if _, err := h.Change("r", secret, rooms.ParticipantChange{Role: &other}); fault.KindOf(err) != fault.Forbidden {
				t.Errorf("who wants to be %q got %v, want forbidden", other, err)
			}
		}
		if _, err := h.Change("r", secret, rooms.ParticipantChange{Role: new("hospital")}); err != nil {
			t.Errorf("who says what he is got %v", err)
		}
	}
	if _, _, err := enter("hospital", new("technician")); fault.KindOf(err) != fault.Forbidden || !strings.Contains(err.Error(), `"hospital"`) {
		t.Errorf("got %v, want forbidden with the token's role", err)
	}
}

func TestEventsTellOfParticipants(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		shows, _ := talkers(t, h, "desk")
		drain := func(t *testing.T, w *rooms.Watcher) []rooms.Event {
			return slices.DeleteFunc(drain(t, w), func(e rooms.Event) bool { return e.Track != nil }) // it stalls
		}
		first := watchEvents(t, h, "r", 0)
		start := drain(t, first)[0].ID
		w := watchEvents(t, h, "r", 0)
		drain(t, w)
		step := func(want string) {
			t.Helper()
			time.Sleep(150 * time.Millisecond)
			synctest.Wait()
			if got := crowd(drain(t, w)); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		anna := h.enter("Anna", rooms.ParticipantChange{Publishers: []string{"desk"}})
		step("participant Anna")
		anna.change(rooms.ParticipantChange{})
		anna.change(rooms.ParticipantChange{Name: new("Anna"), Hand: new(false), Publishers: []string{"desk"}})
		step("") // nothing new
		anna.change(rooms.ParticipantChange{Hand: new(true)})
		anna.change(rooms.ParticipantChange{Call: new("technician")})
		if got := anna.change(rooms.ParticipantChange{}); !got.Hand || got.Call != "technician" {
			t.Errorf("got %+v, want a hand and a call", got)
		}
		anna.change(rooms.ParticipantChange{Call: new("")})
		step("participant Anna hand")

		h.SetSpeaking("r", []string{"desk"})
		if got := anna.change(rooms.ParticipantChange{}); !got.Speaking {
			t.Error("Anna's voice speaks, Anna does not")
		}
		step("speaking")
		h.SetSpeaking("r", nil)
		if got := anna.change(rooms.ParticipantChange{}); got.Speaking {
			t.Error("Anna speaks though her voice does not")
		}
		step("speaking")
		h.SetListening("r", []string{"somebody", anna.id})
		h.SetListening("elsewhere", []string{anna.id})
		step("participant Anna hand listens")
		h.SetListening("r", []string{anna.id})
		step("")
		h.SetListening("r", nil)
		step("participant Anna hand")

		for i := range 1000 { // somebody who fidgets
			anna.change(rooms.ParticipantChange{Hand: new(i%2 == 0)})
			time.Sleep(10 * time.Millisecond)
		}
		step("participant Anna")
		bert := h.enter("Bert", rooms.ParticipantChange{})
		anna.leave()
		bert.change(rooms.ParticipantChange{Hand: new(true)})
		step("participant-left Anna, participant Bert hand")
		if got, want := crowd(drain(t, first)), "speaking, participant-left Anna, participant Bert hand"; got != want {
			t.Errorf("a slow watcher got %q, want %q", got, want)
		}
		shows["desk"].end()
		again := drain(t, watchEvents(t, h, "r", start))
		if got, want := crowd(again), "participant-left Anna, participant Bert hand"; !strings.Contains(got, want) || len(again) > 5 {
			t.Errorf("who was away got %q, want little more than %q", got, want)
		}
		snapshot := drain(t, watchEvents(t, h, "r", 0))[0].Rooms[0].Participants
		if len(snapshot) != 1 || snapshot[0].Name != "Bert" {
			t.Errorf("the snapshot has %+v, want Bert", snapshot)
		}
	})
}

func TestACallEndsByAnAnswerOrByItself(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		anna := h.enter("Anna", rooms.ParticipantChange{Call: new("technician")})
		bert := h.enter("Bert", rooms.ParticipantChange{Hand: new(true)})
		w := watchEvents(t, h, "r", 0)
		drain(t, w)
		step := func(d time.Duration, want string) {
			t.Helper()
			for range d / (5 * time.Second) {
				time.Sleep(5 * time.Second)
				anna.change(rooms.ParticipantChange{})
				bert.change(rooms.ParticipantChange{})
			}
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if got := crowd(drain(t, w)); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		bert.change(rooms.ParticipantChange{Answer: &anna.id})
		step(0, "participant Anna")
		bert.change(rooms.ParticipantChange{Answer: &anna.id}) // again, or another one
		step(time.Minute, "")
		anna.change(rooms.ParticipantChange{Call: new("technician"), Lower: &bert.id})
		time.Sleep(150 * time.Millisecond)
		synctest.Wait()
		told := strings.Split(crowd(drain(t, w)), ", ")
		if slices.Sort(told); !slices.Equal(told, []string{"participant Anna calls technician", "participant Bert"}) {
			t.Errorf("got %q, want Anna's call and Bert's hand lowered", told)
		}
		step(55*time.Second, "")
		anna.change(rooms.ParticipantChange{Call: new("technician")}) // does not make it longer
		step(5*time.Second, "participant Anna")

		c := rooms.ParticipantChange{Answer: new("nobody"), Hand: new(true)}
		if _, err := h.Change("r", bert.secret, c); fault.KindOf(err) != fault.Conflict {
			t.Errorf("answer who is not there: got %v, want a conflict", err)
		}
		c = rooms.ParticipantChange{Lower: new(""), Hand: new(true)}
		if _, err := h.Change("r", bert.secret, c); fault.KindOf(err) != fault.Conflict {
			t.Errorf("lower the hand of nobody: got %v, want a conflict", err)
		}
		if got := bert.change(rooms.ParticipantChange{}); got.Hand {
			t.Error("half of a change that was refused has happened")
		}
	})
}

func TestParticipantsHaveLimits(t *testing.T) {
	h := open(t, func(c *rooms.Config) { c.MaxParticipants, c.MaxRooms = 2, 2 })
	defer h.close()
	full := func(room, key string) {
		t.Helper()
		_, _, err := h.Enter(rooms.EnterRequest{Room: room, ParticipantChange: rooms.ParticipantChange{Name: new("Anna")}})
		if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), key) {
			t.Errorf("got %v, want unavailable because of %s", err, key)
		}
	}
	anna := h.enter("Anna", rooms.ParticipantChange{})
	h.enter("Anna", rooms.ParticipantChange{})
	full("r", "rooms.max_participants)")
	anna.leave()
	h.enter("Anna", rooms.ParticipantChange{})
	if _, _, err := h.Enter(rooms.EnterRequest{Room: "other", ParticipantChange: rooms.ParticipantChange{Name: new("Bert")}}); err != nil {
		t.Fatal(err)
	}
	full("third", "rooms.max_rooms")
	if n := h.Snapshot().Participants; n != 3 {
		t.Errorf("the snapshot counts %d participants, want 3", n)
	}
	h.Close()
	full("r", "shutting down")
}

func TestTracksTellWhichParticipantsWatch(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(&roomstest.Opus, &roomstest.H264)
		s.audio.Frame(1)
		play(s.video, 10, true, 1)
		anna, bert := h.enter("Anna", rooms.ParticipantChange{}), h.enter("Bert", rooms.ParticipantChange{})
		w := watchEvents(t, h, "r", 0)
		drain(t, w)
		watch := func(kind media.Kind, participant string) []*rooms.Subscription {
			t.Helper()
			subscriptions, err := h.Play(rooms.PlayRequest{Room: "r", Publisher: "cam", Kind: kind, Participant: participant})
			if err != nil {
				t.Fatal(err)
			}
			return subscriptions
		}
		check := func(viewers int, want ...string) {
			t.Helper()
			slices.Sort(want)
			tracks, err := h.Tracks("r")
			if err != nil {
				t.Fatal(err)
			}
			if got := tracks[1]; !slices.Equal(got.Watchers, want) || got.Viewers != viewers {
				t.Errorf("%d viewers, of whom %v, want %d, %v", got.Viewers, got.Watchers, viewers, want)
			}
		}
		check(0)
		pair := watch("", anna.id)
		twice := watch(media.Video, anna.id)
		check(2, anna.id)
		watch(media.Video, "nobody")
		watch(media.Video, "")
		watch(media.Video, bert.id)
		watch(media.Audio, bert.id)
		check(5, anna.id, bert.id)
		time.Sleep(150 * time.Millisecond)
		synctest.Wait()
		told := strings.Split(crowd(drain(t, w)), ", ")
		slices.Sort(told) // both were due at the same time
		if want := []string{"track cam/audio 2", "track cam/video 2"}; !slices.Equal(told, want) {
			t.Errorf("got %q, want %q", told, want)
		}
		twice[0].Close()
		check(4, anna.id, bert.id)
		bert.leave()
		check(4, anna.id)
		for _, sub := range pair {
			sub.Close()
			sub.Close()
		}
		check(3)
		time.Sleep(150 * time.Millisecond)
		synctest.Wait()
		if got, want := crowd(drain(t, w)), "participant-left Bert, track cam/audio 0, track cam/video 0"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// One address can't take all rooms, nor all places in one.
func TestParticipantsOfOneAddressAreBounded(t *testing.T) {
	h := open(t, func(c *rooms.Config) { c.MaxParticipantsPerAddress = 2 })
	defer h.close()
	enter := func(room, address string) (string, error) {
		req := rooms.EnterRequest{Room: room, ParticipantChange: rooms.ParticipantChange{Name: new("Anna")}}
		if address != "" {
			req.Address = netip.MustParseAddr(address)
		}
		secret, _, err := h.Enter(req)
		return secret, err
	}
	secret, err := enter("r", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		room, address string
		full          bool
	}{
		{"s", "192.0.2.1", false},
		{"r", "192.0.2.1", true},
		{"t", "192.0.2.1", true},
		{"r", "192.0.2.2", false},
		{"r", "", false}, {"r", "", false}, {"r", "", false}, // whose address nobody knows
	} {
		_, err := enter(tt.room, tt.address)
		full := fault.KindOf(err) == fault.Unavailable && strings.Contains(err.Error(), "rooms.max_participants_per_address")
		if full != tt.full || !tt.full && err != nil {
			t.Errorf("%d: %+v: got %v", i, tt, err)
		}
	}
	if err := h.Leave("r", secret); err != nil {
		t.Fatal(err)
	}
	if _, err := enter("r", "192.0.2.1"); err != nil {
		t.Errorf("after one has left: %v", err)
	}
}
