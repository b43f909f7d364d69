package rtc

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"sightline/internal/fault"
	"sightline/internal/sdp"
)

const silence = 150 * time.Millisecond // how long nothing has to come

// Row 71 of the bad input: what is not the client's check is dropped and not answered.
func TestSTUNThatIsNotTheClientsIsDropped(t *testing.T) {
	e := testEngine(t)
	p := newRawPeer(t, e, rawOptions{publish: true, noHandshake: true})
	good := func() []byte { return p.request("", controlling, priority).Raw }
	wrongPrint := good()
	wrongPrint[len(wrongPrint)-1] ^= 1
	wrongBody := good()
	wrongBody[22] ^= 1
	huge := good()
	binary.BigEndian.PutUint16(huge[22:], 0xffff)
	other := stun.MustBuild(stun.BindingRequest, stun.TransactionID, stun.NewUsername("nobody:"+rawUfrag), stun.NewShortTermIntegrity(p.life.current.pwd), stun.Fingerprint)
	remote := stun.MustBuild(stun.BindingRequest, stun.TransactionID, stun.NewUsername(p.life.current.ufrag+":other"), stun.NewShortTermIntegrity(p.life.current.pwd), stun.Fingerprint)
	for name, b := range map[string][]byte{
		"wrong integrity":    p.request("wrong", controlling, priority).Raw,
		"wrong fingerprint":  wrongPrint,
		"wrong local ufrag":  other.Raw,
		"wrong remote ufrag": remote.Raw,
		"changed body":       wrongBody,
		"too short":          good()[:19],
		"cut":                good()[:40],
		"header only":        good()[:20],
		"huge attribute":     huge,
		"no integrity":       stun.MustBuild(stun.BindingRequest, stun.TransactionID, stun.NewUsername(p.life.current.ufrag+":"+rawUfrag)).Raw,
		"indication":         stun.MustBuild(stun.NewType(stun.MethodBinding, stun.ClassIndication), stun.TransactionID).Raw,
		"allocate":           stun.MustBuild(stun.NewType(stun.MethodAllocate, stun.ClassRequest), stun.TransactionID).Raw,
		"unasked response":   stun.MustBuild(stun.BindingSuccess, stun.TransactionID).Raw,
	} {
		before := e.udp.stats.sent.Load()
		unknown := e.udp.stats.unknown.Load()
		p.send(b)
		eventually(t, name+" is counted", func() bool { return e.udp.stats.unknown.Load() == unknown+1 })
		if got := e.udp.stats.sent.Load(); got != before {
			t.Errorf("%s: %d datagrams are sent", name, got-before)
		}
	}
	time.Sleep(silence)
	e.udp.mu.RLock()
	claimed := len(e.udp.remotes)
	e.udp.mu.RUnlock()
	if len(p.responses) != 0 || len(p.checks) != 0 || e.udp.stats.sent.Load() != 0 || claimed != 0 {
		t.Errorf("%d responses, %d checks, %d addresses", len(p.responses), len(p.checks), claimed)
	}
	p.check(t) // the session has taken no harm
}

// Rows 73 and 74.
func TestRolesOfICE(t *testing.T) {
	e := testEngine(t)
	p := newRawPeer(t, e, rawOptions{publish: true, noHandshake: true})
	m := p.request("", controlled, priority)
	p.send(m.Raw)
	r := p.response(m, patience)
	var code stun.ErrorCodeAttribute
	if r == nil || code.GetFrom(r) != nil || code.Code != stun.CodeRoleConflict || stun.NewShortTermIntegrity(p.life.current.pwd).Check(r) != nil {
		t.Errorf("ICE-CONTROLLED: got %v, want 487 with integrity", r)
	}
	m = p.request("")
	p.send(m.Raw)
	if r := p.response(m, patience); r == nil || r.Type != stun.BindingSuccess || stun.NewShortTermIntegrity(p.life.current.pwd).Check(r) != nil {
		t.Errorf("without PRIORITY and role: got %v, want success", r)
	}
}

