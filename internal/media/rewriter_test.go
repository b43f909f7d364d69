package media

import (
	"testing"

	"pgregory.net/rapid"
)

// picture8 is a VP8 payload with a picture id of 15 bits, or of 7, and TL0PICIDX.
func picture8(wide bool, id uint16, tl0 byte) []byte {
	if wide {
		return []byte{0x90, 0xc0, 0x80 | byte(id>>8&0x7f), byte(id), tl0, 0x01, 7, 8}
	}
	return []byte{0x90, 0xc0, byte(id & 0x7f), tl0, 0x01, 7, 8}
}

func TestPictureIDsRunOnOverSources(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ids PictureIDs
		var picture uint16
		var tl0 byte
		first := true
		for range rapid.IntRange(1, 10).Draw(t, "sources") {
			wide := rapid.Bool().Draw(t, "wide")
			mask := uint16(0x7f)
			if wide {
				mask = 0x7fff
			}
			in := rapid.Uint16().Draw(t, "picture")
			inTL0 := rapid.Byte().Draw(t, "tl0")
			ids.Switch()
			for n := range uint16(rapid.IntRange(1, 200).Draw(t, "frames")) {
				payload := picture8(wide, in+n, inTL0+byte(n))
				out := ids.Rewrite(vp8c, payload)
				d, ok := parseVP8(out)
				if !ok || d.wide != wide || len(out) != len(payload) {
					t.Fatal("another kind of payload")
				}
				if !first && (d.picture-picture)&mask != 1&mask {
					t.Fatalf("picture id %d follows %d", d.picture, picture)
				}
				if !first && d.tl0-tl0 != 1 {
					t.Fatalf("TL0PICIDX %d follows %d", d.tl0, tl0)
				}
				picture, tl0, first = d.picture, d.tl0, false
			}
		}
	})
}

func TestTheFirstSourceIsNotCopied(t *testing.T) {
	var ids PictureIDs
	ids.Switch()
	for n := range uint16(300) {
		p := picture8(true, 0x7ff0+n, byte(n))
		if out := ids.Rewrite(vp8c, p); &out[0] != &p[0] {
			t.Fatalf("frame %d was copied", n)
		}
	}
}

func TestLatePicturesKeepTheirPlace(t *testing.T) {
	var ids PictureIDs
	ids.Rewrite(vp8c, picture8(true, 100, 50))
	ids.Switch()
	ids.Rewrite(vp8c, picture8(true, 9000, 7))
	ids.Rewrite(vp8c, picture8(true, 9003, 8))
	late, _ := parseVP8(ids.Rewrite(vp8c, picture8(true, 9001, 7)))
	if late.picture != 102 || late.tl0 != 51 {
		t.Errorf("late picture has id %d and TL0PICIDX %d, want 102 and 51", late.picture, late.tl0)
	}
	ids.Switch()
	next, _ := parseVP8(ids.Rewrite(vp8c, picture8(true, 1, 1)))
	if next.picture != 105 || next.tl0 != 53 {
		t.Errorf("next source begins with id %d and TL0PICIDX %d, want 105 and 53", next.picture, next.tl0)
	}
}

func TestVP9PictureIDs(t *testing.T) {
	var ids PictureIDs
	ids.Rewrite(vp9c, []byte{0xa8, 0x81, 0x00, 0x00, 9, 0x82})
	ids.Switch()
	payload := []byte{0xa8, 0x80, 5, 0x00, 77, 0x82}
	d, _ := parseVP9(ids.Rewrite(vp9c, payload))
	if d.picture != 257 || d.tl0 != 10 || payload[2] != 5 {
		t.Errorf("got id %d and TL0PICIDX %d, want 257 and 10, and the payload as it was", d.picture, d.tl0)
	}
}
