package sdp

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sightline/internal/media"
)

// videoOffer has one video section with the payload types from 100 on, each written as
// "H264/90000 fmtp"; all have RTX and feedback.
func videoOffer(t testing.TB, direction string, codecs ...string) []byte {
	t.Helper()
	var numbers, attributes strings.Builder
	for i, c := range codecs {
		pt := 100 + i
		rtpmap, fmtp, ok := strings.Cut(c, " ")
		fmt.Fprintf(&numbers, " %d", pt)
		fmt.Fprintf(&attributes, "a=rtpmap:%d %s\n", pt, rtpmap)
		if ok {
			fmt.Fprintf(&attributes, "a=fmtp:%d %s\n", pt, fmtp)
		}
	}
	head, _, _ := strings.Cut(string(edit(t, "BUNDLE a v", "BUNDLE v")), "m=audio")
	return []byte(head + strings.ReplaceAll("m=video 9 UDP/TLS/RTP/SAVPF"+numbers.String()+
		"\nc=IN IP4 0.0.0.0\na=mid:v\na=ice-ufrag:abcd\na=ice-pwd:0123456789012345678901\na=fingerprint:sha-256 "+testFingerprint+
		"\na=setup:actpass\na="+direction+"\na=rtcp-mux\na=rtcp-fb:* nack\na=rtcp-fb:* nack pli\na=rtcp-fb:* ccm fir\n"+attributes.String(), "\n", "\r\n"))
}

// formatsOf lists an answer's video formats as "number name fmtp".
func formatsOf(a *Answer) []string {
	var out []string
	for _, f := range a.Sections[len(a.Sections)-1].Formats {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%d %s %s", f.PayloadType, f.Codec.Name, f.Codec.Fmtp)))
	}
	return out
}

