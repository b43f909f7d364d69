package rtc

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"

	"sightline/internal/media"
	"sightline/internal/rtpstream"
	"sightline/internal/sdp"
)

const (
	publisherQueue = 2048 // datagrams that wait for a publisher's session: some 4K keyframes
	viewerQueue    = 64   // a viewer sends reports only

	// RTP that is kept until a pull has its keys. The sender is the DTLS server, so it has its keys
	// first, and begins with a keyframe: without its beginning the pull would ask for another.
	maxEarly = 256

	// Between two looks at what is due: while packets of a publisher are missing, and else at
	// most. A machine that has little to do pays most for being woken.
	hurry = 10 * time.Millisecond
	rest  = time.Second

	maxOldUfrags = 8 // restarts whose credentials are remembered as used up
)

// An AnswerRequest says what kind of session shall answer an offer.
type AnswerRequest struct {
	Offer   *sdp.Offer
	Publish bool   // WHIP: receive; else WHEP: send
	Client  string // User-Agent

	Send   map[media.Kind]media.Codec // WHEP: the codec that is live, for each kind to send
	Stream string                     // WHEP: the msid stream id
}

// A Session is one peer. It goes
//
//	answered ──▶ checked ──▶ connected ──▶ closed
//	    └───────────┴──────────────────────▲
//
// and never back. One that is not checked yet, because no check of its client has come, costs
// little and ends soon. Its Run goroutine owns what it receives; sending is guarded by seal.
type Session struct {
	seal sealer
	path atomic.Pointer[path] // nil until ICE has selected one

	engine      *Engine
	udp         *socket // the engine's, or its own
	request     AnswerRequest
	answer      *sdp.Answer // the gateway's, or the other side's to its offer
	offers      bool        // the gateway has made the offer: it controls ICE (RFC 8445, section 6.1.1)
	receives    bool
	ffmpeg      bool // hangs for good on close_notify
	reducedSize bool // RFC 5506

	in        chan datagram // made with the first check: a publisher's takes 160 KiB
	checked   chan struct{} // closed once a check of the client has come
	checkOnce sync.Once
	wake      chan struct{} // the path has changed, or there are new candidates
	connected chan struct{} // closed once DTLS is up
	closed    chan struct{} // closed once the session has ended
	closeOnce sync.Once

	early     []datagram    // of the session's goroutine: RTP that is there before the keys are
	lastMedia moment        // of the last packet with a valid tag
	rtcp      rtcpBudget    // of the session's goroutine
	discarded atomic.Uint64 // packets without a valid tag, or of nobody
	opener    opener        // of the session's goroutine
	receiver  *receiver     // of a publisher
	sinks     []*LocalTrack // of a viewer
	consent   consent
	transport *dtlsTransport

	mu       sync.Mutex // guards what follows
	running  bool
	current  *generation      // the newest: trickled candidates and ETags are its
	retired  []*generation    // older ones that are not closed yet
	oldUsed  []string         // remote ufrags of older generations
	remotes  []netip.AddrPort // what comes from there is the session's; the oldest first
	state    string
	exempted bool
}

// Answer makes a session that answers the offer. It is registered at the socket but does
// nothing until Run; a session that is never run has to be closed. The error is a
// fault.Unprocessable if the offer can't be answered.
func (e *Engine) Answer(r AnswerRequest) (*Session, error) {
	s := e.newSession(e.udp)
	s.request, s.receives = r, r.Publish
	s.ffmpeg = r.Offer.SessionName == "FFmpegPublishSession" || strings.HasPrefix(r.Client, "Lavf/")
	g, err := newGeneration(s, r.Offer.Ufrag, r.Offer.Pwd)
	if err != nil {
		return nil, err
	}
	answer, err := r.Offer.Answer(sdp.Request{
		Publish: r.Publish, Send: r.Send,
		Ufrag: g.ufrag, Pwd: g.pwd, Fingerprint: e.fingerprint, Candidates: e.candidates(s.udp, e.tcp != nil),
		Stream: r.Stream, CNAME: r.Stream, RTCPMuxOnly: e.config.RTCPMuxOnly, SSRC: newSSRC,
	})
	if err != nil {
		g.close()
		return nil, err
	}
	s.current = g
	s.settle(answer)
	g.remoteUfrag, g.remotePwd = answer.Remote.Ufrag, answer.Remote.Pwd
	s.udp.addUfrag(g.ufrag, g)
	if r.Publish {
		s.receiver = newReceiver(s, answer.Sections)
	} else {
		for i := range answer.Sections {
			s.sinks = append(s.sinks, newLocalTrack(s, &answer.Sections[i]))
		}
	}
	g.add(answer.Remote.Candidates, answer.Remote.EndOfCandidates)
	e.add(s)
	return s, nil
}

