//go:build libopus

package audio

import "gopkg.in/hraban/opus.v2"

// Built with -tags libopus,nolibopusfile and cgo, everything runs on libopus instead.
var (
	newDecoderEngine = newLibopusDecoder
	newEncoderEngine = newLibopusEncoder
)

// libopusDecoder decodes with libopus. Its methods take a slice to its capacity.
type libopusDecoder struct{ *opus.Decoder }

func newLibopusDecoder(channels int) (decoderEngine, error) {
	d, err := opus.NewDecoder(SampleRate, channels)
	if err != nil {
		return nil, err
	}
	return libopusDecoder{d}, nil
}

func (d libopusDecoder) decode(packet []byte, pcm []float32) (int, error) {
	return d.DecodeFloat32(packet, pcm)
}

func (d libopusDecoder) decodeFEC(packet []byte, pcm []float32) error {
	return d.DecodeFECFloat32(packet, pcm)
}

func (d libopusDecoder) conceal(pcm []float32) error { return d.DecodePLCFloat32(pcm) }

// libopusEncoder encodes with libopus, whose defaults are constrained variable bitrate and
// no pauses.
type libopusEncoder struct{ *opus.Encoder }

func newLibopusEncoder(config EncoderConfig) (encoderEngine, error) {
	application := opus.AppVoIP
	if config.LowDelay {
		application = opus.AppRestrictedLowdelay
	}
	e, err := opus.NewEncoder(SampleRate, config.Channels, application)
	if err != nil {
		return nil, err
	}
	if err := e.SetBitrate(config.Bitrate); err != nil {
		return nil, err
	}
	if err := e.SetComplexity(config.Complexity); err != nil {
		return nil, err
	}
	if err := e.SetInBandFEC(!config.LowDelay); err != nil {
		return nil, err
	}
	if err := e.SetPacketLossPerc(config.Loss); err != nil {
		return nil, err
	}
	return libopusEncoder{e}, nil
}

func (e libopusEncoder) encode(pcm []float32, packet []byte) (int, error) {
	return e.EncodeFloat32(pcm, packet[:len(packet):len(packet)])
}

func (e libopusEncoder) setComplexity(complexity int) error { return e.SetComplexity(complexity) }
