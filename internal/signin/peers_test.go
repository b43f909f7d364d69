package signin

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"sightline/internal/auth"
	"sightline/internal/fault"
	"sightline/internal/replica"
)

// pair are the sessions of two nodes that tell each other, with one clock.
func pair(t *testing.T, most int, idle time.Duration) (a, b *sessions, now *time.Time, c auth.OIDCConfig) {
	c.Roles = []auth.OIDCRole{{Value: "*", Scopes: []auth.Scope{auth.Play}}}
	a, now = clocked(most, idle)
	b, _ = clocked(most, idle)
	b.clock = a.clock
	one := newSeal()
	for _, x := range []struct{ from, to *sessions }{{a, b}, {b, a}} {
		x.from.with = &others{
			set: replica.New(replica.Limits{Live: partitioned * most, Gone: 1000, Idle: idle}), seal: one, life: 10 * time.Hour,
			waiting: make(chan struct{}, 1), arrived: make(chan struct{}),
			tell: func(message []byte) {
				if _, _, err := x.to.merge(message, c); err != nil {
					t.Error(err)
				}
			},
		}
	}
	return a, b, now, c
}

func signedIn(subject string, expires time.Time) *session {
	s := of(subject, expires)
	s.label = subject
	return s
}

func TestUseAtOneNodeKeepsASessionAtAll(t *testing.T) {
	a, b, now, _ := pair(t, 10, time.Hour)
	cookie, err := a.begin(signedIn("anna", now.Add(10*time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	for minute := range 4 * 60 {
		*now = now.Add(time.Minute)
		if minute%59 == 58 && b.find(cookie) == nil {
			t.Fatal("a session that is used once in 59 minutes has ended")
		}
		a.forget()
		b.forget()
	}
	if a.len() != 1 {
		t.Fatal("a node has forgotten a session that another one sees in use")
	}
	*now = now.Add(time.Hour)
	a.forget()
	b.forget()
	if a.len()+b.len() != 0 || a.find(cookie) != nil {
		t.Error("a session that nobody uses goes on")
	}
	if !bytes.Equal(a.with.set.Digest(), b.with.set.Digest()) || !bytes.Equal(a.with.set.Digest(), replica.New(replica.Limits{}).Digest()) {
		t.Error("something is left of it")
	}
}

// What another node says of a session's end is one thing: the records are limited, and nothing is kept without one.
func TestASessionOfAnotherNodeEndsWithItsRecord(t *testing.T) {
	a, _, now, c := pair(t, 10, time.Hour)
	for n := range 100 {
		id := newID()
		hash := sha256.Sum256([]byte(id))
		body, err := json.Marshal(told{Hash: hash[:], Subject: "x", Name: "x", Label: "x", Began: *now, Expires: now.Add(1000 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		r := replica.Record{Key: sessionKey + id, Version: 1, Seen: now.Add(900 * time.Hour).Unix(), Until: now.Add(time.Second).UnixMilli(), Body: body}
		for _, message := range replica.Encode([]replica.Record{r}) {
			_, _, _ = a.merge(message, c)
		}
		*now = now.Add(2 * time.Second)
		a.forget()
		if a.len() > 0 {
			t.Fatalf("after %d records that have ended %d sessions are kept", n+1, a.len())
		}
	}
}

// The provider tells one node of a logout, whichever; nodes know by it which sessions are meant, wherever they began.
func TestProviderTellsOneNodeAndEndsSessionsAtAll(t *testing.T) {
	a, b, now, _ := pair(t, 10, time.Hour)
	begin := func(sid string, issued time.Time) string {
		s := signedIn("anna", now.Add(time.Hour))
		s.sid, s.issued = sid, issued
		cookie, err := a.begin(s)
		if err != nil {
			t.Fatal(err)
		}
		return cookie
	}
	meant, other, later := begin("s1", *now), begin("s2", *now), begin("s1", now.Add(time.Minute))
	if ended := b.over(&oidc.LogoutToken{Subject: "anna", SessionID: "s1", IssuedAt: now.Add(time.Second)}); len(ended) != 1 {
		t.Fatalf("%d sessions have ended, want 1", len(ended))
	}
	for _, node := range []*sessions{a, b} {
		if node.find(meant) != nil || node.find(other) == nil || node.find(later) == nil {
			t.Errorf("there are %v, %v and %v; want the first to have ended alone", node.find(meant), node.find(other), node.find(later))
		}
	}
}

func TestLimitsOfSessionsHoldOverAllNodes(t *testing.T) {
	a, b, now, _ := pair(t, maxOfOne+1, time.Hour)
	for i := range 2 * maxOfOne {
		*now = now.Add(time.Second)
		if _, err := []*sessions{a, b}[i%2].begin(signedIn("anna", now.Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	if a.len() != maxOfOne || b.len() != maxOfOne {
		t.Errorf("%d and %d sessions of one person, want %d", a.len(), b.len(), maxOfOne)
	}
	if _, err := a.begin(signedIn("bo", now.Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	if _, err := b.begin(signedIn("cy", now.Add(time.Hour))); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("beyond the limit: %v, want unavailable", err)
	}

	// Apart, each may let him in as often; together, he has as many again with his next session.
	a, b, now, c := pair(t, 100, time.Hour)
	told := b.with.tell
	a.with.tell, b.with.tell = func([]byte) {}, func([]byte) {}
	for range maxOfOne {
		*now = now.Add(time.Second)
		for _, s := range []*sessions{a, b} {
			if _, err := s.begin(signedIn("anna", now.Add(time.Hour))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for page, after := []byte(nil), ""; ; {
		var err error
		if page, after, err = a.with.set.Differing(b.with.set.Digest(), after); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.merge(page, c); err != nil {
			t.Fatal(err)
		}
		if after == "" {
			break
		}
	}
	if b.len() != 2*maxOfOne {
		t.Fatalf("%d sessions after the partition, want those of both sides", b.len())
	}
	b.with.tell = told
	if _, err := b.begin(signedIn("anna", now.Add(time.Hour))); err != nil || b.len() != maxOfOne {
		t.Errorf("%d sessions of one person, %v, want %d", b.len(), err, maxOfOne)
	}
}

func TestWhatOtherNodesTellOfSessionsIsChecked(t *testing.T) {
	const until = `"u":1900000000000,"s":1795694400`
	good := `{"k":"session/A",` + until + `,"v":1,"b":{"hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","subject":"x","name":"x","label":"X","expires":"2030-01-01T00:00:00Z"}}`
	for name, record := range map[string]string{
		"another thing": `{"k":"x/1","b":{}}`,
		"no hash":       `{"k":"session/A",` + until + `,"b":{"subject":"x","name":"x","label":"x"}}`,
		"no name":       `{"k":"session/A",` + until + `,"b":{"hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}`,
		"nothing":       `{"k":"session/A",` + until + `}`,
		"a list":        `{"k":"session/A",` + until + `,"b":[]}`,
	} {
		a, _, _, c := pair(t, 10, time.Hour)
		if _, _, err := a.merge([]byte("["+record+"]"), c); err == nil || a.len() != 0 {
			t.Errorf("%s: %v, %d sessions", name, err, a.len())
		}
	}
	a, _, _, _ := pair(t, 10, time.Hour)
	if _, _, err := a.merge([]byte("["+good+"]"), auth.OIDCConfig{}); err == nil || a.len() != 0 {
		t.Errorf("who has no role here is signed in: %v", err)
	}
	a, _, _, c := pair(t, 10, time.Hour)
	if _, _, err := a.merge([]byte("["+good+"]"), c); err != nil || a.len() != 1 {
		t.Errorf("a right one: %v", err)
	}
}

func TestSealsOfOneSecretOpenEachOthers(t *testing.T) {
	a, b := seal{[]byte("the secret of a cluster")}, seal{[]byte("the secret of a cluster")}
	text, err := a.close(flow{State: "s", Began: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if f, err := b.open(text, time.Now()); err != nil || f.State != "s" {
		t.Errorf("got %+v, %v", f, err)
	}
	if again, _ := a.close(flow{State: "s", Began: time.Now()}); again == text {
		t.Error("two are the same")
	}
	hint, err := a.wrap(sealedHint+"1", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.unwrap(sealedHint+"1", hint); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := b.unwrap(sealedHint+"2", hint); err == nil {
		t.Error("another session's hint opens")
	}
}

// Nothing that another node sends makes it panic.
func FuzzMerge(f *testing.F) {
	f.Add([]byte(`[{"k":"session/A","u":1900000000000,"s":1795694400,"v":1,"b":{"hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","subject":"x","name":"x","label":"X","expires":"2030-01-01T00:00:00Z","hint":"eA=="}}]`))
	f.Add([]byte(`[{"k":"session/A","g":true,"u":1900000000000}]`))
	f.Fuzz(func(t *testing.T, message []byte) {
		a := newSessions(10, time.Hour)
		c := auth.OIDCConfig{Roles: []auth.OIDCRole{{Value: "*", Scopes: []auth.Scope{auth.Play}}}}
		a.with = &others{set: replica.New(replica.Limits{Live: 10, Gone: 10, Idle: time.Hour}), seal: newSeal(), arrived: make(chan struct{}), tell: func([]byte) {}}
		_, _, _ = a.merge(message, c)
		a.forget()
	})
}
