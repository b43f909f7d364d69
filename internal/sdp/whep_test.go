package sdp

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"sightline/internal/fault"
	"sightline/internal/media"
)

// TestViewerAnswerIsOneStream: item 56. Every section has an msid with the same stream id,
// the kind as track id, and its SSRCs.
func TestViewerAnswerIsOneStream(t *testing.T) {
	_, a := mustAnswer(t, realOffer(t, "chromium-156-whep"), play(opus, h264))
	if got := linesOf(a.SDP, "a=msid:"); !slices.Equal(got, []string{"console audio", "console video"}) {
		t.Errorf("got msids %q", got)
	}
	audio, video := a.Sections[0], a.Sections[1]
	if audio.SSRC != 1001 || audio.RTXSSRC != 0 || video.SSRC != 1002 || video.RTXSSRC != 1003 {
		t.Errorf("got SSRCs %d/%d and %d/%d", audio.SSRC, audio.RTXSSRC, video.SSRC, video.RTXSSRC)
	}
	if got := linesOf(a.SDP, "a=ssrc-group:"); !slices.Equal(got, []string{"FID 1002 1003"}) {
		t.Errorf("got groups %q", got)
	}
	if got := linesOf(a.SDP, "a=ssrc:"); !slices.Equal(got, []string{"1001 cname:cname", "1002 cname:cname", "1003 cname:cname"}) {
		t.Errorf("got SSRC lines %q", got)
	}
}

// TestSSRCsOfAnAnswerDiffer: also when the generator repeats itself.
func TestSSRCsOfAnAnswerDiffer(t *testing.T) {
	r := play(opus, h264)
	numbers := []uint32{0, 7, 7, 7, 8, 0, 8, 9}
	r.SSRC = func() uint32 {
		n := numbers[0]
		numbers = numbers[1:]
		return n
	}
	_, a := mustAnswer(t, viewerOffer(t), r)
	if a.Sections[0].SSRC != 7 || a.Sections[1].SSRC != 8 || a.Sections[1].RTXSSRC != 9 {
		t.Errorf("got %d, %d, %d, want 7, 8, 9", a.Sections[0].SSRC, a.Sections[1].SSRC, a.Sections[1].RTXSSRC)
	}
}

// TestKindThatIsNotSentIsRejected: T5: port 0, and out of the bundle.
func TestKindThatIsNotSentIsRejected(t *testing.T) {
	for _, tt := range []struct {
		name string // a real client
		send media.Codec
	}{
		{"gst-1.28.8-webrtcbin-whep", h264}, // video first
		{"gst-1.22.0-webrtcbin-whep", h264},
		{"chromium-156-whep", opus}, // audio first
		{"firefox-153esr-whep-h264", opus},
		{"libdatachannel-npm-whep", opus},
	} {
		o, a := mustAnswer(t, realOffer(t, tt.name), play(tt.send))
		checkForm(t, o, a, play(tt.send))
		rejected := sectionsOf(a.SDP)[2]
		if len(a.Sections) != 1 || a.Sections[0].MID != o.Media[0].MID || !strings.HasPrefix(rejected, "m="+o.Media[1].name+" 0 ") {
			t.Errorf("%s: got sections %+v in\n%s", tt.name, a.Sections, a.SDP)
		}
		if got := linesOf(a.SDP, "a=group:"); !slices.Equal(got, []string{"BUNDLE " + a.Sections[0].MID}) {
			t.Errorf("%s: got group %q", tt.name, got)
		}
		// GStreamer refuses an answer without these, even where they mean nothing.
		for _, need := range []string{"a=mid:", "a=ice-ufrag:", "a=ice-pwd:", "a=setup:", "a=inactive"} {
			if !strings.Contains(rejected, "\r\n"+need) {
				t.Errorf("%s: the rejected section has no %s", tt.name, need)
			}
		}
	}
}

