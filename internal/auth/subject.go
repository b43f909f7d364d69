package auth

import "net/http"

// Subject returns whose requests a request counts as one of, for limits: the subject of who
// made it, whatever he may do; "" if nobody says who he is, or wrongly.
func (a *Auth) Subject(r *http.Request) string {
	c, err := a.Who(r)
	if err != nil || len(c.grants) == 0 {
		return ""
	}
	return c.grants[0].Subject()
}
