package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"sightline/internal/fault"
)

const testSecret = "a secret of the tests, and of nothing else"

// An issuer has keys, and signs.
type issuer struct {
	mu     sync.Mutex
	keys   map[string]crypto.Signer // by kid
	away   bool
	asked  int
	server *httptest.Server
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{keys: make(map[string]crypto.Signer)}
	i.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.asked++
		if i.away {
			http.Error(w, "away", http.StatusBadGateway)
			return
		}
		_, _ = w.Write(i.setLocked(t))
	}))
	t.Cleanup(i.server.Close)
	return i
}

func (i *issuer) has(kid string, key crypto.Signer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys[kid] = key
}

func (i *issuer) set(t *testing.T) []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.setLocked(t)
}

func (i *issuer) setLocked(t *testing.T) []byte {
	doc := jwkset.JWKSMarshal{Keys: []jwkset.JWKMarshal{}}
	for kid, key := range i.keys {
		k, err := jwkset.NewJWKFromKey(key.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid, USE: jwkset.UseSig}})
		if err != nil {
			t.Error(err)
			continue
		}
		doc.Keys = append(doc.Keys, k.Marshal())
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Error(err)
	}
	return raw
}

// said are claims that are right.
func said() jwt.MapClaims {
	return jwt.MapClaims{
		"iss": "sightline", "aud": "sightline", "sub": "alice", "jti": "1", "exp": time.Now().Add(time.Hour).Unix(),
		"room": "mri-2", "scope": "whip:publish room:read other:scope", "role": "hospital",
	}
}

func with(changes ...any) jwt.MapClaims {
	c := said()
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == nil {
			delete(c, changes[i].(string))
			continue
		}
		c[changes[i].(string)] = changes[i+1]
	}
	return c
}

func sign(t *testing.T, method jwt.SigningMethod, kid string, key any, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	out, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func open(t *testing.T, change func(*Config)) *Auth {
	t.Helper()
	c := Defaults()
	change(&c)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	a, err := Open(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = a.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		a.Close()
	})
	return a
}

func ask(a *Auth, token string) (Caller, error) {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return a.Who(r)
}

// loaded waits until a's first load of its keys is over with all that it does, and before there is another. They count
// a moment before they are kept, and Run alone loads them: what a test loads beside it, might be overwritten.
func loaded(t *testing.T, a *Auth) {
	t.Helper()
	a.jwts.keys.ask(t.Context())
}

func keysOf(t *testing.T) (*rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey) {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, d, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return r, e, d
}