func (e *Engine) newSession(udp *socket) *Session {
	s := &Session{
		engine: e, udp: udp,
		checked: make(chan struct{}), wake: make(chan struct{}, 1),
		connected: make(chan struct{}), closed: make(chan struct{}),
		state: "new",
	}
	s.seal.session, s.seal.ssrc = s, newSSRC()
	s.transport = newDTLSTransport(s)
	return s
}

// add makes a session one of the engine's.
func (e *Engine) add(s *Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sessions[s] = struct{}{}
}

// settle takes what was negotiated.
func (s *Session) settle(a *sdp.Answer) {
	s.answer = a
	for _, section := range a.Sections {
		// All sections share one transport; FFmpeg says it of video only.
		s.reducedSize = s.reducedSize || section.ReducedSize
	}
}

func newSSRC() uint32 {
	var b [4]byte
	for {
		_, _ = rand.Read(b[:])
		if v := binary.BigEndian.Uint32(b[:]); v != 0 {
			return v
		}
	}
}

// SDP is the answer, whoever has made it.
func (s *Session) SDP() []byte { return s.answer.SDP }

// ETag is the strong entity tag of the newest ICE session (RFC 9725, section 4.3.1), with
// its quotes.
func (s *Session) ETag() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.etag
}

// Offer is what the session answered: fragments refer to it. It is nil where the gateway
// has offered itself.
func (s *Session) Offer() *sdp.Offer { return s.request.Offer }

// Codecs are the first negotiated ones of each accepted kind.
func (s *Session) Codecs() map[media.Kind]media.Codec {
	out := make(map[media.Kind]media.Codec)
	for _, section := range s.answer.Sections {
		out[section.Kind] = section.Formats[0].Codec
	}
	return out
}

// Sources are a publisher's tracks, or a pull's; Sinks a viewer's. They are there from the
// beginning.
func (s *Session) Sources() []media.Source {
	var out []media.Source
	if s.receiver != nil {
		for _, t := range s.receiver.tracks {
			out = append(out, t)
		}
	}
	return out
}

func (s *Session) Sinks() []*LocalTrack { return s.sinks }

// Checked is closed once an ICE check that carried the session's integrity has come.
func (s *Session) Checked() <-chan struct{} { return s.checked }

// check takes note of such a check. It comes before anything else that is the session's.
func (s *Session) check() {
	s.checkOnce.Do(func() {
		queue := viewerQueue
		if s.receives {
			queue = publisherQueue
		}
		s.in = make(chan datagram, queue)
		close(s.checked)
	})
}

// Connected is closed once DTLS is up.
func (s *Session) Connected() <-chan struct{} { return s.connected }

// Path is the ICE path in use: "udp", "tcp" or "relay"; "" while there is none.
func (s *Session) Path() string {
	if p := s.path.Load(); p != nil {
		return p.name
	}
	return ""
}

// RTT is the round-trip time of the last consent check; 0: not known.
func (s *Session) RTT() time.Duration { return time.Duration(s.consent.rtt.Load()) }

