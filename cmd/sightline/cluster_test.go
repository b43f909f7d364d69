package main

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/bridge"
	"sightline/internal/cluster"
	"sightline/internal/doortest"
	"sightline/rooms"
)

var quiet = slog.New(slog.DiscardHandler)

// localOf returns what a node would see of a gateway.
func localOf(t *testing.T, l limits) (*local, *doortest.Gateway) {
	t.Helper()
	g := doortest.Start(t, nil)
	return newLocal(g.Rooms, g.Bridge, g.Peers, g.Sessions, l, quiet), g
}

func TestLocalTellsItsRooms(t *testing.T) {
	l, g := localOf(t, limitsOf(cluster.Config{MaxEgress: 1000}, rooms.Config{MaxViewers: 4, MaxRooms: 100}))
	if got := l.Rooms(); len(got) != 0 {
		t.Errorf("of an empty gateway: %+v, want nothing", got)
	}
	doortest.Publish(t, g, "mri-2", "console", doortest.VP8, doortest.Opus)
	doortest.Eventually(t, func() string {
		if got := l.Rooms(); len(got) != 1 || len(got[0].Tracks) != 2 {
			return "the tracks are not told as live"
		}
		return ""
	})
	if err := g.Rooms.Mute("mri-2", "console", true); err != nil {
		t.Fatal(err)
	}
	for range 2 { // in one room that there is, and in one where there is nothing else
		for _, room := range []string{"mri-2", "ct-1"} {
			listener, err := g.Bridge.Listen(bridge.ListenRequest{Room: room})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(listener.Close)
		}
	}
	viewers, err := g.Rooms.Play(rooms.PlayRequest{Room: "mri-2", Publisher: "console"})
	if err != nil {
		t.Fatal(err)
	}
	want := []cluster.RoomState{
		{Room: "mri-2", Publishers: 1, Sessions: 4, Tracks: []string{"console/audio", "console/video"}, Muted: []string{"console"}},
		{Room: "ct-1", Sessions: 2},
	}
	if got := l.Rooms(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v,\nwant %+v", got, want)
	}
	l.Load() // from here on
	if got := l.Load(); got.Sessions != 0.25 || got.Rooms != 1 || got.Egress != 0 {
		t.Errorf("load: %+v, want a quarter of the viewers and one room", got)
	}
	for _, s := range viewers {
		s.Close()
	}
	l.Lost("mri-2", cluster.Member{Name: "b"}, cluster.Contested)
	l.Lost("ct-1", cluster.Member{Name: "b"}, cluster.Drained)
	if got := l.Rooms(); slices.ContainsFunc(got, func(s cluster.RoomState) bool { return s.Room == "mri-2" }) {
		t.Errorf("after mri-2 is lost: %+v", got)
	}
	if got := l.departed(); !reflect.DeepEqual(got, map[string]int{"ct-1": 2}) {
		t.Errorf("given away: %v, want ct-1 with its two listeners", got)
	}
	l.Taken("mri-2", cluster.Keep{Muted: []string{"console"}})
	doortest.Publish(t, g, "mri-2", "console", doortest.Opus)
	doortest.Eventually(t, func() string {
		if m, err := g.Rooms.Room("mri-2"); err != nil || !m.Publishers[0].Muted {
			return "the mute is not kept"
		}
		return ""
	})
}

func TestRateIsAMeanOfTheLastSeconds(t *testing.T) {
	var r rate
	now := time.Now()
	if got := r.take(1000, now); got != 0 {
		t.Errorf("at first: %v, want 0: what was before is not known", got)
	}
	step := func(n int, each float64) (mean float64) {
		for range n {
			now = now.Add(500 * time.Millisecond)
			mean = r.take(r.total+each, now)
		}
		return mean
	}
	if got := step(1, 50); got < 10 || got > 20 {
		t.Errorf("after half a second at 100: %v, want a part of it", got)
	}
	if got := step(30, 50); got < 99 || got > 100 {
		t.Errorf("after 15 s at 100: %v", got)
	}
	if got := step(6, 0); got < 30 || got > 40 {
		t.Errorf("3 s after that: %v, want 37", got)
	}
	if got := r.take(r.total, now); got < 30 {
		t.Errorf("asked twice in a moment: %v", got)
	}
}

func TestProcessorTimeGrows(t *testing.T) {
	before := processorTime()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		if processorTime() > before {
			return
		}
	}
	t.Error("it has not grown in 5 s of work")
}

// A neighbour stands for the node: it gives all rooms away, and tells when clients have come to
// another one.
type neighbour struct {
	local *local
	alone bool

	mu      sync.Mutex // guards what follows
	entries []cluster.Entry
}

