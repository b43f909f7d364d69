package audio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A toneDecoder decodes packets of a tone of 400 Hz at half of full scale. It conceals
// perfectly, and allocates nothing.
type toneDecoder struct {
	channels int
	next     uint32 // index of the sample that follows
	fec      int    // how often it was asked
}

const tonePeriod = 120 // samples

var tone = func() (table [tonePeriod]float32) {
	for i := range table {
		table[i] = float32(0.5 * math.Sin(2*math.Pi*float64(i)/tonePeriod))
	}
	return table
}()

// tonePacket makes the payload of the n samples from index. With fec it says that it has error
// correction; quiet is a packet of silence.
func tonePacket(index uint32, n int, fec, quiet bool) []byte {
	p := make([]byte, 9)
	switch n {
	case 120, 240, 480:
		p[0] = byte(16+n/240) << 3 // CELT
	case 960, 1920, 2880:
		p[0] = byte(n/960) << 3 // SILK
	default:
		p[0] = 3<<3 | 1 // SILK, two frames of 60 ms
	}
	if fec {
		p[1] = 0x40
	}
	binary.BigEndian.PutUint16(p[2:], uint16(n))
	binary.BigEndian.PutUint32(p[4:], index)
	if quiet {
		p[8] = 1
	}
	return p
}

func (d *toneDecoder) Decode(packet []byte, pcm []float32) (int, error) {
	if len(packet) < 9 {
		return 0, errors.New("too short")
	}
	n := min(int(binary.BigEndian.Uint16(packet[2:])), MaxPacketSamples)
	d.next = binary.BigEndian.Uint32(packet[4:])
	if packet[8] == 1 {
		clear(pcm[:n*d.channels])
		d.next += uint32(n)
		return n, nil
	}
	return n, d.Conceal(pcm, n)
}

func (d *toneDecoder) DecodeFEC(packet []byte, pcm []float32, n int) error {
	d.fec++
	d.next = binary.BigEndian.Uint32(packet[4:]) - uint32(n)
	return d.Conceal(pcm, n)
}

func (d *toneDecoder) Conceal(pcm []float32, n int) error {
	phase := d.next % tonePeriod
	for i := range n {
		for c := range d.channels {
			pcm[i*d.channels+c] = tone[phase]
		}
		if phase++; phase == tonePeriod {
			phase = 0
		}
	}
	d.next += uint32(n)
	return nil
}

// A call is a simulated one: packets on their way to a leg.
type call struct {
	packets []Packet // by sending, then by arrival
	phase   time.Duration
	began   time.Time
}

var began = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// A network says how long packet i travels, or that it is lost.
type network func(i int) (delay time.Duration, lost bool)

// calm is a network with a jitter under a millisecond.
func calm(r *rand.Rand) network {
	return func(int) (time.Duration, bool) {
		return 20*time.Millisecond + time.Duration(r.Int64N(int64(800*time.Microsecond))), false
	}
}

// shaky adds up to 60 ms, uniformly.
func shaky(r *rand.Rand) network {
	return func(int) (time.Duration, bool) {
		return 20*time.Millisecond + time.Duration(r.Int64N(int64(60*time.Millisecond))), false
	}
}

// bursty loses packets as Gilbert and Elliott have it, burst in a row on average.
func bursty(r *rand.Rand, n network, loss, burst float64) network {
	bad := false
	return func(i int) (time.Duration, bool) {
		if bad {
			bad = r.Float64() >= 1/burst
		} else {
			bad = r.Float64() < loss/(1-loss)/burst
		}
		d, lost := n(i)
		return d, lost || bad
	}
}

// speak sends a tone for so long in packets of n samples, whose first has the numbers seq and
// ts, with a clock that is drift (1e-6: ppm) too fast.
func speak(length time.Duration, n int, seq uint16, ts uint32, drift float64, fec bool, net network) []Packet {
	var packets []Packet
	interval := float64(n) / SampleRate / (1 + drift) * float64(time.Second)
	for i := range int(float64(length) / interval) {
		delay, lost := net(i)
		if lost {
			continue
		}
		index := ts + uint32(i*n)
		packets = append(packets, Packet{
			Sequence: seq + uint16(i), Timestamp: index, Payload: tonePacket(index, n, fec, false),
			Arrival: began.Add(time.Duration(float64(i+1)*interval) + delay), Marker: i == 0,
		})
	}
	return packets
}

// A hearing is what came of a call.
type hearing struct {
	leg      *Leg
	frames   int
	states   []State
	delays   []time.Duration // of each packet: from its arrival to the frame with its first sample
	at       []time.Time     // when these frames were
	residual float64         // greatest deviation from a tone: a click
	clickAt  time.Duration
	silence  time.Duration // longest gap between sounds
	least    float64       // level of the quietest 20 ms that were Playing
	pcm      []float32     // of the first channel, if kept
}

