package cluster

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"sightline/internal/certs"
)

const (
	// A connection that has not answered two pings is dead: 3 s after a network has gone
	// silent without a word, which is as long as a lease.
	pingInterval = time.Second
	maxPings     = 2

	// NATS carries calls of 512 KiB with what it needs around them.
	maxPayload = 1 << 20

	// Nodes that have been learnt of from others are dialled once a second for so many
	// times after they were lost; those of cluster.routes for ever.
	connectRetries = 3600

	openTimeout = 10 * time.Second
)

// An engine is the node's connection to NATS, and the server behind it if that is embedded.
type engine struct {
	conn   *nats.Conn
	server *server.Server // nil: an external NATS
	certs  *certs.Files   // of the routes; may be nil
	closed chan struct{}  // once conn is
	ending atomic.Bool    // by us
}

// openEngine starts the embedded server, or connects to the external one, be it that it is
// not there yet. member is the node's name and id, for NATS to know it by.
func openEngine(c Config, member string, log *slog.Logger) (*engine, error) {
	e := &engine{closed: make(chan struct{})}
	var options []nats.Option
	var err error
	if c.external() {
		options = c.externalOptions()
	} else {
		options, err = e.embed(c, member, log)
	}
	if err == nil {
		err = e.connect(c, member, options, log)
	}
	if err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

// connect makes the connection. It is lost and found again without end, and keeps nothing
// for later meanwhile: a heartbeat is worth nothing once it is old.
func (e *engine) connect(c Config, member string, options []nats.Option, log *slog.Logger) error {
	l := newLogger(log)
	options = append(options,
		nats.Name(member),
		nats.CustomInboxPrefix(subject(c.Group, "i")),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(500*time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		nats.ReconnectBufSize(-1),
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(), // who is wrong may be NATS, or not know of this user yet
		nats.Timeout(2*time.Second),
		nats.FlusherTimeout(2*time.Second),
		nats.PingInterval(c.pingInterval()),
		nats.MaxPingsOutstanding(maxPings),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				l.fault("the connection is lost", err, c.explain(err))
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { l.fault("can't connect", err, c.explain(err)) }),
		nats.ConnectHandler(func(conn *nats.Conn) {
			if c.external() {
				log.Info("connected to NATS", c.met(conn)...)
			}
			lacking(conn, log)
		}),
		nats.ReconnectHandler(func(conn *nats.Conn) {
			log.Info("the connection to NATS is back", c.met(conn)...)
			lacking(conn, log)
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { l.fault("NATS says", err, c.explain(err)) }),
		nats.ClosedHandler(func(conn *nats.Conn) {
			if !e.ending.Load() {
				// NATS says that we break its rules, after which its client does not try again.
				log.Error("the connection to NATS has ended for good: start this node again", "err", conn.LastError())
			}
			close(e.closed)
		}),
	)
	conn, err := nats.Connect("", options...)
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	e.conn = conn
	return roomy(conn)
}

// lacking logs what a NATS lacks that is reached later than the node starts, which nobody else can be told.
func lacking(conn *nats.Conn, log *slog.Logger) {
	if err := roomy(conn); err != nil {
		log.Error(err.Error())
	}
}

// roomy says if the NATS that is reached, if one is, takes too little.
func roomy(conn *nats.Conn) error {
	if !conn.IsConnected() {
		return nil
	}
	_ = conn.FlushTimeout(time.Second) // what an account may is told once it is let in; without a connection nobody tells
	if most := conn.MaxPayload(); conn.IsConnected() && most < maxData+overhead {
		return fmt.Errorf("the NATS at %s takes messages of %d bytes: its max_payload must be %d or more, and that of the account and user", address(conn), most, maxPayload)
	}
	return nil
}

// embed starts the server.
func (e *engine) embed(c Config, member string, log *slog.Logger) ([]nats.Option, error) {
	token := rand.Text()
	o, err := e.options(c, member, token, log)
	if err != nil {
		return nil, err
	}
	e.server, err = server.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	l := newLogger(log)
	e.server.SetLoggerV2(l, log.Enabled(context.Background(), slog.LevelDebug), false, false)
	e.server.Start()
	if err := ready(e.server, l); err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	return []nats.Option{nats.InProcessServer(e.server), nats.Token(token)}, nil
}

// ready waits until the server has its listeners, or has said why it can't.
func ready(s *server.Server, l *logger) error {
	for deadline := time.Now().Add(openTimeout); time.Now().Before(deadline); {
		if s.ReadyForConnections(100 * time.Millisecond) {
			return nil
		}
		if err := l.failure(); err != nil {
			return err
		}
	}
	return fmt.Errorf("it is not ready after %s", openTimeout)
}

// options are those of the embedded server.
func (e *engine) options(c Config, member, token string, log *slog.Logger) (*server.Options, error) {
	o := &server.Options{
		ServerName: member,
		// The node itself comes in by a pipe. Without any listener NATS would not listen
		// for routes either.
		Host: "127.0.0.1", Port: server.RANDOM_PORT,
		Authorization:         token,
		NoSigs:                true,
		NoSystemAccount:       true,
		MaxPayload:            maxPayload,
		PingInterval:          pingInterval,
		MaxPingsOut:           maxPings,
		ReconnectErrorReports: 60,
	}
	transport, err := e.tls(c, log)
	if err != nil {
		return nil, err
	}
	if c.Listen != "" {
		o.Cluster = server.ClusterOpts{
			Username: c.Group, Password: password(c.Secret),
			Advertise:      c.Advertise,
			TLSConfig:      transport,
			ConnectRetries: connectRetries,
			// One connection for each pair of nodes: it keeps the order of all that goes
			// between them.
			PoolSize:     -1,
			PingInterval: pingInterval,
			MaxPingsOut:  maxPings,
		}
		// At a remote site the nodes agree on a name that is not the centre's: NATS takes
		// no leaf from a cluster of its own name.
		if len(c.Leaf) == 0 {
			o.Cluster.Name = c.Group
		}
		o.Cluster.Host, o.Cluster.Port = split(c.Listen)
		for _, addr := range c.Routes {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: addr, User: url.UserPassword(c.Group, password(c.Secret))})
		}
	}
	if c.LeafListen != "" {
		o.LeafNode = server.LeafNodeOpts{Username: c.Group, Password: password(c.Secret), TLSConfig: transport}
		o.LeafNode.Host, o.LeafNode.Port = split(c.LeafListen)
	}
	if len(c.Leaf) > 0 {
		remote := &server.RemoteLeafOpts{TLS: transport != nil, TLSConfig: transport}
		for _, addr := range c.Leaf {
			remote.URLs = append(remote.URLs, &url.URL{Scheme: "nats-leaf", Host: addr, User: url.UserPassword(c.Group, password(c.Secret))})
		}
		o.LeafNode.ReconnectInterval = time.Second
		o.LeafNode.Remotes = []*server.RemoteLeafOpts{remote}
	}
	return o, nil
}

