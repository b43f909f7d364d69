package rooms

import (
	"slices"
	"strings"
	"unicode"

	"sightline/internal/fault"
)

const (
	maxName  = 64
	maxLabel = 64 // characters
)

// reserved are the first elements of the gateway's own paths, of now and of what may come:
// a room's page is at /{room}.
var reserved = []string{
	"api", "assets", "auth", "debug", "docs", "favicon.ico", "healthz", "login", "logout", "metrics", "readyz",
	"robots.txt", "sessions", "version", "watch", "whep", "whip",
}

// Reserved reports whether a room can't have a name because it is one of the gateway's own.
func Reserved(name string) bool { return slices.Contains(reserved, name) }

// ReservedNames returns all names that Reserved knows, sorted.
func ReservedNames() []string { return slices.Clone(reserved) }

// ValidRoom returns a fault.BadRequest that says why if name can't be the name of a room.
func ValidRoom(name string) error {
	if Reserved(name) {
		return fault.New(fault.BadRequest, "no room can be called %q: /%s is one of the gateway's own routes", name, name)
	}
	return valid("name", name)
}

// ValidName returns a fault.BadRequest that says the rule if name can't be the name of a
// publisher. ValidRoom says it of rooms.
func ValidName(name string) error { return valid("name", name) }

// ValidRole returns a fault.BadRequest that says the rule, which is that of names, if role
// can't be the role of a publisher. An empty one stands for none, and is valid.
func ValidRole(role string) error {
	if role == "" {
		return nil
	}
	return valid("role", role)
}

func validNames(room, publisher string) error {
	if err := ValidRoom(room); err != nil {
		return err
	}
	return ValidName(publisher)
}

func valid(what, name string) error {
	if validName(name) {
		return nil
	}
	return fault.New(fault.BadRequest,
		"%q is no %s: it must be 1 to %d of the letters a to z and A to Z, digits, '.', '_' and '-', not starting with '.' or '~'",
		shown(name), what, maxName)
}

func validName(name string) bool {
	if len(name) == 0 || len(name) > maxName || name[0] == '.' {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// Label returns what people may be shown of a text that a client chose: one line of at most
// 64 characters that can be printed, perhaps none.
func Label(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	runes := []rune(strings.Join(strings.Fields(s), " "))
	return strings.TrimSpace(string(runes[:min(len(runes), maxLabel)]))
}
