package rtc

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pion/srtp/v3"
	"github.com/pion/stun/v4"

	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/internal/rtpstream"
	"sightline/internal/sdp"
)

// fuzzEngine returns an engine for all inputs of a target: opening one for each would cost
// more than what is fuzzed.
func fuzzEngine(f *testing.F) *Engine {
	f.Helper()
	c := Defaults()
	c.UDPListen, c.SocketBuffer = "127.0.0.1:0", 1<<20
	e, err := New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { e.Close() })
	return e
}

// recorded returns what real clients sent (internal/sdp/testdata), by name.
func recorded(f *testing.F, kind, suffix string) map[string][]byte {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("../sdp/testdata", kind, "*"+suffix))
	if err != nil || len(files) < 10 {
		f.Fatalf("got %d recorded %s (%v), want at least 10", len(files), kind, err)
	}
	out := make(map[string][]byte)
	for _, name := range files {
		if out[strings.TrimSuffix(filepath.Base(name), suffix)], err = os.ReadFile(name); err != nil {
			f.Fatal(err)
		}
	}
	return out
}

// live are the codecs that a viewer of the fuzz targets is to get.
var live = map[media.Kind]media.Codec{
	media.Video: {Name: "H264", ClockRate: 90000, Fmtp: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"},
	media.Audio: {Name: "opus", ClockRate: 48000, Channels: 2},
}

// FuzzSession takes an offer as WHIP and WHEP do, and then a fragment as PATCH does: a
// session comes of it or a fault of the client's, and nothing is left when it is closed.
func FuzzSession(f *testing.F) {
	e := fuzzEngine(f)
	fragments := recorded(f, "fragments", ".sdpfrag")
	for name, offer := range recorded(f, "offers", ".sdp") {
		f.Add(offer, []byte(nil), !strings.Contains(name, "-whep"))
		for of, fragment := range fragments {
			if strings.HasPrefix(of, name+"-") {
				f.Add(offer, fragment, !strings.Contains(name, "-whep"))
			}
		}
	}
	f.Fuzz(func(t *testing.T, body, patch []byte, publishes bool) {
		offer, err := sdp.Parse(body)
		if err != nil {
			wantsClientsFault(t, err)
			return
		}
		r := AnswerRequest{Offer: offer, Publish: publishes}
		if !publishes {
			r.Send, r.Stream = live, "room/console"
		}
		s, err := e.Answer(r)
		if err != nil {
			wantsClientsFault(t, err)
			nothingIsLeft(t, e)
			return
		}
		if n := len(s.Sources()) + len(s.Sinks()); n == 0 || n > 2 {
			t.Errorf("%d tracks of one session", n)
		}
		before := s.ETag()
		if fragment, err := sdp.ParseFragment(patch, offer); err != nil {
			wantsClientsFault(t, err)
		} else if restart, err := s.Patch(fragment, false); err != nil {
			wantsClientsFault(t, err)
		} else if (restart != nil) != (s.ETag() != before) {
			t.Errorf("a restart is answered: %t, and the ETag changes: %t", restart != nil, s.ETag() != before)
		}
		if n := len(s.current.candidates); n > e.config.MaxCandidates {
			t.Errorf("%d candidates are tried, want %d at most", n, e.config.MaxCandidates)
		}
		s.Close()
		nothingIsLeft(t, e)
	})
}

func wantsClientsFault(t *testing.T, err error) {
	t.Helper()
	switch fault.KindOf(err) {
	case fault.BadRequest, fault.Unprocessable, fault.TooLarge, fault.Precondition:
	default:
		t.Errorf("got %v, want a fault of the client's", err)
	}
}

// nothingIsLeft: who asks again and again, and is refused, must not fill the memory.
func nothingIsLeft(t *testing.T, e *Engine) {
	t.Helper()
	if len(e.sessions) != 0 || len(e.udp.ufrags) != 0 || len(e.udp.remotes) != 0 {
		t.Errorf("%d sessions, %d ufrags and %d addresses are left", len(e.sessions), len(e.udp.ufrags), len(e.udp.remotes))
	}
}

// What a datagram of FuzzDatagrams is made of: the bytes as they are, from the client's
// address or another, or what only the client can make of them.
const (
	fromClient = iota
	fromElsewhere
	sealedMedia  // as RTP or RTCP under the session's keys
	signedCheck  // as attributes of a check with the session's integrity
	movedCheck   // the same, from another address
	signedAnswer // as attributes of a response to the newest consent check
	later        // as time that passes
	modes
)

// FuzzDatagrams gives the socket a sequence of datagrams for a session whose keys are known,
// as if the handshake were done. Each begins with two bytes: its mode and its length.
func FuzzDatagrams(f *testing.F) {
	e := fuzzEngine(f)
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}) // what is answered comes here, unread
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { sink.Close() })
	client := sink.LocalAddr().(*net.UDPAddr).AddrPort()
	elsewhere, moved := netip.MustParseAddrPort("127.0.0.2:9"), netip.MustParseAddrPort("127.0.0.3:9")
	offers := recorded(f, "offers", ".sdp")
	publisher := securedSession(f, e, offers, true, client)
	for _, datagrams := range seedDatagrams(f, publisher.answer.Sections) {
		f.Add(datagrams, true)
		f.Add(datagrams, false)
	}
	publisher.Close()
	f.Fuzz(func(t *testing.T, datagrams []byte, publishes bool) {
		s := securedSession(t, e, offers, publishes, client)
		defer s.Close()
		peer := clientContext(t)
		now := time.Now()
		for n := 0; len(datagrams) > 1 && n < 64; n++ {
			mode, size := datagrams[0]%modes, min(int(datagrams[1]), len(datagrams)-2)
			b := datagrams[2 : 2+size : 2+size]
			datagrams = datagrams[2+size:]
			from := client
			switch mode {
			case fromElsewhere:
				from = elsewhere
			case sealedMedia:
				b = sealed(peer, b)
			case signedCheck, movedCheck:
				if mode == movedCheck {
					from = moved
				}
				b = signed(stun.BindingRequest, stun.NewTransactionID(), s.current.pwd, b,
					stun.NewUsername(s.current.ufrag+":"+s.current.remoteUfrag))
			case signedAnswer:
				if n := len(s.consent.checks); n > 0 {
					c := s.consent.checks[n-1]
					b = signed(stun.BindingSuccess, c.id, c.pwd, b)
				}
			case later:
				now = now.Add(time.Duration(size) * 100 * time.Millisecond)
				s.tick(now)
				continue
			}
			arrives(e.udp, s, b, from, now)
		}
		if s.receiver != nil && len(s.receiver.streams)+len(s.receiver.refused) > Defaults().MaxSSRCs || len(s.opener.media) > maxOpened || len(s.opener.reports) > maxOpened {
			t.Errorf("streams beyond the limits: %d opened", len(s.opener.media))
		}
		if len(s.remotes) > 32 || len(s.current.accounts) > maxSources || len(s.consent.checks) > maxChecks {
			t.Errorf("%d addresses, %d sources, %d checks", len(s.remotes), len(s.current.accounts), len(s.consent.checks))
		}
		if e.udp.remotes[elsewhere] != nil {
			t.Error("an address that no check with the session's integrity came from is the session's")
		}
	})
}

