package api

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sightline/internal/auth"
	"sightline/internal/httpapi"
	"sightline/rooms/api/apitest"
)

func description(t *testing.T) *apitest.Description {
	t.Helper()
	return apitest.Load(t, Description)
}

func TestDescriptionIsOpenAPI31(t *testing.T) {
	doc := description(t)
	if !doc.IsOpenAPI31OrLater() {
		t.Errorf("openapi: got %q, want 3.1", doc.OpenAPI)
	}
	var ids []string
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if op.Summary == "" {
				t.Errorf("%s %s has no summary", method, path)
			}
			if op.OperationID != "" {
				ids = append(ids, op.OperationID)
			}
		}
	}
	slices.Sort(ids)
	if unique := slices.Compact(slices.Clone(ids)); len(unique) != len(ids) {
		t.Errorf("operation ids are not unique: %v", ids)
	}
}

func TestDescriptionKnowsEveryDoor(t *testing.T) {
	doc := description(t)
	for _, want := range []string{
		"POST /whip/{room}/{publisher}", "POST /whep/{room}/{publisher}", "POST /whep/{room}/{publisher}/{kind}",
		"PATCH /sessions/{session}", "DELETE /sessions/{session}",
		"GET /api/stations", "GET /metrics", "GET /healthz", "GET /readyz", "GET /version",
	} {
		method, path, _ := strings.Cut(want, " ")
		if item := doc.Paths.Value(path); item == nil || item.GetOperation(method) == nil {
			t.Errorf("%s is not described", want)
		}
	}
}

func TestRoutesAreThoseDescribed(t *testing.T) {
	router := httpapi.NewRouter(httpapi.Defaults(), slog.New(slog.DiscardHandler))
	api := newAPI(Defaults(), &fakeHeart{}, auth.New(auth.Config{}), &fakeBridge{}, noLedger(t))
	defer api.Close()
	api.Register(router)
	var got []string
	for _, r := range router.Routes() {
		if r.Method == http.MethodHead {
			continue // as GET
		}
		var path string
		for element := range strings.SplitSeq(strings.TrimPrefix(r.Path, "/"), "/") {
			if name, ok := strings.CutPrefix(element, ":"); ok {
				element = "{" + name + "}"
			}
			path += "/" + element
		}
		got = append(got, r.Method+" "+path)
	}
	var want []string
	for path, item := range description(t).Paths.Map() {
		for method := range item.Operations() {
			if strings.HasPrefix(path, "/api/") && path != "/api/stations" { // that is web's
				want = append(want, method+" "+path)
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("routes:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEveryResponseIsAsDescribed(t *testing.T) {
	doc := description(t)
	const (
		list   = "/api/rooms"
		one    = "/api/rooms/{room}"
		tracks = "/api/rooms/{room}/tracks"
		events = "/api/rooms/{room}/events"
		all    = "/api/events"
		remove = "/api/rooms/{room}/publishers/{publisher}"
	)
	for _, tt := range []struct {
		name         string
		method, path string // as described
		url, token   string
		broken       error
		want         int
	}{
		{"rooms", "GET", list, "/api/rooms", readAll, nil, 200},
		{"rooms without a token", "GET", list, "/api/rooms", "", nil, 401},
		{"rooms with an unknown token", "GET", list, "/api/rooms", "guess", nil, 401},
		{"rooms with another scope", "GET", list, "/api/rooms", playsOnly, nil, 403},
		{"a room", "GET", one, "/api/rooms/mri-1", readAll, nil, 200},
		{"a room without publishers", "GET", one, "/api/rooms/empty", readAll, nil, 200},
		{"an unknown room", "GET", one, "/api/rooms/mri-9", readAll, nil, 404},
		{"a room of an impossible name", "GET", one, "/api/rooms/.x", readAll, nil, 400},
		{"a room of a reserved name", "GET", one, "/api/rooms/whip", readAll, nil, 400},
		{"events of a room of a reserved name", "GET", events, "/api/rooms/api/events", readAll, nil, 400},
		{"a room without a token", "GET", one, "/api/rooms/mri-1", "", nil, 401},
		{"a forbidden room", "GET", one, "/api/rooms/ct-1", readMRI, nil, 403},
		{"a forbidden room that is not there", "GET", one, "/api/rooms/ct-9", readMRI, nil, 403},
		{"a room when the heart is broken", "GET", one, "/api/rooms/mri-1", readAll, errors.New("secret"), 500},
		{"tracks", "GET", tracks, "/api/rooms/mri-1/tracks", readAll, nil, 200},
		{"no tracks", "GET", tracks, "/api/rooms/empty/tracks", readAll, nil, 200},
		{"tracks of an unknown room", "GET", tracks, "/api/rooms/mri-9/tracks", readAll, nil, 404},
		{"tracks without a token", "GET", tracks, "/api/rooms/mri-1/tracks", "", nil, 401},
		{"tracks of a forbidden room", "GET", tracks, "/api/rooms/ct-1/tracks", readMRI, nil, 403},
		{"events of a room of an impossible name", "GET", events, "/api/rooms/.x/events", readAll, nil, 400},
		{"events without a token", "GET", events, "/api/rooms/mri-1/events", "", nil, 401},
		{"events of a forbidden room", "GET", events, "/api/rooms/ct-1/events", readMRI, nil, 403},
		{"all events without a token", "GET", all, "/api/events", "", nil, 401},
		{"all events with another scope", "GET", all, "/api/events", playsOnly, nil, 403},
		{"remove", "DELETE", remove, "/api/rooms/mri-1/publishers/console", adminMRI, nil, 204},
		{"remove an unknown publisher", "DELETE", remove, "/api/rooms/mri-1/publishers/nobody", adminMRI, nil, 404},
		{"remove without a token", "DELETE", remove, "/api/rooms/mri-1/publishers/console", "", nil, 401},
		{"remove as a reader", "DELETE", remove, "/api/rooms/mri-1/publishers/console", readAll, nil, 403},
		{"remove in another room", "DELETE", remove, "/api/rooms/ct-1/publishers/console", adminMRI, nil, 403},
		{"description", "GET", "/api/openapi.yaml", "/api/openapi.yaml", "", nil, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &fakeHeart{broken: tt.broken, all: hospital()}
			_, server := serve(t, Defaults(), h, tokens())
			res, body := request(t, tt.method, server.URL+tt.url, tt.token)
			if res.StatusCode != tt.want {
				t.Errorf("got %d, want %d: %s", res.StatusCode, tt.want, body)
			}
			doc.Check(t, tt.path, res, body)
			if tt.broken != nil && bytes.Contains(body, []byte(tt.broken.Error())) {
				t.Errorf("the answer tells what is inside: %s", body)
			}
		})
	}
}
