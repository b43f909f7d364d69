package certs

import (
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// ACME is the section http.acme of the configuration.
type ACME struct {
	// Domains are the names that certificates are wanted for, one certificate each. Empty:
	// ACME is off. Who connects by no name or another one is shown that of the first.
	Domains []string `toml:"domains"`

	// Agree says that the operator has read and accepted the terms of the ACME server.
	Agree bool `toml:"agree"`

	// Email is where the ACME server writes to about the account. It may be empty.
	Email string `toml:"email"`

	// Directory is the URL of the ACME server's directory.
	Directory string `toml:"directory"`

	// CAFile is a PEM file with the authorities that the ACME server's own certificate
	// is checked by, for one of an institution's own. Empty: those of the system.
	CAFile string `toml:"ca_file"`

	// CacheDir keeps the account, the keys and the certificates. It must outlive restarts:
	// public ACME servers give out few certificates a week for one name.
	CacheDir string `toml:"cache_dir"`

	// Challenge is how the ACME server checks that a name is ours: "tls-alpn-01", by
	// port 443, which must lead to http.listen; or "http-01", by port 80, which must lead
	// to http.redirect_listen.
	Challenge string `toml:"challenge"`

	// EABKeyID and the file with the key bind the account to one that its owner has at the
	// ACME server already (RFC 8555, section 7.3.4), where that wants it. Both are the
	// server's; the key is HMAC, in base64url. Empty: no binding.
	EABKeyID   string `toml:"eab_key_id"`
	EABKeyFile string `toml:"eab_key_file"`
}

// The values of ACME.Challenge (RFC 8555, section 8.3; RFC 8737).
const (
	ChallengeALPN = "tls-alpn-01"
	ChallengeHTTP = "http-01"
)

// LetsEncrypt is the directory of Let's Encrypt.
const LetsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// Defaults returns the configuration that the shipped file states.
func Defaults() ACME { return ACME{Directory: LetsEncrypt, Challenge: ChallengeALPN} }

// Enabled reports whether certificates are to be had from an ACME server.
func (c ACME) Enabled() bool { return len(c.Domains) > 0 }

// maxDomains bounds the certificates, and so the label values of their metric.
const maxDomains = 20

var domainPattern = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
var digits = regexp.MustCompile(`^[0-9.]+$`)

// Validate reports everything that is wrong, each with its key.
func (c ACME) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("http.acme.%s: %w", key, fmt.Errorf(format, args...)))
	}
	for i, d := range c.Domains {
		if len(d) > 253 || !domainPattern.MatchString(d) || digits.MatchString(d) {
			bad("domains", "must hold names such as \"media.example.org\", in small letters, no addresses and no \"*\", got %q", d)
		}
		if slices.Contains(c.Domains[:i], d) {
			bad("domains", "must name each domain once, got %q twice", d)
		}
	}
	if len(c.Domains) > maxDomains {
		bad("domains", "must hold at most %d names, got %d", maxDomains, len(c.Domains))
	}
	if c.Challenge != ChallengeALPN && c.Challenge != ChallengeHTTP {
		bad("challenge", "must be %q or %q, got %q", ChallengeALPN, ChallengeHTTP, c.Challenge)
	}
	if u, err := url.Parse(c.Directory); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		bad("directory", "must be an https URL such as %q, got %q", LetsEncrypt, c.Directory)
	}
	if _, err := mail.ParseAddress("<" + c.Email + ">"); c.Email != "" && err != nil {
		bad("email", "must be an address such as \"it@example.org\", got %q", c.Email)
	}
	if (c.EABKeyID == "") != (c.EABKeyFile == "") {
		bad("eab_key_file", "must be set where http.acme.eab_key_id is, and only there: a binding has an id and a key, both from the ACME server")
	}
	if strings.ContainsFunc(c.EABKeyID, func(r rune) bool { return r <= ' ' || r > '~' }) {
		bad("eab_key_id", "must be ASCII without spaces, as the ACME server says it, got %q", c.EABKeyID)
	}
	if c.Enabled() && c.CacheDir == "" {
		bad("cache_dir", "must name a folder for keys and certificates, such as \"/var/lib/sightline/acme\", where http.acme.domains is set")
	}
	if c.Enabled() && !c.Agree {
		bad("agree", "must be true where http.acme.domains is set: it says that you accept the terms of the server at http.acme.directory")
	}
	return errors.Join(errs...)
}
