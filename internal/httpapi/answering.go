package httpapi

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
)

// maxStreams is how many requests a client may have answered at a time on one connection of HTTP/2: no less than
// RFC 9113, section 6.5.2, recommends.
const maxStreams = 100

// answering counts the requests that are being answered. By HTTP/1 there are no more than connections; by HTTP/2 a client
// that takes no answers (a window of 0) would have a hundred on each, of some 20 KiB.
type answering struct {
	most, perAddress int
	proxies          []netip.Prefix
	count            func(limit string)

	mu      sync.Mutex // guards what follows
	all     int
	clients map[netip.Addr]int // of those that are no proxies
}

func newAnswering(c Config, count func(limit string)) *answering {
	return &answering{
		most: c.MaxConnections, perAddress: c.MaxConnectionsPerAddress, proxies: c.proxies(), count: count,
		clients: make(map[netip.Addr]int),
	}
}

// The limits of connections, and of requests that are being answered, by their keys in the configuration.
const (
	maxConnections           = "http.max_connections"
	maxConnectionsPerAddress = "http.max_connections_per_address"
)

// middleware refuses a request beyond a limit, without a body: that would have to wait for a window.
func (a *answering) middleware(c *gin.Context) {
	client := a.clientOf(c)
	if limit := a.begin(client); limit != "" {
		a.count(limit)
		c.Header("Retry-After", "5")
		c.AbortWithStatus(http.StatusServiceUnavailable)
		return
	}
	defer a.end(client)
	c.Next()
	if c.Request.ProtoMajor == 2 {
		settle(c)
	}
}

// settle ends a request by HTTP/2. What is short net/http would write, and wait for, only when the handler has returned;
// and a deadline that is set behind the client's RST_STREAM keeps all of the request until it is over.
func settle(c *gin.Context) {
	rc := http.NewResponseController(c.Writer)
	if c.Writer.Size() > 0 {
		_ = rc.Flush()
	}
	_ = rc.SetWriteDeadline(time.Time{})
	_ = rc.SetReadDeadline(time.Time{})
}

// clientOf returns whose a request is; nobody's if it is a trusted proxy's own.
func (a *answering) clientOf(c *gin.Context) netip.Addr {
	ip, _ := netip.ParseAddr(c.ClientIP())
	if within(a.proxies, ip) {
		return netip.Addr{}
	}
	return subscriber(ip)
}

// begin counts a request in, or says which limit it is at.
func (a *answering) begin(client netip.Addr) (limit string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.most > 0 && a.all >= a.most:
		return maxConnections
	case a.perAddress > 0 && client.IsValid() && a.clients[client] >= a.perAddress:
		return maxConnectionsPerAddress
	}
	a.all++
	if client.IsValid() {
		a.clients[client]++
	}
	return ""
}

func (a *answering) end(client netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all--
	if !client.IsValid() {
		return
	}
	if a.clients[client]--; a.clients[client] == 0 {
		delete(a.clients, client)
	}
}
