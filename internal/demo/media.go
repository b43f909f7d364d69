package demo

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media/h264reader"
	"github.com/pion/webrtc/v4/pkg/media/ivfreader"
	"github.com/pion/webrtc/v4/pkg/media/oggreader"
)

//go:embed console.h264 console.ogg gantry.ivf gantry.ogg
var files embed.FS

const (
	frameRate = 30 // frames per second of both pictures
	round     = 10 * time.Second

	// opusPacket is what one Opus packet of ours holds (RFC 7587, section 4.2).
	opusPacket = 20 * time.Millisecond

	// mtu bounds the payload of an RTP packet, in bytes: what a browser sends.
	mtu = 1180
)

// A reel is one track of a camera: samples that are sent at even distances, again and
// again.
type reel struct {
	capability webrtc.RTPCodecCapability
	samples    [][]byte // frames in wire form of their payloader, or Opus packets
	perSecond  int      // samples per second
	payloader  func() rtp.Payloader
}

// due returns when sample n is to be sent, from the start of the first round on. It is
// computed from n alone, so nothing adds up over the hours.
func (r *reel) due(n int64) time.Duration {
	return time.Duration(n) * time.Second / time.Duration(r.perSecond)
}

// timestamp returns sample n's time in units of the codec's clock, before the random
// offset (RFC 3550, section 5.1). Both clocks are multiples of their rates, so picture and
// sound cannot drift apart.
func (r *reel) timestamp(n int64) uint32 {
	return uint32(n * int64(r.capability.ClockRate) / int64(r.perSecond))
}

// at returns sample n of the endless reel.
func (r *reel) at(n int64) []byte { return r.samples[n%int64(len(r.samples))] }

var videoFeedback = []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: "ccm", Parameter: "fir"}}

func loadH264(name string) (*reel, error) {
	data, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	reader, err := h264reader.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var samples [][]byte
	var unit []byte
	for {
		nal, err := reader.NextNAL()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		unit = append(unit, 0, 0, 0, 1)
		unit = append(unit, nal.Data...)
		// Our files have one slice a picture, and it comes last (README.md).
		if nal.UnitType == h264reader.NalUnitTypeCodedSliceIdr || nal.UnitType == h264reader.NalUnitTypeCodedSliceNonIdr {
			samples = append(samples, unit)
			unit = nil
		}
	}
	return video(name, samples, webrtc.RTPCodecCapability{
		MimeType:    webrtc.MimeTypeH264,
		ClockRate:   90000,
		SDPFmtpLine: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
	}, func() rtp.Payloader { return &codecs.H264Payloader{} })
}

func loadVP8(name string) (*reel, error) {
	data, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	reader, _, err := ivfreader.NewWith(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var samples [][]byte
	for {
		frame, _, err := reader.ParseNextFrame()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		samples = append(samples, frame)
	}
	return video(name, samples, webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000},
		func() rtp.Payloader { return &codecs.VP8Payloader{EnablePictureID: true} })
}

func video(name string, samples [][]byte, capability webrtc.RTPCodecCapability, payloader func() rtp.Payloader) (*reel, error) {
	if want := int(round.Seconds()) * frameRate; len(samples) != want {
		return nil, fmt.Errorf("%s: must hold %d frames, has %d", name, want, len(samples))
	}
	capability.RTCPFeedback = videoFeedback
	return &reel{capability: capability, samples: samples, perSecond: frameRate, payloader: payloader}, nil
}

func loadOpus(name string) (*reel, error) {
	data, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	reader, _, err := oggreader.NewWith(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var samples [][]byte
	for {
		page, _, err := reader.ParseNextPage()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if bytes.HasPrefix(page, []byte("OpusTags")) {
			continue
		}
		samples = append(samples, page)
	}
	want := int(round / opusPacket)
	if len(samples) < want {
		return nil, fmt.Errorf("%s: must hold %d packets, has %d", name, want, len(samples))
	}
	return &reel{
		capability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2,
			SDPFmtpLine: "minptime=10;useinbandfec=1",
		},
		samples:   samples[:want], // FFmpeg cuts one packet late
		perSecond: int(time.Second / opusPacket),
		payloader: func() rtp.Payloader { return &codecs.OpusPayloader{} },
	}, nil
}

func (r *reel) kind() webrtc.RTPCodecType {
	if r.capability.MimeType == webrtc.MimeTypeOpus {
		return webrtc.RTPCodecTypeAudio
	}
	return webrtc.RTPCodecTypeVideo
}

// codecs returns what the reel's track is offered as: its codec and, for video, the
// retransmission format (RFC 4588).
func (r *reel) codecs() []webrtc.RTPCodecParameters {
	if r.kind() == webrtc.RTPCodecTypeAudio {
		return []webrtc.RTPCodecParameters{{RTPCodecCapability: r.capability, PayloadType: 111}}
	}
	return []webrtc.RTPCodecParameters{
		{RTPCodecCapability: r.capability, PayloadType: 96},
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeRTX, ClockRate: r.capability.ClockRate, SDPFmtpLine: "apt=96"}, PayloadType: 97},
	}
}