// Item 16: after the gateway's end checks get a 403 that is signed, and no larger than the
// request. FFmpeg gets nothing at all, and no close_notify.
func TestConsentIsRevokedOnTheWire(t *testing.T) {
	for name, ffmpeg := range map[string]bool{"-": false, "FFmpegPublishSession": true} {
		e := testEngine(t)
		o := rawOptions{publish: true, name: name}
		if ffmpeg {
			o.setup = "passive"
		}
		p := newRawPeer(t, e, o)
		g := p.life.current
		time.Sleep(silence) // the handshake's last repetitions are over
		records := p.sawDTLS.Load()
		p.life.cancel(Removed)
		if err := p.life.waitEnd(t); !errors.Is(err, Removed) {
			t.Errorf("%s: ended by %v", name, err)
		}
		small := stun.MustBuild(stun.BindingRequest, stun.TransactionID, stun.NewUsername(g.ufrag+":x"), stun.NewShortTermIntegrity(g.pwd))
		wrong := p.request("wrong", controlling)
		for _, m := range []*stun.Message{p.request("", controlling, priority), small} {
			p.send(m.Raw)
			if ffmpeg {
				if r := p.response(m, silence); r != nil {
					t.Errorf("FFmpeg is answered %v", r)
				}
				continue
			}
			r := p.response(m, patience)
			var code stun.ErrorCodeAttribute
			if r == nil || code.GetFrom(r) != nil || code.Code != stun.CodeForbidden || stun.NewShortTermIntegrity(g.pwd).Check(r) != nil {
				t.Fatalf("got %v, want 403 with integrity", r)
			}
			if len(r.Raw) > len(m.Raw) {
				t.Errorf("a request of %d bytes is answered with %d", len(m.Raw), len(r.Raw))
			}
		}
		p.send(wrong.Raw)
		if r := p.response(wrong, silence); r != nil {
			t.Errorf("%s: wrong integrity is answered %v", name, r)
		}
		if got := p.sawDTLS.Load() - records; (got == 0) != ffmpeg {
			t.Errorf("%s: %d DTLS records at the end", name, got)
		}
	}
}

