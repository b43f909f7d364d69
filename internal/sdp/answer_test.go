package sdp

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sightline/internal/fault"
	"sightline/internal/media"
)

// checkForm holds any answer to what is true of all of them.
func checkForm(t *testing.T, o *Offer, a *Answer, r Request) {
	t.Helper()
	text := string(a.SDP)
	if !strings.HasPrefix(text, "v=0\r\n") || !strings.HasSuffix(text, "\r\n") {
		t.Errorf("got an answer that doesn't begin with v= or end with CRLF")
	}
	if strings.Count(text, "\n") != strings.Count(text, "\r\n") || strings.Count(text, "\r") != strings.Count(text, "\r\n") {
		t.Errorf("got line ends other than CRLF")
	}
	for _, never := range []string{"a=bundle-only", "a=ice-lite", "a=tls-id", "a=crypto"} {
		if strings.Contains(text, "\r\n"+never) {
			t.Errorf("the answer says %s", never)
		}
	}
	for _, l := range append(linesOf(a.SDP, "a=simulcast:"), linesOf(a.SDP, "a=rid:")...) {
		if strings.Contains(l, "~") {
			t.Errorf("the answer pauses a layer: %q", l)
		}
	}
	sections := sectionsOf(a.SDP)
	if len(sections)-1 != len(o.Media) {
		t.Fatalf("got %d m= sections, want %d", len(sections)-1, len(o.Media))
	}
	var mids []string
	direction := "a=sendonly"
	if r.Publish {
		direction = "a=recvonly"
	}
	for i, s := range sections[1:] {
		m := &o.Media[i]
		f := strings.Fields(strings.SplitN(s, "\r\n", 2)[0])
		if f[0] != "m="+m.name || f[2] != m.protocol || !hasLine(s, "a=mid:"+m.MID) {
			t.Errorf("section %d begins with %q, want the offer's kind, protocol and mid", i, f)
		}
		for _, pt := range f[3:] {
			if !slices.ContainsFunc(m.formats, func(f string) bool { return sameNumber(f, pt) }) {
				t.Errorf("section %d: payload type %s is not in the offer", i, pt)
			}
		}
		sent := slices.ContainsFunc(a.Sections, func(s Section) bool { return s.MID == m.MID })
		kept := !sent && f[1] == "9"
		accepted := sent || kept
		if want := map[bool]string{true: "9", false: "0"}[accepted]; f[1] != want {
			t.Errorf("section %d: got port %s, want %s", i, f[1], want)
		}
		if accepted {
			mids = append(mids, m.MID)
			if want := map[bool]string{true: direction, false: "a=inactive"}[sent]; !hasLine(s, want) || !hasLine(s, "a=rtcp-mux") {
				t.Errorf("section %d lacks %s or a=rtcp-mux", i, want)
			}
		}
		if kept && (r.Publish || i != o.order[0] || strings.Contains(s, "\r\na=ssrc") || strings.Contains(s, "\r\na=msid:")) {
			t.Errorf("section %d is kept inactive, which only a viewer's tagged one is, and without a stream", i)
		}
		if hasLine(s, "a=rtcp-mux-only") != (accepted && r.RTCPMuxOnly) {
			t.Errorf("section %d: a=rtcp-mux-only is wrong", i)
		}
		if hasLine(s, "a=rtcp-rsize") && !has(m.attributes, "rtcp-rsize") {
			t.Errorf("section %d: a=rtcp-rsize was not offered", i)
		}
		checkOffered(t, m, s)
	}
	groups := linesOf(a.SDP, "a=group:")
	if len(groups) != 1 || !strings.HasPrefix(groups[0], "BUNDLE ") {
		t.Fatalf("got groups %q, want one BUNDLE group", groups)
	}
	group := strings.Fields(groups[0])[1:]
	if slices.Sort(mids); !slices.Equal(slices.Sorted(slices.Values(group)), mids) {
		t.Errorf("got group %q, want the accepted sections %q", group, mids)
	}
	tagged := slices.IndexFunc(o.Media, func(m Media) bool { return m.MID == group[0] })
	for i, s := range sections {
		want := 0
		if i == tagged+1 {
			want = len(r.Candidates)
		}
		if got := strings.Count(s, "\r\na=candidate:"); got != want {
			t.Errorf("section %d has %d candidates, want %d", i-1, got, want)
		}
	}
}

var offeredLine = regexp.MustCompile(`^a=(rtcp-fb|extmap):([0-9]+)(/[a-z]+)? (.*)$`)

