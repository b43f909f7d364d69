// Package issuertest is an OpenID provider for tests: discovery, the authorization code flow with
// PKCE, keys that change, UserInfo and sign-out, over real HTTP. It refuses what a provider has
// to: an unknown client or redirect URI, a code that was used, a verifier that is none of the
// challenge's. Sources: OpenID Connect Core 1.0 and Discovery 1.0, RFC 6749, RFC 7636, RFC 9207.
package issuertest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"html"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A Person is somebody whom the provider knows, by his sub: his further claims.
type Person map[string]any

// An Issuer is a running provider.
type Issuer struct {
	URL              string
	ClientID, Secret string // a Secret of "" makes it a public client

	mu       sync.Mutex // guards what follows
	people   map[string]Person
	who      string // who is at the browser; "": a page asks
	codes    map[string]code
	key      *rsa.PrivateKey
	kid      int
	away     bool
	spoil    func(claims jwt.MapClaims)
	userInfo bool
	ended    []url.Values // what came to the end_session_endpoint
	access   map[string]string
	life     time.Duration
	asked    int // for the keys
}

type code struct {
	sub, redirect, challenge, nonce string
	at                              time.Time
}

// Start runs a provider on 127.0.0.1 until the test ends. people are by sub.
func Start(t testing.TB, people map[string]Person) *Issuer {
	t.Helper()
	i := prepare(t, people)
	server := httptest.NewServer(i.handler())
	t.Cleanup(server.Close)
	i.URL = server.URL
	return i
}

