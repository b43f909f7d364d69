package auth

import (
	"net/http"

	"sightline/internal/audit"
)

// Who returns the identity as the audit log has it, with where its client is.
func (id Identity) Who(address, agent string) audit.Who {
	return audit.Who{Name: id.Name, Kind: string(id.Kind), ID: id.ID, Role: id.Role, Address: address, Agent: agent}
}

// Bearer returns who made a request, as the audit log has it; nobody if nobody says who he is, or
// wrongly.
func (a *Auth) Bearer(r *http.Request) audit.Who {
	c, err := a.Who(r)
	if err != nil || len(c.grants) == 0 {
		return audit.Who{}
	}
	return c.grants[0].Who("", "")
}

// of says whose token it was that is refused.
func of(id Identity, err error) error { return &ownRefusal{err, id} }

// An ownRefusal is a refusal of somebody who is known.
type ownRefusal struct {
	error
	id Identity
}

func (r *ownRefusal) Unwrap() error { return r.error }

// Who says whom the audit log is to name.
func (r *ownRefusal) Who() audit.Who { return r.id.Who("", "") }
