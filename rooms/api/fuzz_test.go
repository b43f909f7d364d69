package api

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sightline/internal/auth"
	"sightline/internal/httpapi"
	"sightline/rooms"
)

// FuzzParticipant enters a room with any JSON, and changes with any other: it is taken or
// refused with a problem, and what is shown of it afterwards can be read.
func FuzzParticipant(f *testing.F) {
	f.Add([]byte(`{"name": " Dr. Berg\n", "role": "technician", "microphone": "on", "publishers": ["desk", "desk-screen"]}`), []byte(`{"hand": true, "call": "hospital"}`))
	f.Add([]byte(`{}`), []byte(`{"answer": "x", "lower": null, "publishers": []}`))
	f.Add([]byte(`{"Name": "a", "name": "b", "name": 1}`), []byte(`{"privacy": "yes"}`))
	f.Add([]byte(`{"name": "\ud800\u202e"}`), []byte(`[[[[{"a":1e999}]]]]`))
	log := slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, enter, change []byte) {
		registry := rooms.New(rooms.Defaults(), log)
		defer registry.Close()
		c := httpapi.Defaults()
		c.RateLimit = 0
		router := httpapi.NewRouter(c, log)
		api := New(Defaults(), registry, auth.New(auth.Config{}), &fakeBridge{}, noLedger(t))
		defer api.Close()
		api.Register(router)
		ask := func(method, path string, body []byte) *httptest.ResponseRecorder {
			r := httptest.NewRequest(method, path, strings.NewReader(string(body)))
			r.Header.Set("Content-Type", jsonType)
			w := httptest.NewRecorder()
			router.ServeHTTP(w, r)
			if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s %s: got %d %q", method, path, w.Code, w.Body)
			}
			return w
		}
		const all = "/api/rooms/mri-2/participants"
		entered := ask(http.MethodPost, all, enter)
		if own := entered.Header().Get("Location"); entered.Code == http.StatusCreated {
			ask(http.MethodPatch, own, change)
		}
		list := ask(http.MethodGet, all, nil)
		var shown participantList
		if list.Code == http.StatusOK && (json.Unmarshal(list.Body.Bytes(), &shown) != nil || len(shown.Participants) != 1) {
			t.Errorf("got %s", list.Body)
		}
		if (list.Code == http.StatusOK) != (entered.Code == http.StatusCreated) {
			t.Errorf("entering: %d, the list: %d", entered.Code, list.Code)
		}
	})
}

// FuzzMute mutes with any JSON, and asks for events after any id.
func FuzzMute(f *testing.F) {
	f.Add([]byte(`{"muted": true}`), "*", "17")
	f.Add([]byte(`{"muted": null}`), `"x"`, "-1")
	f.Add([]byte(`{"muted": true, "muted": false}`), `W/"x"`, "99999999999999999999")
	h := &fakeHeart{all: []rooms.RoomInfo{roomWith("mri-2", "console")}}
	router := httpapi.NewRouter(httpapi.Config{MaxBody: httpapi.Defaults().MaxBody, BodyTimeout: httpapi.Defaults().BodyTimeout}, slog.New(slog.DiscardHandler))
	api := newAPI(Defaults(), h, auth.New(auth.Config{}), &h.bridge, noLedger(f))
	f.Cleanup(api.Close)
	api.Register(router)
	f.Fuzz(func(t *testing.T, body []byte, ifMatch, lastEventID string) {
		r := httptest.NewRequest(http.MethodPatch, "/api/rooms/mri-2/publishers/console", strings.NewReader(string(body)))
		r.Header = http.Header{"Content-Type": {jsonType}, "If-Match": {ifMatch}}
		w := httptest.NewRecorder()
		router.ServeHTTP(w, r)
		if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("got %d %q", w.Code, w.Body)
		}
		if got, err := json.Number(lastEventID).Int64(); (&API{}).after(lastEventID) != 0 && err == nil && got != int64((&API{}).after(lastEventID)) {
			t.Errorf("%q is event %d", lastEventID, (&API{}).after(lastEventID))
		}
	})
}
