package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// keys are the two ways to hash.
var keys = map[string][]byte{"without a key": nil, "under a key": testKey}

func keyList(key []byte) [][]byte {
	if key == nil {
		return nil
	}
	return [][]byte{key}
}

// Any one change of any byte, line or file is found.
func TestEveryChangeIsFound(t *testing.T) {
	for name, key := range keys {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			log := makeLog(t, dir, key, true)
			if report := wantInOrder(t, dir, keyList(key)...); report.Lines < 21 || len(report.Files) < 4 {
				t.Fatalf("%d lines in %d files", report.Lines, len(report.Files))
			}
			names := slices.Sorted(maps.Keys(log))
			scratch := t.TempDir()
			rapid.Check(t, func(rt *rapid.T) {
				changed := log.clone()
				what := rapid.SampledFrom(changes).Draw(rt, "change")
				what.do(rt, changed, names)
				changed.put(rt, scratch)
				report, err := Check{Keys: keyList(key)}.Verify(filepath.Join(scratch, "audit.log"))
				found := err != nil || len(report.Problems) > 0
				if changes := !changed.equal(log); found != changes { // two equal lines may have changed places
					rt.Fatalf("%s: changes something: %t, found: %t (%v, %+v)", what.name, changes, found, err, report.Problems)
				}
			})
		})
	}
}

// A change is something that is done to a log's files.
type change struct {
	name string
	do   func(*rapid.T, files, []string)
}

var changes = []change{
	{"a byte is another", func(t *rapid.T, f files, names []string) {
		b := f[rapid.SampledFrom(names).Draw(t, "file")]
		b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
	}},
	{"bytes are missing", func(t *rapid.T, f files, names []string) {
		name := rapid.SampledFrom(names).Draw(t, "file")
		from := rapid.IntRange(0, len(f[name])-1).Draw(t, "from")
		to := rapid.IntRange(from+1, len(f[name])).Draw(t, "to")
		f[name] = slices.Delete(f[name], from, to)
	}},
	{"bytes are put in", func(t *rapid.T, f files, names []string) {
		name := rapid.SampledFrom(names).Draw(t, "file")
		at := rapid.IntRange(0, len(f[name])).Draw(t, "at")
		f[name] = slices.Insert(f[name], at, rapid.SliceOfN(rapid.Byte(), 1, 500).Draw(t, "bytes")...)
	}},
	{"the end is cut off", func(t *rapid.T, f files, names []string) {
		name := rapid.SampledFrom(names).Draw(t, "file")
		f[name] = f[name][:rapid.IntRange(0, len(f[name])-1).Draw(t, "at")]
	}},
	{"the last lines are cut off", func(t *rapid.T, f files, _ []string) {
		lines := bytes.SplitAfter(f["audit.log"], []byte("\n"))
		f["audit.log"] = bytes.Join(lines[:rapid.IntRange(0, len(lines)-2).Draw(t, "lines")], nil)
	}},
	{"a line is missing", func(t *rapid.T, f files, names []string) {
		name, lines := linesOf(t, f, names)
		i := rapid.IntRange(0, len(lines)-1).Draw(t, "line")
		f[name] = bytes.Join(slices.Delete(lines, i, i+1), nil)
	}},
	{"a line is doubled", func(t *rapid.T, f files, names []string) {
		_, from := linesOf(t, f, names)
		line := bytes.Clone(rapid.SampledFrom(from).Draw(t, "line"))
		name, lines := linesOf(t, f, names)
		f[name] = bytes.Join(slices.Insert(lines, rapid.IntRange(0, len(lines)).Draw(t, "to"), line), nil)
	}},
	{"two lines have changed places", func(t *rapid.T, f files, names []string) {
		name, lines := linesOf(t, f, names)
		i, j := rapid.IntRange(0, len(lines)-1).Draw(t, "one"), rapid.IntRange(0, len(lines)-1).Draw(t, "other")
		lines[i], lines[j] = lines[j], lines[i]
		f[name] = bytes.Join(lines, nil)
	}},
	{"a line is made up, with the right hash of its own", func(t *rapid.T, f files, names []string) {
		name, lines := linesOf(t, f, names)
		i := rapid.IntRange(0, len(lines)-1).Draw(t, "line")
		body, _, ok := unseal(lines[i])
		if !ok {
			return // the head: it has no hash of its own, and stays as it is
		}
		forged := bytes.Replace(body, []byte(`"nurse"`), []byte(`"ghost"`), 1)
		lines[i], _ = hasher{}.seal(nil, append(forged, '}'))
		f[name] = bytes.Join(lines, nil)
	}},
	{"a file is missing", func(t *rapid.T, f files, names []string) {
		delete(f, rapid.SampledFrom(names).Draw(t, "file"))
	}},
	{"two files have changed places", func(t *rapid.T, f files, names []string) {
		a, b := rapid.SampledFrom(names).Draw(t, "one"), rapid.SampledFrom(names).Draw(t, "other")
		f[a], f[b] = f[b], f[a]
	}},
	{"a file is another's", func(t *rapid.T, f files, names []string) {
		f[rapid.SampledFrom(names).Draw(t, "file")] = f[rapid.SampledFrom(names).Draw(t, "other")]
	}},
	{"there is a file more", func(t *rapid.T, f files, names []string) {
		f[filepath.Base(numbered("audit.log", len(names)-1+rapid.IntRange(0, 2).Draw(t, "further")))] = f[rapid.SampledFrom(names).Draw(t, "file")]
	}},
}

// linesOf draws one of the files that have lines.
func linesOf(t *rapid.T, f files, names []string) (string, [][]byte) {
	name := rapid.SampledFrom(names).Draw(t, "file")
	lines := bytes.SplitAfter(bytes.Clone(f[name]), []byte("\n"))
	return name, lines[:len(lines)-1]
}

// Who has no key can't make up a log that verifies under one; who has read an old head can cut
// the end off, and is found by a hash that was noted elsewhere.
func TestWhoCanWriteTheFiles(t *testing.T) {
	t.Run("makes up a log without the key", func(t *testing.T) {
		dir := t.TempDir()
		makeLog(t, dir, nil, true)
		if report := verify(t, dir, testKey); len(report.Problems) == 0 {
			t.Error("a log without a key passes for one under the key")
		}
		dir = t.TempDir()
		makeLog(t, dir, []byte("another key, of 32 bytes and more than that"), true)
		if report := verify(t, dir, testKey); len(report.Problems) == 0 {
			t.Error("a log under another key passes")
		}
	})
	t.Run("puts back an old log with its old head", func(t *testing.T) {
		dir := t.TempDir()
		s, _ := open(t, at(dir, 1<<20), testKey)
		s.add(t, 0, 4)
		old := readAll(t, dir)
		s.add(t, 4, 4)
		noted := s.at
		s.stop(t)
		old.put(t, dir)
		wantInOrder(t, dir, testKey) // docs/SECURITY.md says so
		report, err := Check{Keys: [][]byte{testKey}, Known: map[uint64]string{noted.Seq: noted.Hash}}.Verify(filepath.Join(dir, "audit.log"))
		if err != nil || len(report.Problems) != 1 || !strings.Contains(report.Problems[0].Text, "noted elsewhere") {
			t.Errorf("got %v, %v", report.Problems, err)
		}
	})
	t.Run("writes all anew, without a key", func(t *testing.T) {
		dir := t.TempDir()
		s, _ := open(t, at(dir, 1<<20), nil)
		s.add(t, 0, 4)
		noted := s.at
		s.stop(t)
		dir = t.TempDir()
		makeLog(t, dir, nil, true)
		report, err := Check{Known: map[uint64]string{noted.Seq: noted.Hash}}.Verify(filepath.Join(dir, "audit.log"))
		if err != nil || len(report.Problems) != 1 || !strings.Contains(report.Problems[0].Text, "made anew") {
			t.Errorf("got %v, %v", report.Problems, err)
		}
	})
}

// The report says where, in words.
func TestProblemsSayWhere(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, at(dir, 1<<20), nil)
	s.add(t, 0, 8)
	s.stop(t)
	log := readAll(t, dir)
	lines := bytes.SplitAfter(log["audit.log"], []byte("\n"))
	for _, tt := range []struct {
		name   string
		change func([][]byte) [][]byte
		want   string
	}{
		{"changed", func(l [][]byte) [][]byte {
			l[3] = bytes.Replace(l[3], []byte("nurse"), []byte("ghost"), 1)
			return l
		}, fmt.Sprintf("audit.log:4 (byte %d): line 4 was changed", len(bytes.Join(lines[:3], nil)))},
		{"missing", func(l [][]byte) [][]byte { return slices.Delete(l, 3, 5) }, "audit.log:4 (byte %d): line 6 stands after line 3: what was between is missing"},
		{"doubled", func(l [][]byte) [][]byte { return slices.Insert(l, 3, l[2]) }, "line 3 stands after line 3"},
		{"cut off", func(l [][]byte) [][]byte { return l[:7] }, "audit.log.head: knows of line 10, but the log ends with line 7: the end was cut off"},
		{"added", func(l [][]byte) [][]byte { return append(l, []byte(`{"seq":11,`)) }, "10 bytes stand after the gateway has stopped in order"},
		{"garbage", func(l [][]byte) [][]byte { return slices.Insert(l, 3, []byte("hello\n")) }, "audit.log:4 (byte %d): has not the form of a line"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := log.clone()
			changed["audit.log"] = bytes.Join(tt.change(slices.Clone(lines[:len(lines)-1])), nil)
			scratch := t.TempDir()
			changed.put(t, scratch)
			want := strings.ReplaceAll(tt.want, "%d", fmt.Sprint(len(bytes.Join(lines[:3], nil))))
			if report := verify(t, scratch); len(report.Problems) != 1 || !strings.Contains(report.Problems[0].String(), want) {
				t.Errorf("got %v, want one: %s", report.Problems, want)
			}
		})
	}
}

