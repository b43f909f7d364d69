package sdp

import (
	"strings"
	"testing"

	"sightline/internal/fault"
)

// FuzzAnswer: whatever comes, Parse and Answer return an answer of the right form or a
// fault of the client's.
func FuzzAnswer(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.body, s.publish)
	}
	f.Add([]byte(plainOffer), true)
	f.Add(viewerOffer(f), false)
	f.Add(viewerOffer(f, "H264/90000", "H261/90000"), false)
	f.Add(edit(f, "m=video 9", "m=video 0", "a=mid:v", "a=bundle-only\na=mid:v"), true)
	f.Add(edit(f, "a=rtpmap:96", "a=rid:0 send pt=96;max-width=9\na=rid:1 send\na=simulcast:send ~0,1;1 recv 2\na=extmap:9/sendonly "+
		ExtensionTransportCC+"\na=rtcp-fb:* transport-cc\na=rtpmap:96"), true)
	f.Fuzz(func(t *testing.T, body []byte, publishes bool) {
		r := play(opus, h264)
		if publishes {
			r = publish()
		}
		o, err := Parse(body)
		if err == nil {
			var a *Answer
			if a, err = o.Answer(r); err == nil {
				checkForm(t, o, a, r)
				checkLimits(t, a, r)
				return
			}
		}
		switch fault.KindOf(err) {
		case fault.BadRequest, fault.Unprocessable, fault.TooLarge:
		default:
			t.Errorf("got %v, want a fault of the client's", err)
		}
	})
}

// checkLimits: what the rest of the gateway relies on.
func checkLimits(t *testing.T, a *Answer, r Request) {
	t.Helper()
	if a.Remote.Ufrag == "" || a.Remote.Pwd == "" || len(a.Remote.Fingerprints) == 0 {
		t.Errorf("got transport %+v", a.Remote)
	}
	payloadTypes := make(map[uint8]bool)
	for _, s := range a.Sections {
		if len(s.Formats) == 0 || s.Kind == "" || s.MID == "" {
			t.Errorf("got section %+v", s)
		}
		for _, f := range s.Formats {
			for _, pt := range []uint8{f.PayloadType, f.RTX} {
				if pt != 0 && payloadTypes[pt] {
					t.Errorf("payload type %d is used twice", pt)
				}
				payloadTypes[pt] = true
			}
		}
		if len(s.SSRCs) > maxSSRCs || len(s.RTX) > maxSSRCs || len(s.RIDs) > maxLayers {
			t.Errorf("got %d SSRCs, %d RTX, %d rids", len(s.SSRCs), len(s.RTX), len(s.RIDs))
		}
		if !r.Publish && s.SSRC == 0 {
			t.Errorf("section %s has no SSRC", s.MID)
		}
		if !r.Publish {
			if _, ok := s.Match(r.Send[s.Kind]); !ok {
				t.Errorf("section %s has no format for what is sent", s.MID)
			}
		}
	}
}

// FuzzParseFragment: a fragment is read, or it is a bad request; what is read is bounded
// and well formed.
func FuzzParseFragment(f *testing.F) {
	for _, body := range fragments(f) {
		f.Add(body)
	}
	f.Add([]byte(credentials + "m=audio 9 RTP/AVP 0\r\na=mid:a\r\na=candidate:" + host1 + "\r\n"))
	o := plain(f)
	for _, m := range []string{"0", "video0"} { // as the real ones name them
		o.Media = append(o.Media, Media{MID: m})
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fragment, err := ParseFragment(body, o)
		if err != nil {
			if kind := fault.KindOf(err); kind != fault.BadRequest && kind != fault.TooLarge {
				t.Errorf("got %v, want a %s", err, fault.BadRequest)
			}
			return
		}
		if isCredentials(fragment.Ufrag, fragment.Pwd) != nil || fragment.Ufrag == "" || fragment.Pwd == "" {
			t.Errorf("got credentials %q and %q", fragment.Ufrag, fragment.Pwd)
		}
		if len(fragment.Candidates) > maxCandidates {
			t.Errorf("got %d candidates", len(fragment.Candidates))
		}
		for _, c := range fragment.Candidates {
			if strings.ContainsAny(c, "\r\n\x00") {
				t.Errorf("got candidate %q", c)
			}
		}
	})
}

// FuzzParseCandidate: what is accepted is an address that a packet can be sent to.
func FuzzParseCandidate(f *testing.F) {
	for _, s := range samples(f) {
		if o, err := Parse(s.body); err == nil {
			for _, c := range o.Candidates {
				f.Add(c)
			}
		}
	}
	f.Add(host1)
	f.Add("1 1 tcp 1 2001:db8::1 9 typ host tcptype active")
	f.Fuzz(func(t *testing.T, value string) {
		c, ok := ParseCandidate(value)
		if !ok {
			return
		}
		if a := c.Addr.Addr(); !c.Addr.IsValid() || c.Addr.Port() == 0 || a.Zone() != "" || a.IsMulticast() || a.IsUnspecified() {
			t.Errorf("got %+v", c)
		}
		if c.Transport != "udp" && (c.Transport != "tcp" || c.TCPType == "") {
			t.Errorf("got %+v", c)
		}
	})
}
