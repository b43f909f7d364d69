package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"sightline/internal/fault"
)

// A bus is how nodes reach one another. Tests of the directory have one in memory.
type bus interface {
	// tell sends data to all others; there is no answer. It never blocks on the network.
	tell(topic string, data []byte) error
	// onTell sets what is called with what others tell, in the order of each sender; before
	// run. from is the sender's id. f may take a lock but not block on the network.
	onTell(topic string, f func(from string, data []byte))
	// call asks the node with the id to. Errors are faults that keep kind and detail:
	// fault.Unavailable at once when nobody is there under that id.
	call(ctx context.Context, to, verb string, data []byte) ([]byte, error)
	onCall(verb string, f func(ctx context.Context, from string, data []byte) ([]byte, error))
	connected() bool
}

const (
	// Handlers that run at once. One beyond is refused: the caller can tell its client to
	// come again, and a queue would only make all of them late.
	maxCalls   = 512
	maxStreams = 4096 // handlers, and readers: a viewer's event stream is one

	// What waits to be sent by those who must not wait.
	maxPosts     = 4096
	maxPostBytes = 16 << 20

	// What has come and waits for the node to read it. Reading is quick; NATS drops what is
	// beyond, the directory asks again, and a stream sees the gap.
	maxIncoming      = 64 << 10
	maxIncomingBytes = 64 << 20

	defaultBudget = 10 * time.Second // of a call whose context has no end
	maxBudget     = time.Minute
)

// retryAfter is when it makes sense to try again what found a node gone or full.
const retryAfter = time.Second

type (
	callFunc   func(ctx context.Context, from string, data []byte) ([]byte, error)
	streamFunc func(ctx context.Context, from string, data []byte, send func([]byte) error) error
)

// A natsBus is a bus over NATS. Streams go over it as well (stream.go).
type natsBus struct {
	id    string // this node's
	group string
	conn  *nats.Conn
	log   *slog.Logger

	// Set before run.
	tells   map[string]func(from string, data []byte)
	calls   map[string]callFunc
	streams map[string]streamFunc

	all, inbox *nats.Subscription // from listen on

	posts     chan post
	postBytes atomic.Int64
	closed    chan struct{}  // closes the writer
	writer    sync.WaitGroup // of it alone

	number   atomic.Uint64 // the last that a call or stream of this node had
	refused  atomic.Uint64 // for want of a place
	dropped  atomic.Uint64 // posts that could not be sent
	slow     atomic.Uint64 // streams whose reader was
	pending  atomic.Int64  // bytes that readers have not read
	handlers sync.WaitGroup
	stats    stats

	pingEvery, silence time.Duration // of streams; tests shorten them

	mu        sync.Mutex // guards what follows
	ended     bool       // run has; nothing begins any more
	waiters   map[*waiter]struct{}
	readers   map[uint64]*Stream
	served    map[served]*serving
	liveCalls int // of those in served
	liveSends int // likewise streams
}

// A post is a message that somebody sends who must not wait.
type post struct {
	subject string
	data    []byte
}

// A waiter is a call of this node that has no answer yet.
type waiter struct {
	to     string
	cancel context.CancelCauseFunc
}

// served names a call or stream of another node that this one serves.
type served struct {
	from   string
	number uint64
}

type serving struct {
	cancel context.CancelCauseFunc
	stream *sender // nil: a call
}

// newBus returns the bus of the node id, whose owner calls run, and then close.
func newBus(id, group string, conn *nats.Conn, log *slog.Logger) *natsBus {
	b := &natsBus{
		id: id, group: group, conn: conn, log: log,
		tells:     make(map[string]func(string, []byte)),
		calls:     make(map[string]callFunc),
		streams:   make(map[string]streamFunc),
		posts:     make(chan post, maxPosts),
		closed:    make(chan struct{}),
		waiters:   make(map[*waiter]struct{}),
		readers:   make(map[uint64]*Stream),
		served:    make(map[served]*serving),
		pingEvery: 5 * time.Second,
		silence:   15 * time.Second,
	}
	b.writer.Go(b.write)
	return b
}

