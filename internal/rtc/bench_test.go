package rtc

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/pion/srtp/v3"

	"sightline/internal/media"
	"sightline/internal/sdp"
)

// benchViewer returns a track that is sealed and sent to a socket that nobody reads.
func benchViewer(b *testing.B, profile srtp.ProtectionProfile) *LocalTrack {
	b.Helper()
	drain, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	u, err := listenUDP("127.0.0.1:0", 1<<20, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		drain.Close()
		close(u.done)
		u.close()
	})
	s := &Session{engine: &Engine{udp: u}}
	s.seal.session = s
	keyLen, _ := profile.KeyLen()
	saltLen, _ := profile.SaltLen()
	if err := s.seal.open(keyring{profile, srtp.SessionKeys{LocalMasterKey: make([]byte, keyLen), LocalMasterSalt: make([]byte, saltLen)}}); err != nil {
		b.Fatal(err)
	}
	to := drain.LocalAddr().(*net.UDPAddr).AddrPort()
	s.path.Store(&path{name: "udp", udp: u.destination(to, netip.MustParseAddr("127.0.0.1"))})
	return newLocalTrack(s, &sdp.Section{Kind: media.Video, SSRC: 1, Formats: []sdp.Format{{PayloadType: 96, Codec: vp8Codec}}})
}

// BenchmarkWrite is one frame of ten packets to one viewer: rewrite, seal, send. The
// figure is per frame.
func BenchmarkWrite(b *testing.B) {
	for _, p := range []struct {
		name    string
		profile srtp.ProtectionProfile
	}{{"GCM", srtp.ProtectionProfileAeadAes128Gcm}, {"CM", srtp.ProtectionProfileAes128CmHmacSha1_80}} {
		b.Run(p.name, func(b *testing.B) {
			track := benchViewer(b, p.profile)
			frame := make([]media.Outgoing, 10)
			payload := make([]byte, 1150)
			for i := range frame {
				frame[i].Packet = &media.Packet{Codec: &vp8Codec, Payload: payload}
			}
			b.ReportAllocs()
			sequence := uint16(0)
			for b.Loop() {
				for i := range frame {
					frame[i].Sequence = sequence
					sequence++
				}
				track.Write(frame)
			}
		})
	}
}
