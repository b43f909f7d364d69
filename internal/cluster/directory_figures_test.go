//go:build figures

package cluster

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"sightline/internal/opt"
)

// TestDirectoryFigures prints what the directory costs: 20 nodes in one process with 10,000
// rooms, on the bus in memory and on embedded NATS. The table is in docs/CLUSTER.md.
func TestDirectoryFigures(t *testing.T) {
	for _, kind := range []string{"memory", "NATS"} {
		t.Run(kind, func(t *testing.T) { figures(t, kind == "NATS", 20, 500) })
	}
}

// A party is a node of either bus.
type party struct {
	*directory
	gw  *gateway
	die func() // without a word
	bye func()
}

func figures(t *testing.T, overNATS bool, nodes, rooms int) {
	net := newMemNet(1)
	defer net.close()
	net.delay = 0
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	var list []Config
	if overNATS {
		list = configs(t, nodes+1)
	}
	begin := func(i int) *party {
		gw := newGateway()
		for r := range rooms {
			name := fmt.Sprintf("scanner-%d-%d", i, r)
			gw.rooms[name] = RoomState{Room: name, Publishers: 1, Sessions: 3, Tracks: []string{"console/audio", "console/video"}}
		}
		ctx, stop := context.WithCancel(context.Background())
		var wait sync.WaitGroup
		p := &party{gw: gw}
		if overNATS {
			n, err := Open(list[i], gw, log)
			if err != nil {
				t.Fatal(err)
			}
			p.directory = n.directory
			wait.Go(func() { n.Run(ctx) })
			p.bye = func() { stop(); wait.Wait(); n.Close() }
			p.die = func() { stop(); wait.Wait(); n.bus.close(); n.engine.stop() }
			return p
		}
		id := fmt.Sprintf("node%04d", i)
		config := Config{Lease: opt.Duration(3 * time.Second), Linger: opt.Duration(10 * time.Second)}
		p.directory = newDirectory(config, Member{Name: id, ID: id, Since: time.Now()}, gw, net.join(id), log)
		wait.Go(func() { p.run(ctx) })
		p.die = func() { net.remove(id); stop(); wait.Wait() }
		p.bye = func() { stop(); wait.Wait(); p.leave(); time.Sleep(20 * time.Millisecond); p.die() }
		return p
	}
	all := make([]*party, nodes)
	for i := range all {
		all[i] = begin(i)
	}
	agree := func(members, entries int) func() bool {
		return func() bool {
			for _, p := range all {
				if s := p.snapshot(); s.Members != members || s.Entries != entries {
					return false
				}
			}
			return true
		}
	}
	line := func(what string, args ...any) { fmt.Printf("| %-38s | %s |\n", what, fmt.Sprint(args...)) }
	line("all know all after their start", within(t, time.Minute, "start", agree(nodes, nodes*rooms)).Round(10*time.Millisecond))
	time.Sleep(3 * time.Second)

	stop := make(chan struct{})
	var wait sync.WaitGroup
	const period = 10 * time.Second
	for _, changes := range []int{0, 100, 1000} { // a second, over all
		if changes > 0 {
			stop = make(chan struct{})
			for i, p := range all {
				wait.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(i), 1))
					tick := time.NewTicker(time.Second * time.Duration(nodes) / time.Duration(changes))
					defer tick.Stop()
					for {
						select {
						case <-stop:
							return
						case <-tick.C:
							name := fmt.Sprintf("scanner-%d-%d", i, rng.IntN(rooms))
							p.gw.mu.Lock()
							r := p.gw.rooms[name]
							r.Sessions = 1 + rng.IntN(1000)
							p.gw.rooms[name] = r
							p.gw.mu.Unlock()
						}
					}
				})
			}
		}
		told0 := told(all)
		out0, in0, bytes0 := traffic(all)
		cpu := cpuTime()
		time.Sleep(period)
		cpu = cpuTime() - cpu
		out1, in1, bytes1 := traffic(all)
		each := func(n uint64) float64 { return float64(n) / float64(nodes) / period.Seconds() }
		what := fmt.Sprintf("%.0f changes a second", float64(told(all)-told0)/period.Seconds())
		line(what+": out, of a node", fmt.Sprintf("%.1f messages/s", each(out1-out0)))
		line(what+": in, of a node", fmt.Sprintf("%.0f messages/s, %.1f kB/s", each(in1-in0), each(bytes1-bytes0)/1000))
		line(what+": CPU, of a node", fmt.Sprintf("%.2f %%", 100*cpu.Seconds()/period.Seconds()/float64(nodes)))
		if changes > 0 {
			close(stop)
			wait.Wait()
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	line("heap, of a node", fmt.Sprintf("%.1f MB", float64(m.HeapAlloc)/1e6/float64(nodes)))

	one := all[0]
	one.gw.set("new", 1, 1)
	line("a new room is known to all after", within(t, 10*time.Second, "a room", agree(nodes, nodes*rooms+1)).Round(time.Millisecond))
	all = append(all, begin(nodes))
	line("a node joins: all know all after", within(t, time.Minute, "join", agree(nodes+1, (nodes+1)*rooms+1)).Round(time.Millisecond))
	last := all[nodes]
	all = all[:nodes]
	start := time.Now()
	last.bye()
	line("  it says good-bye: after", within(t, time.Minute, "bye", agree(nodes, nodes*rooms+1)).Round(time.Millisecond), " (", time.Since(start).Round(time.Millisecond), " with its end)")
	last = all[nodes-1]
	all = all[:nodes-1]
	start = time.Now()
	last.die()
	within(t, time.Minute, "death", agree(nodes-1, (nodes-1)*rooms+1))
	line("a node dies: all know after", time.Since(start).Round(10*time.Millisecond))
	var s DirectorySnapshot
	for _, p := range all {
		one := p.snapshot()
		s.Gaps += one.Gaps
		s.Fetches += one.Fetches
		s.LeasesEnded += one.LeasesEnded
	}
	line("gaps, fetches, leases ended, of all", s.Gaps, ", ", s.Fetches, ", ", s.LeasesEnded)
	for _, p := range all {
		p.bye()
	}
}

