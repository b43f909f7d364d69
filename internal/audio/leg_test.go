package audio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// A toneDecoder decodes packets of a tone of 400 Hz at half of full scale, or of noise, and
// conceals by going on with it: what is not a tone then is the leg's doing. It allocates nothing.
type toneDecoder struct {
	channels int
	noise    bool
	next     uint32 // index of the sample that follows
}

const tonePeriod = 120 // samples

var toneTable = func() (table [tonePeriod]float32) {
	for i := range table {
		table[i] = float32(0.5 * math.Sin(2*math.Pi*float64(i)/tonePeriod))
	}
	return table
}()

// noiseTable repeats itself after 170 ms, which is more than a splice looks for.
var noiseTable = func() (table [8191]float32) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range table {
		table[i] = float32(r.Float64() - 0.5)
	}
	return table
}()

// How loud what a packet holds is.
const (
	loud = iota
	faint
	silent
)

// tonePacket makes the payload of the n samples from index. With fec it says that it has error
// correction.
func tonePacket(index uint32, n int, fec bool, loudness byte) []byte {
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
	p[8] = loudness
	return p
}

func (d *toneDecoder) Decode(packet []byte, pcm []float32) (int, error) {
	if len(packet) < 9 {
		return 0, errors.New("too short")
	}
	n := min(int(binary.BigEndian.Uint16(packet[2:])), MaxPacketSamples)
	d.next = binary.BigEndian.Uint32(packet[4:])
	d.Conceal(pcm, n)
	for i := range pcm[:n*d.channels] {
		switch packet[8] {
		case silent:
			pcm[i] = 0
		case faint:
			pcm[i] *= 0.01
		}
	}
	return n, nil
}

func (d *toneDecoder) DecodeFEC(packet []byte, pcm []float32, n int) error {
	if len(packet) < 9 {
		return errors.New("too short")
	}
	d.next = binary.BigEndian.Uint32(packet[4:]) - uint32(n)
	return d.Conceal(pcm, n)
}

