package cluster

import (
	"errors"

	"sightline/internal/opt"
)

// Config is the section cluster. It is off unless there is an engine: listen or urls.
type Config struct {
	Name string `toml:"name"` // of this node; "": the machine's host name

	// The embedded engine.
	Listen  string   `toml:"listen"`   // host:port for the other nodes, such as ":6222"
	Routes  []string `toml:"routes"`   // host:port of other nodes; one is enough, they tell each other
	Secret  string   `toml:"secret"`   // that all nodes share
	TLSCert string   `toml:"tls_cert"` // of the routes, both ways, with TLSKey and TLSCA
	TLSKey  string   `toml:"tls_key"`
	TLSCA   string   `toml:"tls_ca"`

	LeafListen string   `toml:"leaf_listen"` // for remote sites that join as leaf nodes
	Leaf       []string `toml:"leaf"`        // this node is such a site: host:port of the centre's leaf_listen

	// An external NATS, instead of the embedded one.
	URLs        []string `toml:"urls"`
	Credentials string   `toml:"credentials"` // file (.creds) for it

	URL     string `toml:"url"`     // where clients reach this very node; for forward = "redirect"
	Forward string `toml:"forward"` // "proxy" or "redirect"

	Lease  opt.Duration `toml:"lease"`  // how long a node that is not heard is still there
	Linger opt.Duration `toml:"linger"` // how long a room without anybody stays where it is

	MaxEgress   int     `toml:"max_egress"`   // Mbit/s of media that this machine sends at most, for placement; 0: not known
	MaxSessions int     `toml:"max_sessions"` // likewise sessions; 0: as http.max_sessions
	FullAbove   float64 `toml:"full_above"`   // share of a limit above which no new room comes here
	RelayAbove  float64 `toml:"relay_above"`  // above which other nodes relay its tracks to their own viewers; 0: never

	Near []string `toml:"near"` // networks whose viewers this node serves itself, by a relay
}

// On reports whether there is a cluster.
func (c Config) On() bool { return c.Listen != "" || len(c.URLs) > 0 || len(c.Leaf) > 0 }

// Defaults returns the configuration that the shipped config.toml states.
func Defaults() Config { panic("skeleton") }

// Validate reports every impossible value.
func (c Config) Validate() error { return errors.New("skeleton") }