func (b *natsBus) onTell(topic string, f func(from string, data []byte)) {
	register(b.tells, topic, f)
}

func (b *natsBus) onCall(verb string, f func(ctx context.Context, from string, data []byte) ([]byte, error)) {
	register(b.calls, verb, f)
}

func (b *natsBus) onStream(verb string, f streamFunc) { register(b.streams, verb, f) }

// register panics on what is wrong in the program: two owners of a verb, or a verb that is none.
func register[F any](m map[string]F, verb string, f F) {
	if _, twice := m[verb]; twice || !verbPattern.MatchString(verb) {
		panic(fmt.Sprintf("cluster: %q is no verb (\"a-z0-9-\", or two with a dot), or is handled twice", verb))
	}
	m[verb] = f
}

func (b *natsBus) connected() bool { return b.conn.IsConnected() }

func (b *natsBus) toAll(topic string) string        { return subject(b.group, "t", b.id, topic) }
func (b *natsBus) toNode(id, what string) string    { return subject(b.group, "n", id, what, b.id) }
func (b *natsBus) toVerb(id, what, v string) string { return b.toNode(id, what) + "." + v }

func (b *natsBus) tell(topic string, data []byte) error {
	if err := checkSize("what is told", data); err != nil {
		return err
	}
	return b.post(b.toAll(topic), data)
}

// post sends without waiting; the data must not be changed any more.
func (b *natsBus) post(subject string, data []byte) error {
	size := int64(len(data))
	if b.postBytes.Add(size) > maxPostBytes {
		return b.unposted(size)
	}
	select {
	case <-b.closed:
		return b.unposted(size)
	default:
	}
	select {
	case b.posts <- post{subject, data}:
		return nil
	default:
		return b.unposted(size)
	}
}

func (b *natsBus) unposted(size int64) error {
	b.postBytes.Add(-size)
	b.dropped.Add(1)
	return fault.New(fault.Unavailable, "this node can't send to the others, too much waits already").After(retryAfter)
}

// write sends what is posted, until close; then what is left.
func (b *natsBus) write() {
	for {
		select {
		case p := <-b.posts:
			b.send(p)
			continue
		case <-b.closed:
		}
		select {
		case p := <-b.posts:
			b.send(p)
		default:
			return
		}
	}
}

func (b *natsBus) send(p post) {
	b.postBytes.Add(-int64(len(p.data)))
	if err := b.conn.Publish(p.subject, p.data); err != nil {
		b.dropped.Add(1) // what is posted may be lost, and the connection's loss is in the log
	}
}

// listen makes that other nodes find this one; what comes waits for run.
func (b *natsBus) listen() (err error) {
	if b.all, err = b.subscribe(subject(b.group, "t", ">")); err != nil {
		return err
	}
	if b.inbox, err = b.subscribe(subject(b.group, "n", b.id, ">")); err != nil {
		return err
	}
	if b.connected() {
		// Whoever hears of this node can call it.
		_ = b.conn.FlushTimeout(time.Second)
	}
	return nil
}

// run takes what comes from other nodes until ctx is done. Then it ends what is under way,
// and waits for it.
func (b *natsBus) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var readers sync.WaitGroup
	readers.Go(func() { b.read(ctx, b.all, b.told) })
	readers.Go(func() { b.read(ctx, b.inbox, func(m *nats.Msg) { b.reached(ctx, m) }) })
	readers.Go(func() { b.keepStreams(ctx) })
	readers.Wait()
	_ = b.all.Unsubscribe() // it fails if the connection is closed, and then there is nothing to do
	_ = b.inbox.Unsubscribe()
	b.endAll()
	b.handlers.Wait()
}

