package demo

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A tape remembers what a camera sends of one track.
type tape struct {
	start    time.Time
	packets  int
	first    rtp.Header
	last     rtp.Header
	lastSent time.Duration
	check    func(at time.Duration, p *rtp.Packet)
}

func (s *tape) WriteRTP(p *rtp.Packet) error {
	at := time.Since(s.start)
	if s.packets == 0 {
		s.first = p.Header
	}
	if s.check != nil {
		s.check(at, p)
	}
	s.packets, s.last, s.lastSent = s.packets+1, p.Header, at
	return nil
}

func TestPictureAndSoundStayInStepForHours(t *testing.T) {
	cameras, err := load()
	if err != nil {
		t.Fatal(err)
	}
	const long = 3 * time.Hour
	for _, c := range cameras {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), long)
				defer cancel()
				sound, picture := &tape{start: time.Now()}, &tape{start: time.Now()}
				if err := c.play(ctx, []sender{sound, picture}); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("play returned %v, want the context's end", err)
				}
				for name, s := range map[string]*tape{"sound": sound, "picture": picture} {
					rate := 48000
					if s == picture {
						rate = 90000
					}
					got := time.Duration(uint32(s.last.Timestamp-s.first.Timestamp)) * time.Second / time.Duration(rate)
					if drift := s.lastSent - got; drift.Abs() > time.Millisecond {
						t.Errorf("%s: timestamps tell %v after %v", name, got, s.lastSent)
					}
					if s.lastSent < long-50*time.Millisecond {
						t.Errorf("%s: last packet after %v, want about %v", name, s.lastSent, long)
					}
				}
			})
		})
	}
}

func TestLoopStartsWithKeyframeAndNumberingRunsOn(t *testing.T) {
	cameras, err := load()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cameras {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*round+round/2-time.Millisecond)
				defer cancel()
				var previous *rtp.Header
				keyframes := map[time.Duration]bool{}
				sound, picture := &tape{start: time.Now()}, &tape{start: time.Now()}
				picture.check = func(at time.Duration, p *rtp.Packet) {
					if isKeyframe(c.reels[1], p.Payload) {
						keyframes[at.Truncate(time.Millisecond)] = true
					}
					if previous != nil {
						if got := p.SequenceNumber - previous.SequenceNumber; got != 1 {
							t.Errorf("sequence number grew by %d at %v", got, at)
						}
						if got := p.Timestamp - previous.Timestamp; previous.Marker && got != 3000 || !previous.Marker && got != 0 {
							t.Errorf("timestamp grew by %d at %v, marker before it: %v", got, at, previous.Marker)
						}
					}
					h := p.Header
					previous = &h
				}
				_ = c.play(ctx, []sender{sound, picture})
				for s := range 25 {
					if at := time.Duration(s) * time.Second; !keyframes[at] {
						t.Errorf("no keyframe at %v", at)
					}
				}
				if got, want := len(keyframes), 25; got != want {
					t.Errorf("%d keyframes in 25 s, want %d", got, want)
				}
				if got, want := sound.packets, 25*50; got != want && got != want+1 {
					t.Errorf("%d Opus packets, want %d", got, want)
				}
			})
		})
	}
}

func TestCameraThatWasHeldUpGoesOnAtAKeyframeOfNow(t *testing.T) {
	cameras, err := load()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		c := cameras[0]
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		sound, picture := &tape{start: time.Now()}, &tape{start: time.Now()}
		var last rtp.Header
		var resumed time.Duration
		picture.check = func(at time.Duration, p *rtp.Packet) {
			if gap := p.Timestamp - last.Timestamp; picture.packets > 0 && gap > 3000 {
				resumed = at
				if !isKeyframe(c.reels[1], p.Payload) {
					t.Errorf("goes on at %v without a keyframe", at)
				}
				if got := p.SequenceNumber - last.SequenceNumber; got != 1 {
					t.Errorf("sequence number grew by %d", got)
				}
			}
			last = p.Header
			if at == 2*time.Second+100*time.Millisecond {
				time.Sleep(4*time.Second + 300*time.Millisecond)
			}
		}
		_ = c.play(ctx, []sender{sound, picture})
		if want := 7 * time.Second; resumed != want {
			t.Errorf("goes on at %v, want %v", resumed, want)
		}
		for _, s := range []*tape{sound, picture} {
			if got := time.Duration(s.last.Timestamp-s.first.Timestamp) * time.Second / map[*tape]time.Duration{sound: 48000, picture: 90000}[s]; (got - s.lastSent).Abs() > time.Millisecond {
				t.Errorf("timestamps tell %v after %v", got, s.lastSent)
			}
		}
	})
}

// isKeyframe says whether payload begins a keyframe of r.
func isKeyframe(r *reel, payload []byte) bool {
	if r.capability.MimeType == webrtc.MimeTypeVP8 {
		var p codecs.VP8Packet
		frame, err := p.Unmarshal(payload)
		return err == nil && p.S == 1 && p.PID == 0 && frame[0]&1 == 0
	}
	return payload[0]&31 == 24 // STAP-A: only SPS and PPS are small enough for one here
}

