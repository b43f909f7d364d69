package signin

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"
)

// flowTime is how long somebody may take at the provider.
const flowTime = 10 * time.Minute

// A flow is a sign-in that has begun. The browser keeps it, sealed, so that nothing has to be kept
// here for who never comes back.
type flow struct {
	State    string    `json:"s"` // RFC 6749, section 10.12
	Nonce    string    `json:"n"` // OpenID Connect Core, section 3.1.2.1
	Verifier string    `json:"v"` // RFC 7636, section 4.1
	Return   string    `json:"r"` // a path of ours
	Began    time.Time `json:"t"`
}

// What a seal is for: none opens what was sealed for another.
const (
	sealedFlow = "sightline sign-in flow"
	sealedHint = "sightline sign-in hint " // and the session's id
)

// saltSize is that of the salt with which each text gets a key of its own (RFC 5869), in bytes: a
// secret that all nodes have for years seals more than one key of AES-GCM may (NIST SP 800-38D, 8.3).
const saltSize = 16

// A seal encrypts what leaves the gateway and comes back, by a secret of this process, or of all
// nodes of a cluster.
type seal struct{ secret []byte }

// newSeal returns the seal of this process.
func newSeal() seal {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	return seal{secret}
}

func (s seal) aead(what string, salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, s.secret, salt, what, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// wrap seals bytes for a purpose.
func (s seal) wrap(what string, raw []byte) ([]byte, error) {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt)
	aead, err := s.aead(what, salt)
	if err != nil {
		return nil, err
	}
	return aead.Seal(salt, nil, raw, nil), nil
}

// unwrap opens what was sealed for a purpose by who has the secret.
func (s seal) unwrap(what string, sealed []byte) ([]byte, error) {
	if len(sealed) < saltSize {
		return nil, errors.New("too short")
	}
	aead, err := s.aead(what, sealed[:saltSize])
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, nil, sealed[saltSize:], nil)
}

func (s seal) close(f flow) (string, error) {
	raw, err := json.Marshal(f)
	if err != nil {
		return "", err
	}
	sealed, err := s.wrap(sealedFlow, raw)
	return base64.RawURLEncoding.EncodeToString(sealed), err
}

// open returns a flow that was sealed not long ago. Another node's clock may be ahead by maxSkew.
func (s seal) open(text string, now time.Time) (f flow, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return f, err
	}
	if raw, err = s.unwrap(sealedFlow, raw); err != nil {
		return f, err
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return f, err
	}
	if age := now.Sub(f.Began); age < -maxSkew || age > flowTime {
		return f, errors.New("too old")
	}
	return f, nil
}

// maxSkew is how far apart the clocks of nodes may be (docs/CLUSTER.md).
const maxSkew = 5 * time.Second
