package rtc

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/srtp/v3"

	"sightline/internal/media"
	"sightline/internal/sdp"
)

var benchProfiles = []struct {
	name    string
	profile srtp.ProtectionProfile
}{{"GCM", srtp.ProtectionProfileAeadAes128Gcm}, {"CM", srtp.ProtectionProfileAes128CmHmacSha1_80}}

// benchEngine returns an engine that sends to a socket that nobody reads.
func benchEngine(b *testing.B) (*Engine, netip.AddrPort) {
	b.Helper()
	drain, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	u, err := listenUDP("127.0.0.1:0", 8<<20, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		drain.Close()
		close(u.done)
		u.close()
	})
	return &Engine{udp: u}, drain.LocalAddr().(*net.UDPAddr).AddrPort()
}

// benchViewer returns a track with keys of its own.
func benchViewer(b *testing.B, e *Engine, to netip.AddrPort, profile srtp.ProtectionProfile) *LocalTrack {
	b.Helper()
	s := &Session{engine: e, udp: e.udp}
	s.seal.session = s
	keyLen, _ := profile.KeyLen()
	saltLen, _ := profile.SaltLen()
	keys := srtp.SessionKeys{LocalMasterKey: make([]byte, keyLen), LocalMasterSalt: make([]byte, saltLen)}
	_, _ = rand.Read(keys.LocalMasterKey)
	if err := s.seal.open(keyring{profile, keys}); err != nil {
		b.Fatal(err)
	}
	s.path.Store(&path{name: "udp", udp: e.udp.destination(to, netip.MustParseAddr("127.0.0.1"))})
	return newLocalTrack(s, &sdp.Section{Kind: media.Video, SSRC: 1, Formats: []sdp.Format{{PayloadType: 96, Codec: vp8Codec}}})
}

const benchFrame = 9 // packets

func frameOf(sequence uint16) []media.Outgoing {
	payload := make([]byte, 1188)
	frame := make([]media.Outgoing, benchFrame)
	for i := range frame {
		frame[i] = media.Outgoing{Packet: &media.Packet{Codec: &vp8Codec, Payload: payload}, Sequence: sequence + uint16(i)}
	}
	return frame
}

// BenchmarkWrite is one frame of nine packets to one viewer: rewrite, seal, send.
func BenchmarkWrite(b *testing.B) {
	for _, p := range benchProfiles {
		b.Run(p.name, func(b *testing.B) {
			e, to := benchEngine(b)
			track := benchViewer(b, e, to, p.profile)
			b.ReportAllocs()
			frame := frameOf(0)
			for b.Loop() {
				for i := range frame {
					frame[i].Sequence += benchFrame
				}
				track.Write(frame)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchFrame, "ns/packet")
		})
	}
}

// BenchmarkFanOut is one frame of nine packets to each of 200 viewers by way of a batch; with
// -cpu 1,2 it shows what a second processor adds.
func BenchmarkFanOut(b *testing.B) {
	const viewers = 200
	for _, p := range benchProfiles {
		for _, mode := range []sendMode{sendSegments, sendBatches, sendOneByOne} {
			b.Run(fmt.Sprintf("%s/%s", p.name, mode), func(b *testing.B) {
				e, to := benchEngine(b)
				e.udp.out.mode = mode
				b.ReportAllocs()
				shares := make([][]*LocalTrack, runtime.GOMAXPROCS(0))
				for i := range shares {
					for range viewers {
						shares[i] = append(shares[i], benchViewer(b, e, to, p.profile))
					}
				}
				var next, frames atomic.Int64
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					tracks := shares[next.Add(1)-1]
					frame := frameOf(0)
					for pb.Next() {
						for i := range frame {
							frame[i].Sequence += benchFrame
						}
						batch := tracks[0].NewBatch()
						for _, t := range tracks {
							t.WriteTo(batch, frame)
						}
						batch.Flush()
						frames.Add(1)
					}
				})
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(frames.Load())/(viewers*benchFrame), "ns/packet")
			})
		}
	}
}

// BenchmarkDemultiplex is one RTP packet of one of 1,000 sessions on its way to it.
func BenchmarkDemultiplex(b *testing.B) {
	const sessions = 1000
	u := &socket{remotes: make(map[netip.AddrPort]*Session)}
	addr := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 5000)
	}
	all := make([]*Session, sessions)
	for i := range all {
		all[i] = &Session{checked: make(chan struct{})}
		all[i].check()
		u.remotes[addr(i)] = all[i]
	}
	packet := make([]byte, 1200)
	packet[0] = 0x80
	now := time.Now()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		u.dispatch(packet, addr(n), now)
		<-all[n].in
		n = (n + 1) % sessions
	}
}
