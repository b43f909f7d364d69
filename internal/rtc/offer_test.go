package rtc

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/internal/sdp"
	"sightline/internal/seal"
)

// opening makes an offer of an engine that is closed when the test ends, whatever happens.
func opening(t *testing.T, e *Engine, kinds ...media.Kind) *Offer {
	t.Helper()
	o, err := e.Offer(OfferRequest{Kinds: kinds})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

// pull connects two gateways: what from sends the other receives. edit changes the answer on
// its way; nil: as it is.
func pull(t *testing.T, from, to *Engine, edit func([]byte) string, send ...media.Codec) (sender, receiver *life) {
	t.Helper()
	sender, receiver = begin(t, from, to, edit, send...)
	sender.waitConnected(t)
	receiver.waitConnected(t)
	return sender, receiver
}

// begin is pull, without waiting until they are connected.
func begin(t *testing.T, from, to *Engine, edit func([]byte) string, send ...media.Codec) (sender, receiver *life) {
	t.Helper()
	codecs := make(map[media.Kind]media.Codec)
	var kinds []media.Kind
	for _, c := range send {
		kind := media.Video
		if c.Channels > 0 {
			kind = media.Audio
		}
		kinds, codecs[kind] = append(kinds, kind), c
	}
	o := opening(t, to, kinds...)
	parsed, err := sdp.Parse(o.SDP())
	if err != nil {
		t.Fatalf("%v\n%s", err, o.SDP())
	}
	if edit != nil {
		parsed.Candidates = nil // it comes over the wire
	}
	s, err := from.Answer(AnswerRequest{Offer: parsed, Send: codecs, Stream: "stream"})
	if err != nil {
		t.Fatal(err)
	}
	sender = run(t, s)
	answer := string(s.SDP())
	if edit != nil {
		answer = edit(s.SDP())
	}
	r, err := o.Accept([]byte(answer))
	if err != nil {
		t.Fatalf("%v\n%s", err, answer)
	}
	return sender, run(t, r)
}

// tag is how many bytes a session's packets grow by: 16 with AES-GCM, 10 with AES-CM.
func tag(s *Session) int {
	s.seal.mu.Lock()
	defer s.seal.mu.Unlock()
	const header = 12
	return len(s.seal.rtp.Seal(make([]byte, header, 2*header+seal.Overhead), make([]byte, header), 0)) - 2*header
}

func TestOneGatewayPullsFromAnother(t *testing.T) {
	from, to := testEngine(t), testEngine(t)
	opus := media.Codec{Name: "opus", ClockRate: 48000, Channels: 2}
	began := time.Now()
	sender, receiver := pull(t, from, to, nil, opus, vp8Codec)
	t.Logf("connected after %v", time.Since(began).Round(time.Millisecond))
	if n := len(receiver.Sources()); n != 2 {
		t.Fatalf("got %d sources, want 2", n)
	}
	i := slices.IndexFunc(sender.Sinks(), func(s *LocalTrack) bool { return s.Kind() == media.Video })
	sink := sender.Sinks()[i]
	feedback := &fakeFeedback{}
	sink.SetFeedback(feedback)
	sink.SetCodec(vp8Codec)
	for i := range uint16(30) {
		p := outgoing(i)
		p.HasRotation, p.Rotation = true, 1
		sink.Write([]media.Outgoing{p})
	}
	src := source(t, receiver.Session, media.Video)
	packets := read(t, src, 30)
	for i, p := range packets {
		if p.Sequence != uint16(i) || p.Payload[2] != byte(i) || !p.Codec.Is("VP8") || !p.HasRotation || p.Rotation != 1 {
			t.Fatalf("packet %d: got %+v", i, p)
		}
	}
	src.RequestKeyframe()
	eventually(t, "the keyframe is asked for at the sender", func() bool { return feedback.keyframes.Load() == 1 })
	if n := tag(sender.Session); n != 16 {
		t.Errorf("got a tag of %d bytes, want AES-GCM", n)
	}
	if s := to.Snapshot(); s.Pulls != 1 || len(s.Sessions) != 0 {
		t.Errorf("got %d pulls and sessions %v, want one pull alone", s.Pulls, s.Sessions)
	}
	if receiver.Offer() != nil || receiver.Path() != "udp" {
		t.Errorf("got offer %v and path %q", receiver.Offer(), receiver.Path())
	}
	// Both check consent, in their roles.
	eventually(t, "the consent of both is checked", func() bool { return sender.RTT() > 0 && receiver.RTT() > 0 })

	receiver.cancel(Deleted)
	if err := receiver.waitEnd(t); err != Deleted {
		t.Errorf("the receiver ended with %v", err)
	}
	if err := sender.waitEnd(t); Cause(err) != string(PeerClosed) {
		t.Errorf("the sender ended with %v, want close_notify", err)
	}
}

// The sender has its keys first, and begins at once.
func TestNothingIsLostWhenAPullBegins(t *testing.T) {
	for range 5 {
		from, to := testEngine(t), testEngine(t)
		sender, receiver := begin(t, from, to, nil, vp8Codec)
		sender.waitConnected(t)
		for i := range uint16(20) {
			sender.Sinks()[0].Write([]media.Outgoing{outgoing(i)})
		}
		if first := read(t, receiver.Sources()[0], 20)[0]; first.Sequence != 0 {
			t.Fatalf("the first packet that came has number %d, want 0", first.Sequence)
		}
	}
}

// Between the same two gateways, at the same time: media is told apart by addresses.
func TestPullsOfOneSenderAreKeptApart(t *testing.T) {
	from, to := testEngine(t), testEngine(t)
	var senders, receivers []*life
	for range 5 {
		sender, receiver := pull(t, from, to, nil, vp8Codec)
		senders, receivers = append(senders, sender), append(receivers, receiver)
	}
	for n, sender := range senders {
		for i := range uint16(10) {
			p := outgoing(i)
			p.Payload[2] = byte(n)
			sender.Sinks()[0].Write([]media.Outgoing{p})
		}
	}
	for n, receiver := range receivers {
		for _, p := range read(t, receiver.Sources()[0], 10) {
			if p.Payload[2] != byte(n) {
				t.Errorf("pull %d got a packet of pull %d", n, p.Payload[2])
			}
		}
	}
	before := to.Snapshot()
	if before.Pulls != len(receivers) || before.Socket.Received < 50 {
		t.Errorf("got %d pulls and %d datagrams, want %d pulls whose sockets count", before.Pulls, before.Socket.Received, len(receivers))
	}
	for _, receiver := range receivers {
		receiver.cancel(Deleted)
		_ = receiver.waitEnd(t)
	}
	if after := to.Snapshot(); after.Pulls != 0 || after.Socket.Received < before.Socket.Received {
		t.Errorf("got %d pulls and %d datagrams after their end, want none, and %d at least", after.Pulls, after.Socket.Received, before.Socket.Received)
	}
}

func TestTheSendersEndEndsThePull(t *testing.T) {
	from, to := testEngine(t), testEngine(t)
	sender, receiver := pull(t, from, to, nil, vp8Codec)
	sender.cancel(Gone)
	if err := receiver.waitEnd(t); Cause(err) != string(PeerClosed) {
		t.Errorf("got %v, want close_notify", err)
	}
	if _, err := receiver.Sources()[0].ReadBurst(nil); err == nil {
		t.Error("the source goes on")
	}
}

func TestPacketsLostBetweenGatewaysAreRepaired(t *testing.T) {
	for _, codec := range []media.Codec{vp8Codec, {Name: "opus", ClockRate: 48000, Channels: 2}} {
		t.Run(codec.Name, func(t *testing.T) {
			from, to := testEngine(t), testEngine(t)
			w := newWire(t, int(from.udp.port))
			sender, receiver := pull(t, from, to, w.through, codec)
			sink, cache := sender.Sinks()[0], &cacheFeedback{}
			sink.SetFeedback(cache)
			w.down.Store(20) // 5 %
			const packets = 400
			for i := range uint16(packets + 20) {
				if i == packets {
					w.down.Store(0)
				}
				p := outgoing(i)
				cache.add(p)
				sink.Write([]media.Outgoing{p})
				time.Sleep(2 * time.Millisecond)
			}
			seen := make(map[uint16]bool)
			for _, p := range read(t, receiver.Sources()[0], packets+20) {
				seen[p.Sequence] = true
			}
			if len(seen) != packets+20 || w.lost.Load() == 0 {
				t.Errorf("%d distinct packets came with %d lost on the way, want %d", len(seen), w.lost.Load(), packets+20)
			}
			if rtx := receiver.Sources()[0].(*RemoteTrack).rtxOf; (len(rtx) > 0) != (codec.Channels == 0) {
				t.Errorf("got RTX %v of %s", rtx, codec.Name)
			}
		})
	}
}

// Another implementation answers, and sends the ClientHello.
func TestPionAnswersAPull(t *testing.T) {
	e, pc := testEngine(t), client(t)
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "v", "s")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pc.AddTrack(track); err != nil {
		t.Fatal(err)
	}
	o := opening(t, e, media.Video)
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: string(o.SDP())}); err != nil {
		t.Fatalf("%v\n%s", err, o.SDP())
	}
	d, err := pc.CreateAnswer(nil)
	if err != nil {
		t.Fatal(err)
	}
	answer := gathered(t, pc, d)
	s, err := o.Accept([]byte(answer))
	if err != nil {
		t.Fatalf("%v\n%s", err, answer)
	}
	l := run(t, s)
	l.waitConnected(t)
	bothConnected(t, pc)
	if s.answer.DTLSClient {
		t.Error("pion answers active, so the gateway has to wait for it")
	}
	for i := range 20 {
		if err := track.WriteRTP(vp8(uint16(i), uint32(i)*3000, true)); err != nil {
			t.Fatal(err)
		}
	}
	read(t, source(t, s, media.Video), 20)
}

