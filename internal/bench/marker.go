package bench

import "bytes"

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
	return septets(b, checksum(b[len(b)-26:]), 2)
}

// septets appends the lowest 7·n bits of v in n bytes.
func septets(b []byte, v uint64, n int) []byte {
	for i := n - 1; i >= 0; i-- {
		b = append(b, 0x80|byte(v>>(7*i)))
	}
	return b
}

// checksum keeps what only looks like a marker out.
func checksum(b []byte) uint64 {
	sum := uint64(1)
	for _, c := range b {
		sum = sum*31 + uint64(c)
	}
	return sum & 0x3fff
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
	var all byte = 0x80
	for _, c := range b[:markerSize] {
		all &= c
	}
	body := b[len(magic):markerSize]
	take := func(n int) (v uint64) {
		for _, c := range body[:n] {
			v = v<<7 | uint64(c&0x7f)
		}
		body = body[n:]
		return v
	}
	m = marker{
		flags: uint8(take(1)), stream: uint16(take(2)),
		cell: take(5), frame: take(5), index: uint16(take(2)), count: uint16(take(2)),
		sent: int64(take(9)),
	}
	return m, all == 0x80 && take(2) == checksum(b[len(magic):markerSize-2]) && m.index < m.count
}
