package signin

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"sightline/internal/auth"
)

// A person is what the provider says of somebody.
type person struct {
	subject string   // sub
	session string   // sid, at the provider; "" if it says none
	name    string   // auth.oidc.name_claim: who he is here
	label   string   // for people
	values  []string // of auth.oidc.role_claim, sorted
}

const (
	maxText   = 256 // bytes of a name
	maxValues = 1000
)

// read reads the claims of an ID token, or of the UserInfo response.
func read(c auth.OIDCConfig, claims map[string]any) (person, error) {
	p := person{subject: text(claims["sub"]), session: text(claims["sid"]), name: text(lookup(claims, c.NameClaim))}
	if p.name == "" {
		return p, fmt.Errorf("the provider says no %q of you (auth.oidc.name_claim)", c.NameClaim)
	}
	for _, t := range []string{p.subject, p.session, p.name} {
		if len(t) > maxText || strings.ContainsFunc(t, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return p, fmt.Errorf("what the provider calls you has more than %d characters, or some that can't be printed", maxText)
		}
	}
	// Who may write any address into his profile would be whoever he likes.
	if verified, said := claims["email_verified"]; c.NameClaim == "email" && said && verified != true && verified != "true" {
		return p, errors.New("the provider has not checked that your mail address is yours")
	}
	for _, name := range []string{"name", "preferred_username", "email"} {
		if p.label = printable(text(claims[name])); p.label != "" {
			break
		}
	}
	if p.label == "" {
		p.label = p.name
	}
	p.values = values(lookup(claims, c.RoleClaim))
	return p, nil
}

// lookup returns a claim by its name, or by the names on the way to it with dots between.
func lookup(claims map[string]any, path string) any {
	if v, ok := claims[path]; ok {
		return v
	}
	first, rest, nested := strings.Cut(path, ".")
	inner, ok := claims[first].(map[string]any)
	if !nested || !ok {
		return nil
	}
	return lookup(inner, rest)
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// values returns a claim's texts: it is one, a list of them, or an object that has them as names
// of its members.
func values(v any) []string {
	var out []string
	switch v := v.(type) {
	case string:
		out = []string{v}
	case []any:
		for _, e := range v[:min(len(v), maxValues)] {
			if s := text(e); s != "" {
				out = append(out, s)
			}
		}
	case map[string]any:
		out = slices.Collect(maps.Keys(v))
	}
	slices.Sort(out)
	return out
}

// named returns those of the values that the configuration says something of.
func named(c auth.OIDCConfig, values []string) []string {
	return slices.DeleteFunc(slices.Clone(values), func(v string) bool {
		return !slices.ContainsFunc(c.Roles, func(r auth.OIDCRole) bool { return r.Value == v })
	})
}

// printable returns a name as it can be shown in one line.
func printable(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) }), " ")
	if runes := []rune(s); len(runes) > 64 {
		s = string(runes[:64])
	}
	return s
}