// Row 21 of docs/CONFORMANCE.md, and RFC 8725, sections 2.1 to 3.9.
func TestJSONWebTokens(t *testing.T) {
	rs, es, ed := keysOf(t)
	i := newIssuer(t)
	i.has("rs", rs)
	i.has("es", es)
	i.has("ed", ed)
	a := open(t, func(c *Config) { c.JWT.Secret, c.JWT.JWKS = testSecret, i.server.URL })
	secret := []byte(testSecret)
	hs := jwt.SigningMethodHS256
	public, err := x509.MarshalPKIXPublicKey(rs.Public())
	if err != nil {
		t.Fatal(err)
	}
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	right := sign(t, hs, "", secret, said())
	parts := strings.Split(right, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
	now := time.Now()
	extended := jwt.NewWithClaims(hs, said())
	extended.Header["crit"], extended.Header["b64"] = []string{"b64"}, true
	critical, err := extended.SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, token string
		ok          bool
		says        string // of the refusal
	}{
		{"HS256", right, true, ""},
		{"RS256", sign(t, jwt.SigningMethodRS256, "rs", rs, said()), true, ""},
		{"ES256", sign(t, jwt.SigningMethodES256, "es", es, said()), true, ""},
		{"EdDSA", sign(t, jwt.SigningMethodEdDSA, "ed", ed, said()), true, ""},
		{"RS256 without a kid", sign(t, jwt.SigningMethodRS256, "", rs, said()), true, ""},
		{"several audiences", sign(t, hs, "", secret, with("aud", []string{"x", "sightline"})), true, ""},
		{"lists", sign(t, hs, "", secret, with("room", []string{"x", "mri-*"}, "scope", []string{"whip:publish", "room:read"})), true, ""},
		{"other spellings of what it may", sign(t, hs, "", secret, with("scopE", "room:admin whep:play", "rooM", "*", "sUb", "root", "roLe", "x")), true, ""},
		{"nbf a little ahead: clocks differ", sign(t, hs, "", secret, with("nbf", now.Add(2*time.Second).Unix())), true, ""},

		{"alg none", none + "." + parts[1] + ".", false, "algorithm"},
		{"alg None, with a signature", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"None"}`)) + "." + parts[1] + "." + parts[2], false, "algorithm"},
		{"HS256 by the public key in PEM", sign(t, hs, "rs", asPEM, said()), false, "signed"},
		{"HS256 by the public key in DER", sign(t, hs, "rs", public, said()), false, "signed"},
		{"HS256 by nothing", sign(t, hs, "", []byte{}, said()), false, "signed"},
		{"HS512 by the secret", sign(t, jwt.SigningMethodHS512, "", secret, said()), false, "algorithm"},
		{"PS256", sign(t, jwt.SigningMethodPS256, "rs", rs, said()), false, "algorithm"},
		{"RS256 said to be of the key for ES256", sign(t, jwt.SigningMethodRS256, "es", rs, said()), false, "signed"},
		{"a key of its own in the header", sign(t, jwt.SigningMethodRS256, "unknown", rs, said()), false, "signed"},
		{"another secret", sign(t, hs, "", []byte("another secret, as long as the right one is"), said()), false, "signed"},
		{"changed claims", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"root"}`)) + "." + parts[2], false, "signed"},
		{"no signature", parts[0] + "." + parts[1] + ".", false, "signed"},
		{"no JSON", "a.b.c", false, "well-formed"},
		{"nothing", "..", false, "well-formed"},
		{"long", strings.Repeat("x", 100_000) + "..", false, "well-formed"},

		{"expired", sign(t, hs, "", secret, with("exp", now.Add(-time.Second).Unix())), false, "expired"},
		{"no exp", sign(t, hs, "", secret, with("exp", nil)), false, "lacks"},
		{"exp of a text", sign(t, hs, "", secret, with("exp", "tomorrow")), false, "well-formed"},
		{"another spelling of exp", sign(t, hs, "", secret, with("exp", nil, "Exp", now.Add(time.Hour).Unix())), false, "lacks"},
		{"another spelling of sub", sign(t, hs, "", secret, with("sub", nil, "SUB", "root")), false, "sub"},
		{"exp in milliseconds", sign(t, hs, "", secret, with("exp", now.UnixMilli())), false, "exp"},
		{"exp beyond all times", sign(t, hs, "", secret, with("exp", 1e300)), false, "exp"},
		{"exp before all times", sign(t, hs, "", secret, with("exp", -1e300)), false, "exp"},
		{"exp of a fraction that has passed", sign(t, hs, "", secret, with("exp", float64(now.Unix())-0.5)), false, "expired"},
		{"a header that must be understood", critical, false, "crit"},
		{"nbf in the future", sign(t, hs, "", secret, with("nbf", now.Add(time.Minute).Unix())), false, "not valid yet"},
		{"iat in the future", sign(t, hs, "", secret, with("iat", now.Add(time.Minute).Unix())), false, "not valid yet"},
		{"another audience", sign(t, hs, "", secret, with("aud", "x")), false, "audience"},
		{"no audience", sign(t, hs, "", secret, with("aud", nil)), false, "aud"},
		{"another issuer", sign(t, hs, "", secret, with("iss", "x")), false, "issuer"},
		{"no issuer", sign(t, hs, "", secret, with("iss", nil)), false, "iss"},
		{"no sub", sign(t, hs, "", secret, with("sub", nil)), false, "sub"},
		{"a sub that breaks lines", sign(t, hs, "", secret, with("sub", "a\nlevel=INFO")), false, "sub"},
		{"a role that is none", sign(t, hs, "", secret, with("role", "a b")), false, "role"},
		{"no rooms at all", sign(t, hs, "", secret, with("room", []string{})), false, "room"},
		{"an empty room", sign(t, hs, "", secret, with("room", "")), false, "room"},
		{"a room of no text", sign(t, hs, "", secret, with("room", 5)), false, "well-formed"},
		{"a glob that is none", sign(t, hs, "", secret, with("publishers", "[")), false, "publishers"},
		{"a track that is none", sign(t, hs, "", secret, with("publishers", "console/sound")), false, "publishers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			who, err := ask(a, tt.token)
			if !tt.ok {
				var h interface{ Header() http.Header }
				if fault.KindOf(err) != fault.Unauthenticated || !errors.As(err, &h) || !strings.Contains(h.Header().Get("WWW-Authenticate"), `error="invalid_token"`) {
					t.Fatalf("got %v, want an invalid token", err)
				}
				if !strings.Contains(err.Error(), tt.says) {
					t.Errorf("the answer is %q, want a word of %q", err, tt.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			id, err := who.May(Publish, "mri-2", "console")
			if err != nil || id.Name != "alice" || id.Kind != JWT || id.ID != "1" || id.Role != "hospital" || id.Expires.IsZero() {
				t.Errorf("got %+v, %v", id, err)
			}
			for _, s := range []Scope{Play, Speak, Admin, "other:scope"} {
				if who.Allows(s, "mri-2", "") {
					t.Errorf("it allows %s", s)
				}
			}
			if who.Allows(Publish, "ct-1", "") {
				t.Error("it is good for another room")
			}
		})
	}
}

