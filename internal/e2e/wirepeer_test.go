//go:build e2e

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/pion/stun/v4"
	"github.com/pion/transport/v5/deadline"

	"sightline/internal/rtpstream"
)

const (
	patience = 5 * time.Second
	silence  = 200 * time.Millisecond // how long nothing has to come
)

// A certificate is what a client of this test shows in DTLS.
type certificate struct {
	tls   tls.Certificate
	print string // of a=fingerprint
}

func newCertificate(t *testing.T) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	print := strings.ToUpper(strings.ReplaceAll(fmt.Sprintf("% x", sum[:]), " ", ":"))
	return certificate{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, "sha-256 " + print}
}

const (
	peerUfrag = "wireufrag"
	peerPwd   = "wirepasswordwirepasswordw"
)

// A wirePeer is a client down to its datagrams: it sends what a test makes up, and shows all that comes back.
type wirePeer struct {
	t       *testing.T
	conn    *net.UDPConn
	gateway netip.AddrPort
	session string // URL
	etag    string
	answer  string

	ufrag, pwd string       // the gateway's
	mute       atomic.Bool  // answers no checks
	alerts     atomic.Int64 // DTLS records of type alert
	records    atomic.Int64 // DTLS datagrams
	cameBytes  atomic.Int64 // of STUN
	responses  chan *stun.Message
	flight     chan []byte // DTLS, for the handshake
	media      chan []byte // SRTP
	feedback   chan []byte // SRTCP
	deadline   *deadline.Deadline

	dtls      *dtls.Conn
	out, open *srtp.Context
}

type wireOptions struct {
	publish     bool
	lines       string // of the video section beyond the usual
	wrongPrint  bool
	noHandshake bool
}

