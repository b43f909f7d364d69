package audio

import (
	"errors"
	"fmt"
)

// ErrPacket is what every error wraps that says that bytes are no Opus packet.
var ErrPacket = errors.New("not an Opus packet")

// maxFrameBytes is the longest frame in a packet (RFC 6716, section 3.4, R2).
const maxFrameBytes = 1275

// PacketSamples returns how many samples of one channel, at 48 kHz, an Opus packet holds:
// 120 (2.5 ms) to MaxPacketSamples. It checks what RFC 6716, section 3.4, demands of the
// packet's framing and nothing of what is in the frames. The error wraps ErrPacket.
func PacketSamples(packet []byte) (int, error) {
	if len(packet) == 0 {
		return 0, fmt.Errorf("%w: empty (R1)", ErrPacket)
	}
	if len(packet) > MaxPacketBytes {
		return 0, fmt.Errorf("%w: %d bytes, more than %d", ErrPacket, len(packet), MaxPacketBytes)
	}
	frames, err := packetFrames(packet[0]&3, packet[1:])
	if err != nil {
		return 0, err
	}
	samples := frames * frameSamples(packet[0])
	if samples > MaxPacketSamples {
		return 0, fmt.Errorf("%w: %d ms, more than 120 (R5)", ErrPacket, samples/(SampleRate/1000))
	}
	return samples, nil
}

// frameSamples returns how many samples each frame has, by the configuration in the packet's
// first byte (RFC 6716, section 3.1, table 2).
func frameSamples(toc byte) int {
	const ms = SampleRate / 1000
	switch config := toc >> 3; {
	case config < 12: // SILK
		return [...]int{10 * ms, 20 * ms, 40 * ms, 60 * ms}[config&3]
	case config < 16: // hybrid
		return [...]int{10 * ms, 20 * ms}[config&1]
	default: // CELT
		return [...]int{5 * ms / 2, 5 * ms, 10 * ms, 20 * ms}[config&3]
	}
}

// packetFrames returns how many frames a packet of this code has, from what follows its
// first byte (RFC 6716, section 3.2).
func packetFrames(code byte, rest []byte) (int, error) {
	switch code {
	case 0:
		return 1, checkFrame(len(rest))
	case 1:
		if len(rest)%2 != 0 {
			return 0, fmt.Errorf("%w: two equal frames in %d bytes (R3)", ErrPacket, len(rest))
		}
		return 2, checkFrame(len(rest) / 2)
	case 2:
		first, rest, err := frameLength(rest)
		if err != nil {
			return 0, err
		}
		if first > len(rest) {
			return 0, fmt.Errorf("%w: a frame of %d bytes where %d are left (R4)", ErrPacket, first, len(rest))
		}
		return 2, checkFrame(len(rest) - first)
	default:
		return packetManyFrames(rest)
	}
}

// packetManyFrames is packetFrames for code 3, section 3.2.5.
func packetManyFrames(rest []byte) (int, error) {
	if len(rest) == 0 {
		return 0, fmt.Errorf("%w: no frame count (R6)", ErrPacket)
	}
	count := rest[0]
	frames := int(count & 0x3f)
	if frames == 0 {
		return 0, fmt.Errorf("%w: no frames (R5)", ErrPacket)
	}
	rest = rest[1:]
	if count&0x40 != 0 {
		padding := 0
		for more := true; more; {
			if len(rest) == 0 {
				return 0, fmt.Errorf("%w: ends in the length of its padding (R6)", ErrPacket)
			}
			length := int(rest[0])
			rest = rest[1:]
			if more = length == 255; more {
				length = 254
			}
			padding += length
		}
		if padding > len(rest) {
			return 0, fmt.Errorf("%w: %d bytes of padding where %d are left (R6)", ErrPacket, padding, len(rest))
		}
		rest = rest[:len(rest)-padding]
	}
	if count&0x80 == 0 {
		if len(rest)%frames != 0 {
			return 0, fmt.Errorf("%w: %d equal frames in %d bytes (R6)", ErrPacket, frames, len(rest))
		}
		return frames, checkFrame(len(rest) / frames)
	}
	sum := 0
	for range frames - 1 {
		length, after, err := frameLength(rest)
		if err != nil {
			return 0, err
		}
		sum += length
		rest = after
	}
	if sum > len(rest) {
		return 0, fmt.Errorf("%w: frames of %d bytes where %d are left (R7)", ErrPacket, sum, len(rest))
	}
	return frames, checkFrame(len(rest) - sum)
}

// frameLength reads a frame's length of one or two bytes (RFC 6716, section 3.2.1) and
// returns what follows it.
func frameLength(b []byte) (int, []byte, error) {
	switch {
	case len(b) > 0 && b[0] < 252:
		return int(b[0]), b[1:], nil
	case len(b) > 1:
		return 4*int(b[1]) + int(b[0]), b[2:], nil
	}
	return 0, nil, fmt.Errorf("%w: ends in the length of a frame (R4, R7)", ErrPacket)
}

// checkFrame refuses a frame that is longer than any.
func checkFrame(length int) error {
	if length > maxFrameBytes {
		return fmt.Errorf("%w: a frame of %d bytes, more than %d (R2)", ErrPacket, length, maxFrameBytes)
	}
	return nil
}
