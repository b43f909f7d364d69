package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sightline/internal/fault"
)

// two are nodes that reach each other.
func two(t *testing.T, prepare ...func(*station)) (a, b *station) {
	t.Helper()
	c := configs(t, 2)
	a, b = start(t, c[0]), start(t, c[1], prepare...)
	together(t, a, b)
	return a, b
}

func TestFaultsGoOverTheWire(t *testing.T) {
	sent := map[string]error{
		"whole":    fault.New(fault.Conflict, "publisher %q is live", "console").After(3*time.Second).With("limit", "rooms.max_publishers"),
		"wrapped":  fmt.Errorf("take: %w", fault.New(fault.NotFound, "there is no room")),
		"internal": errors.New("disk full"),
		"long":     fault.New(fault.BadRequest, "%s", strings.Repeat("<", 1<<20)),
	}
	a, b := two(t, func(s *station) {
		s.onCall("fail", func(_ context.Context, _ string, data []byte) ([]byte, error) { return nil, sent[string(data)] })
		s.onCall("panic", func(context.Context, string, []byte) ([]byte, error) { panic("at the disco") })
		s.onCall("much", func(context.Context, string, []byte) ([]byte, error) { return make([]byte, maxData+1), nil })
	})
	call := func(verb, data string) error {
		_, err := a.call(t.Context(), b.id, verb, []byte(data))
		return err
	}
	var f *fault.Error
	if err := call("fail", "whole"); !errors.As(err, &f) || f.Kind != fault.Conflict || f.Detail != `publisher "console" is live` ||
		f.RetryAfter != 3*time.Second || f.Fields["limit"] != "rooms.max_publishers" {
		t.Errorf("got %#v", err)
	}
	if err := call("fail", "wrapped"); fault.KindOf(err) != fault.NotFound || err.Error() != "there is no room" {
		t.Errorf("got %v", err)
	}
	if err := call("fail", "internal"); err == nil || fault.KindOf(err) != "" || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("got %v", err)
	}
	if err := call("fail", "long"); fault.KindOf(err) != fault.BadRequest || len(err.Error()) > maxFault {
		t.Errorf("got a %s of %d bytes", fault.KindOf(err), len(err.Error()))
	}
	if err := call("panic", ""); err == nil || fault.KindOf(err) != "" || !strings.Contains(err.Error(), "at the disco") {
		t.Errorf("got %v", err)
	}
	if err := call("much", ""); fault.KindOf(err) != fault.TooLarge {
		t.Errorf("got %v", err)
	}
	if err := call("unheard-of", ""); fault.KindOf(err) != fault.NotFound || !strings.Contains(err.Error(), "unheard-of") {
		t.Errorf("got %v", err)
	}
	if _, err := a.call(t.Context(), "aaaaaaaa", "echo", nil); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
	if _, err := a.call(t.Context(), "*", "echo", nil); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
	if err := a.reaches(a); err != nil {
		t.Errorf("to itself: %v", err)
	}
	s := a.snapshot()
	if got := s.Calls["fail"]; got.Count != 4 || got.Errors["conflict"] != 1 || got.Errors[internal] != 1 {
		t.Errorf("counted %+v", got)
	}
	if s.BytesIn == 0 || s.BytesOut == 0 || !s.Connected {
		t.Errorf("got %+v", s)
	}
}

func TestDataUpTo512KiB(t *testing.T) {
	a, b := two(t)
	most := bytes.Repeat([]byte("x"), maxData-100) // what echo adds
	if got, err := a.call(t.Context(), b.id, "echo", most); err != nil || !bytes.HasSuffix(got, most) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	more := make([]byte, maxData+1)
	if _, err := a.call(t.Context(), b.id, "echo", more); fault.KindOf(err) != fault.TooLarge {
		t.Errorf("got %v", err)
	}
	if err := a.tell("news", more); fault.KindOf(err) != fault.TooLarge {
		t.Errorf("got %v", err)
	}
}

// A patient is a handler that waits for its context, and says when it has ended.
type patient struct {
	began, ended chan struct{}
}

func newPatient() *patient {
	return &patient{make(chan struct{}, maxStreams), make(chan struct{}, maxStreams)}
}

func (p *patient) call(ctx context.Context, _ string, _ []byte) ([]byte, error) {
	p.began <- struct{}{}
	<-ctx.Done()
	p.ended <- struct{}{}
	return nil, context.Cause(ctx)
}

func (p *patient) stream(ctx context.Context, _ string, _ []byte, _ func([]byte) error) error {
	_, err := p.call(ctx, "", nil)
	return err
}

// soon is long for a busy machine, and below the 10 s after which a call ends by itself.
const soon = 5 * time.Second

func (p *patient) wait(t *testing.T, what <-chan struct{}) {
	t.Helper()
	select {
	case <-what:
	case <-time.After(soon):
		t.Fatalf("nothing within %s", soon)
	}
}

