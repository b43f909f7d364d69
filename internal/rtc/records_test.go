package rtc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
)

// record is a DTLS 1.2 record.
func record(kind byte, epoch uint16, sequence uint32, body ...byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{kind, 0xfe, 0xfd}, epoch)
	b = binary.BigEndian.AppendUint32(append(b, 0, 0), sequence)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(body))), body...)
}

// message is a fragment of a handshake message.
func message(kind byte, length int, sequence uint16, offset int, body ...byte) []byte {
	b := []byte{kind, byte(length >> 16), byte(length >> 8), byte(length)}
	b = binary.BigEndian.AppendUint16(b, sequence)
	b = append(b, byte(offset>>16), byte(offset>>8), byte(offset), byte(len(body)>>16), byte(len(body)>>8), byte(len(body)))
	return append(b, body...)
}

// forgeries are records in the clear that somebody else can send from the client's address.
func forgeries() map[string][]byte {
	join := func(records ...[]byte) []byte { return slices.Concat(records...) }
	return map[string][]byte{
		"close_notify":        record(alertRecord, 0, 1000, 1, 0),
		"fatal alert":         record(alertRecord, 0, 1001, 2, 40),
		"alert of no length":  record(alertRecord, 0, 1002, 2),
		"application data":    record(applicationData, 0, 1003, 'x'),
		"heartbeat":           record(24, 0, 1004, 1, 0, 0),
		"connection id":       record(25, 0, 1005, 1, 2, 3),
		"unknown type":        record(63, 0, 1006, 0),
		"cipher spec of 2":    record(changeCipherSpec, 0, 1007, 2),
		"long cipher spec":    record(changeCipherSpec, 0, 1008, 1, 1),
		"half a message":      record(handshakeRecord, 0, 1009, 1, 0, 0),
		"two in one datagram": join(record(applicationData, 0, 1010, 'x'), record(alertRecord, 0, 1011, 2, 0)),
		"no record":           {21, 0xfe, 0xfd, 0},
		"lying length":        {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0xff, 0xff, 2, 0},
		"garbage with keys":   record(applicationData, 1, 1<<30, make([]byte, 40)...),
		"alert with keys":     record(alertRecord, 1, 1<<30, make([]byte, 26)...),
		"future epoch":        record(alertRecord, 7, 1<<30, 2, 0),
	}
}

// Nobody can end a session, shake it, or make it say something to its client by records
// that are forged, in either role.
func TestForgedRecordsDoNothing(t *testing.T) {
	for _, setup := range []string{"actpass", "passive"} {
		e := testEngine(t)
		p := newRawPeer(t, e, rawOptions{publish: true, setup: setup})
		p.lives(t, 7, 1)
		time.Sleep(silence) // the handshake's last repetitions are over
		said, dropped := p.sawDTLS.Load(), e.records.Load()
		all := forgeries()
		all["client hello"] = record(handshakeRecord, 0, 1012, message(1, 2, 0, 0, 1, 2)...)
		all["finished"] = record(handshakeRecord, 0, 1013, message(20, 12, 7, 0, make([]byte, 12)...)...)
		all["cipher spec"] = record(changeCipherSpec, 0, 1014, 1)
		for range 3 {
			for _, b := range all {
				p.send(b)
			}
		}
		p.lives(t, 7, 2)
		if got := e.records.Load() - dropped; got < uint64(3*(len(all)-2)) {
			t.Errorf("%s: %d records are dropped", setup, got)
		}
		time.Sleep(silence)
		if got := p.sawDTLS.Load() - said; got != 0 {
			t.Errorf("%s: the client is sent %d DTLS datagrams", setup, got)
		}
		if p.life.State() != "connected" {
			t.Errorf("%s: state %q", setup, p.life.State())
		}
		// The client's own close_notify, protected, still ends it.
		_ = p.dtls.Close()
		if err := p.life.waitEnd(t); !errors.Is(err, PeerClosed) {
			t.Errorf("%s: ended by %v, want PeerClosed", setup, err)
		}
	}
}

// A handshake is not ended by what others put into it: alerts, data, lies about lengths. The
// forger is there first, and all along.
func TestForgedRecordsDoNotEndAHandshake(t *testing.T) {
	for _, setup := range []string{"actpass", "passive"} {
		p := newRawPeer(t, testEngine(t), rawOptions{publish: true, setup: setup, forge: func() [][]byte {
			var all [][]byte
			for _, b := range forgeries() {
				all = append(all, b)
			}
			return all
		}})
		p.lives(t, 7, 1)
	}
}

// A client that gave a handshake up is told from one that never came.
func TestAnAlertInTheClearIsToldAtTheTimeout(t *testing.T) {
	e := testEngine(t, func(c *Config) { c.SetupTimeout = 2e9 }) // of which a busy machine takes some for the check
	p := newRawPeer(t, e, rawOptions{publish: true, noHandshake: true})
	p.check(t)
	p.send(record(alertRecord, 0, 1, 2, 42))
	err := p.life.waitEnd(t)
	if !errors.Is(err, SetupTimeout) || Cause(err) != string(SetupTimeout) {
		t.Errorf("ended by %v, want SetupTimeout", err)
	}
	if want := "description 42"; !strings.Contains(Detail(err), want) {
		t.Errorf("the detail %q doesn't say %q", Detail(err), want)
	}
}

