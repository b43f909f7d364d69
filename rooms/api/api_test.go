package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sightline/internal/auth"
	"sightline/internal/httpapi"
	"sightline/internal/media"
	"sightline/rooms"
)

func hospital() []rooms.RoomInfo {
	return []rooms.RoomInfo{roomWith("ct-1", "console"), roomWith("empty"), roomWith("mri-1", "console", "injector")}
}

func decode[T any](t *testing.T, body []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return v
}

func TestTrackSaysWhatAnOperatorNeeds(t *testing.T) {
	h := &fakeHeart{all: hospital()}
	_, server := serve(t, Defaults(), h, auth.New(auth.Config{}))
	_, body := request(t, "GET", server.URL+"/api/rooms/mri-1/tracks", "")
	want := `{"room":"mri-1","tracks":[` +
		`{"id":"console/audio","room":"mri-1","publisher":"console","kind":"audio","label":"","role":"","codec":"opus","profile":"",` +
		`"width":0,"height":0,"fps":0,"bitrate":0,"state":"connecting","since":"2026-11-24T18:00:00.123Z",` +
		`"muted":false,"packetAgeMs":null,"keyframeAgeMs":null,"keyframeIntervalMs":null,"loss":0,"rttMs":null,"viewers":0,"watchers":[],` +
		`"session":"","client":"","path":"","whep":"BASE/whep/mri-1/console/audio","watch":"BASE/watch/mri-1/console/audio"},` +
		`{"id":"console/video","room":"mri-1","publisher":"console","kind":"video","label":"Console","role":"hospital","codec":"H264",` +
		`"profile":"Constrained Baseline 3.1","width":1280,"height":720,"fps":30,"bitrate":2500000,"state":"live",` +
		`"since":"2026-11-24T18:00:00.123Z","muted":false,"packetAgeMs":12,"keyframeAgeMs":400,"keyframeIntervalMs":1000,"loss":0.0123,` +
		`"rttMs":1.5,"viewers":2,"watchers":["nwd8ZVjiAWTk"],"session":"s-1","client":"Lavf/62","path":"udp",` +
		`"whep":"BASE/whep/mri-1/console/video","watch":"BASE/watch/mri-1/console/video"},`
	if got := strings.ReplaceAll(string(body), server.URL, "BASE"); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestRoomSaysWhereItsMixIs(t *testing.T) {
	h := &fakeHeart{all: []rooms.RoomInfo{roomWith("mri-1", "console")}}
	h.all[0].Publishers[0].Speaking = true
	_, server := serve(t, Defaults(), h, auth.New(auth.Config{}))
	_, body := request(t, "GET", server.URL+"/api/rooms/mri-1", "")
	want := `{"name":"mri-1","since":"2026-11-24T18:00:00.123Z","viewers":2,"mix":"BASE/whep/mri-1/~mix","listeners":2,"publishers":[` +
		`{"name":"console","label":"Console","role":"hospital","session":"s-1","client":"Lavf/62","since":"2026-11-24T18:00:00.123Z",` +
		`"muted":false,"speaking":true,"whip":"BASE/whip/mri-1/console","whep":"BASE/whep/mri-1/console",` +
		`"returnAudio":"BASE/whep/mri-1/~mix?for=console","watch":"BASE/watch/mri-1/console","tracks":[`
	if got := strings.ReplaceAll(string(body), server.URL, "BASE"); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestActiveTracksAreThoseNotGone(t *testing.T) {
	gone := video("mri-1", "console")
	gone.State = rooms.Gone
	info := roomWith("mri-1", "console")
	info.Publishers[0].Tracks = []rooms.TrackInfo{audio("mri-1", "console"), gone}
	h := &fakeHeart{all: []rooms.RoomInfo{info}}
	_, server := serve(t, Defaults(), h, auth.New(auth.Config{}))

	_, body := request(t, "GET", server.URL+"/api/rooms/mri-1/tracks", "")
	if got := decode[trackList](t, body).Tracks; len(got) != 1 || got[0].Kind != string(media.Audio) {
		t.Errorf("active tracks: got %v, want the audio track alone", got)
	}
	_, body = request(t, "GET", server.URL+"/api/rooms/mri-1", "")
	if got := decode[struct{ Publishers []publisher }](t, body).Publishers[0].Tracks; len(got) != 2 || got[1].State != "gone" {
		t.Errorf("tracks of the room: got %v, want the one that is gone too", got)
	}
}

func TestReaderSeesOnlyWhatItsTokenIsFor(t *testing.T) {
	h := &fakeHeart{all: hospital()}
	_, server := serve(t, Defaults(), h, tokens())
	for _, tt := range []struct {
		token string
		want  []string
	}{
		{readAll, []string{"ct-1/console", "empty", "mri-1/console", "mri-1/injector"}},
		{readMRI, []string{"mri-1/console", "mri-1/injector"}},
		{readOne, []string{"ct-1/console", "empty", "mri-1/console"}},
	} {
		_, body := request(t, "GET", server.URL+"/api/rooms", tt.token)
		var got []string
		for _, r := range decode[roomList](t, body).Rooms {
			if len(r.Publishers) == 0 {
				got = append(got, r.Name)
			}
			for _, p := range r.Publishers {
				got = append(got, r.Name+"/"+p.Name)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.token, got, tt.want)
		}
	}
	_, body := request(t, "GET", server.URL+"/api/rooms/mri-1/tracks", readOne)
	for _, tr := range decode[trackList](t, body).Tracks {
		if tr.Publisher != "console" {
			t.Errorf("a reader for console alone sees %s", tr.ID)
		}
	}
}

func TestRemoveEndsThatPublisher(t *testing.T) {
	h := &fakeHeart{all: hospital()}
	_, server := serve(t, Defaults(), h, auth.New(auth.Config{}))
	request(t, "DELETE", server.URL+"/api/rooms/mri-1/publishers/injector", "")
	if want := []string{"mri-1/injector"}; !slices.Equal(h.removed, want) {
		t.Errorf("removed %v, want %v", h.removed, want)
	}
}

func TestMuteAnswersWithThePublisher(t *testing.T) {
	h := &fakeHeart{all: hospital()}
	_, server := serve(t, Defaults(), h, auth.New(auth.Config{}))
	for _, body := range []string{`{"muted": true}`, ` { "muted" : true } `, `{"muted":false}`} {
		want := strings.Contains(body, "true")
		res, answer := send(t, "PATCH", server.URL+"/api/rooms/mri-1/publishers/injector", "", body, "Content-Type", "application/json; charset=utf-8")
		got := decode[publisher](t, answer)
		if res.StatusCode != http.StatusOK || got.Name != "injector" || got.Muted != want {
			t.Errorf("%s: got %d, %s, muted %t", body, res.StatusCode, got.Name, got.Muted)
		}
		if len(got.Tracks) != 2 || got.Tracks[0].Muted != want || got.Tracks[1].Muted || got.WHEP != server.URL+"/whep/mri-1/injector" {
			t.Errorf("%s: got %s", body, answer)
		}
		if cache, tag := res.Header.Get("Cache-Control"), res.Header.Get("ETag"); cache != "no-store" || tag != "" {
			t.Errorf("%s: Cache-Control %q and ETag %q, want no-store and none", body, cache, tag)
		}
	}
}

func TestMuteTakesNothingElse(t *testing.T) {
	doc := description(t)
	h := &fakeHeart{all: hospital()}
	_, server := serve(t, Defaults(), h, tokens())
	const url, other, path = "/api/rooms/mri-1/publishers/console", "/api/rooms/mri-1/publishers/nobody", "/api/rooms/{room}/publishers/{publisher}"
	const good, jsonType = `{"muted":true}`, "application/json"
	for _, tt := range []struct {
		name, url, token, contentType, body string
		want                                int
	}{
		{"an empty body", url, adminMRI, jsonType, "", 400},
		{"no JSON", url, adminMRI, jsonType, "muted", 400},
		{"half of it", url, adminMRI, jsonType, `{"muted":tr`, 400},
		{"more after it", url, adminMRI, jsonType, good + good, 400},
		{"null", url, adminMRI, jsonType, `null`, 400},
		{"a list", url, adminMRI, jsonType, `[true]`, 400},
		{"no member", url, adminMRI, jsonType, `{}`, 400},
		{"another member", url, adminMRI, jsonType, `{"mute":true}`, 400},
		{"one member too many", url, adminMRI, jsonType, `{"muted":true,"label":"x"}`, 400},
		{"another spelling", url, adminMRI, jsonType, `{"Muted":true}`, 400},
		{"a text", url, adminMRI, jsonType, `{"muted":"true"}`, 400},
		{"a number", url, adminMRI, jsonType, `{"muted":1}`, 400},
		{"muted: null", url, adminMRI, jsonType, `{"muted":null}`, 400},
		{"too large", url, adminMRI, jsonType, `{"muted":true` + strings.Repeat(" ", 64<<10) + `}`, 413}, // and little enough that the server reads it all before it closes,
		{"another type", url, adminMRI, "text/plain", good, 415},
		{"no type", url, adminMRI, "", good, 415},
		{"an unknown publisher", other, adminMRI, jsonType, good, 404},
		{"an unknown room", "/api/rooms/mri-9/publishers/console", adminMRI, jsonType, good, 404},
		{"no token", url, "", jsonType, good, 401},
		{"an unknown token", url, "guess", jsonType, good, 401},
		{"a reader's token", url, readAll, jsonType, good, 403},
		{"a token for other rooms", "/api/rooms/ct-1/publishers/console", adminMRI, jsonType, good, 403},
		{"a token for other rooms, and nonsense", "/api/rooms/ct-1/publishers/console", adminMRI, "text/plain", "", 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var header []string
			if tt.contentType != "" {
				header = []string{"Content-Type", tt.contentType}
			}
			res, body := send(t, "PATCH", server.URL+tt.url, tt.token, tt.body, header...)
			if res.StatusCode != tt.want || res.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("got %d, %s, want %d, a problem: %s", res.StatusCode, res.Header.Get("Content-Type"), tt.want, body)
			}
			if accept := res.Header.Get("Accept-Patch"); (accept == jsonType) != (tt.want == 415) {
				t.Errorf("Accept-Patch: %q with %d", accept, tt.want)
			}
			doc.Check(t, path, res, body)
		})
	}
	for _, r := range h.all {
		for _, p := range r.Publishers {
			if p.Muted {
				t.Errorf("%s in %s was muted", p.Name, r.Name)
			}
		}
	}
}

