package rtpstream

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func feed(r *Receiver, at time.Time, sequences ...uint16) []Arrival {
	var out []Arrival
	for _, q := range sequences {
		out = append(out, r.Receive(q, uint32(q)*3000, at, false))
	}
	return out
}

func TestArrivals(t *testing.T) {
	for _, tt := range []struct {
		name      string
		sequences []uint16
		want      []Arrival
	}{
		{"in order over the wrap", []uint16{65534, 65535, 0, 1}, []Arrival{InOrder, InOrder, InOrder, InOrder}},
		{"duplicate", []uint16{5, 6, 6, 5}, []Arrival{InOrder, InOrder, Duplicate, Duplicate}},
		{"reordered", []uint16{5, 7, 6, 8}, []Arrival{InOrder, InOrder, InOrder, InOrder}},
		{"older than the first", []uint16{5, 4}, []Arrival{InOrder, Outdated}},
		{"one stray number is no jump", []uint16{5, 30000, 6}, []Arrival{InOrder, Outdated, InOrder}},
		{"a jump is confirmed by its successor", []uint16{5, 30000, 30001, 30002}, []Arrival{InOrder, Outdated, Restarted, InOrder}},
		{"a jump back by 2^15", []uint16{40000, 7232, 7233, 7234}, []Arrival{InOrder, Outdated, Restarted, InOrder}},
	} {
		if got := feed(NewReceiver(90000), start, tt.sequences...); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestALostPacketIsAskedForThreeTimesAtMost(t *testing.T) {
	r := NewReceiver(90000)
	feed(r, start, 10, 11, 13)
	var asked []uint16
	for i := range 300 {
		asked = r.Due(start.Add(time.Duration(i)*10*time.Millisecond), 20*time.Millisecond, asked)
	}
	if want := []uint16{12, 12, 12}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
	if r.Lost() != 1 || r.Requested() != 3 || r.Holes() != 1 {
		t.Errorf("lost %d, requested %d, holes %d; want 1, 3, 1", r.Lost(), r.Requested(), r.Holes())
	}
}

func TestReorderingIsNotAskedFor(t *testing.T) {
	r := NewReceiver(90000)
	feed(r, start, 10, 12)
	feed(r, start.Add(3*time.Millisecond), 11)
	if asked := r.Due(start.Add(time.Second), 0, nil); len(asked) != 0 {
		t.Errorf("asked for %v, want nothing", asked)
	}
}

func TestARepairIsToldFromReordering(t *testing.T) {
	r := NewReceiver(90000)
	feed(r, start, 10, 12)
	if asked := r.Due(start.Add(10*time.Millisecond), 0, nil); !slices.Equal(asked, []uint16{11}) {
		t.Fatalf("asked for %v, want [11]", asked)
	}
	if got := r.Receive(11, 0, start.Add(40*time.Millisecond), true); got != Repaired {
		t.Errorf("got %v, want Repaired", got)
	}
	if asked := r.Due(start.Add(time.Second), 0, nil); len(asked) != 0 || r.Lost() != 0 {
		t.Errorf("asked for %v and lost %d after the repair", asked, r.Lost())
	}
}

func TestAPacketThatComesAfterAllIsNotLost(t *testing.T) {
	r := NewReceiver(90000)
	feed(r, start, 10, 12)
	for i := range 200 {
		r.Due(start.Add(time.Duration(i)*10*time.Millisecond), 0, nil)
	}
	if r.Lost() != 1 {
		t.Fatalf("lost %d, want 1", r.Lost())
	}
	if got := r.Receive(11, 0, start.Add(3*time.Second), true); got != Repaired || r.Lost() != 0 {
		t.Errorf("got %v and %d lost, want Repaired and 0", got, r.Lost())
	}
}

// RFC 3550, appendix A.3.
func TestReportCountsWhatTheIntervalLost(t *testing.T) {
	r := NewReceiver(90000)
	feed(r, start, 1, 2, 3, 5)
	got := r.Report()
	if got.FractionLost != 256/5 || got.TotalLost != 1 || got.Highest != 5 {
		t.Errorf("got %+v, want 1 of 5 lost and highest 5", got)
	}
	feed(r, start, 6, 7)
	if got := r.Report(); got.FractionLost != 0 || got.TotalLost != 1 {
		t.Errorf("got %+v, want nothing lost since", got)
	}
}

// RFC 3550, appendix A.8.
func TestJitter(t *testing.T) {
	r := NewReceiver(90000)
	at := start
	for i := range 2000 {
		at = at.Add(10 * time.Millisecond)
		late := time.Duration(i%2) * 4 * time.Millisecond
		r.Receive(uint16(i), uint32(i)*900, at.Add(late), false)
	}
	if got := r.Jitter(); got < 3900*time.Microsecond || got > 4100*time.Microsecond {
		t.Errorf("got %v, want 4 ms", got)
	}
}

func TestAnyNumberingIsSurvived(t *testing.T) { rapid.Check(t, anyNumbering) }

// FuzzNumbering is the same, guided by what the code does.
func FuzzNumbering(f *testing.F) { f.Fuzz(rapid.MakeFuzz(anyNumbering)) }

func anyNumbering(t *rapid.T) {
	r := NewReceiver(90000)
	at := start
	delivered := 0
	for range rapid.IntRange(1, 400).Draw(t, "packets") {
		at = at.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "ms")) * time.Millisecond)
		q := uint16(rapid.IntRange(0, 65535).Draw(t, "sequence"))
		if rapid.Bool().Draw(t, "near") {
			q = uint16(r.Highest()) + uint16(rapid.IntRange(-20, 20).Draw(t, "delta"))
		}
		switch r.Receive(q, 0, at, rapid.Bool().Draw(t, "retransmitted")) {
		case InOrder, Repaired, Restarted:
			delivered++
			if again := r.Receive(q, 0, at, false); again == InOrder || again == Repaired {
				t.Fatalf("sequence %d was delivered twice", q)
			}
		}
		r.Due(at, 0, nil)
		r.Report()
		if len(r.missing) > maxMissing {
			t.Fatalf("%d holes tracked", len(r.missing))
		}
	}
	if got := r.Received(); got != uint64(delivered) {
		t.Fatalf("received %d, want %d", got, delivered)
	}
}

func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		b    []byte
		want Class
	}{
		{nil, Unknown}, {[]byte{0}, Unknown}, {[]byte{0, 1}, STUN}, {[]byte{22, 254}, DTLS}, {[]byte{64, 0}, Unknown},
		{[]byte{128, 96}, RTP}, {[]byte{144, 96 | 128}, RTP}, {[]byte{128, 200}, RTCP}, {[]byte{129, 206}, RTCP}, {[]byte{255, 255}, Unknown},
	} {
		if got := Classify(tt.b); got != tt.want {
			t.Errorf("Classify(%v) = %v, want %v", tt.b, got, tt.want)
		}
	}
}

func BenchmarkReceive(b *testing.B) {
	r := NewReceiver(90000)
	b.ReportAllocs()
	for i := range b.N {
		r.Receive(uint16(i), uint32(i)*3000, start, false)
	}
}
