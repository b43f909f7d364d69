package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"sightline/internal/fault"
	"sightline/internal/opt"
)

// Two nodes whose user is one of an account that an operator has signed, and may do what the manual says and nothing else.
func TestNodesComeInByACredentialsFile(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	account := o.account(t)
	c := o.config(account.credentials(t, leastRights))
	works(t, c, c)
	o.log.without(t, "iolation")
}

// A user of NATS without decentralised JWT, likewise.
func TestTheRightsThatTheManualNamesSuffice(t *testing.T) {
	t.Parallel()
	s := runNATS(t, &server.Options{Users: []*server.User{withRights(user("node", "secret"), "sightline.1.>", "sightline.1.>")}})
	c := Defaults()
	c.URLs = []string{"nats://node:secret@" + s.Addr().String()}
	works(t, c, c)
	s.log.without(t, "iolation")
}

// works goes through all that nodes do by NATS.
func works(t *testing.T, of ...Config) {
	t.Helper()
	told := make(chan string, 10)
	prepare := func(n *Node) {
		n.Handle("test.hello", func(_ context.Context, from Member, data []byte) ([]byte, error) {
			return append(data, from.Name...), nil
		})
		n.HandleStream("test.count", func(_ context.Context, _ Member, _ []byte, send func([]byte) error) error {
			for i := range 100 {
				if err := send(fmt.Append(nil, i)); err != nil {
					return err
				}
			}
			return nil
		})
		n.HandleTell("test.news", func(from Member, data []byte) { told <- string(data) + " of " + from.Name })
	}
	var nodes []*liveNode
	for i, c := range of {
		c.Name = fmt.Sprintf("node-%d", i)
		nodes = append(nodes, startNode(t, c, prepare))
	}
	a, b := nodes[0], nodes[1]
	t.Logf("they see each other after %s", see(t, nodes...))

	large := bytes.Repeat([]byte("x"), maxData)
	if got, err := a.Call(t.Context(), b.Self(), "test.hello", large[:maxData-10]); err != nil || len(got) != maxData-10+len("node-0") {
		t.Errorf("a call: %d bytes, %v", len(got), err)
	}
	stream, err := b.Stream(t.Context(), a.Self(), "test.count", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if got, err := read(t, stream); len(got) != 100 || !errors.Is(err, io.EOF) {
		t.Errorf("a stream of %d messages, %v", len(got), err)
	}
	if err := a.Tell("test.news", []byte("news")); err != nil {
		t.Error(err)
	}
	select {
	case got := <-told:
		if got != "news of node-0" {
			t.Errorf("told %q", got)
		}
	case <-time.After(patience):
		t.Error("nothing is told")
	}

	// The directory: a room is placed, and goes to the other when its node leaves.
	b.gw.set("mri-2", 1, 2, "console")
	knows(t, a, "mri-2", b)
	if err := b.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	knows(t, a, "mri-2", a)
	if m, err := b.Place(t.Context(), "ct-1"); err != nil || m.ID != a.Self().ID {
		t.Errorf("ct-1 is placed at %q, %v", m.Name, err)
	}
	b.end(b.Close)
	see(t, a)
}

// knows waits until n says that a room is the other's.
func knows(t *testing.T, n *liveNode, room string, owner *liveNode) {
	t.Helper()
	eventually(t, func() error {
		if got, ok := n.Owner(room); !ok || got.ID != owner.self.ID {
			return fmt.Errorf("%s says that %s is %q's, want %q", n.self.Name, room, got.Name, owner.self.Name)
		}
		return nil
	})
}

func TestARightTooFewIsSaid(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name               string
		publish, subscribe string
		want               string
	}{
		{"publish", "sightline.1.t.>", "sightline.1.>", "Permissions Violation for Publish"},
		{"subscribe", "sightline.1.>", "sightline.1.n.>", "Permissions Violation for Subscription"},
		{"another group", "others.1.>", "others.1.>", "Permissions Violation"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := runNATS(t, &server.Options{Users: []*server.User{withRights(user("node", "secret"), tt.publish, tt.subscribe)}})
			c := Defaults()
			c.URLs = []string{"nats://node:secret@" + s.Addr().String()}
			log := &logbook{t: t}
			a, b := startWith(t, c, log.logger()), start(t, c)
			if err := a.post(a.toNode(b.id, "x"), marshalNumber(1)); err != nil {
				t.Fatal(err)
			}
			log.says(t, "level=ERROR", tt.want, `must be allowed to publish and subscribe to sightline.1.>`)
			if !a.connected() {
				t.Error("not connected: who mends the rights would have to start the node again")
			}
			log.without(t, "secret")
		})
	}
}

func TestCredentialsThatAreNoneAreRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	account := o.account(t)
	good := account.credentials(t)
	token, seed := parts(t, good)
	_, other := parts(t, account.credentials(t))
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	with := func(old, new string) string { return strings.ReplaceAll(string(text), old, new) }
	for _, tt := range []struct{ name, content, want string }{
		{"missing", "", "no such file"},
		{"empty", "\n", "has no user"},
		{"a seed alone", seed, "has no user"},
		{"a token alone", token, "has no seed"},
		{"cut off", string(text[:300]), "has no user"},
		{"the seed of another", with(seed, other), "is not its user's"},
		{"an account's", with(token, account.token), "has no user"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "node.creds")
			if tt.content != "" {
				write(t, path, tt.content)
			}
			refused(t, o.config(path), "cluster.credentials: ", path, tt.want)
		})
	}
	t.Run("unreadable", func(t *testing.T) { refused(t, o.config(t.TempDir()), "cluster.credentials: ", "is a directory") })
}

// refused opens an engine that can't be, and returns why.
func refused(t *testing.T, c Config, want ...string) {
	t.Helper()
	log := &logbook{t: t}
	e, err := openEngine(c, "test", log.logger())
	if err == nil {
		e.stop()
		t.Fatal("it starts")
	}
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("got %q, want %q in it", err, text)
		}
	}
	for _, text := range []string{"eyJ", "BEGIN"} {
		if strings.Contains(err.Error(), text) {
			t.Errorf("the error has what is in the file: %v", err)
		}
	}
	log.without(t, "eyJ")
}

// Who is not let in goes on trying: it may be NATS that is wrong, or does not know of him yet. The log says who.
func TestAUserWhoIsNotLetInIsSaid(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	account := o.account(t)
	stranger := newOperator(t).account(t).credentials(t)
	expired := account.credentials(t, func(u *jwt.UserClaims) { u.Expires = time.Now().Add(-time.Hour).Unix() })
	early := account.credentials(t, func(u *jwt.UserClaims) { u.NotBefore = time.Now().Add(time.Hour).Unix() })
	plain := runNATS(t, &server.Options{Users: []*server.User{user("node", "secret")}})
	at := func(who string) Config {
		c := Defaults()
		c.URLs = []string{"nats://" + who + plain.Addr().String()}
		return c
	}
	for _, tt := range []struct {
		name string
		c    Config
		want []string
	}{
		{"of another operator", o.config(stranger), []string{"cluster.credentials", stranger, "does not know"}},
		{"expired", o.config(expired), []string{"cluster.credentials", expired, "has expired"}},
		{"too early", o.config(early), []string{"cluster.credentials", early, "is not valid before"}},
		{"without any", o.config(""), []string{"cluster.urls name no user", "cluster.credentials is empty"}},
		{"a wrong password", at("node:hunter2@"), []string{"cluster.urls", "password"}},
		{"a wrong token", at("hunter2@"), []string{"cluster.urls", "token"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			log := &logbook{t: t}
			e, err := openEngine(tt.c, "test", log.logger())
			if err != nil {
				t.Fatal(err)
			}
			defer e.stop()
			log.says(t, append(tt.want, "level=WARN", "uthorization")...)
			log.without(t, "eyJ", "hunter2")
		})
	}
}

// Nodes of two accounts never hear each other, and NATS lets both in. Each says which account it is in.
func TestNodesOfTwoAccountsSayWhich(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	one, two := o.account(t), o.account(t)
	logs := [2]*logbook{{t: t}, {t: t}}
	a, b := startWith(t, o.config(one.credentials(t)), logs[0].logger()), startWith(t, o.config(two.credentials(t)), logs[1].logger())
	a.unavailableAtOnce(b)
	logs[0].says(t, "connected to NATS", "account="+one.name)
	logs[1].says(t, "connected to NATS", "account="+two.name)
}

