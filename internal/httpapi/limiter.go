package httpapi

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A limiter keeps a token bucket for each key: a client's address, a token, a session.
type limiter[K comparable] struct {
	rate  rate.Limit
	burst int

	mu       sync.Mutex // guards what follows
	buckets  map[K]*bucket
	swept    time.Time
	overflow *rate.Limiter // shared by those who come when the map is full
}

type bucket struct {
	*rate.Limiter
	used time.Time
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
	if b.AllowN(now, 1) {
		return 0
	}
	return max(time.Second, time.Duration((1-b.TokensAt(now))/float64(l.rate)*float64(time.Second)))
}

func (l *limiter[K]) bucketLocked(key K, now time.Time) *rate.Limiter {
	if b, ok := l.buckets[key]; ok {
		b.used = now
		return b.Limiter
	}
	if len(l.buckets) >= maxBuckets {
		l.sweepLocked(now)
	}
	if len(l.buckets) >= maxBuckets {
		return l.overflow
	}
	b := &bucket{rate.NewLimiter(l.rate, l.burst), now}
	l.buckets[key] = b
	return b.Limiter
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

// sweepLocked forgets buckets that are full again, at most once a second.
func (l *limiter[K]) sweepLocked(now time.Time) {
	if now.Sub(l.swept) < time.Second {
		return
	}
	l.swept = now
	full := time.Duration(float64(l.burst) / float64(l.rate) * float64(time.Second))
	for key, b := range l.buckets {
		if now.Sub(b.used) > full {
			delete(l.buckets, key)
		}
	}
}
