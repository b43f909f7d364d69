//go:build !race

package rtc

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What 100 half-open sessions cost whose offers name 32 addresses each where nobody answers: the
// share of a processor, on average over the 15 s until they end. The candidates
// lead to a socket that nobody reads.
func BenchmarkHalfOpen(b *testing.B) {
	const n = 100
	hole, err := net.ListenUDP("udp4", &net.UDPAddr{})
	if err != nil {
		b.Fatal(err)
	}
	defer hole.Close()
	var named []string
	for i := range Defaults().MaxCandidates {
		named = append(named, fmt.Sprintf("1 1 udp 2130706431 127.0.1.%d %d typ host", i+1, hole.LocalAddr().(*net.UDPAddr).Port))
	}
	for _, tt := range []struct {
		name       string
		candidates []string
	}{{"named=0", nil}, {"named=32", named}} {
		b.Run(tt.name, func(b *testing.B) {
			e := testEngine(b)
			for b.Loop() {
				ctx, cancel := context.WithTimeoutCause(context.Background(), e.config.CheckTimeout.D(), Deleted)
				var running sync.WaitGroup
				before, sent := cpuTime(), e.udp.stats.sent.Load()
				for range n {
					s := halfOpen(b, e, "firefox-153esr-whep-vp8.sdp", false, tt.candidates...)
					running.Go(func() { _ = s.Run(ctx) })
				}
				running.Wait()
				cancel()
				b.ReportMetric(100*(cpuTime()-before).Seconds()/e.config.CheckTimeout.D().Seconds(), "%cpu")
				b.ReportMetric(float64(e.udp.stats.sent.Load()-sent)/n, "sent/session")
			}
		})
	}
}

// cpuTime is what the process has used of the processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
