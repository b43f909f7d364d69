package bench

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"testing"

	"github.com/pion/srtp/v3"
)

// What pion seals, the opener reads from the beginning and verifies, for every profile, with
// and without extensions, and over rollovers.
func TestOpenerReadsWhatPionSeals(t *testing.T) {
	for _, profile := range []srtp.ProtectionProfile{gcm, cm} {
		k := testKeys(t, profile)
		seal, err := srtp.CreateContext(k.keys.RemoteMasterKey, k.keys.RemoteMasterSalt, profile)
		if err != nil {
			t.Fatal(err)
		}
		open, err := newOpener(profile, k.keys.RemoteMasterKey, k.keys.RemoteMasterSalt)
		if err != nil {
			t.Fatal(err)
		}
		var r rollover
		for i := range 200 {
			plain := make([]byte, 12, 1500)
			plain[0], plain[1] = 0x80, 96
			binary.BigEndian.PutUint16(plain[2:], uint16(65000+i*900))
			binary.BigEndian.PutUint32(plain[8:], 0xdecafbad)
			if i%3 == 1 {
				plain[0] |= 0x10
				plain = append(plain, 0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0)
			}
			header := len(plain)
			payload := make([]byte, []int{0, 1, 15, 16, 17, 64, 160, 1188, 1400}[i%9])
			_, _ = rand.Read(payload)
			packet, err := seal.EncryptRTP(nil, append(plain, payload...), nil)
			if err != nil {
				t.Fatal(err)
			}
			if n, ok := rtpHeaderSize(packet); !ok || n != header {
				t.Fatalf("header of %d bytes, want %d", n, header)
			}
			roc := uint32(r.index(binary.BigEndian.Uint16(packet[2:])) >> 16)
			for _, n := range []int{0, 1, 16, 48, 5000} {
				if got, want := open.head(packet, header, roc, n), payload[:min(n, len(payload))]; !bytes.Equal(got, want) {
					t.Fatalf("%v, packet %d: the first %d bytes are\n%x, want\n%x", profile, i, n, got, want)
				}
			}
			if err := open.verify(packet, header, roc); err != nil {
				t.Fatalf("%v, packet %d: %v", profile, i, err)
			}
			packet[len(packet)-1-i%len(packet)] ^= 1
			if header, ok := rtpHeaderSize(packet); ok && open.verify(packet, header, roc) == nil {
				t.Fatalf("%v, packet %d: a changed packet is taken", profile, i)
			}
		}
	}
}

func TestOpenerRefusesWhatItDoesNotKnow(t *testing.T) {
	if _, err := newOpener(srtp.ProtectionProfileNullHmacSha1_80, make([]byte, 16), make([]byte, 14)); err == nil {
		t.Error("a profile without encryption is taken")
	}
	if _, err := newOpener(gcm, make([]byte, 5), make([]byte, 12)); err == nil {
		t.Error("a key of five bytes is taken")
	}
	for _, b := range [][]byte{nil, make([]byte, 11), append([]byte{0x8f}, make([]byte, 20)...), append([]byte{0x90}, append(make([]byte, 13), 0xff, 0xff)...)} {
		if n, ok := rtpHeaderSize(b); ok {
			t.Errorf("%x: header of %d bytes", b, n)
		}
	}
	open, err := newOpener(gcm, make([]byte, 16), make([]byte, 12))
	if err != nil {
		t.Fatal(err)
	}
	if got := open.head(make([]byte, 14), 12, 0, 64); len(got) != 0 {
		t.Errorf("%d bytes of a payload that is shorter than the tag", len(got))
	}
	if open.verify(make([]byte, 14), 12, 0) == nil {
		t.Error("a packet that is shorter than the tag is verified")
	}
}

func TestRolloverTakesTheNearestIndex(t *testing.T) {
	var r rollover
	for _, c := range []struct {
		sequence uint16
		want     uint64
	}{{65530, 65530}, {65535, 65535}, {2, 65538}, {65534, 65534}, {3, 65539}, {30000, 95536}, {60000, 125536}, {1, 131073}} {
		if got := r.index(c.sequence); got != c.want {
			t.Fatalf("%d: index %d, want %d", c.sequence, got, c.want)
		}
	}
	r = rollover{}
	if r.index(3) != 3 || r.index(65535) != 65535 || r.index(4) != 4 {
		t.Error("a packet from before the first one moves the counter")
	}
}
