package bridge

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"sightline/internal/audio"
	"sightline/internal/media"
	"sightline/rooms"
)

// resendable is how many packets of a listener can be sent again: 640 ms.
const resendable = 32

// A Listener is one listener of a room's mix. Like a rooms.Subscription it writes to a sink
// while Run lasts, and is a media.Feedback.
type Listener struct {
	room    *room
	request ListenRequest
	first   uint16 // sequence number, and
	shift   uint32 // timestamp of the room's frame 0

	done   chan struct{} // closed when it ends
	closed sync.Once

	// Of the goroutine that mixes, while it has the turn.
	sink    media.Sink
	batches media.BatchSink // the same, or nil
	next    uint16
	mix     *mix

	// Of a relay, guarded by Bridge.mu: for how many it stands, and whose sessions they are.
	stands       int
	participants []string

	suspicion suspicion
	starved   atomic.Bool // it receives only concealment, it seems

	mu   sync.Mutex // guards what follows
	ring [resendable]media.Outgoing
	peer media.Sink // the sink, for its statistics; nil if none
}

func newListener(r *room, req ListenRequest) *Listener {
	// From the lower half, as in rooms.Subscription.
	first := uint16(rand.Uint32N(1 << 15))
	return &Listener{
		room: r, request: req, first: first, next: first, shift: rand.Uint32(),
		done: make(chan struct{}),
	}
}

// Kind returns media.Audio.
func (l *Listener) Kind() media.Kind { return media.Audio }

// Codec returns what the mix is sent as.
func (l *Listener) Codec() media.Codec { return Codec }

// Run sends the mix to sink, a packet every 20 ms from the first moment on, until ctx is
// done, and returns its cause, or until the sink can't take the codec (rooms.ErrCodec), the
// room has moved (rooms.ErrMoved), or the listener or the bridge is closed (rooms.ErrClosed). It is called once. Nothing is
// written to sink after it has returned.
func (l *Listener) Run(ctx context.Context, sink media.Sink) error {
	if !sink.SetCodec(Codec) {
		return rooms.ErrCodec
	}
	l.sink = sink
	l.batches, _ = sink.(media.BatchSink)
	l.know(sink)
	defer l.know(nil)
	l.room.seat(l)
	defer l.room.unseat(l)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-l.done:
		return rooms.ErrClosed
	case <-l.room.over:
		return l.room.cause
	}
}

// Ended is closed when the room has ended, be it that Run was never called; Err then says why.
func (l *Listener) Ended() <-chan struct{} { return l.room.over }

// Err returns why the room has ended; nil before.
func (l *Listener) Err() error {
	select {
	case <-l.room.over:
		return l.room.cause
	default:
		return nil
	}
}

func (l *Listener) know(peer media.Sink) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.peer = peer
}

// report returns what the listener has reported last.
func (l *Listener) report() media.SinkStats {
	l.mu.Lock()
	peer := l.peer
	l.mu.Unlock()
	if peer == nil {
		return media.SinkStats{}
	}
	return peer.Stats()
}

// Close gives back what the listener counts, and ends Run. It may be called more than once.
func (l *Listener) Close() {
	l.closed.Do(func() {
		close(l.done)
		b := l.room.bridge
		b.mu.Lock()
		defer b.mu.Unlock()
		defer b.leaveLocked(l.room)
		if l.request.Relay != "" {
			b.endRelayLocked(l.room, l)
			return
		}
		b.listeners--
		l.room.seats--
		b.countLocked(l.room, l.request.Participant, -1)
	})
}

// write sends the packet of a frame.
func (l *Listener) write(batch media.Batch, p *media.Packet, frame uint64) {
	out := [1]media.Outgoing{{Packet: p, Sequence: l.next, Timestamp: l.timestamp(frame)}}
	l.next++
	l.mu.Lock()
	l.ring[out[0].Sequence%resendable] = out[0]
	l.mu.Unlock()
	if batch != nil && l.batches != nil {
		l.batches.WriteTo(batch, out[:])
	} else {
		l.sink.Write(out[:])
	}
}

func (l *Listener) timestamp(frame uint64) uint32 {
	return uint32(frame*audio.FrameSamples) + l.shift
}

// RequestKeyframe does nothing: every packet of sound can be begun with.
func (l *Listener) RequestKeyframe() {}

// Resend calls emit for each of the sequence numbers whose packet is still held.
func (l *Listener) Resend(sequences []uint16, emit func(media.Outgoing)) {
	for _, seq := range sequences {
		l.mu.Lock()
		out := l.ring[seq%resendable]
		l.mu.Unlock()
		if out.Packet != nil && out.Sequence == seq {
			emit(out)
		}
	}
}

// Timestamp returns the timestamp of what is mixed at the instant wall.
func (l *Listener) Timestamp(wall time.Time) (uint32, bool) {
	frame, at, ok := l.room.clock()
	if !ok {
		return 0, false
	}
	return l.timestamp(frame) + uint32(int64(wall.Sub(at))*audio.SampleRate/int64(time.Second)), true
}
