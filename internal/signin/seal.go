package signin

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
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

// A seal encrypts flows with a key of this process.
type seal struct{ aead cipher.AEAD }

func newSeal() seal {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("signin: AES takes keys of 32 bytes: " + err.Error())
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("signin: GCM takes AES: " + err.Error())
	}
	return seal{aead}
}

func (s seal) close(f flow) (string, error) {
	raw, err := json.Marshal(f)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, raw, nil)), nil
}

// open returns a flow that this process has sealed not long ago.
func (s seal) open(text string, now time.Time) (f flow, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return f, err
	}
	if raw, err = s.aead.Open(nil, nil, raw, nil); err != nil {
		return f, err
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return f, err
	}
	if age := now.Sub(f.Began); age < 0 || age > flowTime {
		return f, errors.New("too old")
	}
	return f, nil
}
