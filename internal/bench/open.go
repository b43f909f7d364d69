package bench

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // SRTP's HMAC (RFC 3711, section 4.2.1)
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"github.com/pion/srtp/v3"

	"sightline/internal/seal"
)

// An opener reads SRTP packets of one session in part: AES in counter mode lets the first
// bytes be decrypted without the rest, with AES-CM (RFC 3711, section 4.1.1) and with AES-GCM
// (RFC 7714) alike. It allocates nothing per packet and is not safe for concurrent use.
type opener struct {
	gcm  bool
	tag  int // bytes behind the payload
	salt [14]byte
	ctr  cipher.Block
	aead cipher.AEAD // GCM
	mac  hash.Hash   // CM

	iv, keystream [aes.BlockSize]byte // scratch, as what follows
	nonce         [12]byte
	roc           [4]byte
	sum           [sha1.Size]byte
	plain         []byte
}

var errTag = errors.New("srtp: the tag is wrong")

// newOpener derives the session keys of a master key and salt (RFC 3711, section 4.3).
func newOpener(profile srtp.ProtectionProfile, key, salt []byte) (*opener, error) {
	o := &opener{plain: make([]byte, 0, maxPacket)}
	switch profile {
	case srtp.ProtectionProfileAeadAes128Gcm, srtp.ProtectionProfileAeadAes256Gcm:
		o.gcm, o.tag = true, 16
	case srtp.ProtectionProfileAes128CmHmacSha1_80:
		o.tag = 10
	default:
		return nil, fmt.Errorf("srtp: profile %v is not known", profile)
	}
	master, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("srtp master key: %w", err)
	}
	if o.ctr, err = aes.NewCipher(seal.Derive(master, salt, seal.LabelKey, len(key))); err != nil {
		return nil, fmt.Errorf("srtp session key: %w", err)
	}
	if o.gcm {
		copy(o.salt[:], seal.Derive(master, salt, seal.LabelSalt, 12))
		o.aead, err = cipher.NewGCM(o.ctr)
		return o, err
	}
	copy(o.salt[:], seal.Derive(master, salt, seal.LabelSalt, 14))
	o.mac = hmac.New(sha1.New, seal.Derive(master, salt, seal.LabelAuth, sha1.Size))
	return o, nil
}

// rtpHeaderSize returns the length of an RTP header (RFC 3550, section 5.1); false if it is
// not all there.
func rtpHeaderSize(packet []byte) (int, bool) {
	if len(packet) < 12 {
		return 0, false
	}
	n := 12 + 4*int(packet[0]&0x0f)
	if packet[0]&0x10 != 0 {
		if len(packet) < n+4 {
			return 0, false
		}
		n += 4 + 4*int(binary.BigEndian.Uint16(packet[n+2:]))
	}
	return n, n <= len(packet)
}

// head decrypts the first n bytes of the payload, or all if there are fewer. The result holds
// until the next call. header is the length of the RTP header, roc the rollover counter of the
// packet (RFC 3711, section 3.3.1).
func (o *opener) head(packet []byte, header int, roc uint32, n int) []byte {
	payload := packet[header:max(header, len(packet)-o.tag)]
	payload = payload[:min(n, len(payload))]
	counter := uint16(0)
	if o.gcm {
		// RFC 7714, section 8.1, with the counter of NIST SP 800-38D: 1 is the tag's.
		o.setNonce(packet, roc)
		copy(o.iv[:12], o.nonce[:])
		o.iv[12], o.iv[13] = 0, 0
		counter = 2
	} else {
		// RFC 3711, section 4.1.1.
		copy(o.iv[:], o.salt[:])
		for i, b := range packet[8:12] {
			o.iv[4+i] ^= b
		}
		binary.BigEndian.PutUint32(o.iv[8:], binary.BigEndian.Uint32(o.iv[8:])^roc)
		o.iv[12] ^= packet[2]
		o.iv[13] ^= packet[3]
	}
	out := o.plain[:0]
	for len(payload) > 0 {
		binary.BigEndian.PutUint16(o.iv[14:], counter)
		counter++
		o.ctr.Encrypt(o.keystream[:], o.iv[:])
		k := min(len(payload), aes.BlockSize)
		n := len(out)
		out = append(out, payload[:k]...)
		subtle.XORBytes(out[n:], out[n:], o.keystream[:k])
		payload = payload[k:]
	}
	o.plain = out[:0]
	return out
}

func (o *opener) setNonce(packet []byte, roc uint32) {
	copy(o.nonce[:], o.salt[:12])
	for i, b := range packet[8:12] {
		o.nonce[2+i] ^= b
	}
	binary.BigEndian.PutUint32(o.nonce[6:], binary.BigEndian.Uint32(o.nonce[6:])^roc)
	o.nonce[10] ^= packet[2]
	o.nonce[11] ^= packet[3]
}

// verify checks the packet's tag. The error is errTag.
func (o *opener) verify(packet []byte, header int, roc uint32) error {
	if len(packet) < header+o.tag {
		return errTag
	}
	if o.gcm {
		o.setNonce(packet, roc)
		out, err := o.aead.Open(o.plain[:0], o.nonce[:], packet[header:], packet[:header])
		if err != nil {
			return errTag
		}
		o.plain = out[:0]
		return nil
	}
	binary.BigEndian.PutUint32(o.roc[:], roc)
	o.mac.Reset()
	_, _ = o.mac.Write(packet[:len(packet)-o.tag])
	_, _ = o.mac.Write(o.roc[:])
	if !hmac.Equal(o.mac.Sum(o.sum[:0])[:o.tag], packet[len(packet)-o.tag:]) {
		return errTag
	}
	return nil
}

// A rollover follows the numbering of a stream (RFC 3711, section 3.3.1).
type rollover struct {
	highest uint64 // index: rollover counter and sequence number
	begun   bool
}

// index returns the packet's index: that which is nearest to the highest until now.
func (r *rollover) index(sequence uint16) uint64 {
	if !r.begun {
		r.begun, r.highest = true, uint64(sequence)
		return r.highest
	}
	delta := int64(int16(sequence - uint16(r.highest)))
	if delta < 0 && uint64(-delta) > r.highest {
		return uint64(sequence) // from before the beginning
	}
	i := r.highest + uint64(delta)
	r.highest = max(r.highest, i)
	return i
}
