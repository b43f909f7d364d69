package bridge

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"sightline/internal/audio"
	"sightline/internal/media"
)

const (
	// apartFor is for how many frames after he was last more than faint a speaker who listens keeps a
	// mix of his own. Changing over to the one that all share is a small break in his
	// decoder's state.
	apartFor = 3 * 50

	// keepFor is how many frames an unused mix is kept.
	keepFor = 5 * 50

	// restAfter is how many frames of silence are encoded before the same packet is sent for
	// each: until then the encoder's and the decoders' memory has run out.
	restAfter = 25
)

// A mixKey says what is in a mix.
type mixKey struct {
	side    string // whom it is for
	without string // the publisher who is left out; "": none
}

// A sum is one frame of all who are heard on a side.
type sum struct {
	frame    uint64 // for which it is, plus one
	pcm      []float32
	speakers []*speaker // all on that side, by name
}

func newSum(channels int) *sum {
	return &sum{pcm: make([]float32, audio.FrameSamples*channels)}
}

func (s *sum) add(side string, cast *cast, config Config) {
	clear(s.pcm)
	clear(s.speakers)
	s.speakers = s.speakers[:0]
	for _, speaker := range cast.speakers {
		if !config.hears(side, speaker.role) {
			continue
		}
		s.speakers = append(s.speakers, speaker)
		if speaker.audible {
			audio.Add(s.pcm, speaker.frame)
		}
	}
}

// find returns the publisher's voice, nil if he has none or is not heard here.
func (s *sum) find(publisher string) *speaker {
	if publisher == "" {
		return nil
	}
	for _, speaker := range s.speakers {
		if speaker.name == publisher {
			return speaker
		}
	}
	return nil
}

// A mix is what some listeners hear.
type mix struct {
	encoder    audio.Encoder
	complexity int
	limiter    audio.Limiter
	channels   int
	pcm        []float32
	scratch    []byte

	last  uint64 // frame in which somebody got it
	apart uint64 // frame in which the one who is left out was present last

	// Of this frame.
	sum     *sum
	without *speaker
	packet  *media.Packet

	genuine bool // there is sound in it as it was sent
	faulty  bool // there is sound missing in it
	silent  int  // frames in a row
	hush    []byte
	err     error
}

func newMix(c Config) (*mix, error) {
	encoder, err := audio.NewEncoder(audio.EncoderConfig{
		Channels: c.channels(), Bitrate: c.Bitrate, Complexity: c.Complexity, Loss: c.Loss,
	})
	if err != nil {
		return nil, err
	}
	return &mix{
		encoder: encoder, complexity: c.Complexity, channels: c.channels(),
		pcm:  make([]float32, audio.FrameSamples*c.channels()),
		hush: media.Silence(&Codec, []byte{31<<3 | byte(c.channels()-1)<<2, 0}),
	}, nil
}

// take puts the mix on the list of those that are made of this frame.
func (x *mix) take(m *mixer, frame uint64, sum *sum, without string) {
	if x.sum != nil {
		return
	}
	x.sum, x.without, x.last = sum, sum.find(without), frame
	if x.without != nil && x.without.present() {
		x.apart = frame
	}
	m.used = append(m.used, x)
}

// make encodes the frame.
func (x *mix) make(complexity int, now time.Time) {
	heard, voice := x.subtract()
	payload, level := x.hush, uint8(audio.Silence)
	if heard {
		level, x.silent = audio.Level(x.pcm), 0
	} else {
		clear(x.pcm) // what rounding has left of who is left out
		x.silent++
	}
	if x.silent < restAfter {
		payload = x.encode(complexity)
	}
	x.packet = &media.Packet{
		Codec: &Codec, Payload: payload, Arrival: now,
		Level: level, Voice: voice, HasLevel: true,
	}
	x.sum, x.without = nil, nil
}

// subtract fills x.pcm with the sum without the one who is left out. It reports whether
// anybody is heard in it, and whether somebody speaks.
func (x *mix) subtract() (heard, voice bool) {
	x.genuine, x.faulty = false, false
	copy(x.pcm, x.sum.pcm)
	for _, s := range x.sum.speakers {
		if s == x.without {
			if s.audible {
				audio.Subtract(x.pcm, x.pcm, s.frame)
			}
			continue
		}
		x.faulty = x.faulty || s.faulty
		if s.audible {
			heard, voice = true, voice || s.speaking
			x.genuine = x.genuine || s.state == audio.Playing
			s.received.Store(true)
		}
	}
	return heard, voice
}

// encode returns the packet of x.pcm; silence if the encoder fails, which has then begun
// anew.
func (x *mix) encode(complexity int) []byte {
	x.limiter.Apply(x.pcm, x.channels)
	if complexity != x.complexity && x.encoder.SetComplexity(complexity) == nil {
		x.complexity = complexity
	}
	var err error
	if x.scratch, err = x.encoder.Encode(x.scratch[:0], x.pcm); err != nil {
		return x.hush
	}
	return bytes.Clone(x.scratch)
}

// parallel calls f for 0 to n-1, by several goroutines, at most so many, if there are at
// least worth calls for each.
func parallel(most, n, worth int, f func(int)) {
	helpers := min(most, n/worth) - 1
	if helpers <= 0 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			f(i)
		}
	}
	var done sync.WaitGroup
	for range helpers {
		done.Go(work)
	}
	work()
	done.Wait()
}