// gateway is a WHIP endpoint that receives what comes.
type gateway struct {
	*httptest.Server
	mu      sync.Mutex
	peers   map[string]*webrtc.PeerConnection
	deleted map[string]bool
	tracks  chan string // "path mime"
	token   string
}

func newGateway(t *testing.T, token string) *gateway {
	g := &gateway{peers: map[string]*webrtc.PeerConnection{}, deleted: map[string]bool{}, tracks: make(chan string, 100), token: token}
	g.Server = httptest.NewServer(g)
	t.Cleanup(func() {
		g.Close()
		g.end()
	})
	return g
}

// end closes all peers, as a gateway that stops does.
func (g *gateway) end() {
	g.mu.Lock()
	peers := g.peers
	g.peers = map[string]*webrtc.PeerConnection{}
	g.mu.Unlock()
	for _, pc := range peers {
		_ = pc.GracefulClose()
	}
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if got, want := r.Header.Get("Authorization"), "Bearer "+g.token; got != want {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.Method == http.MethodDelete {
		g.mu.Lock()
		g.deleted[r.URL.Path] = true
		g.mu.Unlock()
		return
	}
	offer, _ := io.ReadAll(r.Body)
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		if _, _, err := track.ReadRTP(); err == nil {
			g.tracks <- r.URL.Path + " " + track.Codec().MimeType
		}
	})
	gathered := webrtc.GatheringCompletePromise(pc)
	err = pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: string(offer)})
	if err == nil {
		var answer webrtc.SessionDescription
		if answer, err = pc.CreateAnswer(nil); err == nil {
			err = pc.SetLocalDescription(answer)
		}
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	<-gathered
	path := "/sessions" + r.URL.Path
	g.mu.Lock()
	old := g.peers[path]
	g.peers[path] = pc
	g.mu.Unlock()
	if old != nil {
		_ = old.GracefulClose()
	}
	w.Header().Set("Content-Type", "application/sdp")
	w.Header().Set("Location", path)
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, pc.LocalDescription().SDP)
}

// wait receives until each of the four tracks has come.
func (g *gateway) wait(t *testing.T) {
	t.Helper()
	want := map[string]bool{
		"/whip/demo/console video/H264": true, "/whip/demo/console audio/opus": true,
		"/whip/demo/gantry video/VP8": true, "/whip/demo/gantry audio/opus": true,
	}
	timeout := time.After(30 * time.Second)
	for len(want) > 0 {
		select {
		case got := <-g.tracks:
			delete(want, got)
		case <-timeout:
			t.Fatalf("still missing: %v", want)
		}
	}
}

func TestCamerasPublishComeBackAndDelete(t *testing.T) {
	g := newGateway(t, "secret")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := Run(ctx, g.URL, "secret", slog.New(slog.DiscardHandler)); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	g.wait(t)
	g.end() // the gateway stops; the cameras publish anew
	g.mu.Lock()
	clear(g.deleted)
	g.mu.Unlock()
	g.wait(t)
	cancel()
	wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, name := range Cameras() {
		if !g.deleted["/sessions/whip/demo/"+name] {
			t.Errorf("the session of %q was not deleted at the end", name)
		}
	}
}

func TestRefusalIsRetriedWhenTheGatewaySays(t *testing.T) {
	for _, tt := range []struct {
		name, retryAfter string
		least, most      time.Duration
	}{
		{"not said", "", minBackoff, minBackoff * 5 / 4},
		{"in seconds", "3", 3 * time.Second, 3 * time.Second},
		{"sooner than the back-off", "0", minBackoff, minBackoff * 5 / 4},
		{"nonsense", "-7", minBackoff, minBackoff * 5 / 4},
		{"for ever", "99999999", maxRetryAfter, maxRetryAfter},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tt.retryAfter != "" {
					w.Header().Set("Retry-After", tt.retryAfter)
				}
				w.WriteHeader(http.StatusServiceUnavailable)
			}))
			defer server.Close()
			endpoint, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = (&client{endpoint: endpoint, http: server.Client()}).post(t.Context(), "v=0")
			if err == nil || !strings.Contains(err.Error(), "503") {
				t.Fatalf("error is %v, want one that says the status", err)
			}
			if got := pause(minBackoff, err); got < tt.least || got > tt.most {
				t.Errorf("waits %v, want %v to %v", got, tt.least, tt.most)
			}
		})
	}
}

func TestRunRefusesAddressThatIsNoURL(t *testing.T) {
	for _, base := range []string{"", "127.0.0.1:8080", "ftp://127.0.0.1", "http://"} {
		if err := Run(t.Context(), base, "", slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("Run(%q) returned no error", base)
		}
	}
}
