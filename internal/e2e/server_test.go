//go:build e2e

package e2e

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A server is the real server, running on the server's host.
type server struct {
	t     *testing.T
	p     *process
	base  string // URL without a trailing slash
	room  string // that its methods ask for; "": room
	token string // that they have; "": none
}

// serve starts a server that listens on the server's address in the clients' network. Its room is called "or-1".
// It ends with the test, and the test fails if it doesn't end well.
func serve(t *testing.T, env ...string) *server {
	t.Helper()
	const listen = serverIP + ":8080"
	s := &server{t: t, base: "http://" + listen}
	env = append([]string{
		"SIGHTLINE_HTTP_LISTEN=" + listen,
		"SIGHTLINE_AUTH_OPEN=true",
	}, env...)
	s.p = start(t, "sightline", []string{os.Getenv(insideEnv), "serve"}, withEnv(env...))
	s.awaitReady()
	return s
}

// awaitReady also sees to it that the server ends as it should.
func (s *server) awaitReady() {
	s.t.Helper()
	s.ready()
	s.t.Cleanup(func() {
		// The second signal skips the drain: whoever is still there is meant to lose.
		s.p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.p.done:
		case <-time.After(300 * time.Millisecond):
		}
		if code := s.p.stop(syscall.SIGTERM, 10*time.Second); code != 0 {
			s.t.Errorf("the server ended with %d, want 0: %v", code, s.p.cmd.ProcessState)
		}
		s.wantGoodLog()
	})
}

// ready returns once the server says that it is.
func (s *server) ready() {
	s.t.Helper()
	eventually(s.t, 10*time.Second, func() error {
		if s.p.ended() {
			s.t.Fatal("the server ended")
		}
		res, err := http.Get(s.base + "/readyz")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz says %s", res.Status)
		}
		return nil
	})
}

func (s *server) wantGoodLog() {
	s.t.Helper()
	for _, bad := range []string{"panic:", "WARNING: DATA RACE", "fatal error:"} {
		if strings.Contains(s.p.log.String(), bad) {
			s.t.Errorf("the server's log says %q", bad)
		}
	}
}

const room = "or-1"

// in returns the server for one who asks for another room.
func (s *server) in(room string) *server {
	other := *s
	other.room = room
	return &other
}

func (s *server) whip(publisher string) string { return s.base + "/whip/" + s.its() + "/" + publisher }
func (s *server) whep(track string) string     { return s.base + "/whep/" + s.its() + "/" + track }
func (s *server) its() string                  { return cmp.Or(s.room, room) }

// A track is a track as the room API shows it.
type track struct {
	ID, Label, Role                     string
	Codec, State, Session, Client, Path string
	Width, Height, Bitrate, Viewers     int
	FPS, Loss                           float64
	KeyframeAge                         *int64 `json:"keyframeAgeMs"`
	PacketAge                           *int64 `json:"packetAgeMs"`
}

// track returns a track by id, such as "console/video", and false if the room has none.
func (s *server) track(id string) (track, bool) {
	s.t.Helper()
	var list struct{ Tracks []track }
	if code := s.get("/api/rooms/"+s.its()+"/tracks", &list); code == http.StatusNotFound {
		return track{}, false
	} else if code != http.StatusOK {
		s.t.Fatalf("the room API answers %d", code)
	}
	for _, tr := range list.Tracks {
		if tr.ID == id {
			return tr, true
		}
	}
	return track{}, false
}

// awaitTrack returns the track once it is live and ok says nil of it. ok may be nil.
func (s *server) awaitTrack(id string, limit time.Duration, ok func(track) error) track {
	s.t.Helper()
	var tr track
	eventually(s.t, limit, func() (err error) {
		var there bool
		if tr, there = s.track(id); !there {
			return fmt.Errorf("the room API knows no track %s", id)
		}
		if tr.State != "live" {
			return fmt.Errorf("track %s is %s, want live", id, tr.State)
		}
		if ok != nil {
			return ok(tr)
		}
		return nil
	})
	return tr
}

// awaitEnd returns once the publisher's sessions have ended, as the room API says.
func (s *server) awaitEnd(publisher string, limit time.Duration) {
	s.t.Helper()
	eventually(s.t, limit, func() error {
		for _, kind := range []string{"audio", "video"} {
			if tr, there := s.track(publisher + "/" + kind); there && tr.Session != "" {
				return fmt.Errorf("%s/%s still has session %s, state %s", publisher, kind, tr.Session, tr.State)
			}
		}
		return nil
	})
}

// awaitViewers returns once a track has that many viewers, as the room API says.
func (s *server) awaitViewers(id string, want int, limit time.Duration) {
	s.t.Helper()
	eventually(s.t, limit, func() error {
		tr, there := s.track(id)
		if !there && want == 0 {
			return nil
		}
		if tr.Viewers != want {
			return fmt.Errorf("%s has %d viewers, want %d", id, tr.Viewers, want)
		}
		return nil
	})
}

// remove ends a publisher's session through the room API.
func (s *server) remove(publisher string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodDelete, s.base+"/api/rooms/"+s.its()+"/publishers/"+publisher, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		s.t.Fatalf("DELETE of publisher %s is answered %s", publisher, res.Status)
	}
}

// get reads JSON and returns the status.
func (s *server) get(path string, v any) int {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.base+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode == http.StatusOK {
		err = json.Unmarshal(body, v)
	}
	if err != nil {
		s.t.Fatalf("GET %s: %v\n%s", path, err, body)
	}
	return res.StatusCode
}

// metric sums the samples of a metric whose labels contain all of those given, written as in the exposition: kind="video".
func (s *server) metric(name string, labels ...string) float64 {
	s.t.Helper()
	sum, found, err := s.sum(name, labels...)
	if err != nil {
		s.t.Fatal(err)
	}
	if !found {
		s.t.Fatalf("/metrics has no %s with %v", name, labels)
	}
	return sum
}

// sum is metric of a server that may be away, and of what it may not have.
func (s *server) sum(name string, labels ...string) (sum float64, found bool, err error) {
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.base+"/metrics", nil)
	if err != nil {
		return 0, false, err
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, false, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return 0, false, fmt.Errorf("/metrics is answered %s", res.Status)
	}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		value, err := sample(lines.Text(), name, labels)
		if errors.Is(err, errOtherMetric) {
			continue
		}
		if err != nil {
			return 0, false, err
		}
		sum += value
		found = true
	}
	return sum, found, lines.Err()
}

var errOtherMetric = errors.New("another metric")

func sample(line, name string, labels []string) (float64, error) {
	rest, ok := strings.CutPrefix(line, name)
	if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
		return 0, errOtherMetric
	}
	for _, l := range labels {
		if !strings.Contains(rest, l) {
			return 0, errOtherMetric
		}
	}
	return strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
}
