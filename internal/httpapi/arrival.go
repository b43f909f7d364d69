package httpapi

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"log/slog"
	"net"
	"net/http"
	"net/netip"

	"github.com/gin-gonic/gin"
)

// An Arrival is how a request that another node of the cluster has brought came to that one: what
// is else read off the connection, or out of header fields of proxies. It is in the request's
// context, where no client can put it.
type Arrival struct {
	Client  netip.Addr // of the client; invalid for a request of the node's own
	TLS     bool       // it came encrypted
	Base    string     // BaseURL there
	Request string     // the request's id there; "": it has none yet
	Node    string     // name of the node; "" for a part of a request to this very one
	Own     bool       // it is the node's own: no client has sent it
}

type arrivalKey struct{}

// WithArrival returns a request as it arrived at another node. Its header fields that proxies
// use are for the node that the proxy asked, and are left out.
func WithArrival(r *http.Request, a Arrival) *http.Request {
	r = r.WithContext(context.WithValue(r.Context(), arrivalKey{}, a))
	r.Header = r.Header.Clone()
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"} {
		r.Header.Del(name)
	}
	r.RemoteAddr, r.TLS = "", nil
	if a.Client.IsValid() {
		r.RemoteAddr = net.JoinHostPort(a.Client.String(), "0")
	}
	if a.TLS {
		r.TLS = &tls.ConnectionState{}
	}
	return r
}

// Arrived returns how a request came to the node that has brought it; false for one that has
// come here by itself.
func Arrived(r *http.Request) (Arrival, bool) {
	a, ok := r.Context().Value(arrivalKey{}).(Arrival)
	return a, ok
}

// ArrivalOf returns how a request has come here, for the node that it shall be brought to.
func ArrivalOf(c *gin.Context) Arrival {
	client, _ := netip.ParseAddr(c.ClientIP())
	return Arrival{
		Client: client.WithZone(""), TLS: c.Request.TLS != nil, Base: BaseURL(c), Request: c.Writer.Header().Get(requestID),
	}
}

const requestID = "X-Request-Id"

// Elsewhere gives all requests that have a route to f, after the limits and before their handlers.
// It answers and aborts, or calls Next. Call it before the first request.
func (r *Router) Elsewhere(f gin.HandlerFunc) { r.elsewhere = f }

func (r *Router) divert(c *gin.Context) {
	if r.elsewhere == nil || c.FullPath() == "" {
		c.Next()
		return
	}
	r.elsewhere(c)
}

// entryOnly is a middleware that concerns the node alone that a client has asked.
func entryOnly(h gin.HandlerFunc) gin.HandlerFunc {
	return func(c *gin.Context) {
		if _, arrived := Arrived(c.Request); arrived {
			c.Next()
			return
		}
		h(c)
	}
}

// identify gives a request its id: that of the entry, if it has one from there.
func identify(c *gin.Context) string {
	a, _ := Arrived(c.Request)
	id := a.Request
	if id == "" {
		var raw [8]byte
		_, _ = rand.Read(raw[:])
		id = hex.EncodeToString(raw[:])
	}
	c.Header(requestID, id)
	return id
}

// AnsweredBy says which node has answered a request, for the log.
func AnsweredBy(c *gin.Context, node string) { c.Set(nodeKey, node) }

// nodes tells the log of the other node that had to do with a request.
func nodes(c *gin.Context) []slog.Attr {
	var out []slog.Attr
	if a, _ := Arrived(c.Request); a.Node != "" {
		out = append(out, slog.String("from", a.Node))
	}
	if node := c.GetString(nodeKey); node != "" {
		out = append(out, slog.String("node", node))
	}
	return out
}
