package sdp

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sightline/internal/fault"
	"sightline/internal/media"
)

const testFingerprint = "D2:54:4B:9F:4E:F2:21:27:CD:10:AE:C1:B1:6A:00:F5:ED:41:6C:21:AB:05:73:D1:CE:27:BE:BA:80:27:DF:78"

// plainOffer is a publisher's offer that changes are made to.
var plainOffer = strings.ReplaceAll(`v=0
o=- 1 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE a v
a=ice-options:trickle ice2
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=mid:a
a=ice-ufrag:abcd
a=ice-pwd:0123456789012345678901
a=fingerprint:sha-256 `+testFingerprint+`
a=setup:actpass
a=sendonly
a=msid:camera sound
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;useinbandfec=1
a=ssrc:11 cname:x
m=video 9 UDP/TLS/RTP/SAVPF 96 97
c=IN IP4 0.0.0.0
a=mid:v
a=ice-ufrag:abcd
a=ice-pwd:0123456789012345678901
a=fingerprint:sha-256 `+testFingerprint+`
a=setup:actpass
a=sendonly
a=msid:camera picture
a=rtcp-mux
a=rtcp-rsize
a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:5 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id
a=rtpmap:96 H264/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=ssrc-group:FID 21 22
a=ssrc:21 cname:x
a=ssrc:22 cname:x
`, "\n", "\r\n")

// edit replaces pairs of old and new in the plain offer, everywhere. \n stands for CRLF.
func edit(t testing.TB, pairs ...string) []byte {
	t.Helper()
	s := plainOffer
	for i := 0; i < len(pairs); i += 2 {
		old := strings.ReplaceAll(pairs[i], "\n", "\r\n")
		if !strings.Contains(s, old) {
			t.Fatalf("the offer has no %q", old)
		}
		s = strings.ReplaceAll(s, old, strings.ReplaceAll(pairs[i+1], "\n", "\r\n"))
	}
	return []byte(s)
}

// viewerOffer is the plain offer turned round.
func viewerOffer(t testing.TB, pairs ...string) []byte {
	t.Helper()
	return edit(t, append([]string{"a=sendonly", "a=recvonly"}, pairs...)...)
}

// TestMalformedOffersAreBadRequests: item 4.
func TestMalformedOffersAreBadRequests(t *testing.T) {
	long := strings.Repeat("x", 60<<10)
	for _, tt := range []struct {
		name string
		body []byte
	}{
		{"row 5: empty", nil},
		{"row 5: only line ends", []byte("\r\n\r\n")},
		{"row 10: NUL", edit(t, "s=-", "s=\x00")},
		{"row 10: invalid UTF-8", edit(t, "s=-", "s=\xff\xfe")},
		{"row 10: bare CR", edit(t, "s=-", "s=a\rb")},
		{"row 49: no v=", edit(t, "v=0\n", "")},
		{"row 49: no o=", edit(t, "o=- 1 2 IN IP4 127.0.0.1\n", "")},
		{"row 49: no s=", edit(t, "s=-\n", "")},
		{"row 49: no t=", edit(t, "t=0 0\n", "")},
		{"row 49: no m=", []byte(plainOffer[:strings.Index(plainOffer, "m=audio")])},
		{"another version", edit(t, "v=0", "v=1")},
		{"o= too short", edit(t, "o=- 1 2 IN IP4 127.0.0.1", "o=- 1 2")},
		{"a line without =", edit(t, "t=0 0", "t=0 0\nnonsense")},
		{"an empty line inside", edit(t, "t=0 0", "t=0 0\n")},
		{"a session line in a section", edit(t, "a=mid:v", "t=0 0\na=mid:v")},
		{"JSON", []byte(`{"type":"offer"}`)},
		{"m= too short", edit(t, "m=video 9 UDP/TLS/RTP/SAVPF 96 97", "m=video 9")},
		{"port out of range", edit(t, "m=video 9 ", "m=video 65536 ")},
		{"payload type out of range", edit(t, "SAVPF 96 97", "SAVPF 96 128")},
		{"row 50: m= without mid", edit(t, "a=mid:v\n", "")},
		{"row 50: empty mid", edit(t, "a=mid:v\n", "a=mid:\n")},
		{"row 50: duplicate mids", edit(t, "a=mid:v\n", "a=mid:a\n")},
		{"row 54: bad hex in the fingerprint", edit(t, "D2:54", "D2:5G")},
		{"row 54: fingerprint too short", edit(t, "D2:54:", "")},
		{"row 54: fingerprint without value", edit(t, "sha-256 "+testFingerprint, "sha-256")},
		{"row 38: ufrag of 3 bytes", edit(t, "ufrag:abcd", "ufrag:abc")},
		{"row 38: ufrag of 257 bytes", edit(t, "ufrag:abcd", "ufrag:"+strings.Repeat("a", 257))},
		{"row 38: pwd of 21 bytes", edit(t, "pwd:0123456789012345678901", "pwd:012345678901234567890")},
		{"row 38: pwd of 257 bytes", edit(t, "pwd:0123456789012345678901", "pwd:"+strings.Repeat("a", 257))},
		{"row 38: ufrag with a character that is no ice-char", edit(t, "ufrag:abcd", "ufrag:ab_d")},
		{"no ufrag", edit(t, "a=ice-ufrag:abcd\n", "")},
		{"no pwd", edit(t, "a=ice-pwd:0123456789012345678901\n", "")},
		{"row 66: fmtp of 60 KiB", edit(t, "a=fmtp:96 ", "a=fmtp:96 x="+long+";")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := Parse(tt.body)
			if fault.KindOf(err) != fault.BadRequest || o != nil && err == nil {
				t.Errorf("got %v, want a %s", err, fault.BadRequest)
			}
		})
	}
}