func TestACallEndsWithItsDeadlineItsCallerOrItsNode(t *testing.T) {
	p := newPatient()
	a, b := two(t, func(s *station) { s.onCall("wait", p.call) })

	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := a.call(ctx, b.id, "wait", nil); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("deadline: got %v", err)
	}
	p.wait(t, p.ended)

	<-p.began
	ctx, stop := context.WithCancelCause(t.Context())
	mine := errors.New("the client has hung up")
	go func() { <-p.began; stop(mine) }()
	if _, err := a.call(ctx, b.id, "wait", nil); !errors.Is(err, mine) {
		t.Errorf("caller: got %v", err)
	}
	p.wait(t, p.ended)

	go func() { <-p.began; a.gone(b.id) }()
	if _, err := a.call(t.Context(), b.id, "wait", nil); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("the caller's lease of the node: got %v", err)
	}
	p.wait(t, p.ended)

	go func() { <-p.began; b.gone(a.id) }()
	if _, err := a.call(t.Context(), b.id, "wait", nil); err == nil {
		t.Errorf("the node's lease of the caller: got no error")
	}
	p.wait(t, p.ended)

	go func() { <-p.began; b.stop() }()
	if _, err := a.call(t.Context(), b.id, "wait", nil); err == nil {
		t.Errorf("the node ends: got no error")
	}
	p.wait(t, p.ended)
}

// Callers beyond the handlers' places are told at once.
func TestABusyNodeRefuses(t *testing.T) {
	p := newPatient()
	a, b := two(t, func(s *station) { s.onCall("wait", p.call) })
	ctx, cancel := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel()
	for range maxCalls {
		calls.Go(func() { _, _ = a.call(ctx, b.id, "wait", nil) })
	}
	for range maxCalls {
		p.wait(t, p.began)
	}
	err := a.reaches(b) // which waits for a second
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != fault.Unavailable || f.RetryAfter == 0 || !strings.Contains(f.Detail, "busy") {
		t.Errorf("got %v", err)
	}
	if s := b.snapshot(); s.Handlers != maxCalls || s.Refused != 1 {
		t.Errorf("got %d handlers, %d refused", s.Handlers, s.Refused)
	}
	cancel()
	calls.Wait()
	eventually(t, func() error { return a.reaches(b) })
}

func TestManyCallsAtOnce(t *testing.T) {
	c := configs(t, 3)
	all := []*station{start(t, c[0]), start(t, c[1]), start(t, c[2])}
	together(t, all...)
	var calls sync.WaitGroup
	var failed atomic.Int64
	for _, a := range all {
		for _, b := range all {
			for i := range 20 {
				calls.Go(func() {
					for j := range 10 {
						text := fmt.Sprintf("%d/%d", i, j)
						got, err := a.call(t.Context(), b.id, "echo", []byte(text))
						if want := a.id + " to " + b.id + ": " + text; err != nil || string(got) != want {
							failed.Add(1)
						}
					}
				})
			}
		}
	}
	calls.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d calls failed", n)
	}
}

// A node that can't keep up says so, but not with each message, which would make it slower still.
func TestASlowNodeSaysSoNowAndThen(t *testing.T) {
	var said bytes.Buffer
	var heard atomic.Int64
	a, b := two(t, func(s *station) {
		s.log = slog.New(slog.NewTextHandler(&said, nil))
		s.onTell("flood", func(string, []byte) { heard.Add(1); time.Sleep(time.Millisecond) })
	})
	if err := b.all.SetPendingLimits(10, 1<<20); err != nil {
		t.Fatal(err)
	}
	const sent = 2000
	for i := range sent {
		if err := a.tell("flood", nil); err != nil {
			t.Fatal(err)
		}
		if i%20 == 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	eventually(t, func() error { // it goes on
		if len(b.news(a)) == 0 {
			return errors.Join(errors.New("it hears nothing"), a.tell("news", nil))
		}
		return nil
	})
	if n := heard.Load(); n == sent {
		t.Error("nothing was lost")
	}
	b.stop()
	if n := bytes.Count(said.Bytes(), []byte("lost")); n > 1 {
		t.Errorf("said %d times", n)
	}
}

// What strangers on an external NATS may send is dropped, and the node goes on.
func TestGarbageIsDropped(t *testing.T) {
	a, b := two(t, func(s *station) {
		s.onStream("stream", func(context.Context, string, []byte, func([]byte) error) error { return nil })
	})
	for _, data := range [][]byte{nil, {1}, make([]byte, 11), make([]byte, 12), make([]byte, 17), bytes.Repeat([]byte{255}, 30), make([]byte, maxPayload)} {
		for _, rest := range []string{"c." + a.id + ".echo", "c.x.echo", "c", "o." + a.id + ".stream", "o." + a.id, "x." + a.id, "d." + a.id, "?." + a.id, "d.x"} {
			if err := a.conn.PublishRequest(subject(b.group, "n", b.id, rest), subject(b.group, "i", "nobody"), data); err != nil {
				t.Fatal(err)
			}
		}
		for _, rest := range []string{"x.news", a.id + ".none", "x", a.id} {
			if err := a.conn.Publish(subject(b.group, "t", rest), data); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, func() error { return a.reaches(b) }) // behind 13 MB of garbage
}

func BenchmarkCall(b *testing.B) {
	for _, size := range []int{100, 4 << 10, 256 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			c := configs(b, 2)
			one, other := start(b, c[0]), start(b, c[1])
			together(b, one, other)
			data := make([]byte, size)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := one.call(b.Context(), other.id, "echo", data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
