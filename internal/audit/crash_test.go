package audit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Wherever a gateway dies as it writes, what was safe is there, the log verifies as it was left
// there, and the next start says what was cut off.
func TestDeathWhileWriting(t *testing.T) {
	for name, key := range keys {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := at(dir, 1<<20)
			s, _ := open(t, c, key)
			s.add(t, 0, 4)
			safe, before := s.at, readAll(t, dir)
			s.add(t, 4, 2)
			after := readAll(t, dir)
			if err := s.close(); err != nil {
				t.Fatal(err)
			}
			old, full := len(before["audit.log"]), len(after["audit.log"])
			for size := old; size <= full; size += 7 {
				left := before.clone()
				left["audit.log"] = after["audit.log"][:size]
				left.put(t, dir)
				if report := wantInOrder(t, dir, keyList(key)...); report.Last < safe.Seq {
					t.Fatalf("cut at %d: ends with line %d, want %d or later", size, report.Last, safe.Seq)
				}
				s, recovered := open(t, c, key)
				whole := bytes.LastIndexByte(left["audit.log"], '\n') + 1
				if recovered == nil || recovered.Bytes != uint64(size-whole) {
					t.Fatalf("cut at %d: recovered %+v, want %d bytes", size, recovered, size-whole)
				}
				if err := s.write([]Event{*recovered}, false); err != nil {
					t.Fatal(err)
				}
				s.stop(t)
				wantInOrder(t, dir, keyList(key)...)
			}
		})
	}
}

// Rotation has steps, between which a gateway may die.
func TestDeathWhileRotating(t *testing.T) {
	dir := t.TempDir()
	c := at(dir, 1<<20)
	s, _ := open(t, c, testKey)
	s.add(t, 0, 4)
	before := readAll(t, dir)
	if err := s.rotate(); err != nil {
		t.Fatal(err)
	}
	after := readAll(t, dir)
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	opening := after["audit.log"]
	full := "audit.log.000001"
	for name, left := range map[string]files{
		"renamed":                     {full: before["audit.log"], "audit.log.head": before["audit.log.head"]},
		"created":                     {full: before["audit.log"], "audit.log.head": before["audit.log.head"], "audit.log": nil},
		"half opened":                 {full: before["audit.log"], "audit.log.head": before["audit.log.head"], "audit.log": opening[:50]},
		"opened":                      {full: before["audit.log"], "audit.log.head": before["audit.log.head"], "audit.log": opening},
		"with the head's half":        {full: before["audit.log"], "audit.log.head": before["audit.log.head"], "audit.log": opening, "audit.log.head.tmp": []byte(`{"la`)},
		"with a head":                 after,
		"before, with a new head":     {"audit.log": before["audit.log"], "audit.log.head": before["audit.log.head"], "audit.log.head.tmp": []byte("{")},
		"begun, without a head":       {"audit.log": opened(t)},
		"begun, without a line":       {"audit.log": nil},
		"begun, with half an opening": {"audit.log": opened(t)[:20]},
	} {
		t.Run(name, func(t *testing.T) {
			left.put(t, dir)
			s, _ := open(t, c, testKey)
			s.add(t, 4, 2)
			s.stop(t)
			report := wantInOrder(t, dir, testKey)
			if len(left) > 1 && report.Last < 8 {
				t.Errorf("ends with line %d", report.Last)
			}
		})
	}
}

// opened is a log that has just been begun.
func opened(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	s, _ := open(t, at(dir, 1<<20), testKey)
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	return readAll(t, dir)["audit.log"]
}

