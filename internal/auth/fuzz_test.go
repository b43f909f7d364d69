package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sightline/internal/fault"
)

// FuzzAuthorize: whatever a request says of itself, only who has a token is let in, for what
// it allows, and everybody else is told why in a header that can be sent.
func FuzzAuthorize(f *testing.F) {
	const secret = "4aGbXmqEvc7y7CtB"
	a := New(Config{Tokens: []Token{
		{Name: "console", SHA256: HashToken(secret), Scopes: []Scope{Publish}, Rooms: []string{"mri-*", "[a-z]"}, Publishers: []string{"console"}},
	}})
	f.Add("Bearer "+secret, "mri-1", "console")
	f.Add("bearer  "+secret+" ", "b", "console")
	f.Add("Bearer "+secret, "ct-1", "other")
	f.Add("Bearer "+secret+","+secret, "mri-*", "")
	f.Add("Basic "+secret, "[a-z]", "*")
	f.Add("Bearer", "\\", "c\x00")
	f.Fuzz(func(t *testing.T, header, room, publisher string) {
		r := httptest.NewRequest(http.MethodPost, "/whip/a/b", nil)
		r.Header["Authorization"] = []string{header}
		id, err := a.Authorize(r, Publish, room, publisher)
		if err == nil {
			has := len(header) > len("Bearer ") && strings.EqualFold(header[:len("Bearer ")], "Bearer ") && strings.Trim(header[len("Bearer "):], " ") == secret
			may := (room == "" || strings.HasPrefix(room, "mri-") || len(room) == 1) && (publisher == "" || publisher == "console" || strings.HasPrefix(publisher, "console/")) // its tracks, whatever there is of them
			if !has || !may || id.Name != "console" {
				t.Errorf("%q is let into %q as %+v, to be %q", header, room, id, publisher)
			}
			return
		}
		if kind := fault.KindOf(err); kind != fault.Unauthenticated && kind != fault.Forbidden {
			t.Errorf("got %v", err)
		}
		if !reflect.DeepEqual(id, Identity{}) {
			t.Errorf("refused, and is %+v", id)
		}
		var refused interface{ Header() http.Header }
		if !errors.As(err, &refused) || !strings.HasPrefix(refused.Header().Get("WWW-Authenticate"), "Bearer ") || strings.ContainsAny(refused.Header().Get("WWW-Authenticate"), "\r\n") {
			t.Errorf("no challenge with %v", err)
		}
	})
}

// FuzzJWT reads tokens that are anything, and tokens whose claims are anything and which are
// signed: what is granted is bounded, and whoever is refused learns why.
func FuzzJWT(f *testing.F) {
	c := Defaults().JWT
	v := newVerifier(c, []byte(testSecret), nil)
	claims := fmt.Sprintf(`{"iss":%q,"aud":%q,"exp":%d,"sub":"anna","jti":"7","scope":"whip:publish room:speak","room":"mri-*","publishers":["console","desk/video"],"role":"hospital"}`,
		c.Issuer, c.Audience, time.Now().Add(24*365*time.Hour).Unix())
	for _, edit := range [][2]string{{"", ""}, {`"mri-*"`, `[]`}, {`"mri-*"`, `"[a-"`}, {`"anna"`, `"a\u0000"`}, {`"exp":`, `"exp":1e999,"x":`}, {`"scope":"`, `"scope":["`}, {`"jti":`, `"iat":9e15,"jti":`}} {
		f.Add(`{"alg":"HS256"}`, strings.Replace(claims, edit[0], edit[1], 1), true)
	}
	f.Add(`{"alg":"none"}`, claims, true)
	f.Add(`{"alg":"RS256","kid":"../x"}`, claims, false)
	f.Fuzz(func(t *testing.T, header, claims string, signed bool) {
		encode := base64.RawURLEncoding.EncodeToString
		text := encode([]byte(header)) + "." + encode([]byte(claims))
		signature := []byte("of nobody")
		if signed {
			var err error
			if signature, err = jwt.SigningMethodHS256.Sign(text, []byte(testSecret)); err != nil {
				t.Fatal(err)
			}
		}
		for _, token := range []string{text + "." + encode(signature), header, claims} {
			g, err := v.grant(t.Context(), token)
			if (g == nil) == (err == nil) {
				t.Fatalf("granted %+v, and %v", g, err)
			}
			if err != nil {
				if fault.KindOf(err) != fault.Unauthenticated {
					t.Errorf("got %v", err)
				}
				continue
			}
			if !signed || !strings.Contains(header, "HS256") {
				t.Errorf("%s is taken unsigned", header)
			}
			if g.Name == "" || len(g.Name) > maxText || len(g.Rooms) > maxGlobs || len(g.Publishers) > maxGlobs || !g.Expires.After(time.Now()) {
				t.Errorf("granted %+v", g)
			}
			g.Allows(Publish, "mri-1", "console/video")
		}
	})
}

// FuzzKeys: a set of keys that is taken has a public key, and none for HS256.
func FuzzKeys(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","kid":"a","use":"sig","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","x5u":"https://127.0.0.1/x"},{"kty":"oct","k":"AAAA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","d":"AQAB","x5c":["AA=="]}, null]}`))
	f.Add([]byte(`{"keys":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		set, err := parseKeys(raw)
		if (set == nil) == (err == nil) {
			t.Fatalf("got %v and %v", set, err)
		}
		if set == nil {
			return
		}
		for _, kid := range []any{nil, "", "a", 7} {
			key, err := set.Keyfunc.Keyfunc(&jwt.Token{Method: jwt.SigningMethodHS256, Header: map[string]any{"alg": "HS256", "kid": kid}})
			if _, secret := key.([]byte); err == nil && secret {
				t.Errorf("a secret is taken from a set of public keys: %s", raw)
			}
		}
	})
}
