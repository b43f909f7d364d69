package media

import "time"

const (
	rateBucket  = 500 * time.Millisecond
	rateBuckets = 8 // how many full ones count: the last four seconds
)

// A Rate counts events per second over the last seconds. The zero value is ready; it is
// not safe for concurrent use.
type Rate struct {
	began   time.Time // of the first bucket
	current int64     // number of the newest bucket since began
	counts  [rateBuckets + 1]int64
}

// Add counts n events at the instant now, which does not run back.
func (r *Rate) Add(now time.Time, n int) {
	if r.began.IsZero() {
		r.began = now
	}
	r.advance(now)
	r.counts[r.current%int64(len(r.counts))] += int64(n)
}

// PerSecond returns the rate over the last full buckets, at most four seconds; zero until
// half a second has passed since the first event.
func (r *Rate) PerSecond(now time.Time) float64 {
	if r.began.IsZero() {
		return 0
	}
	r.advance(now)
	full := min(r.current, rateBuckets)
	if full == 0 {
		return 0
	}
	var sum int64
	for i := int64(1); i <= full; i++ {
		sum += r.counts[(r.current-i)%int64(len(r.counts))]
	}
	return float64(sum) / (time.Duration(full) * rateBucket).Seconds()
}

func (r *Rate) advance(now time.Time) {
	bucket := int64(now.Sub(r.began) / rateBucket)
	for range min(bucket-r.current, int64(len(r.counts))) {
		r.current++
		r.counts[r.current%int64(len(r.counts))] = 0
	}
	r.current = max(r.current, bucket) // further ones are empty as well
}
