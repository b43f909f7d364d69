package audio

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/thesyncim/gopus"
)

// A library is an implementation of Opus. What is tested of one holds for each, and for each
// that decodes what another has encoded.
type library struct {
	name    string
	decoder func(channels int) (decoderEngine, error)
	encoder func(EncoderConfig) (encoderEngine, error)
}

var libraries = []library{{"gopus", newGopusDecoder, newGopusEncoder}}

// eachPair runs a test for each pair of an encoding and a decoding library.
func eachPair(t *testing.T, test func(t *testing.T, enc, dec library)) {
	for _, enc := range libraries {
		for _, dec := range libraries {
			t.Run(enc.name+" to "+dec.name, func(t *testing.T) { test(t, enc, dec) })
		}
	}
}

func (l library) newDecoder(t testing.TB, channels int) *decoder {
	t.Helper()
	d, err := newDecoder(channels, l.decoder)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (l library) newEncoder(t testing.TB, config EncoderConfig) *encoder {
	t.Helper()
	e, err := newEncoder(config, l.encoder)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func mono(complexity int) EncoderConfig {
	return EncoderConfig{Channels: 1, Bitrate: 48000, Complexity: complexity, Loss: 10}
}

func stereo(complexity int) EncoderConfig {
	return EncoderConfig{Channels: 2, Bitrate: 64000, Complexity: complexity, Loss: 10}
}

func lowDelay(complexity int) EncoderConfig {
	return EncoderConfig{Channels: 1, Bitrate: 48000, Complexity: complexity, LowDelay: true}
}

// mustEncode encodes whole frames of pcm into a packet each.
func mustEncode(t testing.TB, e *encoder, pcm []float32) [][]byte {
	t.Helper()
	var packets [][]byte
	frame := len(e.pcm)
	for ; len(pcm) >= frame; pcm = pcm[frame:] {
		packet, err := e.Encode(nil, pcm[:frame])
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, packet)
	}
	return packets
}

func mustDecode(t testing.TB, d *decoder, packets [][]byte) []float32 {
	t.Helper()
	var pcm []float32
	frame := make([]float32, MaxPacketSamples*d.channels)
	for _, packet := range packets {
		n, err := d.Decode(packet, frame)
		if err != nil {
			t.Fatal(err)
		}
		pcm = append(pcm, frame[:n*d.channels]...)
	}
	return pcm
}

// tone returns a sine, mono.
func tone(frequency, amplitude float64, frames int) []float32 {
	pcm := make([]float32, frames*FrameSamples)
	for i := range pcm {
		pcm[i] = float32(amplitude * math.Sin(2*math.Pi*frequency*float64(i)/SampleRate))
	}
	return pcm
}

// amplitude returns how loud the sine of a frequency is in pcm, in dB over an amplitude of 1:
// a Goertzel filter under a Hann window.
func amplitude(pcm []float32, frequency float64) float64 {
	coefficient := 2 * math.Cos(2*math.Pi*frequency/SampleRate)
	var s1, s2 float64
	for i, s := range pcm {
		window := 1 - math.Cos(2*math.Pi*float64(i)/float64(len(pcm)))
		s1, s2 = window*float64(s)+coefficient*s1-s2, s1
	}
	power := s1*s1 + s2*s2 - coefficient*s1*s2
	return 20 * math.Log10(2*math.Sqrt(max(power, 1e-30))/float64(len(pcm)))
}

// channel returns one channel of interleaved stereo.
func channel(pcm []float32, c int) []float32 {
	one := make([]float32, len(pcm)/2)
	for i := range one {
		one[i] = pcm[2*i+c]
	}
	return one
}

// interleave makes stereo of two channels.
func interleave(left, right []float32) []float32 {
	both := make([]float32, 2*len(left))
	for i := range left {
		both[2*i], both[2*i+1] = left[i], right[i]
	}
	return both
}

// voice returns something like speech, mono: glottal pulses whose pitch wanders, through the
// formants of changing vowels, hisses between them and pauses.
func voice(frames int) []float32 {
	random := rand.New(rand.NewPCG(1, 2))
	vowels := [][3]float64{{700, 1220, 2600}, {390, 1990, 2550}, {270, 2290, 3010}, {450, 880, 2830}, {300, 870, 2240}}
	pcm := make([]float32, frames*FrameSamples)
	var phase float64
	var memory [3][2]float64
	for i := range pcm {
		seconds := float64(i) / SampleRate
		syllable := int(seconds * 4)
		within := seconds*4 - float64(syllable)
		var source float64
		switch {
		case syllable%7 == 6: // a pause
		case within < 0.25:
			source = 0.05 * random.NormFloat64()
		default:
			phase += (120 + 30*math.Sin(2*math.Pi*0.7*seconds)) / SampleRate
			if phase >= 1 {
				phase--
				source = 8
			}
			source += 0.01 * random.NormFloat64()
		}
		envelope := math.Sin(math.Pi * within)
		out := 0.0
		for f, frequency := range vowels[syllable%len(vowels)] {
			radius := math.Exp(-math.Pi * 80 / SampleRate)
			m := &memory[f]
			y := (1-radius)*source + 2*radius*math.Cos(2*math.Pi*frequency/SampleRate)*m[0] - radius*radius*m[1]
			m[0], m[1] = y, m[0]
			out += y
		}
		pcm[i] = float32(min(max(0.6*envelope*out, -0.7), 0.7))
	}
	return pcm
}

func TestToneSurvivesOpus(t *testing.T) {
	eachPair(t, func(t *testing.T, enc, dec library) {
		for _, config := range []EncoderConfig{mono(0), mono(5), mono(10), lowDelay(0)} {
			packets := mustEncode(t, enc.newEncoder(t, config), tone(1000, 0.25, 100))
			pcm := mustDecode(t, dec.newDecoder(t, 1), packets)
			if got := amplitude(pcm[SampleRate:], 1000); math.Abs(got+12) > 1 {
				t.Errorf("%+v: 1 kHz at %.1f dB, want -12", config, got)
			}
			if got := amplitude(pcm[SampleRate:], 1700); got > -60 {
				t.Errorf("%+v: 1.7 kHz at %.1f dB, want nothing", config, got)
			}
		}
	})
}

func TestStereoStaysApart(t *testing.T) {
	eachPair(t, func(t *testing.T, enc, dec library) {
		pcm := interleave(tone(500, 0.25, 100), tone(900, 0.25, 100))
		packets := mustEncode(t, enc.newEncoder(t, stereo(5)), pcm)
		pcm = mustDecode(t, dec.newDecoder(t, 2), packets)[2*SampleRate:]
		for _, tt := range []struct {
			channel     int
			own, others float64
		}{{0, 500, 900}, {1, 900, 500}} {
			one := channel(pcm, tt.channel)
			if own, others := amplitude(one, tt.own), amplitude(one, tt.others); math.Abs(own+12) > 1 || others > own-20 {
				t.Errorf("channel %d: own tone at %.1f dB, want -12; the other's at %.1f, want 20 dB less", tt.channel, own, others)
			}
		}
	})
}

func TestOneChannelHearsBothOfStereo(t *testing.T) {
	eachPair(t, func(t *testing.T, enc, dec library) {
		pcm := interleave(tone(500, 0.25, 100), tone(900, 0.25, 100))
		packets := mustEncode(t, enc.newEncoder(t, stereo(5)), pcm)
		pcm = mustDecode(t, dec.newDecoder(t, 1), packets)[SampleRate:]
		for _, frequency := range []float64{500, 900} {
			if got := amplitude(pcm, frequency); math.Abs(got+18) > 1 { // (l + r) / 2
				t.Errorf("%v Hz at %.1f dB, want -18", frequency, got)
			}
		}
	})
}

func TestTwoChannelsHearMono(t *testing.T) {
	eachPair(t, func(t *testing.T, enc, dec library) {
		packets := mustEncode(t, enc.newEncoder(t, mono(5)), tone(500, 0.25, 100))
		pcm := mustDecode(t, dec.newDecoder(t, 2), packets)[2*SampleRate:]
		for c := range 2 {
			if got := amplitude(channel(pcm, c), 500); math.Abs(got+12) > 1 {
				t.Errorf("channel %d: 500 Hz at %.1f dB, want -12", c, got)
			}
		}
	})
}

// distance returns how far got is from want, in dB of its power.
func distance(got, want []float32) float64 {
	var signal, noise float64
	for i := range want {
		signal += float64(want[i]) * float64(want[i])
		noise += float64(got[i]-want[i]) * float64(got[i]-want[i])
	}
	return 10 * math.Log10(noise/signal)
}

// delayed returns how far got is from want in dB, less the 2.5 ms, or 6.5, that Opus takes.
func delayed(got, want []float32) float64 {
	best := math.Inf(1)
	for i := range 10 {
		for _, delay := range []int{115 + i, 305 + i} {
			best = min(best, distance(got[delay:], want[:len(want)-delay]))
		}
	}
	return best
}

// TestVoiceKeepsItsShape compares waves, which voice's own highpass keeps from more than 8 dB.
// It is for what tones do not find, such as stereo that falls apart.
func TestVoiceKeepsItsShape(t *testing.T) {
	speech := voice(60)
	eachPair(t, func(t *testing.T, enc, dec library) {
		for _, level := range []float64{-35, -15} {
			pcm := at(level, speech)
			for _, config := range []EncoderConfig{mono(0), mono(5), mono(10), lowDelay(0), stereo(0), stereo(5)} {
				in := pcm
				if config.Channels == 2 {
					in = interleave(pcm, at(level-3, pcm))
				}
				out := mustDecode(t, dec.newDecoder(t, config.Channels), mustEncode(t, enc.newEncoder(t, config), in))
				if config.Channels == 2 {
					out = channel(out, 0)
				}
				if got := delayed(out, pcm); got > -6 {
					t.Errorf("%+v: voice at %v dBov is off by %.1f dB, want below -6", config, level, got)
				}
			}
		}
	})
}

// TestCorrectionBringsBackWhatWasLost loses every fifth packet and restores it once out of the
// packet after it and once out of nothing.
func TestCorrectionBringsBackWhatWasLost(t *testing.T) {
	eachPair(t, func(t *testing.T, enc, dec library) {
		configs := []EncoderConfig{mono(0), mono(5)}
		if enc.name != "gopus" { // which has no correction in stereo
			configs = append(configs, stereo(5))
		}
		for _, config := range configs {
			pcm := voice(300)
			if config.Channels == 2 {
				pcm = interleave(pcm, pcm)
			}
			packets := mustEncode(t, enc.newEncoder(t, config), pcm)
			correction, concealment := losses(t, dec, config.Channels, packets)
			t.Logf("%s: lost frames are off by %.1f dB with correction, by %.1f without", name(config), correction, concealment)
			if correction > -6 || correction > concealment-6 {
				t.Errorf("%s: lost frames are off by %.1f dB with correction, by %.1f without: want at least 6 dB better", name(config), correction, concealment)
			}
		}
	})
}

// losses returns how far lost frames are from what they would have been, in dB, with
// correction and without.
func losses(t *testing.T, l library, channels int, packets [][]byte) (correction, concealment float64) {
	t.Helper()
	want := mustDecode(t, l.newDecoder(t, channels), packets)
	corrected, corrector := make([]float32, len(want)), l.newDecoder(t, channels)
	concealed, concealer := make([]float32, len(want)), l.newDecoder(t, channels)
	var lost [3][]float32
	for i, packet := range packets {
		from, to := i*FrameSamples*channels, (i+1)*FrameSamples*channels
		var errs [2]error
		if i%5 == 4 && i+1 < len(packets) {
			errs[0] = corrector.DecodeFEC(packets[i+1], corrected[from:to], FrameSamples)
			errs[1] = concealer.Conceal(concealed[from:to], FrameSamples)
			for j, pcm := range [][]float32{want, corrected, concealed} {
				lost[j] = append(lost[j], pcm[from:to]...)
			}
		} else {
			_, errs[0] = corrector.Decode(packet, corrected[from:to])
			_, errs[1] = concealer.Decode(packet, concealed[from:to])
		}
		if err := errors.Join(errs[:]...); err != nil {
			t.Fatal(err)
		}
	}
	return distance(lost[1], lost[0]), distance(lost[2], lost[0])
}

func TestConcealsAnyDuration(t *testing.T) {
	eachPair(t, func(t *testing.T, enc, dec library) {
		packets := mustEncode(t, enc.newEncoder(t, mono(5)), tone(400, 0.25, 50))
		for n := minSamples; n <= MaxPacketSamples; n += minSamples {
			d := dec.newDecoder(t, 1)
			mustDecode(t, d, packets)
			pcm := make([]float32, 2*MaxPacketSamples)
			for i := range pcm {
				pcm[i] = 3
			}
			if err := d.Conceal(pcm, n); err != nil {
				t.Fatalf("%d samples: %v", n, err)
			}
			if loudest := peak(pcm[:n]); loudest > 1 || loudest < 0.01 {
				t.Errorf("%d samples: up to %v, want the tone to go on", n, loudest)
			}
			if pcm[n] != 3 {
				t.Errorf("%d samples: wrote more", n)
			}
			if err := d.DecodeFEC(packets[0], pcm, n); err != nil {
				t.Errorf("%d samples before a packet: %v", n, err)
			}
		}
	})
}

func TestDecoderRefusesWhatDoesNotFit(t *testing.T) {
	for _, l := range libraries {
		d := l.newDecoder(t, 2)
		packet := mustEncode(t, l.newEncoder(t, stereo(5)), make([]float32, 2*FrameSamples))[0]
		pcm := make([]float32, 2*MaxPacketSamples)
		if _, err := d.Decode(packet, pcm[:2*FrameSamples-1]); err == nil {
			t.Errorf("%s decodes into too little room", l.name)
		}
		for _, n := range []int{-120, 0, 1, 959, MaxPacketSamples + 120} {
			if d.Conceal(pcm, n) == nil || d.DecodeFEC(packet, pcm, n) == nil {
				t.Errorf("%s conceals %d samples", l.name, n)
			}
		}
		if n, err := d.Decode(packet, pcm); n != FrameSamples || err != nil {
			t.Errorf("%s then decodes %d samples, %v, want %d", l.name, n, err, FrameSamples)
		}
	}
	for _, channels := range []int{-1, 0, 3} {
		if _, err := NewDecoder(channels); err == nil {
			t.Errorf("a decoder with %d channels", channels)
		}
		if _, err := NewEncoder(EncoderConfig{Channels: channels, Bitrate: 48000}); err == nil {
			t.Errorf("an encoder with %d channels", channels)
		}
	}
	for _, config := range []EncoderConfig{
		{Channels: 1, Bitrate: -5},
		{Channels: 1, Bitrate: 48000, Complexity: 11},
		{Channels: 1, Bitrate: 48000, Loss: 101},
	} {
		if _, err := NewEncoder(config); err == nil {
			t.Errorf("an encoder with %+v", config)
		}
	}
}

func TestEncoderSendsEveryFrame(t *testing.T) {
	for _, l := range libraries {
		for _, config := range []EncoderConfig{mono(0), mono(5), stereo(5), lowDelay(0)} {
			e := l.newEncoder(t, config)
			frame := make([]float32, FrameSamples*config.Channels)
			for i := range 200 {
				packet, err := e.Encode([]byte("before"), frame)
				if err != nil {
					t.Fatal(err)
				}
				packet, ours := bytes.CutPrefix(packet, []byte("before"))
				if n, err := PacketSamples(packet); !ours || n != FrameSamples || err != nil || len(packet) < 3 {
					t.Fatalf("%s %+v: frame %d of silence is %x after %q, %d samples, %v; want a packet of a frame", l.name, config, i, packet, "before", n, err)
				}
			}
		}
	}
}

// TestSilenceStaysSilent finds no more than what an ear with good headphones would miss.
func TestSilenceStaysSilent(t *testing.T) {
	eachPair(t, func(t *testing.T, enc, dec library) {
		for _, config := range []EncoderConfig{mono(0), mono(5), lowDelay(0)} {
			packets := mustEncode(t, enc.newEncoder(t, config), make([]float32, 100*FrameSamples))
			if got := Level(mustDecode(t, dec.newDecoder(t, 1), packets)); got < 80 {
				t.Errorf("%+v: silence comes out at -%d dBov, want below -80", config, got)
			}
		}
	})
}

// everyPacket returns a packet of each of the 32 configurations, mono and stereo, and some
// that hold several frames.
func everyPacket(t testing.TB) [][]byte {
	t.Helper()
	var packets [][]byte
	found := map[byte]bool{}
	pcm := voice(60)
	try := func(mode gopus.EncoderMode, bandwidth gopus.Bandwidth, samples, channels int) {
		application := gopus.ApplicationVoIP
		if samples < SampleRate/100 {
			application = gopus.ApplicationLowDelay
		}
		e, err := gopus.NewEncoder(gopus.EncoderConfig{SampleRate: SampleRate, Channels: channels, Application: application})
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{
			e.SetFrameSize(samples), e.SetBitrate(40000 * channels), e.SetMode(mode), e.SetBandwidth(bandwidth),
			e.SetForceChannels(channels), e.SetInBandFEC(gopus.InBandFECEnabled), e.SetPacketLoss(20),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		var repacketizer gopus.Repacketizer
		packet := make([]byte, MaxPacketBytes)
		for i := range 6 {
			from := 20*FrameSamples + i*samples*channels
			n, err := e.Encode(pcm[from:from+samples*channels], packet)
			if err != nil {
				t.Fatal(err)
			}
			if i < 4 {
				continue
			}
			found[packet[0]&^3] = true
			packets = append(packets, bytes.Clone(packet[:n]))
			if err := repacketizer.Cat(bytes.Clone(packet[:n])); err != nil {
				continue
			}
		}
		if n, err := repacketizer.Out(packet); err == nil {
			packets = append(packets, bytes.Clone(packet[:n]))
		}
	}
	for channels := 1; channels <= 2; channels++ {
		for _, bandwidth := range []gopus.Bandwidth{gopus.BandwidthNarrowband, gopus.BandwidthMediumband, gopus.BandwidthWideband} {
			for _, ms := range []int{10, 20, 40, 60} {
				try(gopus.EncoderModeSILK, bandwidth, ms*SampleRate/1000, channels)
			}
		}
		for _, bandwidth := range []gopus.Bandwidth{gopus.BandwidthSuperwideband, gopus.BandwidthFullband} {
			for _, ms := range []int{10, 20} {
				try(gopus.EncoderModeHybrid, bandwidth, ms*SampleRate/1000, channels)
			}
		}
		for _, bandwidth := range []gopus.Bandwidth{gopus.BandwidthNarrowband, gopus.BandwidthWideband, gopus.BandwidthSuperwideband, gopus.BandwidthFullband} {
			for _, samples := range []int{120, 240, 480, 960} {
				try(gopus.EncoderModeCELT, bandwidth, samples, channels)
			}
		}
	}
	if len(found) != 64 {
		t.Errorf("packets of %d configurations, want 32 mono and 32 stereo: %v", len(found), found)
	}
	return packets
}

func TestDecodesEveryConfiguration(t *testing.T) {
	for _, packet := range everyPacket(t) {
		want, err := PacketSamples(packet)
		if err != nil {
			t.Fatalf("%x: %v", packet, err)
		}
		for _, l := range libraries {
			for channels := 1; channels <= 2; channels++ {
				pcm := make([]float32, MaxPacketSamples*channels)
				if got, err := l.newDecoder(t, channels).Decode(packet, pcm); got != want || err != nil {
					t.Errorf("%s: configuration %d, %d bytes: %d samples, %v, want %d", l.name, packet[0]>>3, len(packet), got, err, want)
				}
			}
		}
	}
}

// hostile decodes a packet every way and checks what comes out.
func hostile(t *testing.T, d *decoder, packet []byte, pcm []float32) {
	t.Helper()
	n, err := d.Decode(packet, pcm)
	if want, bad := PacketSamples(packet); (bad != nil && err == nil) || (err == nil && n != want) {
		t.Fatalf("%x: decoded %d samples, %v, want %d, %v", packet, n, err, want, bad)
	}
	if err == nil {
		if loudest := peak(pcm[:n*d.channels]); !(loudest <= maxSample) {
			t.Fatalf("%x: up to %v, want at most %v", packet, loudest, maxSample)
		}
	}
}

// TestHostilePacketsCostNothing decodes noise and packets with flipped bits: no panic, no
// memory, and an engine as good as new.
func TestHostilePacketsCostNothing(t *testing.T) {
	rounds := 120000
	if raceEnabled {
		rounds = 4000
	}
	good := everyPacket(t)
	for _, l := range libraries {
		t.Run(l.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(3, 4))
			panics := -2 // both begin with a fresh engine
			l.decoder = func(fresh func(int) (decoderEngine, error)) func(int) (decoderEngine, error) {
				return func(channels int) (decoderEngine, error) { panics++; return fresh(channels) }
			}(l.decoder)
			decoders := []*decoder{l.newDecoder(t, 1), l.newDecoder(t, 2)}
			pcm := make([]float32, 2*MaxPacketSamples)
			buffer := make([]byte, 0, 2*MaxPacketBytes)
			refused := 0
			decode := func(rounds int) {
				for range rounds {
					packet := buffer[:random.IntN(200)]
					if random.IntN(2) == 0 {
						for i := range packet {
							packet[i] = byte(random.Uint32())
						}
					} else {
						packet = append(buffer, good[random.IntN(len(good))]...)
						for range 1 + random.IntN(8) {
							packet[random.IntN(len(packet))] ^= 1 << random.IntN(8)
						}
						packet = packet[:len(packet)-random.IntN(2)*random.IntN(len(packet))]
					}
					d := decoders[random.IntN(2)]
					switch random.IntN(8) {
					case 0:
						_ = d.DecodeFEC(packet, pcm, minSamples*(1+random.IntN(48)))
					case 1:
						if err := d.Conceal(pcm, minSamples*(1+random.IntN(48))); err != nil {
							t.Fatal(err)
						}
					default:
						if _, err := PacketSamples(packet); err != nil {
							refused++
						}
						hostile(t, d, packet, pcm)
					}
				}
			}
			decode(rounds / 10)
			before := heap()
			decode(rounds - rounds/10)
			if after := heap(); after > before+1<<20 {
				t.Errorf("the heap has grown from %d to %d bytes", before, after)
			}
			t.Logf("%d packets: %d refused by their framing, %d panics inside %s", rounds, refused, panics, l.name)

			packets := mustEncode(t, l.newEncoder(t, mono(5)), tone(1000, 0.25, 100))
			if got := amplitude(mustDecode(t, decoders[0], packets)[SampleRate:], 1000); math.Abs(got+12) > 1 {
				t.Errorf("afterwards 1 kHz comes out at %.1f dB, want -12", got)
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func FuzzDecode(f *testing.F) {
	for _, packet := range everyPacket(f) {
		f.Add(packet, false)
		f.Add(packet, true)
	}
	f.Add([]byte{8<<3 | 2, 0}, false) // two frames, the first of them empty
	f.Fuzz(func(t *testing.T, packet []byte, stereo bool) {
		channels := 1
		if stereo {
			channels = 2
		}
		for _, l := range libraries {
			d := l.newDecoder(t, channels)
			pcm := make([]float32, MaxPacketSamples*channels)
			hostile(t, d, packet, pcm)
			hostile(t, d, packet, pcm)
			_, refused := PacketSamples(packet)
			if err := d.DecodeFEC(packet, pcm, FrameSamples); (err == nil) != (refused == nil) {
				t.Errorf("correction out of a packet: %v, want %v", err, refused)
			}
			if err := d.Conceal(pcm, FrameSamples); err != nil {
				t.Error(err)
			}
		}
	})
}

// brittle is an engine that breaks.
type brittle struct{ cause any }

func (b *brittle) fail() {
	if b.cause != nil {
		panic(b.cause)
	}
}
func (b *brittle) decode(_ []byte, pcm []float32) (int, error) { b.fail(); return len(pcm), nil }
func (b *brittle) decodeFEC([]byte, []float32) error           { b.fail(); return nil }
func (b *brittle) conceal([]float32) error                     { b.fail(); return nil }
func (b *brittle) encode([]float32, []byte) (int, error)       { b.fail(); return 1, nil }
func (b *brittle) setComplexity(int) error                     { b.fail(); return nil }

func TestPanicCostsAnEngineItsState(t *testing.T) {
	cause := any("index out of range")
	var broken *brittle
	d, err := newDecoder(1, func(int) (decoderEngine, error) { broken = &brittle{}; return broken, nil })
	if err != nil {
		t.Fatal(err)
	}
	var config EncoderConfig
	e, err := newEncoder(EncoderConfig{Channels: 1}, func(c EncoderConfig) (encoderEngine, error) {
		config = c
		broken = &brittle{}
		return broken, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	pcm, packet := make([]float32, FrameSamples), []byte{31 << 3}
	for _, tt := range []struct {
		name string
		do   func() error
	}{
		{"decode", func() error { _, err := d.Decode(packet, pcm); return err }},
		{"correct", func() error { return d.DecodeFEC(packet, pcm, FrameSamples) }},
		{"conceal", func() error { return d.Conceal(pcm, FrameSamples) }},
		{"encode", func() error { _, err := e.Encode(nil, pcm); return err }},
		{"complexity", func() error { return e.SetComplexity(3) }},
	} {
		d.engine.(*brittle).cause, e.engine.(*brittle).cause = cause, cause
		if err := tt.do(); err == nil {
			t.Errorf("%s: a panic is no error", tt.name)
		}
		if err := tt.do(); err != nil {
			t.Errorf("%s: after a panic: %v", tt.name, err)
		}
	}
	if e.engine.(*brittle).cause = cause; e.SetComplexity(7) == nil || config.Complexity != 3 {
		t.Errorf("the encoder after a panic has complexity %d, want 3", config.Complexity)
	}
}

func TestNoNumberStaysOutside(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	got := []float32{0.5, nan, inf, -inf, 100, -100, -4, 4}
	tame(got)
	if want := fmt.Sprint([]float32{0.5, 0, 4, -4, 4, -4, -4, 4}); fmt.Sprint(got) != want {
		t.Errorf("tame: %v, want %v", got, want)
	}
	eachPair(t, func(t *testing.T, enc, dec library) {
		pcm := tone(1000, 0.25, 100)
		for i := range FrameSamples {
			pcm[10*FrameSamples+i] = nan
			pcm[20*FrameSamples+i] = inf
		}
		packets := mustEncode(t, enc.newEncoder(t, mono(5)), pcm)
		if got := amplitude(mustDecode(t, dec.newDecoder(t, 1), packets)[SampleRate:], 1000); math.Abs(got+12) > 1 {
			t.Errorf("after frames that are no numbers 1 kHz comes out at %.1f dB, want -12", got)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, l := range libraries {
		for _, config := range []EncoderConfig{mono(5), lowDelay(5), stereo(5)} {
			packets := mustEncode(b, l.newEncoder(b, config), voice(500))
			d, pcm := l.newDecoder(b, config.Channels), make([]float32, 2*MaxPacketSamples)
			b.Run(l.name+"/"+name(config), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, err := d.Decode(packets[i%len(packets)], pcm); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkDecodePause is what a sender in a pause sends: packets of one byte.
func BenchmarkDecodePause(b *testing.B) {
	for _, l := range libraries {
		packets := mustEncode(b, l.newEncoder(b, mono(5)), voice(50))
		d, pcm := l.newDecoder(b, 1), make([]float32, MaxPacketSamples)
		mustDecode(b, d, packets)
		pause := packets[0][:1]
		b.Run(l.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Decode(pause, pcm); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkConceal is one loss in two packets.
func BenchmarkConceal(b *testing.B) {
	for _, l := range libraries {
		packets := mustEncode(b, l.newEncoder(b, mono(5)), voice(500))
		for _, correct := range []bool{false, true} {
			d, pcm := l.newDecoder(b, 1), make([]float32, MaxPacketSamples)
			b.Run(fmt.Sprintf("%s/correct=%v", l.name, correct), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i += 2 {
					packet := packets[i%len(packets)]
					var err error
					if correct {
						err = d.DecodeFEC(packet, pcm, FrameSamples)
					} else {
						err = d.Conceal(pcm, FrameSamples)
					}
					if err != nil {
						b.Fatal(err)
					}
					if _, err := d.Decode(packet, pcm); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func name(config EncoderConfig) string {
	name := []string{"", "mono", "stereo"}[config.Channels]
	if config.LowDelay {
		name = "lowdelay"
	}
	return fmt.Sprintf("%s,complexity=%d", name, config.Complexity)
}

func benchmarkEncode(b *testing.B, pcm []float32) {
	var configs []EncoderConfig
	for _, complexity := range []int{0, 2, 5, 10} {
		configs = append(configs, mono(complexity), lowDelay(complexity))
	}
	for _, l := range libraries {
		for _, config := range append(configs, stereo(5)) {
			e, buffer := l.newEncoder(b, config), make([]byte, 0, MaxPacketBytes)
			frame := FrameSamples * config.Channels
			b.Run(l.name+"/"+name(config), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, err := e.Encode(buffer, pcm[i%(len(pcm)/frame)*frame:][:frame]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkEncode(b *testing.B) { benchmarkEncode(b, voice(500)) }

func BenchmarkEncodeSilence(b *testing.B) { benchmarkEncode(b, make([]float32, 100*FrameSamples)) }
