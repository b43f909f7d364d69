package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
	"github.com/pion/srtp/v3"
	"github.com/pion/transport/v5/deadline"
)

// newCertificate makes the certificate that all peers share, and its fingerprint (RFC 8122).
func newCertificate() (tls.Certificate, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(30 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, fingerprint(der), nil
}

// fingerprint writes a certificate's hash as RFC 8122, section 5, does.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return "sha-256 " + strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":")
}

// A recordConn carries the DTLS records of one peer; pion/dtls sees a socket.
type recordConn struct {
	write    func([]byte) error
	records  chan []byte
	closed   chan struct{}
	once     sync.Once
	deadline *deadline.Deadline
}

func newRecordConn(write func([]byte) error) *recordConn {
	return &recordConn{write: write, records: make(chan []byte, 32), closed: make(chan struct{}), deadline: deadline.New()}
}

// deliver copies a record that came. What there is no place for is dropped: DTLS repeats it.
func (c *recordConn) deliver(record []byte) {
	select {
	case c.records <- append([]byte(nil), record...):
	default:
	}
}

// serverAddr stands for the server, wherever the path leads.
type serverAddr struct{}

func (serverAddr) Network() string { return "udp" }
func (serverAddr) String() string  { return "server" }

func (c *recordConn) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case r := <-c.records:
		return copy(p, r), serverAddr{}, nil
	case <-c.closed:
		return 0, nil, net.ErrClosed
	case <-c.deadline.Done():
		return 0, nil, os.ErrDeadlineExceeded
	}
}

func (c *recordConn) WriteTo(p []byte, _ net.Addr) (int, error) { return len(p), c.write(p) }
func (c *recordConn) Close() error                              { c.once.Do(func() { close(c.closed) }); return nil }
func (c *recordConn) LocalAddr() net.Addr                       { return serverAddr{} }
func (c *recordConn) SetDeadline(d time.Time) error             { c.deadline.Set(d); return nil }
func (c *recordConn) SetReadDeadline(d time.Time) error         { c.deadline.Set(d); return nil }
func (c *recordConn) SetWriteDeadline(time.Time) error          { return nil }

// A keyring holds both directions' SRTP keys (RFC 5764, section 4.2).
type keyring struct {
	profile srtp.ProtectionProfile
	keys    srtp.SessionKeys
}

// profiles returns what is offered by the value of -srtp, the preferred one first.
func profiles(choice string) []dtls.SRTPProtectionProfile {
	switch choice {
	case "gcm":
		return []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM}
	case "cm":
		return []dtls.SRTPProtectionProfile{dtls.SRTP_AES128_CM_HMAC_SHA1_80}
	}
	return []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80}
}

// handshake runs DTLS as client or server, holds the server to its fingerprint, and exports
// the SRTP keys. The caller closes the connection.
func handshake(ctx context.Context, conn net.PacketConn, certificate tls.Certificate, a *answer, offered []dtls.SRTPProtectionProfile) (*dtls.Conn, keyring, error) {
	common := []dtls.Option{
		dtls.WithCertificates(certificate),
		dtls.WithSRTPProtectionProfiles(offered...),
		dtls.WithInsecureSkipVerify(true), // the fingerprint is what counts
		dtls.WithVerifyPeerCertificate(func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) == 0 || !strings.EqualFold(fingerprint(raw[0]), a.fingerprint) {
				return errors.New("the certificate does not match the fingerprint of the answer")
			}
			return nil
		}),
		dtls.WithFlightInterval(250 * time.Millisecond),
		dtls.WithLoggerFactory(silent),
	}
	var c *dtls.Conn
	var err error
	if a.passive {
		var options []dtls.ClientOption
		for _, o := range common {
			options = append(options, o)
		}
		c, err = dtls.ClientWithOptions(conn, serverAddr{}, options...)
	} else {
		options := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert), dtls.WithInsecureSkipVerifyHello(true)}
		for _, o := range common {
			options = append(options, o)
		}
		c, err = dtls.ServerWithOptions(conn, serverAddr{}, options...)
	}
	if err != nil {
		return nil, keyring{}, fmt.Errorf("dtls: %w", err)
	}
	k, err := exportKeys(ctx, c, a.passive)
	if err != nil {
		_ = c.Close()
		return nil, keyring{}, fmt.Errorf("dtls: %w", err)
	}
	return c, k, nil
}

func exportKeys(ctx context.Context, c *dtls.Conn, client bool) (keyring, error) {
	if err := c.HandshakeContext(ctx); err != nil {
		return keyring{}, err
	}
	selected, ok := c.SelectedSRTPProtectionProfile()
	if !ok {
		return keyring{}, errors.New("the server takes none of the offered SRTP profiles")
	}
	state, ok := c.ConnectionState()
	if !ok {
		return keyring{}, errors.New("no state to export keys from")
	}
	config := srtp.Config{Profile: srtp.ProtectionProfile(selected)}
	if err := config.ExtractSessionKeysFromDTLS(&state, client); err != nil {
		return keyring{}, fmt.Errorf("export SRTP keys: %w", err)
	}
	return keyring{config.Profile, config.Keys}, nil
}

// contexts returns pion's SRTP contexts for what is sent and for what is received.
func (k keyring) contexts() (out, in *srtp.Context, err error) {
	if out, err = srtp.CreateContext(k.keys.LocalMasterKey, k.keys.LocalMasterSalt, k.profile); err != nil {
		return nil, nil, err
	}
	in, err = srtp.CreateContext(k.keys.RemoteMasterKey, k.keys.RemoteMasterSalt, k.profile)
	return out, in, err
}

// profileName names a profile as the IANA registry does.
func profileName(p srtp.ProtectionProfile) string {
	switch p {
	case srtp.ProtectionProfileAeadAes128Gcm:
		return "AEAD_AES_128_GCM"
	case srtp.ProtectionProfileAes128CmHmacSha1_80:
		return "AES128_CM_HMAC_SHA1_80"
	}
	return p.String()
}

// silent keeps pion's own log lines out of the report.
var silent = &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
