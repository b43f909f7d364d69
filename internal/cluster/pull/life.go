package pull

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sightline/internal/cluster"
	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/internal/rtc"
	"sightline/rooms"
)

const (
	connectTimeout = 3 * time.Second // of a session with the owner
	firstRetry     = 50 * time.Millisecond
	lastRetry      = 500 * time.Millisecond
	minPatience    = 15 * time.Second // of viewers, for a track that has lost its owner

	// Once the owner has said that a track is gone it is asked again after this: its room may be
	// on its way to another node, which not all have heard of.
	secondOpinion = 200 * time.Millisecond
)

// A State is how a pull does.
type State string

const (
	Connecting State = "connecting" // for its first viewers
	Live       State = "live"
	Rebuilding State = "rebuilding" // its session has ended, it looks for the owner
	Idle       State = "idle"       // live, without viewers
)

// A pull brings one track of another node, for as long as somebody here plays it. It is a
// publisher in the puller's registry, which comes back with each session:
//
//	connecting ──▶ live ◀──▶ rebuilding
//	    └────────────┴───────────┴──▶ ended
type pull struct {
	key
	puller *Puller
	name   string // of its publisher
	log    *slog.Logger

	changed chan struct{} // holds a token when viewers, or the session, have changed
	live    chan struct{} // closed once there is something to show
	ended   chan struct{} // closed once it has ended, with err
	err     error

	// Guarded by Puller.mu.
	owner   cluster.Member // of now
	up      time.Time      // since when there is a session with it; zero: there is none
	begun   bool           // live is closed
	viewers map[*viewer]struct{}
	others  int // viewers of the track elsewhere, as the owner said last
}

func newPull(p *Puller, k key, name string, owner cluster.Member) *pull {
	return &pull{
		key: k, puller: p, name: name, owner: owner, log: p.log.With("room", k.room, "publisher", k.publisher, "kind", k.kind),
		changed: make(chan struct{}, 1), live: make(chan struct{}), ended: make(chan struct{}), viewers: make(map[*viewer]struct{}),
	}
}

// await waits until there is something to show. It is false if there is a session, and its publisher
// has nothing to show.
func (l *pull) await(ctx context.Context) (live bool, err error) {
	if l.silentFor() > quiet { // somebody has waited before
		return false, nil
	}
	select {
	case <-l.live:
		return true, nil
	case <-l.ended:
		if fault.KindOf(l.err) == "" {
			return false, &fault.Error{Kind: fault.Unavailable, Detail: "the node that has this room does not bring what was asked for", RetryAfter: retryAfter, Cause: l.err}
		}
		return false, l.err
	case <-ctx.Done():
	}
	l.puller.mu.Lock()
	defer l.puller.mu.Unlock()
	if ctx.Err() == context.DeadlineExceeded && !l.up.IsZero() {
		return l.begun, nil
	}
	return false, context.Cause(ctx)
}

// silentFor returns for how long there has been a session that has brought nothing; 0 if the pull
// ever brought something.
func (l *pull) silentFor() time.Duration {
	l.puller.mu.Lock()
	defer l.puller.mu.Unlock()
	if l.begun || l.up.IsZero() {
		return 0
	}
	return time.Since(l.up)
}

// enter counts a viewer who has his subscription.
func (v *viewer) enter() {
	p := v.pull.puller
	p.mu.Lock()
	v.playing = true
	p.mu.Unlock()
	v.pull.wake()
}

// leave gives back what the viewer counts. Call it once.
func (v *viewer) leave() {
	p, s := v.pull.puller, v.session
	p.mu.Lock()
	delete(v.pull.viewers, v)
	s.viewers = slices.DeleteFunc(s.viewers, func(other *viewer) bool { return other == v })
	if len(s.viewers) == 0 {
		p.sessions--
	}
	rest := slices.Clone(s.viewers)
	p.mu.Unlock()
	v.pull.wake()
	for _, other := range rest { // the session may count with it now
		other.pull.wake()
	}
}

func (l *pull) wake() {
	select {
	case l.changed <- struct{}{}:
	default: // it is about to look anyway
	}
}

