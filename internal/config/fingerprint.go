package config

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"

	"github.com/pelletier/go-toml/v2"
)

// guessable are keys whose values may be short enough to be guessed from a hash.
var guessable = []string{"secret", "client_secret", "credential", "password"}

// Fingerprint returns a hash of the configuration, so that the audit log tells whether it has
// changed. Secrets are left out; of files that it names, so is what is in them.
func (c Config) Fingerprint() string {
	text, err := toml.Marshal(c)
	if err != nil {
		return "" // a value that TOML can't write, which the manual's test would tell
	}
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		return ""
	}
	withoutSecrets(tree)
	if text, err = toml.Marshal(tree); err != nil { // maps in the order of their keys
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func withoutSecrets(value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range guessable {
			delete(v, key)
		}
		for key, below := range v {
			if text, ok := below.(string); ok {
				v[key] = withoutPassword(text)
			}
			withoutSecrets(below)
		}
	case []any:
		for i, below := range v {
			if text, ok := below.(string); ok {
				v[i] = withoutPassword(text)
			}
			withoutSecrets(below)
		}
	}
}

// withoutPassword takes it out of a URL, as that of auth.jwt.jwks and those of cluster.urls may be; and a
// name without a password, which to NATS is a token.
func withoutPassword(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return text
	}
	if _, ok := u.User.Password(); !ok {
		u.User = nil
	}
	return u.Redacted()
}
