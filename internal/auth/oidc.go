package auth

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"time"

	"sightline/internal/opt"
)

// OIDCConfig is the table auth.oidc of the configuration: sign-in for people, by OpenID Connect.
// Package signin does it.
type OIDCConfig struct {
	// Issuer is the URL of the OpenID provider, as its tokens name it. Empty: nobody can sign in.
	Issuer string `toml:"issuer"`

	// ClientID, and ClientSecret or the file that has it, are what the provider knows the gateway
	// by. Without a secret it is a public client: PKCE is used in any case.
	ClientID         string `toml:"client_id"`
	ClientSecret     string `toml:"client_secret"`
	ClientSecretFile string `toml:"client_secret_file"`

	// Scopes are asked for, openid among them.
	Scopes []string `toml:"scopes"`

	// CAFile has the authorities that the provider's certificate is checked by. Empty: those of
	// the system.
	CAFile string `toml:"ca_file"`

	// NameClaim tells who somebody is: one that nobody else can have at this provider.
	NameClaim string `toml:"name_claim"`

	// RoleClaim has the values that Roles are about: a name, or a path with dots between.
	RoleClaim string     `toml:"role_claim"`
	Roles     []OIDCRole `toml:"roles"`

	// Session is how long one is signed in, Idle how long without a sign of life.
	// WithToken ends it with the provider's ID token, if that comes first.
	Session   opt.Duration `toml:"session"`
	Idle      opt.Duration `toml:"idle"`
	WithToken bool         `toml:"with_token"`

	// MaxSessions is how many may be signed in at a time.
	MaxSessions int `toml:"max_sessions"`
}

// An OIDCRole says what those may do whose RoleClaim has a value.
type OIDCRole struct {
	Value      string   `toml:"value"` // "*": everybody who can sign in
	Role       string   `toml:"role"`
	Scopes     []Scope  `toml:"scopes"`
	Rooms      []string `toml:"rooms"`
	Publishers []string `toml:"publishers"`
}

func oidcDefaults() OIDCConfig {
	return OIDCConfig{
		Scopes: []string{"openid", "profile", "email"}, NameClaim: "sub", RoleClaim: "roles",
		Session: opt.Duration(10 * time.Hour), Idle: opt.Duration(time.Hour), MaxSessions: 1000,
	}
}

// Enabled reports whether people can sign in.
func (c OIDCConfig) Enabled() bool { return c.Issuer != "" }

// Secret returns the client's secret, "" for a public client. The error repeats nothing of it.
func (c OIDCConfig) Secret() (string, error) {
	if c.ClientSecretFile == "" {
		return c.ClientSecret, nil
	}
	content, err := os.ReadFile(c.ClientSecretFile)
	if err != nil {
		return "", fmt.Errorf("auth.oidc.client_secret_file: %w", err)
	}
	secret := bytes.TrimRight(content, "\r\n")
	if len(secret) == 0 {
		return "", errors.New("auth.oidc.client_secret_file: must hold the secret, got nothing")
	}
	return string(secret), nil
}

// Grants returns what somebody is good for whose RoleClaim has the values: the grants of all Roles
// that are about one of them, in the order of the configuration.
func (c OIDCConfig) Grants(id Identity, values []string) []*Grant {
	var out []*Grant
	for _, r := range c.Roles {
		if r.Value != "*" && !slices.Contains(values, r.Value) {
			continue
		}
		g := &Grant{Identity: id, Scopes: expand(r.Scopes), Rooms: r.Rooms, Publishers: r.Publishers}
		g.Role = r.Role
		g.complete()
		out = append(out, g)
	}
	return out
}

// CheckIssuerURL says why what is at a URL can't be trusted to say who somebody is.
func CheckIssuerURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || checkKeysURL(u) != nil || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("must be an https URL (http on loopback) such as \"https://login.example.org/realms/hospital\", got %q", withoutPassword(text))
	}
	return nil
}

// Validate reports everything that is wrong, each with its key. Files are read by package signin.
func (c OIDCConfig) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("auth.oidc.%s: %w", key, fmt.Errorf(format, args...)))
	}
	if d := c.Session.D(); d < time.Minute || d > 30*24*time.Hour {
		bad("session", "must be between 1m and 720h, got %s", d)
	}
	if d := c.Idle.D(); d < time.Minute || d > 30*24*time.Hour {
		bad("idle", "must be between 1m and 720h, got %s", d)
	}
	if c.MaxSessions < 1 || c.MaxSessions > 1_000_000 {
		bad("max_sessions", "must be between 1 and 1000000, got %d", c.MaxSessions)
	}
	if c.NameClaim == "" {
		bad("name_claim", "must be the name of a claim such as \"sub\", got nothing")
	}
	if !slices.Contains(c.Scopes, "openid") {
		bad("scopes", "must hold \"openid\", got %q", c.Scopes)
	}
	if c.ClientSecret != "" && c.ClientSecretFile != "" {
		bad("client_secret_file", "must be empty where auth.oidc.client_secret is not: one of them is the secret")
	}
	for i, r := range c.Roles {
		errs = append(errs, r.validate(fmt.Sprintf("auth.oidc.roles[%d]", i)))
	}
	if !c.Enabled() {
		if c.ClientID != "" {
			bad("issuer", "must be the URL of the OpenID provider where people are to sign in, got nothing")
		}
		return errors.Join(errs...)
	}
	if err := CheckIssuerURL(c.Issuer); err != nil {
		bad("issuer", "%w", err)
	}
	if c.ClientID == "" {
		bad("client_id", "must be what the provider knows the gateway by, got nothing")
	}
	if c.RoleClaim == "" {
		bad("role_claim", "must be the name of a claim such as \"roles\", got nothing")
	}
	if len(c.Roles) == 0 {
		bad("roles", "must say who may do what: without an entry of [[auth.oidc.roles]] nobody may do anything")
	}
	return errors.Join(errs...)
}

func (r OIDCRole) validate(key string) error {
	var errs []error
	bad := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s.%s: %w", key, name, fmt.Errorf(format, args...)))
	}
	if r.Value == "" {
		bad("value", "must be one that auth.oidc.role_claim can have, or \"*\" for everybody who can sign in, got nothing")
	}
	if !validRole(r.Role) {
		bad("role", "must be spelt as names of publishers are, got %q", r.Role)
	}
	errs = append(errs, checkGrant(key, r.Scopes, r.Rooms, r.Publishers))
	return errors.Join(errs...)
}

// checkGrant reports what is wrong with what somebody may do, by the configuration.
func checkGrant(key string, allowed []Scope, rooms, publishers []string) error {
	var errs []error
	bad := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s.%s: %w", key, name, fmt.Errorf(format, args...)))
	}
	if len(allowed) == 0 {
		bad("scopes", "must hold one or more of %q", scopes)
	}
	for _, s := range allowed {
		if !slices.Contains(scopes[:], s) && older[s] == nil {
			bad("scopes", "must be of %q, got %q", scopes, s)
		}
	}
	for _, g := range rooms {
		if err := checkRoomGlob(g); err != nil {
			bad("rooms", "%w", err)
		}
	}
	for _, g := range publishers {
		if err := checkPublisherGlob(g); err != nil {
			bad("publishers", "%w", err)
		}
	}
	return errors.Join(errs...)
}
