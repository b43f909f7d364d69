package rtc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/stun/v4"

	"sightline/internal/opt"
)

func TestASessionThatNobodyConnectsEnds(t *testing.T) {
	for _, tt := range []struct {
		name         string
		checks       bool
		check, setup time.Duration
		want         End
	}{
		{"without a check, soon", false, 300 * time.Millisecond, time.Minute, Unreached},
		{"without a check, but less time than that for all", false, time.Minute, 300 * time.Millisecond, Unreached},
		{"checked, but without DTLS", true, 5 * time.Second, 2 * time.Second, SetupTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := testEngine(t)
			e.config.CheckTimeout = opt.Duration(tt.check)
			e.config.SetupTimeout = opt.Duration(tt.setup)
			p := newRawPeer(t, e, rawOptions{publish: true, noHandshake: true})
			if tt.checks {
				p.check(t)
			}
			if err := p.life.waitEnd(t); !errors.Is(err, tt.want) {
				t.Errorf("ended by %v, want %v", err, tt.want)
			}
			select {
			case <-p.life.Checked():
				if !tt.checks {
					t.Error("it counts as checked")
				}
			default:
				if tt.checks {
					t.Error("it does not count as checked")
				}
			}
		})
	}
}

// A check counts only with the session's integrity: else a guesser of ufrags could keep
// sessions of others half open.
func TestAForgedCheckDoesNotCount(t *testing.T) {
	e := testEngine(t)
	p := newRawPeer(t, e, rawOptions{publish: true, noHandshake: true})
	p.send(p.request("wrong", controlling, priority).Raw)
	eventually(t, "it is counted", func() bool { return e.Snapshot().Socket.Unknown == 1 })
	select {
	case <-p.life.Checked():
		t.Error("it counts as checked")
	default:
	}
	if p.life.enqueue(datagram{}) {
		t.Error("the session has a queue for datagrams before it is checked")
	}
	p.check(t)
	select {
	case <-p.life.Checked():
	case <-time.After(patience):
		t.Error("a right check does not count")
	}
}

func TestRTCPBudget(t *testing.T) {
	var b rtcpBudget
	now := time.Unix(1, 0)
	taken := func(n int) (taken int) {
		for range n {
			if b.take(now, 10) {
				taken++
			}
		}
		return taken
	}
	if got := taken(100); got != 20 {
		t.Errorf("%d at once, want two seconds' worth, 20", got)
	}
	now = now.Add(500 * time.Millisecond)
	if got := taken(100); got != 5 {
		t.Errorf("%d after half a second, want 5", got)
	}
	now = now.Add(-time.Second) // a clock that goes back gives nothing
	if got := taken(100); got != 0 {
		t.Errorf("%d after the clock went back", got)
	}
	now = now.Add(time.Hour)
	if got := taken(100); got != 20 {
		t.Errorf("%d after an hour, want 20", got)
	}
}

// Of a flood of RTCP what is beyond the limit is dropped, and the session goes on.
func TestAFloodOfRTCPIsDropped(t *testing.T) {
	const perSecond, sent = 10, 400
	e := testEngine(t, func(c *Config) { c.MaxRTCP = perSecond })
	p := newRawPeer(t, e, rawOptions{})
	began, before := time.Now(), e.udp.stats.received.Load()
	for i := range sent {
		b, err := (&rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: uint32(i)}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if b, err = p.out.EncryptRTCP(nil, b, nil); err != nil {
			t.Fatal(err)
		}
		p.send(b)
		if i%32 == 31 { // as fast as the session reads
			eventually(t, "they are read", func() bool { return e.udp.stats.received.Load() > before+uint64(i) && len(p.life.in) == 0 })
		}
	}
	allowed := uint64(perSecond * (2 + time.Since(began).Seconds() + 1))
	eventually(t, "the flood is counted", func() bool { return e.Snapshot().Limited["ice.max_rtcp"] >= sent-allowed })
	if s := p.life.State(); s != "connected" {
		t.Errorf("the session is %s", s)
	}
}

