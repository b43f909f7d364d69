package roomstest

import (
	"sync"
	"time"

	"sightline/internal/media"
)

// A Recorder is a media.Sink that remembers what it got.
type Recorder struct {
	mu     sync.Mutex // guards what follows
	got    []Got
	codecs []media.Codec
	full   bool
	refuse string
	stats  media.SinkStats
	write  func(burst []media.Outgoing)
}

// Got is a packet that a Recorder got.
type Got struct {
	media.Outgoing
	At time.Time
}

// SetCodec remembers the codec; it returns false for the one that Refuse was given.
func (r *Recorder) SetCodec(c media.Codec) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.codecs = append(r.codecs, c)
	return c.Name != r.refuse
}

// Write remembers the burst, or drops it and returns false while the sink is full.
func (r *Recorder) Write(burst []media.Outgoing) bool {
	r.mu.Lock()
	f := r.write
	defer r.mu.Unlock()
	if f != nil {
		f(burst)
	}
	if r.full {
		r.stats.Dropped += uint64(len(burst))
		return false
	}
	now := time.Now()
	for _, p := range burst {
		r.got = append(r.got, Got{p, now})
		r.stats.Packets++
		r.stats.Bytes += uint64(len(p.Payload))
	}
	return true
}

// OnWrite sets what is called with each burst, under the recorder's lock.
func (r *Recorder) OnWrite(f func(burst []media.Outgoing)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.write = f
}

// SetFull makes Write drop what comes, or take it again.
func (r *Recorder) SetFull(full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.full = full
}

// Refuse makes SetCodec return false for a codec of that name.
func (r *Recorder) Refuse(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = name
}

// Got returns what came since the last call.
func (r *Recorder) Got() []Got {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

// Codecs returns what SetCodec was told.
func (r *Recorder) Codecs() []media.Codec {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]media.Codec(nil), r.codecs...)
}

// SetStats sets what Stats returns, but for what was counted.
func (r *Recorder) SetStats(s media.SinkStats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Packets, s.Bytes, s.Dropped = r.stats.Packets, r.stats.Bytes, r.stats.Dropped
	r.stats = s
}

func (r *Recorder) Stats() media.SinkStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}
