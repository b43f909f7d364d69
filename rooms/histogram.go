package rooms

import (
	"slices"
	"sync"
	"time"
)

// A histogram counts observations; its Histogram is read at any time.
type histogram struct {
	mu sync.Mutex // guards what follows
	h  Histogram
}

func newHistogram(bounds ...float64) *histogram {
	return &histogram{h: Histogram{Bounds: bounds, Counts: make([]uint64, len(bounds)+1)}}
}

func (h *histogram) observe(d time.Duration) {
	s := max(d, 0).Seconds()
	i, _ := slices.BinarySearch(h.h.Bounds, s)
	h.mu.Lock()
	h.h.Counts[i]++
	h.h.Sum += s
	h.mu.Unlock()
}

func (h *histogram) read() Histogram {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Histogram{Bounds: h.h.Bounds, Counts: slices.Clone(h.h.Counts), Sum: h.h.Sum}
}
