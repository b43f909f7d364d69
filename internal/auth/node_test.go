package auth

import (
	"net/http"
	"testing"
)

// Another node may everything, in its own name, also where everybody else has to say who he is, or need not.
func TestNodesAreKnownByTheContextAlone(t *testing.T) {
	for _, c := range []Config{{}, {Tokens: []Token{{Name: "x", SHA256: HashToken("x"), Scopes: []Scope{Read}}}}} {
		a := New(c)
		r, err := http.NewRequestWithContext(t.Context(), "POST", "/whip/a/b", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, scope := range Scopes() {
			id, err := a.Authorize(AsNode(r, "north"), scope, "mri-2", "console")
			if err != nil || id.Name != "node north" || id.Kind != Node || id.Subject() != "node:node north" {
				t.Errorf("%s: %+v, %v", scope, id, err)
			}
		}
		if id, err := a.Authorize(r, Admin, "mri-2", ""); err == nil && id.Kind != Anonymous {
			t.Errorf("who is not a node is %+v", id)
		}
	}
}
