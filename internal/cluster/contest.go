package cluster

import (
	"slices"
	"time"
)

const (
	tellWithin = time.Second     // how long the others of a contest are waited for to tell their weight
	giveWithin = 5 * time.Second // and a node that gave a room away, to be seen to let go of it
)

// judgeLocked looks at a room of this node's that others may claim too. It is called at each
// change of what they say, and by the clock.
//
// A claim goes
//
//	alone ──▶ frozen (its weight is told, and stays) ──▶ let go of, for a greater one
//	  ▲          │
//	  └──────────┘ no other claim is left
//
// and each claimant judges for itself, by what it knows of the others: copies that may be late,
// but never go back. A claim is let go of only for a greater one, and its weight does not fall:
// frozen anew within a minute, it is the greater of what it was and what the room is now, and a
// room that is handed over takes it along. So those that let go for each other stand in one
// rising line, at the end of which one keeps the room, even if two have never seen each other.
// Who does not tell its weight in time counts as nothing; it will let go when it sees the others.
func (d *directory) judgeLocked(o *owned, now time.Time) {
	var others []claim
	for _, c := range d.claims[o.Room] {
		switch {
		case c.of == d.me:
		case c.rec.From == d.id && c.rec.Epoch > o.Epoch && o.gaveWeight(now):
			// It has taken what this node offered, though the answer may have got lost.
			d.loseLocked(o, c.of, Drained)
			return
		case o.From == c.of.ID && o.Epoch > c.rec.Epoch && now.Sub(o.since) < giveWithin:
		default:
			others = append(others, c)
		}
	}
	if len(others) == 0 {
		if o.Weight != nil {
			o.weighed, o.weighedAt = *o.Weight, now
			o.Weight, o.contested, o.won, o.merged = nil, time.Time{}, false, nil
			d.tellLocked(o)
		}
		return
	}
	if o.Weight == nil {
		w := weight{Deaf: o.Deaf, Publishers: o.Publishers, Sessions: o.Sessions, Age: now.Sub(o.since)}
		if told := o.toldWeight(now); told != nil && told.heavier(w) {
			w = *told
		}
		o.Weight = &w
		o.contested, o.From = now, ""
		d.tellLocked(o)
	}
	told := slices.DeleteFunc(slices.Clone(others), func(c claim) bool { return c.rec.Weight == nil })
	if len(told) < len(others) && now.Sub(o.contested) < tellWithin {
		return
	}
	if len(told) > 0 {
		if best := slices.MaxFunc(told, compareClaims); compareClaims(best, claim{d.me, &o.record}) > 0 {
			d.loseLocked(o, best.of, Contested)
			return
		}
	}
	d.winLocked(o, others)
}

// toldWeight returns the weight for which others may let go, or have; nil if there is none.
func (o *owned) toldWeight(now time.Time) *weight {
	if o.Weight == nil && now.Sub(o.weighedAt) < rememberIt {
		return &o.weighed
	}
	return o.Weight
}

// gaveWeight reports whether who was offered the room has taken all that it weighs, too.
func (o *owned) gaveWeight(now time.Time) bool {
	told := o.toldWeight(now)
	return told == nil || o.gave != nil && !told.heavier(*o.gave)
}

// raiseLocked makes a room that was taken weigh at least what it did where it comes from.
func (d *directory) raiseLocked(o *owned, w *weight, now time.Time) {
	switch told := o.toldWeight(now); {
	case w == nil || told != nil && !w.heavier(*told):
	case o.Weight != nil:
		o.Weight = w
		d.tellLocked(o)
	default:
		o.weighed, o.weighedAt = *w, now
	}
}

// winLocked raises the epoch of a room above those of the others who claim it, and takes over
// their mutes.
func (d *directory) winLocked(o *owned, others []claim) {
	if !o.won {
		o.won = true
		d.stats.takeovers[Contested]++
		d.lanes.add(o.Room, func() { d.local.Taken(o.Room, Keep{}) }) // who was in it elsewhere is about to come
	}
	for _, c := range others {
		if o.Epoch <= c.rec.Epoch {
			o.Epoch = c.rec.Epoch + 1
			d.tellLocked(o)
			d.changedLocked()
		}
		d.mergeLocked(o, c.rec.Muted)
	}
}

// mergeLocked takes over what another owner of the room has muted: each name once in a
// contest, so that it can be unmuted.
func (d *directory) mergeLocked(o *owned, muted []string) {
	fresh := slices.DeleteFunc(slices.Clone(muted), func(name string) bool {
		return slices.Contains(o.Muted, name) || slices.Contains(o.merged, name)
	})
	o.merged = union(o.merged, muted)
	if len(fresh) == 0 {
		return
	}
	o.Muted = boundNames(union(o.Muted, fresh))
	d.tellLocked(o)
	keep := Keep{Muted: o.Muted}
	d.lanes.add(o.Room, func() { d.local.Taken(o.Room, keep) })
}

// loseLocked lets go of a room that is another's.
func (d *directory) loseLocked(o *owned, to *peer, why Why) {
	d.dropLocked(o)
	now := time.Now()
	d.strays[o.Room] = now
	d.hints[o.Room] = hint{id: to.ID, epoch: o.Epoch + 1, until: now.Add(expectIt)}
	m := to.Member
	d.lanes.add(o.Room, func() { d.local.Lost(o.Room, m, why) })
}
