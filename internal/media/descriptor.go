package media

// A descriptor is what the payload descriptors of VP8 (RFC 7741, section 4.2) and VP9
// (RFC 9628, section 4.2) say in front of the picture's own bytes.
type descriptor struct {
	size      int  // bytes of the descriptor
	begins    bool // of a frame
	predicted bool // from other pictures (VP9)
	spatial   byte // layer (VP9)

	// Where the picture id and TL0PICIDX stand, 0 if they don't, and what they are.
	pictureAt int
	wide      bool // the picture id has 15 bits, not 7
	picture   uint16
	tl0At     int
	tl0       byte

	width, height int // of the topmost spatial layer, if the scalability structure says it (VP9)
}

// pictureID reads a picture id of 7 or 15 bits at p[at] and returns the offset after it.
func (d *descriptor) pictureID(p []byte, at int) (next int, ok bool) {
	if at >= len(p) {
		return 0, false
	}
	d.pictureAt, d.picture = at, uint16(p[at]&0x7f)
	if p[at]&0x80 == 0 {
		return at + 1, true
	}
	if at+1 >= len(p) {
		return 0, false
	}
	d.wide, d.picture = true, d.picture<<8|uint16(p[at+1])
	return at + 2, true
}

func parseVP8(p []byte) (d descriptor, ok bool) {
	const (
		x, s = 0x80, 0x10 // first octet
		i, l = 0x80, 0x40 // second octet
		t, k = 0x20, 0x10 // second octet
		pid  = 0x07       // first octet
	)
	if len(p) < 1 {
		return d, false
	}
	d.begins = p[0]&s != 0 && p[0]&pid == 0
	at := 1
	if p[0]&x == 0 {
		d.size = at
		return d, true
	}
	if len(p) < 2 {
		return d, false
	}
	ext := p[1]
	at = 2
	if ext&i != 0 {
		if at, ok = d.pictureID(p, at); !ok {
			return d, false
		}
	}
	if ext&l != 0 {
		if at >= len(p) {
			return d, false
		}
		d.tl0At, d.tl0 = at, p[at]
		at++
	}
	if ext&(t|k) != 0 {
		at++
	}
	d.size = at
	return d, at <= len(p)
}

func parseVP9(p []byte) (d descriptor, ok bool) {
	const i, pr, l, f, b, v = 0x80, 0x40, 0x20, 0x10, 0x08, 0x02
	if len(p) < 1 {
		return d, false
	}
	head, at := p[0], 1
	d.begins, d.predicted = head&b != 0, head&pr != 0
	if head&i != 0 {
		if at, ok = d.pictureID(p, at); !ok {
			return d, false
		}
	}
	if head&l != 0 {
		if at >= len(p) {
			return d, false
		}
		d.spatial = p[at] >> 1 & 0x07
		at++
		if head&f == 0 { // non-flexible mode
			if at >= len(p) {
				return d, false
			}
			d.tl0At, d.tl0 = at, p[at]
			at++
		}
	}
	if head&f != 0 && head&pr != 0 { // up to three reference indices, each says if one more follows
		for n := 0; ; n++ {
			if at >= len(p) || n == 3 {
				return d, false
			}
			at++
			if p[at-1]&1 == 0 {
				break
			}
		}
	}
	if head&v != 0 {
		if at, ok = d.structure(p, at); !ok {
			return d, false
		}
	}
	d.size = at
	return d, at <= len(p)
}

// structure reads the scalability structure of VP9 (RFC 9628, section 4.2.1).
func (d *descriptor) structure(p []byte, at int) (next int, ok bool) {
	if at >= len(p) {
		return 0, false
	}
	layers, sized, groups := int(p[at]>>5)+1, p[at]&0x10 != 0, p[at]&0x08 != 0
	at++
	if sized {
		if at+4*layers > len(p) {
			return 0, false
		}
		last := at + 4*(layers-1) // the picture that is shown is the topmost layer
		d.width = int(p[last])<<8 | int(p[last+1])
		d.height = int(p[last+2])<<8 | int(p[last+3])
		at += 4 * layers
	}
	if groups {
		if at >= len(p) {
			return 0, false
		}
		n := int(p[at])
		at++
		for range n {
			if at >= len(p) {
				return 0, false
			}
			at += 1 + int(p[at]>>2&0x03)
		}
	}
	return at, at <= len(p)
}
