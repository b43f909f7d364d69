package httpapi

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"sightline/internal/quota"
)

// A limiter keeps a token bucket for each key: a client's address, a token, a session.
type limiter[K comparable] struct {
	rate  rate.Limit
	burst int

	mu       sync.Mutex // guards what follows
	buckets  map[K]*bucket
	due      map[K]struct{} // those of which so much was taken that other nodes should know
	swept    time.Time
	overflow *rate.Limiter // shared by those who come when the map is full
}

type bucket struct {
	*rate.Limiter
	untold int // what was taken here, and other nodes don't know yet
}

// maxBuckets bounds a limiter's memory to about a megabyte.
const maxBuckets = 10_000

// newLimiter returns a limiter; nil, which lets everything pass, for a rate of 0.
func newLimiter[K comparable](perSecond float64, burst int) *limiter[K] {
	if perSecond == 0 {
		return nil
	}
	return &limiter[K]{
		rate: rate.Limit(perSecond), burst: burst,
		buckets:  make(map[K]*bucket),
		due:      make(map[K]struct{}),
		overflow: rate.NewLimiter(rate.Limit(perSecond), burst),
	}
}

// take counts a request of who has the key. It returns zero, or how long he has to wait.
func (l *limiter[K]) take(key K, now time.Time) time.Duration {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucketLocked(key, now)
	if b == nil {
		return l.wait(l.overflow, now)
	}
	wait := l.wait(b.Limiter, now)
	if wait == 0 {
		if b.untold++; quota.Notable(b.untold, l.burst) {
			l.due[key] = struct{}{}
		}
	}
	return wait
}

func (l *limiter[K]) wait(b *rate.Limiter, now time.Time) time.Duration {
	if b.AllowN(now, 1) {
		return 0
	}
	return max(time.Second, time.Duration((1-b.TokensAt(now))/float64(l.rate)*float64(time.Second)))
}

// bucketLocked returns nil if there is no place for one more.
func (l *limiter[K]) bucketLocked(key K, now time.Time) *bucket {
	if b, ok := l.buckets[key]; ok {
		return b
	}
	if len(l.buckets) >= maxBuckets {
		l.sweepLocked(now)
	}
	if len(l.buckets) >= maxBuckets {
		return nil
	}
	b := &bucket{Limiter: rate.NewLimiter(l.rate, l.burst)}
	l.buckets[key] = b
	return b
}

// sweepLocked forgets buckets that are full again, at most once a second.
func (l *limiter[K]) sweepLocked(now time.Time) {
	if now.Sub(l.swept) < time.Second {
		return
	}
	l.swept = now
	for key, b := range l.buckets {
		if b.TokensAt(now) >= float64(l.burst) {
			delete(l.buckets, key)
			delete(l.due, key)
		}
	}
}

// spent calls f with what was taken here since the last time, for those of whom other nodes should
// know. A nil limiter has nothing to tell.
func (l *limiter[K]) spent(f func(key K, n int)) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for key := range l.due {
		b := l.buckets[key]
		f(key, b.untold)
		b.untold = 0
	}
	clear(l.due)
}

// maxDebt bounds for how long somebody waits who has asked many nodes at once, before they knew of
// each other.
const maxDebt = time.Minute

// spend takes what another node let pass.
func (l *limiter[K]) spend(key K, n int, now time.Time) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucketLocked(key, now)
	if b == nil {
		return
	}
	for floor := -float64(l.rate) * maxDebt.Seconds(); n > 0 && b.TokensAt(now) > floor; n -= l.burst {
		b.ReserveN(now, min(n, l.burst))
	}
}

// subscriber returns the address that a client is counted by. With IPv6 a subscriber has a
// /64 at least: each address of it must not count for itself.
func subscriber(client netip.Addr) netip.Addr {
	client = client.Unmap().WithZone("")
	if client.Is6() {
		p, _ := client.Prefix(64)
		client = p.Addr()
	}
	return client
}