func (d *toneDecoder) Conceal(pcm []float32, n int) error {
	table := toneTable[:]
	if d.noise {
		table = noiseTable[:]
	}
	phase := int(d.next) % len(table)
	for i := range n {
		for c := range d.channels {
			pcm[i*d.channels+c] = table[phase]
		}
		if phase++; phase == len(table) {
			phase = 0
		}
	}
	d.next += uint32(n)
	return nil
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
		packets = append(packets, Packet{
			Sequence: seq + uint16(i), Timestamp: ts + uint32(i*n), Payload: tonePacket(uint32(i*n), n, fec, loud),
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
	least    float64       // level of the quietest 20 ms but at the beginning and the end
	change   uint64        // the most samples by which one frame was stretched or compressed
	changes  []bool        // whether a frame was, once the leg had settled
}

// listen plays packets to a leg, a frame every 20 ms from phase on, until some time after the
// last one.
func listen(packets []Packet, phase time.Duration, channels int) *hearing {
	return listenWith(packets, phase, channels, &toneDecoder{channels: channels})
}

func listenWith(packets []Packet, phase time.Duration, channels int, d Decoder) *hearing {
	packets = slices.Clone(packets)
	slices.SortStableFunc(packets, func(a, b Packet) int { return a.Arrival.Compare(b.Arrival) })
	order := slices.Clone(packets)
	slices.SortStableFunc(order, func(a, b Packet) int { return int(int32(a.Timestamp - b.Timestamp)) })

	l := NewLeg(channels, d)
	h := &hearing{leg: l, least: math.Inf(1)}
	frame := make([]float32, FrameSamples*channels)
	end := packets[len(packets)-1].Arrival.Add(time.Second)
	var x1, x2 float64
	silent, sounded, changed := 0, false, uint64(0)
	k2 := 2 * math.Cos(2*math.Pi/tonePeriod)
	for now := began.Add(phase); now.Before(end); now = now.Add(FrameDuration) {
		for len(packets) > 0 && !packets[0].Arrival.After(now) {
			l.Put(packets[0])
			packets = packets[1:]
		}
		state := l.Next(frame, now)
		h.states = append(h.states, state)
		s := l.Stats()
		if now.Sub(began) > warm {
			h.changes = append(h.changes, s.Stretched+s.Compressed != changed)
		}
		h.change, changed = max(h.change, s.Stretched+s.Compressed-changed), s.Stretched+s.Compressed
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
			if x == 0 && x1 == 0 && x2 == 0 {
				silent++
				continue
			}
			if sounded {
				h.silence = max(h.silence, time.Duration(silent)*time.Second/SampleRate)
			}
			silent, sounded = 0, true
		}
		if now.Sub(began) > warm && end.Sub(now) > warm {
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

const warm = 2 * time.Second // after which a leg has settled

func random(t testing.TB) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(1, 2))
}

// smooth fails if there was a click, which is anything above -54 dB of the tone, a gap or a break.
func (h *hearing) smooth(t *testing.T, gap time.Duration) {
	t.Helper()
	if h.residual > 0.001 {
		t.Errorf("click of %.4f at %v", h.residual, h.clickAt)
	}
	if h.silence > gap {
		t.Errorf("silent for %v, want at most %v", h.silence, gap)
	}
	if s := h.leg.Stats(); s.Resets != 0 || s.Bad != 0 || s.Discarded != 0 {
		t.Errorf("breaks: %+v", s)
	}
}

func (h *hearing) concealed() float64 {
	s := h.leg.Stats()
	return float64(s.Concealed) / float64(s.Frames*FrameSamples)
}

func TestJitterIsWaitedOut(t *testing.T) {
	r := random(t)
	for phase := time.Duration(0); phase < FrameDuration; phase += 2300 * time.Microsecond {
		h := listen(speak(30*time.Second, 960, 0, 0, 0, false, shaky(r)), phase, 1)
		h.smooth(t, 0)
		if got := h.quantile(0.95, warm); got > 62*time.Millisecond+phase {
			t.Errorf("phase %v: delay %v", phase, got)
		}
		if got := h.quantile(0.5, warm); got > 52*time.Millisecond {
			t.Errorf("phase %v: delay of half of the packets %v", phase, got)
		}
		if got := h.concealed(); got > 0.005 {
			t.Errorf("phase %v: %.2f %% concealed, of what came", phase, got*100)
		}
		t.Logf("phase %v: %v", phase, h)
	}
}

func TestDelayComesDownAfterJitter(t *testing.T) {
	r := random(t)
	rough, fine := shaky(r), calm(r)
	h := listen(speak(40*time.Second, 960, 0, 0, 0, false, func(i int) (time.Duration, bool) {
		if i < 500 {
			return rough(i)
		}
		return fine(i)
	}), 11*time.Millisecond, 1)
	h.smooth(t, 0)
	if got := h.quantile(0.95, 30*time.Second); got > 25*time.Millisecond {
		t.Errorf("delay %v twenty seconds after", got)
	}
	t.Log(h)
}

func TestJitterMayComeAndGo(t *testing.T) {
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 5))
		rough, fine := shaky(r), calm(r)
		h := listen(speak(40*time.Second, 960, 0, 0, 0, false, func(i int) (time.Duration, bool) {
			if i/250%2 == 1 {
				return rough(i)
			}
			return fine(i)
		}), 5*time.Millisecond, 1)
		h.smooth(t, 0)
		if got := h.concealed(); got > 0.0025 {
			t.Errorf("%.2f %% concealed, of what came", got*100)
		}
		t.Log(h)
	}
}

func TestDelayOfNoiseComesDownToo(t *testing.T) {
	h := listenWith(speak(40*time.Second, 960, 0, 0, 0, false, stall), 7*time.Millisecond, 1, &toneDecoder{channels: 1, noise: true})
	if got := h.quantile(1, 35*time.Second); got > 60*time.Millisecond {
		t.Errorf("delay %v 25 seconds after a stall", got)
	}
	t.Log(h)
}

func TestDelayComesDownInPauses(t *testing.T) {
	for _, loudness := range []byte{faint, silent} {
		packets := speak(20*time.Second, 960, 0, 0, 0, false, stall)
		for i := 600; i < 640; i++ {
			packets[i].Payload[8] = loudness
		}
		h := listenWith(packets, 7*time.Millisecond, 1, &toneDecoder{channels: 1, noise: true})
		if got := h.quantile(1, 13*time.Second); got > 30*time.Millisecond {
			t.Errorf("delay %v after a pause of 800 ms", got)
		}
		t.Log(h)
	}
}

