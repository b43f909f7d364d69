package signin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/gin-gonic/gin"

	"sightline/internal/audit"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
)

const (
	formType  = "application/x-www-form-urlencoded"
	maxLogout = 16 << 10 // bytes of a logout token
)

// backchannel ends the sessions that the provider says are over: it asks us, without a browser
// (OpenID Connect Back-Channel Logout 1.0, section 2.5). What it is asked for by anybody else is
// not signed by the provider.
func (d *Door) backchannel(c *gin.Context) error {
	c.Header("Cache-Control", "no-store")
	if d.issuer == nil {
		return fault.New(fault.NotFound, "nobody can sign in here, so nobody can sign out")
	}
	if err := httpapi.CheckType(c, formType, "Accept-Post"); err != nil {
		return err
	}
	body, err := httpapi.ReadBody(c)
	if err != nil {
		return err
	}
	raw, err := logoutToken(string(body))
	if err != nil {
		return err
	}
	p := d.issuer.now()
	if p == nil {
		return fault.New(fault.Unavailable, "the OpenID provider has not been found yet, so nothing of it can be checked").After(firstRetry)
	}
	release, err := d.exchanges.take(httpapi.Client(c))
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(d.issuer.context(c.Request.Context()), askTimeout)
	defer cancel()
	token, err := p.logouts.VerifyLogout(ctx, raw)
	if err == nil && token.IssuedAt.IsZero() {
		err = errors.New("it has no iat")
	}
	if err != nil {
		d.log.Warn("a logout token is refused", "err", brief(err), "addr", c.ClientIP())
		return fault.New(fault.BadRequest, "logout_token must be one of the OpenID provider's for this client: signed by it, with iss, aud, iat, exp, jti, events, sub or sid, and no nonce")
	}
	over := d.sessions.over(token)
	for _, s := range over {
		d.record.Record(audit.Event{What: audit.SignedOut, Who: s.identity().Who(c.ClientIP(), httpapi.UserAgent(c)), Called: s.label, Cause: "provider"})
	}
	if len(over) > 0 {
		d.auth.Reconsider()
	}
	c.Status(http.StatusOK) // to whom nobody is known, too: then nobody is signed in any more
	return nil
}

// logoutToken returns the one logout token of a form. The error is a fault.BadRequest.
func logoutToken(form string) (string, error) {
	values, err := url.ParseQuery(form)
	if tokens := values["logout_token"]; err == nil && len(tokens) == 1 && tokens[0] != "" && len(tokens[0]) <= maxLogout {
		return tokens[0], nil
	}
	return "", fault.New(fault.BadRequest, "the body must be a form with one logout_token, of at most %d bytes", maxLogout)
}

// over ends the sessions that a logout token means, and returns them: those of its session at the
// provider, or of its subject where it names none, or where we were not told which it was. One who
// has signed in since is not meant, so that nobody gains by sending a token once more.
func (a *sessions) over(token *oidc.LogoutToken) (ended []*session) {
	a.mu.Lock()
	defer a.unlockAndTell()
	for _, e := range a.by {
		if e.meant(token.Subject, token.SessionID, token.IssuedAt) {
			a.endLocked(e)
			ended = append(ended, e.session)
		}
	}
	return ended
}

// meant reports whether a logout of a subject, or of a session at the provider, at a time of the
// provider's clock is about the session. "" stands for what was not said.
func (s *session) meant(subject, sid string, at time.Time) bool {
	if s.issued.After(at) || subject != "" && subject != s.subject {
		return false
	}
	if sid == "" || s.sid == "" {
		return subject != ""
	}
	return sid == s.sid
}
