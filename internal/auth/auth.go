// Package auth decides who may do what, and for how long: bearer tokens with scopes, rooms and
// publishers (RFC 6750), or an open gateway when nothing of the kind is configured.
//
// A request's token makes a Caller, who holds one or more Grants: scopes, and where they hold. What
// goes on after the request (a session, a stream of events, a participant) holds a Lease of the
// Caller's Identity, which ends when that expires or is revoked.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"

	"sightline/internal/fault"
)

// Auth checks requests. It is safe for concurrent use, once its sources are there.
type Auth struct {
	tokens  []token
	sources []Source
	keeper  keeper
}

// A token is a static one.
type token struct {
	hash  [sha256.Size]byte
	grant *Grant
}

// New returns the check for a configuration that Validate found no fault with. A token
// whose hash cannot be read lets nobody in. Leases end while Run runs.
func New(c Config) *Auth {
	a := &Auth{}
	a.keeper = keeper{
		warning: c.Warning.D(), revoked: func(Identity) bool { return false },
		kick: make(chan struct{}, 1), leases: make(map[*Lease]struct{}),
	}
	for _, t := range c.Tokens {
		hash, err := hex.DecodeString(t.SHA256)
		if err != nil || len(hash) != sha256.Size {
			continue
		}
		g := &Grant{
			Identity: Identity{Name: t.Name, Kind: Static, Role: t.Role},
			Scopes:   expand(t.Scopes), Rooms: t.Rooms, Publishers: t.Publishers,
		}
		g.complete()
		a.tokens = append(a.tokens, token{hash: [sha256.Size]byte(hash), grant: g})
	}
	if len(c.Tokens) > 0 && len(a.tokens) == 0 {
		a.tokens = []token{} // enabled, and closed to all
	}
	return a
}

// Run ends leases when their time has come, until ctx is done.
func (a *Auth) Run(ctx context.Context) error {
	a.keeper.run(ctx)
	return nil
}

// Enabled reports whether anybody has to say who he is. If not, everybody may do everything.
func (a *Auth) Enabled() bool { return a.tokens != nil || len(a.sources) > 0 }

// Authorize checks that the request's bearer token allows scope for a publisher, or one of its
// tracks ("console/video"), in a room. An empty room or publisher stands for no particular one:
// every token that has the scope will do. Without configured tokens an Authorization header is
// ignored (item 24 of docs/CONFORMANCE.md: some players send "Bearer undefined").
//
// The error is a fault: Unauthenticated without a valid token, Forbidden when the token is
// not for this, BadRequest when the request carries more than one. It carries the
// challenge of RFC 6750, section 3, as WWW-Authenticate.
func (a *Auth) Authorize(r *http.Request, scope Scope, room, publisher string) (Identity, error) {
	c, err := a.Who(r)
	if err != nil {
		return Identity{}, err
	}
	return c.May(scope, room, publisher)
}

// Who returns who made a request. The error is a fault, as that of Authorize.
func (a *Auth) Who(r *http.Request) (Caller, error) {
	if !a.Enabled() {
		return Caller{open: true}, nil
	}
	if len(r.Header.Values("Authorization")) == 0 {
		for _, known := range a.sources {
			if g, err := known(r); err != nil || g != nil {
				return a.caller([]*Grant{g}, err)
			}
		}
	}
	secret, err := bearer(r)
	if err != nil {
		return Caller{}, err
	}
	return a.caller(a.resolve(secret))
}

// caller is who has the grants, if they have not been revoked.
func (a *Auth) caller(grants []*Grant, err error) (Caller, error) {
	if err != nil {
		return Caller{}, err
	}
	for _, g := range grants {
		if a.keeper.revoked(g.Identity) {
			return Caller{}, of(g.Identity, invalid("the token has been revoked"))
		}
	}
	return Caller{grants: grants}, nil
}

// resolve returns what a bearer token is good for.
func (a *Auth) resolve(secret string) ([]*Grant, error) {
	// A token may stand more than once, with other scopes for other rooms. All are
	// compared, so that the time does not tell which one came near.
	sum := sha256.Sum256([]byte(secret))
	var grants []*Grant
	for _, t := range a.tokens {
		if subtle.ConstantTimeCompare(sum[:], t.hash[:]) == 1 {
			grants = append(grants, t.grant)
		}
	}
	if len(grants) > 0 {
		return grants, nil
	}
	return nil, invalid("the bearer token is not known here")
}

// bearer returns the token of a request (RFC 6750, section 2.1). Tokens in the query are
// not taken: they would end up in logs and histories (RFC 6750, section 5.3).
func bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	switch {
	case len(values) == 0:
		// RFC 6750, section 3.1: no error code when the client did not know.
		return "", challenge(fault.Unauthenticated, "", "",
			"a bearer token is needed: Authorization: Bearer <token>")
	case len(values) > 1:
		return "", challenge(fault.BadRequest, "invalid_request", "",
			"the request has %d Authorization headers, must have one", len(values))
	}
	scheme, secret, found := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || !found {
		return "", challenge(fault.Unauthenticated, "", "",
			"only bearer tokens are accepted: Authorization: Bearer <token>")
	}
	return strings.Trim(secret, " "), nil
}

// NewToken returns a new token: 256 random bits in base64url.
func NewToken() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// HashToken returns what the configuration keeps of a token: its SHA-256 in hex.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