// What has expired ends the connection. A file that has taken its place is read for the next one.
func TestCredentialsAreReadAtEachConnection(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	account := o.account(t)
	path := account.credentials(t, func(u *jwt.UserClaims) { u.Expires = time.Now().Add(2 * time.Second).Unix() })
	log := &logbook{t: t}
	a, b := startWith(t, o.config(path), log.logger()), start(t, o.config(account.credentials(t)))
	together(t, a, b)
	log.says(t, "level=WARN", "cluster.credentials", path, "has expired")

	// Whoever writes in place shows a half of it, or nothing: that is said, and no more.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	log.says(t, "level=WARN", "cluster.credentials", path, "no such file")
	if err := os.Rename(account.credentials(t), path); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	together(t, a, b)
	t.Logf("back %s after the new file", time.Since(began))
	log.says(t, "the connection to NATS is back")
	log.without(t, "eyJ")
}

// An account may take less than the NATS that it is in.
func TestAnAccountThatTakesTooLittleIsRefused(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	c := o.config(o.account(t, func(a *jwt.AccountClaims) { a.Limits.Payload = 64 << 10 }).credentials(t))
	if e, err := openEngine(c, "test", testLog(t)); err == nil || !strings.Contains(err.Error(), "max_payload must be 1048576") {
		t.Errorf("got %v", err)
		if err == nil {
			e.stop()
		}
	}
}

func TestUsersAndTokensInURLs(t *testing.T) {
	t.Parallel()
	const strange = "a,b:c@d/e?f#g%h&i+j k=ü\"\\"
	for _, tt := range []struct {
		name    string
		options server.Options
		who     string
	}{
		{"user and password", server.Options{Users: []*server.User{user(strange, strange+"'")}}, url.UserPassword(strange, strange+"'").String()},
		{"a comma as it is", server.Options{Users: []*server.User{user("node", "se,cret")}}, "node:se,cret"},
		{"token", server.Options{Authorization: strange}, url.User(strange).String()},
		{"a comma in a token", server.Options{Authorization: "se,cret"}, "se,cret"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := runNATS(t, &tt.options)
			c := Defaults()
			c.URLs = []string{"nats://" + tt.who + "@" + s.Addr().String()}
			log := &logbook{t: t}
			a, b := startWith(t, c, log.logger()), start(t, c)
			together(t, a, b)
			log.says(t, "connected to NATS", s.Addr().String())
			if err := a.engine.conn.ForceReconnect(); err != nil {
				t.Fatal(err)
			}
			log.says(t, "the connection to NATS is back", s.Addr().String())
			together(t, a, b)
			log.without(t, "a,b", "a%2Cb", "a%2cb", "cret", tt.who)
		})
	}
}

