// Package forward lets any node of a cluster answer for every room: it brings a request to the
// node that the room lives on, whose router serves it as if it had come there, and the answer back.
// Doors know nothing of it (docs/CLUSTER.md).
package forward

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/auth"
	"sightline/internal/bridge"
	"sightline/internal/cluster"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
	"sightline/rooms"
)

// The verbs of calls between nodes: Verb is that of all requests but streams of events.
const (
	Verb       = "http"
	verbEvents = "events"
)

const (
	// patience is how long a node has for one request: a DELETE takes up to 3 s.
	patience = 8 * time.Second
	// A request whose room has another owner by now is brought to that one, so often and for so long.
	attempts = 3
	lookFor  = 5 * time.Second
	// lookAgain is how long the directory may take to know better, if it says nothing.
	lookAgain = 200 * time.Millisecond
	retry     = 2 * time.Second // of a client
)

// Streams counts the event streams of this node's clients, as its own. *api.API is one.
type Streams interface {
	// Enter returns a context that is done when ctx is or streams shall end; the caller calls leave.
	// The error is a fault.
	Enter(ctx context.Context, client netip.Addr) (open context.Context, leave func(), err error)
	// Timeout is how long a reader may take nothing.
	Timeout() time.Duration
}

// An Authorizer knows who asks. *auth.Auth is one.
type Authorizer interface {
	Who(*http.Request) (auth.Caller, error)
}

// node is what is needed of cluster.Node.
type node interface {
	Self() cluster.Member
	Members() []cluster.Member
	Member(id string) (cluster.Member, bool)
	Owner(room string) (cluster.Member, bool)
	Place(ctx context.Context, room string) (cluster.Member, error)
	Hold(room string) (release func())
	Look()
	Watch() (changed <-chan struct{}, stop func())
	Handle(verb string, f cluster.Handler)
	HandleStream(verb string, f cluster.StreamHandler)
	Call(ctx context.Context, to cluster.Member, verb string, data []byte) ([]byte, error)

	// stream is Node.Stream.
	stream(ctx context.Context, to cluster.Member, verb string, data []byte) (reader, error)
}

// reader is what is needed of cluster.Stream.
type reader interface {
	Next(ctx context.Context) ([]byte, error)
	Close()
}

type realNode struct{ *cluster.Node }

func (n realNode) stream(ctx context.Context, to cluster.Member, verb string, data []byte) (reader, error) {
	return n.Stream(ctx, to, verb, data)
}

// A Forwarder brings requests to other nodes, and serves theirs. It has no goroutines but those of
// requests.
type Forwarder struct {
	node     node
	router   *httpapi.Router
	auth     Authorizer
	streams  Streams
	redirect bool
	relay    func(client netip.Addr, owner cluster.Member) bool // nil: this node relays nothing
	log      *slog.Logger
}

// New sets itself into the router, and serves the calls of other nodes: before the node runs and
// the first request.
func New(c cluster.Config, n *cluster.Node, r *httpapi.Router, a Authorizer, s Streams, log *slog.Logger) *Forwarder {
	return newForwarder(c, realNode{n}, r, a, s, log)
}

func newForwarder(c cluster.Config, n node, r *httpapi.Router, a Authorizer, s Streams, log *slog.Logger) *Forwarder {
	f := &Forwarder{node: n, router: r, auth: a, streams: s, redirect: c.Forward == "redirect", log: log}
	n.Handle(Verb, f.serve)
	n.HandleStream(verbEvents, f.serveStream)
	r.Elsewhere(f.answer)
	return f
}

// Relay lets this node's own doors serve viewers whose room is another's, as far as wanted says so
// of a client and the owner. Call it before the first request.
func (f *Forwarder) Relay(wanted func(client netip.Addr, owner cluster.Member) bool) {
	f.relay = wanted
}

// relays reports whether this node plays to a client what another one has. Who does not hear
// himself in a mix is served by the owner, which mixes.
func (f *Forwarder) relays(c *gin.Context, room string) bool {
	if f.relay == nil || c.Request.Method != http.MethodPost || !strings.HasPrefix(c.FullPath(), whepPath) ||
		c.Param("publisher") == bridge.Mix && (c.Query("for") != "" || c.Query("role") != "") {
		return false
	}
	to, ok := f.node.Owner(room)
	client, _ := netip.ParseAddr(c.ClientIP()) // the address itself: networks may be smaller than what limits count by
	return ok && to.ID != f.node.Self().ID && f.relay(client, to)
}

