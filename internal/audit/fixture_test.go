package audit

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	testKey = []byte("a key of the tests, 32 bytes and more")
	quiet   = slog.New(slog.DiscardHandler)
)

// at is a configuration of a log in dir, with files of about size bytes.
func at(dir string, size int64) Config {
	c := Defaults()
	c.File, c.MaxSize = filepath.Join(dir, "audit.log"), size
	return c
}

// sample is the nth of some events.
func sample(n int) Event {
	e := Event{
		Time: time.Date(2026, 1, 31, 9, 0, n, 0, time.UTC), What: Watched, Phase: Began, Room: fmt.Sprint("mri-", n%3),
		Publisher: "console", Tracks: []string{"console/video"}, Session: fmt.Sprint("s", n),
		Who: Who{Name: "nurse", Address: "192.0.2.1", Agent: "a \"browser\"\n"},
	}
	return e
}

// A tester is what tests and benchmarks are.
type tester interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// open opens a store.
func open(t tester, c Config, key []byte) (*store, *Event) {
	t.Helper()
	s, recovered, err := openStore(c, "gw-1", key, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s, recovered
}

// add writes n events, two at a time.
func (s *store) add(t tester, from, n int) {
	t.Helper()
	for i := from; i < from+n; i += 2 {
		if err := s.write([]Event{sample(i), sample(i + 1)}, false); err != nil {
			t.Fatal(err)
		}
	}
}

// stop writes the line of a gateway that stops in order, and closes.
func (s *store) stop(t tester) {
	t.Helper()
	if err := s.write([]Event{{Time: sample(99).Time, What: Stopped}}, true); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

// files are the contents of a log's files by name.
type files map[string][]byte

// make writes a log of four or five files, that was stopped in order or not.
func makeLog(t tester, dir string, key []byte, stopped bool) files {
	t.Helper()
	s, _ := open(t, at(dir, 2000), key)
	s.add(t, 0, 20)
	if stopped {
		s.stop(t)
	} else if err := s.close(); err != nil {
		t.Fatal(err)
	}
	return readAll(t, dir)
}

func readAll(t tester, dir string) files {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := make(files)
	for _, e := range entries {
		if filepath.Ext(e.Name()) == lockSuffix {
			continue
		}
		if out[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// put makes the files all that there is in dir.
func (f files) put(t tester, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range f {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (f files) clone() files {
	out := make(files)
	for name, content := range f {
		out[name] = bytes.Clone(content)
	}
	return out
}

func (f files) equal(other files) bool {
	if len(f) != len(other) {
		return false
	}
	for name, content := range f {
		if theirs, ok := other[name]; !ok || !bytes.Equal(content, theirs) {
			return false
		}
	}
	return true
}

// verify returns what is wrong with the log in dir.
func verify(t tester, dir string, keys ...[]byte) Report {
	t.Helper()
	report, err := Check{Keys: keys}.Verify(filepath.Join(dir, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// inOrder fails the test unless the log in dir verifies.
func wantInOrder(t tester, dir string, keys ...[]byte) Report {
	t.Helper()
	report := verify(t, dir, keys...)
	if len(report.Problems) > 0 {
		t.Fatalf("the log is not in order: %v", report.Problems)
	}
	return report
}

func readFile(t tester, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
