//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A publisher who has only one kind is played by those who offer both: a silent camera and a microphone, in whatever
// order they are asked for, whoever asks.
func TestPairOfOneKindIsPlayed(t *testing.T) {
	s := serve(t)
	ffmpeg(t, s.whip("video"), camera{Size: "640x360", Keyframe: 30, Silent: true}) // named for what they have
	microphone(t, s.whip("audio"), "sine=frequency=440:sample_rate=48000")
	publishers := []string{"video", "audio"}
	for _, kind := range publishers {
		s.awaitTrack(kind+"/"+kind, 15*time.Second, nil)
	}
	for _, name := range []string{"chromium", "firefox"} {
		b := launch(t, name)
		for _, kind := range publishers {
			for _, order := range []string{"audio video", "video audio"} {
				for _, policy := range []string{"max-bundle", "balanced"} {
					t.Run(fmt.Sprintf("%s offers %s, %s, and gets %s", name, order, policy, kind), func(t *testing.T) {
						b.t = t
						b.call(nil, 10*time.Second, "play", "viewer", s.whep(kind), strings.Fields(order), "", policy)
						b.plays("viewer", kind)
						b.call(nil, 10*time.Second, "restart", "viewer", "")
						b.plays("viewer", kind)
						b.stop("viewer")
						s.awaitViewers(kind+"/"+kind, 0, 5*time.Second)
					})
				}
			}
			t.Run(name+"'s player gets "+kind, func(t *testing.T) {
				b.t = t
				p := newPage(t, b, s.base)
				p.put(fmt.Sprintf(`<sightline-player src="%s" muted></sightline-player>`, s.whep(kind)))
				eventually(t, 10*time.Second, func() error {
					var e struct {
						State string
						Width int
						Stats struct{ Audio, Video *struct{ Bitrate float64 } }
					}
					b.call(&e, 5*time.Second, "element", "sightline-player")
					picture := e.Stats.Video != nil && e.Stats.Video.Bitrate > 0 && e.Width == 640
					sound := e.Stats.Audio != nil && e.Stats.Audio.Bitrate > 0
					if e.State != "live" || picture != (kind == "video") || sound != (kind == "audio") {
						return fmt.Errorf("the player of %s alone is %+v", kind, e)
					}
					return nil
				})
				b.picture("one-kind-" + kind + "-in-" + name)
				b.call(nil, time.Second, "change", "sightline-player", nil)
				s.awaitViewers(kind+"/"+kind, 0, 5*time.Second)
				b.call(nil, 10*time.Second, "open", "")
			})
		}
	}
	// It offers video first.
	t.Run("GStreamer gets audio", func(t *testing.T) {
		script, err := os.Open("drivers/play.py")
		if err != nil {
			t.Fatal(err)
		}
		defer script.Close()
		out := output(t, "play.py", clients.command(inRoot(t.TempDir(), "python3", "-", s.whep("audio"), "4")...), 30*time.Second, withInput(script))
		var played struct{ Video, Audio, Delete int }
		if err := json.Unmarshal(out, &played); err != nil {
			t.Fatalf("%v in %q", err, out)
		}
		if played.Audio < 48 || played.Video != 0 || played.Delete != 200 {
			t.Errorf("webrtcbin: %s", out)
		}
	})
	// It offers audio first.
	t.Run("libdatachannel gets video", func(t *testing.T) {
		var out bytes.Buffer
		player := datachannel(t, &out, "play", s.whep("video"))
		s.awaitViewers("video/video", 1, 5*time.Second)
		time.Sleep(2 * time.Second)
		player.stop(syscall.SIGINT, 5*time.Second)
		if r := parseDatachannel(t, &out); r.Video < 28 || r.Audio != 0 || r.Delete != 200 {
			t.Errorf("libdatachannel: %+v", r)
		}
	})
}

// plays fails unless a session gets more of one kind, and nothing of the other.
func (b *browser) plays(session, kind string) {
	b.t.Helper()
	var before *sessionStats
	eventually(b.t, 10*time.Second, func() error {
		st := b.stats(session)
		if before == nil {
			before = &st
		}
		frames, packets := st.Video.FramesDecoded-before.Video.FramesDecoded, st.Audio.PacketsReceived-before.Audio.PacketsReceived
		if kind == "video" && frames < 10 || kind == "audio" && (packets < 20 || st.Audio.TotalAudioEnergy <= before.Audio.TotalAudioEnergy) {
			return fmt.Errorf("got %d frames and %d packets of sound more, state %s", frames, packets, st.State)
		}
		if other := map[string]rtpStats{"video": st.Audio, "audio": st.Video}[kind]; other.PacketsReceived != 0 {
			b.t.Fatalf("got %d packets that are not of %s", other.PacketsReceived, kind)
		}
		return nil
	})
}