func TestTLSToAnExternalNATS(t *testing.T) {
	t.Parallel()
	var theirs, ours Config
	withTLS(t)(&theirs)
	withTLS(t)(&ours)
	config, err := new(engine).tls(theirs, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	s := runNATS(t, &server.Options{TLS: true, TLSVerify: true, TLSConfig: config})
	missing := filepath.Join(t.TempDir(), "missing.pem")
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	write(t, garbage, "nothing")
	for _, tt := range []struct {
		name    string
		host    string
		change  func(*Config)
		atStart bool
		want    []string // nil: it works
	}{
		{"as it is meant", "127.0.0.1", func(*Config) {}, false, nil},
		{"another authority", "127.0.0.1", func(c *Config) { c.TLSCA = ours.TLSCA }, false, []string{"unknown authority", "cluster.tls_ca", ours.TLSCA}},
		{"the system's authorities", "127.0.0.1", func(c *Config) { c.TLSCA = "" }, false, []string{"unknown authority", "cluster.tls_ca"}},
		{"another name", "localhost", func(*Config) {}, false, []string{"localhost", "cluster.urls"}},
		{"a certificate of another authority", "127.0.0.1", func(c *Config) { c.TLSCert, c.TLSKey = ours.TLSCert, ours.TLSKey }, false,
			[]string{"cluster.tls_cert", ours.TLSCert}},
		{"no certificate", "127.0.0.1", func(c *Config) { c.TLSCert, c.TLSKey = "", "" }, false, []string{"cluster.tls_cert is empty"}},

		{"no authority's file", "127.0.0.1", func(c *Config) { c.TLSCA = missing }, true, []string{"cluster.tls_ca: ", missing}},
		{"an authority's file without one", "127.0.0.1", func(c *Config) { c.TLSCA = garbage }, true, []string{"cluster.tls_ca: ", garbage}},
		{"no certificate's file", "127.0.0.1", func(c *Config) { c.TLSCert = missing }, true, []string{"cluster.tls_cert: ", missing}},
		{"another's key", "127.0.0.1", func(c *Config) { c.TLSKey = ours.TLSKey }, true, []string{"cluster.tls_cert: ", "private key does not match"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := Defaults()
			c.TLSCA, c.TLSCert, c.TLSKey = theirs.TLSCA, theirs.TLSCert, theirs.TLSKey
			tt.change(&c)
			c.URLs = []string{strings.Replace("tls://"+s.Addr().String(), "127.0.0.1", tt.host, 1)}
			if tt.atStart {
				refused(t, c, tt.want...)
				return
			}
			log := &logbook{t: t}
			a := startWith(t, c, log.logger())
			if tt.want == nil {
				together(t, a, start(t, c))
				return
			}
			log.says(t, append(tt.want, "level=WARN")...)
			if a.connected() {
				t.Error("connected")
			}
		})
	}
}

// Of three NATS that are one, the one falls silent that a node is connected to.
func TestANATSOfThreeFallsSilent(t *testing.T) {
	t.Parallel()
	servers := threeNATS(t)
	at := func(addr string) string { return "nats://node:secret@" + addr }
	cable := newCable(t, servers[0].Addr().String())
	c := Defaults()
	c.Name, c.URLs = "b", []string{at(servers[1].Addr().String())}
	b := startNode(t, c)
	c.Name, c.URLs = "a", []string{at(cable.addr)}
	a := startNode(t, c)
	see(t, a, b)
	a.gw.set("mri-2", 1, 2, "console")
	knows(t, b, "mri-2", a)

	conn := a.engine.conn
	if err := conn.SetServerPool([]string{at(cable.addr), at(servers[2].Addr().String())}); err != nil {
		t.Fatal(err)
	}
	states := conn.StatusChanged(nats.CONNECTED)
	cable.cut.Store(true)
	began := time.Now()
	select {
	case <-states:
	case <-time.After(patience):
		t.Fatal("it stays with the silent one")
	}
	t.Logf("connected to another one after %s; leases that have ended: %d", time.Since(began), b.Snapshot().Directory.LeasesEnded)
	see(t, a, b)
	reach(t, a, b)
	knows(t, b, "mri-2", a)
	if got := slices.Concat(a.gw.calls(), b.gw.calls()); len(got) > 0 {
		t.Errorf("they were told %q", got)
	}
}

// Whatever the lease, a NATS that is silent is left while the lease goes on, with the heartbeat that was due before.
func TestASilentNATSIsLeftBeforeTheLeaseIsOver(t *testing.T) {
	for _, lease := range []time.Duration{4 * beatEvery, 3 * time.Second, 10 * time.Second, time.Minute} {
		c := Config{URLs: []string{"tls://nats"}, Lease: opt.Duration(lease)}
		if got := beatEvery + (maxPings+1)*c.pingInterval(); got > lease*9/10 {
			t.Errorf("with a lease of %s it is left after %s", lease, got)
		}
	}
}

// A limit that falls below what nodes send breaks the connection in a way that NATS's client takes for final.
func TestAConnectionThatEndsForGoodIsSaid(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	account := o.account(t)
	c := o.config(account.credentials(t))
	log := &logbook{t: t}
	a, b := startWith(t, c, log.logger()), start(t, c)
	together(t, a, b)
	o.limit(t, account, func(a *jwt.AccountClaims) { a.Limits.Payload = 64 << 10 })
	if _, err := a.call(t.Context(), b.id, "echo", make([]byte, 300<<10)); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
	log.says(t, "level=ERROR", "has ended for good", "Maximum Payload Violation")
	if a.connected() {
		t.Error("it says that it is connected")
	}
}

// Of three NATS that are one, that dies which a node is connected to. The node has another one at once, and says
// by Connected that it has none in between.
func TestANATSOfThreeDies(t *testing.T) {
	t.Parallel()
	servers := threeNATS(t)
	c := Defaults()
	c.Lease = opt.Duration(time.Minute) // whatever the machine does meanwhile
	for _, s := range servers {
		c.URLs = append(c.URLs, "nats://node:secret@"+s.Addr().String())
	}
	var nodes []*liveNode
	for i := range 3 {
		c.Name = fmt.Sprintf("node-%d", i)
		c.URLs = append(c.URLs[1:], c.URLs[0])
		nodes = append(nodes, startNode(t, c))
	}
	see(t, nodes...)
	for i, n := range nodes {
		n.gw.set(fmt.Sprint("r", i), 1, 2, "console")
	}
	for i, owner := range nodes {
		for _, n := range nodes {
			knows(t, n, fmt.Sprint("r", i), owner)
		}
	}

	a := nodes[0]
	conn := a.engine.conn
	states := conn.StatusChanged(nats.RECONNECTING, nats.CONNECTED)
	was := conn.ConnectedAddr()
	i := slices.IndexFunc(servers, func(s *natsServer) bool { return s.Addr().String() == was })
	if i < 0 {
		t.Fatalf("connected to %s, which is none of the three", was)
	}
	began := time.Now()
	servers[i].Shutdown()
	for _, want := range []nats.Status{nats.RECONNECTING, nats.CONNECTED} {
		select {
		case got := <-states:
			if got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("never %s", want)
		}
	}
	back := time.Since(began)
	see(t, nodes...)
	reach(t, nodes...)
	t.Logf("connected to another one after %s, and all reach all after %s", back, time.Since(began))
	if got := conn.ConnectedAddr(); got == was || got == "" {
		t.Errorf("connected to %q", got)
	}
	for i, n := range nodes {
		for _, other := range nodes {
			knows(t, other, fmt.Sprint("r", i), n)
		}
		if got := n.gw.calls(); len(got) > 0 {
			t.Errorf("%s was told %q", n.self.Name, got)
		}
		if s := n.Snapshot().Directory; s.LeasesEnded > 0 {
			t.Errorf("at %s %d leases have ended", n.self.Name, s.LeasesEnded)
		}
	}

	// Without any it says so, and goes on.
	for _, s := range servers {
		s.Shutdown()
	}
	eventually(t, func() error {
		if a.Connected() {
			return errors.New("connected to nothing")
		}
		return nil
	})
}

// reach waits until a call from each node to each other one is answered.
func reach(t *testing.T, nodes ...*liveNode) {
	t.Helper()
	eventually(t, func() error {
		for _, a := range nodes {
			for _, b := range nodes {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_, err := a.Call(ctx, b.self, verbPing, []byte("{}"))
				cancel()
				if err != nil && a != b {
					return fmt.Errorf("%s to %s: %w", a.self.Name, b.self.Name, err)
				}
			}
		}
		return nil
	})
}

// A natsServer is a NATS of the test's own.
type natsServer struct {
	*server.Server
	log *natsLog
}

// runNATS starts one on a free port, and ends it with the test.
func runNATS(t testing.TB, o *server.Options) *natsServer {
	t.Helper()
	o.Host, o.Port, o.NoSigs, o.NoSystemAccount = "127.0.0.1", server.RANDOM_PORT, true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	out := &natsServer{s, &natsLog{}}
	s.SetLoggerV2(out.log, false, false, false)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("NATS does not start")
	}
	return out
}

