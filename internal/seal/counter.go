package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
)

// A counter encrypts in AES counter mode from any start value. The standard library's
// counter mode copies the expanded key for every new start value, half a kilobyte on the
// heap for every packet; its GCM is as fast, and needs none. GCM encrypts in counter mode
// too (NIST SP 800-38D, section 6.5), and from a nonce of 16 bytes it computes its first
// counter block as
//
//	J0 = (nonce·H ⊕ L)·H    with H = AES(0) and L = 0^64 ‖ [128]64
//
// in the field of GHASH (section 6.4). So the nonce that leads to a wanted J0 is
//
//	nonce = J0·H⁻² ⊕ L·H⁻¹
//
// GCM's own tag is of no use here and overwritten. H authenticates nothing and is no secret
// that matters.
type counter struct {
	gcm    cipher.AEAD
	table  [16]element // n·H⁻² for each n of 4 bits
	offset element     // L·H⁻¹
	nonce  [aes.BlockSize]byte
}

func newCounter(block cipher.Block) (*counter, error) {
	gcm, err := cipher.NewGCMWithNonceSize(block, aes.BlockSize)
	if err != nil {
		return nil, err
	}
	var zero [aes.BlockSize]byte
	block.Encrypt(zero[:], zero[:])
	inverse := load(&zero).inverse()
	c := &counter{gcm: gcm, offset: element{0, 128}.times(inverse)}
	square := inverse.times(inverse)
	for n := range c.table {
		c.table[n] = element{uint64(n) << 60, 0}.times(square)
	}
	return c, nil
}

// xor appends the payload, encrypted from the counter block iv on, to header, whose capacity
// has room for that and 16 bytes more.
func (c *counter) xor(header, payload []byte, iv *[aes.BlockSize]byte) []byte {
	// GCM begins with J0 + 1, in the last 32 bits. SRTP counts in the last 16 (RFC 3711,
	// section 4.1.1), from 0 on, and no packet is long enough to leave them.
	first := load(iv)
	first.low = first.low&^0xffffffff | uint64(uint32(first.low)-1)
	c.multiply(first).xor(c.offset).store(&c.nonce)
	n := len(header)
	c.gcm.Seal(header[n:n], c.nonce[:], payload, nil)
	return header[:n+len(payload)]
}

// multiply returns x·H⁻², four coefficients at a time, those of the highest powers first.
func (c *counter) multiply(x element) element {
	var z element
	for _, word := range [2]uint64{x.low, x.high} {
		for range 16 {
			out := z.low & 15
			z = element{z.high>>4 ^ overflow[out], z.low>>4 | z.high<<60}.xor(c.table[word&15])
			word >>= 4
		}
	}
	return z
}

// overflow is what the four coefficients that a shift by x⁴ pushes out come back as.
var overflow = func() (t [16]uint64) {
	for n := range t {
		e := element{0, uint64(n)}
		for range 4 {
			e = e.shift()
		}
		t[n] = e.high
	}
	return t
}()

// An element of GF(2^128) as GHASH writes it: the first bit, of the highest value here, is
// the coefficient of x⁰ (NIST SP 800-38D, section 6.3).
type element struct{ high, low uint64 }

func load(b *[aes.BlockSize]byte) element {
	return element{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (e element) store(b *[aes.BlockSize]byte) {
	binary.BigEndian.PutUint64(b[:8], e.high)
	binary.BigEndian.PutUint64(b[8:], e.low)
}

func (e element) xor(f element) element { return element{e.high ^ f.high, e.low ^ f.low} }

// reduction is what x^128 is: 1 + x + x² + x⁷.
const reduction = 0xe1 << 56

// shift returns e·x.
func (e element) shift() element {
	carry := -(e.low & 1)
	return element{e.high>>1 ^ carry&reduction, e.low>>1 | e.high<<63}
}

// times returns e·f.
func (e element) times(f element) element {
	var z element
	for _, word := range [2]uint64{e.high, e.low} {
		for range 64 {
			take := -(word >> 63)
			z = z.xor(element{f.high & take, f.low & take})
			f = f.shift()
			word <<= 1
		}
	}
	return z
}

// inverse returns e^(2^128 - 2), which is 1/e.
func (e element) inverse() element {
	z, power := element{1 << 63, 0}, e
	for range 127 {
		power = power.times(power)
		z = z.times(power)
	}
	return z
}