func TestDelayHasALimit(t *testing.T) {
	r := random(t)
	packets := speak(20*time.Second, 960, 0, 0, 0, false, func(int) (time.Duration, bool) {
		return time.Duration(r.Int64N(int64(900 * time.Millisecond))), false
	})
	l := NewLeg(1, &toneDecoder{channels: 1})
	slices.SortStableFunc(packets, func(a, b Packet) int { return a.Arrival.Compare(b.Arrival) })
	frame := make([]float32, FrameSamples)
	for tick := range 990 {
		now := began.Add(time.Duration(tick) * FrameDuration)
		for len(packets) > 0 && !packets[0].Arrival.After(now) {
			l.Put(packets[0])
			packets = packets[1:]
		}
		l.Next(frame, now)
		if s := l.Stats(); tick > 100 && s.Target > 100*time.Millisecond {
			t.Fatalf("target %v beyond the median of 450 ms", s.Target)
		}
	}
}

func TestOrderIsRestored(t *testing.T) {
	r := random(t)
	net := calm(r)
	h := listen(speak(20*time.Second, 960, 0, 0, 0, false, func(i int) (time.Duration, bool) {
		d, _ := net(i)
		if i%3 == 0 {
			d += 25 * time.Millisecond
		}
		return d, false
	}), 4*time.Millisecond, 1)
	h.smooth(t, 0)
	if s := h.leg.Stats(); s.Late != 0 || s.Lost != 0 || s.Concealed > 2*FrameSamples {
		t.Errorf("with every third packet behind its follower: %+v", s)
	}
	t.Log(h)
}

func TestBurstsOfLossLeaveNoGap(t *testing.T) {
	for _, loss := range []float64{0.05, 0.1} {
		for _, fec := range []bool{false, true} {
			for name, net := range map[string]func(*rand.Rand) network{"calm": calm, "shaky": shaky} {
				t.Run(fmt.Sprintf("%v %v FEC %v", loss, name, fec), func(t *testing.T) {
					r := random(t)
					packets := speak(60*time.Second, 960, 0, 0, 0, fec, bursty(r, net(r), loss, 2.5))
					h := listen(packets, 7*time.Millisecond, 1)
					h.smooth(t, 60*time.Millisecond)
					s := h.leg.Stats()
					lost := 3000 - float64(len(packets))
					if h.concealed()*3000 > lost*1.05+10 {
						t.Errorf("concealed %.0f frames where %v were lost", h.concealed()*3000, lost)
					}
					if fec && h.concealed()*3000 > lost*0.8 {
						t.Errorf("concealed %.0f frames of %v in spite of error correction", h.concealed()*3000, lost)
					}
					if fec && s.Compressed >= FrameSamples {
						t.Errorf("does not go on to wait for error correction: %+v", s)
					}
					if !fec && s.FEC != 0 {
						t.Errorf("%d packets from error correction that there was not", s.FEC)
					}
					t.Log(h)
				})
			}
		}
	}
}

func TestDriftIsFollowed(t *testing.T) {
	for _, drift := range []float64{-200e-6, -50e-6, 50e-6, 200e-6} {
		t.Run(fmt.Sprintf("%.0f ppm", drift*1e6), func(t *testing.T) {
			t.Parallel()
			r := random(t)
			h := listen(speak(10*time.Minute, 960, 0, 0, drift, false, calm(r)), 0, 1)
			h.smooth(t, 0)
			if got := h.quantile(0.95, warm); got > 27*time.Millisecond {
				t.Errorf("delay %v", got)
			}
			if got := h.quantile(1, 9*time.Minute); got > 30*time.Millisecond {
				t.Errorf("delay %v in the last minute", got)
			}
			s := h.leg.Stats()
			if s.Concealed != 0 || h.least < -0.5 {
				t.Errorf("concealed %d, quietest frame %.2f dB", s.Concealed, h.least)
			}
			// What there was to make up for, and a packet of what there was to begin with.
			want := drift * 600 * SampleRate
			if got := float64(s.Compressed) - float64(s.Stretched); math.Abs(got-want) > 1.5*FrameSamples {
				t.Errorf("compressed by %v samples, want about %v", got, want)
			}
			t.Log(h)
		})
	}
}

