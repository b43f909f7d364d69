package doortest

import (
	"slices"
	"sync"
	"testing"

	"sightline/internal/audit"
)

// An Audit remembers what was recorded, and writes it nowhere.
type Audit struct {
	*audit.Log

	mu     sync.Mutex // guards what follows
	events []audit.Event
}

// Record implements audit.Recorder.
func (a *Audit) Record(e audit.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, e)
}

// Events returns what was recorded of one kind, in order.
func (a *Audit) Events(what audit.What) []audit.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(a.events), func(e audit.Event) bool { return e.What != what })
}

// Await waits until n events of one kind were recorded, and returns them.
func (a *Audit) Await(t testing.TB, what audit.What, n int) []audit.Event {
	t.Helper()
	Eventually(t, func() string {
		if got := len(a.Events(what)); got < n {
			return "too few events of the kind " + string(what)
		}
		return ""
	})
	return a.Events(what)
}
