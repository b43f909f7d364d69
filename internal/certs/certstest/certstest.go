// Package certstest makes certificates for tests.
package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"testing"
	"time"
)

// A Pair is a certificate and its key.
type Pair struct {
	Certificate *x509.Certificate
	Chain, Key  []byte // PEM

	private *ecdsa.PrivateKey
}

// New makes a certificate like the template, signed by an authority, or by itself if that is nil. Without
// a number it gets a random one, without times it is good from an hour ago until tomorrow.
func New(t testing.TB, template x509.Certificate, by *Pair) *Pair {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if template.SerialNumber == nil {
		var err error
		template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
		must(err)
	}
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(0, 0, 1)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	parent, signer := &template, key
	if by != nil {
		parent, signer = by.Certificate, by.private
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, &key.PublicKey, signer)
	must(err)
	certificate, err := x509.ParseCertificate(der)
	must(err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	return &Pair{
		certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), key,
	}
}

// Authority makes one that signs others.
func Authority(t testing.TB) *Pair {
	t.Helper()
	return New(t, x509.Certificate{
		Subject: pkix.Name{CommonName: "a test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
}

// Node makes a certificate for a server and client at an address, signed by the authority.
func (p *Pair) Node(t testing.TB, ip string) *Pair {
	t.Helper()
	return New(t, x509.Certificate{
		Subject: pkix.Name{CommonName: ip}, IPAddresses: []net.IP{net.ParseIP(ip)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, p)
}

// Write writes the certificate, and the key unless keyFile is empty.
func (p *Pair) Write(t testing.TB, certFile, keyFile string) {
	t.Helper()
	for file, data := range map[string][]byte{certFile: p.Chain, keyFile: p.Key} {
		if file == "" {
			continue
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