// Do makes a request of this node's own, as the node, which may do everything; the URL is a path.
// The caller closes the body of the response, which is whole. The error is a fault: Unavailable if
// the node is gone or does not answer.
func (f *Forwarder) Do(ctx context.Context, to cluster.Member, r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(io.LimitReader(r.Body, maxRequest)); err != nil {
			return nil, fmt.Errorf("read a request of the node's own: %w", err)
		}
	}
	data, err := pack(r, body, httpapi.Arrival{Own: true})
	if err != nil {
		return nil, err
	}
	res, answer, err := f.call(ctx, to, data)
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(answer))
	return res, nil
}

// call lets a node serve a request. The response's body has been read. The error is a fault, unless ctx
// was cancelled.
func (f *Forwarder) call(ctx context.Context, to cluster.Member, data []byte) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var answer []byte
	var err error
	if self := f.node.Self(); to.ID == self.ID {
		answer, err = f.serve(ctx, self, data)
	} else {
		answer, err = f.node.Call(ctx, to, Verb, data)
	}
	if err != nil {
		return nil, nil, unanswered(ctx, to, err)
	}
	return readResponse(answer, to.Name)
}

// unanswered says of a node that it has not answered, and when to ask again.
func unanswered(ctx context.Context, to cluster.Member, err error) error {
	var known *fault.Error
	switch {
	case errors.As(err, &known) && known.Kind != fault.Unavailable:
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Cause(ctx)
	}
	return fault.New(fault.Unavailable, "node %s does not answer: %w", to.Name, err).After(retry)
}

// serve answers a request of another node's. For the zero Member, it is a part of one of this node's.
func (f *Forwarder) serve(ctx context.Context, from cluster.Member, data []byte) ([]byte, error) {
	a := newAnswer(nil)
	if err := f.route(ctx, from, data, a); err != nil {
		return nil, err
	}
	return a.whole()
}

// serveStream is serve for a stream of events: the head of the response, and then its body as it
// comes; or the whole response, if it is no stream.
func (f *Forwarder) serveStream(ctx context.Context, from cluster.Member, data []byte, send func([]byte) error) error {
	a := newAnswer(send)
	if err := f.route(ctx, from, data, a); err != nil || a.streams {
		return err
	}
	all, err := a.whole()
	if err != nil {
		return err
	}
	return send(all)
}

// route gives a request to this node's router. A panic, be it net/http's way to break off, is an
// error.
func (f *Forwarder) route(ctx context.Context, from cluster.Member, data []byte, w http.ResponseWriter) (err error) {
	r, arrival, err := unpack(data, cmp.Or(from.Name, from.ID)) // of one that was not heard of yet the id is all
	if err != nil {
		return err
	}
	defer func() {
		if v := recover(); v != nil {
			f.log.Error("request of another node panicked", "from", from.Name, "err", v, "stack", string(debug.Stack()))
			err = fault.New(fault.Unavailable, "the answer broke off")
		}
	}()
	r = httpapi.WithArrival(r.WithContext(ctx), arrival)
	if arrival.Own {
		r = auth.AsNode(r, arrival.Node)
	}
	f.router.ServeHTTP(w, r)
	return nil
}

// answer is the router's way to other nodes.
func (f *Forwarder) answer(c *gin.Context) {
	p := policyOf(c.Request.Method, c.FullPath())
	if p.class == mix {
		p.class = owner
		if c.Param("publisher") == bridge.Mix {
			p.class = placed
		}
	}
	room := c.Param("room")
	arrival, arrived := httpapi.Arrived(c.Request)
	switch {
	case arrived && arrival.Node != "" && (p.class == owner || p.class == placed):
		f.arrive(c, p, room)
	case arrived || p.class == here || p.class == 0 || p.class != session && f.refused(c, p, room):
		c.Next()
	case (p.class == owner || p.class == placed) && f.relays(c, room):
		c.Next()
	case p.class == owner || p.class == placed:
		f.toRoom(c, p, room)
	case p.class == session:
		f.toSession(c)
	case p.class == everywhere:
		f.gather(c)
	case p.class == stream:
		f.watchRoom(c, room)
	case p.class == streams:
		f.watchAll(c)
	case p.class == log:
		f.toNode(c)
	}
}

