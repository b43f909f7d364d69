//go:build e2e

package e2e

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A camera is what ffmpeg publishes: a test picture at 30 frames/s in H.264 and a tone in Opus.
type camera struct {
	Size     string // "1280x720"
	Keyframe int    // frames from one keyframe to the next
	// Run is written into each picture, above the 16 bits of the frame's number: see mark.
	Run     int
	Seconds int  // 0: until it is stopped
	Tone    int  // Hz; 0: 440
	Silent  bool // no sound at all
	Token   string
}

// ffmpeg publishes a camera by ffmpeg's WHIP muxer from the clients' host.
func ffmpeg(t *testing.T, url string, c camera) *process {
	t.Helper()
	return start(t, "ffmpeg", clients.command(inRoot(t.TempDir(), c.ffmpeg(url)...)...))
}

// ffmpeg is ffmpeg's command line that publishes the camera.
func (c camera) ffmpeg(url string) []string {
	args := []string{
		"ffmpeg", "-hide_banner", "-nostdin", "-nostats", "-loglevel", "info",
		"-re", "-f", "lavfi", "-i", "testsrc2=rate=30:size=" + c.Size,
	}
	if !c.Silent {
		args = append(args, "-re", "-f", "lavfi", "-i", fmt.Sprintf("sine=frequency=%d:sample_rate=48000", cmp.Or(c.Tone, 440)))
	}
	args = append(args,
		"-vf", mark(c.Run),
		// The muxer takes H.264 without B frames and stereo Opus, and nothing else.
		"-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline", "-pix_fmt", "yuv420p",
		"-bf", "0", "-g", strconv.Itoa(c.Keyframe), "-b:v", "2M",
		"-c:a", "libopus", "-ac", "2", "-b:a", "64k",
	)
	if c.Seconds > 0 {
		args = append(args, "-t", strconv.Itoa(c.Seconds))
	}
	if c.Token != "" {
		args = append(args, "-authorization", c.Token)
	}
	return append(args, "-f", "whip", url)
}

// microphone publishes nothing but sound by ffmpeg's WHIP muxer from the clients' host: what a source of libavfilter gives.
func microphone(t *testing.T, url, source string) *process {
	t.Helper()
	return start(t, "ffmpeg", clients.command(inRoot(t.TempDir(), "ffmpeg", "-hide_banner", "-nostdin", "-nostats", "-loglevel", "info",
		"-re", "-f", "lavfi", "-i", source, "-c:a", "libopus", "-ac", "2", "-b:a", "64k", "-f", "whip", url)...))
}

// mark is a filter that writes a number into the top left corner of each picture, as squares of a 32nd of its width: a
// white and a black one, 8 bits of run, 16 bits of the frame's number; white is one, the highest bit comes first.
func mark(run int) string {
	square := func(i, n int, color, when string) string {
		return fmt.Sprintf("drawbox=x=iw*%d/32:y=0:w=iw*%d/32:h=iw/32:color=%s:t=fill:enable='%s'", i, n, color, when)
	}
	boxes := []string{square(0, 1, "white", "1"), square(1, 25, "black", "1")}
	for bit := range 8 {
		if run>>bit&1 == 1 {
			boxes = append(boxes, square(9-bit, 1, "white", "1"))
		}
	}
	for bit := range 16 {
		boxes = append(boxes, square(25-bit, 1, "white", fmt.Sprintf("mod(floor(n/%d),2)", 1<<bit)))
	}
	return strings.Join(boxes, ",")
}

// wantEndOfFFmpeg ends ffmpeg as a person does, and checks that the server has understood its DELETE.
func wantEndOfFFmpeg(t *testing.T, s *server, p *process, publisher string) {
	t.Helper()
	p.stop(syscall.SIGINT, 5*time.Second)
	s.awaitEnd(publisher, time.Second)
}