// firstSSRC is of a viewer's first track.
const firstSSRC = 9

// securedSession returns a session of a real offer that has a path to client and keys.
func securedSession(t testing.TB, e *Engine, offers map[string][]byte, publishes bool, client netip.AddrPort) *Session {
	t.Helper()
	name, r := "chromium-156-whep", AnswerRequest{Send: live, Stream: "room/console"}
	if publishes {
		name, r = "chromium-156-whip-simulcast-h264-trickle", AnswerRequest{Publish: true}
	}
	var err error
	if r.Offer, err = sdp.Parse(offers[name]); err != nil {
		t.Fatal(err)
	}
	s, err := e.Answer(r)
	if err != nil {
		t.Fatal(err)
	}
	for i, sink := range s.sinks {
		sink.SetFeedback(&cacheFeedback{})
		sink.ssrc = firstSSRC + uint32(i) // that an input may mean it
	}
	s.authenticated(client)
	s.path.Store(&path{generation: s.current, name: "udp", udp: e.udp.destination(client, netip.Addr{})})
	if err := s.seal.open(fuzzKeys); err != nil {
		t.Fatal(err)
	}
	if err := s.opener.open(fuzzKeys); err != nil {
		t.Fatal(err)
	}
	s.consent.begin(time.Now())
	return s
}

// fuzzKeys are the same both ways: the client of the targets seals with them, too.
var fuzzKeys = keyring{srtp.ProtectionProfileAeadAes128Gcm, srtp.SessionKeys{
	LocalMasterKey: make([]byte, 16), LocalMasterSalt: make([]byte, 12),
	RemoteMasterKey: make([]byte, 16), RemoteMasterSalt: make([]byte, 12),
}}

