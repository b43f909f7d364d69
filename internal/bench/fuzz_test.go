package bench

import (
	"net/netip"
	"testing"
	"time"
)

// Whatever a server sends, a peer neither panics nor hangs.
func FuzzPeerReceive(f *testing.F) {
	k := testKeys(f, gcm)
	for _, b := range [][]byte{k.keys.LocalMasterKey, k.keys.LocalMasterSalt, k.keys.RemoteMasterKey, k.keys.RemoteMasterSalt} {
		clear(b) // each worker has the same
	}
	v := testViewer(f, Defaults(), k)
	p, sent := testPublisher(f, Defaults(), k)
	for _, b := range play(p, sent, 2) {
		f.Add(b)
	}
	f.Add([]byte{0x80, 96, 0, 1})
	f.Add([]byte{0x90, 102, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xbe, 0xde, 0, 9})
	f.Add([]byte{0x81, 201, 0, 1, 0, 0, 0, 0})
	f.Add([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	f.Add([]byte{22, 0xfe, 0xfd, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		from := netip.MustParseAddrPort("127.0.0.1:8189")
		v.peer.receive(b, from, time.Now().UnixNano())
		p.peer.receive(b, from, time.Now().UnixNano())
	})
}

func FuzzParseAnswer(f *testing.F) {
	o := testOffer
	f.Add(o.text())
	f.Add("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n" +
		"a=fingerprint:sha-256 AA\r\na=setup:active\r\na=rtpmap:96 VP8/90000\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseAnswer(text)
		if err == nil && (a.ufrag == "" || a.pwd == "" || a.fingerprint == "" || len(a.types) == 0 || len(a.candidates) > maxCandidates) {
			t.Errorf("%+v is taken", a)
		}
	})
}
