package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sightline/internal/opt"
)

// What Config.Forward may be.
const (
	Proxy    = "proxy"    // the entry sends a client's request to the owner
	Redirect = "redirect" // it sends the client there
)

// minSecret is how long a secret must be, in bytes: who listens in can try them at leisure.
const minSecret = 16

// Config is the section cluster. It is off unless there is an engine: listen, leaf or urls.
type Config struct {
	Name  string `toml:"name"`  // of this node; "": the machine's host name
	Group string `toml:"group"` // of the cluster: nodes of another one are not heard

	// The embedded engine.
	Listen    string   `toml:"listen"`    // host:port for the other nodes, such as ":6222"
	Advertise string   `toml:"advertise"` // host:port where they reach it, if that is another
	Routes    []string `toml:"routes"`    // host:port of other nodes; one is enough, they tell each other
	Secret    string   `toml:"secret"`    // that all nodes share
	TLSCert   string   `toml:"tls_cert"`  // of the routes, both ways, with TLSKey and TLSCA
	TLSKey    string   `toml:"tls_key"`
	TLSCA     string   `toml:"tls_ca"`

	LeafListen string   `toml:"leaf_listen"` // for remote sites that join as leaf nodes
	Leaf       []string `toml:"leaf"`        // this node is such a site: host:port of the centre's leaf_listen

	// An external NATS, instead of the embedded one.
	URLs        []string `toml:"urls"`
	Credentials string   `toml:"credentials"` // file (.creds) for it

	URL     string `toml:"url"`     // where clients reach this very node; for forward = "redirect"
	Forward string `toml:"forward"` // Proxy or Redirect

	Lease  opt.Duration `toml:"lease"`  // how long a node that is not heard is still there
	Linger opt.Duration `toml:"linger"` // how long a room without anybody stays where it is

	MaxEgress   int     `toml:"max_egress"`   // Mbit/s of media that this machine sends at most, for placement; 0: not known
	MaxSessions int     `toml:"max_sessions"` // likewise sessions; 0: not known
	FullAbove   float64 `toml:"full_above"`   // share of a limit above which no new room comes here
	RelayAbove  float64 `toml:"relay_above"`  // above which other nodes relay its tracks to their own viewers; 0: never

	Near []string `toml:"near"` // networks whose viewers this node serves itself, by a relay

	// Version is the program's, for the other nodes to see. Not configured.
	Version string `toml:"-"`
}

// On reports whether there is a cluster.
func (c Config) On() bool { return c.embedded() || c.external() }

func (c Config) embedded() bool { return c.Listen != "" || len(c.Leaf) > 0 }
func (c Config) external() bool { return len(c.URLs) > 0 }
func (c Config) tls() bool      { return c.TLSCert != "" && c.TLSKey != "" && c.TLSCA != "" }

// Defaults returns the configuration that the shipped config.toml states.
func Defaults() Config {
	return Config{
		Group:      "sightline",
		Forward:    Proxy,
		Lease:      opt.Duration(3 * time.Second),
		Linger:     opt.Duration(10 * time.Second),
		FullAbove:  0.9,
		RelayAbove: 0.75,
	}
}

// Validate reports every impossible value, each with its key.
func (c Config) Validate() error {
	var v validation
	if c.Name != "" && !validName(c.Name) {
		v.bad("name", "must have 1 to 64 of the characters A-Z a-z 0-9 . _ -, got %q", c.Name)
	}
	if !validGroup(c.Group) {
		v.bad("group", "must have 1 to 32 of the characters a-z 0-9 - _, got %q", c.Group)
	}
	c.validateEngine(&v)
	c.validateExposure(&v)
	c.validateExternal(&v)
	c.validatePlacement(&v)
	return errors.Join(v...)
}

// A validation gathers what is wrong.
type validation []error

func (v *validation) bad(key, format string, args ...any) {
	*v = append(*v, fmt.Errorf("cluster.%s: %s", key, fmt.Sprintf(format, args...)))
}

