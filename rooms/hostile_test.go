package rooms

import (
	"log/slog"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sightline/internal/media"
)

// A witness is a sink that holds what it gets to what every viewer may rely on.
type witness struct {
	well
	t      *rapid.T
	sent   map[uint16]uint32 // timestamp by sequence number, of the last few
	recent []uint16
	newest uint16
	any    bool
	full   bool
}

func (w *witness) SetCodec(media.Codec) bool { return true }
func (w *witness) Stats() media.SinkStats    { return media.SinkStats{} }
func (w *witness) Write(burst []media.Outgoing) bool {
	for _, p := range burst {
		if _, again := w.sent[p.Sequence]; again {
			w.t.Fatalf("sequence number %d is sent twice", p.Sequence)
		}
		step := p.Sequence - w.newest
		if w.any && step > maxDropout && step < 1<<16-maxMisorder {
			w.t.Fatalf("sequence number steps by %d", int16(step))
		}
		if !w.any || int16(step) > 0 {
			w.newest = p.Sequence
		}
		w.any = true
		w.sent[p.Sequence] = p.Timestamp
		if w.recent = append(w.recent, p.Sequence); len(w.recent) > 5000 {
			delete(w.sent, w.recent[0])
			w.recent = w.recent[1:]
		}
	}
	return !w.full
}

// Whatever a publisher sends, and however it comes and goes, nothing panics, memory stays
// within its bounds, and a viewer is never sent the same number twice.
func TestHostilePublishers(t *testing.T) {
	r := New(Defaults(), slog.New(slog.DiscardHandler))
	defer r.Close()
	rapid.Check(t, hostilePublisher(r))
}

// FuzzHostilePublishers is the same, guided by what the code does.
func FuzzHostilePublishers(f *testing.F) {
	r := New(Defaults(), slog.New(slog.DiscardHandler))
	f.Cleanup(r.Close)
	f.Fuzz(rapid.MakeFuzz(hostilePublisher(r)))
}

// hostilePublisher is the life of one track.
func hostilePublisher(r *Registry) func(*rapid.T) {
	codecs := []media.Codec{h264, {Name: "VP8", ClockRate: 90000}, {Name: "AV1", ClockRate: 90000}, {Name: "none", ClockRate: 1}, {}}
	return func(t *rapid.T) {
		kind := rapid.SampledFrom([]media.Kind{media.Audio, media.Video}).Draw(t, "kind")
		now := time.Now().Add(-time.Hour)
		tr := newTrack("r", "cam", kind, &r.config, r.forwardingDelay, r.fan, now)
		var f *feed
		attach := func() {
			c := rapid.SampledFrom(codecs).Draw(t, "codec")
			f = &feed{source: &well{c}, codec: c}
			tr.attach(f, now)
		}
		attach()
		var seats []*Subscription
		var sinks []*witness
		seq, ts := uint16(1), uint32(1)
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "ms")) * time.Millisecond)
			switch rapid.IntRange(0, 60).Draw(t, "event") {
			case 0:
				attach()
			case 1:
				seq = rapid.Uint16().Draw(t, "sequence")
			case 2:
				ts = rapid.Uint32().Draw(t, "timestamp")
			case 3:
				if len(seats) < 5 {
					s, w := newSubscription(r, &viewer{}, tr), &witness{t: t, sent: make(map[uint16]uint32)}
					s.sink, s.began = w, now
					tr.enter(s, w)
					if tr.join(s) {
						s.catchUpNow(now)
					}
					seats, sinks = append(seats, s), append(sinks, w)
				}
			case 4:
				for _, w := range sinks {
					w.full = rapid.Bool().Draw(t, "full")
				}
			case 5, 6, 7:
				for _, s := range seats {
					s.mu.Lock()
					s.need = need{since: now}
					s.mu.Unlock()
					if _, _, ok := tr.rejoin(s, now); ok {
						s.catchUpNow(now)
						tr.restarting--
					}
				}
			}
			var burst []*media.Packet
			for range rapid.IntRange(1, 4).Draw(t, "packets") {
				seq += uint16(rapid.SampledFrom([]int{1, 1, 1, 1, 2, -1, -2, 0, 40}).Draw(t, "step"))
				ts += uint32(rapid.SampledFrom([]int{0, 0, 3000, 3000, -3000}).Draw(t, "ticks"))
				p := &media.Packet{Sequence: seq, Timestamp: ts, Arrival: now, Codec: &f.codec,
					Payload:       rapid.SliceOfN(rapid.SampledFrom([]byte{0x67, 0x65, 0x7c, 0x85, 0x10, 0x90, 0x00, 0x18, 0x01, 0xff}), 0, 8).Draw(t, "payload"),
					Marker:        rapid.Bool().Draw(t, "marker"),
					Discontinuity: rapid.IntRange(0, 40).Draw(t, "discontinuity") == 0,
				}
				burst = append(burst, p)
			}
			tr.forward(f, burst)
		}
		if tr.ring.bytes > r.config.CacheBytes || len(tr.held) > maxHeld {
			t.Fatalf("%d bytes and %d packets are held", tr.ring.bytes, len(tr.held))
		}
		for i, s := range seats {
			var all []uint16
			for q := range sinks[i].sent {
				all = append(all, q)
			}
			s.Resend(all, func(o media.Outgoing) {
				if sent := sinks[i].sent[o.Sequence]; sent != o.Timestamp {
					t.Fatalf("packet %d was sent at %d and is resent at %d", o.Sequence, sent, o.Timestamp)
				}
			})
			s.end(ErrGone)
			tr.leave(s, sinks[i])
		}
		if n := tr.waiting.Load(); n != 0 {
			t.Fatalf("%d viewers wait that have left", n)
		}
	}
}

// catchUpNow does in one go what catchUp takes its time for.
func (s *Subscription) catchUpNow(now time.Time) {
	c := catchUp{speed: catchUpSpeed}
	var o outlet
	for range 10_000 {
		if s.track.due(&c, s, now) {
			return
		}
		if len(c.burst) > 0 {
			s.setCodec(c.burst[0].Codec)
			s.mu.Lock()
			s.squeeze(&o, &c)
			s.mu.Unlock()
			s.write(&o, now)
		}
		now = now.Add(catchUpStep)
	}
	panic("never reaches the edge")
}
