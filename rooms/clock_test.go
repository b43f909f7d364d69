package rooms_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/media"
	"sightline/rooms/roomstest"
)

// A stage plays both tracks in real time, with jitter and delays, and sender reports every so
// often, if at all.
type stage struct {
	*show
	began      time.Time
	frames     int
	late       map[media.Kind]time.Duration
	reports    map[media.Kind]time.Duration // how often; 0: never
	jitter     time.Duration
	senderZero uint64 // the sender's NTP time when the stage was made
	reported   map[media.Kind]time.Time
}

func newStage(s *show) *stage {
	return &stage{show: s, began: time.Now(), senderZero: 123 << 32, late: map[media.Kind]time.Duration{},
		reports: map[media.Kind]time.Duration{}, reported: map[media.Kind]time.Time{}}
}

// timestamp is the source's of what is captured at the instant at.
func (s *stage) timestamp(tape *roomstest.Tape, at time.Time) uint32 {
	return tape.Timestamp + uint32(int64(at.Sub(s.began))*int64(tape.Codec().ClockRate)/int64(time.Second))
}

func (s *stage) play(d time.Duration) {
	end := time.Now().Add(d)
	for ; time.Now().Before(end); s.frames++ {
		captured := s.began.Add(time.Duration(s.frames) * 20 * time.Millisecond)
		time.Sleep(time.Until(captured.Add(rand.N(s.jitter + 1)))) // what comes now
		s.send(s.audio, captured, false)
		if s.frames%2 == 0 {
			s.send(s.video, captured, s.frames%100 == 0)
		}
		for _, tape := range []*roomstest.Tape{s.audio, s.video} {
			kind, now := tape.Kind(), time.Now()
			if every := s.reports[kind]; every > 0 && now.Sub(s.reported[kind]) >= every {
				s.reported[kind] = now
				tape.Report(s.senderZero+uint64(now.Sub(s.began).Seconds()*(1<<32)), s.timestamp(tape, now),
					now.Add(10*time.Millisecond+rand.N(s.jitter+1)))
			}
		}
	}
	synctest.Wait()
}

// send plays what was captured at the instant at, or longer ago by the track's delay.
func (s *stage) send(tape *roomstest.Tape, at time.Time, key bool) {
	burst := tape.Packets(key, 2)
	for _, p := range burst {
		p.Timestamp = s.timestamp(tape, at.Add(-s.late[tape.Kind()]))
	}
	tape.Play(burst...)
}

// apart returns by how much picture is ahead of sound by what the viewers' sender reports
// say, against the truth.
func (s *stage) apart(t *testing.T, sound, picture *seat) time.Duration {
	t.Helper()
	now := time.Now()
	truth := func(v *seat, tape *roomstest.Tape) time.Duration {
		got, ok := v.Timestamp(now)
		if !ok {
			t.Fatal("no timestamp is known")
		}
		// The source's timestamp, by a packet that went through.
		p := v.Got()
		last := p[len(p)-1]
		source := got - last.Timestamp + last.Packet.Timestamp
		return time.Duration(int32(source-s.timestamp(tape, now))) * time.Second / time.Duration(tape.Codec().ClockRate)
	}
	return truth(picture, s.video) - truth(sound, s.audio)
}

func TestLipSync(t *testing.T) {
	for _, tt := range []struct {
		name    string
		audio   time.Duration // between its sender reports
		video   time.Duration
		delayed time.Duration // the video's encoder
		want    time.Duration
	}{
		{"both tracks have reports", time.Second, time.Second, 300 * time.Millisecond, 0},
		{"reports that are seldom", 5 * time.Second, 5 * time.Second, 300 * time.Millisecond, 0},
		{"no reports at all", 0, 0, 0, 0},
		{"no reports, the encoder's delay shows", 0, 0, 50 * time.Millisecond, -50 * time.Millisecond},
		{"reports of one track are not mixed in", time.Second, 0, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, func(t *testing.T, h *house) {
				s := newStage(h.publish(&roomstest.Opus, &roomstest.VP8))
				s.jitter = 15 * time.Millisecond
				s.late[media.Video] = tt.delayed
				s.reports[media.Audio], s.reports[media.Video] = tt.audio, tt.video
				s.play(time.Second)
				sound, picture := h.watch(media.Audio), h.watch(media.Video)
				s.play(6 * time.Second)
				var last time.Duration
				for i := range 40 {
					s.play(time.Second)
					got := s.apart(t, sound, picture)
					if d := got - tt.want; d < -10*time.Millisecond || d > 10*time.Millisecond {
						t.Fatalf("after %d s picture is %v ahead of sound, want %v", i+7, got, tt.want)
					}
					if d := got - last; i > 0 && (d > 5*time.Millisecond || d < -5*time.Millisecond) {
						t.Errorf("after %d s the distance jumps by %v", i+7, d)
					}
					last = got
				}
			})
		})
	}
}

func TestLipSyncIsRightAgainAfterATakeover(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := newStage(h.publish(&roomstest.Opus, &roomstest.VP8))
		s.reports[media.Audio], s.reports[media.Video] = time.Second, time.Second
		s.play(time.Second)
		sound, picture := h.watch(media.Audio), h.watch(media.Video)
		s.play(10 * time.Second)
		s.end()
		time.Sleep(3 * time.Second)
		n := newStage(h.publish(&roomstest.Opus, &roomstest.VP8))
		n.audio.Timestamp, n.video.Timestamp = 1<<31, 1<<30
		n.senderZero = 99 << 40
		n.late[media.Video] = 200 * time.Millisecond
		n.reports[media.Audio], n.reports[media.Video] = time.Second, time.Second
		n.play(2 * time.Second)
		if d := n.apart(t, sound, picture); d < -10*time.Millisecond || d > 10*time.Millisecond {
			t.Errorf("picture is %v ahead of sound", d)
		}
	})
}

func TestNonsensicalReportsAreNotBelieved(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := newStage(h.publish(&roomstest.Opus, &roomstest.VP8))
		s.reports[media.Audio] = time.Second
		s.play(time.Second)
		sound, picture := h.watch(media.Audio), h.watch(media.Video)
		for range 10 {
			s.video.Report(rand.Uint64(), rand.Uint32(), time.Now())
			s.play(time.Second)
			if d := s.apart(t, sound, picture); d < -10*time.Millisecond || d > 10*time.Millisecond {
				t.Errorf("picture is %v ahead of sound", d)
			}
		}
	})
}