// What DTLS is shown of a handshake is bounded: lengths and numbers that no handshake has
// would be kept, up to megabytes a session.
func TestHandshakeMessagesAreBounded(t *testing.T) {
	var dropped atomic.Uint64
	for _, tt := range []struct {
		name   string
		record []byte
		pass   bool
	}{
		{"whole", record(handshakeRecord, 0, 1, message(11, 3, 2, 0, 1, 2, 3)...), true},
		{"fragment", record(handshakeRecord, 0, 1, message(11, 5000, 2, 4000, make([]byte, 1000)...)...), true},
		{"two", record(handshakeRecord, 0, 1, append(message(11, 1, 2, 0, 1), message(16, 1, 3, 0, 1)...)...), true},
		{"empty message", record(handshakeRecord, 0, 1, message(14, 0, 4, 0)...), true},
		{"too long a message", record(handshakeRecord, 0, 1, message(11, maxMessage+1, 2, 0, 1)...), false},
		{"too late a message", record(handshakeRecord, 0, 1, message(11, 1, maxHandshake, 0, 1)...), false},
		{"beyond its message", record(handshakeRecord, 0, 1, message(11, 5, 2, 5, 1)...), false},
		{"second is cut", record(handshakeRecord, 0, 1, append(message(11, 1, 2, 0, 1), 16, 0, 0)...), false},
		{"protected Finished", record(handshakeRecord, 1, 1, make([]byte, 48)...), true},
		{"protected, and long", record(handshakeRecord, 1, 1, make([]byte, 1000)...), false},
		{"protected data", record(applicationData, 1, 1, make([]byte, 1000)...), true},
	} {
		f := recordFilter{dropped: &dropped}
		if got := len(f.pass(slices.Clone(tt.record))) > 0; got != tt.pass {
			t.Errorf("%s: passes %t, want %t", tt.name, got, tt.pass)
		}
	}
	f := recordFilter{dropped: &dropped}
	good := record(handshakeRecord, 0, 1, message(14, 0, 4, 0)...)
	mixed := slices.Concat(record(alertRecord, 0, 1, 2, 0), good, record(63, 0, 1, 0), good, []byte{22})
	if got := f.pass(mixed); !slices.Equal(got, append(slices.Clone(good), good...)) {
		t.Errorf("of a mixed datagram %x passes", got)
	}
}

// A client whose handshake ended with a lost answer gets it again, though what it repeats
// in the clear is dropped.
func TestALostLastFlightIsRepeated(t *testing.T) {
	p := newRawPeer(t, testEngine(t), rawOptions{publish: true, lose: 1})
	p.lives(t, 7, 1)
}

// Only an address that a check with the session's integrity came from is heard by DTLS: a
// ClientHello from anywhere else is dropped, and answered nothing.
func TestDTLSIsClosedToStrangers(t *testing.T) {
	e := testEngine(t)
	p := newRawPeer(t, e, rawOptions{publish: true, noHandshake: true})
	stranger, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	hello := clientHello(t)
	before, sent := e.udp.stats.unknown.Load(), e.udp.stats.sent.Load()
	const flood = 500
	for i := range flood {
		_, _ = stranger.WriteToUDPAddrPort(hello, p.gateway)
		if i%50 == 49 {
			eventually(t, "the flood is counted", func() bool { return e.udp.stats.unknown.Load()-before == uint64(i+1) })
		}
	}
	if got := e.udp.stats.sent.Load() - sent; got != 0 {
		t.Errorf("%d datagrams are sent", got)
	}
	if n := len(p.life.transport.in); n != 0 {
		t.Errorf("DTLS has %d datagrams", n)
	}
	p.check(t) // the session has taken no harm
}

// clientHello is the first datagram of a client's handshake.
func clientHello(t *testing.T) []byte {
	t.Helper()
	certificate, _, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	c, err := dtls.ClientWithOptions(pipe{near}, peerAddr{}, dtls.WithCertificates(certificate), dtls.WithInsecureSkipVerify(true),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM), dtls.WithLoggerFactory(silent{}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.HandshakeContext(ctx)
	}()
	b := make([]byte, 1500)
	n, err := far.Read(b)
	cancel()
	_ = far.Close()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// A pipe is a net.Conn as a packet connection.
type pipe struct{ net.Conn }

func (p pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := p.Read(b)
	return n, peerAddr{}, err
}
func (p pipe) WriteTo(b []byte, _ net.Addr) (int, error) { return p.Write(b) }

// FuzzRecords: what passes the filter is records of the datagram, in their order, and of those in
// the clear only what a handshake may have; once there are keys nothing in the clear.
func FuzzRecords(f *testing.F) {
	for _, b := range forgeries() {
		f.Add(b, false)
	}
	f.Add(record(handshakeRecord, 0, 1, message(11, 5000, 2, 4000, make([]byte, 1000)...)...), false)
	f.Add(slices.Concat(record(changeCipherSpec, 0, 1, 1), record(handshakeRecord, 1, 0, make([]byte, 48)...)), true)
	f.Fuzz(func(t *testing.T, b []byte, keyed bool) {
		var dropped atomic.Uint64
		filter := recordFilter{dropped: &dropped}
		if keyed {
			filter.finished()
		}
		original := slices.Clone(b)
		passed := filter.pass(b)
		for rest := passed; len(rest) > 0; {
			r, more, ok := nextRecord(rest)
			if !ok {
				t.Fatalf("%x passes, which is no record", rest)
			}
			if recordEpoch(r) == 0 && (keyed || r[0] != handshakeRecord && r[0] != changeCipherSpec) {
				t.Fatalf("%x passes in the clear", r)
			}
			_, after, found := bytes.Cut(original, r)
			if !found {
				t.Fatalf("%x passes, which was not sent", r)
			}
			original, rest = after, more
		}
		if len(passed) < len(b) && dropped.Load() == 0 {
			t.Error("a record is dropped without being counted")
		}
		_ = filter.complaint()
	})
}
