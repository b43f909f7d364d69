package rtc

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/pion/stun/v4"
	"github.com/pion/transport/v5/deadline"

	"sightline/internal/media"
	"sightline/internal/rtpstream"
	"sightline/internal/sdp"
)

const (
	rawUfrag = "rawufrag"
	rawPwd   = "rawpasswordrawpasswordraw"
)

// A rawPeer is a client down to its datagrams: it sends what a test makes up, and shows
// all that comes back.
type rawPeer struct {
	conn    *net.UDPConn
	gateway netip.AddrPort
	life    *life

	ufrag, pwd atomic.Pointer[string] // of the newest ICE session
	mute       atomic.Bool            // answers no checks
	responses  chan *stun.Message
	checks     chan *stun.Message // that the gateway sent
	media      chan []byte        // SRTP and SRTCP
	records    chan []byte        // DTLS, for the handshake
	sawDTLS    atomic.Int64
	sawAlert   atomic.Int64 // DTLS records of type alert
	slow       time.Duration
	lose       atomic.Int64
	forge      func() [][]byte
	afterLast  atomic.Int64 // DTLS records that came since its last flight was due
	due        atomic.Bool  // it was
	deadline   *deadline.Deadline

	dtls      *dtls.Conn
	out, open *srtp.Context
}

type rawOptions struct {
	host        string // listens there; "": 127.0.0.1
	name        string // s=
	publish     bool
	wrongPrint  bool   // offers a fingerprint of no certificate
	video       string // lines of the video section, instead of the usual
	setup       string // "": actpass
	noHandshake bool
	slow        time.Duration   // how late its last flight comes
	lose        int             // datagrams of the gateway's last flight that get lost
	forge       func() [][]byte // sent before each datagram of the handshake, from the same address
}

const rawVideo = "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n" +
	"a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"

// newRawPeer offers, and is answered by a session that runs.
func newRawPeer(t *testing.T, e *Engine, o rawOptions) *rawPeer {
	t.Helper()
	if o.host == "" {
		o.host = "127.0.0.1"
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(o.host)})
	if err != nil {
		t.Fatal(err)
	}
	certificate, print, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	if o.wrongPrint {
		print = "sha-256 " + strings.TrimSuffix(strings.Repeat("00:", 32), ":")
	}
	direction, setup, name, video := "recvonly", "actpass", "-", rawVideo
	if o.publish {
		direction = "sendonly"
	}
	if o.setup != "" {
		setup = o.setup
	}
	if o.name != "" {
		name = o.name
	}
	if o.video != "" {
		video = o.video
	}
	text := "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=" + name + "\r\nt=0 0\r\na=group:BUNDLE 0\r\n" +
		"m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:" + rawUfrag + "\r\na=ice-pwd:" + rawPwd +
		"\r\na=fingerprint:" + print + "\r\na=setup:" + setup + "\r\na=rtcp-mux\r\na=" + direction + "\r\n" + video
	parsed, err := sdp.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.Answer(AnswerRequest{Offer: parsed, Publish: o.publish, Stream: "s", Send: map[media.Kind]media.Codec{media.Video: vp8Codec}})
	if err != nil {
		t.Fatal(err)
	}
	p := &rawPeer{
		conn: conn, gateway: e.udp.conn.LocalAddr().(*net.UDPAddr).AddrPort(),
		responses: make(chan *stun.Message, 64), checks: make(chan *stun.Message, 64),
		slow: o.slow, forge: o.forge, media: make(chan []byte, 256), records: make(chan []byte, 64), deadline: deadline.New(),
	}
	p.lose.Store(int64(o.lose))
	p.credentials(rawUfrag, rawPwd)
	p.life = run(t, s)
	var wg sync.WaitGroup
	wg.Go(p.read)
	t.Cleanup(func() {
		if p.dtls != nil {
			_ = p.dtls.Close()
		}
		_ = conn.Close()
		wg.Wait()
	})
	if o.noHandshake {
		return p
	}
	p.check(t)
	p.handshake(t, certificate, !s.answer.DTLSClient, o.wrongPrint)
	return p
}

