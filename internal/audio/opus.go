package audio

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
)

// minSamples is the shortest frame of Opus, 2.5 ms: what is concealed is a multiple of it.
const minSamples = 120

// maxSample bounds what leaves a decoder and enters an encoder. Speech that was encoded near
// full scale overshoots 1 a little, and nothing honest is far above it.
const maxSample = 4

// An EncoderConfig says what an Encoder makes.
type EncoderConfig struct {
	Channels   int // 1 or 2
	Bitrate    int // bit/s
	Complexity int // 0 to 10
	Loss       int // the loss to expect, in percent: how much forward error correction there is

	// LowDelay gives up forward error correction for a quarter of the CPU and 4 ms less delay:
	// all is coded by CELT. From 48 kbit/s on it sounds no worse.
	LowDelay bool
}

// A decoderEngine is a decoder of a library. It may panic.
type decoderEngine interface {
	decode(packet []byte, pcm []float32) (int, error)
	decodeFEC(packet []byte, pcm []float32) error // the samples of pcm before packet
	conceal(pcm []float32) error                  // all of pcm
}

// An encoderEngine is an encoder of a library. It may panic.
type encoderEngine interface {
	encode(pcm []float32, packet []byte) (int, error)
	setComplexity(int) error
}

// NewDecoder returns a decoder whose PCM has one or two channels, whatever the packets have:
// a stereo packet is mixed down for one channel, a mono packet fills both.
func NewDecoder(channels int) (Decoder, error) {
	return newDecoder(channels, newDecoderEngine)
}

// NewEncoder returns an encoder for voice with a constrained variable bitrate and in-band
// forward error correction, that sends a packet for each frame, silence or not.
func NewEncoder(config EncoderConfig) (Encoder, error) {
	return newEncoder(config, newEncoderEngine)
}

// decoder checks what goes into an engine and what comes out. It does not trust it: where
// the engine panics, a new one takes its place.
type decoder struct {
	channels int
	fresh    func(channels int) (decoderEngine, error)
	engine   decoderEngine
}

func newDecoder(channels int, fresh func(channels int) (decoderEngine, error)) (*decoder, error) {
	if channels != 1 && channels != 2 {
		return nil, fmt.Errorf("opus decoder: %d channels, want 1 or 2", channels)
	}
	engine, err := fresh(channels)
	if err != nil {
		return nil, fmt.Errorf("opus decoder: %w", err)
	}
	return &decoder{channels: channels, fresh: fresh, engine: engine}, nil
}

func (d *decoder) Decode(packet []byte, pcm []float32) (n int, err error) {
	samples, err := PacketSamples(packet)
	if err != nil {
		return 0, err
	}
	pcm, err = d.room(pcm, samples)
	if err != nil {
		return 0, err
	}
	defer d.survive(&err)
	n, err = d.engine.decode(packet, pcm)
	if err == nil && n != samples {
		err = fmt.Errorf("%d samples, want %d", n, samples)
	}
	if err != nil {
		return 0, fmt.Errorf("decode: %w", err)
	}
	tame(pcm)
	return n, nil
}

func (d *decoder) DecodeFEC(packet []byte, pcm []float32, n int) (err error) {
	if _, err := PacketSamples(packet); err != nil {
		return err
	}
	pcm, err = d.lost(pcm, n)
	if err != nil {
		return err
	}
	defer d.survive(&err)
	if err := d.engine.decodeFEC(packet, pcm); err != nil {
		return fmt.Errorf("decode the correction: %w", err)
	}
	tame(pcm)
	return nil
}

func (d *decoder) Conceal(pcm []float32, n int) (err error) {
	pcm, err = d.lost(pcm, n)
	if err != nil {
		return err
	}
	defer d.survive(&err)
	if err := d.engine.conceal(pcm); err != nil {
		return fmt.Errorf("conceal: %w", err)
	}
	tame(pcm)
	return nil
}

// lost is room for n samples that never came.
func (d *decoder) lost(pcm []float32, n int) ([]float32, error) {
	if n <= 0 || n > MaxPacketSamples || n%minSamples != 0 {
		return nil, fmt.Errorf("%d samples to conceal: want a multiple of %d, at most %d", n, minSamples, MaxPacketSamples)
	}
	return d.room(pcm, n)
}

