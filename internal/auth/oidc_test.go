package auth

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sightline/internal/fault"
	"sightline/internal/opt"
)

func TestSignInIsChecked(t *testing.T) {
	right := func() Config {
		c := Defaults()
		c.OIDC.Issuer, c.OIDC.ClientID = "https://login.example.org", "sightline"
		c.OIDC.Roles = []OIDCRole{{Value: "x", Scopes: []Scope{Play}}}
		return c
	}
	if err := right().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*OIDCConfig){
		"auth.oidc.issuer: must be an https URL":           func(c *OIDCConfig) { c.Issuer = "http://login.example.org" },
		"auth.oidc.issuer: must be the URL":                func(c *OIDCConfig) { c.Issuer = "" },
		"auth.oidc.client_id: ":                            func(c *OIDCConfig) { c.ClientID = "" },
		"auth.oidc.client_secret_file: ":                   func(c *OIDCConfig) { c.ClientSecret, c.ClientSecretFile = "secret", "x" },
		"auth.oidc.scopes: must hold \"openid\"":           func(c *OIDCConfig) { c.Scopes = []string{"profile"} },
		"auth.oidc.name_claim: ":                           func(c *OIDCConfig) { c.NameClaim = "" },
		"auth.oidc.role_claim: ":                           func(c *OIDCConfig) { c.RoleClaim = "" },
		"auth.oidc.roles: ":                                func(c *OIDCConfig) { c.Roles = nil },
		"auth.oidc.roles[0].value: ":                       func(c *OIDCConfig) { c.Roles[0].Value = "" },
		"auth.oidc.roles[0].role: ":                        func(c *OIDCConfig) { c.Roles[0].Role = "a b" },
		"auth.oidc.roles[0].scopes: must hold one or more": func(c *OIDCConfig) { c.Roles[0].Scopes = nil },
		"auth.oidc.roles[0].scopes: must be of":            func(c *OIDCConfig) { c.Roles[0].Scopes = []Scope{"root"} },
		"auth.oidc.roles[0].rooms: ":                       func(c *OIDCConfig) { c.Roles[0].Rooms = []string{""} },
		"auth.oidc.roles[0].publishers: ":                  func(c *OIDCConfig) { c.Roles[0].Publishers = []string{"a/b"} },
		"auth.oidc.session: ":                              func(c *OIDCConfig) { c.Session = opt.Duration(time.Second) },
		"auth.oidc.idle: ":                                 func(c *OIDCConfig) { c.Idle = 0 },
		"auth.oidc.max_sessions: ":                         func(c *OIDCConfig) { c.MaxSessions = 0 },
	} {
		c := right()
		change(&c.OIDC)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret\"") {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// A gateway whose people sign in is closed, be it that nobody knows yet who they are.
func TestGatewayWithSignInIsNotOpen(t *testing.T) {
	c := Defaults()
	c.OIDC.Issuer = "https://login.example.org"
	_, err := New(c).Who(httptest.NewRequest(http.MethodGet, "/", nil))
	if fault.KindOf(err) != fault.Unauthenticated || !strings.Contains(err.Error(), "/auth/login") {
		t.Errorf("got %v, want unauthenticated, and where one signs in", err)
	}
}
