package bench

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func anyMarker(t *rapid.T) marker {
	m := marker{
		flags:  rapid.Uint8Range(0, 127).Draw(t, "flags"),
		stream: rapid.Uint16Range(0, 1<<14-1).Draw(t, "stream"),
		cell:   rapid.Uint64Range(0, 1<<35-1).Draw(t, "cell"),
		frame:  rapid.Uint64Range(0, 1<<35-1).Draw(t, "frame"),
		count:  rapid.Uint16Range(1, 1<<14-1).Draw(t, "count"),
		sent:   rapid.Int64Range(0, 1<<62).Draw(t, "sent"),
	}
	m.index = rapid.Uint16Range(0, m.count-1).Draw(t, "index")
	return m
}

func TestMarkerIsFoundWhereverItIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyMarker(t)
		before := rapid.SliceOfN(rapid.Byte(), 0, 40).Filter(func(noise []byte) bool {
			_, _, found := findMarker(noise)
			return !found
		}).Draw(t, "before")
		b := want.append(bytes.Clone(before))
		if n := len(b) - len(before); n != markerSize {
			t.Fatalf("a marker has %d bytes, want %d", n, markerSize)
		}
		for _, c := range b[len(before):] {
			if c < 0x80 {
				t.Fatalf("byte %#x could be a part of a start code", c)
			}
		}
		got, rest, found := findMarker(append(b, 1, 2, 3))
		if !found || got != want || !bytes.Equal(rest, []byte{1, 2, 3}) {
			t.Fatalf("got %+v, rest %v, %v, want %+v", got, rest, found, want)
		}
		if _, _, found := findMarker(b[:len(b)-1]); found {
			t.Fatal("a marker without its end is found")
		}
	})
}

func TestDamagedMarkerIsNotFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyMarker(t)
		b := m.append(nil)
		b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if got, _, found := findMarker(b); found && got == m {
			t.Fatal("a damaged marker is taken for whole")
		}
	})
}

func TestFillerHoldsNoMarker(t *testing.T) {
	if bytes.Contains(append(filler[:], filler[:]...), magic[:2]) {
		t.Error("the filler holds the beginning of a marker")
	}
	for _, c := range filler {
		if c < 0x80 {
			t.Fatalf("the filler holds %#x", c)
		}
	}
}