// room returns the part of pcm, to its capacity, that n samples of each channel fill.
func (d *decoder) room(pcm []float32, n int) ([]float32, error) {
	if n *= d.channels; len(pcm) >= n {
		return pcm[:n:n], nil
	}
	return nil, fmt.Errorf("room for %d samples, need %d", len(pcm), n)
}

// survive is deferred: it makes an error of a panic and replaces the engine.
func (d *decoder) survive(err *error) {
	cause := recover()
	if cause == nil {
		return
	}
	*err = fmt.Errorf("opus decoder panicked: %v", cause)
	if engine, fail := d.fresh(d.channels); fail == nil {
		d.engine = engine
	}
}

// encoder checks and replaces its engine as decoder does.
type encoder struct {
	config EncoderConfig
	fresh  func(EncoderConfig) (encoderEngine, error)
	engine encoderEngine
	pcm    []float32 // the frame, tamed
	hush   []float32 // what a silent frame is encoded as
}

func newEncoder(config EncoderConfig, fresh func(EncoderConfig) (encoderEngine, error)) (*encoder, error) {
	if config.Channels != 1 && config.Channels != 2 {
		return nil, fmt.Errorf("opus encoder: %d channels, want 1 or 2", config.Channels)
	}
	engine, err := fresh(config)
	if err != nil {
		return nil, fmt.Errorf("opus encoder: %w", err)
	}
	e := &encoder{
		config: config, fresh: fresh, engine: engine,
		pcm:  make([]float32, FrameSamples*config.Channels),
		hush: make([]float32, FrameSamples*config.Channels),
	}
	random := rand.New(rand.NewPCG(0, 0))
	for i := range e.hush {
		e.hush[i] = inaudible * (2*random.Float32() - 1)
	}
	return e, nil
}

// inaudible is 180 dB below full scale and as good as silence, for an encoder too. It is not
// zero: in zeros an encoder's filters fade until they compute with denormal numbers, which
// takes gopus up to fifteen times as long.
const inaudible = 1e-9

func (e *encoder) Encode(dst []byte, pcm []float32) (packet []byte, err error) {
	if len(pcm) != len(e.pcm) {
		return dst, fmt.Errorf("encode: %d samples, want %d", len(pcm), len(e.pcm))
	}
	copy(e.pcm, pcm)
	tame(e.pcm)
	if peak(e.pcm) < inaudible {
		copy(e.pcm, e.hush)
	}
	dst = slices.Grow(dst, 1+maxFrameBytes)
	packet = dst
	defer e.survive(&err)
	n, err := e.engine.encode(e.pcm, dst[len(dst):len(dst)+1+maxFrameBytes])
	if err == nil && n == 0 {
		err = errors.New("no packet")
	}
	if err != nil {
		return dst, fmt.Errorf("encode: %w", err)
	}
	return dst[:len(dst)+n], nil
}

func (e *encoder) SetComplexity(complexity int) (err error) {
	defer e.survive(&err)
	if err := e.engine.setComplexity(complexity); err != nil {
		return fmt.Errorf("set complexity %d: %w", complexity, err)
	}
	e.config.Complexity = complexity
	return nil
}

// survive is deferred: it makes an error of a panic and replaces the engine.
func (e *encoder) survive(err *error) {
	cause := recover()
	if cause == nil {
		return
	}
	*err = fmt.Errorf("opus encoder panicked: %v", cause)
	if engine, fail := e.fresh(e.config); fail == nil {
		e.engine = engine
	}
}

// tame takes out of pcm what could spoil all mixes that it goes into, and every state
// behind them: infinity, what is no number, and what is far too loud.
func tame(pcm []float32) {
	for i, s := range pcm {
		if s >= -maxSample && s <= maxSample {
			continue
		}
		switch {
		case s > maxSample:
			pcm[i] = maxSample
		case s < -maxSample:
			pcm[i] = -maxSample
		default:
			pcm[i] = 0
		}
	}
}
