package bridge

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/audio"
	"sightline/internal/audio/audiotest"
)

// bursty loses packets as Gilbert and Elliott have it: in a bad state all, in a good one
// none. A burst is 2.5 packets on average.
func bursty(seed uint64, loss float64) path {
	const end = 1 / 2.5
	random, bad := rand.New(rand.NewPCG(seed, 5)), false
	return func(int) (time.Duration, bool) {
		if bad {
			bad = random.Float64() >= end
		} else {
			bad = random.Float64() < loss/(1-loss)*end
		}
		return 0, bad
	}
}

// losses returns a bursty path that loses as much of n packets as it should, to a quarter of
// a percent.
func losses(n int, loss float64) path {
	for seed := uint64(1); ; seed++ {
		lost := 0
		for try, i := bursty(seed, loss), 0; i < n; i++ {
			if _, gone := try(i); gone {
				lost++
			}
		}
		if off := float64(lost)/float64(n) - loss; off > -0.0025 && off < 0.0025 {
			return bursty(seed, loss)
		}
	}
}

// A sender is what a publisher's encoder is set to.
type sender struct {
	name string
	audio.EncoderConfig
}

var senders = []sender{
	{"as browsers: 32 kbit/s, error correction", audio.EncoderConfig{Channels: 1, Bitrate: 32000, Complexity: 5, Loss: 10}},
	{"as OBS: 96 kbit/s, none", audio.EncoderConfig{Channels: 1, Bitrate: 96000, Complexity: 5, LowDelay: true}},
}

// A comparison is what speech is like behind the bridge, and as a player makes it out of what
// is forwarded, after the same losses.
type comparison struct {
	mixed, forwarded audiotest.Quality
	lost, packets    int
	burst            int         // packets in a row that were lost where the longest gap is; 0: no gap
	stats            audio.Stats // of the bridge
}

// compare sends speech through a bridge. In fake time it always comes out the same.
func compare(t *testing.T, speech []float32, s sender, loss float64) (c comparison) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, Defaults())
		defer h.close()
		ear := h.listen(ListenRequest{Room: "mri-2"})
		time.Sleep(505 * time.Millisecond)
		n, random := 0, losses(len(speech)/audio.FrameSamples, loss)
		gone := make(map[int]bool)
		first, stop := h.say("mri-2", "console", s.EncoderConfig, func(pcm []float32) {
			clear(pcm)
			copy(pcm, speech[min(n*audio.FrameSamples, len(speech)):])
			n++
		}, func(n int) (time.Duration, bool) {
			_, lost := random(n)
			gone[n] = lost
			return 0, lost
		})
		time.Sleep(time.Duration(len(speech))*time.Second/audio.SampleRate + 200*time.Millisecond)
		snapshot := h.bridge.Snapshot()
		stop()
		ear.stop()

		var mixed []float32
		frame := make([]float32, audio.MaxPacketSamples)
		for _, g := range ear.Got() {
			n, err := ear.decoder.Decode(g.Payload, frame)
			if err != nil {
				t.Fatal(err)
			}
			if !g.At.Before(first) {
				mixed = append(mixed, frame[:n]...)
			}
		}
		c.mixed = audiotest.Compare(speech, audiotest.Align(speech, mixed, 0, 200*time.Millisecond))
		forwarded := play(t, speech, s, gone)
		c.forwarded = audiotest.Compare(speech, audiotest.Align(speech, forwarded, 0, 200*time.Millisecond))
		c.packets = len(speech) / audio.FrameSamples
		for n := range c.packets {
			if gone[n] {
				c.lost++
			}
		}
		c.burst = burstAt(gone, int(c.mixed.GapEnd/audio.FrameDuration))
		if len(snapshot.Speakers) > 0 {
			c.stats = snapshot.Speakers[0].Stats
		}
	})
	return c
}

// burstAt returns how many packets in a row are gone where a gap ends, or a little before:
// what was lost is heard in the codec's frames after it, too.
func burstAt(gone map[int]bool, n int) (burst int) {
	for try := range 3 {
		for gone[n-try-burst] {
			burst++
		}
		if burst > 0 {
			for i := n - try + 1; gone[i]; i++ {
				burst++
			}
			return burst
		}
	}
	return 0
}