func TestNumbersWrap(t *testing.T) {
	want := listen(speak(20*time.Second, 960, 1000, 1000, 0, false, calm(random(t))), 3*time.Millisecond, 1)
	got := listen(speak(20*time.Second, 960, 65500, 1<<32-40*960+24, 0, false, calm(random(t))), 3*time.Millisecond, 1)
	got.smooth(t, 0)
	if got.leg.Stats() != want.leg.Stats() || !slices.Equal(got.delays, want.delays) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// stall holds back the packets for 200 ms after 10 s.
func stall(i int) (time.Duration, bool) {
	d := 20 * time.Millisecond
	if i >= 500 && i < 510 {
		d += time.Duration(510-i) * 20 * time.Millisecond
	}
	return d, false
}

func TestStallIsCaughtUp(t *testing.T) {
	h := listen(speak(20*time.Second, 960, 0, 0, 0, false, stall), 7*time.Millisecond, 1)
	h.smooth(t, 0)
	if got := h.quantile(1, 10*time.Second); got < 150*time.Millisecond {
		t.Errorf("delay %v just after: what was held back is not played", got)
	}
	if got := h.quantile(1, 14*time.Second); got > 30*time.Millisecond {
		t.Errorf("delay %v four seconds after", got)
	}
	if s := h.leg.Stats(); s.Late != 0 || s.Lost != 0 {
		t.Errorf("of what was only held back: %+v", s)
	}
	t.Log(h)
}

// FFmpeg with -re sends its first half second at once, or nearly.
func TestEncoderThatBeginsWithABurstIsNotHeardLate(t *testing.T) {
	for _, apart := range []time.Duration{0, 100 * time.Microsecond, 3 * time.Millisecond} {
		h := listen(speak(12*time.Second, 960, 0, 0, 0, false, func(i int) (time.Duration, bool) {
			return max(500*time.Millisecond-time.Duration(i)*(20*time.Millisecond-apart), 0), false
		}), 7*time.Millisecond, 1)
		h.smooth(t, 0)
		if got := h.quantile(1, 2500*time.Millisecond); got > 35*time.Millisecond {
			t.Errorf("%v apart: delay %v two seconds after the burst", apart, got)
		}
		t.Log(apart, h)
	}
}

// A tone whose delay is a little too long is not to be another one for that: who measures it
// over a second finds it where it is.
func TestSmallCorrectionsAreSlow(t *testing.T) {
	h := listen(speak(12*time.Second, 960, 0, 0, 0, false, func(i int) (time.Duration, bool) {
		if i < 200 {
			return 24 * time.Millisecond, false
		}
		return 20 * time.Millisecond, false
	}), 7*time.Millisecond, 1)
	h.smooth(t, 0)
	if s := h.leg.Stats(); s.Compressed < 50 {
		t.Errorf("only %d samples were left out", s.Compressed)
	}
	runs, longest := 0, 0
	for _, changed := range h.changes {
		if runs++; !changed {
			runs = 0
		}
		longest = max(longest, runs)
	}
	if longest > 10 {
		t.Errorf("%d frames in a row were changed", longest)
	}
}

func TestMixerMayTremble(t *testing.T) {
	r := random(t)
	packets := speak(20*time.Second, 960, 0, 0, 0, false, calm(r))
	l := NewLeg(1, &toneDecoder{channels: 1})
	frame := make([]float32, FrameSamples)
	for tick := 0; tick < 990; tick++ {
		at := began.Add(time.Duration(tick)*FrameDuration + 14*time.Millisecond)
		now := at.Add(time.Duration(r.Int64N(int64(15 * time.Millisecond))))
		for len(packets) > 0 && packets[0].Arrival.Before(now) {
			l.Put(packets[0])
			packets = packets[1:]
		}
		if state := l.Next(frame, now); state == Concealing || state == Silent && tick > 10 {
			t.Fatalf("state %v in frame %d", state, tick)
		}
	}
	if s := l.Stats(); s.Compressed+s.Stretched > FrameSamples {
		t.Errorf("follows the trembling: %+v", s)
	}
}

func TestMixerMayStop(t *testing.T) {
	packets := speak(10*time.Second, 960, 0, 0, 0, false, calm(random(t)))
	l := NewLeg(1, &toneDecoder{channels: 1})
	frame := make([]float32, FrameSamples)
	for tick := range 490 {
		now := began.Add(time.Duration(tick)*FrameDuration + 9*time.Millisecond)
		for len(packets) > 0 && packets[0].Arrival.Before(now) {
			l.Put(packets[0])
			packets = packets[1:]
		}
		if tick < 200 || tick > 350 {
			l.Next(frame, now)
		}
		if got := l.Stats().Delay; tick > 400 && got > 45*time.Millisecond {
			t.Fatalf("delay %v in frame %d", got, tick)
		}
	}
	if s := l.Stats(); s.Discarded < 140 || s.Resets != 1 {
		t.Errorf("%+v", s)
	}
}

func TestLateAndDoublePacketsAreDropped(t *testing.T) {
	packets := speak(2*time.Second, 960, 0, 0, 0, false, func(i int) (time.Duration, bool) {
		if i == 50 {
			return 300 * time.Millisecond, false
		}
		return 20 * time.Millisecond, false
	})
	for _, i := range []int{20, 21, 70} {
		twice := packets[i]
		twice.Arrival = twice.Arrival.Add(time.Duration(i) * time.Millisecond)
		packets = append(packets, twice)
	}
	h := listen(packets, 5*time.Millisecond, 1)
	h.smooth(t, 0)
	s := h.leg.Stats()
	if s.Packets != 103 || s.Late != 1 || s.Lost != 1 || s.Duplicates != 3 || s.Concealed != FrameSamples {
		t.Errorf("one packet late, three double: %+v", s)
	}
}

func TestUndecodablePacketsAreConcealed(t *testing.T) {
	packets := speak(2*time.Second, 960, 0, 0, 0, false, stall)
	packets[0].Payload = []byte{8, 1}  // short
	packets[50].Payload = []byte{8, 0} // likewise, but of two bytes: a pause?
	packets[60].Payload = []byte{8, 0, 0, 0}
	for i := 70; i < 100; i++ {
		packets[i].Sequence++
	}
	padding := packets[69]
	padding.Sequence, padding.Payload = 70, nil
	packets = append(packets, padding)
	h := listen(packets, 5*time.Millisecond, 1)
	if h.residual > 0.003 || h.silence > 0 {
		t.Errorf("click of %v at %v, silence of %v", h.residual, h.clickAt, h.silence)
	}
	if s := h.leg.Stats(); s.Bad != 2 || s.Concealed != 2*FrameSamples {
		t.Errorf("with two bad packets: %+v", s)
	}
	t.Log(h)
}

func TestUndecodablePacketAmongOthersIsConcealed(t *testing.T) {
	packets := speak(10*time.Second, 960, 0, 0, 0, false, shaky(random(t)))
	packets[300].Payload = []byte{8, 0, 0, 0}
	h := listen(packets, 5*time.Millisecond, 1)
	if h.residual > 0.001 || h.silence > 0 {
		t.Errorf("click of %v at %v, silence of %v", h.residual, h.clickAt, h.silence)
	}
	if s := h.leg.Stats(); s.Bad != 1 {
		t.Errorf("with a bad packet: %+v", s)
	}
}

// after puts a second part of a call behind a first.
func after(first []Packet, pause time.Duration, second []Packet) []Packet {
	from := first[len(first)-1].Arrival.Add(pause).Sub(began)
	for i := range second {
		second[i].Arrival = second[i].Arrival.Add(from)
	}
	return append(first, second...)
}

func TestPauseIsSilenceAndNoLoss(t *testing.T) {
	even := func(int) (time.Duration, bool) { return 20 * time.Millisecond, false }
	for _, tt := range []struct {
		name  string
		pause time.Duration
		seq   uint16
		ts    uint32
	}{
		{"DTX: the timestamp goes on", 3 * time.Second, 100, 250 * 960},
		{"another clock, ahead", 3 * time.Second, 100, 1 << 31},
		{"another clock, behind", 3 * time.Second, 100, 3 << 30},
		{"another numbering", 3 * time.Second, 40000, 77},
		{"another numbering, a little behind", 3 * time.Second, 60, 77},
		{"another numbering, at once", 20 * time.Millisecond, 40000, 77},
		{"another numbering and 400 ms", 400 * time.Millisecond, 40000, 120 * 960},
		{"a minute", time.Minute, 100, 3100 * 960},
	} {
		t.Run(tt.name, func(t *testing.T) {
			packets := speak(2*time.Second, 960, 0, 0, 0, false, even)
			packets = after(packets, tt.pause, speak(2*time.Second, 960, tt.seq, tt.ts, 0, false, even))
			h := listen(packets, 5*time.Millisecond, 1)
			// Two tones have no common phase, but each begins and ends in a fade of 5 ms.
			if h.residual > 0.003 {
				t.Errorf("click of %v at %v", h.residual, h.clickAt)
			}
			s := h.leg.Stats()
			if s.Concealed > 0 || s.Lost > 0 {
				t.Errorf("a pause is taken for a loss: %+v", s)
			}
			if frames := int(s.Frames); frames < 197 || frames > 235 {
				t.Errorf("%d frames of 200 and two fade-outs", frames)
			}
			if got := h.states[len(h.states)-1]; got != Silent {
				t.Errorf("state %v at the end", got)
			}
			if h.delays[len(h.delays)-1] > 45*time.Millisecond {
				t.Errorf("delay %v after", h.delays[len(h.delays)-1])
			}
			t.Log(h)
		})
	}
}

func TestPauseMayChangeTheNetwork(t *testing.T) {
	for _, tt := range []struct {
		name   string
		pause  time.Duration
		marker bool
		ts     uint32
	}{
		{"marker", 3 * time.Second, true, 400 * 960},
		{"long", 15 * time.Second, false, 1000 * 960},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := random(t)
			packets := speak(5*time.Second, 960, 0, 0, 0, false, shaky(r))
			second := speak(5*time.Second, 960, 250, tt.ts, 0, false, calm(r))
			second[0].Marker = tt.marker
			h := listen(after(packets, tt.pause, second), 5*time.Millisecond, 1)
			if got := h.quantile(1, tt.pause+7*time.Second); got > 25*time.Millisecond {
				t.Errorf("delay %v two seconds later: still that of before", got)
			}
		})
	}
}