// validateEngine is about the embedded engine.
func (c Config) validateEngine(v *validation) {
	if c.Listen != "" && !isHostPort(c.Listen, true) {
		v.bad("listen", "must be host:port such as \":6222\", got %q", c.Listen)
	}
	if c.LeafListen != "" && !isHostPort(c.LeafListen, true) {
		v.bad("leaf_listen", "must be host:port such as \":7422\", got %q", c.LeafListen)
	}
	if c.Advertise != "" && !isHostPort(c.Advertise, false) {
		v.bad("advertise", "must be host:port such as \"node-1.example.org:6222\", got %q", c.Advertise)
	}
	addresses(v, "routes", c.Routes)
	addresses(v, "leaf", c.Leaf)
	if c.Listen == "" {
		for key, set := range map[string]bool{"routes": len(c.Routes) > 0, "advertise": c.Advertise != "", "leaf_listen": c.LeafListen != ""} {
			if set {
				v.bad(key, "needs cluster.listen, where the other nodes reach this one")
			}
		}
	}
	if c.LeafListen != "" && len(c.Leaf) > 0 {
		v.bad("leaf", "a node is either at the centre (leaf_listen) or at a remote site (leaf)")
	}
	if (c.TLSCert != "" || c.TLSKey != "") && (c.TLSCert == "" || c.TLSKey == "") {
		v.bad("tls_cert", "tls_cert and tls_key go together: give both, or none")
	}
	if c.embedded() && !c.tls() && (c.TLSCert != "" || c.TLSCA != "") {
		v.bad("tls_ca", "nodes check each other: give all of tls_cert, tls_key and tls_ca, or none")
	}
	if c.Secret != "" && len(c.Secret) < minSecret {
		v.bad("secret", "must have %d characters or more, got %d: openssl rand -hex 32 makes a good one", minSecret, len(c.Secret))
	}
}

// validateExposure is about what goes between machines: requests of clients with their
// tokens. Within one machine nodes may do without.
func (c Config) validateExposure(v *validation) {
	exposed := c.Listen != "" && !isLoopback(c.Listen) || c.LeafListen != "" && !isLoopback(c.LeafListen)
	for _, addr := range append(c.Routes, c.Leaf...) {
		exposed = exposed || isHostPort(addr, false) && !isLoopback(addr)
	}
	if exposed && !c.tls() {
		v.bad("tls_cert", "nodes on several machines need TLS among them, for they send requests of clients with their tokens: "+
			"give tls_cert, tls_key and tls_ca, or keep listen, routes and leaf on 127.0.0.1")
	}
	if c.Secret == "" && (exposed || c.LeafListen != "" || len(c.Leaf) > 0) {
		v.bad("secret", "nodes on several machines need a secret that all of them share: openssl rand -hex 32 makes a good one")
	}
}

// validateExternal is about an external NATS.
func (c Config) validateExternal(v *validation) {
	if !c.external() {
		if c.Credentials != "" {
			v.bad("credentials", "is for an external NATS, which cluster.urls names")
		}
		return
	}
	for key, set := range map[string]bool{
		"listen": c.Listen != "", "leaf": len(c.Leaf) > 0, "secret": c.Secret != "",
	} {
		if set {
			v.bad(key, "is for the embedded engine, and cluster.urls names an external one: give one of them")
		}
	}
	for i, raw := range c.URLs {
		u, err := url.Parse(raw)
		switch {
		case err != nil || !isNATS(u):
			// The text may hold a password.
			v.bad(fmt.Sprintf("urls[%d]", i), "must be a URL such as \"tls://nats.example.org:4222\", one in each entry; "+
				"in a user, password or token \"/\" is written %%2F, \"?\" %%3F, \"#\" %%23, \"%%\" %%25")
		case u.Scheme == "nats" && !isLoopback(net.JoinHostPort(u.Hostname(), "4222")):
			v.bad(fmt.Sprintf("urls[%d]", i), "must begin with tls:// beyond this machine, for requests of clients go there with their tokens; got nats://%s", u.Host)
		}
	}
}

