package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"sightline/internal/certs"
)

// A Server is one HTTP listener.
type Server struct {
	name        string
	secure      bool // net/http sets TLSConfig of plain servers, too
	listener    net.Listener
	connections *connections
	http        *http.Server
	log         *slog.Logger
}

// A Snapshot is the state of a listener.
type Snapshot struct {
	Listener string // its name
	Connections
	Plain uint64 // requests refused because they came in the clear
}

// listenKeys are the keys of the listeners' addresses, by the listeners' names.
var listenKeys = map[string]string{
	"http":     "http.listen",
	"redirect": "http.redirect_listen",
	"metrics":  "metrics.listen",
	"debug":    "metrics.debug_listen",
}

// maxHeader bounds a request's header, in bytes (net/http adds 4096 of its own).
const maxHeader = 12 << 10

// NewServer opens the listener of that name (http, metrics, debug or redirect) at
// c.Listen. It speaks TLS if there are certificates. Nothing is answered until Run; the
// caller closes the server if he never calls that. The error begins with the key of the
// address.
func NewServer(name string, c Config, h http.Handler, certificates certs.Source, log *slog.Logger) (*Server, error) {
	s := &Server{name: name, secure: certificates != nil, log: log}
	s.http = &http.Server{
		Handler:           h,
		ReadHeaderTimeout: c.ReadHeaderTimeout.D(), // of the TLS handshake, too
		IdleTimeout:       c.IdleTimeout.D(),
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			// A client that vanished is noticed, though an event stream never idles.
			SendPingTimeout:  30 * time.Second,
			PingTimeout:      15 * time.Second,
			WriteByteTimeout: time.Minute,
		},
	}
	if s.secure {
		s.http.TLSConfig = &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: certificates.GetCertificate,
			// net/http drops a connection of any other protocol once its handshake is done, as
			// RFC 8737, section 3, wants of ACME's.
			NextProtos: append([]string{"h2", "http/1.1"}, certificates.Protocols()...),
		}
	}
	var err error
	if s.listener, err = net.Listen("tcp", c.Listen); err != nil {
		return nil, fmt.Errorf("%s: %w", listenKeys[name], err)
	}
	s.connections = newConnections(s.listener, c, s.secure)
	s.http.ConnState = s.connections.changed
	return s, nil
}

// OpenCertificates returns where the gateway has its certificates from, or nil if it
// speaks plain HTTP. The caller runs it. An error begins with the key.
func OpenCertificates(c Config, log *slog.Logger) (certs.Source, error) {
	switch {
	case c.ACME.Enabled():
		issuer, err := certs.NewIssuer(c.ACME, log)
		if err != nil {
			return nil, err
		}
		return issuer, nil
	case c.TLSCert != "":
		files, err := certs.NewFiles(c.TLSCert, c.TLSKey, log)
		if err != nil {
			return nil, fmt.Errorf("http.tls_cert: %w", err)
		}
		return files, nil
	}
	return nil, nil
}

// Listen opens the gateway's listeners: first http.listen, which answers by h, then
// http.redirect_listen if it is configured. The caller runs and closes them. An error
// begins with the key.
func Listen(c Config, h http.Handler, certificates certs.Source, log *slog.Logger) ([]*Server, error) {
	main, err := NewServer("http", c, h, certificates, log)
	if err != nil {
		return nil, err
	}
	servers := []*Server{main}
	var plain net.Addr
	if c.RedirectListen != "" {
		redirects := NewRedirects(c, certificates, log)
		c.Listen = c.RedirectListen
		s, err := NewServer("redirect", c, redirects, nil, log)
		if err != nil {
			main.Close()
			return nil, err
		}
		servers, plain = append(servers, s), s.Addr()
	}
	if i, ok := certificates.(*certs.Issuer); ok {
		i.Listens(main.Addr(), plain)
	}
	return servers, nil
}

// Snapshot returns the state of the listener.
func (s *Server) Snapshot() Snapshot {
	out := Snapshot{Listener: s.name, Connections: s.connections.snapshot()}
	if r, ok := s.http.Handler.(*Router); ok {
		out.Plain = r.plain.Load()
	}
	return out
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run answers requests until ctx is done, whose end is also that of the requests'
// contexts; it then waits a few seconds for requests that are still being answered. The
// error is nil after such an end.
func (s *Server) Run(ctx context.Context) error {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	served := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		if s.secure {
			served <- s.http.ServeTLS(s.connections, "", "")
		} else {
			served <- s.http.Serve(s.connections)
		}
	})
	defer wg.Wait()
	s.log.Info("http listens", "addr", s.Addr().String(), "tls", s.secure, "listener", s.name)
	select {
	case err := <-served:
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return fmt.Errorf("http: %w", err)
	case <-ctx.Done():
	}
	const grace = 3 * time.Second
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := s.http.Shutdown(bounded); err != nil {
		_ = s.http.Close()
	}
	return nil
}

// Close closes the listener and all connections at once. It is idempotent.
func (s *Server) Close() {
	_ = s.http.Close()
	_ = s.listener.Close()
}