// password is what NATS compares. It takes a password that looks like a bcrypt hash for
// one, and shows one in its options; so it gets a digest.
func password(secret string) string {
	if secret == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("sightline cluster " + secret))
	return hex.EncodeToString(sum[:])
}

// tls is for both ends of routes and leaf nodes: each shows its certificate, and checks the
// other's. Certificates are read again when their files change; the authority's is not.
func (e *engine) tls(c Config, log *slog.Logger) (*tls.Config, error) {
	if !c.tls() {
		return nil, nil
	}
	files, err := certs.NewFiles(c.TLSCert, c.TLSKey, log)
	if err != nil {
		return nil, fmt.Errorf("cluster.tls_cert: %w", err)
	}
	text, err := os.ReadFile(c.TLSCA)
	if err != nil {
		return nil, fmt.Errorf("cluster.tls_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("cluster.tls_ca: %s has no certificate in PEM", c.TLSCA)
	}
	e.certs = files
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: files.GetCertificate,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return files.GetCertificate(nil)
		},
		RootCAs:    pool,
		ClientCAs:  pool,
		ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}

// run keeps the certificates fresh until ctx is done.
func (e *engine) run(ctx context.Context) {
	if e.certs != nil {
		e.certs.Run(ctx)
	}
}

func (e *engine) connected() bool { return e.conn.IsConnected() }

// peers are how many routes to other nodes are up, and leaf nodes.
func (e *engine) peers() (routes, leafs int) {
	if e.server == nil {
		return 0, 0
	}
	return e.server.NumRoutes(), e.server.NumLeafNodes()
}

// stop ends the connection, once what it was given has reached NATS, and then the server,
// and waits for both.
func (e *engine) stop() {
	e.ending.Store(true)
	if e.conn != nil {
		if e.connected() { // else there is nobody to tell, and waiting for him takes a second
			_ = e.conn.FlushTimeout(time.Second)
		}
		e.conn.Close()
		<-e.closed
	}
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
	}
}

// split takes apart what Validate has found to be host:port.
func split(addr string) (host string, port int) {
	host, text, _ := net.SplitHostPort(addr)
	port, _ = strconv.Atoi(text)
	if host == "" {
		host = "0.0.0.0"
	}
	return host, port
}
