package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const manual = "../../config.toml"

// The shipped file is the manual: whoever reads it knows every key and its default.
func TestShippedFileNamesEveryKeyAndEqualsTheDefaults(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Load(manual, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.derive()
	if diff := cmp.Diff(want, got, emptyIsNil()); diff != "" {
		t.Errorf("config.toml says something else than the defaults (-default +file):\n%s", diff)
	}

	lines := lineIndex(text)
	for key, field := range leaves(reflect.ValueOf(&want).Elem(), "") {
		if field.Kind() == reflect.Slice && isTable(field.Type().Elem()) {
			example := example(string(text), key)
			for name := range fields(reflect.New(field.Type().Elem()).Elem()) {
				if !strings.Contains(example, "\n"+name+" = ") {
					t.Errorf("config.toml has no commented example of %s.%s", key, name)
				}
			}
			continue
		}
		line := lines[key]
		if line == 0 {
			t.Errorf("config.toml lacks %s", key)
		} else if !explained(strings.Split(string(text), "\n"), line) {
			t.Errorf("config.toml:%d: no comment explains %s", line, key)
		}
	}
}

// The commented examples are right: who uncomments one has a valid configuration.
func TestCommentedExamplesAreValid(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	uncommented := uncomment(string(text))
	if uncommented == string(text) {
		t.Fatal("config.toml has no commented example")
	}
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(uncommented), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Auth.Tokens) != 1 || len(c.ICE.Servers) != 1 {
		t.Errorf("the examples gave %d tokens and %d ICE servers, want one each", len(c.Auth.Tokens), len(c.ICE.Servers))
	}
}

// Every key has its variable, and no two share one.
func TestVariablesAreUnambiguous(t *testing.T) {
	c := Defaults()
	by := make(map[string]string)
	for key := range leaves(reflect.ValueOf(&c).Elem(), "") {
		name := Variable(key)
		if other, ok := by[name]; ok {
			t.Errorf("%s stands for %s and %s", name, key, other)
		}
		if injected(name) {
			t.Errorf("%s, of %s, is one that Kubernetes may set", name, key)
		}
		by[name] = key
	}
}

// emptyIsNil takes an empty list of the file for the default's nil.
func emptyIsNil() cmp.Option {
	return cmp.FilterValues(func(a, b []string) bool { return len(a)+len(b) == 0 }, cmp.Ignore())
}

// explained says whether a comment stands above the line, or above its neighbours
// without a blank line between.
func explained(lines []string, line int) bool {
	for i := line - 2; i >= 0 && lines[i] != ""; i-- {
		if strings.HasPrefix(lines[i], "#") {
			return true
		}
		if strings.HasPrefix(lines[i], "[") {
			return false
		}
	}
	return false
}

// uncomment takes the comment marks off the examples: from "# [[" to the first line
// that is no comment.
func uncomment(text string) string {
	var out []string
	in := false
	for line := range strings.SplitSeq(text, "\n") {
		in = strings.HasPrefix(line, "# [[") || in && strings.HasPrefix(line, "# ")
		if in {
			line = strings.TrimPrefix(line, "# ")
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// example returns the uncommented example of a list of tables.
func example(text, key string) string {
	_, after, _ := strings.Cut(uncomment(text), "[["+key+"]]")
	before, _, _ := strings.Cut(after, "\n\n")
	return before
}
