package bridge

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"sightline/internal/audio"
	"sightline/internal/media"
	"sightline/rooms"
)

const (
	// inaudible is the level, in -dBov, at which a frame may as well not be there.
	inaudible = 85

	// faint is the level, in -dBov, from which on it does no harm to hear oneself: the noise
	// of the room one is in. Who has not been louder for a while shares the mix that all
	// hear, so that fifty open microphones don't cost fifty encoders.
	faint = 65
)

// A speaker is a publisher whose sound is in the mixes. It is the sink of its tap.
type speaker struct {
	name string
	role string
	tap  *rooms.Subscription
	leg  *audio.Leg

	cancel context.CancelFunc
	done   chan struct{} // closed when the tap has ended

	muted    atomic.Bool   // by the room API
	viewers  atomic.Int64  // of its own track
	received atomic.Bool   // somebody was given its frame
	unheard  atomic.Bool   // nobody receives what it says, it seems
	loudness atomic.Uint32 // level, and
	talks    atomic.Bool   // whether it speaks, for others

	// Of the goroutine that mixes.
	activity  audio.Activity
	frame     []float32
	state     audio.State
	level     uint8 // -dBov
	audible   bool
	speaking  bool
	faulty    bool   // something of it is missing
	bad       uint64 // packets so far
	hushed    bool   // it was muted at the last frame already
	suspicion suspicion
}

// newSpeaker begins to take what a publisher says.
func newSpeaker(r *room, name, role string, running *sync.WaitGroup) (*speaker, error) {
	tap, err := r.bridge.registry.Tap(r.name, name)
	if err != nil {
		return nil, err
	}
	channels := r.bridge.config.channels()
	decoder, err := audio.NewDecoder(channels)
	if err != nil {
		tap.Close()
		return nil, err
	}
	s := &speaker{
		name: name, role: role, tap: tap,
		leg:   audio.NewLeg(channels, decoder),
		done:  make(chan struct{}),
		frame: make([]float32, audio.FrameSamples*channels),
		state: audio.Silent, level: audio.Silence,
	}
	ctx, cancel := context.WithCancel(r.ctx)
	s.cancel = cancel
	running.Go(func() {
		defer close(s.done)
		defer tap.Close()
		_ = tap.Run(ctx, s) // the room's events tell what happens to the track
	})
	return s, nil
}

// close takes no more from the publisher.
func (s *speaker) close() {
	s.cancel()
	<-s.done
}

// gone reports whether the track has ended by itself.
func (s *speaker) gone() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// SetCodec implements media.Sink.
func (s *speaker) SetCodec(c media.Codec) bool { return c.Is(Codec.Name) }

// Write implements media.Sink.
func (s *speaker) Write(burst []media.Outgoing) bool {
	for _, p := range burst {
		s.leg.Put(audio.Packet{
			Sequence: p.Sequence, Timestamp: p.Timestamp, Payload: p.Payload,
			Arrival: p.Arrival, Marker: p.Marker,
		})
	}
	return true
}

// Stats implements media.Sink.
func (s *speaker) Stats() media.SinkStats { return media.SinkStats{} }

// next decodes the speaker's next frame.
func (s *speaker) next(now time.Time) {
	s.received.Store(false)
	s.state = s.leg.Next(s.frame, now)
	stats := s.leg.Stats()
	s.faulty = s.state == audio.Concealing || stats.Bad > s.bad
	s.bad = stats.Bad
	muted := s.muted.Load()
	switch {
	case muted && s.hushed:
		s.state = audio.Silent
	case muted:
		fadeOut(s.frame) // what was said before waits in the leg: a mute does not wait for it
	}
	s.hushed = muted
	s.level = audio.Silence
	if s.state != audio.Silent {
		s.level = audio.Level(s.frame)
	}
	s.audible = s.level < inaudible
	s.speaking = s.activity.Frame(s.level) && !muted
	s.loudness.Store(uint32(s.level))
	s.talks.Store(s.speaking)
}

// present reports whether the speaker would hear himself, or what is missing of himself.
func (s *speaker) present() bool { return s.level < faint || s.faulty }

func fadeOut(frame []float32) {
	for i := range frame {
		frame[i] *= 1 - float32(i)/float32(len(frame))
	}
}
