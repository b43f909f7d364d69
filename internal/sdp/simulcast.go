package sdp

import (
	"slices"
	"strconv"
	"strings"
)

// A rid is an offered a=rid line that can be accepted (RFC 8851).
type rid struct {
	id           string
	restrictions string // as the answer repeats them, with the separating space; "" for none
}

// simulcast reads which layers of a publisher's simulcast are accepted, in the order of
// a=simulcast (RFC 8853, section 5.3.2): of alternatives the first that is valid, paused
// ones like others. Two a=simulcast lines, or layers without an a=rid, are no simulcast.
func (m *Media) simulcast(accepted []offeredFormat) []rid {
	value, n := "", 0
	for _, a := range m.attributes {
		if a.name == "simulcast" {
			value, n = a.value, n+1
		}
	}
	fields := strings.Fields(value)
	if n != 1 || len(fields)%2 != 0 {
		return nil
	}
	offered := m.rids(accepted)
	var out []rid
	for i := 0; i < len(fields); i += 2 {
		if fields[i] != "send" {
			continue
		}
		for layer := range strings.SplitSeq(fields[i+1], ";") {
			if len(out) == maxLayers {
				return out
			}
			for alternative := range strings.SplitSeq(layer, ",") {
				id := strings.TrimPrefix(alternative, "~")
				restrictions, ok := offered[id]
				if !ok || slices.ContainsFunc(out, func(r rid) bool { return r.id == id }) {
					continue
				}
				out = append(out, rid{id, restrictions})
				break
			}
		}
	}
	return out
}

// rids reads the a=rid lines of direction send: restrictions by id. A line that is not
// well formed, that is double, or that has a restriction the gateway doesn't know is
// discarded (RFC 8851, section 6.3).
func (m *Media) rids(accepted []offeredFormat) map[string]string {
	out := make(map[string]string)
	double := make(map[string]bool)
	n := 0
	for _, a := range m.attributes {
		if a.name != "rid" {
			continue
		}
		if n++; n > maxRIDs {
			break
		}
		f := strings.Fields(a.value)
		if len(f) < 2 || len(f) > 3 || f[1] != "send" || !isRID(f[0]) {
			continue
		}
		if double[f[0]] {
			delete(out, f[0])
			continue
		}
		double[f[0]] = true
		restrictions, ok := "", true
		if len(f) == 3 {
			restrictions, ok = restrict(f[2], accepted)
		}
		if ok {
			out[f[0]] = restrictions
		}
	}
	return out
}

// isRID reports whether s is a rid-id (RFC 8851, section 10) that fits a one-byte header
// extension.
func isRID(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 16
}

// restrict returns the restrictions as the answer repeats them: the payload types without
// those that were not accepted, the rest unchanged. False if none is left, or if one is
// not known.
func restrict(s string, accepted []offeredFormat) (string, bool) {
	var out []string
	seen := make(map[string]bool)
	for part := range strings.SplitSeq(s, ";") {
		key, value, ok := strings.Cut(part, "=")
		if !ok || seen[key] {
			return "", false
		}
		seen[key] = true
		switch key {
		case "pt":
			var kept []string
			for pt := range strings.SplitSeq(value, ",") {
				n, err := strconv.ParseUint(pt, 10, 7)
				if err == nil && slices.ContainsFunc(accepted, func(f offeredFormat) bool { return uint64(f.PayloadType) == n }) {
					kept = append(kept, strconv.FormatUint(n, 10))
				}
			}
			if len(kept) == 0 {
				return "", false
			}
			part = "pt=" + strings.Join(kept, ",")
		case "max-width", "max-height", "max-fps", "max-fs", "max-br", "max-pps", "max-bpp":
			if n, err := strconv.ParseFloat(value, 64); err != nil || !(n > 0) || len(value) > 20 {
				return "", false
			}
		default:
			return "", false
		}
		out = append(out, part)
	}
	return " " + strings.Join(out, ";"), true
}
