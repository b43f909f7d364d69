// Package audio turns speakers' Opus into one mix: it decodes, waits out the network's
// jitter, conceals what is missing, sums, limits and encodes. It is arithmetic: it knows no
// clock, starts no goroutine and touches no network. docs/BRIDGE.md says how and why.
//
// Everywhere PCM is float32 at 48 kHz, nominally within ±1, its channels interleaved.
package audio

import "time"

const (
	SampleRate    = 48000                 // Hz
	FrameDuration = 20 * time.Millisecond // of what is mixed and sent
	FrameSamples  = 960                   // of one channel in a frame

	// MaxPacketSamples is the longest Opus packet, 120 ms, in samples of one channel (RFC
	// 6716, section 3.2.5).
	MaxPacketSamples = 5760

	// MaxPacketBytes is the longest payload that is decoded or made.
	MaxPacketBytes = 1500
)

// A Decoder decodes one stream of Opus (RFC 6716). It has a state: packets go in their
// order. One goroutine uses it. It never panics, whatever the bytes. It allocates nothing
// but, with gopus, up to 25 kB to conceal a loss or a pause (a packet of one byte).
type Decoder interface {
	// Decode fills pcm with what the packet holds and returns how many samples of one
	// channel that are. An error leaves the decoder as usable as before.
	Decode(packet []byte, pcm []float32) (int, error)

	// DecodeFEC fills pcm with the n samples of one channel before packet, out of the
	// forward error correction in it (RFC 6716, section 2.1.7), as far as it has any;
	// otherwise it conceals. n is as for Conceal.
	DecodeFEC(packet []byte, pcm []float32, n int) error

	// Conceal fills pcm with n samples of one channel for what never came. n is a multiple of
	// 120 (2.5 ms) up to MaxPacketSamples.
	Conceal(pcm []float32, n int) error
}

// An Encoder makes one stream of Opus. One goroutine uses it. It allocates nothing but, with
// gopus and forward error correction, 13 kB a frame.
type Encoder interface {
	// Encode appends to dst the packet of one frame: FrameSamples samples of each channel.
	Encode(dst []byte, pcm []float32) ([]byte, error)

	// SetComplexity trades CPU for quality: 0 to 10.
	SetComplexity(int) error
}