func TestAlgorithmsThatAreNotAllowedAreRefused(t *testing.T) {
	rs, es, _ := keysOf(t)
	i := newIssuer(t)
	i.has("rs", rs)
	i.has("es", es)
	a := open(t, func(c *Config) { c.JWT.JWKS, c.JWT.Algorithms = i.server.URL, []string{"ES256"} })
	if _, err := ask(a, sign(t, jwt.SigningMethodES256, "es", es, said())); err != nil {
		t.Errorf("ES256: %v", err)
	}
	for name, token := range map[string]string{
		"RS256": sign(t, jwt.SigningMethodRS256, "rs", rs, said()),
		"HS256": sign(t, jwt.SigningMethodHS256, "", []byte(testSecret), said()),
	} {
		if _, err := ask(a, token); fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
	}
}

// A new key counts at once, the issuer may be away, and over a restart, too.
func TestKeysRotateAndSurviveTheIssuersAbsence(t *testing.T) {
	first, second, _ := keysOf(t)
	i := newIssuer(t)
	i.has("1", first)
	dir := t.TempDir()
	change := func(c *Config) { c.JWT.JWKS, c.StateDir = i.server.URL, dir }
	a := open(t, change)
	one := sign(t, jwt.SigningMethodRS256, "1", first, said())
	two := sign(t, jwt.SigningMethodES256, "2", second, said())
	if _, err := ask(a, one); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(a, two); fault.KindOf(err) != fault.Unauthenticated {
		t.Fatalf("a key that is not there yet: %v", err)
	}
	i.has("2", second)
	if err := a.jwts.keys.load(t.Context()); err != nil { // as run does, later
		t.Fatal(err)
	}
	if _, err := ask(a, two); err != nil {
		t.Errorf("a new key: %v", err)
	}
	i.mu.Lock()
	i.away = true
	i.mu.Unlock()
	if err := a.jwts.keys.load(t.Context()); err == nil {
		t.Error("the issuer is away, and that is no error")
	}
	a.Close() // which is about the files alone
	again := open(t, change)
	for name, a := range map[string]*Auth{"while it is away": a, "restarted while it is away": again} {
		for _, token := range []string{one, two} {
			if _, err := ask(a, token); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	again.Close()
	// What was kept of one issuer counts for no other.
	other := newIssuer(t)
	other.away = true
	_, moved := ask(open(t, func(c *Config) { c.JWT.JWKS, c.StateDir = other.server.URL, dir }), one)
	if fault.KindOf(moved) != fault.Unavailable {
		t.Errorf("a token of the issuer of before: got %v, want %v", moved, fault.Unavailable)
	}
	// Who never had the keys can't tell who is right.
	_, err := ask(open(t, func(c *Config) { c.JWT.JWKS = i.server.URL }), one)
	if fault.KindOf(err) != fault.Unavailable {
		t.Errorf("without keys: got %v, want %v", err, fault.Unavailable)
	}
}

// What an issuer has no more counts no more, and over a restart, too: its key may have been stolen.
func TestAnIssuerCanWithdrawItsLastKey(t *testing.T) {
	rs, _, _ := keysOf(t)
	i := newIssuer(t)
	i.has("1", rs)
	dir := t.TempDir()
	change := func(c *Config) { c.JWT.JWKS, c.StateDir = i.server.URL, dir }
	a := open(t, change)
	token := sign(t, jwt.SigningMethodRS256, "1", rs, said())
	if _, err := ask(a, token); err != nil {
		t.Fatal(err)
	}
	loaded(t, a)
	i.mu.Lock()
	clear(i.keys)
	i.mu.Unlock()
	if err := a.jwts.keys.load(t.Context()); err != nil {
		t.Errorf("an empty set: %v", err)
	}
	if _, err := ask(a, token); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("a token of a key that was withdrawn: got %v", err)
	}
	i.mu.Lock()
	i.away = true
	i.mu.Unlock()
	a.Close()
	if _, err := ask(open(t, change), token); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("after a restart: got %v", err)
	}
}

