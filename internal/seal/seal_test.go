package seal

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/pion/srtp/v3"
)

var profiles = []struct {
	name    string
	profile srtp.ProtectionProfile
}{
	{"GCM-128", srtp.ProtectionProfileAeadAes128Gcm},
	{"GCM-256", srtp.ProtectionProfileAeadAes256Gcm},
	{"CM", srtp.ProtectionProfileAes128CmHmacSha1_80},
}

func random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

func keys(t testing.TB, profile srtp.ProtectionProfile) (key, salt []byte) {
	t.Helper()
	k, err := profile.KeyLen()
	if err != nil {
		t.Fatal(err)
	}
	s, err := profile.SaltLen()
	if err != nil {
		t.Fatal(err)
	}
	return random(k), random(s)
}

// header writes an RTP header, with an extension if long.
func header(sequence uint16, ssrc uint32, long bool, room int) []byte {
	h := make([]byte, 12, 20+room)
	h[0], h[1] = 0x80, 96
	binary.BigEndian.PutUint16(h[2:], sequence)
	binary.BigEndian.PutUint32(h[8:], ssrc)
	if long {
		h[0] |= 0x10
		h = append(h, 0xBE, 0xDE, 0, 1, 0x10, 0x55, 0, 0)
	}
	return h
}

// What is sealed here pion opens, and it is what pion seals, for every profile, length and
// rollover.
func TestSealsAsPionDoes(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.name, func(t *testing.T) {
			for range 20 {
				key, salt := keys(t, p.profile)
				s, err := New(p.profile, key, salt)
				if err != nil {
					t.Fatal(err)
				}
				theirs, err := srtp.CreateContext(key, salt, p.profile)
				if err != nil {
					t.Fatal(err)
				}
				opener, err := srtp.CreateContext(key, salt, p.profile)
				if err != nil {
					t.Fatal(err)
				}
				ssrcs := [2]uint32{rand.Uint32(), rand.Uint32()}
				var counts [2]Rollover
				for i := range 60 {
					// Numbers run over twice.
					sequence := uint16(65000 + i*3000)
					for k, ssrc := range ssrcs {
						payload := random([]int{0, 1, 15, 16, 17, 160, 1188, 1400}[rand.IntN(8)])
						h := header(sequence, ssrc, rand.IntN(2) == 0, len(payload)+Overhead)
						plain := append(bytes.Clone(h), payload...)
						want, err := theirs.EncryptRTP(nil, plain, nil)
						if err != nil {
							t.Fatal(err)
						}
						if rand.IntN(2) == 0 { // in place
							payload = append(h[len(h):], payload...)
						}
						got := s.Seal(h, payload, counts[k].Of(sequence))
						if !bytes.Equal(got, want) {
							t.Fatalf("packet %d of %d bytes:\n%x\nwant\n%x", i, len(plain), got, want)
						}
						opened, err := opener.DecryptRTP(nil, got, nil)
						if err != nil || !bytes.Equal(opened, plain) {
							t.Fatalf("packet %d: %v", i, err)
						}
					}
				}
			}
		})
	}
}

func TestRolloverFollowsTheNearestIndex(t *testing.T) {
	var r Rollover
	for _, c := range []struct {
		sequence uint16
		want     uint32
	}{
		{65530, 0}, {65535, 0}, {0, 1}, {65534, 0}, {40000, 0}, {3, 1}, {30000, 1}, {60000, 1}, {1, 2}, {60001, 1}, {2, 2},
	} {
		if got := r.Of(c.sequence); got != c.want {
			t.Fatalf("%d: rollover %d, want %d", c.sequence, got, c.want)
		}
	}
	r = Rollover{}
	if r.Of(3) != 0 || r.Of(65535) != 0 || r.Of(4) != 0 {
		t.Fatal("a packet from before the first one moves the counter")
	}
}

func TestKeysOfWrongLengthAreRefused(t *testing.T) {
	for _, p := range profiles {
		key, salt := keys(t, p.profile)
		if _, err := New(p.profile, key[1:], salt); err == nil {
			t.Errorf("%s: a short key is taken", p.name)
		}
		if _, err := New(p.profile, key, salt[1:]); err == nil {
			t.Errorf("%s: a short salt is taken", p.name)
		}
	}
	if _, err := New(srtp.ProtectionProfileNullHmacSha1_80, random(16), random(14)); err == nil {
		t.Error("a profile without encryption is taken")
	}
}

// BenchmarkSeal is one packet of 1200 bytes.
func BenchmarkSeal(b *testing.B) {
	for _, p := range profiles {
		b.Run(p.name, func(b *testing.B) {
			key, salt := keys(b, p.profile)
			s, err := New(p.profile, key, salt)
			if err != nil {
				b.Fatal(err)
			}
			payload := random(1188)
			h := header(1, 7, false, len(payload)+Overhead)
			b.ReportAllocs()
			b.SetBytes(1200)
			for b.Loop() {
				s.Seal(h, payload, 0)
			}
		})
	}
}

// BenchmarkSealByPion is the same by pion's context, to compare.
func BenchmarkSealByPion(b *testing.B) {
	for _, p := range profiles {
		b.Run(p.name, func(b *testing.B) {
			key, salt := keys(b, p.profile)
			s, err := srtp.CreateContext(key, salt, p.profile)
			if err != nil {
				b.Fatal(err)
			}
			plain := append(header(1, 7, false, 1188), random(1188)...)
			dst := make([]byte, 0, 1300)
			b.ReportAllocs()
			b.SetBytes(1200)
			for b.Loop() {
				if _, err := s.EncryptRTP(dst, plain, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
