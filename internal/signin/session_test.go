package signin

import (
	"fmt"
	"testing"
	"time"

	"sightline/internal/auth"
	"sightline/internal/fault"
)

// clocked are sessions whose time is the test's.
func clocked(most int, idle time.Duration) (*sessions, *time.Time) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	s := newSessions(most, idle)
	s.clock = func() time.Time { return now }
	return s, &now
}

func of(subject string, expires time.Time) *session {
	id := auth.Identity{Name: subject, Kind: auth.Person, ID: newID(), Expires: expires}
	return &session{id: id.ID, subject: subject, grants: []*auth.Grant{{Identity: id}}, expires: expires}
}

func TestSessionEndsWithoutASignOfLife(t *testing.T) {
	a, now := clocked(10, time.Hour)
	s := of("anna", now.Add(10*time.Hour))
	cookie, err := a.begin(s)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		*now = now.Add(59 * time.Minute)
		if a.find(cookie) != s {
			t.Fatal("a session that is used has ended")
		}
	}
	*now = now.Add(59 * time.Minute)
	if !a.inUse(s.id) {
		t.Fatal("a session for which something goes on has ended")
	}
	*now = now.Add(59 * time.Minute)
	if a.find(cookie) == nil {
		t.Fatal("what goes on counts as no sign of life")
	}
	*now = now.Add(time.Hour)
	if a.find(cookie) != nil || a.inUse(s.id) {
		t.Error("a session that nobody uses goes on")
	}
	if a.forget(); a.len() != 0 {
		t.Error("it is not forgotten")
	}
}

func TestSessionEndsInTimeHoweverItIsUsed(t *testing.T) {
	a, now := clocked(10, time.Hour)
	cookie, err := a.begin(of("anna", now.Add(time.Minute)))
	if err != nil {
		t.Fatal(err)
	}
	*now = now.Add(time.Minute - 1)
	if a.find(cookie) == nil {
		t.Fatal("it has ended before")
	}
	*now = now.Add(1)
	if a.find(cookie) != nil {
		t.Error("it goes on")
	}
}

func TestSessionsAreBounded(t *testing.T) {
	a, now := clocked(maxOfOne+1, time.Hour)
	var cookies []string
	for range maxOfOne + 5 { // one person crowds out nobody but himself
		*now = now.Add(time.Second)
		cookie, err := a.begin(of("anna", now.Add(time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		cookies = append(cookies, cookie)
	}
	if a.len() != maxOfOne || a.find(cookies[4]) != nil || a.find(cookies[5]) == nil {
		t.Errorf("%d sessions of one person, want %d, the newest", a.len(), maxOfOne)
	}
	if _, err := a.begin(of("bo", now.Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	if _, err := a.begin(of("cy", now.Add(time.Hour))); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("beyond the limit: %v, want unavailable", err)
	}
	*now = now.Add(2 * time.Hour)
	if _, err := a.begin(of("cy", now.Add(time.Hour))); err != nil || a.len() != 1 || len(a.byID) != 1 {
		t.Errorf("those that are over still count: %v, %d", err, a.len())
	}
}

func TestRenewedSessionHasAnotherCookie(t *testing.T) {
	a, now := clocked(1, time.Hour) // at the limit, too
	s := of("anna", now.Add(time.Minute))
	first, err := a.begin(s)
	if err != nil {
		t.Fatal(err)
	}
	renewed := *s
	renewed.expires = now.Add(time.Hour)
	second, err := a.begin(&renewed)
	if err != nil {
		t.Fatal(err)
	}
	if first == second || a.find(first) != nil || a.find(second) != &renewed || a.len() != 1 {
		t.Error("the old cookie counts still, or the new one not")
	}
	if !a.end(&renewed) || a.end(s) || a.len() != 0 || len(a.byID) != 0 {
		t.Error("it doesn't end once")
	}
}

func TestSealOpensWhatItHasClosed(t *testing.T) {
	s, now := newSeal(), time.Now()
	f := flow{State: "s", Nonce: "n", Verifier: "v", Return: "/mri-2", Began: now}
	text, err := s.close(f)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.open(text, now.Add(flowTime)); err != nil || got.Return != "/mri-2" || got.Verifier != "v" {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, open := range map[string]func() (flow, error){
		"too old":           func() (flow, error) { return s.open(text, now.Add(flowTime+1)) },
		"of another":        func() (flow, error) { return newSeal().open(text, now) },
		"changed":           func() (flow, error) { return s.open(text[:len(text)-2]+"xx", now) },
		"nothing":           func() (flow, error) { return s.open("", now) },
		"what is no base64": func() (flow, error) { return s.open("!", now) },
	} {
		if _, err := open(); err == nil {
			t.Errorf("%s: it opens", name)
		}
	}
}

// No cookie that comes from outside makes the seal panic.
func FuzzSeal(f *testing.F) {
	s := newSeal()
	text, err := s.close(flow{State: "s"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := s.open(text, time.Time{}); err == nil && got.State != "s" {
			t.Errorf("%q opens: %+v", text, got)
		}
	})
}

func TestClaimsAreReadAsProvidersWriteThem(t *testing.T) {
	c := auth.OIDCConfig{NameClaim: "sub", RoleClaim: "a.b"}
	for _, tt := range []struct {
		role any
		want []string
	}{
		{map[string]any{"b": "x"}, []string{"x"}},
		{map[string]any{"b": []any{"y", 5, "", "x"}}, []string{"x", "y"}},
		{map[string]any{"b": map[string]any{"x": 1, "y": 2}}, []string{"x", "y"}},
		{map[string]any{"b": 5}, nil},
		{"b", nil},
		{nil, nil},
	} {
		p, err := read(c, map[string]any{"sub": "1", "a": tt.role, "name": "A\u202e\tB"})
		if err != nil || fmt.Sprint(p.values) != fmt.Sprint(tt.want) || p.label != "A B" {
			t.Errorf("%v: got %+v, %v, want %q", tt.role, p, err, tt.want)
		}
	}
	if p, err := read(auth.OIDCConfig{NameClaim: "sub", RoleClaim: "https://x.y/roles"}, map[string]any{"sub": "1", "https://x.y/roles": "z"}); err != nil || len(p.values) != 1 {
		t.Errorf("a claim with dots in its name: %+v, %v", p, err)
	}
}