// run is the pull's life.
func (l *pull) run() {
	p := l.puller
	ctx, end := context.WithCancelCause(p.ctx)
	var tending sync.WaitGroup
	tending.Go(func() { l.tend(ctx, end) })
	began := time.Now()
	err := l.keep(ctx)
	end(err)
	tending.Wait()

	p.mu.Lock()
	if p.pulls[l.key] == l {
		delete(p.pulls, l.key)
	}
	l.err = err
	close(l.ended)
	p.mu.Unlock()
	gone := rooms.ErrGone
	if errors.Is(err, rtc.Moved) || unreached(err) { // it can be had at once, by another way
		gone = rooms.ErrMoved
	}
	p.registry.Forget(l.room, l.name, gone)
	l.log.Info("pull ended", "cause", err, "lasted", time.Since(began).Round(time.Millisecond))
}

var (
	errUnused = fmt.Errorf("%w: nobody plays it", rtc.Deleted)
	errMoved  = fmt.Errorf("%w: the room has another owner", rtc.Moved)
	errLost   = fmt.Errorf("%w: its node is gone", rtc.Gone)
	errOurs   = fmt.Errorf("%w: the room is this node's own now", rtc.Moved)
)

// tend ends the pull once nobody has used it for a while, and tells the owner who does.
func (l *pull) tend(ctx context.Context, end context.CancelCauseFunc) {
	idle, tell := time.NewTimer(linger), time.NewTimer(reportAgain)
	defer idle.Stop()
	defer tell.Stop()
	used := false
	var told time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.changed:
			if now := l.used(); now != used {
				used = now
				if used {
					idle.Stop()
				} else {
					idle.Reset(linger)
				}
			}
			tell.Reset(max(reportEvery-time.Since(told), 0))
		case <-tell.C:
			l.report(ctx)
			told = time.Now()
			tell.Reset(reportAgain)
		case <-idle.C:
			if l.retire() {
				end(errUnused)
				return
			}
			idle.Reset(linger)
		}
	}
}

func (l *pull) used() bool {
	l.puller.mu.Lock()
	defer l.puller.mu.Unlock()
	return len(l.viewers) > 0
}

// retire takes the pull from those that can be joined, unless somebody has just done that.
func (l *pull) retire() bool {
	l.puller.mu.Lock()
	defer l.puller.mu.Unlock()
	if len(l.viewers) > 0 {
		return false
	}
	delete(l.puller.pulls, l.key)
	return true
}

// keep holds a session with the room's owner, one after another. It returns why there can be
// none any more.
func (l *pull) keep(ctx context.Context) error {
	changed, stop := l.puller.Nodes.Watch()
	defer stop()
	patience := max(minPatience, l.puller.limits.Grace.D())
	var source string // the node that it was live from last
	var lost time.Time
	gone, retry := 0, firstRetry
	for began := time.Now(); ; {
		owner, live, err := l.session(ctx)
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case live:
			source, lost, gone, retry = owner.ID, now, 0, firstRetry
			l.puller.rebuilding()
			l.log.Info("pull lost its session", "node", owner.Name, "cause", err)
		case unreached(err) && now.Sub(lost) > 2*connectTimeout: // that it never was live is long ago
			l.puller.avoid(owner.ID, now)
			return err
		case lost.IsZero() && (final(err) || now.Sub(began) > joinTimeout):
			return err
		case !lost.IsZero() && now.Sub(lost) > patience:
			return rooms.ErrGone
		case isGone(err) && owner.ID == source:
			if gone++; gone > 1 {
				return rooms.ErrGone
			}
			retry = secondOpinion
		default:
			retry = min(2*retry, lastRetry)
		}
		if err := pause(ctx, l.puller.Nodes, changed, l.room, owner, retry); err != nil {
			return err
		}
		if here, ok := l.puller.Nodes.Owner(l.room); ok {
			if here.ID == l.puller.Nodes.Self().ID {
				return errOurs
			}
			l.setOwner(here)
		}
	}
}

// unreached reports whether the owner answers, and its media doesn't come.
func unreached(err error) bool {
	return errors.Is(err, rtc.Unreached) || errors.Is(err, rtc.SetupTimeout)
}

// final reports whether asking again at once is of no use.
func final(err error) bool {
	switch kind := fault.KindOf(err); kind {
	case "", fault.Unavailable:
		return false
	default:
		return true
	}
}

// isGone reports whether the owner has said that there is no such track.
func isGone(err error) bool {
	kind := fault.KindOf(err)
	return kind == fault.Conflict || kind == fault.NotFound
}

