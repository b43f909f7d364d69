//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// site serves one thing under any path until the test ends, and returns its URL.
func site(t *testing.T, host, contentType, body string, header ...string) string {
	t.Helper()
	listener, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		fmt.Fprint(w, body)
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return "http://" + listener.Addr().String() + "/"
}

// clientState is what web/src/testing/browser.ts tells of a session.
type clientState struct {
	Frames, Restarts int
	States, Kinds    []string
	Reason           string
	Connected        bool
	ReturnAudio      string
}

func (b *browser) clientState(name string) (c clientState) {
	b.t.Helper()
	b.call(&c, 5*time.Second, "clientState", name)
	return c
}

// launchClient starts a Chromium whose page has our own protocol client.
func launchClient(t *testing.T) *browser {
	t.Helper()
	bundle, err := os.ReadFile(os.Getenv(clientEnv))
	if err != nil {
		t.Fatal(err)
	}
	module := site(t, serverIP, "text/javascript", string(bundle), "Access-Control-Allow-Origin", "*")
	b := launch(t, "chromium")
	b.call(nil, 10*time.Second, "load", module)
	return b
}

// moves fails unless a session shows new frames.
func (b *browser) moves(name string, limit time.Duration) {
	b.t.Helper()
	before := b.clientState(name).Frames
	eventually(b.t, limit, func() error {
		if c := b.clientState(name); c.Frames < before+5 {
			return fmt.Errorf("%s shows %d frames, %d before: %+v", name, c.Frames, before, c)
		}
		return nil
	})
}

func TestOwnClientPublishesPlaysAndRestartsICE(t *testing.T) {
	s := serve(t)
	pub, sub := launchClient(t), launchClient(t)
	pub.call(nil, 10*time.Second, "clientPublish", "camera", s.whip("console"))
	s.awaitTrack("console/video", 10*time.Second, hasCodec("H264"))
	sub.call(nil, 10*time.Second, "clientPlay", "viewer", s.whep("console"))
	sub.moves("viewer", 5*time.Second)
	if got, want := pub.clientState("camera").ReturnAudio, s.whep("~mix?for=console"); got != want {
		t.Errorf("the publisher hears the others at %q, want %q", got, want)
	}
	if got, want := sub.clientState("viewer").Kinds, []string{"audio", "video"}; !slices.Equal(got, want) {
		t.Errorf("plays %v, want %v", got, want)
	}

	for name, b := range map[string]*browser{"camera": pub, "viewer": sub} {
		b.call(nil, 5*time.Second, "clientRestart", name)
		eventually(t, 5*time.Second, func() error {
			if c := b.clientState(name); c.Restarts != 1 || !c.Connected {
				return fmt.Errorf("%s after a restart: %+v", name, c)
			}
			return nil
		})
		sub.moves("viewer", 5*time.Second)
	}

	pub.call(nil, 10*time.Second, "clientReplace", "camera")
	s.awaitTrack("console/video", 5*time.Second, func(tr track) error {
		if tr.Width != 320 {
			return fmt.Errorf("the other camera is %d wide, want 320", tr.Width)
		}
		return nil
	})
	sub.moves("viewer", 5*time.Second)

	// A network that is gone for a while leaves the sessions what they are.
	stop := lose(t, clientSide, 100)
	eventually(t, 15*time.Second, func() error {
		if c := sub.clientState("viewer"); c.Connected || c.Restarts < 2 {
			return fmt.Errorf("the viewer has not restarted ICE: %+v", c)
		}
		return nil
	})
	stop()
	eventually(t, 7*time.Second, func() error {
		if c := sub.clientState("viewer"); !c.Connected {
			return fmt.Errorf("the viewer is not connected again: %+v", c)
		}
		return nil
	})
	sub.moves("viewer", 5*time.Second)
	if c := sub.clientState("viewer"); c.Reason != "" {
		t.Errorf("the viewer's session is over: %+v", c)
	}

	sub.call(nil, 5*time.Second, "clientClose", "viewer")
	s.awaitViewers("console/video", 0, time.Second)
	// The publisher's page goes away, and its DELETE outlives it.
	began := time.Now()
	pub.call(nil, 10*time.Second, "open", "")
	s.awaitEnd("console", time.Second)
	t.Logf("the publisher ended %v after its page", time.Since(began).Round(time.Millisecond))
}

