package bench

import (
	"bytes"
	"encoding/binary"
)

// magic begins each marker. The filler of payloads never holds it.
var magic = []byte{0xb7, 0xe5, 0x9d, 0xc3}

// markerSize is a marker's length in bytes.
const markerSize = 32

// Flags of a marker.
const (
	flagKeyframe = 1 << iota
	flagAudio
	flagMeasured // its frame was begun inside the measuring window
)

// A marker tells a viewer which part of which frame a packet carries. A cell is what the
// publisher put into one packet. Servers that pack frames anew keep the bytes of a cell
// together, but not the RTP numbering, so cells are what is counted.
type marker struct {
	flags  uint8
	stream uint16 // 14 bits
	cell   uint64 // of the stream and kind, from 0; 35 bits
	frame  uint64 // likewise
	index  uint16 // of the cell in its frame; 14 bits
	count  uint16 // of the frame's cells; 14 bits
	sent   int64  // nanoseconds since 1970, on the clock of the kernel's arrival times
}

// append appends the marker. No byte of it is below 0x80: no start code and no emulation
// prevention (ITU-T H.264, section 7.4.1) can come of it.
func (m *marker) append(b []byte) []byte {
	b = append(b, magic...)
	b = septets(b, uint64(m.flags), 1)
	b = septets(b, uint64(m.stream), 2)
	b = septets(b, m.cell, 5)
	b = septets(b, m.frame, 5)
	b = septets(b, uint64(m.index), 2)
	b = septets(b, uint64(m.count), 2)
	b = septets(b, uint64(m.sent), 9)
	return septets(b, m.checksum(), 2)
}

// septets appends the lowest 7·n bits of v in n bytes.
func septets(b []byte, v uint64, n int) []byte {
	for i := n - 1; i >= 0; i-- {
		b = append(b, 0x80|byte(v>>(7*i)))
	}
	return b
}

// checksum is 14 bits that keep out what only looks like a marker.
func (m *marker) checksum() uint64 {
	const odd = 0x9e3779b97f4a7c15 // 2^64 over the golden ratio
	sum := uint64(m.flags) | uint64(m.stream)<<8 | uint64(m.index)<<24 | uint64(m.count)<<40
	for _, v := range [...]uint64{m.cell, m.frame, uint64(m.sent)} {
		sum = (sum ^ v) * odd
	}
	return sum >> 50
}

// findMarker returns the first marker in b, and what follows it.
func findMarker(b []byte) (m marker, rest []byte, found bool) {
	for {
		at := bytes.Index(b, magic)
		if at < 0 || len(b) < at+markerSize {
			return marker{}, nil, false
		}
		b = b[at:]
		if m, ok := readMarker(b); ok {
			return m, b[markerSize:], true
		}
		b = b[1:]
	}
}

// readMarker reads the marker that b begins with.
func readMarker(b []byte) (m marker, ok bool) {
	const high = 0x8080808080808080
	b = b[:markerSize]
	e := binary.NativeEndian
	if e.Uint64(b)&e.Uint64(b[8:])&e.Uint64(b[16:])&e.Uint64(b[24:])&high != high {
		return m, false
	}
	m = marker{
		flags: b[4] & 0x7f, stream: uint16(number(b[5:7])),
		cell: number(b[7:12]), frame: number(b[12:17]),
		index: uint16(number(b[17:19])), count: uint16(number(b[19:21])),
		sent: int64(number(b[21:30])),
	}
	return m, number(b[30:32]) == m.checksum() && m.index < m.count
}

// number reads what septets has written.
func number(b []byte) (v uint64) {
	for _, c := range b {
		v = v<<7 | uint64(c&0x7f)
	}
	return v
}
