package bridge

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"sightline/internal/audio"
	"sightline/internal/audio/audiotest"
	"sightline/internal/media"
)

// A stage holds what a mixer needs of a room, without goroutines and without a network: the
// benchmark is the mixer's goroutine, and time is what it says.
type stage struct {
	room     *room
	cast     *cast
	audience []*Listener
	packets  [][]byte // of one voice, in turn
	frame    uint64
	now      time.Time
}

// newStage seats speakers who all talk, and as many listeners, each of whom is a speaker.
func newStage(b *testing.B, c Config, speakers, listeners int) *stage {
	b.Helper()
	s := &stage{cast: &cast{}, packets: talk(b, 20), now: time.Unix(1e9, 0)}
	bridge := New(c, nil, slog.New(slog.DiscardHandler))
	s.room = newRoom(bridge, "room")
	s.room.mixer.told = []string{} // nobody is told who speaks: there is no registry
	for i := range speakers {
		decoder, err := audio.NewDecoder(c.channels())
		if err != nil {
			b.Fatal(err)
		}
		s.cast.speakers = append(s.cast.speakers, &speaker{
			name: fmt.Sprintf("speaker-%02d", i), leg: audio.NewLeg(c.channels(), decoder),
			frame: make([]float32, audio.FrameSamples*c.channels()), state: audio.Silent, level: audio.Silence,
		})
	}
	for i := range listeners {
		l := newListener(s.room, ListenRequest{For: fmt.Sprintf("speaker-%02d", i)})
		l.sink = deaf{}
		s.audience = append(s.audience, l)
	}
	return s
}

// talk returns seconds of a voice as packets of 20 ms.
func talk(b *testing.B, seconds int) [][]byte {
	b.Helper()
	encoder, err := audio.NewEncoder(audio.EncoderConfig{Channels: 1, Bitrate: 32000, Complexity: 5, Loss: 10})
	if err != nil {
		b.Fatal(err)
	}
	voice, pcm := audiotest.NewVoice(1), make([]float32, audio.FrameSamples)
	packets := make([][]byte, seconds*frames)
	for i := range packets {
		voice.Fill(pcm)
		if packets[i], err = encoder.Encode(nil, pcm); err != nil {
			b.Fatal(err)
		}
	}
	return packets
}

// deliver brings the next packet of each of the first n speakers.
func (s *stage) deliver(n int) {
	for i, speaker := range s.cast.speakers[:n] {
		// They don't all say the same at the same time.
		payload := s.packets[(int(s.frame)+i*7)%len(s.packets)]
		speaker.leg.Put(audio.Packet{
			Sequence: uint16(s.frame), Timestamp: uint32(s.frame * audio.FrameSamples), Payload: payload, Arrival: s.now,
		})
	}
}

// tick is what mixer.mix does, on this goroutine.
func (s *stage) tick(b *testing.B) {
	m := &s.room.mixer
	s.frame++
	s.now = s.now.Add(audio.FrameDuration)
	for _, speaker := range s.cast.speakers {
		speaker.next(s.now)
	}
	m.choose(s.frame, s.cast, s.audience)
	for _, x := range m.used {
		if x.make(m.complexity, s.now); x.err != nil {
			b.Fatal(x.err)
		}
	}
	m.send(s.frame, s.audience)
}

// A deaf sink takes everything.
type deaf struct{}

func (deaf) SetCodec(media.Codec) bool   { return true }
func (deaf) Write([]media.Outgoing) bool { return true }
func (deaf) Stats() media.SinkStats      { return media.SinkStats{} }

// What one participant costs in a tick of 20 ms, on one processor: his packet is decoded and
// added, and his own mix, without him, is limited and encoded. All of a room of ten talk;
// the figure is for one of them.
func BenchmarkLeg(b *testing.B) {
	for _, complexity := range []int{0, Defaults().Complexity, 5} {
		b.Run(fmt.Sprintf("complexity=%d", complexity), func(b *testing.B) {
			c := Defaults()
			c.Complexity = complexity
			benchmarkTicks(b, newStage(b, c, 10, 10), 10)
		})
	}
	b.Run("stereo", func(b *testing.B) {
		c := Defaults()
		c.Stereo = true
		benchmarkTicks(b, newStage(b, c, 10, 10), 10)
	})
}

// What a participant costs who has not said anything for a while: he shares the mix that is
// made for all who don't speak, and whose cost is not in the figure.
func BenchmarkLegSilent(b *testing.B) {
	const rest = 100
	hush := media.Silence(&Codec, []byte{31 << 3, 0})
	for _, tt := range []struct {
		name string
		says [][]byte
	}{
		{"sends silence", [][]byte{hush}},
		{"sends nothing", nil},
	} {
		b.Run(tt.name, func(b *testing.B) {
			s := newStage(b, Defaults(), rest, rest)
			s.packets = tt.says
			benchmarkTicks(b, s, rest)
		})
	}
}

// benchmarkTicks reports the time of a tick for each of n participants. What the benchmark
// itself counts is one tick.
func benchmarkTicks(b *testing.B, s *stage, n int) {
	say := func() {
		if s.packets != nil {
			s.deliver(len(s.cast.speakers))
		}
	}
	for range 4 * frames { // what was loud is forgotten, and jitter buffers are full
		say()
		s.tick(b)
	}
	b.ReportAllocs()
	for b.Loop() {
		say()
		s.tick(b)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/leg")
}
