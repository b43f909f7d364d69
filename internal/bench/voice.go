package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"sightline/internal/audio"
	"sightline/internal/audio/audiotest"
)

const (
	voiceLoop    = 500 // packets: 10 s, after which a voice says the same again
	voiceBitrate = 32_000
)

// recordings are what voices send: made once, so that sending costs no encoding.
type recordings struct{ talk, quiet [][]byte }

// record makes ten seconds of speech, and of the noise, at the level in dBov, of a room in
// which nobody speaks.
func record(level int) (recordings, error) {
	voice := audiotest.NewVoice(1)
	talk, err := encode(voice.Fill)
	if err != nil {
		return recordings{}, err
	}
	noise, amplitude := rand.New(rand.NewPCG(1, 2)), float32(0)
	if level < audio.Silence {
		amplitude = float32(math.Pow(10, -float64(level)/20))
	}
	quiet, err := encode(func(pcm []float32) {
		for i := range pcm {
			pcm[i] = amplitude * float32(noise.NormFloat64())
		}
	})
	return recordings{talk, quiet}, err
}

func encode(fill func(pcm []float32)) ([][]byte, error) {
	encoder, err := audio.NewEncoder(audio.EncoderConfig{Channels: 1, Bitrate: voiceBitrate, Complexity: 5, Loss: 10})
	if err != nil {
		return nil, err
	}
	pcm, packets := make([]float32, audio.FrameSamples), make([][]byte, voiceLoop)
	for i := range packets {
		fill(pcm)
		if packets[i], err = encoder.Encode(nil, pcm); err != nil {
			return nil, err
		}
	}
	return packets, nil
}

// A voice publishes sound only: Opus that a server can decode and mix.
type voice struct {
	peer    *peer
	packets [][]byte // what it says, over and over, from
	at      int
	offset  time.Duration // of its clock: voices don't send in step

	payloadType uint8
	out         *srtp.Context
	header      rtp.Header
	plain       []byte
	sound       outbound
}

func newVoice(n, voices int, says [][]byte) *voice {
	v := &voice{
		packets: says, at: rand.IntN(len(says)), offset: opusInterval * time.Duration(n) / time.Duration(voices),
		plain: make([]byte, 0, maxPacket),
		sound: outbound{ssrc: rand.Uint32() | 1, timestamp: rand.Uint32(), sequence: uint16(rand.Uint32()) >> 1},
	}
	v.peer = newPeer(v)
	return v
}

// start makes the voice ready to run.
func (v *voice) start(k keyring, a *answer) (err error) {
	v.payloadType = a.types["opus"]
	v.out, _, err = k.contexts()
	return err
}

// receive ignores what the server sends: sound is not sent again.
func (v *voice) receive([]byte, bool, int64) {}

// run sends a packet every 20 ms and reports until ctx is done.
func (v *voice) run(ctx context.Context) {
	start := time.Now().Add(v.offset)
	timer := time.NewTimer(time.Until(start))
	defer timer.Stop()
	o := &v.sound
	for ; ; o.next++ {
		timer.Reset(time.Until(start.Add(time.Duration(o.next) * opusInterval)))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timestamp := o.timestamp + uint32(o.next)*(audioClock/50)
		b := append(v.plain[:0], 0x80, v.payloadType)
		b = binary.BigEndian.AppendUint16(b, o.sequence)
		b = binary.BigEndian.AppendUint32(b, timestamp)
		b = binary.BigEndian.AppendUint32(b, o.ssrc)
		payload := v.packets[(v.at+int(o.next))%len(v.packets)]
		if sealed, err := v.out.EncryptRTP(nil, append(b, payload...), &v.header); err == nil {
			v.peer.send(sealed)
		}
		o.sequence++
		o.packets++
		o.octets += uint32(len(payload))
		if o.next%50 == 0 {
			v.report(timestamp)
		}
	}
}

// report sends a sender report.
func (v *voice) report(timestamp uint32) {
	o := &v.sound
	plain, err := rtcp.Marshal([]rtcp.Packet{
		&rtcp.SenderReport{SSRC: o.ssrc, NTPTime: ntpTime(time.Now()), RTPTime: timestamp, PacketCount: o.packets, OctetCount: o.octets},
		names(o.ssrc),
	})
	if err != nil {
		return
	}
	if sealed, err := v.out.EncryptRTCP(nil, plain, nil); err == nil {
		v.peer.send(sealed)
	}
}

