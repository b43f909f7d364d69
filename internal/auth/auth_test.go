package auth

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"sightline/internal/fault"
)

func gateway(t *testing.T) (*Auth, map[string]string) {
	t.Helper()
	secrets := map[string]string{"camera": NewToken(), "nurse": NewToken(), "all": NewToken()}
	c := Defaults()
	c.Tokens = []Token{
		{Name: "camera", SHA256: HashToken(secrets["camera"]), Scopes: []Scope{Publish}, Rooms: []string{"mri-*"}, Publishers: []string{"console"}},
		{Name: "nurse", SHA256: strings.ToUpper(HashToken(secrets["nurse"])), Scopes: []Scope{Play}, Rooms: []string{"mri-1", "mri-2"}},
		{Name: "nurse", SHA256: HashToken(secrets["nurse"]), Scopes: []Scope{Read}},
		{Name: "all", SHA256: HashToken(secrets["all"]), Scopes: []Scope{Admin}},
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return New(c), secrets
}

// Items 20 to 22 and 25, rows 18, 19, 22 and 23 of docs/CONFORMANCE.md.
func TestTokenDecidesWhoMayDoWhat(t *testing.T) {
	a, secrets := gateway(t)
	const (
		plain   = `Bearer realm="sightline"`
		invalid = `Bearer realm="sightline", error="invalid_token"`
		request = `Bearer realm="sightline", error="invalid_request"`
	)
	insufficient := func(s Scope) string {
		return `Bearer realm="sightline", error="insufficient_scope", scope="` + string(s) + `"`
	}
	for _, tt := range []struct {
		name            string
		header          []string
		query           string
		scope           Scope
		room, publisher string
		who             string
		kind            fault.Kind
		challenge       string
	}{
		{name: "right token", header: []string{"Bearer " + secrets["camera"]}, scope: Publish, room: "mri-2", publisher: "console", who: "camera"},
		{name: "scheme in lower case", header: []string{"bearer " + secrets["camera"]}, scope: Publish, room: "mri-2", publisher: "console", who: "camera"},
		{name: "two spaces", header: []string{"Bearer  " + secrets["camera"]}, scope: Publish, room: "mri-2", publisher: "console", who: "camera"},
		{name: "no room asked for", header: []string{"Bearer " + secrets["nurse"]}, scope: Read, who: "nurse"},
		{name: "one token in two entries", header: []string{"Bearer " + secrets["nurse"]}, scope: Read, room: "ct-1", who: "nurse"},

		{name: "no token", scope: Publish, kind: fault.Unauthenticated, challenge: plain},
		{name: "Basic", header: []string{"Basic bnVyc2U6eA=="}, scope: Play, kind: fault.Unauthenticated, challenge: plain},
		{name: "bare token", header: []string{secrets["nurse"]}, scope: Play, kind: fault.Unauthenticated, challenge: plain},
		{name: "empty header", header: []string{""}, scope: Play, kind: fault.Unauthenticated, challenge: plain},
		{name: "token in the query", query: "?access_token=" + secrets["nurse"], scope: Read, kind: fault.Unauthenticated, challenge: plain},
		{name: "unknown token", header: []string{"Bearer undefined"}, scope: Play, kind: fault.Unauthenticated, challenge: invalid},
		{name: "empty token", header: []string{"Bearer "}, scope: Play, kind: fault.Unauthenticated, challenge: invalid},
		{name: "hash for a token", header: []string{"Bearer " + HashToken(secrets["nurse"])}, scope: Play, kind: fault.Unauthenticated, challenge: invalid},
		{name: "long token", header: []string{"Bearer " + strings.Repeat("x", 16<<10)}, scope: Play, kind: fault.Unauthenticated, challenge: invalid},
		{name: "two headers", header: []string{"Bearer " + secrets["nurse"], "Bearer " + secrets["nurse"]}, scope: Play, room: "mri-1", kind: fault.BadRequest, challenge: request},

		{name: "other scope", header: []string{"Bearer " + secrets["camera"]}, scope: Play, room: "mri-2", publisher: "console", kind: fault.Forbidden, challenge: insufficient(Play)},
		{name: "other room", header: []string{"Bearer " + secrets["camera"]}, scope: Publish, room: "ct-2", publisher: "console", kind: fault.Forbidden, challenge: insufficient(Publish)},
		{name: "other publisher", header: []string{"Bearer " + secrets["camera"]}, scope: Publish, room: "mri-2", publisher: "console2", kind: fault.Forbidden, challenge: insufficient(Publish)},
		{name: "scope of one entry, room of the other", header: []string{"Bearer " + secrets["nurse"]}, scope: Play, room: "ct-1", kind: fault.Forbidden, challenge: insufficient(Play)},
		{name: "admin implies nothing", header: []string{"Bearer " + secrets["all"]}, scope: Play, room: "mri-1", kind: fault.Forbidden, challenge: insufficient(Play)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/"+tt.query, nil)
			for _, h := range tt.header {
				r.Header.Add("Authorization", h)
			}
			who, err := a.Authorize(r, tt.scope, tt.room, tt.publisher)
			if got := fault.KindOf(err); got != tt.kind {
				t.Fatalf("got %q (%v), want %q", got, err, tt.kind)
			}
			if who.Name != tt.who {
				t.Errorf("identity is %q, want %q", who.Name, tt.who)
			}
			var h interface{ Header() http.Header }
			if errors.As(err, &h) && h.Header().Get("WWW-Authenticate") != tt.challenge {
				t.Errorf("challenge is %s, want %s", h.Header().Get("WWW-Authenticate"), tt.challenge)
			} else if (h != nil) != (tt.challenge != "") {
				t.Errorf("challenge missing: %v", err)
			}
			if err != nil {
				for _, s := range secrets {
					if strings.Contains(err.Error(), s) {
						t.Errorf("the error repeats the token: %v", err)
					}
				}
			}
		})
	}
}