// checkOffered compares a section's feedback and header extensions with the offer's.
func checkOffered(t *testing.T, m *Media, section string) {
	t.Helper()
	for l := range strings.SplitSeq(section, "\r\n") {
		f := offeredLine.FindStringSubmatch(l)
		if f == nil {
			continue
		}
		found := slices.ContainsFunc(m.attributes, func(a attribute) bool {
			head, rest, _ := strings.Cut(a.value, " ")
			number, _, _ := strings.Cut(head, "/")
			rest = strings.TrimSpace(rest)
			if a.name == "extmap" {
				rest, _, _ = strings.Cut(rest, " ")
			}
			return a.name == f[1] && (number == "*" || sameNumber(number, f[2])) && rest == f[4]
		})
		if !found {
			t.Errorf("section %s: %q was not offered", m.MID, l)
		}
	}
}

// sameNumber compares payload types and ids, or other formats as they are.
func sameNumber(a, b string) bool {
	m, err := strconv.Atoi(a)
	n, err2 := strconv.Atoi(b)
	return a == b || err == nil && err2 == nil && m == n
}

// TestAnswersHaveTheFormThatTheStandardsAsk: items 42, 46, 47, 48, 51 and 53, T1 and T2,
// for every real offer, with both kinds and with one.
func TestAnswersHaveTheFormThatTheStandardsAsk(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			o, a := mustAnswer(t, s.body, s.request())
			checkForm(t, o, a, s.request())
			if s.publish {
				return
			}
			for kind := range s.request().Send {
				r := s.request()
				delete(r.Send, kind)
				o, a := mustAnswer(t, s.body, r)
				checkForm(t, o, a, r)
			}
		})
	}
}

// TestMuxOnlyCanBeSwitchedOff: T1.
func TestMuxOnlyCanBeSwitchedOff(t *testing.T) {
	r := publish()
	r.RTCPMuxOnly = false
	_, a := mustAnswer(t, []byte(plainOffer), r)
	if strings.Contains(string(a.SDP), "mux-only") {
		t.Errorf("got rtcp-mux-only although it is off")
	}
}

// TestFFmpegCanReadTheAnswer: it begins with v=, has at most 8192 bytes, and its first
// candidate is a UDP host one with an IPv4 address, as the request lists it.
func TestFFmpegCanReadTheAnswer(t *testing.T) {
	for _, name := range []string{"ffmpeg-9.0.2-whip", "ffmpeg-9.0.2-whip-307", "ffmpeg-9.0.2-whip-dtls-active", "obs-32.2.2-ffmpeg-output"} {
		_, a := mustAnswer(t, realOffer(t, name), publish())
		if !strings.HasPrefix(string(a.SDP), "v=") || len(a.SDP) > 8192 {
			t.Errorf("%s: got %d bytes beginning with %q", name, len(a.SDP), a.SDP[:2])
		}
		if got := linesOf(a.SDP, "a=candidate:"); len(got) == 0 || got[0] != ourCandidates[0] {
			t.Errorf("%s: got candidates %q, want %q first", name, got, ourCandidates[0])
		}
		if len(linesOf(a.SDP, "a=fingerprint:")) == 0 {
			t.Errorf("%s: no fingerprint", name)
		}
	}
}

// TestEveryAnswerStaysSmall: FFmpeg's limit holds for all clients.
func TestEveryAnswerStaysSmall(t *testing.T) {
	for _, s := range samples(t) {
		if _, a := mustAnswer(t, s.body, s.request()); len(a.SDP) > 8192 {
			t.Errorf("%s: got %d bytes, want at most 8192", s.name, len(a.SDP))
		}
	}
}

// TestDTLSRoles: item 45, row 57, T4. The gateway is the server where it may choose.
func TestDTLSRoles(t *testing.T) {
	for offered, want := range map[string]string{"actpass": "passive", "passive": "active", "active": "passive"} {
		_, a := mustAnswer(t, edit(t, "setup:actpass", "setup:"+offered), publish())
		if got := linesOf(a.SDP, "a=setup:"); !slices.Equal(got, []string{want, want}) || a.DTLSClient != (want == "active") {
			t.Errorf("offered %s: got %q, client %t, want %s", offered, got, a.DTLSClient, want)
		}
	}
}

