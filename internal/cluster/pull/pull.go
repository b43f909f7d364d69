// Package pull lets a node play what another one owns to viewers of its own. It pulls each
// track once, by WHEP, into a registry that nobody else sees, and tells the owner for whom.
// docs/CLUSTER.md says when that is done.
package pull

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"sightline/internal/bridge"
	"sightline/internal/cluster"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
	"sightline/internal/media"
	"sightline/internal/opt"
	"sightline/internal/rtc"
	"sightline/rooms"
)

const (
	maxPulls    = 1000
	joinTimeout = 1500 * time.Millisecond // until a track that is pulled for a viewer has something to show
	quiet       = time.Second             // of a session: its publisher has nothing to show
	linger      = 5 * time.Second         // of a pull without viewers
	retryAfter  = 2 * time.Second

	// How long viewers are sent on to a node whose media did not reach this one: between the two may
	// be a firewall that is not between it and them.
	avoidFor = 30 * time.Second
)

// Nodes is what a Puller needs of a *cluster.Node.
type Nodes interface {
	Self() cluster.Member
	Member(id string) (cluster.Member, bool)
	Owner(room string) (cluster.Member, bool)
	Place(ctx context.Context, room string) (cluster.Member, error)
	Muted(room string) []string
	Hold(room string) (release func())
	Watch() (changed <-chan struct{}, stop func())
	Handle(verb string, f cluster.Handler)
	Call(ctx context.Context, to cluster.Member, verb string, data []byte) ([]byte, error)
}

// A Sender sends requests of this node's own to the doors of another one. A *forward.Forwarder
// is one.
type Sender interface {
	Do(ctx context.Context, to cluster.Member, r *http.Request) (*http.Response, error)
}

// Parts are what a Puller works with.
type Parts struct {
	Nodes  Nodes
	Sender Sender
	Peers  *rtc.Engine
	Rooms  *rooms.Registry // what this node owns, as Bridge
	Bridge *bridge.Bridge
}

// A Puller holds the tracks that this node relays. Its methods are safe for concurrent use.
type Puller struct {
	Parts
	near     []netip.Prefix
	limits   rooms.Config
	registry *rooms.Registry // of what is pulled: one publisher for each pull
	log      *slog.Logger

	ctx     context.Context // done when the puller closes
	close   context.CancelCauseFunc
	workers sync.WaitGroup // pulls and loans, and what they tell
	telling chan struct{}  // a token for each of these that is on its way

	mu       sync.Mutex // guards what follows, and the fields of a pull that say so
	closed   bool
	pulls    map[key]*pull
	loans    map[*loan]struct{}
	offered  map[string]*loan // those that an owner may play, by number
	lends    uint64           // offers there were
	recalled bool             // there are no more loans
	made     uint64           // pulls there were
	rebuilds uint64
	sessions int                  // of viewers
	avoided  map[string]time.Time // nodes whose media did not come, by id, until when
}

// A key says what is pulled: a track of a publisher, or a mix.
type key struct {
	room, publisher string
	kind            media.Kind
	listener, role  string // of a mix: whose, if anybody's in particular
}

// New returns a puller that pulls nothing yet. It serves what pullers of other nodes tell, so
// it is made before the node runs. limits are those of the node's own rooms. The error is about
// cluster.near.
func New(c cluster.Config, limits rooms.Config, parts Parts, log *slog.Logger) (*Puller, error) {
	p := &Puller{
		Parts: parts, limits: limits, log: log,
		telling: make(chan struct{}, maxTelling), pulls: make(map[key]*pull), loans: make(map[*loan]struct{}), offered: make(map[string]*loan), avoided: make(map[string]time.Time),
	}
	for _, s := range c.Near {
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("cluster.near: must hold networks such as \"10.1.0.0/16\", got %q", s)
		}
		p.near = append(p.near, prefix)
	}
	// A track lives as long as its pull says. Each viewer of a pair counts twice.
	held := limits
	held.MaxRooms, held.MaxPublishers = maxPulls, maxPulls
	held.MaxViewers, held.MaxViewersPerTrack = 2*limits.MaxViewers, 2*limits.MaxViewers // join keeps to what is configured
	held.Takeover, held.Grace = rooms.TakeoverNewest, opt.Duration(time.Hour)
	p.registry = rooms.New(held, log.With("part", "relay"))
	p.ctx, p.close = context.WithCancelCause(context.Background())
	p.serve()
	p.serveLoans()
	return p, nil
}

