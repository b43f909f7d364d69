package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"sightline/internal/audit"
	"sightline/internal/cluster"
	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/internal/rtc"
	"sightline/internal/sdp"
	"sightline/rooms"
)

// A room that goes to another node leaves publishers behind that would not come there by themselves
// (rooms.Loan). The node that has such a one lends it, the owner of the room borrows it:
//
//	lender                                owner
//	  ── verbLoan: who it is ──────────────▶    reserves the name
//	  ◀─────────────── verbLoanOffer: SDP ──    an offer to receive all its tracks
//	  ── the answer ───────────────────────▶    a session as that of a pull; feeds the room with it
//	  ◀─────────── verbLoanEnd: the cause ──    once somebody else has the name, or took the publisher out
//
// Whichever side loses the session, the lender begins again with who the owner is then; nobody else knows
// whether the publisher is still there.
const (
	verbLoan      = "loan"
	verbLoanOffer = "loan-offer"
	verbLoanEnd   = "loan-end"
)

const (
	loanTimeout = 5 * time.Second        // of a call: an owner that has just come may be busy with its rooms
	hearsWithin = 300 * time.Millisecond // the registry, that it has a room again

	// toldWithin is how long after a publisher is shown all nodes know whether he is muted there, and the one
	// that has the room next is told so.
	toldWithin = time.Second
)

// A lent is who is lent, as an owner is told.
type lent struct {
	Loan      string       `json:"loan"` // its number at the lender, another one each time
	Room      string       `json:"room"`
	Publisher string       `json:"publisher"`
	Subject   string       `json:"subject"`
	Session   string       `json:"session"`
	Client    string       `json:"client"`
	Who       audit.Who    `json:"who"`
	Label     string       `json:"label"`
	Role      string       `json:"role"`
	Silent    bool         `json:"silent"`
	Muted     bool         `json:"muted"`
	Kinds     []media.Kind `json:"kinds"`
}

type loanOffer struct {
	Loan string `json:"loan"`
	SDP  string `json:"sdp"`
}

type loanAnswer struct {
	SDP string `json:"sdp"`
}

type loanEnd struct {
	Loan  string `json:"loan"`
	Cause string `json:"cause"` // of loanCauses
}

// loanCauses are why an owner gives a publisher back for good. With any other the lender looks for an owner.
var loanCauses = map[string]error{"replaced": rooms.ErrReplaced, "removed": rooms.ErrRemoved}

// A loan is a publisher that this node lends.
type loan struct {
	*rooms.Loan
	puller *Puller
	log    *slog.Logger

	// Guarded by Puller.mu.
	number  string  // under which it is in Puller.offered, while it is
	to      string  // the owner that it is offered to, by id
	playing *played // to that; nil: not yet
	cause   error   // with which an owner has ended it for good
}

// Lend shows a publisher in its room, wherever that is, until it is on loan no more. It does not block.
func (p *Puller) Lend(of *rooms.Loan) {
	if !p.lend(of) {
		of.End(rooms.ErrMoved)
	}
}

func (p *Puller) lend(of *rooms.Loan) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.recalled {
		return false
	}
	r := of.Request()
	l := &loan{Loan: of, puller: p, log: p.log.With("room", r.Room, "publisher", r.Publisher, "session", r.Session)}
	p.loans[l] = struct{}{}
	p.workers.Go(l.run)
	return true
}

// Recall ends all loans, and the sessions with them, as moved: this gateway is about to end.
func (p *Puller) Recall() {
	p.mu.Lock()
	p.recalled = true
	all := slices.Collect(maps.Keys(p.loans))
	p.mu.Unlock()
	for _, l := range all {
		l.End(rooms.ErrMoved)
	}
}

// run is the loan's life.
func (l *loan) run() {
	p := l.puller
	ctx, cancel := context.WithCancel(p.ctx)
	var ending sync.WaitGroup
	ending.Go(func() {
		select {
		case <-l.Done():
			cancel()
		case <-ctx.Done():
		}
	})
	l.log.Info("the publisher stays here while its room is elsewhere")
	began := time.Now()
	cause := l.keep(ctx)
	cancel()
	ending.Wait()
	if cause == nil && p.ctx.Err() != nil {
		cause = rooms.ErrMoved // this gateway ends
	}
	if cause != nil {
		l.End(cause)
	}
	p.mu.Lock()
	delete(p.loans, l)
	p.mu.Unlock()
	l.log.Info("the publisher is on loan no more", "cause", cause, "lasted", time.Since(began).Round(time.Millisecond))
}

