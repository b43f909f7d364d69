package httpapi

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// Item 18 of docs/CONFORMANCE.md.
func TestLimiterCountsEachClient(t *testing.T) {
	l := newLimiter[netip.Addr](2, 3)
	now := time.Unix(1, 0)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range 3 {
		if wait := l.take(a, now); wait != 0 {
			t.Errorf("request %d of the burst has to wait %v", i, wait)
		}
	}
	if wait := l.take(a, now); wait < time.Second {
		t.Errorf("the fourth waits %v, want a second", wait)
	}
	if wait := l.take(b, now); wait != 0 {
		t.Errorf("another client has to wait %v", wait)
	}
	if wait := l.take(a, now.Add(500*time.Millisecond)); wait != 0 {
		t.Errorf("half a second later it waits %v, want nothing at 2 a second", wait)
	}
}

func TestLimiterKnowsASubscriberByHisNetwork(t *testing.T) {
	l := newLimiter[netip.Addr](1, 1)
	now := time.Unix(1, 0)
	l.take(subscriber(netip.MustParseAddr("2001:db8:1:2::1")), now)
	if l.take(subscriber(netip.MustParseAddr("2001:db8:1:2:ffff::1%eth0")), now) == 0 {
		t.Error("an address of the same /64 has a bucket of its own")
	}
	if l.take(subscriber(netip.MustParseAddr("2001:db8:1:3::1")), now) != 0 {
		t.Error("an address of another /64 has none")
	}
	l.take(subscriber(netip.MustParseAddr("192.0.2.1")), now)
	if l.take(subscriber(netip.MustParseAddr("::ffff:192.0.2.1")), now) == 0 {
		t.Error("the mapped form of an address has a bucket of its own")
	}
	l.take(subscriber(netip.Addr{}), now)
	if l.take(subscriber(netip.Addr{}), now) == 0 {
		t.Error("clients without an address share no bucket")
	}
}

func TestLimiterIsBounded(t *testing.T) {
	l := newLimiter[netip.Addr](1, 2)
	now := time.Unix(1, 0)
	address := func(i int) netip.Addr {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(i))))
	}
	for i := range maxBuckets {
		l.take(address(i), now)
	}
	taken := 0
	for i := range 100 {
		if l.take(address(maxBuckets+i), now) == 0 {
			taken++
		}
	}
	if len(l.buckets) != maxBuckets {
		t.Errorf("%d buckets, want %d", len(l.buckets), maxBuckets)
	}
	if taken != 2 {
		t.Errorf("%d requests of newcomers taken, want the burst of 2 for all of them", taken)
	}
	// Once the others are idle for long enough, a newcomer has his own again.
	l.take(address(1<<20), now.Add(10*time.Second))
	if len(l.buckets) != 1 {
		t.Errorf("%d buckets after a pause, want 1", len(l.buckets))
	}
}

func TestLimitersOfTwoNodesAreOne(t *testing.T) {
	now := time.Unix(1, 0)
	a, b := newLimiter[string](1, 128), newLimiter[string](1, 128)
	tell := func(from, to *limiter[string]) (told int) {
		from.spent(func(key string, n int) {
			to.spend(key, n, now)
			told += n
		})
		return told
	}
	a.take("ada", now)
	if n := tell(a, b); n != 0 {
		t.Errorf("it tells of %d request, of which nobody needs to know", n)
	}
	for range 99 {
		a.take("ada", now)
	}
	if n := tell(a, b); n != 100 {
		t.Errorf("it tells of %d requests, want 100", n)
	}
	if n := tell(a, b) + tell(b, a); n != 0 {
		t.Errorf("%d requests are told twice", n)
	}
	passed := 0
	for range 128 {
		if b.take("ada", now) == 0 {
			passed++
		}
	}
	if passed != 28 {
		t.Errorf("of the burst of 128, 100 were spent elsewhere, and %d pass here", passed)
	}
	if b.take("bob", now) != 0 {
		t.Error("another client has to wait")
	}
	tell(b, a)

	// Who has asked everywhere at once waits, for as long as it was too much, but not for ever.
	for range 10 {
		b.spend("ada", 128, now)
	}
	if wait := b.take("ada", now); wait < maxDebt || wait > 4*maxDebt {
		t.Errorf("he waits %v", wait)
	}
	later := now.Add(5 * time.Minute)
	if b.take("ada", later) != 0 {
		t.Error("five minutes later he still waits")
	}
}

// What other nodes tell takes no memory that clients here could not take, and is forgotten when it
// counts for nothing any more.
func TestLimiterIsBoundedAgainstOtherNodes(t *testing.T) {
	l := newLimiter[int](1, 64)
	now := time.Unix(1, 0)
	for i := range 2 * maxBuckets {
		l.spend(i, 10, now)
	}
	if n := len(l.buckets); n != maxBuckets {
		t.Errorf("%d buckets, want %d", n, maxBuckets)
	}
	l.take(2*maxBuckets, now.Add(time.Minute))
	if n := len(l.buckets); n != 1 {
		t.Errorf("a minute later %d buckets, want one", n)
	}
	var none *limiter[int]
	none.spend(1, 1, now)
	none.spent(func(int, int) { t.Error("a limit that is off tells something") })
}