// refused reports whether this node's own doors will refuse a request, for its token or its names:
// in their words, and without a word to others.
func (f *Forwarder) refused(c *gin.Context, p policy, room string) bool {
	if room != "" && rooms.ValidRoom(room) != nil {
		return true
	}
	publisher := ""
	if c.FullPath() == whipPath {
		if publisher = c.Param("publisher"); rooms.ValidName(publisher) != nil {
			return true
		}
	}
	if p.scope == "" && len(c.Request.Header.Values("Authorization")) == 0 {
		return false
	}
	caller, err := f.auth.Who(c.Request)
	return err != nil || p.scope != "" && !caller.Allows(p.scope, room, publisher)
}

// arrive answers what another node has brought here, unless the room is not this node's (any more):
// then that one has to look again.
func (f *Forwarder) arrive(c *gin.Context, p policy, room string) {
	if p.class == placed {
		defer f.node.Hold(room)()
	}
	to, owned := f.node.Owner(room)
	if owned && to.ID != f.node.Self().ID || !owned && p.class == placed {
		c.AbortWithStatus(http.StatusMisdirectedRequest)
		return
	}
	f.serveHere(c, p)
}

// serveHere has the room's own node, this one, answer. A mute that has been answered shall not be lost with
// the node, be it a moment later.
func (f *Forwarder) serveHere(c *gin.Context, p policy) {
	c.Next()
	if p.kept {
		f.node.Look()
	}
}

// toRoom brings a request to the owner of its room.
func (f *Forwarder) toRoom(c *gin.Context, p policy, room string) {
	began := time.Now()
	var data []byte
	for range attempts {
		to, err := f.whose(c, p, room)
		if err != nil {
			httpapi.Fail(c, err)
			return
		}
		switch {
		case to.ID == f.node.Self().ID && f.stay(c, p, room):
			return
		case to.ID == f.node.Self().ID:
		case f.redirect && redirectable(c) && to.URL != "":
			redirect(c, to)
			return
		default:
			if data == nil {
				if data = f.packed(c); data == nil {
					return
				}
			}
			if f.bring(c, p, to, data) {
				return
			}
		}
		if time.Since(began) > lookFor {
			break
		}
		f.pause(c.Request.Context(), room, to)
	}
	httpapi.Fail(c, fault.New(fault.Unavailable, "room %q is on its way to another node", room).After(retry))
}

