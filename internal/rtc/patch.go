package rtc

import (
	"slices"

	"sightline/internal/fault"
	"sightline/internal/sdp"
)

// Patch applies a fragment whose precondition held (RFC 9725, section 4.3). Without a
// restart it returns nil: candidates were trickled. With one it returns the fragment to
// answer with; ETag has changed then. The old ICE session goes on until the new one has a
// path. With single only one candidate is listed. The error is a fault.BadRequest if only
// one of ufrag and pwd is new, and a fault.Precondition for credentials of an ICE session
// that a restart has replaced.
func (s *Session) Patch(f *sdp.Fragment, single bool) (restart []byte, err error) {
	s.mu.Lock()
	current := s.current
	used := slices.Contains(s.oldUsed, f.Ufrag)
	ended := s.state == "closed"
	s.mu.Unlock()
	switch sameUfrag, samePwd := f.Ufrag == current.remoteUfrag, f.Pwd == current.remotePwd; {
	case ended:
		return nil, fault.New(fault.NotFound, "the session has ended")
	case sameUfrag && samePwd:
		current.add(f.Candidates, f.EndOfCandidates)
		return nil, nil
	case sameUfrag || samePwd:
		return nil, fault.New(fault.BadRequest, "an ICE restart needs a new ice-ufrag and a new ice-pwd (RFC 8445, section 9); only one of them has changed")
	case used:
		return nil, fault.New(fault.Precondition, "these ICE credentials belong to an ICE session that a restart has replaced")
	case s.request.Offer != nil && s.request.Offer.Names(f.Ufrag, f.Pwd):
		return nil, nil // of a section that has the bundle's transport instead: nothing comes from there
	}
	g, err := newGeneration(s, f.Ufrag, f.Pwd)
	if err != nil {
		return nil, err
	}
	g.add(f.Candidates, f.EndOfCandidates)
	s.udp.addUfrag(g.ufrag, g)
	s.mu.Lock()
	if s.state == "closed" {
		s.mu.Unlock()
		g.close()
		return nil, fault.New(fault.NotFound, "the session has ended")
	}
	// Of the older ones only that which has the path is kept: a client that restarts again
	// and again must not gather agents.
	superseded := s.current
	if p := s.path.Load(); p != nil && p.generation == s.current {
		superseded = nil
		s.retired = append(s.retired, s.current)
	}
	s.oldUsed = append(s.oldUsed, s.current.remoteUfrag)
	if len(s.oldUsed) > maxOldUfrags {
		s.oldUsed = s.oldUsed[1:]
	}
	s.current = g
	running := s.running
	s.mu.Unlock()
	if superseded != nil {
		superseded.close()
	}
	if running {
		if err := g.start(); err != nil {
			s.mu.Lock()
			ended, newest := s.state == "closed", s.current == g
			s.mu.Unlock()
			switch {
			case ended:
				return nil, fault.New(fault.NotFound, "the session has ended")
			case newest:
				return nil, err
			}
			// Another restart has overtaken this one: it counts, and both are answered.
		}
	}
	candidates := s.engine.candidates(s.udp, s.engine.tcp != nil)
	if single && len(candidates) > 1 {
		candidates = candidates[:1]
	}
	return s.answer.WriteFragment(g.ufrag, g.pwd, candidates), nil
}
