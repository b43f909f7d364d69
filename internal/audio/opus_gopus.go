package audio

import "github.com/thesyncim/gopus"

// gopusDecoder decodes with gopus, which is all Go.
type gopusDecoder struct{ *gopus.Decoder }

func newGopusDecoder(channels int) (decoderEngine, error) {
	d, err := gopus.NewDecoder(gopus.DecoderConfig{
		SampleRate: SampleRate, Channels: channels,
		MaxPacketSamples: MaxPacketSamples, MaxPacketBytes: MaxPacketBytes,
	})
	if err != nil {
		return nil, err
	}
	return gopusDecoder{d}, nil
}

func (d gopusDecoder) decode(packet []byte, pcm []float32) (int, error) {
	return d.Decode(packet, pcm)
}

// decodeFEC conceals where gopus refuses a packet that has been checked: it takes an empty first
// frame for an error.
func (d gopusDecoder) decodeFEC(packet []byte, pcm []float32) error {
	if _, err := d.DecodeWithFEC(packet, pcm, true); err == nil {
		return nil
	}
	return d.conceal(pcm)
}

// conceal goes through the branch for correction, without a packet: Decode takes room for
// the longest packet as a wish for as much as the last packet had.
func (d gopusDecoder) conceal(pcm []float32) error {
	_, err := d.DecodeWithFEC(nil, pcm, true)
	return err
}

// gopusEncoder encodes with gopus. Stereo goes without forward error correction: with it, in
// hybrid mode, v0.1.1 writes packets that every decoder makes noise of. With it, mono too, each
// frame allocates 13 kB.
type gopusEncoder struct{ *gopus.Encoder }

func newGopusEncoder(config EncoderConfig) (encoderEngine, error) {
	application, correction := gopus.ApplicationVoIP, gopus.InBandFECEnabled
	if config.LowDelay {
		application = gopus.ApplicationLowDelay
	}
	if config.LowDelay || config.Channels == 2 {
		correction = gopus.InBandFECDisabled
	}
	e, err := gopus.NewEncoder(gopus.EncoderConfig{
		SampleRate: SampleRate, Channels: config.Channels, Application: application,
	})
	if err != nil {
		return nil, err
	}
	if err := e.SetFrameSize(FrameSamples); err != nil {
		return nil, err
	}
	if err := e.SetBitrate(config.Bitrate); err != nil {
		return nil, err
	}
	if err := e.SetBitrateMode(gopus.BitrateModeCVBR); err != nil {
		return nil, err
	}
	if err := e.SetComplexity(config.Complexity); err != nil {
		return nil, err
	}
	if err := e.SetInBandFEC(correction); err != nil {
		return nil, err
	}
	if err := e.SetPacketLoss(config.Loss); err != nil {
		return nil, err
	}
	e.SetDTX(false)
	return gopusEncoder{e}, nil
}

func (e gopusEncoder) encode(pcm []float32, packet []byte) (int, error) {
	return e.Encode(pcm, packet)
}

func (e gopusEncoder) setComplexity(complexity int) error { return e.SetComplexity(complexity) }
