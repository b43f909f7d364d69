package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"sightline/internal/bench"
)

func (p *process) bench(ctx context.Context) error {
	fs := p.flags("bench", "Publishes streams to a WHIP server and plays them from its WHEP endpoints, to measure what\n"+
		"the machine can carry. docs/PERFORMANCE.md explains the figures. {n} in URLs and tokens is\n"+
		"the stream's number, from 0. Ctrl-C ends it early, with a report. Exit code 1 if a session\n"+
		"could not be made or nothing arrived.")
	c := bench.Defaults()
	fs.StringVar(&c.WHIP, "whip", c.WHIP, "`URL` to publish to")
	fs.StringVar(&c.WHEP, "whep", c.WHEP, "`URL` to play from")
	fs.StringVar(&c.WHIPToken, "whip-token", "", "bearer `token` to publish with")
	fs.StringVar(&c.WHEPToken, "whep-token", "", "bearer `token` to play with")
	fs.IntVar(&c.Streams, "streams", c.Streams, "`number` of streams")
	fs.IntVar(&c.Viewers, "viewers", c.Viewers, "`number` of viewers of each stream")
	fs.Var(&c.Bitrate, "bitrate", "video of a stream, in bits per second: 2500000, 2500k or 2.5M")
	fs.IntVar(&c.FPS, "fps", c.FPS, "`frames` per second")
	fs.DurationVar(&c.KeyframeInterval, "keyframe-interval", c.KeyframeInterval, "`time` from one keyframe to the next")
	fs.StringVar(&c.Codec, "codec", c.Codec, "h264 or vp8")
	fs.BoolVar(&c.Audio, "audio", c.Audio, "Opus as well, 50 packets a second of 160 bytes; -audio=false for none")
	fs.IntVar(&c.Voices, "voices", 0, "`number` of publishers of sound, each of whom also listens, as to the mix of his room")
	fs.IntVar(&c.Talking, "talking", c.Talking, "`number` of voices that speak; the others send their room's noise")
	fs.IntVar(&c.Quiet, "quiet", c.Quiet, "`level` of that noise, in -dBov; 127 for silence")
	fs.StringVar(&c.VoiceWHIP, "voice-whip", c.VoiceWHIP, "`URL` that voices publish to")
	fs.StringVar(&c.VoiceWHEP, "voice-whep", c.VoiceWHEP, "`URL` that voices play from")
	fs.StringVar(&c.SRTP, "srtp", c.SRTP, "SRTP profiles that viewers offer: gcm, cm, or auto for both")
	fs.Float64Var(&c.Rate, "rate", c.Rate, "`sessions` per second that are begun, and ended")
	fs.DurationVar(&c.Duration, "duration", c.Duration, "how long to measure once all have joined")
	fs.IntVar(&c.PID, "pid", 0, "server's process `id`, to measure its CPU and memory (Linux)")
	asJSON := fs.Bool("json", false, "report as one JSON object")
	if err := p.parse(fs); err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return &usageError{fmt.Sprintf("bench: %s (see sightline bench -h)", strings.ReplaceAll(err.Error(), "\n", "; "))}
	}

	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-p.signals:
			cancel()
		case <-ctx.Done():
		}
	})
	line := &liveLine{out: p.stderr, overwrite: isTerminal(p.stderr)}
	report, err := bench.Run(ctx, c, line.show)
	cancel()
	wg.Wait()
	line.end()
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if *asJSON {
		encoder := json.NewEncoder(p.stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(report)
	} else {
		err = report.Write(p.stdout)
	}
	if err != nil {
		return fmt.Errorf("bench: write the report: %w", err)
	}
	if err := report.Failed(); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

// isTerminal reports whether lines can be written over.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// A liveLine shows progress: one line that is written over and over on a terminal, else a
// line each time.
type liveLine struct {
	out       io.Writer
	overwrite bool
	shown     bool
}

func (l *liveLine) show(p bench.Progress) {
	text := fmt.Sprintf("%4ds  %-10s  viewers %d of %d", p.Elapsed.Round(time.Second)/time.Second, p.Phase, p.Joined, p.Asked)
	if p.Failed > 0 {
		text += fmt.Sprintf("  failed %d", p.Failed)
	}
	text += fmt.Sprintf("  %.0f packets/s", p.PacketsPerS)
	if p.DelayP99 > 0 {
		text += fmt.Sprintf("  delay p99 %.2f ms", float64(p.DelayP99)/float64(time.Millisecond))
	}
	if p.ServerCPU > 0 {
		text += fmt.Sprintf("  server %.0f %% of a core", p.ServerCPU)
	}
	if l.overwrite {
		text = "\r" + text + "\x1b[K" // and erase what is left of the longer line before it
	} else {
		text += "\n"
	}
	l.shown = true
	_, _ = io.WriteString(l.out, text) // a closed standard error is no reason to stop
}

// end leaves the line.
func (l *liveLine) end() {
	if l.overwrite && l.shown {
		_, _ = io.WriteString(l.out, "\n")
	}
}
