package bench

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

const (
	ringSize = 1024 // video packets that can be sent again

	// keyframePause is at least between two keyframes that were asked for.
	keyframePause = 300 * time.Millisecond

	reportInterval = time.Second

	videoClock, audioClock = 90000, 48000

	cname = "bench"
)

// A publisher is what one WHIP session sends.
type publisher struct {
	peer      *peer
	number    uint16
	config    Config
	sizes     sizes
	began     time.Time    // when it was connected; guarded by run.mu
	measuring *atomic.Bool // whether frames begun now count

	videoType, audioType uint8 // 0: not taken
	video, audio         outbound

	// Of run only.
	out     *srtp.Context
	header  rtp.Header
	plain   []byte
	packets [][]byte
	lag     histogram // how late frames were sent, inside the window
	lastKey time.Time

	wanted atomic.Bool // a keyframe is asked for

	mu   sync.Mutex // guards ring
	ring [ringSize]sealedPacket

	// Guarded by network.mu.
	in                  *srtp.Context // nil until DTLS is done
	plis, nacks, resent uint64        // nacks: packets asked for
}

// An outbound is one track that is sent.
type outbound struct {
	ssrc      uint32
	sequence  uint16
	timestamp uint32 // of the first frame
	next      int64  // frame
	cell      uint64 // the next

	packets, octets uint32 // for reports

	measuredFrames, measuredCells atomic.Uint64
}

// A sealedPacket is an SRTP packet that was sent.
type sealedPacket struct {
	sequence uint16
	packet   []byte
}

func newPublisher(number int, c Config, measuring *atomic.Bool) *publisher {
	p := &publisher{number: uint16(number), config: c, sizes: c.sizes(), measuring: measuring, plain: make([]byte, 0, maxPacket)}
	for _, o := range []*outbound{&p.video, &p.audio} {
		o.ssrc, o.timestamp = rand.Uint32()|1, rand.Uint32()
		o.sequence = uint16(rand.Uint32()) >> 1 // no rollover before the server knows the first
	}
	p.peer = newPeer(p)
	return p
}

// start makes the publisher ready to run.
func (p *publisher) start(k keyring, a *answer) (err error) {
	p.videoType, p.audioType = a.types[p.config.Codec], a.types["opus"]
	p.out, p.in, err = k.contexts()
	return err
}

// run sends frames and reports, each when it is due, until ctx is done.
func (p *publisher) run(ctx context.Context) {
	frame := time.Second / time.Duration(p.config.FPS)
	// Streams don't send in step.
	start := time.Now().Add(frame * time.Duration(p.number) / time.Duration(p.config.Streams))
	timer := time.NewTimer(time.Until(start))
	defer timer.Stop()
	report := start.Add(reportInterval)
	for {
		due, send := start.Add(time.Duration(p.video.next)*time.Second/time.Duration(p.config.FPS)), p.sendFrame
		if p.videoType == 0 {
			due = report
		}
		if audio := start.Add(time.Duration(p.audio.next) * opusInterval); p.audioType != 0 && !audio.After(due) {
			due, send = audio, p.sendAudio
		}
		if !report.After(due) {
			due, send = report, p.sendReports
			report = report.Add(reportInterval)
		}
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		send(due)
	}
}

// cells returns how many packets with markers have been sent of the window.
func (p *publisher) cells() uint64 {
	return p.video.measuredCells.Load() + p.audio.measuredCells.Load()
}

// sendFrame sends the next frame in one burst.
func (p *publisher) sendFrame(due time.Time) {
	o := &p.video
	now := time.Now()
	key := o.next == 0 || now.Sub(p.lastKey) >= p.config.KeyframeInterval-time.Second/time.Duration(2*p.config.FPS) ||
		now.Sub(p.lastKey) >= keyframePause && p.wanted.Load()
	m := marker{stream: p.number, frame: uint64(o.next), count: uint16(p.sizes.cells(key)), sent: now.UnixNano()}
	if key {
		m.flags |= flagKeyframe
		p.lastKey = now
		p.wanted.Store(false)
	}
	if p.measuring.Load() {
		m.flags |= flagMeasured
		p.lag.record(now.Sub(due))
		o.measuredFrames.Add(1)
		o.measuredCells.Add(uint64(m.count))
	}
	timestamp := o.timestamp + uint32(o.next*videoClock/int64(p.config.FPS))
	p.packets = p.packets[:0]
	p.mu.Lock()
	if key && p.config.Codec == "h264" {
		p.seal(o, append(p.begin(p.videoType, false, o, timestamp), h264Parameters...))
	}
	for i := range int(m.count) {
		m.index, m.cell = uint16(i), o.cell
		o.cell++
		b := p.begin(p.videoType, m.index == m.count-1, o, timestamp)
		if p.config.Codec == "h264" {
			b = h264Payload(b, &m, p.sizes.cellSize(key, i))
		} else {
			b = vp8Payload(b, &m, p.sizes.cellSize(key, i), p.sizes.frame(key))
		}
		p.seal(o, b)
	}
	p.mu.Unlock()
	o.next++
	p.peer.end.send(p.packets, p.peer.remote)
}

