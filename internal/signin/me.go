package signin

import (
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
)

// me is the answer to who one is; openapi.yaml describes it.
type me struct {
	SignIn bool         `json:"signIn"` // people can sign in
	Open   bool         `json:"open"`   // nobody has to say who he is
	Who    *identity    `json:"who"`    // null: not known
	Scopes []auth.Scope `json:"scopes"` // that he has somewhere, or in the room that he asks about
}

type identity struct {
	Name    string     `json:"name"`
	Label   string     `json:"label"` // for people
	Kind    auth.Kind  `json:"kind"`
	Role    string     `json:"role"`    // that he has to take; "": any
	Expires *time.Time `json:"expires"` // null: never
}

// me tells who the caller is, and what he may do, in one room if he asks so. Who is not known is
// told that, too: a page asks before it knows whether anybody has to say who he is.
func (d *Door) me(c *gin.Context) error {
	out := me{SignIn: d.issuer != nil, Scopes: []auth.Scope{}}
	caller, err := d.auth.Who(c.Request)
	bearer := len(c.Request.Header.Values("Authorization")) > 0
	switch {
	case fault.KindOf(err) == fault.Unauthenticated && !bearer:
	case err != nil:
		return err
	case caller.Open():
		out.Open, out.Scopes = true, auth.Scopes()
	default:
		out.Who, out.Scopes = d.describe(c, caller)
	}
	body, err := json.Marshal(out)
	if err != nil {
		return err
	}
	c.Data(http.StatusOK, "application/json", body)
	return nil
}

func (d *Door) describe(c *gin.Context, caller auth.Caller) (*identity, []auth.Scope) {
	room := c.Query("room")
	may := []auth.Scope{}
	for _, s := range auth.Scopes() {
		if caller.Allows(s, room, "") {
			may = append(may, s)
		}
	}
	grants := caller.Grants()
	id := grants[0].Identity
	for _, s := range []auth.Scope{auth.Read, auth.Publish, auth.Play} { // as he would be asked
		if who, err := caller.May(s, room, ""); err == nil {
			id = who
			break
		}
	}
	out := &identity{Name: id.Name, Label: id.Name, Kind: id.Kind, Role: id.Role}
	if s := d.mine(c); id.Kind == auth.Person && s != nil {
		out.Label = s.label
	}
	if !id.Expires.IsZero() {
		at := id.Expires.UTC().Truncate(time.Millisecond)
		out.Expires = &at
	}
	return out, may
}

// logout ends the browser's session, and with it all that goes on for it. Its answer says where
// the browser should go: to the provider, whose session would let in whoever comes next.
func (d *Door) logout(c *gin.Context) error {
	if d.issuer == nil {
		return fault.New(fault.NotFound, "nobody can sign in here, so nobody can sign out")
	}
	if err := d.sameOrigin(c.Request); err != nil {
		return err
	}
	base := httpapi.BaseURL(c)
	to := base + "/"
	if s := d.mine(c); s != nil && d.sessions.end(s) {
		d.auth.Reconsider()
		d.record.Record(audit.Event{What: audit.SignedOut, Who: s.identity().Who(c.ClientIP(), httpapi.UserAgent(c)), Called: s.label})
		if p := d.issuer.now(); p != nil && p.endSession != "" && base != "" {
			to = d.endSession(p, s, to)
		}
	}
	d.setCookie(c, d.cookie(), "", -1)
	body, err := json.Marshal(map[string]string{"url": to})
	if err != nil {
		return err
	}
	c.Data(http.StatusOK, "application/json", body)
	return nil
}

// endSession is where the provider signs somebody out (OpenID Connect RP-Initiated Logout 1.0,
// section 2).
func (d *Door) endSession(p *provider, s *session, back string) string {
	u, err := url.Parse(p.endSession)
	if err != nil {
		return back
	}
	q := u.Query()
	q.Set("client_id", d.config.ClientID)
	q.Set("post_logout_redirect_uri", back)
	if s.idToken != "" {
		q.Set("id_token_hint", s.idToken)
	}
	u.RawQuery = q.Encode()
	return u.String()
}
