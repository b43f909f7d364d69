package rooms_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sightline/internal/media"
	"sightline/rooms"
	"sightline/rooms/roomstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A house is a registry with what a test started in it.
type house struct {
	*rooms.Registry
	t     *testing.T
	tapes []*roomstest.Tape
}

// run runs f with a registry, where time costs nothing, and closes it.
func run(t *testing.T, f func(t *testing.T, h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := open(t)
		defer h.close()
		f(t, h)
	})
}

// open returns a registry, which the test closes.
func open(t *testing.T, change ...func(*rooms.Config)) *house {
	c := rooms.Defaults()
	for _, f := range change {
		f(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	h := &house{Registry: rooms.New(c, slog.New(slog.DiscardHandler)), t: t}
	return h
}

// close ends all that was started.
func (h *house) close() {
	for _, tape := range h.tapes {
		tape.End()
	}
	h.Close()
}

// A show is a publication that runs.
type show struct {
	audio, video *roomstest.Tape
	publication  *rooms.Publication
	stop         context.CancelCauseFunc
	ended        chan error
}

var errStopped = errors.New("stopped by the test")

// publish runs a publication of "r"/"cam" that plays new tapes.
func (h *house) publish(audio, video *media.Codec) *show {
	h.t.Helper()
	s, err := h.tryPublish(rooms.PublishRequest{Room: "r", Publisher: "cam", Subject: "anna", Session: "s"}, audio, video)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *house) tryPublish(req rooms.PublishRequest, audio, video *media.Codec) (*show, error) {
	s := &show{ended: make(chan error, 1)}
	var sources []media.Source
	if audio != nil {
		s.audio = roomstest.NewTape(media.Audio, *audio)
		sources = append(sources, s.audio)
	}
	if video != nil {
		s.video = roomstest.NewTape(media.Video, *video)
		sources = append(sources, s.video)
	}
	p, err := h.Publish(req)
	if err != nil {
		return nil, err
	}
	for _, source := range sources {
		h.tapes = append(h.tapes, source.(*roomstest.Tape))
	}
	s.publication = p
	ctx, stop := context.WithCancelCause(h.t.Context())
	s.stop = stop
	go func() {
		err := p.Run(ctx, sources...)
		p.Close()
		s.ended <- err
	}()
	synctest.Wait()
	return s, nil
}

// end ends the show as a session does that has lost its peer.
func (s *show) end() {
	s.stop(errStopped)
	synctest.Wait()
	for _, tape := range []*roomstest.Tape{s.audio, s.video} {
		if tape != nil {
			tape.End()
		}
	}
	synctest.Wait()
}

// A seat is a subscription that runs.
type seat struct {
	*rooms.Subscription
	*roomstest.Recorder
	stop  context.CancelCauseFunc
	ended chan error
}

// watch runs a subscription to one track of "r"/"cam".
func (h *house) watch(kind media.Kind) *seat {
	h.t.Helper()
	synctest.Wait()
	subscriptions, err := h.Play(rooms.PlayRequest{Room: "r", Publisher: "cam", Kind: kind})
	if err != nil {
		h.t.Fatal(err)
	}
	return h.sit(subscriptions[0])
}

func (h *house) sit(sub *rooms.Subscription) *seat {
	s := &seat{Subscription: sub, Recorder: &roomstest.Recorder{}, ended: make(chan error, 1)}
	ctx, stop := context.WithCancelCause(h.t.Context())
	s.stop = stop
	go func() {
		err := s.Run(ctx, s.Recorder)
		s.Subscription.Close()
		s.ended <- err
	}()
	synctest.Wait()
	return s
}

// Stats is the recorder's; both halves of a seat have none other.
func (s *seat) leave() {
	s.stop(errStopped)
	synctest.Wait()
}

const frame = time.Second / 30

// play plays n frames of video of packets each, the first a keyframe if key says so.
func play(tape *roomstest.Tape, n int, key bool, packets int) {
	for i := range n {
		if key && i == 0 {
			tape.Keyframe(packets)
		} else {
			tape.Frame(packets)
		}
		time.Sleep(frame)
	}
	synctest.Wait()
}

// checkLine fails the test unless the packets' sequence numbers have no hole, and frames'
// timestamps grow.
func checkLine(t *testing.T, got []roomstest.Got) {
	t.Helper()
	for i := 1; i < len(got); i++ {
		if d := got[i].Sequence - got[i-1].Sequence; d != 1 {
			t.Fatalf("packet %d of %d: sequence number steps by %d, want 1", i, len(got), int16(d))
		}
		if got[i].Packet.Timestamp == got[i-1].Packet.Timestamp && got[i].Packet.Codec == got[i-1].Packet.Codec {
			if got[i].Timestamp != got[i-1].Timestamp {
				t.Fatalf("packet %d: another timestamp within its frame", i)
			}
		} else if int32(got[i].Timestamp-got[i-1].Timestamp) <= 0 {
			t.Fatalf("packet %d: timestamp steps by %d, want more than 0", i, int32(got[i].Timestamp-got[i-1].Timestamp))
		}
	}
}

// count takes what a seat got and checks how many packets it was.
func (s *seat) count(t *testing.T, want int) []roomstest.Got {
	t.Helper()
	got := s.Got()
	if len(got) != want {
		t.Fatalf("got %d packets, want %d", len(got), want)
	}
	return got
}
