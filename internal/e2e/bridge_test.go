//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The voices of these tests, in Hz: no sum or difference of two is near a third.
const (
	consoleTone  = 400
	deskTone     = 1100
	injectorTone = 730
)

// mix is the URL of what a publisher hears; "" is nobody in particular.
func (s *server) mix(publisher string) string {
	if publisher == "" {
		return s.whep("~mix")
	}
	return s.whep("~mix?for=" + publisher)
}

// A person is a publisher as the room API shows it.
type person struct {
	Name, ReturnAudio string
	Muted, Speaking   bool
}

func (s *server) publisher(name string) (person, bool) {
	s.t.Helper()
	var all struct{ Publishers []person }
	s.get("/api/rooms/"+room, &all)
	for _, p := range all.Publishers {
		if p.Name == name {
			return p, true
		}
	}
	return person{}, false
}

// mute returns when the server's answer was there.
func (s *server) mute(publisher string, muted bool) time.Time {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPatch, s.base+"/api/rooms/"+room+"/publishers/"+publisher,
		strings.NewReader(fmt.Sprintf(`{"muted":%t}`, muted)))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	answered := time.Now()
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		s.t.Fatalf("PATCH of publisher %s is answered %s", publisher, res.Status)
	}
	return answered
}

// returnAudio is what a WHIP 201 says of where its publisher hears the room.
func returnAudio(h http.Header) string {
	for _, link := range h.Values("Link") {
		if m := regexp.MustCompile(`^<([^>]*)>; rel="urn:sightline:return-audio"$`).FindStringSubmatch(link); m != nil {
			return m[1]
		}
	}
	return ""
}

// A proxy stands before a server and notes the 201s that it gives.
type proxy struct {
	base string

	mu      sync.Mutex // guards what follows
	answers []http.Header
}

func newProxy(t *testing.T, s *server) *proxy {
	t.Helper()
	target, err := url.Parse(s.base)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{}
	forward := httputil.NewSingleHostReverseProxy(target)
	forward.ModifyResponse = func(res *http.Response) error {
		if res.StatusCode == http.StatusCreated {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.answers = append(p.answers, res.Header.Clone())
		}
		return nil
	}
	h := httptest.NewUnstartedServer(forward)
	h.Listener.Close()
	if h.Listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", serverIP+":0"); err != nil {
		t.Fatal(err)
	}
	h.Start()
	t.Cleanup(h.Close)
	p.base = h.URL
	return p
}

// returnAudio is what the newest of its 201s says.
func (p *proxy) returnAudio() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.answers) == 0 {
		return ""
	}
	return returnAudio(p.answers[len(p.answers)-1])
}

// companion plays a mix by docs/return-audio.py, as docs/BRIDGE.md says, but into a file. The function returned reads what
// it has heard in the last seconds.
func companion(t *testing.T, url string) (p *process, hear func(seconds float64) []float32) {
	t.Helper()
	const script = "return-audio.py"
	share := t.TempDir()
	content, err := os.ReadFile(filepath.Join("../../docs", script))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(share, script), content, 0o644); err != nil {
		t.Fatal(err)
	}
	sink := "audioconvert ! audioresample ! audio/x-raw,format=F32LE,channels=1,rate=48000 ! filesink buffer-mode=unbuffered location=/srv/heard"
	p = start(t, script, clients.command(inRoot(share, "python3", "/srv/"+script, url, sink)...))
	return p, func(seconds float64) []float32 {
		raw, err := os.ReadFile(filepath.Join(share, "heard"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		pcm := floats(raw)
		return pcm[max(0, len(pcm)-int(seconds*48000)):]
	}
}

// An encoder publishes a camera, a browser talks with it, and what the encoder's 201 links to is played beside it by
// GStreamer: all hear all others and none hears itself.
func TestBridgeJoinsEncoderBrowserAndReturnAudio(t *testing.T) {
	s := serve(t, "SIGHTLINE_HTTP_PUBLIC_URL=http://"+serverIP+":8080")
	before := newProxy(t, s)
	encoder := ffmpeg(t, before.base+"/whip/"+room+"/console", camera{Size: "640x360", Keyframe: 60, Tone: consoleTone})
	desk := launch(t, "chromium")
	desk.talk("voice", s.whip("desk"), deskTone)
	desk.play("ear", s.mix("desk"), "audio", "")
	microphone(t, s.whip("injector"), fmt.Sprintf("sine=frequency=%d:sample_rate=48000", injectorTone))
	s.awaitTrack("console/video", 10*time.Second, hasCodec("H264"))
	for _, name := range []string{"console", "desk", "injector"} {
		s.awaitTrack(name+"/audio", 10*time.Second, hasCodec("opus"))
	}

	link := before.returnAudio()
	console, _ := s.publisher("console")
	if link != s.mix("console") || console.ReturnAudio != link {
		t.Fatalf("ffmpeg's 201 links to return audio at %q, the room API to %q, want %q", link, console.ReturnAudio, s.mix("console"))
	}
	player, hear := companion(t, link)
	eventually(t, 15*time.Second, func() error {
		if n := len(hear(60)); n < 48000 {
			return fmt.Errorf("GStreamer has played %d samples", n)
		}
		return nil
	})

	desk.wantTones("ear", []float64{consoleTone, injectorTone}, deskTone)
	pcm := hear(3)
	wantTones(t, "console's companion", slices.Collect(slices.Chunk(pcm, 28800)), 48000, []float64{deskTone, injectorTone}, consoleTone)
	for _, name := range []string{"console", "desk", "injector"} {
		t.Logf("%s's sound waits %.0f ms in the jitter buffer", name, 1000*s.metric("sightline_speaker_delay_seconds", `publisher="`+name+`"`))
	}
	t.Logf("of %.0f frames %.0f were made up; %.0f of %.0f packets came late",
		s.metric("sightline_bridge_frames_total"), s.metric("sightline_bridge_concealed_frames_total"),
		s.metric("sightline_bridge_late_packets_total"), s.metric("sightline_bridge_packets_total"))
	if st := desk.stats("ear"); st.Audio.PacketsLost > 0 {
		t.Errorf("Chromium counts %d packets of the mix as lost, want none", st.Audio.PacketsLost)
	}

	if code := player.stop(syscall.SIGTERM, 5*time.Second); code != 0 {
		t.Errorf("the companion ended with %d, want 0", code)
	}
	desk.stop("ear")
	desk.stop("voice")
	eventually(t, 5*time.Second, func() error {
		var r struct{ Listeners int }
		s.get("/api/rooms/"+room, &r)
		if r.Listeners != 0 {
			return fmt.Errorf("%d listeners, want none", r.Listeners)
		}
		return nil
	})
	wantEndOfFFmpeg(t, s, encoder, "console")
}
