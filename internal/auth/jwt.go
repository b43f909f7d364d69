package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/golang-jwt/jwt/v5"

	"sightline/internal/fault"
)

// hmac256 is the one algorithm that goes by a shared secret.
const hmac256 = "HS256"

// algorithms are all that can be allowed (RFC 8725, section 3.1).
var algorithms = [...]string{hmac256, "RS256", "ES256", "EdDSA"}

// claims are what a JWT says (RFC 7519, section 4; RFC 8693, section 4.2, for scope).
type claims struct {
	jwt.RegisteredClaims
	Room       oneOrMore `json:"room,omitempty"`
	Publishers oneOrMore `json:"publishers,omitempty"`
	Role       string    `json:"role,omitempty"`
	Scope      oneOrMore `json:"scope"`
}

var claimNames = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "room", "publishers", "role", "scope"}

// UnmarshalJSON reads claims by just their names. A struct alone would take other spellings for them, which
// an issuer may let others choose.
func (c *claims) UnmarshalJSON(data []byte) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	maps.DeleteFunc(all, func(name string, _ json.RawMessage) bool { return !slices.Contains(claimNames, name) })
	known, err := json.Marshal(all)
	if err != nil {
		return err
	}
	type plain claims
	return json.Unmarshal(known, (*plain)(c))
}

// oneOrMore is written as a text or as a list of them.
type oneOrMore []string

func (o *oneOrMore) UnmarshalJSON(data []byte) error {
	var one string
	if err := json.Unmarshal(data, &one); err == nil {
		*o = oneOrMore{one}
		return nil
	}
	var more []string
	if err := json.Unmarshal(data, &more); err != nil {
		return errors.New("must be a text or a list of texts")
	}
	*o = more
	return nil
}

func (o oneOrMore) MarshalJSON() ([]byte, error) {
	if len(o) == 1 {
		return json.Marshal(o[0])
	}
	return json.Marshal([]string(o))
}

// A verifier reads JWTs. It is safe for concurrent use.
type verifier struct {
	secret []byte // of HS256; nil: none
	keys   *keys  // of the other algorithms; nil: none
	parser *jwt.Parser
	leeway time.Duration
}

// newVerifier returns the reader of JWTs for a configuration in which they are enabled.
func newVerifier(c JWTConfig, secret []byte, k *keys) *verifier {
	var allowed []string
	for _, a := range c.Algorithms {
		if a == hmac256 && secret != nil || a != hmac256 && k != nil {
			allowed = append(allowed, a)
		}
	}
	return &verifier{
		secret: secret, keys: k, leeway: c.Leeway.D(),
		parser: jwt.NewParser(
			jwt.WithValidMethods(allowed), jwt.WithAudience(c.Audience), jwt.WithIssuer(c.Issuer),
			jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(c.Leeway.D()), jwt.WithStrictDecoding(),
		),
	}
}

// looksLikeJWT tells a JWT (RFC 7515, section 3.1) from what NewToken makes.
func looksLikeJWT(secret string) bool { return strings.Count(secret, ".") == 2 }

// grant returns what a JWT is good for. The error is a fault: Unauthenticated, or Unavailable
// while the issuer's keys have never been had.
func (v *verifier) grant(ctx context.Context, secret string) (*Grant, error) {
	var said claims
	_, err := v.parser.ParseWithClaims(secret, &said, func(t *jwt.Token) (any, error) { return v.key(ctx, t) })
	if err == nil && !time.Now().Before(said.ExpiresAt.Time) {
		err = jwt.ErrTokenExpired // the leeway is for tokens that are too new
	}
	switch {
	case errors.Is(err, jwt.ErrTokenExpired) && said.check() == nil:
		return nil, of(Identity{Name: said.Subject, Kind: JWT, ID: said.ID}, refuse(err)) // it was a right one
	case err != nil:
		return nil, refuse(err)
	}
	if err := said.check(); err != nil {
		return nil, invalid("%w", err)
	}
	g := &Grant{
		Identity:   Identity{Name: said.Subject, Kind: JWT, ID: said.ID, Role: said.Role, Expires: said.ExpiresAt.Time},
		Scopes:     ParseScopes(strings.Join(said.Scope, " ")),
		Rooms:      said.Room,
		Publishers: said.Publishers,
	}
	g.complete()
	return g, nil
}