func (p *rawPeer) credentials(ufrag, pwd string) { p.ufrag.Store(&ufrag); p.pwd.Store(&pwd) }

func (p *rawPeer) addr() netip.AddrPort { return p.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (p *rawPeer) send(b []byte) { _, _ = p.conn.WriteToUDPAddrPort(b, p.gateway) }

func offerTo[T any](c chan T, v T) {
	select {
	case c <- v:
	default:
	}
}

// read sorts what comes, and answers checks.
func (p *rawPeer) read() {
	buf := make([]byte, 4096)
	for {
		n, err := p.conn.Read(buf)
		if err != nil {
			return
		}
		b := append([]byte(nil), buf[:n]...)
		switch rtpstream.Classify(b) {
		case rtpstream.STUN:
			m := &stun.Message{Raw: b}
			if m.Decode() != nil {
				continue
			}
			if m.Type != stun.BindingRequest {
				offerTo(p.responses, m)
				continue
			}
			offerTo(p.checks, m)
			if p.mute.Load() {
				continue
			}
			reply, err := stun.Build(m, stun.BindingSuccess,
				&stun.XORMappedAddress{IP: p.gateway.Addr().AsSlice(), Port: int(p.gateway.Port())},
				stun.NewShortTermIntegrity(*p.pwd.Load()), stun.Fingerprint)
			if err == nil {
				p.send(reply.Raw)
			}
		case rtpstream.DTLS:
			p.sawDTLS.Add(1)
			if p.due.Load() {
				p.afterLast.Add(1)
			}
			if b[0] == 21 {
				p.sawAlert.Add(1)
			}
			if b[0] == changeCipherSpec && p.lose.Add(-1) >= 0 {
				continue
			}
			offerTo(p.records, b)
		default:
			offerTo(p.media, b)
		}
	}
}

// request makes a check as a controlling client does; setters come before the integrity.
func (p *rawPeer) request(pwd string, setters ...stun.Setter) *stun.Message {
	s := p.life.Session
	s.mu.Lock()
	g := s.current
	s.mu.Unlock()
	if pwd == "" {
		pwd = g.pwd
	}
	all := []stun.Setter{stun.BindingRequest, stun.TransactionID, stun.NewUsername(g.ufrag + ":" + *p.ufrag.Load())}
	all = append(all, setters...)
	return stun.MustBuild(append(all, stun.NewShortTermIntegrity(pwd), stun.Fingerprint)...)
}

var (
	controlling  = stun.RawAttribute{Type: stun.AttrICEControlling, Value: []byte{1, 2, 3, 4, 5, 6, 7, 8}}
	controlled   = stun.RawAttribute{Type: stun.AttrICEControlled, Value: []byte{1, 2, 3, 4, 5, 6, 7, 8}}
	priority     = stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{110, 255, 255, 255}}
	useCandidate = stun.RawAttribute{Type: stun.AttrUseCandidate}
)

// response returns the response to m, nil if none comes.
func (p *rawPeer) response(m *stun.Message, patience time.Duration) *stun.Message {
	deadline := time.After(patience)
	for {
		select {
		case r := <-p.responses:
			if r.TransactionID == m.TransactionID {
				return r
			}
		case <-deadline:
			return nil
		}
	}
}

// check checks and nominates until the gateway has chosen the path.
func (p *rawPeer) check(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if path := p.life.path.Load(); path != nil {
			p.life.mu.Lock()
			chosen := path.generation == p.life.current
			p.life.mu.Unlock()
			if chosen {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatal("the gateway has chosen no path")
		}
		p.send(p.request("", controlling, priority, useCandidate).Raw)
	}
}

// The peer as pion/dtls sees it.
func (p *rawPeer) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case r := <-p.records:
		return copy(b, r), peerAddr{}, nil
	case <-p.deadline.Done():
		return 0, nil, os.ErrDeadlineExceeded
	}
}
func (p *rawPeer) WriteTo(b []byte, _ net.Addr) (int, error) {
	if p.slow > 0 && b[0] == changeCipherSpec {
		p.due.Store(true)
		time.Sleep(p.slow)
	}
	if p.forge != nil {
		for _, f := range p.forge() {
			p.send(f)
		}
	}
	p.send(b)
	return len(b), nil
}
func (p *rawPeer) Close() error                      { p.deadline.Set(time.Now()); return nil }
func (p *rawPeer) LocalAddr() net.Addr               { return peerAddr{} }
func (p *rawPeer) SetDeadline(d time.Time) error     { p.deadline.Set(d); return nil }
func (p *rawPeer) SetReadDeadline(d time.Time) error { p.deadline.Set(d); return nil }
func (p *rawPeer) SetWriteDeadline(time.Time) error  { return nil }

