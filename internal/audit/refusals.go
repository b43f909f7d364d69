package audit

import (
	"net/netip"
	"strings"
	"time"
)

// Who guesses must not fill the disk, nor drive older events out of it: refusals that are
// alike are one line in half a second, with their count. Of lines that are not alike there are as
// many as the budget has; what is beyond it is one line in half a second, for all of them.
const (
	maxAlike     = 64  // kinds of refusals between two flushes
	budgetBurst  = 200 // lines
	budgetSecond = 5   // lines a second that the budget grows by

	refusalInterval = time.Second / 2
)

// refusals sums up refusals between two flushes. The Log's lock guards it.
type refusals struct {
	alike   map[refusal]*Event
	others  *Event // beyond maxAlike
	flushed time.Time
	budget  float64
}

// A refusal is what makes two refusals alike.
type refusal struct {
	address, request, cause, name, room, publisher string
}

// add counts a refusal.
func (r *refusals) add(e Event) {
	// What a stranger makes up is no longer than names are, nor six times as long in JSON.
	e.Room, e.Publisher, e.Agent = plain(e.Room, 64), plain(e.Publisher, 64), plain(e.Agent, 160)
	e.From, e.To, e.Count = e.Time, e.Time, max(e.Count, 1)
	key := refusal{network(e.Address), e.Request, e.Cause, e.Name, e.Room, e.Publisher}
	if known := r.alike[key]; known != nil {
		known.merge(&e)
		return
	}
	if len(r.alike) >= maxAlike {
		r.others = spill(r.others, &e)
		return
	}
	if r.alike == nil {
		r.alike = make(map[refusal]*Event)
	}
	r.alike[key] = &e
}

// plain returns a text in which each character is one byte, in JSON too.
func plain(s string, n int) string {
	return clip(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`"\<>&`, r) {
			return '?'
		}
		return r
	}, s), n)
}

// waiting says whether there is something to flush.
func (r *refusals) waiting() bool { return len(r.alike) > 0 || r.others != nil }

// flush returns what has been refused since the last flush, at most as many lines as the
// budget has, and one; nothing if the last flush was just now.
func (r *refusals) flush(now time.Time, force bool) []Event {
	since := now.Sub(r.flushed)
	if !r.waiting() || since < refusalInterval && !force {
		return nil
	}
	r.flushed = now
	r.budget = min(budgetBurst, r.budget+budgetSecond*min(since.Seconds(), budgetBurst))
	var out []Event
	for _, e := range r.alike {
		if r.budget < 1 {
			r.others = spill(r.others, e)
			continue
		}
		r.budget--
		out = append(out, e.settled())
	}
	if r.others != nil {
		out = append(out, r.others.settled())
	}
	r.alike, r.others = nil, nil
	return out
}

// spill adds e to those that are told without their particulars.
func spill(others, e *Event) *Event {
	if others == nil {
		return &Event{
			Time: e.Time, What: Refused, From: e.From, To: e.To, Count: e.Count,
			Detail: "of several kinds, more than are told one by one",
		}
	}
	others.merge(e)
	return others
}

func (e *Event) merge(other *Event) {
	e.Count += other.Count
	if other.From.Before(e.From) {
		e.From = other.From
	}
	if other.To.After(e.To) {
		e.To = other.To
	}
}

// settled is the event as it is written: one that stands for itself has neither a count nor
// an interval.
func (e *Event) settled() Event {
	if e.Count == 1 {
		e.Count, e.From, e.To = 0, time.Time{}, time.Time{}
	}
	return *e
}

// network is what counts as one client: an IPv6 subscriber has a /64 at least.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || !ip.Is6() || ip.Is4In6() {
		return address
	}
	p, _ := ip.WithZone("").Prefix(64)
	return p.String()
}