// TestTaggedSectionIsKeptInactive: T5, row 62: where nothing is sent in the first section of the
// bundle it keeps the transport, with the candidates, and is no section for us.
func TestTaggedSectionIsKeptInactive(t *testing.T) {
	for _, tt := range []struct {
		name string // a real client
		send media.Codec
		line string // of the kept section
	}{
		{"gst-1.28.8-webrtcbin-whep", opus, "m=video 9 UDP/TLS/RTP/SAVPF "}, // video first
		{"gst-1.22.0-webrtcbin-whep", opus, "m=video 9 UDP/TLS/RTP/SAVPF "},
		{"chromium-156-whep", h264, "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"}, // audio first
		{"firefox-153esr-whep-h264", h264, "m=audio 9 UDP/TLS/RTP/SAVPF 109\r\n"},
		{"libdatachannel-npm-whep", h264, "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"},
	} {
		o, a := mustAnswer(t, realOffer(t, tt.name), play(tt.send))
		checkForm(t, o, a, play(tt.send))
		kept, sent := sectionsOf(a.SDP)[1], sectionsOf(a.SDP)[2]
		if !strings.HasPrefix(kept, tt.line) || !hasLine(kept, "a=inactive") || !strings.Contains(kept, "\r\na=candidate:") {
			t.Errorf("%s: want %q, inactive and with the candidates, got\n%s", tt.name, tt.line, kept)
		}
		if !hasLine(sent, "a=sendonly") || !strings.Contains(sent, "\r\na=ssrc:") {
			t.Errorf("%s: want the other section to be sent, got\n%s", tt.name, sent)
		}
		if len(a.Sections) != 1 || a.Sections[0].MID != o.Media[1].MID || a.Sections[0].SSRC != 1001 {
			t.Errorf("%s: got sections %+v, want the one that is sent", tt.name, a.Sections)
		}
		if got, want := linesOf(a.SDP, "a=group:"), "BUNDLE "+o.Media[0].MID+" "+o.Media[1].MID; !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got group %q, want %q", tt.name, got, want)
		}
		// A restart speaks of the same section.
		if reply := a.WriteFragment("ufrag", "pwd", nil); !hasLine(string(reply), "a=mid:"+o.Media[0].MID) {
			t.Errorf("%s: the reply to a restart is not about the tagged section:\n%s", tt.name, reply)
		}
	}
}

// TestTaggedSectionIsRejectedWhereItMustBe: what has no codec that we know (RFC 3264, section 6),
// or none whose number the section that is sent has not.
func TestTaggedSectionIsRejectedWhereItMustBe(t *testing.T) {
	for _, tt := range []struct {
		name  string
		pairs []string
	}{
		{"no codec that we know", []string{"opus/48000/2", "G722/8000"}},
		{"another protocol", []string{"m=audio 9 UDP/TLS/RTP/SAVPF", "m=audio 9 RTP/QUIC"}},
		{"the payload types of the other section", []string{"m=audio 9 UDP/TLS/RTP/SAVPF 111", "m=audio 9 UDP/TLS/RTP/SAVPF 96", "a=rtpmap:111", "a=rtpmap:96", "a=fmtp:111", "a=fmtp:96"}},
		{"not wanted by the offerer", []string{"m=audio 9", "m=audio 0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, a := mustAnswer(t, viewerOffer(t, tt.pairs...), play(h264))
			checkForm(t, o, a, play(h264))
			if got := linesOf(a.SDP, "m=audio 0 "); len(got) != 1 || len(a.Sections) != 1 {
				t.Errorf("want audio rejected and video sent, got\n%s", a.SDP)
			}
			if s := sectionsOf(a.SDP)[2]; !strings.Contains(s, "\r\na=candidate:") {
				t.Errorf("want the candidates in the section that is left, got\n%s", a.SDP)
			}
		})
	}
}

