package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// maxNodes is how many gateways a report names.
const maxNodes = 16

// maxProblems is how many problems a report tells one by one.
const maxProblems = 100

// A Report is what Verify has found.
type Report struct {
	Files    []Checked
	Lines    uint64
	Last     uint64   // seq of the last line
	Hash     string   // of the last line
	Keyed    bool     // the last file is under a key
	Nodes    []string // whose lines they are, in the order of their first ones; at most maxNodes
	Problems []Problem
	Further  int      // problems that are not told
	Notes    []string // what is in order, but should be known
}

// Checked is a file that was looked at.
type Checked struct {
	Name        string
	Number      int // by its first line; 0 if that is none
	First, Last uint64
	Since, Till time.Time
	Problems    int
}

// A Problem is one place where a log is not as it was written.
type Problem struct {
	File   string
	Line   int   // of the file, from 1; 0: all of it
	Offset int64 // byte at which the line begins
	Text   string
}

func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d (byte %d): %s", p.File, p.Line, p.Offset, p.Text)
}

// A Check says what to verify with.
type Check struct {
	Keys [][]byte // that the log may be under; with one or more its last file has to be

	// Known are hashes of lines, by seq, that were noted elsewhere. These lines must be there.
	Known map[uint64]string

	// Node is the gateway whose lines all have to be; "": any. The nodes of a cluster that have one key
	// could be given each other's logs.
	Node string
}

// Verify reads the log at path, with all files that belong to it. A gateway may be writing it.
// The error is of reading: a log that is not right is in the report.
func (c Check) Verify(path string) (Report, error) {
	for try := 1; ; try++ {
		v := c.verifier()
		err := v.all(path)
		// A rotation may have come in between.
		if err == nil && (len(v.report.Problems) == 0 || try == 3 || !inUse(path)) || err != nil && try == 3 {
			return v.done(), err
		}
	}
}

// VerifyFiles reads some files of a log, in the order of their numbers: those between which
// nothing is missing. Whether there was something before or after them can't be told.
func (c Check) VerifyFiles(names []string) (Report, error) {
	v := c.verifier()
	v.some = true
	var parts []part
	for _, name := range names {
		p, err := readPart(name)
		if errors.Is(err, fs.ErrNotExist) {
			return Report{}, err
		}
		p.name = name
		parts = append(parts, p)
	}
	slices.SortStableFunc(parts, func(a, b part) int { return a.opening.File - b.opening.File })
	for i, p := range parts {
		number := p.opening.File
		if i > 0 {
			number = parts[i-1].opening.File + 1
		}
		if err := v.file(p.name, number, i == len(parts)-1); err != nil {
			return v.done(), err
		}
	}
	v.note("only these files were looked at: what was before and after them can't be told")
	return v.done(), nil
}

// Logs returns the paths of the logs in a directory.
func Logs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), headSuffix); ok {
			out = append(out, filepath.Join(dir, name))
		}
	}
	return out, nil
}

// A verifier follows the chain.
type verifier struct {
	check  Check
	path   string   // of a whole log
	hashes []hasher // all that there are
	report Report
	some   bool // not all of the log is there

	at     point
	begun  bool   // there was a line
	blind  bool   // what the last line was can't be told: the next one is believed
	newest []byte // the last one that follows
	node   []byte // that it says it is of, as JSON
	hash   hasher
	unread bool            // the file is under a key that was not given
	oldest int             // the oldest file that has to be there, as the files say
	noted  map[uint64]bool // of Check.Known, those that were met
	head   *head
	met    string // hash of the line that the head names

	now   *Checked // that is read
	line  int
	start int64
}

func (c Check) verifier() *verifier {
	v := &verifier{check: c, at: beginning, noted: make(map[uint64]bool)}
	for _, key := range c.Keys {
		v.hashes = append(v.hashes, hasher{key})
	}
	v.hashes = append(v.hashes, hasher{})
	return v
}

func (v *verifier) note(format string, args ...any) {
	v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, args...))
}

// wrong adds a problem of a file as a whole, or of the line that is looked at.
func (v *verifier) wrong(p Problem) {
	if v.now != nil && p.File == v.now.Name {
		v.now.Problems++
	}
	if len(v.report.Problems) >= maxProblems {
		v.report.Further++
		return
	}
	v.report.Problems = append(v.report.Problems, p)
}

func (v *verifier) wrongLine(format string, args ...any) {
	v.wrong(Problem{v.now.Name, v.line, v.start, fmt.Sprintf(format, args...)})
}

func (v *verifier) done() Report {
	v.report.Last, v.report.Hash = v.at.Seq, v.at.Hash
	for seq := range v.check.Known {
		if !v.noted[seq] {
			v.wrong(Problem{File: "the log", Text: fmt.Sprintf("line %d, whose hash was noted elsewhere, is not there", seq)})
		}
	}
	return v.report
}

