package httpapi

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sightline/internal/certs"
	"sightline/internal/opt"
)

// Config is the section http of the configuration.
type Config struct {
	// Listen is the address of WHIP, WHEP, the room API and the pages, as host:port.
	Listen string `toml:"listen"`

	// PublicURL is where clients reach the gateway, e.g. "https://media.example.org".
	// Location headers and links begin with it. Empty: the address that the client asked
	// for, as far as it is one of this machine, else paths without a host.
	PublicURL string `toml:"public_url"`

	// TLSCert and TLSKey are PEM files. With them the gateway speaks HTTPS itself. They
	// are read again when they change.
	TLSCert string `toml:"tls_cert"`
	TLSKey  string `toml:"tls_key"`

	// ACME obtains the certificate instead of the two files.
	ACME certs.ACME `toml:"acme"`

	// RedirectListen is the address, host:port, of a plain listener that sends browsers to
	// PublicURL, and answers the challenges of ACME. Empty: none.
	RedirectListen string `toml:"redirect_listen"`

	// HSTS is how long a browser that has been here by HTTPS asks for nothing else (RFC
	// 6797). 0: it is not told to.
	HSTS opt.Duration `toml:"hsts"`

	// Insecure lets a gateway with tokens speak plain HTTP beyond loopback. Tokens and
	// the secret URLs of sessions can then be read along the way: for a trial in a
	// closed network (RFC 9725, section 5).
	// A gateway with auth.open needs no second key: it has no secret to lose.
	Insecure bool `toml:"insecure"`

	// Open says that the gateway asks for no tokens. It follows from the section auth.
	Open bool `toml:"-"`

	// TrustedProxies are the addresses or networks of reverse proxies whose
	// X-Forwarded-For, -Proto and -Host are believed, and which may ask by plain HTTP.
	// From anyone else the header fields are ignored.
	TrustedProxies []string `toml:"trusted_proxies"`

	// AllowedOrigins are the origins whose pages may use the gateway from a browser
	// (CORS): "https://console.example.org", or "*" for all. They are never let in by
	// cookies (no Access-Control-Allow-Credentials), so a foreign page can do no more than
	// who has the token can; without tokens it can do what everybody can who reaches the
	// gateway. Empty: only the gateway's own pages.
	AllowedOrigins []string `toml:"allowed_origins"`

	// MaxBody is the longest request body, in bytes. Offers of browsers have up to 10 KB.
	MaxBody int `toml:"max_body"`

	// RateLimit is how many POST, PATCH and DELETE requests a client address may make in
	// a second on average, RateBurst how many at once (RFC 9725, section 5). 0: no limit.
	// IPv6 clients are counted by their /64.
	RateLimit float64 `toml:"rate_limit"`
	RateBurst int     `toml:"rate_burst"`

	// TokenRateLimit and TokenRateBurst are the same for the requests that come with one
	// right token, from wherever; they are then not counted by address. SessionRateLimit
	// and SessionRateBurst are for those to one session: PATCH and DELETE.
	TokenRateLimit   float64 `toml:"token_rate_limit"`
	TokenRateBurst   int     `toml:"token_rate_burst"`
	SessionRateLimit float64 `toml:"session_rate_limit"`
	SessionRateBurst int     `toml:"session_rate_burst"`

	// MaxWrongTokens is how many wrong tokens a minute one address is told are wrong;
	// further ones are answered 429. Right ones never are. 0: no limit.
	MaxWrongTokens int `toml:"max_wrong_tokens"`

	// MaxSessionsPerAddress and MaxSessionsPerToken bound the sessions of WHIP and WHEP
	// that are live at a time. 0: no limit.
	MaxSessionsPerAddress int `toml:"max_sessions_per_address"`
	MaxSessionsPerToken   int `toml:"max_sessions_per_token"`

	// MaxSetups and MaxSetupsPerAddress bound the sessions among them that are not
	// connected yet. When there is no room for a new one, the oldest to which its client
	// has sent no ICE check gives way.
	MaxSetups           int `toml:"max_setups"`
	MaxSetupsPerAddress int `toml:"max_setups_per_address"`

	// MaxConnections is how many connections a listener holds, MaxConnectionsPerAddress how
	// many of one client address (IPv6: of a /64; trusted proxies have no limit of their
	// own). At either limit one that is idle, or has asked for nothing yet, gives way to the
	// newcomer; if there is none, the newcomer is refused.
	MaxConnections           int `toml:"max_connections"`
	MaxConnectionsPerAddress int `toml:"max_connections_per_address"`

	// ETag is "strict": a PATCH without If-Match is refused with 428, as RFC 9725 wants;
	// or "lenient": it is taken as long as it names the current ICE session, for players
	// that forget it. A restart always needs If-Match.
	ETag string `toml:"etag"`

	// ReadHeaderTimeout, BodyTimeout and IdleTimeout bound how long a client may take
	// for a request's header, its body, and until its next request.
	ReadHeaderTimeout opt.Duration `toml:"read_header_timeout"`
	BodyTimeout       opt.Duration `toml:"body_timeout"`
	IdleTimeout       opt.Duration `toml:"idle_timeout"`
}