// sendAudio sends the next Opus packet.
func (p *publisher) sendAudio(time.Time) {
	o := &p.audio
	m := marker{flags: flagAudio, stream: p.number, frame: uint64(o.next), cell: o.cell, count: 1, sent: time.Now().UnixNano()}
	if p.measuring.Load() {
		m.flags |= flagMeasured
		o.measuredCells.Add(1)
	}
	timestamp := o.timestamp + uint32(o.next)*(audioClock/50)
	o.cell++
	o.next++
	p.packets = p.packets[:0]
	p.mu.Lock()
	p.seal(o, opusPayload(p.begin(p.audioType, false, o, timestamp), &m))
	p.mu.Unlock()
	p.peer.end.send(p.packets, p.peer.remote)
}

// begin writes an RTP header (RFC 3550, section 5.1) into the packet that is made now.
func (p *publisher) begin(payloadType uint8, mark bool, o *outbound, timestamp uint32) []byte {
	if mark {
		payloadType |= 0x80
	}
	b := append(p.plain[:0], 0x80, payloadType)
	b = binary.BigEndian.AppendUint16(b, o.sequence)
	b = binary.BigEndian.AppendUint32(b, timestamp)
	return binary.BigEndian.AppendUint32(b, o.ssrc)
}

// seal encrypts the packet into the ring, of which audio has no part, and into what is sent
// next. p.mu is held.
func (p *publisher) seal(o *outbound, plain []byte) {
	var memory []byte
	slot := &p.ring[o.sequence%ringSize]
	if o == &p.video {
		memory = slot.packet[:0]
	}
	sealed, err := p.out.EncryptRTP(memory, plain, &p.header)
	if err != nil {
		return // only of a key that is used up, after 2^48 packets
	}
	if o == &p.video {
		*slot = sealedPacket{o.sequence, sealed}
	}
	p.packets = append(p.packets, sealed)
	o.sequence++
	o.packets++
	o.octets += uint32(len(plain) - 12)
}

// sendReports sends the sender reports (RFC 3550, section 6.4.1).
func (p *publisher) sendReports(time.Time) {
	now := time.Now()
	ntp := ntpTime(now)
	var packets []rtcp.Packet
	for _, t := range []struct {
		o                *outbound
		clock, perSecond int64
	}{{&p.video, videoClock, int64(p.config.FPS)}, {&p.audio, audioClock, 50}} {
		if t.o.packets > 0 {
			packets = append(packets, &rtcp.SenderReport{
				SSRC: t.o.ssrc, NTPTime: ntp, RTPTime: t.o.timestamp + uint32(t.o.next*t.clock/t.perSecond),
				PacketCount: t.o.packets, OctetCount: t.o.octets,
			})
		}
	}
	if len(packets) == 0 {
		return
	}
	plain, err := rtcp.Marshal(append(packets, names(p.video.ssrc, p.audio.ssrc)))
	if err != nil {
		return
	}
	if sealed, err := p.out.EncryptRTCP(nil, plain, nil); err == nil {
		p.peer.send(sealed)
	}
}

// ntpTime counts seconds since 1900 in the upper 32 bits (RFC 5905, section 6).
func ntpTime(t time.Time) uint64 {
	return uint64(t.Unix()+2208988800)<<32 | uint64(t.Nanosecond())<<32/1e9
}

// names tells that SSRCs are one sender's, as each compound has to (RFC 3550, section 6.1).
func names(ssrcs ...uint32) *rtcp.SourceDescription {
	d := &rtcp.SourceDescription{}
	for _, ssrc := range ssrcs {
		d.Chunks = append(d.Chunks, rtcp.SourceDescriptionChunk{
			Source: ssrc, Items: []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: cname}},
		})
	}
	return d
}

// receive takes the server's RTCP: it sends again what is missing, and a keyframe if one is
// asked for.
func (p *publisher) receive(packet []byte, isRTCP bool, _ int64) {
	if !isRTCP || p.in == nil {
		return
	}
	plain, err := p.in.DecryptRTCP(nil, packet, nil)
	if err != nil {
		return
	}
	packets, err := rtcp.Unmarshal(plain)
	if err != nil {
		return
	}
	for _, packet := range packets {
		switch r := packet.(type) {
		case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
			p.plis++
			p.wanted.Store(true)
		case *rtcp.TransportLayerNack:
			for _, pair := range r.Nacks {
				p.nacks += uint64(len(pair.PacketList()))
				if r.MediaSSRC == p.video.ssrc {
					p.resend(pair.PacketList())
				}
			}
		}
	}
}

// resend sends what is still in the ring once more (RFC 4585, section 6.2.1).
func (p *publisher) resend(sequences []uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range sequences {
		if slot := p.ring[s%ringSize]; slot.sequence == s && len(slot.packet) > 0 {
			p.resent++
			p.peer.send(slot.packet)
		}
	}
}
