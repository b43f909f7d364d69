package main

import (
	"testing"

	"github.com/gin-gonic/gin"

	"sightline/internal/cluster/forward"
)

// Of every route it is said which node of a cluster answers it: no gateway starts with a new one that
// nobody has thought of.
func TestEveryRouteHasANodeThatAnswers(t *testing.T) {
	start(t) // with all routes there are
	for route, want := range map[string]bool{"/api/rooms": true, "/whip/:room/:publisher": true, "/api/rooms/:room/news": false} {
		for _, method := range []string{"GET", "HEAD"} {
			if err := forward.Check(gin.RoutesInfo{{Method: method, Path: route}}); (err == nil) != want {
				t.Errorf("%s %s: got %v, want it to be known: %t", method, route, err, want)
			}
		}
	}
}
