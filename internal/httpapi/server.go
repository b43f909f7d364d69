package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// A Server is one HTTP listener.
type Server struct {
	listener net.Listener
	http     *http.Server
	tls      bool
	log      *slog.Logger
}

// maxHeader bounds a request's header, in bytes (net/http adds 4096 of its own).
const maxHeader = 12 << 10

// NewServer opens the listener. Nothing is answered until Run; the caller closes the
// server if he never calls that.
func NewServer(c Config, h http.Handler, log *slog.Logger) (*Server, error) {
	s := &Server{log: log}
	s.http = &http.Server{
		Handler:           h,
		ReadHeaderTimeout: c.ReadHeaderTimeout.D(),
		IdleTimeout:       c.IdleTimeout.D(),
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	if c.TLSCert != "" {
		cert := &certificate{certFile: c.TLSCert, keyFile: c.TLSKey, log: log}
		if err := cert.load(); err != nil {
			return nil, fmt.Errorf("http.tls_cert: %w", err)
		}
		s.tls = true
		s.http.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cert.get}
	}
	var err error
	if s.listener, err = net.Listen("tcp", c.Listen); err != nil {
		return nil, fmt.Errorf("http.listen: %w", err)
	}
	return s, nil
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
		if s.tls {
			served <- s.http.ServeTLS(s.listener, "", "")
		} else {
			served <- s.http.Serve(s.listener)
		}
	})
	defer wg.Wait()
	s.log.Info("http listens", "addr", s.Addr().String(), "tls", s.tls)
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

// A certificate is a pair of PEM files that is read again when it has changed.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex // guards what follows
	pair    *tls.Certificate
	stamp   string // of the files that pair was read from
	checked time.Time
}

// get is tls.Config.GetCertificate. Files that can't be read leave the old pair in use.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	const interval = 5 * time.Second
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checked) > interval {
		c.checked = now
		if err := c.loadLocked(); err != nil {
			c.log.Warn("the TLS certificate has changed and can't be read, the old one stays in use", "err", err)
		}
	}
	return c.pair, nil
}

func (c *certificate) load() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checked = time.Now()
	return c.loadLocked()
}

func (c *certificate) loadLocked() error {
	stamp, err := stampOf(c.certFile, c.keyFile)
	if err != nil || stamp == c.stamp {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.pair, c.stamp = &pair, stamp
	return nil
}

func stampOf(files ...string) (string, error) {
	var stamp string
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return "", err
		}
		stamp += fmt.Sprintf("%d %d;", info.ModTime().UnixNano(), info.Size())
	}
	return stamp, nil
}
