package bridge

import (
	"runtime"
	"sync"
)

// processors lends Go more processors than there are while rooms are mixed. Go looks at the
// network when a processor has nothing else to do. Were all of them busy encoding, packets
// would wait for the end of the frame, up to 10 ms. With as many again, the system wakes who
// forwards at once, and gives it a real one soon, since it has used so little of it.
var processors lending

type lending struct {
	mu    sync.Mutex // guards what follows
	rooms int
	own   int // how many there are
}

// lend begins the mixing of a room, and returns on how many processors at most.
func (p *lending) lend() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rooms++; p.rooms == 1 {
		p.own = runtime.GOMAXPROCS(0)
		runtime.GOMAXPROCS(2 * p.own)
	}
	return p.own
}

// giveBack ends the mixing of a room.
func (p *lending) giveBack() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rooms--; p.rooms == 0 {
		runtime.GOMAXPROCS(p.own)
	}
}