// pause gives the directory time to know another owner of a room than before, unless that is gone. Other
// rooms may change all the while.
func (f *Forwarder) pause(ctx context.Context, room string, before cluster.Member) {
	changed, stop := f.node.Watch()
	defer stop()
	enough := time.NewTimer(lookAgain)
	defer enough.Stop()
	for {
		to, owned := f.node.Owner(room)
		if _, there := f.node.Member(before.ID); owned && to.ID != before.ID || !there {
			return
		}
		select {
		case <-changed:
		case <-enough.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// whose returns the node that answers for a room.
func (f *Forwarder) whose(c *gin.Context, p policy, room string) (cluster.Member, error) {
	if to, ok := f.node.Owner(room); ok {
		return to, nil
	}
	if p.class != placed {
		return f.node.Self(), nil
	}
	to, err := f.node.Place(c.Request.Context(), room)
	if fault.KindOf(err) == fault.Unavailable {
		err = fault.New(fault.Unavailable, "no node takes room %q: %w", room, err).After(retry)
	}
	return to, err
}

// stay answers here. It returns false if that is not right any more.
func (f *Forwarder) stay(c *gin.Context, p policy, room string) bool {
	if p.class == placed {
		defer f.node.Hold(room)()
		if to, ok := f.node.Owner(room); !ok || to.ID != f.node.Self().ID {
			return false
		}
	}
	f.serveHere(c, p)
	return true
}

// redirectable reports whether a client can go on at another node by itself: one of WHIP or WHEP that is
// no page. Browsers drop the token on the way to another origin (Fetch, HTTP-redirect fetch), and our own
// pages may not ask one at all (their connect-src).
func redirectable(c *gin.Context) bool {
	return c.Request.Method == http.MethodPost && c.GetHeader("Origin") == "" && !strings.HasPrefix(c.FullPath(), "/api/")
}

// redirect sends the client of WHIP or WHEP to the node itself (RFC 9725, section 4.5).
func redirect(c *gin.Context, to cluster.Member) {
	target := strings.TrimRight(to.URL, "/") + c.Request.URL.EscapedPath()
	if c.Request.URL.RawQuery != "" {
		target += "?" + c.Request.URL.RawQuery
	}
	httpapi.AnsweredBy(c, to.Name)
	c.Header("Location", target)
	c.AbortWithStatus(http.StatusTemporaryRedirect)
}

// packed returns the request for another node, or nil if it has answered that there is none. This
// node's own doors can still read the body.
func (f *Forwarder) packed(c *gin.Context) []byte {
	body, err := httpapi.ReadAnyBody(c)
	if err == nil {
		c.Request.Body = io.NopCloser(bytes.NewReader(body))
		var data []byte
		if data, err = pack(c.Request, body, httpapi.ArrivalOf(c)); err == nil {
			return data
		}
	}
	httpapi.Fail(c, err)
	return nil
}

// bring lets a node answer a request. It returns false, and has not answered, if that is not the
// right one any more or has gone, and with it whatever it has done.
func (f *Forwarder) bring(c *gin.Context, p policy, to cluster.Member, data []byte) bool {
	ctx := c.Request.Context()
	if c.Request.Method == http.MethodPost {
		ctx = context.WithoutCancel(ctx) // what is made has to be known, to be unmade
	}
	res, body, err := f.call(ctx, to, data)
	switch _, there := f.node.Member(to.ID); {
	case err != nil && !there:
		return false
	case err != nil:
		httpapi.Fail(c, err)
		return true
	case res.StatusCode == http.StatusMisdirectedRequest:
		return false
	}
	httpapi.AnsweredBy(c, to.Name)
	if p.routine {
		httpapi.Routine(c)
	}
	if id := sessionOf(res); id != "" {
		f.router.Vouch(id, true)
		if c.Request.Context().Err() != nil {
			f.forget(to, id)
		}
	}
	relay(c, res, body)
	return true
}

// sessionOf returns the id of the session that a response says was made, or "".
func sessionOf(res *http.Response) string {
	if res.StatusCode != http.StatusCreated {
		return ""
	}
	u, err := url.Parse(res.Header.Get("Location"))
	if err != nil {
		return ""
	}
	_, id, _ := strings.Cut(u.Path, "/sessions/")
	return id
}

// forget ends a session whose client did not wait for its URL: nobody else would.
func (f *Forwarder) forget(to cluster.Member, id string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodDelete, "/sessions/"+id, nil)
	if err != nil {
		return
	}
	if _, err := f.Do(ctx, to, r); err != nil {
		f.log.Debug("session without a client", "node", to.Name, "err", err)
	}
}

// relay answers with another node's response. What both say holds once: the middleware of here has
// said it of the client's own request.
func relay(c *gin.Context, res *http.Response, body []byte) {
	h := c.Writer.Header()
	for name, values := range res.Header {
		if name == "Vary" {
			values = append(h[name], values...)
		}
		h[name] = values
	}
	c.Abort()
	c.Status(res.StatusCode)
	c.Writer.WriteHeaderNow()
	if len(body) > 0 {
		_, _ = c.Writer.Write(body)
	}
}

// toSession brings a request to the node that has the session. One that is gone had it: then there
// is none (any more), as this node says.
func (f *Forwarder) toSession(c *gin.Context) {
	id := c.Param("id")
	name, _, _ := strings.Cut(id, ".")
	to, there := f.node.Member(name)
	if !there || name == f.node.Self().ID {
		c.Next()
		return
	}
	data := f.packed(c)
	if data == nil {
		return
	}
	if !f.bring(c, policy{}, to, data) {
		f.router.Vouch(id, false)
		c.Next()
		return
	}
	if status := c.Writer.Status(); status < 500 {
		f.router.Vouch(id, status != http.StatusNotFound)
	}
}

// toNode brings a request to the node that it names.
func (f *Forwarder) toNode(c *gin.Context) {
	name := c.Query("node")
	if name == "" || name == f.node.Self().Name {
		c.Next()
		return
	}
	var names []string
	for _, m := range f.node.Members() {
		names = append(names, m.Name)
		if m.Name != name {
			continue
		}
		if data := f.packed(c); data == nil || f.bring(c, policy{}, m, data) {
			return
		}
	}
	if len(name) > 64 {
		name = name[:64] + "…"
	}
	httpapi.Fail(c, fault.New(fault.NotFound, "node: there is no node %q, only %s", name, strings.Join(names, ", ")))
}
