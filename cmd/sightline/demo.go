package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"sightline/internal/auth"
	"sightline/internal/bridge"
	"sightline/internal/config"
	"sightline/internal/demo"
)

func (p *process) demo(ctx context.Context) error {
	fs := p.flags("demo", "Runs the gateway with two synthetic cameras in room demo, and prints the links to open.\n"+
		"Ctrl-C ends it.")
	file := p.configFlag(fs)
	if err := p.parse(fs); err != nil {
		return err
	}
	c, err := p.load(*file)
	if err != nil {
		return err
	}
	// Nobody waits for the end of a demo.
	c.Shutdown.DrainTimeout = 0
	token := ""
	if c.Auth.Enabled() {
		token = demoToken(&c)
	}
	log := p.logger(c.Log)
	return serve(ctx, c, log, p.signals, func(ctx context.Context, addr string) error {
		c := c
		c.HTTP.Listen = addr // the port may have been 0
		base := gatewayURL(c)
		if err := awaitHealth(ctx, c); err != nil {
			return err
		}
		banner(p.stdout, base, token)
		return demo.Run(ctx, base, token, log)
	})
}

// demoToken adds a token for room demo, for the cameras and for who clicks the banner's
// links, that lives as long as the process.
func demoToken(c *config.Config) string {
	token := auth.NewToken()
	c.Auth.Tokens = append(slices.Clip(c.Auth.Tokens), auth.Token{
		Name: "demo", SHA256: auth.HashToken(token), Rooms: []string{demo.Room},
		Scopes: []auth.Scope{auth.Publish, auth.Speak, auth.Play, auth.Read},
	})
	return token
}

// awaitHealth waits until the gateway answers, so that the banner's links work.
func awaitHealth(ctx context.Context, c config.Config) error {
	const patience, pause = 10 * time.Second, 20 * time.Millisecond
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := askHealth(bounded, healthURL(c))
		if err == nil || ctx.Err() != nil {
			return nil
		}
		select {
		case <-bounded.Done():
			return fmt.Errorf("demo: the gateway does not answer: %w", err)
		case <-time.After(pause):
		}
	}
}

// gatewayURL returns where this machine reaches the gateway, without a slash at the end.
func gatewayURL(c config.Config) string {
	return strings.TrimSuffix(healthURL(c), "/healthz")
}

// banner prints what a newcomer wants to click and to type. A token, if there is one,
// goes into the fragments of links, which browsers send nowhere.
func banner(w io.Writer, base, token string) {
	fragment, authorization := "", ""
	if token != "" {
		fragment, authorization = "#token="+token, "-authorization "+token+" "
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nSightline is up, with two synthetic cameras in room %s.\n\n", demo.Room)
	label := "watch"
	for _, camera := range demo.Cameras() {
		fmt.Fprintf(&b, "  %-8s %s/watch/%s/%s%s\n", label, base, demo.Room, camera, fragment)
		label = ""
	}
	fmt.Fprintf(&b, "  %-8s %s/watch/%s/%s%s\n", "listen", base, demo.Room, bridge.Mix, fragment)
	fmt.Fprintf(&b, "  %-8s %s/%s\n", "all", base, fragment)
	fmt.Fprintf(&b, "  %-8s %s/api/rooms/%s/tracks\n", "API", base, demo.Room)
	fmt.Fprintf(&b, "  %-8s %s/metrics\n", "metrics", base)
	fmt.Fprintf(&b, `
A third camera, with FFmpeg 8 or newer:

  ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine=frequency=440:sample_rate=48000 \
    -c:v libx264 -preset veryfast -tune zerolatency -profile:v baseline -pix_fmt yuv420p -bf 0 -g 30 -b:v 2M \
    -c:a libopus -ac 2 -b:a 64k %s-f whip %s/whip/%s/mine

  %-8s %s/watch/%s/mine%s

Ctrl-C ends it.

`, authorization, base, demo.Room, "watch", base, demo.Room, fragment)
	_, _ = io.WriteString(w, b.String()) // a closed standard output is no reason to stop
}
