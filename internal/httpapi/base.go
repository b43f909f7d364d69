package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
)

// BaseURL returns what absolute URLs of the gateway begin with, without a slash at the
// end: http.public_url; else what a declared proxy says the client asked for; else the
// request's Host if it is this machine's. Any other Host could be anything: then BaseURL
// is empty, and URLs are paths, which clients resolve against what they asked for.
func BaseURL(c *gin.Context) string {
	if a, arrived := Arrived(c.Request); arrived {
		return a.Base
	}
	b, _ := c.Value(baseKey).(*base)
	if b == nil {
		return ""
	}
	return b.of(c.Request)
}

// MixURL returns where a room's mix is played; with a publisher, the mix for him: all but what
// he says himself. base is the BaseURL of the request.
func MixURL(base, room, publisher string) string {
	u := base + "/whep/" + url.PathEscape(room) + "/~mix"
	if publisher != "" {
		u += "?for=" + url.QueryEscape(publisher)
	}
	return u
}

// A base knows the gateway's own addresses.
type base struct {
	public   string
	proxies  []netip.Prefix
	hostname string // of this machine
}

func newBase(c Config) *base {
	b := &base{public: strings.TrimRight(c.PublicURL, "/"), proxies: c.proxies()}
	b.hostname, _ = os.Hostname()
	return b
}

// proxies returns the networks of TrustedProxies.
func (c Config) proxies() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range c.TrustedProxies {
		if prefix, err := parsePrefix(p); err == nil { // Validate has checked it
			out = append(out, prefix)
		}
	}
	return out
}

func locate(b *base) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Set(baseKey, b)
		c.Next()
	}
}

var hostPattern = regexp.MustCompile(`^([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?$`)

func (b *base) of(r *http.Request) string {
	if b.public != "" {
		return b.public
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	if b.trusted(r.RemoteAddr) {
		host := r.Host
		if v := r.Header.Get("X-Forwarded-Host"); v != "" {
			host = v
		}
		if v := r.Header.Get("X-Forwarded-Proto"); v == "http" || v == "https" {
			scheme = v
		}
		if hostPattern.MatchString(host) {
			return scheme + "://" + host
		}
		return ""
	}
	if !hostPattern.MatchString(r.Host) || !b.own(r) {
		return ""
	}
	return scheme + "://" + r.Host
}

func (b *base) trusted(remote string) bool {
	ap, err := netip.ParseAddrPort(remote)
	return err == nil && within(b.proxies, ap.Addr())
}

func within(networks []netip.Prefix, ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// own reports whether the request's Host is this machine: the address that the
// connection came to, a loopback name, or the machine's name.
func (b *base) own(r *http.Request) bool {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" || host == strings.ToLower(b.hostname) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ip.IsLoopback() || local != nil && local.AddrPort().Addr().Unmap().WithZone("") == ip.Unmap()
}
