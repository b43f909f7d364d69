package bridge

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"sightline/internal/media"
	"sightline/rooms"
)

// follow keeps the room's cast: who has sound in the room speaks.
func (r *room) follow() {
	var taps sync.WaitGroup
	defer taps.Wait()
	defer func() { r.recast(&cast{}) }()
	for r.ctx.Err() == nil {
		err := r.watch(&taps)
		if errors.Is(err, rooms.ErrClosed) {
			r.end(rooms.ErrClosed)
			return
		}
		if errors.Is(err, rooms.ErrMoved) {
			r.bridge.mu.Lock()
			r.bridge.moveLocked(r)
			r.bridge.mu.Unlock()
			return
		}
		if r.ctx.Err() == nil {
			r.bridge.log.Warn("the bridge can't follow a room", "room", r.name, "err", err, "again", retryAfter)
		}
		select {
		case <-r.ctx.Done():
		case <-time.After(retryAfter):
		}
	}
}

// watch looks at the room whenever something changes in it.
func (r *room) watch(taps *sync.WaitGroup) error {
	w, err := r.bridge.registry.Watch(r.name, 0)
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		e, err := w.Next(r.ctx)
		if err != nil {
			return err
		}
		if e.Type != rooms.SpeakingChanged && e.Participant == nil { // the bridge's own news, and people who may be silent
			r.look(taps)
		}
	}
}

// look makes the cast what the room is now.
func (r *room) look(taps *sync.WaitGroup) {
	var publishers []rooms.PublisherInfo
	if info, err := r.bridge.registry.Room(r.name); err == nil { // otherwise nobody is there
		publishers = info.Publishers
	}
	r.mu.Lock()
	old := r.cast
	r.mu.Unlock()
	next := &cast{roles: make(map[string]string)}
	for _, p := range publishers {
		if p.Role != "" {
			next.roles[p.Name] = p.Role
		}
		i := slices.IndexFunc(p.Tracks, func(t rooms.TrackInfo) bool { return t.Kind == media.Audio && t.State != rooms.Gone })
		if i < 0 {
			continue
		}
		s := old.find(p.Name)
		if s == nil || s.gone() || s.role != p.Role {
			var err error
			if s, err = newSpeaker(r, p.Name, p.Role, taps); err != nil {
				continue // it is not live yet: an event says when it is
			}
		}
		s.muted.Store(p.Muted)
		s.viewers.Store(int64(p.Tracks[i].Viewers))
		next.speakers = append(next.speakers, s)
	}
	slices.SortFunc(next.speakers, func(a, b *speaker) int { return strings.Compare(a.name, b.name) })
	r.recast(next)
}

// recast replaces the cast, and takes leave of who is in it no longer.
func (r *room) recast(next *cast) {
	var parted []*speaker
	r.mu.Lock()
	for _, s := range r.cast.speakers {
		if !slices.Contains(next.speakers, s) {
			parted = append(parted, s)
		}
	}
	r.mu.Unlock()
	for _, s := range parted {
		s.close()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cast = next
	for _, s := range parted {
		r.counts.Past = r.counts.Past.Plus(s.leg.Stats())
	}
}

func (c *cast) find(name string) *speaker {
	for _, s := range c.speakers {
		if s.name == name {
			return s
		}
	}
	return nil
}
