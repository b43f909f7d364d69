package sdp

import (
	"strconv"
	"strings"
)

// ssrcs reads what a publisher's section says of its SSRCs (RFC 5576): those of the media
// in the order of their a=ssrc lines, and the primary of each RTX one from the groups
// (RFC 4588, section 8.6). FFmpeg 9 names the latter in the group only. The SSRCs of
// forward error correction are neither. taken are those of other sections.
func (m *Media) ssrcs(taken map[uint32]bool) (primary []uint32, rtx map[uint32]uint32, err error) {
	rtx = make(map[uint32]uint32)
	other := make(map[uint32]bool)
	n := 0
	for _, a := range m.attributes {
		if a.name != "ssrc-group" {
			continue
		}
		if n++; n > maxSSRCs {
			return nil, nil, m.tooMany("a=ssrc-group lines", maxSSRCs)
		}
		f := strings.Fields(a.value)
		if len(f) < 3 || f[0] != "FID" && f[0] != "FEC-FR" {
			continue
		}
		of, okOf := parseSSRC(f[1])
		by, okBy := parseSSRC(f[2])
		if !okOf || !okBy || of == by {
			continue
		}
		if f[0] == "FEC-FR" {
			other[by] = true
			continue
		}
		if _, twice := rtx[by]; !twice && !taken[by] && !taken[of] {
			rtx[by] = of
		}
	}
	// An SSRC is not both: a chain or a circle of groups says nothing.
	for by, of := range rtx {
		if _, also := rtx[of]; also {
			other[by] = true
		}
	}
	for by := range other {
		delete(rtx, by)
	}
	seen := make(map[uint32]bool)
	for _, a := range m.attributes {
		if a.name != "ssrc" {
			continue
		}
		digits, _, _ := strings.Cut(a.value, " ")
		ssrc, ok := parseSSRC(digits)
		if !ok || seen[ssrc] || taken[ssrc] {
			continue
		}
		if len(seen) == maxSSRCs {
			return nil, nil, m.tooMany("SSRCs", maxSSRCs)
		}
		seen[ssrc] = true
		if _, isRTX := rtx[ssrc]; !isRTX && !other[ssrc] {
			primary = append(primary, ssrc)
		}
	}
	for ssrc := range seen {
		taken[ssrc] = true
	}
	for ssrc := range rtx {
		taken[ssrc] = true
	}
	return primary, rtx, nil
}

func parseSSRC(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}