// FFmpeg can't be told of the end. When the gateway goes its port stays closed for long enough that FFmpeg sends something
// there, though another one may be started at once.
func TestFFmpegFindsThePortClosed(t *testing.T) {
	e := testEngine(t)
	p := newRawPeer(t, e, rawOptions{publish: true, name: "FFmpegPublishSession", setup: "passive"})
	to := e.udp.conn.LocalAddr()
	p.life.cancel(Draining)
	if err := p.life.waitEnd(t); !errors.Is(err, Draining) {
		t.Errorf("ended by %v", err)
	}
	sender, err := net.Dial("udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	began := time.Now()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < portClosed {
		t.Errorf("the port was closed for %v, want %v at least", took, portClosed)
	}
	eventually(t, "the system says that the port is closed", func() bool {
		_, err := sender.Write([]byte("media"))
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

// A DTLS record that comes once FFmpeg's handshake is over makes its socket block for good.
// So nothing is repeated to it while its last flight is on its way; to others it is.
func TestFFmpegIsNotToldTwice(t *testing.T) {
	for name, ffmpeg := range map[string]bool{"-": false, "FFmpegPublishSession": true} {
		p := newRawPeer(t, testEngine(t), rawOptions{publish: true, name: name, setup: "passive", slow: 400 * time.Millisecond})
		time.Sleep(silence)
		if got := p.afterLast.Load(); (got == 0) != ffmpeg {
			t.Errorf("%s: %d DTLS records while the last flight is on its way", name, got)
		}
	}
}

// Row 75: the wrong certificate is told by an alert.
func TestAWrongCertificateIsAnsweredWithAnAlert(t *testing.T) {
	e := testEngine(t)
	p := newRawPeer(t, e, rawOptions{publish: true, wrongPrint: true})
	if err := p.life.waitEnd(t); !errors.Is(err, DTLSFailed) {
		t.Errorf("ended by %v, want DTLSFailed", err)
	}
	eventually(t, "an alert", func() bool { return p.sawAlert.Load() > 0 })
}

// Row 54: a certificate is right by the hashes that an offer may name, and by no weaker one.
func TestCertificatesAreVerifiedByStrongHashesAlone(t *testing.T) {
	der := []byte("certificate")
	print1, print224, print256 := sha1.Sum(der), sha256.Sum224(der), sha256.Sum256(der)
	print384, print512 := sha512.Sum384(der), sha512.Sum512(der)
	for name, value := range map[string][]byte{"sha-256": print256[:], "sha-384": print384[:], "sha-512": print512[:], "sha-1": print1[:], "sha-224": print224[:]} {
		want := !(name == "sha-1" || name == "sha-224")
		err := verifyFingerprint([][]byte{der}, []sdp.Fingerprint{{Hash: "md5", Value: value}, {Hash: name, Value: value}})
		if (err == nil) != want {
			t.Errorf("%s: got %v, want right %t", name, err, want)
		}
		if verifyFingerprint([][]byte{der[:3]}, []sdp.Fingerprint{{Hash: name, Value: value}}) == nil || verifyFingerprint(nil, []sdp.Fingerprint{{Hash: name, Value: value}}) == nil {
			t.Errorf("%s: another certificate, or none, is right", name)
		}
	}
}

// Nobody can close a session, or shake it, by DTLS records that are not protected.
func TestAPlaintextAlertIsIgnored(t *testing.T) {
	p := newRawPeer(t, testEngine(t), rawOptions{publish: true})
	for _, level := range []byte{1, 2} {
		for sequence := range byte(20) {
			p.send([]byte{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 100 + sequence, 0, 2, level, 0})
		}
	}
	p.lives(t, 7, 1)
}

// An address belongs to a session only after a check from there with its integrity, and
// while that session is alive no other one can take it.
func TestAddressesAreVerifiedAndKept(t *testing.T) {
	e := testEngine(t)
	victim := newRawPeer(t, e, rawOptions{publish: true})
	attacker := newRawPeer(t, e, rawOptions{publish: true})
	victim.lives(t, 7, 1)
	for range 5 { // valid for the attacker's session, from the victim's address
		victim.send(attacker.request("", controlling, priority, useCandidate).Raw)
	}
	victim.lives(t, 7, 2)
	e.udp.mu.RLock()
	owner := e.udp.remotes[victim.addr()]
	e.udp.mu.RUnlock()
	if owner != victim.life.Session {
		t.Error("the address went over to another session")
	}

	stranger, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	unknown := e.udp.stats.unknown.Load()
	_, _ = stranger.WriteToUDPAddrPort(victim.rtp(t, rawVP8(7, 3, 0)), victim.gateway)
	eventually(t, "a stranger's packet is counted", func() bool { return e.udp.stats.unknown.Load() > unknown })
	victim.lives(t, 7, 4)
}

// A dead session's address goes over to who proves to be there now.
func TestADeadSessionsAddressGoesOver(t *testing.T) {
	u := &socket{remotes: make(map[netip.AddrPort]*Session)}
	a := netip.MustParseAddrPort("127.0.0.1:9")
	now := time.Now()
	first, second := &Session{}, &Session{}
	first.path.Store(&path{udp: newDestination(false, a, netip.Addr{})})
	first.lastMedia.set(now)
	if !u.claim(a, first, now) || u.claim(a, second, now.Add(6*time.Second)) {
		t.Error("a live session has to keep its address")
	}
	first.consent.heard.set(now.Add(6 * time.Second))
	if u.claim(a, second, now.Add(12*time.Second)) {
		t.Error("a response to a check shows life too")
	}
	elsewhere := netip.MustParseAddrPort("127.0.0.1:10")
	if !u.claim(elsewhere, first, now) || !u.claim(elsewhere, second, now.Add(6*time.Second)) {
		t.Error("an address that no path leads to is kept from who comes from there")
	}
	if !u.claim(a, second, now.Add(14*time.Second)) {
		t.Error("a dead session keeps its address")
	}
}

// A client that comes from ever new addresses, or a flood, makes nothing grow.
func TestAFloodOfSTUNIsBounded(t *testing.T) {
	e := testEngine(t)
	p := newRawPeer(t, e, rawOptions{publish: true})
	g := p.life.current
	for port := range uint16(1000) {
		from := netip.AddrPortFrom(p.addr().Addr(), 20000+port)
		g.receiveRequest(datagram{p.request("", controlling, priority).Raw, from, time.Now()}, p.gateway.Addr())
		p.life.authenticated(from)
	}
	g.mu.Lock()
	sources := len(g.accounts)
	g.mu.Unlock()
	p.life.mu.Lock()
	remotes := len(p.life.remotes)
	p.life.mu.Unlock()
	e.udp.mu.RLock()
	claimed := len(e.udp.remotes)
	e.udp.mu.RUnlock()
	if sources > maxSources || remotes > 32 || claimed > 32 {
		t.Errorf("%d sources, %d addresses of the session, %d of the socket", sources, remotes, claimed)
	}

	u := &socket{ufrags: map[string]*generation{}, tombstones: map[string]tombstone{}, transactions: map[transactionID]transaction{}}
	now := time.Now()
	g = &generation{}
	for i := range 2 * maxTransactions {
		if i%maxAsked == 0 {
			g = &generation{}
		}
		var id transactionID
		binary.BigEndian.PutUint32(id[:], uint32(i))
		u.ask(g, id, g, netip.AddrPort{}, now)
		u.removeUfrag(string(id[:]), &tombstone{expires: now.Add(tombstoneTimeout)})
	}
	if len(u.transactions) != maxTransactions || len(u.tombstones) != maxTombstones {
		t.Errorf("%d transactions, %d tombstones", len(u.transactions), len(u.tombstones))
	}
	u.sweep(now.Add(time.Hour))
	if len(u.transactions)+len(u.tombstones) != 0 {
		t.Errorf("%d transactions, %d tombstones after their time", len(u.transactions), len(u.tombstones))
	}
}

// A client that names addresses where nobody answers, or checks and answers no check, takes no place from the
// checks of others: neither do they lose their consent, nor do new ones not connect.
func TestChecksThatOneClientAnswersNeverLeaveRoom(t *testing.T) {
	e := testEngine(t)
	hostile := newRawPeer(t, e, rawOptions{noHandshake: true})
	hostile.mute.Store(true)
	g := hostile.life.current
	to := hostile.addr()
	g.mu.Lock()
	g.accountLocked(to).verified = true
	c := g.conns[0]
	g.mu.Unlock()
	id := func(n int) (id transactionID) {
		binary.BigEndian.PutUint32(id[:], uint32(n))
		return id
	}
	const many = 1<<16 + 1
	for i := range many {
		m := stun.MustBuild(stun.BindingRequest, stun.NewTransactionIDSetter(id(i)))
		if _, err := c.WriteTo(m.Raw, net.UDPAddrFromAddrPort(to)); err != nil {
			t.Fatal(err)
		}
	}
	waiting := func() int {
		e.udp.mu.RLock()
		defer e.udp.mu.RUnlock()
		return len(e.udp.transactions)
	}
	if n := waiting(); n > 2*maxAsked {
		t.Errorf("%d checks wait for one client's responses", n)
	}
	if _, ok := e.udp.answered(id(many-1), to); !ok {
		t.Error("his newest check is forgotten, too")
	}
	newRawPeer(t, e, rawOptions{publish: true}).lives(t, 7, 1) // somebody else connects
	hostile.life.cancel(Deleted)
	_ = hostile.life.waitEnd(t)
	if n := waiting(); n != 0 {
		t.Errorf("%d checks wait for the responses of a session that has ended", n)
	}
}

// Item 36 and row 46: a restart that never completes leaves the old path; of two that race
// the last counts, and media flows through all of it.
func TestRestartsWhileMediaFlows(t *testing.T) {
	p := newRawPeer(t, testEngine(t), rawOptions{publish: true})
	sequence := uint16(0)
	flows := func() { t.Helper(); sequence++; p.lives(t, 7, sequence) }
	flows()
	old := p.life.path.Load().generation
	if _, err := p.life.Patch(&sdp.Fragment{Ufrag: "neverdone", Pwd: rawPwd + "1"}, false); err != nil {
		t.Fatal(err)
	}
	flows()
	m := stun.MustBuild(stun.BindingRequest, stun.TransactionID, stun.NewUsername(old.ufrag+":"+rawUfrag), controlling, stun.NewShortTermIntegrity(old.pwd), stun.Fingerprint)
	p.send(m.Raw)
	if r := p.response(m, patience); r == nil || r.Type != stun.BindingSuccess {
		t.Errorf("the old ICE session answers %v", r)
	}
	if got := p.life.path.Load().generation; got != old {
		t.Error("the path has left the old ICE session")
	}

	errs := make(chan error, 2)
	for i := range 2 {
		go func() {
			ufrag, pwd := secret(i)
			reply, err := p.life.Patch(&sdp.Fragment{Ufrag: ufrag, Pwd: pwd}, false)
			if err == nil && reply == nil {
				err = fault.New(fault.BadRequest, "no reply")
			}
			errs <- err
		}()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Errorf("one of two racing restarts: %v", err)
		}
	}
	flows()
	p.life.mu.Lock()
	last := p.life.current
	p.life.mu.Unlock()
	if p.life.ETag() != last.etag {
		t.Error("the ETag is not the last one's")
	}
	p.credentials(last.remoteUfrag, last.remotePwd)
	p.check(t)
	flows()
	eventually(t, "the old ICE session is closed", func() bool {
		old.mu.Lock()
		defer old.mu.Unlock()
		return old.closed
	})
	flows()
}

// A client that can't reach the gateway's candidates is reached on those it trickles.
func TestTrickledCandidatesAreChecked(t *testing.T) {
	e := testEngine(t)
	p := newRawPeer(t, e, rawOptions{publish: true, noHandshake: true})
	candidate := "1 1 udp 2130706431 127.0.0.1 " + netip.AddrPortFrom(p.addr().Addr(), p.addr().Port()).String()[len("127.0.0.1:"):] + " typ host"
	if reply, err := p.life.Patch(&sdp.Fragment{Ufrag: rawUfrag, Pwd: rawPwd, Candidates: []string{candidate}}, false); reply != nil || err != nil {
		t.Fatalf("got %q, %v", reply, err)
	}
	select {
	case m := <-p.checks:
		if stun.NewShortTermIntegrity(rawPwd).Check(m) != nil || !m.Contains(stun.AttrICEControlled) {
			t.Errorf("got %v, want a check of a controlled agent", m)
		}
	case <-time.After(patience):
		t.Fatal("the candidate is not checked")
	}
}
