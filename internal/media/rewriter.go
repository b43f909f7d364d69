package media

import "slices"

// PictureIDs makes the picture ids and TL0PICIDX of VP8 and VP9 run on when a track's
// source changes: a decoder takes a jump in them for lost pictures. It is kept once per
// track. The zero value is ready; it is not safe for concurrent use.
type PictureIDs struct {
	known    bool // picture is the newest id that went out
	picture  uint16
	tl0Known bool
	tl0      byte

	switched, tl0Switched bool   // the next packet begins another source
	pictureShift          uint16 // added to what the source says
	tl0Shift              byte
}

// Switch says that the packets that follow come from another source, the first of them
// from the beginning of its first picture.
func (r *PictureIDs) Switch() { r.switched, r.tl0Switched = true, true }

// Rewrite returns the payload with the ids that are to go out: the payload itself if they
// are the source's own, otherwise a copy. It keeps what it cannot read as it is.
func (r *PictureIDs) Rewrite(codec *Codec, payload []byte) []byte {
	var d descriptor
	var ok bool
	switch codec.Name {
	case "VP8":
		d, ok = parseVP8(payload)
	case "VP9":
		d, ok = parseVP9(payload)
	}
	if !ok {
		return payload
	}
	if d.pictureAt > 0 {
		d.picture = r.nextPicture(d)
	}
	if d.tl0At > 0 {
		d.tl0 = r.nextTL0(d.tl0)
	}
	return d.write(payload)
}

func (r *PictureIDs) nextPicture(d descriptor) uint16 {
	mask := uint16(0x7f)
	if d.wide {
		mask = 0x7fff
	}
	if r.switched {
		r.switched, r.pictureShift = false, 0
		if r.known {
			r.pictureShift = r.picture + 1 - d.picture
		}
	}
	id := (d.picture + r.pictureShift) & mask
	if ahead := (id - r.picture) & mask; !r.known || ahead <= mask/2 {
		r.known, r.picture = true, id
	}
	return id
}

func (r *PictureIDs) nextTL0(tl0 byte) byte {
	if r.tl0Switched {
		r.tl0Switched, r.tl0Shift = false, 0
		if r.tl0Known {
			r.tl0Shift = r.tl0 + 1 - tl0
		}
	}
	tl0 += r.tl0Shift
	if !r.tl0Known || int8(tl0-r.tl0) > 0 {
		r.tl0Known, r.tl0 = true, tl0
	}
	return tl0
}

// write returns payload if it holds the descriptor's ids already, else a copy that does.
func (d *descriptor) write(payload []byte) []byte {
	out := payload
	set := func(at int, value byte) {
		if out[at] == value {
			return
		}
		if &out[0] == &payload[0] {
			out = slices.Clone(payload)
		}
		out[at] = value
	}
	switch {
	case d.pictureAt > 0 && d.wide:
		set(d.pictureAt, 0x80|byte(d.picture>>8))
		set(d.pictureAt+1, byte(d.picture))
	case d.pictureAt > 0:
		set(d.pictureAt, byte(d.picture&0x7f))
	}
	if d.tl0At > 0 {
		set(d.tl0At, d.tl0)
	}
	return out
}
