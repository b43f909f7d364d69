package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/go-cmp/cmp"

	"sightline/internal/fault"
)

// Items 12 and 13 of docs/CONFORMANCE.md: a failure carries a problem document.
func TestFaultBecomesItsStatusAndProblem(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		status int
		header map[string]string
		doc    map[string]any
	}{
		{
			"conflict with a delay", fault.New(fault.Conflict, "not live").After(1500 * time.Millisecond), 409,
			map[string]string{"Retry-After": "2"},
			map[string]any{"title": "Conflict", "kind": "conflict", "detail": "not live"},
		},
		{
			"below a second", fault.New(fault.Unavailable, "full").After(time.Millisecond), 503,
			map[string]string{"Retry-After": "1"},
			map[string]any{"title": "Service Unavailable", "kind": "unavailable", "detail": "full"},
		},
		{
			"further members", fault.New(fault.Unprocessable, "no common codec").With("offered", []string{"VP8"}).With("status", 200), 422,
			nil,
			map[string]any{"title": "Unprocessable Entity", "kind": "unprocessable", "detail": "no common codec", "offered": []any{"VP8"}},
		},
		{
			"wrapped, with a header", fmt.Errorf("post: %w", WithHeader(fault.New(fault.MediaType, "no"), "accept", "application/sdp")), 415,
			map[string]string{"Accept": "application/sdp"},
			map[string]any{"title": "Unsupported Media Type", "kind": "media-type", "detail": "no"},
		},
		{
			"the gateway's own", errors.New("disk /dev/sda is on fire"), 500,
			nil,
			map[string]any{"title": "Internal Server Error", "kind": "internal"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := NewRouter(Defaults(), slog.New(slog.DiscardHandler))
			r.GET("/", Handle(func(*gin.Context) error { return tt.err }))
			res := do(r, "GET", "/", "")
			body := text(t, res)
			if res.StatusCode != tt.status {
				t.Errorf("got %d, want %d", res.StatusCode, tt.status)
			}
			if got := res.Header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type %q", got)
			}
			for name, want := range tt.header {
				if got := res.Header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			tt.doc["type"], tt.doc["status"] = "about:blank", float64(tt.status)
			var got map[string]any
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.doc, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// 406 would be WHEP's counter-offer to players (item 55 of docs/CONFORMANCE.md), 405 "no
// trickle" to some: neither is any fault's status.
func TestEveryKindHasAStatus(t *testing.T) {
	want := map[fault.Kind]int{
		fault.BadRequest: 400, fault.Unauthenticated: 401, fault.Forbidden: 403, fault.NotFound: 404, fault.Conflict: 409,
		fault.Precondition: 412, fault.TooLarge: 413, fault.MediaType: 415, fault.Unprocessable: 422,
		fault.NeedsCondition: 428, fault.TooMany: 429, fault.Unavailable: 503, "": 500,
	}
	for kind, status := range want {
		if got := Status(kind); got != status {
			t.Errorf("%q: %d, want %d", kind, got, status)
		}
	}
}

func TestPanicIsLoggedAndAnswered500(t *testing.T) {
	var log bytes.Buffer
	r := NewRouter(Defaults(), slog.New(slog.NewTextHandler(&log, nil)))
	r.GET("/", func(*gin.Context) { panic("a secret of the gateway") })
	res := do(r, "GET", "/", "")
	if body := text(t, res); res.StatusCode != 500 || strings.Contains(body, "secret") {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
	if !strings.Contains(log.String(), "a secret of the gateway") || !strings.Contains(log.String(), "handle_test.go") {
		t.Errorf("the log does not say what happened where:\n%s", log.String())
	}
	if got := r.Requests(); len(got) != 1 || got[0] != (RequestCount{"/", "GET", "5xx", 1}) {
		t.Errorf("counted %v", got)
	}
}

func TestBrokenStreamGetsNoSecondStatus(t *testing.T) {
	r := NewRouter(Defaults(), slog.New(slog.DiscardHandler))
	r.GET("/", Handle(func(c *gin.Context) error {
		c.String(http.StatusOK, "data: 1\n\n")
		return errors.New("broke off")
	}))
	res := do(r, "GET", "/", "")
	if body := text(t, res); res.StatusCode != 200 || body != "data: 1\n\n" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}