func TestClockMayJump(t *testing.T) {
	for _, jump := range []uint32{1 << 30, 3 << 30} {
		r := random(t)
		net := shaky(r)
		packets := speak(20*time.Second, 960, 0, 0, 0, false, net)
		for i := range packets[500:] {
			packets[500+i].Timestamp += jump
		}
		packets = slices.Delete(packets, 500, 501)
		slices.SortStableFunc(packets, func(a, b Packet) int { return a.Arrival.Compare(b.Arrival) })
		l := NewLeg(1, &toneDecoder{channels: 1})
		frame := make([]float32, FrameSamples)
		made := 0
		for tick := range 1000 {
			now := began.Add(time.Duration(tick) * FrameDuration)
			for len(packets) > 0 && !packets[0].Arrival.After(now) {
				l.Put(packets[0])
				packets = packets[1:]
			}
			if state := l.Next(frame, now); tick > 535 && state != Playing {
				made++
			}
			if got := l.Stats().Delay; tick > 600 && got > 90*time.Millisecond {
				t.Fatalf("by %d: delay %v in frame %d", jump, got, tick)
			}
		}
		if made > 5 {
			t.Errorf("by %d: %d of 450 frames are not what was said: %+v", jump, made, l.Stats())
		}
	}
}

func TestComfortNoiseDoesNotTick(t *testing.T) {
	// As libopus has it: a packet every 400 ms while nobody speaks, the others not sent.
	talk := func(i int) (time.Duration, bool) { return 20 * time.Millisecond, i >= 100 && i < 500 && i%20 != 0 }
	packets := speak(12*time.Second, 960, 0, 0, 0, false, talk)
	for i := range packets {
		packets[i].Sequence = uint16(i)
	}
	h := listen(packets, 5*time.Millisecond, 1)
	if h.residual > 0.001 {
		t.Errorf("click of %v at %v", h.residual, h.clickAt)
	}
	for i, state := range h.states[140:490] {
		if state != Silent {
			t.Fatalf("state %v in frame %d of a pause", state, 140+i)
		}
	}
	for i, state := range h.states[510:595] {
		if state != Playing {
			t.Fatalf("state %v in frame %d of speech", state, 510+i)
		}
	}
	if s := h.leg.Stats(); s.Concealed != 0 || s.Lost != 0 {
		t.Errorf("a pause is taken for a loss: %+v", s)
	}
}

