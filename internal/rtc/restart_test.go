package rtc

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sightline/internal/fault"
	"sightline/internal/sdp"
)

// secret returns credentials of an ICE session.
func secret(n int) (ufrag, pwd string) {
	return fmt.Sprintf("frag%04d", n), strings.Repeat(fmt.Sprintf("%04d", n), 6)
}

// Item 35 of docs/CONFORMANCE.md: after a restart the client's candidates are the new ones
// only.
func TestARestartForgetsTheOldCandidates(t *testing.T) {
	b := newConsentBench(t, true)
	add := func(n int, candidate string) {
		t.Helper()
		ufrag, pwd := secret(n)
		if _, err := b.Patch(&sdp.Fragment{Ufrag: ufrag, Pwd: pwd, Candidates: []string{candidate}}, false); err != nil {
			t.Fatal(err)
		}
	}
	add(1, "1 1 udp 2130706431 127.0.0.1 5001 typ host")
	add(1, "1 1 udp 2130706431 127.0.0.1 5002 typ host")
	add(2, "1 1 udp 2130706431 127.0.0.1 5003 typ host")
	due, _ := b.current.due(time.Now())
	if want := netip.MustParseAddrPort("127.0.0.1:5003"); !slices.Equal(due, []netip.AddrPort{want}) {
		t.Errorf("candidates %v after the restart, want %s alone", due, want)
	}
}

