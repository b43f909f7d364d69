package bench

import (
	"encoding/binary"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/srtp/v3"
)

const (
	// headSize is how many bytes of a payload are decrypted to find its marker: three blocks
	// of AES. The longest that is before a marker is 11 bytes, of a keyframe of VP8.
	headSize = 48

	verifyEvery = 256 // packets, of which one has its tag verified

	// maxEarly bounds what a viewer keeps that came before its keys: the server may send as
	// soon as it has finished the handshake.
	maxEarly = 1024

	// keyframePatience is how long a viewer waits for a keyframe before it asks, and between
	// two requests.
	keyframePatience = time.Second
)

// Totals are what all viewers have received. network.mu guards them.
type totals struct {
	began int64 // markers from before are of an earlier run

	packets, bytes uint64 // RTP, with SRTP's overhead, without UDP and IP

	received, reordered, duplicated uint64 // cells of the measuring window
	frames                          uint64 // whole ones of the window
	delay, frameDelay               histogram

	verified, forged uint64
}

// A viewer is what one WHEP session receives. network.mu guards it.
type viewer struct {
	peer   *peer
	stream uint16
	totals *totals
	began  int64 // when its offer was posted, in nanoseconds since 1970

	open         *opener // nil until DTLS is done
	out          *srtp.Context
	ssrc         uint32 // of its reports
	early        []early
	video, audio inbound
	frames       [16]frameCount // those whose cells arrive now, by number

	firstPacket, firstKeyframe time.Duration // since began; 0: not yet
	asked                      int64         // for a keyframe
}

// An early packet came before the keys.
type early struct {
	packet  []byte
	arrival int64
}

// An inbound is what is received of one track.
type inbound struct {
	payloadType uint8
	known       bool // the answer has the track
	ssrc        uint32
	rollover    rollover
	base        uint64 // index of the first packet
	packets     uint64

	cells cellSet

	expectedPrior, packetsPrior uint64 // at the last report
}

// A frameCount counts the cells of one frame that came.
type frameCount struct {
	number uint64
	cells  uint16
}

// start makes the viewer take what comes, beginning with what came early.
func (v *viewer) start(k keyring, a *answer, codec string) error {
	open, err := newOpener(k.profile, k.keys.RemoteMasterKey, k.keys.RemoteMasterSalt)
	if err != nil {
		return err
	}
	out, _, err := k.contexts()
	if err != nil {
		return err
	}
	v.open, v.out = open, out
	v.video.payloadType, v.video.known = a.types[codec], a.types[codec] != 0
	v.audio.payloadType, v.audio.known = a.types["opus"], a.types["opus"] != 0
	for _, e := range v.early {
		v.receive(e.packet, false, e.arrival)
	}
	v.early = nil
	return nil
}

// receive takes an SRTP packet; of SRTCP a viewer needs nothing.
func (v *viewer) receive(packet []byte, rtcp bool, arrival int64) {
	header, ok := rtpHeaderSize(packet)
	if rtcp || !ok {
		return
	}
	if v.open == nil {
		if len(v.early) < maxEarly {
			v.early = append(v.early, early{append([]byte(nil), packet...), arrival})
		}
		return
	}
	in := v.inbound(packet[1] & 0x7f)
	if in == nil {
		return
	}
	roc := in.number(packet)
	t := v.totals
	t.packets++
	t.bytes += uint64(len(packet))
	if v.firstPacket == 0 {
		v.firstPacket = time.Duration(max(arrival-v.began, 1))
	}
	if t.packets%verifyEvery == 0 {
		t.verified++
		if v.open.verify(packet, header, roc) != nil {
			t.forged++
			return
		}
	}
	// The marker is near the beginning, unless the server has packed the frame anew.
	if len(packet) <= maxPacket+v.open.tag {
		if m, _, found := findMarker(v.open.head(packet, header, roc, headSize)); found {
			v.cell(in, &m, arrival)
			return
		}
	}
	plain := v.open.head(packet, header, roc, len(packet))
	for {
		m, rest, found := findMarker(plain)
		if !found {
			return
		}
		v.cell(in, &m, arrival)
		plain = rest
	}
}

func (v *viewer) inbound(payloadType uint8) *inbound {
	switch {
	case v.video.known && payloadType == v.video.payloadType:
		return &v.video
	case v.audio.known && payloadType == v.audio.payloadType:
		return &v.audio
	}
	return nil
}

