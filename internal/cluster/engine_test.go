package cluster

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"sightline/internal/fault"
	"sightline/internal/freeport"
)

func TestNodesComeTogetherInWhateverOrderTheyStart(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*testing.T) []func(*Config)
	}{
		{"bare", func(*testing.T) []func(*Config) { return nil }},
		{"secret and TLS", func(t *testing.T) []func(*Config) { return []func(*Config){withSecret, withTLS(t)} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := configs(t, 3, tt.change(t)...)
			// The one that the others know comes last; they learn of each other from it.
			last, second, first := start(t, c[2]), start(t, c[1]), start(t, c[0])
			for _, s := range []*station{first, second, last} {
				if !s.connected() {
					t.Errorf("%s is not connected, alone", s.config.Name)
				}
			}
			t.Logf("together after %s", together(t, first, second, last))

			for i := range 100 {
				if err := second.tell("news", fmt.Append(nil, i)); err != nil {
					t.Fatal(err)
				}
			}
			for _, s := range []*station{first, last} {
				eventually(t, func() error {
					got := s.news(second)
					if len(got) < 100 {
						return fmt.Errorf("%d of 100 messages", len(got))
					}
					for i, text := range got {
						if text != fmt.Sprint(i) {
							t.Fatalf("message %d is %q", i, text)
						}
					}
					return nil
				})
			}
			if got := second.news(second); len(got) > 0 {
				t.Errorf("it has heard itself %d times", len(got))
			}
		})
	}
}

// What a node has said before it ends arrives.
func TestTheLastWordsOfANodeArrive(t *testing.T) {
	c := configs(t, 2)
	a, b := start(t, c[0]), start(t, c[1])
	together(t, a, b)
	for range 100 {
		if err := b.tell("news", []byte("bye")); err != nil {
			t.Fatal(err)
		}
	}
	b.stop()
	eventually(t, func() error {
		if got := len(a.news(b)); got != 100 {
			return fmt.Errorf("%d of 100 messages", got)
		}
		return nil
	})
}

func TestStrangersStayOut(t *testing.T) {
	t.Parallel() // as others here whose time goes by waiting
	for _, tt := range []struct {
		name string
		with func(*testing.T) (member, stranger []func(*Config))
	}{
		{"another secret", func(t *testing.T) (a, b []func(*Config)) {
			return []func(*Config){withSecret}, []func(*Config){func(c *Config) { c.Secret = strings.Repeat("x", 32) }}
		}},
		{"no secret", func(t *testing.T) (a, b []func(*Config)) {
			return []func(*Config){withSecret}, nil
		}},
		{"another authority", func(t *testing.T) (a, b []func(*Config)) {
			return []func(*Config){withSecret, withTLS(t)}, []func(*Config){withSecret, withTLS(t)}
		}},
		{"no TLS", func(t *testing.T) (a, b []func(*Config)) {
			return []func(*Config){withSecret, withTLS(t)}, []func(*Config){withSecret}
		}},
		{"another group", func(t *testing.T) (a, b []func(*Config)) {
			return []func(*Config){withSecret}, []func(*Config){withSecret, func(c *Config) { c.Group = "others" }}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			member, stranger := tt.with(t)
			c, d := configs(t, 2, member...), configs(t, 1, stranger...)
			d[0].Routes = []string{c[0].Listen}
			out := start(t, d[0])
			a := start(t, c[0])
			// It has had its chances once another one, who came later, is in; and then some.
			b := start(t, c[1])
			together(t, a, b)
			for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				if fault.KindOf(out.reaches(a)) != fault.Unavailable || fault.KindOf(a.reaches(out)) != fault.Unavailable {
					t.Fatal("the stranger is in")
				}
			}
			if got := a.engine.server.NumRoutes(); got != 1 {
				t.Errorf("%d routes, want 1", got)
			}
		})
	}
}

// Who has the secret and no certificate is shown none of what nodes say, at neither port: not by TLS
// without a certificate, nor without TLS, whether or not he checks who he talks to. Nor is he at
// the port that NATS has for programs of this machine.
func TestTheSecretAloneOpensNothing(t *testing.T) {
	c := configs(t, 1, withSecret, withTLS(t))[0]
	c.LeafListen = freeport.Address(t)
	node := start(t, c)
	for _, as := range []nats.Option{nats.Token(password(c.Secret)), nats.UserInfo(c.Group, password(c.Secret))} {
		if conn, err := nats.Connect(node.engine.server.ClientURL(), as); err == nil {
			conn.Close()
			t.Error("a program of this machine is let in")
		}
	}
	hello := fmt.Sprintf("CONNECT {\"user\":%q,\"pass\":%q,\"name\":\"x\",\"cluster\":%q}\r\nSUB %s.1.> 1\r\nPING\r\n", c.Group, password(c.Secret), c.Group, c.Group)
	for _, tt := range []struct {
		name, addr string
		secure     bool
	}{{"route", c.Listen, true}, {"route, in the clear", c.Listen, false}, {"leaf", c.LeafListen, true}, {"leaf, in the clear", c.LeafListen, false}} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", tt.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			r := bufio.NewReader(conn)
			if tt.addr == c.LeafListen { // at the other, TLS comes first
				if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "INFO ") {
					t.Fatalf("it begins with %q, %v", line, err)
				}
			}
			if tt.secure {
				conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
				r.Reset(conn)
			}
			_, _ = conn.Write([]byte(hello)) // it may be refused as it is written
			if got, err := io.ReadAll(r); err == nil && len(got) == 0 {
				return // closed
			} else if alert := new(net.OpError); len(got) > 0 || !errors.As(err, &alert) || alert.Timeout() {
				t.Errorf("answered %q, %v", got, err)
			}
		})
	}
}

