package media

// Silence returns a payload of the codec that is as long in time as payload, with as many
// channels, and in which nothing is heard. It is nil for a codec other than Opus, the only
// one that the gateway takes: nothing is heard of that either. It allocates nothing, never
// panics, and what it returns must not be changed.
//
// It is Opus of its own, not the publisher's with less in it: no frame refers to another
// one's bytes, and there is no forward error correction in it that tells of what was said.
func Silence(codec *Codec, payload []byte) []byte {
	if !codec.Is("opus") {
		return nil
	}
	if len(payload) == 0 { // padding
		return payload
	}
	stereo := payload[0] >> 2 & 1
	return silences[stereo][opusTicks(payload)]
}

// maxOpusTicks is the longest Opus packet, 120 ms, in units of its shortest frame, 2.5 ms
// (RFC 6716, section 3.2.5, R5).
const maxOpusTicks = 48

// silences holds a payload for each number of channels, less one, and of units of 2.5 ms.
var silences = func() (out [2][maxOpusTicks + 1][]byte) {
	for stereo := range out {
		for ticks := 1; ticks <= maxOpusTicks; ticks++ {
			out[stereo][ticks] = opusSilence(byte(stereo), ticks)
		}
	}
	return out
}()

// opusSilence makes a packet of as few frames as its duration allows, all of CELT, full
// band, and of the bytes with which libopus says silence: they begin with the silence flag
// (RFC 6716, section 4.3).
func opusSilence(stereo byte, ticks int) []byte {
	config, frame := byte(31), 8 // 20 ms; 30, 29 and 28 have half of it, a quarter, an eighth
	for ticks%frame != 0 {
		config, frame = config-1, frame/2
	}
	toc, count := config<<3|stereo<<2, ticks/frame
	var out []byte
	switch count {
	case 1:
		out = []byte{toc} // code 0
	case 2:
		out = []byte{toc | 1} // code 1: two frames of one size
	default:
		out = []byte{toc | 3, byte(count)} // code 3, without padding, frames of one size
	}
	for range count {
		out = append(out, 0xff, 0xfe)
	}
	return out
}

// opusTicks returns the duration of an Opus packet, at least one byte long, in units of
// 2.5 ms: 1 to 48. One that says nonsense about its frames, which a decoder throws away,
// counts as one frame.
func opusTicks(packet []byte) int {
	frame := opusFrameTicks(packet[0] >> 3)
	count := 1
	switch packet[0] & 3 { // RFC 6716, section 3.2
	case 1, 2:
		count = 2
	case 3:
		if len(packet) > 1 {
			count = int(packet[1] & 0x3f)
		}
	}
	if count == 0 || count*frame > maxOpusTicks {
		return frame
	}
	return count * frame
}

// opusFrameTicks returns the duration of a frame in units of 2.5 ms (RFC 6716, section 3.1,
// table 2).
func opusFrameTicks(config byte) int {
	switch {
	case config < 12: // SILK
		return [...]int{4, 8, 16, 24}[config&3]
	case config < 16: // hybrid
		return [...]int{4, 8}[config&1]
	default: // CELT
		return 1 << (config & 3)
	}
}