// number returns the rollover counter of a packet that came.
func (in *inbound) number(packet []byte) (roc uint32) {
	ssrc := binary.BigEndian.Uint32(packet[8:])
	fresh := in.packets == 0 || ssrc != in.ssrc
	if fresh {
		// A stream with another SSRC counts anew (RFC 3711, section 3.3.1).
		*in = inbound{payloadType: in.payloadType, known: true, ssrc: ssrc, cells: in.cells}
	}
	index := in.rollover.index(binary.BigEndian.Uint16(packet[2:]))
	if fresh {
		in.base = index
	}
	in.packets++
	return uint32(index >> 16)
}

// cell counts a cell that came.
func (v *viewer) cell(in *inbound, m *marker, arrival int64) {
	t := v.totals
	if m.stream != v.stream || m.sent < t.began || (m.flags&flagAudio != 0) != (in == &v.audio) {
		return
	}
	measured := m.flags&flagMeasured != 0
	fresh, late := in.cells.add(m.cell)
	if !fresh {
		if measured {
			t.duplicated++
		}
		return
	}
	delay := time.Duration(arrival - m.sent)
	if measured {
		t.received++
		if late {
			t.reordered++
		}
	}
	if in == &v.audio {
		return
	}
	if measured {
		t.delay.record(delay)
	}
	if !v.completes(m) {
		return
	}
	if measured {
		t.frames++
		t.frameDelay.record(delay)
	}
	if m.flags&flagKeyframe != 0 && v.firstKeyframe == 0 {
		v.firstKeyframe = time.Duration(max(arrival-v.began, 1))
	}
}

// completes reports whether with this cell all of its frame have come.
func (v *viewer) completes(m *marker) bool {
	f := &v.frames[m.frame%uint64(len(v.frames))]
	switch {
	case m.frame > f.number:
		*f = frameCount{number: m.frame}
	case m.frame < f.number:
		return false // long ago
	}
	f.cells++
	return f.cells == m.count
}

// A cellSet remembers which of the last cells have come.
type cellSet struct {
	begun   bool
	highest uint64
	seen    [4096 / 64]uint64
}

// add reports whether the cell is new, and whether one with a higher number came before it.
func (s *cellSet) add(cell uint64) (fresh, late bool) {
	const window = uint64(len(s.seen)) * 64
	bit := func(c uint64) (*uint64, uint64) { return &s.seen[c%window/64], 1 << (c % 64) }
	switch {
	case !s.begun:
		s.begun, s.highest = true, cell
	case cell > s.highest:
		for c := max(s.highest+1, cell-min(cell, window-1)); c < cell; c++ {
			word, mask := bit(c)
			*word &^= mask
		}
		s.highest = cell
	case cell+window <= s.highest:
		return false, true // too old to tell
	default:
		word, mask := bit(cell)
		if *word&mask != 0 {
			return false, true
		}
		*word |= mask
		return true, true
	}
	word, mask := bit(cell)
	*word |= mask
	return true, false
}

// report sends a receiver report (RFC 3550, section 6.4.2), and a PLI if the first keyframe
// is long in coming (RFC 4585, section 6.3.1).
func (v *viewer) report(now int64) {
	r := &rtcp.ReceiverReport{SSRC: v.ssrc}
	for _, in := range []*inbound{&v.video, &v.audio} {
		if in.packets > 0 {
			r.Reports = append(r.Reports, in.report())
		}
	}
	packets := []rtcp.Packet{r, names(v.ssrc)}
	waiting := now-max(v.began, v.asked) >= int64(keyframePatience)
	if v.video.packets > 0 && v.firstKeyframe == 0 && waiting {
		v.asked = now
		packets = append(packets, &rtcp.PictureLossIndication{SenderSSRC: v.ssrc, MediaSSRC: v.video.ssrc})
	}
	plain, err := rtcp.Marshal(packets)
	if err != nil {
		return
	}
	if sealed, err := v.out.EncryptRTCP(nil, plain, nil); err == nil {
		v.peer.send(sealed)
	}
}

// report makes a report block (RFC 3550, appendix A.3). Jitter is not measured, and no time
// of a sender report is given back.
func (in *inbound) report() rtcp.ReceptionReport {
	expected := in.rollover.highest - in.base + 1
	r := rtcp.ReceptionReport{SSRC: in.ssrc, LastSequenceNumber: uint32(in.rollover.highest)}
	if expected > in.packets {
		r.TotalLost = uint32(min(expected-in.packets, 1<<23-1))
	}
	recent, got := expected-in.expectedPrior, in.packets-in.packetsPrior
	if recent > got {
		r.FractionLost = uint8(min((recent-got)*256/recent, 255))
	}
	in.expectedPrior, in.packetsPrior = expected, in.packets
	return r
}
