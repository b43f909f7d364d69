//go:build !race

package rtc

import (
	"bytes"
	"context"
	"os"
	"runtime"
	"sync"
	"testing"

	"sightline/internal/media"
	"sightline/internal/sdp"
)

// halfOpen answers an offer of a browser that nobody means to connect, with candidates besides its own.
func halfOpen(t testing.TB, e *Engine, file string, publish bool, candidates ...string) *Session {
	t.Helper()
	raw, err := os.ReadFile("../sdp/testdata/offers/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range candidates {
		raw = bytes.ReplaceAll(raw, []byte("c=IN IP4 0.0.0.0\r\n"), []byte("c=IN IP4 0.0.0.0\r\na=candidate:"+c+"\r\n"))
	}
	o, err := sdp.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.Answer(AnswerRequest{Offer: o, Publish: publish, Stream: "s", Send: map[media.Kind]media.Codec{media.Video: vp8Codec}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What a half-open session takes bounds what an attacker can take of the gateway, together
// with http.max_setups. (The race detector
// has memory of its own for all of it.)
func TestAHalfOpenSessionCostsLittle(t *testing.T) {
	const (
		n             = 200
		maxBytes      = 128 << 10
		maxGoroutines = 5
	)
	for _, tt := range []struct {
		file    string
		publish bool
	}{
		{"chromium-156-whip-h264.sdp", true},
		{"firefox-153esr-whep-vp8.sdp", false},
	} {
		t.Run(tt.file, func(t *testing.T) {
			e := testEngine(t)
			ctx, cancel := context.WithCancelCause(context.Background())
			var running sync.WaitGroup
			bytes, goroutines := inUse()
			for range n {
				s := halfOpen(t, e, tt.file, tt.publish)
				running.Go(func() { _ = s.Run(ctx) })
			}
			more, moreGoroutines := inUse()
			cancel(Deleted)
			running.Wait()
			perSession, routines := (more-bytes)/n, float64(moreGoroutines-goroutines)/n
			t.Logf("%d KiB with stacks, %.1f goroutines", perSession>>10, routines)
			if perSession > maxBytes || routines > maxGoroutines {
				t.Errorf("a half-open session takes %d bytes and %.1f goroutines, want at most %d and %d", perSession, routines, maxBytes, maxGoroutines)
			}
		})
	}
}

// inUse returns the bytes of heap and stacks that are in use, and the goroutines.
func inUse() (int64, int) {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse), runtime.NumGoroutine()
}
