package auth

import (
	"cmp"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"sightline/internal/fault"
)

// An Invitation lets whoever has its secret into one room, for some time.
type Invitation struct {
	ID         string    `json:"id"`
	Hash       string    `json:"hash"` // of the secret, as HashToken makes it
	Room       string    `json:"room"`
	Role       string    `json:"role"`
	Publishers []string  `json:"publishers"` // as of a Grant
	Scopes     []Scope   `json:"scopes"`
	Label      string    `json:"label"` // for people
	By         string    `json:"by"`    // who invited, by name
	Created    time.Time `json:"created"`
	Expires    time.Time `json:"expires"`
}

// grant is what the invitation is good for.
func (i Invitation) grant() *Grant {
	g := &Grant{
		Identity: Identity{Name: "invitation " + i.ID, Kind: Invited, ID: i.ID, Role: i.Role, Expires: i.Expires},
		Scopes:   i.Scopes, Rooms: []string{i.Room}, Publishers: i.Publishers,
	}
	g.complete()
	return g
}

// Invite makes an invitation by somebody, who can give no more than he has: i says room, role,
// publishers, scopes, label and expiry. The secret is not kept, only its hash. The error is a
// fault: BadRequest for what can't be, Forbidden for what by has not himself, Conflict in an
// open gateway, Unavailable at a limit.
func (a *Auth) Invite(by Caller, i Invitation) (secret string, made Invitation, err error) {
	if by.open {
		return "", i, fault.New(fault.Conflict, "this gateway lets everybody in: there is nothing to invite to until tokens are configured")
	}
	if err := i.check(time.Now()); err != nil {
		return "", i, err
	}
	who, err := by.gives(i)
	if err != nil {
		return "", i, err
	}
	secret = NewToken()
	i.ID, i.Hash, i.By = rand.Text()[:12], HashToken(secret), who.Name
	i.Publishers, i.Scopes = slices.Clone(i.Publishers), slices.Clone(i.Scopes)
	s := a.store
	err = s.change(func(now time.Time) error {
		i.Created = now.UTC().Truncate(time.Millisecond)
		if n := len(s.invitationsLocked(i.Room)); n >= s.maxInvitations || len(s.invitations) >= maxInvitations {
			return fault.New(fault.Unavailable, "room %q has %d invitations, and the limit is reached (auth.max_invitations): revoke some", i.Room, n).
				After(time.Minute).With("limit", "auth.max_invitations")
		}
		if err := s.shareLocked(invitationKey+i.ID, i, i.Expires); err != nil {
			return err
		}
		s.admitLocked(i)
		return nil
	})
	if fault.KindOf(err) == "" && err != nil {
		_ = s.change(func(now time.Time) error { // nobody will get the secret
			s.expelLocked(i)
			s.buryLocked(invitationKey+i.ID, i.Expires, now)
			return nil
		})
	}
	if err != nil {
		return "", i, err
	}
	return secret, i, nil
}

// check says what can't be of an invitation that is to be made.
func (i *Invitation) check(now time.Time) error {
	const most = 16
	switch {
	case len(i.Scopes) == 0:
		return fault.New(fault.BadRequest, "scopes: must be one or more of %q", scopes)
	case len(i.Publishers) > most:
		return fault.New(fault.BadRequest, "publishers: must be at most %d, got %d", most, len(i.Publishers))
	case !validRole(i.Role):
		return fault.New(fault.BadRequest, "role: must be spelt as names of publishers are")
	case !i.Expires.After(now):
		return fault.New(fault.BadRequest, "an invitation must expire in the future")
	}
	for _, s := range i.Scopes {
		if !slices.Contains(scopes[:], s) {
			return fault.New(fault.BadRequest, "scopes: must be of %q, got %q", scopes, s[:min(len(s), maxText)])
		}
	}
	for _, p := range i.Publishers {
		if len(p) > maxText {
			return fault.New(fault.BadRequest, "publishers: must have at most %d bytes each", maxText)
		}
		if err := checkPublisherGlob(p); err != nil {
			return fault.New(fault.BadRequest, "publishers: %w", err)
		}
	}
	return nil
}

// gives returns who of the caller invites, if he has all that the invitation gives.
func (c Caller) gives(i Invitation) (Identity, error) {
	who, err := c.May(Admin, i.Room, "")
	if err != nil {
		return who, err
	}
	for _, scope := range i.Scopes {
		if !slices.ContainsFunc(c.grants, func(g *Grant) bool { return g.covers(scope, i) }) {
			return who, challenge(fault.Forbidden, "insufficient_scope", string(scope),
				"you can't give what you don't have: %s in room %q, for these publishers, until %s", scope, i.Room, i.Expires.UTC().Format(time.RFC3339))
		}
	}
	return who, nil
}

// covers reports whether the grant has a scope everywhere where the invitation would, and as long.
// Who has signed in can do that again: when his session ends is no limit to what he may give.
func (g *Grant) covers(scope Scope, i Invitation) bool {
	outlives := g.Kind != Person && !g.Expires.IsZero() && i.Expires.After(g.Expires)
	if !g.Allows(scope, i.Room, "") || outlives {
		return false
	}
	if len(g.Publishers) == 0 {
		return true
	}
	return len(i.Publishers) > 0 && !slices.ContainsFunc(i.Publishers, func(p string) bool { return !within(g.Publishers, p) })
}

// within reports whether all that a glob stands for is among the globs. It knows for sure of
// names, of tracks, and of globs that are written alike.
func within(globs []string, glob string) bool {
	if slices.Contains(globs, glob) {
		return true
	}
	if !literal(glob) {
		return false
	}
	if strings.Contains(glob, "/") {
		return matchesPublisher(globs, glob)
	}
	return matchesPublisher(globs, glob+"/audio") && matchesPublisher(globs, glob+"/video")
}

// Invitations returns those of a room that hold, in the order of their making.
func (a *Auth) Invitations(room string) []Invitation {
	a.store.mu.RLock()
	defer a.store.mu.RUnlock()
	now := time.Now()
	return slices.DeleteFunc(a.store.invitationsLocked(room), func(i Invitation) bool { return !now.Before(i.Expires) })
}

// Uninvite takes an invitation back: what was begun with it ends within a second. The error is a
// fault.NotFound if there is no such one; another one says that it could not be kept over a restart.
func (a *Auth) Uninvite(room, id string) error {
	s := a.store
	return s.change(func(now time.Time) error {
		i, known := s.invitations[id]
		if !known || i.Room != room {
			return fault.New(fault.NotFound, "there is no such invitation to room %q (any more)", room)
		}
		s.expelLocked(i)
		s.buryLocked(invitationKey+i.ID, i.Expires, now)
		a.keeper.wake()
		return nil
	})
}

func (s *store) admitLocked(i Invitation) {
	s.invitations[i.ID] = i
	s.secrets[i.Hash] = i.ID
}

func (s *store) expelLocked(i Invitation) {
	delete(s.invitations, i.ID)
	if s.secrets[i.Hash] == i.ID {
		delete(s.secrets, i.Hash)
	}
}

// invited returns the grant of the invitation whose secret has the hash; nil if there is none.
func (s *store) invited(hash string, now time.Time) *Grant {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, known := s.invitations[s.secrets[hash]]
	if !known || !now.Before(i.Expires) {
		return nil
	}
	return i.grant()
}

// invitationsLocked returns the invitations of a room, "" for all.
func (s *store) invitationsLocked(room string) []Invitation {
	out := make([]Invitation, 0)
	for _, i := range s.invitations {
		if room == "" || i.Room == room {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b Invitation) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return out
}
