package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// A store is the log on disk, open for writing. One goroutine uses it.
type store struct {
	path    string
	node    string
	maxSize int64
	keep    int
	hash    hasher
	log     *slog.Logger

	lock   *os.File
	file   *os.File
	size   int64 // of file, as far as it is right
	number int   // of file
	oldest int   // file that is kept
	at     point // the last line
	dirty  bool  // there may be more than size in file
}

// openStore opens the log that the configuration names, or begins it. A log that ends with
// half a line, or without a stop, has been cut short by the end of its gateway: recovered is
// then what the log has to say of it. The error says what is wrong with the log, and what
// to do.
func openStore(c Config, node string, key []byte, log *slog.Logger) (s *store, recovered *Event, err error) {
	if err := os.MkdirAll(filepath.Dir(c.File), 0o700); err != nil {
		return nil, nil, err
	}
	s = &store{path: c.File, node: node, maxSize: c.MaxSize, keep: c.Keep, hash: hasher{key}, log: log, number: 1, oldest: 1, at: beginning}
	if s.lock, err = lock(c.File); err != nil {
		return nil, nil, err
	}
	if recovered, err = s.resume(); err != nil {
		s.close()
		return nil, nil, err
	}
	return s, recovered, nil
}

// resume finds the end of what is there, and opens it.
func (s *store) resume() (*Event, error) {
	numbers, err := full(s.path)
	if err != nil {
		return nil, err
	}
	last := 0
	if len(numbers) > 0 {
		last = numbers[len(numbers)-1]
	}
	// A log without a key may come under one; the other way it would lose its proof.
	at, err := readHead(s.path, s.hash, hasher{})
	if err != nil && !errors.Is(err, errNoHead) {
		return nil, s.broken("%v", err)
	}
	found := &at
	if err != nil {
		found = nil
	}
	t, err := s.scanTail(s.path, at.Seq)
	if err != nil {
		return nil, err
	}
	if t == nil || t.lines == 0 {
		return s.between(t, last, found)
	}
	if err := s.agree(t, found); err != nil {
		return nil, err
	}
	return s.carryOn(t)
}

// between begins a file where there is none, or one without a whole line: the gateway died
// between two files, or never ran. last is the last full file, 0 for none.
func (s *store) between(cut *tail, last int, at *head) (recovered *Event, err error) {
	var t *tail
	if last > 0 {
		want := uint64(0)
		if at != nil {
			want = at.Seq
		}
		if t, err = s.scanTail(numbered(s.path, last), want); err != nil {
			return nil, err
		}
	}
	if err := s.agree(t, at); err != nil {
		return nil, err
	}
	if t != nil {
		if t.wrong != "" {
			return nil, s.broken("in file %d %s", last, t.wrong)
		}
		s.at, s.number, s.oldest = t.at, t.opening.File+1, t.opening.Oldest
		recovered = &Event{What: Recovered}
	}
	if cut != nil {
		recovered = &Event{What: Recovered, Bytes: uint64(cut.rest)}
		if err := os.Remove(s.path); err != nil {
			return nil, err
		}
	}
	return recovered, s.begin()
}

// carryOn opens the file that a scan has found in order, as far as it goes.
func (s *store) carryOn(t *tail) (*Event, error) {
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	s.file, s.size, s.at = f, t.offset, t.at
	s.number, s.oldest = t.opening.File, t.opening.Oldest
	var recovered *Event
	if t.rest > 0 || t.last != Stopped {
		recovered = &Event{What: Recovered, Bytes: uint64(t.rest)}
	}
	if t.rest > 0 {
		if err := f.Truncate(t.offset); err != nil {
			return nil, err
		}
	}
	if t.opening.Algorithm == s.hash.algorithm() {
		return recovered, nil
	}
	// From here on it is under the key, and so is its head, before there is a line that is.
	if err := writeHead(s.path, s.hash, head{Seq: s.at.Seq, Hash: s.at.Hash}); err != nil {
		return nil, err
	}
	return recovered, s.rotate()
}

