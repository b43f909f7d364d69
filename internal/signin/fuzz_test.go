package signin

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"sightline/internal/audit"
	"sightline/internal/auth"
	"sightline/internal/httpapi"
)

// answers is a provider that answers each request alike.
type answers []byte

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
		Body: io.NopCloser(bytes.NewReader(a)), ContentLength: int64(len(a)),
	}, nil
}

const fuzzedIssuer = "https://login.example.org"

// fuzzed is a door whose provider answers what a fuzzer likes, and signs with a key that the test has.
func fuzzed(f *testing.F) (*Door, ed25519.PrivateKey) {
	f.Helper()
	c := auth.Defaults()
	c.OIDC.Issuer, c.OIDC.ClientID = fuzzedIssuer, "sightline"
	c.OIDC.Roles = []auth.OIDCRole{{Value: "*", Scopes: auth.Scopes()}}
	h := httpapi.Defaults()
	h.PublicURL = "https://media.example.org"
	d, err := New(c.OIDC, h, auth.New(c), audit.Discard, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	verifier := oidc.NewVerifier(fuzzedIssuer, &oidc.StaticKeySet{PublicKeys: []crypto.PublicKey{public}},
		&oidc.Config{ClientID: "sightline", SupportedSigningAlgs: []string{oidc.EdDSA}})
	d.issuer.found.Store(&provider{
		Provider: (&oidc.ProviderConfig{IssuerURL: fuzzedIssuer, UserInfoURL: fuzzedIssuer + "/userinfo"}).NewProvider(context.Background()),
		verifier: verifier, logouts: verifier,
		oauth: oauth2.Config{ClientID: "sightline", Endpoint: oauth2.Endpoint{AuthURL: fuzzedIssuer + "/authorize", TokenURL: fuzzedIssuer + "/token"}},
	})
	return d, private
}

// routed is what serves the door.
func routed(d *Door) http.Handler {
	h := httpapi.Defaults()
	h.PublicURL, h.RateLimit = "https://media.example.org", 0
	router := httpapi.NewRouter(h, slog.New(slog.DiscardHandler))
	d.Route(router)
	return router
}

// signed is a JWT of header and claims as they are, with a right signature or a wrong one.
func signed(key ed25519.PrivateKey, header, claims string, right bool) string {
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(header)) + "." + encode([]byte(claims))
	signature := make([]byte, ed25519.SignatureSize)
	if right {
		signature = ed25519.Sign(key, []byte(text))
	}
	return text + "." + encode(signature)
}