// keep shows the publisher at one owner of its room after another. It returns why there can be none any more;
// nil when ctx is done.
func (l *loan) keep(ctx context.Context) error {
	nodes, room := l.puller.Nodes, l.Request().Room
	changed, stop := nodes.Watch()
	defer stop()
	patience := max(minPatience, l.puller.limits.Grace.D())
	shown, retry := time.Now(), firstRetry
	for {
		owner, err := nodes.Place(ctx, room)
		switch {
		case err != nil:
		case owner.ID == nodes.Self().ID:
			l.comeBack(ctx)
		default:
			var lived bool
			if lived, err = l.show(ctx, owner); lived {
				shown, retry = time.Now(), firstRetry
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, rooms.ErrReplaced) || errors.Is(err, rooms.ErrRemoved):
			return err
		case err != nil && final(err) || time.Since(shown) > patience:
			l.log.Warn("the publisher can't be shown in its room", "node", owner.Name, "err", err)
			return rooms.ErrMoved
		}
		l.log.Debug("the publisher is not shown in its room", "node", owner.Name, "err", err)
		if pause(ctx, nodes, changed, room, owner, retry) != nil {
			return nil
		}
		retry = min(2*retry, lastRetry)
	}
}

// comeBack makes the publisher one of this node's own again. The registry does so itself when it hears that
// it has the room, and from whom that comes then, too: who was muted there.
func (l *loan) comeBack(ctx context.Context) {
	wait := time.NewTimer(hearsWithin)
	defer wait.Stop()
	select {
	case <-wait.C:
		p, room := l.puller, l.Request().Room
		if owner, ok := p.Nodes.Owner(room); ok && owner.ID == p.Nodes.Self().ID {
			p.Rooms.Keep(room, p.Nodes.Muted(room))
		}
	case <-ctx.Done():
	}
}

