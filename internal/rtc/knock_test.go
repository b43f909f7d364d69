package rtc

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"

	"sightline/internal/sdp"
)

// For each candidate that an agent has it makes checks: it gets those alone that a check has come from, as
// the client has named them.
func TestTheAgentKnowsOnlyWhoHasCome(t *testing.T) {
	p := newRawPeer(t, testEngine(t), rawOptions{publish: true, noHandshake: true})
	const priority = 16777471 // of a relay's
	named := []string{fmt.Sprintf("1 1 udp %d 127.0.0.1 %d typ relay raddr 0.0.0.0 rport 0", priority, p.addr().Port())}
	for i := range 31 {
		named = append(named, fmt.Sprintf("1 1 udp 2130706431 127.0.1.%d 9 typ host", i+1))
	}
	if _, err := p.life.Patch(&sdp.Fragment{Ufrag: rawUfrag, Pwd: rawPwd, Candidates: named}, false); err != nil {
		t.Fatal(err)
	}
	agent := p.life.current.agent
	select {
	case <-p.checks:
	case <-time.After(patience):
		t.Fatal("nobody knocks at the client")
	}
	if n := len(agent.GetCandidatePairsStats()); n != 0 {
		t.Errorf("the agent has %d pairs before a check has come", n)
	}
	p.check(t)
	all, err := agent.GetRemoteCandidates()
	if err != nil || len(all) != 1 || all[0].Type() != ice.CandidateTypeRelay || all[0].Priority() != priority {
		t.Errorf("the agent has %v (%v), want the client's relay alone, with its own priority", all, err)
	}
	if p.life.Path() != "relay" {
		t.Errorf("the path is %q, want the relay", p.life.Path())
	}
}

func TestKnocksBecomeRare(t *testing.T) {
	b := newConsentBench(t, true)
	ufrag, pwd := secret(1)
	if _, err := b.Patch(&sdp.Fragment{Ufrag: ufrag, Pwd: pwd, Candidates: []string{candidateOf(b.peer)}}, false); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	var got []time.Duration
	for at := time.Duration(0); at < 20*time.Second; at += step {
		due, next := b.current.due(start.Add(at))
		if len(due) > 0 {
			got = append(got, at)
		}
		if wait := next.Sub(start.Add(at)); wait <= 0 || wait > rest {
			t.Fatalf("the next look is %s away", wait)
		}
	}
	if want := []time.Duration{0, step, 3 * step, 7 * step, 15 * step, 31 * step, 63 * step}; !slices.Equal(got, want) {
		t.Errorf("knocks at %v, want %v", got, want)
	}
}

// A path is enough: what the client names besides is not knocked at.
func TestWhoIsConnectedIsNotKnockedAt(t *testing.T) {
	b := newConsentBench(t, true)
	if _, err := b.Patch(&sdp.Fragment{Ufrag: b.current.remoteUfrag, Pwd: b.current.remotePwd, Candidates: []string{candidateOf(b.peer)}}, false); err != nil {
		t.Fatal(err)
	}
	b.knock(time.Now())
	if n := b.engine.Snapshot().Socket.Sent; n != 0 {
		t.Errorf("%d datagrams are sent", n)
	}
	b.path.Store(nil)
	b.knock(time.Now())
	if n := b.engine.Snapshot().Socket.Sent; n != 1 {
		t.Errorf("%d datagrams are sent without a path, want 1", n)
	}
}

// While the old path goes on, the new ICE session's candidates are knocked at.
func TestARestartKnocks(t *testing.T) {
	p := newRawPeer(t, testEngine(t), rawOptions{publish: true})
	elsewhere, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	ufrag, pwd := secret(1)
	if _, err := p.life.Patch(&sdp.Fragment{Ufrag: ufrag, Pwd: pwd, Candidates: []string{candidateOf(elsewhere)}}, false); err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, 1500)
	_ = elsewhere.SetReadDeadline(time.Now().Add(patience))
	n, err := elsewhere.Read(raw)
	if err != nil {
		t.Fatal("nobody knocks: ", err)
	}
	m := &stun.Message{Raw: raw[:n]}
	if err := m.Decode(); err != nil || stun.NewShortTermIntegrity(pwd).Check(m) != nil {
		t.Errorf("got %v (%v), want a check with the new credentials", m, err)
	}
}
