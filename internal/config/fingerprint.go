package config

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/pelletier/go-toml/v2"
)

// Fingerprint returns a hash of the configuration, so that the audit log tells whether it has
// changed. Secrets that might be guessed from it are left out.
func (c Config) Fingerprint() string {
	c.ICE.Servers = slices.Clone(c.ICE.Servers)
	for i := range c.ICE.Servers {
		c.ICE.Servers[i].Credential = ""
	}
	text, err := toml.Marshal(c)
	if err != nil {
		return "" // a value that TOML can't write, which the manual's test would tell
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
