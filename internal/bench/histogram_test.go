package bench

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestHistogramIsWithinOnePercentOfTheExactQuantiles(t *testing.T) {
	for _, scale := range []float64{50, 1e3, 30e3, 5e6} { // microseconds
		var h, first, second histogram
		var exact []time.Duration
		for i := range 20_000 {
			d := time.Duration(rand.ExpFloat64()*scale) * time.Microsecond
			exact = append(exact, d)
			h.record(d)
			[]*histogram{&first, &second}[i%2].record(d)
		}
		slices.Sort(exact)
		first.merge(&second)
		if first != h {
			t.Error("two histograms merged are not the one of all")
		}
		for _, q := range []float64{0, 0.01, 0.5, 0.95, 0.99, 0.9999, 1} {
			got, want := h.quantile(q), quantile(exact, q)
			if diff := (got - want).Abs(); diff > want/100+time.Microsecond {
				t.Errorf("scale %g: quantile %g is %v, want %v", scale, q, got, want)
			}
		}
		if h.max != exact[len(exact)-1] {
			t.Errorf("max %v, want %v", h.max, exact[len(exact)-1])
		}
	}
}

func TestHistogramTakesEverything(t *testing.T) {
	var h histogram
	if got := h.quantile(0.5); got != 0 {
		t.Errorf("quantile of nothing: %v", got)
	}
	h.record(-time.Second)
	h.record(1<<63 - 1)
	if h.quantile(0) != 0 || h.n != 2 || h.max != 1<<63-1 {
		t.Errorf("got %v, %d, %v", h.quantile(0), h.n, h.max)
	}
	for v, last := uint64(0), 0; v < 1<<20; v++ {
		s := slot(v)
		if s < last || s > last+1 {
			t.Fatalf("slot(%d) = %d after %d", v, s, last)
		}
		last = s
	}
}
