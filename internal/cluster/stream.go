package cluster

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"sightline/internal/fault"
)

const (
	// What a reader may leave unread before it loses its stream, and all of them together.
	maxUnread      = 1024    // messages of one
	maxUnreadBytes = 4 << 20 // of one
	maxUnreadTotal = 64 << 20
)

// A Stream is what a StreamHandler of another node sends. One goroutine reads it, and
// whoever opened it closes it.
type Stream struct {
	bus    *natsBus
	to     string
	number uint64
	wake   chan struct{} // of Next; one place

	mu       sync.Mutex // guards what follows; taken with bus.mu held
	queue    [][]byte
	bytes    int
	sequence uint64 // of the last message that came
	heard    time.Time
	err      error // how it ended
}

// stream opens a stream; ctx is for the opening alone.
func (b *natsBus) stream(ctx context.Context, to, verb string, data []byte) (s *Stream, err error) {
	start := time.Now()
	defer func() { b.stats.count(verb, err, time.Since(start)) }()
	s = &Stream{bus: b, to: to, number: b.number.Add(1), wake: make(chan struct{}, 1), heard: time.Now()}
	if err := b.addReader(s); err != nil {
		return nil, err
	}
	if _, err := b.request(ctx, "o", to, verb, s.number, data); err != nil {
		b.removeReader(s)
		return nil, err
	}
	return s, nil
}

func (b *natsBus) addReader(s *Stream) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.ended:
		return errEnding
	case len(b.readers) >= maxStreams:
		b.refused.Add(1)
		return fault.New(fault.Unavailable, "this node reads %d streams of others already", maxStreams).After(retryAfter)
	}
	b.readers[s.number] = s
	return nil
}

func (b *natsBus) removeReader(s *Stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.readers, s.number)
}

// Next returns the next message. It is io.EOF at the end, the fault with which the handler
// has ended, or fault.Unavailable if the node is gone or this reader was too slow.
func (s *Stream) Next(ctx context.Context) ([]byte, error) {
	for {
		if data, ok := s.pop(); ok {
			return data, nil
		}
		if err := s.ended(); err != nil {
			return nil, err
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (s *Stream) pop() (data []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil, false
	}
	data = s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	s.releaseLocked(len(data))
	return data, true
}

func (s *Stream) ended() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *Stream) releaseLocked(size int) {
	s.bytes -= size
	s.bus.pending.Add(-int64(size))
}

// Close ends the handler on the far side. It may be called more than once, and while
// another goroutine is in Next, which then returns.
func (s *Stream) Close() {
	s.bus.removeReader(s)
	if s.fail(errClosed) {
		s.cancel()
	}
}

var errClosed = errors.New("the stream is closed")

// cancel tells the far side that nobody reads.
func (s *Stream) cancel() {
	_ = s.bus.post(s.bus.toNode(s.to, "x"), marshalNumber(s.number)) // lost, its next message is answered so
}

// fail ends the stream and forgets what was not read. It reports whether it had not ended.
func (s *Stream) fail(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failLocked(err)
}

func (s *Stream) failLocked(err error) bool {
	s.releaseLocked(s.bytes)
	s.queue = nil
	return s.endLocked(err)
}

// endLocked ends the stream once what has come is read.
func (s *Stream) endLocked(err error) bool {
	first := s.err == nil
	if first {
		s.err = err
	}
	poke(s.wake)
	return first
}

var (
	errSlow = fault.New(fault.Unavailable, "the reader of a stream between nodes was too slow").After(retryAfter)
	errGap  = fault.New(fault.Unavailable, "messages of a stream between nodes were lost").After(retryAfter)
)

// take gives a frame to its reader. Of a stream that nobody reads, the sender is told so.
func (b *natsBus) take(from string, f frame) {
	b.mu.Lock()
	s := b.readers[f.number]
	b.mu.Unlock()
	if s == nil || s.to != from {
		if f.kind == frameMessage || f.kind == framePing {
			_ = b.post(b.toNode(from, "x"), marshalNumber(f.number)) // lost, the next is answered so
		}
		return
	}
	if over, cancel := s.push(f); over {
		b.removeReader(s)
		if cancel {
			s.cancel()
		}
	}
}

// push takes a frame. It reports whether the stream is over, and whether the far side does
// not know yet.
func (s *Stream) push(f frame) (over, cancel bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = time.Now()
	expected := s.sequence
	if f.kind == frameMessage {
		expected++
	}
	switch {
	case f.sequence > expected:
		return true, s.failLocked(errGap)
	case f.kind == frameEnd:
		s.endLocked(io.EOF)
		return true, false
	case f.kind == frameFault:
		s.endLocked(parseFault(f.data))
		return true, false
	case f.kind == framePing || f.sequence < expected || s.err != nil:
		return false, false
	}
	s.sequence = f.sequence
	size := len(f.data)
	s.bytes += size
	total := s.bus.pending.Add(int64(size))
	s.queue = append(s.queue, f.data)
	if len(s.queue) > maxUnread || s.bytes > maxUnreadBytes || total > maxUnreadTotal {
		s.bus.slow.Add(1)
		return true, s.failLocked(errSlow)
	}
	poke(s.wake)
	return false, false
}

// A sender is a stream that this node serves.
type sender struct {
	bus     *natsBus
	subject string
	number  uint64

	mu       sync.Mutex // guards what follows, and keeps the order of messages
	sequence uint64
}

// serveStream begins the handler of a stream; the answer says that it has begun.
func (b *natsBus) serveStream(ctx context.Context, f streamFunc, from, verb, reply string, r request) {
	key := served{from, r.number}
	s := &sender{bus: b, subject: b.toNode(from, "d"), number: r.number}
	ctx, err := b.begin(ctx, key, s)
	if err != nil {
		b.refuse(reply, err)
		return
	}
	b.handlers.Go(func() {
		defer b.done(key)
		if b.conn.Publish(reply, marshalAnswer(nil, nil)) != nil {
			return // the reader gives up
		}
		err := b.guard(verb, func() error {
			return f(ctx, from, r.data, func(data []byte) error { return s.send(ctx, data) })
		})
		s.end(err)
	})
}

// send sends a message. It fails once the reader has gone.
func (s *sender) send(ctx context.Context, data []byte) error {
	if err := checkSize("a message of a stream", data); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sequence++
	return s.publishLocked(frameMessage, data)
}

// end tells the reader how the stream has ended.
func (s *sender) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		_ = s.publishLocked(frameEnd, nil) // lost, the reader hears nothing any more, and gives up
	} else {
		_ = s.publishLocked(frameFault, marshalFault(err))
	}
}

