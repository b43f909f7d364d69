package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sightline/internal/rtc"
)

// load writes text to a file and loads it; "FILE" stands for the path in what it returns.
func load(t *testing.T, text string, environ ...string) (Config, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, environ)
	if err != nil {
		return c, strings.ReplaceAll(err.Error(), path, "FILE")
	}
	return c, ""
}

func TestNoFileIsTheDefaults(t *testing.T) {
	got, err := Load("", []string{"PATH=/bin", "HOME=/root"})
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.ICE.Loopback = true // HTTP listens on loopback
	want.HTTP.Open = true    // there are no tokens
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Load without a file (-want +got):\n%s", diff)
	}
}

func TestARoleIsAName(t *testing.T) {
	const token = "[[auth.tokens]]\nname = \"x\"\nsha256 = \"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\"\nscopes = [\"publish\"]\n"
	got, problems := load(t, token+`role = "technician"`)
	if problems != "" || got.Auth.Tokens[0].Role != "technician" {
		t.Errorf("got %+v, %s", got.Auth.Tokens, problems)
	}
	if _, problems := load(t, token+`role = "a technician"`); !strings.HasPrefix(problems, `FILE:5: auth.tokens[0].role: "a technician" is no role: it must be `) {
		t.Errorf("got %s", problems)
	}
}

// What check-config says goes into tickets and logs.
func TestASecretInTheWrongPlaceIsNotRepeated(t *testing.T) {
	for _, text := range []string{
		"[auth.jwt]\nsecret = 99887766", "[auth.oidc]\nclient_secret = 99887766", "[cluster]\nsecret = 99887766", "[auth]\njwt = \"99887766\"",
		"[[ice.servers]]\nurl = \"turn:a\"\ncredential = 99887766", "[auth]\ntokens = [\"99887766\"]", "[[auth.tokens]]\nsha256 = 99887766",
		"[auth.jwt]\njwks = \"http://u:99887766@keys.example/\"", "[auth.oidc]\nissuer = \"https://u:99887766@login.example/\"",
	} {
		if _, got := load(t, text); got == "" || strings.Contains(got, "99887766") {
			t.Errorf("%s: got %s", text, got)
		}
	}
	_, err := Load("", []string{`SIGHTLINE_ICE_SERVERS=[{url = "turn:a", credential = 99887766}]`})
	if err == nil || strings.Contains(err.Error(), "99887766") {
		t.Errorf("from the environment: got %v", err)
	}
}

func TestDefaultsAreValid(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
}

func TestFileOverridesDefaultsAndEnvironmentOverridesFile(t *testing.T) {
	got, problems := load(t, `
[ice]
udp_listen = ":9000"
public_addresses = ["192.0.2.1"]
setup_timeout = "20s"
[[ice.servers]]
url = "stun:a:3478"
[log]
level = "debug"
`,
		"SIGHTLINE_ICE_UDP_LISTEN=:9001",
		"SIGHTLINE_ICE_PUBLIC_ADDRESSES=192.0.2.2, 192.0.2.3",
		"SIGHTLINE_ICE_SOCKET_BUFFER=1000000",
		"SIGHTLINE_ICE_RTCP_MUX_ONLY=false",
		"SIGHTLINE_SHUTDOWN_DRAIN_TIMEOUT=1m",
		// What Kubernetes sets for a Service named sightline is not ours to judge.
		"SIGHTLINE_PORT=tcp://10.0.0.1:8080", "SIGHTLINE_SERVICE_HOST=10.0.0.1",
	)
	if problems != "" {
		t.Fatal(problems)
	}
	type some struct {
		UDP     string
		Public  []string
		Buffer  int
		Mux     bool
		Setup   time.Duration
		Servers []rtc.Server
		Level   string
		Drain   time.Duration
	}
	want := some{":9001", []string{"192.0.2.2", "192.0.2.3"}, 1000000, false, 20 * time.Second,
		[]rtc.Server{{URL: "stun:a:3478"}}, "DEBUG", time.Minute}
	if diff := cmp.Diff(want, some{got.ICE.UDPListen, got.ICE.PublicAddresses, got.ICE.SocketBuffer, got.ICE.RTCPMuxOnly,
		got.ICE.SetupTimeout.D(), got.ICE.Servers, got.Log.Level.String(), got.Shutdown.DrainTimeout.D()}); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
}

func TestListOfTablesFromTheEnvironment(t *testing.T) {
	c, err := Load("", []string{`SIGHTLINE_ICE_SERVERS=[{url = "turn:a:3478", username = "u", credential = "c"}]`})
	if err != nil {
		t.Fatal(err)
	}
	want := []rtc.Server{{URL: "turn:a:3478", Username: "u", Credential: "c"}}
	if diff := cmp.Diff(want, c.ICE.Servers); diff != "" {
		t.Errorf("ice.servers (-want +got):\n%s", diff)
	}
}