func TestOwnClientFollowsARoom(t *testing.T) {
	s := serve(t)
	b := launchClient(t)
	b.call(nil, 5*time.Second, "clientFollow", s.base+"/api/rooms/"+room+"/events")
	var types []string
	see := func(want string) {
		t.Helper()
		eventually(t, 5*time.Second, func() error {
			var events []struct{ Type string }
			b.call(&events, 5*time.Second, "clientTold")
			for _, e := range events {
				types = append(types, e.Type)
			}
			if !slices.Contains(types, want) {
				return fmt.Errorf("told of %v, want %s", types, want)
			}
			return nil
		})
	}
	see("snapshot")
	b.call(nil, 10*time.Second, "clientPublish", "camera", s.whip("console"))
	see("room")
	see("track")
	see("speaking")
	b.call(nil, 5*time.Second, "clientClose", "camera")
	s.awaitEnd("console", time.Second)
}

// A page of another origin, which forbids itself everything that is not the gateway's, has a camera and a picture by one
// script tag.
func TestForeignPageEmbedsBothElements(t *testing.T) {
	const gateway = "http://" + serverIP + ":8080"
	const page = `<!doctype html><title>Ward</title>
<script type="module" src="` + gateway + `/assets/sightline.js"></script>
<sightline-publisher src="/whip/or-1/gantry" label="Gantry" role="hospital" max-bitrate="600000" frame-rate="15" quality="360p"></sightline-publisher>
<sightline-player src="/whep/or-1/gantry/video" controls></sightline-player>
<sightline-publisher id="voice" source="microphone" src="` + gateway + `/whip/or-1/hospital"></sightline-publisher>
<sightline-player id="mix" src="` + gateway + `/whep/or-1/~mix?for=gantry"></sightline-player>`
	foreign := site(t, "127.0.0.1", "text/html; charset=utf-8", page, "Content-Security-Policy",
		"default-src 'none'; script-src "+gateway+"; connect-src "+gateway+"; media-src blob:")
	s := serve(t, "SIGHTLINE_HTTP_ALLOWED_ORIGINS="+foreign[:len(foreign)-1])
	b := launchAt(t, serverSide, "chromium")
	b.call(nil, 10*time.Second, "open", foreign)

	type element struct {
		State, Text, Background string
		States                  []string
		Age, Level              float64
		Width, Height, Still    int
		Stats                   struct {
			Path         string
			Video, Audio *struct {
				Codec   string
				Bitrate float64
				Width   int
			}
		}
	}
	await := func(selector string, limit time.Duration, ok func(element) bool) (e element) {
		t.Helper()
		eventually(t, limit, func() error {
			b.call(&e, 5*time.Second, "element", selector)
			if !ok(e) {
				return fmt.Errorf("%s is %+v", selector, e)
			}
			return nil
		})
		return e
	}
	is := func(state string) func(element) bool { return func(e element) bool { return e.State == state } }

	await("sightline-publisher", 10*time.Second, is("live"))
	shown := await("sightline-player", 10*time.Second, func(e element) bool { return e.State == "live" && e.Stats.Video != nil && e.Stats.Video.Bitrate > 0 })
	if shown.Width != 640 || shown.Height != 360 || shown.Still < 1000 || shown.Stats.Path != "udp" || shown.Stats.Video.Codec != "H264" {
		t.Errorf("the player shows %+v, want 640x360 of H264 by udp, and a still picture of it", shown)
	}
	if shown.Background != "rgb(0, 0, 0)" {
		t.Errorf("the player's background is %s: its styles are not there", shown.Background)
	}
	b.picture("elements")
	var tracks struct {
		Tracks []struct{ ID, Label, Role string }
	}
	s.get("/api/rooms/"+room+"/tracks", &tracks)
	if i := slices.IndexFunc(tracks.Tracks, func(t struct{ ID, Label, Role string }) bool { return t.ID == "gantry/video" }); i < 0 || tracks.Tracks[i].Label != "Gantry" || tracks.Tracks[i].Role != "hospital" {
		t.Errorf("the room API tells %+v, want gantry/video with its label and role", tracks.Tracks)
	}

	// The microphone is heard in the mix, and its level is told at both ends.
	await("#voice", 5*time.Second, func(e element) bool { return e.State == "live" && e.Level > 0 })
	await("#mix", 5*time.Second, func(e element) bool { return e.State == "live" && e.Level > 0 })

	b.call(nil, time.Second, "change", "#voice", map[string]any{"paused": ""})
	await("#voice", time.Second, is("paused"))
	await("#mix", 3*time.Second, func(e element) bool { return e.State == "live" && e.Level == 0 })

	// A camera that goes away is seen as frozen within 2 s, with the age of the picture; then its player says so.
	b.call(nil, time.Second, "change", "sightline-publisher", nil)
	await("sightline-player", 2*time.Second, is("frozen"))
	frozen := await("sightline-player", 5*time.Second, func(e element) bool { return e.Age > 2000 })
	t.Logf("the player says %q", frozen.Text)

	b.call(nil, time.Second, "change", "sightline-player", nil)
	s.awaitViewers("gantry/video", 0, time.Second)
}

