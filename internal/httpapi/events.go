package httpapi

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// An EventStream writes server-sent events, each at once and with a deadline.
type EventStream struct {
	w       io.Writer
	control *http.ResponseController
	timeout time.Duration
	last    time.Time // when something was written
}

// NewEventStream begins the response. timeout is how long a reader may take nothing. An error is
// the gateway's own, and nothing has been written then.
func NewEventStream(c *gin.Context, timeout time.Duration) (*EventStream, error) {
	s := &EventStream{w: c.Writer, control: http.NewResponseController(c.Writer), timeout: timeout}
	// A server that can't set deadlines could not get rid of a dead reader.
	if err := s.control.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return nil, fmt.Errorf("begin an event stream: %w", err)
	}
	c.Header("Content-Type", "text/event-stream")
	c.Header("Cache-Control", "no-store")
	c.Header("X-Accel-Buffering", "no") // nginx would hold events back
	c.Status(http.StatusOK)
	return s, nil
}

// Write writes whole lines of the stream. After an error nothing more can be written.
func (s *EventStream) Write(text string) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(s.w, text); err != nil {
		return err
	}
	if err := s.control.Flush(); err != nil {
		return err
	}
	s.last = time.Now()
	// With HTTP/2 a deadline ends the stream though nothing is being written.
	return s.control.SetWriteDeadline(time.Time{})
}

// Last returns when something was written last.
func (s *EventStream) Last() time.Time { return s.last }
