package rtc

import (
	"fmt"
	"log/slog"
	"net"

	"sightline/internal/media"
	"sightline/internal/sdp"
)

// An OfferRequest says what a session of the gateway's own shall receive.
type OfferRequest struct {
	Kinds []media.Kind // one track for each
}

// An Offer is one of the gateway's own that waits for its answer. Accept makes a session of
// it, Close gives it up.
type Offer struct {
	session *Session
	own     *sdp.OwnOffer
}

// Offer makes an offer to receive, for WHEP at another gateway. All candidates are listed.
// Nothing happens until its answer is accepted; one whose answer never comes has to be closed.
func (e *Engine) Offer(r OfferRequest) (*Offer, error) {
	udp, err := e.branch()
	if err != nil {
		return nil, err
	}
	s := e.newSession(udp)
	s.offers, s.receives = true, true
	g, err := newGeneration(s, "", "")
	if err != nil {
		udp.close()
		return nil, err
	}
	s.current = g
	own := sdp.NewOffer(sdp.OwnRequest{
		Kinds: r.Kinds, Ufrag: g.ufrag, Pwd: g.pwd, Fingerprint: e.fingerprint,
		Candidates: e.candidates(udp, false), RTCPMuxOnly: e.config.RTCPMuxOnly,
	})
	e.add(s)
	return &Offer{s, own}, nil
}

// branchBuffer is the socket buffer of one track, in bytes, each way.
const branchBuffer = 1 << 20

// branch opens a socket for one session, at the address of the engine's. Media is told apart by
// where it comes from, and of all sessions with one gateway that is the same.
func (e *Engine) branch() (*socket, error) {
	host, _, err := net.SplitHostPort(e.config.UDPListen)
	if err != nil {
		return nil, fmt.Errorf("ice.udp_listen: %w", err)
	}
	// What there is to say about the system's buffers the engine has said.
	udp, err := listenUDP(net.JoinHostPort(host, "0"), min(e.config.SocketBuffer, branchBuffer), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	e.workers.Go(udp.run) // until the session ends
	return udp, nil
}

// SDP is the offer.
func (o *Offer) SDP() []byte { return o.own.SDP }

// Accept makes the answer's session, that of a publisher in all but who controls ICE: its
// Run, Sources and end are the same. A fault says what is wrong with the answer; the offer is
// closed then. Call it once.
func (o *Offer) Accept(answer []byte) (*Session, error) {
	a, err := o.own.Accept(answer)
	if err != nil {
		o.Close()
		return nil, err
	}
	s, g := o.session, o.session.current
	s.settle(a)
	s.receiver = newReceiver(s, a.Sections)
	// Checks that have come before are nobody's: they are repeated, and ours come first.
	g.remoteUfrag, g.remotePwd = a.Remote.Ufrag, a.Remote.Pwd
	s.udp.addUfrag(g.ufrag, g)
	g.add(a.Remote.Candidates, a.Remote.EndOfCandidates)
	return s, nil
}

// Close frees what the offer holds. It does nothing once a session of it runs.
func (o *Offer) Close() { o.session.Close() }
