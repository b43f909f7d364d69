package signin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/time/rate"

	"sightline/internal/auth"
)

const (
	askTimeout = 10 * time.Second // for an answer of the provider
	maxAnswer  = 1 << 20          // bytes of one
	firstRetry = time.Second      // after the provider was not found
	lastRetry  = 15 * time.Second // the wait doubles up to here
	rediscover = time.Hour        // its endpoints may move

	// Anybody can send a logout token, and one whose key is not known has the keys fetched: so often on
	// the average, and so many times at once.
	fetchInterval = 10 * time.Second
	fetchBurst    = 3
)

// An issuer is the OpenID provider. What was found last holds until something newer is: the
// provider may be away. It is safe for concurrent use.
type issuer struct {
	config auth.OIDCConfig
	secret string
	client *http.Client
	seldom *http.Client // for the keys of logout tokens
	log    *slog.Logger

	found atomic.Pointer[provider] // nil: not yet
}

// A provider is what an issuer's discovery document says.
type provider struct {
	*oidc.Provider
	verifier   *oidc.IDTokenVerifier // of ID tokens, which come from the provider itself
	logouts    *oidc.IDTokenVerifier // of logout tokens, which can come from anybody
	oauth      oauth2.Config         // without the redirect URL
	endSession string                // "": it has none
	namesIss   bool                  // says iss at the callback (RFC 9207)
}

func newIssuer(c auth.OIDCConfig, log *slog.Logger) (*issuer, error) {
	secret, err := c.Secret()
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("auth.oidc.ca_file: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("auth.oidc.ca_file: %s holds no certificate in PEM", c.CAFile)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	i := &issuer{
		config: c, secret: secret, log: log,
		client: &http.Client{Timeout: askTimeout, Transport: bounded{transport}, CheckRedirect: auth.CheckRedirect},
	}
	seldom := *i.client
	seldom.Transport = throttled{seldom.Transport, rate.NewLimiter(rate.Every(fetchInterval), fetchBurst)}
	i.seldom = &seldom
	return i, nil
}

// throttled lets requests pass at a limited rate, and fails the others.
type throttled struct {
	next http.RoundTripper
	rate *rate.Limiter
}

func (t throttled) RoundTrip(r *http.Request) (*http.Response, error) {
	if !t.rate.Allow() {
		return nil, errors.New("it was asked a moment ago")
	}
	return t.next.RoundTrip(r)
}

// bounded cuts answers that are too long.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.next.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxAnswer), res.Body}
	}
	return res, err
}

// CloseIdleConnections is http.Client's.
func (b bounded) CloseIdleConnections() {
	if c, ok := b.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// now returns the provider, nil if it has not been found yet.
func (i *issuer) now() *provider { return i.found.Load() }

// context lets go-oidc and oauth2 ask with the issuer's client.
func (i *issuer) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, i.client)
}

// run finds the provider, and again now and then, until ctx is done. Every minute it calls tidy.
func (i *issuer) run(ctx context.Context, tidy func()) {
	defer i.client.CloseIdleConnections()
	timer, minute := time.NewTimer(0), time.NewTicker(time.Minute)
	defer timer.Stop()
	defer minute.Stop()
	wait, said := firstRetry, ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-minute.C:
			tidy()
			continue
		case <-timer.C:
		}
		err := i.discover(ctx)
		switch {
		case err == nil:
			wait, said = firstRetry, ""
			timer.Reset(rediscover)
			continue
		case ctx.Err() != nil:
			return
		case brief(err) != said: // not every few seconds
			said = brief(err)
			i.log.Warn("the OpenID provider is not found", "issuer", i.config.Issuer, "err", said, "known_from_before", i.now() != nil)
		}
		timer.Reset(wait)
		wait = min(2*wait, lastRetry)
	}
}

// discover reads the provider's discovery document.
func (i *issuer) discover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(i.context(ctx), askTimeout)
	defer cancel()
	found, err := oidc.NewProvider(ctx, i.config.Issuer)
	if err != nil {
		return err
	}
	var said struct {
		Authorization string   `json:"authorization_endpoint"`
		Token         string   `json:"token_endpoint"`
		JWKS          string   `json:"jwks_uri"`
		UserInfo      string   `json:"userinfo_endpoint"`
		EndSession    string   `json:"end_session_endpoint"`
		Challenges    []string `json:"code_challenge_methods_supported"`
		NamesIss      bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := found.Claims(&said); err != nil {
		return err
	}
	for name, where := range map[string]string{"authorization_endpoint": said.Authorization, "token_endpoint": said.Token, "jwks_uri": said.JWKS} {
		if err := checkEndpoint(where); err != nil {
			return fmt.Errorf("its %s %w", name, err)
		}
	}
	for name, where := range map[string]string{"userinfo_endpoint": said.UserInfo, "end_session_endpoint": said.EndSession} {
		if err := checkEndpoint(where); where != "" && err != nil {
			return fmt.Errorf("its %s %w", name, err)
		}
	}
	if len(said.Challenges) > 0 && !slices.Contains(said.Challenges, "S256") {
		return fmt.Errorf("it can't do PKCE with S256, only %q", said.Challenges)
	}
	client := &oidc.Config{ClientID: i.config.ClientID}
	p := &provider{
		Provider: found, verifier: found.Verifier(client), logouts: found.VerifierContext(oidc.ClientContext(ctx, i.seldom), client),
		endSession: said.EndSession, namesIss: said.NamesIss,
		oauth: oauth2.Config{ClientID: i.config.ClientID, ClientSecret: i.secret, Endpoint: found.Endpoint(), Scopes: i.config.Scopes},
	}
	if i.found.Swap(p) == nil {
		i.log.Info("the OpenID provider is found: people can sign in", "issuer", i.config.Issuer, "end_session", p.endSession != "")
	}
	return nil
}

// checkEndpoint says why an endpoint can't be trusted. It may have a query (RFC 6749, section 3.1).
func checkEndpoint(where string) error {
	where, _, _ = strings.Cut(where, "?")
	return auth.CheckIssuerURL(where)
}
