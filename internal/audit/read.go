package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sort"
	"time"

	"sightline/internal/fault"
)

// Limits of a page.
const (
	DefaultLimit = 200  // lines
	MaxLimit     = 1000 // lines
	maxScan      = 16 << 20
	maxReaders   = 2
)

// A Query says which lines are asked for.
type Query struct {
	After        uint64    // seq; those after it
	Since, Until time.Time // zero: no limit
	Room         string    // "": all
	Limit        int       // lines, up to MaxLimit

	// May says whether who asks may see what happened in a room to a publisher; "" is for what
	// concerns none.
	May func(room, publisher string) bool
}

// A Page is some of the log's lines, oldest first.
type Page struct {
	Lines []json.RawMessage // whole, with their hashes, without newlines
	Next  uint64            // Query.After of the next page
	End   bool              // there are no more lines now
	Tells bool              // there is more among the lines than that the log was read
}

// Read returns the next page that a query asks for, of what is safe on the disk. It looks at a
// part of the log at a time, so a page may have less lines than the limit, or none, though it is
// not the last. The error is a fault: NotFound while the log is off, Unavailable if others read it, or
// it can't be read.
func (l *Log) Read(ctx context.Context, q Query) (Page, error) {
	if !l.On() {
		return Page{}, fault.New(fault.NotFound, "the gateway keeps no audit log: audit.file is not set")
	}
	l.mu.Lock()
	if l.readers >= maxReaders {
		l.mu.Unlock()
		return Page{}, fault.New(fault.Unavailable, "%d others read the audit log: try again", maxReaders).After(time.Second)
	}
	l.readers++
	end := l.written.Seq
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.readers--
		l.mu.Unlock()
	}()
	p := pager{ctx: ctx, query: q, end: end, page: Page{Lines: []json.RawMessage{}, Next: q.After, End: true}}
	if err := p.read(l.config.File); err != nil {
		if ctx.Err() != nil {
			return Page{}, context.Cause(ctx)
		}
		l.log.Error("the audit log can't be read", "err", err)
		return Page{}, fault.New(fault.Unavailable, "the audit log can't be read")
	}
	return p.page, nil
}

// A pager collects a page.
type pager struct {
	ctx     context.Context
	query   Query
	end     uint64 // seq of the last line that is safe
	scanned int64
	page    Page
}

// read goes through the log's files, beginning with the one that the query begins in.
func (p *pager) read(path string) error {
	files, err := inOrder(path)
	if err != nil {
		return err
	}
	first := 0
	for i, f := range files { // times are no help: the clock may have been set back
		if f.seq <= p.query.After+1 {
			first = i
		}
	}
	for _, f := range files[first:] {
		more, err := p.file(path, f)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// file takes the lines of a file that the query asks for, and says whether to go on.
func (p *pager) file(path string, part part) (more bool, err error) {
	name := part.name
	if now, err := readPart(name); err != nil || now.opening.File != part.opening.File {
		name = numbered(path, part.opening.File) // it was full meanwhile
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) && p.page.Next == p.query.After {
		return true, nil // deleted by rotation meanwhile
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err := seek(f, p.query.After); err != nil {
		return false, err
	}
	for r := bufio.NewReaderSize(f, maxLine); ; {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", name, err)
		}
		if p.scanned += int64(len(line)); p.scanned > maxScan || len(p.page.Lines) >= p.query.Limit {
			p.page.End = false
			return false, nil
		}
		if p.ctx.Err() != nil {
			return false, p.ctx.Err()
		}
		seq, _, ok := place(line)
		if !ok {
			return false, fmt.Errorf("%s: something else than a line after line %d", name, p.page.Next)
		}
		if seq > p.end {
			return false, nil
		}
		if seq > p.query.After {
			p.page.Next = seq
			p.take(line)
		}
	}
}

// seek goes to a line of a file that stands shortly before the one after a place in the chain, or at the
// beginning: a page shall not read again what those before it have read.
func seek(f *os.File, after uint64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	blocks := int(info.Size() / maxLine)
	beyond := sort.Search(blocks, func(i int) bool {
		_, seq, ok := lineIn(f, i)
		return !ok || seq > after
	})
	at := int64(0)
	if beyond > 0 {
		at, _, _ = lineIn(f, beyond-1)
	}
	_, err = f.Seek(at, io.SeekStart)
	return err
}

// lineIn returns where the first line stands that begins in a block of a file, of the size of the longest
// line, or after it, and the line's number. It is false if there is no such one.
func lineIn(f io.ReaderAt, block int) (at int64, seq uint64, ok bool) {
	raw := make([]byte, 2*maxLine)
	at = int64(block) * maxLine
	n, _ := f.ReadAt(raw, at) // what can't be read is complained of by who reads the lines
	rest := raw[:n]
	if block > 0 {
		_, rest, _ = bytes.Cut(rest, []byte("\n"))
	}
	seq, _, ok = place(rest)
	return at + int64(n-len(rest)), seq, ok
}

// take adds a line to the page, if it is asked for and may be seen.
func (p *pager) take(line []byte) {
	e := eventOf(line)
	switch {
	case p.query.Room != "" && e.Room != p.query.Room:
	case !p.query.Since.IsZero() && e.Time.Before(p.query.Since):
	case !p.query.Until.IsZero() && e.Time.After(p.query.Until):
	case p.query.May != nil && !p.query.May(e.Room, e.Publisher):
	default:
		p.page.Tells = p.page.Tells || e.What != Inspected
		p.page.Lines = append(p.page.Lines, json.RawMessage(slices.Clone(line[:len(line)-1])))
	}
}

// A part is a file of a log, by what its first line says.
type part struct {
	name    string
	seq     uint64
	opening Opening
}

// inOrder returns the files of the log at path that are there, oldest first.
func inOrder(path string) ([]part, error) {
	for try := 0; ; try++ {
		numbers, err := full(path)
		if err != nil {
			return nil, err
		}
		var out []part
		gone := false
		for _, n := range numbers {
			p, err := readPart(numbered(path, n))
			if errors.Is(err, fs.ErrNotExist) {
				gone = true // deleted by rotation meanwhile
				continue
			}
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
		last, err := readPart(path)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, errEmpty):
			return out, nil // between two files
		case err != nil:
			return nil, err
		case try < 3 && !gone && len(out) > 0 && last.opening.File != out[len(out)-1].opening.File+1:
			continue // a rotation came in between
		}
		return append(out, last), nil
	}
}

var errEmpty = errors.New("the file is empty")

func readPart(name string) (part, error) {
	f, err := os.Open(name)
	if err != nil {
		return part{}, err
	}
	defer f.Close()
	line, err := bufio.NewReaderSize(f, maxLine).ReadSlice('\n')
	if len(line) == 0 && errors.Is(err, io.EOF) {
		err = errEmpty
	}
	if err != nil {
		return part{}, fmt.Errorf("%s: the first line is not whole: %w", name, err)
	}
	seq, _, ok := place(line)
	e := eventOf(line)
	if !ok || e.Opening == nil {
		return part{}, fmt.Errorf("%s: the first line does not open a file", name)
	}
	return part{name, seq, *e.Opening}, nil
}
