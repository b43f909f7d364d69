package cluster

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// externalOptions are how to connect to the NATS that cluster.urls names. The files are read at once, and again
// for each connection.
func (c Config) externalOptions() []nats.Option {
	// NATS takes one text apart at commas, and one may be in a password.
	options := []nats.Option{func(o *nats.Options) error { o.Servers = c.URLs; return nil }}
	if !slices.ContainsFunc(c.URLs, func(u string) bool { return strings.HasPrefix(u, "tls:") }) {
		// NATS names others to go to when it is lost. Those of other machines would be dialled
		// in the clear, too.
		options = append(options, nats.IgnoreDiscoveredServers())
	}
	if c.Credentials != "" {
		options = append(options, setting("credentials", c.asUser))
	}
	if c.TLSCA != "" {
		options = append(options, setting("tls_ca", nats.RootCAs(c.TLSCA)))
	}
	if c.TLSCert != "" {
		options = append(options, setting("tls_cert", nats.ClientCert(c.TLSCert, c.TLSKey)))
	}
	return options
}

// pingInterval is how often we ask whether NATS is there. One of several that falls silent is given up, and another
// taken, before the lease of this node is over at the others.
func (c Config) pingInterval() time.Duration {
	if !c.external() {
		return pingInterval
	}
	return min(pingInterval, c.Lease.D()/5)
}

// setting is an option whose error names the key that it is from.
func setting(key string, option nats.Option) nats.Option {
	return func(o *nats.Options) error {
		if err := option(o); err != nil {
			return fmt.Errorf("cluster.%s: %w", key, err)
		}
		return nil
	}
}

// asUser is an option: we are the user in cluster.credentials.
func (c Config) asUser(o *nats.Options) error {
	if _, err := readCredentials(c.Credentials); err != nil {
		return err
	}
	token := func() (string, error) {
		who, err := readCredentials(c.Credentials)
		if err != nil {
			return "", fmt.Errorf("cluster.credentials: %w", err)
		}
		return who.token, nil
	}
	sign := func(nonce []byte) ([]byte, error) {
		who, err := readCredentials(c.Credentials)
		if err != nil {
			return nil, fmt.Errorf("cluster.credentials: %w", err)
		}
		defer who.key.Wipe()
		return who.key.Sign(nonce)
	}
	return nats.UserJWT(token, sign)(o)
}

// Credentials are a user of NATS, as its account has signed it, and the key that proves that we are it.
type credentials struct {
	token string // the JWT
	user  *jwt.UserClaims
	key   nkeys.KeyPair
}

// readCredentials reads a file as nsc writes it (.creds). The error repeats nothing of it but its name.
func readCredentials(path string) (who credentials, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return who, err
	}
	if who.token, err = nkeys.ParseDecoratedJWT(text); err == nil {
		who.user, err = jwt.DecodeUserClaims(who.token)
	}
	if err != nil {
		return who, fmt.Errorf("%s has no user of NATS (a JWT), as \"nsc generate creds\" writes it", path)
	}
	if who.key, err = nkeys.ParseDecoratedUserNKey(text); err != nil {
		return who, fmt.Errorf("%s has no seed of a user, as \"nsc generate creds\" writes it", path)
	}
	if name, err := who.key.PublicKey(); err != nil || name != who.user.Subject {
		return who, fmt.Errorf("the seed in %s is not its user's", path)
	}
	return who, nil
}

// account is that of a user, by its public key.
func (who credentials) account() string {
	if who.user.IssuerAccount != "" { // the issuer is a signing key of it
		return who.user.IssuerAccount
	}
	return who.user.Issuer
}

// explain adds to an error of the connection which settings it may be about.
func (c Config) explain(err error) error {
	if !c.external() {
		return err
	}
	if hint := c.hint(err); hint != "" {
		return fmt.Errorf("%w: %s", err, hint)
	}
	return err
}

func (c Config) hint(err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		return "the user must be allowed to publish and subscribe to " + subject(c.Group, ">")
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired):
		return c.refusal()
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "NATS offers no TLS, and cluster.urls or cluster.tls_… ask for it"
	case errors.As(err, &unknown) && c.TLSCA == "":
		return "cluster.tls_ca is empty, and the machine does not know the authority of NATS"
	case errors.As(err, &unknown):
		return fmt.Sprintf("the certificate of NATS is not of cluster.tls_ca (%s)", c.TLSCA)
	case errors.As(err, &name):
		return "the certificate of NATS does not name the host in cluster.urls"
	case refusedByTLS(err) && c.TLSCert == "":
		return "NATS may want a certificate, and cluster.tls_cert is empty"
	case refusedByTLS(err):
		return fmt.Sprintf("NATS may not accept cluster.tls_cert (%s)", c.TLSCert)
	}
	return ""
}

// refusal says whom NATS does not let in.
func (c Config) refusal() string {
	if c.Credentials == "" {
		if slices.ContainsFunc(c.URLs, func(raw string) bool { u, err := url.Parse(raw); return err == nil && u.User != nil }) {
			return "it does not take the user and password, or the token, in cluster.urls"
		}
		return "cluster.urls name no user, and cluster.credentials is empty"
	}
	who, err := readCredentials(c.Credentials)
	if err != nil {
		return "cluster.credentials: " + err.Error()
	}
	now := time.Now()
	at := func(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }
	switch {
	case who.user.Expires != 0 && now.Unix() >= who.user.Expires:
		return fmt.Sprintf("the user in cluster.credentials (%s) has expired, at %s", c.Credentials, at(who.user.Expires))
	case now.Unix() < who.user.NotBefore:
		return fmt.Sprintf("the user in cluster.credentials (%s) is not valid before %s", c.Credentials, at(who.user.NotBefore))
	}
	return fmt.Sprintf("it does not know the user in cluster.credentials (%s), or its account %s, or has revoked them", c.Credentials, who.account())
}

// refusedByTLS reports whether the other side has ended the handshake: by an alert, or, since in TLS 1.3 it
// looks at our certificate when we are done, by closing the connection.
func refusedByTLS(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return true
	}
	return errors.Is(err, nats.ErrTLS) && (errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET))
}

// met is what is logged of a connection that is made: to which server, and in whose name.
func (c Config) met(conn *nats.Conn) []any {
	out := []any{"server", address(conn)}
	if c.Credentials != "" {
		if who, err := readCredentials(c.Credentials); err == nil {
			out = append(out, "account", who.account())
		}
	}
	return out
}

// address is where conn is connected to. NATS's own redacted URL still has a token, which stands where a user would.
func address(conn *nats.Conn) string {
	u, err := url.Parse(conn.ConnectedUrl())
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