// publishLocked gives a frame to the connection, which holds it in memory while it can be
// written: for the time of a write at most, FlusherTimeout.
func (s *sender) publishLocked(kind frameKind, data []byte) error {
	f := frame{s.number, kind, s.sequence, data}
	if err := s.bus.conn.Publish(s.subject, f.marshal()); err != nil {
		return fault.New(fault.Unavailable, "the reader of a stream can't be reached: %w", err)
	}
	return nil
}

// keepStreams tells readers that handlers are there, and gives up on handlers that are not
// heard: a cancellation or an end may be lost when a connection is, and then neither side
// would ever know.
func (b *natsBus) keepStreams(ctx context.Context) {
	ticker := time.NewTicker(b.pingEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			b.lookAtStreams(now)
		}
	}
}

func (b *natsBus) lookAtStreams(now time.Time) {
	b.mu.Lock()
	var senders []*sender
	for _, s := range b.served {
		if s.stream != nil {
			senders = append(senders, s.stream)
		}
	}
	var silent []*Stream
	for number, s := range b.readers {
		if s.silentSince(now.Add(-b.silence)) {
			delete(b.readers, number)
			silent = append(silent, s)
		}
	}
	b.mu.Unlock()
	for _, s := range senders {
		s.ping()
	}
	for _, s := range silent {
		if s.fail(goneFault(s.to)) {
			s.cancel()
		}
	}
}

func (s *Stream) silentSince(t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard.Before(t)
}

// ping goes by the queue of those who must not wait. It may be late, so that newer messages
// stand before it: a reader minds only one that is ahead of it.
func (s *sender) ping() {
	if !s.mu.TryLock() {
		return // it is sending
	}
	defer s.mu.Unlock()
	_ = s.bus.post(s.subject, frame{s.number, framePing, s.sequence, nil}.marshal()) // the next one does
}
