// Package acmetest runs a real ACME server for tests: Pebble, the one that Let's Encrypt
// makes for such, with a name server for which every name is 127.0.0.1.
package acmetest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

// Leaks names the goroutines that Pebble and certmagic never end, or much later. Of
// certmagic's there is one for each ACME server and address of mail, and one for each lock
// that was held within the last 5 s.
func Leaks() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
	}
}

// A Server is an ACME server.
type Server struct {
	Directory string         // its URL
	CAFile    string         // what its own certificate is checked by
	Roots     *x509.CertPool // what the certificates that it issues are checked by

	down   atomic.Bool
	orders atomic.Int64
}

// An answer knows its status: Pebble refuses some good nonces, to be asked again.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Start runs a server until the test ends. It checks names at port tlsPort (tls-alpn-01)
// and httpPort (http-01) of 127.0.0.1. Its certificates live for so long.
func Start(t *testing.T, tlsPort, httpPort int, life time.Duration) *Server {
	t.Helper()
	return start(t, tlsPort, httpPort, life, "", "")
}

// StartBound is Start for a server that takes only accounts that are bound to the one it knows
// by the id and the key, which is base64url (RFC 8555, section 7.3.4).
func StartBound(t *testing.T, tlsPort, httpPort int, life time.Duration, id, key string) *Server {
	t.Helper()
	return start(t, tlsPort, httpPort, life, id, key)
}

func start(t *testing.T, tlsPort, httpPort int, life time.Duration, id, key string) *Server {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	if id != "" {
		if err := store.AddExternalAccountKeyByID(id, key); err != nil {
			t.Fatal(err)
		}
	}
	authority := ca.New(quiet, store, "", "ecdsa", 0, 1,
		map[string]ca.Profile{"default": {Description: "for tests", ValidityPeriod: uint64(life / time.Second)}})
	validator := va.New(quiet, httpPort, tlsPort, false, nameServer(t), store)
	front := wfe.New(quiet, store, validator, authority, []string{"acme.example"}, false, id != "", 1, 1)

	s := &Server{Roots: x509.NewCertPool()}
	handler := front.Handler()
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.down.Load() {
			panic(http.ErrAbortHandler)
		}
		answer := &answer{ResponseWriter: w}
		handler.ServeHTTP(answer, r)
		if r.URL.Path == "/order-plz" && answer.status == http.StatusCreated {
			s.orders.Add(1)
		}
	}))
	web.Config.ErrorLog = quiet
	web.StartTLS()
	t.Cleanup(web.Close)
	s.Directory = web.URL + wfe.DirectoryPath
	s.CAFile = filepath.Join(t.TempDir(), "acme-ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	if err := os.WriteFile(s.CAFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Roots.AddCert(authority.GetRootCert(0).Cert)
	return s
}

// SetDown makes the server break off every connection, or answer again.
func (s *Server) SetDown(down bool) { s.down.Store(down) }

// Orders is how many certificates have been asked for.
func (s *Server) Orders() int { return int(s.orders.Load()) }

// nameServer answers that every name is 127.0.0.1, and returns where it does.
func nameServer(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: listener, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			answer.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET},
				A:   net.IPv4(127, 0, 0, 1),
			}}
		}
		_ = w.WriteMsg(answer)
	})}
	done := make(chan error, 1)
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	go func() { done <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		_ = server.ShutdownContext(context.Background())
		<-done
	})
	return listener.Addr().String()
}

// Ask connects to addr by a name and returns the certificate that is shown, checked by the
// server's root.
func (s *Server) Ask(ctx context.Context, addr, name string) (*x509.Certificate, error) {
	d := tls.Dialer{Config: &tls.Config{ServerName: name, RootCAs: s.Roots}}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}
