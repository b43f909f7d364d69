package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
)

// A line of the log is a JSON object:
//
//	{"seq":7,"prev":"<hash of line 6>","node":"gw-1","time":"…","event":"watched",…,"hash":"<hash>"}
//
// Its hash is over its own bytes before `,"hash":"`, so that nothing has to be brought into
// a canonical form: what was written is what is verified. prev is among these bytes.
const (
	hashMark  = `,"hash":"`
	hashSize  = 2 * sha256.Size
	lineEnd   = "\"}\n"
	maxLine   = 16 << 10 // bytes
	algPlain  = "sha256"
	algKeyed  = "hmac-sha256"
	seqPrefix = `{"seq":`
	prevMark  = `,"prev":"`
)

// genesis is the hash before the first line.
var genesis = hex.EncodeToString(make([]byte, sha256.Size))

// A hasher hashes lines: SHA-256, or HMAC-SHA-256 with a key.
type hasher struct{ key []byte }

func (h hasher) algorithm() string {
	if h.key == nil {
		return algPlain
	}
	return algKeyed
}

func (h hasher) sum(b []byte) string {
	if h.key == nil {
		sum := sha256.Sum256(b)
		return hex.EncodeToString(sum[:])
	}
	mac := hmac.New(sha256.New, h.key)
	mac.Write(b)
	return hex.EncodeToString(mac.Sum(nil))
}

// KeyID names a key, so that one who has several knows which a file needs. It tells nothing
// of the key.
func KeyID(key []byte) string {
	if key == nil {
		return ""
	}
	return hasher{key}.sum([]byte("sightline audit key"))[:16]
}

// A point is a place in the chain: the last line so far.
type point struct {
	Seq  uint64 `json:"seq"` // 0: none yet
	Hash string `json:"hash"`
}

var beginning = point{0, genesis}

type lineBody struct {
	Seq  uint64 `json:"seq"`
	Prev string `json:"prev"`
	Node string `json:"node,omitempty"`
	*Event
}

// append adds the line of an event to b, and returns it with the place that the line has.
func (h hasher) append(b []byte, after point, node string, e *Event) ([]byte, point, error) {
	body, err := json.Marshal(lineBody{after.Seq + 1, after.Hash, node, e})
	if err != nil {
		return b, after, fmt.Errorf("encode event %q: %w", e.What, err)
	}
	b, sum := h.seal(b, body)
	return b, point{after.Seq + 1, sum}, nil
}

// seal adds a JSON object and its hash to b as a line.
func (h hasher) seal(b, object []byte) ([]byte, string) {
	object = object[:len(object)-1] // its last brace
	sum := h.sum(object)
	b = append(b, object...)
	b = append(b, hashMark...)
	b = append(b, sum...)
	return append(b, lineEnd...), sum
}

// unseal returns what a line's hash is over, and the hash that it has. It is false if the
// line, with its newline, has not the form of one.
func unseal(line []byte) (body []byte, sum string, ok bool) {
	at := len(line) - len(lineEnd) - hashSize - len(hashMark)
	if at < 1 || !bytes.HasPrefix(line[at:], []byte(hashMark)) || !bytes.HasSuffix(line, []byte(lineEnd)) {
		return nil, "", false
	}
	return line[:at], string(line[at+len(hashMark) : at+len(hashMark)+hashSize]), true
}

// place reads seq and prev, which stand at the beginning of every line.
func place(line []byte) (seq uint64, prev string, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(seqPrefix))
	if !ok {
		return 0, "", false
	}
	digits, rest, ok := bytes.Cut(rest[:min(len(rest), 20+len(prevMark)+hashSize+1)], []byte(prevMark))
	if !ok || len(rest) < hashSize+1 || rest[hashSize] != '"' {
		return 0, "", false
	}
	seq, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil || len(digits) > 1 && digits[0] == '0' {
		return 0, "", false
	}
	return seq, string(rest[:hashSize]), true
}

// rawNode returns the name of the gateway that a line says it is of, as JSON has it; nil if it says none.
func rawNode(line []byte) []byte {
	const mark = `,"node":`
	_, rest, ok := bytes.Cut(line[:min(len(line), maxLine)], []byte(prevMark))
	if !ok || len(rest) < hashSize+1 {
		return nil
	}
	rest, ok = bytes.CutPrefix(rest[hashSize+1:], []byte(mark))
	if !ok || len(rest) == 0 || rest[0] != '"' {
		return nil
	}
	for i := 1; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case '"':
			return rest[:i+1]
		}
	}
	return nil
}

// eventOf reads the event of a line; a zero one if there is none.
func eventOf(line []byte) Event {
	var e Event
	if json.Unmarshal(line, &e) != nil {
		return Event{}
	}
	return e
}

// beginsNext says whether torn can be the beginning of the line after a point: what is left
// of a line that was being written when the gateway died.
func beginsNext(torn []byte, after point) bool {
	start := fmt.Appendf(nil, "%s%d%s%s\"", seqPrefix, after.Seq+1, prevMark, after.Hash)
	if len(torn) <= len(start) {
		return bytes.HasPrefix(start, torn)
	}
	return bytes.HasPrefix(torn, start) && !bytes.ContainsRune(torn, '\n') && len(torn) < maxLine
}