func TestAnOfferIsFreedByItsEnd(t *testing.T) {
	e := testEngine(t)
	o := opening(t, e, media.Video)
	if n := e.Snapshot().Pulls; n != 1 {
		t.Errorf("got %d pulls, want 1", n)
	}
	o.Close()
	o.Close()
	if n := e.Snapshot().Pulls; n != 0 {
		t.Errorf("got %d pulls after Close, want none", n)
	}

	o = opening(t, e, media.Video)
	if _, err := o.Accept([]byte("no answer")); fault.KindOf(err) != fault.BadRequest {
		t.Errorf("got %v, want a bad request", err)
	}
	if n := e.Snapshot().Pulls; n != 0 {
		t.Errorf("got %d pulls after a bad answer, want none", n)
	}
}

// Nobody is there: the session ends like any other that is not connected in time.
func TestAPullWhoseSenderIsAwayEnds(t *testing.T) {
	from, to := testEngine(t), testEngine(t, func(c *Config) { c.CheckTimeout = c.CheckTimeout / 15 })
	o := opening(t, to, media.Video)
	parsed, err := sdp.Parse(o.SDP())
	if err != nil {
		t.Fatal(err)
	}
	s, err := from.Answer(AnswerRequest{Offer: parsed, Send: map[media.Kind]media.Codec{media.Video: vp8Codec}})
	if err != nil {
		t.Fatal(err)
	}
	answer := s.SDP()
	s.Close()
	r, err := o.Accept(answer)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(context.Background()); Cause(err) != string(Unreached) {
		t.Errorf("got %v, want unreached", err)
	}
}
