//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// What simple-whip-client publishes (GStreamer, with trickle ICE), GStreamer's webrtcbin and Chromium play.
func TestGStreamerPublishesAndPlays(t *testing.T) {
	s := serve(t)
	whip := start(t, "whip-client", clients.command(inRoot(t.TempDir(), "whip-client", "-u", s.whip("gst"), "-o",
		"-V", "videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=30/1 ! videoconvert"+
			" ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=60 bitrate=1000 ! video/x-h264,profile=constrained-baseline"+
			" ! rtph264pay config-interval=-1 aggregate-mode=zero-latency ! application/x-rtp,media=video,encoding-name=H264,payload=96",
		"-A", "audiotestsrc is-live=true freq=440 ! audioconvert ! audioresample ! audio/x-raw,channels=2,rate=48000"+
			" ! opusenc ! rtpopuspay ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111",
	)...))
	s.awaitTrack("gst/video", 15*time.Second, hasCodec("H264"))
	s.awaitTrack("gst/audio", 5*time.Second, hasCodec("opus"))

	script, err := os.Open("drivers/play.py")
	if err != nil {
		t.Fatal(err)
	}
	defer script.Close()
	const seconds = "6"
	out := output(t, "play.py", clients.command(inRoot(t.TempDir(), "python3", "-", s.whep("gst"), seconds)...), 30*time.Second, withInput(script))
	var played struct {
		Video, Audio, Delete int
		Codecs, States       []string
	}
	if err := json.Unmarshal(out, &played); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	t.Logf("webrtcbin: %+v", played)
	// It takes a second or two until it is connected and its decoders run.
	if played.Video < 3*28 || played.Audio < 3*48 {
		t.Errorf("decoded %d frames and %d buffers of sound in %s s, want %d and %d", played.Video, played.Audio, seconds, 3*28, 3*48)
	}
	if played.Delete != 200 {
		t.Errorf("the player's DELETE is answered %d, want 200", played.Delete)
	}
	s.awaitViewers("gst/video", 0, 5*time.Second)

	// GStreamer 1.28 sends no sender reports; sound and picture are in sync all the same.
	watch(t, s, launch(t, "chromium"), "gst", "H264", 4*time.Second, 24)

	whip.stop(syscall.SIGINT, 10*time.Second)
	s.awaitEnd("gst", time.Second)
}

// datachannel starts a client on OBS's WebRTC engine; result is valid once it has ended.
func datachannel(t *testing.T, result *bytes.Buffer, args ...string) *process {
	t.Helper()
	script, err := filepath.Abs("drivers/datachannel.mjs")
	if err != nil {
		t.Fatal(err)
	}
	argv := append([]string{"node", script, filepath.Join(cache, "node")}, args...)
	return start(t, "datachannel", clients.command(argv...), withOutput(result))
}

// datachannelResult is what drivers/datachannel.mjs prints.
type datachannelResult struct {
	States       []string
	End          string
	Video, Audio int
	Delete       int
}

func parseDatachannel(t *testing.T, out *bytes.Buffer) (r datachannelResult) {
	t.Helper()
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("datachannel.mjs says %q: %v", out, err)
	}
	t.Logf("libdatachannel: %+v", r)
	return r
}

// clips makes the files that drivers/datachannel.mjs publishes.
func clips(t *testing.T) (video, audio string) {
	t.Helper()
	dir := t.TempDir()
	output(t, "ffmpeg", inRoot(dir, "ffmpeg", "-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning",
		"-f", "lavfi", "-i", "testsrc2=rate=30:size=640x360", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
		"-t", "4", "-map", "0", "-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "baseline", "-pix_fmt", "yuv420p",
		"-g", "60", "-bf", "0", "-x264-params", "aud=1", "-f", "h264", "/srv/video",
		"-t", "4", "-map", "1", "-c:a", "libopus", "-ac", "2", "-b:a", "64k", "-vbr", "off", "-f", "data", "/srv/audio"), 30*time.Second)
	return filepath.Join(dir, "video"), filepath.Join(dir, "audio")
}

// The engine of OBS's own WHIP output publishes, and Chromium and the engine itself play.
func TestLibdatachannelPublishesAndPlays(t *testing.T) {
	s := serve(t)
	video, audio := clips(t)
	var published, played bytes.Buffer
	publisher := datachannel(t, &published, "publish", s.whip("obs-engine"), video, audio)
	s.awaitTrack("obs-engine/video", 10*time.Second, hasCodec("H264"))
	player := datachannel(t, &played, "play", s.whep("obs-engine"))
	s.awaitViewers("obs-engine/video", 1, 5*time.Second)
	b := launch(t, "chromium")
	watch(t, s, b, "obs-engine", "H264", 4*time.Second, 24)

	player.stop(syscall.SIGINT, 5*time.Second)
	s.awaitViewers("obs-engine/video", 0, 5*time.Second)
	publisher.stop(syscall.SIGINT, 5*time.Second)
	s.awaitEnd("obs-engine", time.Second)
	for name, r := range map[string]datachannelResult{"publisher": parseDatachannel(t, &published), "player": parseDatachannel(t, &played)} {
		if r.Delete != 200 {
			t.Errorf("the %s's DELETE is answered %d, want 200", name, r.Delete)
		}
		// The player counts packets, of which a frame has one or more.
		if r.Video < 4*28 || r.Audio < 4*48 {
			t.Errorf("the %s has %d of video and %d of audio in more than 4 s", name, r.Video, r.Audio)
		}
	}
}
