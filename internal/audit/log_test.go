package audit

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sightline/internal/fault"
)

// start opens a log, which is closed when the test ends.
func start(t *testing.T, c Config) *Log {
	t.Helper()
	l, err := Open(c, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// eventually waits until ok, for ten seconds at most: a real disk, with nothing to wait on.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after 10 s still not: %s", what)
		}
	}
}

// events are those that a log's files have of one kind.
func events(t *testing.T, dir string, what What) []Event {
	t.Helper()
	parts, err := inOrder(filepath.Join(dir, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	var out []Event
	for _, p := range parts {
		for line := range strings.Lines(string(readFile(t, p.name))) {
			if e := eventOf([]byte(line)); e.What == what {
				out = append(out, e)
			}
		}
	}
	return out
}

// An event is on the disk within a second.
func TestEventsAreSafeWithinASecond(t *testing.T) {
	dir := t.TempDir()
	l := start(t, at(dir, 1<<20))
	for i := range 3 {
		recorded := time.Now()
		l.Record(sample(i))
		eventually(t, "the event is safe", func() bool { return l.Snapshot().Records == uint64(i+1) })
		if took := time.Since(recorded); took > time.Second {
			t.Errorf("event %d was safe after %v", i, took)
		}
	}
	if got := events(t, dir, Watched); len(got) != 3 || got[2].Session != "s2" {
		t.Errorf("got %+v", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.Record(sample(9)) // lost, and no panic
	report := wantInOrder(t, dir)
	if got := events(t, dir, Stopped); len(got) != 1 || report.Lines != 5 {
		t.Errorf("%d stops, %d lines", len(got), report.Lines)
	}
}

func TestManyRecordAtOnce(t *testing.T) {
	dir := t.TempDir()
	l := start(t, at(dir, minSize))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				l.Record(sample(i*200 + j))
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantInOrder(t, dir)
	seen := make(map[string]bool)
	for _, e := range events(t, dir, Watched) {
		seen[e.Session] = true
	}
	if len(seen) != 1600 {
		t.Errorf("got %d events, want 1600", len(seen))
	}
}

// A log that can't be written refuses sessions or not, as configured; events wait for it, and those
// for which there is no place are counted in it.
func TestALogThatCannotBeWritten(t *testing.T) {
	for _, mode := range []string{Refuse, Alarm} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			c := at(dir, 1<<20)
			c.OnFailure = mode
			l := start(t, c)
			l.Record(sample(0))
			eventually(t, "the first event is safe", func() bool { return l.Snapshot().Records == 1 })
			aside := filepath.Join(dir, "aside")
			if err := os.Rename(c.File, aside); err != nil {
				t.Fatal(err)
			}
			l.Record(sample(1))
			eventually(t, "it fails", func() bool { return l.Failure() != nil })
			err := l.Admit()
			if refused := fault.KindOf(err) == fault.Unavailable; refused != (mode == Refuse) {
				t.Errorf("Admit: %v", err)
			}
			const many = maxQueue + 50
			for i := range many {
				l.Record(sample(2 + i))
			}
			if s := l.Snapshot(); !s.Failed || s.Lost == 0 || s.Waiting > maxQueue {
				t.Errorf("%+v", s)
			}
			if err := os.Rename(aside, c.File); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is written again", func() bool { return l.Failure() == nil && l.Snapshot().Waiting == 0 })
			if err := l.Admit(); err != nil {
				t.Errorf("Admit: %v", err)
			}
			lost := l.Snapshot().Lost
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			wantInOrder(t, dir)
			said := events(t, dir, Lost)
			if len(said) != 1 || said[0].Count != lost || said[0].From.IsZero() {
				t.Errorf("the log says %+v, lost were %d", said, lost)
			}
			if got := len(events(t, dir, Watched)); got != many+2-int(lost) {
				t.Errorf("%d events are there, %d lost, want %d", got, lost, many+2)
			}
		})
	}
}

// A disk that hangs holds nobody up, and counts as one that fails.
func TestADiskThatTakesNothing(t *testing.T) {
	l := &Log{config: at(t.TempDir(), 1<<20), wake: make(chan struct{}, 1)} // nobody writes
	l.Record(sample(0))
	if err := l.Admit(); err != nil {
		t.Errorf("at once: %v", err)
	}
	l.mu.Lock()
	l.since = time.Now().Add(-maxDelay - time.Second)
	l.mu.Unlock()
	if err := l.Admit(); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("after %v: %v", maxDelay, err)
	}
}

func TestALogThatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := at(filepath.Join(file, "below"), 1<<20)
	if _, err := Open(c, quiet); err == nil || !strings.HasPrefix(err.Error(), "audit.file: ") {
		t.Errorf("refuse: %v", err)
	}
	c.OnFailure = Alarm
	l := start(t, c)
	if l.Failure() == nil || l.Admit() != nil {
		t.Errorf("alarm: %v, %v", l.Failure(), l.Admit())
	}
	l.Record(sample(0))
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is written", func() bool { return l.Failure() == nil && l.Snapshot().Records == 1 })
}

func TestWithoutAFileNothingIsRecorded(t *testing.T) {
	l := start(t, Defaults())
	l.Record(sample(0))
	if s := l.Snapshot(); l.On() || l.Speech() || s.Waiting > 0 || l.Admit() != nil {
		t.Errorf("%+v", s)
	}
	if _, err := l.Read(t.Context(), Query{Limit: 1}); fault.KindOf(err) != fault.NotFound {
		t.Errorf("Read: %v", err)
	}
}

// Guessing does not fill the disk, and no guess is uncounted.
func TestRefusalsAreSummedUp(t *testing.T) {
	for _, tt := range []struct {
		name    string
		address func(int) string
	}{
		{"from one address", func(int) string { return "192.0.2.1" }},
		{"from one IPv6 network", func(i int) string { return fmt.Sprintf("2001:db8::%x", i) }},
		{"from many addresses", func(i int) string { return fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r refusals
			now, lines, total := time.Unix(1e9, 0), 0, uint64(0)
			count := func(flushed []Event) {
				for _, e := range flushed {
					lines++
					total += max(e.Count, 1)
				}
			}
			const seconds, each = 600, 100
			for s := range seconds {
				for i := range each {
					r.add(Event{What: Refused, Time: now, Cause: "unauthenticated", Who: Who{Address: tt.address(s*each + i)}})
				}
				if len(r.alike) > maxAlike {
					t.Fatalf("keeps %d kinds", len(r.alike))
				}
				now = now.Add(time.Second)
				count(r.flush(now, false))
			}
			count(r.flush(now, true))
			if total != seconds*each {
				t.Errorf("%d are counted, want %d", total, seconds*each)
			}
			if most := budgetBurst + (budgetSecond+1)*(seconds+1); lines > most {
				t.Errorf("%d lines, want at most %d", lines, most)
			}
		})
	}
}

// Nor do the longest texts that a stranger can send drive older events out in a day.
func TestRefusalsOfADayAreBounded(t *testing.T) {
	var r refusals
	var lines []byte
	h, last, now := hasher{}, beginning, time.Unix(1e9, 0)
	r.flush(now, true)
	const seconds, most = 1200, 450 << 20 // bytes a day, as docs/SECURITY.md says
	for range seconds * 5 {
		for i := range 8 {
			e := Event{What: Refused, Time: now, Cause: "unauthenticated", Request: "DELETE /api/rooms/:room/publishers/:publisher"}
			e.Room, e.Publisher = strings.Repeat("\x01", 500), fmt.Sprint(i)+strings.Repeat("<", 500)
			e.Address, e.Agent = "2001:db8:1234:1234:1234:1234:1234:1234", strings.Repeat("&", 500)
			e.bound()
			r.add(e)
		}
		now = now.Add(commitInterval)
		for _, e := range r.flush(now, false) {
			lines, last, _ = h.append(lines, last, "gateway-1", &e)
		}
	}
	if day := len(lines) * 86400 / seconds; day > most {
		t.Errorf("%d MiB a day in %d lines of %d bytes, want at most %d", day>>20, last.Seq, len(lines)/int(last.Seq), most>>20)
	}
}

