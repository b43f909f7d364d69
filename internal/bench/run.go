package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	joinTimeout  = 15 * time.Second // of one session: POST, ICE, DTLS
	maxJoining   = 64               // sessions that are made at a time
	liveTimeout  = 5 * time.Second  // how long a published stream may take to be playable
	liveInterval = 100 * time.Millisecond

	settleTime = 500 * time.Millisecond // between the joins and the window

	// What is on its way at the window's end has drainTime to arrive; it is looked for every
	// drainInterval.
	drainTime, drainInterval = time.Second, 20 * time.Millisecond

	leaveTimeout = 10 * time.Second // for all DELETEs, and as long as -rate wants besides

	tick = 100 * time.Millisecond // of the viewers' reports
	// Each peer has its turn to report every reportTicks, and to ask for consent (RFC 7675)
	// every consentTicks.
	reportTicks, consentTicks = 10, 50

	wantedBuffer = 32 << 20 // asked of the system for what comes to all peers, in bytes
)

// A run is one measurement.
type run struct {
	config      Config
	client      *client
	net         *network
	server      netip.Addr // of the WHIP endpoint
	certificate tls.Certificate
	fingerprint string
	measuring   atomic.Bool

	totals totals // guarded by net.mu
	heard  heard  // likewise

	recordings recordings
	speaking   sync.WaitGroup // voices

	mu         sync.Mutex // guards what follows
	phase      string
	publishers []*publisher
	viewers    []*viewer
	voices     int
	listeners  []*listener
	peers      []*peer // of all whose DTLS is done
	sessions   []session
	profiles   map[string]int
	connected  []time.Duration
	reasons    map[string]int
	asked      int // joins
	failed     int

	undeleted    int   // sessions
	undeletedWhy error // of the last
	vanished     bool  // the server's process
}

// A session is to be deleted at the end.
type session struct {
	url   *url.URL
	token string
}

// Run makes the load that c describes and measures it. It calls show once a second, never
// concurrently. When ctx is done it ends early, and reports nevertheless; it deletes its
// sessions in any case. The error is not nil if the measurement could not begin.
func Run(ctx context.Context, c Config, show func(Progress)) (*Report, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.PID != 0 {
		if _, _, err := processUsage(c.PID); err != nil {
			return nil, fmt.Errorf("-pid: %w", err)
		}
	}
	r := &run{config: c, client: newClient(), profiles: make(map[string]int), reasons: make(map[string]int)}
	defer r.client.close()
	var err error
	if r.server, err = resolve(ctx, numbered(c.WHIP, 0)); err != nil {
		return nil, err
	}
	if r.certificate, r.fingerprint, err = newCertificate(); err != nil {
		return nil, err
	}
	if c.Voices > 0 {
		if r.recordings, err = record(c.Quiet); err != nil {
			return nil, err
		}
	}
	if r.net, err = newNetwork(r.server); err != nil {
		return nil, err
	}
	defer r.net.close()

	// What runs until the sessions are deleted.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { r.net.run(life) })
	background.Go(func() { r.upkeep(life) })
	background.Go(func() { r.show(life, show) })
	var publishing sync.WaitGroup
	report := r.measure(ctx, life, &publishing)
	r.leave(life)
	for _, p := range r.peers { // whoever joins has done so, or has given up
		p.close()
	}
	end()
	publishing.Wait()
	r.speaking.Wait()
	background.Wait()
	r.complete(report)
	return report, nil
}

// resolve returns the address of the server that the endpoint names.
func resolve(ctx context.Context, endpoint string) (netip.Addr, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return netip.Addr{}, err
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("-whip: %w", err)
	}
	for _, a := range found {
		if a.Unmap().Is4() {
			return a.Unmap(), nil
		}
	}
	return found[0].Unmap(), nil
}

// measure publishes, joins and measures. It returns what only its moments tell; complete
// adds the rest.
func (r *run) measure(ctx, life context.Context, publishing *sync.WaitGroup) *Report {
	c := r.config
	report := &Report{}
	r.net.mu.Lock()
	r.totals.began = time.Now().UnixNano()
	r.net.mu.Unlock()

	r.enter("publishing")
	r.ramp(ctx, c.Streams, func(i int) error { return r.publish(ctx, life, i, publishing) })
	r.ramp(ctx, c.Voices, func(i int) error { return r.speak(ctx, life, i) })
	before := r.usage()
	r.enter("joining")
	published := r.published()
	r.ramp(ctx, c.Streams*c.Viewers, func(i int) error {
		stream := i % c.Streams // they take turns
		since, ok := published[stream]
		if !ok {
			return errors.New("play: its stream could not be published")
		}
		return r.play(ctx, stream, since)
	})
	r.ramp(ctx, c.Voices, func(i int) error { return r.listen(ctx, i) })
	joined := r.usage()
	from := r.usage()
	if r.progress().Joined > 0 && ctx.Err() == nil {
		r.pause(ctx, settleTime)
		r.enter("measuring")
		from = r.usage()
		r.measuring.Store(true)
		r.pause(ctx, c.Duration)
		r.measuring.Store(false)
	}
	to := r.usage()
	report.EndedEarly = ctx.Err() != nil
	r.drain(life)
	r.enter("leaving")
	r.compare(report, before, joined, from, to)
	return report
}