// all reads a whole log. The head is read first: it is never ahead of the lines.
func (v *verifier) all(path string) error {
	v.path = path
	headErr := v.readHead(path)
	numbers, err := full(path)
	if err != nil {
		return err
	}
	open, err := exists(path)
	if err != nil {
		return err
	}
	if len(numbers) == 0 && !open {
		return fmt.Errorf("there is no log at %s", path)
	}
	expected := 0
	for i, n := range numbers {
		if i > 0 && n != expected {
			v.missing(path, expected, n-1)
		}
		if err := v.file(numbered(path, n), n, !open && i == len(numbers)-1); err != nil {
			return err
		}
		expected = n + 1
	}
	if open {
		if err := v.file(path, expected, true); err != nil {
			return err
		}
	} else {
		v.note("the gateway ended between two files: %s is not there yet", path)
	}
	v.checkOldest(path)
	v.checkHead(path, headErr)
	if n := len(v.report.Files); len(v.check.Keys) > 0 && n > 0 && !v.report.Keyed {
		v.wrong(Problem{File: v.report.Files[n-1].Name, Text: "is not under a key: whoever can write it can have made it up"})
	}
	return nil
}

func (v *verifier) readHead(path string) error {
	h, err := readHead(path, v.hashes...)
	if err == nil {
		v.head = &h
	}
	return err
}

func (v *verifier) missing(path string, from, to int) {
	what := fmt.Sprintf("file %d is missing", from)
	if to > from {
		what = fmt.Sprintf("files %d to %d are missing", from, to)
	}
	v.wrong(Problem{File: numbered(path, from), Text: what})
	v.blind = true // said once is enough
}

// checkOldest holds the first file that is there against what later ones say was deleted.
func (v *verifier) checkOldest(path string) {
	first := v.report.Files[0].Number
	if first > max(v.oldest, 1) {
		v.missing(path, max(v.oldest, 1), first-1)
	}
	if first > 1 && first <= v.oldest {
		v.note("files 1 to %d were deleted by rotation (audit.keep), with lines 1 to %d", first-1, v.report.Files[0].First-1)
	}
}

// checkHead holds the end of the log against its head.
func (v *verifier) checkHead(path string, err error) {
	name := path + headSuffix
	bad := func(format string, args ...any) {
		v.wrong(Problem{File: name, Text: fmt.Sprintf(format, args...)})
	}
	h := v.head
	switch {
	case errors.Is(err, errNoHead) && v.at.Seq <= 1 && !v.some:
		v.note("the gateway ended before it had written the head file")
	case errors.Is(err, errNoHead):
		bad("is missing: lines may have been cut off at the end")
	case err != nil:
		bad("%v", err)
	case v.report.Keyed && !h.keyed:
		bad("is not under the key that the log is under")
	case h.Seq > v.at.Seq:
		bad("knows of line %d, but the log ends with line %d: the end was cut off", h.Seq, v.at.Seq)
	case v.met != h.Hash:
		bad("knows of another line %d than the log has", h.Seq)
	case h.Clean && h.Seq < v.at.Seq:
		bad("says that the gateway stopped in order with line %d, but there are %d lines after it", h.Seq, v.at.Seq-h.Seq)
	case h.Seq < v.at.Seq:
		v.note("the last %d lines were written as the gateway ended, or just now: the head file knows of line %d", v.at.Seq-h.Seq, h.Seq)
	}
}

// file reads a file, which must have the number. last says that none follows.
func (v *verifier) file(name string, number int, last bool) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	v.report.Files = append(v.report.Files, Checked{Name: name})
	v.now, v.line, v.start = &v.report.Files[len(v.report.Files)-1], 0, 0
	for r := bufio.NewReaderSize(f, maxLine); ; {
		line, err := r.ReadSlice('\n')
		v.line++
		switch {
		case err == nil && v.line == 1:
			v.opening(line, number)
			v.take(line)
		case err == nil:
			v.take(line)
		case errors.Is(err, bufio.ErrBufferFull):
			v.wrongLine("is longer than %d bytes", maxLine)
			v.blind = true
			n, err := skipLine(r)
			v.start += n
			if err != nil {
				return err
			}
		case errors.Is(err, io.EOF):
			v.end(line, number, last)
			return nil
		default:
			return fmt.Errorf("%s: %w", name, err)
		}
		v.start += int64(len(line))
	}
}

// skipLine reads on to the next line, and returns how many bytes there were.
func skipLine(r *bufio.Reader) (n int64, err error) {
	for {
		rest, err := r.ReadSlice('\n')
		n += int64(len(rest))
		switch {
		case err == nil, errors.Is(err, io.EOF):
			return n, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return n, err
		}
	}
}

