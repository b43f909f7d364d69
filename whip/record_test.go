package whip

import (
	"slices"
	"testing"
	"time"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/doortest"
	"sightline/internal/fault"
	"sightline/rooms"
)

// The audit log knows who published, from where and until when, and who tried and did not connect.
func TestPublishingIsRecorded(t *testing.T) {
	g := start(t, nil)
	p := publish(t, g, "/whip/mri-2/console?role=hospital")
	began := g.Audit.Await(t, audit.Published, 1)[0]
	tracks := slices.Sorted(slices.Values(began.Tracks))
	if began.Phase != audit.Began || began.Room != "mri-2" || began.Publisher != "console" || began.Address != "127.0.0.1" ||
		began.Role != "hospital" || began.Session == "" || !slices.Equal(tracks, []string{"console/audio", "console/video"}) {
		t.Errorf("began: %+v", began)
	}
	flows(t, g)
	g.Do(t, "DELETE", p.Session, "")
	ended := g.Audit.Await(t, audit.Published, 2)[1]
	if ended.Phase != audit.Ended || ended.Session != began.Session || ended.Cause != "deleted" || ended.Packets < 10 || ended.Bytes == 0 ||
		ended.From.IsZero() || ended.To.Before(ended.From) {
		t.Errorf("ended: %+v", ended)
	}

	res := g.Post(t, "/whip/mri-2/gantry", lines(offer))
	g.Do(t, "DELETE", res.Header.Get("Location"), "")
	never := g.Audit.Await(t, audit.Published, 3)[2]
	if never.Phase != audit.Ended || never.Publisher != "gantry" || !never.From.IsZero() || never.To.IsZero() {
		t.Errorf("never connected: %+v", never)
	}
}

// Who speaks is named as he who has published is, and from where.
func TestWhoSpeaksIsRecordedAsWhoPublishes(t *testing.T) {
	g := start(t, func(o *doortest.Options) { o.Auth.JWT = jwts() })
	publish(t, g, "/whip/mri-2/console", "Authorization", "Bearer "+signed(t, "1", time.Hour, auth.Publish, auth.Speak))
	began := g.Audit.Await(t, audit.Published, 1)[0]
	if began.Name != "camera" || began.Kind != "jwt" || began.ID != "1" || began.Address == "" {
		t.Fatalf("published: %+v", began)
	}
	flows(t, g)
	g.Rooms.SetSpeaking("mri-2", []string{"console"})
	if spoke := g.Audit.Await(t, audit.Spoke, 1)[0]; spoke.Who != began.Who || spoke.Session != began.Session {
		t.Errorf("spoke: %+v, want who has begun: %+v", spoke, began)
	}
}

// Who is refused for something else than his token is named all the same.
func TestRefusedAreRecordedByName(t *testing.T) {
	g := start(t, func(o *doortest.Options) {
		o.Auth.JWT = jwts()
		o.HTTP.TokenRateLimit, o.HTTP.TokenRateBurst = 0.001, 2
	})
	publish(t, g, "/whip/mri-2/console", "Authorization", "Bearer "+signed(t, "1", time.Hour, auth.Publish))
	waitFor(t, g, "console/video", rooms.Live)
	other, err := auth.Mint(jwts(), auth.Grant{
		Identity: auth.Identity{Name: "mallory", Role: "technician", Expires: time.Now().Add(time.Hour)}, Scopes: []auth.Scope{auth.Publish},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		path   string
		status int
	}{
		{"/whip/mri-2/console", 403},              // the name is another's
		{"/whip/mri-2/gantry?role=hospital", 403}, // the role is not his
		{"/whip/mri-2/gantry", 429},
	} {
		if res := g.Post(t, tt.path, lines(offer), "Authorization", "Bearer "+other); res.StatusCode != tt.status {
			t.Fatalf("%s: got %d %s, want %d", tt.path, res.StatusCode, res.Text, tt.status)
		}
		if e := g.Audit.Await(t, audit.Refused, i+1)[i]; e.Name != "mallory" || e.Kind != "jwt" || e.Role != "technician" || e.Room != "mri-2" || e.Address == "" {
			t.Errorf("%s: recorded %+v, want who it was", tt.path, e)
		}
	}
	g.Post(t, "/whip/mri-2/gantry", lines(offer), "Authorization", "Bearer "+other+"x")
	if e := g.Audit.Await(t, audit.Refused, 4)[3]; e.Name != "" {
		t.Errorf("a wrong token: recorded %+v, want nobody", e)
	}
}

// No session begins that nobody would know of later.
func TestNoSessionWithoutARecord(t *testing.T) {
	closed := false
	g := start(t, nil)
	g.Sessions.AdmitIf(func() error {
		if closed {
			return fault.New(fault.Unavailable, "the audit log can't be written").After(time.Second)
		}
		return nil
	})
	if res := g.Post(t, "/whip/mri-2/console", lines(offer)); res.StatusCode != 201 {
		t.Errorf("got %d", res.StatusCode)
	}
	closed = true
	if res := g.Post(t, "/whip/mri-2/gantry", lines(offer)); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %s", res.StatusCode, res.Text)
	}
}
