package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sightline/internal/certs/certstest"
	"sightline/internal/fault"
	"sightline/internal/freeport"
)

const testSecret = "0123456789abcdef0123456789abcdef"

// patience is for what other processes of the machine may hold up.
const patience = 30 * time.Second

// A station is an engine with a bus on it, without a directory.
type station struct {
	*natsBus
	t      testing.TB
	config Config
	engine *engine
	cancel context.CancelFunc
	ran    sync.WaitGroup
	once   sync.Once

	heardMu sync.Mutex
	heard   []string // "from data"
}

// start starts one with the verb "echo" and the topic "news", and ends it with the test.
func start(t testing.TB, c Config, prepare ...func(*station)) *station {
	t.Helper()
	return startWith(t, c, testLog(t).With("node", c.Name), prepare...)
}

// startWith is start with a log that the test reads.
func startWith(t testing.TB, c Config, log *slog.Logger, prepare ...func(*station)) *station {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	id := newID()
	e, err := openEngine(c, "test-"+id, log)
	if err != nil {
		t.Fatal(err)
	}
	s := &station{natsBus: newBus(id, c.Group, e.conn, log), t: t, config: c, engine: e}
	t.Cleanup(s.stop)
	s.onCall("echo", func(_ context.Context, from string, data []byte) ([]byte, error) {
		return fmt.Appendf(nil, "%s to %s: %s", from, id, data), nil
	})
	s.onTell("news", func(from string, data []byte) {
		s.heardMu.Lock()
		defer s.heardMu.Unlock()
		s.heard = append(s.heard, from+" "+string(data))
	})
	for _, f := range prepare {
		f(s)
	}
	if err := s.listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.ran.Go(func() { s.run(ctx) })
	return s
}

// stop ends it in order, as often as it is called.
func (s *station) stop() {
	s.once.Do(func() {
		if s.cancel != nil {
			s.cancel()
			s.ran.Wait()
		}
		s.close()
		s.engine.stop()
	})
}

// news is what it has heard from another, in order.
func (s *station) news(from *station) (out []string) {
	s.heardMu.Lock()
	defer s.heardMu.Unlock()
	for _, line := range s.heard {
		if text, ok := strings.CutPrefix(line, from.id+" "); ok {
			out = append(out, text)
		}
	}
	return out
}

// reaches says whether a call from s to other is answered.
func (s *station) reaches(other *station) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	got, err := s.call(ctx, other.id, "echo", []byte("hello"))
	if want := s.id + " to " + other.id + ": hello"; err == nil && string(got) != want {
		s.t.Errorf("got %q, want %q", got, want)
	}
	return err
}

// unavailableAtOnce waits until a call from s to other is refused in less time than it would wait for an answer.
func (s *station) unavailableAtOnce(other *station) {
	s.t.Helper()
	eventually(s.t, func() error {
		began := time.Now()
		err := s.reaches(other)
		if took := time.Since(began); fault.KindOf(err) != fault.Unavailable || took > 500*time.Millisecond {
			return fmt.Errorf("got %v after %s, want %s at once", err, took, fault.Unavailable)
		}
		return nil
	})
}

// together waits until each of them reaches each other one.
func together(t testing.TB, stations ...*station) time.Duration {
	t.Helper()
	began := time.Now()
	eventually(t, func() error {
		for _, a := range stations {
			for _, b := range stations {
				if err := a.reaches(b); err != nil {
					return fmt.Errorf("%s to %s: %w", a.config.Name, b.config.Name, err)
				}
			}
		}
		return nil
	})
	return time.Since(began)
}

// eventually asks until there is no error.
func eventually(t testing.TB, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still after %s: %v", patience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// configs are those of n nodes on loopback; each names the first in its routes.
func configs(t testing.TB, n int, change ...func(*Config)) []Config {
	out := make([]Config, n)
	for i := range out {
		out[i] = Defaults()
		out[i].Name = fmt.Sprintf("node-%d", i)
		out[i].Listen = freeport.Address(t)
		out[i].Routes = []string{out[0].Listen}
		for _, f := range change {
			f(&out[i])
		}
	}
	return out
}

func withSecret(c *Config) { c.Secret = testSecret }

// withTLS gives nodes a certificate for 127.0.0.1, of an authority of the test's own.
func withTLS(t testing.TB) func(*Config) {
	t.Helper()
	dir := t.TempDir()
	ca, cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	authority := certstest.Authority(t)
	authority.Write(t, ca, "")
	authority.Node(t, "127.0.0.1").Write(t, cert, key)
	return func(c *Config) { c.TLSCA, c.TLSCert, c.TLSKey = ca, cert, key }
}

func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }
