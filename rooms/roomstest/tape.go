// Package roomstest has in-memory twins of both ends of a room: a Tape is a source that
// plays what a test puts on it, a Recorder is a sink that remembers what it got.
package roomstest

import (
	"io"
	"sync"
	"time"

	"sightline/internal/media"
)

// Codecs that a Tape makes packets of.
var (
	H264 = media.Codec{Name: "H264", ClockRate: 90000, Fmtp: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"}
	VP8  = media.Codec{Name: "VP8", ClockRate: 90000}
	Opus = media.Codec{Name: "opus", ClockRate: 48000, Channels: 2}
)

// A Tape is a media.Source. Its numbers begin at Sequence and Timestamp, and timestamps
// follow the clock; change both before the first packet only.
type Tape struct {
	Sequence  uint16
	Timestamp uint32
	Picture   uint16 // VP8 picture id of the next frame
	Layer     byte   // VP8 TL0PICIDX of the next frame

	kind   media.Kind
	codec  media.Codec
	making sync.Mutex // guards the numbers above, and began
	began  time.Time

	mu       sync.Mutex // guards what follows
	bursts   [][]*media.Packet
	ended    bool
	requests []time.Time
	clock    media.Clock
	reported bool
	stats    media.SourceStats
	onAsk    func()

	ready chan struct{}
}

// NewTape returns an empty tape.
func NewTape(kind media.Kind, codec media.Codec) *Tape {
	return &Tape{kind: kind, codec: codec, Sequence: 1000, Timestamp: 50000, Picture: 100, Layer: 10,
		ready: make(chan struct{}, 1)}
}

func (t *Tape) Kind() media.Kind   { return t.kind }
func (t *Tape) Codec() media.Codec { return t.codec }

// ReadBurst returns the next burst; io.EOF after End.
func (t *Tape) ReadBurst(dst []*media.Packet) ([]*media.Packet, error) {
	for {
		t.mu.Lock()
		if len(t.bursts) > 0 {
			dst = append(dst, t.bursts[0]...)
			t.bursts = t.bursts[1:]
			t.mu.Unlock()
			return dst, nil
		}
		ended := t.ended
		t.mu.Unlock()
		if ended {
			return dst, io.EOF
		}
		<-t.ready
	}
}

// Play puts a burst on the tape.
func (t *Tape) Play(burst ...*media.Packet) {
	t.mu.Lock()
	t.bursts = append(t.bursts, burst)
	for _, p := range burst {
		t.stats.Packets++
		t.stats.Bytes += uint64(len(p.Payload))
	}
	t.mu.Unlock()
	t.signal()
}

// End makes ReadBurst return io.EOF after what is on the tape.
func (t *Tape) End() {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	t.signal()
}

func (t *Tape) signal() {
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

// Packets makes the packets of one frame that is captured now, without playing them: n
// packets (at least 2 for a keyframe of H.264), the last of them marked.
func (t *Tape) Packets(key bool, n int) []*media.Packet {
	t.making.Lock()
	defer t.making.Unlock()
	now := time.Now()
	if t.began.IsZero() {
		t.began = now
	}
	ts := t.Timestamp + uint32(int64(now.Sub(t.began))*int64(t.codec.ClockRate)/int64(time.Second))
	out := make([]*media.Packet, n)
	for i := range out {
		out[i] = &media.Packet{
			Sequence: t.Sequence, Timestamp: ts, Marker: t.kind == media.Video && i == n-1,
			Codec: &t.codec, Payload: t.payload(key, i, n), Arrival: now,
		}
		t.Sequence++
	}
	t.Picture = (t.Picture + 1) & 0x7fff
	t.Layer++
	return out
}

// Keyframe plays a keyframe of n packets.
func (t *Tape) Keyframe(n int) { t.Play(t.Packets(true, n)...) }

// Frame plays a frame of n packets that needs those before it, or a packet of sound.
func (t *Tape) Frame(n int) { t.Play(t.Packets(false, n)...) }

// SPS is a sequence parameter set of H.264: 1920x1080, High 4.0.
var SPS = []byte{
	0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0x84, 0x00, 0x00, 0x03, 0x00,
	0x04, 0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58,
}

func (t *Tape) payload(key bool, i, n int) []byte {
	switch t.codec.Name {
	case "H264":
		return h264(key, i, n)
	case "VP8":
		return t.vp8(key, i)
	}
	return []byte{0xfc, byte(i), byte(n)}
}

func h264(key bool, i, n int) []byte {
	if key && i == 0 { // STAP-A: SPS, PPS
		p := append([]byte{0x78, 0, byte(len(SPS))}, SPS...)
		return append(p, 0, 4, 0x68, 0xeb, 0xe3, 0xcb)
	}
	typ, first := byte(1), 0
	if key {
		typ, first = 5, 1
	}
	head := typ // FU-A
	if i == first {
		head |= 0x80
	}
	if i == n-1 {
		head |= 0x40
	}
	return append([]byte{0x7c, head}, make([]byte, 100)...)
}

func (t *Tape) vp8(key bool, i int) []byte {
	p := []byte{0x80, 0xc0, 0x80 | byte(t.Picture>>8), byte(t.Picture), t.Layer}
	if i > 0 {
		return append(p, make([]byte, 100)...)
	}
	p[0] |= 0x10
	if !key {
		return append(p, 0x11, 0, 0)
	}
	return append(p, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01) // 640x360
}

// RequestKeyframe remembers that it was asked, and calls what OnRequest was given.
func (t *Tape) RequestKeyframe() {
	t.mu.Lock()
	t.requests = append(t.requests, time.Now())
	f := t.onAsk
	t.mu.Unlock()
	if f != nil {
		f()
	}
}

// OnRequest sets what a request for a keyframe calls.
func (t *Tape) OnRequest(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onAsk = f
}

// Requests returns when keyframes were asked for.
func (t *Tape) Requests() []time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]time.Time(nil), t.requests...)
}

// Report is a sender report: the sender's clock said ntp when the timestamp was ts.
func (t *Tape) Report(ntp uint64, ts uint32, received time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clock, t.reported = media.Clock{NTP: ntp, Timestamp: ts, Received: received}, true
}

func (t *Tape) Clock() (media.Clock, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.clock, t.reported
}

// SetStats sets what Stats returns, but for the packets and bytes played.
func (t *Tape) SetStats(s media.SourceStats) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Packets, s.Bytes = t.stats.Packets, t.stats.Bytes
	t.stats = s
}

func (t *Tape) Stats() media.SourceStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}
