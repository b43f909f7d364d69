package sdp

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	"sightline/internal/fault"
)

// Bounds on what a client may send. Real offers stay far below them: the longest seen had
// 2 sections and 6 KiB.
const (
	maxBody       = 64 << 10 // bytes of a whole offer or fragment
	maxLine       = 4 << 10  // bytes of one line: parameter sets are the longest
	maxMedia      = 16       // m= sections
	maxMID        = 64       // bytes
	maxCandidates = 256      // per section; more are passed over
	maxParameters = 64       // in one a=fmtp; more make its payload type unusable
	maxValue      = 64       // bytes of one format parameter that is kept
	maxSSRCs      = 64       // per section
	maxLayers     = 8        // of a simulcast; more are not accepted
	maxRIDs       = 64       // a=rid lines per section; more are passed over
)

// An attribute is an a= line: name, or name:value.
type attribute struct{ name, value string }

// A line is one line of a description: type and value (RFC 8866, section 5).
type line struct {
	kind  byte
	value string
}

// malformed returns a fault.BadRequest.
func malformed(format string, args ...any) error {
	return fault.New(fault.BadRequest, format, args...)
}

// unsupported returns a fault.Unprocessable.
func unsupported(format string, args ...any) error {
	return fault.New(fault.Unprocessable, format, args...)
}

// lines splits a description. Lines end in CRLF, or in LF alone (RFC 8866, section 5, asks
// parsers to take both); empty ones are accepted at the end only.
func lines(body []byte) ([]line, error) {
	switch {
	case len(body) > maxBody:
		return nil, fault.New(fault.TooLarge, "the description has %d bytes; at most %d are taken", len(body), maxBody)
	case bytes.IndexByte(body, 0) >= 0:
		return nil, malformed("the description holds a NUL byte")
	case !utf8.Valid(body):
		return nil, malformed("the description is not valid UTF-8")
	}
	text := strings.TrimRight(strings.ReplaceAll(string(body), "\r\n", "\n"), "\n")
	if strings.IndexByte(text, '\r') >= 0 {
		return nil, malformed("the description holds a CR that is not followed by LF")
	}
	if text == "" {
		return nil, malformed("the description is empty")
	}
	var out []line
	n := 0
	for raw := range strings.SplitSeq(text, "\n") {
		n++
		if len(raw) > maxLine {
			return nil, malformed("line %d has %d bytes; at most %d are taken", n, len(raw), maxLine)
		}
		if len(raw) < 2 || raw[1] != '=' || raw[0] < 'a' || raw[0] > 'z' {
			return nil, malformed("line %d is not of the form <type>=<value>: %s", n, quote(raw))
		}
		out = append(out, line{raw[0], raw[2:]})
	}
	return out, nil
}

// attribute splits the value of an a= line.
func (l line) attribute() attribute {
	name, value, _ := strings.Cut(l.value, ":")
	return attribute{name, value}
}

// quote returns s for an error's text, shortened.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}

// first returns the value of the first attribute with the name; false if there is none.
func first(attributes []attribute, name string) (string, bool) {
	for _, a := range attributes {
		if a.name == name {
			return a.value, true
		}
	}
	return "", false
}

// has reports whether there is an attribute with the name.
func has(attributes []attribute, name string) bool {
	_, ok := first(attributes, name)
	return ok
}

// isToken reports whether s is a token of RFC 8866, section 9.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || strings.IndexByte(`"(),/:;<=>?@[\]`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// isICE reports whether s has between least and most bytes, all of them ice-char
// (RFC 8839, section 5.1).
func isICE(s string, least, most int) bool {
	for i := range len(s) {
		c := s[i]
		if !isAlphanumeric(c) && c != '+' && c != '/' {
			return false
		}
	}
	return len(s) >= least && len(s) <= most
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// isCredentials checks ice-ufrag and ice-pwd (RFC 8839, section 5.4); one that is absent
// is not checked.
func isCredentials(ufrag, pwd string) error {
	if ufrag != "" && !isICE(ufrag, 4, 256) {
		return malformed("a=ice-ufrag: must be 4 to 256 letters, digits, '+' and '/', got %d bytes: %s", len(ufrag), quote(ufrag))
	}
	if pwd != "" && !isICE(pwd, 22, 256) {
		return malformed("a=ice-pwd: must be 22 to 256 letters, digits, '+' and '/', got %d bytes", len(pwd))
	}
	return nil
}
