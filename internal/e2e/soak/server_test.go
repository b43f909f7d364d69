//go:build soak

package soak

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"sightline/internal/e2e/process"
)

// A server is the real server, as its API and its debug listener show it.
type server struct{ *process.Server }

// A reading is what the server holds.
type reading struct {
	goroutines, files, heap, resident int // heap and resident in bytes
}

func (r reading) String() string {
	const MiB = 1 << 20
	return fmt.Sprintf("%d goroutines, %d open files (sockets), %.2f MiB of heap, %.1f MiB resident",
		r.goroutines, r.files, float64(r.heap)/MiB, float64(r.resident)/MiB)
}

// slack is how much more than before is taken for a return: the debug listener's own connection, the tombstones that
// sessions leave for five minutes (half a KiB each), and what the runtime rounds up.
var slack = reading{goroutines: 4, files: 2, heap: 2 << 20}

// read takes a reading after a garbage collection.
func (s *server) read(t *testing.T) (r reading) {
	t.Helper()
	scan(t, s.Debug+"/debug/pprof/heap?gc=1&debug=1", "# HeapAlloc = %d", &r.heap)
	scan(t, s.Debug+"/debug/pprof/goroutine?debug=1", "goroutine profile: total %d", &r.goroutines)
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID))
	if err != nil {
		t.Fatal(err)
	}
	r.files = len(files)
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.PID))
	if err != nil {
		t.Fatal(err)
	}
	var size int
	if _, err := fmt.Sscan(string(statm), &size, &r.resident); err != nil {
		t.Fatal(err)
	}
	r.resident *= os.Getpagesize()
	return r
}

// settled returns the first reading that is no more than want and its slack, or the last after some time. With no want
// it returns the first that is like the one before it.
func (s *server) settled(t *testing.T, want reading) reading {
	t.Helper()
	http.DefaultClient.CloseIdleConnections()
	last := s.read(t)
	for range 30 {
		time.Sleep(time.Second)
		http.DefaultClient.CloseIdleConnections()
		r := s.read(t)
		if want == (reading{}) {
			if r.goroutines == last.goroutines && r.files == last.files && r.heap < last.heap+slack.heap/8 {
				return r
			}
		} else if r.goroutines <= want.goroutines+slack.goroutines && r.files <= want.files+slack.files && r.heap <= want.heap+slack.heap {
			return r
		}
		last = r
	}
	return last
}

// awaitEmpty returns once the server has no room any more: the vanished are noticed, and their grace has passed.
func (s *server) awaitEmpty(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		var list struct{ Rooms []json.RawMessage }
		res, err := http.Get(s.Base + "/api/rooms")
		if err != nil {
			t.Fatal(err)
		}
		err = json.NewDecoder(res.Body).Decode(&list)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Rooms) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d rooms are still there, such as %s", len(list.Rooms), list.Rooms[0])
		}
		time.Sleep(time.Second)
	}
}

// scan reads a number from the first line of a page that has the format.
func scan(t *testing.T, url, format string, v *int) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(io.LimitReader(res.Body, 64<<20))
	lines.Buffer(nil, 1<<20)
	prefix, _, _ := strings.Cut(format, "%")
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), prefix) {
			if _, err := fmt.Sscanf(lines.Text(), format, v); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("%s has no line %q", url, format)
}
