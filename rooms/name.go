package rooms

import "sightline/internal/fault"

const maxName = 64

// ValidName returns a fault.BadRequest that says the rule if name can't be the name of a
// room or publisher.
func ValidName(name string) error {
	if !validName(name) {
		if len(name) > maxName {
			name = name[:maxName] + "…"
		}
		return fault.New(fault.BadRequest,
			"%q is no name: it must be 1 to %d of the letters a to z and A to Z, digits, '.', '_' and '-', not starting with '.' or '~'",
			name, maxName)
	}
	return nil
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
