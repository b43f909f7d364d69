package rooms

import "sightline/internal/fault"

const maxName = 64

// ValidName returns a fault.BadRequest that says the rule if name can't be the name of a
// room or publisher.
func ValidName(name string) error { return valid("name", name) }

// ValidRole returns a fault.BadRequest that says the rule, which is that of names, if role
// can't be the role of a publisher. An empty one stands for none, and is valid.
func ValidRole(role string) error {
	if role == "" {
		return nil
	}
	return valid("role", role)
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
