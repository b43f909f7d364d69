package signin

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"sightline/internal/auth"
	"sightline/internal/replica"
)

// Where there are several nodes, who has signed in at one is known at all of them, and so is his
// signing out. A session is a record of a replica.Set under its own random ID: its version grows when
// it is renewed, it shows when it was used last, and what is left of one that has ended is a
// tombstone. Nodes recognise a cookie by its hash; it never goes between them.

const (
	sessionKey = "session/"

	// maxWait is how long a cookie that nobody knows waits for the node where it was made, which tells the
	// others before the browser gets it: it may be faster all the same. maxWaiting is how many wait.
	maxWait    = 300 * time.Millisecond
	maxWaiting = 64
)

// others are the other nodes, as the sessions know them.
type others struct {
	set     *replica.Set
	tell    func(message []byte)
	seal    seal
	life    time.Duration // of a session, at most
	waiting chan struct{} // holds a token for each request that waits

	arrived chan struct{} // closed when sessions of others have come; guarded by sessions.mu
}

// told is the body of a record.
type told struct {
	Hash    []byte    `json:"hash"` // SHA-256 of the cookie
	Subject string    `json:"subject"`
	Name    string    `json:"name"`
	Label   string    `json:"label"`
	Values  []string  `json:"values"` // what he may do is said by each node's configuration
	Began   time.Time `json:"began"`
	Expires time.Time `json:"expires"`
	SID     string    `json:"sid,omitempty"`   // at the provider, of which its logout tokens tell
	Issued  time.Time `json:"issued,omitzero"` // by the provider's clock
	Hint    []byte    `json:"hint,omitempty"`  // the ID token for the provider's sign-out, sealed
}

// Share lets other nodes know who has signed in and out by tell, which doesn't block, and this one
// know of theirs by Merge, Digest and State. secret is one that all nodes have, and nobody else: by it a
// sign-in that was begun at one node ends at another. Call it before Run and the first request.
func (d *Door) Share(secret []byte, tell func(message []byte)) error {
	if d.issuer == nil {
		return nil
	}
	if len(secret) == 0 {
		secret = []byte(d.issuer.secret)
	}
	if len(secret) == 0 {
		return errors.New("cluster.secret: must be set where people sign in (auth.oidc) with a public client: " +
			"a sign-in that was begun at one node can't end at another without a secret that both have")
	}
	d.seal = seal{secret}
	d.sessions.with = &others{
		set: replica.New(replica.Limits{
			Live: partitioned * d.config.MaxSessions, Gone: max(d.config.MaxSessions, 1000), Idle: d.config.Idle.D(),
		}),
		tell: tell, seal: d.seal, life: d.config.Session.D(),
		waiting: make(chan struct{}, maxWaiting), arrived: make(chan struct{}),
	}
	return nil
}

// partitioned is how many times the limit is taken from other nodes: each side of a partition may
// let in as many as it says.
const partitioned = 4

// Merge takes what another node has told, or a page of its State. What goes on for who has signed out
// there ends within a second. The error says what could not be taken.
func (d *Door) Merge(message []byte) error {
	if d.issuer == nil {
		return nil // he may sign in at other nodes
	}
	ended, renewed, err := d.sessions.merge(message, d.config)
	for _, s := range renewed {
		d.auth.Prolong(s.identity())
	}
	if ended {
		d.auth.Reconsider()
	}
	return err
}

// Digest returns what State of another node needs, to tell only what this one may lack.
func (d *Door) Digest() []byte {
	if d.issuer == nil {
		return nil
	}
	d.sessions.forget()
	return d.sessions.with.set.Digest()
}

// State returns a page of what the holder of a digest may lack, for Merge, and where the next one
// begins: pass it as after. "" begins, and ends.
func (d *Door) State(theirs []byte, after string) (page []byte, next string, err error) {
	if d.issuer == nil {
		return []byte("[]"), "", nil
	}
	return d.sessions.with.set.Differing(theirs, after)
}

// unlockAndTell unlocks the sessions, and tells the other nodes what has changed.
func (a *sessions) unlockAndTell() {
	news := a.news
	a.news = nil
	a.mu.Unlock()
	for _, message := range replica.Encode(news) {
		a.with.tell(message)
	}
}

// shareLocked lets the other nodes know of a session that has begun, or was renewed.
func (a *sessions) shareLocked(e *entry) error {
	if a.with == nil {
		return nil
	}
	t := told{
		Hash: e.hash[:], Subject: e.subject, Name: e.identity().Name, Label: e.label, Values: e.values,
		Began: e.began, Expires: e.expires, SID: e.sid, Issued: e.issued,
	}
	var err error
	if e.idToken != "" {
		if t.Hint, err = a.with.seal.wrap(sealedHint+e.id, []byte(e.idToken)); err != nil {
			return err
		}
	}
	r := replica.Record{Key: sessionKey + e.id, Version: 1, Seen: e.used.Unix(), Until: e.expires.UnixMilli()}
	if old, known := a.with.set.Get(r.Key); known {
		r.Version = old.Version + 1
	}
	if r.Body, err = json.Marshal(t); err != nil {
		return err
	}
	return a.putLocked(r)
}

