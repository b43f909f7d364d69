//go:build !libopus

package audio

var (
	newDecoderEngine = newGopusDecoder
	newEncoderEngine = newGopusEncoder
)
