package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sightline/internal/auth"
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
		`{"id":"console/audio","room":"mri-1","publisher":"console","kind":"audio","label":"","codec":"opus","profile":"",` +
		`"width":0,"height":0,"fps":0,"bitrate":0,"state":"connecting","since":"2026-11-24T18:00:00.123Z",` +
		`"packetAgeMs":null,"keyframeAgeMs":null,"keyframeIntervalMs":null,"loss":0,"rttMs":null,"viewers":0,` +
		`"session":"","client":"","path":"","whep":"BASE/whep/mri-1/console/audio","watch":"BASE/watch/mri-1/console/audio"},` +
		`{"id":"console/video","room":"mri-1","publisher":"console","kind":"video","label":"Console","codec":"H264",` +
		`"profile":"Constrained Baseline 3.1","width":1280,"height":720,"fps":30,"bitrate":2500000,"state":"live",` +
		`"since":"2026-11-24T18:00:00.123Z","packetAgeMs":12,"keyframeAgeMs":400,"keyframeIntervalMs":1000,"loss":0.0123,` +
		`"rttMs":1.5,"viewers":2,"session":"s-1","client":"Lavf/62","path":"udp",` +
		`"whep":"BASE/whep/mri-1/console/video","watch":"BASE/watch/mri-1/console/video"},`
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
