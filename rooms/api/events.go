package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/auth"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
	"sightline/internal/quota"
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
	ctx, leave, err := a.enterFor(c)
	if err != nil {
		return err
	}
	defer leave()

	w, err := a.rooms.watch(room, a.after(c.GetHeader("Last-Event-ID")))
	if err != nil {
		return err
	}
	defer w.Close()
	defer a.bridge.Attend(room)()

	ctx, stop := lease.Bind(ctx, auth.ErrExpired, auth.ErrRevoked)
	defer stop()
	s, err := httpapi.NewEventStream(c, a.config.WriteTimeout.D())
	if err != nil {
		return err
	}
	if err := s.Write(fmt.Sprintf("retry: %d\n\n", retry.Milliseconds())); err != nil {
		return nil // the reader has gone
	}
	a.pump(ctx, s, w, a.view(c, caller))
	return nil
}

// pump writes events until something ends the stream; there is nobody left to tell why.
func (a *API) pump(ctx context.Context, s *httpapi.EventStream, w watcher, v view) {
	for ctx.Err() == nil {
		silence, cancel := context.WithDeadline(ctx, s.Last().Add(a.config.Ping.D()))
		e, err := w.Next(silence)
		silent := silence.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case err == nil:
			id := a.prefix + strconv.FormatUint(e.ID, 10)
			shown, ok := v.event(e, id)
			if !ok {
				continue
			}
			data, err := json.Marshal(shown)
			message := "id: " + id + "\ndata: " + string(data) + "\n\n"
			if e.Type == rooms.RoomMoved {
				message = fmt.Sprintf("retry: %d\n", retryMoved.Milliseconds()) + message
			}
			if err != nil || s.Write(message) != nil {
				return
			}
		case silent && errors.Is(err, context.DeadlineExceeded):
			if s.Write(": ping\n\n") != nil {
				return
			}
		default:
			return
		}
	}
}

// Node lets the ids of events begin with that of this node of a cluster and a dot: another node's
// are then not taken for ones of this. Call it before the first request.
func (a *API) Node(id string) { a.prefix = id + "." }

// after returns the event that a Last-Event-ID names, or 0 for none. The registry's ids
// are those of no earlier process.
func (a *API) after(lastEventID string) uint64 {
	own, ok := strings.CutPrefix(lastEventID, a.prefix)
	if !ok {
		return 0
	}
	n, err := strconv.ParseUint(own, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// enterFor counts the event stream that a request is for, unless the node that the client has asked
// has done so.
func (a *API) enterFor(c *gin.Context) (context.Context, func(), error) {
	if _, arrived := httpapi.Arrived(c.Request); arrived {
		return a.bind(c.Request.Context())
	}
	return a.Enter(c.Request.Context(), httpapi.Client(c))
}

// Enter counts an event stream of an address, if there is room for one more. The context that it
// returns is done when ctx is or the API closes, which waits until leave is called. The error is a
// fault.
func (a *API) Enter(ctx context.Context, address netip.Addr) (open context.Context, leave func(), err error) {
	if err := a.admit(address); err != nil {
		return nil, nil, err
	}
	open, done, err := a.bind(ctx)
	if err != nil {
		a.release(address)
		return nil, nil, err
	}
	return open, func() {
		a.release(address)
		done()
	}, nil
}

// Timeout is how long the reader of an event stream may take nothing.
func (a *API) Timeout() time.Duration { return a.config.WriteTimeout.D() }

// bind lets a stream end with the API, and that wait for it.
func (a *API) bind(ctx context.Context) (bound context.Context, done func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, nil, fault.New(fault.Unavailable, "the gateway is about to stop").After(5 * time.Second)
	}
	a.open.Add(1)
	bound, cancel := context.WithCancel(ctx)
	unhook := context.AfterFunc(a.running, cancel)
	return bound, func() {
		unhook()
		cancel()
		a.open.Done()
	}, nil
}

func (a *API) admit(address netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.streams >= a.config.MaxStreams:
		return limit(fault.Unavailable, "max_streams", "%d event streams are open", a.streams)
	case a.from[address]+a.elsewhere.Of(maxStreamsPerAddress, address.String()) >= a.config.MaxStreamsPerAddress:
		return limit(fault.TooMany, "max_streams_per_address", "%d event streams of this address are open", a.config.MaxStreamsPerAddress)
	}
	a.from[address]++
	a.streams++
	return nil
}

const maxStreamsPerAddress = "api.max_streams_per_address"

// Held adds to use the event streams of addresses, as far as other nodes of a cluster should know
// of them.
func (a *API) Held(use quota.Use) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for address, n := range a.from {
		if address.IsValid() && quota.Notable(n, a.config.MaxStreamsPerAddress) {
			use.Add(maxStreamsPerAddress, address.String(), n)
		}
	}
}

// Elsewhere says what clients hold at other nodes: it counts for their limits here.
func (a *API) Elsewhere(use quota.Use) { a.elsewhere.Set(use) }

func (a *API) release(address netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.streams--
	if a.from[address]--; a.from[address] == 0 {
		delete(a.from, address)
	}
}

// limit says which limit is reached, and by which key it is set.
func limit(kind fault.Kind, key, format string, n int) error {
	return fault.New(kind, format+", which is the limit (api.%s)", n, key).After(5*time.Second).With("limit", "api."+key)
}
