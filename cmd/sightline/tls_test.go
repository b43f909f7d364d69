package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sightline/internal/certs/acmetest"
	"sightline/internal/certs/certstest"
	"sightline/internal/freeport"
)

// The whole gateway with an ACME server: it starts without a certificate, says so, has one
// soon after, serves it, tells its end in the metrics, and redirects plain HTTP to it.
func TestGatewayHasItsCertificateFromAnACMEServer(t *testing.T) {
	const name = "media.hospital.example"
	for _, challenge := range []string{"tls-alpn-01", "http-01"} {
		t.Run(challenge, func(t *testing.T) {
			secure, plain := freeport.Address(t), freeport.Address(t)
			acme := acmetest.Start(t, portOf(t, secure), portOf(t, plain), 90*24*time.Hour)
			acme.SetDown(challenge == "tls-alpn-01") // once is enough: it costs ten seconds
			environ := []string{
				"SIGHTLINE_HTTP_LISTEN=" + secure, "SIGHTLINE_HTTP_REDIRECT_LISTEN=" + plain, "SIGHTLINE_HTTP_PUBLIC_URL=https://" + name,
				"SIGHTLINE_HTTP_ACME_DOMAINS=" + name, "SIGHTLINE_HTTP_ACME_AGREE=true", "SIGHTLINE_HTTP_ACME_CHALLENGE=" + challenge,
				"SIGHTLINE_HTTP_ACME_DIRECTORY=" + acme.Directory, "SIGHTLINE_HTTP_ACME_CA_FILE=" + acme.CAFile,
				"SIGHTLINE_HTTP_ACME_CACHE_DIR=" + filepath.Join(t.TempDir(), "acme"),
				"SIGHTLINE_METRICS_LISTEN=127.0.0.1:0", "SIGHTLINE_METRICS_AUTH=false", "SIGHTLINE_LOG_LEVEL=debug",
			}
			g := start(t, environ...)
			if challenge == "tls-alpn-01" {
				eventually(t, "the log says what it waits for", func() bool {
					return strings.Contains(g.said(), "waiting for a TLS certificate") && strings.Contains(g.said(), "nobody can connect by this name")
				})
				if got := run(t, environ, "", "healthcheck"); got.code != 0 || got.stdout != "healthy, waits for its TLS certificate\n" {
					t.Errorf("healthcheck: %d, %q, %q", got.code, got.stdout, got.stderr)
				}
				acme.SetDown(false)
			}
			client := acmeClient(acme, secure)
			var status int
			eventually(t, "the certificate is in use", func() bool {
				resp, err := client.Get("https://" + name + "/readyz")
				if err != nil {
					return false
				}
				resp.Body.Close()
				status = resp.StatusCode
				return true
			})
			if status != http.StatusOK {
				t.Errorf("/readyz: %d, want 200", status)
			}
			resp, err := client.Get("https://" + name + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusNotFound || resp.Header.Get("Strict-Transport-Security") == "" {
				t.Errorf("/metrics, which has a listener of its own: %d, %v", resp.StatusCode, resp.Header)
			}
			metrics := regexp.MustCompile(`msg="http listens" addr=(\S+) tls=true listener=metrics`).FindStringSubmatch(g.said())
			if metrics == nil {
				t.Fatal("the metrics' listener does not say where it is")
			}
			resp, err = acmeClient(acme, metrics[1]).Get("https://" + name + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			for _, want := range []string{
				`sightline_tls_certificate_not_after_seconds{name="media.hospital.example"} 1.`, "sightline_tls_certificate_failures_total ",
				`sightline_http_connections{listener="http"}`, `sightline_http_connections{listener="redirect"}`,
			} {
				if !strings.Contains(string(body), want) {
					t.Errorf("the metrics lack %s", want)
				}
			}
			away := &http.Client{Transport: client.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			resp, err = away.Get("http://" + plain + "/watch/mri-2")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 308 || resp.Header.Get("Location") != "https://"+name+"/watch/mri-2" {
				t.Errorf("plain HTTP: %d to %q", resp.StatusCode, resp.Header.Get("Location"))
			}
			g.signals <- syscall.SIGTERM
			if code := g.wait(); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
		})
	}
}

func portOf(t *testing.T, addr string) int {
	t.Helper()
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return tcp.Port
}

// acmeClient returns a client for which https leads to addr, and that trusts the server's
// root.
func acmeClient(acme *acmetest.Server, addr string) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: acme.Roots},
		DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			if strings.HasSuffix(to, ":443") {
				to = addr
			}
			return new(net.Dialer).DialContext(ctx, network, to)
		},
	}}
}

// Files that change while the gateway runs are in use soon after, for whoever connects
// then.
func TestNewCertificateFilesAreServed(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, cert, key, 1)
	g := start(t, "SIGHTLINE_HTTP_TLS_CERT="+cert, "SIGHTLINE_HTTP_TLS_KEY="+key)
	serial := func() int64 {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(g.base, "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Errorf("got certificate %d, want 1", got)
	}
	writePair(t, cert, key, 2)
	eventually(t, "the new certificate is served", func() bool { return serial() == 2 })
	g.signals <- syscall.SIGTERM
	if code := g.wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// writePair writes a certificate with that serial number, and its key.
func writePair(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	certstest.New(t, x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: []string{"localhost"}}, nil).Write(t, certFile, keyFile)
}

// A certificate that is broken at the start is told with its key.
func TestBrokenCertificateIsToldAtTheStart(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"cert.pem", "key.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("nothing"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := run(t, []string{
		"SIGHTLINE_HTTP_LISTEN=127.0.0.1:0", "SIGHTLINE_ICE_UDP_LISTEN=127.0.0.1:0",
		"SIGHTLINE_HTTP_TLS_CERT=" + filepath.Join(dir, "cert.pem"), "SIGHTLINE_HTTP_TLS_KEY=" + filepath.Join(dir, "key.pem"),
	}, "", "serve")
	if got.code != 1 || !strings.Contains(got.stderr, "http.tls_cert: ") || !strings.Contains(got.stderr, "cert.pem") {
		t.Errorf("got %d, %s", got.code, got.stderr)
	}
}
