package signin

import (
	"net/netip"
	"sync"
	"time"

	"sightline/internal/fault"
)

// Anybody can begin a sign-in and come back with a code that is none, so the provider is asked for so many
// callbacks and logout tokens at a time, and no address takes the places of all others.
const (
	maxExchanges           = 16
	maxExchangesPerAddress = 8
)

// exchanges are those that are under way. They are safe for concurrent use.
type exchanges struct {
	mu   sync.Mutex // guards what follows
	all  int
	from map[netip.Addr]int // those of an address, see httpapi.Client
}

// take takes a place, until release is called. The error is a fault.TooMany or a fault.Unavailable if there
// is none.
func (e *exchanges) take(address netip.Addr) (release func(), err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.from[address] >= maxExchangesPerAddress:
		return nil, fault.New(fault.TooMany, "too many people at your address sign in or out at this moment: try again").After(time.Second)
	case e.all >= maxExchanges:
		return nil, fault.New(fault.Unavailable, "too many people sign in or out at this moment: try again").After(time.Second)
	}
	e.all++
	e.from[address]++
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.all--
		if e.from[address]--; e.from[address] == 0 {
			delete(e.from, address)
		}
	}, nil
}