// isNATS reports whether u is a server's and no more: behind a "/", "?" or "#" there is the rest of a
// password that is not written as URLs want it, and what is before it would be taken for a host.
func isNATS(u *url.URL) bool {
	bare := url.URL{Scheme: u.Scheme, User: u.User, Host: u.Host}
	return (u.Scheme == "nats" || u.Scheme == "tls") && u.Hostname() != "" && !strings.Contains(u.Host, ",") && bare.String() == u.String()
}

// validatePlacement is about where rooms and clients go.
func (c Config) validatePlacement(v *validation) {
	if c.Forward != Proxy && c.Forward != Redirect {
		v.bad("forward", "must be %q or %q, got %q", Proxy, Redirect, c.Forward)
	}
	if u, err := url.Parse(c.URL); c.URL != "" && (err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http") {
		v.bad("url", "must be a URL such as \"https://node-1.example.org\", without a password")
	}
	if c.On() && c.Forward == Redirect && c.URL == "" {
		v.bad("url", "must say where clients reach this node, if cluster.forward is %q", Redirect)
	}
	if d := c.Lease.D(); d < 4*beatEvery || d > time.Minute {
		v.bad("lease", "must be between %s and 1m, got %s", 4*beatEvery, d)
	}
	if d := c.Linger.D(); d < 0 || d > time.Hour {
		v.bad("linger", "must be between 0s and 1h, got %s", d)
	}
	if c.MaxEgress < 0 || c.MaxEgress > 1_000_000 {
		v.bad("max_egress", "must be a number of Mbit/s up to 1000000, or 0 if it is not known, got %d", c.MaxEgress)
	}
	if c.MaxSessions < 0 {
		v.bad("max_sessions", "must be a number of sessions, or 0 if it is not known, got %d", c.MaxSessions)
	}
	if !(c.FullAbove > 0 && c.FullAbove <= 1) {
		v.bad("full_above", "must be a share of more than 0, and 1 at most, got %v", c.FullAbove)
	}
	if !(c.RelayAbove >= 0 && c.RelayAbove <= 1) {
		v.bad("relay_above", "must be a share between 0 (never) and 1, got %v", c.RelayAbove)
	}
	for i, text := range c.Near {
		if _, err := netip.ParsePrefix(text); err != nil {
			v.bad(fmt.Sprintf("near[%d]", i), "must be a network such as \"10.20.0.0/16\", got %q", text)
		}
	}
}

func addresses(v *validation, key string, list []string) {
	for i, text := range list {
		if !isHostPort(text, false) {
			v.bad(fmt.Sprintf("%s[%d]", key, i), "must be host:port such as \"node-2.example.org:6222\", got %q", text)
		}
	}
}

// isHostPort reports whether text is host:port; the host of a listener may be empty.
func isHostPort(text string, listener bool) bool {
	host, port, err := net.SplitHostPort(text)
	if err != nil || host == "" && !listener || strings.ContainsAny(host, " /@?#") {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// isLoopback reports whether only this machine reaches addr, host:port.
func isLoopback(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

var (
	namePattern  = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	groupPattern = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)
)

func validName(s string) bool  { return namePattern.MatchString(s) }
func validGroup(s string) bool { return groupPattern.MatchString(s) }

// name is the node's: as configured, or the machine's.
func (c Config) name() (string, error) {
	host, err := os.Hostname()
	if c.Name == "" && (err != nil || !validName(host)) {
		return "", fmt.Errorf("cluster.name: must be given, for the machine's name %q can't be one: %w", host, cmp.Or(err, errNoName))
	}
	return cmp.Or(c.Name, host), nil
}

var errNoName = errors.New("it must have 1 to 64 of the characters A-Z a-z 0-9 . _ -")
