package bridge

import (
	"context"
	"slices"
	"sync"
	"time"

	"sightline/internal/audio"
	"sightline/internal/media"
)

const (
	// maxBehind is how far the mixing may be behind its time before frames are left out:
	// what listeners get late is of no use to them any more.
	maxBehind = 200 * time.Millisecond

	frames    = int(time.Second / audio.FrameDuration) // a second
	tellAgain = 10                                     // frames
)

// A room is one that is being mixed. It lives from the first who enters until the last has
// left; a later one of the same name is another.
type room struct {
	bridge *Bridge
	name   string

	ctx    context.Context // done when the room is to end
	cancel context.CancelFunc
	over   chan struct{} // closed when the room ends though somebody listens, and
	cause  error         // why; not to be read before

	interest     int            // who has entered, and
	seats        int            // of these the listeners, and
	participants map[string]int // of these the sessions of participants, by ID; guarded by Bridge.mu, and
	relays       map[relayed]*Listener
	ending       sync.Once

	turn sync.Mutex // held while listeners are written to

	mu       sync.Mutex  // guards what follows
	cast     *cast       // never changed, only replaced
	audience []*Listener // likewise
	frame    uint64      // the last that was mixed, and
	at       time.Time   // when; zero: none yet
	counts   counts

	mixer mixer // of the goroutine that mixes
}

// A cast is who speaks in a room.
type cast struct {
	speakers []*speaker
	roles    map[string]string // of publishers, be it that they have no sound
}

func newRoom(b *Bridge, name string) *room {
	r := &room{bridge: b, name: name, over: make(chan struct{}), cast: &cast{}, participants: make(map[string]int), relays: make(map[relayed]*Listener)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.mixer = newMixer(r)
	return r
}

// end ends the room though somebody listens.
func (r *room) end(cause error) {
	r.ending.Do(func() {
		r.cause = cause
		close(r.over)
	})
	r.cancel()
}

// run mixes until the room is to end.
func (r *room) run() {
	var following sync.WaitGroup
	following.Go(r.follow)
	r.mixer.processors = processors.lend()
	r.mixAll()
	processors.giveBack()
	following.Wait()
	r.bridge.registry.SetSpeaking(r.name, nil)
	r.bridge.retire(r)
}

// seat lets a listener hear from the next frame on.
func (r *room) seat(l *Listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.audience = append(slices.Clip(r.audience), l)
}

// unseat writes no more to a listener.
func (r *room) unseat(l *Listener) {
	r.mu.Lock()
	r.audience = slices.DeleteFunc(slices.Clone(r.audience), func(o *Listener) bool { return o == l })
	r.mu.Unlock()
	r.turn.Lock() // who is written to now has been when it is free
	defer r.turn.Unlock()
	l.sink, l.batches = nil, nil
}

// clock returns the last frame that was mixed, and when it was due.
func (r *room) clock() (frame uint64, at time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.frame, r.at, !r.at.IsZero()
}

// mixAll mixes a frame every 20 ms.
func (r *room) mixAll() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := time.Now()
	for frame := uint64(0); ; frame++ {
		timer.Reset(time.Until(due))
		select {
		case <-r.ctx.Done():
			return
		case <-timer.C:
		}
		now := time.Now()
		if behind := now.Sub(due); behind > maxBehind {
			// The timestamps follow the clock, so listeners know what they have missed.
			missed := uint64(behind / audio.FrameDuration)
			frame += missed
			due = due.Add(time.Duration(missed) * audio.FrameDuration)
			r.count(func(c *counts) { c.Skipped += missed })
		}
		r.mixer.mix(frame, due, now)
		due = due.Add(audio.FrameDuration)
		done := time.Now()
		r.count(func(c *counts) {
			c.Ticks++
			c.Busy += done.Sub(now)
			if done.After(due) {
				c.Overruns++
			}
			c.Mixes = len(r.mixer.used)
		})
		r.mixer.pace(done.Sub(now))
	}
}

func (r *room) count(f func(*counts)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.counts)
}

// A mixer makes the frames of a room. One goroutine uses it.
type mixer struct {
	room *room

	processors int // to mix on
	complexity int // of the encoders now
	light      int // frames in a row that took little time

	sums  map[string]*sum // by side
	mixes map[mixKey]*mix
	used  []*mix // of this frame
	names []string
	told  []string // who was said to speak last
}

func newMixer(r *room) mixer {
	return mixer{
		room: r, complexity: r.bridge.config.Complexity,
		sums: make(map[string]*sum), mixes: make(map[mixKey]*mix),
	}
}

