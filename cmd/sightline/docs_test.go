package main

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

const root = "../.."

var (
	linkPattern  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fencePattern = regexp.MustCompile("(?ms)^```.*?^```|`[^`\n]*`")
)

func TestEveryRelativeLinkOfTheDocumentationResolves(t *testing.T) {
	files, links := 0, 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git" || entry.Name() == "dist"):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		files++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range linkPattern.FindAllStringSubmatch(fencePattern.ReplaceAllString(string(text), ""), -1) {
			u, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: link %q: %v", path, m[1], err)
				continue
			}
			if u.Scheme != "" || u.Host != "" {
				continue // another place's
			}
			links++
			target := path
			if u.Path != "" {
				target = filepath.Join(filepath.Dir(path), u.Path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: link %q leads nowhere", path, m[1])
			} else if u.Fragment != "" && !hasHeading(t, target, u.Fragment) {
				t.Errorf("%s: link %q: no such heading", path, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 5 || links < 5 {
		t.Errorf("saw %d links in %d files, want at least 5 of each: is this the whole tree?", links, files)
	}
}

// hasHeading says whether the file has a heading with the anchor, as forges make anchors.
func hasHeading(t *testing.T, path, anchor string) bool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if heading := strings.TrimLeft(line, "#"); heading != line && anchorOf(heading) == anchor {
			return true
		}
	}
	return false
}

func anchorOf(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, strings.TrimSpace(heading))
}

// The image is built as CI builds, runs as nobody, and looks after itself.
func TestDockerfileKeepsItsPromises(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	for promise, pattern := range map[string]string{
		"builds by make dist": `(?m)^RUN make dist\b`,
		"starts from nothing": `(?m)^FROM scratch$`,
		"numeric, not root":   `(?m)^USER [1-9][0-9]*:[1-9][0-9]*$`,
		"checks its health":   `(?m)^HEALTHCHECK .*CMD \["/sightline", "healthcheck"\]$`,
		"runs the gateway":    `(?m)^CMD \["serve"\]$`,
	} {
		if !regexp.MustCompile(pattern).Match(text) {
			t.Errorf("Dockerfile: %s: nothing matches %s", promise, pattern)
		}
	}
}
