package httpapi

import (
	"net/netip"
	"slices"
	"time"

	"sightline/internal/fault"
	"sightline/internal/quota"
)

// The limits of sessions that are live at a time, by their keys in the configuration. A cluster's
// nodes hold them together; those of setups are about what this node can bear.
const (
	maxSessionsPerToken   = "http.max_sessions_per_token"
	maxSessionsPerAddress = "http.max_sessions_per_address"
)

// A census counts the live sessions by whose they are, and knows those that are in setup:
// answered, but not connected. Resources.mu guards it.
//
// Nobody has to prove more for an offer than its token, and in an open gateway not even
// that, so places for setups are what an attacker would take from others. Therefore
//
//   - who has used up those of his address makes room for himself: the oldest of his setups
//     that no ICE check has come for gives way to the new one, if it had time for a check;
//   - when all places are taken, the address that has most of them makes room in the same way,
//     and with a checked one if it has more than who asks.
//
// A client sends its first check a round trip after the answer, so that his setup is in
// danger for a moment only.
type census struct {
	config    Config
	addresses map[netip.Addr]*household
	tokens    map[string]int // live sessions of each subject
	setups    int            // in all households; some may be connected by now

	elsewhere *quota.Elsewhere // what is live at other nodes
}

// A household are the sessions of one address.
type household struct {
	live   int
	setups []*resource // the oldest first; some may be connected by now
}

// firstCheck is how long a client has for its first check before its setup may give way.
const firstCheck = 300 * time.Millisecond

// retryFull is when somebody who has all sessions that he may have should ask again.
const retryFull = 10 * time.Second

func newCensus(c Config) census {
	return census{config: c, addresses: make(map[netip.Addr]*household), tokens: make(map[string]int), elsewhere: new(quota.Elsewhere)}
}

// admit returns a fault if who can have no session more: TooMany for his own limits,
// Unavailable where waiting a moment will do. Another node asks for many of its own clients, and is
// not held to what one of them may have.
func (n *census) admit(who caller, now time.Time) error {
	own := n.addresses[who.address]
	if own == nil {
		own = &household{}
	}
	if !who.node {
		if limit := n.config.MaxSessionsPerToken; limit > 0 && who.subject != "" &&
			n.tokens[who.subject]+n.elsewhere.Of(maxSessionsPerToken, who.subject) >= limit {
			return tooManySessions("with this token", maxSessionsPerToken, limit)
		}
		if limit := n.config.MaxSessionsPerAddress; limit > 0 &&
			own.live+n.elsewhere.Of(maxSessionsPerAddress, who.address.String()) >= limit {
			return tooManySessions("from this address", maxSessionsPerAddress, limit)
		}
	}
	_, err := n.place(who, own, now)
	return err
}

func tooManySessions(whose, key string, limit int) error {
	return fault.New(fault.TooMany, "%d sessions are live %s, which is the limit (%s)", limit, whose, key).
		After(retryFull).With("limit", key)
}

// held adds to use the sessions of those of whom other nodes should know.
func (n *census) held(use quota.Use) {
	for subject, live := range n.tokens {
		if limit := n.config.MaxSessionsPerToken; limit > 0 && quota.Notable(live, limit) {
			use.Add(maxSessionsPerToken, subject, live)
		}
	}
	for address, c := range n.addresses {
		if limit := n.config.MaxSessionsPerAddress; limit > 0 && address.IsValid() && quota.Notable(c.live, limit) {
			use.Add(maxSessionsPerAddress, address.String(), c.live)
		}
	}
}

// full reports whether a household has all setups that one address may have.
func (n *census) full(who caller, own *household) bool {
	return !who.node && len(own.setups) >= n.config.MaxSetupsPerAddress
}

// place returns the setup that has to give way to a new one of a household, nil if there is room;
// or a fault.Unavailable if none should.
func (n *census) place(who caller, own *household, now time.Time) (*resource, error) {
	n.prune(own)
	if n.full(who, own) {
		if victim := own.unchecked(now); victim != nil {
			return victim, nil
		}
		return nil, fault.New(fault.Unavailable, "%d sessions from this address are being connected, which is the limit (http.max_setups_per_address)", n.config.MaxSetupsPerAddress).
			After(time.Second).With("limit", "http.max_setups_per_address")
	}
	if n.setups < n.config.MaxSetups {
		return nil, nil
	}
	for _, c := range n.addresses {
		n.prune(c)
	}
	if n.setups < n.config.MaxSetups {
		return nil, nil
	}
	most := n.largest(own)
	if victim := most.unchecked(now); victim != nil {
		return victim, nil
	}
	if len(most.setups) > len(own.setups)+1 { // even checked: one address is not to have all
		return most.setups[0], nil
	}
	return nil, fault.New(fault.Unavailable, "%d sessions are being connected, which is the limit (http.max_setups)", n.config.MaxSetups).
		After(time.Second).With("limit", "http.max_setups")
}

// add counts a session that admit let in. It returns who has to give way to it, no longer
// counted as in setup, and the limit because of which; nil for nobody.
func (n *census) add(s *resource) (victim *resource, limit string) {
	own := n.addresses[s.caller.address]
	if own == nil {
		own = &household{}
		n.addresses[s.caller.address] = own
	}
	if victim, _ = n.place(s.caller, own, s.began); victim != nil {
		limit = "http.max_setups"
		if n.full(s.caller, own) {
			limit = "http.max_setups_per_address"
		}
		n.forget(victim)
	}
	own.live++
	own.setups = append(own.setups, s)
	n.setups++
	if s.caller.subject != "" {
		n.tokens[s.caller.subject]++
	}
	return victim, limit
}

// remove forgets a session that has ended.
func (n *census) remove(s *resource) {
	who := s.caller
	if who.subject != "" {
		if n.tokens[who.subject]--; n.tokens[who.subject] == 0 {
			delete(n.tokens, who.subject)
		}
	}
	n.forget(s)
	c := n.addresses[who.address]
	if c.live--; c.live == 0 {
		delete(n.addresses, who.address)
	}
}

// prune forgets of a household's setups those that are connected.
func (n *census) prune(c *household) {
	before := len(c.setups)
	c.setups = slices.DeleteFunc(c.setups, func(s *resource) bool { return over(s.Session.Connected()) })
	n.setups -= before - len(c.setups)
}

// largest returns the household with the most setups: own, if no other has more.
func (n *census) largest(own *household) *household {
	most := own
	for _, c := range n.addresses {
		if len(c.setups) > len(most.setups) {
			most = c
		}
	}
	return most
}

// forget takes a session out of its household's setups, if it is among them.
func (n *census) forget(s *resource) {
	c := n.addresses[s.caller.address]
	if i := slices.Index(c.setups, s); i >= 0 {
		c.setups = slices.Delete(c.setups, i, i+1)
		n.setups--
	}
}

// unchecked returns the oldest of the setups that had time for a check and has got none; nil
// if there is no such one.
func (c *household) unchecked(now time.Time) *resource {
	for _, s := range c.setups {
		if now.Sub(s.began) >= firstCheck && !over(s.Session.Checked()) {
			return s
		}
	}
	return nil
}

// over reports whether a channel is closed.
func over(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
