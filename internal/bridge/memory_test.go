package bridge

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What a room takes is given back once the last listener has left it.
func TestLastListenerGivesTheMemoryBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, Defaults())
		defer h.close()
		const speakers = 8
		var voices []*voice
		for i := range speakers {
			voices = append(voices, h.publish("mri-2", fmt.Sprintf("speaker-%d", i), "", 300+100*float64(i), 0))
		}
		time.Sleep(time.Second)
		heap := func() int {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int(m.HeapAlloc)
		}
		mix := func() (while, after int) {
			ctx, leave := context.WithCancel(t.Context())
			var running sync.WaitGroup
			for i := range speakers {
				l, err := h.bridge.Listen(ListenRequest{Room: "mri-2", For: fmt.Sprintf("speaker-%d", i)})
				if err != nil {
					t.Fatal(err)
				}
				running.Go(func() {
					_ = l.Run(ctx, deaf{})
					l.Close()
				})
			}
			time.Sleep(time.Second)
			while = heap()
			leave()
			running.Wait()
			synctest.Wait()
			return while, heap()
		}
		mix() // what is made once for all
		before, goroutines := heap(), runtime.NumGoroutine()
		while, after := mix()
		t.Logf("heap %d KiB before, %d KiB while %d listened to mixes of their own, %d KiB after", before>>10, while>>10, speakers, after>>10)
		if n := runtime.NumGoroutine(); n > goroutines {
			t.Errorf("%d goroutines, %d before anybody listened", n, goroutines)
		}
		if limit := before + (while-before)/8; after > limit {
			t.Errorf("%d KiB of heap afterwards, %d before, want %d at most", after>>10, before>>10, limit>>10)
		}
		if s := h.bridge.Snapshot(); s.Rooms != 0 || len(s.Speakers) != 0 {
			t.Errorf("%d rooms and %d speakers are left", s.Rooms, len(s.Speakers))
		}
		for _, v := range voices {
			v.stop()
		}
	})
}