// mix makes the frame that was due, and sends it.
func (m *mixer) mix(frame uint64, due, now time.Time) {
	r := m.room
	r.mu.Lock()
	cast, audience := r.cast, r.audience
	r.frame, r.at = frame, due
	r.mu.Unlock()

	parallel(m.processors, len(cast.speakers), 8, func(i int) { cast.speakers[i].next(now) })
	m.tellSpeaking(frame, cast.speakers)

	r.turn.Lock()
	defer r.turn.Unlock()
	m.choose(frame, cast, audience)
	parallel(m.processors, len(m.used), 2, func(i int) { m.used[i].make(m.complexity, now) })
	m.send(frame, audience)
	m.suspect(cast, audience)
	m.forget(frame)
}

// tellSpeaking says who speaks, when that changes, and now and then: the heart forgets it of
// who could not be heard for a while.
func (m *mixer) tellSpeaking(frame uint64, speakers []*speaker) {
	m.names = m.names[:0]
	for _, s := range speakers {
		if s.speaking {
			m.names = append(m.names, s.name)
		}
	}
	if frame%tellAgain == 0 || !slices.Equal(m.names, m.told) {
		m.told = append(m.told[:0], m.names...)
		m.room.bridge.registry.SetSpeaking(m.room.name, m.names)
	}
}

// choose finds out which mix each listener gets, and sums up what is needed for these.
func (m *mixer) choose(frame uint64, cast *cast, audience []*Listener) {
	m.used = m.used[:0]
	for _, l := range audience {
		l.mix = nil
		if l.sink == nil { // it has just left
			continue
		}
		role := l.request.Role
		if role == "" {
			role = cast.roles[l.request.For]
		}
		side := m.room.bridge.config.side(role)
		sum := m.sum(frame, side, cast)
		key := mixKey{side: side}
		if own := sum.find(l.request.For); own != nil {
			key.without = own.name
			if mix := m.mixes[key]; !own.present() && (mix == nil || frame-mix.apart > apartFor) {
				key.without = "" // next to nothing of him is in what all hear
			}
		}
		if l.mix = m.find(key); l.mix != nil {
			l.mix.take(m, frame, sum, key.without)
		}
	}
}

// find returns the mix; nil if there can be none.
func (m *mixer) find(key mixKey) *mix {
	if x := m.mixes[key]; x != nil {
		return x
	}
	x, err := newMix(m.room.bridge.config, len(m.mixes) >= crowd*m.processors)
	if err != nil {
		m.room.bridge.log.Error("the bridge can't encode", "room", m.room.name, "err", err)
		return nil
	}
	m.mixes[key] = x
	return x
}

// sum returns the sum of all who are heard on a side.
func (m *mixer) sum(frame uint64, side string, cast *cast) *sum {
	s := m.sums[side]
	if s == nil {
		s = newSum(m.room.bridge.config.channels())
		m.sums[side] = s
	}
	if s.frame != frame+1 {
		s.frame = frame + 1
		s.add(side, cast, m.room.bridge.config)
	}
	return s
}

// send writes its mix to each listener. The caller holds room.turn.
func (m *mixer) send(frame uint64, audience []*Listener) {
	var batch media.Batch
	for _, l := range audience {
		if l.mix == nil {
			continue
		}
		if batch == nil && l.batches != nil {
			batch = l.batches.NewBatch()
		}
		l.write(batch, l.mix.packet, frame)
	}
	if batch != nil {
		batch.Flush()
	}
}

// forget lets go of mixes that nobody has got for a while.
func (m *mixer) forget(frame uint64) {
	if frame%uint64(frames) != 0 {
		return
	}
	for key, mix := range m.mixes {
		if frame-mix.last > keepFor {
			delete(m.mixes, key)
		}
	}
	for side, sum := range m.sums {
		if frame+1-sum.frame > keepFor {
			delete(m.sums, side)
		}
	}
}

// pace makes encoding cheaper while frames take too much of their time, and as good as is
// configured again when they have taken little for 5 s.
func (m *mixer) pace(took time.Duration) {
	const much, little = audio.FrameDuration * 6 / 10, audio.FrameDuration * 3 / 10
	switch {
	case took > much:
		m.complexity, m.light = max(m.complexity-1, 0), 0
	case took > little:
		m.light = 0
	default:
		if m.light++; m.light >= 5*frames && m.complexity < m.room.bridge.config.Complexity {
			m.complexity, m.light = m.complexity+1, 0
		}
	}
}