func threeNATS(t testing.TB) (out []*natsServer) {
	t.Helper()
	for range 3 {
		o := &server.Options{Users: []*server.User{withRights(user("node", "secret"), "sightline.1.>", "sightline.1.>")}}
		o.Cluster.Name, o.Cluster.Host, o.Cluster.Port = "hospital", "127.0.0.1", server.RANDOM_PORT
		if len(out) > 0 {
			o.Routes = []*url.URL{{Scheme: "nats-route", Host: out[0].ClusterAddr().String()}}
		}
		out = append(out, runNATS(t, o))
	}
	eventually(t, func() error {
		for i, s := range out {
			if s.NumRoutes() < 2 {
				return fmt.Errorf("NATS %d has %d routes", i, s.NumRoutes())
			}
		}
		return nil
	})
	return out
}

func user(name, password string) *server.User {
	return &server.User{Username: name, Password: password}
}

func withRights(u *server.User, publish, subscribe string) *server.User {
	u.Permissions = &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: []string{publish}},
		Subscribe: &server.SubjectPermission{Allow: []string{subscribe}},
	}
	return u
}

// An operator has a NATS with decentralised JWT: who comes in is a user whom an account has signed, which the operator has.
type operator struct {
	*natsServer
	key      nkeys.KeyPair
	accounts *server.MemAccResolver
}

