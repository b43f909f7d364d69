package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
	"sightline/rooms"
)

type revocationList struct {
	Revocations []revocation `json:"revocations"`
}

type revocation struct {
	ID      string     `json:"id"`
	JTI     string     `json:"jti,omitempty"`
	Name    string     `json:"name,omitempty"`
	Reason  string     `json:"reason"`
	By      string     `json:"by"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires,omitempty"`
}

func (a *API) registerRevocations(r gin.IRouter) {
	const all, one = "/api/revocations", "/api/revocations/:revocation"
	list := httpapi.Handle(a.listRevocations)
	r.GET(all, list)
	r.HEAD(all, list)
	r.POST(all, httpapi.Handle(a.revoke))
	r.OPTIONS(all, options("Accept-Post", "GET, HEAD, OPTIONS, POST"))
	r.DELETE(one, httpapi.Handle(a.unrevoke))
}

// governs returns who asks, if he may revoke: that reaches into every room.
func (a *API) governs(c *gin.Context) (auth.Identity, error) {
	caller, err := a.auth.Who(c.Request)
	if err != nil {
		return auth.Identity{}, err
	}
	return caller.MayEverywhere(auth.Admin)
}

func (a *API) listRevocations(c *gin.Context) error {
	if _, err := a.governs(c); err != nil {
		return err
	}
	out := revocationList{Revocations: []revocation{}}
	for _, r := range a.auth.Revocations() {
		out.Revocations = append(out.Revocations, showRevocation(r))
	}
	return answerJSON(c, out)
}

func showRevocation(r auth.Revocation) revocation {
	out := revocation{ID: r.ID, JTI: r.JTI, Name: r.Name, Reason: r.Reason, By: r.By, Created: instant(r.Created)}
	if !r.Expires.IsZero() {
		expires := instant(r.Expires)
		out.Expires = &expires
	}
	return out
}

func (a *API) revoke(c *gin.Context) error {
	who, err := a.governs(c)
	if err != nil {
		return err
	}
	var jti, name, reason *string
	var expires *time.Time
	err = readObject(c, "Accept", map[string]setter{
		"jti": into(&jti, "a text"), "name": into(&name, "a text"), "reason": into(&reason, "a text"),
		"expires": into(&expires, "a time such as 2026-11-24T18:00:00Z"),
	})
	if err != nil {
		return err
	}
	var wanted auth.Revocation
	for to, from := range map[*string]*string{&wanted.JTI: jti, &wanted.Name: name} {
		if from != nil && *from == "" {
			return fault.New(fault.BadRequest, "jti and name must not be empty")
		} else if from != nil {
			*to = *from
		}
	}
	if reason != nil {
		wanted.Reason = rooms.Label(*reason)
	}
	if expires != nil {
		wanted.Expires = *expires
	}
	made, err := a.auth.Revoke(who, wanted)
	if made.ID != "" { // it holds, be it that it could not be kept
		a.recordAccess(c, who, audit.Revoked, "", fmt.Sprintf("revocation %s: jti %q, name %q, reason %q", made.ID, made.JTI, made.Name, made.Reason))
	}
	if err != nil {
		return err
	}
	body, err := encode(showRevocation(made))
	if err != nil {
		return err
	}
	c.Header("Location", httpapi.BaseURL(c)+"/api/revocations/"+made.ID)
	c.Data(http.StatusCreated, jsonType, body)
	return nil
}

func (a *API) unrevoke(c *gin.Context) error {
	who, err := a.governs(c)
	if err != nil {
		return err
	}
	err = a.auth.Unrevoke(c.Param("revocation"))
	if fault.KindOf(err) == "" { // it holds, be it that it could not be kept
		a.recordAccess(c, who, audit.Revoked, "", "no longer: revocation "+c.Param("revocation"))
	}
	if err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	return nil
}