// TestICEOptionsAreAnsweredOnlyIfOffered: item 48.
func TestICEOptionsAreAnsweredOnlyIfOffered(t *testing.T) {
	for offered, want := range map[string][]string{
		"a=ice-options:trickle ice2\n":              {"trickle", "ice2"},
		"a=ice-options:trickle\n":                   {"trickle"},
		"a=ice-options:ice2,trickle trickle\n":      {"trickle", "ice2"}, // libdatachannel
		"a=ice-options:renomination\n":              nil,
		"a=ice-options:ice2\na=ice-options:other\n": {"ice2"},
		"": nil,
	} {
		_, a := mustAnswer(t, edit(t, "a=ice-options:trickle ice2\n", offered), publish())
		var line []string
		for _, l := range linesOf(a.SDP, "a=ice-options:") {
			line = append(line, strings.Fields(l)...)
		}
		if !slices.Equal(a.ICEOptions, want) || !slices.Equal(line, want) {
			t.Errorf("%q: got %q and in the text %q, want %q", offered, a.ICEOptions, line, want)
		}
	}
}

// TestTLSIDIsNotAnswered: item 48 (RFC 8842). It would bind the DTLS association, and no
// client of WHIP or WHEP has one.
func TestTLSIDIsNotAnswered(t *testing.T) {
	o, a := mustAnswer(t, edit(t, "a=setup:actpass", "a=setup:actpass\na=tls-id:abc3de65cddef001be82"), publish())
	checkForm(t, o, a, publish())
	if strings.Contains(string(a.SDP), "tls-id") {
		t.Errorf("the answer says tls-id:\n%s", a.SDP)
	}
}

// TestAnswerHoldsAllCandidatesAndTheirEnd: item 40.
func TestAnswerHoldsAllCandidatesAndTheirEnd(t *testing.T) {
	_, a := mustAnswer(t, []byte(plainOffer), publish())
	section := sectionsOf(a.SDP)[1]
	if got := linesOf(a.SDP, "a=candidate:"); !slices.Equal(got, ourCandidates) {
		t.Errorf("got candidates %q, want %q", got, ourCandidates)
	}
	if !strings.HasSuffix(section, "\r\na=end-of-candidates") {
		t.Errorf("the candidates are not followed by a=end-of-candidates:\n%s", section)
	}
}

// TestHeaderExtensions: row 67, item 48, RFC 8285.
func TestHeaderExtensions(t *testing.T) {
	const mid, twcc = ExtensionMID, ExtensionTransportCC
	const old = "a=extmap:3 " + mid + "\na=extmap:5 " + ExtensionRID + "\n"
	for _, tt := range []struct {
		name, extmap string
		want         map[string]uint8
		line         string // one that the answer has
	}{
		{"all that are known", old, map[string]uint8{mid: 3, ExtensionRID: 5}, "a=extmap:3 " + mid},
		{"unknown ones are left out", "a=extmap:3 urn:x\na=extmap:4 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\n", map[string]uint8{}, ""},
		{"row 67: id 0", "a=extmap:0 " + mid + "\n", map[string]uint8{}, ""},
		{"row 67: id 15", "a=extmap:15 " + mid + "\n", map[string]uint8{}, ""},
		{"row 67: id 256", "a=extmap:256 " + mid + "\n", map[string]uint8{}, ""},
		{"no id", "a=extmap: " + mid + "\n", map[string]uint8{}, ""},
		{"row 67: duplicate id", "a=extmap:3 " + mid + "\na=extmap:3 " + ExtensionRID + "\n", map[string]uint8{mid: 3}, ""},
		{"row 67: duplicate id, the first unknown", "a=extmap:3 urn:x\na=extmap:3 " + mid + "\n", map[string]uint8{}, ""},
		{"duplicate URI", "a=extmap:3 " + mid + "\na=extmap:4 " + mid + "\n", map[string]uint8{mid: 3}, ""},
		{"direction turned round (Firefox)", "a=extmap:3/sendonly " + mid + "\n", map[string]uint8{mid: 3}, "a=extmap:3/recvonly " + mid},
		{"direction that doesn't fit", "a=extmap:3/recvonly " + mid + "\n", map[string]uint8{}, ""},
		{"inactive", "a=extmap:3/inactive " + mid + "\n", map[string]uint8{}, ""},
		{"audio level is for audio", "a=extmap:3 " + ExtensionAudioLevel + "\n", map[string]uint8{}, ""},
		{"orientation", "a=extmap:3 " + ExtensionVideoOrientation + "\n", map[string]uint8{ExtensionVideoOrientation: 3}, ""},
		{"extension attributes are ignored", "a=extmap:3 " + mid + " x=y\n", map[string]uint8{mid: 3}, "a=extmap:3 " + mid},
		{"transport-wide numbers without their feedback", "a=extmap:3 " + twcc + "\n", map[string]uint8{}, ""},
		{"transport-wide numbers and feedback", "a=extmap:3 " + twcc + "\na=rtcp-fb:96 transport-cc\n", map[string]uint8{twcc: 3}, "a=rtcp-fb:96 transport-cc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, a := mustAnswer(t, edit(t, old, tt.extmap), publish())
			if got := a.Sections[1].Extensions; !maps.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if got := len(linesOf([]byte(sectionsOf(a.SDP)[2]), "a=extmap:")); got != len(tt.want) {
				t.Errorf("got %d a=extmap lines, want %d", got, len(tt.want))
			}
			if tt.line != "" && !hasLine(sectionsOf(a.SDP)[2], tt.line) {
				t.Errorf("the answer lacks %q:\n%s", tt.line, a.SDP)
			}
		})
	}
}

