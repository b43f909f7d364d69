package certs

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"

	"sightline/internal/certs/acmetest"
)

// listeners opens what a gateway listens on: TLS, and plain HTTP.
func listeners(t *testing.T) (secure, plain net.Listener) {
	t.Helper()
	open := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	return open(), open()
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// configOf returns a configuration for a server, with a cache folder of its own.
func configOf(t *testing.T, s *acmetest.Server, challenge string, domains ...string) ACME {
	c := Defaults()
	c.Domains, c.Agree, c.Challenge = domains, true, challenge
	c.Directory, c.CAFile, c.CacheDir = s.Directory, s.CAFile, filepath.Join(t.TempDir(), "acme")
	return c
}

// newIssuer returns an issuer that is in a hurry.
func newIssuer(t *testing.T, c ACME) (*Issuer, *journal) {
	t.Helper()
	log, said := newLog()
	i, err := NewIssuer(c, log)
	if err != nil {
		t.Fatal(err)
	}
	i.check = 50 * time.Millisecond
	i.retry = func(error, int) time.Duration { return 50 * time.Millisecond }
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log:\n%s", said)
		}
	})
	return i, said
}

// serveBy runs an issuer and the two listeners until stop is called or the test ends.
func serveBy(t *testing.T, i *Issuer, secure, plain net.Listener) (stop func()) {
	t.Helper()
	i.Listens(secure.Addr(), plain.Addr())
	ctx, cancel := context.WithCancel(context.Background())
	web := &http.Server{
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }),
		TLSConfig: &tls.Config{GetCertificate: i.GetCertificate, NextProtos: append([]string{"h2", "http/1.1"}, i.Protocols()...)},
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	challenges := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !i.Challenge(w, r) {
			w.WriteHeader(http.StatusNotFound)
		}
	})}
	done := make(chan struct{}, 3)
	go func() { _ = web.ServeTLS(secure, "", ""); done <- struct{}{} }()
	go func() { _ = challenges.Serve(plain); done <- struct{}{} }()
	go func() { i.Run(ctx); done <- struct{}{} }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		web.Close()
		challenges.Close()
		for range 3 {
			<-done
		}
	}
	t.Cleanup(stop)
	return stop
}

// Both challenges, by a real server that checks them over the wire; and the next start
// asks nobody, because the folder has everything.
func TestCertificatesAreObtainedAndKept(t *testing.T) {
	for _, challenge := range []string{ChallengeALPN, ChallengeHTTP} {
		t.Run(challenge, func(t *testing.T) {
			secure, plain := listeners(t)
			// The port of the other challenge leads nowhere.
			ports := map[string][2]int{ChallengeALPN: {port(secure), 1}, ChallengeHTTP: {1, port(plain)}}[challenge]
			server := acmetest.Start(t, ports[0], ports[1], 90*24*time.Hour)
			c := configOf(t, server, challenge, "media.hospital.example", "spare.hospital.example")
			i, _ := newIssuer(t, c)
			if s := i.Snapshot(); !s.Missing() || len(s.Certificates) != 2 {
				t.Errorf("before: %+v, want two that are missing", s)
			}
			stop := serveBy(t, i, secure, plain)
			eventually(t, "both certificates are there", func() bool { return !i.Snapshot().Missing() })
			for _, name := range c.Domains {
				leaf, err := server.Ask(t.Context(), secure.Addr().String(), name)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != name {
					t.Errorf("%s: got a certificate for %v", name, leaf.DNSNames)
				}
			}
			if s := i.Snapshot(); time.Until(s.Certificates[0].NotAfter) < 89*24*time.Hour || s.Failures != 0 {
				t.Errorf("got %+v, want 90 days and no failure", s)
			}
			orders := server.Orders()
			stop()

			server.SetDown(true)
			again, _ := newIssuer(t, c)
			if again.Snapshot().Missing() {
				t.Error("a new start does not know the certificates of before")
			}
			if orders != 2 {
				t.Errorf("%d orders, want one for each name", orders)
			}
			checkPrivate(t, c.CacheDir)
		})
	}
}

// Without an address of mail an account is kept under "default", which is nobody's address: not when a gateway died as it
// began to keep one, and not when one domain asks while another one's account is being kept.
func TestAccountThatIsHalfKeptIsMadeAnew(t *testing.T) {
	secure, plain := listeners(t)
	server := acmetest.Start(t, port(secure), 1, 90*24*time.Hour)
	c := configOf(t, server, ChallengeALPN, "media.hospital.example")
	if err := os.MkdirAll(filepath.Join(c.CacheDir, "acme", certmagic.StorageKeys.Safe(issuerKey(c.Directory)), "users", "default"), 0o700); err != nil {
		t.Fatal(err)
	}
	i, _ := newIssuer(t, c)
	serveBy(t, i, secure, plain)
	eventually(t, "the certificate is there", func() bool { return !i.Snapshot().Missing() })
}