// Close ends all pulls, and with them the subscriptions to what they bring. Call it once the
// sessions of viewers have ended.
func (p *Puller) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.close(rtc.Draining)
	p.workers.Wait()
	p.registry.Close()
}

// Wanted reports whether this node shall play to a client what owner has, instead of sending
// his request there: the owner is busy and this node is not, or the client is near.
// It shall not for a while if the owner's media has not come here, nor at a limit: the owner may
// have a place.
func (p *Puller) Wanted(client netip.Addr, owner cluster.Member) bool {
	self := p.Nodes.Self()
	if owner.ID == self.ID || self.Draining || p.full() || p.avoids(owner.ID, time.Now()) {
		return false
	}
	client = client.Unmap().WithZone("")
	return slices.ContainsFunc(p.near, func(n netip.Prefix) bool { return n.Contains(client) }) ||
		owner.Busy && !self.Busy && !self.Full
}

// full reports whether there is no place for one more viewer, be it of a track that is not pulled yet.
func (p *Puller) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sessions >= p.limits.MaxViewers || len(p.pulls) >= maxPulls
}

func (p *Puller) avoids(id string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Before(p.avoided[id])
}

// avoid lets no viewer be served by a pull from a node for a while.
func (p *Puller) avoid(id string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.avoided, func(_ string, until time.Time) bool { return !now.Before(until) })
	p.avoided[id] = now.Add(avoidFor)
}

// From returns the name of the node whose own request this is; "" if it is a client's. Nobody
// outside can forge that.
func From(r *http.Request) string {
	if a, ok := httpapi.Arrived(r); ok && a.Own {
		return a.Node
	}
	return ""
}

// Elsewhere returns the owner of a room if that is another node.
func (p *Puller) Elsewhere(room string) (cluster.Member, bool) {
	owner, ok := p.Nodes.Owner(room)
	return owner, ok && owner.ID != p.Nodes.Self().ID
}

// A Subscription is one of a viewer here to a track of another node.
type Subscription struct {
	*rooms.Subscription
	release func()
}

// Close gives back what the subscription counts, and ends Run. It may be called more than once.
func (s *Subscription) Close() {
	s.Subscription.Close()
	s.release()
}

// A viewer is who uses a pull.
type viewer struct {
	pull        *pull
	session     *session
	playing     bool // he has his subscription; before, he only keeps the pull from ending
	participant string
}

// A session is that of a viewer: it plays one track, or a pair, of which he may give one back. It
// counts once, with the first that it has. It is guarded by Puller.mu.
type session struct{ viewers []*viewer }

// counts reports whether the viewer's session counts with him.
func (v *viewer) counts() bool { return v.session.viewers[0] == v }

// Play is as rooms.Registry.Play, for a room that owner has: it pulls what is not pulled yet,
// and waits until that has something to show. Errors are those of the owner, Conflict if the
// publisher is away for a moment, and Unavailable if the owner does not answer in time.
func (p *Puller) Play(ctx context.Context, owner cluster.Member, req rooms.PlayRequest) ([]*Subscription, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, joinTimeout, errLate(owner))
	defer cancel()
	kinds := []media.Kind{req.Kind}
	if req.Kind == "" {
		var err error
		if kinds, err = p.kinds(ctx, owner, req.Room, req.Publisher); err != nil {
			return nil, err
		}
	}
	keys := make([]key, len(kinds))
	for i, kind := range kinds {
		keys[i] = key{room: req.Room, publisher: req.Publisher, kind: kind}
	}
	return p.play(ctx, owner, keys, req)
}

