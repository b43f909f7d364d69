package pull_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"sightline/internal/cluster"
	"sightline/internal/doortest"
	"sightline/internal/media"
	"sightline/rooms"
)

// A deaf encoder has a keyframe at its beginning, which was a while ago, and answers no request for another. Its
// frames are numbered.
type deaf struct {
	ctx   context.Context
	codec media.Codec
	n     uint32
}

const (
	frame  = 20 * time.Millisecond
	before = 300 // frames that it has sent when the test begins: 6 s
)

func (*deaf) Kind() media.Kind           { return media.Video }
func (s *deaf) Codec() media.Codec       { return s.codec }
func (*deaf) Clock() (media.Clock, bool) { return media.Clock{}, false }
func (*deaf) Stats() media.SourceStats   { return media.SourceStats{Path: "udp"} }
func (*deaf) RequestKeyframe()           {}

func (s *deaf) ReadBurst(dst []*media.Packet) ([]*media.Packet, error) {
	for now := time.Now(); s.n < before; {
		dst = append(dst, s.next(now.Add(-time.Duration(before-s.n)*frame)))
	}
	if len(dst) > 0 {
		return dst, nil
	}
	select {
	case <-s.ctx.Done():
		return dst, io.EOF
	case now := <-time.After(frame):
		return append(dst, s.next(now)), nil
	}
}

func (s *deaf) next(arrival time.Time) *media.Packet {
	payload := doortest.Deltaframe(webrtc.MimeTypeVP8)
	if s.n == 0 {
		payload = doortest.Keyframe(webrtc.MimeTypeVP8)
	}
	p := &media.Packet{
		Sequence: uint16(s.n), Timestamp: s.n * 1800, Marker: true, Codec: &s.codec, Arrival: arrival,
		Payload: binary.BigEndian.AppendUint32(payload, s.n),
	}
	s.n++
	return p
}

// A reader notes the numbers of the frames that a viewer gets.
type reader struct {
	mu  sync.Mutex
	got []uint32
}

func (n *node) read(t *testing.T, path string) *reader {
	t.Helper()
	p, out := doortest.NewPeer(t), &reader{}
	p.Receive(t, video)
	p.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			p, _, err := remote.ReadRTP()
			if err != nil {
				return
			}
			out.mu.Lock()
			out.got = append(out.got, binary.BigEndian.Uint32(p.Payload[len(p.Payload)-4:]))
			out.mu.Unlock()
		}
	})
	p.Connect(t, n.Gateway, "/whep/"+path)
	return out
}

// reaches waits until the viewer has got a frame of that number, or a later one.
func (r *reader) reaches(t *testing.T, number uint32) {
	t.Helper()
	doortest.Eventually(t, func() string {
		r.mu.Lock()
		defer r.mu.Unlock()
		if n := len(r.got); n == 0 || r.got[n-1] < number {
			return fmt.Sprintf("%d frames came, of which the last is not number %d yet", n, number)
		}
		return ""
	})
}

// once checks that the viewer has got no frame twice.
func (r *reader) once(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := make(map[uint32]bool)
	for i, n := range r.got {
		if seen[n] {
			t.Fatalf("frame %d is number %d again", i, n)
		}
		seen[n] = true
	}
}

// An encoder with a keyframe every ten seconds that does not give one when it is asked, as FFmpeg: who watches it where
// it is lent or relayed has its picture at once, and sees no old ones again when others join.
func TestAnEncoderWithFewKeyframes(t *testing.T) {
	for _, how := range []string{"on loan", "by a relay"} {
		t.Run(how, func(t *testing.T) {
			m := newMesh()
			a, b := m.join(t, "a"), m.join(t, "b", "127.0.0.0/8")
			m.own("mri", a)
			publication, err := a.Rooms.Publish(rooms.PublishRequest{Room: "mri", Publisher: "console", Session: "s", Stays: true})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var feeding sync.WaitGroup
			feeding.Go(func() {
				defer publication.Close()
				_ = publication.Run(ctx, &deaf{ctx: ctx, codec: doortest.VP8})
			})
			defer feeding.Wait()
			defer cancel()
			doortest.Eventually(t, func() string {
				if _, err := a.Rooms.Kinds("mri", "console"); err != nil {
					return err.Error()
				}
				return ""
			})
			if how == "on loan" {
				m.lose("mri", a, b, cluster.Contested)
			}
			began := time.Now()
			first := b.read(t, "mri/console")
			first.reaches(t, 0)
			t.Logf("the keyframe came after %v", time.Since(began).Round(time.Millisecond))
			first.reaches(t, before)
			t.Logf("the first frame of now came after %v", time.Since(began).Round(time.Millisecond))
			first.reaches(t, before+150) // nobody starts again within 2 s of his beginning
			second := b.read(t, "mri/console")
			second.reaches(t, before+200)
			first.reaches(t, before+250)
			second.once(t)
			first.once(t)
		})
	}
}