// show lets an owner borrow the publisher, until that has ended. lived says that it was shown there.
func (l *loan) show(ctx context.Context, owner cluster.Member) (lived bool, err error) {
	p, r := l.puller, l.Request()
	number := l.offer(owner)
	defer func() {
		// An owner that goes on without him for longer than its grace forgets that he was muted.
		if lived = l.withdraw(); lived && slices.Contains(p.Nodes.Muted(r.Room), r.Publisher) {
			l.Mute(true)
		}
	}()
	data, err := json.Marshal(lent{
		Loan: number, Room: r.Room, Publisher: r.Publisher, Subject: r.Subject, Session: r.Session, Client: r.Client, Who: r.Who,
		Label: r.Label, Role: r.Role, Silent: r.Silent, Muted: l.Muted(), Kinds: l.Kinds(),
	})
	if err != nil {
		return false, err
	}
	call, cancel := context.WithTimeout(ctx, loanTimeout)
	defer cancel()
	_, err = p.Nodes.Call(call, owner, verbLoan, data)
	p.mu.Lock()
	s := l.playing
	p.mu.Unlock()
	if err == nil && s == nil {
		err = fault.New(fault.Unavailable, "node %q has not taken the publisher that it was lent", owner.Name)
	}
	if err == nil {
		err = p.await(ctx, s, r.Room, owner)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch kind := fault.KindOf(err); {
	case l.cause != nil:
		err = l.cause
	case kind == fault.Conflict || kind == fault.Forbidden: // somebody else has the name there
		err = fmt.Errorf("%w: %w", rooms.ErrReplaced, err)
	}
	return false, err
}

// offer lets an owner play the publisher, and returns the number by which it knows the loan.
func (l *loan) offer(to cluster.Member) (number string) {
	p := l.puller
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lends++
	l.number, l.to = strconv.FormatUint(p.lends, 10), to.ID
	p.offered[l.number] = l
	return l.number
}

// await waits until a session with the owner of a room has ended, or the room has another one.
func (p *Puller) await(ctx context.Context, s *played, room string, owner cluster.Member) error {
	changed, stop := p.Nodes.Watch()
	defer stop()
	for {
		if err := p.strayed(room, owner); err != nil {
			return err
		}
		select {
		case <-s.done:
			return s.err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

// withdraw ends what is played to an owner, and reports whether anything was.
func (l *loan) withdraw() (played bool) {
	p := l.puller
	p.mu.Lock()
	s := l.playing
	delete(p.offered, l.number)
	l.playing = nil
	p.mu.Unlock()
	if s == nil {
		return false
	}
	s.end(rtc.Deleted)
	<-s.done
	return s.live
}

// A played loan is a session with the owner of its room.
type played struct {
	end  context.CancelCauseFunc
	done chan struct{} // closed once it has ended, with what follows
	live bool          // it was connected
	err  error
}

// serveLoans answers the nodes that lend, and those that borrow.
func (p *Puller) serveLoans() {
	p.Nodes.Handle(verbLoan, p.borrow)
	p.Nodes.Handle(verbLoanOffer, func(_ context.Context, from cluster.Member, data []byte) ([]byte, error) {
		var o loanOffer
		if err := read(data, &o); err != nil {
			return nil, err
		}
		answer, err := p.answerLoan(from, o)
		if err != nil {
			return nil, err
		}
		return json.Marshal(loanAnswer{string(answer)})
	})
	p.Nodes.Handle(verbLoanEnd, func(_ context.Context, from cluster.Member, data []byte) ([]byte, error) {
		var e loanEnd
		if err := read(data, &e); err != nil {
			return nil, err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if l := p.offered[e.Loan]; l != nil && l.to == from.ID && loanCauses[e.Cause] != nil {
			l.cause = loanCauses[e.Cause]
			if l.playing != nil {
				l.playing.end(rtc.Deleted)
			}
		}
		return nil, nil
	})
}

// answerLoan plays a publisher on loan to the owner that it was offered to.
func (p *Puller) answerLoan(to cluster.Member, o loanOffer) ([]byte, error) {
	unknown := fault.New(fault.NotFound, "no publisher on loan is offered to node %q under this number", to.Name)
	offer, err := sdp.Parse([]byte(o.SDP))
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	l := p.offered[o.Loan]
	mine := l != nil && l.to == to.ID && l.playing == nil
	p.mu.Unlock()
	if !mine {
		return nil, unknown
	}
	subscriptions, err := l.Play()
	if err != nil {
		return nil, err
	}
	send := make(map[media.Kind]media.Codec)
	for _, s := range subscriptions {
		send[s.Kind()] = s.Codec()
	}
	peer, err := p.Peers.Answer(rtc.AnswerRequest{Offer: offer, Client: "sightline-loan", Send: send, Stream: l.Request().Publisher})
	if err != nil {
		closeAll(subscriptions)
		return nil, err
	}
	if !l.play(o.Loan, peer, subscriptions) {
		closeAll(subscriptions)
		peer.Close()
		return nil, unknown
	}
	return peer.SDP(), nil
}

// play begins a session with an owner; false if the publisher is not offered under this number any more.
func (l *loan) play(number string, peer *rtc.Session, subscriptions []*rooms.Subscription) bool {
	p := l.puller
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.offered[number] != l || l.playing != nil {
		return false
	}
	ctx, end := context.WithCancelCause(p.ctx)
	s := &played{end: end, done: make(chan struct{})}
	l.playing = s
	p.workers.Go(func() { s.run(ctx, l.Loan, peer, subscriptions) })
	return true
}

func closeAll(subscriptions []*rooms.Subscription) {
	for _, s := range subscriptions {
		s.Close()
	}
}

// run plays until the session ends.
func (s *played) run(ctx context.Context, of *rooms.Loan, peer *rtc.Session, subscriptions []*rooms.Subscription) {
	var playing sync.WaitGroup
	playing.Go(func() {
		select {
		case <-peer.Connected():
		case <-ctx.Done():
			return
		}
		s.live = true
		playing.Go(func() {
			told := time.NewTimer(toldWithin)
			defer told.Stop()
			select {
			case <-told.C:
				of.Mute(false)
			case <-ctx.Done():
			}
		})
		for _, sub := range subscriptions {
			for _, sink := range peer.Sinks() {
				if sink.Kind() == sub.Kind() {
					sink.SetFeedback(sub)
					playing.Go(func() {
						s.end(ended(sub.Run(ctx, sink)))
					})
				}
			}
		}
	})
	err := peer.Run(ctx)
	s.end(err)
	playing.Wait()
	closeAll(subscriptions)
	s.err = err
	close(s.done)
}

// borrow shows a publisher that another node lends in a room of this one. It returns once its session is
// agreed on.
func (p *Puller) borrow(ctx context.Context, from cluster.Member, data []byte) ([]byte, error) {
	var of lent
	if err := read(data, &of); err != nil {
		return nil, err
	}
	if err := validKinds(of.Kinds); err != nil {
		return nil, err
	}
	if owner, ok := p.Nodes.Owner(of.Room); !ok || owner.ID != p.Nodes.Self().ID {
		return nil, fault.New(fault.Unavailable, "the room is not this node's").After(retryAfter)
	}
	defer p.Nodes.Hold(of.Room)()
	publication, err := p.Rooms.Publish(rooms.PublishRequest{
		Room: of.Room, Publisher: of.Publisher, Subject: of.Subject, Session: of.Session, Client: of.Client, Who: of.Who,
		Label: of.Label, Role: of.Role, Silent: of.Silent, Muted: of.Muted, Lender: from.ID,
	})
	if err != nil {
		return nil, err
	}
	peer, err := p.receive(ctx, from, of)
	if err != nil {
		publication.Close()
		return nil, err
	}
	if !p.work(func() { p.feed(from, of, peer, publication) }) {
		publication.Close()
		peer.Close()
		return nil, fault.New(fault.Unavailable, "the gateway is shutting down").After(retryAfter)
	}
	return nil, nil
}

// work has f run until it returns, which it does when p.ctx is done; false if the puller has closed.
func (p *Puller) work(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.workers.Go(f)
	}
	return !p.closed
}

func validKinds(kinds []media.Kind) error {
	for _, known := range pairs {
		if slices.Equal(kinds, known) {
			return nil
		}
	}
	return fault.New(fault.BadRequest, "a publisher on loan has audio, video or both, in this order; got %q", kinds)
}

// receive makes the session that brings a borrowed publisher's tracks, with the node that lends it.
func (p *Puller) receive(ctx context.Context, from cluster.Member, of lent) (*rtc.Session, error) {
	offer, err := p.Peers.Offer(rtc.OfferRequest{Kinds: of.Kinds})
	if err != nil {
		return nil, err
	}
	var answer loanAnswer
	data, err := json.Marshal(loanOffer{of.Loan, string(offer.SDP())})
	if err == nil {
		data, err = p.Nodes.Call(ctx, from, verbLoanOffer, data)
	}
	if err == nil {
		err = read(data, &answer)
	}
	if err != nil {
		offer.Close()
		return nil, err
	}
	peer, err := offer.Accept([]byte(answer.SDP))
	if err != nil {
		return nil, fault.New(fault.Unavailable, "node %q has sent an answer that can't be used: %w", from.Name, err)
	}
	return peer, nil
}

// feed feeds a room with a borrowed publisher, until its session ends or the room has it no more.
func (p *Puller) feed(from cluster.Member, of lent, peer *rtc.Session, publication *rooms.Publication) {
	log := p.log.With("room", of.Room, "publisher", of.Publisher, "session", of.Session, "node", from.Name)
	defer publication.Close()
	ctx, end := context.WithCancelCause(p.ctx)
	var feeding sync.WaitGroup
	feeding.Go(func() {
		err := connected(ctx, peer)
		if err == nil {
			log.Info("publisher that another node has is shown")
			err = publication.Run(ctx, peer.Sources()...)
		}
		for word, cause := range loanCauses {
			if errors.Is(err, cause) {
				p.giveBack(from, loanEnd{of.Loan, word})
			}
		}
		end(ended(err))
	})
	feeding.Go(func() { end(p.gone(ctx, from)) })
	err := peer.Run(ctx)
	end(err)
	feeding.Wait()
	log.Info("publisher that another node has is shown no more", "cause", rtc.Cause(context.Cause(ctx)), "err", rtc.Detail(context.Cause(ctx)))
}

// ended says by which cause a session ends when what it plays or feeds has.
func ended(err error) error {
	for cause, end := range map[error]rtc.End{
		rooms.ErrGone: rtc.Gone, rooms.ErrMoved: rtc.Moved, rooms.ErrCodec: rtc.Codec, rooms.ErrClosed: rtc.Draining,
		rooms.ErrReplaced: rtc.Replaced, rooms.ErrRemoved: rtc.Removed,
	} {
		if errors.Is(err, cause) {
			return end
		}
	}
	if fault.KindOf(err) != "" { // others have taken the name, or the last place
		return fmt.Errorf("%w: %w", rtc.CrowdedOut, err)
	}
	return err
}

// gone returns when a node is gone, or ctx is done.
func (p *Puller) gone(ctx context.Context, node cluster.Member) error {
	changed, stop := p.Nodes.Watch()
	defer stop()
	for {
		if _, ok := p.Nodes.Member(node.ID); !ok {
			return errLost
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// giveBack tells the node that lends a publisher why the room has it no more.
func (p *Puller) giveBack(to cluster.Member, e loanEnd) {
	ctx, cancel := context.WithTimeout(p.ctx, reportTimeout)
	defer cancel()
	data, err := json.Marshal(e)
	if err == nil {
		_, err = p.Nodes.Call(ctx, to, verbLoanEnd, data)
	}
	if err != nil {
		p.log.Warn("a node was not told why its publisher is not shown any more", "node", to.Name, "cause", e.Cause, "err", err)
	}
}
