package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// An Issuer has its certificates from an ACME server (RFC 8555), one for each domain. What
// it has obtained lies in the cache folder and is in use from the start.
//
// certmagic speaks with the server, keeps the files, and knows when it is time (a third of
// a certificate's life before its end, or what the server says by ARI, RFC 9773). When to
// try and what to serve is decided here, in one goroutine for each domain.
type Issuer struct {
	config  ACME
	roots   *x509.CertPool // nil: the system's
	binding *acme.EAB      // nil: none
	storage *certmagic.FileStorage
	log     *slog.Logger
	domains []*domain // as configured; the first is for who asks for none

	failures atomic.Uint64
	way      atomic.Pointer[way] // while Run runs

	// For tests to shorten.
	check time.Duration // between two looks at a certificate that is good
	retry func(err error, failures int) time.Duration

	mu       sync.Mutex // guards what follows
	tlsAddr  string     // host:port of the listener that the challenge comes to
	httpAddr string
}

// A domain has one certificate.
type domain struct {
	name   string
	holder holder
}

// A way is how certmagic reaches the server.
type way struct {
	config *certmagic.Config
	issuer *certmagic.ACMEIssuer
}

// NewIssuer reads what the cache folder has. It asks nothing of the network.
func NewIssuer(c ACME, log *slog.Logger) (*Issuer, error) {
	i := &Issuer{
		config:  c,
		storage: &certmagic.FileStorage{Path: c.CacheDir},
		log:     log,
		check:   10 * time.Minute,
		retry:   backoff,
	}
	if err := writable(c.CacheDir); err != nil {
		return nil, fmt.Errorf("http.acme.cache_dir: %w", err)
	}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("http.acme.ca_file: %w", err)
		}
		i.roots = x509.NewCertPool()
		if !i.roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("http.acme.ca_file: %s has no certificate in PEM", c.CAFile)
		}
	}
	if c.EABKeyFile != "" {
		var err error
		if i.binding, err = binding(c); err != nil {
			return nil, fmt.Errorf("http.acme.eab_key_file: %w", err)
		}
	}
	for _, name := range c.Domains {
		d := &domain{name: name}
		i.domains = append(i.domains, d)
		if err := i.load(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Error("a certificate in the cache folder can't be used", "domain", name, "err", err)
		}
	}
	return i, nil
}

// binding reads the key of the account that ours is to be bound to. The error repeats nothing of it.
func binding(c ACME) (*acme.EAB, error) {
	text, err := os.ReadFile(c.EABKeyFile)
	if err != nil {
		return nil, err
	}
	key := strings.TrimRight(strings.TrimSpace(string(text)), "=") // some servers pad it
	if raw, err := base64.RawURLEncoding.DecodeString(key); err != nil || len(raw) < 16 {
		return nil, fmt.Errorf("%s must hold the HMAC key as the ACME server says it, in base64url and of 16 bytes or more", c.EABKeyFile)
	}
	return &acme.EAB{KeyID: c.EABKeyID, MACKey: key}, nil
}

// writable makes the folder if need be, and tries to write there: the alternative is to
// find out once a certificate has been issued.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(dir, ".writable") // always this one: who is killed here leaves no more than one
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // another gateway has been as far
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// Listens says where challenges arrive: at the TLS listener, and at the plain one if
// there is one. It is called before Run.
func (i *Issuer) Listens(tls, plain net.Addr) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tlsAddr = tls.String()
	if plain != nil {
		i.httpAddr = plain.String()
	}
}

// Protocols implements Source.
func (i *Issuer) Protocols() []string { return []string{acmez.ACMETLS1Protocol} }

// GetCertificate implements Source. It also answers the challenge tls-alpn-01.
func (i *Issuer) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if slices.Equal(hello.SupportedProtos, []string{acmez.ACMETLS1Protocol}) {
		w := i.way.Load()
		if w == nil || i.find(hello.ServerName) == nil {
			return nil, errChallenge
		}
		return w.config.GetCertificate(hello)
	}
	d := i.find(hello.ServerName)
	if d == nil {
		d = i.domains[0]
	}
	if pair := d.holder.pair.Load(); pair != nil {
		return pair, nil
	}
	return nil, fmt.Errorf("%s: %w", d.name, errNothing)
}