// Whoever forges datagrams from a client's address has no part in that client's budget: it is asked
// for a keyframe all the same.
func TestForgedRTCPSpendsNothing(t *testing.T) {
	const perSecond, sent = 10, 400
	e := testEngine(t, func(c *Config) { c.MaxRTCP = perSecond })
	p := newRawPeer(t, e, rawOptions{})
	sink := p.life.Sinks()[0]
	pli, err := (&rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: sink.section.SSRC}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	before := e.udp.stats.received.Load()
	for i := range uint64(sent) {
		forged := append(bytes.Clone(pli), make([]byte, 20)...) // no tag that anybody could make without the keys
		forged[15] = byte(i)
		p.send(forged)
		if i%32 == 31 { // as fast as the session reads
			eventually(t, "they are read", func() bool { return e.udp.stats.received.Load() > before+i && len(p.life.in) == 0 })
		}
	}
	if pli, err = p.out.EncryptRTCP(nil, pli, nil); err != nil {
		t.Fatal(err)
	}
	p.send(pli)
	eventually(t, "the viewer's own request is taken", func() bool { return sink.Stats().Keyframes == 1 })
	if n := e.Snapshot().Limited["ice.max_rtcp"]; n != 0 {
		t.Errorf("%d packets were beyond the viewer's limit, want none", n)
	}
}

// garbage is what a scanner or an attacker sends to the media port.
func garbage() map[string][]byte {
	random := make([]byte, 1200)
	for i := range random {
		random[i] = byte(i*31 + 200) // the first is in no protocol's range (RFC 7983)
	}
	dtls, rtp := append([]byte(nil), random...), append([]byte(nil), random...)
	copy(dtls, []byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0xa3})
	rtp[0], rtp[1] = 0x80, 96
	request := stun.MustBuild(stun.BindingRequest, stun.TransactionID, stun.NewUsername("nobody12:stranger"), stun.NewShortTermIntegrity("guess"), stun.Fingerprint)
	response := stun.MustBuild(stun.BindingSuccess, stun.TransactionID, stun.NewShortTermIntegrity("guess"), stun.Fingerprint)
	broken := append([]byte(nil), request.Raw...)
	binary.BigEndian.PutUint16(broken[22:], 0xffff)
	return map[string][]byte{
		"random": random, "DTLS": dtls, "RTP": rtp, "empty": {},
		"STUN request": request.Raw, "STUN response": response.Raw, "broken STUN": broken,
	}
}

// garbageSocket returns a socket with a thousand sessions, none of them the garbage's.
func garbageSocket() *socket {
	u := &socket{
		remotes: make(map[netip.AddrPort]*Session), ufrags: make(map[string]*generation),
		transactions: make(map[transactionID]transaction), tombstones: make(map[string]tombstone),
	}
	for i := range 1000 {
		u.remotes[netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 5000)] = &Session{}
		u.ufrags[newSecret(16)] = &generation{}
	}
	return u
}

var stranger = netip.MustParseAddrPort("192.0.2.1:4000")

func TestGarbageAllocatesNothing(t *testing.T) {
	u, now := garbageSocket(), time.Now()
	for name, b := range garbage() {
		unknown := u.stats.unknown.Load()
		const runs = 100
		if n := testing.AllocsPerRun(runs, func() { u.take(b, stranger, stranger.Addr(), now) }); n != 0 {
			t.Errorf("%s: %v allocations for a datagram of nobody's", name, n)
		}
		if got := u.stats.unknown.Load() - unknown; got != runs+1 { // AllocsPerRun warms up once
			t.Errorf("%s: %d of %d are counted", name, got, runs+1)
		}
	}
}

// BenchmarkGarbage is what a datagram that belongs to nobody costs once it has been read.
func BenchmarkGarbage(b *testing.B) {
	u, now := garbageSocket(), time.Now()
	for name, datagram := range garbage() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				u.take(datagram, stranger, stranger.Addr(), now)
			}
		})
	}
}