// agree checks that the end that was found is not before the one that the head knows of.
func (s *store) agree(t *tail, at *head) error {
	switch {
	case t == nil || t.lines == 0:
		if at != nil {
			return s.broken("the head file knows of line %d, but there is no line", at.Seq)
		}
		return nil
	case at == nil && t.at.Seq > 1:
		return s.broken("the head file is gone")
	case at == nil:
		return nil
	case t.opening.Algorithm == algKeyed && !at.keyed:
		return s.broken("the head file is not under the key")
	case t.at.Seq < at.Seq && t.wrong != "":
		return s.broken("%s, and the head file knows of line %d", t.wrong, at.Seq)
	case t.at.Seq < at.Seq:
		return s.broken("it ends with line %d, and the head file knows of line %d", t.at.Seq, at.Seq)
	case at.Seq+1 < t.first:
		return s.broken("its last file begins with line %d, and the head file knows of none after %d", t.first, at.Seq)
	case t.known != at.Hash:
		return s.broken("line %d is not the one that the head file knows of", at.Seq)
	}
	return nil
}

func (s *store) broken(format string, args ...any) error {
	return fmt.Errorf("%s does not verify: %s: see `sightline audit verify %s`; move it away, with the files beside it, and a new log is begun",
		s.path, fmt.Sprintf(format, args...), s.path)
}

// begin creates the file that is written next, with the line that opens it.
func (s *store) begin() error {
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	oldest := s.oldest
	if s.keep > 0 {
		oldest = max(oldest, s.number-s.keep+1)
	}
	e := Event{Time: stamp(time.Now()), What: Opened, Opening: &Opening{
		File: s.number, Oldest: oldest, Algorithm: s.hash.algorithm(), Key: KeyID(s.hash.key),
	}}
	line, at, err := s.hash.append(nil, s.at, s.node, &e)
	if err == nil {
		_, err = f.Write(line)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = syncDir(s.path)
	}
	if err == nil {
		err = writeHead(s.path, s.hash, head{Seq: at.Seq, Hash: at.Hash})
	}
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(s.path))
	}
	s.file, s.size, s.at, s.oldest, s.dirty = f, int64(len(line)), at, oldest, false
	if err := s.prune(); err != nil {
		s.log.Warn("old files of the audit log can't be deleted", "err", err)
	}
	return nil
}

