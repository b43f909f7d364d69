package whep

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/media"
	"sightline/internal/rtc"
	"sightline/rooms"
)

// A subscription is one track that a viewer gets: a publisher's, or the room's mix.
type subscription interface {
	media.Feedback
	Kind() media.Kind
	Codec() media.Codec
	Run(context.Context, media.Sink) error
	Ended() <-chan struct{} // though it was never run
	Err() error             // why it has ended
	Close()
}

// A session is one viewer's connection and what he watches.
type session struct {
	room, publisher string // the publisher may be bridge.Mix
	subject         string // who watches, "" if anybody may
	participant     string // whose session it is, by ID, "" if nobody says
	lease           *auth.Lease
	id              string // public
	peer            *rtc.Session
	subscriptions   []subscription // audio, video or both
	record          audit.Recorder
	who             audit.Who
	connected       time.Time // zero: not yet
	listener        string    // the publisher that hears the mix, "" if none in particular
	warn            func(room string, e rooms.EndingInfo)
	log             *slog.Logger
}

// run is the session's life: once its peer is connected its tracks are forwarded, until
// the first of peer gone, DELETE, shutdown, a track gone, its room on another node, a codec that the viewer can't take, token
// expired or revoked.
func (s *session) run(ctx context.Context) error {
	began := time.Now()
	log := s.log.With("room", s.room, "publisher", s.publisher, "session", s.id)
	defer s.close()
	defer s.lease.Release()
	ctx, stop := s.lease.Bind(ctx, rtc.Expired, rtc.Revoked)
	defer stop()
	sinks := s.connectSinks()

	ctx, end := context.WithCancelCause(ctx)
	var playing sync.WaitGroup
	playing.Go(func() {
		first, ended := one(sinks)
		select {
		case <-s.peer.Connected():
		case <-ended:
			end(cause(first.Err()))
			return
		case <-ctx.Done():
			return
		}
		s.recordBegin(sinks)
		log.Info("viewer connected", "subject", s.subject, "path", s.peer.Path(), "after", time.Since(began).Round(time.Millisecond))
		s.lease.Warn(func(e auth.Ending) {
			s.warn(s.room, rooms.EndingInfo{
				Session: s.id, Publisher: s.publisher, Participant: s.participant, Reason: e.Reason, At: e.At,
			})
		})
		for sub, sink := range sinks {
			playing.Go(func() {
				if err := cause(sub.Run(ctx, sink)); err != nil {
					end(err)
				}
			})
		}
	})
	err := s.peer.Run(ctx)
	end(err)
	playing.Wait()
	var total media.SinkStats
	for _, sink := range sinks {
		stats := sink.Stats()
		total.Packets += stats.Packets
		total.Bytes += stats.Bytes
		total.Dropped += stats.Dropped
	}
	s.recordEnd(sinks, total, err)
	log.Info("viewer left", "cause", rtc.Cause(err), "err", rtc.Detail(err), "path", s.peer.Path(),
		"sent", total.Packets, "dropped", total.Dropped, "lasted", time.Since(began).Round(time.Millisecond))
	return err
}

// connectSinks pairs each subscription with the peer's track of its kind. A kind that the
// viewer did not offer, or can't take, is given back.
func (s *session) connectSinks() map[subscription]*rtc.LocalTrack {
	sinks := make(map[subscription]*rtc.LocalTrack)
	for _, sub := range s.subscriptions {
		for _, sink := range s.peer.Sinks() {
			if sink.Kind() == sub.Kind() {
				sink.SetFeedback(sub)
				sinks[sub] = sink
			}
		}
		if sinks[sub] == nil {
			sub.Close()
		}
	}
	return sinks
}

// one returns any of the subscriptions, and when it ends: a room that moves ends them all.
func one(sinks map[subscription]*rtc.LocalTrack) (subscription, <-chan struct{}) {
	for sub := range sinks {
		return sub, sub.Ended()
	}
	return nil, nil
}

func (s *session) close() {
	for _, sub := range s.subscriptions {
		sub.Close()
	}
}

// cause says why the room ended a subscription, so that the peer can end likewise. It is
// nil when the session has ended: the peer then says why.
func cause(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, rooms.ErrGone):
		return rtc.Gone
	case errors.Is(err, rooms.ErrMoved):
		return rtc.Moved
	case errors.Is(err, rooms.ErrCodec):
		return rtc.Codec
	case errors.Is(err, rooms.ErrClosed):
		return rtc.Draining
	}
	return err
}