// Nothing is added to a log that does not verify: it would cover up what was done to it.
func TestATamperedLogIsNotWrittenOn(t *testing.T) {
	dir := t.TempDir()
	log := makeLog(t, dir, testKey, true)
	plain := t.TempDir()
	unkeyed := makeLog(t, plain, nil, true)
	whole := log["audit.log"]
	lines := bytes.SplitAfter(whole, []byte("\n"))
	for _, tt := range []struct {
		name   string
		change func(files)
		key    []byte
		want   string
	}{
		{"cut off", func(f files) { f["audit.log"] = lines[0] }, testKey, "the head file knows of line"},
		{"changed", func(f files) { f["audit.log"] = bytes.Replace(whole, []byte(`"stopped"`), []byte(`"started"`), 1) }, testKey, "has not the hash that it says"},
		{"without its head", func(f files) { delete(f, "audit.log.head") }, testKey, "the head file is gone"},
		{"with another's head", func(f files) { f["audit.log.head"] = unkeyed["audit.log.head"] }, testKey, "the head file is not under the key"},
		{"with a head of its own making", func(f files) { f["audit.log.head"] = []byte("{}") }, testKey, "the head file has not the form of one"},
		{"without its last file", func(f files) { delete(f, "audit.log") }, testKey, "the head file knows of line"},
		{"without any file", func(f files) {
			for name := range f {
				if name != "audit.log.head" {
					delete(f, name)
				}
			}
		}, testKey, "there is no line"},
		{"under another key", func(files) {}, []byte("another key, of 32 bytes and more than that"), "or is under another key"},
		{"without the key", func(files) {}, nil, "or is under another key"},
		{"with a later file in its way", func(f files) { f["audit.log.000009"] = f["audit.log.000001"] }, testKey, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := log.clone()
			tt.change(changed)
			changed.put(t, dir)
			s, _, err := openStore(at(dir, 2000), "gw-1", tt.key, quiet)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := s.close(); err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "move it away") {
				t.Fatalf("got %v, want an error that says %q and what to do", err, tt.want)
			}
			if got := readAll(t, dir); !got.equal(changed) {
				t.Error("the files were changed")
			}
		})
	}
}

// A log comes under a key in the middle, and never out of it again.
func TestALogComesUnderAKey(t *testing.T) {
	dir := t.TempDir()
	makeLog(t, dir, nil, true)
	s, _ := open(t, at(dir, 1<<20), testKey)
	s.add(t, 30, 4)
	s.stop(t)
	wantInOrder(t, dir, testKey)
	if _, _, err := openStore(at(dir, 1<<20), "gw-1", nil, quiet); err == nil {
		t.Error("it is written on without the key")
	}
	log := readAll(t, dir)
	for name := range log { // what was before is bound by what came after
		if name == "audit.log" || name == "audit.log.head" {
			continue
		}
		changed := log.clone()
		changed[name] = bytes.Replace(changed[name], []byte("nurse"), []byte("ghost"), 1)
		changed.put(t, dir)
		if report := verify(t, dir, testKey); len(report.Problems) == 0 {
			t.Errorf("a change in %s is not found", name)
		}
	}
}

func TestTwoGatewaysDoNotWriteOneLog(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, at(dir, 1<<20), nil)
	defer s.close()
	if _, _, err := openStore(at(dir, 1<<20), "gw-2", nil, quiet); err == nil || !strings.Contains(err.Error(), "another process writes this log") {
		t.Errorf("got %v", err)
	}
}

// A log that somebody touches while it is written is noticed at the next line.
func TestWhoTouchesAnOpenLogIsNoticed(t *testing.T) {
	for name, touch := range map[string]func(path string) error{
		"deleted":  os.Remove,
		"moved":    func(path string) error { return os.Rename(path, path+".old") },
		"cut off":  func(path string) error { return os.Truncate(path, 10) },
		"added to": func(path string) error { return appendTo(path, "hello\n") },
		"replaced": func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.WriteFile(path, b, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := at(dir, 1<<20)
			s, _ := open(t, c, nil)
			defer s.close()
			s.add(t, 0, 2)
			if err := touch(filepath.Join(dir, "audit.log")); err != nil {
				t.Fatal(err)
			}
			if err := s.write([]Event{sample(3)}, false); err == nil {
				t.Error("it was written on")
			}
		})
	}
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprint(f, text); err != nil {
		return err
	}
	return f.Close()
}
