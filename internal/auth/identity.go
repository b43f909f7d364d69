package auth

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"sightline/internal/fault"
)

// A Kind is by what somebody is known.
type Kind string

// The kinds.
const (
	Anonymous Kind = ""           // in an open gateway
	Static    Kind = "token"      // of the configuration
	JWT       Kind = "jwt"        // RFC 7519
	Invited   Kind = "invitation" // see Auth.Invite
	Person    Kind = "person"     // signed in, see package signin
	Node      Kind = "node"       // another node of the cluster, see AsNode
)

// An Identity is who asks. The zero value is anonymous, in an open gateway.
type Identity struct {
	Name      string    // of the static token, the subject of a JWT, the person; of an invitation "invitation " and its ID
	Kind      Kind      //
	ID        string    // of what he came with: the jti of a JWT, the ID of an invitation or of a sign-in; "" if it has none
	Role      string    // of those who publish with it, or are in a room; "" if it says none
	Publisher string    // the only one that it is for, by name; "" if it is for others too, or for a glob or one track
	Expires   time.Time // zero: never
}

// Subject tells one from all others, of other kinds too: a publisher's name belongs to it.
func (id Identity) Subject() string {
	if id.Kind == Anonymous || id.Kind == Static {
		return id.Name
	}
	return string(id.Kind) + ":" + id.Name
}

// A Grant is what one identity may do, and where.
type Grant struct {
	Identity
	Scopes     []Scope
	Rooms      []string // globs; empty: all
	Publishers []string // globs of names, "console", or of single tracks, "console/video"; empty: all
}

// Allows reports whether the grant has the scope for a publisher, or one of its tracks
// ("console/video"), in a room. "" stands for no particular one.
func (g *Grant) Allows(scope Scope, room, publisher string) bool {
	return slices.Contains(g.Scopes, scope) && matches(g.Rooms, room) && matchesPublisher(g.Publishers, publisher)
}

// complete sets what follows from the rest.
func (g *Grant) complete() {
	g.Publisher = ""
	if len(g.Publishers) == 1 && literal(g.Publishers[0]) && !strings.Contains(g.Publishers[0], "/") {
		g.Publisher = g.Publishers[0]
	}
}

// A Caller is who made a request, with all that he may do: a static token can have several
// grants, with other scopes for other rooms. It is as of the request: for longer, see Auth.Keep.
type Caller struct {
	open   bool
	grants []*Grant
}

// May returns the identity that has the scope for a publisher, or one of its tracks, in a room;
// "" stands for no particular one. The error is a fault.Forbidden with the challenge of RFC
// 6750, section 3.1.
func (c Caller) May(scope Scope, room, publisher string) (Identity, error) {
	if c.open {
		return Identity{}, nil
	}
	for _, g := range c.grants {
		if g.Allows(scope, room, publisher) {
			return g.Identity, nil
		}
	}
	where := "here"
	if room == Every {
		where = "in every room"
	}
	err := challenge(fault.Forbidden, "insufficient_scope", string(scope), "the token does not allow %s %s", scope, where)
	if len(c.grants) > 0 {
		err = of(c.grants[0].Identity, err)
	}
	return Identity{}, err
}

// MayEverywhere is May for every room and every publisher.
func (c Caller) MayEverywhere(scope Scope) (Identity, error) { return c.May(scope, Every, Every) }

// Allows reports whether May returns an identity.
func (c Caller) Allows(scope Scope, room, publisher string) bool {
	_, err := c.May(scope, room, publisher)
	return err == nil
}

// Open reports whether nobody has to say who he is.
func (c Caller) Open() bool { return c.open }

// Grants returns all that the caller may do; nothing in an open gateway.
func (c Caller) Grants() []Grant {
	out := make([]Grant, len(c.grants))
	for i, g := range c.grants {
		out[i] = *g
	}
	return out
}

// A Source knows callers by something else than a bearer token, such as a cookie. It is safe for
// concurrent use.
type Source interface {
	// Known returns what the request is good for; nothing if it has nothing of the kind, and a
	// fault if it has the wrong.
	Known(*http.Request) ([]*Grant, error)

	// Ended reports whether an identity that the source has made lets nobody in any more. It is
	// asked at each request and, about once a second, for whom something goes on; it doesn't
	// block, and calls nothing of Auth.
	Ended(Identity) bool
}

// Accept lets a source say who made a request that has no token. Call it before Run
// and the first request.
func (a *Auth) Accept(s Source) {
	a.sources = append(a.sources, s)
	before := a.keeper.revoked
	a.keeper.revoked = func(id Identity) bool { return before(id) || id.Kind == Person && s.Ended(id) }
}

// Reconsider ends soon what goes on for identities that a source has ended.
func (a *Auth) Reconsider() { a.keeper.wake() }

// Prolong lets all that was begun with an identity go on until it expires now.
func (a *Auth) Prolong(id Identity) { a.keeper.prolong(id) }

// NotKnown is the fault of a Source for a request that has the wrong: 401, with a challenge.
func NotKnown(format string, args ...any) error { return invalid(format, args...) }
