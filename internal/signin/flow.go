package signin

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/gin-gonic/gin"
	"golang.org/x/oauth2"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
)

const callbackPath = "/auth/callback"

// login sends a browser to the provider.
func (d *Door) login(c *gin.Context) error {
	to, err := returnPath(c.QueryArray("return"))
	if err != nil {
		return err
	}
	p, base, err := d.where(c)
	if err != nil {
		return err
	}
	f := flow{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Return: to, Began: time.Now()}
	sealed, err := d.seal.close(f)
	if err != nil {
		return err
	}
	d.setCookie(c, d.cookieName("sightline-flow"), sealed, int(flowTime.Seconds()))
	o := p.oauth
	o.RedirectURL = base + callbackPath
	c.Redirect(http.StatusSeeOther, o.AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)))
	return nil
}

// where returns the provider, and where the gateway is for the browser.
func (d *Door) where(c *gin.Context) (*provider, string, error) {
	if d.issuer == nil {
		return nil, "", fault.New(fault.NotFound, "nobody can sign in here: this gateway knows no OpenID provider (auth.oidc.issuer)")
	}
	base := httpapi.BaseURL(c)
	if base == "" {
		return nil, "", fault.New(fault.BadRequest, "the gateway is not known by this name: ask by the one of http.public_url")
	}
	p := d.issuer.now()
	if p == nil {
		return nil, "", fault.New(fault.Unavailable, "the place where people sign in does not answer at the moment. The gateway keeps trying").After(firstRetry)
	}
	return p, base, nil
}

// returnPath returns where one wants to be when he is signed in: a path of ours, with a query
// perhaps. Whoever makes a link must not be able to lead elsewhere by it.
func returnPath(asked []string) (string, error) {
	bad := fault.New(fault.BadRequest, "return must be a path of this gateway such as /mri-2, and stand once")
	switch {
	case len(asked) == 0:
		return "/", nil
	case len(asked) > 1 || len(asked[0]) > 1024:
		return "", bad
	}
	to := asked[0]
	u, err := url.Parse(to)
	outside := err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || u.Fragment != ""
	if outside || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") ||
		strings.ContainsFunc(to, func(r rune) bool { return r == '\\' || r > unicode.MaxASCII || !unicode.IsPrint(r) || r == ' ' }) ||
		strings.Contains(u.Path, "//") || strings.Contains(u.Path, "/../") {
		return "", bad
	}
	if strings.HasPrefix(u.Path, "/auth/") && u.Path != "/auth/done" {
		return "", bad // it would go round in circles
	}
	return to, nil
}

// callback takes who comes back from the provider. Anybody can, as often as he likes, and have the provider asked.
func (d *Door) callback(c *gin.Context) error {
	p, base, err := d.where(c)
	if err != nil {
		return err
	}
	if err := httpapi.Charge(c); err != nil {
		d.recordRefusal(c, auth.Identity{}, fault.KindOf(err), err.Error())
		return err
	}
	f, err := d.flow(c)
	if err != nil {
		return d.fail(c, err)
	}
	q := c.Request.URL.Query()
	if word := q.Get("error"); word != "" {
		return d.refuse(c, auth.Identity{}, fault.New(fault.Forbidden, "the place where people sign in has not let you in (%s)", clip(word)))
	}
	if iss, said := q["iss"]; p.namesIss && !said || said && (len(iss) != 1 || iss[0] != d.config.Issuer) {
		return d.fail(c, fault.New(fault.BadRequest, "this answer comes from another place than you were sent to: sign in again"))
	}
	if q.Get("code") == "" {
		return d.fail(c, fault.New(fault.BadRequest, "the answer of the place where people sign in has no code: sign in again"))
	}
	claims, token, err := d.exchange(c, p, base, f, q.Get("code"))
	if err != nil {
		return d.fail(c, err)
	}
	who, err := read(d.config, claims)
	if err != nil {
		return d.refuse(c, auth.Identity{}, fault.New(fault.Forbidden, "%w", err))
	}
	return d.admit(c, base+f.Return, who, token)
}

// flow returns the sign-in that this browser has begun, which is over by that. The error is a
// fault.BadRequest.
func (d *Door) flow(c *gin.Context) (flow, error) {
	again := fault.New(fault.BadRequest, "this sign-in was not begun in this browser, or too long ago: sign in again")
	name := d.cookieName("sightline-flow")
	cookie, err := c.Request.Cookie(name)
	if err != nil {
		return flow{}, again
	}
	f, err := d.seal.open(cookie.Value, time.Now())
	state := c.QueryArray("state")
	if err != nil || len(state) != 1 || subtle.ConstantTimeCompare([]byte(state[0]), []byte(f.State)) != 1 {
		return flow{}, again
	}
	d.setCookie(c, name, "", -1)
	return f, nil
}

