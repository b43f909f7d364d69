package rooms

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"sightline/internal/media"
)

var h264 = media.Codec{Name: "H264", ClockRate: 90000}

// A line places packets and keeps what came of it.
type line struct {
	numbering
	now time.Time
}

func newLine(audio bool) *line {
	rate := uint32(90000)
	if audio {
		rate = 48000
	}
	return &line{numbering: newNumbering(rate, audio), now: time.Unix(1e9, 0)}
}

func (l *line) packet(seq uint16, ts uint32) *media.Packet {
	return &media.Packet{Sequence: seq, Timestamp: ts, Payload: []byte{1}, Codec: &h264, Marker: true}
}

func (l *line) begins(seq uint16, ts uint32) (uint64, uint32) {
	p := l.packet(seq, ts)
	l.begin(p, l.now, false)
	out, outTS, _ := l.place(p, l.now)
	return out, outTS
}

func TestASourceIsShiftedByAConstant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLine(false)
		in, ts := int64(rapid.Uint16().Draw(t, "sequence")), rapid.Uint32().Draw(t, "timestamp")
		base, baseTS := l.begins(uint16(in), ts)
		first, firstTS := in, ts
		for range rapid.IntRange(1, 400).Draw(t, "packets") {
			back := rapid.IntRange(0, 9).Draw(t, "late") == 0
			step := int64(rapid.IntRange(1, 40).Draw(t, "step"))
			p := l.packet(uint16(in+step), ts+3000)
			if back {
				p = l.packet(uint16(in-step), ts)
			} else {
				in, ts = in+step, ts+3000
				l.now = l.now.Add(time.Second / 30)
			}
			seq, outTS, v := l.place(p, l.now)
			switch at := in - step; {
			case back && at < first:
				if v != drop {
					t.Fatal("a packet from before the first was not dropped")
				}
			case back:
				if v != late || seq != base+uint64(at-first) {
					t.Fatalf("late packet %d: verdict %d, place %d", at, v, int64(seq-base))
				}
			default:
				if v != forward || seq != base+uint64(in-first) || outTS-baseTS != ts-firstTS {
					t.Fatalf("packet %d: verdict %d, place %d, timestamp %d", in, v, int64(seq-base), outTS-baseTS)
				}
			}
		}
	})
}

func TestSourcesFollowEachOtherWithoutAHole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLine(rapid.Bool().Draw(t, "audio"))
		rate := l.rate
		var seq uint64
		var ts uint32
		for i := range rapid.IntRange(2, 12).Draw(t, "sources") {
			in, inTS := rapid.Uint16().Draw(t, "sequence"), rapid.Uint32().Draw(t, "timestamp")
			pause := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "pause"))
			l.now = l.now.Add(pause)
			out, outTS := l.begins(in, inTS)
			if i > 0 && out != seq+1 {
				t.Fatalf("source %d begins %d after the last", i, int64(out-seq))
			}
			if d := outTS - ts; i > 0 && d != max(ticks(pause, rate), l.frame) {
				t.Fatalf("source %d: timestamp goes on by %d after %v", i, d, pause)
			}
			seq, ts = out, outTS
			for n := range uint16(rapid.IntRange(0, 20).Draw(t, "packets")) {
				l.now = l.now.Add(20 * time.Millisecond)
				inTS += rate / 50
				seq, ts, _ = l.place(l.packet(in+n+1, inTS), l.now)
			}
		}
	})
}

// run places n frames of one packet, 30 a second, and returns the last place. It fails when
// more than lost of them are not forwarded, or timestamps leave the clock.
func (l *line) run(t *testing.T, seq *uint16, ts *uint32, n int, frozen bool) (lost int) {
	t.Helper()
	step := l.rate / 30
	for range n {
		*seq++
		if !frozen {
			*ts += step
		}
		l.now = l.now.Add(time.Second / 30)
		p := l.packet(*seq, *ts)
		before, beforeTS := l.next, l.newest
		place, _, v := l.place(p, l.now)
		if v == resync {
			s := l.suspect
			l.begin(s, l.now, !l.continues(s))
			l.place(s, l.now)
			place, _, v = l.place(p, l.now)
			lost--
		}
		if v == drop {
			lost++
			continue
		}
		if place < before || place > before+2 {
			t.Fatalf("place steps by %d", int64(place-before))
		}
		if d := int32(l.newest - beforeTS); d < 0 || d > int32(l.rate) {
			t.Fatalf("timestamp steps by %d", d)
		}
	}
	return lost
}