// wireOffer is an offer of video alone: VP8 as 96 with RTX as 97, H.264 as 98.
func wireOffer(publish bool, print, lines string) string {
	direction := "recvonly"
	if publish {
		direction = "sendonly"
	}
	return crlf("v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE 0\nm=video 9 UDP/TLS/RTP/SAVPF 96 97 98\nc=IN IP4 0.0.0.0\na=mid:0\n" +
		"a=ice-ufrag:" + peerUfrag + "\na=ice-pwd:" + peerPwd + "\na=fingerprint:" + print + "\na=setup:active\na=rtcp-mux\na=" + direction + "\n" +
		"a=rtpmap:96 VP8/90000\na=rtcp-fb:96 nack\na=rtcp-fb:96 nack pli\na=rtpmap:97 rtx/90000\na=fmtp:97 apt=96\n" +
		"a=rtpmap:98 H264/90000\na=rtcp-fb:98 nack\na=rtcp-fb:98 nack pli\na=fmtp:98 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\n" + lines)
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// newWirePeer offers at a URL and, unless told otherwise, is connected when it returns. It leaves with the test.
func newWirePeer(t *testing.T, g *target, url string, o wireOptions) *wirePeer {
	t.Helper()
	own := newCertificate(t)
	print := own.print
	if o.wrongPrint {
		print = newCertificate(t).print
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(serverIP)})
	if err != nil {
		t.Fatal(err)
	}
	p := &wirePeer{
		t: t, conn: conn, responses: make(chan *stun.Message, 256), flight: make(chan []byte, 64),
		media: make(chan []byte, 4096), feedback: make(chan []byte, 1024), deadline: deadline.New(),
	}
	res := g.do(t, http.MethodPost, url, wireOffer(o.publish, print, o.lines), "Content-Type", "application/sdp", "Authorization", "Bearer "+g.token)
	if res.status != http.StatusCreated {
		conn.Close()
		t.Fatalf("POST is answered %d %s", res.status, res.body)
	}
	p.session, p.etag, p.answer = res.header.Get("Location"), res.header.Get("ETag"), res.body
	p.ufrag, p.pwd = attribute(t, res.body, "ice-ufrag"), attribute(t, res.body, "ice-pwd")
	candidate := regexp.MustCompile(`a=candidate:\S+ 1 udp \d+ ` + regexp.QuoteMeta(serverIP) + ` (\d+) typ host`).FindStringSubmatch(res.body)
	if candidate == nil {
		conn.Close()
		t.Fatalf("no candidate with %s in\n%s", serverIP, res.body)
	}
	p.gateway = netip.MustParseAddrPort(serverIP + ":" + candidate[1])
	var reading sync.WaitGroup
	reading.Go(p.read)
	t.Cleanup(func() {
		if p.dtls != nil {
			p.dtls.Close()
		}
		g.do(t, http.MethodDelete, p.session, "")
		conn.Close()
		reading.Wait()
	})
	if o.noHandshake {
		return p
	}
	p.check()
	err = p.handshake(own.tls)
	if o.wrongPrint {
		return p // what becomes of it is the test's
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// attribute is the value of the first line a=name: of an SDP.
func attribute(t *testing.T, sdp, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^a=` + name + `:(.*?)\r?$`).FindStringSubmatch(sdp)
	if m == nil {
		t.Fatalf("no a=%s in\n%s", name, sdp)
	}
	return m[1]
}

func (p *wirePeer) send(b []byte) {
	p.t.Helper()
	if _, err := p.conn.WriteToUDPAddrPort(b, p.gateway); err != nil {
		p.t.Errorf("send: %v", err)
	}
}

func offerTo[T any](c chan T, v T) {
	select {
	case c <- v:
	default:
	}
}

// read sorts what comes, and answers checks.
func (p *wirePeer) read() {
	buf := make([]byte, 4096)
	for {
		n, err := p.conn.Read(buf)
		if err != nil {
			return
		}
		b := append([]byte(nil), buf[:n]...)
		switch rtpstream.Classify(b) {
		case rtpstream.STUN:
			p.cameBytes.Add(int64(n))
			p.readSTUN(b)
		case rtpstream.DTLS:
			p.records.Add(1)
			if b[0] == 21 {
				p.alerts.Add(1)
			}
			offerTo(p.flight, b)
		case rtpstream.RTCP:
			offerTo(p.feedback, b)
		default:
			offerTo(p.media, b)
		}
	}
}

func (p *wirePeer) readSTUN(b []byte) {
	m := &stun.Message{Raw: b}
	if m.Decode() != nil {
		return
	}
	if m.Type != stun.BindingRequest {
		offerTo(p.responses, m)
		return
	}
	if p.mute.Load() {
		return
	}
	reply, err := stun.Build(m, stun.BindingSuccess, &stun.XORMappedAddress{IP: p.gateway.Addr().AsSlice(), Port: int(p.gateway.Port())},
		stun.NewShortTermIntegrity(peerPwd), stun.Fingerprint)
	if err == nil {
		_, _ = p.conn.WriteToUDPAddrPort(reply.Raw, p.gateway)
	}
}

var (
	controlling  = stun.RawAttribute{Type: stun.AttrICEControlling, Value: []byte{1, 2, 3, 4, 5, 6, 7, 8}}
	controlled   = stun.RawAttribute{Type: stun.AttrICEControlled, Value: []byte{1, 2, 3, 4, 5, 6, 7, 8}}
	priority     = stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{110, 255, 255, 255}}
	useCandidate = stun.RawAttribute{Type: stun.AttrUseCandidate}
)

// request makes a check signed by pwd ("": the right one); setters come before the integrity.
func (p *wirePeer) request(pwd string, setters ...stun.Setter) *stun.Message {
	if pwd == "" {
		pwd = p.pwd
	}
	all := append([]stun.Setter{stun.BindingRequest, stun.TransactionID, stun.NewUsername(p.ufrag + ":" + peerUfrag)}, setters...)
	return stun.MustBuild(append(all, stun.NewShortTermIntegrity(pwd), stun.Fingerprint)...)
}

// response returns the response to m, nil if none comes.
func (p *wirePeer) response(m *stun.Message, patience time.Duration) *stun.Message {
	limit := time.After(patience)
	for {
		select {
		case r := <-p.responses:
			if r.TransactionID == m.TransactionID {
				return r
			}
		case <-limit:
			return nil
		}
	}
}

// check checks and nominates until the gateway says yes.
func (p *wirePeer) check() {
	p.t.Helper()
	for range 20 {
		m := p.request("", controlling, priority, useCandidate)
		p.send(m.Raw)
		if r := p.response(m, silence); r != nil && r.Type == stun.BindingSuccess {
			return
		}
	}
	p.t.Fatal("no check is answered")
}

// The peer as pion/dtls sees it.
type gatewayAddr struct{}

func (gatewayAddr) Network() string { return "udp" }
func (gatewayAddr) String() string  { return "gateway" }

func (p *wirePeer) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case r := <-p.flight:
		return copy(b, r), gatewayAddr{}, nil
	case <-p.deadline.Done():
		return 0, nil, os.ErrDeadlineExceeded
	}
}
func (p *wirePeer) WriteTo(b []byte, _ net.Addr) (int, error) {
	_, err := p.conn.WriteToUDPAddrPort(b, p.gateway)
	return len(b), err
}
func (p *wirePeer) Close() error                      { p.deadline.Set(time.Now()); return nil }
func (p *wirePeer) LocalAddr() net.Addr               { return gatewayAddr{} }
func (p *wirePeer) SetDeadline(d time.Time) error     { p.deadline.Set(d); return nil }
func (p *wirePeer) SetReadDeadline(d time.Time) error { p.deadline.Set(d); return nil }
func (p *wirePeer) SetWriteDeadline(time.Time) error  { return nil }

func (p *wirePeer) handshake(c tls.Certificate) (err error) {
	p.dtls, err = dtls.ClientWithOptions(p, gatewayAddr{}, dtls.WithCertificates(c), dtls.WithInsecureSkipVerify(true),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM), dtls.WithFlightInterval(100*time.Millisecond),
		dtls.WithLoggerFactory(&logging.DefaultLoggerFactory{Writer: discard{}}))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	if err := p.dtls.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("dtls: %w", err)
	}
	state, ok := p.dtls.ConnectionState()
	if !ok {
		return fmt.Errorf("dtls: no state")
	}
	config := srtp.Config{Profile: srtp.ProtectionProfileAeadAes128Gcm}
	if err := config.ExtractSessionKeysFromDTLS(&state, true); err != nil {
		return err
	}
	if p.out, err = srtp.CreateContext(config.Keys.LocalMasterKey, config.Keys.LocalMasterSalt, config.Profile); err != nil {
		return err
	}
	p.open, err = srtp.CreateContext(config.Keys.RemoteMasterKey, config.Keys.RemoteMasterSalt, config.Profile)
	return err
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// seal protects a packet.
func (p *wirePeer) seal(packet *rtp.Packet) []byte {
	p.t.Helper()
	plain, err := packet.Marshal()
	if err != nil {
		p.t.Fatal(err)
	}
	sealed, err := p.out.EncryptRTP(nil, plain, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return sealed
}

func (p *wirePeer) rtcpRaw(plain []byte) {
	p.t.Helper()
	sealed, err := p.out.EncryptRTCP(nil, plain, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	p.send(sealed)
}

func (p *wirePeer) rtcp(packets ...rtcp.Packet) {
	p.t.Helper()
	plain, err := rtcp.Marshal(packets)
	if err != nil {
		p.t.Fatal(err)
	}
	p.rtcpRaw(plain)
}

// vp8 is a packet that is a whole keyframe of VP8, 16x16 pixels.
func vp8(ssrc uint32, sequence uint16, timestamp uint32) *rtp.Packet {
	return &rtp.Packet{
		Header:  rtp.Header{Version: 2, Marker: true, PayloadType: 96, SequenceNumber: sequence, Timestamp: timestamp, SSRC: ssrc},
		Payload: append([]byte{0x10, 0x50, 1, 0, 0x9d, 0x01, 0x2a, 16, 0, 16, 0}, make([]byte, 40)...),
	}
}

// nextRTP returns the next packet that the gateway sends, in clear.
func (p *wirePeer) nextRTP() *rtp.Packet {
	p.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case b := <-p.media:
			plain, err := p.open.DecryptRTP(nil, b, nil)
			if err != nil {
				continue // one that came twice
			}
			packet := &rtp.Packet{}
			if err := packet.Unmarshal(plain); err != nil {
				p.t.Fatal(err)
			}
			return packet
		case <-limit:
			p.t.Fatal("no RTP came")
		}
	}
}

// keyframeRequests counts the PLIs and FIRs that came since the last call.
func (p *wirePeer) keyframeRequests() (n int) {
	for {
		select {
		case b := <-p.feedback:
			plain, err := p.open.DecryptRTCP(nil, b, nil)
			if err != nil {
				continue
			}
			packets, _ := rtcp.Unmarshal(plain)
			for _, packet := range packets {
				switch packet.(type) {
				case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
					n++
				}
			}
		default:
			return n
		}
	}
}

// record is a DTLS record.
func record(kind byte, epoch uint16, sequence uint32, body ...byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{kind, 0xfe, 0xfd}, epoch)
	b = binary.BigEndian.AppendUint32(append(b, 0, 0), sequence)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(body))), body...)
}
