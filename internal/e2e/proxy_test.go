//go:build e2e

package e2e

import (
	"io"
	"net/http"
	"testing"

	"sightline/internal/auth"
)

// A gateway behind a proxy, on every address of its machine: the proxy may ask in the
// clear, and who goes round it may not. 127.0.0.1 is this machine, so the one who goes
// round it comes to the machine's own address.
func TestWhoGoesRoundTheProxyIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name, proxies string
		want          int
	}{
		{"another machine", "203.0.113.1", http.StatusForbidden},
		{"the proxy", serverIP, http.StatusOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, "SIGHTLINE_AUTH_OPEN=false", "SIGHTLINE_HTTP_PUBLIC_URL=https://media.example.org", "SIGHTLINE_HTTP_TRUSTED_PROXIES="+tt.proxies,
				`SIGHTLINE_AUTH_TOKENS=[{name = "a", sha256 = "`+auth.HashToken("secret")+`", scopes = ["room:read"]}]`)
			req, err := http.NewRequestWithContext(t.Context(), "GET", s.base+"/api/rooms", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer secret")
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if body, _ := io.ReadAll(res.Body); res.StatusCode != tt.want {
				t.Errorf("got %d %s, want %d", res.StatusCode, body, tt.want)
			}
			var health any
			if code := s.get("/healthz", &health); code != http.StatusOK {
				t.Errorf("/healthz: %d, want 200", code)
			}
		})
	}
}
