// Package doortest is for tests of the doors: a whole gateway on 127.0.0.1 and pion peers
// that use it.
package doortest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/pion/webrtc/v4"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/bridge"
	"sightline/internal/httpapi"
	"sightline/internal/rtc"
	"sightline/rooms"
)

// A Gateway is all that doors need, behind an HTTP server.
type Gateway struct {
	URL      string
	Rooms    *rooms.Registry
	Bridge   *bridge.Bridge
	Peers    *rtc.Engine
	Auth     *auth.Auth
	Sessions *httpapi.Resources
	Audit    *Audit
	Router   *httpapi.Router // for doors that need more of it than routes
	Log      *slog.Logger

	client *http.Client
}

// Options are what a test wants different from the defaults.
type Options struct {
	HTTP   httpapi.Config
	ICE    rtc.Config
	Auth   auth.Config
	Rooms  rooms.Config
	Bridge bridge.Config
	Log    *slog.Logger
}

// A Door adds its routes.
type Door interface{ Route(gin.IRouter) }

// Start runs a gateway until the test ends. change may be nil.
func Start(t testing.TB, change func(*Options), doors ...func(*Gateway) Door) *Gateway {
	t.Helper()
	o := Options{
		HTTP: httpapi.Defaults(), ICE: rtc.Defaults(), Auth: auth.Defaults(), Rooms: rooms.Defaults(), Bridge: bridge.Defaults(),
		Log: slog.New(slog.DiscardHandler),
	}
	o.HTTP.Listen, o.ICE.UDPListen = "127.0.0.1:0", "127.0.0.1:0"
	if change != nil {
		change(&o)
	}
	g := &Gateway{Log: o.Log, client: &http.Client{Transport: &http.Transport{}}}
	off, err := audit.Open(audit.Config{}, o.Log)
	if err != nil {
		t.Fatal(err)
	}
	g.Audit = &Audit{Log: off}
	g.Rooms = rooms.New(o.Rooms, g.Log)
	t.Cleanup(g.Rooms.Close)
	g.Rooms.Record(g.Audit)
	g.Bridge = bridge.New(o.Bridge, g.Rooms, g.Log)
	t.Cleanup(g.Bridge.Close)
	if g.Peers, err = rtc.New(o.ICE, g.Log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Peers.Close() })
	if g.Auth, err = auth.Open(o.Auth, g.Log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Auth.Close)
	g.Sessions = httpapi.NewResources(o.HTTP, httpapi.Causes{Deleted: rtc.Deleted, ShutDown: rtc.Draining, CrowdedOut: rtc.CrowdedOut, Word: rtc.Cause}, g.Log)
	t.Cleanup(g.Sessions.Close)
	router := httpapi.NewRouter(o.HTTP, g.Log)
	g.Router = router
	router.Recognize(g.Auth.Subject, g.Sessions)
	router.Record(g.Audit, g.Auth.Bearer)
	g.Sessions.Route(router)
	for _, door := range doors {
		door(g).Route(router)
	}
	server, err := httpapi.NewServer("http", o.HTTP, router, nil, g.Log)
	if err != nil {
		t.Fatal(err)
	}
	g.URL = "http://" + server.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- server.Run(ctx) }()
	go func() { done <- g.Auth.Run(ctx) }()
	t.Cleanup(func() {
		g.client.CloseIdleConnections()
		cancel()
		if err := errors.Join(<-done, <-done); err != nil {
			t.Error(err)
		}
	})
	return g
}

// At returns a gateway that runs elsewhere, such as in a process of its own: its peers and
// requests, and nothing of its inside. url has no slash at its end.
func At(t testing.TB, url string) *Gateway {
	g := &Gateway{URL: url, client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(g.client.CloseIdleConnections)
	return g
}

// Still returns the gateway for a client that follows no redirects.
func (g *Gateway) Still() *Gateway {
	out := *g
	out.client = &http.Client{Transport: g.client.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &out
}

// A Response is an HTTP response whose body has been read.
type Response struct {
	*http.Response
	Text    string
	Problem map[string]any // of a problem document, else nil
}

// Do sends a request to a path or a whole URL. header holds names and values in turn.
func (g *Gateway) Do(t testing.TB, method, target, body string, header ...string) Response {
	t.Helper()
	if strings.HasPrefix(target, "/") {
		target = g.URL + target
	}
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := Response{Response: res, Text: string(text)}
	if res.Header.Get("Content-Type") == "application/problem+json" {
		if err := json.Unmarshal(text, &out.Problem); err != nil {
			t.Fatalf("problem document: %v\n%s", err, text)
		}
	}
	return out
}

// Post sends an offer.
func (g *Gateway) Post(t testing.TB, path, offer string, header ...string) Response {
	t.Helper()
	return g.Do(t, http.MethodPost, path, offer, append([]string{"Content-Type", "application/sdp"}, header...)...)
}

// A Peer is a pion client.
type Peer struct {
	*webrtc.PeerConnection
	Session string // URL
	ETag    string

	connected chan struct{}
	closed    chan struct{} // when the gateway has closed DTLS, or the connection failed
	readers   sync.WaitGroup
}

// NewPeer returns a client that talks over 127.0.0.1. It knows all of pion's codecs, or
// VP8 and Opus only. It is closed when the test ends.
func NewPeer(t testing.TB, vp8Only ...bool) *Peer {
	t.Helper()
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	engine := &webrtc.MediaEngine{}
	if err := registerCodecs(engine, len(vp8Only) > 0 && vp8Only[0]); err != nil {
		t.Fatal(err)
	}
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(engine)).
		NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	p := &Peer{PeerConnection: pc, connected: make(chan struct{}), closed: make(chan struct{})}
	var begin, end sync.Once
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		switch {
		case s == webrtc.PeerConnectionStateConnected:
			begin.Do(func() { close(p.connected) })
		case s >= webrtc.PeerConnectionStateDisconnected:
			end.Do(func() { close(p.closed) })
		}
	})
	t.Cleanup(func() {
		_ = pc.GracefulClose()
		p.readers.Wait()
	})
	return p
}

