package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	psdp "github.com/pion/sdp/v3"

	"sightline/internal/sdp"
)

// The payload types of offers; answers have the same.
const (
	h264Type = 102
	vp8Type  = 96
	opusType = 111
)

// An offer is what a peer says of itself.
type offer struct {
	publish              bool
	codec                string // "h264" or "vp8"
	audio                bool
	soundOnly            bool
	ufrag, pwd           string
	fingerprint          string
	candidate            netip.AddrPort // the zero value: none is told, the server learns it from checks
	stream               string         // publish: the MediaStream's id
	videoSSRC, audioSSRC uint32         // publish
}

// text writes the offer (RFC 9429, section 5.2.1): one section a kind, all in one bundle.
func (o *offer) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	group := "BUNDLE 0"
	if o.audio && !o.soundOnly {
		group = "BUNDLE 0 1"
	}
	line("v=0\r\no=- %d 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0", 1+uint64(o.videoSSRC^o.audioSSRC)<<16)
	line("a=group:%s\r\na=msid-semantic:WMS *\r\na=fingerprint:%s", group, o.fingerprint)
	section := func(kind string, mid, pt int, ssrc uint32, format ...string) {
		line("m=%s 9 UDP/TLS/RTP/SAVPF %d\r\nc=IN IP4 0.0.0.0\r\na=mid:%d", kind, pt, mid)
		line("a=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=setup:actpass\r\na=rtcp-mux", o.ufrag, o.pwd)
		for _, f := range format {
			line("a=%s", f)
		}
		if o.publish {
			line("a=sendonly\r\na=msid:%s %s\r\na=ssrc:%d cname:%s", o.stream, kind, ssrc, o.stream)
		} else {
			line("a=recvonly")
		}
		if mid == 0 && o.candidate.IsValid() {
			line("a=candidate:1 1 udp 2130706431 %s %d typ host\r\na=end-of-candidates", o.candidate.Addr(), o.candidate.Port())
		}
	}
	opus := []string{"rtpmap:111 opus/48000/2", "fmtp:111 minptime=10;useinbandfec=1"}
	if o.soundOnly {
		section("audio", 0, opusType, o.audioSSRC, opus...)
		return b.String()
	}
	if o.codec == "vp8" {
		section("video", 0, vp8Type, o.videoSSRC, "rtpmap:96 VP8/90000", "rtcp-fb:96 nack", "rtcp-fb:96 nack pli")
	} else {
		section("video", 0, h264Type, o.videoSSRC, "rtpmap:102 H264/90000", "rtcp-fb:102 nack", "rtcp-fb:102 nack pli",
			"fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f")
	}
	if o.audio {
		section("audio", 1, opusType, o.audioSSRC, opus...)
	}
	return b.String()
}

// An answer is what a peer needs of the server's.
type answer struct {
	ufrag, pwd  string
	candidates  []netip.AddrPort // UDP, in the server's order
	passive     bool             // the server waits for our ClientHello
	fingerprint string           // as written: "sha-256 AA:BB:…"
	types       map[string]uint8 // the payload type by encoding name in lower case
}

// parseAnswer reads the server's answer. An attribute of the transport may stand in any
// accepted section or before all of them.
func parseAnswer(text string) (*answer, error) {
	var d psdp.SessionDescription
	if err := d.UnmarshalString(text); err != nil {
		return nil, fmt.Errorf("the answer can't be read: %w", err)
	}
	a := &answer{types: make(map[string]uint8)}
	setup := ""
	first := func(to *string, value string) {
		if *to == "" {
			*to = value
		}
	}
	read := func(attributes []psdp.Attribute) {
		for _, l := range attributes {
			switch l.Key {
			case "ice-ufrag":
				first(&a.ufrag, l.Value)
			case "ice-pwd":
				first(&a.pwd, l.Value)
			case "fingerprint":
				if strings.HasPrefix(strings.ToLower(l.Value), "sha-256 ") {
					first(&a.fingerprint, l.Value)
				}
			case "setup":
				first(&setup, l.Value)
			case "candidate":
				c, ok := sdp.ParseCandidate(l.Value)
				if ok && c.Transport == "udp" && len(a.candidates) < maxCandidates {
					a.candidates = append(a.candidates, c.Addr)
				}
			case "rtpmap":
				var pt uint8
				var name string
				if n, _ := fmt.Sscanf(l.Value, "%d %s", &pt, &name); n == 2 {
					name, _, _ = strings.Cut(strings.ToLower(name), "/")
					a.types[name] = pt
				}
			}
		}
	}
	for _, m := range d.MediaDescriptions {
		if m.MediaName.Port.Value != 0 {
			read(m.Attributes)
		}
	}
	read(d.Attributes)
	a.passive = setup == "passive"
	switch {
	case len(a.types) == 0:
		return nil, errors.New("the answer accepts none of the offered tracks")
	case a.ufrag == "" || a.pwd == "":
		return nil, errors.New("the answer has no a=ice-ufrag and a=ice-pwd")
	case a.fingerprint == "":
		return nil, errors.New("the answer has no a=fingerprint of sha-256")
	case setup != "passive" && setup != "active":
		return nil, fmt.Errorf("the answer's a=setup must be passive or active, got %q", setup)
	}
	return a, nil
}

// maxCandidates bounds what is checked of an answer.
const maxCandidates = 8