// checkPrivate fails if others can read a key.
func checkPrivate(t *testing.T, dir string) {
	t.Helper()
	keys := 0
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".key") {
			return err
		}
		keys++
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %s", path, info.Mode())
		}
		return err
	})
	if err != nil || keys < 3 {
		t.Errorf("%d keys, %v: want the account's and two", keys, err)
	}
}

// A certificate that ends soon is replaced while it is in use; while the server is away
// the old one goes on, and it is told; when it is back all is well again.
func TestCertificateIsRenewedWhileItIsServed(t *testing.T) {
	secure, plain := listeners(t)
	server := acmetest.Start(t, port(secure), 1, time.Hour)
	i, said := newIssuer(t, configOf(t, server, ChallengeALPN, "media.hospital.example"))
	serveBy(t, i, secure, plain)
	ask := func() string {
		leaf, err := server.Ask(t.Context(), secure.Addr().String(), "media.hospital.example")
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.String()
	}
	eventually(t, "a certificate is there", func() bool { return !i.Snapshot().Missing() })
	first := ask()
	// Within an hour of its end it is always time for another one.
	eventually(t, "another certificate is served", func() bool { return ask() != first })

	server.SetDown(true)
	failures := i.Snapshot().Failures
	eventually(t, "two failures are counted", func() bool { return i.Snapshot().Failures >= failures+2 })
	old := ask()
	eventually(t, "two more failures are counted", func() bool { return i.Snapshot().Failures >= failures+4 })
	if got := ask(); got != old {
		t.Errorf("the certificate has changed though no server was there")
	}
	if !strings.Contains(said.String(), "the old one stays in use") {
		t.Errorf("the log does not say that the old certificate stays in use")
	}
	server.SetDown(false)
	eventually(t, "a new certificate is served", func() bool { return ask() != old })
}

// Servers of institutions and of those who sell certificates want to know whose account it is.
func TestAccountIsBoundToTheOneThatTheServerKnows(t *testing.T) {
	const id = "kid-1"
	key := base64.RawURLEncoding.EncodeToString([]byte("an HMAC key of 32 bytes, no less"))
	other := base64.RawURLEncoding.EncodeToString([]byte("another key of 32 bytes, no less"))
	for _, tt := range []struct {
		name, id, key string
		bound         bool
	}{
		{"bound", id, key + "==\n", true}, // as it is copied from a page
		{"by another key", id, other, false},
		{"by an id that is not known", "kid-2", key, false},
		{"not at all", "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			secure, plain := listeners(t)
			server := acmetest.StartBound(t, port(secure), 1, 90*24*time.Hour, id, key)
			c := configOf(t, server, ChallengeALPN, "media.hospital.example")
			if tt.id != "" {
				c.EABKeyID, c.EABKeyFile = tt.id, filepath.Join(t.TempDir(), "key")
				if err := os.WriteFile(c.EABKeyFile, []byte(tt.key), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			i, said := newIssuer(t, c)
			serveBy(t, i, secure, plain)
			if tt.bound {
				eventually(t, "the certificate is there", func() bool { return !i.Snapshot().Missing() })
			} else {
				eventually(t, "the refusal is told", func() bool { return strings.Contains(said.String(), "nobody can connect by this name") })
			}
			if i.Snapshot().Missing() == tt.bound {
				t.Errorf("the certificate is missing: %v", !tt.bound)
			}
			if tt.key != "" && strings.Contains(said.String(), strings.TrimSpace(tt.key)) {
				t.Error("the log has the key")
			}
		})
	}
}

// A start without network waits, says what for, ends when it is told to, and refuses
// handshakes with words meanwhile.
func TestStartWithoutServerWaitsAndSaysWhatFor(t *testing.T) {
	secure, plain := listeners(t)
	server := acmetest.Start(t, port(secure), 1, 90*24*time.Hour)
	server.SetDown(true)
	i, said := newIssuer(t, configOf(t, server, ChallengeALPN, "media.hospital.example"))
	stop := serveBy(t, i, secure, plain)
	eventually(t, "a failure is counted", func() bool { return i.Snapshot().Failures > 0 })
	for _, want := range []string{"waiting for a TLS certificate", "nobody can connect by this name", server.Directory, "media.hospital.example", "next_try="} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	if _, err := i.GetCertificate(&tls.ClientHelloInfo{ServerName: "media.hospital.example"}); !errors.Is(err, errNothing) {
		t.Errorf("handshake: got %v, want %v", err, errNothing)
	}
	server.SetDown(false)
	eventually(t, "the certificate is there once the server is", func() bool { return !i.Snapshot().Missing() })
	began := time.Now()
	stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v to end", took)
	}
}