// TestTransportFeedbackWithoutItsExtensionIsNotPromised: GStreamer offers it so.
func TestTransportFeedbackWithoutItsExtensionIsNotPromised(t *testing.T) {
	_, a := mustAnswer(t, realOffer(t, "gst-1.28.8-simple-whip-client"), publish())
	if strings.Contains(string(a.SDP), "transport-cc") || a.Sections[0].Formats[0].TransportCC {
		t.Errorf("got transport-cc:\n%s", a.SDP)
	}
	if f := a.Sections[0].Formats[0]; f.NACK || !f.PLI || !f.FIR || f.RTX != 0 {
		t.Errorf("got %+v, want PLI and FIR only", f)
	}
}

// TestOneIDMeansTheSameInAllSections: RFC 9143, section 9.
func TestOneIDMeansTheSameInAllSections(t *testing.T) {
	_, a := mustAnswer(t, edit(t, "a=rtpmap:111", "a=extmap:3 "+ExtensionAudioLevel+"\na=rtpmap:111"), publish())
	if got := a.Sections[0].Extensions; !maps.Equal(got, map[string]uint8{ExtensionAudioLevel: 3}) {
		t.Errorf("audio: got %v", got)
	}
	if got := a.Sections[1].Extensions; !maps.Equal(got, map[string]uint8{ExtensionRID: 5}) {
		t.Errorf("video: got %v, want the one with a free id", got)
	}
}

// TestOnePayloadTypeMeansTheSameInAllSections: RFC 9143, section 9.1.
func TestOnePayloadTypeMeansTheSameInAllSections(t *testing.T) {
	o, err := Parse(edit(t, "SAVPF 111", "SAVPF 96", ":111 ", ":96 "))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = o.Answer(publish()); fault.KindOf(err) != fault.Unprocessable {
		t.Errorf("got %v, want an %s: the video section has no payload type of its own left", err, fault.Unprocessable)
	}
}

// TestDisabledSectionIsLeftDisabled: port 0 without bundle-only asks for nothing
// (RFC 3264, section 6), so that leaving it out is no partial acceptance.
func TestDisabledSectionIsLeftDisabled(t *testing.T) {
	o, a := mustAnswer(t, edit(t, "m=audio 9", "m=audio 0", "BUNDLE a v", "BUNDLE v"), publish())
	checkForm(t, o, a, publish())
	if len(a.Sections) != 1 || a.Sections[0].Kind != media.Video {
		t.Errorf("got sections %+v, want video alone", a.Sections)
	}
}

// TestSourcesOfRealPublishers: what FFmpeg, OBS, Chromium, Firefox and GStreamer say of
// their SSRCs (section 2).
func TestSourcesOfRealPublishers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		video []uint32
		rtx   map[uint32]uint32
		rids  []string
	}{
		{"ffmpeg-9.0.2-whip", []uint32{66998805}, map[uint32]uint32{66998806: 66998805}, nil},
		{"obs-32.2.2-whip-simulcast", nil, map[uint32]uint32{}, []string{"0", "1", "2"}},
		{"chromium-156-whip-simulcast-h264-trickle", nil, map[uint32]uint32{}, []string{"l", "m", "h"}},
		{"firefox-153esr-whip-simulcast-vp8", []uint32{2270729489, 1110157720, 1445049352},
			map[uint32]uint32{2610651595: 2270729489, 531686820: 1110157720, 823649143: 1445049352}, []string{"l", "m", "h"}},
		{"npm-medooze-whip", []uint32{394287250}, map[uint32]uint32{968107163: 394287250}, nil},
		{"gst-1.28.8-simple-whip-client", []uint32{3890470139}, map[uint32]uint32{}, nil},
	} {
		_, a := mustAnswer(t, realOffer(t, tt.name), publish())
		i := slices.IndexFunc(a.Sections, func(s Section) bool { return s.Kind == media.Video })
		s := a.Sections[i]
		if !slices.Equal(s.SSRCs, tt.video) || !maps.Equal(s.RTX, tt.rtx) || !slices.Equal(s.RIDs, tt.rids) {
			t.Errorf("%s: got SSRCs %v, RTX %v, rids %q, want %v, %v, %q", tt.name, s.SSRCs, s.RTX, s.RIDs, tt.video, tt.rtx, tt.rids)
		}
	}
}

