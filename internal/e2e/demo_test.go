//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"sync"
	"testing"
	"time"
)

// A newcomer starts the demo, opens the first link it prints, and sees and hears a camera.
func TestDemoIsSeenInChromium(t *testing.T) {
	var out syncBuffer
	s := &server{t: t, base: "http://127.0.0.1:8080"}
	s.p = start(t, "sightline", []string{os.Getenv(insideEnv), "demo"}, withOutput(&out))
	s.awaitReady()
	var link string
	eventually(t, 10*time.Second, func() error {
		link = regexp.MustCompile(`http://\S+/watch/\S+`).FindString(out.String())
		if link == "" {
			return fmt.Errorf("the demo prints no link:\n%s", out.String())
		}
		return nil
	})
	b := launchAt(t, serverSide, "chromium")
	opened := time.Now()
	b.call(nil, 10*time.Second, "open", link)
	eventually(t, 10*time.Second, func() error {
		if st := b.stats(""); st.Video.FramesDecoded == 0 {
			return fmt.Errorf("%s shows no frame: %+v", link, st)
		}
		return nil
	})
	t.Logf("%s shows its first frame after %v at most", link, time.Since(opened).Round(time.Millisecond))
	before := b.stats("")
	time.Sleep(10 * time.Second)
	after := b.stats("")
	b.picture("demo")
	decoded := after.Video.FramesDecoded - before.Video.FramesDecoded
	t.Logf("decoded %d frames in 10 s", decoded)
	if decoded < 240 {
		t.Errorf("decoded %d frames in 10 s, want 240", decoded)
	}
	wantSound(t, before.Audio, after.Audio, 10*time.Second)
}

// A syncBuffer is a bytes.Buffer that is read while a process writes to it.
type syncBuffer struct {
	mu  sync.Mutex // guards what follows
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