// TestOfferThatNoGatewayShouldReadIsTooLarge: row 6, for callers that don't limit.
func TestOfferThatNoGatewayShouldReadIsTooLarge(t *testing.T) {
	_, err := Parse([]byte(plainOffer + strings.Repeat("a=x\r\n", 16<<10)))
	if fault.KindOf(err) != fault.TooLarge {
		t.Errorf("got %v, want a %s", err, fault.TooLarge)
	}
}

// TestUnsupportedOffersAreUnprocessable: items 4, 42 to 45, 47.
func TestUnsupportedOffersAreUnprocessable(t *testing.T) {
	const video = "m=video 9 UDP/TLS/RTP/SAVPF 96\nc=IN IP4 0.0.0.0\na=mid:%s\na=sendonly\na=rtcp-mux\na=rtpmap:96 H264/90000\na=fmtp:96 packetization-mode=1\n"
	many := plainOffer
	for i := range 200 {
		many += strings.ReplaceAll(fmt.Sprintf(video, fmt.Sprint("n", i)), "\n", "\r\n")
	}
	more := func(kind string) []byte {
		s := strings.Replace(fmt.Sprintf(video, "w"), "m=video", "m="+kind, 1)
		return append(edit(t, "BUNDLE a v", "BUNDLE a v w"), strings.ReplaceAll(s, "\n", "\r\n")...)
	}
	for _, tt := range []struct {
		name string
		body []byte
		r    Request
	}{
		{"row 51: no BUNDLE", edit(t, "a=group:BUNDLE a v\n", ""), publish()},
		{"row 51: two groups", edit(t, "a=group:BUNDLE a v", "a=group:BUNDLE a\na=group:BUNDLE v"), publish()},
		{"row 51: m= outside the group", edit(t, "BUNDLE a v", "BUNDLE a"), publish()},
		{"row 53, item 47: no rtcp-mux", edit(t, "a=rtcp-mux\n", ""), publish()},
		{"row 54: no fingerprint", edit(t, "a=fingerprint:sha-256 "+testFingerprint+"\n", ""), publish()},
		{"row 54: unknown hash", edit(t, "sha-256 ", "sha-257 "), publish()},
		{"row 54: weak hash", edit(t, "sha-256 "+testFingerprint, "sha-1 "+testFingerprint[:59]), publish()},
		{"row 55: SDES without a fingerprint", edit(t, "a=fingerprint:sha-256 "+testFingerprint,
			"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA", "UDP/TLS/RTP/SAVPF", "RTP/SAVPF"), publish()},
		{"a protocol that is no RTP", edit(t, "UDP/TLS/RTP/SAVPF", "UDP/XRTP/SAVPF"), publish()},
		{"row 58, item 42: recvonly publisher", edit(t, "sendonly", "recvonly"), publish()},
		{"row 58, item 42: inactive publisher", edit(t, "sendonly", "inactive"), publish()},
		{"row 58, item 53: sendonly viewer", edit(t), play(opus, h264)},
		{"item 53: inactive viewer", edit(t, "sendonly", "inactive"), play(opus, h264)},
		{"row 59, item 43: two videos", more("video"), publish()},
		{"item 43: two audios", more("audio"), publish()},
		{"item 56: two videos of a viewer", bytes.ReplaceAll(more("video"), []byte("sendonly"), []byte("recvonly")), play(opus, h264)},
		{"row 59, item 43: two streams", edit(t, "camera picture", "screen picture"), publish()},
		{"row 59, item 43: two streams in one section", edit(t, "a=msid:camera picture", "a=msid:camera picture\na=msid:screen picture"), publish()},
		{"row 59, item 43: two streams, at source level", edit(t, "a=msid:camera sound\n", "", "a=msid:camera picture\n", "",
			"a=ssrc:11 cname:x", "a=ssrc:11 msid:camera sound", "a=ssrc:21 cname:x", "a=ssrc:21 msid:screen picture"), publish()},
		{"row 59: 200 m=", []byte(many), publish()},
		{"item 44: a data channel beside the media", append(edit(t, "BUNDLE a v", "BUNDLE a v d"),
			"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\n"...), publish()},
		{"item 44: one section with codecs that nobody knows", edit(t, "opus/48000/2", "speex/8000"), publish()},
		{"row 63: no codec that can be published", edit(t, "H264/90000", "H261/90000"), publish()},
		{"row 63: no codec in common", viewerOffer(t), play(vp8)},
		{"no section of the kind that is sent", viewerOffer(t, "m=video 9", "m=video 0"), play(h264)},
		{"row 66: profile-level-id that is none", edit(t, "42e01f", "zz"), publish()},
		{"item 45: holdconn", edit(t, "setup:actpass", "setup:holdconn"), publish()},
		{"item 45: no setup", edit(t, "a=setup:actpass\n", ""), publish()},
		{"row 70: ICE-lite client", edit(t, "t=0 0", "t=0 0\na=ice-lite"), publish()},
		{"nothing but disabled sections", edit(t, "m=audio 9", "m=audio 0", "m=video 9", "m=video 0"), publish()},
		{"too many SSRCs", edit(t, "a=ssrc:21 cname:x", strings.TrimSuffix(sequence("a=ssrc:%d cname:x\n", 1000, maxSSRCs+1), "\n")), publish()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := Parse(tt.body)
			if err == nil {
				_, err = o.Answer(tt.r)
			}
			if fault.KindOf(err) != fault.Unprocessable {
				t.Errorf("got %v, want an %s", err, fault.Unprocessable)
			}
		})
	}
}

