package httpapi

import (
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"sightline/internal/audit"
	"sightline/internal/fault"
)

// refusedKey is what a request was refused for, in its gin.Context: an audit.Event.
const refusedKey = "sightline.refused"

// Record lets a recorder know who is refused: without a token, with a wrong one, with one that
// is not for what he wants, or because he asks too often. bearer says whose the right token of a
// request is; nobody's if it has none. Call it before the router is used.
func (r *Router) Record(to audit.Recorder, bearer func(*http.Request) audit.Who) {
	r.record, r.bearer = to, bearer
}

// noteRefusal keeps in the request why it is refused, if somebody may want to know later who
// tried what. An error in the chain that has a method Who() audit.Who says whose token it was.
func noteRefusal(c *gin.Context, f *fault.Error, err error) {
	switch f.Kind {
	case fault.Unauthenticated, fault.Forbidden, fault.TooMany:
	default:
		return
	}
	e := audit.Event{What: audit.Refused, Cause: string(f.Kind)}
	var w interface{ Who() audit.Who }
	if errors.As(err, &w) {
		e.Who = w.Who()
	}
	c.Set(refusedKey, e)
}

// recordRefusal records what noteRefusal has kept. It has the pattern of the route and not the
// path: the path of a session is a secret.
func (r *Router) recordRefusal(c *gin.Context) {
	e, refused := c.Value(refusedKey).(audit.Event)
	if !refused {
		return
	}
	// Why he is refused may have nothing to do with his token: the name is another's, the role not his.
	// A token that is known to be wrong is not looked at once more.
	if e.Who == (audit.Who{}) && (e.Cause == string(fault.Forbidden) || callerOf(c).subject != "") {
		e.Who = r.bearer(c.Request)
	}
	e.Room, e.Publisher = c.Param("room"), c.Param("publisher")
	e.Address, e.Agent = c.ClientIP(), UserAgent(c)
	e.Request = c.Request.Method + " " + c.FullPath()
	r.record.Record(e)
}
