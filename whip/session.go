package whip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/fault"
	"sightline/internal/media"
	"sightline/internal/rtc"
	"sightline/rooms"
)

// A session is one publisher's connection and the name that it has in a room.
type session struct {
	room, publisher string
	subject         string // who published, "" if anybody may
	lease           *auth.Lease
	id              string // public
	peer            *rtc.Session
	codecs          map[media.Kind]media.Codec // of its tracks
	publication     *rooms.Publication
	record          audit.Recorder
	who             audit.Who
	connected       time.Time // zero: not yet
	warn            func(room string, e rooms.EndingInfo)
	log             *slog.Logger
}

// run is the session's life: once its peer is connected it feeds the room, taking over
// from an older session of that name, until the first of peer gone, DELETE, shutdown,
// replaced by a newer session, removed through the room API, the room on another node, token expired or revoked.
func (s *session) run(ctx context.Context) error {
	began := time.Now()
	log := s.log.With("room", s.room, "publisher", s.publisher, "session", s.id)
	defer s.publication.Close()
	defer s.lease.Release()
	ctx, stop := s.lease.Bind(ctx, rtc.Expired, rtc.Revoked)
	defer stop()

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.peer.Run(ctx) })
	g.Go(func() error {
		select {
		case <-s.peer.Connected():
		case <-s.publication.Ended(): // the room has moved: there is nothing to connect to
			return cause(s.publication.Run(ctx))
		case <-ctx.Done():
			return nil
		}
		s.recordBegin()
		log.Info("publisher connected", "subject", s.subject, "path", s.peer.Path(), "after", time.Since(began).Round(time.Millisecond))
		s.lease.Warn(func(e auth.Ending) {
			s.warn(s.room, rooms.EndingInfo{Session: s.id, Publisher: s.publisher, Reason: e.Reason, At: e.At})
		})
		return cause(s.publication.Run(ctx, s.peer.Sources()...))
	})
	err := g.Wait()
	s.recordEnd(err)
	log.Info("publisher left", "cause", rtc.Cause(err), "err", rtc.Detail(err), "path", s.peer.Path(),
		"lasted", time.Since(began).Round(time.Millisecond))
	return err
}

// cause says why the room ended a publication, so that the peer can end likewise. It is
// nil when the sources have ended: the peer then says why.
func cause(err error) error {
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, rooms.ErrReplaced):
		return rtc.Replaced
	case errors.Is(err, rooms.ErrRemoved):
		return rtc.Removed
	case errors.Is(err, rooms.ErrMoved):
		return rtc.Moved
	case errors.Is(err, rooms.ErrClosed):
		return rtc.Draining
	case fault.KindOf(err) != "": // others connected first, and took the last place, or the name
		return fmt.Errorf("%w: %w", rtc.CrowdedOut, err)
	}
	return err
}
