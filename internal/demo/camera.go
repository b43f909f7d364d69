package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 3 * time.Second

	maxRetryAfter = time.Minute

	connectTimeout = 15 * time.Second

	// A session whose peer is silent this long is given up, and a new one posted.
	silence = 5 * time.Second

	// maxLag is how late a camera may be before it leaves out what it missed.
	maxLag = 500 * time.Millisecond
)

// A camera is a publisher with one sound and one picture.
type camera struct {
	name  string
	reels []*reel
}

// run publishes until ctx is done, one session after the other.
func (c *camera) run(ctx context.Context, client *client, log *slog.Logger) {
	backoff := minBackoff
	for {
		live, err := c.session(ctx, client)
		if ctx.Err() != nil {
			return
		}
		if live {
			backoff = minBackoff
		}
		wait := pause(backoff, err)
		log.Info("synthetic camera is not live", "cause", err, "retry_in", wait.Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// pause returns how long to wait after err: backoff with some jitter, so that cameras do
// not come back in step, or longer if the gateway says so (RFC 9110, section 10.2.3).
func pause(backoff time.Duration, err error) time.Duration {
	wait := backoff + rand.N(backoff/4)
	if refused, ok := errors.AsType[*refusal](err); ok {
		wait = max(wait, min(refused.retryAfter, maxRetryAfter))
	}
	return wait
}

// session is one life of a WHIP session: offer, answer, media, DELETE. live says whether
// it came so far as to send media. The error is never nil.
func (c *camera) session(ctx context.Context, client *client) (live bool, err error) {
	api, err := c.newAPI(client.endpoint)
	if err != nil {
		return false, err
	}
	pc, err := api.NewPeerConnection(webrtc.Configuration{BundlePolicy: webrtc.BundlePolicyMaxBundle})
	if err != nil {
		return false, err
	}
	var readers sync.WaitGroup
	defer readers.Wait()
	defer func() { _ = pc.GracefulClose() }()

	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	connected := make(chan struct{})
	connectedOnce := sync.OnceFunc(func() { close(connected) })
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		switch state {
		case webrtc.PeerConnectionStateConnected:
			connectedOnce()
		case webrtc.PeerConnectionStateDisconnected, webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
			end(fmt.Errorf("connection %s", state))
		}
	})

	var tracks []sender
	for _, reel := range c.reels {
		track, err := webrtc.NewTrackLocalStaticRTP(reel.capability, reel.capability.MimeType, c.name)
		if err != nil {
			return false, err
		}
		transceiver, err := pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		if err != nil {
			return false, err
		}
		// Whoever reads keeps the interceptors fed, which resend what was lost.
		readers.Go(func() { drain(transceiver.Sender()) })
		tracks = append(tracks, track)
	}

	offer, err := pc.CreateOffer(nil)
	if err != nil {
		return false, err
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(offer); err != nil {
		return false, err
	}
	select {
	case <-gathered:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	answer, resource, err := client.post(ctx, pc.LocalDescription().SDP)
	if err != nil {
		return false, err
	}
	defer func() { _ = client.delete(ctx, resource) }()
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		return false, fmt.Errorf("apply the answer: %w", err)
	}
	select {
	case <-connected:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-time.After(connectTimeout):
		return false, fmt.Errorf("not connected within %v", connectTimeout)
	}
	return true, c.play(ctx, tracks)
}

// newAPI returns a pion API that offers just the codecs of c.
func (c *camera) newAPI(endpoint *url.URL) (*webrtc.API, error) {
	media := &webrtc.MediaEngine{}
	for _, reel := range c.reels {
		for _, codec := range reel.codecs() {
			if err := media.RegisterCodec(codec, reel.kind()); err != nil {
				return nil, err
			}
		}
	}
	interceptors := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(media, interceptors); err != nil {
		return nil, err
	}
	settings := webrtc.SettingEngine{}
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6})
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICETimeouts(silence, 2*silence, 2*time.Second)
	if isLoopback(endpoint.Hostname()) {
		settings.SetIPFilter(net.IP.IsLoopback)
	}
	return webrtc.NewAPI(webrtc.WithMediaEngine(media), webrtc.WithInterceptorRegistry(interceptors), webrtc.WithSettingEngine(settings)), nil
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// play sends the reels, each sample when it is due by the monotonic clock, until ctx is
// done. It returns the cause.
func (c *camera) play(ctx context.Context, tracks []sender) error {
	writers := make([]*writer, len(c.reels))
	for i, reel := range c.reels {
		writers[i] = &writer{
			reel: reel, track: tracks[i], payloader: reel.payloader(),
			sequence: uint16(rand.Uint32()), timestamp: rand.Uint32(),
		}
	}
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		first := writers[0]
		for _, w := range writers[1:] {
			if w.due() < first.due() {
				first = w
			}
		}
		wait := time.Until(start.Add(first.due()))
		if wait < -maxLag {
			// The machine slept. Timestamps have to follow the clock, or viewers would see
			// all that follows late: what was missed is left out, up to a keyframe.
			second := int64(time.Since(start)/time.Second) + 1
			for _, w := range writers {
				w.next = second * int64(w.reel.perSecond)
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		}
		if err := first.write(); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
}

// A sender takes RTP packets; pion's track sets their SSRC and payload type.
type sender interface {
	WriteRTP(*rtp.Packet) error
}

// A writer turns the samples of a reel into RTP packets.
type writer struct {
	reel      *reel
	track     sender
	payloader rtp.Payloader
	next      int64  // sample
	sequence  uint16 // of the next packet
	timestamp uint32 // of sample 0
}

func (w *writer) due() time.Duration { return w.reel.due(w.next) }

// write sends the next sample.
func (w *writer) write() error {
	payloads := w.payloader.Payload(mtu, w.reel.at(w.next))
	for i, payload := range payloads {
		err := w.track.WriteRTP(&rtp.Packet{
			Header: rtp.Header{
				Version:        2,
				SequenceNumber: w.sequence,
				Timestamp:      w.timestamp + w.reel.timestamp(w.next),
				// The last packet of a picture (RFC 6184, 5.1; RFC 7741, 4.1). Opus marks
				// the first packet after silence, and here is none (RFC 7587, 4.2).
				Marker: i == len(payloads)-1 && w.reel.kind() == webrtc.RTPCodecTypeVideo,
			},
			Payload: payload,
		})
		if err != nil {
			return err
		}
		w.sequence++
	}
	w.next++
	return nil
}

func drain(s *webrtc.RTPSender) {
	buffer := make([]byte, 1500)
	for {
		if _, _, err := s.Read(buffer); err != nil {
			return
		}
	}
}
