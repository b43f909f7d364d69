package rtc

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"sightline/internal/sdp"
)

func TestAddressesThatAreNeverSentTo(t *testing.T) {
	engine := func(loopback bool, entries ...string) *Engine {
		p, err := parseRemotePolicy(entries)
		if err != nil {
			t.Fatal(err)
		}
		return &Engine{remote: p, loopback: loopback}
	}
	usual := engine(false, Defaults().RemoteCandidates...)
	for _, tt := range []struct {
		engine *Engine
		named  bool // may be sent to when a client names it
		came   bool // may be answered when a check comes from it
		addrs  []string
	}{
		{usual, true, true, []string{"10.1.2.3", "192.168.1.1", "172.16.0.1", "100.64.0.1", "fd12::1", "203.0.113.9", "2001:db8::1", "64:ff9b::cb00:7109", "::ffff:203.0.113.9"}},
		{usual, false, false, []string{
			"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "169.254.1.1", "fe80::1", "224.0.0.1", "ff02::1", "0.0.0.0", "0.1.2.3",
			"255.255.255.255", "240.0.0.1", "::", "169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192",
			"::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "2002:a9fe:a9fe::1", "2002:7f00:1::", "::7f00:1", "::a9fe:a9fe",
		}},
		{engine(false, "public"), true, true, []string{"203.0.113.9", "2001:db8::1"}},
		{engine(false, "public"), false, true, []string{"10.1.2.3", "192.168.1.1", "172.31.0.1", "100.64.0.1", "fd12::1", "fec0::1", "64:ff9b::a00:1", "2002:a00:1::"}},
		{engine(false), false, true, []string{"203.0.113.9", "10.1.2.3", "2001:db8::1"}},
		{engine(true), false, true, []string{"127.0.0.1", "::1"}},
		{engine(false, "10.1.0.0/16", "fd12::/16"), true, true, []string{"10.1.2.3", "fd12::9"}},
		{engine(false, "10.1.0.0/16", "fd12::/16"), false, true, []string{"10.2.0.1", "203.0.113.9", "fd13::1"}},
		{engine(false, "link-local"), true, true, []string{"169.254.1.1", "fe80::1"}},
		{engine(false, "link-local", "169.254.0.0/16", "fd00::/8"), false, false, []string{"169.254.169.254", "fd00:ec2::254"}},
		{engine(false, "169.254.169.254/32"), true, true, []string{"169.254.169.254"}},
		{engine(false, "loopback"), true, true, []string{"127.0.0.1", "::1"}},
		{engine(false, "0.0.0.0/0", "::/0"), false, false, []string{"0.0.0.0", "255.255.255.255", "224.0.0.1", "ff02::1", "::"}},
	} {
		for _, a := range tt.addrs {
			addr := netip.MustParseAddr(a)
			if got := tt.engine.named(addr); got != tt.named {
				t.Errorf("%s may be named: %t, want %t", a, got, tt.named)
			}
			if got := tt.engine.came(addr); got != tt.came {
				t.Errorf("%s may come: %t, want %t", a, got, tt.came)
			}
		}
	}
}

// Without remote_candidates nothing is sent where a client points; who comes by itself is served.
func TestNothingIsSentToWhatAClientNames(t *testing.T) {
	for _, tt := range []struct {
		policy []string
		named  bool
	}{{nil, false}, {[]string{"public"}, true}} { // with "public" loopback is implied: the gateway listens there
		e := testEngine(t, func(c *Config) { c.RemoteCandidates = tt.policy })
		p := newRawPeer(t, e, rawOptions{publish: true, noHandshake: true})
		victim, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer victim.Close()
		if _, err := p.life.Patch(&sdp.Fragment{Ufrag: rawUfrag, Pwd: rawPwd, Candidates: []string{candidateOf(victim)}}, false); err != nil {
			t.Fatal(err)
		}
		wait := 700 * time.Millisecond // the agent checks every 200 ms what it has
		if tt.named {
			wait = patience
		}
		_ = victim.SetReadDeadline(time.Now().Add(wait))
		n, _, err := victim.ReadFromUDPAddrPort(make([]byte, 1500))
		if got := err == nil; got != tt.named {
			t.Errorf("%v: %d bytes arrive (%v), want any: %t", tt.policy, n, err, tt.named)
		}
		if got := e.udp.stats.sent.Load(); !tt.named && got != 0 {
			t.Errorf("%v: %d datagrams are sent", tt.policy, got)
		}
		p.check(t)
	}
}

