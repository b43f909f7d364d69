package forward

import (
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"sightline/internal/auth"
)

// A class says which node answers a request.
type class int

const (
	here       class = iota + 1 // any: all have what it takes
	owner                       // the room's owner; here if there is none, whose doors know what to say
	placed                      // likewise, but a room without an owner gets one
	mix                         // placed for the mix of a room, owner for a publisher
	session                     // whose id the session's begins with
	everywhere                  // all of them together
	stream                      // the owner, and then the next one
	streams                     // all of them, as they come and go
	log                         // the one that ?node= names
)

// A policy is what is done with the requests of a route.
type policy struct {
	class   class
	scope   auth.Scope // that the route needs: who has it not is refused here; "": none, or who asks is known by the URL
	routine bool       // see httpapi.Routine
	kept    bool       // what it changes goes with the room to another node: the others are told at once
}

const (
	whipPath        = "/whip/:room/:publisher"
	whepPath        = "/whep/:room/:publisher"
	roomPath        = "/api/rooms/:room"
	participantPath = roomPath + "/participants/:secret"
)

// policies has all routes of a gateway; HEAD is as GET, and OPTIONS is always answered here.
var policies = map[string]policy{
	"GET " + whipPath:             {class: here},
	"POST " + whipPath:            {class: placed, scope: auth.Publish},
	"GET " + whepPath:             {class: here},
	"POST " + whepPath:            {class: mix, scope: auth.Play},
	"GET " + whepPath + "/video":  {class: here},
	"POST " + whepPath + "/video": {class: owner, scope: auth.Play},
	"GET " + whepPath + "/audio":  {class: here},
	"POST " + whepPath + "/audio": {class: owner, scope: auth.Play},

	"GET /sessions/:id":    {class: session},
	"PATCH /sessions/:id":  {class: session},
	"DELETE /sessions/:id": {class: session},

	"GET /api/rooms":                                  {class: everywhere, scope: auth.Read},
	"GET " + roomPath:                                 {class: owner, scope: auth.Read},
	"GET " + roomPath + "/tracks":                     {class: owner, scope: auth.Read},
	"GET " + roomPath + "/events":                     {class: stream, scope: auth.Read},
	"GET /api/events":                                 {class: streams, scope: auth.Read},
	"PATCH " + roomPath + "/publishers/:publisher":    {class: owner, scope: auth.Admin, kept: true},
	"DELETE " + roomPath + "/publishers/:publisher":   {class: owner, scope: auth.Admin},
	"GET " + roomPath + "/participants":               {class: owner, scope: auth.Read},
	"POST " + roomPath + "/participants":              {class: placed, scope: auth.Read},
	"PATCH " + participantPath:                        {class: owner, routine: true},
	"DELETE " + participantPath:                       {class: owner},
	"POST " + participantPath + "/leave":              {class: owner},
	"GET " + roomPath + "/invitations":                {class: here},
	"POST " + roomPath + "/invitations":               {class: here},
	"DELETE " + roomPath + "/invitations/:invitation": {class: here},
	"GET /api/revocations":                            {class: here},
	"POST /api/revocations":                           {class: here},
	"DELETE /api/revocations/:revocation":             {class: here},
	"GET /api/audit":                                  {class: log, scope: auth.Admin},
	"GET /api/openapi.yaml":                           {class: here},
	"GET /api/stations":                               {class: here},

	"GET /auth/me":                  {class: here},
	"GET /auth/login":               {class: here},
	"GET /auth/callback":            {class: here},
	"GET /auth/done":                {class: here},
	"POST /auth/logout":             {class: here},
	"POST /auth/backchannel-logout": {class: here}, // ends what is known everywhere

	"GET /healthz": {class: here},
	"GET /readyz":  {class: here},
	"GET /version": {class: here},
	"GET /metrics": {class: here},

	"GET /":                             {class: here},
	"GET /:room":                        {class: here},
	"GET /:room/hospital":               {class: here},
	"GET /:room/technician":             {class: here},
	"GET /:room/room":                   {class: here},
	"GET /watch/:room/:publisher":       {class: here},
	"GET /watch/:room/:publisher/:kind": {class: here},
	"GET /assets/*name":                 {class: here},
}

// Check returns an error if a gateway has a route of which it is not said which node answers it. It
// means that the program was built wrong.
func Check(routes gin.RoutesInfo) error {
	for _, r := range routes {
		if policyOf(r.Method, r.Path).class == 0 {
			return fmt.Errorf("forward: %s %s: say in routes.go which node of a cluster answers it", r.Method, r.Path)
		}
	}
	return nil
}

func policyOf(method, route string) policy {
	switch method {
	case http.MethodOptions:
		return policy{class: here}
	case http.MethodHead:
		method = http.MethodGet
	}
	return policies[method+" "+route]
}