func TestGarbageIsCountedInSilence(t *testing.T) {
	packets := speak(2*time.Second, 960, 0, 0, 0, false, stall)
	for i := range packets {
		packets[i].Payload = []byte{11, 0, 0, 0} // no frames
	}
	h := listen(packets, 5*time.Millisecond, 1)
	if s := h.leg.Stats(); s.Bad != 100 || s.Frames != 0 {
		t.Errorf("of 100 bad packets: %+v", s)
	}
}

func TestSmallPacketBeginsPause(t *testing.T) {
	packets := speak(2*time.Second, 960, 0, 0, 0, false, stall)
	packets[99].Payload = []byte{8}
	l := NewLeg(1, smallDecoder{&toneDecoder{channels: 1}})
	frame := make([]float32, FrameSamples)
	last := -1
	for tick := range 150 {
		now := began.Add(time.Duration(tick) * FrameDuration)
		for len(packets) > 0 && !packets[0].Arrival.After(now) {
			l.Put(packets[0])
			packets = packets[1:]
		}
		switch l.Next(frame, now) {
		case Playing:
			last = tick
		case Concealing:
			t.Fatalf("conceals in frame %d", tick)
		}
	}
	if last < 99 || last > 103 {
		t.Errorf("the last frame is %d", last)
	}
}

