package cluster

import (
	"context"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"sightline/internal/fault"
)

const givingAtOnce = 8

// drain takes no new rooms from now on, and gives each that this node has to another. It
// returns nil when none is left. Rooms that no node takes stay here: then it returns a
// fault.Unavailable that says so when ctx is done, or at once if there is no other node at all.
func (d *directory) drain(ctx context.Context) error {
	d.mu.Lock()
	d.me.Draining, d.beatDue = true, true
	d.changedLocked()
	d.mu.Unlock()
	poke(d.wakeup)

	change, stop := d.watch()
	defer stop()
	for {
		rooms, others := d.left()
		if rooms == nil {
			return nil
		}
		why := "no other node takes rooms"
		if others {
			var g errgroup.Group
			g.SetLimit(givingAtOnce)
			for _, room := range rooms {
				g.Go(func() error { return d.give(ctx, room) })
			}
			err := g.Wait()
			if err == nil {
				continue
			}
			why = err.Error()
		}
		err := fault.New(fault.Unavailable, "%d rooms stay on this node, whose sessions end with it: %s", len(rooms), why)
		if !others {
			return err
		}
		if pause(ctx, change) != nil {
			return err
		}
	}
}

// left returns the rooms that are still here, and whether there is a node that may take them.
func (d *directory) left() (rooms []string, others bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.peers {
		others = others || !p.Draining
	}
	return slices.Sorted(maps.Keys(d.own)), others
}

// give has another node take a room, and lets go of it then.
func (d *directory) give(ctx context.Context, room string) error {
	refused := map[string]string{d.id: "drains"}
	for {
		d.mu.Lock()
		o := d.own[room]
		if o == nil {
			d.mu.Unlock()
			return nil // it has ended, or another has it
		}
		to := d.chooseLocked(room, "", refused, time.Now())
		if to == nil {
			d.mu.Unlock()
			return fault.New(fault.Unavailable, "%s", d.reasons(refused))
		}
		id := to.ID
		t := takeRequest{Room: room, Epoch: o.Epoch + 1, Muted: o.Muted, From: d.id}
		if w := o.toldWeight(time.Now()); w != nil {
			weight := *w
			t.Weight = &weight
		}
		d.mu.Unlock()

		a, err := d.offer(ctx, id, t)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			refused[id] = "does not answer"
		case a.Owner == "":
			refused[id] = a.Refuse
		case a.Owner != id:
			return fault.New(fault.Unavailable, "room %q is claimed by another node too", room) // a contest decides
		default:
			d.given(o, to, a, t.Weight)
			d.lanes.wait(ctx, room) // for Lost
			return nil
		}
	}
}

// given lets go of a room that another node has confirmed to have, with a weight. If it weighs
// more by now, it has to be given once more.
func (d *directory) given(o *owned, to *peer, a ownerAnswer, w *weight) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.own[o.Room] != o {
		return // its record was faster than its answer
	}
	if o.gave = w; !o.gaveWeight(time.Now()) {
		return
	}
	o.Epoch = min(max(o.Epoch+1, a.Epoch), maxEpoch) - 1 // one before its own
	d.loseLocked(o, to, Drained)
}
