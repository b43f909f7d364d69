package httpapi

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A limiter keeps a token bucket for each client address.
type limiter struct {
	rate  rate.Limit
	burst int

	mu       sync.Mutex // guards what follows
	buckets  map[netip.Addr]*bucket
	swept    time.Time
	overflow *rate.Limiter // shared by those who come when the map is full
}

type bucket struct {
	*rate.Limiter
	used time.Time
}

// maxBuckets bounds a limiter's memory to about a megabyte.
const maxBuckets = 10_000

func newLimiter(perSecond float64, burst int) *limiter {
	return &limiter{
		rate: rate.Limit(perSecond), burst: burst,
		buckets:  make(map[netip.Addr]*bucket),
		overflow: rate.NewLimiter(rate.Limit(perSecond), burst),
	}
}

// take counts a request of a client. It returns zero, or how long the client has to wait.
func (l *limiter) take(client netip.Addr, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucketLocked(client, now)
	if b.AllowN(now, 1) {
		return 0
	}
	return max(time.Second, time.Duration((1-b.TokensAt(now))/float64(l.rate)*float64(time.Second)))
}

func (l *limiter) bucketLocked(client netip.Addr, now time.Time) *rate.Limiter {
	client = subscriber(client)
	if b, ok := l.buckets[client]; ok {
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
	l.buckets[client] = b
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
func (l *limiter) sweepLocked(now time.Time) {
	if now.Sub(l.swept) < time.Second {
		return
	}
	l.swept = now
	full := time.Duration(float64(l.burst) / float64(l.rate) * float64(time.Second))
	for client, b := range l.buckets {
		if now.Sub(b.used) > full {
			delete(l.buckets, client)
		}
	}
}
