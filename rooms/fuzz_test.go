package rooms

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"sightline/internal/fault"
)

// FuzzNames: what people are shown of a text is one short line that can be printed, and what
// is taken for a name needs no escaping anywhere.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{"mri-2", "~mix", ".", "..", "Dr. Berg\n", "\u202egnp.exe", "a\xff\xfeb", strings.Repeat("ä", 80), "A\u0000B", "api", "e\u0301\u0301"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		label := Label(text)
		if !utf8.ValidString(label) || utf8.RuneCountInString(label) > maxLabel || strings.TrimSpace(label) != label {
			t.Errorf("label %q", label)
		}
		if i := strings.IndexFunc(label, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("label %q has something at %d that can't be printed", label, i)
		}
		if again := Label(label); again != label {
			t.Errorf("label %q becomes %q", label, again)
		}
		for what, valid := range map[string]func(string) error{"name": ValidName, "room": ValidRoom, "role": ValidRole} {
			err := valid(text)
			if err != nil && fault.KindOf(err) != fault.BadRequest {
				t.Errorf("%s: got %v", what, err)
			}
			if err == nil && (strings.ContainsAny(text, "/\\%?#&\"'<>~ \r\n\t\x00") || len(text) > maxName || text == "." || text == "..") {
				t.Errorf("%q is taken for a %s", text, what)
			}
		}
	})
}
