package auth

import (
	"net/http"
	"strings"
	"testing"

	"sightline/internal/fault"
)

// FuzzAuthorize: whatever a request says of itself, only who has a token is let in, for what
// it allows, and everybody else is told why in a header that can be sent.
func FuzzAuthorize(f *testing.F) {
	const secret = "4aGbXmqEvc7y7CtB"
	a := New(Config{Tokens: []Token{
		{Name: "console", SHA256: HashToken(secret), Scopes: []Scope{Publish}, Rooms: []string{"mri-*", "[a-z]"}, Publishers: []string{"console"}},
	}})
	f.Add("Bearer "+secret, "mri-1", "console")
	f.Add("bearer  "+secret+" ", "b", "console")
	f.Add("Bearer "+secret, "ct-1", "other")
	f.Add("Bearer "+secret+","+secret, "mri-*", "")
	f.Add("Basic "+secret, "[a-z]", "*")
	f.Add("Bearer", "\\", "c\x00")
	f.Fuzz(func(t *testing.T, header, room, publisher string) {
		id, err := a.Authorize(&http.Request{Header: http.Header{"Authorization": {header}}}, Publish, room, publisher)
		if err == nil {
			has := len(header) > len("Bearer ") && strings.EqualFold(header[:len("Bearer ")], "Bearer ") && strings.Trim(header[len("Bearer "):], " ") == secret
			may := (room == "" || strings.HasPrefix(room, "mri-") || len(room) == 1) && (publisher == "" || publisher == "console")
			if !has || !may || id.Name != "console" {
				t.Errorf("%q is let into %q as %+v, to be %q", header, room, id, publisher)
			}
			return
		}
		if kind := fault.KindOf(err); kind != fault.Unauthenticated && kind != fault.Forbidden {
			t.Errorf("got %v", err)
		}
		if id != (Identity{}) {
			t.Errorf("refused, and is %+v", id)
		}
		refused, ok := err.(interface{ Header() http.Header })
		if !ok || !strings.HasPrefix(refused.Header().Get("WWW-Authenticate"), "Bearer ") || strings.ContainsAny(refused.Header().Get("WWW-Authenticate"), "\r\n") {
			t.Errorf("no challenge with %v", err)
		}
	})
}