func TestANodeThatDiesIsUnavailableAtOnceAndReturns(t *testing.T) {
	c := configs(t, 3)
	a, b, dead := start(t, c[0]), start(t, c[1]), start(t, c[2])
	together(t, a, b, dead)

	dead.engine.server.Shutdown()
	a.unavailableAtOnce(dead)
	eventually(t, func() error {
		if dead.connected() {
			return errors.New("the node says that it has an engine, and has none")
		}
		return nil
	})
	dead.stop()

	again := start(t, c[2])
	t.Logf("back after %s", together(t, a, b, again))
}

// The cable is cut: what is sent goes nowhere, and nobody says so.
func TestAPartitionIsNoticedAndHeals(t *testing.T) {
	t.Parallel()
	c := configs(t, 2)
	cable := newCable(t, c[0].Listen)
	c[0].Routes = nil
	c[0].Advertise = cable.addr
	c[1].Routes = []string{cable.addr}
	a, b := start(t, c[0]), start(t, c[1])
	together(t, a, b)

	cable.cut.Store(true)
	began := time.Now()
	eventually(t, func() error {
		// The route is gone when nobody is there any more, not when nobody answers.
		if n := a.engine.server.NumRoutes() + b.engine.server.NumRoutes(); n > 0 {
			return fmt.Errorf("%d routes", n)
		}
		return nil
	})
	t.Logf("noticed after %s", time.Since(began))
	if took := time.Since(began); took < time.Second {
		t.Errorf("noticed after %s: was it cut?", took)
	}
	if err := a.reaches(b); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v, want %s", err, fault.Unavailable)
	}
	if !a.connected() || !b.connected() {
		t.Error("a node without others says that it has no engine")
	}
	cable.cut.Store(false)
	t.Logf("healed after %s", together(t, a, b))
}

func TestAnExternalNATS(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, scheme string
		change       func(*Config)
	}{
		{"bare", "nats", func(*Config) {}},
		{"TLS", "tls", withTLS(t)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr := freeport.Address(t)
			c := Defaults()
			tt.change(&c)
			c.URLs = []string{tt.scheme + "://sightline:secret@" + addr}
			a, b := start(t, c), start(t, c) // NATS is not there yet
			if a.connected() || b.connected() {
				t.Error("connected to nothing")
			}
			a.unavailableAtOnce(b)
			end := external(t, addr, "secret", c)
			t.Logf("together after %s", together(t, a, b))
			end()
			eventually(t, func() error {
				if a.connected() || b.connected() {
					return errors.New("still connected")
				}
				return nil
			})
			a.unavailableAtOnce(b)

			// It comes back with another password, is tried some times in vain, and then is put right.
			end = external(t, addr, "wrong", c)
			for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				if a.connected() {
					t.Fatal("connected with a wrong password")
				}
			}
			end()
			end = external(t, addr, "secret", c)
			defer end()
			t.Logf("back after %s", together(t, a, b))
		})
	}
}

// external starts a NATS of its own, with the permissions that config.toml asks for.
func external(t *testing.T, addr, secret string, c Config) (end func()) {
	t.Helper()
	host, port := split(addr)
	allow := &server.SubjectPermission{Allow: []string{c.Group + ".1.>"}}
	o := &server.Options{Host: host, Port: port, NoSigs: true, Users: []*server.User{{Username: "sightline", Password: secret,
		Permissions: &server.Permissions{Publish: allow, Subscribe: allow}}}}
	if c.tls() {
		config, err := new(engine).tls(c, testLog(t))
		if err != nil {
			t.Fatal(err)
		}
		o.TLS, o.TLSVerify, o.TLSConfig = true, true, config
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("NATS does not start")
	}
	return func() { s.Shutdown(); s.WaitForShutdown() }
}

