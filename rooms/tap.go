package rooms

import (
	"sightline/internal/fault"
	"sightline/internal/media"
)

// Tap returns a subscription of the gateway's own to a publisher's audio. It is none of a
// viewer's: it counts towards no limit and shows in no viewer count, and what its sink counts
// in no total. The track need not have begun, and may be without a session within the grace.
// The error is a fault: Conflict if there is no such track, BadRequest if a name is none,
// Unavailable once the registry is closed.
func (r *Registry) Tap(room, publisher string) (*Subscription, error) {
	if err := validNames(room, publisher); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosing()
	}
	if m := r.rooms[room]; m != nil {
		if p := m.publishers[publisher]; p != nil && p.audio != nil {
			return r.tapLocked(p.audio.track), nil
		}
	}
	return nil, fault.New(fault.Conflict, "%s of publisher %q is not live in room %q", media.Audio, publisher, room).After(retryAfter)
}

func (r *Registry) tapLocked(t *track) *Subscription {
	s := newSubscription(r, nil, t)
	s.hadPacket, s.hadStart = true, true // how long it waits is no viewer's delay
	t.admit(s)
	return s
}

// isTap reports whether the subscription is the gateway's own.
func (s *Subscription) isTap() bool { return s.viewer == nil }