func TestPublisherSaysWhatItTakes(t *testing.T) {
	doc := description(t)
	h := &fakeHeart{all: hospital()}
	c := httpapi.Defaults()
	c.AllowedOrigins = []string{"https://desk.example"}
	_, server := serveBehind(t, c, Defaults(), h, tokens())
	const url, path = "/api/rooms/mri-1/publishers/console", "/api/rooms/{room}/publishers/{publisher}"
	res, body := request(t, "OPTIONS", server.URL+url, "", "Origin", "https://desk.example", "Access-Control-Request-Method", "PATCH")
	doc.Check(t, path, res, body)
	for name, want := range map[string]string{
		"Allow": "DELETE, OPTIONS, PATCH", "Accept-Patch": "application/json", "Access-Control-Allow-Origin": "https://desk.example",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("OPTIONS: %s is %q, want %q", name, got, want)
		}
	}
	if methods := res.Header.Get("Access-Control-Allow-Methods"); !strings.Contains(methods, "PATCH") {
		t.Errorf("a preflight is told %q, want PATCH among it", methods)
	}
	if res, _ := request(t, "PUT", server.URL+url, adminMRI); res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "DELETE, OPTIONS, PATCH" {
		t.Errorf("PUT: got %d, Allow: %s", res.StatusCode, res.Header.Get("Allow"))
	}
}