// State is "new", "connected" or "closed".
func (s *Session) State() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Run is the life of the session: ICE, DTLS, packets, reports, consent. It returns the
// cause of the end, an End where it is a known one. When ctx is done the session is ended
// properly, with ctx's cause. Call it once.
func (s *Session) Run(ctx context.Context) (err error) {
	defer func() { s.end(err) }()
	began, timeout := time.Now(), s.engine.config.SetupTimeout.D()
	setup := time.NewTimer(min(s.engine.config.CheckTimeout.D(), timeout))
	defer setup.Stop()
	checked, in := s.checked, chan datagram(nil)
	due := time.NewTimer(0)
	defer due.Stop()
	hurried := false

	s.mu.Lock()
	s.running = true
	first := s.current
	s.mu.Unlock()
	if err := first.start(); err != nil && s.newest(first) {
		return err
	}

	var workers sync.WaitGroup
	handshake := make(chan handshakeResult, 1)
	defer func() {
		select {
		case r := <-handshake: // it succeeded as the session ended
			if r.conn != nil {
				_ = r.conn.Close()
			}
		default:
		}
	}()
	defer workers.Wait()
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	var secured *dtls.Conn
	peerClosed := make(chan error, 1)
	handshaking := false
	defer func() {
		s.bury(err)
		if secured != nil {
			_ = secured.Close() // close_notify
		}
		s.transport.close()
	}()

	for {
		select {
		case <-checked:
			checked, in = nil, s.in
			setup.Reset(timeout - time.Since(began))
		case d := <-in:
			s.receive(d)
			if !hurried && s.receiver != nil && s.receiver.missing {
				hurried = true
				due.Reset(hurry)
			}
		case now := <-due.C:
			if secured == nil {
				due.Reset(s.knock(now))
				continue
			}
			wait := s.tick(now)
			if s.consent.expired(s, now) {
				return ConsentExpired
			}
			hurried = wait <= hurry
			due.Reset(wait)
		case <-s.wake:
			s.retire()
			due.Reset(0) // there may be somebody to knock at
			if s.path.Load() != nil && !handshaking {
				handshaking = true
				workers.Go(func() { handshake <- s.handshake(stop) })
			}
		case r := <-handshake:
			if r.err != nil {
				if context.Cause(ctx) != nil {
					return context.Cause(ctx)
				}
				return errors.Join(DTLSFailed, r.err)
			}
			secured = r.conn
			if err := errors.Join(s.seal.open(r.keys), s.opener.open(r.keys)); err != nil {
				return err
			}
			for _, d := range s.early {
				s.receiver.receiveRTP(d)
			}
			s.early = nil
			s.consent.begin(time.Now())
			setup.Stop()
			due.Reset(hurry)
			s.mu.Lock()
			s.state = "connected"
			s.mu.Unlock()
			close(s.connected)
			workers.Go(func() { peerClosed <- readUntilClosed(secured) })
		case <-peerClosed:
			return PeerClosed
		case <-setup.C:
			if checked != nil {
				return Unreached
			}
			if err := s.transport.filter.complaint(); err != nil {
				return errors.Join(SetupTimeout, err)
			}
			return SetupTimeout
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// newest reports whether no restart has superseded g, and closed it.
func (s *Session) newest(g *generation) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current == g
}

// tick does what is due, and returns how long nothing is.
func (s *Session) tick(now time.Time) time.Duration {
	s.consent.check(s, now)
	next := s.consent.next
	sooner := func(at time.Time) {
		if at.Before(next) {
			next = at
		}
	}
	sooner(now.Add(s.knock(now)))
	if s.receiver != nil {
		sooner(s.receiver.tick(now))
	}
	for _, t := range s.sinks {
		t.tick(now)
		sooner(t.nextReport)
	}
	if s.udp != s.engine.udp {
		s.udp.sweep(now)
	}
	return min(max(next.Sub(now), hurry), rest)
}

// receive takes one datagram of the session.
func (s *Session) receive(d datagram) {
	switch rtpstream.Classify(d.buf) {
	case rtpstream.STUN:
		s.consent.receive(s, d)
	case rtpstream.DTLS:
		s.transport.deliver(d)
	case rtpstream.RTP:
		if s.offers && s.opener.context == nil && len(s.early) < maxEarly {
			s.early = append(s.early, d)
			return
		}
		if s.receiver != nil {
			s.receiver.receiveRTP(d)
		}
	case rtpstream.RTCP:
		s.receiveRTCP(d)
	}
}

// enqueue hands a datagram to the session's goroutine; false if its queue is full.
func (s *Session) enqueue(d datagram) bool {
	select {
	case <-s.checked:
	default:
		return false
	}
	select {
	case s.in <- d:
		return true
	default:
		return false
	}
}

// receiveSTUN takes the response to a consent check.
func (s *Session) receiveSTUN(d datagram) { s.enqueue(d) }

// alive tells whether the peer has lately sent an authenticated packet, or answered a
// consent check; one of those may be lost.
func (s *Session) alive(now time.Time) bool {
	// Consent checks are 6 s apart at most. Who is silent for longer has left, and a new
	// client, perhaps on the same port, must not wait for the old one's consent to expire.
	const lately = consentInterval + 2*time.Second
	return now.Sub(s.lastMedia.get()) < lately || now.Sub(s.consent.heard.get()) < lately
}

// uses tells whether the session's path leads to remote.
func (s *Session) uses(remote netip.AddrPort) bool {
	p := s.path.Load()
	return p != nil && p.udp != nil && p.udp.remote == remote
}

// authenticated takes note that a check from remote had the session's integrity: from now
// on what comes from there is the session's.
func (s *Session) authenticated(remote netip.AddrPort) {
	const maxRemotes = 32
	s.check()
	if !s.udp.claim(remote, s, time.Now()) {
		return
	}
	var release []netip.AddrPort
	s.mu.Lock()
	if s.state == "closed" {
		release = []netip.AddrPort{remote}
	} else if !slices.Contains(s.remotes, remote) {
		s.remotes = append(s.remotes, remote)
		if len(s.remotes) > maxRemotes { // a client that wanders: the oldest is no longer his
			release = []netip.AddrPort{s.remotes[0]}
			s.remotes = s.remotes[1:]
		}
	}
	s.mu.Unlock()
	s.udp.release(s, release)
}

// selected takes the pair that ICE has chosen in generation g.
func (s *Session) selected(g *generation, local, remote ice.Candidate) {
	p := &path{generation: g}
	switch {
	case local.NetworkType().IsTCP():
		g.mu.Lock()
		p.name, p.tcp = "tcp", g.conn
		g.mu.Unlock()
		if p.tcp == nil {
			return
		}
	default:
		a, ok := candidateAddr(remote)
		l, okLocal := candidateAddr(local)
		if !ok || !okLocal {
			return
		}
		p.name = "udp"
		if remote.Type() == ice.CandidateTypeRelay {
			p.name = "relay"
		}
		s.authenticated(a)
		p.udp = s.udp.destination(a, l.Addr())
	}
	s.mu.Lock()
	// A late selection of an older generation doesn't take the path back.
	if old := s.path.Load(); s.state != "closed" && (g == s.current || old == nil || old.generation == g) {
		s.path.Store(p)
	}
	s.mu.Unlock()
	s.rouse()
}

// rouse has the session's goroutine look what has changed.
func (s *Session) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// retire closes the generations that the path has left behind.
func (s *Session) retire() {
	p := s.path.Load()
	s.mu.Lock()
	var done []*generation
	if p != nil && p.generation == s.current {
		done, s.retired = s.retired, nil
	}
	s.mu.Unlock()
	for _, g := range done {
		g.close()
	}
}

// Deaf reports whether the client can't be told of the session's end: it is FFmpeg, and notices
// when nobody has answered its checks for 30 s.
func (s *Session) Deaf() bool { return s.ffmpeg }

// endedByUs reports whether the client has to be told of the session's end: it goes on where it can't be.
func endedByUs(cause error) bool {
	switch End(Cause(cause)) {
	case Replaced, Removed, Moved, Draining, Expired, Revoked:
		return true
	}
	return false
}

// bury decides what the peer is told of the end: checks are answered with 403 from now on
// (RFC 7675, section 5.2). FFmpeg is told nothing at all: it hangs on close_notify, and
// ends by itself when nobody answers.
func (s *Session) bury(cause error) {
	if s.ffmpeg {
		s.transport.mute()
	}
	s.mu.Lock()
	s.state = "closed"
	generations := append(slices.Clone(s.retired), s.current) // end closes them
	s.mu.Unlock()
	for _, g := range generations {
		g.bury(!s.ffmpeg && Cause(cause) != string(PeerClosed))
	}
}

// end frees what the session holds.
func (s *Session) end(cause error) {
	s.closeOnce.Do(func() {
		s.mu.Lock()
		s.state = "closed"
		generations := append(s.retired, s.current)
		s.retired = nil
		remotes := s.remotes
		s.mu.Unlock()
		for _, g := range generations {
			g.close()
		}
		s.seal.close()
		s.transport.close()
		s.udp.release(s, remotes)
		if s.udp != s.engine.udp {
			s.udp.close()
		}
		if s.receiver != nil {
			s.receiver.close()
		}
		s.engine.mu.Lock()
		delete(s.engine.sessions, s)
		s.engine.discards += s.discarded.Load()
		if s.udp != s.engine.udp {
			s.engine.branches.add(s.udp.stats.snapshot())
		}
		if cause != nil {
			s.engine.ended[Cause(cause)]++
		}
		if s.ffmpeg && endedByUs(cause) {
			s.engine.unaware = time.Now().Add(consentTimeout)
		}
		s.engine.mu.Unlock()
		close(s.closed)
	})
}

// Close frees a session that is never run. It is idempotent, and does nothing to one that
// runs: cancel its context.
func (s *Session) Close() {
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	if !running {
		s.end(nil)
	}
}