// sequence repeats a line with n numbers.
func sequence(format string, from, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, from+i)
	}
	return b.String()
}

// TestOffersThatAreOnlyUnusualAreAnswered: what the standards allow, and what real clients
// do without harm.
func TestOffersThatAreOnlyUnusualAreAnswered(t *testing.T) {
	for _, tt := range []struct {
		name string
		body []byte
	}{
		{"row 11: LF only", []byte(strings.ReplaceAll(plainOffer, "\r\n", "\n"))},
		{"no line end at the end", []byte(strings.TrimSuffix(plainOffer, "\r\n"))},
		{"empty lines at the end", []byte(plainOffer + "\r\n\r\n")},
		{"lines of unknown attributes", edit(t, "a=mid:v", "a=framerate:30\na=x-google\nb=AS:500\na=mid:v")},
		{"item 42: sendrecv", edit(t, "a=sendonly", "a=sendrecv")},
		{"item 42: no direction at all is sendrecv", edit(t, "a=sendonly\n", "")},
		{"direction at session level", edit(t, "a=sendonly\n", "", "t=0 0", "t=0 0\na=sendonly")},
		{"session level overruled by media level", edit(t, "t=0 0", "t=0 0\na=inactive")},
		{"item 46: a mid in the group that has no section (FFmpeg 8.0)", edit(t, "BUNDLE a v", "BUNDLE 0 a v 1")},
		{"groups of other semantics (OBS)", edit(t, "a=group:BUNDLE a v", "a=group:LS a v\na=group:BUNDLE a v")},
		{"row 57, item 45, T4: setup passive", edit(t, "setup:actpass", "setup:passive")},
		{"item 45: setup active", edit(t, "setup:actpass", "setup:active")},
		{"row 61: bundle-only and port 0", edit(t, "m=video 9", "m=video 0", "a=mid:v", "a=bundle-only\na=mid:v")},
		{"bundle-only without transport attributes (RFC 9143, section 7.1.3)", edit(t, "m=video 9", "m=video 0",
			"a=mid:v\na=ice-ufrag:abcd\na=ice-pwd:0123456789012345678901\na=fingerprint:sha-256 "+testFingerprint+"\na=setup:actpass\n",
			"a=bundle-only\na=mid:v\n")},
		{"a stream that is none beside one (Chromium)", edit(t, "camera picture", "- picture")},
		{"row 54: a known hash beside an unknown one", edit(t, "a=fingerprint:sha-256", "a=fingerprint:md5 00\na=fingerprint:sha-256")},
		{"hash in capitals", edit(t, "sha-256", "SHA-256")},
		{"item 34: credentials at session level", edit(t, "a=ice-ufrag:abcd\n", "", "a=ice-pwd:0123456789012345678901\n", "",
			"t=0 0", "t=0 0\na=ice-ufrag:abcd\na=ice-pwd:0123456789012345678901")},
		{"fingerprint and setup at session level (Firefox)", edit(t, "a=fingerprint:sha-256 "+testFingerprint+"\n", "", "a=setup:actpass\n", "",
			"t=0 0", "t=0 0\na=setup:actpass\na=fingerprint:sha-256 "+testFingerprint)},
		{"rtcp-mux-only and bundle-only beside rtcp-mux (GStreamer)", edit(t, "a=rtcp-mux\n", "a=bundle-only\na=rtcp-mux\na=rtcp-mux-only\n")},
		{"codec name in capitals (GStreamer)", edit(t, "opus/48000/2", "OPUS/48000/2")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, a := mustAnswer(t, tt.body, publish())
			if len(a.Sections) != 2 || strings.Contains(string(a.SDP), " 0 UDP/TLS") {
				t.Errorf("got %d sections, want 2:\n%s", len(a.Sections), a.SDP)
			}
		})
	}
}