func TestEverythingWrongIsReportedAtOnceWithItsPlace(t *testing.T) {
	_, got := load(t, `# a comment
[ice]
udp_listen = "8189"
setup_timeout = "soon"
socket_buffer = "big"
rtcp_mux_onli = true
public_addresses = [
  "192.0.2.1",
  7,
]

[[ice.servers]]
url = "stun:a:3478"

[[ice.servers]]
url = "http://a"
user = "x"

[log]
level = "loud"
format = "xml"

[rume]
viewer_queue = 1
`,
		"SIGHTLINE_SHUTDOWN_DRAIN_TIMEOUT=-1s",
		"SIGHTLINE_HTPP_LISTEN=:80",
		"SIGHTLINE_ICE_RTCP_MUX_ONLY=perhaps",
	)
	for _, want := range []string{
		`FILE:3: ice.udp_listen: must be host:port such as ":8189", got "8189"`,
		`FILE:4: ice.setup_timeout: must be a duration such as "500ms", "15s" or "1h30m", got "soon"`,
		`FILE:5: ice.socket_buffer: must be a whole number, got "big"`,
		`FILE:6: ice.rtcp_mux_onli: unknown key; did you mean rtcp_mux_only?`,
		`FILE:9: ice.public_addresses[1]: must be a text in quotes, got 7`,
		`ice.servers`, // the second server's url
		`FILE:17: ice.servers[1].user: unknown key; known here: credential, url, username`,
		`FILE:20: log.level: must be "debug", "info", "warn" or "error", got "loud"`,
		`FILE:21: log.format: must be "text" or "json", got "xml"`,
		`FILE:23: rume: unknown section; `,
		`SIGHTLINE_SHUTDOWN_DRAIN_TIMEOUT: shutdown.drain_timeout: must be between 0s and 24h, got -1s`,
		`SIGHTLINE_HTPP_LISTEN: unknown variable; did you mean SIGHTLINE_HTTP_LISTEN?`,
		`SIGHTLINE_ICE_RTCP_MUX_ONLY: ice.rtcp_mux_only: must be true or false, got "perhaps"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("nothing says %s", want)
		}
	}
	if t.Failed() {
		t.Logf("got:\n%s", got)
	}
}

func TestBrokenFiles(t *testing.T) {
	for _, tt := range []struct {
		name, text, want string
	}{
		{"syntax", "[ice]\nudp_listen = :8189\n", "FILE:2: "},
		{"a key twice", "[log]\nlevel = \"info\"\nlevel = \"warn\"\n", "FILE"},
		{"a section that is none", "ice = 5\n", "FILE:1: ice: must be a table, got 5"},
		{"a section that is a list", "[[log]]\nlevel = \"info\"\n", "FILE:1: log: must be a table, got a list"},
		{"a list that is none", "[ice]\nservers = \"stun:a\"\n", "FILE:2: ice.servers: must be a list in brackets, got \"stun:a\""},
		{"dotted key", "ice.socket_buffer = 1.5\n", "FILE:1: ice.socket_buffer: must be a whole number, got 1.5"},
		{"inline table", "ice = { udp_listen = 3 }\n", "FILE:1: ice.udp_listen: must be a text in quotes, got 3"},
		{"inline tables of a list", "[ice]\nservers = [\n{ url = \"stun:a\" },\n{ url = 1 },\n]\n", "FILE:4: ice.servers[1].url: must be a text in quotes, got 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, got := load(t, tt.text); !strings.HasPrefix(got, tt.want) {
				t.Errorf("got %q, want it to begin with %q", got, tt.want)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.toml"), nil)
	if err == nil || !strings.Contains(err.Error(), "none.toml") {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

// Any document and any variable either load or are refused with at least one problem, and
// then with nothing of a configuration.
func FuzzLoad(f *testing.F) {
	manual, err := os.ReadFile("../../config.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(manual), "HTTP_LISTEN=:0")
	f.Add("[ice]\nudp_listen = \":8189\"\n[[ice.servers]]\nurl = \"stun:a\"\n", `ICE_SERVERS=[{url = "stun:b"}]`)
	f.Add("a.b = [1, [2], {c = 3}]\n[a.d]\n[[a.e]]\n[a.e.f]\n", "ICE_PUBLIC_ADDRESSES=192.0.2.1, ,x")
	f.Add("[rooms]\nmax_publishers = 9223372036854775808\ngrace = \"1h1\"\n", "HTTP_RATE_LIMIT=NaN")
	path := filepath.Join(f.TempDir(), "config.toml")
	f.Fuzz(func(t *testing.T, text, variable string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(path, []string{prefix + variable})
		if err == nil {
			if wrong := c.Validate(); wrong != nil {
				t.Errorf("loaded, and invalid: %v", wrong)
			}
			return
		}
		if problems, ok := errors.AsType[*Problems](err); !ok || len(problems.List) == 0 || strings.Contains(err.Error(), "%!") {
			t.Errorf("refused with %q", err)
		}
		if !reflect.DeepEqual(c, Config{}) {
			t.Error("refused, and there is a configuration")
		}
	})
}

// The provider sends people back to http.public_url, with a cookie that goes by https alone.
func TestSignInNeedsAnAddressThatIsEncryptedOrThisMachines(t *testing.T) {
	const people = `
[auth.oidc]
issuer = "https://login.example.org"
client_id = "sightline"
[[auth.oidc.roles]]
value = "*"
scopes = ["play"]
`
	const tls = "tls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n"
	for _, tt := range []struct {
		name, http string
		right      bool
	}{
		{"on this machine", "", true},
		{"on this machine, by name", `public_url = "http://localhost:8080"`, true},
		{"behind a proxy", "public_url = \"https://media.example.org\"\ntrusted_proxies = [\"10.0.0.1\"]\nlisten = \":8080\"", true},
		{"by itself", tls + "listen = \":8080\"\npublic_url = \"https://media.example.org\"", true},
		{"nobody knows where", tls + `listen = ":8080"`, false},
		{"in the clear", "listen = \":8080\"\ninsecure = true\npublic_url = \"http://media.example.org\"", false},
	} {
		_, problems := load(t, "[http]\n"+tt.http+people)
		if right := !strings.Contains(problems, "http.public_url: "); right != tt.right {
			t.Errorf("%s: got %q, want right: %t", tt.name, problems, tt.right)
		}
	}
}
