package audit

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Nodes of a cluster may have one key: the log of one must not pass for another's.
func TestLinesNameTheirNode(t *testing.T) {
	c := at(t.TempDir(), minSize)
	names := []string{"a", `the "b" \ node`}
	for _, name := range names {
		c.Node = name
		l, err := Open(c, quiet)
		if err != nil {
			t.Fatal(err)
		}
		l.Record(sample(1))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		report, err := Check{Node: "a"}.Verify(c.File)
		if err != nil {
			t.Fatal(err)
		}
		switch problems := fmt.Sprint(report.Problems); {
		case name == "a" && (len(report.Problems) > 0 || !slices.Equal(report.Nodes, names[:1])):
			t.Errorf("a's log is not taken for a's: %s, %q", problems, report.Nodes)
		case name != "a" && (len(report.Problems) != 1 || !strings.Contains(problems, `is of the gateway "the \"b\" \\ node", must be of "a"`)):
			t.Errorf("another's log passes for a's: %s", problems)
		}
	}
	report, err := Check{}.Verify(c.File)
	if err != nil || len(report.Problems) > 0 || !slices.Equal(report.Nodes, names) {
		t.Errorf("a gateway that was renamed: %v, %v, %q", err, report.Problems, report.Nodes)
	}
}

func TestNodeOfALine(t *testing.T) {
	start := seqPrefix + "1" + prevMark + genesis + `"`
	for line, want := range map[string]string{
		start + `,"node":"a","time":1}`:   `"a"`,
		start + `,"node":"a\"b\\","x":1}`: `"a\"b\\"`,
		start + `,"node":"a`:              "",
		start + `,"node":"a\`:             "",
		start + `,"node":`:                "",
		start + `,"node":5}`:              "",
		start + `,"time":1,"node":"a"}`:   "",
		start:                             "",
		start[:20]:                        "",
		"":                                "",
	} {
		if got := string(rawNode([]byte(line))); got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
}