// key returns the key for a token whose algorithm is one of those allowed. What kind of key
// it is follows from the algorithm: a public key is never a secret (RFC 8725, section 2.1).
// A token with extensions that must be understood is none for us (RFC 7515, section 4.1.11).
func (v *verifier) key(ctx context.Context, t *jwt.Token) (any, error) {
	if _, extended := t.Header["crit"]; extended {
		return nil, errCritical
	}
	if t.Method.Alg() == hmac256 {
		return v.secret, nil
	}
	return v.keys.find(ctx, t)
}

var errCritical = errors.New("the token has a header crit: no extension of RFC 7515 is understood here")

// refuse words why a token lets nobody in. It repeats nothing of it.
func refuse(err error) error {
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, errCritical):
		return invalid("%w", errCritical)
	case errors.Is(err, jwt.ErrTokenExpired):
		return invalid("the token has expired")
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return invalid("the token is not valid yet: its nbf or iat is in the future")
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return invalid("the token lacks a claim: it must have exp, iss and aud")
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return invalid("the token is for another audience than this gateway (auth.jwt.audience)")
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return invalid("the token is from another issuer than this gateway's (auth.jwt.issuer)")
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return invalid("the token is not signed with a key and an algorithm that count here")
	}
	return invalid("the token is not a well-formed JSON Web Token")
}

const (
	maxText  = 256 // bytes of a subject or an id
	maxGlobs = 64
)

// check says what can't be taken of the claims, though they are signed.
func (c *claims) check() error {
	if c.Subject == "" {
		return errors.New("the token must have a sub: who its bearer is")
	}
	for _, text := range []string{c.Subject, c.ID} {
		if len(text) > maxText || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return fmt.Errorf("sub and jti of a token must be at most %d characters that can be printed", maxText)
		}
	}
	// No time of JSON is later (RFC 3339). Who says milliseconds does not mean a token for 50,000 years.
	if c.ExpiresAt.UTC().Year() > 9999 {
		return errors.New("exp of the token must be in seconds since 1970, before the year 10000")
	}
	if !validRole(c.Role) {
		return errors.New("the token's role must be spelt as names of publishers are")
	}
	if len(c.Room) > maxGlobs || len(c.Publishers) > maxGlobs {
		return fmt.Errorf("a token must be for at most %d globs of rooms and of publishers", maxGlobs)
	}
	// Present, and yet for none: a list that is empty must not mean all.
	if c.Room != nil && len(c.Room) == 0 || c.Publishers != nil && len(c.Publishers) == 0 {
		return errors.New("room and publishers of a token must not be empty lists: leave them out for all")
	}
	for _, g := range c.Room {
		if err := checkRoomGlob(g); err != nil {
			return fmt.Errorf("room of the token %w", err)
		}
	}
	for _, g := range c.Publishers {
		if err := checkPublisherGlob(g); err != nil {
			return fmt.Errorf("publishers of the token %w", err)
		}
	}
	return nil
}

// validRole is the rule of rooms.ValidRole, which this package does not know.
func validRole(role string) bool {
	if role == "" {
		return true
	}
	ok, _ := path.Match("[^.]*", role)
	return ok && len(role) <= 64 && strings.Trim(role, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

// Mint signs a JWT for a grant with the configuration's secret (HS256). Its Identity says
// name, id, role and expiry. The error says what is missing.
func Mint(c JWTConfig, g Grant) (string, error) {
	secret, err := c.secret()
	if err != nil {
		return "", err
	}
	if secret == nil {
		return "", errors.New("auth.jwt.secret_file: a secret is needed to sign tokens with, and none is configured")
	}
	var scope []string
	for _, s := range g.Scopes {
		scope = append(scope, string(s))
	}
	said := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: c.Issuer, Audience: jwt.ClaimStrings{c.Audience}, Subject: g.Name, ID: g.ID,
			IssuedAt: jwt.NewNumericDate(time.Now()), ExpiresAt: jwt.NewNumericDate(g.Expires),
		},
		Room: g.Rooms, Publishers: g.Publishers, Role: g.Role, Scope: oneOrMore{strings.Join(scope, " ")},
	}
	if err := said.check(); err != nil {
		return "", err
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, said).SignedString(secret)
}
