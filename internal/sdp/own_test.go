package sdp

import (
	"slices"
	"strings"
	"testing"

	"sightline/internal/fault"
	"sightline/internal/media"
)

func own(kinds ...media.Kind) *OwnOffer {
	r := publish()
	return NewOffer(OwnRequest{
		Kinds: kinds, Ufrag: "offerer0", Pwd: strings.Repeat("o", 32), Fingerprint: r.Fingerprint,
		Candidates: []string{"1 1 udp 2122260223 192.0.2.1 8189 typ host"}, RTCPMuxOnly: true,
	})
}

// TestGatewaysUnderstandEachOther: what a gateway offers another one answers with the codec
// that is live first, in the very profile, and the first reads that.
func TestGatewaysUnderstandEachOther(t *testing.T) {
	video := func(name, fmtp string) media.Codec { return media.Codec{Name: name, ClockRate: 90000, Fmtp: fmtp} }
	for _, live := range []media.Codec{
		opus, vp8, h264, av1,
		video("H264", "packetization-mode=1;profile-level-id=42001f"),
		video("H264", "packetization-mode=1;profile-level-id=4d0029"),
		video("H264", "packetization-mode=1;profile-level-id=640c34"),
		video("H264", "packetization-mode=1;profile-level-id=640028"),
		video("H264", "packetization-mode=0;profile-level-id=42e01f"),
		video("VP9", "profile-id=2"),
		video("AV1", "profile=1"),
		video("H265", "profile-id=1;tier-flag=0;level-id=93"),
		video("H265", "profile-id=2"),
	} {
		t.Run(live.Name+" "+live.Fmtp, func(t *testing.T) {
			kind := media.Video
			if live.Channels > 0 {
				kind = media.Audio
			}
			o := own(kind)
			_, sent := mustAnswer(t, o.SDP, play(live))
			a, err := o.Accept(sent.SDP)
			if err != nil {
				t.Fatalf("%v in\n%s", err, sent.SDP)
			}
			if !a.DTLSClient || sent.DTLSClient {
				t.Errorf("got DTLS clients %t and %t, want the one who offers", a.DTLSClient, sent.DTLSClient)
			}
			got, want := a.Sections[0], sent.Sections[0]
			if !slices.Equal(got.SSRCs, []uint32{want.SSRC}) || want.RTXSSRC != 0 && got.RTX[want.RTXSSRC] != want.SSRC {
				t.Errorf("got SSRCs %v and %v, want %d and %d", got.SSRCs, got.RTX, want.SSRC, want.RTXSSRC)
			}
			f := got.Formats[0]
			if !f.Codec.Is(live.Name) || !f.NACK || !got.ReducedSize || kind == media.Video && (f.RTX == 0 || !f.PLI || !f.FIR) {
				t.Errorf("got %+v, want %s with all feedback", f, live.Name)
			}
			if live.Name == "H264" {
				l, _ := parseH264Profile(codecParameters(live).get("profile-level-id"))
				if p, _ := parseH264Profile(codecParameters(f.Codec).get("profile-level-id")); p.rank() != l.rank() {
					t.Errorf("got %s, want the profile of %s", f.Codec.Fmtp, live.Fmtp)
				}
			}
			if len(got.Formats) != len(encodings[kind]) || got.Extensions[ExtensionMID] == 0 {
				t.Errorf("got %d formats and extensions %v", len(got.Formats), got.Extensions)
			}
		})
	}
}

// TestOwnOfferHasDistinctPayloadTypes: none twice, and none of those that RTCP needs.
func TestOwnOfferHasDistinctPayloadTypes(t *testing.T) {
	seen := make(map[uint8]bool)
	for _, s := range own(media.Audio, media.Video).sections {
		for _, f := range s.formats {
			for _, pt := range []uint8{f.PayloadType, f.RTX} {
				if pt == 0 && s.kind == media.Audio {
					continue
				}
				if seen[pt] || pt > 127 || pt < 35 || pt >= 64 && pt < 96 {
					t.Errorf("payload type %d is used twice, or none", pt)
				}
				seen[pt] = true
			}
		}
	}
}