// StartTLS is Start by https, with a certificate of an authority of its own, which is in the file.
func StartTLS(t testing.TB, people map[string]Person) (i *Issuer, caFile string) {
	t.Helper()
	i = prepare(t, people)
	server := httptest.NewUnstartedServer(i.handler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that don't trust it
	server.StartTLS()
	t.Cleanup(server.Close)
	i.URL = server.URL
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return i, caFile
}

func prepare(t testing.TB, people map[string]Person) *Issuer {
	i := &Issuer{
		ClientID: "sightline", Secret: "a secret of the tests", people: people, codes: make(map[string]code), access: make(map[string]string),
		life: 5 * time.Minute,
	}
	i.Rotate(t)
	return i
}

func (i *Issuer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.discovery)
	mux.HandleFunc("GET /keys", i.keys)
	mux.HandleFunc("GET /authorize", i.authorize)
	mux.HandleFunc("POST /token", i.token)
	mux.HandleFunc("GET /userinfo", i.info)
	mux.HandleFunc("GET /end", i.end)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		away := i.away
		i.mu.Unlock()
		if away {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// Is says who is at the browser from now on, by sub; "" lets a page ask.
func (i *Issuer) Is(sub string) { i.set(func() { i.who = sub }) }

// Away makes the provider answer nothing but 503.
func (i *Issuer) Away(away bool) { i.set(func() { i.away = away }) }

// Asked returns how often the keys have been asked for.
func (i *Issuer) Asked() (n int) {
	i.set(func() { n = i.asked })
	return n
}

// Change changes what is known of somebody.
func (i *Issuer) Change(sub string, p Person) { i.set(func() { i.people[sub] = p }) }

// Spoil lets f change the claims of ID tokens before they are signed; nil: no more.
func (i *Issuer) Spoil(f func(jwt.MapClaims)) { i.set(func() { i.spoil = f }) }

// OnlyUserInfo keeps all claims but the required ones out of ID tokens.
func (i *Issuer) OnlyUserInfo() { i.set(func() { i.userInfo = true }) }

// Logout signs a logout token for somebody (OpenID Connect Back-Channel Logout 1.0, section 2.4),
// of a session at the provider if sid is not "". change may be nil; it changes the claims before.
func (i *Issuer) Logout(t testing.TB, sub, sid string, change func(jwt.MapClaims)) string {
	t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": i.URL, "aud": i.ClientID, "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(), "jti": rand.Text(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	if sub != "" {
		claims["sub"] = sub
	}
	if sid != "" {
		claims["sid"] = sid
	}
	if change != nil {
		change(claims)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	i.mu.Lock()
	defer i.mu.Unlock()
	token.Header["kid"], token.Header["typ"] = fmt.Sprint(i.kid), "logout+jwt"
	signed, err := token.SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// Life is how long ID tokens last.
func (i *Issuer) Life(d time.Duration) { i.set(func() { i.life = d }) }

// Ended returns the queries that came to sign somebody out.
func (i *Issuer) Ended() []url.Values {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.ended)
}

// Rotate signs with a new key from now on, and knows the old one no more.
func (i *Issuer) Rotate(t testing.TB) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i.set(func() {
		i.key = key
		i.kid++
	})
}

func (i *Issuer) set(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

func (i *Issuer) discovery(w http.ResponseWriter, _ *http.Request) {
	answer(w, map[string]any{
		"issuer": i.URL, "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token", "jwks_uri": i.URL + "/keys",
		"userinfo_endpoint": i.URL + "/userinfo", "end_session_endpoint": i.URL + "/end",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"}, "code_challenge_methods_supported": []string{"S256"},
		"authorization_response_iss_parameter_supported": true,
	})
}

func (i *Issuer) keys(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked++
	encode := base64.RawURLEncoding.EncodeToString
	answer(w, map[string]any{"keys": []map[string]any{{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": fmt.Sprint(i.kid),
		"n": encode(i.key.N.Bytes()), "e": encode(big.NewInt(int64(i.key.E)).Bytes()),
	}}})
}

// authorize sends the browser back with a code for who is at it. Without one it asks.
func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	redirect, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || q.Get("client_id") != i.ClientID || redirect.Path != "/auth/callback" {
		http.Error(w, "unknown client or redirect URI", http.StatusBadRequest)
		return
	}
	back := url.Values{"state": {q.Get("state")}, "iss": {i.URL}}
	i.mu.Lock()
	defer i.mu.Unlock()
	sub := i.who
	if q.Has("person") {
		sub = q.Get("person")
	}
	person, known := i.people[sub]
	switch {
	case q.Get("response_type") != "code" || !slices.Contains(strings.Fields(q.Get("scope")), "openid") ||
		q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" || q.Get("nonce") == "":
		back.Set("error", "invalid_request")
	case sub == "":
		i.ask(w, r)
		return
	case !known || person == nil:
		back.Set("error", "access_denied")
	default:
		value := rand.Text()
		i.codes[value] = code{sub, q.Get("redirect_uri"), q.Get("code_challenge"), q.Get("nonce"), time.Now()}
		back.Set("code", value)
	}
	redirect.RawQuery = back.Encode()
	http.Redirect(w, r, redirect.String(), http.StatusFound)
}

// ask is the page where a person says who he is.
func (i *Issuer) ask(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, "<!doctype html><html lang=en><title>Who are you?</title><h1>Who are you?</h1>")
	for sub := range i.people {
		q := r.URL.Query()
		q.Set("person", sub)
		fmt.Fprintf(w, "<p><a id=\"%[1]s\" href=\"?%[2]s\">%[1]s</a></p>", html.EscapeString(sub), html.EscapeString(q.Encode()))
	}
}

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	refuse := func(word string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, "{%q: %q}", "error", word)
	}
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	if id != i.ClientID || subtle.ConstantTimeCompare([]byte(secret), []byte(i.Secret)) != 1 {
		refuse("invalid_client")
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	c, known := i.codes[r.FormValue("code")]
	delete(i.codes, r.FormValue("code"))
	challenge := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	if r.FormValue("grant_type") != "authorization_code" || !known || time.Since(c.at) > time.Minute || c.redirect != r.FormValue("redirect_uri") ||
		base64.RawURLEncoding.EncodeToString(challenge[:]) != c.challenge {
		refuse("invalid_grant")
		return
	}
	access := rand.Text()
	i.access[access] = c.sub
	hash := sha256.Sum256([]byte(access))
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": i.URL, "sub": c.sub, "aud": i.ClientID, "iat": now.Unix(), "exp": now.Add(i.life).Unix(), "nonce": c.nonce,
		"at_hash": base64.RawURLEncoding.EncodeToString(hash[:16]),
	}
	if !i.userInfo {
		for name, value := range i.people[c.sub] {
			claims[name] = value
		}
	}
	if i.spoil != nil {
		i.spoil(claims)
	}
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	t.Header["kid"] = fmt.Sprint(i.kid)
	signed, err := t.SignedString(i.key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": signed})
}

func (i *Issuer) info(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	sub, known := i.access[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	if !known {
		http.Error(w, "unknown access token", http.StatusUnauthorized)
		return
	}
	out := map[string]any{"sub": sub}
	for name, value := range i.people[sub] {
		out[name] = value
	}
	answer(w, out)
}

func (i *Issuer) end(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	i.set(func() { i.ended = append(i.ended, q) })
	http.Redirect(w, r, q.Get("post_logout_redirect_uri"), http.StatusFound)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // to a client that has gone
}