func TestChallengesOfOthersAreNotAnswered(t *testing.T) {
	secure, plain := listeners(t)
	server := acmetest.Start(t, port(secure), 1, 90*24*time.Hour)
	i, _ := newIssuer(t, configOf(t, server, ChallengeALPN, "media.hospital.example"))
	serveBy(t, i, secure, plain)
	eventually(t, "the certificate is there", func() bool { return !i.Snapshot().Missing() })
	for _, name := range []string{"media.hospital.example", "evil.example", ""} {
		conn, err := tls.Dial("tcp", secure.Addr().String(), &tls.Config{
			ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"acme-tls/1"},
		})
		if err == nil {
			conn.Close()
			t.Errorf("%q: a challenge that nobody has set is answered", name)
		}
	}
	// Who asks for another name, or none, is shown the first.
	for _, name := range []string{"", "evil.example"} {
		pair, err := i.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
		if err != nil || pair.Leaf.DNSNames[0] != "media.hospital.example" {
			t.Errorf("%q: got %v, %v", name, pair, err)
		}
	}
}

func TestBackoffSparesAServerThatAnswers(t *testing.T) {
	refused := acme.Problem{Type: acme.ProblemTypeRateLimited, Status: 429}
	hour := time.Duration(0)
	tries := 0
	for failures := 1; hour < time.Hour; failures++ {
		hour += backoff(errors.Join(errors.New("obtain"), refused), failures)
		tries++
	}
	if tries > 4 {
		t.Errorf("%d tries in the first hour after a failure, want 4 at most", tries)
	}
	for failures := 1; failures < 100; failures++ {
		if wait := backoff(errors.New("no route to host"), failures); wait <= 0 || wait > 2*time.Minute {
			t.Errorf("without network, after %d failures: %v", failures, wait)
		}
	}
}

func TestIssuerSaysWhatIsWrongWithItsFiles(t *testing.T) {
	dir := t.TempDir()
	plainFile := filepath.Join(dir, "file")
	if err := os.WriteFile(plainFile, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for key, change := range map[string]func(*ACME){
		"http.acme.cache_dir":    func(c *ACME) { c.CacheDir = filepath.Join(plainFile, "x") },
		"http.acme.ca_file":      func(c *ACME) { c.CAFile = plainFile },
		"http.acme.eab_key_file": func(c *ACME) { c.EABKeyID, c.EABKeyFile = "x", plainFile },
	} {
		c := Defaults()
		c.Domains, c.Agree, c.CacheDir = []string{"a.example"}, true, filepath.Join(dir, "cache")
		change(&c)
		log, _ := newLog()
		if _, err := NewIssuer(c, log); err == nil || !strings.HasPrefix(err.Error(), key+": ") {
			t.Errorf("%s: got %v", key, err)
		}
	}
}

func TestValidateNamesEveryWrongKey(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	good := Defaults()
	good.Domains, good.Agree, good.CacheDir, good.Email = []string{"media.example.org"}, true, "/x", "it@example.org"
	if err := good.Validate(); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for _, tt := range []struct {
		key    string
		change func(*ACME)
	}{
		{"domains", func(c *ACME) { c.Domains = []string{"*.example.org"} }},
		{"domains", func(c *ACME) { c.Domains = []string{"192.0.2.1"} }},
		{"domains", func(c *ACME) { c.Domains = []string{"Media.example.org"} }},
		{"domains", func(c *ACME) { c.Domains = []string{"../x"} }},
		{"domains", func(c *ACME) { c.Domains = []string{""} }},
		{"domains", func(c *ACME) { c.Domains = []string{"a.example", "a.example"} }},
		{"agree", func(c *ACME) { c.Agree = false }},
		{"cache_dir", func(c *ACME) { c.CacheDir = "" }},
		{"challenge", func(c *ACME) { c.Challenge = "dns-01" }},
		{"directory", func(c *ACME) { c.Directory = "http://ca.example" }},
		{"directory", func(c *ACME) { c.Directory = "" }},
		{"email", func(c *ACME) { c.Email = "nobody" }},
		{"eab_key_file", func(c *ACME) { c.EABKeyID = "x" }},
		{"eab_key_file", func(c *ACME) { c.EABKeyFile = "/x" }},
		{"eab_key_id", func(c *ACME) { c.EABKeyID, c.EABKeyFile = "x y", "/x" }},
	} {
		c := good
		tt.change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "http.acme."+tt.key+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v", tt.key, err)
		}
	}
}

// A gateway that was killed while it tried to write leaves a file, which the next one removes.
func TestTryingToWriteLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	for range 2 {
		if err := writable(dir); err != nil {
			t.Fatal(err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
			t.Errorf("%v, %v: want an empty directory", entries, err)
		}
		if err := os.WriteFile(filepath.Join(dir, ".writable"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