func ownAnswer(t testing.TB, o *OwnOffer, codecs ...media.Codec) string {
	t.Helper()
	_, a := mustAnswer(t, o.SDP, play(codecs...))
	return string(a.SDP)
}

// TestAnswersThatDoNotFit: each is refused with what is wrong.
func TestAnswersThatDoNotFit(t *testing.T) {
	o := own(media.Video)
	good := ownAnswer(t, o, vp8)
	for _, tt := range []struct {
		name, from, to string
		kind           fault.Kind
		says           string
	}{
		{"empty", good, "", fault.BadRequest, "empty"},
		{"no SDP", good, `{"status":503}`, fault.BadRequest, "<type>=<value>"},
		{"rejected", "m=video 9", "m=video 0", fault.Unprocessable, "accepts no section"},
		{"receives", "a=sendonly", "a=recvonly", fault.Unprocessable, "a=recvonly"},
		{"another kind", "m=video 9", "m=audio 9", fault.Unprocessable, "m=audio"},
		{"another mid", "a=mid:0", "a=mid:9", fault.Unprocessable, "a=mid:9"},
		{"one section more", "m=video", "m=audio 0 UDP/TLS/RTP/SAVPF 0\r\na=mid:7\r\nm=video", fault.Unprocessable, "2 m= sections"},
		{"no bundle", "a=group:BUNDLE 0\r\n", "", fault.Unprocessable, "BUNDLE"},
		{"no rtcp-mux", "a=rtcp-mux\r\n", "", fault.Unprocessable, "a=rtcp-mux"},
		{"unknown protocol", "UDP/TLS/RTP/SAVPF", "RTP/QUIC", fault.Unprocessable, "protocol"},
		{"no role", "a=setup:passive", "a=setup:actpass", fault.Unprocessable, "a=setup"},
		{"no fingerprint", "a=fingerprint:sha-256", "a=fingerprint:md5", fault.Unprocessable, "a=fingerprint"},
		{"no credentials", "a=ice-ufrag", "a=x-ufrag", fault.BadRequest, "a=ice-ufrag"},
		{"other payload types", "VP8/90000", "H261/90000", fault.Unprocessable, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := strings.Replace(good, tt.from, tt.to, 1)
			if body == good {
				t.Fatalf("%q is not in\n%s", tt.from, good)
			}
			_, err := o.Accept([]byte(body))
			if tt.says == "" {
				if err != nil {
					t.Errorf("got %v, want the other codecs to be left", err)
				}
				return
			}
			if fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v (%s), want %s that says %q", err, fault.KindOf(err), tt.kind, tt.says)
			}
		})
	}
}

// FuzzOwnOffer: whatever another node answers, it is read as what was offered, or it is a fault.
func FuzzOwnOffer(f *testing.F) {
	o := own(media.Audio, media.Video)
	f.Add([]byte(ownAnswer(f, o, opus, vp8)))
	f.Add([]byte(ownAnswer(f, o, h264)))
	f.Add([]byte(ownAnswer(f, o, av1, opus)))
	f.Add(o.SDP)
	for _, s := range samples(f) {
		_, a := mustAnswer(f, s.body, s.request())
		f.Add(a.SDP)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := o.Accept(body)
		if err != nil {
			switch fault.KindOf(err) {
			case fault.BadRequest, fault.Unprocessable, fault.TooLarge:
			default:
				t.Errorf("got %v, want a fault", err)
			}
			return
		}
		checkLimits(t, a, Request{Publish: true})
		for _, s := range a.Sections {
			for _, format := range s.Formats {
				i := slices.IndexFunc(o.sections, func(own ownSection) bool { return own.mid == s.MID && own.kind == s.Kind })
				if i < 0 || !slices.ContainsFunc(o.sections[i].formats, func(own offeredFormat) bool {
					return own.PayloadType == format.PayloadType && own.Codec.Is(format.Codec.Name) && (format.RTX == 0 || format.RTX == own.RTX)
				}) {
					t.Errorf("got %+v in section %s, which was not offered", format, s.MID)
				}
			}
		}
	})
}