// A listener is what one voice hears. It counts packets and does not decode them.
// network.mu guards it.
type listener struct {
	peer      *peer
	measuring *atomic.Bool
	heard     *heard

	open    *opener // nil until DTLS is done
	out     *srtp.Context
	ssrc    uint32
	sound   inbound
	last    int64  // arrival
	highest uint64 // number of the last packet that was measured
}

// heard is what all listeners have received inside the window. network.mu guards it.
type heard struct {
	packets, lost, bytes uint64
	gaps                 histogram // from one packet to the next
	verified, forged     uint64
}

func newListener(measuring *atomic.Bool, h *heard) *listener {
	l := &listener{measuring: measuring, heard: h, ssrc: rand.Uint32() | 1}
	l.peer = newPeer(l)
	return l
}

// start makes the listener count what comes.
func (l *listener) start(k keyring, a *answer) (err error) {
	if l.open, err = newOpener(k.profile, k.keys.RemoteMasterKey, k.keys.RemoteMasterSalt); err != nil {
		return err
	}
	l.sound.payloadType, l.sound.known = a.types["opus"], true
	l.out, _, err = k.contexts()
	return err
}

// receive counts a packet.
func (l *listener) receive(packet []byte, rtcp bool, arrival int64) {
	header, ok := rtpHeaderSize(packet)
	if rtcp || !ok || l.open == nil || packet[1]&0x7f != l.sound.payloadType {
		return
	}
	roc := l.sound.number(packet)
	number, last := l.sound.rollover.highest, l.last
	l.last = arrival
	if !l.measuring.Load() {
		l.highest = 0
		return
	}
	h := l.heard
	h.packets++
	h.bytes += uint64(len(packet))
	if l.highest > 0 {
		h.gaps.record(time.Duration(arrival - last))
		if number > l.highest+1 {
			h.lost += number - l.highest - 1
		}
	}
	l.highest = number
	if h.packets%verifyEvery == 0 {
		h.verified++
		if l.open.verify(packet, header, roc) != nil {
			h.forged++
		}
	}
}

// report sends a receiver report.
func (l *listener) report(int64) {
	if l.open == nil || l.sound.packets == 0 {
		return
	}
	plain, err := rtcp.Marshal([]rtcp.Packet{
		&rtcp.ReceiverReport{SSRC: l.ssrc, Reports: []rtcp.ReceptionReport{l.sound.report()}}, names(l.ssrc),
	})
	if err != nil {
		return
	}
	if sealed, err := l.out.EncryptRTCP(nil, plain, nil); err == nil {
		l.peer.send(sealed)
	}
}

// speak makes a voice and lets it run.
func (r *run) speak(ctx, life context.Context, n int) error {
	says := r.recordings.quiet
	if n < r.config.Talking {
		says = r.recordings.talk
	}
	v := newVoice(n, r.config.Voices, says)
	j := joining{
		peer: v.peer, endpoint: numbered(r.config.VoiceWHIP, n), token: numbered(r.config.WHIPToken, n), srtp: "auto",
		offer: offer{publish: true, soundOnly: true, stream: fmt.Sprintf("voice%d", n), audioSSRC: v.sound.ssrc},
	}
	k, a, err := r.join(ctx, &j)
	if err != nil {
		return fmt.Errorf("speak: %w", err)
	}
	r.net.mu.Lock()
	err = v.start(k, a)
	v.peer.connected = true
	r.net.mu.Unlock()
	if err != nil {
		return fmt.Errorf("speak: %w", err)
	}
	r.mu.Lock()
	r.voices++
	r.mu.Unlock()
	r.speaking.Go(func() { v.run(life) })
	return nil
}

// listen makes the listener who hears what voice n is to hear.
func (r *run) listen(ctx context.Context, n int) error {
	l := newListener(&r.measuring, &r.heard)
	j := joining{
		peer: l.peer, endpoint: numbered(r.config.VoiceWHEP, n), token: numbered(r.config.WHEPToken, n), srtp: r.config.SRTP,
		offer: offer{soundOnly: true}, retryUntil: time.Now().Add(liveTimeout),
	}
	k, a, err := r.join(ctx, &j)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	r.net.mu.Lock()
	err = l.start(k, a)
	l.peer.connected = true
	r.net.mu.Unlock()
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listeners = append(r.listeners, l)
	return nil
}

// hear reports what listeners have heard.
func (r *run) hear() *Mix {
	if r.config.Voices == 0 {
		return nil
	}
	h := &r.heard
	m := &Mix{
		Voices: r.voices, Talking: min(r.config.Talking, r.config.Voices), Listeners: len(r.listeners),
		Received: h.packets, Lost: h.lost, Bytes: h.bytes, Gap: h.gaps.spread(),
	}
	return m
}
