package auth

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sightline/internal/fault"
	"sightline/internal/replica"
)

// A mesh is nodes that tell each other of changes, as far as they are on one side.
type mesh struct {
	t interface {
		Helper()
		Fatal(...any)
	}
	config Config
	dirs   []string // of the nodes' state, where it is kept
	nodes  []*Auth
	side   []int
	lost   func() bool // whether a message is lost on the way; nil: never
	wild   bool        // records may be any: what one node can't take it passes on, and the next one can't either
}

func newMesh(t interface {
	Helper()
	Fatal(...any)
}, c Config, n int, dirs ...string) *mesh {
	t.Helper()
	m := &mesh{t: t, config: c, dirs: dirs, nodes: make([]*Auth, n), side: make([]int, n)}
	for i := range n {
		m.start(i)
	}
	return m
}

// start starts a node, or starts it again.
func (m *mesh) start(i int) {
	m.t.Helper()
	c := m.config
	if len(m.dirs) > 0 {
		c.StateDir = m.dirs[i]
	}
	a, err := Open(c, slog.New(slog.DiscardHandler))
	if err != nil {
		m.t.Fatal(err)
	}
	m.nodes[i] = a
	if err := a.Share(func(message []byte) {
		for j, to := range m.nodes {
			if j == i || to == nil || m.side[i] != m.side[j] || m.lost != nil && m.lost() {
				continue
			}
			if err := to.Merge(message); err != nil {
				m.t.Fatal(err)
			}
		}
	}); err != nil {
		m.t.Fatal(err)
	}
}

// What another node says of the end of something is one thing: the records are limited, and nothing is kept without one.
func TestWhatAnotherNodeToldEndsWithItsRecord(t *testing.T) {
	m := newMesh(t, withHost(), 1)
	a, soon := m.nodes[0], time.Now().Add(time.Hour)
	invitation := Invitation{Room: "mri-2", Hash: HashToken("x"), Scopes: []Scope{Play}, Expires: soon.Add(time.Hour)}
	for key, v := range map[string]any{"revocation/1": Revocation{Name: "alice"}, "invitation/1": invitation} {
		r, err := record(key, v, soon)
		if err != nil {
			t.Fatal(err)
		}
		for _, message := range replica.Encode([]replica.Record{r}) {
			if err := a.Merge(message); err == nil {
				t.Errorf("%s: it was taken", key)
			}
		}
	}
	if n := len(a.Revocations()) + len(a.Invitations("mri-2")); n != 0 {
		t.Errorf("%d are kept for longer than their records", n)
	}
}

// stop lets a node run until what it was told is kept.
func (m *mesh) stop(i int) {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := m.nodes[i].Run(ctx); err != nil {
		m.t.Fatal(err)
	}
	m.nodes[i].Close()
}

// compare lets a node learn what another has and it lacks.
func (m *mesh) compare(i, j int) {
	m.t.Helper()
	after, mine := "", m.nodes[i].Digest()
	for {
		page, next, err := m.nodes[j].State(mine, after)
		if err != nil {
			m.t.Fatal(err)
		}
		if err := m.nodes[i].Merge(page); err != nil && !m.wild {
			m.t.Fatal(err)
		}
		if after = next; after == "" {
			return
		}
	}
}

// heal joins all sides, and lets all compare.
func (m *mesh) heal() {
	m.t.Helper()
	clear(m.side)
	for range m.nodes {
		for i := range m.nodes {
			m.compare(i, (i+1)%len(m.nodes))
		}
	}
}

// has is what a node lists, as text.
func (m *mesh) has(i int) string {
	var out []string
	for _, r := range m.nodes[i].Revocations() {
		out = append(out, r.ID)
	}
	for _, inv := range m.nodes[i].Invitations("mri-2") {
		out = append(out, inv.ID)
	}
	return strings.Join(out, " ")
}

func withHost() Config {
	c := Defaults()
	c.Tokens = []Token{{Name: "host", SHA256: HashToken("host"), Scopes: Scopes()}}
	return c
}

