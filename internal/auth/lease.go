package auth

import (
	"context"
	"errors"
	"sync"
	"time"
)

// The reasons of an end before its time, and the causes of a lease's context.
var (
	ErrExpired = errors.New("expired")
	ErrRevoked = errors.New("revoked")
)

// An Ending says that a lease is about to end.
type Ending struct {
	Reason string    // the text of ErrExpired or ErrRevoked
	At     time.Time // for a revocation, now
}

// A Lease is how long somebody may go on with what he began: a session, a stream of events,
// to be a participant. A lease goes
//
//	held ──▶ warned of ──▶ expired or revoked
//	  ▲───── renewed ──┘
//
// or is released at any time. It is safe for concurrent use.
type Lease struct {
	keeper *keeper // nil: of an open gateway, without an end
	ctx    context.Context
	cancel context.CancelCauseFunc

	id     Identity     // guarded by keeper.mu, as what follows
	warn   func(Ending) // nil: nobody wants to know
	warned bool
}

// Keep returns a lease for an identity, which the caller releases. It ends while Run runs.
func (a *Auth) Keep(id Identity) *Lease {
	l := &Lease{id: id}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	if id.Kind != Anonymous {
		l.keeper = &a.keeper
		l.keeper.add(l)
	}
	return l
}

// Err returns ErrExpired or ErrRevoked once the lease has ended so, nil before, and
// context.Canceled once it has been released.
func (l *Lease) Err() error { return context.Cause(l.ctx) }

// Bind returns a context that is done when ctx is or the lease ends, then with the cause expired
// or revoked. The caller calls stop.
func (l *Lease) Bind(ctx context.Context, expired, revoked error) (bound context.Context, stop func()) {
	bound, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(l.ctx, func() {
		cause := expired
		if errors.Is(context.Cause(l.ctx), ErrRevoked) {
			cause = revoked
		}
		cancel(cause)
	})
	return bound, func() {
		unhook()
		cancel(nil)
	}
}

// Warn lets f be called before the lease ends: auth.warning before it expires, at once if that
// is past, and just before it is revoked. f is called by Run, one at a time with those of other
// leases, and does not block. It may be called just after Release.
func (l *Lease) Warn(f func(Ending)) {
	if l.keeper == nil {
		return
	}
	l.keeper.mu.Lock()
	l.warn = f
	l.keeper.mu.Unlock()
	l.keeper.wake()
}

// Renew lets the lease go on for as long as id does, if it is of the same subject, is not bound to another
// role, and ends later. It reports whether it did.
func (l *Lease) Renew(id Identity) bool {
	if l.keeper == nil {
		return false
	}
	l.keeper.mu.Lock()
	defer l.keeper.mu.Unlock()
	later := !l.id.Expires.IsZero() && (id.Expires.IsZero() || id.Expires.After(l.id.Expires))
	another := id.Role != "" && id.Role != l.id.Role
	if id.Subject() != l.id.Subject() || another || !later || l.ctx.Err() != nil {
		return false
	}
	l.id, l.warned = id, false
	l.keeper.wake()
	return true
}

// Release ends the lease: nothing depends on it any more. It is idempotent.
func (l *Lease) Release() {
	if l.keeper != nil {
		l.keeper.mu.Lock()
		delete(l.keeper.leases, l)
		l.warn = nil // and what it holds
		l.keeper.mu.Unlock()
	}
	l.cancel(nil)
}

// A keeper ends leases when their time has come.
type keeper struct {
	warning time.Duration
	revoked func(Identity) bool // does not block, and takes no lock that is held around the keeper's
	kick    chan struct{}       // holds one token when there is something to look at

	mu     sync.Mutex // guards what follows, and in leases what says so
	leases map[*Lease]struct{}
}

func (k *keeper) add(l *Lease) {
	k.mu.Lock()
	k.leases[l] = struct{}{}
	k.mu.Unlock()
	k.wake() // it may have been revoked since it was asked for
}

// prolong lets the leases of an identity, by kind and ID, go on until it expires now.
func (k *keeper) prolong(id Identity) {
	k.mu.Lock()
	for l := range k.leases {
		if l.id.Kind == id.Kind && l.id.ID == id.ID && l.ctx.Err() == nil {
			l.id.Expires, l.warned = id.Expires, false
		}
	}
	k.mu.Unlock()
	k.wake()
}

func (k *keeper) wake() {
	select {
	case k.kick <- struct{}{}:
	default: // it is about to look anyway
	}
}

// run looks at the leases when one is due, and when it is woken, until ctx is done.
func (k *keeper) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.kick:
		case <-timer.C:
		}
		timer.Reset(k.look(time.Now()))
	}
}

// longest is how long the keeper sleeps at most while something can expire: the machine's
// clock, which expiry is about, may be set.
const longest = time.Second

// look warns of and ends what is due, and returns how long until something is.
func (k *keeper) look(now time.Time) time.Duration {
	type end struct {
		lease *Lease
		warn  func(Ending)
		why   error // nil: only warn
		at    time.Time
	}
	var due []end
	next := time.Hour
	k.mu.Lock()
	for l := range k.leases {
		expires := l.id.Expires
		switch {
		case !expires.IsZero() && !now.Before(expires):
			due = append(due, end{l, nil, ErrExpired, expires})
			delete(k.leases, l)
		case k.revoked(l.id):
			due = append(due, end{l, l.warn, ErrRevoked, now})
			delete(k.leases, l)
		case expires.IsZero():
		default:
			next = min(next, expires.Sub(now), longest)
			if l.warn != nil && !l.warned {
				if now.Before(expires.Add(-k.warning)) {
					next = min(next, expires.Add(-k.warning).Sub(now))
					break
				}
				due = append(due, end{l, l.warn, nil, expires})
				l.warned = true
			}
		}
	}
	k.mu.Unlock()
	for _, d := range due {
		reason := ErrExpired
		if d.why != nil {
			reason = d.why
		}
		if d.warn != nil {
			d.warn(Ending{Reason: reason.Error(), At: d.at})
		}
		if d.why != nil {
			d.lease.cancel(d.why)
		}
	}
	return next
}