func clientContext(t *testing.T) *srtp.Context {
	t.Helper()
	c, err := srtp.CreateContext(fuzzKeys.keys.LocalMasterKey, fuzzKeys.keys.LocalMasterSalt, fuzzKeys.profile)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sealed returns plain as the client sends it; as it is if it is nothing that can be sealed.
func sealed(c *srtp.Context, plain []byte) []byte {
	encrypt := func() ([]byte, error) { return c.EncryptRTP(nil, plain, nil) }
	if rtpstream.Classify(plain) == rtpstream.RTCP {
		encrypt = func() ([]byte, error) { return c.EncryptRTCP(nil, plain, nil) }
	}
	if out, err := encrypt(); err == nil {
		return out
	}
	return plain
}

// signed returns a STUN message with raw attributes between those of setters and its
// integrity.
func signed(typ stun.MessageType, id [stun.TransactionIDSize]byte, pwd string, raw []byte, setters ...stun.Setter) []byte {
	m := &stun.Message{Type: typ, TransactionID: id}
	m.WriteHeader()
	for _, s := range setters {
		if s.AddTo(m) != nil {
			return raw
		}
	}
	m.Raw = append(m.Raw, raw[:len(raw)&^3]...)
	m.Length = uint32(len(m.Raw) - 20)
	m.WriteLength()
	if stun.NewShortTermIntegrity(pwd).AddTo(m) != nil {
		return raw
	}
	return m.Raw
}

// arrives does with a datagram what the socket's and the session's goroutines do.
func arrives(u *socket, s *Session, b []byte, from netip.AddrPort, now time.Time) {
	if len(b) > 0 && rtpstream.Classify(b) == rtpstream.STUN {
		u.dispatchSTUN(b, from, netip.Addr{}, now)
	} else if len(b) > 0 {
		u.dispatch(b, from, now)
	}
	for {
		select {
		case d := <-s.in:
			s.receive(d)
		default:
			return
		}
	}
}

// seedDatagrams returns sequences in the form of FuzzDatagrams, of each mode one at least:
// a publisher's media in the sections that were negotiated, and a viewer's reports.
func seedDatagrams(f *testing.F, sections []sdp.Section) [][]byte {
	f.Helper()
	put := func(out []byte, mode byte, b []byte) []byte { return append(append(out, mode, byte(len(b))), b...) }
	rtp := func(s *sdp.Section, pt uint8, ssrc byte, seq uint16, payload ...byte) []byte {
		b := binary.BigEndian.AppendUint16([]byte{0x90, pt}, seq)
		b = append(b, 0, 0, 0, byte(seq), 0, 0, 0, ssrc, 0xbe, 0xde, 0, 3)
		extensions := []byte{s.Extensions[sdp.ExtensionMID] << 4, s.MID[0], s.Extensions[sdp.ExtensionTransportCC]<<4 | 1, 0, byte(seq)}
		if len(s.RIDs) > 0 {
			id := s.Extensions[sdp.ExtensionRID]
			if pt != s.Formats[0].PayloadType {
				id = s.Extensions[sdp.ExtensionRepairedRID]
			}
			extensions = append(append(extensions, id<<4|byte(len(s.RIDs[0])-1)), s.RIDs[0]...)
		}
		b = append(b, append(extensions, make([]byte, 12-len(extensions))...)...)
		return append(b, payload...)
	}
	check, err := buildCheck("abc:def", "secret", false, 1)
	if err != nil {
		f.Fatal(err)
	}
	var media, control, stray []byte
	for i := range sections {
		s := &sections[i]
		format := s.Formats[0]
		for seq := range uint16(5) {
			media = put(media, sealedMedia, rtp(s, format.PayloadType, 7+byte(i), seq*seq, 0x7c, 0x85, 1, 2))
		}
		media = put(media, later, make([]byte, 20))
		if format.RTX != 0 {
			media = put(media, sealedMedia, rtp(s, format.RTX, 17+byte(i), 1, 0, 2, 0x7c, 0x85, 1, 2))
		}
		stray = put(stray, fromClient, rtp(s, format.PayloadType, 7, 1))
	}
	control = put(control, later, make([]byte, 10))
	control = put(control, signedAnswer, []byte{0, 0x20, 0, 8, 0, 1, 1, 2, 3, 4, 5, 6})
	for _, mode := range []byte{signedCheck, movedCheck} {
		control = put(control, mode, []byte{0, 0x24, 0, 4, 1, 2, 3, 4, 0x80, 0x2a, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0x25, 0, 0})
		control = put(control, mode, []byte{0x80, 0x29, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8})
	}
	for _, b := range [][]byte{
		{0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, firstSSRC},
		{0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, firstSSRC, 1, 0, 0, 0},
		{0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, firstSSRC, 0, 1, 0xff, 0xff},
		{0x81, 201, 0, 7, 0, 0, 0, 1, 0, 0, 0, firstSSRC, 1, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0},
		{0x80, 200, 0, 6, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20},
	} {
		control = put(control, sealedMedia, b)
	}
	for _, b := range [][]byte{check.Raw, {22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}, {0x80, 201, 0, 1, 0, 0, 0, 1}, {5}, {0xff, 0xff}} {
		stray = put(put(stray, fromClient, b), fromElsewhere, b)
	}
	return [][]byte{media, control, stray, bytes.Join([][]byte{stray, control, media}, nil)}
}