// listen plays packets to a leg, a frame every 20 ms from phase on, until some time after the
// last one.
func listen(packets []Packet, phase time.Duration, channels int) *hearing {
	packets = slices.Clone(packets)
	slices.SortStableFunc(packets, func(a, b Packet) int { return a.Arrival.Compare(b.Arrival) })
	order := slices.Clone(packets)
	slices.SortStableFunc(order, func(a, b Packet) int { return int(int32(a.Timestamp - b.Timestamp)) })

	l := NewLeg(channels, &toneDecoder{channels: channels})
	h := &hearing{leg: l, least: math.Inf(1)}
	frame := make([]float32, FrameSamples*channels)
	end := packets[len(packets)-1].Arrival.Add(time.Second)
	var x1, x2 float64
	silent, sounded := 0, false
	k2 := 2 * math.Cos(2*math.Pi/tonePeriod)
	for now := began.Add(phase); now.Before(end); now = now.Add(FrameDuration) {
		for len(packets) > 0 && !packets[0].Arrival.After(now) {
			l.Put(packets[0])
			packets = packets[1:]
		}
		state := l.Next(frame, now)
		h.states = append(h.states, state)
		h.frames++
		if state != Silent {
			head := uint32(l.end - int64(l.have()))
			for len(order) > 0 && int32(order[0].Timestamp-head) < 0 {
				if d := now.Sub(order[0].Arrival); d >= 0 {
					h.delays = append(h.delays, d)
					h.at = append(h.at, now)
				}
				order = order[1:]
			}
		}
		energy := 0.0
		for i := 0; i < len(frame); i += channels {
			x := float64(frame[i])
			if r := math.Abs(x - k2*x1 + x2); r > h.residual {
				h.residual, h.clickAt = r, now.Sub(began)
			}
			x1, x2 = x, x1
			energy += x * x
			if math.Abs(x) < 1e-5 && math.Abs(x1) < 1e-5 && math.Abs(x2) < 1e-5 {
				silent++
				continue
			}
			if sounded {
				h.silence = max(h.silence, time.Duration(silent)*time.Second/SampleRate)
			}
			silent, sounded = 0, true
		}
		if state == Playing {
			h.least = min(h.least, 10*math.Log10(energy/FrameSamples/0.125))
		}
	}
	return h
}

// quantile returns the q-th of the delays after the first warm.
func (h *hearing) quantile(q float64, warm time.Duration) time.Duration {
	var d []time.Duration
	for i := range h.delays {
		if h.at[i].Sub(began) > warm {
			d = append(d, h.delays[i])
		}
	}
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(int(q*float64(len(d))), len(d)-1)]
}

func (h *hearing) String() string {
	s := h.leg.Stats()
	return fmt.Sprintf("delay p50 %v p95 %v max %v, concealed %.2f %%, residual %.4f at %v, longest silence %v, level %.2f dB, %+v",
		h.quantile(0.5, 0).Round(100*time.Microsecond), h.quantile(0.95, 0).Round(100*time.Microsecond), h.quantile(1, 0).Round(100*time.Microsecond),
		float64(s.Concealed)/float64(max(s.Frames, 1))/FrameSamples*100, h.residual, h.clickAt, h.silence, h.least, s)
}

func TestExplore(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for phase := time.Duration(0); phase < 20*time.Millisecond; phase += 5 * time.Millisecond {
		t.Logf("clean %v: %v", phase, listen(speak(20*time.Second, 960, 0, 0, 0, false, calm(r)), phase, 1))
	}
	for _, n := range []int{120, 240, 480, 1920, 2880, 5760} {
		t.Logf("clean %d: %v", n, listen(speak(20*time.Second, n, 0, 0, 0, false, calm(r)), 3*time.Millisecond, 2))
	}
	for phase := time.Duration(0); phase < 20*time.Millisecond; phase += 5 * time.Millisecond {
		t.Logf("jitter %v: %v", phase, listen(speak(60*time.Second, 960, 0, 0, 0, false, shaky(r)), phase, 1))
	}
	for _, loss := range []float64{0.05, 0.1} {
		t.Logf("loss %v: %v", loss, listen(speak(60*time.Second, 960, 0, 0, 0, false, bursty(r, calm(r), loss, 2.5)), 0, 1))
		t.Logf("loss %v FEC: %v", loss, listen(speak(60*time.Second, 960, 0, 0, 0, true, bursty(r, calm(r), loss, 2.5)), 0, 1))
		t.Logf("loss %v, jitter, FEC: %v", loss, listen(speak(60*time.Second, 960, 0, 0, 0, true, bursty(r, shaky(r), loss, 2.5)), 0, 1))
	}
	for _, drift := range []float64{200e-6, -200e-6} {
		start := time.Now()
		t.Logf("drift %v: %v", drift, listen(speak(600*time.Second, 960, 0, 0, drift, false, calm(r)), 0, 1))
		t.Log(time.Since(start))
	}
	stall := func(i int) (time.Duration, bool) {
		d := 20 * time.Millisecond
		if i >= 500 && i < 510 {
			d += time.Duration(510-i) * 20 * time.Millisecond
		}
		return d, false
	}
	t.Logf("stall: %v", listen(speak(20*time.Second, 960, 0, 0, 0, false, stall), 7*time.Millisecond, 1))
}
