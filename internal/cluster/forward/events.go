package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/cluster"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
)

const (
	maxEvent = 8 << 20 // a snapshot of all rooms of a node
	// giveUp is how long a stream goes without a node that it could come from: longer than a lease.
	giveUp = 10 * time.Second
	// lastWords is how long an owner that another one has followed may take to say that the room has moved, and why.
	lastWords = 500 * time.Millisecond
)

var (
	errMoved  = errors.New("the room has another owner")
	errReader = errors.New("the reader has gone, or takes nothing")
)

// A refusal is a response that is no stream.
type refusal struct {
	response *http.Response
	body     []byte
}

func (r *refusal) Error() string { return "refused: " + r.response.Status }

// listen takes a stream of events from a node, be it this one, as it serves the request, until that
// ends it, ctx is done or block returns an error. block gets whole events, with the empty line at
// their end. The error is a *refusal if the node has answered with something else.
func (f *Forwarder) listen(ctx context.Context, from cluster.Member, data []byte, block func([]byte) error) error {
	in := &incoming{node: from.Name, block: block}
	if from.ID == f.node.Self().ID {
		err := f.serveStream(ctx, cluster.Member{}, data, in.take)
		if in.err != nil {
			return in.err
		}
		return err
	}
	s, err := f.node.stream(ctx, from, verbEvents, data)
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		message, err := s.Next(ctx)
		if err != nil {
			return err
		}
		if err := in.take(message); err != nil {
			return err
		}
	}
}

// An incoming is what a node sends for serveStream.
type incoming struct {
	node  string
	block func([]byte) error
	begun bool
	rest  []byte // of an event that is not whole
	err   error  // that take has returned
}

func (in *incoming) take(message []byte) error {
	in.err = in.read(message)
	return in.err
}

func (in *incoming) read(message []byte) error {
	if !in.begun {
		in.begun = true
		res, body, err := readResponse(message, in.node)
		if err == nil && !isStream(res.StatusCode, res.Header) {
			err = &refusal{res, body}
		}
		return err
	}
	message, err := inflate(message, chunk)
	if err != nil {
		return fault.New(fault.Unavailable, "node %s sent a part of a stream that is none: %w", in.node, err)
	}
	if len(in.rest)+len(message) > maxEvent {
		return fault.New(fault.Unavailable, "node %s sent an event of more than %d bytes", in.node, maxEvent)
	}
	in.rest = append(in.rest, message...)
	for {
		i := bytes.Index(in.rest, []byte("\n\n"))
		if i < 0 {
			return nil
		}
		if err := in.block(in.rest[:i+2]); err != nil {
			return err
		}
		if in.rest = in.rest[i+2:]; len(in.rest) == 0 {
			in.rest = nil
		}
	}
}

// A client is who reads a stream that is made of other nodes'.
type client struct {
	c    *gin.Context
	wait time.Duration
	out  *httpapi.EventStream // nil: nothing has been said yet
	last string               // id of the last event
}

// write writes an event.
func (w *client) write(event []byte) error {
	if w.out == nil {
		out, err := httpapi.NewEventStream(w.c, w.wait)
		if err != nil {
			return err
		}
		w.out = out
	} else if bytes.HasPrefix(event, []byte("retry:")) { // once is enough: here the stream goes on
		if _, event, _ = bytes.Cut(event, []byte("\n")); len(event) <= len("\n") {
			return nil
		}
	}
	if id, ok := bytes.CutPrefix(event, []byte("id: ")); ok {
		line, _, _ := bytes.Cut(id, []byte("\n"))
		w.last = string(line)
	}
	if w.out.Write(string(event)) != nil {
		return errReader
	}
	return nil
}

// fail answers that there is no stream, if there is none yet.
func (w *client) fail(err error) {
	var r *refusal
	switch {
	case w.out != nil:
	case errors.As(err, &r):
		relay(w.c, r.response, r.body)
	default:
		httpapi.Fail(w.c, err)
	}
}

// watchRoom streams the events of a room from its owner, and from the next one when that changes; from
// this node while there is none: who waits for a room to open is told.
func (f *Forwarder) watchRoom(c *gin.Context, room string) {
	c.Abort() // all is said here
	ctx, leave, err := f.streams.Enter(c.Request.Context(), httpapi.Client(c))
	if err != nil {
		httpapi.Fail(c, err)
		return
	}
	defer leave()
	changed, stop := f.node.Watch()
	defer stop()
	w := &client{c: c, wait: f.streams.Timeout(), last: c.GetHeader("Last-Event-ID")}
	arrival := httpapi.ArrivalOf(c)
	for since := time.Now(); ; {
		from := f.home(room)
		if from.ID != f.node.Self().ID {
			httpapi.AnsweredBy(c, from.Name)
		}
		err := f.follow(ctx, room, from, changed, w, arrival, &since)
		var r *refusal
		switch {
		case errors.Is(err, errMoved):
			continue
		case ctx.Err() != nil || errors.Is(err, errReader):
			return
		case errors.As(err, &r) && (w.out == nil || r.response.StatusCode < 500), time.Since(since) > giveUp:
			w.fail(err)
			return
		case f.refused(c, policyOf(c.Request.Method, c.FullPath()), room):
			return // it has ended for its token's sake
		}
		f.pause(ctx, room, from)
	}
}

// home returns the node that a room's events come from.
func (f *Forwarder) home(room string) cluster.Member {
	if to, ok := f.node.Owner(room); ok {
		return to
	}
	return f.node.Self()
}

// follow gives a client the events of a room from one node, for as long as that is their home. since is
// until when there was such a node.
func (f *Forwarder) follow(ctx context.Context, room string, from cluster.Member, changed <-chan struct{}, w *client, a httpapi.Arrival, since *time.Time) error {
	data, err := f.again(w, a)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		spoke := false
		err := f.listen(ctx, from, data, func(event []byte) error {
			spoke = true
			return w.write(event)
		})
		if spoke {
			*since = time.Now()
		}
		ended <- err
	}()
	_, owned := f.node.Owner(room)
	for {
		select {
		case err := <-ended:
			if err == nil {
				err = fault.New(fault.Unavailable, "node %s has ended the stream", from.Name).After(retry)
			}
			return err
		case <-changed:
			_, ok := f.node.Owner(room)
			if f.home(room).ID == from.ID {
				owned = ok
				continue
			}
			if owned && ok {
				defer time.AfterFunc(lastWords, cancel).Stop()
			} else {
				cancel()
			}
			if err := <-ended; errors.Is(err, errReader) {
				return err
			}
			return errMoved
		}
	}
}

// again is the client's request for what comes after all that it has got.
func (f *Forwarder) again(w *client, a httpapi.Arrival) ([]byte, error) {
	r := w.c.Request.Clone(w.c.Request.Context())
	r.Header.Del("Last-Event-ID")
	if w.last != "" && !strings.ContainsAny(w.last, "\r\n\x00") {
		r.Header.Set("Last-Event-ID", w.last)
	}
	data, err := pack(r, nil, a)
	if err != nil {
		return nil, fmt.Errorf("ask for events: %w", err)
	}
	return data, nil
}
