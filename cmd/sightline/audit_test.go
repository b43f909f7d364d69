package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pion/webrtc/v4"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/doortest"
)

// auditLines are the lines of the log at path, over all its files.
func auditLines(t *testing.T, path string) []audit.Event {
	t.Helper()
	names, err := filepath.Glob(path + ".0*")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	var out []audit.Event
	for _, name := range append(names, path) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var e audit.Event
			if bytes.HasSuffix(line, []byte("\n")) { // the last may be half a line
				if err := json.Unmarshal(line, &e); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				out = append(out, e)
			}
		}
	}
	return out
}

// What people did in a run of the gateway is in its audit log, and no secret is.
func TestAuditLogOfARun(t *testing.T) {
	dir := t.TempDir()
	path, key := filepath.Join(dir, "log", "audit.log"), filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte(auth.NewToken()), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens := map[string]string{"camera": auth.NewToken(), "nurse": auth.NewToken(), "chief": auth.NewToken()}
	guess := auth.NewToken()
	entry := func(name, scopes, rooms string) string {
		return fmt.Sprintf("{name = %q, sha256 = %q, scopes = [%s], rooms = [%s]}", name, auth.HashToken(tokens[name]), scopes, rooms)
	}
	g := start(t, "SIGHTLINE_AUDIT_FILE="+path, "SIGHTLINE_AUDIT_KEY_FILE="+key, "SIGHTLINE_AUDIT_NODE=gw-1", "SIGHTLINE_LOG_LEVEL=debug", "SIGHTLINE_SHUTDOWN_DRAIN_TIMEOUT=100ms",
		"SIGHTLINE_AUTH_TOKENS=["+entry("camera", `"publish"`, `"mri-*"`)+", "+entry("nurse", `"play", "read"`, `"mri-*"`)+", "+entry("chief", `"admin"`, "")+"]")
	at := doortest.At(t, g.base)
	bearer := func(name string) []string { return []string{"Authorization", "Bearer " + tokens[name]} }

	camera := doortest.NewPeer(t)
	camera.Send(t, doortest.Keyframe, webrtc.MimeTypeVP8, webrtc.MimeTypeOpus)
	offer := camera.Connect(t, at, "/whip/mri-2/console", bearer("camera")...)
	eventually(t, "the camera is live", func() bool {
		return strings.Contains(at.Do(t, "GET", "/api/rooms/mri-2/tracks", "", bearer("nurse")...).Text, `"state":"live"`)
	})
	viewer, listener := doortest.NewPeer(t), doortest.NewPeer(t)
	viewer.Receive(t, webrtc.RTPCodecTypeVideo)
	seen := &count{}
	seen.follow(viewer)
	viewer.Connect(t, at, "/whep/mri-2/console/video", bearer("nurse")...)
	listener.Receive(t, webrtc.RTPCodecTypeAudio)
	listener.Connect(t, at, "/whep/mri-2/~mix", bearer("nurse")...)
	eventually(t, "the viewer sees something", func() bool { n, _ := seen.packets(); return n > 0 })
	entered := at.Do(t, "POST", "/api/rooms/mri-2/participants", `{"name": "Ada"}`, append(bearer("nurse"), "Content-Type", "application/json")...)
	own := entered.Header.Get("Location")
	at.Do(t, "PATCH", own, `{"name": "Grace"}`, "Content-Type", "application/json")
	const publisher = "/api/rooms/mri-2/publishers/console"
	at.Do(t, "PATCH", publisher, `{"muted": true}`, append(bearer("chief"), "Content-Type", "application/json")...)
	at.Do(t, "PATCH", publisher, `{"muted": false}`, append(bearer("chief"), "Content-Type", "application/json")...)
	at.Do(t, "DELETE", own, "")
	at.Do(t, "DELETE", viewer.Session, "")
	for range 50 {
		at.Do(t, "GET", "/api/rooms", "", "Authorization", "Bearer "+guess)
	}
	at.Do(t, "DELETE", publisher, "", bearer("nurse")...)
	at.Do(t, "DELETE", publisher, "", bearer("chief")...)
	camera.WaitClosed(t)
	eventually(t, "the log can be read", func() bool {
		page := at.Do(t, "GET", "/api/audit?room=mri-2", "", bearer("chief")...)
		return page.StatusCode == http.StatusOK && strings.Contains(page.Text, `"cause":"removed"`)
	})
	for _, name := range []string{"camera", "nurse"} {
		if res := at.Do(t, "GET", "/api/audit", "", bearer(name)...); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s reads the audit log: %d", name, res.StatusCode)
		}
	}
	g.signals <- syscall.SIGTERM
	if code := g.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}

	// Each event, in the order of its kind.
	events := auditLines(t, path)
	for _, want := range []struct {
		what  audit.What
		phase audit.Phase
		check func(audit.Event) bool
	}{
		{audit.Started, "", func(e audit.Event) bool { return e.Version == buildVersion() && len(e.Config) == 64 }},
		{audit.Published, audit.Began, func(e audit.Event) bool {
			return e.Room == "mri-2" && e.Publisher == "console" && e.Name == "camera" && e.Kind == "token" && e.Address == "127.0.0.1" && len(e.Tracks) == 2 && e.Session != ""
		}},
		{audit.Published, audit.Ended, func(e audit.Event) bool {
			return e.Cause == "removed" && e.Packets > 0 && e.Bytes > 0 && e.From.Before(e.To) && !e.From.IsZero()
		}},
		{audit.Watched, audit.Began, func(e audit.Event) bool {
			return e.Name == "nurse" && slices.Equal(e.Tracks, []string{"console/video"})
		}},
		{audit.Watched, audit.Ended, func(e audit.Event) bool { return e.Cause == "deleted" && e.Packets > 0 }},
		{audit.Heard, audit.Began, func(e audit.Event) bool { return e.Publisher == "~mix" && e.Name == "nurse" }},
		{audit.Heard, audit.Ended, func(e audit.Event) bool { return e.Cause == "draining" }},
		{audit.Entered, "", func(e audit.Event) bool { return e.Called == "Ada" && e.Name == "nurse" && e.Participant != "" }},
		{audit.Renamed, "", func(e audit.Event) bool { return e.Called == "Grace" }},
		{audit.Left, "", func(e audit.Event) bool {
			return e.Called == "Grace" && e.Cause == "left" && !e.From.IsZero() && !e.To.Before(e.From)
		}},
		{audit.Muted, "", func(e audit.Event) bool { return e.Name == "chief" && e.Publisher == "console" }},
		{audit.Unmuted, "", func(e audit.Event) bool { return e.Name == "chief" }},
		{audit.Removed, "", func(e audit.Event) bool { return e.Name == "chief" && e.Publisher == "console" }},
		{audit.Refused, "", func(e audit.Event) bool {
			return e.Name == "nurse" && e.Cause == "forbidden" && e.Request == "DELETE /api/rooms/:room/publishers/:publisher" && e.Room == "mri-2"
		}},
		{audit.Inspected, "", func(e audit.Event) bool { return e.Name == "chief" && e.Room == "mri-2" }},
		{audit.Stopped, "", func(audit.Event) bool { return true }},
	} {
		matches := func(e audit.Event) bool { return e.What == want.what && e.Phase == want.phase && want.check(e) }
		if !slices.ContainsFunc(events, matches) {
			t.Errorf("no event is %s %s as it should be: %+v", want.what, want.phase, slices.DeleteFunc(slices.Clone(events), func(e audit.Event) bool { return e.What != want.what }))
		}
	}
	guesses, lines := uint64(0), 0
	for _, e := range events {
		if e.What == audit.Refused && e.Cause == "unauthenticated" {
			lines++
			guesses += max(e.Count, 1)
		}
	}
	if guesses != 50 || lines > 10 {
		t.Errorf("50 guesses are %d in %d lines", guesses, lines)
	}

	// No token, no session's URL, no SDP.
	capabilities := []string{filepath.Base(camera.Session), filepath.Base(viewer.Session), filepath.Base(own), guess}
	for _, token := range tokens {
		capabilities = append(capabilities, token, auth.HashToken(token))
	}
	password := ""
	for line := range strings.Lines(offer.Text) {
		if value, ok := strings.CutPrefix(line, "a=ice-pwd:"); ok {
			password = strings.TrimSpace(value)
		}
	}
	capabilities = append(capabilities, password, "a=ice", "v=0", "candidate:", "fingerprint")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range capabilities {
		if secret == "" || bytes.Contains(text, []byte(secret)) || strings.Contains(g.said(), secret) && len(secret) > 20 {
			t.Errorf("a log has %q", secret)
		}
	}

	verify := func(want int, says string, args ...string) {
		t.Helper()
		got := run(t, nil, "", append([]string{"audit", "verify"}, args...)...)
		if got.code != want || !strings.Contains(got.stdout+got.stderr, says) {
			t.Errorf("audit verify %q: %d\n%s%s\nwant %d, %s", args, got.code, got.stdout, got.stderr, want, says)
		}
	}
	verify(0, "in order", "-key", key, path)
	verify(0, "in order", "-key", key, filepath.Dir(path))
	verify(1, "it can't be verified", path)
	verify(2, "such as 17:", "-head", "17", path)
	verify(2, "name a log")
	verify(1, "there is no log", filepath.Join(dir, "nothing"))
	verify(1, "noted elsewhere", "-key", key, "-head", "2:"+strings.Repeat("0", 64), path)
	if err := os.WriteFile(path, bytes.Replace(text, []byte(`"nurse"`), []byte(`"ghost"`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	verify(1, "was changed: it has not the hash that it says", "-key", key, path)
}
