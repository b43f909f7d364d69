package auth

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"sightline/internal/fault"
	"sightline/internal/filelock"
	"sightline/internal/replica"
)

// maxInvitations bounds the invitations of all rooms together.
const maxInvitations = 10_000

// A Revocation ends what was begun with a token, or by a name, and lets them in no more.
type Revocation struct {
	ID      string    `json:"id"`             // of the revocation itself
	JTI     string    `json:"jti,omitempty"`  // the ID of the identities that are meant, or else
	Name    string    `json:"name,omitempty"` // their name, of every kind
	Reason  string    `json:"reason"`         // for people
	By      string    `json:"by"`             // who revoked, by name
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // when it is forgotten: what is revoked has expired; zero: never
}

// A store keeps revocations and invitations, in memory and, if it has a path, in one file. It is
// safe for concurrent use.
type store struct {
	path           string   // "": memory only
	lock           *os.File // keeps other processes from path; nil likewise
	maxRevocations int
	maxInvitations int              // of one room
	shared         *replica.Set     // what other nodes know, too; nil: there are none
	tell           func([]byte)     // tells them; nil likewise
	kept           []replica.Record // tombstones of the file, for shared

	unsaved chan struct{} // holds one token when something is to be saved: another node's, or what could not be
	log     *slog.Logger

	saving sync.Mutex // held while the file is written; before mu
	saved  uint64     // the last change that is in the file; guarded by saving

	mu          sync.RWMutex // guards what follows; after keeper.mu
	changes     uint64
	news        []replica.Record // changes that the other nodes are to be told of
	revocations map[string]Revocation
	tokens      map[string]int // how many revocations mean an ID
	names       map[string]int // likewise a name
	invitations map[string]Invitation
	secrets     map[string]string // IDs of invitations, by the hash of their secret
}

// document is the store's file.
type document struct {
	Version     int          `json:"version"`
	Revocations []Revocation `json:"revocations"`
	Invitations []Invitation `json:"invitations"`

	// Gone are those that were taken back, for other nodes that have not heard of it.
	Gone []replica.Record `json:"gone,omitempty"`
}

const (
	stateFile    = "auth.json"
	stateVersion = 1
)

// openStore reads what is kept in dir, which is made if it is not there. "" keeps nothing. Two gateways with one
// dir would undo each other's revocations: the second one gets an error.
func openStore(dir string, maxRevocations, maxInvitations int, log *slog.Logger) (*store, error) {
	s := &store{
		maxRevocations: maxRevocations, maxInvitations: maxInvitations,
		revocations: make(map[string]Revocation), tokens: make(map[string]int), names: make(map[string]int),
		invitations: make(map[string]Invitation), secrets: make(map[string]string),
		unsaved: make(chan struct{}, 1), log: log,
	}
	if dir == "" {
		return s, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("auth.state_dir: %w", err)
	}
	s.path = filepath.Join(dir, stateFile)
	lock, err := filelock.Take(s.path + ".lock")
	if errors.Is(err, filelock.ErrHeld) {
		return nil, fmt.Errorf("auth.state_dir: another process uses %s: each gateway needs one of its own", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("auth.state_dir: %w", err)
	}
	s.lock = lock
	if err := errors.Join(removeUnfinished(dir), s.open()); err != nil {
		return nil, errors.Join(fmt.Errorf("auth.state_dir: %w", err), lock.Close())
	}
	log.Info("revocations and invitations are kept", "file", s.path, "revocations", len(s.revocations), "invitations", len(s.invitations))
	return s, nil
}

// open reads the file, if there is one, and writes it: whether it can be written shall not turn out at the first
// revocation.
func (s *store) open() error {
	raw, err := os.ReadFile(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := s.read(raw); err != nil {
			return fmt.Errorf("%s: %w: put a copy of it back, or remove it and revoke again what was revoked", s.path, err)
		}
	}
	return s.change(func(time.Time) error { return nil })
}

func (s *store) read(raw []byte) error {
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return err
	}
	if doc.Version != stateVersion {
		return fmt.Errorf("its version is %d, must be %d", doc.Version, stateVersion)
	}
	for _, r := range doc.Revocations {
		s.putLocked(r)
	}
	for _, i := range doc.Invitations {
		s.admitLocked(i)
	}
	s.kept = slices.DeleteFunc(doc.Gone, func(r replica.Record) bool { return time.Now().UnixMilli() >= r.Until })
	return nil
}

// change changes the store by f, which has the lock, tells the other nodes, and keeps what it is
// then. An error of f means that nothing has changed; after one of the file the change holds in memory, and Run tries
// again to keep it.
func (s *store) change(f func(now time.Time) error) error {
	s.mu.Lock()
	now := time.Now()
	s.forgetLocked(now)
	if err := f(now); err != nil {
		s.mu.Unlock()
		return err
	}
	s.changes++
	change, news := s.changes, s.news
	s.news = nil
	s.mu.Unlock()
	for _, message := range replica.Encode(news) {
		s.tell(message)
	}
	err := s.save(change)
	if err != nil {
		s.later()
	}
	return err
}

// later has Run save what has changed.
func (s *store) later() {
	select {
	case s.unsaved <- struct{}{}:
	default: // it is about to be saved anyway
	}
}

