package doortest

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"sightline/internal/media"
	"sightline/rooms"
)

// The codecs that a Feed may have.
var (
	VP8  = media.Codec{Name: "VP8", ClockRate: 90000}
	H264 = media.Codec{Name: "H264", ClockRate: 90000, Fmtp: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"}
	Opus = media.Codec{Name: "opus", ClockRate: 48000, Channels: 2, Fmtp: "minptime=10;useinbandfec=1"}
)

// A Feed is a publisher without a peer: its tracks have a packet every 20 ms. A video has
// a keyframe at the start, every ten seconds, and when it is asked for one.
type Feed struct {
	Keyframes atomic.Int32 // asked for

	cancel context.CancelFunc
	done   sync.WaitGroup
}

// Publish feeds a publisher's name until Stop or the end of the test, and waits until its
// tracks are live.
func Publish(t testing.TB, g *Gateway, room, publisher string, codecs ...media.Codec) *Feed {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &Feed{cancel: cancel}
	kinds := make(map[media.Kind]media.Codec)
	var sources []media.Source
	for i := range codecs {
		s := &source{ctx: ctx, feed: f, codec: &codecs[i], kind: media.Video, payload: Keyframe("video/" + codecs[i].Name)}
		if codecs[i].Channels > 0 {
			s.kind, s.payload = media.Audio, Keyframe(webrtc.MimeTypeOpus)
		}
		kinds[s.kind] = codecs[i]
		sources = append(sources, s)
	}
	publication, err := g.Rooms.Publish(rooms.PublishRequest{Room: room, Publisher: publisher, Session: "feed", Codecs: kinds})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	f.done.Go(func() {
		defer publication.Close()
		_ = publication.Run(ctx, sources...)
	})
	t.Cleanup(f.Stop)
	Eventually(t, func() string {
		tracks, _ := g.Rooms.Tracks(room)
		live := 0
		for _, info := range tracks {
			if info.Publisher == publisher && info.State == rooms.Live && info.Session == "feed" && info.Codec.Name == kinds[info.Kind].Name {
				live++
			}
		}
		if live < len(codecs) {
			return "the feed is not live"
		}
		return ""
	})
	return f
}

// Stop ends the feed. It is idempotent.
func (f *Feed) Stop() {
	f.cancel()
	f.done.Wait()
}

type source struct {
	ctx     context.Context
	feed    *Feed
	kind    media.Kind
	codec   *media.Codec
	payload []byte

	sequence  uint16
	timestamp uint32
	asked     atomic.Bool
}

func (s *source) Kind() media.Kind           { return s.kind }
func (s *source) Codec() media.Codec         { return *s.codec }
func (s *source) Clock() (media.Clock, bool) { return media.Clock{}, false }
func (s *source) Stats() media.SourceStats   { return media.SourceStats{Path: "udp"} }

func (s *source) RequestKeyframe() {
	s.feed.Keyframes.Add(1)
	s.asked.Store(true)
}

func (s *source) ReadBurst(dst []*media.Packet) ([]*media.Packet, error) {
	timer := time.NewTimer(20 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-s.ctx.Done():
		return dst, io.EOF
	case now := <-timer.C:
		const keyframeInterval = 500 // packets
		payload := s.payload
		if key := s.sequence%keyframeInterval == 0 || s.asked.Swap(false); !key && s.kind == media.Video {
			payload = Deltaframe("video/" + s.codec.Name)
		}
		s.sequence++
		s.timestamp += s.codec.ClockRate / 50
		return append(dst, &media.Packet{
			Sequence: s.sequence, Timestamp: s.timestamp, Marker: true, Codec: s.codec, Payload: payload, Arrival: now,
		}), nil
	}
}
