package sdp

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sightline/internal/fault"
)

const (
	credentials = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"
	host1       = "1 1 udp 2122260223 192.0.2.7 4711 typ host"
	host2       = "2 1 udp 2122260222 192.0.2.8 4712 typ host"
)

func plain(t testing.TB) *Offer {
	t.Helper()
	o, err := Parse([]byte(plainOffer))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// fragments are the bodies of real PATCH requests, with the name of their session's offer.
func fragments(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/fragments/*.sdpfrag")
	if err != nil || len(files) < 10 {
		t.Fatalf("got %d real fragments (%v), want at least 10", len(files), err)
	}
	out := make(map[string][]byte)
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(f), ".sdpfrag")] = body
	}
	return out
}

// TestRealFragmentsTrickle: section 2. GStreamer's pseudo m= line is m=audio under
// a=mid:video0; Firefox says a=end-of-candidates twice; webrtcbin ends with an empty a=.
func TestRealFragmentsTrickle(t *testing.T) {
	number := regexp.MustCompile(`-[0-9]$`)
	for name, body := range fragments(t) {
		offer := number.ReplaceAllString(name, "")
		file := filepath.Join("testdata/offers", offer+".sdp")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		o, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", offer, err)
		}
		f, err := ParseFragment(body, o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if f.Ufrag != o.Ufrag || f.Pwd != o.Pwd {
			t.Errorf("%s: got credentials %s, %s, want the offer's", name, f.Ufrag, f.Pwd)
		}
		if got, want := len(f.Candidates), strings.Count(string(body), "a=candidate:"); got != want {
			t.Errorf("%s: got %d candidates, want %d", name, got, want)
		}
		if want := strings.Contains(string(body), "a=end-of-candidates"); f.EndOfCandidates != want {
			t.Errorf("%s: got end of candidates %t, want %t", name, f.EndOfCandidates, want)
		}
	}
}

// TestMalformedFragmentsAreBadRequests: item 29, rows 37, 38 and 41.
func TestMalformedFragmentsAreBadRequests(t *testing.T) {
	const section = "m=audio 9 RTP/AVP 0\r\na=mid:a\r\n"
	for name, body := range map[string]string{
		"empty":                               "",
		"row 37: neither ufrag nor pwd":       section + "a=candidate:" + host1 + "\r\n",
		"row 37: no ufrag":                    "a=ice-pwd:0123456789012345678901\r\n" + section,
		"row 37: no pwd":                      "a=ice-ufrag:abcd\r\n" + section,
		"row 37: empty ufrag":                 "a=ice-ufrag:\r\na=ice-pwd:0123456789012345678901\r\n" + section,
		"row 38: ufrag of 3 bytes":            "a=ice-ufrag:abc\r\na=ice-pwd:0123456789012345678901\r\n" + section,
		"row 38: ufrag of 257 bytes":          "a=ice-ufrag:" + strings.Repeat("a", 257) + "\r\na=ice-pwd:0123456789012345678901\r\n" + section,
		"row 38: pwd of 21 bytes":             "a=ice-ufrag:abcd\r\na=ice-pwd:012345678901234567890\r\n" + section,
		"row 38: pwd of 257 bytes":            "a=ice-ufrag:abcd\r\na=ice-pwd:" + strings.Repeat("a", 257) + "\r\n" + section,
		"row 38: characters, at media level":  section + "a=ice-ufrag:ab-d\r\na=ice-pwd:0123456789012345678901\r\n",
		"two different ufrags":                "a=ice-ufrag:efgh\r\n" + credentials + section,
		"row 41: candidate without mid":       credentials + "m=audio 9 RTP/AVP 0\r\na=candidate:" + host1 + "\r\n",
		"row 41: candidate before any m=":     credentials + "a=candidate:" + host1 + "\r\n",
		"a section with two mids":             credentials + section + "a=mid:v\r\n",
		"an empty mid":                        credentials + "m=audio 9 RTP/AVP 0\r\na=mid:\r\n",
		"JSON (react-native-whip-whep)":       `{"candidate":"candidate:1"}`,
		"a whole line missing its type":       credentials + "mid:a\r\n",
		"row 10: NUL":                         credentials + "a=x\x00\r\n",
		"row 10: bare CR":                     "a=ice-ufrag:abcd\ra=ice-pwd:0123456789012345678901\r\n",
		"row 10: invalid UTF-8":               credentials + "a=\xff\r\n",
		"a line of 60 KiB":                    credentials + "a=" + strings.Repeat("x", 60<<10) + "\r\n",
		"more sections than any session has":  credentials + strings.Repeat(section, maxMedia+1),
		"an SDP line that is not well formed": credentials + section + "a candidate\r\n",
	} {
		if f, err := ParseFragment([]byte(body), plain(t)); fault.KindOf(err) != fault.BadRequest {
			t.Errorf("%s: got %+v, %v, want a %s", name, f, err, fault.BadRequest)
		}
	}
}

// TestFragments: items 29, 33 and 34, rows 41, 42 and 45.
func TestFragments(t *testing.T) {
	const section = "m=audio 9 RTP/AVP 0\r\na=mid:a\r\n"
	one, two := "a=candidate:"+host1+"\r\n", "a=candidate:"+host2+"\r\n"
	end := "a=end-of-candidates\r\n"
	for _, tt := range []struct {
		name, body string
		want       []string
		end        bool
	}{
		{"credentials alone", credentials, nil, false},
		{"item 29: credentials at session level", credentials + section + one, []string{host1}, false},
		{"item 29: credentials at media level", section + credentials + one, []string{host1}, false},
		{"one at each level", "a=ice-ufrag:abcd\r\n" + section + "a=ice-pwd:0123456789012345678901\r\n" + one, []string{host1}, false},
		{"item 29: nothing but the mid of the m= line counts", credentials + "m=nonsense\r\na=mid:v\r\n" + one, []string{host1}, false},
		{"item 29: unknown attributes and lines", credentials + "a=ice-pacing:50\r\na=x\r\na=\r\nc=IN IP4 0.0.0.0\r\n" + section + one, []string{host1}, false},
		{"the mid behind the candidates", credentials + "m=audio 9 RTP/AVP 0\r\n" + one + "a=mid:a\r\n", []string{host1}, false},
		{"LF only", strings.ReplaceAll(credentials+section+one, "\r\n", "\n"), []string{host1}, false},
		{"empty lines at the end", credentials + section + one + "\r\n\r\n", []string{host1}, false},
		{"row 41: unknown mid", credentials + "m=audio 9 RTP/AVP 0\r\na=mid:z\r\n" + one + end + section + two, []string{host2}, false},
		{"several sections", credentials + section + one + "m=audio 9 RTP/AVP 0\r\na=mid:v\r\n" + two, []string{host1, host2}, false},
		{"item 33: duplicates", credentials + section + one + one + "m=audio 9 RTP/AVP 0\r\na=mid:v\r\na=candidate:9 1 UDP 99 192.0.2.7 4711 typ srflx\r\n" + two, []string{host1, host2}, false},
		{"row 45: candidates after the end", credentials + section + one + end + two, []string{host1}, true},
		{"the end alone", credentials + section + end, nil, true},
		{"the end at session level", credentials + end, nil, true},
		{"the end of a section whose transport is not the bundle's", credentials + "m=video 9 RTP/AVP 0\r\na=mid:v\r\n" + one + end, []string{host1}, false},
		{"the end of an unknown section", credentials + "m=audio 9 RTP/AVP 0\r\na=mid:z\r\n" + end, nil, false},
	} {
		f, err := ParseFragment([]byte(tt.body), plain(t))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if !slices.Equal(f.Candidates, tt.want) || f.EndOfCandidates != tt.end {
			t.Errorf("%s: got %q, end %t, want %q, %t", tt.name, f.Candidates, f.EndOfCandidates, tt.want, tt.end)
		}
		if f.Ufrag != "abcd" || f.Pwd != "0123456789012345678901" {
			t.Errorf("%s: got credentials %s, %s", tt.name, f.Ufrag, f.Pwd)
		}
	}
}

// TestCredentialsOfTheTaggedSectionWin: a client may have others in each section.
func TestCredentialsOfTheTaggedSectionWin(t *testing.T) {
	body := "m=video 9 RTP/AVP 0\r\na=mid:v\r\na=ice-ufrag:video\r\na=ice-pwd:videovideovideovideovideo\r\n" +
		"m=audio 9 RTP/AVP 0\r\na=mid:a\r\n" + credentials
	f, err := ParseFragment([]byte(body), plain(t))
	if err != nil || f.Ufrag != "abcd" {
		t.Errorf("got %+v, %v, want abcd", f, err)
	}
}

// TestCandidatesOfAFragmentAreBounded: what is above is passed over.
func TestCandidatesOfAFragmentAreBounded(t *testing.T) {
	body := credentials + "m=audio 9 RTP/AVP 0\r\na=mid:a\r\n" + strings.ReplaceAll(sequence("a=candidate:1 1 udp 1 192.0.2.1 %d typ host\n", 1, 900), "\n", "\r\n")
	f, err := ParseFragment([]byte(body), plain(t))
	if err != nil || len(f.Candidates) != maxCandidates {
		t.Errorf("got %d candidates, %v, want %d", len(f.Candidates), err, maxCandidates)
	}
}
