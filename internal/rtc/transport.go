package rtc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"hash"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/elliptic"
	"github.com/pion/ice/v4"
	"github.com/pion/srtp/v3"
	"github.com/pion/transport/v5/deadline"

	"sightline/internal/sdp"
)

// A path is where a session's packets go: one UDP destination, or an ICE-TCP connection.
// It is immutable.
type path struct {
	generation *generation
	name       string // "udp", "tcp", "relay"
	udp        *udpDestination
	tcp        *ice.Conn
}

// send sends one packet. It never blocks: where there is no room it is lost.
func (s *Session) send(b []byte) {
	switch p := s.path.Load(); {
	case p == nil:
	case p.udp != nil:
		s.udp.send(b, p.udp)
	default:
		_, _ = p.tcp.Write(b)
	}
}

// A dtlsTransport carries the DTLS records of a session; pion/dtls sees a socket.
type dtlsTransport struct {
	session  *Session
	in       chan []byte
	once     sync.Once
	closed   chan struct{}
	deadline *deadline.Deadline
	muted    atomic.Bool
	last     lastFlight
	filter   recordFilter
}

func newDTLSTransport(s *Session) *dtlsTransport {
	return &dtlsTransport{
		session: s, in: make(chan []byte, 32), closed: make(chan struct{}), deadline: deadline.New(),
		filter: recordFilter{dropped: &s.engine.records},
	}
}

// deliver hands DTLS what it may see of a datagram.
func (t *dtlsTransport) deliver(d datagram) {
	b := t.filter.pass(d.buf)
	if len(b) == 0 {
		return
	}
	select {
	case t.in <- b:
	default: // a flood; handshake messages are repeated
	}
}

// mute drops what is sent from now on.
func (t *dtlsTransport) mute()  { t.muted.Store(true) }
func (t *dtlsTransport) close() { t.once.Do(func() { close(t.closed) }) }

// peerAddr stands for the peer, wherever its path leads.
type peerAddr struct{}

func (peerAddr) Network() string { return "udp" }
func (peerAddr) String() string  { return "peer" }

func (t *dtlsTransport) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case b := <-t.in:
		return copy(p, b), peerAddr{}, nil
	case <-t.closed:
		return 0, nil, net.ErrClosed
	case <-t.deadline.Done():
		return 0, nil, os.ErrDeadlineExceeded
	}
}

func (t *dtlsTransport) WriteTo(p []byte, _ net.Addr) (int, error) {
	if !t.session.answer.DTLSClient {
		t.filter.sent(p)
	}
	if !t.muted.Load() && t.last.due(p, t.session.ffmpeg && t.session.answer.DTLSClient) {
		t.session.send(p)
	}
	return len(p), nil
}

// A lastFlight keeps a client's last flight from being repeated too soon to FFmpeg. Its
// handshake is over when it has that flight, and a record that comes later, of a repetition
// that crossed its answer, makes its socket block for good (FFmpeg 9.0: tls_write of
// libavformat): from then on it sends a packet only when it has received one.
type lastFlight struct {
	mu   sync.Mutex // guards what follows
	sent time.Time  // first; zero: not yet
}

const (
	flightTakes    = 50 * time.Millisecond   // for the datagrams of one flight
	flightRepeated = 1200 * time.Millisecond // the earliest repetition: longer than any round trip
)