// drain waits for what is on its way.
func (r *run) drain(life context.Context) {
	for end := time.Now().Add(drainTime); time.Now().Before(end); r.pause(life, drainInterval) {
		expected, _ := r.expected()
		r.net.mu.Lock()
		received := r.totals.received
		r.net.mu.Unlock()
		if received >= expected {
			return
		}
	}
}

func (r *run) enter(phase string) {
	r.mu.Lock()
	r.phase = phase
	r.mu.Unlock()
}

// pause waits for d, or until ctx is done.
func (r *run) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// ramp calls join n times, -rate a second, at most maxJoining at a time, and waits for all.
func (r *run) ramp(ctx context.Context, n int, join func(i int) error) {
	var g errgroup.Group
	g.SetLimit(maxJoining)
	start := time.Now()
	for i := range n {
		r.pause(ctx, time.Until(start.Add(time.Duration(float64(i)/r.config.Rate*float64(time.Second)))))
		if ctx.Err() != nil {
			break
		}
		r.mu.Lock()
		r.asked++
		r.mu.Unlock()
		g.Go(func() error {
			if err := join(i); err != nil && ctx.Err() == nil {
				r.mu.Lock()
				r.failed++
				r.reasons[err.Error()]++
				r.mu.Unlock()
			}
			return nil
		})
	}
	_ = g.Wait() // failures are counted
}

// publish makes a publisher and lets it run.
func (r *run) publish(ctx, life context.Context, n int, publishing *sync.WaitGroup) error {
	p := newPublisher(n, r.config, &r.measuring)
	j := joining{
		peer: p.peer, endpoint: numbered(r.config.WHIP, n), token: numbered(r.config.WHIPToken, n), srtp: "auto",
		offer: offer{publish: true, stream: fmt.Sprintf("bench%d", n), videoSSRC: p.video.ssrc, audioSSRC: p.audio.ssrc},
	}
	k, a, err := r.join(ctx, &j)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	r.net.mu.Lock()
	err = p.start(k, a)
	p.peer.connected = true
	r.net.mu.Unlock()
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	r.mu.Lock()
	p.began = time.Now()
	r.publishers = append(r.publishers, p)
	r.mu.Unlock()
	publishing.Go(func() { p.run(life) })
	return nil
}

// published returns when each stream that could be published began.
func (r *run) published() map[int]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[int]time.Time)
	for _, p := range r.publishers {
		out[int(p.number)] = p.began
	}
	return out
}

