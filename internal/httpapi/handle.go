// Package httpapi is what all HTTP doors share: handlers that return errors, problem
// documents (RFC 9457), the router with its middleware, the server with its limits, and
// the session resources of WHIP and WHEP. It knows no rooms.
package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/fault"
)

// A Handler answers a request, or returns why it can't. It has written nothing then.
type Handler func(*gin.Context) error

// Handle turns a handler's error into a response: a fault's kind into its status and a
// problem document, any other error into 500 without details. Header fields come from
// errors in the chain that have a method Header() http.Header.
func Handle(h Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		if err := h(c); err != nil {
			Fail(c, err)
		}
	}
}

// Fail answers with err, as Handle does, and ends the chain of handlers.
func Fail(c *gin.Context, err error) {
	c.Abort()
	log, _ := c.Value(logKey).(*slog.Logger)
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var f *fault.Error
	known := errors.As(err, &f)
	switch {
	case c.Writer.Written():
		// A stream that broke off: too late for a status.
		log.Debug("response broke off", "err", err)
		return
	case !known && c.Request.Context().Err() != nil && errors.Is(err, context.Cause(c.Request.Context())):
		c.Status(statusClientGone)
		c.Writer.WriteHeaderNow()
		return
	case !known:
		log.Error("request failed", "err", err)
		problem(c, http.StatusInternalServerError, "internal", "", nil)
		return
	}
	if limits, ok := c.Value(limitsKey).(*limits); ok {
		if f.Kind == fault.Unauthenticated {
			if refusal := limits.guessed(c, f, err); refusal != nil {
				err = refusal
				errors.As(err, &f)
			}
		}
	}
	CountLimit(c, f)
	if f.Cause != nil {
		log.Debug("request refused", "kind", f.Kind, "err", f.Cause)
	}
	var h interface{ Header() http.Header }
	if errors.As(err, &h) {
		maps.Copy(c.Writer.Header(), h.Header())
	}
	if f.RetryAfter > 0 {
		c.Header("Retry-After", retryAfter(f.RetryAfter))
	}
	noteRefusal(c, f, err)
	problem(c, Status(f.Kind), string(f.Kind), f.Detail, f.Fields)
}

// statusClientGone stands in logs and counts for a request whose client did not wait for
// the answer.
const statusClientGone = 499

// Status returns the status of a kind of fault.
func Status(kind fault.Kind) int {
	switch kind {
	case fault.BadRequest:
		return http.StatusBadRequest
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Forbidden:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict:
		return http.StatusConflict
	case fault.Precondition:
		return http.StatusPreconditionFailed
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.MediaType:
		return http.StatusUnsupportedMediaType
	case fault.Unprocessable:
		return http.StatusUnprocessableEntity
	case fault.NeedsCondition:
		return http.StatusPreconditionRequired
	case fault.TooMany:
		return http.StatusTooManyRequests
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// retryAfter writes a delay in whole seconds, rounded up (RFC 9110, section 10.2.3).
func retryAfter(d time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(d.Seconds()))))
}

// problem writes a problem document (RFC 9457). Its type is about:blank: the status says
// what kind of problem it is, and kind names it more precisely.
func problem(c *gin.Context, status int, kind, detail string, fields map[string]any) {
	doc := make(map[string]any, len(fields)+5)
	maps.Copy(doc, fields)
	doc["type"] = "about:blank"
	doc["title"] = http.StatusText(status)
	doc["status"] = status
	doc["kind"] = kind
	if detail != "" {
		doc["detail"] = detail
	}
	c.Header("Content-Type", "application/problem+json")
	c.JSON(status, doc)
}

// WithHeader returns err with a header field that the response shall carry.
func WithHeader(err error, name, value string) error {
	return &headerError{err, http.Header{http.CanonicalHeaderKey(name): {value}}}
}

type headerError struct {
	err    error
	header http.Header
}

func (e *headerError) Error() string       { return e.err.Error() }
func (e *headerError) Unwrap() error       { return e.err }
func (e *headerError) Header() http.Header { return e.header }

// errPanic is what a handler that panicked has returned.
func errPanic(v any, stack []byte) error { return fmt.Errorf("panic: %v\n%s", v, stack) }
