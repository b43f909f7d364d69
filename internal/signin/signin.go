// Package signin is the door where people say who they are: sign-in by OpenID Connect
// (authorization code flow with PKCE), a cookie for the pages, and the way out.
//
//	browser ── /auth/login ──▶ provider ── /auth/callback ──▶ browser with a cookie
//	   │                                                        │
//	   └──────────── POST /auth/logout ◀────────────────────────┘
//
// A cookie is a random number; who it is, what he may do and until when is known here alone, so
// that it can end at any time. To package auth this is a Source: what goes on for somebody ends
// with his session. The provider can end it, too, without a browser. Sources: OpenID Connect
// Core 1.0, Discovery 1.0, RP-Initiated Logout 1.0 and Back-Channel Logout 1.0;
// RFC 6749, RFC 7636 (PKCE), RFC 9207 (iss), RFC 9700 (best practice).
package signin

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/gin-gonic/gin"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
)

// A Door serves /auth/…. It is a Source of auth. It is safe for concurrent use.
type Door struct {
	config   auth.OIDCConfig
	auth     *auth.Auth
	issuer   *issuer // nil: nobody can sign in
	sessions *sessions
	seal     seal
	secure   bool // browsers ask by https: the cookies go no other way
	origin   *http.CrossOriginProtection
	record   audit.Recorder
	log      *slog.Logger

	exchanges exchanges

	signedIn, refused, failed atomic.Uint64
}

// A Snapshot is the state of sign-in. All numbers are zero where nobody can.
type Snapshot struct {
	Enabled  bool
	Ready    bool   // the provider is known
	Sessions int    // who is signed in
	SignedIn uint64 // that succeeded
	Refused  uint64 // by the provider, or for nothing here was for who came
	Failed   uint64 // for another reason, of provider, browser or gateway
}

// New returns the door for a valid configuration, and makes it a source of a. The caller runs it.
// The error names the key whose file can't be read.
func New(c auth.OIDCConfig, h httpapi.Config, a *auth.Auth, record audit.Recorder, log *slog.Logger) (*Door, error) {
	d := &Door{
		config: c, auth: a, record: record, log: log,
		sessions: newSessions(c.MaxSessions, c.Idle.D()), exchanges: exchanges{from: make(map[netip.Addr]int)},
		secure: strings.HasPrefix(h.PublicURL, "https://") || h.PublicURL == "" && h.TLS(),
		origin: http.NewCrossOriginProtection(),
	}
	if !c.Enabled() {
		return d, nil
	}
	if u, err := url.Parse(h.PublicURL); err == nil && u.Host != "" {
		// A proxy may ask by another name than the browser did.
		if err := d.origin.AddTrustedOrigin(u.Scheme + "://" + u.Host); err != nil {
			return nil, fmt.Errorf("http.public_url: %w", err)
		}
	}
	var err error
	if d.issuer, err = newIssuer(c, log); err != nil {
		return nil, err
	}
	d.seal = newSeal()
	a.Accept(d)
	return d, nil
}

// Run finds the provider, again and again until it answers, and forgets sessions that are over,
// until ctx is done.
func (d *Door) Run(ctx context.Context) error {
	if d.issuer == nil {
		return nil
	}
	d.issuer.run(ctx, d.sessions.forget)
	return nil
}

// Route adds the routes.
func (d *Door) Route(r gin.IRouter) {
	get := func(path string, h gin.HandlerFunc) {
		r.GET(path, h)
		r.HEAD(path, h)
	}
	get("/auth/me", httpapi.Handle(d.me))
	r.GET("/auth/login", d.page(d.login)) // no HEAD: both change cookies
	r.GET("/auth/callback", d.page(d.callback))
	get("/auth/done", d.page(d.done))
	r.POST("/auth/logout", httpapi.Handle(d.logout))
	r.POST("/auth/backchannel-logout", httpapi.Handle(d.backchannel))
}

// Snapshot returns the state of sign-in.
func (d *Door) Snapshot() Snapshot {
	return Snapshot{
		Enabled: d.issuer != nil, Ready: d.issuer != nil && d.issuer.now() != nil, Sessions: d.sessions.len(),
		SignedIn: d.signedIn.Load(), Refused: d.refused.Load(), Failed: d.failed.Load(),
	}
}

// Known returns what the request's cookie is good for. Cookies count for requests of our own pages
// alone: any other page that a browser shows could have it send them along.
func (d *Door) Known(r *http.Request) ([]*auth.Grant, error) {
	cookie, err := r.Cookie(d.cookie())
	if err != nil {
		return nil, nil
	}
	if err := d.sameOrigin(r); err != nil {
		return nil, err
	}
	s := d.sessions.find(cookie.Value)
	if s == nil {
		s = d.sessions.await(r.Context(), cookie.Value)
	}
	if s == nil {
		return nil, auth.NotKnown("you are not signed in any more: sign in again")
	}
	return s.grants, nil
}

// Ended reports whether somebody has signed out, or was away for too long.
func (d *Door) Ended(id auth.Identity) bool { return !d.sessions.inUse(id.ID) }

// sameOrigin returns a fault.Forbidden for a request that another page has made, or that can't
// be told from one. Browsers say it by Sec-Fetch-Site (Fetch Metadata), older ones by Origin where
// something changes.
func (d *Door) sameOrigin(r *http.Request) error {
	const words = "a cookie lets in requests of the gateway's own pages alone"
	site := r.Header.Get("Sec-Fetch-Site")
	if site == "" && r.Header.Get("Origin") == "" {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return nil
		}
		return fault.New(fault.Forbidden, "%s, and this one does not say where it comes from (Sec-Fetch-Site, Origin): send a bearer token instead", words)
	}
	if site == "same-origin" || site == "none" {
		return nil
	}
	asked := r
	if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions {
		asked = r.Clone(r.Context())
		asked.Method = http.MethodPost // Check lets all pages read
	}
	if err := d.origin.Check(asked); err != nil {
		return fault.New(fault.Forbidden, "%s, and this one comes from another", words)
	}
	return nil
}

// cookie is the name of the cookie. The prefix binds it to this host and to https (RFC 6265bis,
// section 4.1.3); a browser takes it by plain HTTP from no gateway.
func (d *Door) cookie() string { return d.cookieName("sightline") }

func (d *Door) cookieName(name string) string {
	if d.secure {
		return "__Host-" + name
	}
	return name
}

// setCookie sets a cookie for the browser's session, or for seconds; -1 removes it.
func (d *Door) setCookie(c *gin.Context, name, value string, seconds int) {
	// Lax: it must come along when the provider, or a link in a mail, leads here.
	http.SetCookie(c.Writer, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: seconds, Secure: d.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}
