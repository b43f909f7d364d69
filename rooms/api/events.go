package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/auth"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
	"sightline/rooms"
)

// retry is how long an EventSource waits before it comes back; to a room that has moved, at once.
const (
	retry      = 2 * time.Second
	retryMoved = 100 * time.Millisecond
)

// watchRoom streams a room's events, or those of all rooms on the route without one, until
// the client leaves, takes nothing for too long, its token expires or is revoked, the room moves, or the gateway stops. The room need not be
// there yet: who waits for a room to open is told when it does.
//
// All events are of the default type, with their own type in the JSON, so that
// EventSource.onmessage sees every one of them: a named event reaches only those who knew
// its name beforehand.
func (a *API) watchRoom(c *gin.Context) error {
	room := c.Param("room")
	caller, err := a.authorize(c, auth.Read, room, "")
	if err != nil {
		return err
	}
	who, err := caller.May(auth.Read, room, "")
	if err != nil {
		return err
	}
	lease := a.auth.Keep(who)
	defer lease.Release()
	address := httpapi.Client(c)
	if err := a.enter(address); err != nil {
		return err
	}
	defer a.leave(address)

	w, err := a.rooms.watch(room, after(c.GetHeader("Last-Event-ID")))
	if err != nil {
		return err
	}
	defer w.Close()
	defer a.bridge.Attend(room)()

	ctx, stop := lease.Bind(c.Request.Context(), auth.ErrExpired, auth.ErrRevoked)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.running, cancel)()

	s := stream{
		w:       c.Writer,
		control: http.NewResponseController(c.Writer),
		timeout: a.config.WriteTimeout.D(),
	}
	// A server that can't set deadlines could not get rid of a dead reader.
	if err := s.control.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil {
		return fmt.Errorf("begin an event stream: %w", err)
	}
	c.Header("Content-Type", "text/event-stream")
	c.Header("Cache-Control", "no-store")
	c.Header("X-Accel-Buffering", "no") // nginx would hold events back
	c.Status(http.StatusOK)
	if err := s.write(fmt.Sprintf("retry: %d\n\n", retry.Milliseconds())); err != nil {
		return nil // the reader has gone
	}
	a.pump(ctx, &s, w, a.view(c, caller))
	return nil
}

// pump writes events until something ends the stream; there is nobody left to tell why.
func (a *API) pump(ctx context.Context, s *stream, w watcher, v view) {
	for ctx.Err() == nil {
		silence, cancel := context.WithDeadline(ctx, s.last.Add(a.config.Ping.D()))
		e, err := w.Next(silence)
		silent := silence.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case err == nil:
			id := strconv.FormatUint(e.ID, 10)
			shown, ok := v.event(e, id)
			if !ok {
				continue
			}
			data, err := json.Marshal(shown)
			message := "id: " + id + "\ndata: " + string(data) + "\n\n"
			if e.Type == rooms.RoomMoved {
				message = fmt.Sprintf("retry: %d\n", retryMoved.Milliseconds()) + message
			}
			if err != nil || s.write(message) != nil {
				return
			}
		case silent && errors.Is(err, context.DeadlineExceeded):
			if s.write(": ping\n\n") != nil {
				return
			}
		default:
			return
		}
	}
}

// after returns the event that a Last-Event-ID names, or 0 for none. The registry's ids
// are those of no earlier process.
func after(lastEventID string) uint64 {
	n, err := strconv.ParseUint(lastEventID, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// enter counts an event stream of an address, if there is room for one more.
func (a *API) enter(address netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed:
		return fault.New(fault.Unavailable, "the gateway is about to stop").After(5 * time.Second)
	case a.streams >= a.config.MaxStreams:
		return limit(fault.Unavailable, "max_streams", "%d event streams are open", a.streams)
	case a.from[address] >= a.config.MaxStreamsPerAddress:
		return limit(fault.TooMany, "max_streams_per_address", "%d event streams of this address are open", a.from[address])
	}
	a.from[address]++
	a.streams++
	a.open.Add(1)
	return nil
}

// limit says which limit is reached, and by which key it is set.
func limit(kind fault.Kind, key, format string, n int) error {
	return fault.New(kind, format+", which is the limit (api.%s)", n, key).After(5*time.Second).With("limit", "api."+key)
}

func (a *API) leave(address netip.Addr) {
	a.mu.Lock()
	a.streams--
	if a.from[address]--; a.from[address] == 0 {
		delete(a.from, address)
	}
	a.mu.Unlock()
	a.open.Done()
}

// A stream writes server-sent events, each at once and with a deadline.
type stream struct {
	w       io.Writer
	control *http.ResponseController
	timeout time.Duration
	last    time.Time // when something was written
}

func (s *stream) write(text string) error {
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
	return nil
}
