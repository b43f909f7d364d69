package sdp

import (
	"slices"
	"testing"

	"github.com/pion/ice/v4"
	pionsdp "github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

// TestAnotherParserReadsTheAnswers: pion's, for every real offer.
func TestAnotherParserReadsTheAnswers(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			_, a := mustAnswer(t, s.body, s.request())
			var d pionsdp.SessionDescription
			if err := d.Unmarshal(a.SDP); err != nil {
				t.Fatalf("%v in\n%s", err, a.SDP)
			}
			if len(d.MediaDescriptions) != len(a.Sections) {
				t.Fatalf("got %d sections, want %d", len(d.MediaDescriptions), len(a.Sections))
			}
			for i, m := range d.MediaDescriptions {
				section := a.Sections[i]
				for _, f := range section.Formats {
					got, err := d.GetCodecForPayloadType(f.PayloadType)
					if err != nil || !f.Codec.Is(got.Name) || got.ClockRate != f.Codec.ClockRate {
						t.Errorf("payload type %d: got %+v, %v, want %+v", f.PayloadType, got, err, f.Codec)
					}
					if f.NACK != slices.Contains(got.RTCPFeedback, "nack") || f.PLI != slices.Contains(got.RTCPFeedback, "nack pli") ||
						f.FIR != slices.Contains(got.RTCPFeedback, "ccm fir") || f.TransportCC != slices.Contains(got.RTCPFeedback, "transport-cc") {
						t.Errorf("payload type %d: got feedback %q, want that of %+v", f.PayloadType, got.RTCPFeedback, f)
					}
				}
				for _, attribute := range m.Attributes {
					if attribute.Key != "extmap" {
						continue
					}
					var e pionsdp.ExtMap
					if err := e.Unmarshal("extmap:" + attribute.Value); err != nil || section.Extensions[e.URI.String()] != uint8(e.Value) {
						t.Errorf("%s: got %+v, %v", attribute.Value, e, err)
					}
				}
				for _, attribute := range m.Attributes {
					if attribute.Key == "candidate" {
						if _, err := ice.UnmarshalCandidate(attribute.Value); err != nil {
							t.Errorf("candidate %s: %v", attribute.Value, err)
						}
					}
				}
			}
		})
	}
}

// TestPeerConnectionAcceptsTheAnswer: pion's PeerConnection takes our answer to its own
// offer.
func TestPeerConnectionAcceptsTheAnswer(t *testing.T) {
	video, audio := webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio
	for _, tt := range []struct {
		name      string
		direction webrtc.RTPTransceiverDirection
		kinds     []webrtc.RTPCodecType
		data      bool
		request   Request
		accepted  int
	}{
		{"publisher", webrtc.RTPTransceiverDirectionSendonly, []webrtc.RTPCodecType{audio, video}, false, publish(), 2},
		{"publisher that could receive", webrtc.RTPTransceiverDirectionSendrecv, []webrtc.RTPCodecType{video, audio}, false, publish(), 2},
		{"viewer", webrtc.RTPTransceiverDirectionRecvonly, []webrtc.RTPCodecType{audio, video}, false, play(opus, h264), 2},
		{"viewer, video first, of audio alone", webrtc.RTPTransceiverDirectionRecvonly, []webrtc.RTPCodecType{video, audio}, false, play(opus), 1},
		{"viewer of video alone", webrtc.RTPTransceiverDirectionRecvonly, []webrtc.RTPCodecType{audio, video}, false, play(vp8), 1},
		{"viewer with a data channel", webrtc.RTPTransceiverDirectionRecvonly, []webrtc.RTPCodecType{audio, video}, true, play(opus, av1), 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var settings webrtc.SettingEngine
			settings.SetIncludeLoopbackCandidate(true)
			settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
			settings.SetInterfaceFilter(func(name string) bool { return name == "lo" })
			settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
			pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(defaultCodecs(t))).NewPeerConnection(webrtc.Configuration{})
			if err != nil {
				t.Fatal(err)
			}
			defer pc.Close()
			for _, kind := range tt.kinds {
				if err := addTransceiver(pc, kind, tt.direction); err != nil {
					t.Fatal(err)
				}
			}
			if tt.data {
				if _, err := pc.CreateDataChannel("x", nil); err != nil {
					t.Fatal(err)
				}
			}
			offer, err := pc.CreateOffer(nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := pc.SetLocalDescription(offer); err != nil {
				t.Fatal(err)
			}
			r := tt.request
			r.Candidates = []string{"1 1 udp 2130706431 127.0.0.1 9 typ host"}
			o, a := mustAnswer(t, []byte(offer.SDP), r)
			checkForm(t, o, a, r)
			if len(a.Sections) != tt.accepted {
				t.Errorf("got %d accepted sections, want %d", len(a.Sections), tt.accepted)
			}
			if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(a.SDP)}); err != nil {
				t.Fatalf("%v for\n%s", err, a.SDP)
			}
			if got := pc.SignalingState(); got != webrtc.SignalingStateStable {
				t.Errorf("got signaling state %s", got)
			}
		})
	}
}

// addTransceiver puts all tracks that are sent into one MediaStream, as a publisher must.
func addTransceiver(pc *webrtc.PeerConnection, kind webrtc.RTPCodecType, direction webrtc.RTPTransceiverDirection) error {
	init := webrtc.RTPTransceiverInit{Direction: direction}
	if direction == webrtc.RTPTransceiverDirectionRecvonly {
		_, err := pc.AddTransceiverFromKind(kind, init)
		return err
	}
	codec := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}
	if kind == webrtc.RTPCodecTypeVideo {
		codec = webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeH264, ClockRate: 90000, SDPFmtpLine: h264.Fmtp}
	}
	track, err := webrtc.NewTrackLocalStaticRTP(codec, kind.String(), "camera")
	if err == nil {
		_, err = pc.AddTransceiverFromTrack(track, init)
	}
	return err
}

func defaultCodecs(t *testing.T) *webrtc.MediaEngine {
	t.Helper()
	var m webrtc.MediaEngine
	if err := m.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	return &m
}