// play makes a viewer of a stream that is published since then.
func (r *run) play(ctx context.Context, stream int, since time.Time) error {
	v := &viewer{stream: uint16(stream), totals: &r.totals, ssrc: rand.Uint32() | 1}
	v.peer = newPeer(v)
	var began time.Time
	j := joining{
		peer: v.peer, endpoint: numbered(r.config.WHEP, stream), token: numbered(r.config.WHEPToken, stream), srtp: r.config.SRTP,
		retryUntil: since.Add(liveTimeout),
		posting: func() {
			began = time.Now()
			r.net.mu.Lock()
			v.began = began.UnixNano()
			r.net.mu.Unlock()
		},
	}
	k, a, err := r.join(ctx, &j)
	if err != nil {
		return fmt.Errorf("play: %w", err)
	}
	took := time.Since(began)
	r.net.mu.Lock()
	err = v.start(k, a, r.config.Codec)
	v.peer.connected = true
	r.net.mu.Unlock()
	if err != nil {
		return fmt.Errorf("play: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.viewers = append(r.viewers, v)
	r.profiles[profileName(k.profile)]++
	r.connected = append(r.connected, took)
	return nil
}

// A joining is what one session is made of.
type joining struct {
	peer            *peer
	offer           offer // what is particular
	endpoint, token string
	srtp            string

	// retryUntil is until when a server that does not know the stream yet is asked again.
	retryUntil time.Time
	posting    func() // is called right before each POST; may be nil
}

// join makes a session: POST, ICE, DTLS.
func (r *run) join(ctx context.Context, j *joining) (keyring, *answer, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	p := j.peer
	if err := r.net.open(p, r.server); err != nil {
		return keyring{}, nil, err
	}
	o := &j.offer
	o.codec, o.audio, o.fingerprint = r.config.Codec, r.config.Audio, r.fingerprint
	o.ufrag, o.pwd, o.candidate = p.ufrag, p.pwd, p.end.address()
	text, err := r.post(ctx, j)
	if err != nil {
		return keyring{}, nil, err
	}
	a, err := parseAnswer(text)
	if err != nil {
		return keyring{}, nil, err
	}
	if err := r.reach(p, a); err != nil {
		return keyring{}, nil, err
	}
	if err := p.connect(ctx, a); err != nil {
		return keyring{}, nil, err
	}
	conn, k, err := handshake(ctx, p.records, r.certificate, a, profiles(j.srtp))
	if err != nil {
		return keyring{}, nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p.conn = conn
	r.peers = append(r.peers, p)
	return k, a, nil
}

// post posts the offer and keeps the session's URL. It is not cut short when ctx is done:
// the server may have made a session by then, and nobody would know which.
func (r *run) post(ctx context.Context, j *joining) (string, error) {
	for {
		if j.posting != nil {
			j.posting()
		}
		text, at, err := r.client.post(context.WithoutCancel(ctx), j.endpoint, j.token, j.offer.text())
		if at != nil {
			r.mu.Lock()
			r.sessions = append(r.sessions, session{at, j.token})
			r.mu.Unlock()
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		refused, ok := errors.AsType[*refusal](err)
		early := ok && (refused.status == http.StatusNotFound || refused.status == http.StatusConflict)
		if !early || time.Now().After(j.retryUntil) {
			return text, err
		}
		r.pause(ctx, liveInterval)
	}
}

// reach gives p another endpoint if the one that was offered reaches none of the answer's
// candidates: a server that HTTP reaches on loopback may have its media elsewhere. It learns
// the new address from checks.
func (r *run) reach(p *peer, a *answer) error {
	local := p.end.address().Addr()
	for _, c := range a.candidates {
		if reaches(local, c.Addr()) {
			return nil
		}
	}
	if len(a.candidates) == 0 {
		return errors.New("the answer has no UDP candidate")
	}
	return r.net.open(p, a.candidates[0].Addr())
}

// upkeep sends what viewers and publishers have to send now and then: reports, requests for
// keyframes, consent checks.
func (r *run) upkeep(life context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for turn := 0; ; turn++ {
		select {
		case <-life.Done():
			return
		case now := <-ticker.C:
			r.mu.Lock()
			viewers, listeners, peers := r.viewers, r.listeners, r.peers
			r.mu.Unlock()
			for i := turn % reportTicks; i < len(viewers); i += reportTicks {
				r.net.mu.Lock()
				viewers[i].report(now.UnixNano())
				r.net.mu.Unlock()
			}
			for i := turn % reportTicks; i < len(listeners); i += reportTicks {
				r.net.mu.Lock()
				listeners[i].report(now.UnixNano())
				r.net.mu.Unlock()
			}
			for i := turn % consentTicks; i < len(peers); i += consentTicks {
				peers[i].consent()
			}
		}
	}
}

// leave deletes all sessions, those of viewers first, -rate a second.
func (r *run) leave(life context.Context) {
	n := len(r.sessions)
	ctx, cancel := context.WithTimeout(life, leaveTimeout+time.Duration(float64(n)/r.config.Rate*float64(time.Second)))
	defer cancel()
	var g errgroup.Group
	g.SetLimit(maxJoining)
	start := time.Now()
	for i := range n {
		s := r.sessions[n-1-i]
		r.pause(ctx, time.Until(start.Add(time.Duration(float64(i)/r.config.Rate*float64(time.Second)))))
		g.Go(func() error {
			if err := r.delete(ctx, s); err != nil {
				r.mu.Lock()
				r.undeleted, r.undeletedWhy = r.undeleted+1, err
				r.mu.Unlock()
			}
			return nil
		})
	}
	_ = g.Wait() // failures are counted
}

// delete ends a session; it tries again as long as the server says so.
func (r *run) delete(ctx context.Context, s session) error {
	for {
		err := r.client.delete(ctx, s.url, s.token)
		refused, ok := errors.AsType[*refusal](err)
		if !ok || refused.retryAfter == 0 || ctx.Err() != nil {
			return err
		}
		r.pause(ctx, refused.retryAfter)
	}
}