func TestRevocationAtOneNodeEndsWhatGoesOnAtAll(t *testing.T) {
	m := newMesh(t, Defaults(), 3)
	var leases []*Lease
	for _, a := range m.nodes {
		t.Cleanup(running(t, a))
		leases = append(leases, a.Keep(Identity{Name: "kim", Kind: JWT, ID: "Z6EQ"})) // of no end: nobody looks at it before it is woken
	}
	began := time.Now()
	r, err := m.nodes[0].Revoke(Identity{}, Revocation{JTI: "Z6EQ", Reason: "a lost phone"})
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range leases {
		ctx, stop := l.Bind(t.Context(), ErrExpired, ErrRevoked)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
			t.Errorf("node %d: what was revoked goes on after %s", i, time.Since(began))
		}
		stop()
		if l.Err() != ErrRevoked {
			t.Errorf("node %d: %v, want %v", i, l.Err(), ErrRevoked)
		}
	}
	t.Logf("ended at all nodes after %s", time.Since(began))
	if got := m.nodes[2].Revocations(); len(got) != 1 || got[0] != r {
		t.Errorf("another node lists %+v, want %+v", got, r)
	}
	if err := m.nodes[2].Unrevoke(r.ID); err != nil || m.has(0) != "" || m.has(1) != "" {
		t.Errorf("taken back at another node: %v, %q, %q", err, m.has(0), m.has(1))
	}
	if m.nodes[0].store.revoked(Identity{ID: "Z6EQ"}) {
		t.Error("what was taken back holds where it was made")
	}
}

func TestInvitationHoldsAtAllNodesUntilTakenBackAtAny(t *testing.T) {
	m := newMesh(t, withHost(), 3)
	stop := running(t, m.nodes[2])
	defer stop()
	host, err := ask(m.nodes[0], "host")
	if err != nil {
		t.Fatal(err)
	}
	secret, made, err := m.nodes[0].Invite(host, Invitation{Room: "mri-2", Scopes: []Scope{Play}, Publishers: []string{"console/video"}, Label: "Dr. Kim", Expires: time.Now().Add(time.Hour).Round(0)})
	if err != nil {
		t.Fatal(err)
	}
	guest, err := ask(m.nodes[2], secret)
	if err != nil {
		t.Fatal(err)
	}
	id, err := guest.May(Play, "mri-2", "console/video")
	if err != nil || guest.Allows(Play, "mri-2", "gantry") {
		t.Errorf("it is another at another node: %v", err)
	}
	lease := m.nodes[2].Keep(id)
	defer lease.Release()
	if got := m.nodes[1].Invitations("mri-2"); len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(made) {
		t.Errorf("another node lists %+v, want %+v", got, made)
	}
	if err := m.nodes[1].Uninvite("mri-2", made.ID); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Second)
	for lease.Err() == nil && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if _, err := ask(m.nodes[0], secret); lease.Err() != ErrRevoked || fault.KindOf(err) != fault.Unauthenticated || m.has(0) != "" {
		t.Errorf("after it was taken back: %v, %v, %q", lease.Err(), err, m.has(0))
	}
}

func TestLimitsHoldOverAllNodes(t *testing.T) {
	c := withHost()
	c.MaxRevocations, c.MaxInvitations = 4, 2
	m := newMesh(t, c, 2)
	host, err := ask(m.nodes[0], "host")
	if err != nil {
		t.Fatal(err)
	}
	make := func(i int) (error, error) {
		_, revoked := m.nodes[i].Revoke(Identity{}, Revocation{Name: "x"})
		_, _, invited := m.nodes[i].Invite(host, Invitation{Room: "mri-2", Scopes: []Scope{Play}, Expires: time.Now().Add(time.Hour)})
		return revoked, invited
	}
	for i := range 4 {
		revoked, invited := make(i % 2)
		if revoked != nil || (i < 2) != (invited == nil) {
			t.Errorf("%d: %v, %v", i, revoked, invited)
		}
	}
	if revoked, invited := make(0); fault.KindOf(revoked) != fault.Unavailable || fault.KindOf(invited) != fault.Unavailable {
		t.Errorf("beyond the limit: %v, %v", revoked, invited)
	}
	// Each side of a partition makes as many as it may. Nothing that was revoked is let in for that.
	c.MaxRevocations = 3
	m = newMesh(t, c, 2)
	m.side[1] = 1
	for i := range 6 {
		if _, err := m.nodes[i%2].Revoke(Identity{}, Revocation{Name: fmt.Sprint("x", i)}); err != nil {
			t.Fatal(err)
		}
	}
	m.heal()
	for i, a := range m.nodes {
		if n := len(a.Revocations()); n != 6 {
			t.Errorf("node %d knows %d revocations, want 6", i, n)
		}
		if _, err := a.Revoke(Identity{}, Revocation{Name: "y"}); fault.KindOf(err) != fault.Unavailable {
			t.Errorf("node %d: beyond the limit: %v", i, err)
		}
	}
}