// TestPublishedCodecs: item 50, row 66, and the codecs that the gateway carries, in the
// offer's order.
func TestPublishedCodecs(t *testing.T) {
	for _, tt := range []struct {
		name    string
		offered []string
		want    []string
	}{
		{"all of them, in the offer's order", []string{"AV1/90000", "VP9/90000 profile-id=0", "VP8/90000", "H265/90000 level-id=93", "H264/90000 packetization-mode=1"},
			[]string{"100 AV1", "101 VP9 profile-id=0", "102 VP8", "103 H265 level-id=93", "104 H264 packetization-mode=1"}},
		{"item 50: profile and mode are kept per payload type",
			[]string{"H264/90000 packetization-mode=1;profile-level-id=42001f", "H264/90000 packetization-mode=1;profile-level-id=640028", "H264/90000 packetization-mode=1;profile-level-id=4d0032"},
			[]string{"100 H264 packetization-mode=1;profile-level-id=42001f", "101 H264 packetization-mode=1;profile-level-id=640028", "102 H264 packetization-mode=1;profile-level-id=4d0032"}},
		{"mode 0 where mode 1 is offered", []string{"H264/90000 profile-level-id=42e01f", "H264/90000 packetization-mode=1"}, []string{"101 H264 packetization-mode=1"}},
		{"mode 0 alone", []string{"H264/90000 profile-level-id=42e01f"}, []string{"100 H264 profile-level-id=42e01f"}},
		{"mode 2", []string{"H264/90000 packetization-mode=2", "VP8/90000"}, []string{"101 VP8"}},
		{"row 66: profile-level-id zz", []string{"H264/90000 profile-level-id=zz", "VP8/90000"}, []string{"101 VP8"}},
		{"profile-level-id too long", []string{"H264/90000 profile-level-id=42e01f00", "VP8/90000"}, []string{"101 VP8"}},
		{"profiles that are not carried", []string{"H264/90000 packetization-mode=1;profile-level-id=f4001f", "H264/90000 packetization-mode=1;profile-level-id=58001f", "VP8/90000"}, []string{"102 VP8"}},
		{"unknown and sender's parameters are removed", []string{"H264/90000 packetization-mode=1;sprop-parameter-sets=Z0LAHtoCgL==,aM48gA==;x-secret=1;max-br=9"}, []string{"100 H264 packetization-mode=1"}},
		{"parameters with spaces and capitals", []string{"H264/90000 Packetization-Mode=1; profile-level-id=42E01F"}, []string{"100 H264 packetization-mode=1;profile-level-id=42E01F"}},
		{"a receiver's parameters don't bind a sender (Firefox)", []string{"VP8/90000 max-fs=12288;max-fr=60"}, []string{"100 VP8"}},
		{"wrong clock rate", []string{"H264/8000 packetization-mode=1", "VP8/90000/2", "VP9/90000"}, []string{"102 VP9"}},
		{"name in another case", []string{"h264/90000 packetization-mode=1", "vp8/90000"}, []string{"100 H264 packetization-mode=1", "101 VP8"}},
		{"values out of range", []string{"VP9/90000 profile-id=4", "AV1/90000 profile=3", "H265/90000 profile-id=x", "VP8/90000"}, []string{"103 VP8"}},
		{"several transmissions of H.265", []string{"H265/90000 tx-mode=MRST", "VP8/90000"}, []string{"101 VP8"}},
		{"parameters without end", []string{"H264/90000 " + strings.Repeat("a=1;", maxParameters+1), "VP8/90000"}, []string{"101 VP8"}},
		{"an overlong value", []string{"AV1/90000 tier=" + strings.Repeat("0", 100)}, []string{"100 AV1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, a := mustAnswer(t, videoOffer(t, "sendonly", tt.offered...), publish())
			if got := formatsOf(a); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestOpus: item 50 (RFC 7587): always opus/48000/2, unknown parameters removed.
func TestOpus(t *testing.T) {
	const old = "a=rtpmap:111 opus/48000/2\na=fmtp:111 minptime=10;useinbandfec=1\n"
	_, a := mustAnswer(t, edit(t, old, "a=rtpmap:111 opus/48000/2\na=fmtp:111 stereo=1;x=1;sprop-stereo=1;useinbandfec=1\n"), publish())
	if got := linesOf(a.SDP, "a=fmtp:111 "); !slices.Equal(got, []string{"stereo=1;useinbandfec=1"}) {
		t.Errorf("got %q, want neither x nor what the sender says of itself", got)
	}
	c := a.Sections[0].Formats[0].Codec
	if want := (media.Codec{Name: "opus", ClockRate: 48000, Channels: 2, Fmtp: "stereo=1;sprop-stereo=1;useinbandfec=1"}); c != want {
		t.Errorf("got codec %+v, want %+v", c, want)
	}
	for _, wrong := range []string{"opus/48000", "opus/48000/1", "opus/16000/2", "opus", "opus/x/2"} {
		o, err := Parse(edit(t, old, "a=rtpmap:111 "+wrong+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.Answer(publish()); err == nil {
			t.Errorf("%s is accepted", wrong)
		}
	}
}

// TestRTX: row 65, item 50.
func TestRTX(t *testing.T) {
	for _, tt := range []struct {
		name, apt string
		want      uint8
	}{
		{"of its payload type", "apt=96", 97},
		{"row 65: of a missing one", "apt=98", 0},
		{"row 65: of itself", "apt=97", 0},
		{"without apt", "rtx-time=200", 0},
		{"of no number", "apt=x", 0},
	} {
		_, a := mustAnswer(t, edit(t, "apt=96", tt.apt), publish())
		if got := a.Sections[1].Formats[0].RTX; got != tt.want {
			t.Errorf("%s: got RTX %d, want %d", tt.name, got, tt.want)
		}
		if got := strings.Contains(string(a.SDP), "rtx"); got != (tt.want != 0) {
			t.Errorf("%s: the text has RTX: %t", tt.name, got)
		}
	}
	_, a := mustAnswer(t, edit(t, "a=rtcp-fb:96 nack\n", ""), publish())
	if got := a.Sections[1].Formats[0].RTX; got != 0 {
		t.Errorf("got RTX %d without nack, want none", got)
	}
}

// TestForwardErrorCorrectionIsLeftOut: item 50 (RFC 8854). Losses are repaired by RTX; what
// comes after the media formats in an offer is not answered.
func TestForwardErrorCorrectionIsLeftOut(t *testing.T) {
	body := edit(t, "SAVPF 111", "SAVPF 111 63 110", "a=ssrc:11 ", "a=rtpmap:63 red/48000/2\na=fmtp:63 111/111\na=rtpmap:110 telephone-event/48000\na=ssrc:11 ",
		"SAVPF 96 97", "SAVPF 98 96 97 99 100", "a=ssrc:21 ",
		"a=rtpmap:98 red/90000\na=rtpmap:99 ulpfec/90000\na=rtpmap:100 flexfec-03/90000\na=fmtp:100 repair-window=10000000\na=ssrc:21 ")
	o, a := mustAnswer(t, body, publish())
	checkForm(t, o, a, publish())
	if got := linesOf(a.SDP, "m="); !slices.Equal(got, []string{"audio 9 UDP/TLS/RTP/SAVPF 111", "video 9 UDP/TLS/RTP/SAVPF 96 97"}) {
		t.Errorf("got %q, want Opus, H.264 and its RTX", got)
	}
}

// TestFeedbackForAllPayloadTypesIsTakenForEach: RFC 4585, section 4.2.
func TestFeedbackForAllPayloadTypesIsTakenForEach(t *testing.T) {
	_, a := mustAnswer(t, videoOffer(t, "sendonly", "VP8/90000", "VP9/90000"), publish())
	for _, f := range a.Sections[0].Formats {
		if !f.NACK || !f.PLI || !f.FIR || f.TransportCC {
			t.Errorf("payload type %d: got %+v, want NACK, PLI and FIR", f.PayloadType, f)
		}
	}
	if strings.Contains(string(a.SDP), "rtcp-fb:*") {
		t.Errorf("the answer has a wildcard:\n%s", a.SDP)
	}
}

// TestPayloadTypesThatRTCPNeedsAreNotUsed: RFC 5761, section 4.
func TestPayloadTypesThatRTCPNeedsAreNotUsed(t *testing.T) {
	_, a := mustAnswer(t, edit(t, "SAVPF 96 97", "SAVPF 72 96 97", "a=rtpmap:96", "a=rtpmap:72 VP8/90000\na=rtpmap:96"), publish())
	if got := formatsOf(a); len(got) != 1 || !strings.HasPrefix(got[0], "96 ") {
		t.Errorf("got %q, want 96 alone", got)
	}
}

// TestViewerGetsThePayloadTypeThatFitsBest: section 4, "match H.264 by packetization-mode
// first"; the live codec comes first and the other common ones stay (item 57).
func TestViewerGetsThePayloadTypeThatFitsBest(t *testing.T) {
	const (
		h42   = "H264/90000 packetization-mode=1;profile-level-id=42001f"
		h42e0 = "H264/90000 packetization-mode=1;profile-level-id=42e01f"
		h4d   = "H264/90000 packetization-mode=1;profile-level-id=4d001f"
		h64   = "H264/90000 packetization-mode=1;profile-level-id=64001f"
		hf4   = "H264/90000 packetization-mode=1;profile-level-id=f4001f"
		mode0 = "H264/90000 profile-level-id=42e01f"
	)
	live := func(name, fmtp string) media.Codec { return media.Codec{Name: name, ClockRate: 90000, Fmtp: fmtp} }
	for _, tt := range []struct {
		name    string
		live    media.Codec
		offered []string
		want    []uint8 // payload types in the order of the answer
	}{
		{"same profile", live("H264", "packetization-mode=1;profile-level-id=42e02a"), []string{h42, h42e0, h4d}, []uint8{101, 100, 102}},
		{"High, which browsers decode but don't list", live("H264", "packetization-mode=1;profile-level-id=640028"), []string{h42, h42e0, h4d}, []uint8{102, 100, 101}},
		{"High for a decoder of High 4:4:4", live("H264", "packetization-mode=1;profile-level-id=640028"), []string{h42, h42e0, hf4}, []uint8{102, 100, 101}},
		{"the nearest higher profile", live("H264", "packetization-mode=1;profile-level-id=42001f"), []string{h64, h4d}, []uint8{101, 100}},
		{"Baseline for Constrained Baseline", live("H264", "packetization-mode=1;profile-level-id=42001e"), []string{h42e0}, []uint8{100}},
		{"a stream in mode 0 for a viewer of mode 1", live("H264", "profile-level-id=42e01f"), []string{mode0, h42e0}, []uint8{101}},
		{"mode 0 for mode 0", live("H264", ""), []string{mode0}, []uint8{100}},
		{"mode 1 for a viewer of mode 0", live("H264", "packetization-mode=1"), []string{mode0}, nil},
		{"VP8 behind others", live("VP8", ""), []string{h42, "VP9/90000", "VP8/90000"}, []uint8{102, 100, 101}},
		{"VP9 of the same profile", live("VP9", "profile-id=2"), []string{"VP9/90000", "VP9/90000 profile-id=2"}, []uint8{101, 100}},
		{"VP9 of a lower profile", live("VP9", "profile-id=2"), []string{"VP9/90000", "VP8/90000"}, nil},
		{"VP9 of a higher profile", live("VP9", ""), []string{"VP9/90000 profile-id=2"}, nil},
		{"what can't be read as a profile fits any", live("H264", "profile-level-id=?"), []string{h42}, []uint8{100}},
		{"AV1", live("AV1", "profile=0"), []string{"AV1/90000 profile=1", "AV1/90000"}, []uint8{101, 100}},
		{"AV1 of a higher profile decodes", live("AV1", ""), []string{"AV1/90000 profile=1"}, []uint8{100}},
		{"AV1 of a lower profile does not", live("AV1", "profile=1"), []string{"AV1/90000"}, nil},
		{"H.265 Main", live("H265", "profile-id=1"), []string{"H265/90000 profile-id=2", "H265/90000"}, []uint8{101, 100}},
		{"H.265 Main 10 for Main", live("H265", "profile-id=2"), []string{"H265/90000"}, nil},
		{"nothing in common", live("VP8", ""), []string{h42}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := Parse(videoOffer(t, "recvonly", tt.offered...))
			if err != nil {
				t.Fatal(err)
			}
			a, err := o.Answer(play(tt.live))
			if tt.want == nil {
				if err == nil {
					t.Fatalf("got %q, want none", formatsOf(a))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []uint8
			for _, f := range a.Sections[0].Formats {
				got = append(got, f.PayloadType)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if f, ok := a.Sections[0].Match(tt.live); !ok || f.PayloadType != tt.want[0] {
				t.Errorf("Match: got %d %t, want %d", f.PayloadType, ok, tt.want[0])
			}
		})
	}
}

// TestSourceSwitchFindsItsPayloadType: item 57. A section that was answered for one codec
// carries the others as well.
func TestSourceSwitchFindsItsPayloadType(t *testing.T) {
	_, a := mustAnswer(t, realOffer(t, "chromium-156-whep"), play(opus, h264))
	s := a.Sections[1]
	for want, c := range map[uint8]media.Codec{108: h264, 96: vp8, 45: av1, 98: {Name: "VP9", ClockRate: 90000}} {
		if f, ok := s.Match(c); !ok || f.PayloadType != want || f.RTX == 0 || !f.NACK {
			t.Errorf("%s: got %+v %t, want payload type %d with RTX", c.Name, f, ok, want)
		}
	}
	if f, ok := s.Match(media.Codec{Name: "H265", ClockRate: 90000}); ok {
		t.Errorf("H265: got %+v, want none", f)
	}
}