func TestUnchangedAnswerIsNotSentAgain(t *testing.T) {
	doc := description(t)
	h := &fakeHeart{all: hospital()}
	_, server := serve(t, Defaults(), h, auth.New(auth.Config{}))
	for url, path := range map[string]string{
		"/api/rooms":              "/api/rooms",
		"/api/rooms/mri-1":        "/api/rooms/{room}",
		"/api/rooms/mri-1/tracks": "/api/rooms/{room}/tracks",
		"/api/openapi.yaml":       "/api/openapi.yaml",
	} {
		res, body := request(t, "GET", server.URL+url, "")
		tag := res.Header.Get("ETag")
		if len(body) == 0 {
			t.Errorf("%s is empty", url)
		}
		for _, tt := range []struct {
			field string
			want  int
		}{
			{tag, http.StatusNotModified},
			{"W/" + tag, http.StatusNotModified},
			{`"other", ` + tag, http.StatusNotModified},
			{"*", http.StatusNotModified},
			{`"other"`, http.StatusOK},
			{strings.Trim(tag, `"`), http.StatusOK}, // not an entity tag
		} {
			res, body := request(t, "GET", server.URL+url, "", "If-None-Match", tt.field)
			if res.StatusCode != tt.want || res.Header.Get("ETag") != tag {
				t.Errorf("%s with If-None-Match: %s: got %d and ETag %s, want %d and %s",
					url, tt.field, res.StatusCode, res.Header.Get("ETag"), tt.want, tag)
			}
			if (len(body) == 0) != (tt.want == http.StatusNotModified) {
				t.Errorf("%s with If-None-Match: %s: %d came with %d bytes", url, tt.field, res.StatusCode, len(body))
			}
			doc.Check(t, path, res, body)
		}
	}
	res, _ := request(t, "GET", server.URL+"/api/rooms", "")
	h.all = h.all[1:]
	if changed, _ := request(t, "GET", server.URL+"/api/rooms", "", "If-None-Match", res.Header.Get("ETag")); changed.StatusCode != http.StatusOK {
		t.Errorf("after a change: got %d, want 200", changed.StatusCode)
	}
}

func TestHeadAnswersAsGetWithoutBody(t *testing.T) {
	h := &fakeHeart{all: hospital()}
	_, server := serve(t, Defaults(), h, auth.New(auth.Config{}))
	get, _ := request(t, "GET", server.URL+"/api/rooms", "")
	head, body := request(t, "HEAD", server.URL+"/api/rooms", "")
	if head.StatusCode != http.StatusOK || len(body) != 0 || head.Header.Get("ETag") != get.Header.Get("ETag") {
		t.Errorf("HEAD: got %d, %d bytes, ETag %s; want 200, none and %s",
			head.StatusCode, len(body), head.Header.Get("ETag"), get.Header.Get("ETag"))
	}
}
