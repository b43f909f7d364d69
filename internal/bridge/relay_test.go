package bridge

import (
	"testing"

	"sightline/internal/fault"
	"sightline/rooms"
)

func TestARelayCountsAsTheListenersItStandsFor(t *testing.T) {
	run(t, func(c *Config) { c.MaxListeners = 2 }, func(h *hall) {
		_, anna, err := h.rooms.Enter(rooms.EnterRequest{Room: "r", ParticipantChange: rooms.ParticipantChange{Name: new("Anna")}})
		if err != nil {
			h.Fatal(err)
		}
		want := func(what string, listeners int, listening bool) {
			h.Helper()
			all, err := h.rooms.Participants("r")
			if err != nil {
				h.Fatal(err)
			}
			if n := h.bridge.Listeners("r"); n != listeners || all[0].Listening != listening {
				h.Errorf("%s: got %d listeners, Anna listens: %t; want %d, %t", what, n, all[0].Listening, listeners, listening)
			}
		}
		req := ListenRequest{Room: "r", Relay: "node-b"}
		if _, err := h.bridge.Represent(req, 1, nil); fault.KindOf(err) != fault.NotFound {
			h.Errorf("got %v, want that there is no such relay", err)
		}
		relay, err := h.bridge.Listen(req)
		if err != nil {
			h.Fatal(err)
		}
		want("a relay alone", 0, false)
		here, err := h.bridge.Listen(ListenRequest{Room: "r"})
		if err != nil {
			h.Fatal(err)
		}
		if others, err := h.bridge.Represent(req, 2, []string{anna.ID}); err != nil || others != 1 {
			h.Errorf("got %d others, %v, want 1", others, err)
		}
		want("two there and one here", 3, true)
		if _, err := h.bridge.Represent(req, 3, nil); fault.KindOf(err) != fault.BadRequest {
			h.Errorf("got %v, want that it stands for too many", err)
		}
		again, err := h.bridge.Listen(req)
		if err != nil {
			h.Fatal(err)
		}
		relay.Close()
		want("it has begun anew", 3, true)
		here.Close()
		again.Close()
		want("all have left", 0, false)
		if n := h.bridge.Snapshot().Listeners; n != 0 {
			h.Errorf("the snapshot says %d listeners", n)
		}
	})
}