func (a *sessions) putLocked(r replica.Record) error {
	if err := a.with.set.Put(r); err != nil {
		return err
	}
	a.news = append(a.news, r)
	return nil
}

// endLocked ends a session at all nodes. They know it for as long as one of them can have renewed it
// meanwhile.
func (a *sessions) endLocked(e *entry) {
	a.dropLocked(e)
	if a.with != nil {
		_ = a.putLocked(replica.Record{Key: sessionKey + e.id, Gone: true, Until: e.expires.Add(a.with.life).UnixMilli()}) // is one
	}
}

// vouchLocked tells the other nodes of signs of life, a few times in the time that ends a session
// without.
func (a *sessions) vouchLocked() {
	if a.with == nil {
		return
	}
	now := a.clock()
	for _, e := range a.by {
		if now.Sub(e.told) < a.idle/6 {
			continue
		}
		if r, known := a.with.set.Get(sessionKey + e.id); known && !r.Gone && r.Seen < e.used.Unix() {
			r.Seen, e.told = e.used.Unix(), now
			_ = a.putLocked(r) // was taken before
		}
	}
}

// merge does what other nodes have done. It returns whether sessions have ended by it, and those that
// go on for longer.
func (a *sessions) merge(message []byte, c auth.OIDCConfig) (ended bool, renewed []*session, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	news, err := a.with.set.Merge(message, a.clock())
	for _, r := range news {
		id, is := strings.CutPrefix(r.Key, sessionKey)
		if !is {
			err = errors.Join(err, fmt.Errorf("%s: no session", r.Key))
			continue
		}
		old := a.byID[id]
		if r.Gone {
			if old != nil {
				a.dropLocked(old)
				ended = true
			}
			continue
		}
		e, wrong := a.with.entry(id, r, c)
		if wrong == nil && a.by[e.hash] != nil && a.by[e.hash].id != id {
			wrong = errors.New("its cookie is another's")
		}
		if wrong != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", r.Key, wrong)) // it stays among the records, and has no effect here
			continue
		}
		if old != nil {
			if old.used.After(e.used) {
				e.used = old.used
			}
			if old.expires.Before(e.expires) {
				renewed = append(renewed, e.session)
			}
			a.dropLocked(old)
		}
		a.by[e.hash], a.byID[id] = e, e
	}
	if len(news) > 0 {
		close(a.with.arrived)
		a.with.arrived = make(chan struct{})
	}
	return ended, renewed, err
}

// entry reads a record of another node.
func (o *others) entry(id string, r replica.Record, c auth.OIDCConfig) (*entry, error) {
	var t told
	if err := json.Unmarshal(r.Body, &t); err != nil {
		return nil, err
	}
	if len(t.Hash) != sha256.Size {
		return nil, errors.New("hash: must be that of a cookie")
	}
	for _, text := range append(t.Values, t.Subject, t.Name, t.Label) {
		if text == "" || len(text) > 4*maxText || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return nil, errors.New("subject, name, label and values must be texts that can be printed")
		}
	}
	if len(t.SID) > 4*maxText {
		return nil, errors.New("sid is too long")
	}
	if err := r.CheckEnd(t.Expires); err != nil {
		return nil, err
	}
	grants := c.Grants(auth.Identity{Name: t.Name, Kind: auth.Person, ID: id, Expires: t.Expires}, t.Values)
	if len(grants) == 0 {
		return nil, errors.New("nothing here is for him: nodes must have the same auth.oidc.roles")
	}
	seen := time.Unix(r.Seen, 0)
	e := &entry{
		session: &session{
			id: id, subject: t.Subject, label: t.Label, values: t.Values, grants: grants, began: t.Began, expires: t.Expires,
			sid: t.SID, issued: t.Issued,
		},
		hash: [sha256.Size]byte(t.Hash), used: seen, told: seen,
	}
	if hint, err := o.seal.unwrap(sealedHint+id, t.Hint); err == nil { // else he signs out without
		e.idToken = string(hint)
	}
	return e, nil
}

// await is find for a cookie that another node may have made just now.
func (a *sessions) await(ctx context.Context, cookie string) *session {
	if a.with == nil || len(cookie) != len(auth.NewToken()) {
		return nil
	}
	select {
	case a.with.waiting <- struct{}{}:
		defer func() { <-a.with.waiting }()
	default:
		return nil
	}
	end := time.NewTimer(maxWait)
	defer end.Stop()
	for {
		a.mu.Lock()
		s, arrived := a.useLocked(a.by[sha256.Sum256([]byte(cookie))]), a.with.arrived
		a.mu.Unlock()
		if s != nil {
			return s
		}
		select {
		case <-arrived:
		case <-end.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}