// What another node has told is kept over a restart, and that something was taken back, too: from a
// node that has missed it, nothing comes back.
func TestNodesKeepWhatOthersTell(t *testing.T) {
	m := newMesh(t, withHost(), 2, t.TempDir(), t.TempDir())
	kept, err := m.nodes[0].Revoke(Identity{}, Revocation{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	taken, err := m.nodes[0].Revoke(Identity{}, Revocation{Name: "y"})
	if err != nil {
		t.Fatal(err)
	}
	m.side[1] = 1
	if err := m.nodes[0].Unrevoke(taken.ID); err != nil {
		t.Fatal(err)
	}
	m.stop(0)
	m.stop(1)
	m.start(0)
	m.start(1)
	if m.has(0) != kept.ID || !strings.Contains(m.has(1), taken.ID) {
		t.Fatalf("after a restart: %q and %q", m.has(0), m.has(1))
	}
	m.heal()
	if m.has(0) != kept.ID || m.has(1) != kept.ID {
		t.Errorf("what was taken back has come back: %q and %q, want %q", m.has(0), m.has(1), kept.ID)
	}
	m.stop(1)
	m.start(1)
	if m.has(1) != kept.ID {
		t.Errorf("what was merged is not kept: %q", m.has(1))
	}
}

// A disk that takes nothing doesn't keep a revocation from being told, nor from holding.
func TestRevocationIsToldThoughItCannotBeKept(t *testing.T) {
	m := newMesh(t, withHost(), 2, t.TempDir(), t.TempDir())
	m.dirs = nil
	if err := os.RemoveAll(filepath.Dir(m.nodes[0].store.path)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.nodes[0].Revoke(Identity{}, Revocation{Name: "x"}); err == nil || fault.KindOf(err) != "" {
		t.Errorf("got %v, want an error that is the gateway's own", err)
	}
	if !m.nodes[1].store.revoked(Identity{Name: "x"}) {
		t.Error("it does not hold at the other node")
	}
	host, err := ask(m.nodes[0], "host")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.nodes[0].Invite(host, Invitation{Room: "mri-2", Scopes: []Scope{Play}, Expires: time.Now().Add(time.Hour)}); err == nil {
		t.Error("an invitation that can't be kept was made")
	}
	if len(m.nodes[0].Invitations("")) != 0 || len(m.nodes[1].Invitations("")) != 0 {
		t.Error("an invitation whose secret nobody has is there")
	}
}

// Whatever is done where, with messages that are lost, partitions, restarts and comparisons in any order.
func TestNodesAgreeInTheEnd(t *testing.T) {
	root := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		dirs := make([]string, rapid.IntRange(2, 3).Draw(rt, "nodes"))
		for i := range dirs {
			dir, err := os.MkdirTemp(root, "")
			if err != nil {
				rt.Fatal(err)
			}
			dirs[i] = dir
		}
		m := newMesh(rt, withHost(), len(dirs), dirs...)
		m.lost = func() bool { return rapid.Bool().Draw(rt, "lost") }
		host, err := ask(m.nodes[0], "host")
		if err != nil {
			rt.Fatal(err)
		}
		var taken []string
		for range rapid.IntRange(0, 15).Draw(rt, "steps") {
			i := rapid.IntRange(0, len(dirs)-1).Draw(rt, "node")
			a := m.nodes[i]
			switch rapid.SampledFrom([]string{"revoke", "unrevoke", "invite", "uninvite", "cut", "compare", "restart", "crash"}).Draw(rt, "step") {
			case "revoke":
				r := Revocation{Name: "x"}
				if rapid.Bool().Draw(rt, "ends") {
					r.Expires = time.Now().Add(time.Hour)
				}
				if _, err := a.Revoke(Identity{}, r); err != nil {
					rt.Fatal(err)
				}
			case "unrevoke":
				if known := a.Revocations(); len(known) > 0 {
					taken = append(taken, known[0].ID)
					if err := a.Unrevoke(known[0].ID); err != nil {
						rt.Fatal(err)
					}
				}
			case "invite":
				if _, _, err := a.Invite(host, Invitation{Room: "mri-2", Scopes: []Scope{Play}, Expires: time.Now().Add(time.Hour)}); err != nil {
					rt.Fatal(err)
				}
			case "uninvite":
				if known := a.Invitations("mri-2"); len(known) > 0 {
					taken = append(taken, known[0].ID)
					if err := a.Uninvite("mri-2", known[0].ID); err != nil {
						rt.Fatal(err)
					}
				}
			case "cut":
				m.side[i] = rapid.IntRange(0, 1).Draw(rt, "side")
			case "compare":
				m.compare(i, rapid.IntRange(0, len(dirs)-1).Draw(rt, "other"))
			case "restart":
				m.stop(i)
				m.start(i)
			case "crash": // what it has done itself is kept
				a.Close()
				m.start(i)
			}
		}
		m.heal()
		for i := range m.nodes {
			if m.has(i) != m.has(0) {
				rt.Fatalf("node %d has %q, node 0 %q", i, m.has(i), m.has(0))
			}
			for _, id := range taken {
				if slices.Contains(strings.Fields(m.has(i)), id) {
					rt.Fatalf("node %d: %s was taken back, and is there", i, id)
				}
			}
		}
	})
}

func TestWhatOtherNodesTellIsChecked(t *testing.T) {
	soon := time.Now().Add(time.Hour).UTC()
	until := soon.UnixMilli()
	good := fmt.Sprintf(`{"k":"invitation/A","u":%d,"b":{"hash":%q,"room":"mri-2","scopes":["whep:play"],"expires":%q}}`, until, HashToken("x"), soon.Format(time.RFC3339Nano))
	for name, record := range map[string]string{
		"another thing":            `{"k":"x/1","b":{}}`,
		"neither jti nor name":     `{"k":"revocation/1","b":{"reason":"x"}}`,
		"a long name":              `{"k":"revocation/1","b":{"name":"` + strings.Repeat("x", maxText+1) + `"}}`,
		"a list":                   `{"k":"revocation/1","b":[]}`,
		"nothing":                  `{"k":"revocation/1"}`,
		"no hash":                  strings.Replace(good, HashToken("x"), "", 1),
		"no room":                  strings.Replace(good, "mri-2", "", 1),
		"a scope that there isn't": strings.Replace(good, "whep:play", "root", 1),
	} {
		m := newMesh(t, withHost(), 1)
		a := m.nodes[0]
		if err := a.Merge([]byte("[" + record + "]")); err == nil || m.has(0) != "" || a.keeper.revoked(Identity{Name: "x"}) {
			t.Errorf("%s: %v, %q", name, err, m.has(0))
		}
	}
	m := newMesh(t, withHost(), 1)
	a := m.nodes[0]
	if err := a.Merge([]byte("[" + good + "]")); err != nil || m.has(0) != "A" {
		t.Errorf("a right one: %v, %q", err, m.has(0))
	}
	if who, err := ask(a, "x"); err != nil || !who.Allows(Play, "mri-2", "") || who.Allows(Admin, "", "") {
		t.Errorf("it lets in %+v, %v", who, err)
	}
	if err := a.Merge([]byte("{")); err == nil {
		t.Error("what is no message is taken")
	}
}

// Nothing that another node sends makes it panic.
func FuzzMerge(f *testing.F) {
	f.Add([]byte(`[{"k":"revocation/A","b":{"name":"x"}},{"k":"invitation/B","g":true,"u":9999999999999}]`))
	f.Add([]byte(`[{"k":"invitation/B","u":9999999999999,"b":{"hash":"` + HashToken("x") + `","room":"r","scopes":["whep:play"],"publishers":["*"],"expires":"2099-01-01T00:00:00Z"}}]`))
	f.Fuzz(func(t *testing.T, message []byte) {
		m := newMesh(t, withHost(), 2)
		m.wild = true
		_ = m.nodes[0].Merge(message)
		_, _ = ask(m.nodes[0], "x")
		m.heal()
		if m.has(0) != m.has(1) {
			t.Errorf("%q and %q", m.has(0), m.has(1))
		}
	})
}
