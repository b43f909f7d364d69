// Package seal protects RTP packets as SRTP (RFC 3711, RFC 7714) on their way to many
// viewers: the payload goes from where it lies, encrypted, straight behind a header in the
// send buffer, without allocation.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // SRTP's HMAC (RFC 3711, section 4.2.1)
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"github.com/pion/srtp/v3"
)

// Overhead is how many bytes a sealed packet has more than the plain one at most.
const Overhead = 16

// errSize says that a key or a salt is not as long as its profile wants.
var errSize = errors.New("wrong length of master key or master salt")

// A Sealer protects the RTP packets of one session, of any number of SSRCs. It is not safe
// for concurrent use.
type Sealer struct {
	aead  cipher.AEAD // AES-GCM; nil: AES-CM
	salt  [14]byte    // of GCM the first 12 count
	nonce [12]byte    // scratch
	cm    *cm
}

// Seal appends to header, which is a whole RTP header, the encrypted payload and the tag.
// The header's capacity has room for that. The payload lies elsewhere, or exactly behind the
// header. roc is the rollover counter of the header's sequence number (RFC 3711, section
// 3.3.1).
func (s *Sealer) Seal(header, payload []byte, roc uint32) []byte {
	if s.aead == nil {
		return s.cm.seal(header, payload, &s.salt, roc)
	}
	// RFC 7714, section 8.1: zeros, SSRC, rollover counter and sequence number, and the salt
	// on them.
	s.nonce = [12]byte(s.salt[:12])
	for i, b := range header[8:12] {
		s.nonce[2+i] ^= b
	}
	binary.BigEndian.PutUint32(s.nonce[6:], binary.BigEndian.Uint32(s.nonce[6:])^roc)
	s.nonce[10] ^= header[2]
	s.nonce[11] ^= header[3]
	n := len(header)
	sealed := s.aead.Seal(header[n:n], s.nonce[:], payload, header)
	return header[:n+len(sealed)]
}

// New derives the session keys of an SRTP master key and salt (RFC 3711, section 4.3).
func New(profile srtp.ProtectionProfile, key, salt []byte) (*Sealer, error) {
	wantKey, err := profile.KeyLen()
	if err != nil {
		return nil, fmt.Errorf("srtp profile: %w", err)
	}
	wantSalt, err := profile.SaltLen()
	if err != nil {
		return nil, fmt.Errorf("srtp profile: %w", err)
	}
	if len(key) != wantKey || len(salt) != wantSalt {
		return nil, errSize
	}
	master, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("srtp master key: %w", err)
	}
	block, err := aes.NewCipher(Derive(master, salt, LabelKey, wantKey))
	if err != nil {
		return nil, fmt.Errorf("srtp session key: %w", err)
	}
	switch profile {
	case srtp.ProtectionProfileAeadAes128Gcm, srtp.ProtectionProfileAeadAes256Gcm:
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("srtp: %w", err)
		}
		s := &Sealer{aead: aead}
		copy(s.salt[:], Derive(master, salt, LabelSalt, 12))
		return s, nil
	case srtp.ProtectionProfileAes128CmHmacSha1_80:
		stream, err := newCounter(block)
		if err != nil {
			return nil, fmt.Errorf("srtp: %w", err)
		}
		mac := hmac.New(sha1.New, Derive(master, salt, LabelAuth, sha1.Size))
		return &Sealer{salt: [14]byte(Derive(master, salt, LabelSalt, 14)), cm: &cm{stream: stream, mac: mac}}, nil
	}
	return nil, fmt.Errorf("srtp: no sealer for profile %v", profile)
}

// Labels of key derivation (RFC 3711, section 4.3.2).
const (
	LabelKey  = 0
	LabelAuth = 1
	LabelSalt = 2
)

// Derive returns a session key of size bytes: AES-CM key derivation from a master key and salt
// with a key derivation rate of 0 (RFC 3711, section 4.3.3).
// A salt of 96 bits is padded on the right (RFC 7714, section 11).
func Derive(master cipher.Block, salt []byte, label byte, size int) []byte {
	var iv [aes.BlockSize]byte
	copy(iv[:14], salt)
	iv[7] ^= label
	out := make([]byte, size)
	cipher.NewCTR(master, iv[:]).XORKeyStream(out, out)
	return out
}

// cm is AES in counter mode with HMAC-SHA1, tags of 80 bits (RFC 3711, sections 4.1.1 and
// 4.2.1).
type cm struct {
	stream *counter
	mac    hash.Hash

	iv  [aes.BlockSize]byte // scratch, as what follows
	roc [4]byte
	sum [sha1.Size]byte
}

const tagSize = 10

func (s *cm) seal(header, payload []byte, salt *[14]byte, roc uint32) []byte {
	copy(s.iv[:], salt[:])
	s.iv[14], s.iv[15] = 0, 0
	for i, b := range header[8:12] {
		s.iv[4+i] ^= b
	}
	binary.BigEndian.PutUint32(s.roc[:], roc)
	for i, b := range s.roc {
		s.iv[8+i] ^= b
	}
	s.iv[12] ^= header[2]
	s.iv[13] ^= header[3]
	packet := s.stream.xor(header, payload, &s.iv)
	s.mac.Reset()
	_, _ = s.mac.Write(packet)
	_, _ = s.mac.Write(s.roc[:])
	return append(packet, s.mac.Sum(s.sum[:0])[:tagSize]...)
}

// A Rollover counts how often the sequence numbers that are sent on an SSRC have begun
// anew. The zero value is ready.
type Rollover struct {
	highest uint64 // index: rollover counter and sequence number (RFC 3711, section 3.3.1)
	begun   bool
}

// Of returns the rollover counter of a packet that is sent now: of the index that is
// nearest to the highest one until now.
func (r *Rollover) Of(sequence uint16) uint32 {
	if !r.begun {
		r.begun, r.highest = true, uint64(sequence)
		return 0
	}
	index := r.highest + uint64(int64(int16(sequence-uint16(r.highest))))
	if index>>63 != 0 {
		return 0 // from before the beginning; it has no index, and no receiver
	}
	r.highest = max(r.highest, index)
	return uint32(index >> 16)
}
