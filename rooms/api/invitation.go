package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
	"sightline/rooms"
)

// maxInvitation is how long an invitation may hold, in seconds.
const maxInvitation = 366 * 24 * 60 * 60

type invitationList struct {
	Room        string       `json:"room"`
	Invitations []invitation `json:"invitations"`
}

type invitation struct {
	ID         string       `json:"id"`
	Room       string       `json:"room"`
	Role       string       `json:"role"`
	Publishers []string     `json:"publishers"`
	Scopes     []auth.Scope `json:"scopes"`
	Label      string       `json:"label"`
	By         string       `json:"by"`
	Created    time.Time    `json:"created"`
	Expires    time.Time    `json:"expires"`

	Token string `json:"token,omitempty"` // to who has invited, once
	URL   string `json:"url,omitempty"`   // likewise
	QR    string `json:"qr,omitempty"`    // likewise: the URL as an SVG document
}

func (a *API) registerInvitations(r gin.IRouter) {
	const all, one = "/api/rooms/:room/invitations", "/api/rooms/:room/invitations/:invitation"
	list := httpapi.Handle(a.listInvitations)
	r.GET(all, list)
	r.HEAD(all, list)
	r.POST(all, httpapi.Handle(a.invite))
	r.OPTIONS(all, options("Accept-Post", "GET, HEAD, OPTIONS, POST"))
	r.DELETE(one, httpapi.Handle(a.uninvite))
}

func (a *API) listInvitations(c *gin.Context) error {
	name := c.Param("room")
	if _, err := a.authorize(c, auth.Admin, name, ""); err != nil {
		return err
	}
	out := invitationList{Room: name, Invitations: []invitation{}}
	for _, i := range a.auth.Invitations(name) {
		out.Invitations = append(out.Invitations, showInvitation(i))
	}
	return answerJSON(c, out)
}

func showInvitation(i auth.Invitation) invitation {
	return invitation{
		ID: i.ID, Room: i.Room, Role: i.Role, Publishers: append([]string{}, i.Publishers...), Scopes: i.Scopes,
		Label: i.Label, By: i.By, Created: instant(i.Created), Expires: instant(i.Expires),
	}
}

// invite makes an invitation. Its answer is the only one that ever has the secret.
func (a *API) invite(c *gin.Context) error {
	name := c.Param("room")
	caller, err := a.authorize(c, auth.Admin, name, "")
	if err != nil {
		return err
	}
	wanted, err := readInvitation(c)
	if err != nil {
		return err
	}
	wanted.Room = name
	secret, made, err := a.auth.Invite(caller, wanted)
	if err != nil {
		return err
	}
	who, _ := caller.May(auth.Admin, name, "") // he has been let in
	a.recordAccess(c, who, audit.Invited, name, fmt.Sprintf("invitation %s, role %q, publishers %q, %q, until %s",
		made.ID, made.Role, made.Publishers, made.Scopes, made.Expires.UTC().Format(time.RFC3339)))
	out := showInvitation(made)
	out.Token, out.URL = secret, a.view(c, caller).url(page(made)...)+"#token="+secret
	if absolute := httpapi.BaseURL(c) != ""; absolute {
		if out.QR, err = drawQR(out.URL); err != nil {
			return err
		}
	}
	body, err := encode(out)
	if err != nil {
		return err
	}
	c.Header("Location", a.view(c, caller).url("api", "rooms", name, "invitations", made.ID))
	c.Data(http.StatusCreated, jsonType, body)
	return nil
}

// readInvitation reads what is wanted of an invitation: a JSON object with no other members. The error
// is a fault.
func readInvitation(c *gin.Context) (i auth.Invitation, err error) {
	var role, label *string
	var publishers *[]string
	var scopes *[]auth.Scope
	var seconds *int64
	err = readObject(c, "Accept", map[string]setter{
		"role": into(&role, "a text"), "label": into(&label, "a text"), "publishers": into(&publishers, "a list of names or tracks"),
		"scopes": into(&scopes, "a list of scopes"), "expires_in": into(&seconds, "a whole number of seconds"),
	})
	if err != nil {
		return i, err
	}
	if seconds == nil || *seconds < 1 || *seconds > maxInvitation {
		return i, fault.New(fault.BadRequest, "expires_in: must be between 1 and %d seconds", maxInvitation)
	}
	i.Expires = time.Now().Add(time.Duration(*seconds) * time.Second)
	if role != nil {
		i.Role = *role
		if err := rooms.ValidRole(i.Role); err != nil {
			return i, err
		}
	}
	if label != nil {
		i.Label = rooms.Label(*label)
	}
	if publishers != nil {
		i.Publishers = *publishers
	}
	i.Scopes = usual(i.Role, i.Publishers)
	if scopes != nil {
		i.Scopes = slices.Compact(slices.Sorted(slices.Values(*scopes)))
	}
	return i, nil
}

// usual are the scopes of an invitation that says none: who has a place in the room takes part,
// others watch. A link to nothing but tracks is for these alone.
func usual(role string, publishers []string) []auth.Scope {
	switch {
	case len(publishers) > 0 && !slices.ContainsFunc(publishers, func(p string) bool { return !strings.Contains(p, "/") }):
		return []auth.Scope{auth.Play}
	case role == "hospital" || role == "technician":
		return []auth.Scope{auth.Publish, auth.Play, auth.Read, auth.Speak}
	}
	return []auth.Scope{auth.Play, auth.Read}
}

// page returns the path of the page that an invitation is for.
func page(i auth.Invitation) []string {
	publishes := slices.Contains(i.Scopes, auth.Publish)
	if !publishes && len(i.Publishers) == 1 {
		publisher, kind, single := strings.Cut(i.Publishers[0], "/")
		if rooms.ValidName(publisher) == nil {
			if single {
				return []string{"watch", i.Room, publisher, kind}
			}
			return []string{"watch", i.Room, publisher}
		}
	}
	switch i.Role {
	case "hospital", "technician":
		return []string{i.Room, i.Role}
	}
	return []string{i.Room, "room"}
}

func (a *API) uninvite(c *gin.Context) error {
	name := c.Param("room")
	caller, err := a.authorize(c, auth.Admin, name, "")
	if err != nil {
		return err
	}
	err = a.auth.Uninvite(name, c.Param("invitation"))
	if fault.KindOf(err) == "" { // it holds, be it that it could not be kept
		who, _ := caller.May(auth.Admin, name, "") // he has been let in
		a.recordAccess(c, who, audit.Revoked, name, "invitation "+c.Param("invitation"))
	}
	if err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	return nil
}
