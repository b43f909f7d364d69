package bench

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/stun/v4"

	"sightline/internal/rtpstream"
)

// An endpoint is the local end of one peer. It is safe for concurrent use.
type endpoint interface {
	// address is where the server reaches the peer.
	address() netip.AddrPort
	// send sends each packet as a datagram of its own. It waits a moment if the socket's
	// buffer is full, and counts what could not be sent.
	send(packets [][]byte, to netip.AddrPort)
}

// reaches reports whether datagrams from local find their way to remote at all.
func reaches(local, remote netip.Addr) bool {
	return local.Is4() == remote.Is4() && local.IsLoopback() == remote.IsLoopback()
}

// A mediaReceiver takes the SRTP and SRTCP of a peer. network.mu is held.
type mediaReceiver interface {
	receive(packet []byte, rtcp bool, arrival int64)
}

// A peer is one end of a session with the server: a full ICE agent of one candidate, always
// controlling, as who offers is (RFC 8445, section 6.1.1).
type peer struct {
	end        endpoint
	ufrag, pwd string
	records    *recordConn
	responses  chan response // to checks, while connecting
	media      mediaReceiver

	// Set once by connect.
	remote                 netip.AddrPort
	remoteUfrag, remotePwd string

	conn *dtls.Conn // set once by the join

	// Guarded by network.mu.
	connected bool
	gone      bool // the server has closed DTLS
}

// A response is one to a check of ours.
type response struct {
	message *stun.Message
	from    netip.AddrPort
}

func newPeer(media mediaReceiver) *peer {
	p := &peer{ufrag: secret(8), pwd: secret(24), responses: make(chan response, 2*maxCandidates), media: media}
	p.records = newRecordConn(func(b []byte) error {
		p.send(b)
		return nil
	})
	return p
}

// secret returns n random characters of ice-char (RFC 8839, section 5.4).
func secret(n int) string {
	return rand.Text()[:n]
}

// send sends one datagram to the server, once connect has found it.
func (p *peer) send(b []byte) { p.end.send([][]byte{b}, p.remote) }

// receive takes a datagram of the peer. arrival is in nanoseconds since 1970. network.mu is
// held, and b is the network's again afterwards.
func (p *peer) receive(b []byte, from netip.AddrPort, arrival int64) {
	switch rtpstream.Classify(b) {
	case rtpstream.RTP:
		p.media.receive(b, false, arrival)
	case rtpstream.RTCP:
		p.media.receive(b, true, arrival)
	case rtpstream.STUN:
		p.receiveSTUN(b, from)
	case rtpstream.DTLS:
		const alert = 21
		if p.connected && b[0] == alert {
			p.gone = true
		}
		p.records.deliver(b)
	}
}

// receiveSTUN answers a check of the server (RFC 8445, section 7.3), which also keeps its
// consent fresh (RFC 7675), and hands on the responses to ours.
func (p *peer) receiveSTUN(b []byte, from netip.AddrPort) {
	m := &stun.Message{Raw: append([]byte(nil), b...)}
	if m.Decode() != nil {
		return
	}
	if m.Type != stun.BindingRequest {
		select {
		case p.responses <- response{m, from}:
		default: // of consent checks, that nobody waits for
		}
		return
	}
	integrity := stun.NewShortTermIntegrity(p.pwd)
	if integrity.Check(m) != nil {
		return
	}
	reply, err := stun.Build(m, stun.BindingSuccess,
		&stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())}, integrity, stun.Fingerprint)
	if err == nil {
		p.end.send([][]byte{reply.Raw}, from)
	}
}

// tieBreaker is for role conflicts (RFC 8445, section 7.3.1.1), which don't arise: the server
// has answered, so it is controlled.
var tieBreaker = func() []byte {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // it never fails
	return b
}()

// check makes a Binding request (RFC 8445, section 7.2.2).
func (p *peer) check(nominate bool) (*stun.Message, error) {
	const priority = 110<<24 | 65535<<8 | 255 // of a peer-reflexive candidate
	setters := []stun.Setter{
		stun.BindingRequest, stun.TransactionID,
		stun.NewUsername(p.remoteUfrag + ":" + p.ufrag),
		stun.RawAttribute{Type: stun.AttrICEControlling, Value: tieBreaker},
		stun.RawAttribute{Type: stun.AttrPriority, Value: binary.BigEndian.AppendUint32(nil, priority)},
	}
	if nominate {
		setters = append(setters, stun.RawAttribute{Type: stun.AttrUseCandidate})
	}
	return stun.Build(append(setters, stun.NewShortTermIntegrity(p.remotePwd), stun.Fingerprint)...)
}

// consent sends a consent check (RFC 7675, section 5.1).
func (p *peer) consent() {
	if m, err := p.check(false); err == nil {
		p.send(m.Raw)
	}
}

const (
	firstRetry = 50 * time.Millisecond // of a check, doubled up to lastRetry
	lastRetry  = 800 * time.Millisecond
)

// connect finds the first candidate that answers and nominates it. With one candidate, the
// first check nominates already.
func (p *peer) connect(ctx context.Context, a *answer) error {
	local := p.end.address().Addr()
	candidates := slices.DeleteFunc(slices.Clone(a.candidates), func(c netip.AddrPort) bool { return !reaches(local, c.Addr()) })
	if len(candidates) == 0 {
		return fmt.Errorf("ice: no UDP candidate of the answer can be reached from %v: %v", local, a.candidates)
	}
	p.remoteUfrag, p.remotePwd = a.ufrag, a.pwd
	sent := make(map[[stun.TransactionIDSize]byte]netip.AddrPort)
	for retry := firstRetry; ; retry = min(2*retry, lastRetry) {
		nominate := len(candidates) == 1
		for _, c := range candidates {
			m, err := p.check(nominate)
			if err != nil {
				return fmt.Errorf("ice: %w", err)
			}
			sent[m.TransactionID] = c
			p.end.send([][]byte{m.Raw}, c)
		}
		to, err := p.answered(ctx, sent, retry)
		switch {
		case err != nil:
			return err
		case to.IsValid() && nominate:
			p.remote = to
			return nil
		case to.IsValid():
			candidates, retry = []netip.AddrPort{to}, firstRetry/2
			clear(sent)
		}
	}
}

// answered waits for a success response to one of the checks and returns where it was sent;
// the zero AddrPort if none comes in time.
func (p *peer) answered(ctx context.Context, sent map[[stun.TransactionIDSize]byte]netip.AddrPort, patience time.Duration) (netip.AddrPort, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case r := <-p.responses:
			to, ok := sent[r.message.TransactionID]
			if !ok || stun.NewShortTermIntegrity(p.remotePwd).Check(r.message) != nil {
				continue
			}
			if r.message.Type != stun.BindingSuccess {
				var code stun.ErrorCodeAttribute
				_ = code.GetFrom(r.message)
				return netip.AddrPort{}, fmt.Errorf("ice: the server refuses the check: %v", code)
			}
			return to, nil
		case <-timer.C:
			return netip.AddrPort{}, nil
		case <-ctx.Done():
			return netip.AddrPort{}, errors.New("ice: no candidate of the server answers")
		}
	}
}

// close ends DTLS, which tells the server (RFC 8446, section 6.1).
func (p *peer) close() {
	if p.conn != nil {
		_ = p.conn.Close()
	}
	_ = p.records.Close()
}