func TestAnExternalNATSThatTakesTooLittleIsRefused(t *testing.T) {
	addr := freeport.Address(t)
	c := Defaults()
	c.URLs = []string{"nats://" + addr}
	l := &loud{}
	early, err := openEngine(c, "early", slog.New(l)) // it can only say so, once NATS is there
	if err != nil {
		t.Fatal(err)
	}
	defer early.stop()
	host, port := split(addr)
	s, err := server.NewServer(&server.Options{Host: host, Port: port, NoSigs: true, MaxPayload: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	if !s.ReadyForConnections(patience) {
		t.Fatal("NATS does not start")
	}
	const want = "max_payload must be 1048576"
	if _, err := openEngine(c, "test", testLog(t)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	eventually(t, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.errors) != 1 || !strings.Contains(l.errors[0], want) {
			return fmt.Errorf("logged %q", l.errors)
		}
		return nil
	})
}

// A NATS of this machine, which needs no TLS, may name others to go to when it is lost: those of
// other machines would be dialled in the clear.
func TestAnExternalNATSInTheClearNamesNoOthers(t *testing.T) {
	start := func(o server.Options) *server.Server {
		o.NoSigs = true
		o.Cluster.Name, o.Cluster.Host, o.Cluster.Port = "hospital", "127.0.0.1", server.RANDOM_PORT
		s, err := server.NewServer(&o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		if !s.ReadyForConnections(patience) {
			t.Fatal("NATS does not start")
		}
		return s
	}
	addr := freeport.Address(t)
	host, port := split(addr)
	here := start(server.Options{Host: host, Port: port})
	start(server.Options{Host: host, Port: server.RANDOM_PORT, ClientAdvertise: "192.0.2.1:4222",
		Routes: []*url.URL{{Scheme: "nats-route", Host: here.ClusterAddr().String()}}})
	eventually(t, func() error {
		if here.NumRoutes() == 0 {
			return errors.New("no route")
		}
		return nil
	})
	c := Defaults()
	c.URLs = []string{"nats://" + addr}
	e, err := openEngine(c, "test", testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer e.stop()
	if got := e.conn.Servers(); !slices.Equal(got, c.URLs) {
		t.Errorf("it would go to %v, want %v", got, c.URLs)
	}
}

// A certificate that was replaced is shown at the next connection, on both sides.
func TestCertificatesAreReadAgain(t *testing.T) {
	t.Parallel()
	change, other := withTLS(t), withTLS(t)
	var c, d Config
	change(&c)
	other(&d)
	e := new(engine)
	config, err := e.tls(c, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var ran sync.WaitGroup
	ran.Go(func() { e.run(ctx) })
	defer ran.Wait()
	defer cancel()
	want := der(t, d.TLSCert)
	for from, to := range map[string]string{d.TLSKey: c.TLSKey, d.TLSCert: c.TLSCert} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error {
		served, _ := config.GetCertificate(nil)
		shown, _ := config.GetClientCertificate(nil)
		if !bytes.Equal(served.Certificate[0], want) || !bytes.Equal(shown.Certificate[0], want) {
			return errors.New("the old one")
		}
		return nil
	})
}

// Two sites, one of them with two nodes, and a centre with two: all are one cluster.
func TestRemoteSites(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change []func(*Config)
	}{
		{"bare", nil},
		{"TLS", []func(*Config){withTLS(t)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			change := append(slices.Clone(tt.change), withSecret)
			centre := configs(t, 2, change...)
			centre[0].LeafListen = freeport.Address(t)
			site := configs(t, 2, change...)
			for i := range site {
				site[i].Name = fmt.Sprintf("site-%d", i)
				site[i].Leaf = []string{centre[0].LeafListen}
			}
			lone := configs(t, 1, change...)
			lone[0].Name, lone[0].Leaf, lone[0].Listen, lone[0].Routes = "lone", site[0].Leaf, "", nil
			var all []*station
			for _, c := range slices.Concat(lone, site, centre) {
				all = append(all, start(t, c))
			}
			t.Logf("together after %s", together(t, all...))
			if err := all[0].tell("news", []byte("once")); err != nil {
				t.Fatal(err)
			}
			for _, s := range all[1:] {
				eventually(t, func() error {
					if len(s.news(all[0])) == 0 {
						return fmt.Errorf("%s has heard nothing", s.config.Name)
					}
					return nil
				})
			}
			together(t, all...)
			for _, s := range all[1:] {
				if got := s.news(all[0]); len(got) != 1 {
					t.Errorf("%s has heard it %d times", s.config.Name, len(got))
				}
			}
		})
	}
}

func TestAPortThatIsTakenIsSaid(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := configs(t, 1)[0]
	c.Listen = l.Addr().String()
	began := time.Now()
	_, err = openEngine(c, "test", testLog(t))
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > openTimeout/2 {
		t.Errorf("it took %s", took)
	}
}

// A cable is a TCP proxy whose bytes go nowhere while it is cut.
type cable struct {
	addr string
	cut  atomic.Bool
}

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{addr: l.Addr().String()}
	var all sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	keep := func(conn net.Conn) { mu.Lock(); conns = append(conns, conn); mu.Unlock() }
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, conn := range conns {
			conn.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	// What has been cut is not made whole: the bytes are lost.
	pass := func(dst, src net.Conn) {
		buf := make([]byte, 32<<10)
		broken := false
		for {
			n, err := src.Read(buf)
			broken = broken || c.cut.Load()
			if err != nil {
				if !broken {
					dst.Close()
				}
				return
			}
			if !broken {
				if _, err := dst.Write(buf[:n]); err != nil {
					src.Close()
					return
				}
			}
		}
	}
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			keep(in)
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			keep(out)
			all.Go(func() { pass(out, in) })
			all.Go(func() { pass(in, out) })
		}
	})
	return c
}

func der(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	return block.Bytes
}
