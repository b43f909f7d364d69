// Package rtc is the WebRTC side of the gateway: sessions that receive a publisher's
// tracks or send tracks to a viewer, over one UDP port.
//
// A session is made of pion's parts: an ICE agent (pion/ice), DTLS (pion/dtls) and SRTP
// (pion/srtp). Offers are answered by package sdp. The package knows neither rooms nor
// HTTP: what it receives it gives as media.Source, what it sends it takes as media.Sink.
package rtc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/transport/v5/stdnet"
)

// lookAgain is how long what was found out about the machine's network holds.
const lookAgain = 3 * time.Second

// An Engine owns the sockets and the certificate of all sessions.
type Engine struct {
	config      Config
	log         *slog.Logger
	certificate tls.Certificate
	fingerprint string // "sha-256 AA:BB:…"
	udp         *socket
	tcp         *ice.TCPMuxDefault // nil: off
	tcpPort     uint16
	gate        *gate // of tcp
	loopback    bool  // loopback addresses are offered and taken
	remote      remotePolicy
	onlyIP      netip.Addr

	limited limitCounts
	records atomic.Uint64 // DTLS records that DTLS wasn't shown

	stop    context.CancelFunc
	workers sync.WaitGroup

	mu       sync.Mutex // guards what follows
	sessions map[*Session]struct{}
	ended    map[string]uint64 // sessions that have ended, by Cause
	discards uint64            // SRTP and SRTCP that they discarded
	unaware  time.Time         // until when somebody may go on who could not be told of the end
	branches SocketSnapshot    // of sockets of their own that they had
	addrs    []netip.Addr      // cached by localAddresses
	addrsAt  time.Time

	interfaces   *stdnet.Net // cached by net
	interfacesAt time.Time
}

// New opens the sockets. The caller closes the engine, after all its sessions.
func New(c Config, log *slog.Logger) (*Engine, error) {
	certificate, fingerprint, err := newCertificate()
	if err != nil {
		return nil, fmt.Errorf("certificate for DTLS: %w", err)
	}
	remote, err := parseRemotePolicy(c.RemoteCandidates)
	if err != nil {
		return nil, fmt.Errorf("ice.remote_candidates: %w", err)
	}
	udp, err := listenUDP(c.UDPListen, c.SocketBuffer, log)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		config: c, log: log, certificate: certificate, fingerprint: fingerprint, udp: udp,
		sessions: make(map[*Session]struct{}), ended: make(map[string]uint64),
	}
	local := udp.conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	if !local.IsUnspecified() {
		e.onlyIP = local
	}
	e.loopback = c.Loopback || local.IsLoopback()
	// Where the gateway itself is found on loopback its clients are there too.
	remote.loopback = remote.loopback || e.loopback && len(c.RemoteCandidates) > 0
	e.remote = remote
	if c.TCPListen != "" {
		l, err := net.Listen("tcp", c.TCPListen)
		if err != nil {
			udp.conn.Close()
			return nil, fmt.Errorf("ice.tcp_listen: %w", err)
		}
		e.tcpPort = uint16(l.Addr().(*net.TCPAddr).Port)
		e.gate = newGate(l, udp)
		e.workers.Go(e.gate.run)
		e.tcp = ice.NewTCPMuxDefault(ice.TCPMuxParams{
			Listener: e.gate, Logger: silent{}, ReadBufferSize: 256, WriteBufferSize: 1 << 20,
			FirstStunBindTimeout: 10 * time.Second, AliveDurationForConnFromStun: 10 * time.Second,
		})
	}
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	e.workers.Go(udp.run)
	e.workers.Go(func() { e.sweep(ctx) })
	log.Info("media listens", "udp", udp.conn.LocalAddr(), "tcp", c.TCPListen, "loopback", e.loopback, "checks", c.describeRemotes(), "sends", udp.out.mode.String())
	return e, nil
}

// Close closes the sockets. All sessions have to have ended before. Where an FFmpeg may go on, it waits until that
// has noticed.
func (e *Engine) Close() error {
	e.stop()
	if e.tcp != nil {
		_ = e.tcp.Close()
	}
	e.udp.close()
	e.workers.Wait()
	e.mu.Lock()
	linger := time.Now().Before(e.unaware)
	e.mu.Unlock()
	if linger {
		time.Sleep(portClosed)
	}
	return nil
}

