// Package auth decides who may do what: bearer tokens with scopes, rooms and publishers
// (RFC 6750), or an open gateway when no token is configured.
package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"

	"sightline/internal/fault"
)

// A Scope is what a token allows. No scope implies another.
type Scope string

// The scopes.
const (
	Publish Scope = "publish" // WHIP
	Play    Scope = "play"    // WHEP
	Read    Scope = "read"    // the room API, its events and participants, and the metrics
	Admin   Scope = "admin"   // ending a publisher's session through the room API
)

// scopes are all that there are.
var scopes = [...]Scope{Publish, Play, Read, Admin}

// Realm is the protection space that challenges name (RFC 9110, section 11.5).
const Realm = "sightline"

// An Identity is who asks. The zero value is anonymous, in an open gateway.
type Identity struct {
	Name      string // of the token
	Role      string // of those who publish with it, or are in a room; "" if it says none
	Publisher string // the only one that it is for, by name; "" if it is for others too, or for a glob
}

// Auth checks requests. It is immutable and safe for concurrent use.
type Auth struct {
	tokens []token
}

type token struct {
	Token
	hash [sha256.Size]byte
}

// New returns the check for a configuration that Validate found no fault with. A token
// whose hash cannot be read lets nobody in.
func New(c Config) *Auth {
	a := &Auth{}
	for _, t := range c.Tokens {
		hash, err := hex.DecodeString(t.SHA256)
		if err != nil || len(hash) != sha256.Size {
			continue
		}
		a.tokens = append(a.tokens, token{Token: t, hash: [sha256.Size]byte(hash)})
	}
	if len(c.Tokens) > 0 && len(a.tokens) == 0 {
		a.tokens = []token{} // enabled, and closed to all
	}
	return a
}

// Enabled reports whether tokens are configured. If not, everybody may do everything.
func (a *Auth) Enabled() bool { return a.tokens != nil }

// Authorize checks that the request's bearer token allows scope for a publisher in a
// room. An empty room or publisher stands for no particular one: every token that has the
// scope will do. Without configured tokens an Authorization header is ignored (item 24 of
// docs/CONFORMANCE.md: some players send "Bearer undefined").
//
// The error is a fault: Unauthenticated without a valid token, Forbidden when the token is
// not for this, BadRequest when the request carries more than one. It carries the
// challenge of RFC 6750, section 3, as WWW-Authenticate.
func (a *Auth) Authorize(r *http.Request, scope Scope, room, publisher string) (Identity, error) {
	if !a.Enabled() {
		return Identity{}, nil
	}
	secret, err := bearer(r)
	if err != nil {
		return Identity{}, err
	}
	// A token may stand more than once, with other scopes for other rooms. All are
	// compared, so that the time does not tell which one came near.
	sum := sha256.Sum256([]byte(secret))
	known, allowed := false, false
	var id Identity
	for _, t := range a.tokens {
		if subtle.ConstantTimeCompare(sum[:], t.hash[:]) == 0 {
			continue
		}
		known = true
		if !allowed && t.allows(scope, room, publisher) {
			allowed, id = true, t.identity()
		}
	}
	switch {
	case !known:
		return Identity{}, challenge(fault.Unauthenticated, "invalid_token", "",
			"the bearer token is not known here")
	case !allowed:
		return Identity{}, challenge(fault.Forbidden, "insufficient_scope", string(scope),
			"the token does not allow %s here", scope)
	}
	return id, nil
}

// Recognizes reports whether the request's token is one that is known here, whatever it is
// for. Without configured tokens none is.
func (a *Auth) Recognizes(r *http.Request) bool {
	secret, err := bearer(r)
	if err != nil {
		return false
	}
	sum := sha256.Sum256([]byte(secret))
	known := 0
	for _, t := range a.tokens {
		known |= subtle.ConstantTimeCompare(sum[:], t.hash[:])
	}
	return known == 1
}

// Check returns Authorize for one scope, room and publisher.
func (a *Auth) Check(scope Scope, room, publisher string) func(*http.Request) error {
	return func(r *http.Request) error {
		_, err := a.Authorize(r, scope, room, publisher)
		return err
	}
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

func (t token) allows(scope Scope, room, publisher string) bool {
	return slices.Contains(t.Scopes, scope) && matches(t.Rooms, room) && matches(t.Publishers, publisher)
}

// identity is who has the token.
func (t token) identity() Identity {
	id := Identity{Name: t.Name, Role: t.Role}
	if len(t.Publishers) == 1 && !strings.ContainsAny(t.Publishers[0], `*?[\`) { // path.Match
		id.Publisher = t.Publishers[0]
	}
	return id
}

// matches reports whether name is among the globs. An empty name stands for no particular
// one, and no globs stand for every name.
func matches(globs []string, name string) bool {
	if name == "" || len(globs) == 0 {
		return true
	}
	return slices.ContainsFunc(globs, func(glob string) bool {
		ok, err := path.Match(glob, name)
		return ok && err == nil
	})
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

// A refusal is a fault with its challenge.
type refusal struct {
	fault     *fault.Error
	challenge string
}

func challenge(kind fault.Kind, code, scope, format string, args ...any) error {
	value := fmt.Sprintf("Bearer realm=%q", Realm)
	if code != "" {
		value += fmt.Sprintf(", error=%q", code)
	}
	if scope != "" {
		value += fmt.Sprintf(", scope=%q", scope)
	}
	return &refusal{fault.New(kind, format, args...), value}
}

func (r *refusal) Error() string { return r.fault.Detail }

// Unwrap lets errors.As find the fault.
func (r *refusal) Unwrap() error { return r.fault }

// Header returns the header fields that the response has to carry.
func (r *refusal) Header() http.Header {
	return http.Header{"Www-Authenticate": {r.challenge}}
}
