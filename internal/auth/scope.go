package auth

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A Scope is what a token allows. No scope implies another.
type Scope string

// The scopes.
const (
	Publish Scope = "whip:publish" // WHIP
	Play    Scope = "whep:play"    // WHEP
	Read    Scope = "room:read"    // the room API, its events and participants, and the metrics
	Speak   Scope = "room:speak"   // to be heard: sound published without it is muted
	Admin   Scope = "room:admin"   // muting and ending others, invitations, revocations
)

// scopes are all that there are.
var scopes = [...]Scope{Publish, Play, Read, Speak, Admin}

// Scopes returns all scopes that there are.
func Scopes() []Scope { return scopes[:] }

// older are the names that scopes had in configurations before, and what they stand for.
var older = map[Scope][]Scope{"publish": {Publish, Speak}, "play": {Play}, "read": {Read}, "admin": {Admin}}

// expand returns scopes by their names of now.
func expand(named []Scope) []Scope {
	var out []Scope
	for _, s := range named {
		if now, ok := older[s]; ok {
			out = append(out, now...)
			continue
		}
		out = append(out, s)
	}
	return out
}

// ParseScopes reads names of scopes, separated by spaces (RFC 6749, section 3.3). What is none is
// left out.
func ParseScopes(text string) []Scope {
	var out []Scope
	for name := range strings.FieldsSeq(text) {
		if s := Scope(name); slices.Contains(scopes[:], s) && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// Every stands for all rooms, or all publishers, where it is asked who may do something: it is the name
// of none. Who has a limit may not, though it be a pattern that an asterisk matches.
const Every = "*"

// matches reports whether name is among the globs. An empty name stands for no particular
// one, and no globs stand for every name.
func matches(globs []string, name string) bool {
	if name == "" || len(globs) == 0 {
		return true
	}
	if name == Every {
		return slices.Contains(globs, Every)
	}
	return slices.ContainsFunc(globs, func(glob string) bool { return match(glob, name) })
}

// matchesPublisher is matches for publishers: name is one, "console", or one of its tracks,
// "console/video", and so is a glob. A publisher is matched by a glob of one of its tracks: who
// means all of them asks for each.
func matchesPublisher(globs []string, name string) bool {
	if name == "" || name == Every || len(globs) == 0 {
		return matches(globs, name)
	}
	publisher, kind, _ := strings.Cut(name, "/")
	return slices.ContainsFunc(globs, func(glob string) bool {
		whose, which, single := strings.Cut(glob, "/")
		return match(whose, publisher) && (!single || kind == "" || which == kind)
	})
}

func match(glob, name string) bool {
	ok, err := path.Match(glob, name)
	return ok && err == nil
}

// literal reports whether a glob matches nothing but itself (path.Match).
func literal(glob string) bool { return !strings.ContainsAny(glob, `*?[\`) }

// checkRoomGlob says why glob can't stand for rooms.
func checkRoomGlob(glob string) error {
	if _, err := path.Match(glob, ""); err != nil || glob == "" {
		return fmt.Errorf("must be a glob such as \"mri-*\", got %q", glob)
	}
	return nil
}

// checkPublisherGlob says why glob can't stand for publishers or tracks.
func checkPublisherGlob(glob string) error {
	publisher, kind, single := strings.Cut(glob, "/")
	if _, err := path.Match(publisher, ""); err != nil || publisher == "" || single && kind != "audio" && kind != "video" {
		return fmt.Errorf("must be a glob such as \"console\" or \"camera-*\", or one track such as \"console/video\", got %q", glob)
	}
	return nil
}
