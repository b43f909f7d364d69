package web

import (
	"net/http"
	"strings"
	"testing"

	"sightline/rooms/api"
	"sightline/rooms/api/apitest"
)

func TestStationsSayTheirLimits(t *testing.T) {
	doc := apitest.Load(t, api.Description)
	for quality, want := range map[string]string{
		"360p":  `{"maxBitrate":1200000,"frameRate":24,"quality":"360p","width":640,"height":360,"muteFrom":6}`,
		"480p":  `{"maxBitrate":1200000,"frameRate":24,"quality":"480p","width":854,"height":480,"muteFrom":6}`,
		"720p":  `{"maxBitrate":1200000,"frameRate":24,"quality":"720p","width":1280,"height":720,"muteFrom":6}`,
		"1080p": `{"maxBitrate":1200000,"frameRate":24,"quality":"1080p","width":1920,"height":1080,"muteFrom":6}`,
	} {
		c := Defaults()
		c.Quality = quality
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
		h := serveWith(t, c)
		rec := ask(h, http.MethodGet, "/api/stations", nil)
		if got := rec.Body.String(); got != want || rec.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got %s, %v, want %s, not to be stored", quality, got, rec.Header(), want)
		}
		res := rec.Result()
		res.Request, _ = http.NewRequestWithContext(t.Context(), http.MethodGet, "/api/stations", nil)
		doc.Check(t, "/api/stations", res, rec.Body.Bytes())
		if head := ask(h, http.MethodHead, "/api/stations", nil); head.Code != http.StatusOK {
			t.Errorf("HEAD: got %d", head.Code)
		}
	}
}

func TestImpossibleLimitsAreSaidByTheirKeys(t *testing.T) {
	for key, c := range map[string]Config{
		"stations.max_bitrate": {MaxBitrate: 99_999, FrameRate: 24, Quality: "720p", MaxFull: 6},
		"stations.frame_rate":  {MaxBitrate: 1_200_000, FrameRate: 61, Quality: "720p", MaxFull: 6},
		"stations.quality":     {MaxBitrate: 1_200_000, FrameRate: 24, Quality: "4k", MaxFull: 6},
		"stations.max_full":    {MaxBitrate: 1_200_000, FrameRate: 24, Quality: "720p", MaxFull: -1},
	} {
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: got %v, want a complaint about %s alone", c, err, key)
		}
	}
	if err := (Config{MaxBitrate: 1, MaxFull: -1}).Validate(); err == nil || strings.Count(err.Error(), "stations.") != 4 {
		t.Errorf("got %v, want four complaints", err)
	}
}