// Row 21 of docs/CONFORMANCE.md: what looks like a token of another kind is an unknown one,
// signed or not.
func TestJSONWebTokensAreUnknownTokens(t *testing.T) {
	a, _ := gateway(t)
	encode := base64.RawURLEncoding.EncodeToString
	for _, header := range []string{`{"alg":"none"}`, `{"alg":"HS256"}`, `{"alg":"RS256"}`} {
		for _, claims := range []string{`{"scope":"publish play","exp":4102444800}`, `{"scope":"publish","exp":1}`, `{"scope":"publish","nbf":4102444800}`} {
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			r.Header.Set("Authorization", "Bearer "+encode([]byte(header))+"."+encode([]byte(claims))+".")
			_, err := a.Authorize(r, Publish, "mri-2", "console")
			var h interface{ Header() http.Header }
			if fault.KindOf(err) != fault.Unauthenticated || !errors.As(err, &h) || !strings.Contains(h.Header().Get("WWW-Authenticate"), `error="invalid_token"`) {
				t.Errorf("%s %s: got %v, want an invalid token", header, claims, err)
			}
		}
	}
}

// Item 24: a client without a token may send nonsense.
func TestOpenGatewayIgnoresAuthorization(t *testing.T) {
	a := New(Config{Open: true})
	for _, header := range [][]string{nil, {"Bearer undefined"}, {"Basic x"}, {"nonsense"}, {"Bearer a", "Bearer b"}} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header["Authorization"] = header
		if who, err := a.Authorize(r, Admin, "room", "publisher"); err != nil || who.Name != "" {
			t.Errorf("%q: got %v, %v; want anonymous", header, who, err)
		}
	}
	if a.Enabled() {
		t.Error("Enabled without tokens")
	}
}

func TestIdentitySaysRoleAndOnlyPublisher(t *testing.T) {
	for _, tt := range []struct {
		publishers []string
		role, want string
	}{
		{nil, "", ""},
		{[]string{"console"}, "hospital", "console"},
		{[]string{"console.2-b_c"}, "", "console.2-b_c"},
		{[]string{"console", "gantry"}, "technician", ""},
		{[]string{"cons*"}, "technician", ""},
		{[]string{"consol?"}, "", ""},
		{[]string{"[c]onsole"}, "", ""},
		{[]string{`consol\\e`}, "", ""},
	} {
		secret := NewToken()
		a := New(Config{Tokens: []Token{
			{Name: "reader", SHA256: HashToken(secret), Scopes: []Scope{Read}, Publishers: []string{"other"}, Role: "other"},
			{Name: "x", SHA256: HashToken(secret), Scopes: []Scope{Publish}, Publishers: tt.publishers, Role: tt.role},
		}})
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set("Authorization", "Bearer "+secret)
		who, err := a.Authorize(r, Publish, "mri-2", "")
		if want := (Identity{Name: "x", Kind: Static, Role: tt.role, Publisher: tt.want}); err != nil || who != want {
			t.Errorf("%q: got %+v, %v, want %+v", tt.publishers, who, err, want)
		}
	}
}

func TestUnreadableHashLetsNobodyIn(t *testing.T) {
	a := New(Config{Tokens: []Token{{Name: "x", SHA256: "", Scopes: []Scope{Play}}}})
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header.Set("Authorization", "Bearer ")
	if _, err := a.Authorize(r, Play, "", ""); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("got %v, want %v", err, fault.Unauthenticated)
	}
}

