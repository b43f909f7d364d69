package httpapi

import (
	"strings"
	"testing"

	"sightline/internal/fault"
)

// Items 30, 38 and T3, rows 33 to 35 of docs/CONFORMANCE.md.
func TestIfMatch(t *testing.T) {
	const etag = `"cur"`
	for _, tt := range []struct {
		values  []string
		bad     bool
		matches bool
	}{
		{values: []string{`"cur"`}, matches: true},
		{values: []string{`*`}, matches: true},
		{values: []string{`"*"`}, matches: true}, // the example of RFC 9725, section 4.3.3
		{values: []string{`"a", "cur"`}, matches: true},
		{values: []string{`"a"`, `"cur"`}, matches: true},
		{values: []string{` , "a" ,, "cur" ,`}, matches: true},
		{values: []string{`"a,b", "cur"`}, matches: true},
		{values: []string{`"stale"`}},
		{values: []string{`W/"cur"`}}, // strong comparison
		{values: []string{`"CUR"`}},
		{values: []string{`""`}},
		{values: []string{`*, "cur"`}, bad: true},
		{values: []string{`*`, `*`}, bad: true},
		{values: []string{`cur`}, bad: true},
		{values: []string{`"cur`}, bad: true},
		{values: []string{`cur"`}, bad: true},
		{values: []string{`"cur" "a"`}, bad: true},
		{values: []string{`"cur"x`}, bad: true},
		{values: []string{`w/"cur"`}, bad: true},
		{values: []string{`W/`}, bad: true},
		{values: []string{"\"c\x00r\""}, bad: true},
		{values: []string{`"c r"`}, bad: true},
		{values: []string{``}, bad: true},
		{values: []string{` , `}, bad: true},
	} {
		c, err := parseIfMatch(tt.values)
		if tt.bad {
			if fault.KindOf(err) != fault.BadRequest {
				t.Errorf("%q: got %v, want a bad request", tt.values, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tt.values, err)
		} else if got := c.matches(etag); got != tt.matches {
			t.Errorf("%q matches %s: %t, want %t", tt.values, etag, got, tt.matches)
		}
	}
}

func FuzzIfMatch(f *testing.F) {
	for _, seed := range []string{`"cur"`, `*`, `"*"`, `W/"x", "y"`, `*, "x"`, `"a" "b"`, `,,"`, "\"\x7f\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		c, err := parseIfMatch([]string{value})
		if err != nil {
			if fault.KindOf(err) != fault.BadRequest {
				t.Fatalf("%q: %v", value, err)
			}
			return
		}
		if c.any == (len(c.tags) > 0) {
			t.Fatalf("%q: any %t and %q", value, c.any, c.tags)
		}
		// What was accepted reads the same when it is written as a list again.
		again, err := parseIfMatch(c.tags)
		if !c.any && (err != nil || strings.Join(again.tags, ",") != strings.Join(c.tags, ",")) {
			t.Fatalf("%q: %q became %q, %v", value, c.tags, again.tags, err)
		}
		for _, tag := range c.tags {
			if got, want := c.matches(tag), !strings.HasPrefix(tag, "W/"); got != want {
				t.Fatalf("%q matches %s: %t", value, tag, got)
			}
		}
	})
}
