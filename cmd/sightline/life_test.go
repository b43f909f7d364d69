package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"sightline/internal/auth"
	"sightline/internal/doortest"
	"sightline/internal/freeport"
)

// spawn runs the program itself, as a process of its own, until the test ends.
func spawn(t *testing.T, environ ...string) *doortest.Gateway {
	t.Helper()
	address := freeport.Address(t)
	cmd := exec.Command(os.Args[0], "serve")
	cmd.Env = append(append(loopback, beSightline+"=1", "SIGHTLINE_HTTP_LISTEN="+address), environ...)
	cmd.Dir = t.TempDir()
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Process.Signal(syscall.SIGTERM) // without the drain
		kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := <-ended; err != nil {
			t.Errorf("the gateway ended: %v", err)
		}
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", &log)
		}
	})
	g := doortest.At(t, "http://"+address)
	doortest.Eventually(t, func() string {
		if res, err := client.Get(g.URL + "/readyz"); err != nil {
			return err.Error()
		} else if res.Body.Close(); res.StatusCode != http.StatusOK {
			return res.Status
		}
		return ""
	})
	return g
}

// A watcher follows the events of a room, and remembers who was said to be about to end.
type watcher struct {
	mu    sync.Mutex
	ended map[string]string // by session or participant: why
}

func watch(t *testing.T, g *doortest.Gateway, token string) *watcher {
	t.Helper()
	w := &watcher{ended: make(map[string]string)}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL+"/api/rooms/mri-2/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "text/event-stream")
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(err, res)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			var e struct {
				Type   string
				Ending struct{ Session, Participant, Reason string }
			}
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			if ok && json.Unmarshal([]byte(data), &e) == nil && e.Type == "session-ending" {
				w.mu.Lock()
				w.ended[e.Ending.Session+e.Ending.Participant] = e.Ending.Reason
				w.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		res.Body.Close()
		<-done
	})
	return w
}

func (w *watcher) told(reason string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, r := range w.ended {
		if r == reason {
			n++
		}
	}
	return n
}

// count reads RTP of every track of a viewer until it ends.
type count struct {
	mu   sync.Mutex
	n    int
	last time.Time
}

func (c *count) follow(p *doortest.Peer) {
	p.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			if _, _, err := track.ReadRTP(); err != nil {
				return
			}
			c.mu.Lock()
			c.n++
			c.last = time.Now()
			c.mu.Unlock()
		}
	})
}

func (c *count) packets() (int, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n, c.last
}

// Twenty sessions, ten of each kind, expire, and twenty are revoked, in the program itself: each is
// closed within 5 s, after an event, its media stops, and other viewers get all of theirs.
func TestSessionsEndWithTheirTokens(t *testing.T) {
	for _, reason := range []string{"expired", "revoked"} {
		t.Run(reason, func(t *testing.T) {
			g := spawn(t, "SIGHTLINE_AUTH_JWT_SECRET="+signer().Secret, "SIGHTLINE_AUTH_WARNING=1s", "SIGHTLINE_AUTH_STATE_DIR="+t.TempDir())
			all := mint(t, auth.Grant{Identity: auth.Identity{Name: "the test"}, Scopes: auth.Scopes()}, time.Hour)
			right := []string{"Authorization", "Bearer " + all}
			console := doortest.NewPeer(t)
			console.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8)
			console.Connect(t, g, "/whip/mri-2/console", right...)
			doortest.Eventually(t, func() string {
				if res := g.Do(t, "GET", "/api/rooms/mri-2/tracks", "", right...); !strings.Contains(res.Text, `"state":"live"`) {
					return res.Text
				}
				return ""
			})
			events := watch(t, g, all)
			other := &count{}
			bystander := doortest.NewPeer(t)
			bystander.Receive(t, webrtc.RTPCodecTypeVideo)
			other.follow(bystander)
			bystander.Connect(t, g, "/whep/mri-2/console/video", right...)

			const each = 10
			life := time.Hour
			if reason == "expired" {
				life = 12 * time.Second // to connect all, on a busy machine
			}
			deadline := time.Now().Add(life).Truncate(time.Second) // as exp is
			token := mint(t, auth.Grant{
				Identity: auth.Identity{Name: "guest", ID: "guest-1"}, Scopes: []auth.Scope{auth.Publish, auth.Play, auth.Read}, Rooms: []string{"mri-2"},
			}, life)
			theirs := []string{"Authorization", "Bearer " + token}
			var peers []*doortest.Peer
			counts := make([]*count, each)
			for i := range each {
				sender, viewer := doortest.NewPeer(t), doortest.NewPeer(t)
				sender.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8)
				sender.Connect(t, g, fmt.Sprintf("/whip/mri-2/guest-%d", i), theirs...)
				viewer.Receive(t, webrtc.RTPCodecTypeVideo)
				counts[i] = &count{}
				counts[i].follow(viewer)
				viewer.Connect(t, g, "/whep/mri-2/console/video", theirs...)
				peers = append(peers, sender, viewer)
			}
			doortest.Eventually(t, func() string {
				for i, c := range counts {
					if n, _ := c.packets(); n == 0 {
						return fmt.Sprintf("viewer %d has got nothing", i)
					}
				}
				return ""
			})
			if reason == "expired" {
				if time.Now().After(deadline) {
					t.Fatalf("%d sessions were not connected in %s", 2*each, life)
				}
			} else {
				deadline = time.Now()
				if res := g.Do(t, "POST", "/api/revocations", `{"jti": "guest-1", "reason": "lost"}`, append(right, "Content-Type", "application/json")...); res.StatusCode != http.StatusCreated {
					t.Fatalf("revoke: %d %s", res.StatusCode, res.Text)
				}
			}
			latest := -time.Hour
			for i, p := range peers {
				select {
				case <-p.Closed():
					latest = max(latest, time.Since(deadline))
				case <-time.After(time.Until(deadline.Add(5 * time.Second))):
					t.Errorf("session %d of %d lives on 5 s after its token was %s", i, len(peers), reason)
				}
			}
			doortest.Eventually(t, func() string { // the stream may be read later than the sessions' ends
				if got := events.told(reason); got != len(peers) {
					return fmt.Sprintf("%d sessions were said to be about to end, want %d", got, len(peers))
				}
				return ""
			})
			flows := func() {
				t.Helper()
				before, _ := other.packets()
				doortest.Eventually(t, func() string {
					if n, _ := other.packets(); n < before+50 {
						return fmt.Sprintf("another viewer got %d packets since, want 50", n-before)
					}
					return ""
				})
			}
			flows() // a second, in which they read what had come before their end
			stopped := make([]int, each)
			for i, c := range counts {
				stopped[i], _ = c.packets()
			}
			flows()
			for i, c := range counts {
				if n, _ := c.packets(); n != stopped[i] {
					t.Errorf("viewer %d got %d packets after his end", i, n-stopped[i])
				}
			}
			if res := g.Post(t, "/whep/mri-2/console/video", "v=0", theirs...); res.StatusCode != http.StatusUnauthorized {
				t.Errorf("the token is answered %d, want 401", res.StatusCode)
			}
			for _, p := range peers {
				if res := g.Do(t, "PATCH", p.Session, "", "Content-Type", "application/trickle-ice-sdpfrag", "If-Match", "*"); res.StatusCode != http.StatusNotFound {
					t.Errorf("PATCH of a session that has ended is answered %d, want 404", res.StatusCode)
				}
			}
			t.Logf("%d of %d sessions ended, the last one %s after their token was %s", len(peers), len(peers), latest.Round(time.Millisecond), reason)
		})
	}
}
