package sdp

import (
	"slices"
	"strconv"
	"strings"

	"sightline/internal/media"
)

// An extension is an accepted header extension (RFC 8285).
type extension struct {
	id        uint8
	direction string // "" or, where the offer gives one, the answer's
	uri       string
}

// knows tells which header extensions the gateway takes in a section.
func knows(uri string, kind media.Kind, publish bool) bool {
	switch uri {
	case ExtensionMID:
		return true
	case ExtensionAudioLevel:
		return kind == media.Audio
	case ExtensionVideoOrientation:
		return kind == media.Video
	case ExtensionRID, ExtensionRepairedRID:
		return publish && kind == media.Video
	case ExtensionTransportCC:
		return publish
	}
	return false
}

// extensions reads the a=extmap lines of a section. Ids are those of the one-byte form, 1
// to 14; others are dropped (RFC 8285, section 4.2), and so is the second use of an id or
// of a URI. taken is what other sections of the bundle have made of the ids: one id means
// the same in all of them (RFC 9143, section 9).
func (m *Media) extensions(publish bool, taken map[uint8]string) []extension {
	var out []extension
	used := make(map[uint8]bool)
	for _, a := range m.attributes {
		if a.name != "extmap" {
			continue
		}
		head, rest, _ := strings.Cut(a.value, " ")
		digits, direction, _ := strings.Cut(head, "/")
		uri, _, _ := strings.Cut(strings.TrimSpace(rest), " ") // extension attributes are ignored
		id, err := strconv.ParseUint(digits, 10, 8)
		if err != nil || id < 1 || id > 14 || used[uint8(id)] {
			continue
		}
		used[uint8(id)] = true
		e := extension{uint8(id), "", uri}
		if direction != "" {
			var ok bool
			if e.direction, ok = answerDirection(direction, publish); !ok {
				continue
			}
		}
		if !knows(uri, m.Kind, publish) || slices.ContainsFunc(out, func(o extension) bool { return o.uri == uri }) {
			continue
		}
		if other, ok := taken[e.id]; ok && other != uri {
			continue
		}
		out = append(out, e)
	}
	return out
}

// answerDirection turns an offered extension's direction round; false if it isn't the one
// that this session's media goes (RFC 8285, section 6).
func answerDirection(offered string, publish bool) (string, bool) {
	switch {
	case publish && (offered == "sendonly" || offered == "sendrecv"):
		return "recvonly", true
	case !publish && (offered == "recvonly" || offered == "sendrecv"):
		return "sendonly", true
	}
	return "", false
}