// prune deletes the files that are kept no longer: the opening of the file that is written
// says so already.
func (s *store) prune() error {
	numbers, err := full(s.path)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if n < s.oldest {
			if err := os.Remove(numbered(s.path, n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// rotate ends the file that is written and begins the next one.
func (s *store) rotate() error {
	next := numbered(s.path, s.number)
	switch there, err := exists(next); {
	case err != nil:
		return err
	case there:
		return s.broken("%s is there already", next)
	case s.number >= maxFiles:
		return s.broken("it has %d files, which is the most there can be", maxFiles)
	}
	err := errors.Join(s.file.Sync(), s.file.Close())
	s.file = nil
	if err == nil {
		err = os.Rename(s.path, next)
	}
	if err != nil {
		return err
	}
	s.number++
	return s.begin()
}

// write adds events and returns once they are on the disk. After an error none of them is:
// write them again. clean says that nothing will follow but a start.
func (s *store) write(events []Event, clean bool) error {
	if err := s.ready(); err != nil {
		return err
	}
	if s.size >= s.maxSize {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	var lines []byte
	at := s.at
	for i := range events {
		var err error
		if lines, at, err = s.hash.append(lines, at, s.node, &events[i]); err != nil {
			return err
		}
	}
	s.dirty = true
	if _, err := s.file.WriteAt(lines, s.size); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	if err := writeHead(s.path, s.hash, head{Seq: at.Seq, Hash: at.Hash, Clean: clean}); err != nil {
		return err
	}
	s.size, s.at, s.dirty = s.size+int64(len(lines)), at, false
	return nil
}

// ready makes the file what it was before a write that failed, and checks that it is still
// the one that was left there.
func (s *store) ready() error {
	if s.file == nil {
		return errStale
	}
	mine, err := s.file.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(s.path)
	if err != nil || !os.SameFile(mine, there) {
		return fmt.Errorf("%s was moved or deleted while the gateway writes it: %w", s.path, errStale)
	}
	if mine.Size() < s.size || mine.Size() > s.size && !s.dirty {
		return fmt.Errorf("%s was changed by somebody else: it has %d bytes, must have %d: %w", s.path, mine.Size(), s.size, errStale)
	}
	if mine.Size() > s.size {
		return s.file.Truncate(s.size)
	}
	return nil
}

// errStale says that what is on the disk has to be looked at anew.
var errStale = errors.New("the log has to be opened anew")

func (s *store) close() error {
	var err error
	if s.file != nil {
		err = s.file.Close()
	}
	return errors.Join(err, s.lock.Close())
}

// A tail is what a scan of the log's last file has found.
type tail struct {
	opening Opening
	lines   int
	first   uint64 // seq of the first line
	at      point  // the last line that is in order
	known   string // hash of the line that was asked for, or before the first
	last    What
	offset  int64  // where the lines that are in order end
	rest    int64  // bytes after that
	wrong   string // what is wrong with them
}

// scanTail reads a file up to its end, or to the first line that is not in order, and notes
// the hash of the line known. It is nil if there is no such file.
func (s *store) scanTail(path string, known uint64) (*tail, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	t := &tail{}
	hash := s.hash
	var last []byte
	for r := bufio.NewReaderSize(f, maxLine); ; {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if len(line) > 0 && t.lines == 0 {
			if hash, err = s.opening(t, line); err != nil {
				return nil, err
			}
		}
		if len(line) > 0 {
			t.wrong = t.take(line, hash, known)
		}
		if len(line) == 0 || t.wrong != "" {
			t.last, t.rest = eventOf(last).What, info.Size()-t.offset
			return t, nil
		}
		last = append(last[:0], line...)
	}
}

// opening reads a file's first line as far as is needed to know how to verify it. What is
// no opening is left for take to complain of.
func (s *store) opening(t *tail, line []byte) (hasher, error) {
	o := eventOf(line).Opening
	if o == nil {
		return s.hash, nil
	}
	t.opening = *o
	mine := KeyID(s.hash.key)
	switch {
	case o.Algorithm == algPlain:
		return hasher{}, nil
	case o.Key == mine:
		return s.hash, nil
	case mine == "":
		return s.hash, fmt.Errorf("%s is under a key (%s): audit.key_file must name it; or move the log away, with the files beside it, and a new one is begun", s.path, o.Key)
	}
	return s.hash, fmt.Errorf("%s is under the key %s, audit.key_file has %s: move the log away, with the files beside it, and a new one is begun", s.path, o.Key, mine)
}

// take adds a line, or says what is wrong with it.
func (t *tail) take(line []byte, hash hasher, known uint64) (wrong string) {
	body, sum, ok := unseal(line)
	seq, prev, placed := place(line)
	switch {
	case !ok || !placed:
		return fmt.Sprintf("after line %d comes something else than a line", t.at.Seq)
	case hash.sum(body) != sum:
		return fmt.Sprintf("line %d has not the hash that it says", seq)
	case t.lines == 0 && t.opening.File == 0:
		return "the first line does not open a file"
	case t.lines == 0:
		t.first = seq
		if seq == known+1 {
			t.known = prev
		}
	case seq != t.at.Seq+1 || prev != t.at.Hash:
		return fmt.Sprintf("line %d does not follow line %d", seq, t.at.Seq)
	}
	t.at = point{seq, sum}
	if seq == known {
		t.known = sum
	}
	t.lines++
	t.offset += int64(len(line))
	return ""
}
