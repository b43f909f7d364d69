package cluster

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"sightline/internal/opt"
)

// Whatever another node tells, answers and asks for, the directory stays within its bounds, its
// sums are right, and what it tells then can be sent.
func FuzzDirectory(f *testing.F) {
	r := record{Room: "x", Number: 3, Epoch: 2, Publishers: 1, Tracks: []string{"console/video"}, Muted: []string{"console"}, From: "a"}
	heavy := r
	heavy.Weight = &weight{Publishers: 9}
	for _, v := range []any{
		message{Beat: &beat{Seq: 7, Name: "b", Number: 3, Rooms: 1, Digest: mark("x", 3), Load: Load{Egress: 0.5}}},
		message{Changes: &changes{Upto: 3, Rooms: []record{r}}},
		message{Changes: &changes{Upto: 4, Rooms: []record{heavy, {Room: "x", Number: 4, Gone: true}}}},
		message{Bye: true},
		changes{Full: true, Upto: 3, Began: 9, More: true, Rooms: []record{r}},
		changesRequest{After: 1, Began: 2},
		takeRequest{Room: "x", Epoch: 1<<64 - 1, From: "b", Weight: &weight{Sessions: 1}},
	} {
		f.Add(encode(v))
	}
	net := newMemNet(1)
	net.delay = 0
	f.Cleanup(net.close)
	config := Config{Lease: opt.Duration(3 * time.Second), Linger: opt.Duration(time.Second), FullAbove: 0.9}
	f.Fuzz(func(t *testing.T, data []byte) {
		gw := &gateway{rooms: map[string]RoomState{"x": {Room: "x", Publishers: 1, Sessions: 2}}, muted: map[string][]string{}, last: map[string]Member{}}
		d := newDirectory(config, Member{Name: "a", ID: "a"}, gw, net.join("a"), slog.New(slog.DiscardHandler))
		net.join("b").onCall(verbChanges, func(context.Context, string, []byte) ([]byte, error) { return data, nil })
		d.started = time.Now().Add(-time.Hour)
		d.ticked = time.Now()
		d.poll()
		d.outgoing()

		d.heard("b", encode(message{Beat: &beat{Seq: 1, Name: "b"}}))
		d.heard("b", data)
		if p := d.peers["b"]; p != nil {
			_, _ = d.fetchPages(context.Background(), p)
			d.heard("b", data)
		}
		var take takeRequest
		if json.Unmarshal(data, &take) == nil && take.Room != "" && len(take.Room) <= maxName {
			d.takeNow(take)
		}
		var ask changesRequest
		if json.Unmarshal(data, &ask) == nil {
			if c, err := d.serveChanges(context.Background(), "b", ask); err != nil || len(encode(c)) > maxData {
				t.Errorf("asked %+v, answered %d rooms, %v", ask, len(c.Rooms), err)
			}
		}
		d.poll()
		d.expire()
		d.beatDue = true
		for _, m := range d.outgoing() {
			if n := len(encode(m)); n > maxData {
				t.Errorf("a message of %d bytes", n)
			}
		}
		d.entries()
		d.snapshot()

		spare := maxAllBytes
		for _, p := range d.peers {
			digest, bytes := uint64(0), 0
			for room, r := range p.records {
				if room != r.Room || len(room) > maxName || r.Epoch > maxEpoch || len(r.Tracks) > maxNames || len(r.Muted) > maxNames {
					t.Errorf("a record %+v of %q", r, room)
				}
				digest += mark(room, r.Number)
				bytes += r.size()
			}
			if digest != p.digest || bytes != p.bytes || bytes > maxBytes || len(p.records) > maxRooms {
				t.Errorf("%d bytes, digest %x, where it says %d, %x", bytes, digest, p.bytes, p.digest)
			}
			spare -= bytes
		}
		if spare != d.spare {
			t.Errorf("%d bytes are left, where it says %d", spare, d.spare)
		}
		for room, o := range d.own {
			if o.Epoch > maxEpoch+10 || len(room) > maxName || len(o.Muted) > maxNames {
				t.Errorf("has %+v", o.record)
			}
		}
	})
}
