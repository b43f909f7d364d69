package cluster

import "context"

// A bus is how nodes reach one another. Tests of the directory have one in memory.
type bus interface {
	tell(topic string, data []byte) error                                   // to all others; no answer; never blocks on the network
	onTell(topic string, f func(from string, data []byte))                  // from: id of the sending node; before run; f is called in order per sender, and may take a lock but not block on the network
	call(ctx context.Context, to, verb string, data []byte) ([]byte, error) // to: id; errors are faults that keep kind and detail; fault.Unavailable at once when nobody is there under that id
	onCall(verb string, f func(ctx context.Context, from string, data []byte) ([]byte, error))
	connected() bool
}
