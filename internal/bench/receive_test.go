package bench

import (
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/srtp/v3"
)

// testKeys are the keys of a session, as the server sees them.
func testKeys(t testing.TB, profile srtp.ProtectionProfile) keyring {
	t.Helper()
	key, err := profile.KeyLen()
	if err != nil {
		t.Fatal(err)
	}
	salt, err := profile.SaltLen()
	if err != nil {
		t.Fatal(err)
	}
	k := keyring{profile: profile, keys: srtp.SessionKeys{
		LocalMasterKey: make([]byte, key), LocalMasterSalt: make([]byte, salt),
		RemoteMasterKey: make([]byte, key), RemoteMasterSalt: make([]byte, salt),
	}}
	for _, b := range [][]byte{k.keys.LocalMasterKey, k.keys.LocalMasterSalt, k.keys.RemoteMasterKey, k.keys.RemoteMasterSalt} {
		_, _ = rand.Read(b) // it never fails
	}
	return k
}

// A tape is an endpoint that remembers what was sent.
type tape struct{ packets [][]byte }

func (s *tape) address() netip.AddrPort { return netip.MustParseAddrPort("127.77.0.1:9") }

func (s *tape) send(packets [][]byte, _ netip.AddrPort) {
	for _, b := range packets {
		s.packets = append(s.packets, append([]byte(nil), b...))
	}
}

var (
	gcm = srtp.ProtectionProfileAeadAes128Gcm
	cm  = srtp.ProtectionProfileAes128CmHmacSha1_80
)

// testPublisher is a publisher whose packets a test takes; whoever has the keys as a viewer
// can read them.
func testPublisher(t testing.TB, c Config, k keyring) (*publisher, *tape) {
	t.Helper()
	r := &run{}
	r.measuring.Store(true)
	p := newPublisher(0, c, &r.measuring)
	sent := &tape{}
	p.peer.end = sent
	sender := k
	sender.keys.LocalMasterKey, sender.keys.LocalMasterSalt = k.keys.RemoteMasterKey, k.keys.RemoteMasterSalt
	sender.keys.RemoteMasterKey, sender.keys.RemoteMasterSalt = k.keys.LocalMasterKey, k.keys.LocalMasterSalt
	if err := p.start(sender, testAnswer()); err != nil {
		t.Fatal(err)
	}
	return p, sent
}

func testAnswer() *answer {
	return &answer{types: map[string]uint8{"h264": h264Type, "vp8": vp8Type, "opus": opusType}}
}

func testViewer(t testing.TB, c Config, k keyring) *viewer {
	t.Helper()
	v := &viewer{totals: &totals{}, ssrc: 1, began: time.Now().UnixNano()}
	v.peer = newPeer(v)
	v.peer.end = &tape{}
	if err := v.start(k, testAnswer(), c.Codec); err != nil {
		t.Fatal(err)
	}
	return v
}

// BenchmarkReceive is one packet of a viewer, from the datagram to the histograms.
func BenchmarkReceive(b *testing.B) {
	for _, profile := range []srtp.ProtectionProfile{gcm, cm} {
		b.Run(profileName(profile), func(b *testing.B) {
			c, k := Defaults(), testKeys(b, profile)
			p, sent := testPublisher(b, c, k)
			for range 200 {
				p.sendFrame(time.Now())
			}
			v := testViewer(b, c, k)
			now := time.Now().UnixNano()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				v.peer.receive(sent.packets[i%len(sent.packets)], netip.AddrPort{}, now)
			}
		})
	}
}