// What could not be kept, as on a disk that is full for a while, is kept at the next load.
func TestWithdrawnKeysAreKeptOnceTheyCanBe(t *testing.T) {
	rs, _, _ := keysOf(t)
	i := newIssuer(t)
	i.has("1", rs)
	dir := t.TempDir()
	change := func(c *Config) { c.JWT.JWKS, c.StateDir = i.server.URL, dir }
	a := open(t, change)
	token := sign(t, jwt.SigningMethodRS256, "1", rs, said())
	if _, err := ask(a, token); err != nil {
		t.Fatal(err)
	}
	loaded(t, a)
	kept, aside := a.jwts.keys.kept, filepath.Join(t.TempDir(), "aside")
	try := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	try(os.Rename(kept, aside))
	try(os.Mkdir(kept, 0o700)) // no file can take its place
	i.mu.Lock()
	clear(i.keys)
	i.mu.Unlock()
	try(a.jwts.keys.load(t.Context()))
	try(os.Remove(kept))
	try(os.Rename(aside, kept))
	try(a.jwts.keys.load(t.Context()))
	i.mu.Lock()
	i.away = true
	i.mu.Unlock()
	a.Close()
	if _, err := ask(open(t, change), token); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("after a restart: got %v", err)
	}
}

func TestUnknownKeysDoNotMakeTheIssuerBusy(t *testing.T) {
	rs, _, _ := keysOf(t)
	i := newIssuer(t)
	i.has("1", rs)
	a := open(t, func(c *Config) { c.JWT.JWKS = i.server.URL })
	if _, err := ask(a, sign(t, jwt.SigningMethodRS256, "1", rs, said())); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := ask(a, sign(t, jwt.SigningMethodRS256, "unknown", rs, said())); fault.KindOf(err) != fault.Unauthenticated {
				t.Errorf("got %v", err)
			}
		})
	}
	all.Wait()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.asked > 2 {
		t.Errorf("the issuer was asked %d times, want once or twice", i.asked)
	}
}

