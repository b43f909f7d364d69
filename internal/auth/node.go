package auth

import (
	"context"
	"net/http"
)

type nodeKey struct{}

// AsNode returns a request that another node of the cluster makes in its own name, "node " and
// that of the node, which may do everything. It stands in the request's context, where nothing
// that a client sends can put it: only who knows that a node has asked may call this.
func AsNode(r *http.Request, node string) *http.Request {
	g := &Grant{Identity: Identity{Name: "node " + node, Kind: Node}, Scopes: Scopes()}
	return r.WithContext(context.WithValue(r.Context(), nodeKey{}, g))
}

// asNode returns what AsNode has left, or nil.
func asNode(r *http.Request) *Grant {
	g, _ := r.Context().Value(nodeKey{}).(*Grant)
	return g
}