// play decodes what is forwarded as a player does who waits long enough for the packet after
// a loss: by its error correction, or else by concealment.
func play(t *testing.T, speech []float32, s sender, gone map[int]bool) (pcm []float32) {
	t.Helper()
	encoder, err := audio.NewEncoder(s.EncoderConfig)
	if err != nil {
		t.Fatal(err)
	}
	decoder, err := audio.NewDecoder(1)
	if err != nil {
		t.Fatal(err)
	}
	var packets [][]byte
	for at := 0; at+audio.FrameSamples <= len(speech); at += audio.FrameSamples {
		packet, err := encoder.Encode(nil, speech[at:at+audio.FrameSamples])
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, packet)
	}
	frame := make([]float32, audio.MaxPacketSamples)
	for n, packet := range packets {
		switch {
		case !gone[n]:
			_, err = decoder.Decode(packet, frame)
		case n+1 < len(packets) && !gone[n+1]:
			err = decoder.DecodeFEC(packets[n+1], frame, audio.FrameSamples)
		default:
			err = decoder.Conceal(frame, audio.FrameSamples)
		}
		if err != nil {
			t.Fatal(err)
		}
		pcm = append(pcm, frame[:audio.FrameSamples]...)
	}
	return pcm
}

// compareAll prints a table, and returns its rows by sender and loss.
func compareAll(t *testing.T, speech []float32, senders []sender, losses ...float64) map[string]comparison {
	t.Helper()
	out := make(map[string]comparison)
	for _, s := range senders {
		t.Logf("%s", s.name)
		t.Logf("  loss              intelligibility   segmental SNR   spectral distance      gap")
		for _, loss := range losses {
			c := compare(t, speech, s, loss)
			out[fmt.Sprintf("%s %g", s.name, loss)] = c
			row := func(what string, q audiotest.Quality) {
				t.Logf("  %4.1f %%  %-10s        %.3f          %5.1f dB             %4.1f dB   %4d ms",
					100*float64(c.lost)/float64(c.packets), what, q.Intelligibility, q.SegmentalSNR, q.SpectralDistance, q.Gap.Milliseconds())
			}
			row("mixed", c.mixed)
			row("forwarded", c.forwarded)
			t.Logf("          the bridge concealed %d ms and recovered %d packets of %d lost; its longest gap is in a burst of %d packets",
				c.stats.Concealed/48, c.stats.FEC, c.stats.Lost, c.burst)
		}
	}
	return out
}

func TestSpeechBehindTheBridgeIsAsForwarded(t *testing.T) {
	speech := make([]float32, 12*audio.SampleRate)
	audiotest.NewVoice(3).Fill(speech)
	// The bridge waits for error correction from the second loss on that it would have mended.
	// In so short a time these count.
	holdQuality(t, compareAll(t, speech, senders[:1], 0, 0.05), 0.05)
}

// holdQuality says what must be: without loss everything is understood, with loss not much
// less than as forwarded. Where a burst of at most 120 ms was lost there is no gap of more than
// 60 ms; what is longer nobody can make up.
func holdQuality(t *testing.T, all map[string]comparison, margin float64) {
	t.Helper()
	const longBurst = 6 // packets
	for name, c := range all {
		loss := 100 * float64(c.lost) / float64(c.packets)
		if c.lost == 0 && c.mixed.Intelligibility < 0.92 || c.mixed.Intelligibility < c.forwarded.Intelligibility-margin {
			t.Errorf("%s: intelligibility %.3f behind the bridge and %.3f as forwarded, at %.1f %% loss",
				name, c.mixed.Intelligibility, c.forwarded.Intelligibility, loss)
		}
		if loss < 7 && c.mixed.Gap > 60*time.Millisecond && c.burst <= longBurst {
			t.Errorf("%s: a gap of %v where %d packets were lost, want 60 ms at most", name, c.mixed.Gap, c.burst)
		}
	}
}
