package signin

import (
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"sightline/internal/auth"
	"sightline/internal/fault"
	"sightline/internal/replica"
)

// maxOfOne is how many sessions one person has, in browsers of his. The oldest gives way.
const maxOfOne = 20

// A session is somebody who has signed in. What it says never changes: a renewed one takes its place.
type session struct {
	id      string   // public, in the audit log and for revocations
	subject string   // sub at the provider
	label   string   // the person's name, for people
	values  []string // what the provider said of his roles, as far as the configuration names it
	grants  []*auth.Grant
	began   time.Time // of the first of those that were renewed
	expires time.Time
	idToken string // for the provider's sign-out

	// Of the ID token: sid, the session at the provider ("": it says none), and iat, by the
	// provider's clock.
	sid    string
	issued time.Time
}

// identity is whose session it is, with the first of his roles.
func (s *session) identity() auth.Identity { return s.grants[0].Identity }

// sessions are those who are signed in, at any node. They are safe for concurrent use.
type sessions struct {
	max  int
	idle time.Duration
	with *others // nil: there are no other nodes

	mu    sync.Mutex // guards what follows; within auth's locks
	by    map[[sha256.Size]byte]*entry
	byID  map[string]*entry
	clock func() time.Time // of tests
	news  []replica.Record // changes that the other nodes are to be told of
}

type entry struct {
	*session
	hash [sha256.Size]byte // of the cookie
	used time.Time         // as this node knows
	told time.Time         // when the other nodes were told of that
}

func newSessions(most int, idle time.Duration) *sessions {
	return &sessions{max: most, idle: idle, by: make(map[[sha256.Size]byte]*entry), byID: make(map[string]*entry), clock: time.Now}
}

func newID() string { return rand.Text()[:16] }

// begin keeps a session and returns its cookie. The error is a fault.Unavailable at the limit.
func (a *sessions) begin(s *session) (cookie string, err error) {
	a.mu.Lock()
	defer a.unlockAndTell()
	a.forgetLocked()
	for own := a.ofLocked(s); len(own) >= maxOfOne; own = own[1:] { // nodes may have let in more between them
		a.endLocked(own[0])
	}
	if old := a.byID[s.id]; old != nil {
		a.dropLocked(old)
	}
	if len(a.by) >= a.max {
		return "", fault.New(fault.Unavailable, "%d people are signed in, which is the limit (auth.oidc.max_sessions): try again later", len(a.by)).
			After(time.Minute).With("limit", "auth.oidc.max_sessions")
	}
	cookie = auth.NewToken()
	now := a.clock()
	e := &entry{session: s, hash: sha256.Sum256([]byte(cookie)), used: now, told: now}
	if err := a.shareLocked(e); err != nil {
		return "", err
	}
	a.by[e.hash], a.byID[s.id] = e, e
	return cookie, nil
}

// ofLocked returns the other sessions of who has s, those first that are used the least.
func (a *sessions) ofLocked(s *session) []*entry {
	var own []*entry
	for _, e := range a.by {
		if e.subject == s.subject && e.id != s.id {
			own = append(own, e)
		}
	}
	slices.SortFunc(own, func(a, b *entry) int { return a.used.Compare(b.used) })
	return own
}

// find returns the session of a cookie, nil if it has none. That counts as a sign of life.
func (a *sessions) find(cookie string) *session {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.useLocked(a.by[sha256.Sum256([]byte(cookie))])
}

// inUse reports whether a session is still there, for which something goes on. That counts as a
// sign of life, too.
func (a *sessions) inUse(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.useLocked(a.byID[id]) != nil
}

func (a *sessions) useLocked(e *entry) *session {
	now := a.clock()
	if e == nil || a.expired(e, now) {
		return nil
	}
	e.used = now
	return e.session
}

func (a *sessions) expired(e *entry, now time.Time) bool {
	return !now.Before(e.expires) || now.Sub(e.used) >= a.idle
}

// end ends a session. It reports whether it was there.
func (a *sessions) end(s *session) bool {
	a.mu.Lock()
	defer a.unlockAndTell()
	e := a.byID[s.id]
	if e == nil {
		return false
	}
	a.endLocked(e)
	return true
}

// forget drops the sessions that are over, and tells the other nodes which are used.
func (a *sessions) forget() {
	a.mu.Lock()
	defer a.unlockAndTell()
	a.forgetLocked()
	a.vouchLocked()
}

func (a *sessions) forgetLocked() {
	now := a.clock()
	for _, e := range a.by {
		if a.expired(e, now) {
			a.dropLocked(e)
		}
	}
	if a.with != nil {
		a.with.set.Forget(now)
	}
}

func (a *sessions) dropLocked(e *entry) {
	delete(a.by, e.hash)
	delete(a.byID, e.id)
}

func (a *sessions) len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.by)
}