func TestOneRefusalIsALineOfItsOwn(t *testing.T) {
	var r refusals
	r.add(Event{What: Refused, Time: time.Unix(1e9, 0), Room: "mri-1", Who: Who{Address: "192.0.2.1"}})
	got := r.flush(time.Unix(1e9, 0), true)
	if len(got) != 1 || got[0].Count != 0 || !got[0].From.IsZero() || got[0].Room != "mri-1" {
		t.Errorf("got %+v", got)
	}
}

// A reader gets every line once, over all files, while the log is written.
func TestReadingPageByPage(t *testing.T) {
	dir := t.TempDir()
	l := start(t, at(dir, minSize))
	const n = 1000
	go func() {
		for i := range n {
			l.Record(sample(i))
			time.Sleep(time.Millisecond) // so that rotations come in between
		}
	}()
	next := uint64(0)
	var got []uint64
	sessions := make(map[string]int)
	eventually(t, "all are read", func() bool {
		page, err := l.Read(t.Context(), Query{After: next, Limit: 37})
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range page.Lines {
			var e struct {
				Seq     uint64
				Session string
			}
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Seq)
			if e.Session != "" {
				sessions[e.Session]++
			}
		}
		next = page.Next
		return len(sessions) == n
	})
	for i, seq := range got {
		if seq != uint64(i+1) {
			t.Fatalf("line %d is %d", i, seq)
		}
	}
	if parts, err := inOrder(filepath.Join(dir, "audit.log")); err != nil || len(parts) < 3 {
		t.Errorf("%d files, %v", len(parts), err)
	}
}