// TestContradictorySourcesAreDropped: groups that name themselves, go in a circle or use
// another section's SSRC, and SSRCs of forward error correction.
func TestContradictorySourcesAreDropped(t *testing.T) {
	const old = "a=ssrc-group:FID 21 22\na=ssrc:21 cname:x\na=ssrc:22 cname:x\n"
	for _, tt := range []struct {
		name, lines string
		ssrcs       []uint32
		rtx         map[uint32]uint32
	}{
		{"itself", "a=ssrc-group:FID 21 21\na=ssrc:21 cname:x\n", []uint32{21}, map[uint32]uint32{}},
		{"circle", "a=ssrc-group:FID 21 22\na=ssrc-group:FID 22 21\na=ssrc:21 cname:x\na=ssrc:22 cname:x\n", nil, map[uint32]uint32{}},
		{"other section's", "a=ssrc-group:FID 21 11\na=ssrc:21 cname:x\na=ssrc:11 cname:x\n", []uint32{21}, map[uint32]uint32{}},
		{"forward error correction", old + "a=ssrc-group:FEC-FR 21 23\na=ssrc:23 cname:x\n", []uint32{21}, map[uint32]uint32{22: 21}},
		{"no numbers", "a=ssrc-group:FID x y\na=ssrc:4294967296 cname:x\na=ssrc:\n", nil, map[uint32]uint32{}},
		{"one SSRC in several lines", "a=ssrc:21 cname:x\na=ssrc:21 msid:camera picture\n", []uint32{21}, map[uint32]uint32{}},
	} {
		_, a := mustAnswer(t, edit(t, old, tt.lines), publish())
		if s := a.Sections[1]; !slices.Equal(s.SSRCs, tt.ssrcs) || !maps.Equal(s.RTX, tt.rtx) {
			t.Errorf("%s: got %v and %v, want %v and %v", tt.name, s.SSRCs, s.RTX, tt.ssrcs, tt.rtx)
		}
	}
}

// TestAnswerIsAFunctionOfOfferAndRequest: the package is pure, and an offer is immutable.
func TestAnswerIsAFunctionOfOfferAndRequest(t *testing.T) {
	for _, s := range samples(t) {
		o, first := mustAnswer(t, s.body, s.request())
		for range 5 {
			again, err := o.Answer(s.request())
			if err != nil || string(again.SDP) != string(first.SDP) {
				t.Fatalf("%s: got another answer the second time (%v)", s.name, err)
			}
		}
	}
}

// TestRestartIsAnsweredLikeTheAnswer: item 34. The reply is CRLF, repeats the answer's
// ice-options and has the answerer-tagged section only.
func TestRestartIsAnsweredLikeTheAnswer(t *testing.T) {
	_, a := mustAnswer(t, []byte(plainOffer), publish())
	got := string(a.WriteFragment("newufrag", "newpwdnewpwdnewpwdnewpwd", ourCandidates[:1]))
	want := strings.ReplaceAll(`a=ice-options:trickle ice2
a=group:BUNDLE a v
m=audio 9 UDP/TLS/RTP/SAVPF 111
a=mid:a
a=ice-ufrag:newufrag
a=ice-pwd:newpwdnewpwdnewpwdnewpwd
a=candidate:1 1 udp 2130706431 192.0.2.1 8189 typ host
a=end-of-candidates
`, "\n", "\r\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	o, a := mustAnswer(t, viewerOffer(t, "opus/48000/2", "G722/8000"), play(h264))
	reply := a.WriteFragment("newufrag", "newpwdnewpwdnewpwdnewpwd", ourCandidates)
	f, err := ParseFragment(reply, o)
	if err != nil || f.Ufrag != "newufrag" || !slices.Equal(f.Candidates, ourCandidates) {
		t.Errorf("got %+v, %v from\n%s", f, err, reply)
	}
	if !hasLine(string(reply), "a=mid:v") {
		t.Errorf("the reply is not about the first accepted section:\n%s", reply)
	}
}
