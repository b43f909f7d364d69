//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"

	"sightline/internal/audio"
	"sightline/internal/audio/audiotest"
)

// A peer is a pion client on the server's host: its clock is the test's own.
type peer struct {
	t       *testing.T
	pc      *webrtc.PeerConnection
	session string      // URL
	header  http.Header // of the 201
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	var settings webrtc.SettingEngine
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	var codecs webrtc.MediaEngine
	if err := codecs.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(&codecs)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, pc: pc}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	t.Cleanup(p.vanish)
	return p
}

// connect posts the offer and waits until the peer is connected.
func (p *peer) connect(url string) {
	p.t.Helper()
	connected := make(chan struct{})
	p.pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			close(connected)
		}
	})
	if err := p.exchange(url); err != nil {
		p.t.Fatalf("%s: %v", url, err)
	}
	select {
	case <-connected:
	case <-time.After(10 * time.Second):
		p.t.Fatalf("%s: %v after 10 s", url, p.pc.ConnectionState())
	}
}

func (p *peer) exchange(url string) error {
	offer, err := p.pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(p.pc)
	if err := p.pc.SetLocalDescription(offer); err != nil {
		return err
	}
	<-gathered
	res, err := http.Post(url, "application/sdp", bytes.NewReader([]byte(p.pc.LocalDescription().SDP)))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	session, err := res.Location()
	if res.StatusCode != http.StatusCreated || err != nil {
		return fmt.Errorf("%s %s", res.Status, answer)
	}
	p.session, p.header = session.String(), res.Header
	return p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(answer)})
}

// vanish ends the peer without a word to the server but DTLS' own. It may be called more than once.
func (p *peer) vanish() {
	p.cancel()
	p.pc.Close()
	p.running.Wait()
}

// stop ends the peer with its DELETE.
func (p *peer) stop() {
	p.t.Helper()
	req, err := http.NewRequest(http.MethodDelete, p.session, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		p.t.Errorf("DELETE is answered %s, want 200", res.Status)
	}
	p.vanish()
}

// speak publishes a tone, as loud as a voice. It is heard while says is true of the time since the beginning; nil: always.
func speak(t *testing.T, url string, frequency float64, says func(time.Duration) bool) *peer {
	t.Helper()
	encoder, err := audio.NewEncoder(audio.EncoderConfig{Channels: 1, Bitrate: 64000, Complexity: 2})
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t)
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "audio", "voice")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
		t.Fatal(err)
	}
	p.connect(url)
	p.running.Go(func() {
		tone := audiotest.Tone{Frequency: frequency, Amplitude: 0.2}
		pcm := make([]float32, audio.FrameSamples)
		tick := time.NewTicker(audio.FrameDuration)
		defer tick.Stop()
		for began := time.Now(); ; {
			select {
			case <-p.ctx.Done():
				return
			case <-tick.C:
			}
			tone.Fill(pcm)
			if says != nil && !says(time.Since(began)) {
				clear(pcm)
			}
			packet, err := encoder.Encode(nil, pcm)
			if err == nil {
				err = track.WriteSample(media.Sample{Data: packet, Duration: audio.FrameDuration})
			}
			if err != nil && !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("speak: %v", err)
				return
			}
		}
	})
	return p
}

// An ear plays sound and knows of each packet when it came and how loud it is.
type ear struct {
	*peer
	sound chan moment
}

type moment struct {
	at       time.Time
	level    uint8 // -dBov
	sequence uint16
}

// loud is the level, in -dBov, up to which a moment is one of a voice.
const loud = 40

func listen(t *testing.T, url string) *ear {
	t.Helper()
	decoder, err := audio.NewDecoder(1)
	if err != nil {
		t.Fatal(err)
	}
	e := &ear{peer: newPeer(t), sound: make(chan moment, 4096)} // more than a minute
	if _, err := e.pc.AddTransceiverFromKind(webrtc.RTPCodecTypeAudio, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	tracks := make(chan *webrtc.TrackRemote, 1)
	e.pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { tracks <- track })
	e.running.Go(func() {
		var track *webrtc.TrackRemote
		select {
		case track = <-tracks:
		case <-e.ctx.Done():
			return
		}
		pcm := make([]float32, audio.MaxPacketSamples)
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			m := moment{at: time.Now(), sequence: packet.SequenceNumber}
			n, err := decoder.Decode(packet.Payload, pcm)
			if err != nil {
				t.Errorf("listen: %v", err)
				return
			}
			m.level = audio.Level(pcm[:n])
			e.sound <- m
		}
	})
	e.connect(url)
	return e
}

// settle reads until n moments in a row have been loud, or none of them, and returns when the first of them came.
func (e *ear) settle(wantLoud bool, n int) time.Time {
	e.t.Helper()
	limit := time.After(10 * time.Second)
	var first time.Time
	for run := 0; run < n; {
		select {
		case m := <-e.sound:
			if (m.level <= loud) != wantLoud {
				run = 0
				continue
			}
			if run++; run == 1 {
				first = m.at
			}
		case <-limit:
			e.t.Fatalf("no sound in 10 s that is loud: %t", wantLoud)
		}
	}
	return first
}
