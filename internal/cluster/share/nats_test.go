package share

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"sightline/internal/auth"
	"sightline/internal/cluster"
	"sightline/internal/freeport"
)

// nobody is a gateway without rooms.
type nobody struct{}

func (nobody) Load() cluster.Load                       { return cluster.Load{} }
func (nobody) Rooms() []cluster.RoomState               { return nil }
func (nobody) Lost(string, cluster.Member, cluster.Why) {}
func (nobody) Taken(string, cluster.Keep)               {}

// A real node, over sockets.
type real struct {
	*auth.Auth
	node  *cluster.Node
	share *Share
	stop  func()
}

func start(t *testing.T, name, listen, dir string, routes ...string) *real {
	t.Helper()
	c := cluster.Defaults()
	c.Name, c.Listen, c.Routes, c.Secret = name, listen, routes, "a secret that all nodes of a test have"
	return startWith(t, c, dir)
}

func startWith(t *testing.T, c cluster.Config, dir string) *real {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	of := auth.Defaults()
	of.StateDir = dir
	a, err := auth.Open(of, log)
	if err != nil {
		t.Fatal(err)
	}
	node, err := cluster.Open(c, nobody{}, log)
	if err != nil {
		t.Fatal(err)
	}
	g := &real{Auth: a, node: node, share: New(node, map[string]Part{"auth": a}, log)}
	if err := a.Share(g.share.Tell("auth")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{node.Run, a.Run, g.share.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	g.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		node.Close()
		a.Close()
	})
	t.Cleanup(g.stop)
	return g
}

func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func sees(n int, nodes ...*real) func() error {
	return func() error {
		for _, x := range nodes {
			if got := len(x.node.Members()); got != n {
				return fmt.Errorf("%s sees %d nodes, want %d", x.node.Self().Name, got, n)
			}
		}
		return nil
	}
}

func TestRevocationsOverNATS(t *testing.T) {
	first := freeport.Address(t)
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	a := start(t, "a", first, dirs[0])
	b := start(t, "b", freeport.Address(t), dirs[1], first)
	at := freeport.Address(t)
	c := start(t, "c", at, dirs[2], first)
	eventually(t, sees(3, a, b, c))

	var leases []*auth.Lease
	for _, x := range []*real{a, b, c} {
		leases = append(leases, x.Keep(auth.Identity{Name: "kim", Kind: auth.JWT, Expires: time.Now().Add(time.Hour)}))
	}
	began := time.Now()
	revoked, err := a.Revoke(auth.Identity{}, auth.Revocation{Name: "kim"})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		for i, l := range leases {
			if !errors.Is(l.Err(), auth.ErrRevoked) {
				return fmt.Errorf("node %d: what was revoked goes on: %v", i, l.Err())
			}
		}
		return nil
	})
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %s, want a second at most", took)
	} else {
		t.Logf("ended at three nodes after %s", took)
	}

	// A node that is away misses a removal and a revocation, and has its old file.
	c.stop()
	eventually(t, sees(2, a, b))
	if err := b.Unrevoke(revoked.ID); err != nil {
		t.Fatal(err)
	}
	later, err := b.Revoke(auth.Identity{}, auth.Revocation{Name: "lee"})
	if err != nil {
		t.Fatal(err)
	}
	c = start(t, "c", at, dirs[2], first)
	if got := c.Revocations(); len(got) != 1 || got[0].ID != revoked.ID {
		t.Errorf("its file has %+v, want the one that it was told of", got)
	}
	eventually(t, func() error {
		for _, x := range []*real{a, b, c} {
			if got := x.Revocations(); len(got) != 1 || got[0].ID != later.ID {
				return fmt.Errorf("%s knows %+v, want %s alone", x.node.Self().Name, got, later.ID)
			}
		}
		if why := c.share.Unready(); len(why) > 0 {
			return fmt.Errorf("it is not ready: %q", why)
		}
		return nil
	})
	if w := c.share.Warnings(); len(w) > 0 {
		t.Errorf("it warns of %q", w)
	}
}

// By an external NATS, whose user has the rights that docs/CLUSTER.md names and no other.
func TestRevocationsByAnExternalNATS(t *testing.T) {
	t.Parallel()
	all := &server.SubjectPermission{Allow: []string{"sightline.1.>"}}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, Users: []*server.User{{
		Username: "node", Password: "secret", Permissions: &server.Permissions{Publish: all, Subscribe: all},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	log := &violations{}
	s.SetLoggerV2(log, false, false, false)
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("NATS does not start")
	}
	c := cluster.Defaults()
	c.URLs = []string{"nats://node:secret@" + s.Addr().String()}
	var nodes []*real
	for _, c.Name = range []string{"a", "b"} {
		x := startWith(t, c, t.TempDir())
		defer x.stop()
		nodes = append(nodes, x)
	}
	a, b := nodes[0], nodes[1]
	eventually(t, sees(2, a, b))
	revoked, err := a.Revoke(auth.Identity{}, auth.Revocation{Name: "kim"})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if got := b.Revocations(); len(got) != 1 || got[0].ID != revoked.ID {
			return fmt.Errorf("b knows %+v", got)
		}
		return nil
	})
	if n := log.count.Load(); n > 0 {
		t.Errorf("NATS has complained %d times", n)
	}
}

// Violations counts what a NATS complains of.
type violations struct{ count atomic.Int64 }

func (v *violations) Errorf(string, ...any)  { v.count.Add(1) }
func (v *violations) Warnf(string, ...any)   {}
func (v *violations) Fatalf(string, ...any)  { v.count.Add(1) }
func (v *violations) Noticef(string, ...any) {}
func (v *violations) Debugf(string, ...any)  {}
func (v *violations) Tracef(string, ...any)  {}