// A file that is full is renamed, and the next one is created, and then written.
func TestReadingWhileAFileIsBegun(t *testing.T) {
	dir := t.TempDir()
	c := at(dir, 1<<20)
	s, _ := open(t, c, nil)
	s.add(t, 0, 4)
	l := &Log{config: c, log: quiet, written: s.at}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	read := func(when string) {
		t.Helper()
		page, err := l.Read(t.Context(), Query{Limit: MaxLimit})
		if err != nil || page.Next != l.written.Seq || !page.End {
			t.Errorf("%s: read up to line %d of %d: %v", when, page.Next, l.written.Seq, err)
		}
	}
	read("before")
	if err := os.Rename(c.File, numbered(c.File, 1)); err != nil {
		t.Fatal(err)
	}
	read("renamed")
	if err := os.WriteFile(c.File, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	read("created")
}

// A page goes on where the one before ended, however far into a file that is.
func TestReadingALargeFile(t *testing.T) {
	dir := t.TempDir()
	c := at(dir, 64<<20)
	s, _ := open(t, c, nil)
	batch := make([]Event, 1000)
	for i := range batch {
		batch[i] = sample(i)
		batch[i].Detail = strings.Repeat("x", maxText)
	}
	for s.size < maxScan+4<<20 {
		if err := s.write(batch, false); err != nil {
			t.Fatal(err)
		}
	}
	last := s.at.Seq
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	l := start(t, c)
	for next := uint64(0); next < last; {
		page, err := l.Read(t.Context(), Query{After: next, Limit: MaxLimit, Since: sample(0).Time})
		if err != nil {
			t.Fatal(err)
		}
		if page.Next == next {
			t.Fatalf("the page after line %d has %d lines and goes on after line %d, end %t", next, len(page.Lines), page.Next, page.End)
		}
		if first, _, _ := place(page.Lines[0]); first != next+1 || len(page.Lines) != int(page.Next-next) {
			t.Fatalf("the page after line %d has %d lines from %d to %d", next, len(page.Lines), first, page.Next)
		}
		next = page.Next
	}
}

// Lines of any length are found again.
func TestSeekingALine(t *testing.T) {
	dir := t.TempDir()
	c := at(dir, 64<<20)
	s, _ := open(t, c, nil)
	for i := range 300 {
		e := sample(i)
		e.Detail = strings.Repeat("<", i*i%2600) // up to nearly the longest line
		if err := s.write([]Event{e}, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(c.File)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for after := range uint64(310) {
		if err := seek(f, after); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReaderSize(f, maxLine).ReadSlice('\n')
		if seq, _, ok := place(line); err != nil || !ok || seq > after+1 || seq+200 < min(after, 300) {
			t.Errorf("after %d: reading goes on at line %d, %v", after, seq, err)
		}
	}
}

func TestReadingWhatIsAskedFor(t *testing.T) {
	dir := t.TempDir()
	l := start(t, at(dir, 1<<20))
	for i := range 30 {
		l.Record(sample(i))
	}
	eventually(t, "all are safe", func() bool { return l.Snapshot().Records == 30 })
	minute := sample(0).Time
	for _, tt := range []struct {
		name string
		q    Query
		want int
		end  bool
	}{
		{"all", Query{Limit: 100}, 31, true},
		{"some", Query{Limit: 10}, 10, false},
		{"a room", Query{Limit: 100, Room: "mri-1"}, 10, true},
		{"since", Query{Limit: 100, Room: "mri-1", Since: minute.Add(10 * time.Second)}, 7, true},
		{"until", Query{Limit: 100, Until: minute.Add(10 * time.Second)}, 11, true},
		{"what may be seen", Query{Limit: 100, May: func(room, publisher string) bool { return room == "mri-2" && publisher == "console" }}, 10, true},
		{"after the end", Query{Limit: 100, After: 31}, 0, true},
		{"far after the end", Query{Limit: 100, After: 1e6}, 0, true},
	} {
		page, err := l.Read(t.Context(), tt.q)
		if err != nil || len(page.Lines) != tt.want || page.End != tt.end {
			t.Errorf("%s: %d lines, end %t, %v; want %d, %t", tt.name, len(page.Lines), page.End, err, tt.want, tt.end)
		}
	}
	gone, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the client has gone")
	cancel(reason)
	if _, err := l.Read(gone, Query{Limit: 100}); !errors.Is(err, reason) {
		t.Errorf("a reader that has gone: %v", err)
	}
}

func TestKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	for text, ok := range map[string]bool{"": false, "short\n": false, strings.Repeat(" ", 40): false, strings.Repeat("k", 32) + "\n": true} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadKey(path); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	c := at(t.TempDir(), 1<<20)
	c.KeyFile = path + "x"
	if _, err := Open(c, quiet); err == nil || !strings.HasPrefix(err.Error(), "audit.key_file: ") {
		t.Errorf("no such file: %v", err)
	}
}

func TestConfigIsValidated(t *testing.T) {
	c := Config{KeyFile: "key", MaxSize: 5, Keep: 1, OnFailure: "panic", Node: strings.Repeat("n", 200)}
	err := c.Validate()
	for _, want := range []string{
		"audit.max_size: must be 65536 bytes or more, got 5",
		"audit.keep: must be 0 (all files) or between 2 and 999999, got 1",
		`audit.on_failure: must be "refuse" or "alarm", got "panic"`,
		"audit.node: ", "audit.key_file: is of no use without audit.file",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing says %s", want)
		}
	}
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
}

// The cost of Record, which sessions and the heart pay.
func BenchmarkRecord(b *testing.B) {
	l := &Log{config: at("unused", 1<<20), wake: make(chan struct{}, 1), log: slog.New(slog.DiscardHandler)}
	e := sample(0)
	b.ReportAllocs()
	for b.Loop() {
		if len(l.queue) == maxQueue {
			l.queue = l.queue[:0]
		}
		l.Record(e)
	}
}

// The cost of a batch on the disk: lines hashed, written, synced, and the head.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, maxBatch} {
		b.Run(fmt.Sprintf("%d events", n), func(b *testing.B) {
			s, _ := open(b, at(b.TempDir(), 1<<30), testKey)
			defer s.close()
			batch := make([]Event, n)
			for i := range batch {
				batch[i] = sample(i)
			}
			for b.Loop() {
				if err := s.write(batch, false); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/event")
		})
	}
}

// How fast a log is verified.
func BenchmarkVerify(b *testing.B) {
	dir := b.TempDir()
	s, _ := open(b, at(dir, 1<<30), testKey)
	batch := make([]Event, maxBatch)
	for i := range batch {
		batch[i] = sample(i)
	}
	for range 20 {
		if err := s.write(batch, false); err != nil {
			b.Fatal(err)
		}
	}
	s.stop(b)
	b.SetBytes(s.size)
	for b.Loop() {
		wantInOrder(b, dir, testKey)
	}
}