// portClosed is for how long the port of media stays closed, at the end, for clients that can't be told that their
// sessions have ended: what they send is answered by the system, port unreachable, which ends FFmpeg. A gateway that
// is started again at once would take it instead, and FFmpeg go on for nobody until its consent expires.
const portClosed = 300 * time.Millisecond

func (e *Engine) sweep(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			e.udp.sweep(now)
		}
	}
}

// Servers are the STUN and TURN servers that clients are told of.
func (e *Engine) Servers() []Server { return e.config.Servers }

// localAddresses are the addresses that can be paired with a client's: those of the
// machine's interfaces, looked up anew when the answer is old.
func (e *Engine) localAddresses() []netip.Addr {
	if e.onlyIP.IsValid() {
		return []netip.Addr{e.onlyIP}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.addrsAt) < lookAgain {
		return e.addrs
	}
	e.addrs, e.addrsAt = interfaceAddresses(e.loopback, e.udp.out.ipv6), time.Now()
	return e.addrs
}

// net is the view of the machine's interfaces that ICE agents share, looked up anew when it
// is old: that costs as much as the rest of an agent.
func (e *Engine) net() (*stdnet.Net, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.interfaces != nil && time.Since(e.interfacesAt) < lookAgain {
		return e.interfaces, nil
	}
	n, err := stdnet.NewNet()
	if err != nil {
		return nil, err
	}
	e.interfaces, e.interfacesAt = n, time.Now()
	return n, nil
}

// interfaceAddresses returns the unicast addresses of the interfaces that are up, no
// link-local ones. FFmpeg takes the first: loopback where it is offered at all, since the
// clients are on this machine then, else IPv4.
func interfaceAddresses(loopback, ipv6 bool) []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var four, six, loop []netip.Addr
	for _, a := range all {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		ip = ip.Unmap()
		switch {
		case !ok || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified():
		case ip.Is6() && !ipv6:
		case ip.IsLoopback():
			if loopback {
				loop = append(loop, ip)
			}
		case ip.Is4():
			four = append(four, ip)
		default:
			six = append(six, ip)
		}
	}
	return append(append(loop, four...), six...)
}

// candidates are the values of the a=candidate lines of a description, for a socket: UDP before TCP,
// IPv4 before IPv6 (RFC 8839, section 5.1; the priorities of RFC 8445, section 5.1.2.1).
func (e *Engine) candidates(udp *socket, tcp bool) []string {
	addrs := e.localAddresses()
	if len(e.config.PublicAddresses) > 0 {
		addrs = nil
		for _, a := range e.config.PublicAddresses {
			if ip, err := netip.ParseAddr(a); err == nil {
				addrs = append(addrs, ip)
			}
		}
	}
	const maxAddresses = 8 // FFmpeg takes answers of 8 KB at most
	addrs = addrs[:min(len(addrs), maxAddresses)]
	var out []string
	for i, a := range addrs {
		priority := uint32(126)<<24 | uint32(65535-i)<<8 | 255
		out = append(out, fmt.Sprintf("%d 1 udp %d %s %d typ host", i+1, priority, a, udp.port))
	}
	if tcp {
		for i, a := range addrs {
			priority := uint32(90)<<24 | uint32(65535-i)<<8 | 255
			out = append(out, fmt.Sprintf("%d 1 tcp %d %s %d typ host tcptype passive", len(addrs)+i+1, priority, a, e.tcpPort))
		}
	}
	return out
}

// newCertificate makes a self-signed certificate for DTLS and its fingerprint
// (RFC 8122, section 5).
func newCertificate() (tls.Certificate, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, "", err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    time.Now().Add(-24 * time.Hour),
		NotAfter:     time.Now().Add(10 * 365 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, "sha-256 " + fingerprint(sha256.New(), der), nil
}

// newSecret returns n characters of ice-char, each of 6 random bits (RFC 8839,
// section 5.4); only letters and digits, as GStreamer's agent wants them.
func newSecret(n int) string {
	var b strings.Builder
	raw := make([]byte, 2*n)
	for b.Len() < n {
		_, _ = rand.Read(raw)
		for _, c := range base64.RawStdEncoding.EncodeToString(raw) {
			if c != '+' && c != '/' && b.Len() < n {
				b.WriteRune(c)
			}
		}
	}
	return b.String()
}

func newETag() string { return `"` + newSecret(22) + `"` }
