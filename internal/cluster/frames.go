package cluster

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"sightline/internal/fault"
)

// What goes over NATS, version 1. All subjects begin with the group and the version. What
// comes from other nodes is data of the network: it is bounded, and dropped if it is wrong.
//
//	<group>.1.t.<from>.<topic>           told to all       data
//	<group>.1.n.<to>.c.<from>.<verb>     a call            number 8, budget in ms 4, data
//	<group>.1.n.<to>.o.<from>.<verb>     opens a stream    number 8, budget in ms 4, data
//	<group>.1.n.<to>.x.<from>            ends either       number 8
//	<group>.1.n.<to>.d.<from>            of a stream       number 8, kind 1, sequence 8, data
//	<group>.1.i.…                        an answer         0 and data, or 1 and a fault in JSON
//
// Integers are big-endian. A number is the caller's own.
const (
	version = "1"

	maxData  = 512 << 10 // bytes of one call, answer or message
	overhead = 64        // what goes before them, at most
	maxFault = 64 << 10  // bytes of a fault in JSON

	idLen = 8
)

func subject(group string, tokens ...string) string {
	return group + "." + version + "." + strings.Join(tokens, ".")
}

var (
	idPattern   = regexp.MustCompile(fmt.Sprintf(`^[a-z2-7]{%d}$`, idLen))
	verbPattern = regexp.MustCompile(`^[a-z0-9-]{1,32}(\.[a-z0-9-]{1,32})?$`)
)

func validID(id string) bool { return idPattern.MatchString(id) }

// checkSize says whether data can be sent.
func checkSize(what string, data []byte) error {
	if len(data) > maxData {
		return fault.New(fault.TooLarge, "%s has %d bytes, and nodes send each other %d at most", what, len(data), maxData)
	}
	return nil
}

// A request is what a call or the opening of a stream begins with.
type request struct {
	number uint64
	budget time.Duration // for the answer
	data   []byte
}

func (r request) marshal() []byte {
	b := make([]byte, 12, 12+len(r.data))
	binary.BigEndian.PutUint64(b, r.number)
	binary.BigEndian.PutUint32(b[8:], uint32(min(max(r.budget, 0), maxBudget).Milliseconds()))
	return append(b, r.data...)
}

func parseRequest(b []byte) (request, bool) {
	if len(b) < 12 || len(b) > 12+maxData {
		return request{}, false
	}
	return request{
		number: binary.BigEndian.Uint64(b),
		budget: min(time.Duration(binary.BigEndian.Uint32(b[8:]))*time.Millisecond, maxBudget),
		data:   b[12:],
	}, true
}

// A frame is a message of a stream.
type frame struct {
	number   uint64
	kind     frameKind
	sequence uint64 // of messages, from 1; in others that of the last message
	data     []byte
}

type frameKind byte

const (
	frameMessage frameKind = iota
	frameEnd               // well; no data
	frameFault             // data as of a fault's answer
	framePing              // the handler is there; no data
)

const frameHead = 17

func (f frame) marshal() []byte {
	b := make([]byte, frameHead, frameHead+len(f.data))
	binary.BigEndian.PutUint64(b, f.number)
	b[8] = byte(f.kind)
	binary.BigEndian.PutUint64(b[9:], f.sequence)
	return append(b, f.data...)
}

func parseFrame(b []byte) (frame, bool) {
	if len(b) < frameHead || len(b) > frameHead+maxData || frameKind(b[8]) > framePing {
		return frame{}, false
	}
	return frame{
		number:   binary.BigEndian.Uint64(b),
		kind:     frameKind(b[8]),
		sequence: binary.BigEndian.Uint64(b[9:]),
		data:     b[frameHead:],
	}, true
}

func marshalNumber(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func parseNumber(b []byte) (uint64, bool) {
	if len(b) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}

// An answer's first byte.
const (
	answerOK byte = iota
	answerFault
)

func marshalAnswer(data []byte, err error) []byte {
	if err == nil {
		err = checkSize("the answer", data)
	}
	if err != nil {
		return append([]byte{answerFault}, marshalFault(err)...)
	}
	return append([]byte{answerOK}, data...)
}

func parseAnswer(b []byte) ([]byte, error) {
	switch {
	case len(b) > 0 && len(b) <= 1+maxData && b[0] == answerOK:
		return b[1:], nil
	case len(b) > 0 && b[0] == answerFault:
		return nil, parseFault(b[1:])
	}
	return nil, errGarbled
}

var errGarbled = errors.New("the answer of the other node can't be read")

// kinds are the kinds of fault that may come from another node: they become labels of metrics.
var kinds = map[fault.Kind]bool{
	fault.BadRequest: true, fault.Unauthenticated: true, fault.Forbidden: true, fault.NotFound: true,
	fault.Conflict: true, fault.Precondition: true, fault.TooLarge: true, fault.MediaType: true,
	fault.Unprocessable: true, fault.NeedsCondition: true, fault.TooMany: true, fault.Unavailable: true,
}

// faultJSON is an error on its way. One without a kind is the node's own.
type faultJSON struct {
	Kind       fault.Kind     `json:"kind,omitempty"`
	Detail     string         `json:"detail"`
	RetryAfter int64          `json:"retry_after,omitempty"` // ms
	Fields     map[string]any `json:"fields,omitempty"`
}

func marshalFault(err error) []byte {
	var f *fault.Error
	if !errors.As(err, &f) {
		if errors.Is(err, context.DeadlineExceeded) {
			f = fault.New(fault.Unavailable, "the node did not finish in time")
		} else {
			f = &fault.Error{Detail: err.Error()}
		}
	}
	j := faultJSON{Kind: f.Kind, Detail: f.Detail, RetryAfter: f.RetryAfter.Milliseconds(), Fields: f.Fields}
	b, err := json.Marshal(j)
	if err != nil || len(b) > maxFault {
		j.Fields = nil
		j.Detail = j.Detail[:min(len(j.Detail), 1000)]
		b, _ = json.Marshal(j) // strings and numbers alone
	}
	return b
}

// parseFault is the error that another node has sent: a fault, or an error of its own that
// is none.
func parseFault(b []byte) error {
	var j faultJSON
	if len(b) > maxFault || json.Unmarshal(b, &j) != nil {
		return errGarbled
	}
	if !kinds[j.Kind] {
		return fmt.Errorf("in the other node: %s", j.Detail)
	}
	retry := time.Duration(min(max(j.RetryAfter, 0), time.Hour.Milliseconds())) * time.Millisecond
	return &fault.Error{Kind: j.Kind, Detail: j.Detail, RetryAfter: retry, Fields: j.Fields}
}