// TestDataChannelOfAViewerIsRejected: T5, wherever it stands.
func TestDataChannelOfAViewerIsRejected(t *testing.T) {
	for _, bundle := range []string{"BUNDLE a v d", "BUNDLE d a v"} {
		body := append(viewerOffer(t, "BUNDLE a v", bundle), ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\n" +
			"a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=sctp-port:5000\r\n")...)
		o, a := mustAnswer(t, body, play(opus, h264))
		checkForm(t, o, a, play(opus, h264))
		if s := sectionsOf(a.SDP)[3]; !strings.HasPrefix(s, "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n") {
			t.Errorf("got %q", s)
		}
	}
}

// TestOneKindWithoutCommonCodecIsNotSent: the other one is played. The tagged section is kept
// although what it offers isn't sent.
func TestOneKindWithoutCommonCodecIsNotSent(t *testing.T) {
	for _, tt := range []struct{ bundle, want string }{
		{"BUNDLE a v", "m=video 0 UDP/TLS/RTP/SAVPF 96"},
		{"BUNDLE v a", "m=video 9 UDP/TLS/RTP/SAVPF 96"},
	} {
		o, a := mustAnswer(t, viewerOffer(t, "BUNDLE a v", tt.bundle), play(opus, vp8))
		checkForm(t, o, a, play(opus, vp8))
		if len(a.Sections) != 1 || a.Sections[0].Kind != media.Audio {
			t.Errorf("got sections %+v, want audio alone", a.Sections)
		}
		if s := sectionsOf(a.SDP)[2]; !strings.HasPrefix(s, tt.want) {
			t.Errorf("%s: want %q, got\n%s", tt.bundle, tt.want, s)
		}
	}
}

// TestNoCommonCodecSaysWhatThereIs: row 63, section 4.
func TestNoCommonCodecSaysWhatThereIs(t *testing.T) {
	o, err := Parse(viewerOffer(t))
	if err != nil {
		t.Fatal(err)
	}
	_, err = o.Answer(play(vp8))
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != fault.Unprocessable {
		t.Fatalf("got %v", err)
	}
	offered, _ := f.Fields["offered"].([]string)
	available, _ := f.Fields["available"].([]string)
	if !slices.Equal(available, []string{"VP8"}) || !slices.Contains(offered, "H264 packetization-mode=1;profile-level-id=42e01f") {
		t.Errorf("got offered %q and available %q", offered, available)
	}
	if !strings.Contains(f.Detail, "VP8") {
		t.Errorf("got detail %q, want it to name VP8", f.Detail)
	}
	o, err = Parse(edit(t, "H264/90000", "H261/90000"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = o.Answer(publish())
	if !errors.As(err, &f) || !slices.Contains(f.Fields["offered"].([]string), "H261 packetization-mode=1;profile-level-id=42e01f") ||
		!slices.Contains(f.Fields["available"].([]string), "VP8") {
		t.Errorf("got %v with %v", err, f.Fields)
	}
}

// TestViewerIsNotPromisedWhatOnlyPublishersGet: transport-wide feedback and stream ids are
// for what is received.
func TestViewerIsNotPromisedWhatOnlyPublishersGet(t *testing.T) {
	_, a := mustAnswer(t, realOffer(t, "chromium-156-whep"), play(opus, h264))
	for _, never := range []string{"transport-cc", ExtensionTransportCC, ExtensionRID, "a=rid", "a=simulcast"} {
		if strings.Contains(string(a.SDP), never) {
			t.Errorf("the answer says %s", never)
		}
	}
	if got := a.Sections[1].Extensions; got[ExtensionMID] != 4 || got[ExtensionVideoOrientation] != 13 || len(got) != 2 {
		t.Errorf("got extensions %v", got)
	}
}

// TestViewerMayOfferToSend: item 53. sendrecv is answered sendonly.
func TestViewerMayOfferToSend(t *testing.T) {
	for _, pairs := range [][]string{{"a=sendonly", "a=sendrecv"}, {"a=sendonly\n", ""}} {
		o, a := mustAnswer(t, edit(t, pairs...), play(opus, h264))
		checkForm(t, o, a, play(opus, h264))
	}
}
