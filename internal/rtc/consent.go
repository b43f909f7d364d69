package rtc

import (
	"crypto/rand"
	"encoding/binary"
	mrand "math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v4"
)

// The intervals of RFC 7675, section 5.1: a check every 5 s, randomised by a fifth and
// never less than 4 s apart; consent lasts 30 s from the last response.
const (
	consentInterval = 5 * time.Second
	consentTimeout  = 30 * time.Second
	maxChecks       = 8

	// A pull has given up the other gateway after this without a word of it: that answers checks and
	// reports, be it that it has no media to send, and viewers wait.
	pullSilence = 10 * time.Second
)

// A moment is an instant that any goroutine may set and get, by the monotonic clock: when the machine's
// clock is set nobody has been silent for that. The zero value is long ago.
type moment struct{ sinceEpoch atomic.Int64 } // nanoseconds; 0: never

func (m *moment) set(t time.Time) { m.sinceEpoch.Store(int64(t.Sub(epoch))) }

func (m *moment) get() time.Time {
	if d := m.sinceEpoch.Load(); d != 0 {
		return epoch.Add(time.Duration(d))
	}
	return time.Time{}
}

// consent watches that the peer still wants what it gets. Only valid responses renew it.
// The session's goroutine owns it.
type consent struct {
	rtt   atomic.Int64 // nanoseconds
	heard moment       // of the last valid response

	tieBreaker uint64
	checks     []check // sent and not answered
	next       time.Time
	renewed    time.Time
	answered   bool // the peer has answered at least one check since DTLS
}

// begin starts the checks once DTLS is up.
func (c *consent) begin(now time.Time) {
	var b [8]byte
	_, _ = rand.Read(b[:])
	c.tieBreaker = binary.BigEndian.Uint64(b[:])
	c.renewed = now
	c.next = now.Add(200 * time.Millisecond) // the first soon: it measures the round trip
}

// check sends a check when one is due.
func (c *consent) check(s *Session, now time.Time) {
	if now.Before(c.next) {
		return
	}
	spread := float64(consentInterval) * (0.8 + 0.4*mrand.Float64())
	c.next = now.Add(max(time.Duration(spread), 4*time.Second))
	p := s.path.Load()
	if p == nil {
		return
	}
	g := p.generation
	if p.udp == nil {
		// The agent checks TCP paths itself.
		if st, ok := g.agent.GetSelectedCandidatePairStats(); ok {
			if st.LastResponseTimestamp.After(c.renewed) {
				c.renewed, c.answered = st.LastResponseTimestamp, true
			}
			c.rtt.Store(int64(st.CurrentRoundTripTime * float64(time.Second)))
		}
		return
	}
	m, err := buildCheck(g.remoteUfrag+":"+g.ufrag, g.remotePwd, s.offers, c.tieBreaker)
	if err != nil {
		return
	}
	id := transactionID(m.TransactionID)
	c.checks = append(c.checks, check{id, now, g.remotePwd})
	if len(c.checks) > maxChecks {
		c.checks = c.checks[1:]
	}
	s.udp.expect(id, s, p.udp.remote, now)
	s.udp.send(m.Raw, p.udp)
}

// receive takes the response to a check.
func (c *consent) receive(s *Session, d datagram) {
	m := &stun.Message{Raw: d.buf}
	if m.Decode() != nil {
		return
	}
	for i, k := range c.checks {
		if k.id != transactionID(m.TransactionID) {
			continue
		}
		p := s.path.Load()
		if m.Type != stun.BindingSuccess || stun.NewShortTermIntegrity(k.pwd).Check(m) != nil ||
			p == nil || p.udp == nil || p.udp.remote != d.remote {
			return
		}
		c.rtt.Store(int64(max(d.arrival.Sub(k.sent), time.Microsecond)))
		c.renewed, c.answered = d.arrival, true
		c.heard.set(d.arrival)
		c.checks = append(c.checks[:i], c.checks[i+1:]...)
		return
	}
}

// expired tells whether consent is gone. FFmpeg 8 stops answering once DTLS is up: a peer
// that has never answered lives on while authenticated media of its own comes in.
func (c *consent) expired(s *Session, now time.Time) bool {
	media := s.lastMedia.get()
	if s.offers && now.Sub(c.renewed) >= pullSilence && now.Sub(media) >= pullSilence {
		return true
	}
	if now.Sub(c.renewed) < consentTimeout {
		return false
	}
	if c.answered || s.receiver == nil || now.Sub(media) >= consentTimeout {
		return true
	}
	s.mu.Lock()
	first := !s.exempted
	s.exempted = true
	s.mu.Unlock()
	if first {
		s.engine.log.Info("client answers no consent checks; its session lives while media comes", "client", s.request.Client)
	}
	return false
}
