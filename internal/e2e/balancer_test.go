//go:build e2e

package e2e

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"testing"
	"time"
)

// A balancer is what stands in front of a site's gateways, as docs/CLUSTER.md has it of HAProxy: it sends each request to
// one that is ready, in turn, says whom it is from, and passes over one that does not take the connection.
type balancer struct {
	url string // without a trailing slash

	mu    sync.Mutex // guards what follows
	nodes []*backend
	next  int
}

type backend struct {
	address string
	ready   bool
}

const (
	balancerLook  = 500 * time.Millisecond // from one look at /readyz to the next, and its patience
	balancerReach = 300 * time.Millisecond // how long a connection may take
)

// balance starts a balancer at the site's address. It ends with the test.
func balance(t *testing.T, addresses ...string) *balancer {
	t.Helper()
	listener, err := net.Listen("tcp", siteIP+":8080")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{url: "http://" + listener.Addr().String()}
	for _, a := range addresses {
		b.nodes = append(b.nodes, &backend{address: a})
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, n := range b.nodes {
		group.Go(func() { b.look(ctx, n) })
	}
	server := &http.Server{
		Handler: &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetXForwarded()
				r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "gateways", r.In.Host
			},
			// A connection for each request: so each is sent to who is ready then.
			Transport: &http.Transport{DialContext: b.dial, DisableKeepAlives: true},
			// That nodes die is what it is there for.
			ErrorLog: log.New(io.Discard, "", 0),
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	group.Go(func() { server.Serve(listener) })
	t.Cleanup(func() {
		cancel()
		server.Close()
		group.Wait()
	})
	return b
}

// look asks a node whether it is ready, again and again.
func (b *balancer) look(ctx context.Context, n *backend) {
	client := &http.Client{Timeout: balancerLook, Transport: &http.Transport{DisableKeepAlives: true}}
	ticker := time.NewTicker(balancerLook)
	defer ticker.Stop()
	for {
		ready := false
		if req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.address+"/readyz", nil); err == nil {
			if res, err := client.Do(req); err == nil {
				ready = res.StatusCode == http.StatusOK
				res.Body.Close()
			}
		}
		b.mu.Lock()
		n.ready = ready
		b.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// dial connects to the next node that is ready; to the next at all if none is.
func (b *balancer) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	b.mu.Lock()
	var ready, others []*backend
	for i := range b.nodes {
		n := b.nodes[(b.next+i)%len(b.nodes)]
		if n.ready {
			ready = append(ready, n)
		} else {
			others = append(others, n)
		}
	}
	b.next++
	b.mu.Unlock()
	d := net.Dialer{Timeout: balancerReach}
	var errs []error
	for _, n := range append(ready, others...) {
		conn, err := d.DialContext(ctx, network, n.address)
		if err == nil {
			return conn, nil
		}
		b.mu.Lock()
		n.ready = false
		b.mu.Unlock()
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
