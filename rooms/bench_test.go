package rooms

import (
	"log/slog"
	"testing"
	"time"

	"sightline/internal/media"
)

// A well is a source and a sink without bottom.
type well struct{ codec media.Codec }

func (w *well) Kind() media.Kind                                     { return media.Video }
func (w *well) Codec() media.Codec                                   { return w.codec }
func (w *well) ReadBurst(b []*media.Packet) ([]*media.Packet, error) { return b, nil }
func (w *well) RequestKeyframe()                                     {}
func (w *well) Clock() (media.Clock, bool)                           { return media.Clock{}, false }
func (w *well) Stats() media.SourceStats                             { return media.SourceStats{} }

type drain struct{ packets int }

func (d *drain) SetCodec(media.Codec) bool { return true }
func (d *drain) Write(burst []media.Outgoing) bool {
	d.packets += len(burst)
	return true
}
func (d *drain) Stats() media.SinkStats { return media.SinkStats{} }

// BenchmarkForward is one frame of nine packets from one source to 200 viewers: what the
// heart itself costs, without the sealing and sending of a real sink.
func BenchmarkForward(b *testing.B) {
	r := New(Defaults(), slog.New(slog.DiscardHandler))
	defer r.Close()
	t := newTrack("r", "cam", media.Video, &r.config, r.forwardingDelay, r.fan, time.Now())
	f := &feed{source: &well{h264}, codec: h264}
	t.attach(f, time.Now())
	seq, ts := uint16(0), uint32(0)
	now := time.Now()
	make1 := func(key bool) []*media.Packet {
		burst := make([]*media.Packet, 9)
		for i := range burst {
			seq++
			payload := make([]byte, 1200)
			payload[0], payload[1] = 0x7c, 0x01
			if key && i == 0 {
				payload[0] = 0x67
			}
			burst[i] = &media.Packet{Sequence: seq, Timestamp: ts, Marker: i == 8, Codec: &f.codec, Payload: payload, Arrival: now}
		}
		ts += 3000
		now = now.Add(time.Second / 30)
		return burst
	}
	var sinks []*drain
	for range 200 {
		s := newSubscription(r, &viewer{}, t)
		d := &drain{}
		s.sink, s.began = d, time.Now()
		t.enter(s, d)
		t.join(s)
		sinks = append(sinks, d)
	}
	t.forward(f, make1(true))
	const frames = 4096
	tape := make([][]*media.Packet, frames) // the source's packets are not the heart's to count
	b.ReportAllocs()
	b.ResetTimer()
	for n := range b.N {
		if n%frames == 0 {
			b.StopTimer()
			for i := range tape {
				tape[i] = make1(i%30 == 0)
			}
			b.StartTimer()
		}
		t.forward(f, tape[n%frames])
	}
	b.StopTimer()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(9*200), "ns/packet-viewer")
	if sinks[0].packets == 0 || sinks[199].packets != sinks[0].packets {
		b.Fatalf("viewers got %d and %d packets", sinks[0].packets, sinks[199].packets)
	}
}