func TestIssuersRedirectToWhatIsTrusted(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		times    int
		ok       bool
	}{
		{"https://login.example.org/keys", "https://keys.example.org/keys", 1, true},
		{"https://login.example.org/keys", "https://keys.example.org/keys", 4, false},
		{"https://login.example.org/keys", "http://login.example.org/keys", 1, false},
		{"https://login.example.org/keys", "http://169.254.169.254/latest/meta-data", 1, false},
		{"https://login.example.org/keys", "http://127.0.0.1:9090/metrics", 1, false},
		{"http://127.0.0.1:8080/keys", "http://127.0.0.1:8081/keys", 1, true},
		{"http://127.0.0.1:8080/keys", "http://192.0.2.1/keys", 1, false},
		{"https://login.example.org/keys", "file:///etc/passwd", 1, false},
	} {
		via := make([]*http.Request, tt.times)
		for i := range via {
			via[i] = httptest.NewRequest(http.MethodGet, tt.from, nil)
		}
		to, err := http.NewRequest(http.MethodGet, tt.to, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckRedirect(to, via); (err == nil) != tt.ok {
			t.Errorf("%d times from %s to %s: got %v, want it followed: %t", tt.times, tt.from, tt.to, err, tt.ok)
		}
	}
}

func TestKeysOfAFile(t *testing.T) {
	rs, _, _ := keysOf(t)
	i := newIssuer(t)
	i.has("1", rs)
	path := filepath.Join(t.TempDir(), "keys.json")
	write := func(content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{
		"no JSON": "x", "no keys": `{"keys": []}`, "a secret alone": `{"keys": [{"kty": "oct", "kid": "1", "k": "c2VjcmV0"}]}`,
	} {
		write([]byte(content))
		c := Defaults()
		c.JWT.JWKS = path
		if _, err := Open(c, slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), "auth.jwt.jwks: ") {
			t.Errorf("%s: got %v, want an error of auth.jwt.jwks", name, err)
		}
	}
	write(i.set(t))
	a := open(t, func(c *Config) { c.JWT.JWKS = path })
	if _, err := ask(a, sign(t, jwt.SigningMethodRS256, "1", rs, said())); err != nil {
		t.Error(err)
	}
	write([]byte("half of it"))
	if err := a.jwts.keys.load(t.Context()); err == nil {
		t.Error("a broken file is no error")
	}
	if _, err := ask(a, sign(t, jwt.SigningMethodRS256, "1", rs, said())); err != nil {
		t.Errorf("the file is broken now, and the old keys don't hold: %v", err)
	}
}

func TestMintedTokensAreTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(testSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Defaults().JWT
	c.SecretFile = path
	token, err := Mint(c, Grant{
		Identity: Identity{Name: "alice", ID: "1", Role: "hospital", Expires: time.Now().Add(time.Hour)},
		Scopes:   []Scope{Publish, Speak}, Rooms: []string{"mri-2"}, Publishers: []string{"console"},
	})
	if err != nil {
		t.Fatal(err)
	}
	a := open(t, func(c *Config) { c.JWT.Secret = testSecret })
	who, err := ask(a, token)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := who.May(Speak, "mri-2", "console/audio"); err != nil || id.Publisher != "console" || id.Role != "hospital" {
		t.Errorf("got %+v, %v", id, err)
	}
	if _, err := Mint(Defaults().JWT, Grant{}); err == nil || !strings.Contains(err.Error(), "auth.jwt.secret_file") {
		t.Errorf("without a secret: %v", err)
	}
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Mint(c, Grant{}); err == nil || !strings.Contains(err.Error(), "32 bytes") {
		t.Errorf("a short secret: %v", err)
	}
}

func FuzzJSONWebToken(f *testing.F) {
	c := Defaults()
	c.JWT.Secret = testSecret
	a, err := Open(c, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	good, err := Mint(c.JWT, Grant{Identity: Identity{Name: "x", Expires: time.Now().Add(time.Hour)}, Scopes: []Scope{Play}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("..")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		who, err := ask(a, strings.Map(func(r rune) rune {
			if r < ' ' {
				return -1
			}
			return r
		}, token))
		if err == nil && who.Allows(Admin, "", "") {
			t.Errorf("%q is good for everything", token)
		}
	})
}
