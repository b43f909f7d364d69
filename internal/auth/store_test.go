package auth

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sightline/internal/fault"
)

func TestStateThatCannotBeReadOrWrittenStopsTheGateway(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	for name, content := range map[string]string{"no JSON": "{", "another version": `{"version": 2}`, "nothing": ""} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "auth.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		c := Defaults()
		c.StateDir = dir
		if _, err := Open(c, quiet); err == nil || !strings.HasPrefix(err.Error(), "auth.state_dir: ") {
			t.Errorf("%s: got %v, want an error of auth.state_dir: what was revoked would be let in", name, err)
		}
	}
	c := Defaults()
	c.StateDir = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(c.StateDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(c, quiet); err == nil || !strings.HasPrefix(err.Error(), "auth.state_dir: ") {
		t.Errorf("a file for a directory: %v", err)
	}
}

// Each would write what it knows over what the other has revoked.
func TestTwoGatewaysHaveNoStateTogether(t *testing.T) {
	c, quiet := Defaults(), slog.New(slog.DiscardHandler)
	c.StateDir = t.TempDir()
	a, err := Open(c, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(c, quiet); err == nil || !strings.HasPrefix(err.Error(), "auth.state_dir: another process uses "+c.StateDir) {
		t.Errorf("a second one: got %v", err)
	}
	a.Close()
	for range 2 { // what could not start has let go of it
		wrong := c
		wrong.JWT.JWKS = filepath.Join(c.StateDir, "no such file")
		if _, err := Open(wrong, quiet); err == nil || !strings.HasPrefix(err.Error(), "auth.jwt.jwks: ") {
			t.Errorf("with keys that are not there: got %v", err)
		}
	}
}

func TestStateIsWrittenAtOnce(t *testing.T) {
	c := Defaults()
	c.StateDir = filepath.Join(t.TempDir(), "made", "for", "it")
	a, err := Open(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Revoke(Identity{}, Revocation{Name: "x"}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(c.StateDir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v: want one file with its lock, and none that is half of it", entries, err)
	}
	if info, err := os.Stat(c.StateDir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory's mode is %v, %v, want 0700", info.Mode(), err)
	}
	// A revocation that can't be kept holds all the same, and says so.
	if err := os.RemoveAll(c.StateDir); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Revoke(Identity{}, Revocation{Name: "y"}); err == nil || fault.KindOf(err) != "" {
		t.Errorf("got %v, want an error that is the gateway's own", err)
	}
	if !a.keeper.revoked(Identity{Name: "y"}) {
		t.Error("a revocation that can't be kept doesn't hold")
	}
}

// kill -9 in the middle of a write leaves half a file: the next start removes it, and nothing that is not the gateway's.
func TestWhatWasBeingWrittenIsRemoved(t *testing.T) {
	dir := t.TempDir()
	own := []string{"auth.json.tmp", "jwks-0123456789abcdef.json.tmp"}
	others := []string{"auth.json.1234567890", "auth.json.bak", "jwks-0123456789abcdef.json", "jwks-old.json.tmp", "my.tmp", "auth.json.tmp.tmp"}
	for _, name := range append(own, others...) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := Defaults()
	c.StateDir = dir
	a, err := Open(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	want := append(others, "auth.json", "auth.json.lock")
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
	if info, err := os.Stat(filepath.Join(dir, "auth.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the mode is %v (%v), want 0600", info.Mode(), err)
	}
	// Who has not got the lock removes nothing: the other is writing.
	half := filepath.Join(dir, own[0])
	if err := os.WriteFile(half, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(c, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a second gateway has the same state")
	}
	if _, err := os.Stat(half); err != nil {
		t.Errorf("without the lock: %v", err)
	}
}

// Who was told that a revocation could not be kept makes room; a restart must not let in what was revoked.
func TestWhatCouldNotBeKeptIsKeptOnceThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Defaults()
		c.StateDir = filepath.Join(t.TempDir(), "state")
		a, err := Open(c, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		if err := os.RemoveAll(c.StateDir); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Revoke(Identity{}, Revocation{Name: "eve"}); err == nil {
			t.Error("it could be kept")
		}
		if err := os.Mkdir(c.StateDir, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * saveAgain) // of the bubble
		synctest.Wait()
		if text, err := os.ReadFile(filepath.Join(c.StateDir, "auth.json")); err != nil || !strings.Contains(string(text), "eve") {
			t.Errorf("%v: it is not kept: %s", err, text)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		a.Close()
	})
}

func TestRevocationsAndInvitationsAreForgottenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Defaults()
		c.Tokens = []Token{{Name: "host", SHA256: HashToken("host"), Scopes: Scopes()}}
		a := New(c)
		host, err := ask(a, "host")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Revoke(Identity{}, Revocation{JTI: "1", Expires: time.Now().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		secret, i, err := a.Invite(host, Invitation{Room: "mri-2", Scopes: []Scope{Play}, Expires: time.Now().Add(time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		if who, err := ask(a, secret); err != nil || !who.Allows(Play, "mri-2", "") || who.Allows(Play, "ct-1", "") {
			t.Errorf("the invitation lets %v in, %v", who, err)
		}
		time.Sleep(time.Minute) // of the bubble
		if _, err := ask(a, secret); fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("the invitation lets in after its end: %v", err)
		}
		if n := len(a.Revocations()) + len(a.Invitations("mri-2")); n != 0 {
			t.Errorf("%d are listed after their end", n)
		}
		if err := a.Uninvite("mri-2", i.ID); fault.KindOf(err) != fault.NotFound {
			t.Errorf("taking it back then: %v", err)
		}
		if _, err := a.Revoke(Identity{}, Revocation{JTI: "2"}); err != nil {
			t.Fatal(err)
		}
		if n := len(a.store.revocations) + len(a.store.tokens) + len(a.store.invitations) + len(a.store.secrets); n != 2 {
			t.Errorf("%d things are kept, want the one revocation, and what it means", n)
		}
	})
}

func TestOlderScopesAreTaken(t *testing.T) {
	for scope, want := range map[Scope][]Scope{
		"publish": {Publish, Speak}, "play": {Play}, "read": {Read}, "admin": {Admin}, Publish: {Publish},
	} {
		c := Defaults()
		c.Tokens = []Token{{Name: "x", SHA256: HashToken("x"), Scopes: []Scope{scope}}}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", scope, err)
		}
		who, err := ask(New(c), "x")
		if err != nil {
			t.Fatal(err)
		}
		var got []Scope
		for _, s := range Scopes() {
			if who.Allows(s, "", "") {
				got = append(got, s)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: allows %q, want %q", scope, got, want)
		}
	}
}

func TestGlobsOfPublishersAndTracks(t *testing.T) {
	for _, tt := range []struct {
		globs string // separated by spaces
		name  string
		want  bool
	}{
		{"", "console/video", true},
		{"console", "console", true},
		{"console", "console/video", true},
		{"console", "console2", false},
		{"console/video", "console/video", true},
		{"console/video", "console/audio", false},
		{"console/video", "console", true}, // one of its tracks
		{"console/video", "gantry", false},
		{"*/video", "gantry/video", true},
		{"*/video", "gantry/audio", false},
		{"*/video", "~mix/audio", false},
		{"*", "~mix/audio", true},
		{"con*/audio gantry", "gantry/video", true},
	} {
		if got := matchesPublisher(strings.Fields(tt.globs), tt.name); got != tt.want {
			t.Errorf("%q for %q: got %t, want %t", tt.globs, tt.name, got, tt.want)
		}
	}
}
