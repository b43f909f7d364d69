package bench

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// A histogram counts durations to within 1 % in constant space. The zero value is empty.
// Durations below zero count as zero.
type histogram struct {
	counts [64 * 32]uint64
	n      uint64
	max    time.Duration
}

// slot puts v microseconds below 128 into slots of their own, and each doubling above into
// 64 slots.
func slot(v uint64) int {
	if v < 128 {
		return int(v)
	}
	shift := bits.Len64(v) - 7
	return shift*64 + int(v>>shift)
}

// middle returns the middle of a slot.
func middle(slot int) time.Duration {
	if slot < 128 {
		return time.Duration(slot) * time.Microsecond
	}
	shift := slot/64 - 1
	low := uint64(slot-shift*64) << shift
	return time.Duration(low+1<<shift/2) * time.Microsecond
}

func (h *histogram) record(d time.Duration) {
	d = max(d, 0)
	h.counts[min(slot(uint64(d/time.Microsecond)), len(h.counts)-1)]++
	h.n++
	h.max = max(h.max, d)
}

// merge adds what other has counted.
func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.n += other.n
	h.max = max(h.max, other.max)
}

// quantile returns the duration that the share q of all does not exceed; 0 of none.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := max(uint64(math.Ceil(q*float64(h.n))), 1)
	seen := uint64(0)
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			return min(middle(i), h.max)
		}
	}
	return h.max
}

// quantile returns the same of a sorted list.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := max(int(math.Ceil(q*float64(len(sorted)))), 1)
	return sorted[rank-1]
}

// milliseconds returns d in milliseconds, to the microsecond.
func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

// spread makes the delays of a report out of a histogram.
func (h *histogram) spread() Delay {
	return Delay{
		P50: milliseconds(h.quantile(0.50)), P95: milliseconds(h.quantile(0.95)),
		P99: milliseconds(h.quantile(0.99)), Max: milliseconds(h.max),
	}
}

// waits makes the waits of a report out of a list, which it sorts.
func waits(list []time.Duration) Wait {
	slices.Sort(list)
	return Wait{
		P50: milliseconds(quantile(list, 0.50)), P95: milliseconds(quantile(list, 0.95)),
		Max: milliseconds(quantile(list, 1)), Viewers: len(list),
	}
}