func TestJumpsDoNotFreezeTheLine(t *testing.T) { // PROTOCOL: row 81 of the bad-input catalogue
	for _, audio := range []bool{false, true} {
		for _, jump := range []struct {
			name string
			seq  uint16
			ts   uint32
		}{
			{"sequence forward", 1 << 15, 0},
			{"sequence forward a little less", 1<<15 - 1, 0},
			{"sequence back", 1<<15 + 1, 0},
			{"sequence back by 4000", 1<<16 - 4000, 0},
			{"timestamp forward", 0, 1 << 15},
			{"timestamp back", 0, 1<<32 - 1<<15},
			{"timestamp far forward", 0, 1 << 31},
			{"timestamp far back", 0, 1<<32 - 1<<30},
			{"both forward", 1 << 15, 1 << 30},
			{"both back", 1<<15 + 1, 1<<32 - 1<<30},
		} {
			l := newLine(audio)
			seq, ts := uint16(65000), uint32(1<<32-1000)
			l.begins(seq, ts)
			l.run(t, &seq, &ts, 100, false)
			for range 5 {
				seq, ts = seq+jump.seq, ts+jump.ts
				before := l.newest
				at := l.now
				if lost := l.run(t, &seq, &ts, 60, false); lost != 0 {
					t.Errorf("audio %v, %s: %d packets were lost", audio, jump.name, lost)
				}
				passed := time.Duration(l.newest-before) * time.Second / time.Duration(l.rate)
				if d := passed - l.now.Sub(at); d > time.Second || d < -time.Second {
					t.Errorf("audio %v, %s: timestamps went on by %v in %v", audio, jump.name, passed, l.now.Sub(at))
				}
			}
		}
	}
}

func TestAFrozenTimestampIsMovedByTheClock(t *testing.T) {
	for _, audio := range []bool{false, true} {
		l := newLine(audio)
		seq, ts := uint16(1), uint32(1)
		l.begins(seq, ts)
		l.run(t, &seq, &ts, 30, false)
		before, at := l.newest, l.now
		l.run(t, &seq, &ts, 300, true)
		passed := time.Duration(l.newest-before) * time.Second / time.Duration(l.rate)
		if d := passed - l.now.Sub(at); d > time.Second || d < -time.Second {
			t.Errorf("audio %v: timestamps went on by %v in %v", audio, passed, l.now.Sub(at))
		}
	}
}

func TestReorderedFramesKeepTheirTimestamps(t *testing.T) {
	l := newLine(false)
	_, base := l.begins(1, 0)
	order := []uint32{8, 4, 2, 1, 3, 6, 5, 7} // B-frames, three deep
	seq := uint16(1)
	for group := range uint32(20) {
		for _, n := range order {
			seq++
			l.now = l.now.Add(time.Second / 30)
			in := (group*8 + n) * 3000
			if _, ts, v := l.place(l.packet(seq, in), l.now); v != forward || ts-base != in {
				t.Fatalf("frame %d of group %d: verdict %d, timestamp off by %d", n, group, v, int32(ts-base-in))
			}
		}
	}
}

func TestRingKeepsWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := ring{maxBytes: 100_000, maxAge: 10 * time.Second}
		now := time.Unix(1e9, 0)
		seq, keep := uint64(1<<20), uint64(0)
		for range rapid.IntRange(1, 300).Draw(t, "packets") {
			seq += uint64(rapid.SampledFrom([]int{1, 1, 1, 1, 2, 50, 3000}).Draw(t, "step"))
			now = now.Add(time.Duration(rapid.IntRange(0, 500).Draw(t, "ms")) * time.Millisecond)
			if rapid.IntRange(0, 20).Draw(t, "key") == 0 {
				keep = seq
			}
			p := numbered{Packet: &media.Packet{Payload: make([]byte, rapid.IntRange(0, 1200).Draw(t, "size")), Arrival: now}, seq: seq}
			if !r.put(p, keep) {
				t.Fatalf("packet %d was not kept", seq)
			}
			if got, ok := r.get(seq); !ok || got.Packet != p.Packet {
				t.Fatal("the newest is not held")
			}
			if r.put(p, keep) {
				t.Fatal("a duplicate was kept")
			}
			bytes, n := 0, 0
			for s := r.tail; s < r.next; s++ {
				if got, ok := r.get(s); ok {
					bytes, n = bytes+got.size(), n+1
					if age := now.Sub(got.Arrival); age > r.maxAge || age > resendFor && s < keep {
						t.Fatalf("packet %d is held for %v", s, age)
					}
				}
			}
			if bytes != r.bytes || bytes > r.maxBytes || len(r.slots) > maxRing {
				t.Fatalf("%d packets of %d bytes are held, counted %d", n, bytes, r.bytes)
			}
		}
	})
}