// pause waits, half of the time to half as much again, or until a room has another owner. In a
// large cluster something else changes all the time.
func pause(ctx context.Context, nodes Nodes, changed <-chan struct{}, room string, owner cluster.Member, about time.Duration) error {
	timer := time.NewTimer(about/2 + rand.N(about))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
			if now, ok := nodes.Owner(room); ok && now.ID != owner.ID {
				return nil
			}
		case <-timer.C:
			return nil
		}
	}
}

func (p *Puller) rebuilding() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rebuilds++
}

func (l *pull) setOwner(m cluster.Member) {
	l.puller.mu.Lock()
	defer l.puller.mu.Unlock()
	l.owner = m
}

func (l *pull) setUp(up time.Time) {
	l.puller.mu.Lock()
	l.up = up
	l.puller.mu.Unlock()
	l.wake()
}

// session is one with the owner, until it ends. live says that media has come from it.
func (l *pull) session(ctx context.Context) (owner cluster.Member, live bool, err error) {
	p := l.puller
	p.mu.Lock()
	owner = l.owner
	p.mu.Unlock()
	offer, err := p.Peers.Offer(rtc.OfferRequest{Kinds: []media.Kind{l.kind}})
	if err != nil {
		return owner, false, err
	}
	defer offer.Close()
	answer, url, err := l.post(ctx, owner, offer.SDP())
	if err != nil {
		return owner, false, err
	}
	ended := false // by the owner
	defer func() {
		if !ended {
			l.delete(ctx, owner, url)
		}
	}()
	peer, err := offer.Accept(answer)
	if err != nil {
		return owner, false, fault.New(fault.Unavailable, "node %q has sent an answer that can't be used: %w", owner.Name, err)
	}
	publication, err := p.registry.Publish(rooms.PublishRequest{Room: l.room, Publisher: l.name, Session: l.name})
	if err != nil {
		return owner, false, err
	}
	defer publication.Close()

	ctx, end := context.WithCancelCause(ctx)
	src := &source{Source: peer.Sources()[0], pull: l}
	var forwarding sync.WaitGroup
	forwarding.Go(func() { end(l.forward(ctx, peer, publication, src)) })
	forwarding.Go(func() { l.follow(ctx, owner, end) })
	err = peer.Run(ctx)
	end(err)
	forwarding.Wait()
	ended = errors.Is(err, rtc.PeerClosed)
	return owner, src.live.Load(), err
}

// forward is the time in which the session's track is the pull's.
func (l *pull) forward(ctx context.Context, peer *rtc.Session, publication *rooms.Publication, src media.Source) error {
	if err := connected(ctx, peer); err != nil {
		return err
	}
	l.setUp(time.Now())
	defer l.setUp(time.Time{})
	return publication.Run(ctx, src)
}

// connected waits until a session with another node is, which takes no time where it can be at all.
func connected(ctx context.Context, peer *rtc.Session) error {
	late := time.NewTimer(connectTimeout)
	defer late.Stop()
	select {
	case <-peer.Connected():
		return nil
	case <-late.C:
		return rtc.Unreached
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// strayed says why a session with who owned a room is of no use any more; nil if it is.
func (p *Puller) strayed(room string, owner cluster.Member) error {
	if now, ok := p.Nodes.Owner(room); ok && now.ID != owner.ID {
		return errMoved
	}
	if _, ok := p.Nodes.Member(owner.ID); !ok {
		return errLost
	}
	return nil
}

// follow ends a session when the room has another owner, or its node is gone.
func (l *pull) follow(ctx context.Context, owner cluster.Member, end context.CancelCauseFunc) {
	changed, stop := l.puller.Nodes.Watch()
	defer stop()
	for {
		if err := l.puller.strayed(l.room, owner); err != nil {
			end(err)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// A source is a session's track. It tells when that has something to show.
type source struct {
	media.Source
	pull *pull
	read bool // of who reads
	live atomic.Bool
}

// ReadBurst implements media.Source. What it returned before has its place in the track.
func (s *source) ReadBurst(dst []*media.Packet) ([]*media.Packet, error) {
	if s.read && !s.live.Load() && s.pull.look() {
		s.live.Store(true)
	}
	s.read = true
	return s.Source.ReadBurst(dst)
}

// look reports whether the track can be played.
func (l *pull) look() bool {
	p := l.puller
	if _, err := p.registry.Kinds(l.room, l.name); err != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !l.begun {
		l.begun = true
		close(l.live)
	}
	return true
}
