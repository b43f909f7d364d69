//go:build figures

package figures

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"sightline/internal/audio"
	"sightline/internal/audio/audiotest"
	"sightline/internal/doortest"
	"sightline/whep"
	"sightline/whip"
)

const (
	pairs   = 10 // of a publisher and a listener, each in a room of its own: ten phases of the mixer
	warmUp  = 6 * time.Second
	clickIn = 13 * time.Second // for this long clicks are counted
)

// From a click to its coming out of a listener's decoder, over loopback, with pion at both
// ends. What is counted begins when the click's first sample is captured, which is known to
// the sample, and ends at that sample's place in the frame that is decoded from the packet
// that the listener has received last: as if he played it at once. Beside it, the time from
// when the click's packet has arrived at the gateway.
func TestClickDelay(t *testing.T) {
	for _, tt := range []struct {
		name   string
		jitter time.Duration
		busy   int // processes that do nothing else than to take a processor
		limit  time.Duration
	}{
		{"loopback", 0, 0, 80 * time.Millisecond},
		{"30 ms of jitter", 30 * time.Millisecond, 0, 120 * time.Millisecond},
		{"a processor busy", 0, 1, 80 * time.Millisecond},
		{"30 ms of jitter, a processor busy", 30 * time.Millisecond, 1, 120 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range tt.busy {
				spin(t)
			}
			strangers := watchStrangers()
			clicks := measureClicks(t, tt.jitter)
			t.Logf("%d clicks, %d of them came", clicks.said, len(clicks.captured))
			show := func(what string, all []time.Duration) {
				t.Logf("%-28s p50 %5.1f  p95 %5.1f  max %5.1f ms", what, ms(audiotest.Quantile(all, 0.5)), ms(audiotest.Quantile(all, 0.95)), ms(audiotest.Quantile(all, 1)))
			}
			show("from the sample's capture", clicks.captured)
			show("from its packet's arrival", clicks.arrived)
			t.Logf("others on this machine used %.0f %% of a processor", strangers())
			if clicks.said < 200 || len(clicks.captured) < clicks.said*95/100 {
				t.Errorf("%d of %d clicks came, want 95 %% of 200 at least", len(clicks.captured), clicks.said)
			}
			if p95 := audiotest.Quantile(clicks.captured, 0.95); p95 > tt.limit {
				t.Errorf("95 %% of the clicks came within %v, want %v", p95, tt.limit)
			}
		})
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// spin keeps a processor busy until the test ends.
func spin(t *testing.T) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

type clicks struct {
	said              int
	captured, arrived []time.Duration // from then until they were heard
}

// measureClicks lets pairs click for a while.
func measureClicks(t *testing.T, jitter time.Duration) *clicks {
	g := doortest.Start(t, nil,
		func(g *doortest.Gateway) doortest.Door {
			return whip.New(g.Rooms, g.Peers, g.Auth, g.Sessions, g.Audit, g.Log)
		},
		func(g *doortest.Gateway) doortest.Door {
			return whep.New(g.Rooms, g.Bridge, g.Peers, g.Auth, g.Sessions, g.Audit, g.Log)
		},
	)
	var all clicks
	var group sync.WaitGroup
	everybody := make([]*clicker, pairs)
	for i := range everybody {
		everybody[i] = newClicker(t, g, fmt.Sprintf("room-%d", i), uint64(i), jitter)
	}
	for _, c := range everybody {
		group.Go(func() { c.run() })
	}
	group.Wait()
	for _, c := range everybody {
		c.match(&all)
	}
	return &all
}

// A clicker is a publisher, and who listens to its room.
type clicker struct {
	track   *webrtc.TrackLocalStaticRTP
	encoder audio.Encoder
	jitter  time.Duration
	random  *rand.Rand
	sounds  *audiotest.Clicks

	began time.Time // when the first sample was captured
	in    []int64   // samples at which clicks began

	mu   sync.Mutex        // guards what follows
	sent map[int]time.Time // when a frame's packet had left, and so had arrived
	out  []time.Time       // when clicks began for the listener
}

func newClicker(t *testing.T, g *doortest.Gateway, room string, seed uint64, jitter time.Duration) *clicker {
	c := &clicker{jitter: jitter, random: rand.New(rand.NewPCG(seed, 1)), sounds: audiotest.NewClicks(seed), sent: make(map[int]time.Time)}
	var err error
	if c.encoder, err = audio.NewEncoder(audio.EncoderConfig{Channels: 1, Bitrate: 32000, Complexity: 2, Loss: 10}); err != nil {
		t.Fatal(err)
	}
	publisher := doortest.NewPeer(t)
	if c.track, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "audio", "stream"); err != nil {
		t.Fatal(err)
	}
	sender, err := publisher.AddTrack(c.track)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for b := make([]byte, 1500); ; {
			if _, _, err := sender.Read(b); err != nil {
				return
			}
		}
	}()
	publisher.Connect(t, g, "/whip/"+room+"/console")
	listener := doortest.NewPeer(t)
	listener.Receive(t, webrtc.RTPCodecTypeAudio)
	listener.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { c.hear(t, track) })
	listener.Connect(t, g, "/whep/"+room+"/~mix?for=listener")
	return c
}

