// Package replica keeps a set of records the same at several nodes that can't always reach each
// other. Each node changes its own copy and tells the others; what was missed is found by digests.
//
// Of two records of one key one is always greater, in the same order everywhere, and the greater
// one stays: whatever comes when, twice or late, all nodes that have seen the same records hold the same
// set (a state-based CRDT: Shapiro et al., "Conflict-free Replicated Data Types", 2011). A removed
// record leaves a tombstone, which is greater than all that it was, so that it does not come back
// from a node that has missed the removal. Records and tombstones are forgotten at a time that they
// say themselves, by each node's own clock; the latest tombstones are kept if there are too many.
package replica

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// MaxMessage is how long a message of another node may be, in bytes.
	MaxMessage = 512 << 10

	page      = 128 << 10 // bytes, which a message of ours has at most, but for its last record
	maxKey    = 64
	maxRecord = 32 << 10 // bytes of a body
	buckets   = 256      // by which copies are compared
	digest    = 8        // bytes of each
)

// DigestSize is how long a digest is, in bytes.
const DigestSize = buckets * digest

// A Record is something that all nodes know, or know to be gone.
type Record struct {
	Key     string          `json:"k"`           // never of another thing
	Gone    bool            `json:"g,omitempty"` // a tombstone: Key and Until only
	Version uint64          `json:"v,omitempty"` // grows with each change
	Seen    int64           `json:"s,omitempty"` // Unix seconds of the last sign of life; 0 for what needs none
	Until   int64           `json:"u,omitempty"` // Unix milliseconds: when it is forgotten. 0: never
	Body    json.RawMessage `json:"b,omitempty"`
}

// CheckEnd refuses what is to be kept of a record, until it expires (zero: never), if that would be there for longer
// than the record, of which alone there is a limited number.
func (r Record) CheckEnd(expires time.Time) error {
	if r.Until != 0 && (expires.IsZero() || expires.UnixMilli() > r.Until) {
		return errors.New("it must not outlive its record")
	}
	return nil
}