func (i *Issuer) find(name string) *domain {
	for _, d := range i.domains {
		if strings.EqualFold(d.name, name) {
			return d
		}
	}
	return nil
}

// Challenge answers a request of the challenge http-01, if it is one (RFC 8555, section
// 8.3), and reports whether it was.
func (i *Issuer) Challenge(w http.ResponseWriter, r *http.Request) bool {
	way := i.way.Load()
	return way != nil && way.issuer.HandleHTTPChallenge(w, r)
}

// Snapshot implements Source.
func (i *Issuer) Snapshot() Snapshot {
	s := Snapshot{Failures: i.failures.Load()}
	for _, d := range i.domains {
		c := Certificate{Name: d.name}
		if pair := d.holder.pair.Load(); pair != nil {
			c.NotAfter = pair.Leaf.NotAfter
		}
		s.Certificates = append(s.Certificates, c)
	}
	return s
}

// Run implements Source.
func (i *Issuer) Run(ctx context.Context) {
	cache := i.newCache(func() *certmagic.Config { return i.way.Load().config })
	defer cache.Stop()
	w := &way{config: certmagic.New(cache, i.template())}
	w.issuer = certmagic.NewACMEIssuer(w.config, i.account())
	w.config.Issuers = []certmagic.Issuer{unattended{w.issuer}}
	i.way.Store(w)
	defer i.way.Store(nil)

	var wg sync.WaitGroup
	for _, d := range i.domains {
		wg.Go(func() { i.keep(ctx, w, d) })
	}
	wg.Wait()
}

// keep keeps the certificate of one domain fresh until ctx is done.
func (i *Issuer) keep(ctx context.Context, w *way, d *domain) {
	if d.holder.pair.Load() == nil {
		i.log.Info("waiting for a TLS certificate from the ACME server", "domain", d.name, "directory", i.config.Directory,
			"challenge", i.config.Challenge)
	}
	failures := 0
	for {
		wait := i.check
		if err := i.renew(ctx, w, d); ctx.Err() != nil {
			return
		} else if err != nil {
			failures++
			wait = i.retry(err, failures)
			i.complain(d, err, wait)
		} else {
			failures = 0
		}
		d.holder.warn(i.log, time.Now())
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (i *Issuer) complain(d *domain, err error, wait time.Duration) {
	i.failures.Add(1)
	attrs := []any{"domain", d.name, "directory", i.config.Directory, "challenge", i.config.Challenge, "err", err, "next_try", wait}
	pair := d.holder.pair.Load()
	if pair == nil {
		i.log.Error("no TLS certificate from the ACME server, and none is there: nobody can connect by this name", attrs...)
		return
	}
	i.log.Error("no new TLS certificate from the ACME server, the old one stays in use", append(attrs, "old_not_after", pair.Leaf.NotAfter)...)
}

// backoff is how long to wait after so many failures in a row. A server that has answered
// counts them: Let's Encrypt takes five failed validations of a name in an hour. One that
// can't be reached at all may be there again any moment.
func backoff(err error, failures int) time.Duration {
	var answered acme.Problem
	if !errors.As(err, &answered) {
		return min(time.Duration(failures)*10*time.Second, 2*time.Minute)
	}
	waits := []time.Duration{time.Minute, 5 * time.Minute, 20 * time.Minute, time.Hour}
	return waits[min(failures, len(waits))-1]
}

// renew obtains a domain's certificate if there is none or it is time for a new one, and
// puts what the cache folder has then into use.
func (i *Issuer) renew(ctx context.Context, w *way, d *domain) error {
	const most = 5 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	// certmagic looks after what is in one of its caches by goroutines of its own, whenever
	// it sees fit. In a fresh one it does what it is asked here and now.
	var config *certmagic.Config
	cache := i.newCache(func() *certmagic.Config { return config })
	defer cache.Stop()
	template := i.template()
	template.Issuers = w.config.Issuers
	config = certmagic.New(cache, template)
	if err := config.ManageSync(ctx, []string{d.name}); err != nil {
		return err
	}
	return i.load(d)
}

// load puts the certificate of the cache folder into use. The error is fs.ErrNotExist if
// there is none.
func (i *Issuer) load(d *domain) error {
	key := issuerKey(i.config.Directory)
	chain, err := i.storage.Load(context.Background(), certmagic.StorageKeys.SiteCert(key, d.name))
	if err != nil {
		return err
	}
	private, err := i.storage.Load(context.Background(), certmagic.StorageKeys.SitePrivateKey(key, d.name))
	if err != nil {
		return err
	}
	pair, err := parse(chain, private)
	if err != nil {
		return err
	}
	if old := d.holder.pair.Load(); old != nil && old.Leaf.Equal(pair.Leaf) {
		return nil
	}
	d.holder.pair.Store(pair)
	d.holder.warned = time.Time{}
	i.log.Info("a TLS certificate is in use", "domain", d.name, "issuer", pair.Leaf.Issuer.String(), "not_after", pair.Leaf.NotAfter)
	return nil
}

func issuerKey(directory string) string {
	return (&certmagic.ACMEIssuer{CA: directory}).IssuerKey()
}

func (i *Issuer) newCache(config func() *certmagic.Config) *certmagic.Cache {
	return certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return config(), nil },
		// Longer than a cache lives with a certificate in it (renew).
		RenewCheckInterval: time.Hour,
		OCSPCheckInterval:  24 * time.Hour,
		Logger:             zapTo(i.log),
	})
}

