package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Load returns the defaults, overridden by the file at path and then by the
// variables of environ that begin with SIGHTLINE_ (as os.Environ gives them). An
// empty path means no file. The error is a *Problems that names all that is wrong.
func Load(path string, environ []string) (Config, error) {
	c := Defaults()
	l := loader{file: path, unset: make(map[string]bool)}
	if path != "" {
		l.readFile(&c)
	}
	l.readEnvironment(&c, environ)
	l.addAll(c.Validate())
	if len(l.problems) > 0 {
		slices.SortStableFunc(l.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
		return Config{}, &Problems{l.problems}
	}
	c.derive()
	return c, nil
}

// A Problem is one thing that is wrong with the configuration.
type Problem struct {
	Source string // the file's or variable's name; "" for a default
	Line   int    // of the file, from 1; 0 if Source is no file
	Key    string // such as rooms.viewer_queue; "" if it concerns none
	Text   string // what is wrong, and what would be right
}

func (p Problem) String() string {
	var b strings.Builder
	if p.Source != "" {
		b.WriteString(p.Source)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	return b.String() + p.Text
}

// Problems is everything that is wrong with a configuration, in the file's order.
type Problems struct {
	List []Problem
}

func (p *Problems) Error() string {
	lines := make([]string, len(p.List))
	for i, problem := range p.List {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// A loader collects where each key was set and what is wrong.
type loader struct {
	file      string
	lines     map[string]int    // line of the file that set a key or opened a table
	variables map[string]string // variable that set a key
	unset     map[string]bool   // keys whose value has the wrong type
	problems  []Problem
}

func (l *loader) readFile(c any) {
	data, err := os.ReadFile(l.file)
	if err != nil {
		// The path stands in the error.
		l.problems = append(l.problems, Problem{Text: fmt.Sprintf("cannot read the configuration: %v", err)})
		return
	}
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		p := Problem{Source: l.file, Text: strings.TrimPrefix(err.Error(), "toml: ")}
		if d, ok := errors.AsType[*toml.DecodeError](err); ok {
			p.Line, _ = d.Position()
		}
		l.problems = append(l.problems, p)
		return
	}
	l.lines = lineIndex(data)
	l.assignTable(reflect.ValueOf(c).Elem(), tree, "")
}

// addAll files each error of a Validate where its key was set.
func (l *loader) addAll(err error) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			l.addAll(e)
		}
		return
	}
	key, text, ok := strings.Cut(err.Error(), ": ")
	if !ok || strings.ContainsAny(key, " \"") {
		key, text = "", err.Error()
	}
	for wrong := range l.unset {
		if wrong == key || strings.HasPrefix(wrong, key+"[") {
			return // judged by what stands there instead
		}
	}
	l.add(key, "%s", text)
}

// add files a problem of key, with the place that set it, or set a table around it.
func (l *loader) add(key, format string, args ...any) {
	p := Problem{Key: key, Text: fmt.Sprintf(format, args...)}
	for at := key; at != ""; at = parent(at) {
		// The environment was read last, so it is what counts.
		if name := l.variables[at]; name != "" {
			p.Source = name
			break
		}
		// A whole section says nothing about a key that is not in it.
		if line := l.lines[at]; line > 0 && (at == key || strings.HasSuffix(at, "]")) {
			p.Source, p.Line = l.file, line
			break
		}
	}
	l.problems = append(l.problems, p)
}

// parent returns the key of what holds key: a.b of a.b[2], a of a.b, "" of a.
func parent(key string) string {
	return key[:max(strings.LastIndexAny(key, ".["), 0)]
}
