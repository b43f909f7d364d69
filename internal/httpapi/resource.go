package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/fault"
	"sightline/internal/sdp"
)

// A Session is what a resource needs of a peer.
type Session interface {
	SDP() []byte
	ETag() string
	Patch(f *sdp.Fragment, single bool) (restart []byte, err error)
	Checked() <-chan struct{}   // closed once an ICE check of the client has come
	Connected() <-chan struct{} // closed once the session is connected
}

// A Resource is a session of WHIP or WHEP that has been answered.
type Resource struct {
	Session Session
	Offer   *sdp.Offer
	Servers []ICEServer // told to the client
	Links   []Link      // likewise, after them

	// Authorize checks a token that comes with PATCH or DELETE. It is kept for some minutes
	// after the session's end, so it must not hold the session.
	Authorize func(*http.Request) error

	// Run is the life of the session, from the 201 to its end. It ends when ctx is done.
	Run func(ctx context.Context) error
}

// An ICEServer is a STUN or TURN server for clients (RFC 9725, section 4.6).
type ICEServer struct {
	URL, Username, Credential string
}

// A Link tells the client of something that goes with its session (RFC 8288).
type Link struct {
	Rel, URL string
}

// Resources are the sessions of all WHIP and WHEP endpoints: "/sessions/{id}". A session
// goes
//
//	created (201) ──▶ live ──▶ ended, a tombstone for five minutes ──▶ unknown (404)
//
// Its URL is a capability: 256 random bits, known to its client only. Whoever has it may
// trickle, restart and delete; a token that comes along must be right, though.
type Resources struct {
	lenient bool
	causes  Causes
	log     *slog.Logger
	wg      sync.WaitGroup // one for each live session
	gates   []func() error
	prefix  string // of ids, see Node

	mu       sync.Mutex // guards what follows
	live     map[string]*resource
	census   census // of live
	graves   map[string]*resource
	order    []*resource // of graves, oldest first
	draining bool
	empty    chan struct{} // closed while live is empty
}

type resource struct {
	Resource
	id     string
	caller caller    // who made it
	began  time.Time // when it was answered
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when Run has returned
	ended  time.Time     // set before done is closed
	why    string        // likewise: a word for the cause of the end

	turn  chan struct{} // holds one token while a PATCH is at work
	ufrag string        // of the client's current ICE session; owned by who has the turn
}

const (
	tombstoneAge = 5 * time.Minute
	tombstoneMax = 10_000
	retryDrain   = 5 * time.Second
)

// Causes are why the contexts of sessions are cancelled.
type Causes struct {
	Deleted, ShutDown error
	CrowdedOut        error // gave its place to another before it was connected

	Word func(error) string // for why a session ended, out of a closed set; nil: not told
}

// endedBy is the header field in which a DELETE is told why its session ended. A publisher that was
// replaced shall be slow to come back, one whose room has moved quick, and close_notify is the same for both.
const endedBy = "Sightline-Ended"

// NewResources returns an empty set. The caller closes it.
func NewResources(c Config, causes Causes, log *slog.Logger) *Resources {
	r := &Resources{
		lenient: c.ETag == ETagLenient, causes: causes, log: log, census: newCensus(c),
		live: make(map[string]*resource), graves: make(map[string]*resource), empty: make(chan struct{}),
	}
	close(r.empty)
	return r
}

// Route adds the sessions' routes.
func (r *Resources) Route(router gin.IRouter) {
	const path = "/sessions/:id"
	router.PATCH(path, Handle(r.patch))
	router.DELETE(path, Handle(r.delete))
	router.GET(path, Handle(r.get))
	router.HEAD(path, Handle(r.get))
	router.OPTIONS(path, func(c *gin.Context) {
		c.Header("Accept-Patch", Fragment)
		c.Header("Allow", "DELETE, GET, HEAD, OPTIONS, PATCH")
		c.Status(http.StatusOK)
	})
}