func (n *neighbour) Members() []cluster.Member {
	if n.alone {
		return []cluster.Member{{Name: "a"}}
	}
	return []cluster.Member{{Name: "a"}, {Name: "b"}}
}

func (n *neighbour) Drain(context.Context) error {
	for _, s := range n.local.Rooms() {
		n.local.Lost(s.Room, cluster.Member{Name: "b"}, cluster.Drained)
	}
	return nil
}

func (n *neighbour) Directory() []cluster.Entry {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.entries)
}

func (n *neighbour) come(room string, sessions int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.entries = slices.DeleteFunc(n.entries, func(e cluster.Entry) bool { return e.Room == room })
	n.entries = append(n.entries, cluster.Entry{RoomState: cluster.RoomState{Room: room, Sessions: sessions}, Owner: "b"})
}

// A drained neighbour has given the rooms away already.
type drained struct{ *neighbour }

func (drained) Drain(context.Context) error { return nil }

// Who leaves goes on answering until those who were in his rooms are elsewhere, or none of them comes any more.
func TestLeavingWaitsForThoseWhoComeBack(t *testing.T) {
	type arrival struct {
		after    time.Duration
		room     string
		sessions int
	}
	for _, tt := range []struct {
		name     string
		arrivals []arrival
		want     time.Duration
	}{
		{"all are back", []arrival{{200 * time.Millisecond, "mri-2", 2}, {300 * time.Millisecond, "ct-1", 1}}, 500 * time.Millisecond},
		{"more than there were", []arrival{{200 * time.Millisecond, "mri-2", 9}, {300 * time.Millisecond, "ct-1", 1}}, 500 * time.Millisecond},
		{"nobody comes", nil, patience},
		{"one never comes", []arrival{{600 * time.Millisecond, "mri-2", 2}}, 600*time.Millisecond + patience},
		{"they come one by one", []arrival{{1200 * time.Millisecond, "mri-2", 1}, {1200 * time.Millisecond, "mri-2", 2}, {1200 * time.Millisecond, "ct-1", 1}}, 3600 * time.Millisecond},
		{"one comes and goes", []arrival{
			{time.Second, "mri-2", 1}, {time.Second, "mri-2", 0}, {400 * time.Millisecond, "mri-2", 1}, {400 * time.Millisecond, "mri-2", 0},
		}, time.Second + patience},
		{"they come too late", []arrival{{1400 * time.Millisecond, "mri-2", 1}, {1400 * time.Millisecond, "mri-2", 2}, {1400 * time.Millisecond, "ct-1", 0}}, 4300 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &neighbour{}
				l := &local{lost: map[string]int{"mri-2": 2, "ct-1": 1}}
				var coming sync.WaitGroup
				defer coming.Wait()
				coming.Go(func() {
					for _, a := range tt.arrivals {
						time.Sleep(a.after)
						n.come(a.room, a.sessions)
					}
				})
				began := time.Now()
				departure{drained{n}, l, keepAll}.leave(t.Context(), quiet)
				if took := time.Since(began); took < tt.want || took > tt.want+look {
					t.Errorf("took %v, want %v", took, tt.want)
				}
			})
		})
	}
}

func keepAll() {}

func TestLeavingEndsItsSessions(t *testing.T) {
	l, g := localOf(t, limits{})
	doortest.Publish(t, g, "mri-2", "console", doortest.VP8)
	doortest.Eventually(t, func() string {
		if len(l.Rooms()) != 1 {
			return "not published"
		}
		return ""
	})
	n := &neighbour{local: l}
	n.come("mri-2", 1)
	recalled := false
	departure{n, l, func() { recalled = true }}.leave(t.Context(), quiet)
	if !recalled {
		t.Error("who is lent to another node goes on here")
	}
	if len(l.Rooms()) > 0 {
		t.Errorf("rooms that were given away are here: %v", l.Rooms())
	}
}

func TestLeavingEndsWithItsTime(t *testing.T) {
	l, g := localOf(t, limits{})
	doortest.Publish(t, g, "mri-2", "console", doortest.VP8)
	doortest.Eventually(t, func() string {
		if len(l.Rooms()) != 1 {
			return "not published"
		}
		return ""
	})
	var said strings.Builder
	log := slog.New(slog.NewTextHandler(&said, nil))
	departure{&neighbour{local: l, alone: true}, l, keepAll}.leave(t.Context(), log)
	if len(l.Rooms()) != 1 {
		t.Error("the last node has given its room to nobody")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("a second signal"))
	departure{&neighbour{local: l}, l, keepAll}.leave(ctx, log)
	if !strings.Contains(said.String(), "rooms=mri-2") || !strings.Contains(said.String(), "a second signal") {
		t.Errorf("said %q, want which room and why", said.String())
	}
}
