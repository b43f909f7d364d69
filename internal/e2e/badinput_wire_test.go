//go:build e2e

package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/stun/v4"
	"golang.org/x/sys/unix"
)

// publishes returns a publisher of the room bad that is connected unless told otherwise.
func (g *target) publishes(t *testing.T, name string, o wireOptions) *wirePeer {
	t.Helper()
	o.publish = true
	p := newWirePeer(t, g, "/whip/"+badRoom+"/"+name, o)
	if o.noHandshake || o.wrongPrint {
		return p
	}
	eventually(t, patience, func() error { // the gateway, too, has the keys
		if g.state(t, badRoom, name+"/video").Session == "" {
			return errors.New("the gateway doesn't say that the publisher is connected")
		}
		return nil
	})
	return p
}

func (g *target) received(t *testing.T, name string) float64 {
	return g.count(t, "sightline_track_received_packets_total", `room="`+badRoom+`"`, `publisher="`+name+`"`)
}

func (g *target) discarded(t *testing.T) float64 {
	return g.count(t, "sightline_srtp_discarded_packets_total")
}

// counts waits until what is counted has grown by more from before, and then wants it to stay there.
func counts(t *testing.T, what string, read func() float64, before, more float64) {
	t.Helper()
	eventually(t, patience, func() error {
		if got := read() - before; got < more {
			return fmt.Errorf("%s: %v, want %v", what, got, more)
		}
		return nil
	})
	if got := read() - before; got != more {
		t.Errorf("%s: %v, want %v", what, got, more)
	}
}

// lives fails the test unless the gateway still takes the publisher's media.
func (g *target) lives(t *testing.T, p *wirePeer, name string, packet *rtp.Packet) {
	t.Helper()
	before := g.received(t, name)
	p.send(p.seal(packet))
	g.takes(t, name, before+1)
}

// takes waits until so many packets of a publisher were taken, and wants no more.
func (g *target) takes(t *testing.T, name string, n float64) {
	t.Helper()
	counts(t, "packets of the publisher", func() float64 { return g.received(t, name) }, 0, n)
}

