package auth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sightline/internal/replica"
)

// Where there are several nodes, a revocation or an invitation that was made at one holds at all of
// them, and so does taking it back. Both are records of a replica.Set under their own random ID, made
// once and never changed: all that can happen to one is that it is gone.

const (
	revocationKey = "revocation/"
	invitationKey = "invitation/"

	// tombstoneLife is how long it is known that a revocation without an end was taken back. A node
	// that has been away for longer, and has kept it, brings it back: that locks out, and lets nobody in.
	tombstoneLife = 90 * 24 * time.Hour

	// partitioned is how many times the limits are taken from other nodes: each side of a partition
	// may make as many as the limit says, and what was revoked must be known to be.
	partitioned = 4
)

// Share lets other nodes know of all changes by tell, which doesn't block, and this one know
// of theirs by Merge, Digest and State. Call it before Run and the first request. The error says what
// of the file can't be told to other nodes; it holds here all the same.
func (a *Auth) Share(tell func(message []byte)) error {
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell = tell
	most := s.maxRevocations + maxInvitations
	s.shared = replica.New(replica.Limits{Live: partitioned * most, Gone: most})

	// What the file had comes in as another node's does: it may have been edited.
	from := slices.Clone(s.kept)
	var errs []error
	add := func(key string, v any, expires time.Time) {
		r, err := record(key, v, expires)
		from, errs = append(from, r), append(errs, err)
	}
	for _, r := range s.revocations {
		add(revocationKey+r.ID, r, r.Expires)
	}
	for _, i := range s.invitations {
		add(invitationKey+i.ID, i, i.Expires)
	}
	now := time.Now()
	for _, message := range replica.Encode(from) {
		_, err := s.mergeLocked(message, now)
		errs = append(errs, err)
	}
	s.kept = nil
	return errors.Join(errs...)
}

// Merge takes what another node has told, or a page of its State. It waits for nothing: what is revoked
// by it ends within a second, and Run keeps it over a restart. The error says what could not be taken.
func (a *Auth) Merge(message []byte) error {
	s := a.store
	s.mu.Lock()
	now := time.Now()
	s.forgetLocked(now)
	news, err := s.mergeLocked(message, now)
	if news > 0 {
		s.changes++
	}
	s.mu.Unlock()
	if news > 0 {
		a.keeper.wake()
		s.later()
	}
	return err
}

// saveAgain is how long a state that could not be kept waits for the next attempt.
const saveAgain = 5 * time.Second

// keep saves what other nodes have told, and what could not be saved at once, until ctx is done.
func (s *store) keep(ctx context.Context) {
	again := time.NewTimer(0)
	defer again.Stop()
	said := ""
	for last := false; !last; {
		select {
		case <-ctx.Done():
			last = true
		case <-s.unsaved:
		case <-again.C:
		}
		err := s.saveAll()
		switch {
		case err == nil:
			said = ""
			continue
		case err.Error() != said: // not every few seconds
			said = err.Error()
			s.log.Error("what has changed of revocations and invitations holds, but is not kept", "err", err)
		}
		again.Reset(saveAgain)
	}
}

// saveAll sees to it that the file has all that there is.
func (s *store) saveAll() error {
	s.mu.RLock()
	changes := s.changes
	s.mu.RUnlock()
	return s.save(changes)
}

// Digest returns what State of another node needs, to tell only what this one may lack.
func (a *Auth) Digest() []byte {
	a.store.shared.Forget(time.Now())
	return a.store.shared.Digest()
}

// State returns a page of what the holder of a digest may lack, for Merge, and where the next one
// begins: pass it as after. "" begins, and ends.
func (a *Auth) State(theirs []byte, after string) (page []byte, next string, err error) {
	return a.store.shared.Differing(theirs, after)
}

// shareLocked lets the other nodes know what was made here, if there are any.
func (s *store) shareLocked(key string, v any, expires time.Time) error {
	if s.shared == nil {
		return nil
	}
	r, err := record(key, v, expires)
	if err != nil {
		return err
	}
	if err := s.shared.Put(r); err != nil {
		return err
	}
	s.news = append(s.news, r)
	return nil
}

// buryLocked lets the other nodes know that something was taken back, for as long as it would have
// been there itself.
func (s *store) buryLocked(key string, expires, now time.Time) {
	if s.shared == nil {
		return
	}
	if expires.IsZero() {
		expires = now.Add(tombstoneLife)
	}
	r := replica.Record{Key: key, Gone: true, Until: expires.UnixMilli()}
	if s.shared.Put(r) == nil { // else nobody has it from here
		s.news = append(s.news, r)
	}
}

func record(key string, v any, expires time.Time) (replica.Record, error) {
	r := replica.Record{Key: key}
	if !expires.IsZero() {
		r.Until = expires.UnixMilli()
	}
	var err error
	r.Body, err = json.Marshal(v)
	return r, err
}

// mergeLocked does what other nodes have done. It returns how much of it was news. What can't be
// understood, of a newer version of the gateway perhaps, stays among the records, and has no effect here.
func (s *store) mergeLocked(message []byte, now time.Time) (news int, err error) {
	records, err := s.shared.Merge(message, now)
	for _, r := range records {
		if wrong := s.applyLocked(r); wrong != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", r.Key, wrong))
		}
	}
	return len(records), err
}

func (s *store) applyLocked(rec replica.Record) error {
	if id, is := strings.CutPrefix(rec.Key, revocationKey); is {
		if old, known := s.revocations[id]; known {
			s.dropLocked(old)
		}
		if rec.Gone {
			return nil
		}
		var r Revocation
		if err := json.Unmarshal(rec.Body, &r); err != nil {
			return err
		}
		r.ID = id
		if err := cmp.Or(r.check(), rec.CheckEnd(r.Expires)); err != nil {
			return err
		}
		s.putLocked(r)
		return nil
	}
	id, is := strings.CutPrefix(rec.Key, invitationKey)
	if !is {
		return errors.New("neither a revocation nor an invitation")
	}
	if old, known := s.invitations[id]; known {
		s.expelLocked(old)
	}
	if rec.Gone {
		return nil
	}
	var i Invitation
	if err := json.Unmarshal(rec.Body, &i); err != nil {
		return err
	}
	i.ID = id
	if len(i.Hash) != len(HashToken("")) || i.Room == "" {
		return errors.New("an invitation must be to a room, and have the hash of a secret")
	}
	if err := cmp.Or(i.check(time.Now()), rec.CheckEnd(i.Expires)); err != nil {
		return err
	}
	s.admitLocked(i)
	return nil
}