func (i *Issuer) template() certmagic.Config {
	return certmagic.Config{
		Storage: i.storage,
		OCSP:    certmagic.OCSPConfig{DisableStapling: true}, // public servers have no OCSP any more
		Logger:  zapTo(i.log),
	}
}

// account describes the ACME server and who we are there. The listeners are open already,
// and certmagic opens none of its own where it finds one.
func (i *Issuer) account() certmagic.ACMEIssuer {
	i.mu.Lock()
	defer i.mu.Unlock()
	a := certmagic.ACMEIssuer{
		CA:                      i.config.Directory,
		Email:                   i.config.Email,
		Agreed:                  i.config.Agree,
		TrustedRoots:            i.roots,
		ExternalAccount:         i.binding,
		DisableHTTPChallenge:    i.config.Challenge != ChallengeHTTP,
		DisableTLSALPNChallenge: i.config.Challenge != ChallengeALPN,
		Logger:                  zapTo(i.log),
		NewAccountFunc:          i.contact,
	}
	host, port := "", 0
	if i.config.Challenge == ChallengeHTTP {
		host, port = split(i.httpAddr)
		a.AltHTTPPort = port
	} else {
		host, port = split(i.tlsAddr)
		a.AltTLSALPNPort = port
	}
	a.ListenHost = host
	return a
}

// contact makes the address that is configured, or none, that of a new account. certmagic takes the name of an account's
// folder for one where that has no account yet, and without an address the folder's name is "default".
func (i *Issuer) contact(_ context.Context, _ *certmagic.ACMEIssuer, account acme.Account) (acme.Account, error) {
	if i.config.Email == "" {
		account.Contact = nil
	}
	return account, nil
}

func split(addr string) (host string, port int) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0
	}
	port, _ = strconv.Atoi(text)
	return host, port
}

// unattended is an issuer that asks nobody at the terminal for an address.
type unattended struct{ *certmagic.ACMEIssuer }

func (u unattended) PreCheck(ctx context.Context, names []string, _ bool) error {
	return u.ACMEIssuer.PreCheck(ctx, names, false)
}