// due tells whether a datagram may be sent now.
func (f *lastFlight) due(datagram []byte, ffmpeg bool) bool {
	if !ffmpeg || isClientHello(datagram) {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if f.sent.IsZero() {
		f.sent = now
	}
	age := now.Sub(f.sent)
	return age < flightTakes || age >= flightRepeated
}

// isClientHello tells whether a datagram begins with one (RFC 6347, section 4.2.2): a
// record of type 22, and after its header of 13 bytes a handshake message of type 1.
func isClientHello(datagram []byte) bool {
	return len(datagram) > 13 && datagram[0] == 22 && datagram[13] == 1
}

// Close is pion's; the transport closes with its session, after close_notify went out.
func (t *dtlsTransport) Close() error                       { t.close(); return nil }
func (t *dtlsTransport) LocalAddr() net.Addr                { return peerAddr{} }
func (t *dtlsTransport) SetDeadline(d time.Time) error      { t.deadline.Set(d); return nil }
func (t *dtlsTransport) SetReadDeadline(d time.Time) error  { t.deadline.Set(d); return nil }
func (t *dtlsTransport) SetWriteDeadline(_ time.Time) error { return nil }

// A keyring holds both directions' SRTP keys (RFC 5764, section 4.2).
type keyring struct {
	profile srtp.ProtectionProfile
	keys    srtp.SessionKeys
}

type handshakeResult struct {
	conn *dtls.Conn
	keys keyring
	err  error
}

// handshake runs DTLS over the session's path and derives the SRTP keys.
func (s *Session) handshake(ctx context.Context) handshakeResult {
	conn, err := s.dtlsConn()
	if err != nil {
		return handshakeResult{err: err}
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return handshakeResult{err: fmt.Errorf("dtls: %w", err)}
	}
	s.transport.filter.finished()
	keys, err := deriveKeys(conn, s.answer.DTLSClient)
	if err != nil {
		_ = conn.Close()
		return handshakeResult{err: err}
	}
	return handshakeResult{conn: conn, keys: keys}
}

func (s *Session) dtlsConn() (*dtls.Conn, error) {
	// AES-GCM costs a seventh of pion's AES-CM; clients without it take the last.
	profiles := dtls.WithSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80)
	verify := dtls.WithVerifyPeerCertificate(func(raw [][]byte, _ [][]*x509.Certificate) error {
		return verifyFingerprint(raw, s.answer.Remote.Fingerprints)
	})
	common := []dtls.Option{
		dtls.WithCertificates(s.engine.certificate), profiles, verify,
		dtls.WithInsecureSkipVerify(true), // the fingerprint is what counts
		dtls.WithExtendedMasterSecret(dtls.RequestExtendedMasterSecret),
		dtls.WithReplayProtectionWindow(64),
		// Every WebRTC endpoint has P-256 (RFC 8827, section 6.5), and its key exchange costs
		// two thirds of X25519's here; pion would take the client's favourite.
		dtls.WithEllipticCurves(elliptic.P256, elliptic.P384),
		dtls.WithLoggerFactory(silent{}),
	}
	if s.answer.DTLSClient {
		// FFmpeg listens only a while after it has said so: repeat soon.
		options := []dtls.ClientOption{dtls.WithFlightInterval(100 * time.Millisecond)}
		for _, o := range common {
			options = append(options, o)
		}
		return dtls.ClientWithOptions(s.transport, peerAddr{}, options...)
	}
	options := []dtls.ServerOption{
		dtls.WithFlightInterval(250 * time.Millisecond),
		dtls.WithClientAuth(dtls.RequireAnyClientCert),
		dtls.WithInsecureSkipVerifyHello(true), // ICE has verified the address
	}
	for _, o := range common {
		options = append(options, o)
	}
	return dtls.ServerWithOptions(s.transport, peerAddr{}, options...)
}

func deriveKeys(conn *dtls.Conn, client bool) (keyring, error) {
	selected, ok := conn.SelectedSRTPProtectionProfile()
	if !ok {
		return keyring{}, errors.New("dtls: no SRTP profile in common")
	}
	config := srtp.Config{Profile: srtp.ProtectionProfile(selected)}
	state, ok := conn.ConnectionState()
	if !ok {
		return keyring{}, errors.New("dtls: no state to export keys from")
	}
	if err := config.ExtractSessionKeysFromDTLS(&state, client); err != nil {
		return keyring{}, fmt.Errorf("dtls: export SRTP keys: %w", err)
	}
	return keyring{config.Profile, config.Keys}, nil
}

// readUntilClosed returns when the peer has closed DTLS, or it was closed here.
// Application data is none of ours; a buffer for it would be the largest that a viewer has.
func readUntilClosed(conn *dtls.Conn) error {
	var buf [16]byte
	for {
		var tooLong *dtls.TemporaryError
		if _, err := conn.Read(buf[:]); err != nil && !errors.As(err, &tooLong) {
			return err
		}
	}
}

var errFingerprint = errors.New("the certificate does not match the fingerprint that was signalled")

// verifyFingerprint compares the peer's certificate with its description (RFC 8122, section
// 6.2): one of the fingerprints there has to match.
func verifyFingerprint(raw [][]byte, offered []sdp.Fingerprint) error {
	if len(raw) == 0 {
		return errFingerprint
	}
	for _, f := range offered {
		h := newHash(f.Hash)
		if h == nil {
			continue
		}
		h.Write(raw[0])
		if bytes.Equal(h.Sum(nil), f.Value) {
			return nil
		}
	}
	return errFingerprint
}

// newHash returns nil for a hash function that an offer's fingerprint can't have.
func newHash(name string) hash.Hash {
	switch name {
	case "sha-256":
		return sha256.New()
	case "sha-384":
		return sha512.New384()
	case "sha-512":
		return sha512.New()
	default:
		return nil
	}
}

// fingerprint writes the hash of a certificate as RFC 8122 does: AA:BB:….
func fingerprint(h hash.Hash, der []byte) string {
	h.Write(der)
	var b strings.Builder
	for i, v := range h.Sum(nil) {
		if i > 0 {
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "%02X", v)
	}
	return b.String()
}
