package bridge

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/audio"
	"sightline/internal/audio/audiotest"
	"sightline/internal/media"
	"sightline/rooms"
	"sightline/rooms/roomstest"
)

// A path is what lies between a publisher and the gateway.
type path func(n int) (delay time.Duration, lost bool)

func direct(int) (time.Duration, bool) { return 0, false }

// trembling delays each packet by up to most, whatever it does to the others: they may
// overtake each other.
func trembling(seed uint64, most time.Duration) path {
	random := rand.New(rand.NewPCG(seed, 30))
	return func(int) (time.Duration, bool) { return time.Duration(random.Int64N(int64(most))), false }
}

// say publishes what fill gives, frame by frame: each is sent when its last sample has been
// captured. What has been captured at a moment is known by the moment of the first sample.
func (h *hall) say(room, name string, encoder audio.EncoderConfig, fill func([]float32), way path) (first time.Time, stop func()) {
	h.Helper()
	e, err := audio.NewEncoder(encoder)
	if err != nil {
		h.Fatal(err)
	}
	p, err := h.rooms.Publish(rooms.PublishRequest{Room: room, Publisher: name, Session: name})
	if err != nil {
		h.Fatal(err)
	}
	tape := roomstest.NewTape(media.Audio, roomstest.Opus)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		_ = p.Run(ctx, tape)
		p.Close()
	})
	first = time.Now()
	running.Go(func() {
		pcm := make([]float32, audio.FrameSamples)
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(first.Add(time.Duration(n+1) * audio.FrameDuration))):
			}
			fill(pcm)
			payload, err := e.Encode(nil, pcm)
			if err != nil {
				panic(err)
			}
			delay, lost := way(n)
			if lost {
				continue
			}
			time.AfterFunc(delay, func() {
				tape.Play(&media.Packet{
					Sequence: uint16(n), Timestamp: uint32(n * audio.FrameSamples), Codec: &roomstest.Opus, Payload: payload, Arrival: time.Now(),
				})
			})
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		tape.End()
		running.Wait()
	})
	h.Cleanup(stop)
	return first, stop
}

// The delay from a sound to its coming out of a listener's decoder, without that of
// networks and machines: time is fake here, and to compute takes none.
func TestDelayFromSoundToListener(t *testing.T) {
	for _, tt := range []struct {
		name  string
		way   func(seed uint64) path
		limit time.Duration // of what 95 % of the clicks keep
	}{
		{"no jitter", func(uint64) path { return direct }, 80 * time.Millisecond},
		{"30 ms of jitter", func(seed uint64) path { return trembling(seed, 30*time.Millisecond) }, 120 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var delays []time.Duration
			clicks := 0
			const phases = 2
			for phase := range phases { // of the publisher's frames in the mixer's
				synctest.Test(t, func(t *testing.T) {
					came, said := clickThrough(t, time.Duration(phase)*audio.FrameDuration/phases, tt.way(uint64(phase)))
					delays, clicks = append(delays, came...), clicks+said
				})
			}
			p50, p95, most := audiotest.Quantile(delays, 0.5), audiotest.Quantile(delays, 0.95), audiotest.Quantile(delays, 1)
			t.Logf("%d of %d clicks came, after p50 %v, p95 %v, at most %v", len(delays), clicks,
				p50.Round(100*time.Microsecond), p95.Round(100*time.Microsecond), most.Round(100*time.Microsecond))
			if len(delays) < clicks*95/100 || clicks < 20 {
				t.Errorf("%d of %d clicks came, want 95 %% of 20 at least", len(delays), clicks)
			}
			if p95 > tt.limit {
				t.Errorf("95 %% of the clicks came within %v, want %v", p95, tt.limit)
			}
		})
	}
}

// clickThrough sends clicks through a bridge for a while, and returns how long
// each took from when it was captured until its place in the listener's frame.
func clickThrough(t *testing.T, phase time.Duration, way path) (delays []time.Duration, said int) {
	h := newHall(t, Defaults())
	defer h.close()
	ear := h.listen(ListenRequest{Room: "mri-2"})
	time.Sleep(time.Second + phase)
	var in, out audiotest.Onset
	var captured []int64
	clicks := audiotest.NewClicks(uint64(phase))
	first, stop := h.say("mri-2", "console", audio.EncoderConfig{Channels: 1, Bitrate: 32000, Complexity: 1, Loss: 10}, func(pcm []float32) {
		clicks.Fill(pcm)
		captured = append(captured, in.Find(pcm)...)
	}, way)
	const settle, listen = 3 * time.Second, 8 * time.Second
	time.Sleep(settle + listen)
	stop()
	ear.stop()
	place := func(sample int64) time.Duration { return time.Duration(sample) * time.Second / audio.SampleRate }
	frame := make([]float32, audio.MaxPacketSamples)
	var heard []time.Time
	for i, g := range ear.Got() {
		n, err := ear.decoder.Decode(g.Payload, frame)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range out.Find(frame[:n]) {
			heard = append(heard, g.At.Add(place(at-int64(i*audio.FrameSamples))))
		}
	}
	for _, at := range captured {
		moment := first.Add(place(at))
		if moment.Sub(first) < settle || moment.Sub(first) > settle+listen-time.Second {
			continue
		}
		said++
		for _, there := range heard {
			if d := there.Sub(moment); d > 0 && d < 250*time.Millisecond {
				delays = append(delays, d)
				break
			}
		}
	}
	return delays, said
}
