package bridge

import "sightline/internal/fault"

// A relayed is which mix a relay plays on: most have that of nobody in particular.
type relayed struct{ relay, listener, role string }

func (r *ListenRequest) relayed() relayed { return relayed{r.Relay, r.For, r.Role} }

// Represent says for whom a relay's listener stands, all of them: who hears the mix of a room
// at another node, which pulls it once (see ListenRequest.Relay), and whose sessions they
// are, by ID. It returns how many listen elsewhere. The error is a fault: NotFound if the relay
// doesn't listen, BadRequest if the numbers are none.
func (b *Bridge) Represent(req ListenRequest, listeners int, participants []string) (others int, err error) {
	if listeners < 0 || listeners > b.config.MaxListeners || len(participants) > listeners {
		return 0, fault.New(fault.BadRequest, "a relay's listeners must be 0 to %d (bridge.max_listeners), its participants no more than these; got %d and %d",
			b.config.MaxListeners, listeners, len(participants))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rooms[req.Room]
	if r == nil || r.relays[req.relayed()] == nil {
		return 0, fault.New(fault.NotFound, "the mix of room %q is not played to that relay", req.Room)
	}
	b.standLocked(r, r.relays[req.relayed()], listeners, participants)
	return r.seats - listeners, nil
}

// standLocked makes a relay's listener stand for those, and no longer for whom it did.
func (b *Bridge) standLocked(r *room, l *Listener, listeners int, participants []string) {
	r.seats += listeners - l.stands
	before := l.participants
	l.stands, l.participants = listeners, participants
	for _, id := range participants {
		b.countLocked(r, id, 1)
	}
	for _, id := range before {
		b.countLocked(r, id, -1)
	}
}

// relayLocked makes l the relay's listener. One that it had before, whose end is on its way,
// hands over for whom it stands.
func (b *Bridge) relayLocked(r *room, l *Listener) {
	key := l.request.relayed()
	if old := r.relays[key]; old != nil {
		l.stands, l.participants = old.stands, old.participants
		old.stands, old.participants = 0, nil
	}
	r.relays[key] = l
}

func (b *Bridge) endRelayLocked(r *room, l *Listener) {
	b.standLocked(r, l, 0, nil)
	if key := l.request.relayed(); r.relays[key] == l {
		delete(r.relays, key)
	}
}
