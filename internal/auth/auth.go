// Package auth decides who may do what, and for how long: bearer tokens with scopes, rooms and
// publishers (RFC 6750), people who have signed in, or an open gateway when nothing of the kind is configured.
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
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"sightline/internal/fault"
)

// Auth checks requests. It is safe for concurrent use, once its sources are there.
type Auth struct {
	tokens  []token
	sources []Source
	jwts    *verifier // nil: none are taken
	people  bool      // can sign in: a Source says who they are
	query   bool      // see Config.QueryTokens
	store   *store
	keeper  keeper
}

// A token is a static one.
type token struct {
	hash  [sha256.Size]byte
	grant *Grant
}

// Open returns the check for a configuration that Validate found no fault with, with all that
// it keeps in files, which are its own until Close. The error names the key whose file can't be read or written.
func Open(c Config, log *slog.Logger) (*Auth, error) {
	a := New(c)
	var err error
	if a.store, err = openStore(c.StateDir, c.MaxRevocations, c.MaxInvitations, log); err != nil {
		return nil, err
	}
	a.keeper.revoked = a.store.revoked
	if c.Enabled() && c.StateDir == "" {
		log.Warn("auth.state_dir is empty: revocations and invitations are forgotten when the gateway ends")
	}
	if a.jwts, err = openVerifier(c, log); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// openVerifier returns the reader of JWTs, nil where none are taken.
func openVerifier(c Config, log *slog.Logger) (*verifier, error) {
	if !c.JWT.Enabled() {
		return nil, nil
	}
	secret, err := c.JWT.secret()
	if err != nil {
		return nil, err
	}
	var k *keys
	if c.JWT.JWKS != "" {
		if k, err = newKeys(c.JWT, c.StateDir, log); err != nil {
			return nil, fmt.Errorf("auth.jwt.jwks: %w", err)
		}
	}
	return newVerifier(c.JWT, secret, k), nil
}

// Close lets another have auth.state_dir. Nothing may be changed after it.
func (a *Auth) Close() {
	if a.store.lock != nil {
		_ = a.store.lock.Close() // nothing was written to it
	}
}

// New returns the check by the tokens that the configuration names, which keeps nothing: for
// tests and tools. A token whose hash cannot be read lets nobody in.
func New(c Config) *Auth {
	a := &Auth{query: c.QueryTokens, people: c.OIDC.Enabled()}
	a.store, _ = openStore("", c.MaxRevocations, c.MaxInvitations, nil) // can't fail
	a.keeper = keeper{
		warning: c.Warning.D(), revoked: a.store.revoked,
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

// Run ends leases when their time has come, and keeps the issuer's keys fresh, until ctx is done.
func (a *Auth) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	if a.jwts != nil && a.jwts.keys != nil {
		wg.Go(func() { a.jwts.keys.run(ctx) })
	}
	if a.store.path != "" {
		wg.Go(func() { a.store.keep(ctx) })
	}
	a.keeper.run(ctx)
	return nil
}

// Enabled reports whether anybody has to say who he is. If not, everybody may do everything.
func (a *Auth) Enabled() bool { return a.tokens != nil || a.jwts != nil || a.people }

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
	if g := asNode(r); g != nil {
		return Caller{grants: []*Grant{g}}, nil
	}
	if !a.Enabled() {
		return Caller{open: true}, nil
	}
	if len(r.Header.Values("Authorization")) == 0 && len(a.inQuery(r)) == 0 {
		for _, s := range a.sources {
			if grants, err := s.Known(r); err != nil || grants != nil {
				return a.caller(grants, err)
			}
		}
	}
	secret, err := a.bearer(r)
	if err != nil {
		return Caller{}, err
	}
	return a.caller(a.resolve(r.Context(), secret))
}

// caller is who has the grants, if they have not been revoked.
func (a *Auth) caller(grants []*Grant, err error) (Caller, error) {
	if err != nil {
		return Caller{}, err
	}
	for _, g := range grants {
		if a.keeper.revoked(g.Identity) {
			return Caller{}, of(g.Identity, invalid("the %s has been revoked", word(g.Kind)))
		}
	}
	return Caller{grants: grants}, nil
}

// word is what somebody came with, in errors.
func word(k Kind) string {
	if k == Person {
		return "sign-in"
	}
	return "token"
}

// resolve returns what a bearer token is good for.
func (a *Auth) resolve(ctx context.Context, secret string) ([]*Grant, error) {
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
	if g := a.store.invited(hex.EncodeToString(sum[:]), time.Now()); g != nil {
		return []*Grant{g}, nil
	}
	if a.jwts != nil && looksLikeJWT(secret) {
		g, err := a.jwts.grant(ctx, secret)
		return []*Grant{g}, err
	}
	return nil, invalid("the bearer token is not known here")
}

// bearer returns the token of a request (RFC 6750, section 2.1). Tokens in the query are
// not taken, unless the configuration says so: they end up in logs and histories of others (RFC
// 6750, section 5.3).
func (a *Auth) bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if inQuery := a.inQuery(r); len(inQuery) > 0 {
		if len(values)+len(inQuery) > 1 {
			return "", challenge(fault.BadRequest, "invalid_request", "",
				"the request has more than one token: send one, by Authorization or by access_token")
		}
		return inQuery[0], nil
	}
	switch {
	case len(values) == 0:
		// RFC 6750, section 3.1: no error code when the client did not know.
		wanted := "a bearer token is needed: Authorization: Bearer <token>"
		if a.people {
			wanted += ". People sign in at /auth/login"
		}
		return "", challenge(fault.Unauthenticated, "", "", "%s", wanted)
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

// inQuery returns the tokens in a request's query (RFC 6750, section 2.3), where they are taken.
func (a *Auth) inQuery(r *http.Request) []string {
	endpoint := strings.HasPrefix(r.URL.Path, "/whip/") || strings.HasPrefix(r.URL.Path, "/whep/")
	if !a.query || !endpoint || r.Method != http.MethodGet && r.Method != http.MethodPost {
		return nil
	}
	return r.URL.Query()["access_token"]
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