// run captures, encodes and sends.
func (c *clicker) run() {
	time.Sleep(time.Duration(c.random.Int64N(int64(audio.FrameDuration))))
	c.began = time.Now()
	var onset audiotest.Onset
	pcm := make([]float32, audio.FrameSamples)
	var late sync.WaitGroup
	for n := 0; time.Since(c.began) < warmUp+clickIn+time.Second; n++ {
		time.Sleep(time.Until(c.began.Add(time.Duration(n+1) * audio.FrameDuration)))
		c.sounds.Fill(pcm)
		c.in = append(c.in, onset.Find(pcm)...)
		payload, err := c.encoder.Encode(nil, pcm)
		if err != nil {
			panic(err)
		}
		p := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: uint16(n), Timestamp: uint32(n * audio.FrameSamples)}, Payload: payload}
		send := func() {
			_ = c.track.WriteRTP(p)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.sent[n] = time.Now()
		}
		if c.jitter == 0 {
			send()
			continue
		}
		delay := time.Duration(c.random.Int64N(int64(c.jitter)))
		late.Go(func() {
			time.Sleep(delay)
			send()
		})
	}
	late.Wait()
}

// hear decodes each packet when it comes.
func (c *clicker) hear(t *testing.T, track *webrtc.TrackRemote) {
	decoder, err := audio.NewDecoder(1)
	if err != nil {
		t.Error(err)
		return
	}
	var onset audiotest.Onset
	frame := make([]float32, audio.MaxPacketSamples)
	for total := int64(0); ; {
		p, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		now := time.Now()
		n, err := decoder.Decode(p.Payload, frame)
		if err != nil {
			t.Error(err)
			return
		}
		for _, at := range onset.Find(frame[:n]) {
			c.mu.Lock()
			c.out = append(c.out, now.Add(place(at-total)))
			c.mu.Unlock()
		}
		total += int64(n)
	}
}

func place(samples int64) time.Duration {
	return time.Duration(samples) * time.Second / audio.SampleRate
}

// match finds for each click when it was heard.
func (c *clicker) match(all *clicks) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, at := range c.in {
		moment := c.began.Add(place(at))
		if moment.Sub(c.began) < warmUp || moment.Sub(c.began) > warmUp+clickIn {
			continue
		}
		all.said++
		for _, heard := range c.out {
			if d := heard.Sub(moment); d > 0 && d < 250*time.Millisecond {
				all.captured = append(all.captured, d)
				all.arrived = append(all.arrived, heard.Sub(c.sent[int(at/audio.FrameSamples)]))
				break
			}
		}
	}
}
