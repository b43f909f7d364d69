package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sightline/internal/audio"
	"sightline/internal/audio/audiotest"
	"sightline/internal/fault"
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
	sound   [][]byte // a second of it, over and over
	rate    float64  // of its clock, against ours
	quiet   atomic.Bool
	talking atomic.Bool // with a pause every second
	broken  atomic.Bool

	stop func()
}

// second returns a second of a tone, of a whole number of hertz, as Opus.
func second(t *testing.T, frequency float64) [][]byte {
	seconds.Lock()
	defer seconds.Unlock()
	if out := seconds.of[frequency]; out != nil {
		return out
	}
	encoder, err := audio.NewEncoder(audio.EncoderConfig{Channels: 1, Bitrate: 64000, Complexity: 5})
	if err != nil {
		t.Fatal(err)
	}
	tone := audiotest.Tone{Frequency: frequency, Amplitude: 0.1}
	var out [][]byte
	pcm := make([]float32, audio.FrameSamples)
	for range 2 * frames { // the first one begins with silence
		tone.Fill(pcm)
		payload, err := encoder.Encode(nil, pcm)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, payload)
	}
	seconds.of[frequency] = out[frames:]
	return out[frames:]
}

var seconds = struct {
	sync.Mutex
	of map[float64][][]byte
}{of: make(map[float64][][]byte)}

