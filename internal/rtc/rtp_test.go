package rtc

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"sightline/internal/media"
	"sightline/internal/sdp"
)

// drained returns a publisher's sequence numbers that come out until last does.
func drained(t *testing.T, p *rawPeer, last uint16) []uint16 {
	t.Helper()
	var out []uint16
	for !slices.Contains(out, last) {
		for _, packet := range read(t, source(t, p.life.Session, media.Video), 1) {
			out = append(out, packet.Sequence)
		}
	}
	return out
}

// Row 77: nothing is taken before DTLS, and nothing in clear.
func TestRTPWithoutKeysIsDropped(t *testing.T) {
	e := testEngine(t)
	p := newRawPeer(t, e, rawOptions{publish: true, noHandshake: true})
	p.check(t)
	plain, err := rawVP8(7, 1, 0).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	p.send(plain)
	eventually(t, "RTP before DTLS is counted", func() bool { return p.life.discarded.Load() == 1 })
	report, err := (&rtcp.ReceiverReport{SSRC: 1}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	p.send(report)
	eventually(t, "RTCP before DTLS is counted", func() bool { return p.life.discarded.Load() == 2 })

	p = newRawPeer(t, e, rawOptions{publish: true})
	p.send(plain)
	p.send(plain[:5])
	p.send(append(report, make([]byte, 30)...))
	eventually(t, "three are counted", func() bool { return p.life.discarded.Load() == 3 })
	p.send(p.rtp(t, rawVP8(7, 2, 0)))
	if got := drained(t, p, 2); len(got) != 1 {
		t.Errorf("%v came out", got)
	}
	if got := e.Snapshot().Discarded; got < 3 {
		t.Errorf("the snapshot says %d", got)
	}
}

// Row 78: a packet counts once, and only with its tag.
func TestReplaysAndBadTagsAreDropped(t *testing.T) {
	e := testEngine(t)
	p := newRawPeer(t, e, rawOptions{publish: true})
	first := p.rtp(t, rawVP8(7, 1, 0))
	bad := p.rtp(t, rawVP8(7, 2, 0))
	bad[len(bad)-1] ^= 1
	p.send(first)
	p.send(first)
	p.send(bad)
	p.send(p.rtp(t, rawVP8(7, 3, 0)))
	if got := drained(t, p, 3); !slices.Equal(got, []uint16{1, 3}) {
		t.Errorf("%v came out, want 1 and 3", got)
	}
	// What is older than the window may be a replay, and is taken for one.
	old := p.rtp(t, rawVP8(7, 4, 0))
	for i := range uint16(replayWindow + 10) {
		p.send(p.rtp(t, rawVP8(7, 5+i, 0)))
		if i%64 == 63 { // as fast as the session reads
			eventually(t, "the queue is empty", func() bool { return len(p.life.in) == 0 })
		}
	}
	last := uint16(5 + replayWindow + 9)
	if got := drained(t, p, last); slices.Contains(got, 4) {
		t.Error("the packet that is kept back came out")
	}
	p.send(old)
	eventually(t, "it is counted", func() bool { return p.life.discarded.Load() == 3 })
	p.life.cancel(Deleted)
	_ = p.life.waitEnd(t)
	if got := e.Snapshot().Discarded; got != 3 {
		t.Errorf("%d are counted after the session, want 3", got)
	}
}

// The same for RTCP: a keyframe request that is sent again is none.
func TestReplayedRTCPIsDropped(t *testing.T) {
	p := newRawPeer(t, testEngine(t), rawOptions{})
	sink := p.life.Sinks()[0]
	cache := &countingFeedback{}
	sink.SetFeedback(cache)
	plain, err := (&rtcp.PictureLossIndication{MediaSSRC: sink.section.SSRC}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := p.out.EncryptRTCP(nil, plain, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		p.send(sealed)
	}
	eventually(t, "the repetitions are counted", func() bool { return p.life.discarded.Load() == 4 })
	if got := cache.keyframes.Load(); got != 1 {
		t.Errorf("%d keyframes are asked for, want 1", got)
	}
}

// Row 79: ever new SSRCs and unknown payload types fill nothing.
func TestUnknownStreamsAreBounded(t *testing.T) {
	e := testEngine(t)
	p := newRawPeer(t, e, rawOptions{publish: true})
	p.lives(t, 7, 1)
	const many = 10000
	for i := range uint32(many) {
		packet := rawVP8(1000+i, 1, 0)
		packet.PayloadType = 100
		p.send(p.rtp(t, packet))
		if i%500 == 0 { // as fast as the session reads
			done := e.udp.stats.received.Load
			eventually(t, "the queue is empty", func() bool { return len(p.life.in) == 0 && done() > 0 })
		}
	}
	p.lives(t, 7, 2)
	eventually(t, "the flood is over", func() bool { return len(p.life.in) == 0 })
	p.life.cancel(Deleted)
	_ = p.life.waitEnd(t)
	r := p.life.receiver
	if n, m := len(r.streams)+len(r.refused), len(p.life.opener.media); n > e.config.MaxSSRCs || m > maxOpened || m < e.config.MaxSSRCs {
		t.Errorf("%d streams, %d SSRCs with keys", n, m)
	}
	if got := p.life.discarded.Load(); got < many/2 {
		t.Errorf("%d are counted", got)
	}
	if got := e.Snapshot().Limited["ice.max_ssrcs"]; got < many/4 {
		t.Errorf("%d packets are counted at the limit", got)
	}
}

// A publisher whose encoder begins anew again and again, with retransmissions, is not
// taken for a flood.
func TestEncodersBeginAnew(t *testing.T) {
	r := newReceiver(&Session{engine: &Engine{config: Defaults()}}, []sdp.Section{{Kind: media.Video, MID: "0", Formats: []sdp.Format{{PayloadType: 96, RTX: 97, Codec: vp8Codec}}}})
	now := time.Now()
	for i := range uint32(2 * Defaults().MaxSSRCs) {
		if r.adopt(&rtp.Header{SSRC: 1000 + i, PayloadType: 96}, now) == nil || r.adopt(&rtp.Header{SSRC: 5000 + i, PayloadType: 97}, now) == nil {
			t.Fatalf("encoder %d is refused", i)
		}
	}
	if len(r.streams) != 2 {
		t.Errorf("%d streams, want one and its retransmissions", len(r.streams))
	}
}

// A publisher who sends several encodings by the simulcast of old, without RIDs, is seen by one of them:
// the first that he names, another only when nothing comes of that.
func TestOfSSRCsWithoutRIDsOneIsTaken(t *testing.T) {
	p := newRawPeer(t, testEngine(t), rawOptions{publish: true, video: rawVideo + "a=ssrc-group:SIM 7 8 9\r\na=ssrc:7 cname:c\r\na=ssrc:8 cname:c\r\na=ssrc:9 cname:c\r\n"})
	for i := range uint16(20) {
		p.send(p.rtp(t, rawVP8(7, 100+i, 0)))
		p.send(p.rtp(t, rawVP8(8, 5000+i, 0)))
		p.send(p.rtp(t, rawVP8(9, 9000+i, 0)))
	}
	if got := drained(t, p, 119); len(got) != 20 {
		t.Errorf("%v came out, want 100 to 119 alone", got)
	}
	p.life.cancel(Deleted) // from here on the test has the receiver
	_ = p.life.waitEnd(t)
	r := p.life.receiver
	last := r.tracks[0].layers[0].last
	if r.adopt(&rtp.Header{SSRC: 8, PayloadType: 96}, last.Add(500*time.Millisecond)) != nil {
		t.Error("another one is taken while the first goes on")
	}
	if r.adopt(&rtp.Header{SSRC: 8, PayloadType: 96}, last.Add(2*time.Second)) == nil {
		t.Error("another one is not taken though the first has ended")
	}
}

// Row 81: numbering and timestamps that jump or stand still stop nothing.
func TestJumpsAreSurvived(t *testing.T) {
	p := newRawPeer(t, testEngine(t), rawOptions{publish: true})
	type at struct {
		sequence  uint16
		timestamp uint32
	}
	// SRTP takes a number that is less than 2^15 lower for a replay (RFC 3711, section 3.3.1).
	jumps := []at{{100, 1000}, {100 + 1<<15, 1000 + 1<<15}, {100, 1 << 31}, {20000, 0}, {45000, 1<<32 - 1}, {4000, 5}}
	var sent []at
	for _, from := range jumps {
		for i := range uint16(12) {
			sent = append(sent, at{from.sequence + i, from.timestamp + uint32(i)*3000})
		}
	}
	for i := range uint16(12) {
		sent = append(sent, at{4012 + i, 77}) // frozen
	}
	for _, a := range sent {
		p.send(p.rtp(t, rawVP8(7, a.sequence, a.timestamp)))
	}
	got := drained(t, p, 4023)
	if want := len(sent) - (len(jumps) - 1); len(got) < want {
		t.Errorf("%d packets came out, want %d: all but the first after each jump", len(got), want)
	}
	for _, from := range jumps {
		if !slices.Contains(got, from.sequence+11) {
			t.Errorf("nothing came out of the numbering from %d: %v", from.sequence, got)
		}
	}
}

const rawSimulcast = rawVideo + "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n" +
	"a=extmap:2 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\na=extmap:3 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\n" +
	"a=rid:h send\r\na=rid:l send\r\na=simulcast:send h;l\r\n"

// Row 82: MID and RID that contradict the answer.
func TestMIDAndRIDThatContradictTheAnswerAreDropped(t *testing.T) {
	p := newRawPeer(t, testEngine(t), rawOptions{publish: true, video: rawSimulcast})
	for i, ids := range []struct{ mid, rid string }{
		{"1", "h"}, {"nosuch", "h"}, {"0", "x"}, {"0", ""}, {"0", string(bytes.Repeat([]byte("h"), 255))}, {string(bytes.Repeat([]byte("0"), 255)), "h"},
	} {
		packet := rawVP8(uint32(100+i), uint16(10+i), 0)
		packet.Extension, packet.ExtensionProfile = true, rtp.ExtensionProfileTwoByte
		for id, value := range map[uint8]string{1: ids.mid, 2: ids.rid} {
			if err := packet.SetExtension(id, []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
		p.send(p.rtp(t, packet))
	}
	eventually(t, "all are counted", func() bool { return p.life.discarded.Load() == 6 })
	packet := rawVP8(200, 1, 0)
	for id, value := range map[uint8]string{1: "0", 2: "h"} {
		if err := packet.SetExtension(id, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	p.send(p.rtp(t, packet))
	if got := drained(t, p, 1); len(got) != 1 {
		t.Errorf("%v came out, want 1 alone", got)
	}
}

// Row 85: what a viewer asks for is bounded, and RTCP that lies costs nothing.
func TestHostileRTCPIsBounded(t *testing.T) {
	p := newRawPeer(t, testEngine(t), rawOptions{})
	sink := p.life.Sinks()[0]
	cache := &countingFeedback{}
	sink.SetFeedback(cache)
	var all []media.Outgoing
	for i := range 64 {
		all = append(all, outgoing(uint16(i)))
		cache.add(outgoing(uint16(i)))
	}
	sink.Write(all)
	ssrc := p.nextRTP(t).SSRC

	var pairs []rtcp.NackPair
	for i := range 64 { // 1,088 numbers in a packet
		pairs = append(pairs, rtcp.NackPair{PacketID: uint16(i * 17), LostPackets: 0xffff})
	}
	// What may be sent again is bounded until the next report, which is to fall among the requests on a slow machine alone.
	before := cache.reports.Load()
	eventually(t, "a report is due", func() bool { return cache.reports.Load() > before })
	before = cache.reports.Load()
	for range 10 {
		p.rtcp(t, &rtcp.TransportLayerNack{MediaSSRC: ssrc, Nacks: pairs})
	}
	eventually(t, "the NACKs are read", func() bool { return sink.nacks.Load() == 10*maxNACKs })
	reports := uint64(cache.reports.Load() - before)
	if got := sink.resent.Load(); got == 0 || got > 64+reports*maxResent {
		t.Errorf("%d packets are sent again, of 64 that there are, with %d reports meanwhile", got, reports)
	}

	const storm = viewerQueue
	for range storm {
		p.rtcp(t, &rtcp.PictureLossIndication{MediaSSRC: ssrc})
	}
	eventually(t, "the PLIs are passed on, to who throttles", func() bool { return cache.keyframes.Load() == storm })

	served := func(when string) {
		t.Helper()
		count := cache.keyframes.Load()
		p.rtcp(t, &rtcp.PictureLossIndication{MediaSSRC: ssrc})
		eventually(t, "RTCP "+when, func() bool { return cache.keyframes.Load() == count+1 })
	}
	remb := func(bits uint32) []byte {
		b := []byte{0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 'R', 'E', 'M', 'B', 1, 0, 0, 0}
		b[17], b[18], b[19] = byte(bits>>16), byte(bits>>8), byte(bits)
		return binary.BigEndian.AppendUint32(b, ssrc)
	}
	report, err := (&rtcp.ReceiverReport{SSRC: 1}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"REMB 0":            remb(0),
		"REMB 2^63":         remb(63<<18 | 1),
		"length above":      {0x80, 201, 0xff, 0xff, 0, 0, 0, 1},
		"length below":      {0x80, 201, 0, 0, 0, 0, 0, 1},
		"count above":       {0x9f, 201, 0, 1, 0, 0, 0, 1},
		"second part lies":  append(slices.Clone(report), 0x81, 205, 0x40, 0, 0, 0, 0, 1),
		"NACK without list": {0x81, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0},
		"BYE":               {0x81, 203, 0, 1, 0, 0, 0, 1},
	} {
		p.rtcpRaw(t, b)
		served("after " + name)
	}
	for i := range uint32(2 * maxOpened) { // ever new senders
		p.rtcp(t, &rtcp.ReceiverReport{SSRC: 1000 + i})
		if i%32 == 0 { // no faster than the session reads
			served("amid many senders")
		}
	}
	served("after many senders")
	p.life.cancel(Deleted)
	_ = p.life.waitEnd(t)
	if n := len(p.life.opener.reports); n != maxOpened {
		t.Errorf("%d senders of RTCP are remembered, want %d", n, maxOpened)
	}
}

// What a compound asks for counts, whatever else is in it: a packet that can't be read is passed over, and
// bytes that are none end the compound.
func TestRTCPBesideWhatCannotBeReadCounts(t *testing.T) {
	p := newRawPeer(t, testEngine(t), rawOptions{})
	sink := p.life.Sinks()[0]
	cache := &countingFeedback{}
	sink.SetFeedback(cache)
	pli, err := (&rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: sink.section.SSRC}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		name          string
		before, after []byte
	}{
		{"before a length that lies", nil, []byte{0x81, 205, 0x40, 0, 0, 0, 0, 1}},
		{"before half a header", nil, []byte{0x81, 205}},
		{"before bytes that are no RTCP", nil, []byte{0, 0, 0, 0}},
		{"behind a report with more blocks than it has room for", []byte{0x9f, 201, 0, 1, 0, 0, 0, 1}, nil},
		{"behind a NACK of nothing", []byte{0x81, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0}, nil},
		{"behind a type that nobody knows", []byte{0x80, 222, 0, 1, 0, 0, 0, 1}, nil},
	} {
		p.rtcpRaw(t, slices.Concat(tt.before, pli, tt.after))
		eventually(t, "a request for a keyframe "+tt.name+" counts", func() bool { return cache.keyframes.Load() == int32(i+1) })
	}
}

// A countingFeedback is a cache that counts requests for keyframes, and reports.
type countingFeedback struct {
	cacheFeedback
	keyframes atomic.Int32
	reports   atomic.Int32 // that were due
}

func (c *countingFeedback) RequestKeyframe() { c.keyframes.Add(1) }

func (c *countingFeedback) Timestamp(time.Time) (uint32, bool) {
	c.reports.Add(1)
	return 0, false
}

// The budget of a second: a viewer that asks for more gets no more.
func TestResendingHasABudget(t *testing.T) {
	p := newRawPeer(t, testEngine(t), rawOptions{})
	track := newLocalTrack(p.life.Session, p.life.Sinks()[0].section)
	cache := &cacheFeedback{}
	track.SetFeedback(cache)
	for i := range 5000 {
		cache.add(outgoing(uint16(i)))
	}
	now := time.Now()
	for from := 0; from < 5000; from += maxNACKs {
		var wanted []uint16
		for q := from; q < min(from+maxNACKs, 5000); q++ {
			wanted = append(wanted, uint16(q))
		}
		track.resend(wanted, now)
	}
	if got := track.resent.Load(); got != 100 {
		t.Errorf("%d packets are sent again at once, want 100", got)
	}
}

// Rows 86 and 87: BYE says nothing about the session, and a publisher may be silent while
// it answers checks.
func TestByeAndSilenceLeaveTheSession(t *testing.T) {
	p := newRawPeer(t, testEngine(t), rawOptions{publish: true})
	p.lives(t, 7, 1)
	p.rtcp(t, &rtcp.Goodbye{Sources: []uint32{7}})
	p.lives(t, 7, 2)
	eventually(t, "a check is answered", func() bool { return !p.life.consent.heard.get().IsZero() })
	if p.life.State() != "connected" {
		t.Errorf("state %q", p.life.State())
	}
	s := p.life.Session
	p.life.cancel(Deleted) // from here on the test is its clock
	_ = p.life.waitEnd(t)
	heard := s.consent.heard.get()
	s.lastMedia = moment{}
	if s.consent.expired(s, heard.Add(consentTimeout-time.Second)) || !s.consent.expired(s, heard.Add(consentTimeout+time.Second)) {
		t.Error("the session's life must hang on the checks, not on media")
	}
}
