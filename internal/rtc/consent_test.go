package rtc

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/pion/rtcp"
	"github.com/pion/stun/v4"
	"github.com/pion/webrtc/v4"

	"sightline/internal/media"
)

// A consentBench is a session that is not run: its path leads to a socket of the test's,
// and the test is its clock.
type consentBench struct {
	*Session
	peer *net.UDPConn
	addr netip.AddrPort
}

func newConsentBench(t *testing.T, publishes bool) *consentBench {
	t.Helper()
	e, pc := testEngine(t), client(t)
	direction := webrtc.RTPTransceiverDirectionRecvonly
	if publishes {
		direction = webrtc.RTPTransceiverDirectionSendrecv
	}
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: direction}); err != nil {
		t.Fatal(err)
	}
	s, err := e.Answer(AnswerRequest{
		Offer: offer(t, pc, nil), Publish: publishes, Stream: "s", Send: map[media.Kind]media.Codec{media.Video: vp8Codec},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	b := &consentBench{s, peer, peer.LocalAddr().(*net.UDPAddr).AddrPort()}
	s.path.Store(&path{generation: s.current, name: "udp", udp: e.udp.destination(b.addr, netip.MustParseAddr("127.0.0.1"))})
	return b
}

const step = 200 * time.Millisecond

// next lets the clock run until the next check, and returns its time and the check.
func (b *consentBench) next(t *testing.T, now time.Time) (time.Time, *stun.Message) {
	t.Helper()
	for due := b.consent.next; ; now = now.Add(step) {
		b.consent.check(b.Session, now)
		if b.consent.next.Equal(due) {
			continue
		}
		raw := make([]byte, 1500)
		_ = b.peer.SetReadDeadline(time.Now().Add(patience))
		n, err := b.peer.Read(raw)
		if err != nil {
			t.Fatalf("no check: %v", err)
		}
		m := &stun.Message{Raw: raw[:n]}
		if err := m.Decode(); err != nil {
			t.Fatal(err)
		}
		return now, m
	}
}

// answer gives the session a response to a check.
func (b *consentBench) answer(t *testing.T, to *stun.Message, typ stun.MessageType, pwd string, from netip.AddrPort, now time.Time) {
	t.Helper()
	m, err := stun.Build(to, typ, stun.NewShortTermIntegrity(pwd), stun.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	b.consent.receive(b.Session, datagram{m.Raw, from, now})
}

// Item 52 of docs/CONFORMANCE.md (RFC 7675, section 5.1): a check every 5 s, randomised by
// a fifth, and never less than 4 s apart.
func TestConsentChecksAreRandomised(t *testing.T) {
	b := newConsentBench(t, false)
	now := time.Now()
	b.consent.begin(now)
	now, m := b.next(t, now)
	var username stun.Username
	if username.GetFrom(m) != nil || string(username) != b.current.remoteUfrag+":"+b.current.ufrag {
		t.Errorf("USERNAME %q", username)
	}
	if m.Type != stun.BindingRequest || stun.NewShortTermIntegrity(b.current.remotePwd).Check(m) != nil || stun.Fingerprint.Check(m) != nil {
		t.Errorf("got %v, want a Binding request with integrity and fingerprint", m)
	}
	if !m.Contains(stun.AttrPriority) || !m.Contains(stun.AttrICEControlled) || m.Contains(stun.AttrUseCandidate) {
		t.Errorf("got %v, want the check of a controlled agent", m)
	}
	var intervals []time.Duration
	for range 100 {
		last := now
		now, _ = b.next(t, now)
		intervals = append(intervals, now.Sub(last))
	}
	if low, high := slices.Min(intervals), slices.Max(intervals); low < 4*time.Second || high > 6*time.Second+step {
		t.Errorf("checks are %v to %v apart, want 4 s to 6 s", low, high)
	}
	slices.Sort(intervals)
	if n := len(slices.Compact(intervals)); n < 5 {
		t.Errorf("%d different intervals among 100", n)
	}
}

// Item 52: consent lasts 30 s from the last valid response, and nothing else renews it.
func TestConsentExpires(t *testing.T) {
	for _, publishes := range []bool{false, true} {
		b := newConsentBench(t, publishes)
		begin := time.Now()
		b.consent.begin(begin)
		now, check := b.next(t, begin)
		b.lastMedia.set(now.Add(time.Hour)) // of a peer that can answer, media doesn't count
		b.answer(t, check, stun.BindingSuccess, b.current.remotePwd, b.addr, now)
		if got := b.RTT(); got <= 0 {
			t.Errorf("round-trip time %v after a response", got)
		}
		later, check := b.next(t, now)
		for name, reply := range map[string]func(){
			"another password": func() { b.answer(t, check, stun.BindingSuccess, "0123456789012345678901", b.addr, later) },
			"an error":         func() { b.answer(t, check, stun.BindingError, b.current.remotePwd, b.addr, later) },
			"another address": func() {
				b.answer(t, check, stun.BindingSuccess, b.current.remotePwd, netip.MustParseAddrPort("127.0.0.1:9"), later)
			},
			"another transaction": func() {
				other := stun.MustBuild(stun.TransactionID)
				b.answer(t, other, stun.BindingSuccess, b.current.remotePwd, b.addr, later)
			},
			"garbage": func() { b.consent.receive(b.Session, datagram{[]byte("garbage"), b.addr, later}) },
		} {
			if reply(); !b.consent.renewed.Equal(now) {
				t.Errorf("publisher %t: %s renews consent", publishes, name)
				b.consent.renewed = now
			}
		}
		if b.consent.expired(b.Session, now.Add(consentTimeout-time.Millisecond)) || !b.consent.expired(b.Session, now.Add(consentTimeout)) {
			t.Errorf("publisher %t: consent does not end 30 s after the last response", publishes)
		}
		b.answer(t, check, stun.BindingSuccess, b.current.remotePwd, b.addr, later)
		if b.consent.expired(b.Session, later.Add(consentTimeout-time.Millisecond)) || !b.consent.expired(b.Session, later.Add(consentTimeout)) {
			t.Errorf("publisher %t: the second response does not renew consent", publishes)
		}
	}
}

// FFmpeg 8 answers no checks once DTLS is up: it lives on while its SRTP comes. Nobody else
// does, and no viewer.
func TestMediaCountsAsConsentOnlyOfAPublisherThatNeverAnswered(t *testing.T) {
	begin := time.Now()
	for _, publishes := range []bool{false, true} {
		b := newConsentBench(t, publishes)
		b.consent.begin(begin)
		now := begin.Add(10 * time.Minute)
		b.lastMedia.set(now)
		if got := b.consent.expired(b.Session, now.Add(time.Second)); got == publishes {
			t.Errorf("publisher %t with media and without an answer: expired %t", publishes, got)
		}
		if got := b.exempted; got != publishes {
			t.Errorf("publisher %t: counted as exempt: %t", publishes, got)
		}
		if !b.consent.expired(b.Session, now.Add(consentTimeout)) {
			t.Errorf("publisher %t: lives on 30 s after its last packet", publishes)
		}
	}
}

// setForward is the instant t on a machine whose clock has been set forward since.
func setForward(t *testing.T, at time.Time, by time.Duration) time.Time {
	t.Helper()
	out := at
	// Of a time with a monotonic reading the wall clock's seconds begin at bit 30 of the first word.
	*(*uint64)(unsafe.Pointer(&out)) += uint64(by/time.Second) << 30
	if out.Sub(at) != 0 || out.Round(0).Sub(at.Round(0)) != by {
		t.Fatal("package time keeps its times in another way now")
	}
	return out
}

// Neither does it move sound and picture apart, nor count as a round trip.
func TestAClockThatIsSetLeavesReportsAlone(t *testing.T) {
	sent := time.Now()
	for _, by := range []time.Duration{time.Minute, -time.Minute, time.Hour} {
		arrival := setForward(t, sent.Add(50*time.Millisecond), by)
		if got, want := toNTP(arrival), toNTP(sent.Add(50*time.Millisecond)); got != want {
			t.Errorf("clock set by %v: %v s later in reports", by, float64(int64(got-want))/(1<<32))
		}
		var track LocalTrack
		track.reported(rtcp.ReceptionReport{LastSenderReport: uint32(toNTP(sent) >> 16)}, arrival)
		if rtt := time.Duration(track.rtt.Load()); rtt < 49*time.Millisecond || rtt > 51*time.Millisecond {
			t.Errorf("clock set by %v: the round trip takes %v", by, rtt)
		}
	}
}

// A clock that is set, as at boot by NTP, makes nobody silent.
func TestAClockThatIsSetEndsNothing(t *testing.T) {
	b := newConsentBench(t, true)
	begin := time.Now()
	b.consent.begin(begin)
	media := begin.Add(10 * time.Minute)
	b.lastMedia.set(media)
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		if b.consent.expired(b.Session, setForward(t, media.Add(time.Second), by)) {
			t.Errorf("clock set by %v: a publisher whose media came a second ago has expired", by)
		}
		if !b.alive(setForward(t, media.Add(time.Second), by)) {
			t.Errorf("clock set by %v: who was heard a second ago is taken for dead", by)
		}
		if !b.consent.expired(b.Session, setForward(t, media.Add(consentTimeout), by)) || b.alive(setForward(t, media.Add(consentTimeout), by)) {
			t.Errorf("clock set by %v: who was not heard for 30 s lives", by)
		}
	}
}

// The other side of a pull is a gateway: it answers, and reports, be it that no media comes.
func TestAPullGivesUpASilentGatewaySooner(t *testing.T) {
	for _, offers := range []bool{false, true} {
		b := newConsentBench(t, true)
		b.offers = offers
		begin := time.Now()
		b.consent.begin(begin)
		if b.consent.expired(b.Session, begin.Add(pullSilence-time.Second)) || b.consent.expired(b.Session, begin.Add(pullSilence)) != offers {
			t.Errorf("a pull %t: want it to give up after %v, if it is one", offers, pullSilence)
		}
		b.lastMedia.set(begin.Add(8 * time.Second)) // a report, perhaps
		if b.consent.expired(b.Session, begin.Add(15*time.Second)) {
			t.Errorf("a pull %t: what was heard 7 s ago has expired", offers)
		}
	}
}
