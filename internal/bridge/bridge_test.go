package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sightline/internal/audio"
	"sightline/internal/audio/audiotest"
	"sightline/internal/media"
	"sightline/rooms"
	"sightline/rooms/roomstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A hall is a registry and a bridge, in fake time.
type hall struct {
	*testing.T
	rooms  *rooms.Registry
	bridge *Bridge
}

func newHall(t *testing.T, c Config) *hall {
	h := &hall{T: t}
	h.rooms = rooms.New(rooms.Defaults(), slog.New(slog.DiscardHandler))
	h.bridge = New(c, h.rooms, slog.New(slog.DiscardHandler))
	return h
}

func (h *hall) close() {
	h.bridge.Close()
	h.rooms.Close()
}

// A voice is a publisher that says a tone, as real Opus.
type voice struct {
	tape    *roomstest.Tape
	tone    audiotest.Tone
	encoder audio.Encoder
	pcm     []float32
	rate    float64 // of its clock, against ours
	quiet   bool

	stop func()
}

// publish lets a voice speak until it is stopped. Its clock is off by ppm.
func (h *hall) publish(room, name, role string, frequency, ppm float64) *voice {
	h.Helper()
	encoder, err := audio.NewEncoder(audio.EncoderConfig{Channels: 1, Bitrate: 64000, Complexity: 5})
	if err != nil {
		h.Fatal(err)
	}
	v := &voice{
		tape: roomstest.NewTape(media.Audio, roomstest.Opus), encoder: encoder,
		tone: audiotest.Tone{Frequency: frequency, Amplitude: 0.1}, pcm: make([]float32, audio.FrameSamples), rate: 1 + ppm/1e6,
	}
	p, err := h.rooms.Publish(rooms.PublishRequest{Room: room, Publisher: name, Role: role, Session: name})
	if err != nil {
		h.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		_ = p.Run(ctx, v.tape)
		p.Close()
	})
	running.Go(func() { v.speak(ctx) })
	v.stop = func() {
		cancel()
		v.tape.End()
		running.Wait()
	}
	h.Cleanup(v.stop)
	return v
}

// speak plays a packet every 20 ms of the voice's own clock.
func (v *voice) speak(ctx context.Context) {
	began := time.Now()
	for n := uint32(0); ; n++ {
		due := began.Add(time.Duration(float64(n) * float64(audio.FrameDuration) / v.rate))
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(due)):
		}
		v.tone.Fill(v.pcm)
		if v.quiet {
			clear(v.pcm)
		}
		payload, err := v.encoder.Encode(nil, v.pcm)
		if err != nil {
			panic(err)
		}
		v.tape.Play(&media.Packet{
			Sequence: uint16(n), Timestamp: n * audio.FrameSamples, Codec: &roomstest.Opus, Payload: payload, Arrival: time.Now(),
		})
	}
}

// An ear listens to a mix and decodes it.
type ear struct {
	*roomstest.Recorder
	decoder audio.Decoder
	pcm     []float32
	next    uint16
	begun   bool
	gaps    int
	stop    func()
}

func (h *hall) listen(req ListenRequest) *ear {
	h.Helper()
	l, err := h.bridge.Listen(req)
	if err != nil {
		h.Fatal(err)
	}
	decoder, err := audio.NewDecoder(1)
	if err != nil {
		h.Fatal(err)
	}
	e := &ear{Recorder: &roomstest.Recorder{}, decoder: decoder}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = l.Run(ctx, e) })
	e.stop = func() {
		cancel()
		running.Wait()
		l.Close()
	}
	h.Cleanup(e.stop)
	return e
}

// hear decodes all that has come since the last call.
func (e *ear) hear() []float32 {
	e.pcm = e.pcm[:0]
	frame := make([]float32, audio.MaxPacketSamples)
	for _, g := range e.Got() {
		if e.begun && g.Sequence != e.next {
			e.gaps++
		}
		e.begun, e.next = true, g.Sequence+1
		n, err := e.decoder.Decode(g.Payload, frame)
		if err != nil {
			panic(err)
		}
		e.pcm = append(e.pcm, frame[:n]...)
	}
	return e.pcm
}

var tones = map[string]float64{"console": 400, "gantry": 700, "desk": 1100}

// check holds what is heard: all others as loud as each other, and oneself not.
func check(t *testing.T, who string, pcm []float32, others []string, own string) {
	t.Helper()
	if len(pcm) < audio.SampleRate {
		t.Fatalf("%s got %d samples, want a second at least", who, len(pcm))
	}
	pcm = pcm[len(pcm)-audio.SampleRate:]
	least, most := 0.0, -200.0
	for _, name := range others {
		p := audiotest.Power(pcm, tones[name])
		least, most = min(least, p), max(most, p)
	}
	if least < -26 || most-least > 1 {
		t.Errorf("%s hears %v from %.1f to %.1f dB, want them within 1 dB and at about -20", who, others, least, most)
	}
	if own == "" {
		return
	}
	if p := audiotest.Power(pcm, tones[own]); p > least-50 {
		t.Errorf("%s hears himself at %.1f dB, the others at %.1f: want 50 dB less", who, p, least)
	}
}

func TestEverybodyHearsAllOthersAndNotHimself(t *testing.T) {
	for _, stereo := range []bool{false, true} {
		t.Run(fmt.Sprintf("stereo=%v", stereo), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := Defaults()
				c.Stereo = stereo
				h := newHall(t, c)
				defer h.close()
				voices, ears := map[string]*voice{}, map[string]*ear{}
				for i, name := range []string{"console", "gantry", "desk"} {
					ears[name] = h.listen(ListenRequest{Room: "mri-2", For: name})
					voices[name] = h.publish("mri-2", name, "", tones[name], float64(i-1)*200)
				}
				pure := h.listen(ListenRequest{Room: "mri-2"})
				all := []string{"console", "desk", "gantry"}
				hear := func() {
					t.Helper()
					for name, e := range ears {
						others := slices.DeleteFunc(slices.Clone(all), func(o string) bool { return o == name })
						check(t, name, e.hear(), others, name)
					}
					check(t, "a pure listener", pure.hear(), all, "")
				}
				time.Sleep(3 * time.Second)
				hear()

				voices["gantry"].stop()
				time.Sleep(2 * time.Second)
				check(t, "a pure listener, without gantry", pure.hear(), []string{"console", "desk"}, "gantry")
				voices["gantry"] = h.publish("mri-2", "gantry", "", tones["gantry"], 0)
				time.Sleep(3 * time.Second)
				hear()
				for name, e := range ears {
					if e.gaps > 0 {
						t.Errorf("%s got %d gaps", name, e.gaps)
					}
					e.stop()
				}
				for _, v := range voices {
					v.stop()
				}
				pure.stop()
			})
		})
	}
}
