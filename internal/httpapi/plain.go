package httpapi

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"sightline/internal/certs"
	"sightline/internal/fault"
)

// harmless are the routes that may be asked for in the clear by anyone: supervisors do,
// and neither question nor answer has a secret.
var harmless = map[string]bool{"/healthz": true, "/readyz": true, "/version": true}

// encrypted refuses requests that came in the clear from another machine, unless a
// trusted proxy has brought them or the configuration allows it (RFC 9725, section 5):
// their token has been seen by whoever listens, and must not be of use to its owner
// either, or nobody would notice.
func (r *Router) encrypted(c Config, b *base) gin.HandlerFunc {
	if c.Insecure || c.Open || loopback(c.Listen) {
		return func(g *gin.Context) { g.Next() }
	}
	where := "by https"
	if strings.HasPrefix(b.public, "https://") {
		where = "at " + b.public
	}
	return func(g *gin.Context) {
		q := g.Request
		if q.TLS != nil || b.trusted(q.RemoteAddr) || fromHere(q.RemoteAddr) || harmless[g.FullPath()] {
			g.Next()
			return
		}
		r.plain.Add(1)
		Fail(g, fault.New(fault.Forbidden, "this came unencrypted from another machine: ask %s. (For who runs the gateway: "+
			"plain HTTP is taken from the proxies in http.trusted_proxies, or from everybody with http.insecure = true.)", where))
	}
}

// OnlyFromHere reports whether a listener that can be reached from other machines answers
// none of them: it speaks plain HTTP, and no proxy is declared.
func OnlyFromHere(c Config) bool {
	return !c.TLS() && !c.Insecure && !c.Open && !loopback(c.Listen) && len(c.TrustedProxies) == 0
}

// fromHere reports whether a request comes from this machine.
func fromHere(remote string) bool {
	ap, err := netip.ParseAddrPort(remote)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// hsts tells browsers that have come by HTTPS to keep to it (RFC 6797, section 7.2: never
// over plain HTTP).
func hsts(c Config, b *base) gin.HandlerFunc {
	if c.HSTS == 0 {
		return func(g *gin.Context) { g.Next() }
	}
	value := "max-age=" + strconv.Itoa(int(c.HSTS.D().Seconds()))
	return func(g *gin.Context) {
		q := g.Request
		if q.TLS != nil || b.trusted(q.RemoteAddr) && q.Header.Get("X-Forwarded-Proto") == "https" {
			g.Header("Strict-Transport-Security", value)
		}
		g.Next()
	}
}

// NewRedirects returns what answers at http.redirect_listen: the challenges of ACME, and
// for all else the way to http.public_url. A GET that carries no token is redirected, by
// 308 so that it stays a GET. Whatever carries a token, or would carry an offer, is
// refused: it has been sent in the clear, and who follows a redirect would never know.
func NewRedirects(c Config, certificates certs.Source, log *slog.Logger) *Router {
	c.Open, c.AllowedOrigins = true, nil
	r := NewRouter(c, log)
	if i, ok := certificates.(*certs.Issuer); ok {
		r.GET("/.well-known/acme-challenge/:token", func(g *gin.Context) {
			if !i.Challenge(g.Writer, g.Request) {
				Fail(g, fault.New(fault.NotFound, "no challenge is under way"))
			}
		})
	}
	public := newBase(c).public
	away := Handle(func(g *gin.Context) error {
		q := g.Request
		if q.Method != http.MethodGet && q.Method != http.MethodHead || carriesToken(q) {
			r.plain.Add(1)
			return fault.New(fault.Forbidden, "nothing is done here unencrypted: ask at %s, with a new token if this one is not to be known", public)
		}
		target := public + q.URL.EscapedPath()
		if q.URL.RawQuery != "" {
			target += "?" + q.URL.RawQuery
		}
		g.Redirect(http.StatusPermanentRedirect, target)
		return nil
	})
	r.NoRoute(away)
	r.NoMethod(away)
	return r
}

func carriesToken(q *http.Request) bool {
	if q.Header.Get("Authorization") != "" {
		return true
	}
	for _, key := range []string{"access_token", "token"} {
		if q.URL.Query().Has(key) {
			return true
		}
	}
	return false
}
