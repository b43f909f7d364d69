// Package certs is where the gateway's TLS certificates come from: PEM files, read again
// when they change, or an ACME server (RFC 8555). Either way a handshake never waits for
// a disk or a network, and what fails leaves the certificate of before in use.
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// A Source has the certificates of a server. All methods are safe for concurrent use.
type Source interface {
	// GetCertificate is for tls.Config. It doesn't wait.
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)

	// Protocols are what tls.Config.NextProtos must offer beside HTTP's own.
	Protocols() []string

	// Run keeps the certificates fresh until ctx is done. It is called once.
	Run(ctx context.Context)

	// Snapshot says how the certificates are.
	Snapshot() Snapshot
}

// A Snapshot is the state of a Source.
type Snapshot struct {
	Certificates []Certificate
	Failures     uint64 // attempts to read or to obtain one that failed
}

// A Certificate is one that is, or should be, in use.
type Certificate struct {
	Name     string    // the first name that it is for; "unnamed" if it has none
	NotAfter time.Time // zero while there is none
}

// Missing reports whether a certificate isn't there yet.
func (s Snapshot) Missing() bool {
	for _, c := range s.Certificates {
		if c.NotAfter.IsZero() {
			return true
		}
	}
	return false
}

var (
	errExpired   = errors.New("it has expired")
	errNotYet    = errors.New("it is not valid yet")
	errNothing   = errors.New("there is no certificate yet")
	errChallenge = errors.New("no ACME challenge is under way")
)

// usable returns why a certificate can't be used now, or nil.
func usable(leaf *x509.Certificate, now time.Time) error {
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("%w on %s", errExpired, leaf.NotAfter.Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("%w before %s", errNotYet, leaf.NotBefore.Format(time.RFC3339))
	}
	return nil
}

// parse makes a certificate of a chain and a key, both PEM, with the leaf parsed.
func parse(chain, key []byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, err
	}
	if pair.Leaf == nil { // GODEBUG x509keypairleaf=0
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, err
		}
	}
	return &pair, nil
}

// nameOf returns the first name that a certificate is for.
func nameOf(leaf *x509.Certificate) string {
	switch {
	case len(leaf.DNSNames) > 0:
		return leaf.DNSNames[0]
	case len(leaf.IPAddresses) > 0:
		return leaf.IPAddresses[0].String()
	case leaf.Subject.CommonName != "":
		return leaf.Subject.CommonName
	}
	return "unnamed"
}

// A holder holds the certificate in use, and says in the log when its time runs out.
type holder struct {
	pair   atomic.Pointer[tls.Certificate]
	warned time.Time // for warn alone
}

// soon is how long before its end a certificate should have been renewed: a quarter of
// its life, two weeks at most.
func soon(leaf *x509.Certificate) time.Duration {
	return min(leaf.NotAfter.Sub(leaf.NotBefore)/4, 14*24*time.Hour)
}

// warn tells twice a day of a certificate that ends soon. One goroutine may call it.
func (h *holder) warn(log *slog.Logger, now time.Time) {
	pair := h.pair.Load()
	if pair == nil || now.Sub(h.warned) < 12*time.Hour {
		return
	}
	left := pair.Leaf.NotAfter.Sub(now)
	if left > soon(pair.Leaf) {
		return
	}
	h.warned = now
	if left <= 0 {
		log.Error("the TLS certificate has expired", "name", nameOf(pair.Leaf), "not_after", pair.Leaf.NotAfter)
		return
	}
	log.Warn("the TLS certificate expires soon", "name", nameOf(pair.Leaf), "not_after", pair.Leaf.NotAfter, "left", left.Round(time.Minute))
}
