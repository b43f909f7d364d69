package bench

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sightline/internal/media"
	"sightline/internal/sdp"
)

var testOffer = offer{
	codec: "h264", audio: true, ufrag: "abcdefgh", pwd: "abcdefghabcdefghabcdefgh",
	fingerprint: fingerprint([]byte("a certificate")), candidate: netip.MustParseAddrPort("127.77.0.1:4000"),
	stream: "bench0", videoSSRC: 11, audioSSRC: 22,
}

// The gateway accepts the offers in whole, and its answers are read.
func TestOffersAreAnswered(t *testing.T) {
	for _, tt := range []struct {
		name           string
		publish, audio bool
		codec, encoded string
	}{
		{"publish H.264", true, true, "h264", "H264"},
		{"publish VP8 alone", true, false, "vp8", "VP8"},
		{"play H.264 alone", false, false, "h264", "H264"},
		{"play VP8", false, true, "vp8", "VP8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := testOffer
			o.publish, o.audio, o.codec = tt.publish, tt.audio, tt.codec
			parsed, err := sdp.Parse([]byte(o.text()))
			if err != nil {
				t.Fatal(err)
			}
			if len(parsed.Candidates) != 1 || !strings.Contains(parsed.Candidates[0], "127.77.0.1 4000") || !parsed.EndOfCandidates {
				t.Errorf("candidates %v", parsed.Candidates)
			}
			request := sdp.Request{
				Publish: tt.publish, Ufrag: "serverfrag", Pwd: "serverpasswordserverpassword",
				Fingerprint: fingerprint([]byte("another")),
				Candidates: []string{
					"1 1 tcp 1015022079 127.0.0.1 8189 typ host tcptype passive", "2 1 udp 2130706431 127.0.0.1 8189 typ host",
					"3 1 udp 2130706431 ::1 8189 typ host",
				},
				Stream: "s", CNAME: "c", RTCPMuxOnly: true, SSRC: func() uint32 { return 7 },
			}
			if !tt.publish {
				request.Send = map[media.Kind]media.Codec{
					media.Video: {Name: tt.encoded, ClockRate: 90000, Fmtp: "packetization-mode=1;profile-level-id=42e01f"},
				}
				if tt.audio {
					request.Send[media.Audio] = media.Codec{Name: "opus", ClockRate: 48000, Channels: 2}
				}
			}
			answered, err := parsed.Answer(request)
			if err != nil {
				t.Fatal(err)
			}
			kinds := 1
			if tt.audio {
				kinds = 2
			}
			if len(answered.Sections) != kinds || !answered.Sections[0].Formats[0].NACK && tt.publish {
				t.Errorf("sections %+v", answered.Sections)
			}
			a, err := parseAnswer(string(answered.SDP))
			if err != nil {
				t.Fatal(err)
			}
			want := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8189"), netip.MustParseAddrPort("[::1]:8189")}
			if a.ufrag != request.Ufrag || a.pwd != request.Pwd || !a.passive || a.fingerprint != request.Fingerprint ||
				!slices.Equal(a.candidates, want) || a.types[tt.codec] == 0 || (a.types["opus"] != 0) != tt.audio {
				t.Errorf("got %+v", a)
			}
		})
	}
}

func TestUnusableAnswersSayWhy(t *testing.T) {
	const good = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n" +
		"a=fingerprint:sha-256 AA\r\na=setup:passive\r\na=rtpmap:96 VP8/90000\r\n"
	if _, err := parseAnswer(good); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ from, to, want string }{
		{"v=0", "x", "can't be read"},
		{"video 9", "video 0", "accepts none"},
		{"ice-pwd", "other", "no a=ice-ufrag and a=ice-pwd"},
		{"sha-256", "sha-1", "no a=fingerprint"},
		{"passive", "actpass", `must be passive or active, got "actpass"`},
	} {
		if _, err := parseAnswer(strings.Replace(good, tt.from, tt.to, 1)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s for %s: got %v, want %q", tt.to, tt.from, err, tt.want)
		}
	}
}
