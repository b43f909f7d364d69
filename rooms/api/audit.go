package api

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/fault"
	"sightline/internal/httpapi"
)

// record tells the audit log what the caller, an administrator, has done to a publisher.
func (a *API) record(c *gin.Context, caller auth.Caller, what audit.What, room, publisher string) {
	who, _ := caller.May(auth.Admin, room, "") // he has been let in
	a.ledger.Record(audit.Event{What: what, Room: room, Publisher: publisher, Who: who.Who(c.ClientIP(), httpapi.UserAgent(c))})
}

// recordAccess tells the audit log whom the caller has let in, or no longer.
func (a *API) recordAccess(c *gin.Context, who auth.Identity, what audit.What, room, detail string) {
	a.ledger.Record(audit.Event{What: what, Room: room, Detail: detail, Who: who.Who(c.ClientIP(), httpapi.UserAgent(c))})
}

// A page of the audit log. Its events are the log's own lines, so that whoever keeps them can
// check the hashes later.
type auditPage struct {
	Events []json.RawMessage `json:"events"`
	Next   uint64            `json:"next"` // ?after= of the next page
	End    bool              `json:"end"`  // there is nothing more now
}

// readAudit shows the audit log, oldest first. A token that is for certain rooms or publishers
// sees what happened in these, and to these; what concerns none of them is for a token without a limit.
func (a *API) readAudit(c *gin.Context) error {
	room := c.Query("room")
	caller, err := a.authorize(c, auth.Admin, room, "")
	if err != nil {
		return err
	}
	q, err := auditQuery(c)
	if err != nil {
		return err
	}
	q.Room = room
	q.May = func(room, publisher string) bool {
		return caller.Allows(auth.Admin, cmp.Or(room, auth.Every), cmp.Or(publisher, auth.Every))
	}
	page, err := a.ledger.Read(c.Request.Context(), q)
	if err != nil {
		return err
	}
	if q.After == 0 || page.Tells { // else who follows the log would write on it for ever
		a.record(c, caller, audit.Inspected, room, "")
	}
	body, err := encode(auditPage{page.Lines, page.Next, page.End})
	if err != nil {
		return err
	}
	c.Header("Cache-Control", "no-store")
	c.Data(http.StatusOK, jsonType, body)
	return nil
}

// auditQuery reads what is asked for. The error is a fault.
func auditQuery(c *gin.Context) (q audit.Query, err error) {
	q.Limit = audit.DefaultLimit
	number := func(name string, least, most uint64) (uint64, error) {
		n, err := strconv.ParseUint(c.Query(name), 10, 64)
		if err != nil || n < least || n > most {
			return 0, fault.New(fault.BadRequest, "%s: must be a number from %d to %d, got %q", name, least, most, shown(c.Query(name)))
		}
		return n, nil
	}
	instant := func(name string) (time.Time, error) {
		t, err := time.Parse(time.RFC3339, c.Query(name))
		if err != nil {
			return t, fault.New(fault.BadRequest, "%s: must be a time such as 2026-01-31T09:30:00Z, got %q", name, shown(c.Query(name)))
		}
		return t, nil
	}
	if c.Query("after") != "" {
		if q.After, err = number("after", 0, 1<<53); err != nil {
			return q, err
		}
	}
	if c.Query("limit") != "" {
		n, err := number("limit", 1, audit.MaxLimit)
		if err != nil {
			return q, err
		}
		q.Limit = int(n)
	}
	if c.Query("since") != "" {
		if q.Since, err = instant("since"); err != nil {
			return q, err
		}
	}
	if c.Query("until") != "" {
		if q.Until, err = instant("until"); err != nil {
			return q, err
		}
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && q.Until.Before(q.Since) {
		return q, fault.New(fault.BadRequest, "until: must not be before since")
	}
	return q, nil
}

// shown cuts what a client has said for an answer to it.
func shown(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