// The values of Config.ETag.
const (
	ETagStrict  = "strict"
	ETagLenient = "lenient"
)

// Defaults returns the configuration that the shipped file states.
func Defaults() Config {
	return Config{
		Listen:           "127.0.0.1:8080",
		ACME:             certs.Defaults(),
		HSTS:             opt.Duration(30 * 24 * time.Hour),
		AllowedOrigins:   []string{"*"},
		MaxBody:          64 << 10,
		RateLimit:        100,
		RateBurst:        400,
		TokenRateLimit:   200,
		TokenRateBurst:   600,
		SessionRateLimit: 5,
		SessionRateBurst: 50,
		MaxWrongTokens:   60,

		MaxSessionsPerAddress: 1000,
		MaxSessionsPerToken:   1000,
		MaxSetups:             500,
		MaxSetupsPerAddress:   100,

		ETag:              ETagStrict,
		ReadHeaderTimeout: opt.Duration(10 * time.Second),
		BodyTimeout:       opt.Duration(10 * time.Second),
		IdleTimeout:       opt.Duration(2 * time.Minute),

		MaxConnections:           5000,
		MaxConnectionsPerAddress: 1000,
	}
}

// TLS reports whether the gateway encrypts by itself.
func (c Config) TLS() bool { return c.TLSCert != "" || c.ACME.Enabled() }

