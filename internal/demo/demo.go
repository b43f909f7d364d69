// Package demo publishes two synthetic cameras with sound, so that a newcomer sees a
// moving picture before he owns a camera.
//
// It is a guest: an ordinary WHIP client (RFC 9725) on pion's PeerConnection that knows
// nothing of the gateway but its address. The media are files in this folder, made by
// make.sh.
package demo

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
)

// Room is where the synthetic cameras are.
const Room = "demo"

// Cameras returns the names of the publishers in Room.
func Cameras() []string { return []string{"console", "gantry"} }

// Run publishes the cameras to the gateway at base, e.g. "http://127.0.0.1:8080", until ctx
// is done, and publishes them anew whenever their session ends. token is sent as bearer
// token; "" sends none. Run waits for all that it started and returns nil once ctx is done;
// an error means that it could not begin.
func Run(ctx context.Context, base, token string, log *slog.Logger) error {
	root, err := url.Parse(base)
	if err != nil || root.Host == "" || root.Scheme != "http" && root.Scheme != "https" {
		return fmt.Errorf("demo: the gateway's address must be an http or https URL, got %q", base)
	}
	cameras, err := load()
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	var wg sync.WaitGroup
	for _, camera := range cameras {
		c := &client{
			endpoint: root.JoinPath("whip", Room, camera.name),
			token:    token,
			http:     &http.Client{Transport: transport, Timeout: requestTimeout},
		}
		wg.Go(func() { camera.run(ctx, c, log.With("room", Room, "publisher", camera.name)) })
	}
	wg.Wait()
	return nil
}

func load() ([]*camera, error) {
	slice, err := loadH264("console.h264")
	if err != nil {
		return nil, err
	}
	tone, err := loadOpus("console.ogg")
	if err != nil {
		return nil, err
	}
	bars, err := loadVP8("gantry.ivf")
	if err != nil {
		return nil, err
	}
	hum, err := loadOpus("gantry.ogg")
	if err != nil {
		return nil, err
	}
	return []*camera{
		{name: "console", reels: []*reel{tone, slice}},
		{name: "gantry", reels: []*reel{hum, bars}},
	}, nil
}
