package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	testDeclaration = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z]\w*)\(`)
	testReference   = regexp.MustCompile(`\b([a-z0-9]+\.(?:Test|Fuzz)[A-Z]\w*)`)
	conformanceRow  = regexp.MustCompile(`(?m)^\| (T?[0-9]+) \|(.*)\| ([^|]+) \|$`)
)

// The table of docs/CONFORMANCE.md can't rot: every test that it names is there, every line
// has its state, and one that is passed has a test.
func TestConformanceNamesTestsThatExist(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/CONFORMANCE.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := declaredTests(t)
	named := 0
	for _, m := range testReference.FindAllStringSubmatch(string(text), -1) {
		if named++; !tests[m[1]] {
			t.Errorf("there is no %s (the folder's name, a dot, the test's)", m[1])
		}
	}
	if named < 200 {
		t.Errorf("%d tests are named, want 200 or more: is this the whole table?", named)
	}

	var items, rows, conflicts []string
	inRows := false
	for line := range strings.Lines(string(text)) {
		inRows = inRows || strings.HasPrefix(line, "## Bad input")
		m := conformanceRow.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			continue
		}
		switch number := m[1]; {
		case strings.HasPrefix(number, "T"):
			conflicts = append(conflicts, number)
		case inRows:
			rows = append(rows, number)
		default:
			items = append(items, number)
		}
		state, _, _ := strings.Cut(m[3], ":")
		switch {
		case !slices.Contains([]string{"passed", "by design", "later"}, state):
			t.Errorf("%s: the state is %q, want passed, by design or later", m[1], m[3])
		case state == "passed" && !testReference.MatchString(m[2]):
			t.Errorf("%s is passed without a test", m[1])
		}
	}
	for what, got := range map[string]struct {
		numbers, want []string
	}{
		"items":          {items, numbers("", 1, 61)},
		"contradictions": {conflicts, numbers("T", 1, 7)},
	} {
		if !slices.Equal(got.numbers, got.want) {
			t.Errorf("%s: got %v, want %v", what, got.numbers, got.want)
		}
	}
	if !slices.IsSortedFunc(rows, func(a, b string) int { return number(a) - number(b) }) || len(rows) < 60 || len(slices.Compact(rows)) != len(rows) {
		t.Errorf("rows of bad input: got %v, want 60 or more in order", rows)
	}
}

func numbers(prefix string, from, to int) []string {
	var out []string
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprint(prefix, i))
	}
	return out
}

func number(s string) (n int) {
	_, _ = fmt.Sscan(s, &n)
	return n
}

// declaredTests are all tests of the tree, those behind build tags too.
func declaredTests(t *testing.T) map[string]bool {
	t.Helper()
	out := make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git" || entry.Name() == "dist"):
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		folder, err := filepath.Abs(filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, m := range testDeclaration.FindAllStringSubmatch(string(text), -1) {
			out[filepath.Base(folder)+"."+m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
