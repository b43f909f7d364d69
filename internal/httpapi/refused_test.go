package httpapi

import (
	"log/slog"
	"net/http"
	"sync"
	"testing"

	"github.com/gin-gonic/gin"

	"sightline/internal/audit"
	"sightline/internal/fault"
)

// kept remembers what was recorded.
type kept struct {
	mu     sync.Mutex // guards what follows
	events []audit.Event
}

func (k *kept) Record(e audit.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.events = append(k.events, e)
}

// named is an error that knows whose token was refused.
type named struct{ error }

func (n named) Unwrap() error  { return n.error }
func (n named) Who() audit.Who { return audit.Who{Name: "nurse", Kind: "token"} }

// Who is refused is recorded, by the route's pattern: a path can be a secret. Other faults are not.
func TestRefusalsAreRecorded(t *testing.T) {
	router := NewRouter(Defaults(), slog.New(slog.DiscardHandler))
	k := &kept{}
	router.Record(k, func(*http.Request) audit.Who { return audit.Who{} })
	var answer error
	router.GET("/rooms/:room/:publisher", Handle(func(*gin.Context) error { return answer }))
	router.GET("/sessions/:id", Handle(func(*gin.Context) error { return answer }))
	for _, tt := range []struct {
		err    error
		target string
		want   audit.Event // Cause "": none
	}{
		{fault.New(fault.Unauthenticated, "x"), "/rooms/mri-2/console", audit.Event{Cause: "unauthenticated", Room: "mri-2", Publisher: "console", Request: "GET /rooms/:room/:publisher"}},
		{named{fault.New(fault.Forbidden, "x")}, "/sessions/a-secret", audit.Event{Cause: "forbidden", Request: "GET /sessions/:id", Who: audit.Who{Name: "nurse", Kind: "token"}}},
		{fault.New(fault.TooMany, "x"), "/sessions/a-secret", audit.Event{Cause: "too-many-requests", Request: "GET /sessions/:id"}},
		{fault.New(fault.NotFound, "x"), "/sessions/a-secret", audit.Event{}},
		{fault.New(fault.Conflict, "x"), "/rooms/mri-2/console", audit.Event{}},
		{nil, "/rooms/mri-2/console", audit.Event{}},
	} {
		answer, k.events = tt.err, nil
		do(router, "GET", tt.target, "", "User-Agent", "a browser")
		if tt.want.Cause == "" {
			if len(k.events) > 0 {
				t.Errorf("%v: recorded %+v", tt.err, k.events)
			}
			continue
		}
		want := tt.want
		want.What, want.Address, want.Agent = audit.Refused, "192.0.2.1", "a browser" // of httptest
		if len(k.events) != 1 || k.events[0].Who != want.Who || k.events[0].Cause != want.Cause || k.events[0].Request != want.Request ||
			k.events[0].Room != want.Room || k.events[0].Publisher != want.Publisher || k.events[0].What != want.What {
			t.Errorf("%v: recorded %+v, want %+v", tt.err, k.events, want)
		}
	}
}
