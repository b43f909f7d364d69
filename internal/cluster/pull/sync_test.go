package pull_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"sightline/internal/doortest"
	"sightline/internal/media"
	"sightline/rooms"
)

// report waits for a sender report of the track.
func (e *eye) report(t *testing.T, kind webrtc.RTPCodecType) *rtcp.SenderReport {
	t.Helper()
	for _, r := range e.GetReceivers() {
		if r.Track().Kind() != kind {
			continue
		}
		_ = r.SetReadDeadline(time.Now().Add(10 * time.Second))
		for {
			packets, _, err := r.ReadRTCP()
			if err != nil {
				t.Fatalf("no report of %s: %v", kind, err)
			}
			for _, p := range packets {
				if sr, ok := p.(*rtcp.SenderReport); ok {
					return sr
				}
			}
		}
	}
	t.Fatalf("no %s", kind)
	return nil
}

// late is by how much the newest packet came later than it was captured, as the report says: what
// a player takes into account to show sound and picture together.
func (e *eye) late(sr *rtcp.SenderReport, kind webrtc.RTPCodecType, rate float64) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	got := e.tracks[kind]
	newest := got.packets[len(got.packets)-1]
	captured := time.Unix(int64(sr.NTPTime>>32)-2208988800, int64(sr.NTPTime&0xffffffff*1e9>>32)).
		Add(time.Duration(float64(int32(newest.Timestamp-sr.RTPTime)) / rate * float64(time.Second)))
	return got.last.Sub(captured)
}

// A clock is a source whose timestamps say when a packet was made, however late that was.
type clock struct {
	ctx   context.Context
	codec media.Codec
	began time.Time
	n     uint16
}

func (c *clock) Codec() media.Codec         { return c.codec }
func (c *clock) Clock() (media.Clock, bool) { return media.Clock{}, false }
func (c *clock) Stats() media.SourceStats   { return media.SourceStats{} }
func (c *clock) RequestKeyframe()           {}

func (c *clock) Kind() media.Kind {
	if c.codec.Channels > 0 {
		return media.Audio
	}
	return media.Video
}

// A late one says nothing until it is time.
type late struct {
	clock
	until context.Context
}

func (l *late) ReadBurst(dst []*media.Packet) ([]*media.Packet, error) {
	<-l.until.Done()
	return l.clock.ReadBurst(dst)
}

func (c *clock) ReadBurst(dst []*media.Packet) ([]*media.Packet, error) {
	select {
	case <-c.ctx.Done():
		return dst, io.EOF
	case now := <-time.After(20 * time.Millisecond):
		c.n++
		return append(dst, &media.Packet{
			Sequence: c.n, Timestamp: uint32(now.Sub(c.began).Seconds() * float64(c.codec.ClockRate)), Marker: true,
			Payload: doortest.Keyframe(string(c.Kind()) + "/" + c.codec.Name), Arrival: now,
		}), nil
	}
}

func publishByTheClock(t *testing.T, n *node) {
	t.Helper()
	began := time.Now()
	publishSources(t, n, func(ctx context.Context) []media.Source {
		return []media.Source{&clock{ctx: ctx, codec: doortest.VP8, began: began}, &clock{ctx: ctx, codec: doortest.Opus, began: began}}
	})
}

func publishSources(t *testing.T, n *node, sources func(context.Context) []media.Source) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	publication, err := n.Rooms.Publish(rooms.PublishRequest{Room: "mri", Publisher: "console"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- publication.Run(ctx, sources(ctx)...)
	}()
	t.Cleanup(func() { cancel(); <-ended; publication.Close() })
	doortest.Eventually(t, func() string {
		if kinds, err := n.Rooms.Kinds("mri", "console"); err != nil || len(kinds) != 2 {
			return "sound and picture are not live"
		}
		return ""
	})
}

// Sound and picture come by two pulls, with reports of one clock.
func TestSoundAndPictureStayTogether(t *testing.T) {
	a, b := pair(t)
	publishByTheClock(t, a)
	e := b.watch(t, "mri/console", video, audio)
	apart := time.Hour
	for n := 0; n < 8 && apart > 5*time.Millisecond; n++ { // on a busy machine single packets come late
		e.more(t, video, 20) // until the owner's reports have come, too
		picture, sound := e.report(t, video), e.report(t, audio)
		e.more(t, video, 2)
		e.more(t, audio, 2)
		v, s := e.late(picture, video, 90000), e.late(sound, audio, 48000)
		t.Logf("a picture comes %v after it was captured, sound %v", v.Round(time.Millisecond), s.Round(time.Millisecond))
		apart = min(apart, (v - s).Abs())
	}
	if apart > 15*time.Millisecond {
		t.Errorf("sound and picture are %v apart, want less than a frame", apart)
	}
}