// The agent reads a candidate in its own way: it must not find another address in it than the one
// that the policy has seen.
func TestTheAgentTakesTheAddressThatWasLookedAt(t *testing.T) {
	for _, value := range []string{
		"1 1 udp 2130706431 203.0.113.9 5000 typ host",
		"1 1 udp\t2130706431\t203.0.113.9\t5000\ttyp\thost 2130706431 10.9.8.7 22 typ host",
		"1  1 udp 2130706431 203.0.113.9 5000 typ host",
		"1 1 udp 2130706431\u00a0203.0.113.9 5000\u00a0typ host",
	} {
		e := testEngine(t, func(c *Config) { c.RemoteCandidates = []string{"203.0.113.0/24"} })
		p := newRawPeer(t, e, rawOptions{publish: true, noHandshake: true})
		if _, err := p.life.Patch(&sdp.Fragment{Ufrag: rawUfrag, Pwd: rawPwd, Candidates: []string{value}}, false); err != nil {
			t.Fatal(err)
		}
		g := p.life.current
		g.conns[0].introduce(netip.MustParseAddrPort("203.0.113.9:5000"))
		all, err := g.agent.GetRemoteCandidates()
		if err != nil || len(all) != 1 || all[0].Address() != "203.0.113.9" {
			t.Errorf("%q: the agent has %v (%v), want 203.0.113.9 alone", value, all, err)
		}
	}
}

func candidateOf(c *net.UDPConn) string {
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return fmt.Sprintf("1 1 udp 2130706431 %s %d typ host", a.Addr(), a.Port())
}

// A check with a forged source makes the gateway send to who never asked: no more than three
// times what came, until he has answered.
func TestWhoHasNotAnsweredIsSentThreeTimesAsMuchAtMost(t *testing.T) {
	p := newRawPeer(t, testEngine(t), rawOptions{publish: true, noHandshake: true})
	p.mute.Store(true) // he knows nothing of it
	sent, came := 0, func() (n int) {
		for len(p.responses) > 0 {
			n += len((<-p.responses).Raw)
		}
		for len(p.checks) > 0 {
			n += len((<-p.checks).Raw)
		}
		return n
	}
	got := 0
	for range 2 {
		m := p.request("", controlling, priority, useCandidate)
		p.send(m.Raw)
		sent += len(m.Raw)
		time.Sleep(1500 * time.Millisecond) // seven rounds of the agent's checks
		got += came()
		if got == 0 || got > amplification*sent {
			t.Fatalf("%d bytes come back for %d, want at most three times as many, and some", got, sent)
		}
	}
	p.mute.Store(false)
	p.check(t) // from here on he is known
}

// What is only named, and in an agent that begins, gets few checks: 28 in the 20 s that it tries, not 100.
func TestSilentCandidatesAreCheckedLessAndLess(t *testing.T) {
	a := &account{named: true}
	start, sent := time.Now(), 0
	for at := time.Duration(0); at < 20*time.Second; at += 200 * time.Millisecond {
		if a.spend(112, start.Add(at)) {
			sent++
		}
	}
	if sent < 20 || sent > 30 {
		t.Errorf("%d checks, want some 28", sent)
	}
	stranger := &account{}
	if stranger.spend(1, start) {
		t.Error("who has neither come nor been named is sent something")
	}
	stranger.verified = true
	if !stranger.spend(1<<20, start) {
		t.Error("who has answered is refused something")
	}
}

// A response counts from who was asked.
func TestAResponseFromElsewhereIsDropped(t *testing.T) {
	u := &socket{transactions: map[transactionID]transaction{}}
	asked, other := netip.MustParseAddrPort("127.0.0.1:9"), netip.MustParseAddrPort("127.0.0.1:10")
	var to responses
	m := stun.MustBuild(stun.BindingSuccess, stun.TransactionID)
	now := time.Now()
	u.expect(m.TransactionID, &to, asked, now)
	u.dispatchSTUN(m.Raw, other, other.Addr(), now)
	if to != 0 || u.stats.unknown.Load() != 1 {
		t.Error("a response from elsewhere is taken")
	}
	u.dispatchSTUN(m.Raw, asked, asked.Addr(), now)
	u.dispatchSTUN(m.Raw, asked, asked.Addr(), now)
	if to != 1 {
		t.Errorf("%d responses are taken, want that of who was asked, once", to)
	}
}

type responses int

func (r *responses) receiveSTUN(datagram) { *r++ }