// Listen is as bridge.Bridge.Listen, for a room that owner has. One pull brings the mix for all
// who are nobody in particular; who does not hear himself has one of his own, and is better
// served by the owner.
func (p *Puller) Listen(ctx context.Context, owner cluster.Member, req bridge.ListenRequest) (*Subscription, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, joinTimeout, errLate(owner))
	defer cancel()
	k := key{req.Room, bridge.Mix, media.Audio, req.For, req.Role}
	out, err := p.play(ctx, owner, []key{k}, rooms.PlayRequest{Participant: req.Participant})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

func (p *Puller) play(ctx context.Context, owner cluster.Member, keys []key, req rooms.PlayRequest) (out []*Subscription, err error) {
	if rooms.ValidName(req.Participant) != nil {
		req.Participant = ""
	}
	var viewers []*viewer
	defer func() {
		if err != nil {
			for _, s := range out {
				s.Subscription.Close()
			}
			for _, v := range viewers {
				v.leave()
			}
		}
	}()
	s := &session{}
	for _, k := range keys { // all, before any is waited for
		v, err := p.join(owner, k, s, req.Participant)
		if err != nil {
			return nil, err
		}
		viewers = append(viewers, v)
	}
	live := 0
	for _, v := range viewers {
		ok, err := v.pull.await(ctx)
		switch {
		case err != nil:
			return nil, err
		case ok:
			live++
		}
	}
	// Of a pair one track will do: an encoder may offer sound that it never sends.
	if l := viewers[0].pull; live == 0 {
		return nil, fault.New(fault.Conflict, "%s of publisher %q in room %q shows nothing now", l.kind, l.publisher, l.room).After(retryAfter)
	}
	for _, v := range viewers {
		l := v.pull
		req.Room, req.Publisher, req.Kind, req.Participant, req.Early = l.room, l.name, l.kind, "", true
		subscriptions, err := p.registry.Play(req)
		if err != nil {
			return out, err
		}
		out = append(out, &Subscription{subscriptions[0], sync.OnceFunc(v.leave)})
	}
	for _, v := range viewers {
		v.enter()
	}
	return out, nil
}

func errLate(owner cluster.Member) error {
	return fault.New(fault.Unavailable, "node %q, which has this room, is busy, and what it was asked for has not come within %v", owner.Name, joinTimeout).After(retryAfter)
}

// join makes a viewer of a session, who uses the pull of a key, and begins that if there is none.
// The error is a fault.Unavailable at a limit.
func (p *Puller) join(owner cluster.Member, k key, s *session, participant string) (*viewer, error) {
	what, key, most := "viewers of track "+k.publisher+"/"+string(k.kind), "rooms.max_viewers_per_track", p.limits.MaxViewersPerTrack
	if k.publisher == bridge.Mix {
		what, key, most = "listeners", "bridge.max_listeners", p.Bridge.MaxListeners()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.pulls[k]
	switch {
	case p.closed:
		return nil, fault.New(fault.Unavailable, "the gateway is shutting down").After(retryAfter)
	case len(s.viewers) == 0 && p.sessions >= p.limits.MaxViewers:
		return nil, limit("viewers", "rooms.max_viewers", p.limits.MaxViewers)
	case l != nil && len(l.viewers)+l.others >= most:
		return nil, limit(what, key, most)
	case l == nil && len(p.pulls) >= maxPulls:
		return nil, fault.New(fault.Unavailable, "this node relays %d tracks of other nodes, which is all it can", maxPulls).After(retryAfter)
	}
	if l == nil {
		p.made++
		l = newPull(p, k, "p"+strconv.FormatUint(p.made, 10), owner)
		p.pulls[k] = l
		p.workers.Go(l.run)
	}
	v := &viewer{pull: l, session: s, participant: participant}
	l.viewers[v] = struct{}{}
	if len(s.viewers) == 0 {
		p.sessions++
	}
	s.viewers = append(s.viewers, v)
	return v, nil
}

func limit(what, key string, n int) error {
	return fault.New(fault.Unavailable, "no more %s: the limit of %d is reached (%s)", what, n, key).
		After(retryAfter).With("limit", key)
}
