package forward

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"time"
)

// An answer is the http.ResponseWriter of a request that another node has brought. It keeps the
// response, or sends it on as it comes if that is a stream of events.
type answer struct {
	header http.Header // of the handlers
	status int         // 0: not yet
	sent   http.Header // as it was when the status was given
	body   bytes.Buffer

	send    func([]byte) error // nil: no streams
	streams bool               // the head has been sent
	err     error              // of send
}

func newAnswer(send func([]byte) error) *answer {
	return &answer{header: make(http.Header), send: send}
}

// chunk is how much of a stream goes into one message, which it fits into uncompressed too.
const chunk = 256 << 10

var errTooLong = errors.New("the answer is too long")

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status, a.sent = status, a.header.Clone()
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.err != nil {
		return 0, a.err
	}
	if a.body.Len()+len(b) > maxAnswer {
		return 0, errTooLong
	}
	return a.body.Write(b)
}

// Flush sends what a stream has. Its error is that of the next Write.
func (a *answer) Flush() {
	if a.send == nil || a.err != nil || !a.streams && !isStream(a.status, a.sent) {
		return
	}
	if !a.streams {
		head, err := writeResponse(a.status, a.sent, nil)
		if a.err = err; err == nil {
			a.err = a.send(head)
		}
		a.streams = true
	}
	for a.err == nil && a.body.Len() > 0 {
		a.err = a.send(deflate(a.body.Next(chunk)))
	}
}

// isStream reports whether a response is a stream of events.
func isStream(status int, h http.Header) bool {
	return status == http.StatusOK && strings.HasPrefix(h.Get("Content-Type"), "text/event-stream")
}

// The deadlines are those of the node that the client has asked.
func (a *answer) SetReadDeadline(time.Time) error  { return nil }
func (a *answer) SetWriteDeadline(time.Time) error { return nil }

// whole returns the response for readResponse.
func (a *answer) whole() ([]byte, error) {
	a.WriteHeader(http.StatusOK)
	return writeResponse(a.status, a.sent, a.body.Bytes())
}