// TestProfileIsRepeatedExactly: row 55, item 48 (RFC 9429, section 5.1.2).
func TestProfileIsRepeatedExactly(t *testing.T) {
	for _, profile := range []string{
		"RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF", "TCP/DTLS/RTP/SAVP", "TCP/DTLS/RTP/SAVPF",
	} {
		_, a := mustAnswer(t, edit(t, "UDP/TLS/RTP/SAVPF", profile), publish())
		for _, m := range linesOf(a.SDP, "m=") {
			if got := strings.Fields(m)[2]; got != profile {
				t.Errorf("got %s, want %s", got, profile)
			}
		}
	}
}

// TestTransportIsThatOfTheTaggedSection: media level wins over session level (RFC 8839,
// section 5.4), and the first section of the bundle over the others (RFC 9143, section 7.2).
func TestTransportIsThatOfTheTaggedSection(t *testing.T) {
	other := strings.Replace(testFingerprint, "D2", "00", 1)
	body := edit(t,
		"t=0 0", "t=0 0\na=ice-ufrag:session\na=ice-pwd:sessionsessionsessionsession\na=setup:passive\na=fingerprint:sha-256 "+other,
		"BUNDLE a v", "BUNDLE v a",
		"a=mid:v\na=ice-ufrag:abcd", "a=mid:v\na=candidate:1 1 udp 1 192.0.2.7 7 typ host\na=ice-ufrag:video")
	o, a := mustAnswer(t, body, publish())
	if o.Ufrag != "video" || o.Pwd != "0123456789012345678901" || o.Setup != "actpass" || o.Fingerprints[0].Value[0] != 0xd2 {
		t.Errorf("got %+v, want the video section's own", o.Transport)
	}
	if want := []string{"1 1 udp 1 192.0.2.7 7 typ host"}; !slices.Equal(o.Candidates, want) || !slices.Equal(a.Remote.Candidates, want) {
		t.Errorf("got candidates %q, want %q", o.Candidates, want)
	}
	if sections := sectionsOf(a.SDP); strings.Contains(sections[1], "a=candidate") || !strings.Contains(sections[2], "a=candidate") {
		t.Errorf("the candidates are not in the tagged section:\n%s", a.SDP)
	}
	if got := linesOf(a.SDP, "a=group:"); !slices.Equal(got, []string{"BUNDLE v a"}) {
		t.Errorf("got group %q, want the offer's order", got)
	}
}