func registerCodecs(m *webrtc.MediaEngine, vp8Only bool) error {
	if !vp8Only {
		return m.RegisterDefaultCodecs()
	}
	feedback := []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}}
	return errors.Join(
		m.RegisterCodec(webrtc.RTPCodecParameters{PayloadType: 96, RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeVP8, ClockRate: 90000, RTCPFeedback: feedback,
		}}, webrtc.RTPCodecTypeVideo),
		m.RegisterCodec(webrtc.RTPCodecParameters{PayloadType: 111, RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2,
		}}, webrtc.RTPCodecTypeAudio),
	)
}

// Send adds tracks to a publisher. Each sends a packet of payload every 20 ms until the
// test ends.
func (p *Peer) Send(t testing.TB, payload func(mime string) []byte, mimes ...string) {
	t.Helper()
	for _, mime := range mimes {
		capability := webrtc.RTPCodecCapability{MimeType: mime, ClockRate: 90000}
		if strings.HasPrefix(mime, "audio/") {
			capability.ClockRate, capability.Channels = 48000, 2
		}
		track, err := webrtc.NewTrackLocalStaticRTP(capability, mime[:5], "stream")
		if err != nil {
			t.Fatal(err)
		}
		transceiver, err := p.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		if err != nil {
			t.Fatal(err)
		}
		// What is read is what pion handles: requests for retransmission, reports.
		p.readers.Go(func() {
			for b := make([]byte, 1500); ; {
				if _, _, err := transceiver.Sender().Read(b); err != nil {
					return
				}
			}
		})
		pump(t, track, capability.ClockRate, payload(mime))
	}
}

// Receive makes the peer a viewer of kinds.
func (p *Peer) Receive(t testing.TB, kinds ...webrtc.RTPCodecType) {
	t.Helper()
	for _, kind := range kinds {
		if _, err := p.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			t.Fatal(err)
		}
	}
}

// Offer returns an offer with all candidates.
func (p *Peer) Offer(t testing.TB, options *webrtc.OfferOptions) string {
	t.Helper()
	offer, err := p.CreateOffer(options)
	if err != nil {
		t.Fatal(err)
	}
	gathered := webrtc.GatheringCompletePromise(p.PeerConnection)
	if err := p.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	<-gathered
	return p.LocalDescription().SDP
}

// Connect posts the peer's offer, takes the answer and waits until the peer is connected.
func (p *Peer) Connect(t testing.TB, g *Gateway, path string, header ...string) Response {
	t.Helper()
	res := g.Post(t, path, p.Offer(t, nil), header...)
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("POST %s: got %d %s", path, res.StatusCode, res.Text)
	}
	p.Session, p.ETag = res.Header.Get("Location"), res.Header.Get("ETag")
	if err := p.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: res.Text}); err != nil {
		t.Fatalf("%v\n%s", err, res.Text)
	}
	select {
	case <-p.connected:
	case <-time.After(10 * time.Second):
		t.Fatalf("not connected: %s", p.ConnectionState())
	}
	return res
}

// Closed is closed when the gateway has closed the connection, or it has failed.
func (p *Peer) Closed() <-chan struct{} { return p.closed }

// WaitClosed waits until the gateway has closed the connection.
func (p *Peer) WaitClosed(t testing.TB) {
	t.Helper()
	select {
	case <-p.closed:
	case <-time.After(15 * time.Second): // pion notices silence after 5 s, where it has missed close_notify
		t.Fatalf("the gateway did not close the connection: %s", p.ConnectionState())
	}
}

// Eventually waits until check returns "", or fails with what it says.
func Eventually(t testing.TB, check func() string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		complaint := check()
		if complaint == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(complaint)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// NewPeerOffer returns the offer of a viewer who will never connect.
func NewPeerOffer(t *testing.T) string {
	t.Helper()
	p := NewPeer(t)
	p.Receive(t, webrtc.RTPCodecTypeVideo)
	return p.Offer(t, nil)
}
