package sdp

import (
	"strings"
)

// A fragmentSection is what a fragment says at session level or below one pseudo m= line.
type fragmentSection struct {
	mid        string
	ufrag, pwd string
	candidates []string
	ended      bool // end-of-candidates was read
}

// ParseFragment reads a trickle-ice-sdpfrag for a session that answered offer
// (RFC 8840, section 9). Credentials may stand at session level or below an m= line, and
// of the m= line itself nothing but its a=mid counts (section 4.4). The error is a
// fault.BadRequest.
func ParseFragment(body []byte, offer *Offer) (*Fragment, error) {
	all, err := lines(body)
	if err != nil {
		return nil, err
	}
	sections, err := readFragment(all)
	if err != nil {
		return nil, err
	}
	out := &Fragment{}
	tag := ""
	if len(offer.order) > 0 {
		tag = offer.Media[offer.order[0]].MID
	}
	if out.Ufrag, out.Pwd, err = fragmentCredentials(sections, tag); err != nil {
		return nil, err
	}
	known := make(map[string]bool)
	for i := range offer.Media {
		known[offer.Media[i].MID] = true
	}
	seen := make(map[string]bool)
	for i, s := range sections {
		switch {
		case s.mid == "" && len(s.candidates) > 0:
			return nil, malformed("the fragment has a candidate without an a=mid")
		case s.mid == "" && i == 0:
			out.EndOfCandidates = out.EndOfCandidates || s.ended // for all sections
		case known[s.mid]:
			// Of another section it says nothing of the transport that all have (RFC 8840, section 4.1).
			out.EndOfCandidates = out.EndOfCandidates || s.ended && s.mid == tag
			for _, c := range s.candidates {
				if key := candidateKey(c); !seen[key] && len(out.Candidates) < maxCandidates {
					seen[key] = true
					out.Candidates = append(out.Candidates, c)
				}
			}
		}
	}
	return out, nil
}

// readFragment splits a fragment at its pseudo m= lines; the first section is the session
// level.
func readFragment(all []line) ([]fragmentSection, error) {
	sections := make([]fragmentSection, 1)
	for _, l := range all {
		s := &sections[len(sections)-1]
		if l.kind == 'm' {
			if len(sections) > maxMedia {
				return nil, malformed("the fragment has more than %d m= lines", maxMedia)
			}
			sections = append(sections, fragmentSection{})
			continue
		}
		if l.kind != 'a' {
			continue
		}
		switch a := l.attribute(); a.name {
		case "mid":
			if s.mid != "" && s.mid != a.value || a.value == "" {
				return nil, malformed("the fragment has an m= section with an empty a=mid or with two of them")
			}
			s.mid = a.value
		case "ice-ufrag", "ice-pwd":
			field := &s.ufrag
			if a.name == "ice-pwd" {
				field = &s.pwd
			}
			if a.value == "" || *field != "" && *field != a.value {
				return nil, malformed("the fragment has an empty a=%s, or two different ones", a.name)
			}
			*field = a.value
		case "candidate":
			// What comes after end-of-candidates is ignored (RFC 8838, section 14).
			if !s.ended && len(s.candidates) < maxCandidates {
				s.candidates = append(s.candidates, a.value)
			}
		case "end-of-candidates":
			s.ended = true
		}
	}
	for _, s := range sections {
		if err := isCredentials(s.ufrag, s.pwd); err != nil {
			return nil, err
		}
	}
	return sections, nil
}

// fragmentCredentials chooses among the levels: those of the offerer-tagged section, whose mid is
// tag, of the session level, else the first there are.
func fragmentCredentials(sections []fragmentSection, tag string) (ufrag, pwd string, err error) {
	take := func(s *fragmentSection) bool {
		// One may stand at session level and the other below.
		u, p := s.ufrag, s.pwd
		if u == "" {
			u = sections[0].ufrag
		}
		if p == "" {
			p = sections[0].pwd
		}
		if u == "" || p == "" {
			return false
		}
		ufrag, pwd = u, p
		return true
	}
	for i := range sections {
		if sections[i].mid == tag && tag != "" && take(&sections[i]) {
			return ufrag, pwd, nil
		}
	}
	for i := range sections {
		if take(&sections[i]) {
			return ufrag, pwd, nil
		}
	}
	return "", "", malformed("the fragment must have a=ice-ufrag and a=ice-pwd")
}

// candidateKey is equal for candidates that are duplicates of each other: same address,
// port, transport and component (RFC 8840, section 4.2).
func candidateKey(value string) string {
	if c, ok := ParseCandidate(value); ok {
		return c.Transport + " " + c.Addr.String() + " " + c.TCPType
	}
	return value
}

// WriteFragment writes the reply to a restart (RFC 9725, section 4.3.3), CRLF at the ends
// of lines: the new credentials and candidates, below the answerer-tagged section only,
// and what the answer said of ICE.
func (a *Answer) WriteFragment(ufrag, pwd string, candidates []string) []byte {
	var w writer
	if len(a.ICEOptions) > 0 {
		w.line("a=ice-options:", strings.Join(a.ICEOptions, " "))
	}
	w.line("a=group:", a.group)
	w.text.WriteString(a.tag)
	w.line("a=ice-ufrag:", ufrag)
	w.line("a=ice-pwd:", pwd)
	w.candidates(candidates)
	return []byte(w.text.String())
}