// FuzzCallback: whatever comes back by the browser, and whatever the provider answers then, nobody
// is signed in whom it has not signed for, for this sign-in.
func FuzzCallback(f *testing.F) {
	d, key := fuzzed(f)
	router := routed(d)
	const claims = `{"iss":"https://login.example.org","aud":"sightline","sub":"anna","nonce":"n","exp":9e9,"iat":1,"name":"Anna","roles":"x"}`
	const tokens = `{"access_token":"a","token_type":"Bearer","id_token":"$"}`
	f.Add("code=c&state=s", claims, tokens, true)
	f.Add("code=c&state=s&iss=https%3A%2F%2Flogin.example.org", claims, tokens, false)
	f.Add("code=c&state=s", strings.Replace(claims, `"roles"`, `"x"`, 1), `{"access_token":"a","token_type":"Bearer","id_token":"$","sub":"anna","roles":[]}`, true) // by UserInfo
	f.Add("error=access_denied&state=s&error_description=%00", claims, `{"error":"invalid_grant"}`, true)
	f.Add("code=c&state=s&state=t;", strings.Replace(claims, `"n"`, `"m"`, 1), tokens, true)
	f.Add("code=c&state=s", strings.Replace(claims, `9e9`, `1`, 1), `[{"id_token":{}}]`, true)
	f.Add("code=%zz&state=s", strings.Replace(claims, `"sightline"`, `["sightline","x"],"azp":"x"`, 1), "access_token=a&id_token=$", true)
	f.Fuzz(func(t *testing.T, query, claims, answer string, right bool) {
		token := signed(key, `{"alg":"EdDSA"}`, claims, right)
		d.issuer.client.Transport = answers(strings.ReplaceAll(answer, "$", token))
		sealed, err := d.seal.close(flow{State: "s", Nonce: "n", Verifier: "v", Return: "/mri-2", Began: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "https://media.example.org"+callbackPath, nil)
		r.URL.RawQuery = query
		r.AddCookie(&http.Cookie{Name: d.cookieName("sightline-flow"), Value: sealed})
		d.sessions = newSessions(10, time.Hour)
		w := httptest.NewRecorder()
		router.ServeHTTP(w, r)
		switch n := d.sessions.len(); {
		case w.Code == http.StatusSeeOther && n == 1:
			var said struct{ Iss, Sub, Nonce string }
			_ = json.Unmarshal([]byte(claims), &said) // a claim of another type is checked elsewhere
			if !right || said.Iss != "" && said.Iss != fuzzedIssuer || said.Nonce != "" && said.Nonce != "n" || !strings.Contains(answer, "$") {
				t.Errorf("%s, %s, %s, signed %v: lets somebody in", query, claims, answer, right)
			}
			if to := w.Header().Get("Location"); to != "https://media.example.org/mri-2" {
				t.Errorf("leads to %q", to)
			}
		case n != 0 || w.Code < 400 || w.Code == http.StatusInternalServerError:
			t.Errorf("%q, %q: answered %d, and %d are signed in", query, answer, w.Code, n)
		}
	})
}

// FuzzLogout: a logout token that the provider has not signed, or that lacks what it needs, ends nothing.
func FuzzLogout(f *testing.F) {
	d, key := fuzzed(f)
	router := routed(d)
	const claims = `{"iss":"https://login.example.org","aud":"sightline","sub":"anna","iat":2,"exp":9e9,"jti":"7","events":{"http://schemas.openid.net/event/backchannel-logout":{}}}`
	f.Add("logout_token=$", `{"alg":"EdDSA","typ":"logout+jwt"}`, claims, true)
	f.Add("logout_token=$", `{"alg":"EdDSA"}`, claims, false)
	f.Add("logout_token=$&logout_token=$", `{"alg":"EdDSA"}`, claims, true)
	f.Add("logout_token=$", `{"alg":"none"}`, claims, true)
	f.Add("x=%zz;logout_token=$", `{"alg":"EdDSA"}`, strings.Replace(claims, `"jti"`, `"nonce":null,"jti"`, 1), true)
	f.Add("logout_token=$", `{"alg":"EdDSA","crit":["x"]}`, strings.Replace(claims, `"sub":"anna"`, `"sid":"s"`, 1), true)
	f.Add("logout_token=$", `{"alg":"EdDSA"}`, strings.Replace(claims, `"iat":2`, `"iat":0`, 1), true)
	f.Fuzz(func(t *testing.T, form, header, claims string, right bool) {
		body := strings.ReplaceAll(form, "$", signed(key, header, claims, right))
		id := auth.Identity{Name: "anna", Kind: auth.Person, ID: newID()}
		anna := &session{id: id.ID, subject: "anna", sid: "s", issued: time.Unix(1, 0), grants: []*auth.Grant{{Identity: id}}, expires: time.Now().Add(time.Hour)}
		bo := &session{id: newID(), subject: "bo", sid: "t", issued: time.Unix(1, 0), grants: anna.grants, expires: anna.expires}
		d.sessions = newSessions(10, time.Hour)
		for _, s := range []*session{anna, bo} {
			if _, err := d.sessions.begin(s); err != nil {
				t.Fatal(err)
			}
		}
		r := httptest.NewRequest("POST", "https://media.example.org/auth/backchannel-logout", strings.NewReader(body))
		r.Header.Set("Content-Type", formType)
		w := httptest.NewRecorder()
		router.ServeHTTP(w, r)
		annaHere, boHere := d.sessions.inUse(anna.id), d.sessions.inUse(bo.id)
		if w.Code == http.StatusInternalServerError || (!annaHere || !boHere) && w.Code != http.StatusOK {
			t.Errorf("%q: answered %d, anna is here: %v, bo: %v", body, w.Code, annaHere, boHere)
		}
		if w.Code == http.StatusOK && (!right || !strings.Contains(form, "$")) {
			t.Errorf("%q with %s is taken, signed %v", form, claims, right)
		}
		if !annaHere && !boHere {
			t.Errorf("%s ends both", claims)
		}
	})
}

// FuzzDiscovery: a provider that is taken has no endpoint that can't be trusted.
func FuzzDiscovery(f *testing.F) {
	d, _ := fuzzed(f)
	good := `{"issuer":"https://login.example.org","authorization_endpoint":"https://login.example.org/a?x=y","token_endpoint":"https://login.example.org/t",` +
		`"jwks_uri":"https://login.example.org/k","userinfo_endpoint":"https://login.example.org/u","end_session_endpoint":"https://login.example.org/e","code_challenge_methods_supported":["S256"]}`
	f.Add(good)
	f.Add(strings.Replace(good, "https://login.example.org/t", "http://login.example.org/t", 1))
	f.Add(strings.Replace(good, "https://login.example.org/e", "javascript:alert(1)", 1))
	f.Add(strings.Replace(good, `["S256"]`, `"plain"`, 1))
	f.Add("[]")
	f.Fuzz(func(t *testing.T, document string) {
		d.issuer.client.Transport = answers(document)
		d.issuer.found.Store(nil)
		err := d.issuer.discover(context.Background())
		p := d.issuer.now()
		if (p == nil) == (err == nil) {
			t.Fatalf("found %+v, and %v", p, err)
		}
		if p == nil {
			return
		}
		for _, where := range []string{p.oauth.Endpoint.AuthURL, p.oauth.Endpoint.TokenURL, p.UserInfoEndpoint(), p.endSession} {
			u, err := url.Parse(where)
			if where != "" && (err != nil || u.Scheme != "https" && u.Hostname() != "localhost" && !strings.HasPrefix(u.Host, "127.") && !strings.HasPrefix(u.Host, "[::1]") || u.Host == "") {
				t.Errorf("an endpoint is %q", where)
			}
		}
		d.endSession(p, &session{}, "https://media.example.org/")
	})
}

// FuzzClaims: what a provider says of somebody gives a name that can be logged, or none.
func FuzzClaims(f *testing.F) {
	f.Add(`{"sub":"anna","name":"Anna\u202e","roles":["a",1]}`, "sub", "roles")
	f.Add(`{"sub":"1","email":"a@b","email_verified":"false","realm_access":{"roles":{"x":{}}}}`, "email", "realm_access.roles")
	f.Add(`{"sub":"1","a.b":"x","a":{"b":null}}`, "sub", "a.b")
	f.Fuzz(func(t *testing.T, document, name, role string) {
		claims := make(map[string]any)
		if json.Unmarshal([]byte(document), &claims) != nil {
			return
		}
		p, err := read(auth.OIDCConfig{NameClaim: name, RoleClaim: role}, claims)
		if err != nil {
			return
		}
		for _, s := range []string{p.subject, p.session, p.name, p.label} {
			if len(s) > maxText || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q: called %q", document, s)
			}
		}
		if p.name == "" || p.label == "" || utf8.RuneCountInString(p.label) > 64 {
			t.Errorf("%q: %+v", document, p)
		}
	})
}

// FuzzReturnPath: after signing in nobody is led anywhere else.
func FuzzReturnPath(f *testing.F) {
	for _, to := range []string{"/mri-2?x=1", "//evil.example", "/\\evil.example", "https://evil.example", "/%2f/evil", "/a/../auth/login", "/x#y", "/@evil.example", "/auth/done"} {
		f.Add(to)
	}
	f.Fuzz(func(t *testing.T, asked string) {
		to, err := returnPath([]string{asked})
		if err != nil {
			return
		}
		base := &url.URL{Scheme: "https", Host: "media.example.org"}
		u, err := base.Parse(base.String() + to)
		if err != nil || u.Host != base.Host || u.User != nil || u.Fragment != "" {
			t.Fatalf("%q leads to %v, %v", asked, u, err)
		}
		alone, err := base.Parse(to) // as a browser reads what is but a path
		if err != nil || alone.Host != base.Host || strings.HasPrefix(alone.Path, "/auth/login") || strings.HasPrefix(alone.Path, callbackPath) {
			t.Errorf("%q leads to %v, %v", asked, alone, err)
		}
	})
}