// exchange turns a code into what the provider says of who it stands for, and the ID token that
// says so. The error is a fault.
func (d *Door) exchange(c *gin.Context, p *provider, base string, f flow, code string) (map[string]any, *oidc.IDToken, error) {
	release, err := d.exchanges.take(httpapi.Client(c))
	if err != nil {
		return nil, nil, err
	}
	defer release()
	ctx, cancel := context.WithTimeout(d.issuer.context(c.Request.Context()), 2*askTimeout)
	defer cancel()
	o := p.oauth
	o.RedirectURL = base + callbackPath
	tokens, err := o.Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return nil, nil, exchangeFault(err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	invalid := func(err error) error {
		return fault.New(fault.Unavailable, "what the place where people sign in says of you can't be trusted: %s", brief(err))
	}
	if raw == "" {
		return nil, nil, invalid(errors.New("it has sent no ID token: auth.oidc.scopes must hold openid"))
	}
	token, err := p.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, nil, invalid(err)
	}
	claims := make(map[string]any)
	if err := token.Claims(&claims); err != nil {
		return nil, nil, invalid(err)
	}
	if err := d.check(token, claims, f, tokens.AccessToken); err != nil {
		return nil, nil, invalid(err)
	}
	if err := d.complete(ctx, p, claims, tokens); err != nil {
		return nil, nil, invalid(err)
	}
	c.Set(idTokenKey, raw)
	return claims, token, nil
}

// idTokenKey is the ID token in a callback's gin.Context.
const idTokenKey = "sightline.idtoken"

// check checks what go-oidc leaves to us (OpenID Connect Core, sections 3.1.3.7 and 3.1.3.8).
func (d *Door) check(token *oidc.IDToken, claims map[string]any, f flow, accessToken string) error {
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(f.Nonce)) != 1 {
		return errors.New("its nonce is another")
	}
	azp, said := claims["azp"]
	if said && azp != d.config.ClientID || !said && len(token.Audience) > 1 {
		return errors.New("its azp is another")
	}
	if token.Subject == "" {
		return errors.New("it has no sub")
	}
	if token.AccessTokenHash != "" {
		return token.VerifyAccessToken(accessToken)
	}
	return nil
}

// complete asks for the claims that the ID token lacks, where the provider tells them elsewhere
// (OpenID Connect Core, section 5.3).
func (d *Door) complete(ctx context.Context, p *provider, claims map[string]any, tokens *oauth2.Token) error {
	if lookup(claims, d.config.RoleClaim) != nil && lookup(claims, d.config.NameClaim) != nil || p.UserInfoEndpoint() == "" {
		return nil
	}
	info, err := p.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
	if err != nil {
		return fmt.Errorf("userinfo: %w", err)
	}
	if info.Subject != text(claims["sub"]) {
		return errors.New("userinfo: it is about another")
	}
	more := make(map[string]any)
	if err := info.Claims(&more); err != nil {
		return fmt.Errorf("userinfo: %w", err)
	}
	for name, value := range more {
		if _, said := claims[name]; !said {
			claims[name] = value
		}
	}
	return nil
}

// exchangeFault words why a code was not taken. Its cause is for the log.
func exchangeFault(err error) error {
	f := fault.New(fault.Unavailable, "the place where people sign in does not answer at the moment").After(firstRetry)
	var said *oauth2.RetrieveError
	switch {
	case errors.As(err, &said) && said.ErrorCode == "invalid_grant":
		f = fault.New(fault.BadRequest, "the place where people sign in does not know this answer any more: sign in again")
	case errors.As(err, &said) && said.ErrorCode != "":
		f = fault.New(fault.Unavailable, "the place where people sign in has refused the gateway (%s)", clip(said.ErrorCode)).After(firstRetry)
	}
	f.Cause = err
	return f
}

