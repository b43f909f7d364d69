package httpapi

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
)

// A RequestCount is how many requests had the same route, method and class of status.
type RequestCount struct {
	Route  string // the pattern, e.g. "/whip/:room/:publisher"; "none" if none matched
	Method string // "other" for one that is not of RFC 9110 or PATCH
	Class  string // "2xx", "4xx", …
	Count  uint64
}

// requests counts requests. Its keys are bounded by the routes.
type requests struct {
	mu     sync.Mutex
	counts map[RequestCount]uint64 // Count is zero in the keys
}

func (r *requests) add(route, method string, status int) {
	if route == "" {
		route = "none"
	}
	switch method {
	case "GET", "HEAD", "OPTIONS", "POST", "PATCH", "DELETE", "PUT":
	default:
		method = "other"
	}
	key := RequestCount{Route: route, Method: method, Class: strconv.Itoa(status/100) + "xx"}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = make(map[RequestCount]uint64)
	}
	r.counts[key]++
}

func (r *requests) snapshot() []RequestCount {
	r.mu.Lock()
	out := make([]RequestCount, 0, len(r.counts))
	for key, n := range r.counts {
		key.Count = n
		out = append(out, key)
	}
	r.mu.Unlock()
	slices.SortFunc(out, func(a, b RequestCount) int {
		return cmp.Or(cmp.Compare(a.Route, b.Route), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Class, b.Class))
	})
	return out
}