// Some files of a log verify by themselves, and a gap between them is found.
func TestSomeFilesOfALog(t *testing.T) {
	dir := t.TempDir()
	log := makeLog(t, dir, testKey, true)
	path := func(n int) string { return filepath.Join(dir, filepath.Base(numbered("audit.log", n))) }
	if len(log) < 5 {
		t.Fatalf("%d files", len(log))
	}
	check := Check{Keys: [][]byte{testKey}}
	if report, err := check.VerifyFiles([]string{path(3), path(2)}); err != nil || len(report.Problems) > 0 || report.Lines == 0 {
		t.Errorf("two that follow each other: %v, %v", report.Problems, err)
	}
	if report, err := check.VerifyFiles([]string{path(1), path(3)}); err != nil || len(report.Problems) == 0 {
		t.Errorf("one is missing between them: %v, %v", report.Problems, err)
	}
	if _, err := check.VerifyFiles([]string{path(1), path(900)}); err == nil {
		t.Error("a file that is not there is no error")
	}
}

// Files that rotation has deleted are not missing; others are.
func TestRotationDeletesTheOldest(t *testing.T) {
	dir := t.TempDir()
	c := at(dir, 1000)
	c.Keep = 3
	s, _ := open(t, c, nil)
	s.add(t, 0, 40)
	s.stop(t)
	log := readAll(t, dir)
	if len(log) != 4 { // with the head
		t.Errorf("got %d files, want 3 and the head", len(log))
	}
	report := wantInOrder(t, dir)
	if len(report.Notes) != 1 || !strings.Contains(report.Notes[0], "deleted by rotation") {
		t.Errorf("notes: %q", report.Notes)
	}
	names := slices.Sorted(maps.Keys(log))
	for _, name := range names[1:3] { // the full ones
		less := log.clone()
		delete(less, name)
		less.put(t, dir)
		if report := verify(t, dir); len(report.Problems) != 1 || !strings.Contains(report.Problems[0].String(), name+": file ") {
			t.Errorf("%s is deleted: %v", name, report.Problems)
		}
	}
}

// What is read is what was written, whatever a client says of itself.
func TestLinesAreJSON(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := Event{Time: sample(0).Time, What: Refused, Room: rapid.String().Draw(rt, "room"), Called: string(rapid.SliceOf(rapid.Byte()).Draw(rt, "called"))}
		e.bound()
		line, at, err := hasher{}.append(nil, point{6, genesis}, rapid.String().Draw(rt, "node"), &e)
		if err != nil {
			rt.Fatal(err)
		}
		var got struct {
			Seq        uint64
			Prev, Hash string
			Room       string
		}
		if err := json.Unmarshal(line, &got); err != nil || got.Seq != 7 || got.Prev != genesis || got.Hash != at.Hash {
			rt.Fatalf("%v: %s", err, line)
		}
		if bytes.IndexByte(line, '\n') != len(line)-1 || len(line) > maxLine {
			rt.Fatalf("not one line: %q", line)
		}
		if got.Room != strings.ToValidUTF8(e.Room, "\ufffd") {
			rt.Fatalf("room %q, want %q", got.Room, e.Room)
		}
	})
}

// made is a log of seven lines, the same in every process.
func made(t tester) (lines, headLine []byte, end point) {
	t.Helper()
	h := hasher{testKey}
	e := Event{Time: sample(0).Time, What: Opened, Opening: &Opening{File: 1, Oldest: 1, Algorithm: algKeyed, Key: KeyID(testKey)}}
	end = beginning
	var err error
	for i := range 7 {
		if lines, end, err = h.append(lines, end, "gw-1", &e); err != nil {
			t.Fatal(err)
		}
		e = sample(i)
	}
	object, err := json.Marshal(head{Seq: end.Seq, Hash: end.Hash})
	if err != nil {
		t.Fatal(err)
	}
	headLine, _ = h.seal(nil, object)
	return lines, headLine, end
}

// FuzzVerify: whatever stands in the files of a log under a key, the verifier tells it from what
// was written there.
func FuzzVerify(f *testing.F) {
	whole, head, end := made(f)
	f.Add(whole, head)
	f.Add(whole[:len(whole)-1], head)
	f.Add(append(bytes.Clone(whole), fmt.Sprintf(`{"seq":8,"prev":"%s","no`, end.Hash)...), head)
	f.Add(whole, whole)
	f.Add([]byte("{\"seq\":1,\"prev\":\""+genesis+"\",\"event\":\"opened\",\"hash\":\""+genesis+"\"}\n"), []byte{})
	f.Add(bytes.Repeat([]byte("x"), maxLine+5), []byte("\n"))
	f.Fuzz(func(t *testing.T, content, theirHead []byte) {
		scratch := t.TempDir()
		files{"audit.log": content, "audit.log.head": theirHead}.put(t, scratch)
		report, err := Check{Keys: [][]byte{testKey}}.Verify(filepath.Join(scratch, "audit.log"))
		if err != nil || len(report.Problems) > 0 {
			return
		}
		rest, ok := bytes.CutPrefix(content, whole)
		if !ok || !bytes.Equal(theirHead, head) || !beginsNext(rest, end) {
			t.Errorf("passes:\n%q\n%q", content, theirHead)
		}
	})
}