// opening reads the first line of a file: how to verify it, and which one it is. A number of 0
// is any.
func (v *verifier) opening(line []byte, number int) {
	o := eventOf(line).Opening
	v.hash, v.unread = hasher{}, false
	if o == nil {
		v.wrongLine("does not open the file: the first lines are missing, or were changed")
		v.blind = true
		v.now.Number = number
		v.unread = len(v.check.Keys) > 0 // it can't be told which
		return
	}
	v.now.Number = o.File
	v.oldest = max(v.oldest, o.Oldest)
	switch {
	case number == 0 || o.File == number:
	case o.File > number && number > 1 && v.now.Name == v.path:
		v.missing(v.path, number, o.File-1)
	default:
		v.wrongLine("says that it is file %d, must be %d", o.File, number)
	}
	switch {
	case o.Algorithm == algPlain && v.report.Keyed:
		v.wrongLine("is not under a key, though the file before is")
		v.report.Keyed = false
	case o.Algorithm == algPlain:
	case o.Algorithm == algKeyed:
		v.report.Keyed, v.unread = true, true
		for _, h := range v.hashes {
			if h.key != nil && KeyID(h.key) == o.Key {
				v.hash, v.unread = h, false
			}
		}
		if v.unread {
			v.wrongLine("is under the key %q, which is not among those given: it can't be verified", clip(o.Key, 16))
		}
	default:
		v.wrongLine("says that it is hashed by %q, which is not known", clip(o.Algorithm, 32))
		v.unread = true
	}
}

// take follows the chain by one line.
func (v *verifier) take(line []byte) {
	body, sum, ok := unseal(line)
	seq, prev, placed := place(line)
	if !ok || !placed {
		v.wrongLine("has not the form of a line: it was changed, or is from elsewhere")
		v.blind = true
		return
	}
	if !v.unread && v.hash.sum(body) != sum {
		v.wrongLine("line %d was changed: it has not the hash that it says", seq)
		v.blind = true
		return
	}
	if !v.follows(seq, prev) {
		return
	}
	v.at, v.begun, v.blind = point{seq, sum}, true, false
	v.report.Lines++
	v.newest = append(v.newest[:0], line...)
	v.checkNode(rawNode(line))
	if v.now.First == 0 {
		v.now.First, v.now.Since = seq, eventOf(line).Time
	}
	v.now.Last = seq
	if v.head != nil && v.head.Seq == seq {
		v.met = sum
	}
	if known, ok := v.check.Known[seq]; ok {
		v.noted[seq] = true
		if known != sum {
			v.wrongLine("line %d has another hash than was noted elsewhere: the log was made anew", seq)
		}
	}
}

// checkNode looks at whose a line is, where that is another than of the one before.
func (v *verifier) checkNode(raw []byte) {
	if v.begun && v.report.Lines > 1 && bytes.Equal(raw, v.node) {
		return
	}
	v.node = append(v.node[:0], raw...)
	var name string
	_ = json.Unmarshal(raw, &name) // "" if it says none
	if !slices.Contains(v.report.Nodes, name) && len(v.report.Nodes) < maxNodes {
		v.report.Nodes = append(v.report.Nodes, name)
	}
	if v.check.Node != "" && name != v.check.Node {
		v.wrongLine("line %d is of the gateway %q, must be of %q", v.at.Seq, clip(name, maxName), v.check.Node)
	}
}

// follows says whether the chain goes on with a line. One that has been there is not gone on
// with.
func (v *verifier) follows(seq uint64, prev string) bool {
	first := !v.begun && !v.blind
	switch {
	case first && seq == 1 && prev != genesis:
		v.wrongLine("is line 1 of a log, but says that there was one before")
	case first:
		// Whether it may begin here, the numbers of files tell.
	case seq <= v.at.Seq:
		v.wrongLine("line %d stands after line %d: it was moved, doubled or put in", seq, v.at.Seq)
		return false
	case v.blind:
	case seq > v.at.Seq+1:
		v.wrongLine("line %d stands after line %d: what was between is missing", seq, v.at.Seq)
	case prev != v.at.Hash:
		v.wrongLine("line %d does not follow from line %d: one of them was made up", seq, v.at.Seq)
	}
	return true
}

// end judges what is left at the end of a file, without a newline: half a line is right only
// where a gateway may have died as it wrote it, which is at the end of the log, after what the head knows
// of, and not after a stop.
func (v *verifier) end(rest []byte, number int, last bool) {
	if v.line == 1 && v.now.Number == 0 { // there was no first line
		v.now.Number = number
	}
	event := eventOf(v.newest)
	if v.now.Last > 0 {
		v.now.Till = event.Time
	}
	switch {
	case len(rest) == 0 && v.line == 1 && !last:
		v.wrongLine("is empty")
		v.blind = true
	case len(rest) == 0:
	case !last:
		v.wrongLine("ends with half a line, and is not the last file")
		v.blind = true
	case event.What == Stopped, v.head != nil && v.head.Clean:
		v.wrongLine("%d bytes stand after the gateway has stopped in order", len(rest))
	case v.head != nil && v.head.Seq > v.at.Seq, !beginsNext(rest, v.at):
		v.wrongLine("%d bytes at the end are no line, nor the beginning of the next one", len(rest))
	default:
		v.note("the last %d bytes are half a line: the gateway ended as it wrote them (or writes them now); it cuts them off at its next start, and says so (recovered)", len(rest))
	}
}
