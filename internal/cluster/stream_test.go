package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"sightline/internal/fault"
)

// read reads to the end.
func read(t *testing.T, s *Stream) (out []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		data, err := s.Next(ctx)
		if err != nil {
			return out, err
		}
		out = append(out, string(data))
	}
}

func open(t *testing.T, a, b *station, verb, data string) *Stream {
	t.Helper()
	s, err := a.stream(t.Context(), b.id, verb, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestAStreamIsWholeAndInOrder(t *testing.T) {
	a, b := two(t, func(s *station) {
		s.onStream("count", func(_ context.Context, from string, data []byte, send func([]byte) error) error {
			for i := range 500 {
				if err := send(fmt.Appendf(nil, "%s %s %d", from, data, i)); err != nil {
					return err
				}
			}
			return send(nil)
		})
		s.onStream("fail", func(_ context.Context, _ string, _ []byte, send func([]byte) error) error {
			if err := send([]byte("one")); err != nil {
				return err
			}
			return fault.New(fault.Conflict, "two is one too many")
		})
		s.onStream("panic", func(context.Context, string, []byte, func([]byte) error) error { panic("at the disco") })
		s.onStream("much", func(_ context.Context, _ string, _ []byte, send func([]byte) error) error {
			return send(make([]byte, maxData+1))
		})
	})
	got, err := read(t, open(t, a, b, "count", "x"))
	if !errors.Is(err, io.EOF) || len(got) != 501 {
		t.Fatalf("%d messages, %v", len(got), err)
	}
	for i, text := range got[:500] {
		if want := fmt.Sprintf("%s x %d", a.id, i); text != want {
			t.Fatalf("message %d is %q, want %q", i, text, want)
		}
	}
	if got, err := read(t, open(t, a, b, "fail", "")); fault.KindOf(err) != fault.Conflict || len(got) != 1 {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := read(t, open(t, a, b, "panic", "")); err == nil || fault.KindOf(err) != "" {
		t.Errorf("got %v", err)
	}
	if _, err := read(t, open(t, a, b, "much", "")); fault.KindOf(err) != fault.TooLarge {
		t.Errorf("got %v", err)
	}
	if _, err := a.stream(t.Context(), b.id, "unheard-of", nil); fault.KindOf(err) != fault.NotFound {
		t.Errorf("got %v", err)
	}
	if _, err := a.stream(t.Context(), "aaaaaaaa", "count", nil); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
	if got, err := read(t, open(t, b, b, "count", "")); !errors.Is(err, io.EOF) || len(got) != 501 {
		t.Errorf("to itself: %d messages, %v", len(got), err)
	}
	clean(t, a)
	clean(t, b)
}

// clean waits until nothing is left of streams.
func clean(t *testing.T, s *station) {
	t.Helper()
	eventually(t, func() error {
		if got := s.snapshot(); got.Reading > 0 || got.Sending > 0 || got.Unread != 0 {
			return fmt.Errorf("%d read, %d served, %d bytes unread", got.Reading, got.Sending, got.Unread)
		}
		return nil
	})
}

func TestAStreamEndsOnBothSides(t *testing.T) {
	p := newPatient()
	a, b := two(t, func(s *station) { s.onStream("wait", p.stream) })
	for _, tt := range []struct {
		name string
		end  func(*Stream)
	}{
		{"the reader closes", (*Stream).Close},
		{"the reader's node is gone", func(*Stream) { b.gone(a.id); a.gone(b.id) }},
		{"the sender's node ends", func(*Stream) { b.stop() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, a, b, "wait", "")
			p.wait(t, p.began)
			tt.end(s)
			p.wait(t, p.ended)
			if _, err := read(t, s); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("got %v", err)
			}
			clean(t, a)
		})
	}
	clean(t, b)
}

func TestASlowReaderLosesItsStreamAlone(t *testing.T) {
	gave := make(chan error, 1)
	a, b := two(t, func(s *station) {
		s.onStream("flood", func(ctx context.Context, _ string, _ []byte, send func([]byte) error) error {
			for {
				if err := send(make([]byte, 10<<10)); err != nil {
					gave <- err
					return err
				}
			}
		})
	})
	s := open(t, a, b, "flood", "")
	select {
	case <-gave:
	case <-time.After(patience):
		t.Fatal("the sender goes on")
	}
	if _, err := read(t, s); !errors.Is(err, errSlow) {
		t.Errorf("got %v, want %v", err, errSlow)
	}
	clean(t, a)
	if got := a.snapshot().Slow; got != 1 {
		t.Errorf("%d slow readers, want 1", got)
	}
	eventually(t, func() error { return a.reaches(b) }) // behind what is still on its way
}

// The word that a reader has gone, or a sender, may be lost with a connection.
func TestStreamsThatOneSideForgotEnd(t *testing.T) {
	p := newPatient()
	c := configs(t, 2)
	quick := func(s *station) {
		s.pingEvery, s.silence = 50*time.Millisecond, 500*time.Millisecond
		s.onStream("wait", p.stream)
	}
	a, b := start(t, c[0], quick), start(t, c[1], quick)
	together(t, a, b)

	s := open(t, a, b, "wait", "")
	p.wait(t, p.began)
	a.removeReader(s)
	p.wait(t, p.ended)

	s = open(t, a, b, "wait", "")
	p.wait(t, p.began)
	b.natsBus.mu.Lock()
	for _, v := range b.served {
		v.stream.mu.Lock()
		v.stream.subject = subject(b.group, "n", "elsewhere") // it does not reach the reader any more
		v.stream.mu.Unlock()
	}
	b.natsBus.mu.Unlock()
	if _, err := read(t, s); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
	p.wait(t, p.ended)
}

// A message that is lost is not passed over in silence.
func TestAGapEndsAStream(t *testing.T) {
	p := newPatient()
	a, b := two(t, func(s *station) { s.onStream("wait", p.stream) })
	s := open(t, a, b, "wait", "")
	for _, n := range []uint64{1, 1, 3} {
		f := frame{s.number, frameMessage, n, fmt.Append(nil, n)}
		if err := b.conn.Publish(b.toNode(a.id, "d"), f.marshal()); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := read(t, s); !errors.Is(err, errGap) || len(got) > 1 {
		t.Errorf("got %q, %v", got, err)
	}
	p.wait(t, p.ended)
}

// What another node sends into a stream that is not its own does not count.
func TestAStreamIsOfOneNode(t *testing.T) {
	p := newPatient()
	a, b := two(t, func(s *station) { s.onStream("wait", p.stream) })
	s := open(t, a, b, "wait", "")
	f := frame{s.number, frameEnd, 0, nil}
	if err := a.conn.Publish(a.toNode(a.id, "d"), f.marshal()); err != nil {
		t.Fatal(err)
	}
	if err := a.reaches(a); err != nil { // after it
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
