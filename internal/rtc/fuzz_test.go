package rtc

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/stun/v4"

	"sightline/internal/media"
	"sightline/internal/sdp"
)

// What comes to the socket is read before anything about it is known.
func FuzzPeekSTUN(f *testing.F) {
	m, err := buildCheck("abc:def", "secret", false, 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Raw)
	f.Add(m.Raw[:24])
	f.Add([]byte{0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		request, _, ok := peekSTUN(b)
		ufrag, named := peekUfrag(b)
		if !ok {
			return
		}
		// What pion reads as a Binding request must be one here, and under the same name.
		d := &stun.Message{Raw: append([]byte(nil), b...)}
		if d.Decode() != nil {
			return
		}
		if request != (d.Type == stun.BindingRequest) {
			t.Errorf("request is %v, pion says %v", request, d.Type)
		}
		var u stun.Username
		if named && u.GetFrom(d) == nil && len(u) < len(ufrag) {
			t.Errorf("ufrag %q is longer than the username %q", ufrag, u)
		}
	})
}

func TestPeekUfrag(t *testing.T) {
	m, err := buildCheck("local:remote", "secret", false, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := peekUfrag(m.Raw); string(got) != "local" || !ok {
		t.Errorf("got %q, %v; want \"local\"", got, ok)
	}
}

// FuzzReceiveRTP feeds a publisher's receiver what has passed decryption: headers,
// extensions, padding and retransmissions are his to make up.
func FuzzReceiveRTP(f *testing.F) {
	packet := vp8(1, 0, true)
	packet.SSRC, packet.PayloadType = 7, 96
	whole, err := packet.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	for _, payload := range [][]byte{nil, {0}, {0, 1}, {0, 1, 0x10, 0}} { // RTX
		packet := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 97, SSRC: 8}, Payload: payload}
		b, err := packet.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		b[0] |= 0x20 // padding that lies
		f.Add(b)
	}
	f.Add([]byte{0xb0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0xbe, 0xde, 0, 1, 0x10, '0', 0x20, 'h', 0x10, 0, 0, 3})
	f.Add([]byte{0x90, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0x10, 0, 0, 1, 1, 255, 0, 0})
	f.Add([]byte{0x90, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0xbe, 0xde, 0xff, 0xff})
	sections := []sdp.Section{
		{Kind: media.Video, MID: "0", RIDs: []string{"h", "l"}, Formats: []sdp.Format{{PayloadType: 96, RTX: 97, Codec: vp8Codec, TransportCC: true}},
			Extensions: map[string]uint8{sdp.ExtensionMID: 1, sdp.ExtensionRID: 2, sdp.ExtensionRepairedRID: 3, sdp.ExtensionTransportCC: 4, sdp.ExtensionVideoOrientation: 5}},
		{Kind: media.Audio, MID: "1", Formats: []sdp.Format{{PayloadType: 111, Codec: media.Codec{Name: "opus", ClockRate: 48000}}},
			Extensions: map[string]uint8{sdp.ExtensionMID: 1, sdp.ExtensionAudioLevel: 6}},
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &Session{engine: &Engine{config: Defaults()}, request: AnswerRequest{Publish: true}}
		s.seal.session = s
		r := newReceiver(s, sections)
		s.receiver = r
		now := time.Now()
		for range 3 {
			before := uint64(len(r.tracks[0].queue) + len(r.tracks[1].queue))
			r.receivePlain(append([]byte(nil), b...), now)
			for _, track := range r.tracks {
				select {
				case p := <-track.queue:
					if p.Codec == nil || len(p.Payload) > len(b) || before != 0 {
						t.Errorf("got %+v of %d bytes", p, len(b))
					}
				default:
				}
			}
			r.tick(now)
			now = now.Add(200 * time.Millisecond)
		}
		if len(r.streams)+len(r.refused) > Defaults().MaxSSRCs {
			t.Errorf("%d streams", len(r.streams))
		}
	})
}

// FuzzReceiveRTCP feeds a viewer's and a publisher's session compounds that have passed
// decryption.
func FuzzReceiveRTCP(f *testing.F) {
	for _, p := range []rtcp.Packet{
		&rtcp.TransportLayerNack{MediaSSRC: 9, Nacks: []rtcp.NackPair{{PacketID: 1, LostPackets: 0xffff}}},
		&rtcp.PictureLossIndication{MediaSSRC: 9},
		&rtcp.FullIntraRequest{FIR: []rtcp.FIREntry{{SSRC: 9, SequenceNumber: 1}}},
		&rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{{SSRC: 9, TotalLost: 1 << 23, LastSenderReport: 1, Delay: 1 << 31}}},
		&rtcp.SenderReport{SSRC: 7, NTPTime: 1, Reports: []rtcp.ReceptionReport{{SSRC: 9}}},
		&rtcp.Goodbye{Sources: []uint32{7}},
		&rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: 0, SSRCs: []uint32{9}},
		&rtcp.TransportLayerCC{PacketStatusCount: 0xffff, Header: rtcp.Header{Count: rtcp.FormatTCC, Type: rtcp.TypeTransportSpecificFeedback, Length: 5}},
	} {
		b, err := p.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, 0x81, 205, 0xff, 0xff))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		u := &socket{}
		s := &Session{engine: &Engine{udp: u}, udp: u}
		s.seal.session = s
		s.receiver = newReceiver(s, []sdp.Section{{Kind: media.Video, SSRCs: []uint32{7}, Formats: []sdp.Format{{PayloadType: 96, Codec: vp8Codec}}}})
		track := newLocalTrack(s, &sdp.Section{Kind: media.Video, SSRC: 9, Formats: []sdp.Format{{PayloadType: 96, Codec: vp8Codec}}})
		track.SetFeedback(&cacheFeedback{})
		s.sinks = []*LocalTrack{track}
		for range 2 {
			s.receiveReports(append([]byte(nil), b...), time.Now())
		}
		if st := track.Stats(); st.Loss < 0 || st.Loss > 1 || st.RTT < 0 || st.RTT > 24*time.Hour || st.Jitter < 0 {
			t.Errorf("got %+v", st)
		}
		if track.budget < 0 || len(track.fir) > 8 {
			t.Errorf("budget %d, %d senders of FIR", track.budget, len(track.fir))
		}
	})
}

// FuzzReceiveRequest feeds an ICE session checks, with and without its integrity.
func FuzzReceiveRequest(f *testing.F) {
	m, err := buildCheck("local:remote", "pwd", false, 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Raw)
	f.Add(stun.MustBuild(stun.BindingRequest, stun.TransactionID, stun.NewUsername("local:remote"), stun.NewShortTermIntegrity("pwd")).Raw)
	u := &socket{}
	u.out.close()
	g := &generation{
		session: &Session{engine: &Engine{udp: u, loopback: true}, udp: u, checked: make(chan struct{})}, ufrag: "local", pwd: "pwd", remoteUfrag: "remote",
		accounts: make(map[netip.AddrPort]*account),
	}
	from := netip.MustParseAddrPort("127.0.0.1:9")
	f.Fuzz(func(t *testing.T, b []byte) {
		before := append([]byte(nil), b...)
		g.receiveRequest(datagram{b, from, time.Now()}, from.Addr())
		if string(before) != string(b) {
			t.Error("the datagram is changed, and the agent has yet to check it")
		}
	})
}