var wireRows = []row{
	{71, "STUN of somebody else", func(t *testing.T, g *target) {
		p := g.publishes(t, "stun", wireOptions{noHandshake: true})
		good := func() []byte { return p.request("", controlling, priority).Raw }
		print, body, huge := good(), good(), good()
		print[len(print)-1] ^= 1
		body[22] ^= 1
		binary.BigEndian.PutUint16(huge[22:], 0xffff)
		other := stun.MustBuild(stun.BindingRequest, stun.TransactionID, stun.NewUsername("nobody:"+peerUfrag), stun.NewShortTermIntegrity(p.pwd), stun.Fingerprint)
		bad := [][]byte{
			p.request("wrong", controlling, priority).Raw, print, body, huge, other.Raw, good()[:19], good()[:40], good()[:20],
			stun.MustBuild(stun.BindingRequest, stun.TransactionID, stun.NewUsername(p.ufrag+":"+peerUfrag)).Raw,
			stun.MustBuild(stun.NewType(stun.MethodAllocate, stun.ClassRequest), stun.TransactionID).Raw,
			stun.MustBuild(stun.BindingSuccess, stun.TransactionID).Raw,
		}
		before := g.count(t, "sightline_udp_unknown_datagrams_total")
		for _, b := range bad {
			p.send(b)
		}
		counts(t, "unknown datagrams", func() float64 { return g.count(t, "sightline_udp_unknown_datagrams_total") }, before, float64(len(bad)))
		time.Sleep(silence)
		if n := p.cameBytes.Load(); n != 0 {
			t.Errorf("%d bytes of STUN come back", n)
		}
		p.check()
	}},
	{72, "a check from a forged source", func(t *testing.T, g *target) {
		p := g.publishes(t, "forged", wireOptions{noHandshake: true})
		p.mute.Store(true) // who is there knows nothing of it
		m := p.request("", controlling, priority, useCandidate)
		p.send(m.Raw)
		time.Sleep(2 * time.Second) // ten rounds of checks
		if n := p.cameBytes.Load(); n == 0 || n > int64(3*len(m.Raw)) {
			t.Errorf("%d bytes come back for %d, want three times as many at most, and some", n, len(m.Raw))
		}
	}},
	{73, "ICE-CONTROLLED of the client", func(t *testing.T, g *target) {
		p := g.publishes(t, "roles", wireOptions{noHandshake: true})
		m := p.request("", controlled, priority)
		p.send(m.Raw)
		var code stun.ErrorCodeAttribute
		if r := p.response(m, patience); r == nil || code.GetFrom(r) != nil || code.Code != stun.CodeRoleConflict {
			t.Errorf("got %v, want 487", r)
		}
	}},
	{74, "Binding request without PRIORITY and role", func(t *testing.T, g *target) {
		p := g.publishes(t, "roles", wireOptions{noHandshake: true})
		m := p.request("")
		p.send(m.Raw)
		if r := p.response(m, patience); r == nil || r.Type != stun.BindingSuccess {
			t.Errorf("got %v, want success", r)
		}
	}},
	{75, "certificate that doesn't fit the fingerprint", func(t *testing.T, g *target) {
		failed := func() float64 { return g.count(t, "sightline_sessions_ended_total", `cause="dtls-failed"`) }
		before := failed()
		p := g.publishes(t, "certificate", wireOptions{wrongPrint: true})
		counts(t, "failed handshakes", failed, before, 1)
		eventually(t, patience, func() error {
			if p.alerts.Load() == 0 {
				return errors.New("no alert came")
			}
			return nil
		})
	}},
	{76, "DTLS records in the clear", func(t *testing.T, g *target) {
		p := g.publishes(t, "records", wireOptions{})
		g.lives(t, p, "records", vp8(7, 1, 0))
		time.Sleep(silence) // the handshake's last repetitions
		said := p.records.Load()
		stranger := g.publishes(t, "stranger", wireOptions{noHandshake: true}) // no check of his has come
		for i, b := range forgeries() {
			p.send(b)
			stranger.send(b)
			if i%100 == 99 {
				time.Sleep(10 * time.Millisecond) // no faster than the gateway reads
			}
		}
		g.lives(t, p, "records", vp8(7, 2, 3000))
		time.Sleep(silence)
		if got := p.records.Load() - said; got != 0 {
			t.Errorf("the client is sent %d DTLS datagrams", got)
		}
		if stranger.records.Load() != 0 || stranger.cameBytes.Load() != 0 {
			t.Error("who has passed no check is answered")
		}
		if got := g.count(t, "sightline_dtls_dropped_records_total"); got == 0 {
			t.Error("nothing is counted")
		}
	}},
	{77, "RTP before DTLS, RTP in clear", func(t *testing.T, g *target) {
		early := g.publishes(t, "early", wireOptions{noHandshake: true})
		early.check()
		plain, err := vp8(7, 1, 0).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		early.send(plain)
		p := g.publishes(t, "plain", wireOptions{})
		g.lives(t, p, "plain", vp8(7, 1, 0))
		before, bad := g.received(t, "plain"), g.discarded(t)
		p.send(plain)
		p.send(plain[:5])
		p.send([]byte{0x80, 201, 0, 1, 0, 0, 0, 1})
		g.lives(t, p, "plain", vp8(7, 2, 3000))
		if got := g.received(t, "plain") - before; got != 1 {
			t.Errorf("%v packets are taken, want 1", got)
		}
		if got := g.discarded(t) - bad; got != 3 {
			t.Errorf("%v packets are counted as useless, want 3", got)
		}
		if g.received(t, "early") != 0 {
			t.Error("RTP before DTLS is taken")
		}
	}},
	{78, "replayed SRTP and SRTCP, wrong tags", func(t *testing.T, g *target) {
		p := g.publishes(t, "replay", wireOptions{})
		first, bad := p.seal(vp8(7, 1, 0)), p.seal(vp8(7, 2, 3000))
		bad[len(bad)-1] ^= 1
		control, err := (&rtcp.ReceiverReport{SSRC: 1}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if control, err = p.out.EncryptRTCP(nil, control, nil); err != nil {
			t.Fatal(err)
		}
		before := g.discarded(t)
		p.send(first)
		p.send(control)
		g.takes(t, "replay", 1)
		for range 100 {
			p.send(control)
			p.send(first)
			p.send(bad)
		}
		g.lives(t, p, "replay", vp8(7, 3, 6000))
		counts(t, "useless packets", func() float64 { return g.discarded(t) }, before, 300)
	}},
	{79, "10,000 SSRCs, and payload types that nobody knows", func(t *testing.T, g *target) {
		p := g.publishes(t, "ssrcs", wireOptions{})
		g.lives(t, p, "ssrcs", vp8(7, 1, 0))
		before := g.discarded(t)
		for i := range uint32(10000) {
			packet := vp8(1000+i, 1, 0)
			packet.PayloadType = 100
			if i%2 == 1 {
				packet.PayloadType = 97 // retransmissions, of ever new streams
			}
			p.send(p.seal(packet))
			if i%100 == 99 {
				time.Sleep(5 * time.Millisecond)
			}
		}
		g.lives(t, p, "ssrcs", vp8(7, 2, 3000))
		if got := g.discarded(t) - before; got < 5000 {
			t.Errorf("%v packets are counted as useless, want most of 10,000", got)
		}
	}},
	{80, "ICE-TCP whose frames lie", func(t *testing.T, g *target) {
		p := g.publishes(t, "tcp", wireOptions{noHandshake: true})
		dial := func() net.Conn {
			c, err := net.Dial("tcp4", net.JoinHostPort(serverIP, strconv.Itoa(8189)))
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			return c
		}
		framed := func(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }
		for name, b := range map[string][]byte{
			"length above all": {0xff, 0xff, 0, 1}, "length 0": {0, 0}, "HTTP": []byte("GET / HTTP/1.1\r\n\r\n"),
			"DTLS": framed(record(22, 0, 1, 1, 0, 0)), "wrong integrity": framed(p.request("wrong").Raw),
		} {
			c := dial()
			_, _ = c.Write(b)
			if n, err := io.Copy(io.Discard, c); n != 0 || isTimeout(err) {
				t.Errorf("%s: %d bytes, %v; want the end", name, n, err)
			}
			c.Close()
		}
		silent := make([]net.Conn, 300) // and a few who say nothing at all
		for i := range silent {
			silent[i] = dial()
			defer silent[i].Close()
		}
		c := dial()
		defer c.Close()
		_, _ = c.Write(framed(p.request("", controlling, priority).Raw))
		if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
			t.Errorf("a session's check over TCP is not answered: %v", err)
		}
		_, _ = c.Write([]byte{0xff, 0xff, 1, 2, 3})
		p.check() // over UDP: the session has taken no harm
	}},
	{81, "numbering and timestamps that jump or stand still", func(t *testing.T, g *target) {
		p := g.publishes(t, "jumps", wireOptions{})
		g.lives(t, p, "jumps", vp8(7, 1, 0))
		v := newWirePeer(t, g, "/whep/"+badRoom+"/jumps/video", wireOptions{})
		p.send(p.seal(vp8(7, 2, 3000)))
		last := v.nextRTP()
		// SRTP takes a number that is less than 2^15 lower for a replay (RFC 3711, section 3.3.1).
		for _, from := range []struct {
			sequence  uint16
			timestamp uint32
			step      uint32
		}{{100 + 1<<15, 1 << 15, 3000}, {100, 1 << 31, 3000}, {20000, 0, 3000}, {45000, 1<<32 - 1, 3000}, {45100, 77, 0}} {
			for len(v.media) > 0 {
				last = v.nextRTP()
			}
			for i := range uint16(12) {
				p.send(p.seal(vp8(7, from.sequence+i, from.timestamp+uint32(i)*from.step)))
			}
			next := v.nextRTP()
			if gap := next.SequenceNumber - last.SequenceNumber; gap == 0 || gap > 100 {
				t.Errorf("after %v the viewer's numbering goes from %d to %d", from, last.SequenceNumber, next.SequenceNumber)
			}
		}
	}},
	{82, "MID and RID that contradict the SDP", func(t *testing.T, g *target) {
		p := g.publishes(t, "rids", wireOptions{lines: "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\n" +
			"a=extmap:2 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\na=rid:h send\na=rid:l send\na=simulcast:send h;l\n"})
		extended := func(ssrc uint32, mid, rid string) *rtp.Packet {
			packet := vp8(ssrc, 1, 0)
			packet.Extension, packet.ExtensionProfile = true, rtp.ExtensionProfileTwoByte
			for id, value := range map[uint8]string{1: mid, 2: rid} {
				if err := packet.SetExtension(id, []byte(value)); err != nil {
					t.Fatal(err)
				}
			}
			return packet
		}
		for i, ids := range [][2]string{{"1", "h"}, {"nosuch", "h"}, {"0", "x"}, {"0", ""}, {"0", strings.Repeat("h", 255)}, {strings.Repeat("0", 255), "h"}} {
			p.send(p.seal(extended(uint32(100+i), ids[0], ids[1])))
		}
		g.lives(t, p, "rids", extended(200, "0", "h"))
		if got := g.received(t, "rids"); got != 1 {
			t.Errorf("%v packets are taken, want 1", got)
		}
	}},
	{83, "broken payloads", brokenPayloads},
	{85, "RTCP that lies and floods", hostileRTCP},
	{86, "RTCP BYE alone", func(t *testing.T, g *target) {
		p := g.publishes(t, "bye", wireOptions{})
		g.lives(t, p, "bye", vp8(7, 1, 0))
		session := g.state(t, badRoom, "bye/video").Session
		p.rtcp(&rtcp.Goodbye{Sources: []uint32{7}})
		g.lives(t, p, "bye", vp8(7, 2, 3000))
		if got := g.state(t, badRoom, "bye/video"); got.Session != session || session == "" {
			t.Errorf("the session was %q, is %q", session, got.Session)
		}
	}},
	{87, "a publisher that sends nothing, and answers checks", func(t *testing.T, g *target) {
		p := g.publishes(t, "silent", wireOptions{})
		g.lives(t, p, "silent", vp8(7, 1, 0))
		session := g.state(t, badRoom, "silent/video").Session
		eventually(t, 6*time.Second, func() error {
			if tr := g.state(t, badRoom, "silent/video"); tr.State != "stalled" || tr.Session != session {
				return fmt.Errorf("the track is %q of session %q, want stalled of %q", tr.State, tr.Session, session)
			}
			return nil
		})
		p.send(p.seal(vp8(7, 2, 3000)))
		eventually(t, patience, func() error {
			if tr := g.state(t, badRoom, "silent/video"); tr.State != "live" {
				return fmt.Errorf("the track is %q again, want live", tr.State)
			}
			return nil
		})
	}},
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// forgeries are records that anybody can send: in the clear, or protected by nothing.
func forgeries() (all [][]byte) {
	for i := range uint32(200) {
		at := 1000 + 10*i
		all = append(all,
			record(21, 0, at, 1, 0), record(21, 0, at+1, 2, 40), record(23, 0, at+2, 'x'), record(24, 0, at+3, 1, 0, 0), record(63, 0, at+4, 0),
			record(20, 0, at+5, 2), record(22, 0, at+6, 1, 0, 0), record(22, 0, at+7, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2),
			record(23, 1, at+8, make([]byte, 40)...), record(21, 1, at+9, make([]byte, 26)...))
	}
	return all
}

// brokenPayloads: they are no keyframes, are forwarded as they are, and a viewer's PLI goes to the camera.
func brokenPayloads(t *testing.T, g *target) {
	sps, pps, idr := []byte{0x67, 0x42, 0xe0, 0x1f, 0x8c, 0x8d, 0x40, 0x50, 0x1e, 0x80}, []byte{0x68, 0xce, 0x3c, 0x80}, []byte{0x65, 0x88, 0x84, 0x00, 0x33}
	aggregate := []byte{0x78}
	for _, unit := range [][]byte{sps, pps, idr} {
		aggregate = append(binary.BigEndian.AppendUint16(aggregate, uint16(len(unit))), unit...)
	}
	for _, codec := range []struct {
		name  string
		pt    uint8
		whole []byte // a keyframe
		bad   [][]byte
	}{
		{"h264", 98, aggregate, [][]byte{{0x7c, 0x05, 1, 2, 3}, {0x7c}, {0x78, 0, 0}, {0x78, 0xff, 0xff, 0x67}, {0x78, 0}, {0x1f}, {0x00}}},
		{"vp8", 96, vp8(0, 0, 0).Payload, [][]byte{{0x10}, {0x90}, {0x90, 0x80}, {0x90, 0xff, 0xff}, {0xff}}},
	} {
		name := "broken-" + codec.name
		p := g.publishes(t, name, wireOptions{})
		sequence := uint16(0)
		packet := func(payload []byte) *rtp.Packet {
			sequence++
			return &rtp.Packet{Header: rtp.Header{
				Version: 2, Marker: true, PayloadType: codec.pt, SequenceNumber: sequence, Timestamp: uint32(sequence) * 3000, SSRC: 7,
			}, Payload: payload}
		}
		for _, b := range codec.bad {
			p.send(p.seal(packet(b)))
		}
		g.takes(t, name, float64(len(codec.bad)))
		// A track is live from its first keyframe on.
		if tr := g.state(t, badRoom, name+"/video"); tr.State != "connecting" {
			t.Errorf("%s is %q after broken payloads alone, want connecting", name, tr.State)
		}
		p.send(p.seal(packet(codec.whole)))
		eventually(t, patience, func() error {
			if tr := g.state(t, badRoom, name+"/video"); tr.State != "live" {
				return fmt.Errorf("%s is %q, want live", name, tr.State)
			}
			return nil
		})
		v := newWirePeer(t, g, "/whep/"+badRoom+"/"+name+"/video", wireOptions{})
		first := v.nextRTP()
		if codec.name == "h264" && !bytes.Equal(first.Payload, codec.whole) {
			t.Errorf("%s: the viewer got %x, want the keyframe", codec.name, first.Payload)
		}
		p.keyframeRequests()
		eventually(t, patience, func() error {
			v.rtcp(&rtcp.PictureLossIndication{MediaSSRC: first.SSRC})
			if p.keyframeRequests() == 0 {
				return errors.New("the viewer's wish for a keyframe doesn't reach the camera")
			}
			return nil
		})
		for _, b := range codec.bad {
			p.send(p.seal(packet(b)))
			_ = v.nextRTP()
		}
		g.takes(t, name, float64(2*len(codec.bad)+1))
	}
}

// hostileRTCP comes from a viewer of the live camera, and costs neither it nor the others anything.
func hostileRTCP(t *testing.T, g *target) {
	labels := []string{`room="` + room + `"`, `publisher="console"`, `kind="video"`}
	asked := func() float64 { return g.count(t, "sightline_track_sent_keyframe_requests_total", labels...) }
	resent := func() float64 { return g.count(t, "sightline_track_retransmitted_packets_total", labels...) }
	v := newWirePeer(t, g, badWHEP+"/video", wireOptions{})
	ssrc := v.nextRTP().SSRC
	began, before, beforeResent := time.Now(), asked(), resent()
	remb := func(bits uint32) []byte {
		b := []byte{0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 'R', 'E', 'M', 'B', 1, byte(bits >> 16), byte(bits >> 8), byte(bits)}
		return binary.BigEndian.AppendUint32(b, ssrc)
	}
	report := []byte{0x80, 201, 0, 1, 0, 0, 0, 1}
	for range 20 {
		for _, b := range [][]byte{
			remb(0), remb(63<<18 | 1), {0x80, 201, 0xff, 0xff, 0, 0, 0, 1}, {0x80, 201, 0, 0, 0, 0, 0, 1}, {0x9f, 201, 0, 1, 0, 0, 0, 1},
			append(slices.Clone(report), 0x81, 205, 0x40, 0, 0, 0, 0, 1), {0x81, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0}, {0x81, 203, 0, 1, 0, 0, 0, 1},
		} {
			v.rtcpRaw(b)
		}
	}
	var pairs []rtcp.NackPair
	for i := range 64 { // 1,088 numbers in a packet
		pairs = append(pairs, rtcp.NackPair{PacketID: uint16(i * 17), LostPackets: 0xffff})
	}
	for i := range 1000 {
		if i%100 == 0 {
			v.rtcp(&rtcp.TransportLayerNack{MediaSSRC: ssrc, Nacks: pairs})
		}
		v.rtcp(&rtcp.PictureLossIndication{MediaSSRC: ssrc})
		v.rtcp(&rtcp.ReceiverReport{SSRC: uint32(1000 + i)})
		if i%50 == 49 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	for len(v.media) > 0 {
		<-v.media
	}
	v.nextRTP() // it is still served
	took := time.Since(began)
	if got, want := asked()-before, 2*took.Seconds()+2; got > want {
		t.Errorf("the camera was asked for %v keyframes in %v, want %.0f at most", got, took, want)
	}
	if got, want := resent()-beforeResent, 2000*took.Seconds(); got > want {
		t.Errorf("%v packets were sent again in %v, want %.0f at most", got, took, want)
	}
}

// candidatesThatAreNotSentTo names what there is, at the offer and by trickle, and looks at all that leaves the host.
func candidatesThatAreNotSentTo(t *testing.T, g *target) {
	route(t) // so that what is sent to anybody leaves the host, or stays in it, where it is seen
	seen := sniff(t)
	allowed := []netip.AddrPort{
		netip.MustParseAddrPort(clientIP + ":5009"), netip.MustParseAddrPort("203.0.113.5:5000"), netip.MustParseAddrPort("[2001:db8::5]:5000"),
	}
	forbidden := []string{
		"127.0.0.1", "127.1.2.3", "::1", "169.254.169.254", "169.254.1.1", "fe80::1", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192",
		"224.0.0.251", "ff02::1", "0.0.0.0", "::", "255.255.255.255", "10.77.0.255", "240.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "2002:7f00:1::",
		"::ffff:127.0.0.1", "::ffff:169.254.169.254", "x.local", "metadata.google.internal", "metadata.example.com",
	}
	line := func(i int, host string) string {
		return fmt.Sprintf("%d 1 udp %d %s 5000 typ host", i, 2130706431-i, host)
	}
	var all []string
	for i, host := range forbidden {
		all = append(all, line(i+1, host))
	}
	half := len(all) / 2
	offer := strings.ReplaceAll(change(), "a=ice-options:trickle\r\n", "a=ice-options:trickle\r\na=candidate:"+strings.Join(all[:half], "\r\na=candidate:")+"\r\n")
	res := g.do(t, "POST", "/whip/"+badRoom+"/candidates", offer, bearer(g.token)...)
	res.wants(t, 201, nil)
	v := &visit{g, res.header.Get("Location"), res.header.Get("ETag")}
	defer v.delete(t)
	rest := all[half:]
	for i, a := range allowed {
		rest = append(rest, fmt.Sprintf("%d 1 udp 1%d %s %d typ host", 100+i, i, a.Addr(), a.Port()))
	}
	v.patch(t, current(rest...), v.tag).wants(t, 204, map[string]string{"ETag": "-"})

	// That what may be sent to is sent to again and again shows that the others had their turn.
	eventually(t, 10*time.Second, func() error {
		for _, a := range allowed {
			if n := seen.count(a); n < 3 {
				return fmt.Errorf("%s is sent %d checks, want 3", a, n)
			}
		}
		return nil
	})
	for to, n := range seen.all() {
		friend := slices.Contains(allowed, to) || to.Addr() == netip.MustParseAddr(clientIP) || to.Addr() == netip.MustParseAddr(serverIP)
		if !friend {
			t.Errorf("%d datagrams are sent to %s", n, to)
		}
	}
	if n := seen.lookups(); n != 0 {
		t.Errorf("%d names are looked up", n)
	}
}

// route makes everything reachable, until the test ends.
func route(t *testing.T) {
	t.Helper()
	run := func(argv ...string) {
		t.Helper()
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	run("ip", "addr", "add", "fd77::1/64", "dev", "server", "nodad")
	t.Cleanup(func() { run("ip", "addr", "del", "fd77::1/64", "dev", "server") })
	at := clients.command("ip", "addr", "add", "fd77::2/64", "dev", "client", "nodad")
	run(at...)
	t.Cleanup(func() { run(clients.command("ip", "addr", "del", "fd77::2/64", "dev", "client")...) })
	run("ip", "route", "add", "default", "via", clientIP)
	t.Cleanup(func() { run("ip", "route", "del", "default", "via", clientIP) })
	run("ip", "-6", "route", "add", "default", "via", "fd77::2")
	time.Sleep(3500 * time.Millisecond) // the gateway looks at its interfaces every 3 s
}

// A sniffer sees all UDP that leaves this host from the media port, and all questions for names.
type sniffer struct {
	mu    sync.Mutex // guards what follows
	sent  map[netip.AddrPort]int
	names int
}

// sniff looks at all interfaces until the test ends.
func sniff(t *testing.T) *sniffer {
	t.Helper()
	const everything = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, everything)
	if err != nil {
		t.Fatal(err)
	}
	// So that it ends: nothing may come any more.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		t.Fatal(err)
	}
	s := &sniffer{sent: make(map[netip.AddrPort]int)}
	stop := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 2048)
		for {
			select {
			case <-stop:
				return
			default:
			}
			n, from, err := unix.Recvfrom(fd, buf, 0)
			if link, ok := from.(*unix.SockaddrLinklayer); err == nil && ok && link.Pkttype == unix.PACKET_OUTGOING {
				s.see(buf[:n])
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		reading.Wait()
		unix.Close(fd)
	})
	return s
}

// see takes an IP packet.
func (s *sniffer) see(b []byte) {
	var to netip.Addr
	switch {
	case len(b) >= 28 && b[0]>>4 == 4 && b[9] == unix.IPPROTO_UDP:
		to = netip.AddrFrom4([4]byte(b[16:20]))
		b = b[int(b[0]&15)*4:]
	case len(b) >= 48 && b[0]>>4 == 6 && b[6] == unix.IPPROTO_UDP:
		to = netip.AddrFrom16([16]byte(b[24:40]))
		b = b[40:]
	default:
		return
	}
	from, port := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	s.mu.Lock()
	defer s.mu.Unlock()
	if port == 53 || port == 5353 {
		s.names++
	}
	if from == 8189 {
		s.sent[netip.AddrPortFrom(to, port)]++
	}
}

func (s *sniffer) count(a netip.AddrPort) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent[a]
}

func (s *sniffer) all() map[netip.AddrPort]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[netip.AddrPort]int, len(s.sent))
	for a, n := range s.sent {
		all[a] = n
	}
	return all
}

func (s *sniffer) lookups() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names
}