func (b *natsBus) subscribe(subject string) (*nats.Subscription, error) {
	sub, err := b.conn.SubscribeSync(subject)
	if err == nil {
		err = sub.SetPendingLimits(maxIncoming, maxIncomingBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	return sub, nil
}

// read hands on what comes, one after the other.
func (b *natsBus) read(ctx context.Context, sub *nats.Subscription, f func(*nats.Msg)) {
	for {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case err == nil:
			f(m)
		case ctx.Err() != nil || errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrBadSubscription):
			return
		case errors.Is(err, nats.ErrSlowConsumer): // perhaps between any two messages; the engine logs it now and then
		default:
			b.log.Warn("messages of other nodes are lost", "err", err)
		}
	}
}

// told takes what another node tells all.
func (b *natsBus) told(m *nats.Msg) {
	rest, ok := strings.CutPrefix(m.Subject, subject(b.group, "t", ""))
	from, topic, ok2 := strings.Cut(rest, ".")
	f := b.tells[topic]
	if !ok || !ok2 || f == nil || from == b.id || !validID(from) || len(m.Data) > maxData {
		return
	}
	f(from, m.Data)
}

// reached takes what another node sends to this one. It never waits.
func (b *natsBus) reached(ctx context.Context, m *nats.Msg) {
	rest, _ := strings.CutPrefix(m.Subject, subject(b.group, "n", b.id, ""))
	what, rest, _ := strings.Cut(rest, ".")
	from, verb, _ := strings.Cut(rest, ".")
	if !validID(from) {
		return
	}
	switch what {
	case "c", "o":
		if r, ok := parseRequest(m.Data); ok && m.Reply != "" {
			b.serve(ctx, what == "o", from, verb, m.Reply, r)
		}
	case "x":
		if number, ok := parseNumber(m.Data); ok {
			b.end(served{from, number}, errCallerGone)
		}
	case "d":
		if f, ok := parseFrame(m.Data); ok {
			b.take(from, f)
		}
	}
}

var errCallerGone = errors.New("the caller does not wait any more")

// refuse answers without a handler.
func (b *natsBus) refuse(reply string, err error) {
	_ = b.post(reply, marshalAnswer(nil, err)) // lost, the caller waits for its deadline
}

// serve begins a handler, if there is one and a place for it.
func (b *natsBus) serve(ctx context.Context, stream bool, from, verb, reply string, r request) {
	call, open := b.calls[verb], b.streams[verb]
	if stream && open == nil || !stream && call == nil {
		// A node of another version, in the middle of an upgrade: asking it again is of no use.
		b.refuse(reply, fault.New(fault.NotFound, "node %s does not know %q", b.id, verb))
		return
	}
	if stream {
		b.serveStream(ctx, open, from, verb, reply, r)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, r.budget)
	key := served{from, r.number}
	ctx, err := b.begin(ctx, key, nil)
	if err != nil {
		cancel()
		b.refuse(reply, err)
		return
	}
	b.handlers.Go(func() {
		defer cancel()
		defer b.done(key)
		var answer []byte
		err := b.guard(verb, func() (err error) {
			answer, err = call(ctx, from, r.data)
			return err
		})
		_ = b.conn.Publish(reply, marshalAnswer(answer, err)) // lost, the caller waits for its deadline
	})
}

// begin takes a place for a handler, and returns its context, which ends with the caller.
// The handler's goroutine gives the place back by done.
func (b *natsBus) begin(ctx context.Context, key served, s *sender) (context.Context, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	live, most := &b.liveCalls, maxCalls
	if s != nil {
		live, most = &b.liveSends, maxStreams
	}
	switch {
	case b.ended:
		return nil, fault.New(fault.Unavailable, "node %s is going away", b.id).After(retryAfter)
	case *live >= most:
		b.refused.Add(1)
		return nil, fault.New(fault.Unavailable, "node %s is too busy", b.id).After(retryAfter)
	case b.served[key] != nil:
		return nil, fault.New(fault.Conflict, "number %d is in use", key.number)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	b.served[key] = &serving{cancel, s}
	*live++
	return ctx, nil
}

func (b *natsBus) done(key served) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.served[key]
	if s.stream != nil {
		b.liveSends--
	} else {
		b.liveCalls--
	}
	delete(b.served, key)
	s.cancel(nil)
}