// PublicID returns a new id under which a session is shown to others: it says nothing
// about the session's URL.
func PublicID() string {
	var raw [9]byte
	_, _ = rand.Read(raw[:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// AdmitIf lets no session begin while gate returns an error, which is a fault. Call it before
// the first request.
func (r *Resources) AdmitIf(gate func() error) { r.gates = append(r.gates, gate) }

// Node lets the ids of all sessions begin with that of this node of a cluster and a dot, so that
// any node knows whose they are. Call it before the first request.
func (r *Resources) Node(id string) { r.prefix = id + "." }

// Admit returns a fault if no session is taken from who asks: Unavailable because the gateway
// is about to end, or a gate is closed; Unavailable or TooMany because of a limit. Create asks
// for the limits again: it is here that a refusal costs least.
func (r *Resources) Admit(c *gin.Context) error {
	for _, gate := range r.gates {
		if err := gate(); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.admitLocked(callerOf(c), time.Now())
}

func (r *Resources) admitLocked(who caller, now time.Time) error {
	if r.draining {
		return fault.New(fault.Unavailable, "the gateway is shutting down").After(retryDrain)
	}
	return r.census.admit(who, now)
}

// isLive reports whether there is such a session.
func (r *Resources) isLive(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live[id] != nil
}

// Create starts the session and answers 201. When it returns an error, the session has
// not begun and stays with the caller.
func (r *Resources) Create(c *gin.Context, what Resource) error {
	// Nobody would ever delete the session of a client that did not wait for its URL.
	if err := context.Cause(c.Request.Context()); err != nil {
		return err
	}
	var raw [32]byte
	_, _ = rand.Read(raw[:])
	s := &resource{
		Resource: what, id: r.prefix + base64.RawURLEncoding.EncodeToString(raw[:]),
		done: make(chan struct{}), turn: make(chan struct{}, 1),
		caller: callerOf(c), began: time.Now(),
	}
	if what.Offer != nil {
		s.ufrag = what.Offer.Ufrag
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())

	// What the answer says is read before the session can change it.
	answer, etag := what.Session.SDP(), what.Session.ETag()
	limit, err := r.start(s)
	if err != nil {
		s.cancel(err)
		return err
	}
	if limits, ok := c.Value(limitsKey).(*limits); ok && limit != "" {
		limits.count(limit)
	}
	for _, server := range what.Servers {
		c.Writer.Header().Add("Link", server.link())
	}
	for _, l := range what.Links {
		c.Writer.Header().Add("Link", l.link())
	}
	c.Header("Location", BaseURL(c)+"/sessions/"+s.id)
	c.Header("ETag", etag)
	c.Header("Accept-Patch", Fragment)
	c.Data(http.StatusCreated, SDP, answer)
	return nil
}

// link writes a Link header in the one order that all clients parse (item 26 of
// docs/CONFORMANCE.md).
func (s ICEServer) link() string {
	link := "<" + s.URL + `>; rel="ice-server"`
	if s.Username != "" {
		link += fmt.Sprintf(`; username="%s"; credential="%s"; credential-type="password"`, s.Username, s.Credential)
	}
	return link
}

// separators are what clients split Link headers at, or end a URL at, wherever it stands.
var separators = strings.NewReplacer(",", "%2C", ";", "%3B", `"`, "%22", "<", "%3C", ">", "%3E", " ", "%20")

func (l Link) link() string {
	return "<" + separators.Replace(l.URL) + `>; rel="` + l.Rel + `"`
}

// start runs the session. It returns the limit because of which another had to give way, or
// "".
func (r *Resources) start(s *resource) (limit string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.admitLocked(s.caller, s.began); err != nil {
		return "", err
	}
	victim, limit := r.census.add(s)
	if victim != nil {
		victim.cancel(r.causes.CrowdedOut)
	}
	if len(r.live) == 0 {
		r.empty = make(chan struct{})
	}
	r.live[s.id] = s
	r.wg.Go(func() { r.run(s) })
	return limit, nil
}

func (r *Resources) run(s *resource) {
	var err error
	defer func() {
		if v := recover(); v != nil {
			// Only this session is lost.
			err = errors.New("panicked")
			r.log.Error("session panicked", "err", errPanic(v, debug.Stack()))
		}
		s.cancel(context.Canceled)
		if r.causes.Word != nil {
			s.why = r.causes.Word(err)
		}
		r.bury(s)
		close(s.done)
	}()
	err = s.Run(s.ctx) // the door has logged it
}

// bury makes a tombstone of an ended session, and forgets old ones.
func (r *Resources) bury(s *resource) {
	// Of the dead only the id, the check of tokens and the cause are needed.
	s.ended = time.Now()
	grave := &resource{Resource: Resource{Authorize: s.Authorize}, id: s.id, done: s.done, ended: s.ended, why: s.why}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live, s.id)
	r.census.remove(s)
	if len(r.live) == 0 {
		close(r.empty)
	}
	r.graves[s.id] = grave
	r.order = append(r.order, grave)
	for len(r.order) > tombstoneMax || len(r.order) > 0 && s.ended.Sub(r.order[0].ended) > tombstoneAge {
		delete(r.graves, r.order[0].id)
		r.order[0] = nil
		r.order = r.order[1:]
	}
}

// find returns a live session, or an ended one if tombstones count. A token that comes
// along has to be right.
func (r *Resources) find(c *gin.Context, tombstones bool) (*resource, error) {
	id := c.Param("id")
	r.mu.Lock()
	s := r.live[id]
	if grave := r.graves[id]; s == nil && tombstones && grave != nil && time.Since(grave.ended) <= tombstoneAge {
		s = grave
	}
	r.mu.Unlock()
	if s == nil {
		return nil, fault.New(fault.NotFound, "there is no such session (any more)")
	}
	if s.Authorize != nil && len(c.Request.Header.Values("Authorization")) > 0 {
		if err := s.Authorize(c.Request); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// get answers GET and HEAD (RFC 9725, section 4.1).
func (r *Resources) get(c *gin.Context) error {
	if _, err := r.find(c, false); err != nil {
		return err
	}
	c.Header("Content-Length", "0") // for HEAD too
	c.Status(http.StatusOK)
	return nil
}

// delete ends a session. If-Match is ignored (RFC 9725, section 4.3.1). It is answered
// 200, because OBS takes anything else for a failure; again and again, because requests
// get lost.
func (r *Resources) delete(c *gin.Context) error {
	s, err := r.find(c, true)
	if err != nil {
		return err
	}
	if s.cancel != nil {
		s.cancel(r.causes.Deleted)
	}
	// The client may come back at once: by then the session shall be gone.
	const patience = 3 * time.Second
	ctx, cancel := context.WithTimeout(c.Request.Context(), patience)
	defer cancel()
	select {
	case <-s.done:
		if s.why != "" {
			c.Header(endedBy, s.why)
		}
	case <-ctx.Done():
	}
	c.Status(http.StatusOK)
	return nil
}

// patch trickles candidates or restarts ICE (RFC 9725, section 4.3). Its checks are in
// the order of RFC 9110, section 13.2.1: who and what kind, then the precondition, then
// the body.
func (r *Resources) patch(c *gin.Context) error {
	s, err := r.find(c, false)
	if err != nil {
		return err
	}
	if err := CheckType(c, Fragment, "Accept-Patch"); err != nil {
		return err
	}
	cond, err := patchCondition(c.Request.Header)
	if err != nil {
		return err
	}
	body, bodyErr := ReadBody(c)

	// One at a time: PATCH requests overlap (RFC 9725, section 4.3.1).
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-s.ctx.Done():
		return fault.New(fault.NotFound, "the session has ended")
	case <-c.Request.Context().Done():
		return context.Cause(c.Request.Context())
	}
	missing := fault.New(fault.NeedsCondition, "PATCH needs If-Match with the ETag of the session, or *")
	switch {
	case cond == nil && !r.lenient:
		return missing
	case cond != nil && !cond.matches(s.Session.ETag()):
		return fault.New(fault.Precondition, "If-Match is not the ETag of the current ICE session: it has been restarted since")
	}
	if bodyErr != nil {
		return bodyErr
	}
	fragment, err := sdp.ParseFragment(body, s.Offer)
	if err != nil {
		return err
	}
	if cond == nil && fragment.Ufrag != s.ufrag {
		return missing // lenient, but not for a restart
	}
	// A client that restarts with * joins the reply's candidates by commas and breaks on
	// the second one (whip-whep-js 1.2.0).
	reply, err := s.Session.Patch(fragment, cond != nil && cond.any)
	switch {
	case err != nil && s.ctx.Err() != nil:
		return fault.New(fault.NotFound, "the session has ended")
	case err != nil:
		return err
	case reply == nil:
		c.Status(http.StatusNoContent) // without ETag (RFC 9725, section 4.3.2)
		return nil
	}
	s.ufrag = fragment.Ufrag
	c.Header("ETag", s.Session.ETag())
	c.Data(http.StatusOK, Fragment, reply)
	return nil
}

// patchCondition reads If-Match, nil if there is none. A client that sends the tag in a
// header called ETag instead means the same (Eyevinn's whip-web-client).
func patchCondition(h http.Header) (*condition, error) {
	values := h.Values("If-Match")
	if len(values) == 0 {
		values = h.Values("ETag")
	}
	if len(values) == 0 {
		return nil, nil
	}
	cond, err := parseIfMatch(values)
	if err != nil {
		return nil, err
	}
	return &cond, nil
}

// Len returns how many sessions are live.
func (r *Resources) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.live)
}

// Drain takes no more sessions from now on.
func (r *Resources) Drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = true
}

// Draining reports whether Drain was called.
func (r *Resources) Draining() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.draining
}

// Wait waits until no session is live, or ctx is done.
func (r *Resources) Wait(ctx context.Context) error {
	r.mu.Lock()
	empty := r.empty
	r.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close takes no more sessions, ends all, and waits for them.
func (r *Resources) Close() {
	r.mu.Lock()
	r.draining = true
	for _, s := range r.live {
		s.cancel(r.causes.ShutDown)
	}
	r.mu.Unlock()
	r.wg.Wait()
}