type account struct {
	name  string // its public key
	token string
	key   nkeys.KeyPair
}

func newOperator(t testing.TB) *operator {
	t.Helper()
	o := &operator{key: newKey(t, nkeys.CreateOperator), accounts: &server.MemAccResolver{}}
	claims := jwt.NewOperatorClaims(public(t, o.key))
	if _, err := claims.Encode(o.key); err != nil {
		t.Fatal(err)
	}
	o.natsServer = runNATS(t, &server.Options{TrustedOperators: []*jwt.OperatorClaims{claims}, AccountResolver: o.accounts})
	return o
}

func (o *operator) config(credentials string) Config {
	c := Defaults()
	c.URLs, c.Credentials = []string{"nats://" + o.Addr().String()}, credentials
	return c
}

func (o *operator) account(t testing.TB, change ...func(*jwt.AccountClaims)) *account {
	t.Helper()
	a := &account{key: newKey(t, nkeys.CreateAccount)}
	a.name = public(t, a.key)
	claims := jwt.NewAccountClaims(a.name)
	for _, f := range change {
		f(claims)
	}
	var err error
	if a.token, err = claims.Encode(o.key); err != nil {
		t.Fatal(err)
	}
	if err := o.accounts.Store(a.name, a.token); err != nil {
		t.Fatal(err)
	}
	return a
}

// limit changes an account while its users are there.
func (o *operator) limit(t testing.TB, a *account, change func(*jwt.AccountClaims)) {
	t.Helper()
	known, err := o.LookupAccount(a.name)
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.NewAccountClaims(a.name)
	change(claims)
	if a.token, err = claims.Encode(o.key); err != nil {
		t.Fatal(err)
	}
	o.UpdateAccountClaims(known, claims)
}

// credentials writes the file of a new user.
func (a *account) credentials(t testing.TB, change ...func(*jwt.UserClaims)) (path string) {
	t.Helper()
	key := newKey(t, nkeys.CreateUser)
	claims := jwt.NewUserClaims(public(t, key))
	for _, f := range change {
		f(claims)
	}
	token, err := claims.Encode(a.key)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "node.creds")
	write(t, path, string(text))
	return path
}

func leastRights(u *jwt.UserClaims) {
	u.Pub.Allow.Add("sightline.1.>")
	u.Sub.Allow.Add("sightline.1.>")
}

// parts are the user and the seed of a credentials file.
func parts(t testing.TB, path string) (token, seed string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if token, err = nkeys.ParseDecoratedJWT(text); err != nil {
		t.Fatal(err)
	}
	key, err := nkeys.ParseDecoratedNKey(text)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return token, string(secret)
}

func newKey(t testing.TB, create func() (nkeys.KeyPair, error)) nkeys.KeyPair {
	t.Helper()
	key, err := create()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func public(t testing.TB, key nkeys.KeyPair) string {
	t.Helper()
	name, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A natsLog keeps what a NATS complains of.
type natsLog struct {
	mu   sync.Mutex
	said []string
}

func (l *natsLog) keep(format string, v []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, fmt.Sprintf(format, v...))
}

func (l *natsLog) Errorf(format string, v ...any)  { l.keep(format, v) }
func (l *natsLog) Warnf(format string, v ...any)   { l.keep(format, v) }
func (l *natsLog) Fatalf(format string, v ...any)  { l.keep(format, v) }
func (l *natsLog) Noticef(format string, v ...any) {}
func (l *natsLog) Debugf(format string, v ...any)  {}
func (l *natsLog) Tracef(format string, v ...any)  {}

func (l *natsLog) without(t testing.TB, text string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.said {
		if strings.Contains(line, text) {
			t.Errorf("NATS says: %s", line)
		}
	}
}

// A logbook is a log that a test reads.
type logbook struct {
	t testing.TB

	mu   sync.Mutex
	text string
}

func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text += string(p)
	return l.t.Output().Write(p)
}

// says waits for a line that has all of the words.
func (l *logbook) says(t testing.TB, words ...string) {
	t.Helper()
	eventually(t, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		for line := range strings.Lines(l.text) {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
				return nil
			}
		}
		return fmt.Errorf("no line with %q", words)
	})
}

func (l *logbook) without(t testing.TB, words ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text) {
		for _, w := range words {
			if strings.Contains(line, w) {
				t.Errorf("the log has %q: %s", w, line)
			}
		}
	}
}