// admit begins, or renews, the session of who has signed in, and leads him where he wanted to be.
func (d *Door) admit(c *gin.Context, to string, who person, token *oidc.IDToken) error {
	now := time.Now()
	expires := now.Add(d.config.Session.D())
	if d.config.WithToken && token.Expiry.Before(expires) {
		expires = token.Expiry
	}
	id := auth.Identity{Name: who.name, Kind: auth.Person, ID: newID(), Expires: expires}
	grants := d.config.Grants(id, who.values)
	if len(grants) == 0 {
		return d.refuse(c, id, fault.New(fault.Forbidden, "you are %s, and nothing here is for you: whoever runs the gateway has to give you a role (auth.oidc.roles)", who.label))
	}
	s := &session{
		id: id.ID, subject: who.subject, label: who.label, values: named(d.config, who.values), grants: grants, began: now, expires: expires,
		sid: who.session, issued: token.IssuedAt,
	}
	if s.idToken = c.GetString(idTokenKey); len(s.idToken) > 8<<10 {
		s.idToken = ""
	}
	old := d.mine(c)
	renewed := old != nil && old.subject == s.subject && sameGrants(old.grants, s.grants) && !d.revoked(old)
	switch {
	case renewed: // what goes on for him goes on
		s.id, s.began = old.id, old.began
		for _, g := range s.grants {
			g.ID = s.id
		}
	case old != nil:
		d.sessions.end(old)
		d.auth.Reconsider()
	}
	if d.revoked(s) {
		return d.refuse(c, s.identity(), fault.New(fault.Forbidden, "%s may not come in any more: it has been revoked", who.label))
	}
	cookie, err := d.sessions.begin(s)
	if err != nil {
		return d.fail(c, err)
	}
	if renewed {
		d.auth.Prolong(s.identity())
	}
	d.signedIn.Add(1)
	d.record.Record(audit.Event{What: audit.SignedIn, Who: s.identity().Who(c.ClientIP(), httpapi.UserAgent(c)), Called: who.label})
	d.setCookie(c, d.cookie(), cookie, 0)
	c.Redirect(http.StatusSeeOther, to)
	return nil
}

// mine returns the session that the browser has now, nil if it has none.
func (d *Door) mine(c *gin.Context) *session {
	cookie, err := c.Request.Cookie(d.cookie())
	if err != nil {
		return nil
	}
	return d.sessions.find(cookie.Value)
}

// revoked reports whether a session lets nobody in, by its id or the person's name.
func (d *Door) revoked(s *session) bool {
	id := s.identity()
	return slices.ContainsFunc(d.auth.Revocations(), func(r auth.Revocation) bool { return r.Name == id.Name || r.JTI == id.ID })
}

// sameGrants reports whether two people may do the same, and have the same name.
func sameGrants(a, b []*auth.Grant) bool {
	return slices.EqualFunc(a, b, func(a, b *auth.Grant) bool {
		return a.Name == b.Name && a.Role == b.Role && slices.Equal(a.Scopes, b.Scopes) && slices.Equal(a.Rooms, b.Rooms) && slices.Equal(a.Publishers, b.Publishers)
	})
}

// fail counts and records a sign-in that has failed, tells the log why, and returns the error. Somebody may have
// tried to come in by an answer or a token that he has made up.
func (d *Door) fail(c *gin.Context, err error) error {
	d.failed.Add(1)
	cause := errors.Unwrap(err)
	if cause == nil {
		cause = err
	}
	d.log.Warn("sign-in failed", "err", brief(cause), "addr", c.ClientIP())
	d.recordRefusal(c, auth.Identity{}, fault.KindOf(err), brief(err))
	return err
}

// refuse counts and records that somebody is not let in, and returns the fault.
func (d *Door) refuse(c *gin.Context, id auth.Identity, f *fault.Error) error {
	d.refused.Add(1)
	d.log.Warn("sign-in refused", "err", brief(f), "name", id.Name, "addr", c.ClientIP())
	d.recordRefusal(c, id, f.Kind, f.Detail)
	return f
}

func (d *Door) recordRefusal(c *gin.Context, id auth.Identity, kind fault.Kind, detail string) {
	d.record.Record(audit.Event{
		What: audit.Refused, Who: id.Who(c.ClientIP(), httpapi.UserAgent(c)), Cause: string(kind),
		Request: c.Request.Method + " " + c.FullPath(), Detail: detail,
	})
}

// brief returns an error's text as far as a line of the log or of a page has room for it: libraries
// repeat in theirs what the provider, or a stranger, has sent.
func brief(err error) string {
	const longest = 300
	s := err.Error()
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return s
}

func clip(s string) string {
	s = printable(s)
	return s[:min(len(s), 64)]
}
