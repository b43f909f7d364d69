//go:build soak

package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

// roundLimit is how long a round may take, on a machine that is busy with other things.
const roundLimit = 30 * time.Second

// round publishes, plays until sound and picture have come, and ends both: by DELETE and close, or by vanishing.
func round(ctx context.Context, base, where string, rudely bool) (err error) {
	ctx, cancel := context.WithTimeout(ctx, roundLimit)
	defer cancel()

	publisher, err := newPeer()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, publisher.end(rudely)) }()
	video, err := publisher.send(webrtc.MimeTypeVP8, 90000)
	if err != nil {
		return err
	}
	audio, err := publisher.send(webrtc.MimeTypeOpus, 48000)
	if err != nil {
		return err
	}
	if err := publisher.connect(ctx, base+"/whip/"+where); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	sending, stop := context.WithCancel(ctx)
	sent := make(chan error, 1)
	go func() { sent <- film(sending, video, audio) }()
	defer func() {
		stop()
		err = errors.Join(err, <-sent)
	}()

	viewer, err := playWhenLive(ctx, base+"/whep/"+where)
	if err != nil {
		return fmt.Errorf("play: %w", err)
	}
	defer func() { err = errors.Join(err, viewer.end(rudely)) }()
	for kinds := 0; kinds < 2; {
		select {
		case <-viewer.came:
			kinds++
		case <-ctx.Done():
			return fmt.Errorf("%d of 2 tracks came: %w", kinds, ctx.Err())
		}
	}
	return nil
}

// playWhenLive tries until the publisher is live, as the 409 asks for.
func playWhenLive(ctx context.Context, endpoint string) (*peer, error) {
	for {
		p, err := newPeer()
		if err != nil {
			return nil, err
		}
		err = p.receive()
		if err == nil {
			err = p.connect(ctx, endpoint)
		}
		if err == nil {
			return p, nil
		}
		err = errors.Join(err, p.end(true))
		if !errors.Is(err, errNotLive) {
			return nil, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

// film sends 30 pictures a second, each a keyframe, and sound, until ctx is done.
func film(ctx context.Context, video, audio *webrtc.TrackLocalStaticSample) error {
	// The header of a VP8 keyframe of 320x180 (RFC 6386, section 9.1), and padding.
	picture := append([]byte{0x10, 0, 0, 0x9d, 0x01, 0x2a, 320 & 0xff, 320 >> 8, 180, 0}, make([]byte, 600)...)
	sound := append([]byte{0xfc}, make([]byte, 40)...) // CELT, 20 ms, stereo (RFC 6716, section 3.1)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := errors.Join(
				video.WriteSample(media.Sample{Data: picture, Duration: 20 * time.Millisecond}),
				audio.WriteSample(media.Sample{Data: sound, Duration: 20 * time.Millisecond}),
			); err != nil && !errors.Is(err, io.ErrClosedPipe) {
				return err
			}
		}
	}
}

// A peer is a WHIP or WHEP client on pion. Its network can be cut.
type peer struct {
	pc       *webrtc.PeerConnection
	socket   *cuttable
	resource string
	came     chan struct{} // one for each track that has brought a packet
}

var errNotLive = errors.New("not live")

func newPeer() (*peer, error) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &peer{socket: &cuttable{PacketConn: conn}, came: make(chan struct{}, 2)}
	var codecs webrtc.MediaEngine
	if err := errors.Join(
		codecs.RegisterCodec(webrtc.RTPCodecParameters{PayloadType: 96, RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}}, webrtc.RTPCodecTypeVideo),
		codecs.RegisterCodec(webrtc.RTPCodecParameters{PayloadType: 111, RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}}, webrtc.RTPCodecTypeAudio),
	); err != nil {
		return nil, err
	}
	var settings webrtc.SettingEngine
	settings.LoggerFactory = &logging.DefaultLoggerFactory{Writer: io.Discard} // it calls a closed socket an error
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetICEUDPMux(webrtc.NewICEUDPMux(settings.LoggerFactory.NewLogger("ice"), p.socket))
	p.pc, err = webrtc.NewAPI(webrtc.WithMediaEngine(&codecs), webrtc.WithSettingEngine(settings),
		webrtc.WithInterceptorRegistry(&interceptor.Registry{})).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return p, nil
}

func (p *peer) send(mime string, rate uint32) (*webrtc.TrackLocalStaticSample, error) {
	channels := uint16(0)
	if mime == webrtc.MimeTypeOpus {
		channels = 2
	}
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: mime, ClockRate: rate, Channels: channels}, mime, "soak")
	if err != nil {
		return nil, err
	}
	_, err = p.pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	return track, err
}

func (p *peer) receive() error {
	p.pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		if _, _, err := track.ReadRTP(); err == nil {
			p.came <- struct{}{}
		}
	})
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		if _, err := p.pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			return err
		}
	}
	return nil
}

// connect returns once DTLS is up. The error is errNotLive if there is nothing to play yet.
func (p *peer) connect(ctx context.Context, endpoint string) error {
	connected := make(chan struct{})
	var once atomic.Bool
	p.pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected && once.CompareAndSwap(false, true) {
			close(connected)
		}
	})
	offer, err := p.pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(p.pc)
	if err := p.pc.SetLocalDescription(offer); err != nil {
		return err
	}
	<-gathered
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(p.pc.LocalDescription().SDP))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/sdp")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	switch res.StatusCode {
	case http.StatusCreated:
	case http.StatusConflict, http.StatusNotFound:
		return errNotLive
	default:
		return fmt.Errorf("%s is answered %s: %s", endpoint, res.Status, body)
	}
	location, err := res.Location()
	if err != nil {
		return err
	}
	p.resource = location.String()
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(body)}); err != nil {
		return err
	}
	select {
	case <-connected:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("not connected, %s: %w", p.pc.ConnectionState(), ctx.Err())
	}
}

// end leaves: politely with DELETE and close, or rudely, so that the server hears nothing any more.
func (p *peer) end(rudely bool) error {
	if rudely {
		p.socket.cut.Store(true)
	} else if p.resource != "" {
		req, err := http.NewRequest(http.MethodDelete, p.resource, nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		res.Body.Close()
		// 404: it was taken over, or its feed ended.
		if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusNotFound {
			return fmt.Errorf("DELETE is answered %s", res.Status)
		}
	}
	return errors.Join(p.pc.Close(), p.socket.Close())
}

// A cuttable is a socket whose wire can be cut: what is written is lost from then on.
type cuttable struct {
	net.PacketConn
	cut atomic.Bool
}

func (c *cuttable) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.cut.Load() {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, to)
}