func (p *rawPeer) handshake(t *testing.T, certificate tls.Certificate, client, fails bool) {
	t.Helper()
	common := []dtls.Option{
		dtls.WithCertificates(certificate), dtls.WithInsecureSkipVerify(true), dtls.WithLoggerFactory(silent{}),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM), dtls.WithFlightInterval(100 * time.Millisecond),
	}
	var err error
	if client {
		var options []dtls.ClientOption
		for _, o := range common {
			options = append(options, o)
		}
		p.dtls, err = dtls.ClientWithOptions(p, peerAddr{}, options...)
	} else {
		options := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert), dtls.WithInsecureSkipVerifyHello(true)}
		for _, o := range common {
			options = append(options, o)
		}
		p.dtls, err = dtls.ServerWithOptions(p, peerAddr{}, options...)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.dtls.HandshakeContext(ctx); err != nil {
		if !fails {
			t.Fatal(err)
		}
		return
	}
	if fails {
		return // the gateway says what it thinks of it
	}
	keys, err := deriveKeys(p.dtls, client)
	if err != nil {
		t.Fatal(err)
	}
	p.out, err = srtp.CreateContext(keys.keys.LocalMasterKey, keys.keys.LocalMasterSalt, keys.profile)
	if err != nil {
		t.Fatal(err)
	}
	p.open, err = srtp.CreateContext(keys.keys.RemoteMasterKey, keys.keys.RemoteMasterSalt, keys.profile)
	if err != nil {
		t.Fatal(err)
	}
	p.life.waitConnected(t)
}

// rtp seals a packet. ssrc and pt are the caller's.
func (p *rawPeer) rtp(t *testing.T, packet *rtp.Packet) []byte {
	t.Helper()
	plain, err := packet.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := p.out.EncryptRTP(nil, plain, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func rawVP8(ssrc uint32, seq uint16, ts uint32) *rtp.Packet {
	packet := vp8(seq, ts, true)
	packet.SSRC, packet.PayloadType = ssrc, 96
	return packet
}

// rtcpRaw seals and sends plain as RTCP.
func (p *rawPeer) rtcpRaw(t *testing.T, plain []byte) {
	t.Helper()
	sealed, err := p.out.EncryptRTCP(nil, plain, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.send(sealed)
}

func (p *rawPeer) rtcp(t *testing.T, packets ...rtcp.Packet) {
	t.Helper()
	plain, err := rtcp.Marshal(packets)
	if err != nil {
		t.Fatal(err)
	}
	p.rtcpRaw(t, plain)
}

// nextRTP returns the next RTP packet that the gateway sends, in clear.
func (p *rawPeer) nextRTP(t *testing.T) *rtp.Packet {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case b := <-p.media:
			if rtpstream.Classify(b) != rtpstream.RTP {
				continue
			}
			plain, err := p.open.DecryptRTP(nil, b, nil)
			if err != nil {
				t.Fatal(err)
			}
			packet := &rtp.Packet{}
			if err := packet.Unmarshal(plain); err != nil {
				t.Fatal(err)
			}
			return packet
		case <-deadline:
			t.Fatal("no RTP came")
		}
	}
}

// lives fails the test unless media of the publisher still comes out.
func (p *rawPeer) lives(t *testing.T, ssrc uint32, seq uint16) {
	t.Helper()
	p.send(p.rtp(t, rawVP8(ssrc, seq, 0)))
	for {
		for _, packet := range read(t, source(t, p.life.Session, media.Video), 1) {
			if packet.Sequence == seq {
				return
			}
		}
	}
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(fmt.Sprint("not in time: ", what))
		}
	}
}