// A smallDecoder also decodes packets of one byte.
type smallDecoder struct{ *toneDecoder }

func (d smallDecoder) Decode(packet []byte, pcm []float32) (int, error) {
	if len(packet) == 1 {
		return FrameSamples, d.Conceal(pcm, FrameSamples)
	}
	return d.toneDecoder.Decode(packet, pcm)
}

func TestTooMuchAtOnceIsNotPlayedLong(t *testing.T) {
	packets := speak(10*time.Second, 960, 0, 0, 0, false, func(i int) (time.Duration, bool) {
		if i < 150 {
			return time.Duration(151-i) * 20 * time.Millisecond, false // 3 s are held up
		}
		return 20 * time.Millisecond, false
	})
	h := listen(packets, 5*time.Millisecond, 1)
	if got := h.quantile(1, 7*time.Second); got > 45*time.Millisecond {
		t.Errorf("delay %v four seconds after", got)
	}
	if s := h.leg.Stats(); s.Discarded < 100 {
		t.Errorf("%+v", s)
	}
	if h.residual > 0.003 {
		t.Errorf("click of %v at %v", h.residual, h.clickAt)
	}
	t.Log(h)
}

// A hostile stream is read out of bytes: packets with any numbers and any durations, and frames.
func hostileStream(l *Leg, data []byte) error {
	frame := make([]float32, FrameSamples)
	now := began
	room := cap(l.pcm)
	var seq uint16
	var ts uint32
	for len(data) >= 6 {
		op, a, b := data[0], binary.BigEndian.Uint16(data[1:]), binary.BigEndian.Uint16(data[3:])
		n := []int{1, 120, 480, 960, 2880, 5760, 0, 121}[data[5]&7]
		data = data[6:]
		switch op & 3 {
		case 0:
			now = now.Add(FrameDuration)
			l.Next(frame, now)
			for i, x := range frame {
				if !(x >= -1 && x <= 1) {
					return fmt.Errorf("sample %d is %v", i, x)
				}
			}
		case 1: // as it should be
			seq, ts = seq+1, ts+uint32(n)
		case 2: // a little off
			seq, ts = seq+uint16(int8(a)), ts+uint32(int32(int16(b)))
		case 3:
			seq, ts = a, uint32(a)<<16|uint32(b)
		}
		if op&3 != 0 {
			payload := tonePacket(ts, n, op&4 != 0, op>>3&1)
			if op&48 == 48 {
				payload = payload[:a%10]
			}
			l.Put(Packet{Sequence: seq, Timestamp: ts, Payload: payload, Arrival: now.Add(-time.Duration(b) * time.Microsecond), Marker: op&64 != 0})
		}
		held := 0
		for i := range l.queue.slots {
			if l.queue.slots[i].full {
				held++
			} else if l.queue.slots[i].payload != nil {
				return errors.New("a payload is kept that is gone")
			}
		}
		if held != l.queue.count {
			return fmt.Errorf("%d packets are held, %d counted", held, l.queue.count)
		}
		if cap(l.pcm) != room || cap(l.tail) != mended {
			return errors.New("the buffer has grown")
		}
	}
	// Whatever was, a stream that behaves is played, after some seconds.
	packets := speak(6*time.Second, 960, seq+1, ts+uint32(960), 0, false, stall)
	for tick := range 290 {
		for len(packets) > 0 && packets[0].Arrival.Sub(began) <= time.Duration(tick)*FrameDuration {
			p := packets[0]
			p.Arrival = now
			l.Put(p)
			packets = packets[1:]
		}
		state := l.Next(frame, now)
		now = now.Add(FrameDuration)
		if state == Silent && tick > 250 {
			return fmt.Errorf("silent in frame %d of a good stream: %+v", tick, l.Stats())
		}
	}
	return nil
}

func FuzzLeg(f *testing.F) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 0))
		data := make([]byte, 6*60)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = data[:min(len(data), 6*500)] // a longer one finds nothing more
		if err := hostileStream(NewLeg(1, &toneDecoder{channels: 1}), data); err != nil {
			t.Fatal(err)
		}
	})
}