// save sees to it that the file has a change. What changed meanwhile is in it, too.
func (s *store) save(change uint64) error {
	if s.path == "" {
		return nil
	}
	s.saving.Lock()
	defer s.saving.Unlock()
	if s.saved >= change {
		return nil
	}
	s.mu.RLock()
	change = s.changes
	doc := document{Version: stateVersion, Revocations: s.revocationsLocked(), Invitations: s.invitationsLocked(""), Gone: s.kept}
	if s.shared != nil {
		doc.Gone = s.shared.Tombstones()
	}
	s.mu.RUnlock()
	raw, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(s.path, append(raw, '\n')); err != nil {
		return err
	}
	s.saved = change
	return nil
}

// forgetLocked drops what has no effect any more.
func (s *store) forgetLocked(now time.Time) {
	for _, r := range s.revocations {
		if !r.Expires.IsZero() && !now.Before(r.Expires) {
			s.dropLocked(r)
		}
	}
	for _, i := range s.invitations {
		if !now.Before(i.Expires) {
			s.expelLocked(i)
		}
	}
	if s.shared != nil {
		s.shared.Forget(now)
	}
}

func (s *store) putLocked(r Revocation) {
	s.revocations[r.ID] = r
	count(s.tokens, r.JTI, 1)
	count(s.names, r.Name, 1)
}

func (s *store) dropLocked(r Revocation) {
	delete(s.revocations, r.ID)
	count(s.tokens, r.JTI, -1)
	count(s.names, r.Name, -1)
}

func count(m map[string]int, key string, n int) {
	if key == "" {
		return
	}
	if m[key] += n; m[key] <= 0 {
		delete(m, key)
	}
}

// revoked reports whether an identity lets nobody in any more. It doesn't block.
func (s *store) revoked(id Identity) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.names[id.Name] > 0 || id.ID != "" && s.tokens[id.ID] > 0 {
		return true
	}
	if id.Kind == Invited {
		_, known := s.invitations[id.ID]
		return !known
	}
	return false
}

func (s *store) revocationsLocked() []Revocation {
	out := make([]Revocation, 0, len(s.revocations))
	for _, r := range s.revocations {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Revocation) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// Revoke ends, within a second, what was begun with the tokens that r.JTI or r.Name means, and
// lets them in no more. by is who asks. The error is a fault: BadRequest if it means none or
// both, Conflict if it means by, Unavailable at the limit (auth.max_revocations); another one
// says that the revocation holds, but could not be kept over a restart.
func (a *Auth) Revoke(by Identity, r Revocation) (Revocation, error) {
	if err := r.check(); err != nil {
		return r, err
	}
	switch {
	case !r.Expires.IsZero() && !time.Now().Before(r.Expires):
		return r, fault.New(fault.BadRequest, "expires of a revocation must be in the future: when what is revoked has expired")
	case by.Kind != Anonymous && (r.Name != "" && r.Name == by.Name || r.JTI != "" && r.JTI == by.ID):
		return r, fault.New(fault.Conflict, "that is your own token: somebody else has to revoke it")
	}
	err := a.store.change(func(now time.Time) error {
		if len(a.store.revocations) >= a.store.maxRevocations {
			return fault.New(fault.Unavailable, "there are %d revocations, which is the limit (auth.max_revocations)", len(a.store.revocations)).
				After(time.Minute).With("limit", "auth.max_revocations")
		}
		r.ID, r.By, r.Created = rand.Text()[:12], by.Name, now.UTC().Truncate(time.Millisecond)
		if err := a.store.shareLocked(revocationKey+r.ID, r, r.Expires); err != nil {
			return err
		}
		a.store.putLocked(r)
		a.keeper.wake()
		return nil
	})
	return r, err
}

// check says what can't be of a revocation.
func (r Revocation) check() error {
	switch {
	case (r.JTI == "") == (r.Name == ""):
		return fault.New(fault.BadRequest, "a revocation must have either jti, the id of a token or an invitation, or name")
	case len(r.JTI) > maxText || len(r.Name) > maxText || len(r.Reason) > maxText:
		return fault.New(fault.BadRequest, "jti, name and reason of a revocation must have at most %d bytes", maxText)
	}
	return nil
}

// Revocations returns those that hold, in the order of their making.
func (a *Auth) Revocations() []Revocation {
	a.store.mu.RLock()
	defer a.store.mu.RUnlock()
	now := time.Now()
	return slices.DeleteFunc(a.store.revocationsLocked(), func(r Revocation) bool {
		return !r.Expires.IsZero() && !now.Before(r.Expires)
	})
}

// Unrevoke takes a revocation back, by its own ID. The error is a fault.NotFound if there is none.
func (a *Auth) Unrevoke(id string) error {
	return a.store.change(func(now time.Time) error {
		r, known := a.store.revocations[id]
		if !known {
			return fault.New(fault.NotFound, "there is no such revocation (any more)")
		}
		a.store.dropLocked(r)
		a.store.buryLocked(revocationKey+r.ID, r.Expires, now)
		return nil
	})
}

// unfinished ends the name of a file that is being written. One name is enough: who writes has the lock.
const unfinished = ".tmp"

// removeUnfinished removes what a gateway that was killed was writing. The caller has the lock.
func removeUnfinished(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		state := e.Name() == stateFile+unfinished
		keys, _ := filepath.Match(keysFile("????????????????")+unfinished, e.Name())
		if (state || keys) && e.Type().IsRegular() {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// writeFile replaces a file, at once and for good, with one that only its owner may read.
func writeFile(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.OpenFile(path+unfinished, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
