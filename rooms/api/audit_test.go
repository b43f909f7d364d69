package api

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"sightline/internal/audit"
	"sightline/internal/httpapi"
)

// A token sees what happened in its rooms; what is asked for wrongly is told so.
func TestReadingTheAuditLog(t *testing.T) {
	c := audit.Defaults()
	c.File = filepath.Join(t.TempDir(), "audit.log")
	log := slog.New(slog.DiscardHandler)
	ledger, err := audit.Open(c, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	for _, room := range []string{"mri-1", "ct-1", "", "mri-2"} {
		ledger.Record(audit.Event{What: audit.Entered, Room: room, Participant: "p", Called: "Ada", Who: audit.Who{Name: "nurse", Kind: "token", Address: "192.0.2.1"}})
	}
	ledger.Record(audit.Event{
		What: audit.Watched, Phase: audit.Ended, Room: "mri-1", Publisher: "console", Tracks: []string{"console/video"}, Session: "s", Cause: "deleted",
		From: time.Now().Add(-time.Hour), To: time.Now(), Packets: 7, Bytes: 8, Dropped: 9,
	})
	router := httpapi.NewRouter(httpapi.Defaults(), log)
	h := &fakeHeart{all: hospital()}
	a := newAPI(Defaults(), h, tokens(), &h.bridge, ledger)
	a.Register(router)
	server := httptest.NewServer(router)
	t.Cleanup(server.Close)
	t.Cleanup(a.Close)
	for deadline := time.Now().Add(10 * time.Second); ledger.Snapshot().Records < 5; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the events do not get to the disk")
		}
	}
	doc := description(t)
	inspected, looks := ledger.Snapshot().Records, uint64(0)
	for _, tt := range []struct {
		query, token string
		status       int
		rooms        []string // of the events that are shown
	}{
		{"", adminMRI, 200, []string{"mri-1", "mri-2", "mri-1"}},
		{"?room=mri-2&after=1", adminMRI, 200, []string{"mri-2"}},
		{"?room=mri-1&after=1&limit=1", adminMRI, 200, []string{"mri-1"}},
		{"?after=1&since=2020-01-31T09:30:00Z&until=2020-01-31T09:31:00Z", adminMRI, 200, nil},
		{"?room=ct-1", adminMRI, 403, nil},
		{"?room=api", adminMRI, 403, nil},
		{"", readAll, 403, nil},
		{"", "", 401, nil},
		{"?after=x", adminMRI, 400, nil},
		{"?limit=0", adminMRI, 400, nil},
		{"?limit=1001", adminMRI, 400, nil},
		{"?since=yesterday", adminMRI, 400, nil},
		{"?since=2020-01-31T09:31:00Z&until=2020-01-31T09:30:00Z", adminMRI, 400, nil},
	} {
		res, body := request(t, "GET", server.URL+"/api/audit"+tt.query, tt.token)
		if res.StatusCode != tt.status {
			t.Errorf("%s: got %d, want %d: %s", tt.query, res.StatusCode, tt.status, body)
		}
		doc.Check(t, "/api/audit", res, body)
		if tt.status != 200 {
			continue
		}
		var page struct {
			Events []struct{ Room, Hash string }
			Next   uint64
		}
		if err := json.Unmarshal(body, &page); err != nil {
			t.Fatal(err)
		}
		var rooms []string
		for _, e := range page.Events {
			rooms = append(rooms, e.Room)
		}
		if len(rooms) != len(tt.rooms) {
			t.Errorf("%s: shows %q, want %q", tt.query, rooms, tt.rooms)
			continue
		}
		if len(rooms) > 0 {
			looks++
		}
		for i := range rooms {
			if rooms[i] != tt.rooms[i] {
				t.Errorf("%s: shows %q, want %q", tt.query, rooms, tt.rooms)
			}
		}
	}
	// Whoever has seen something of it is in it, wherever he has begun to read.
	for deadline := time.Now().Add(10 * time.Second); ledger.Snapshot().Records < inspected+looks; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d readers are in the log", ledger.Snapshot().Records-inspected, looks)
		}
	}
}
