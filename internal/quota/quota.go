// Package quota has what clients use of those limits that the nodes of a cluster hold together
// (docs/CLUSTER.md).
package quota

import "sync/atomic"

// Use is how much clients use, by the limit's key in the configuration, and by client: its address,
// as text, or its token's subject.
type Use map[string]map[string]int

// Add adds what a client uses of a limit.
func (u Use) Add(limit, client string, n int) {
	of := u[limit]
	if of == nil {
		of = make(map[string]int)
		u[limit] = of
	}
	of[client] += n
}

// Notable reports whether a client that uses n of a limit at one node uses so much that the others
// should know: a 64th of it. Of less nobody is told, so that most clients cost nothing.
func Notable(n, limit int) bool { return n > 0 && n >= limit/64 }

// An Elsewhere is what clients hold at the other nodes. The zero Elsewhere knows of none. It is safe
// for concurrent use.
type Elsewhere struct {
	use atomic.Pointer[Use]
}

// Set replaces what is known. The caller does not change u any more.
func (e *Elsewhere) Set(u Use) { e.use.Store(&u) }

// Of returns how much a client holds of a limit.
func (e *Elsewhere) Of(limit, client string) int {
	u := e.use.Load()
	if u == nil {
		return 0
	}
	return (*u)[limit][client]
}