// publish lets a voice speak until it is stopped. Its clock is off by ppm.
func (h *hall) publish(room, name, role string, frequency, ppm float64) *voice {
	h.Helper()
	v := &voice{
		tape: roomstest.NewTape(media.Audio, roomstest.Opus), sound: second(h.T, frequency), rate: 1 + ppm/1e6,
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
		payload := v.sound[n%uint32(frames)]
		if v.quiet.Load() || v.talking.Load() && n%50 > 35 {
			payload = media.Silence(&roomstest.Opus, payload)
		}
		if v.broken.Load() {
			payload = []byte{31<<3 | 3, 0, 1, 2, 3} // no frames
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
	// Half a second: a leg that makes its delay good sounds a little higher for a while.
	pcm = pcm[len(pcm)-audio.SampleRate/2:]
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

// run is a test in fake time.
func run(t *testing.T, change func(*Config), f func(*hall)) {
	synctest.Test(t, func(t *testing.T) {
		c := Defaults()
		if change != nil {
			change(&c)
		}
		h := newHall(t, c)
		defer h.close()
		f(h)
	})
}

// hears says which of the tones are in the last second of what an ear got.
func (e *ear) hears(t *testing.T) string {
	t.Helper()
	pcm := e.hear()
	if len(pcm) < audio.SampleRate {
		t.Fatalf("got %d samples, want a second at least", len(pcm))
	}
	pcm = pcm[len(pcm)-audio.SampleRate:]
	var heard []string
	for _, name := range slices.Sorted(maps.Keys(tones)) {
		if audiotest.Power(pcm, tones[name]) > -40 {
			heard = append(heard, name)
		}
	}
	return strings.Join(heard, " ")
}

func TestMixIsSilenceUntilSomebodySpeaks(t *testing.T) {
	run(t, nil, func(h *hall) {
		e := h.listen(ListenRequest{Room: "mri-2", For: "desk"})
		defer e.stop()
		time.Sleep(time.Second + time.Millisecond)
		got := e.Got()
		if len(got) < 50 || len(got) > 52 {
			t.Errorf("got %d packets in a second, want one every 20 ms", len(got))
		}
		for i, g := range got {
			if i > 0 && (g.Sequence != got[i-1].Sequence+1 || g.Timestamp != got[i-1].Timestamp+960) {
				t.Fatalf("packet %d has number %d and time %d after %d and %d", i, g.Sequence, g.Timestamp, got[i-1].Sequence, got[i-1].Timestamp)
			}
			if !g.HasLevel || g.Level != audio.Silence {
				t.Fatalf("packet %d has the level %d, want that of silence", i, g.Level)
			}
		}
		v := h.publish("mri-2", "console", "", 400, 0)
		defer v.stop()
		time.Sleep(2 * time.Second)
		if got, want := e.hears(t), "console"; got != want {
			t.Errorf("hears %q, want %q", got, want)
		}
	})
}

func TestInAStarOneHearsTheOtherSide(t *testing.T) {
	run(t, func(c *Config) { c.Hearing = Star }, func(h *hall) {
		ears := map[string]*ear{}
		want := map[ListenRequest]string{
			{For: "console"}:                     "desk",           // hospital
			{For: "desk"}:                        "console gantry", // technician
			{For: "door"}:                        "console desk gantry",
			{}:                                   "console desk gantry",
			{Role: Hospital}:                     "desk",
			{Role: Technician}:                   "console gantry",
			{For: "console", Role: Technician}:   "gantry",
			{For: "gantry", Role: "interpreter"}: "console desk",
		}
		for req := range want {
			asked := req
			asked.Room = "mri-2"
			ears[fmt.Sprint(req)] = h.listen(asked)
		}
		for name, role := range map[string]string{"console": Hospital, "gantry": Hospital, "desk": Technician} {
			defer h.publish("mri-2", name, role, tones[name], 0).stop()
		}
		time.Sleep(3 * time.Second)
		for req, others := range want {
			e := ears[fmt.Sprint(req)]
			if got := e.hears(t); got != others {
				t.Errorf("%+v hears %q, want %q", req, got, others)
			}
			e.stop()
		}
	})
}

func TestListenersWhoHearTheSameShareAMix(t *testing.T) {
	run(t, nil, func(h *hall) {
		loud := h.publish("mri-2", "console", "", 400, 0)
		defer loud.stop()
		still := h.publish("mri-2", "gantry", "", 700, 0)
		defer still.stop()
		still.quiet.Store(true)
		for _, who := range []string{"", "", "", "gantry", "stranger", "console", "console"} {
			defer h.listen(ListenRequest{Room: "mri-2", For: who}).stop()
		}
		time.Sleep(5 * time.Second)
		// All share one but console, who is in it.
		if got := h.bridge.Snapshot(); got.Mixes != 2 || got.Listeners != 7 || len(got.Speakers) != 2 || got.Rooms != 1 {
			t.Errorf("%d mixes for %d listeners and %d speakers in %d rooms, want 2 for 7 and 2 in 1", got.Mixes, got.Listeners, len(got.Speakers), got.Rooms)
		}
		still.quiet.Store(false)
		time.Sleep(time.Second)
		if got := h.bridge.Snapshot().Mixes; got != 3 {
			t.Errorf("once gantry speaks there are %d mixes, want 3", got)
		}
	})
}

func TestMuteIsHeardAtOnce(t *testing.T) {
	run(t, nil, func(h *hall) {
		v := h.publish("mri-2", "console", "", 400, 0)
		defer v.stop()
		e := h.listen(ListenRequest{Room: "mri-2"})
		defer e.stop()
		time.Sleep(2 * time.Second)
		if got := e.hears(t); got != "console" {
			t.Fatalf("hears %q, want console", got)
		}
		if err := h.rooms.Mute("mri-2", "console", true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(60 * time.Millisecond)
		e.Got()
		time.Sleep(time.Second)
		for _, g := range e.Got() {
			if g.Level != audio.Silence {
				t.Fatalf("a packet of the level %d more than 60 ms after the mute", g.Level)
			}
		}
		if err := h.rooms.Mute("mri-2", "console", false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if got := e.hears(t); got != "console" {
			t.Errorf("once it is muted no longer hears %q, want console", got)
		}
	})
}

func TestNothingIsLeftWhenNobodyListens(t *testing.T) {
	run(t, nil, func(h *hall) {
		v := h.publish("mri-2", "console", "", 400, 0)
		defer v.stop()
		time.Sleep(time.Second)
		release := h.bridge.Attend("mri-2")
		a, b := h.listen(ListenRequest{Room: "mri-2"}), h.listen(ListenRequest{Room: "mri-2", For: "console"})
		time.Sleep(time.Second)
		if got := h.bridge.Listeners("mri-2"); got != 2 {
			t.Errorf("%d listeners, want 2", got)
		}
		a.stop()
		b.stop()
		release()
		release()
		synctest.Wait()
		got := h.bridge.Snapshot()
		ticks := got.Ticks
		if got.Rooms != 0 || got.Listeners != 0 || got.Mixes != 0 || len(got.Speakers) != 0 || h.bridge.Listeners("mri-2") != 0 {
			t.Errorf("after the last has left: %+v", got)
		}
		if ticks < 50 || got.Past.Packets < 45 {
			t.Errorf("%d frames were mixed of %d packets, want those of a second", ticks, got.Past.Packets)
		}
		time.Sleep(time.Second)
		if got := h.bridge.Snapshot().Ticks; got != ticks {
			t.Errorf("%d frames were mixed though nobody listens", got-ticks)
		}
		info, err := h.rooms.Room("mri-2")
		if err != nil || info.Publishers[0].Speaking || info.Viewers != 0 || info.Publishers[0].Tracks[0].Viewers != 0 {
			t.Errorf("the room shows %+v, %v: nobody watches, nor is known to speak", info, err)
		}
	})
}

func TestWhoSpeaksIsKnownWhileSomebodyWantsTo(t *testing.T) {
	run(t, nil, func(h *hall) {
		v := h.publish("mri-2", "console", "", 400, 0)
		defer v.stop()
		time.Sleep(time.Second)
		speaking := func() bool {
			info, err := h.rooms.Room("mri-2")
			if err != nil {
				t.Fatal(err)
			}
			return info.Publishers[0].Speaking
		}
		if speaking() {
			t.Error("it is known to speak though nobody wants to know")
		}
		release := h.bridge.Attend("mri-2")
		defer release()
		time.Sleep(500 * time.Millisecond)
		if !speaking() {
			t.Error("it is not known to speak")
		}
		v.quiet.Store(true)
		time.Sleep(800 * time.Millisecond)
		if speaking() {
			t.Error("it is still said to speak")
		}
		if got := h.bridge.Snapshot(); got.Mixes != 0 || got.Listeners != 0 {
			t.Errorf("%d mixes are made for nobody", got.Mixes)
		}
	})
}

func TestOneWaySoundIsSuspected(t *testing.T) {
	run(t, nil, func(h *hall) {
		v := h.publish("mri-2", "console", "", 400, 0)
		defer v.stop()
		v.talking.Store(true)
		own := h.listen(ListenRequest{Room: "mri-2", For: "console"})
		defer own.stop()
		time.Sleep(11 * time.Second)
		if got := h.bridge.Snapshot(); !got.Speakers[0].Unheard {
			t.Error("a speaker whom nobody but himself could hear is not suspected")
		}
		other := h.listen(ListenRequest{Room: "mri-2"})
		defer other.stop()
		time.Sleep(11 * time.Second)
		if got := h.bridge.Snapshot(); got.Speakers[0].Unheard || got.Starved != 0 || got.Deaf != 0 {
			t.Errorf("suspected though somebody listens: %+v", got)
		}
		v.broken.Store(true)
		other.SetStats(media.SinkStats{Loss: 0.95})
		time.Sleep(11 * time.Second)
		if got := h.bridge.Snapshot(); got.Starved != 1 || got.Deaf != 1 {
			t.Errorf("%d listeners get only concealment and %d next to nothing, want 1 and 1", got.Starved, got.Deaf)
		}
	})
}

// A gate is a viewer whose sink can be made to wait.
type gate struct {
	roomstest.Recorder
	shut, waits chan struct{} // shut is closed to let nothing through, waits when something has come since
	open        chan struct{}
	once        sync.Once
}

func (g *gate) Write([]media.Outgoing) bool {
	select {
	case <-g.shut:
		g.once.Do(func() { close(g.waits) })
		<-g.open
	default:
	}
	return true
}

// Who listens again as the last one leaves has a room of his own, while the one before is about to end.
// Each speaker is told once all the same: Prometheus takes nothing at all from who tells one twice.
func TestWhoSpeaksIsToldOnceWhileARoomFollowsOnAnother(t *testing.T) {
	h := newHall(t, Defaults())
	defer h.close()
	h.publish("mri", "console", "", 400, 0)
	until := func(what string, f func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	var viewer []*rooms.Subscription
	until("the track can't be played", func() (ok bool) {
		var err error
		viewer, err = h.rooms.Play(rooms.PlayRequest{Room: "mri", Publisher: "console", Kind: media.Audio})
		return err == nil
	})
	g := &gate{shut: make(chan struct{}), waits: make(chan struct{}), open: make(chan struct{})}
	open := sync.OnceFunc(func() { close(g.open) })
	var watching sync.WaitGroup
	defer watching.Wait()
	defer viewer[0].Close()
	defer open()
	watching.Go(func() { _ = viewer[0].Run(t.Context(), g) })

	before := h.listen(ListenRequest{Room: "mri"})
	until("nobody speaks", func() bool {
		return len(h.bridge.Snapshot().Speakers) == 1 && h.bridge.Snapshot().Speakers[0].Stats.Frames > 0
	})
	close(g.shut)
	<-g.waits // the track's reader is busy: nobody can leave it
	before.stop()
	h.listen(ListenRequest{Room: "mri"})
	until("the second room has no speaker", func() bool {
		h.bridge.mu.Lock()
		r := h.bridge.rooms["mri"]
		h.bridge.mu.Unlock()
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.cast.speakers) == 1
	})
	s := h.bridge.Snapshot()
	if len(s.Speakers) != 1 || s.Rooms != 1 || s.Past.Frames == 0 {
		t.Errorf("got %d speakers in %d rooms, and %d frames of past ones; want 1, 1 and those of the room before", len(s.Speakers), s.Rooms, s.Past.Frames)
	}
	open()
	until("the room before does not end", func() bool {
		h.bridge.mu.Lock()
		defer h.bridge.mu.Unlock()
		return len(h.bridge.leaving) == 0
	})
	if now := h.bridge.Snapshot().Past.Frames; now < s.Past.Frames {
		t.Errorf("past frames fell from %d to %d", s.Past.Frames, now)
	}
}

func TestListenIsRefusedWithTheReason(t *testing.T) {
	run(t, func(c *Config) { c.MaxListeners = 1 }, func(h *hall) {
		for _, req := range []ListenRequest{{Room: "~mix"}, {}, {Room: "r", For: "a b"}, {Room: "r", Role: "~"}} {
			if _, err := h.bridge.Listen(req); fault.KindOf(err) != fault.BadRequest {
				t.Errorf("%+v: %v, want a bad request", req, err)
			}
		}
		l, err := h.bridge.Listen(ListenRequest{Room: "r"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = h.bridge.Listen(ListenRequest{Room: "q"})
		if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "bridge.max_listeners") {
			t.Errorf("beyond the limit: %v", err)
		}
		l.Close()
		l.Close()
		if l, err = h.bridge.Listen(ListenRequest{Room: "q"}); err != nil {
			t.Errorf("after the first has left: %v", err)
		}
		defer l.Close()
		refuses := &roomstest.Recorder{}
		refuses.Refuse("opus")
		if err := l.Run(t.Context(), refuses); !errors.Is(err, rooms.ErrCodec) {
			t.Errorf("a sink that takes no Opus: %v", err)
		}
	})
}

func TestBridgeThatClosesEndsItsListeners(t *testing.T) {
	run(t, nil, func(h *hall) {
		l, err := h.bridge.Listen(ListenRequest{Room: "r"})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		result := make(chan error)
		go func() { result <- l.Run(context.Background(), &roomstest.Recorder{}) }()
		time.Sleep(time.Second)
		h.bridge.Close()
		if err := <-result; !errors.Is(err, rooms.ErrClosed) {
			t.Errorf("Run returned %v, want that it is closed", err)
		}
		if _, err := h.bridge.Listen(ListenRequest{Room: "r"}); fault.KindOf(err) != fault.Unavailable {
			t.Errorf("a closed bridge says %v", err)
		}
	})
}

func TestListenerCanHaveALostPacketAgain(t *testing.T) {
	run(t, nil, func(h *hall) {
		l, err := h.bridge.Listen(ListenRequest{Room: "r"})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ctx, cancel := context.WithCancel(context.Background())
		sink := &roomstest.Recorder{}
		var running sync.WaitGroup
		running.Go(func() { _ = l.Run(ctx, sink) })
		defer running.Wait()
		defer cancel()
		time.Sleep(time.Second)
		synctest.Wait()
		got := sink.Got()
		last := got[len(got)-1]
		var again []uint16
		l.Resend([]uint16{last.Sequence + 1, last.Sequence, last.Sequence - 20, got[0].Sequence}, func(o media.Outgoing) {
			again = append(again, o.Sequence)
		})
		if want := []uint16{last.Sequence, last.Sequence - 20}; !slices.Equal(again, want) {
			t.Errorf("got %v again, want %v: what is not too old, and was sent", again, want)
		}
		ts, ok := l.Timestamp(time.Now().Add(time.Second))
		if ahead := int32(ts - last.Timestamp); !ok || ahead < 47000 || ahead > 49000 {
			t.Errorf("the timestamp of a second from now is %d ahead (%v), want about 48000", ahead, ok)
		}
	})
}

func TestTheRoomKnowsWhichParticipantsListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, Defaults())
		defer h.close()
		enter := func(name string) string {
			_, info, err := h.rooms.Enter(rooms.EnterRequest{Room: "r", ParticipantChange: rooms.ParticipantChange{Name: &name}})
			if err != nil {
				t.Fatal(err)
			}
			return info.ID
		}
		listen := func(room, participant string) *Listener {
			l, err := h.bridge.Listen(ListenRequest{Room: room, Participant: participant})
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		check := func(want string) {
			t.Helper()
			all, err := h.rooms.Participants("r")
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, p := range all {
				if p.Listening {
					got += p.Name
				}
			}
			if got != want {
				t.Errorf("%q listen, want %q", got, want)
			}
		}
		a := enter("a")
		time.Sleep(time.Second)
		b := enter("b")
		first := listen("r", a)
		again, strange, nobodys := listen("r", a), listen("r", "no such one"), listen("r", "")
		elsewhere := listen("elsewhere", b)
		check("a")
		second := listen("r", b)
		check("ab")
		first.Close()
		check("ab") // by another session
		again.Close()
		again.Close()
		check("b")
		for _, l := range []*Listener{second, strange, nobodys, elsewhere} {
			l.Close()
		}
		check("")
	})
}