func TestTokensAre256RandomBits(t *testing.T) {
	a, b := NewToken(), NewToken()
	if a == b || len(a) != 43 {
		t.Errorf("got %q and %q", a, b)
	}
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-4, appendix B.1
	if got := HashToken("abc"); got != abc {
		t.Errorf("HashToken(abc) = %s", got)
	}
}

func TestValidateNamesEveryWrongKey(t *testing.T) {
	hash := HashToken("x")
	c := Defaults()
	c.Tokens = []Token{
		{Name: "ok", SHA256: hash, Scopes: []Scope{Play}, Rooms: []string{"mri-[12]"}},
		{SHA256: "the token itself", Scopes: []Scope{"watch"}, Rooms: []string{"["}, Publishers: []string{""}},
		{Name: "ok", SHA256: HashToken("y")},
	}
	c.Warning, c.MaxRevocations, c.MaxInvitations = -1, 0, -1
	c.JWT = JWTConfig{Secret: "short and secret", SecretFile: "x", JWKS: "http://example.org", Leeway: -1, Algorithms: []string{"none"}}
	err := c.Validate()
	var got []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		key, _, _ := strings.Cut(line, ":")
		got = append(got, key)
	}
	want := []string{
		"auth.tokens[1].name", "auth.tokens[1].sha256", "auth.tokens[1].scopes", "auth.tokens[1].rooms", "auth.tokens[1].publishers",
		"auth.tokens[2].name", "auth.tokens[2].scopes",
		"auth.jwt.secret", "auth.jwt.secret_file", "auth.jwt.jwks", "auth.jwt.refresh", "auth.jwt.leeway", "auth.jwt.algorithms",
		"auth.jwt.issuer", "auth.jwt.audience", "auth.jwt.algorithms", "auth.jwt.algorithms",
		"auth.max_revocations", "auth.max_invitations", "auth.warning",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q,\nwant %q", got, want)
	}
	if strings.Contains(err.Error(), "the token itself") || strings.Contains(err.Error(), "short and secret") {
		t.Errorf("the error repeats what may be a token: %v", err)
	}
	if err := Defaults().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
}

func TestOpenGatewayStaysOnLoopbackUnlessTold(t *testing.T) {
	tokens := Config{Tokens: []Token{{Name: "x"}}}
	for _, tt := range []struct {
		listen string
		config Config
		ok     bool
	}{
		{"127.0.0.1:8080", Config{}, true},
		{"127.8.0.1:8080", Config{}, true},
		{"[::1]:8080", Config{}, true},
		{"[::ffff:127.0.0.1]:8080", Config{}, true},
		{"localhost:8080", Config{}, true},
		{":8080", Config{}, false},
		{"0.0.0.0:8080", Config{}, false},
		{"[::]:8080", Config{}, false},
		{"192.0.2.1:8080", Config{}, false},
		{"gateway:8080", Config{}, false},
		{"0.0.0.0:8080", Config{Open: true}, true},
		{"0.0.0.0:8080", tokens, true},
	} {
		err := CheckExposure(tt.listen, tt.config)
		if (err == nil) != tt.ok {
			t.Errorf("CheckExposure(%q, %+v) = %v, want ok %t", tt.listen, tt.config, err, tt.ok)
		}
		if err != nil && (!strings.Contains(err.Error(), "auth.open = true") || !strings.Contains(err.Error(), "[[auth.tokens]]")) {
			t.Errorf("the error does not name both ways out: %v", err)
		}
	}
}

// Who may do something everywhere has no limit: a pattern that matches an asterisk is one all the same.
func TestEveryIsNoName(t *testing.T) {
	for _, tt := range []struct {
		rooms, publishers []string
		want              bool
	}{
		{nil, nil, true},
		{[]string{"ct-1", "*"}, []string{"*"}, true},
		{[]string{"mri-*"}, nil, false},
		{[]string{"?"}, nil, false},
		{[]string{"[^a]*"}, nil, false},
		{nil, []string{"console"}, false},
		{nil, []string{"?*"}, false},
		{nil, []string{"*/video"}, false},
	} {
		c := Caller{grants: []*Grant{{Scopes: []Scope{Admin}, Rooms: tt.rooms, Publishers: tt.publishers}}}
		if got := c.Allows(Admin, "*", "*"); got != tt.want {
			t.Errorf("rooms %q, publishers %q: everywhere %t, want %t", tt.rooms, tt.publishers, got, tt.want)
		}
		_, err := c.MayEverywhere(Admin)
		var refused *ownRefusal
		if (err == nil) != tt.want || err != nil && !errors.As(err, &refused) {
			t.Errorf("rooms %q, publishers %q: MayEverywhere says %v, and whose token that is must be known", tt.rooms, tt.publishers, err)
		}
	}
}
