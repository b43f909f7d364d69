package rtc

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sightline/internal/opt"
)

// Config is the section ice of the configuration.
type Config struct {
	// UDPListen is the one UDP address that carries all media, as host:port. An empty
	// host listens on every address, IPv4 and IPv6.
	UDPListen string `toml:"udp_listen"`

	// TCPListen is the address of ICE-TCP (RFC 6544), for viewers whose network blocks
	// UDP. Empty: off.
	TCPListen string `toml:"tcp_listen"`

	// PublicAddresses are offered instead of the machine's own when a NAT stands in
	// front of it: IP addresses, with the same ports as the listeners.
	PublicAddresses []string `toml:"public_addresses"`

	// RemoteCandidates are the addresses that the gateway sends checks to when a client
	// names them as candidates: "public", "private", "link-local", "loopback", and prefixes.
	// Empty: to none, so that clients have to come by themselves.
	RemoteCandidates []string `toml:"remote_candidates"`

	// Servers are handed out to clients in Link headers (RFC 9725, section 4.6).
	Servers []Server `toml:"servers"`

	// SetupTimeout ends a session that is not connected this long after its answer.
	SetupTimeout opt.Duration `toml:"setup_timeout"`

	// CheckTimeout ends a session so long after its answer if not one ICE check of its
	// client has come: one that nobody means to connect. SetupTimeout ends it, too.
	CheckTimeout opt.Duration `toml:"check_timeout"`

	// MaxCandidates is how many candidates of a client are tried in one ICE session.
	MaxCandidates int `toml:"max_candidates"`

	// MaxSSRCs is how many SSRCs a publisher may send, retransmissions included.
	MaxSSRCs int `toml:"max_ssrcs"`

	// MaxRTCP is how many RTCP packets a second are taken of one session; twice as many
	// at once.
	MaxRTCP int `toml:"max_rtcp"`

	// RTCPMuxOnly puts a=rtcp-mux-only into answers, as RFC 9725, section 4.4.1 wants;
	// RFC 8858 keeps it to offers.
	RTCPMuxOnly bool `toml:"rtcp_mux_only"`

	// SocketBuffer is asked of the system for the UDP socket, each way, in bytes.
	SocketBuffer int `toml:"socket_buffer"`

	// Loopback offers loopback candidates, and takes them. It is set by who knows where
	// HTTP listens; a UDP listener on a loopback address implies it.
	Loopback bool `toml:"-"`
}

// A Server is a STUN or TURN server for clients.
type Server struct {
	URL        string `toml:"url"`
	Username   string `toml:"username"`
	Credential string `toml:"credential"`
}

// Defaults returns the configuration that the shipped file states.
func Defaults() Config {
	return Config{
		UDPListen:        ":8189",
		RemoteCandidates: []string{"public", "private"},
		SetupTimeout:     opt.Duration(40 * time.Second),
		CheckTimeout:     opt.Duration(15 * time.Second),

		MaxCandidates: 32,
		MaxSSRCs:      64,
		MaxRTCP:       500,

		RTCPMuxOnly:  true,
		SocketBuffer: 8 << 20,
	}
}

// Validate reports everything that is wrong, each with its key.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if err := checkListen(c.UDPListen); err != nil {
		bad("ice.udp_listen: %w", err)
	}
	if c.TCPListen != "" {
		if err := checkListen(c.TCPListen); err != nil {
			bad("ice.tcp_listen: %w", err)
		}
	}
	for _, a := range c.PublicAddresses {
		if ip, err := netip.ParseAddr(a); err != nil || ip.IsUnspecified() || ip.IsMulticast() {
			bad("ice.public_addresses: must hold IP addresses such as \"203.0.113.7\", got %q", a)
		}
	}
	if _, err := parseRemotePolicy(c.RemoteCandidates); err != nil {
		bad("ice.remote_candidates: %w", err)
	}
	for i, s := range c.Servers {
		key := fmt.Sprintf("ice.servers[%d]", i)
		scheme, rest, ok := strings.Cut(s.URL, ":")
		turn := scheme == "turn" || scheme == "turns"
		if !ok || rest == "" || !turn && scheme != "stun" && scheme != "stuns" || strings.ContainsAny(s.URL, "<>,;\" ") {
			bad("%s.url: must look like \"stun:host:3478\" or \"turn:host:3478?transport=udp\", got %q", key, s.URL)
		}
		if turn && (s.Username == "" || s.Credential == "") {
			bad("%s: %s needs username and credential", key, s.URL)
		}
		if strings.ContainsAny(s.Username+s.Credential, ",;\"") {
			bad("%s: username and credential must not hold a comma, semicolon or quote: clients split Link headers there", key)
		}
	}
	// RFC 8863, section 4: checks may go on for 39.5 s; less than 6 s is never right.
	if d := c.SetupTimeout.D(); d < 6*time.Second || d > 10*time.Minute {
		bad("ice.setup_timeout: must be between 6s and 10m (RFC 8863), got %s", d)
	}
	if d := c.CheckTimeout.D(); d < 5*time.Second || d > 10*time.Minute {
		bad("ice.check_timeout: must be between 5s and 10m, got %s", d)
	}
	for _, n := range []struct {
		key, what string
		low, high int
		n         int
	}{
		{"max_candidates", "candidates", 4, 64, c.MaxCandidates},
		{"max_ssrcs", "SSRCs", 8, 256, c.MaxSSRCs},
		{"max_rtcp", "packets a second", 10, 100_000, c.MaxRTCP},
	} {
		if n.n < n.low || n.n > n.high {
			bad("ice.%s: must be between %d and %d %s, got %d", n.key, n.low, n.high, n.what, n.n)
		}
	}
	if c.SocketBuffer < 64<<10 || c.SocketBuffer > 1<<30 {
		bad("ice.socket_buffer: must be between 65536 and 1073741824 bytes, got %d", c.SocketBuffer)
	}
	return errors.Join(errs...)
}

func checkListen(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("must be host:port such as \":8189\", got %q", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 && port != "0" {
		return fmt.Errorf("port must be 0 to 65535, got %q", port)
	}
	if host != "" {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("host must be an IP address or empty, got %q", host)
		}
	}
	return nil
}