// compare is the order of records of one key: it is total, so that two that differ are never equal.
func (r Record) compare(o Record) int {
	rank := func(gone bool) int {
		if gone {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(rank(r.Gone), rank(o.Gone)), cmp.Compare(r.Version, o.Version),
		cmp.Compare(r.Seen, o.Seen), cmp.Compare(r.Until, o.Until), bytes.Compare(r.Body, o.Body))
}

// sum is what the record adds to its bucket's digest.
func (r Record) sum() uint64 {
	h := sha256.New()
	fmt.Fprintf(h, "%q %t %d %d %d ", r.Key, r.Gone, r.Version, r.Seen, r.Until)
	h.Write(r.Body)
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// check says what can't be of a record, which it also brings into the form in which it is compared.
func (r *Record) check() error {
	switch {
	case r.Key == "" || len(r.Key) > maxKey || strings.ContainsFunc(r.Key, func(c rune) bool { return c <= ' ' || c > '~' }):
		return fmt.Errorf("a key must be 1 to %d printable characters, got %d", maxKey, len(r.Key))
	case r.Seen < 0 || r.Until < 0:
		return errors.New("times must not be negative")
	case r.Gone && r.Until == 0:
		return errors.New("a tombstone must end")
	case r.Gone:
		*r = Record{Key: r.Key, Gone: true, Until: r.Until}
		return nil
	}
	body, err := json.Marshal(r.Body) // however another has spaced it
	if err != nil {
		return err
	}
	if len(body) > maxRecord {
		return fmt.Errorf("a record must have at most %d bytes, got %d", maxRecord, len(body))
	}
	r.Body = body
	return nil
}

// Limits bound a Set.
type Limits struct {
	Live int           // records that are taken from others
	Gone int           // tombstones that are kept
	Idle time.Duration // how long a record lives without a sign of life, if it needs them
}

// A Set is a node's copy. It is safe for concurrent use.
type Set struct {
	limits Limits

	mu      sync.Mutex // guards what follows; it is held while nothing else is called
	buckets [buckets]bucket
	live    int
	gone    int
}

type bucket struct {
	records map[string]Record
	digest  uint64 // the sums of all, by exclusive or: the order does not matter
}

// New returns an empty set.
func New(l Limits) *Set {
	s := &Set{limits: l}
	for i := range s.buckets {
		s.buckets[i].records = make(map[string]Record)
	}
	return s
}

func (s *Set) bucketOf(key string) *bucket {
	sum := sha256.Sum256([]byte(key))
	return &s.buckets[sum[0]]
}

// Put changes what this node knows of a key, unless it knows something greater: what is gone stays
// so. The error says why other nodes would not take the record; it is not here then, either.
func (s *Set) Put(r Record) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("it can't be told to other nodes: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.putLocked(r)
	return nil
}

func (s *Set) putLocked(r Record) bool {
	b := s.bucketOf(r.Key)
	old, known := b.records[r.Key]
	if known && r.compare(old) <= 0 {
		return false
	}
	if known {
		s.dropLocked(b, old)
	}
	b.records[r.Key] = r
	b.digest ^= r.sum()
	s.countLocked(r, 1)
	return true
}

func (s *Set) dropLocked(b *bucket, r Record) {
	delete(b.records, r.Key)
	b.digest ^= r.sum()
	s.countLocked(r, -1)
}

func (s *Set) countLocked(r Record, n int) {
	if r.Gone {
		s.gone += n
	} else {
		s.live += n
	}
}

// Get returns what is known of a key; a tombstone is known, too.
func (s *Set) Get(key string) (Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, known := s.bucketOf(key).records[key]
	return r, known
}

// Tombstones returns those that are kept, in the order of their keys.
func (s *Set) Tombstones() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tombstonesLocked()
}

func (s *Set) tombstonesLocked() []Record {
	out := make([]Record, 0, s.gone)
	for i := range s.buckets {
		for _, r := range s.buckets[i].records {
			if r.Gone {
				out = append(out, r)
			}
		}
	}
	slices.SortFunc(out, func(a, b Record) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

// Merge takes a message of another node, and returns the records that are news here. Those that
// can't be are left out; the error says of how many, and what was wrong with the first.
func (s *Set) Merge(message []byte, now time.Time) (news []Record, err error) {
	if len(message) > MaxMessage {
		return nil, fmt.Errorf("a message must have at most %d bytes, got %d", MaxMessage, len(message))
	}
	var records []Record
	if err := json.Unmarshal(message, &records); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	bad := 0
	for _, r := range records {
		if wrong := cmp.Or(r.check(), s.roomLocked(r)); wrong != nil {
			bad, err = bad+1, cmp.Or(err, wrong)
			continue
		}
		if !s.over(r, now) && s.putLocked(r) {
			news = append(news, r)
		}
	}
	if err != nil {
		err = fmt.Errorf("%d of %d records left out: %w", bad, len(records), err)
	}
	return news, err
}

// roomLocked says why there is no room for a record of another node.
func (s *Set) roomLocked(r Record) error {
	old, known := s.bucketOf(r.Key).records[r.Key]
	switch {
	case known && (old.Gone || !r.Gone):
	case r.Gone && s.gone >= 2*s.limits.Gone: // Forget brings them down to the limit
		return fmt.Errorf("there are %d tombstones already", s.gone)
	case !r.Gone && s.live >= s.limits.Live:
		return fmt.Errorf("there are %d records already: nodes must have the same limits", s.live)
	}
	return nil
}

func (s *Set) over(r Record, now time.Time) bool {
	return r.Until != 0 && now.UnixMilli() >= r.Until ||
		s.limits.Idle > 0 && r.Seen != 0 && now.Sub(time.Unix(r.Seen, 0)) >= s.limits.Idle
}

// Forget drops what is over, and of the tombstones beyond the limit those that would be over first.
func (s *Set) Forget(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.buckets {
		b := &s.buckets[i]
		for _, r := range b.records {
			if s.over(r, now) {
				s.dropLocked(b, r)
			}
		}
	}
	if s.gone <= s.limits.Gone {
		return
	}
	all := s.tombstonesLocked()
	slices.SortFunc(all, func(a, b Record) int { return cmp.Or(cmp.Compare(a.Until, b.Until), cmp.Compare(a.Key, b.Key)) })
	for _, r := range all[:len(all)-s.limits.Gone] {
		s.dropLocked(s.bucketOf(r.Key), r)
	}
}

// Digest says what the set holds, in DigestSize bytes: two sets with the same digest are the same.
func (s *Set) Digest() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]byte, 0, DigestSize)
	for i := range s.buckets {
		out = binary.BigEndian.AppendUint64(out, s.buckets[i].digest)
	}
	return out
}

// Differing returns a message with records that the holder of a digest may lack, and where to go on:
// pass it as after; "" begins, and ends. The error says that it is no digest.
func (s *Set) Differing(theirs []byte, after string) (message []byte, next string, err error) {
	if len(theirs) != DigestSize {
		return nil, "", fmt.Errorf("a digest must have %d bytes, got %d", DigestSize, len(theirs))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	first := 0
	if after != "" {
		sum := sha256.Sum256([]byte(after))
		first = int(sum[0])
	}
	var out encoder
	for i := first; i < buckets; i++ {
		b := &s.buckets[i]
		if b.digest == binary.BigEndian.Uint64(theirs[i*digest:]) {
			continue
		}
		keys := make([]string, 0, len(b.records))
		for key := range b.records {
			if i > first || key > after {
				keys = append(keys, key)
			}
		}
		slices.Sort(keys)
		for _, key := range keys {
			if out.add(b.records[key]); out.full() {
				return out.end(), key, nil
			}
		}
	}
	return out.end(), "", nil
}

// Encode returns messages for Merge.
func Encode(records []Record) [][]byte {
	var out [][]byte
	var e encoder
	for _, r := range records {
		if e.add(r); e.full() {
			out = append(out, e.end())
			e = encoder{}
		}
	}
	if len(e.text) > 0 {
		out = append(out, e.end())
	}
	return out
}

// An encoder writes a message.
type encoder struct{ text []byte }

func (e *encoder) add(r Record) {
	raw, err := json.Marshal(r)
	if err != nil {
		panic("replica: a record that was checked: " + err.Error())
	}
	mark := byte(',')
	if len(e.text) == 0 {
		mark = '['
	}
	e.text = append(append(e.text, mark), raw...)
}

func (e *encoder) full() bool { return len(e.text) >= page }

func (e *encoder) end() []byte {
	if len(e.text) == 0 {
		return []byte("[]")
	}
	return append(e.text, ']')
}