// Validate reports everything that is wrong, each with its key.
func (c Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("http.%s: %w", key, fmt.Errorf(format, args...)))
	}

	if err := checkListen(c.Listen, "127.0.0.1:8080"); err != nil {
		bad("listen", "%w", err)
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
			u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			bad("public_url", "must look like \"https://media.example.org\", got %q", c.PublicURL)
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		bad("tls_cert", "needs http.tls_key, and the other way round")
	}
	if c.TLSCert != "" && c.ACME.Enabled() {
		bad("tls_cert", "must be empty where http.acme.domains is set: the certificate is from files or from an ACME server, not from both")
	}
	errs = append(errs, c.ACME.Validate(), c.checkRedirect())
	if c.HSTS.D() < 0 || c.HSTS.D() > 2*365*24*time.Hour {
		bad("hsts", "must be between 0s (off) and 17520h (two years), got %s", c.HSTS)
	}
	for _, p := range c.TrustedProxies {
		if _, err := parsePrefix(p); err != nil {
			bad("trusted_proxies", "must hold addresses or networks such as \"10.0.0.0/8\", got %q", p)
		}
	}
	for _, o := range c.AllowedOrigins {
		u, err := url.Parse(o)
		if o != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o) {
			bad("allowed_origins", "must hold origins such as \"https://console.example.org\", or \"*\", got %q", o)
		}
	}
	if c.MaxBody < 4<<10 || c.MaxBody > 1<<20 {
		bad("max_body", "must be between 4096 and 1048576 bytes, got %d", c.MaxBody)
	}
	for _, r := range []struct {
		key   string
		rate  float64
		burst int
	}{
		{"rate", c.RateLimit, c.RateBurst},
		{"token_rate", c.TokenRateLimit, c.TokenRateBurst},
		{"session_rate", c.SessionRateLimit, c.SessionRateBurst},
	} {
		if !(r.rate >= 0 && r.rate <= 1e6) {
			bad(r.key+"_limit", "must be a number of requests per second, or 0 for no limit, got %g", r.rate)
		}
		if r.rate > 0 && r.burst < 1 {
			bad(r.key+"_burst", "must be a positive number of requests, got %d", r.burst)
		}
	}
	for _, n := range []struct {
		key, what string
		low, n    int
	}{
		{"max_wrong_tokens", "a number of tokens a minute, or 0 for no limit", 0, c.MaxWrongTokens},
		{"max_sessions_per_address", "a number of sessions, or 0 for no limit", 0, c.MaxSessionsPerAddress},
		{"max_sessions_per_token", "a number of sessions, or 0 for no limit", 0, c.MaxSessionsPerToken},
		{"max_setups", "a positive number of sessions", 1, c.MaxSetups},
		{"max_setups_per_address", "a positive number of sessions", 1, c.MaxSetupsPerAddress},
	} {
		if n.n < n.low {
			bad(n.key, "must be %s, got %d", n.what, n.n)
		}
	}
	if c.MaxConnections < 10 || c.MaxConnections > 1_000_000 {
		bad("max_connections", "must be between 10 and 1000000, got %d", c.MaxConnections)
	}
	if c.MaxConnectionsPerAddress < 1 || c.MaxConnectionsPerAddress > max(c.MaxConnections, 1) {
		bad("max_connections_per_address", "must be between 1 and http.max_connections, got %d", c.MaxConnectionsPerAddress)
	}
	if c.ETag != ETagStrict && c.ETag != ETagLenient {
		bad("etag", "must be %q or %q, got %q", ETagStrict, ETagLenient, c.ETag)
	}
	for _, d := range []struct {
		key   string
		value opt.Duration
	}{
		{"read_header_timeout", c.ReadHeaderTimeout},
		{"body_timeout", c.BodyTimeout},
		{"idle_timeout", c.IdleTimeout},
	} {
		if d.value.D() < time.Second || d.value.D() > time.Hour {
			bad(d.key, "must be between 1s and 1h, got %s", d.value)
		}
	}
	return errors.Join(errs...)
}

// checkRedirect is about the plain listener, and what needs it.
func (c Config) checkRedirect() error {
	if c.RedirectListen == "" {
		if c.ACME.Enabled() && c.ACME.Challenge == certs.ChallengeHTTP {
			return fmt.Errorf("http.acme.challenge: %q needs http.redirect_listen, such as \":80\", where the challenge arrives", certs.ChallengeHTTP)
		}
		return nil
	}
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("http.redirect_listen: %w", fmt.Errorf(format, args...)))
	}
	if err := checkListen(c.RedirectListen, ":80"); err != nil {
		bad("%w", err)
	}
	if !c.TLS() {
		bad("needs http.tls_cert or http.acme: there is no HTTPS to redirect to")
	}
	if !strings.HasPrefix(c.PublicURL, "https://") {
		bad("needs http.public_url = \"https://…\", where it redirects to: the name that a client asks for can be anything")
	}
	return errors.Join(errs...)
}

func checkListen(s, example string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("must be host:port such as %q, got %q", example, s)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("port must be 0 to 65535, got %q", port)
	}
	return nil
}

// CheckTransport refuses to let tokens travel in the clear (RFC 9725, section 5). open
// says that the gateway has no tokens. The error names the ways out.
func CheckTransport(c Config, open bool) error {
	switch {
	case open, c.Insecure, c.TLS(), loopback(c.Listen):
		return nil
	case strings.HasPrefix(c.PublicURL, "https://"):
		return nil // a proxy in front of the gateway has the certificate
	}
	return fmt.Errorf("http.listen: %s can be reached from other machines, and tokens would travel there in the clear: "+
		"set http.tls_cert and http.tls_key, or http.acme.domains; or http.public_url = \"https://…\" and http.trusted_proxies "+
		"when a proxy in front of it encrypts; "+
		"or http.insecure = true for a trial in a closed network", c.Listen)
}

func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

func parsePrefix(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()), nil
	}
	return netip.ParsePrefix(s)
}
