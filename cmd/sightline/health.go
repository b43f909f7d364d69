package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"sightline/internal/config"
)

func (p *process) healthcheck(ctx context.Context) error {
	fs := p.flags("healthcheck", "Asks the gateway of this machine, at http.listen, for /healthz. Exit code 0 if it\n"+
		"answers 200, else 1. For containers and supervisors.")
	file := p.configFlag(fs)
	timeout := fs.Duration("timeout", 2*time.Second, "how long to wait for the answer")
	if err := p.parse(fs); err != nil {
		return err
	}
	c, err := p.load(*file)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	switch err := askHealth(ctx, healthURL(c)); {
	case err != nil && c.HTTP.ACME.Enabled() && alerted(err):
		// To start it again would not bring the certificate sooner.
		fmt.Fprintln(p.stdout, "healthy, waits for its TLS certificate")
		return nil
	case err != nil:
		return fmt.Errorf("unhealthy: %w", err)
	}
	fmt.Fprintln(p.stdout, "healthy")
	return nil
}

// healthURL returns where the gateway of this machine answers.
func healthURL(c config.Config) string {
	scheme := "http"
	if c.HTTP.TLS() {
		scheme = "https"
	}
	return scheme + "://" + reachable(c.HTTP.Listen) + "/healthz"
}

// reachable returns the address at which this machine reaches one of its listeners:
// a listener on every address is reached on loopback.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "":
		host = "127.0.0.1"
	case err == nil && ip.IsUnspecified() && ip.Is4():
		host = "127.0.0.1"
	case err == nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}

// alerted reports whether the other side has broken off the TLS handshake with an alert,
// as a gateway without a certificate does.
func alerted(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

func askHealth(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{
		// The certificate is for the name that clients use, and we ask ourselves.
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 256))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %s", url, resp.Status, body)
	}
	return nil
}
