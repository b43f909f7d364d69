package httpapi

import (
	"strings"

	"sightline/internal/fault"
)

// A condition is a parsed If-Match (RFC 9110, section 13.1.1).
type condition struct {
	any  bool
	tags []string // entity tags in quotes; weak ones with their W/
}

// parseIfMatch reads the values of If-Match header fields:
//
//	If-Match = "*" / #entity-tag
//
// A quoted "*" is taken for the unquoted one, because the example of RFC 9725, section
// 4.3.3, has it. The error is a fault.BadRequest.
func parseIfMatch(values []string) (condition, error) {
	var c condition
	rest := strings.Join(values, ",")
	bad := func() (condition, error) {
		return condition{}, fault.New(fault.BadRequest,
			"If-Match must be * or entity tags in quotes, such as \"xyzzy\", got %q", clip(strings.Join(values, ", "), 100))
	}
	elements := 0
	for {
		rest = strings.TrimLeft(rest, " \t,") // empty list elements do not count (RFC 9110, section 5.6.1.2)
		if rest == "" {
			break
		}
		elements++
		if rest[0] == '*' {
			c.any, rest = true, rest[1:]
		} else {
			tag, after, ok := cutTag(rest)
			if !ok {
				return bad()
			}
			rest = after
			if tag == `"*"` {
				c.any = true
			} else {
				c.tags = append(c.tags, tag)
			}
		}
		rest = strings.TrimLeft(rest, " \t")
		if rest != "" && rest[0] != ',' {
			return bad()
		}
	}
	if elements == 0 || c.any && elements > 1 {
		return bad()
	}
	return c, nil
}

// cutTag cuts an entity tag off (RFC 9110, section 8.8.3):
//
//	entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE
func cutTag(s string) (tag, rest string, ok bool) {
	opaque, weak := strings.CutPrefix(s, "W/")
	start := 0
	if weak {
		start = len("W/")
	}
	if opaque == "" || opaque[0] != '"' {
		return "", "", false
	}
	for i := 1; i < len(opaque); i++ {
		switch b := opaque[i]; {
		case b == '"':
			end := start + i + 1
			return s[:end], s[end:], true
		case b <= ' ' || b == 0x7f:
			return "", "", false
		}
	}
	return "", "", false
}

// matches reports whether the condition holds for etag, by strong comparison: a weak tag
// never matches.
func (c condition) matches(etag string) bool {
	if c.any {
		return true
	}
	for _, tag := range c.tags {
		if tag == etag && !strings.HasPrefix(tag, "W/") {
			return true
		}
	}
	return false
}
