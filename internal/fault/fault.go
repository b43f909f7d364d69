// Package fault names the kinds of failure that a client can be told of.
//
// The heart and the peers return faults without knowing HTTP; the doors turn a
// kind into a status (internal/httpapi). An error that is no fault is the
// gateway's own and becomes a 500 without details.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// A Kind is a class of failure. Its text is the stable word that problem
// documents, metrics and logs use.
type Kind string

const (
	BadRequest      Kind = "bad-request"          // malformed: 400
	Unauthenticated Kind = "unauthenticated"      // who are you: 401
	Forbidden       Kind = "forbidden"            // known, but may not: 403
	NotFound        Kind = "not-found"            // 404
	Conflict        Kind = "conflict"             // not in this state: 409
	Precondition    Kind = "precondition-failed"  // stale ETag: 412
	TooLarge        Kind = "too-large"            // 413
	MediaType       Kind = "media-type"           // wrong Content-Type: 415
	Unprocessable   Kind = "unprocessable"        // understood, but unsupported: 422
	NeedsCondition  Kind = "precondition-missing" // no If-Match: 428
	TooMany         Kind = "too-many-requests"    // this client asks too often: 429
	Unavailable     Kind = "unavailable"          // at a limit, or draining: 503
)

// Error is a failure that a client is told of.
type Error struct {
	Kind       Kind
	Detail     string         // one sentence for a person: what was wrong, what would be right
	RetryAfter time.Duration  // when asking again makes sense; zero: not said
	Fields     map[string]any // further members of the problem document (RFC 9457, section 3.2)
	Cause      error          // what lies below, for the log; may be nil
}

// New returns a fault with a formatted detail. A %w verb sets its cause.
func New(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Detail: err.Error(), Cause: errors.Unwrap(err)}
}

// After sets when the client may ask again, and returns e.
func (e *Error) After(d time.Duration) *Error {
	e.RetryAfter = d
	return e
}

// With adds a member to the problem document, and returns e.
func (e *Error) With(name string, value any) *Error {
	if e.Fields == nil {
		e.Fields = make(map[string]any)
	}
	e.Fields[name] = value
	return e
}

func (e *Error) Error() string { return e.Detail }
func (e *Error) Unwrap() error { return e.Cause }

// KindOf returns the kind of the first fault in err's chain, or "" if there is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}