// A page is in the room until it goes away, and is seen by others at once.
func TestOwnClientIsAParticipant(t *testing.T) {
	s := serve(t)
	watcher, b := launchClient(t), launchClient(t)
	watcher.call(nil, 5*time.Second, "clientFollow", s.base+"/api/rooms/"+room+"/events")
	type person struct {
		ID, Name, Microphone string
		Hand                 bool
	}
	var last struct {
		Type        string
		Participant person
	}
	await := func(limit time.Duration, kind string, ok func(person) bool) {
		t.Helper()
		eventually(t, limit, func() error {
			var events []struct {
				Type        string
				Participant person
			}
			watcher.call(&events, 5*time.Second, "clientTold")
			for _, e := range events {
				last = e
				if e.Type == kind && ok(e.Participant) {
					return nil
				}
			}
			return fmt.Errorf("the last event is %+v, want %s", last, kind)
		})
	}
	await(5*time.Second, "snapshot", func(person) bool { return true }) // who enters before that is in it, and no event
	b.call(nil, 5*time.Second, "clientEnter", s.base, room, "Dr. Berg")
	await(2*time.Second, "participant", func(p person) bool { return p.Name == "Dr. Berg" && p.Microphone == "off" })
	b.call(nil, 5*time.Second, "clientChange", map[string]any{"hand": true})
	await(2*time.Second, "participant", func(p person) bool { return p.Hand })
	id := last.Participant.ID

	// Heartbeats keep him longer than the gateway waits for one.
	time.Sleep(12 * time.Second)
	var list struct{ Participants []person }
	s.get("/api/rooms/"+room+"/participants", &list)
	if len(list.Participants) != 1 || list.Participants[0].ID != id {
		t.Errorf("the room has %+v, want him of before, %s", list.Participants, id)
	}

	b.call(nil, 10*time.Second, "open", "") // the page goes away
	await(time.Second, "participant-left", func(p person) bool { return p.ID == id })
}

// The pages of the gateway work in both browsers: the list of rooms, and a camera.
func TestPagesShowWhatIsLive(t *testing.T) {
	s := serve(t)
	ffmpeg(t, s.whip("console"), camera{Size: "640x360", Keyframe: 30})
	s.awaitTrack("console/video", 10*time.Second, nil)
	for _, name := range []string{"chromium", "firefox"} {
		t.Run(name, func(t *testing.T) {
			b := launch(t, name)
			b.call(nil, 10*time.Second, "open", s.base+"/")
			eventually(t, 5*time.Second, func() error {
				var text string
				b.call(&text, 5*time.Second, "look", "document.body.textContent") // with what is folded up
				for _, want := range []string{"1 source", room, "console", "H.264", "640×360", "Opus", "Live"} {
					if !strings.Contains(text, want) {
						return fmt.Errorf("the list lacks %q: %q", want, text)
					}
				}
				return nil
			})
			b.picture("rooms-in-" + name)
			b.call(nil, 10*time.Second, "open", s.base+"/watch/"+room+"/console")
			eventually(t, 10*time.Second, func() error {
				if st := b.stats(""); st.Video.FramesDecoded < 10 {
					return fmt.Errorf("the page shows nothing: %+v", st)
				}
				return nil
			})
			b.picture("watch-in-" + name)
		})
	}
}
