package sdp

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sightline/internal/media"
)

var update = flag.Bool("update", false, "write the golden answers anew")

const (
	ourUfrag       = "gatewayufrag0123"
	ourPwd         = "gatewaypassword0123456789abcdefg"
	ourFingerprint = "sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F"
)

var (
	ourCandidates = []string{
		"1 1 udp 2130706431 192.0.2.1 8189 typ host",
		"2 1 udp 2130706175 2001:db8::1 8189 typ host",
		"3 1 tcp 1671430143 192.0.2.1 8190 typ host tcptype passive",
	}
	h264 = media.Codec{Name: "H264", ClockRate: 90000, Fmtp: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"}
	vp8  = media.Codec{Name: "VP8", ClockRate: 90000}
	av1  = media.Codec{Name: "AV1", ClockRate: 90000, Fmtp: "profile=0;level-idx=5;tier=0"}
	opus = media.Codec{Name: "opus", ClockRate: 48000, Channels: 2, Fmtp: "minptime=10;useinbandfec=1"}
)

// counter returns 1001, 1002, …
func counter() func() uint32 {
	n := uint32(1000)
	return func() uint32 { n++; return n }
}

func publish() Request {
	return Request{
		Publish: true,
		Ufrag:   ourUfrag, Pwd: ourPwd, Fingerprint: ourFingerprint, Candidates: ourCandidates,
		RTCPMuxOnly: true,
	}
}

func play(codecs ...media.Codec) Request {
	r := publish()
	r.Publish, r.Stream, r.CNAME, r.SSRC = false, "console", "cname", counter()
	r.Send = make(map[media.Kind]media.Codec)
	for _, c := range codecs {
		if c.Is("opus") {
			r.Send[media.Audio] = c
		} else {
			r.Send[media.Video] = c
		}
	}
	return r
}

// A sample is a real client's offer.
type sample struct {
	name    string
	publish bool
	body    []byte
}

// request is the one that the sample's session would have led to.
func (s sample) request() Request {
	switch {
	case s.publish:
		return publish()
	case strings.Contains(s.name, "vp8"), strings.Contains(s.name, "roamhq"):
		return play(opus, vp8)
	case strings.Contains(s.name, "av1"):
		return play(opus, av1)
	}
	return play(opus, h264)
}

func samples(t testing.TB) []sample {
	t.Helper()
	files, err := filepath.Glob("testdata/offers/*.sdp")
	if err != nil || len(files) < 30 {
		t.Fatalf("got %d real offers (%v), want at least 30", len(files), err)
	}
	var out []sample
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(f), ".sdp")
		out = append(out, sample{name, !strings.Contains(name, "-whep"), body})
	}
	return out
}

// realOffer returns one sample's body.
func realOffer(t testing.TB, name string) []byte {
	t.Helper()
	for _, s := range samples(t) {
		if s.name == name {
			return s.body
		}
	}
	t.Fatalf("no real offer %s", name)
	return nil
}

// mustAnswer parses an offer and answers it.
func mustAnswer(t testing.TB, body []byte, r Request) (*Offer, *Answer) {
	t.Helper()
	o, err := Parse(body)
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	a, err := o.Answer(r)
	if err != nil {
		t.Fatalf("answer: %v", err)
	}
	return o, a
}

// TestAnswersToRealOffersStayAsTheyWere compares with the golden answers.
func TestAnswersToRealOffersStayAsTheyWere(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			_, a := mustAnswer(t, s.body, s.request())
			file := filepath.Join("testdata/answers", s.name+".answer")
			if *update {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, a.SDP, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a.SDP, want) {
				t.Errorf("got answer\n%s\nwant\n%s", a.SDP, want)
			}
		})
	}
}

// TestEveryRealOfferIsAnsweredInFull: no real publisher is refused, and no section of a
// real offer is rejected when both kinds are sent.
func TestEveryRealOfferIsAnsweredInFull(t *testing.T) {
	for _, s := range samples(t) {
		o, a := mustAnswer(t, s.body, s.request())
		if len(a.Sections) != len(o.Media) {
			t.Errorf("%s: got %d accepted sections, want %d", s.name, len(a.Sections), len(o.Media))
		}
		if strings.Contains(string(a.SDP), " 0 UDP/TLS") {
			t.Errorf("%s: an m= line has port 0", s.name)
		}
	}
}

// linesOf returns the values of the answer's lines with the prefix.
func linesOf(text []byte, prefix string) []string {
	var out []string
	for l := range strings.SplitSeq(string(text), "\r\n") {
		if v, ok := strings.CutPrefix(l, prefix); ok {
			out = append(out, v)
		}
	}
	return out
}

// sectionsOf splits an answer at its m= lines; the first part is the session level.
func sectionsOf(text []byte) []string {
	parts := strings.Split(string(text), "\r\nm=")
	for i := range parts[1:] {
		parts[i+1] = "m=" + parts[i+1]
	}
	return parts
}

// hasLine reports whether the text has exactly this line.
func hasLine(text, line string) bool {
	return slices.Contains(strings.Split(text, "\r\n"), line)
}