func TestHostileStreamIsBounded(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		data := make([]byte, 6*300)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		if err := hostileStream(NewLeg(1, &toneDecoder{channels: 1}), data); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func TestFloodIsBounded(t *testing.T) {
	l := NewLeg(1, &toneDecoder{channels: 1})
	payload := tonePacket(0, 5760, false, loud)
	for i := range 100_000 {
		l.Put(Packet{Sequence: uint16(i), Timestamp: uint32(i * 5760), Payload: payload, Arrival: began})
	}
	if l.queue.count > held {
		t.Errorf("%d packets are held, want at most %d", l.queue.count, held)
	}
	frame := make([]float32, FrameSamples)
	for tick := range 10 {
		l.Next(frame, began.Add(time.Duration(tick)*FrameDuration))
	}
	if l.queue.count > 4 {
		t.Errorf("%d packets of 120 ms are still held", l.queue.count)
	}
}

func TestLegAllocatesNothing(t *testing.T) {
	for name, net := range map[string]network{"calm": calm(random(t)), "shaky, with losses": bursty(random(t), shaky(random(t)), 0.1, 2)} {
		packets := speak(20*time.Second, 960, 0, 0, 300e-6, true, net)
		slices.SortStableFunc(packets, func(a, b Packet) int { return a.Arrival.Compare(b.Arrival) })
		l := NewLeg(2, &toneDecoder{channels: 2})
		frame := make([]float32, 2*FrameSamples)
		now := began
		got := testing.AllocsPerRun(900, func() {
			now = now.Add(FrameDuration)
			for len(packets) > 0 && !packets[0].Arrival.After(now) {
				l.Put(packets[0])
				packets = packets[1:]
			}
			l.Next(frame, now)
			l.Stats()
		})
		if got != 0 {
			t.Errorf("%s: %v allocations a frame", name, got)
		}
	}
}

// The race detector looks on.
func TestPacketsMayComeWhileAFrameIsMade(t *testing.T) {
	l := NewLeg(1, &toneDecoder{channels: 1})
	packets := speak(4*time.Second, 960, 0, 0, 0, true, calm(random(t)))
	var g sync.WaitGroup
	g.Go(func() {
		for _, p := range packets {
			l.Put(p)
		}
	})
	g.Go(func() {
		for range packets {
			l.Stats()
		}
	})
	frame := make([]float32, FrameSamples)
	for i := range packets {
		l.Next(frame, began.Add(time.Duration(i)*FrameDuration))
	}
	g.Wait()
	if got := l.Stats().Packets; got != uint64(len(packets)) {
		t.Errorf("%d packets, want %d", got, len(packets))
	}
}

func benchmarkLeg(b *testing.B, drift float64, net network) {
	packets := speak(60*time.Second, 960, 0, 0, drift, false, net)
	slices.SortStableFunc(packets, func(a, b Packet) int { return a.Arrival.Compare(b.Arrival) })
	frame := make([]float32, FrameSamples)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		l := NewLeg(1, &toneDecoder{channels: 1})
		b.StartTimer()
		left := packets
		for tick := range 3000 {
			now := began.Add(time.Duration(tick) * FrameDuration)
			for len(left) > 0 && !left[0].Arrival.After(now) {
				l.Put(left[0])
				left = left[1:]
			}
			l.Next(frame, now)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/3000, "ns/frame")
}

func BenchmarkLegNext(b *testing.B) {
	b.Run("calm", func(b *testing.B) { benchmarkLeg(b, 0, calm(random(b))) })
	b.Run("drift", func(b *testing.B) { benchmarkLeg(b, 200e-6, calm(random(b))) })
	b.Run("jitter", func(b *testing.B) { benchmarkLeg(b, 0, shaky(random(b))) })
	b.Run("decoder alone", func(b *testing.B) {
		d, frame := &toneDecoder{channels: 1}, make([]float32, FrameSamples)
		payload := tonePacket(0, FrameSamples, false, loud)
		for b.Loop() {
			d.Decode(payload, frame)
		}
	})
	b.Run("silent", func(b *testing.B) {
		l := NewLeg(2, &toneDecoder{channels: 2})
		frame := make([]float32, 2*FrameSamples)
		now := began
		for b.Loop() {
			now = now.Add(FrameDuration)
			l.Next(frame, now)
		}
	})
}