// told is the number of changes that nodes have told.
func told(all []*party) (n uint64) {
	for _, p := range all {
		p.mu.Lock()
		n += p.number
		p.mu.Unlock()
	}
	return n
}

// traffic sums what nodes have told and heard, and the bytes of the latter.
func traffic(all []*party) (out, in, bytes uint64) {
	for _, p := range all {
		s := p.snapshot()
		for _, t := range s.Out {
			out += t.Messages
		}
		for _, t := range s.In {
			in += t.Messages
			bytes += t.Bytes
		}
	}
	return out, in, bytes
}

// cpuTime is what this process has used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRecords measures JSON of changes, a record each.
func BenchmarkRecords(b *testing.B) {
	c := changes{}
	for i := range 1000 {
		c.Rooms = append(c.Rooms, record{Room: fmt.Sprint("scanner-1-", i), Number: uint64(i), Epoch: 1, Since: 1764170000000, Publishers: 1, Sessions: 3, Tracks: []string{"console/audio", "console/video"}})
	}
	data := encode(message{Changes: &c})
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			encode(message{Changes: &c})
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/record")
		b.ReportMetric(float64(len(data))/1000, "B/record")
	})
	b.Run("apply", func(b *testing.B) {
		w := newWorld(b, 1)
		d := newDirectory(Config{}, Member{ID: "a"}, nil, w.net.join("a"), w.log)
		defer w.close()
		d.started = time.Now()
		d.heard("b", encode(message{Beat: &beat{Seq: 1, Name: "b"}}))
		for b.Loop() {
			d.peers["b"].have = 0
			d.peers["b"].complete = true
			d.heard("b", []byte(`{"c":{"a":0,"u":1000,`+string(data[len(`{"c":{"a":0,"u":0,`):])))
		}
		if len(d.peers["b"].records) < 999 {
			b.Fatalf("%d records", len(d.peers["b"].records))
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/record")
	})
}
