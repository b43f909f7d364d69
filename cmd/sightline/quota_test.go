package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"sightline/internal/doortest"
	"sightline/internal/freeport"
)

// A client has at three nodes together what one would give it, wherever it asks. What it has, it has
// at the first two; the third has to learn of it.
func TestNodesHoldLimitsTogether(t *testing.T) {
	routes := []string{freeport.Address(t), freeport.Address(t), freeport.Address(t)}
	var nodes []*doortest.Gateway
	for i, name := range []string{"a", "b", "c"} {
		g := start(t,
			"SIGHTLINE_CLUSTER_NAME="+name, "SIGHTLINE_CLUSTER_LISTEN="+routes[i], "SIGHTLINE_CLUSTER_SECRET=a secret of this test alone",
			"SIGHTLINE_CLUSTER_ROUTES="+routes[(i+1)%len(routes)],
			"SIGHTLINE_HTTP_TRUSTED_PROXIES=127.0.0.1", "SIGHTLINE_HTTP_RATE_LIMIT=10", "SIGHTLINE_HTTP_RATE_BURST=1000",
			"SIGHTLINE_HTTP_MAX_SESSIONS_PER_ADDRESS=4", "SIGHTLINE_API_MAX_STREAMS_PER_ADDRESS=4", "SIGHTLINE_ROOMS_MAX_PARTICIPANTS_PER_ADDRESS=4",
		)
		nodes = append(nodes, doortest.At(t, g.base))
	}
	for _, g := range nodes {
		doortest.Eventually(t, func() string {
			if !strings.Contains(g.Do(t, "GET", "/metrics", "").Text, "sightline_cluster_nodes 3\n") {
				return "a node does not see three"
			}
			return ""
		})
	}

	camera := doortest.NewPeer(t)
	camera.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8)
	offer := camera.Offer(t, nil) // of sessions that never connect
	const forwarded = "X-Forwarded-For"
	for i, c := range []struct {
		limit string
		add   func(g *doortest.Gateway, client, room string) (res doortest.Response, end func())
	}{
		{"rooms.max_participants_per_address", func(g *doortest.Gateway, client, room string) (doortest.Response, func()) {
			res := g.Do(t, "POST", "/api/rooms/"+room+"/participants", `{"name":"Ada"}`, "Content-Type", "application/json", forwarded, client)
			return res, func() { g.Do(t, "DELETE", res.Header.Get("Location"), "", forwarded, client) }
		}},
		{"http.max_sessions_per_address", func(g *doortest.Gateway, client, room string) (doortest.Response, func()) {
			res := g.Post(t, "/whip/"+room+"/console", offer, forwarded, client)
			return res, func() { g.Do(t, "DELETE", res.Header.Get("Location"), "", forwarded, client) }
		}},
		{"api.max_streams_per_address", func(g *doortest.Gateway, client, _ string) (doortest.Response, func()) {
			return follow(t, g, "/api/events", forwarded, client)
		}},
	} {
		t.Run(c.limit, func(t *testing.T) {
			client := fmt.Sprintf("192.0.2.%d", 1+i)
			for n := range 4 {
				res, end := c.add(nodes[n%2], client, fmt.Sprintf("room-%d-%d", i, n))
				if res.StatusCode/100 != 2 {
					t.Fatalf("number %d of 4 got %d %s", n, res.StatusCode, res.Text)
				}
				defer end()
			}
			doortest.Eventually(t, func() string {
				res, end := c.add(nodes[2], client, fmt.Sprintf("room-%d", i))
				if res.StatusCode/100 == 2 {
					end()
					return "a fifth is let in at the third node"
				}
				if res.Problem["limit"] != c.limit {
					t.Fatalf("a fifth got %d %s", res.StatusCode, res.Text)
				}
				return ""
			})
		})
	}

	t.Run("http.rate_limit", func(t *testing.T) {
		refused := func(g *doortest.Gateway) bool {
			return g.Do(t, "DELETE", "/sessions/unknown", "", forwarded, "192.0.2.9").StatusCode == 429
		}
		for !refused(nodes[0]) {
		}
		// Alone it would let 1000 pass.
		for asked := 0; !refused(nodes[2]); asked++ {
			if asked == 400 {
				t.Fatal("what was let pass at one node counts for nothing at another")
			}
			time.Sleep(20 * time.Millisecond) // it is told four times a second
		}
	})
}

// follow opens a stream of events. end closes it.
func follow(t *testing.T, g *doortest.Gateway, path string, header ...string) (res doortest.Response, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", g.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	if res.Response, err = client.Do(req); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		if err := json.NewDecoder(res.Body).Decode(&res.Problem); err != nil {
			t.Fatal(err)
		}
	}
	return res, func() {
		cancel()
		res.Body.Close()
	}
}
