package rooms_test

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/media"
	"sightline/rooms"
	"sightline/rooms/roomstest"
)

// A crew counts how many batches carry one packet: each goroutine that forwards has its own.
type crew struct {
	mu      sync.Mutex // guards what follows
	batches map[*media.Packet]int
}

// shared returns how many packets several goroutines have forwarded, and forgets them.
func (c *crew) shared() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, batches := range c.batches {
		if batches > 1 {
			n++
		}
	}
	clear(c.batches)
	return n
}

// A parcel is a media.Batch: what is written to it comes when it is flushed. It has no lock,
// so that the race detector sees whether two goroutines use it.
type parcel struct {
	crew *crew
	to   []*boxed
	what [][]media.Outgoing
}

func (p *parcel) Flush() {
	p.crew.mu.Lock()
	seen := make(map[*media.Packet]bool)
	for _, burst := range p.what {
		if first := burst[0].Packet; !seen[first] {
			seen[first] = true
			p.crew.batches[first]++
		}
	}
	p.crew.mu.Unlock()
	for i, sink := range p.to {
		sink.Write(p.what[i])
	}
	p.to, p.what = nil, nil
}

// A boxed recorder is a media.BatchSink.
type boxed struct {
	*roomstest.Recorder
	crew *crew
}

func (b *boxed) NewBatch() media.Batch { return &parcel{crew: b.crew} }

func (b *boxed) WriteTo(into media.Batch, burst []media.Outgoing) bool {
	p := into.(*parcel)
	p.to = append(p.to, b)
	p.what = append(p.what, append([]media.Outgoing(nil), burst...)) // the caller writes the next one into it
	if len(p.to) == 1 {
		runtime.Gosched() // where processors are rare the helpers get their turn, too
	}
	return true
}

// watchBoxed runs a subscription until the returned function is called, which waits for its end.
func (h *house) watchBoxed(c *crew) (*boxed, func()) {
	h.t.Helper()
	subscriptions, err := h.Play(rooms.PlayRequest{Room: "r", Publisher: "cam", Kind: media.Audio})
	if err != nil {
		h.t.Error(err)
		return nil, func() {}
	}
	sink := &boxed{&roomstest.Recorder{}, c}
	ctx, stop := context.WithCancelCause(h.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := subscriptions[0].Run(ctx, sink); err != errStopped {
			h.t.Errorf("a viewer ended with %v, want the cause of its context", err)
		}
		subscriptions[0].Close()
	})
	return sink, func() {
		stop(errStopped)
		running.Wait()
	}
}

// The processors that share a burst leave no viewer out, serve none twice, and keep the order,
// whoever comes and goes meanwhile. It is sound, whose viewers are at the live edge at once: in
// a bubble of synctest that the race detector watches, timers that many goroutines select on
// at one moment, as those who catch up do, crash the runtime of Go 1.26.
func TestAFanOutThatIsSharedGivesEveryViewerEveryPacketOnce(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(2, runtime.NumCPU())))
	synctest.Test(t, func(t *testing.T) {
		h := open(t, func(c *rooms.Config) { c.MaxViewersPerTrack = 600 })
		defer h.close()
		s := h.publish(&roomstest.Opus, nil)
		s.audio.Frame(1)
		synctest.Wait()
		c := &crew{batches: make(map[*media.Packet]int)}
		var staying []*boxed
		for range 500 {
			sink, leave := h.watchBoxed(c)
			defer leave()
			staying = append(staying, sink)
		}
		synctest.Wait()

		const bursts, guests = 60, 12
		var coming sync.WaitGroup
		visits := make([][][]roomstest.Got, guests)
		for i := range guests {
			coming.Go(func() {
				for left := bursts; left > 0; {
					// Whole frames, so that a guest comes and goes while a burst is forwarded.
					stay := 1 + rand.IntN(10)
					sink, leave := h.watchBoxed(c)
					time.Sleep(time.Duration(stay) * frame)
					leave()
					if sink != nil {
						visits[i] = append(visits[i], sink.Got())
					}
					left -= stay
				}
			})
		}
		var all []*media.Packet
		place := make(map[*media.Packet]int)
		for range bursts {
			p := s.audio.Packets(false, 4)
			for i := range p {
				place[p[i]] = len(all) + i
			}
			all = append(all, p...)
			s.audio.Play(p...)
			time.Sleep(frame)
		}
		coming.Wait()
		synctest.Wait()

		if n := c.shared(); n == 0 {
			t.Error("no burst was shared by several goroutines: this test has shown nothing")
		} else {
			t.Logf("%d of %d bursts were shared", n, bursts)
		}
		for i, v := range staying {
			got := v.Got()
			if len(got) != len(all) {
				t.Fatalf("viewer %d got %d packets, want %d", i, len(got), len(all))
			}
			checkLine(t, got)
			for k := range got {
				if got[k].Packet != all[k] {
					t.Fatalf("viewer %d: packet %d is another one", i, k)
				}
			}
		}
		some := 0
		for _, visit := range visits {
			for _, got := range visit {
				checkLine(t, got)
				for k := 1; k < len(got); k++ {
					if d := place[got[k].Packet] - place[got[k-1].Packet]; d != 1 {
						t.Fatalf("a guest's packets step by %d, want 1", d)
					}
				}
				some += len(got)
			}
		}
		if some == 0 {
			t.Error("no guest got anything")
		}
	})
}

// Whoever misses a viewer's first packets takes the rollover counter for 0 (RFC 3711, section
// 3.3.1), and that is right until the numbers begin anew, after half of them at the earliest.
func TestAViewersNumbersBeginInTheLowerHalf(t *testing.T) {
	run(t, func(t *testing.T, h *house) {
		s := h.publish(&roomstest.Opus, &roomstest.H264)
		s.audio.Frame(1)
		s.video.Keyframe(4)
		synctest.Wait()
		var seats []*seat
		for range 100 {
			seats = append(seats, h.watch(media.Audio), h.watch(media.Video))
		}
		s.audio.Frame(1)
		s.video.Frame(1)
		time.Sleep(10 * frame)
		synctest.Wait()
		for i, v := range seats {
			got := v.Got()
			if len(got) == 0 {
				t.Fatalf("viewer %d got nothing", i)
			}
			if first := got[0].Sequence; first >= 1<<15 {
				t.Errorf("viewer %d: the first sequence number is %d, want less than %d", i, first, 1<<15)
			}
		}
	})
}