// end ends the context of a handler, if it still runs.
func (b *natsBus) end(key served, cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.served[key]; s != nil {
		s.cancel(cause)
	}
}

// guard runs a handler; its panic is its caller's error, and no more.
func (b *natsBus) guard(verb string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			b.log.Error("a handler of the cluster has panicked", "verb", verb, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("%s panicked: %v", verb, p)
		}
	}()
	return f()
}

func (b *natsBus) call(ctx context.Context, to, verb string, data []byte) (answer []byte, err error) {
	start := time.Now()
	defer func() { b.stats.count(verb, err, time.Since(start)) }()
	return b.request(ctx, "c", to, verb, b.number.Add(1), data)
}

// request sends a call, or what opens a stream, and waits for the answer.
func (b *natsBus) request(ctx context.Context, what, to, verb string, number uint64, data []byte) ([]byte, error) {
	if err := checkSize("the call", data); err != nil {
		return nil, err
	}
	if !validID(to) || !verbPattern.MatchString(verb) {
		return nil, fault.New(fault.Unavailable, "there is no node %q", to)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(defaultBudget)
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	ctx, release, err := b.await(ctx, to)
	if err != nil {
		return nil, err
	}
	defer release()
	r := request{number, time.Until(deadline), data}
	m, err := b.conn.RequestWithContext(ctx, b.toVerb(to, what, verb), r.marshal())
	if err == nil {
		return parseAnswer(m.Data)
	}
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, goneFault(to)
	}
	if ctx.Err() == nil {
		return nil, fault.New(fault.Unavailable, "node %s can't be reached: %w", to, err).After(retryAfter)
	}
	// It may be at work.
	_ = b.post(b.toNode(to, "x"), marshalNumber(number))
	if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
		return nil, cause
	}
	return nil, fault.New(fault.Unavailable, "node %s did not answer in time", to).After(retryAfter)
}

func goneFault(id string) error {
	return fault.New(fault.Unavailable, "node %s is gone", id).After(retryAfter)
}

var errEnding = fault.New(fault.Unavailable, "this node is going away").After(retryAfter)

// await returns a context that also ends when the node to is gone, or run ends.
func (b *natsBus) await(ctx context.Context, to string) (context.Context, func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return nil, nil, errEnding
	}
	ctx, cancel := context.WithCancelCause(ctx)
	w := &waiter{to, cancel}
	b.waiters[w] = struct{}{}
	return ctx, func() {
		b.mu.Lock()
		delete(b.waiters, w)
		b.mu.Unlock()
		cancel(nil)
	}, nil
}

// gone ends all that is between this node and another, whose lease has ended.
func (b *natsBus) gone(id string) {
	err := goneFault(id)
	b.endWhere(func(other string) bool { return other == id }, err)
}

// endAll ends everything that is under way, and lets nothing begin.
func (b *natsBus) endAll() {
	b.mu.Lock()
	b.ended = true
	b.mu.Unlock()
	b.endWhere(func(string) bool { return true }, errEnding)
}

func (b *natsBus) endWhere(with func(id string) bool, cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.waiters {
		if with(w.to) {
			w.cancel(cause)
		}
	}
	for key, s := range b.served {
		if with(key.from) {
			s.cancel(cause)
		}
	}
	for number, s := range b.readers {
		if with(s.to) {
			delete(b.readers, number)
			s.fail(cause)
		}
	}
}

// close sends what is still posted. After run, or without it.
func (b *natsBus) close() {
	b.endAll()
	close(b.closed)
	b.writer.Wait()
}
