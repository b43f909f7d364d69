//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A browser is a real browser with one page.
type browser struct {
	t     *testing.T
	p     *process
	stdin io.WriteCloser

	mu      sync.Mutex // guards what follows
	last    int
	waiting map[int]chan<- reply
}

type reply struct {
	ID    int
	Value json.RawMessage
	Error string
}

// launch starts "chromium" or "firefox" on the clients' host. It ends with the test.
func launch(t *testing.T, name string) *browser { return launchAt(t, clientSide, name) }

// launchAt is launch in any place. The flags are more ones of Chromium's.
func launchAt(t *testing.T, at place, name string, flags ...string) *browser {
	t.Helper()
	return drive(t, at, "drivers/browser.mjs", name, flags...)
}

// drive starts a browser by one of the drivers.
func drive(t *testing.T, at place, driver, name string, flags ...string) *browser {
	t.Helper()
	// Sockets lie in the profile, and their paths must be short.
	profile, err := os.MkdirTemp("", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(profile) })
	script, err := filepath.Abs(driver)
	if err != nil {
		t.Fatal(err)
	}
	argv := at.command(append([]string{"node", script, name, profile, filepath.Join(cache, "node")}, flags...)...)
	stdinRead, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdoutRead, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, stdin: stdin, waiting: map[int]chan<- reply{}}
	b.p = start(t, name, argv, withInput(stdinRead), withOutput(stdout), withEnv("HOME="+profile, "TMPDIR="+profile))
	stdinRead.Close()
	stdout.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		b.read(stdoutRead)
	}()
	t.Cleanup(func() {
		stdin.Close()
		select {
		case <-b.p.done:
		case <-time.After(5 * time.Second):
			b.p.stop(syscall.SIGKILL, time.Second)
		}
		<-read
		stdoutRead.Close()
	})
	b.call(nil, 30*time.Second, "text") // the browser is there
	return b
}

func (b *browser) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var rep reply
		if err := json.Unmarshal(lines.Bytes(), &rep); err != nil {
			fmt.Fprintf(b.p.log, "%s\n", lines.Bytes())
			continue
		}
		b.mu.Lock()
		c := b.waiting[rep.ID]
		delete(b.waiting, rep.ID)
		b.mu.Unlock()
		if c != nil {
			c <- rep
		}
	}
}

// call runs a function of drivers/client.js in the page and fails the test if it fails.
func (b *browser) call(result any, limit time.Duration, name string, args ...any) {
	b.t.Helper()
	if err := b.try(result, limit, name, args...); err != nil {
		b.t.Fatal(err)
	}
}

// try is call for what may fail.
func (b *browser) try(result any, limit time.Duration, name string, args ...any) error {
	return b.ask(result, limit, "", name, args...)
}

// ask is try in the page of one of several people.
func (b *browser) ask(result any, limit time.Duration, who, name string, args ...any) error {
	if args == nil {
		args = []any{}
	}
	c := make(chan reply, 1)
	b.mu.Lock()
	b.last++
	id := b.last
	b.waiting[id] = c
	b.mu.Unlock()
	line, err := json.Marshal(map[string]any{"id": id, "who": who, "call": name, "args": args})
	if err != nil {
		return err
	}
	if _, err := b.stdin.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("%s: %w", b.p.name, err)
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), limit)
	defer cancel()
	select {
	case rep := <-c:
		if rep.Error != "" {
			return fmt.Errorf("%s: %s: %s", b.p.name, name, rep.Error)
		}
		if result != nil {
			return json.Unmarshal(rep.Value, result)
		}
		return nil
	case <-b.p.done:
		return fmt.Errorf("%s ended during %s", b.p.name, name)
	case <-ctx.Done():
		return fmt.Errorf("%s: no answer to %s in %v", b.p.name, name, limit)
	}
}

// rtpStats is what a browser says of a stream; the names are those of the W3C's webrtc-stats.
type rtpStats struct {
	Codec                                          string
	SSRC                                           uint32
	PacketsReceived, PacketsLost, NackCount        int
	RetransmittedPacketsReceived                   int
	FramesDecoded, FramesEncoded, KeyFramesDecoded int
	FreezeCount, FramesDropped                     int
	TotalFreezesDuration, TotalAudioEnergy         float64
	EstimatedPlayoutTimestamp                      float64 // milliseconds on the sender's clock
	TotalSamplesReceived, ConcealedSamples         float64
	FrameWidth, FrameHeight, PliCount              int
}

// transportStats is what a browser says of the transport that a session's streams share.
type transportStats struct {
	DTLSState, DTLSCipher string
	SRTPCipher            string // a name of IANA's DTLS-SRTP protection profiles, without "SRTP_"
}

type sessionStats struct {
	State        string
	Audio, Video rtpStats
	Transport    transportStats
}

func (b *browser) stats(session string) (s sessionStats) {
	b.t.Helper()
	b.call(&s, 5*time.Second, "stats", session)
	return s
}

// play starts a WHEP session in the page. kinds is "audio", "video" or "audio video". codec may be empty.
func (b *browser) play(session, url, kinds, codec string) {
	b.t.Helper()
	b.call(nil, 10*time.Second, "play", session, url, strings.Fields(kinds), codec)
}

// publish starts a WHIP session in the page.
func (b *browser) publish(session, url, codec string) {
	b.t.Helper()
	b.call(nil, 15*time.Second, "publish", session, url, codec)
}

// stop ends a session with its DELETE.
func (b *browser) stop(session string) {
	b.t.Helper()
	var status int
	b.call(&status, 5*time.Second, "stop", session)
	if status != 200 {
		b.t.Errorf("DELETE of session %s is answered %d, want 200", session, status)
	}
}

// firstFrame returns how long after the beginning of play the first frame was shown.
func (b *browser) firstFrame(session string, limit time.Duration) time.Duration {
	b.t.Helper()
	var ms float64
	b.call(&ms, limit+5*time.Second, "firstFrame", session, limit.Milliseconds())
	return time.Duration(ms * float64(time.Millisecond))
}

// A frame is a frame that a player has shown.
type frame struct {
	At   float64 // milliseconds since 1970
	Mark int     // what the camera wrote into it, -1 if nothing
}

// frames returns what a player has shown since the last call.
func (b *browser) frames(session string) (f []frame) {
	b.t.Helper()
	b.call(&f, 5*time.Second, "frames", session)
	return f
}

// picture saves a screenshot if somebody wants it.
func (b *browser) picture(name string) {
	b.t.Helper()
	if dir := os.Getenv("SIGHTLINE_E2E_PICTURES"); dir != "" {
		b.call(nil, 10*time.Second, "screenshot", filepath.Join(dir, name+".png"))
	}
}

// longestGap returns the longest time without a new frame.
func longestGap(frames []frame) time.Duration {
	var gap float64
	for i := 1; i < len(frames); i++ {
		gap = max(gap, frames[i].At-frames[i-1].At)
	}
	return time.Duration(gap * float64(time.Millisecond))
}