// A client that has credentials of its own for each section may trickle for each: those of a section that goes
// over the bundle's transport are no restart.
func TestTricklingForAnotherSectionIsNoRestart(t *testing.T) {
	raw, err := os.ReadFile("../sdp/testdata/offers/aiortc-1.4.0-whip.sdp")
	if err != nil {
		t.Fatal(err)
	}
	o, err := sdp.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	s, err := testEngine(t).Answer(AnswerRequest{Offer: o, Publish: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	ufrags := regexp.MustCompile(`a=ice-ufrag:(\w+)`).FindAllStringSubmatch(string(raw), -1)
	pwds := regexp.MustCompile(`a=ice-pwd:(\w+)`).FindAllStringSubmatch(string(raw), -1)
	if len(ufrags) != 2 || len(pwds) != 2 || ufrags[1][1] == s.current.remoteUfrag {
		t.Fatalf("the offer has credentials %v", ufrags)
	}
	etag := s.ETag()
	other := &sdp.Fragment{Ufrag: ufrags[1][1], Pwd: pwds[1][1], Candidates: []string{"1 1 udp 2130706431 127.0.0.1 5001 typ host"}}
	if restart, err := s.Patch(other, false); restart != nil || err != nil || s.ETag() != etag {
		t.Errorf("got %q, %v, and another ETag %t, want nothing", restart, err, s.ETag() != etag)
	}
	first := &sdp.Fragment{Ufrag: ufrags[0][1], Pwd: pwds[0][1]}
	ufrag, pwd := secret(1)
	if restart, err := s.Patch(&sdp.Fragment{Ufrag: ufrag, Pwd: pwd}, false); restart == nil || err != nil {
		t.Errorf("a restart: got %q, %v", restart, err)
	}
	if _, err := s.Patch(first, false); fault.KindOf(err) != fault.Precondition {
		t.Errorf("the first section's after a restart: got %v, want a %s", err, fault.Precondition)
	}
}

// Item 33: duplicates are discarded, candidates after the end are ignored, and so is what is
// above a bound.
func TestRemoteCandidatesAreBounded(t *testing.T) {
	b := newConsentBench(t, true)
	ufrag, pwd := secret(1)
	trickle := func(end bool, candidates ...string) int {
		t.Helper()
		if _, err := b.Patch(&sdp.Fragment{Ufrag: ufrag, Pwd: pwd, Candidates: candidates, EndOfCandidates: end}, false); err != nil {
			t.Fatal(err)
		}
		return len(b.current.candidates)
	}
	const one = "1 1 udp 2130706431 127.0.0.1 5001 typ host"
	if n := trickle(false, one, one, "9 1 UDP 1 127.0.0.1 5001 typ srflx raddr 0.0.0.0 rport 0"); n != 1 {
		t.Errorf("%d candidates of one transport address", n)
	}
	var many []string
	for i := range 2 * b.engine.config.MaxCandidates {
		many = append(many, fmt.Sprintf("1 1 udp 2130706431 127.0.0.1 %d typ host", 6000+i))
	}
	if n := trickle(false, many...); n != b.engine.config.MaxCandidates {
		t.Errorf("%d candidates, want %d", n, b.engine.config.MaxCandidates)
	}
	if n := b.engine.Snapshot().Limited["ice.max_candidates"]; n != uint64(b.engine.config.MaxCandidates)+1 {
		t.Errorf("%d candidates are counted at the limit", n)
	}
	ufrag, pwd = secret(2)
	if n := trickle(true, one); n != 1 {
		t.Errorf("%d candidates before the end", n)
	}
	if n := trickle(false, many...); n != 1 {
		t.Errorf("%d candidates after the end, want 1", n)
	}
}

// A client that restarts again and again holds two ICE sessions at most: the one in use,
// and the newest.
func TestRestartsDoNotAddUp(t *testing.T) {
	for _, connected := range []bool{false, true} {
		b := newConsentBench(t, true)
		if !connected {
			b.path.Store(nil)
		}
		first := b.current
		for i := range 20 {
			ufrag, pwd := secret(i)
			if _, err := b.Patch(&sdp.Fragment{Ufrag: ufrag, Pwd: pwd}, false); err != nil {
				t.Fatal(err)
			}
		}
		want := []*generation{}
		if connected {
			want = append(want, first)
		}
		if !slices.Equal(b.retired, want) {
			t.Errorf("connected %t: %d old ICE sessions are kept, want %d", connected, len(b.retired), len(want))
		}
		b.engine.udp.mu.RLock()
		n := len(b.engine.udp.ufrags)
		b.engine.udp.mu.RUnlock()
		if n != len(want)+1 {
			t.Errorf("connected %t: the socket knows %d ufrags, want %d", connected, n, len(want)+1)
		}
	}
}

// Clients' quirks: FFmpeg takes the first UDP candidate and fails if the first host one is
// not UDP; an address behind a NAT is a host candidate all the same.
func TestCandidatesAreListedUDPFirst(t *testing.T) {
	e := testEngine(t, func(c *Config) {
		c.TCPListen = "127.0.0.1:0"
		c.PublicAddresses = []string{"203.0.113.7", "2001:db8::7"}
	})
	var got []string
	last := uint64(1 << 32)
	for _, value := range e.candidates(e.udp, e.tcp != nil) {
		c, ok := sdp.ParseCandidate(value)
		if !ok || c.Type != "host" || c.Transport == "tcp" && c.TCPType != "passive" {
			t.Errorf("%q: %+v %t, want a host candidate", value, c, ok)
		}
		got = append(got, c.Transport+" "+c.Addr.Addr().String())
		var priority uint64
		if _, err := fmt.Sscan(strings.Fields(value)[3], &priority); err != nil || priority >= last {
			t.Errorf("%q: priority is not below %d (%v)", value, last, err)
		}
		last = priority
	}
	if want := []string{"udp 203.0.113.7", "udp 2001:db8::7", "tcp 203.0.113.7", "tcp 2001:db8::7"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	addresses := interfaceAddresses(true, true)
	order := func(a netip.Addr) int {
		return map[bool]int{a.IsLoopback(): 0, !a.IsLoopback() && a.Is4(): 1, !a.IsLoopback() && a.Is6(): 2}[true]
	}
	if !slices.IsSortedFunc(addresses, func(a, b netip.Addr) int { return order(a) - order(b) }) {
		t.Errorf("got %v, want loopback, then IPv4, then IPv6", addresses)
	}
	for _, a := range interfaceAddresses(false, true) {
		if a.IsLoopback() {
			t.Errorf("%s is offered where it should not be", a)
		}
	}
}

// Clients' quirks: whip-whep-js joins the candidates of a restart's reply with commas, and
// breaks on the second one. It asks with If-Match: *, and gets one.
func TestRestartIsAnsweredWithOneCandidateOnRequest(t *testing.T) {
	b := newConsentBench(t, true)
	b.engine.config.PublicAddresses = []string{"203.0.113.7", "203.0.113.8"}
	for i, single := range []bool{false, true} {
		ufrag, pwd := secret(i)
		reply, err := b.Patch(&sdp.Fragment{Ufrag: ufrag, Pwd: pwd}, single)
		if err != nil {
			t.Fatal(err)
		}
		want := map[bool]int{false: 2, true: 1}[single]
		if n := strings.Count(string(reply), "\r\na=candidate:"); n != want || !strings.Contains(string(reply), " 203.0.113.7 ") {
			t.Errorf("single %t: got %d candidates, want %d:\n%s", single, n, want, reply)
		}
	}
}

// GStreamer refuses ufrags with anything but letters and digits; RFC 8839, section 5.4 wants
// 24 bits of ufrag and 128 of pwd at least.
func TestCredentialsAreLettersAndDigits(t *testing.T) {
	b := newConsentBench(t, true)
	plain := regexp.MustCompile(`^[A-Za-z0-9]+$`)
	seen := make(map[string]bool)
	for i := range 50 {
		ufrag, pwd := secret(i)
		if _, err := b.Patch(&sdp.Fragment{Ufrag: ufrag, Pwd: pwd}, false); err != nil {
			t.Fatal(err)
		}
		g := b.current
		if !plain.MatchString(g.ufrag+g.pwd) || len(g.ufrag) < 4 || len(g.pwd) < 22 || seen[g.ufrag] || seen[g.pwd] || seen[g.etag] {
			t.Errorf("ufrag %q, pwd of %d characters, ETag %s", g.ufrag, len(g.pwd), g.etag)
		}
		seen[g.ufrag], seen[g.pwd], seen[g.etag] = true, true, true
	}
}