// TestDifferentCredentialsForEachSection: aiortc has them although it bundles. Those of the tagged
// section count, also if nothing is sent in it; if it must be rejected, those of the next.
func TestDifferentCredentialsForEachSection(t *testing.T) {
	body := realOffer(t, "aiortc-1.4.0-whep")
	o, a := mustAnswer(t, body, play(opus, h264))
	if o.Ufrag != "Hajh" || a.Remote.Ufrag != "Hajh" {
		t.Errorf("got %s and %s for both kinds, want Hajh", o.Ufrag, a.Remote.Ufrag)
	}
	if _, a = mustAnswer(t, body, play(h264)); a.Remote.Ufrag != "Hajh" {
		t.Errorf("got %s for video alone, want Hajh", a.Remote.Ufrag)
	}
	body = []byte(strings.ReplaceAll(string(body), "opus/48000/2", "G722/8000"))
	_, a = mustAnswer(t, body, play(h264))
	if a.Remote.Ufrag != "rHRP" || a.Remote.Pwd != "Xcn6mwKnRslPqWmU1jw4nA" {
		t.Errorf("got %s without a codec in the tagged section, want rHRP", a.Remote.Ufrag)
	}
	if want := []string{"af27b904e6408300259d80f63323e9c7 1 udp 2130706431 10.77.0.2 57113 typ host"}; !slices.Equal(a.Remote.Candidates, want) {
		t.Errorf("got candidates %q, want %q", a.Remote.Candidates, want)
	}
}

// TestCandidatesOfTheTransportAreKeptWhenNothingIsSentInItsSection: GStreamer lists them in its
// first section only, for all.
func TestCandidatesOfTheTransportAreKeptWhenNothingIsSentInItsSection(t *testing.T) {
	o, a := mustAnswer(t, realOffer(t, "gst-1.28.8-webrtcbin-whep"), play(opus))
	if len(o.Candidates) == 0 || !slices.Equal(a.Remote.Candidates, o.Candidates) {
		t.Errorf("got candidates %q, want %q", a.Remote.Candidates, o.Candidates)
	}
}

// TestCandidatesBelongToTheirCredentials: a section with credentials of its own and no
// candidates yet doesn't get those of another.
func TestCandidatesBelongToTheirCredentials(t *testing.T) {
	body := viewerOffer(t, "a=mid:a", "a=mid:a\na=candidate:"+host1, "a=mid:v\na=ice-ufrag:abcd", "a=mid:v\na=ice-ufrag:other",
		"opus/48000/2", "G722/8000")
	_, a := mustAnswer(t, body, play(h264))
	if a.Remote.Ufrag != "other" || len(a.Remote.Candidates) != 0 {
		t.Errorf("got %s with candidates %q, want other without any", a.Remote.Ufrag, a.Remote.Candidates)
	}
}

// TestWhatAnOfferTells: what other packages read of an offer.
func TestWhatAnOfferTells(t *testing.T) {
	o, err := Parse(realOffer(t, "ffmpeg-9.0.2-whip"))
	if err != nil {
		t.Fatal(err)
	}
	if o.SessionName != "FFmpegPublishSession" || o.Setup != "passive" || len(o.ICEOptions) != 0 || len(o.Candidates) != 0 {
		t.Errorf("got %+v", o)
	}
	if len(o.Media) != 2 || o.Media[0].Kind != media.Audio || o.Media[0].MID != "0" || o.Media[1].Kind != media.Video {
		t.Errorf("got media %+v", o.Media)
	}
	o, err = Parse(realOffer(t, "gst-1.28.8-simple-whip-client-notrickle"))
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Candidates) != 6 || !o.EndOfCandidates {
		t.Errorf("got %d candidates, end %t, want 6, true", len(o.Candidates), o.EndOfCandidates)
	}
}
