package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sightline/internal/auth"
	"sightline/internal/certs/acmetest"
)

// beSightline makes the test binary the program, for tests that want a real process.
const beSightline = "TEST_BE_SIGHTLINE"

func TestMain(m *testing.M) {
	if os.Getenv(beSightline) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m, acmetest.Leaks()...)
}

// A result is what a subcommand left.
type result struct {
	code           int
	stdout, stderr string
}

// run runs a subcommand that ends by itself.
func run(t *testing.T, environ []string, stdin string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := &process{args: args, environ: environ, stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr}
	code := p.run(t.Context())
	return result{code, stdout.String(), stderr.String()}
}

func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string // contained
	}{
		{"help", []string{"-h"}, 0, "check-config", ""},
		{"help, as a word", []string{"help"}, 0, "check-config", ""},
		{"serve -h", []string{"serve", "-h"}, 0, "-config", ""},
		{"demo -h", []string{"demo", "-h"}, 0, "-config", ""},
		{"check-config -h", []string{"check-config", "-h"}, 0, "-config", ""},
		{"healthcheck -h", []string{"healthcheck", "-h"}, 0, "-timeout", ""},
		{"hash-token -h", []string{"hash-token", "-h"}, 0, "-stdin", ""},
		{"version -h", []string{"version", "-h"}, 0, "Prints the version", ""},
		{"version", []string{"version"}, 0, "sightline ", ""},
		{"check-config of nothing", []string{"check-config"}, 0, "ok", ""},
		{"unknown subcommand", []string{"sevre"}, 2, "", `unknown subcommand "sevre"`},
		{"unknown flag", []string{"serve", "-port", "80"}, 2, "", "flag provided but not defined: -port"},
		{"unknown flag of the default", []string{"-port", "80"}, 2, "", "flag provided but not defined: -port"},
		{"argument too many", []string{"version", "please"}, 2, "", `unexpected argument "please"`},
		{"no such file", []string{"-config", "/nowhere/config.toml"}, 2, "", "/nowhere/config.toml"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := run(t, nil, "", tt.args...)
			if got.code != tt.code || !strings.Contains(got.stdout, tt.stdout) || !strings.Contains(got.stderr, tt.stderr) {
				t.Errorf("got code %d, stdout %q, stderr %q\nwant %d, %q, %q", got.code, got.stdout, got.stderr, tt.code, tt.stdout, tt.stderr)
			}
		})
	}
}

func TestEveryConfigurationErrorIsReportedAndEndsWith2(t *testing.T) {
	path := writeConfig(t, `[http]
listen = "8080"
max_body = "big"
[rooms]
takeover = "oldest"
graze = "1s"
`)
	for _, command := range []string{"check-config", "serve", "demo", "healthcheck"} {
		got := run(t, []string{"SIGHTLINE_LOG_LEVEL=loud"}, "", command, "-config", path)
		if got.code != 2 {
			t.Errorf("%s: exit code %d, want 2", command, got.code)
		}
		for _, want := range []string{
			path + ":2: http.listen: must be host:port",
			path + `:3: http.max_body: must be a whole number, got "big"`,
			path + ":5: rooms.takeover: must be",
			path + ":6: rooms.graze: unknown key; did you mean grace?",
			"SIGHTLINE_LOG_LEVEL: log.level: must be",
		} {
			if !strings.Contains(got.stderr, want) {
				t.Errorf("%s: nothing says %q in\n%s", command, want, got.stderr)
			}
		}
		if n := strings.Count(got.stderr, "\n"); n != 5 {
			t.Errorf("%s: %d lines, want 5:\n%s", command, n, got.stderr)
		}
	}
}

func TestConfigurationFileFromTheEnvironment(t *testing.T) {
	path := writeConfig(t, "[log]\nlevel = 3.5\n")
	if got := run(t, []string{"SIGHTLINE_CONFIG=" + path}, "", "check-config"); got.code != 2 || !strings.Contains(got.stderr, path+":2: log.level") {
		t.Errorf("got %d, %q, want 2 and the line of the file", got.code, got.stderr)
	}
}

func TestOpenGatewayDoesNotListenBeyondLoopback(t *testing.T) {
	got := run(t, []string{"SIGHTLINE_HTTP_LISTEN=:8080"}, "", "serve")
	if got.code != 2 {
		t.Errorf("exit code %d, want 2", got.code)
	}
	for _, want := range []string{"SIGHTLINE_HTTP_LISTEN: http.listen: ", "[[auth.tokens]]", "auth.open = true"} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("%q does not say %q", got.stderr, want)
		}
	}
	if got := run(t, []string{"SIGHTLINE_HTTP_LISTEN=:8080", "SIGHTLINE_AUTH_OPEN=true"}, "", "check-config"); got.code != 0 {
		t.Errorf("auth.open = true: got %d, %s, want 0", got.code, got.stderr)
	}
}

func TestHashTokenMakesATokenAndItsHash(t *testing.T) {
	first, second := run(t, nil, "", "hash-token"), run(t, nil, "", "hash-token")
	m := regexp.MustCompile(`^token  = "([A-Za-z0-9_-]{43})"\nsha256 = "([0-9a-f]{64})"\n$`).FindStringSubmatch(first.stdout)
	if m == nil {
		t.Fatalf("got %q, want a token and its hash", first.stdout)
	}
	if sum := sha256.Sum256([]byte(m[1])); hex.EncodeToString(sum[:]) != m[2] {
		t.Errorf("sha256 of %s is %x, got %s", m[1], sum, m[2])
	}
	if first.stdout == second.stdout {
		t.Error("two runs gave the same token")
	}

	// The second half of the printed lines goes into a file as it is.
	path := writeConfig(t, "[[auth.tokens]]\nname = \"a\"\nscopes = [\"publish\"]\nsha256 = \""+m[2]+"\"\n")
	if got := run(t, nil, "", "check-config", "-config", path); got.code != 0 {
		t.Errorf("the printed hash is refused: %s", got.stderr)
	}
}

func TestHashTokenReadsAToken(t *testing.T) {
	const token = "correct-horse-battery-staple"
	sum := sha256.Sum256([]byte(token))
	for _, stdin := range []string{token, token + "\n", token + "\r\nsecond line\n"} {
		got := run(t, nil, stdin, "hash-token", "-stdin")
		if want := "sha256 = \"" + hex.EncodeToString(sum[:]) + "\"\n"; got.code != 0 || got.stdout != want {
			t.Errorf("%q: got %d, %q, want %q", stdin, got.code, got.stdout, want)
		}
	}
	for _, stdin := range []string{"", "short", "white space in between it", "tökentökentökentöken", strings.Repeat("x", 5000)} {
		got := run(t, nil, stdin, "hash-token", "-stdin")
		if got.code != 2 || got.stdout != "" {
			t.Errorf("%q: got %d, %q, want 2 and nothing", stdin, got.code, got.stdout)
		}
		if stdin != "" && strings.Contains(got.stderr, stdin) {
			t.Errorf("the error repeats the token: %s", got.stderr)
		}
	}
}

func TestTokenIsSignedWithTheConfiguredSecret(t *testing.T) {
	const secret = "a secret of the tests, and of nothing else"
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	right := []string{"token", "-sub", "alice", "-scope", "whip:publish,room:speak", "-room", "mri-2 mri-3", "-expires", "1h"}
	for name, environ := range map[string][]string{
		"of the environment": {"SIGHTLINE_AUTH_JWT_SECRET=" + secret}, "of a file": {"SIGHTLINE_AUTH_JWT_SECRET_FILE=" + file},
	} {
		got := run(t, environ, "", right...)
		c := auth.Defaults()
		c.JWT.Secret = secret
		a, err := auth.Open(c, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(got.stdout))
		id, err := a.Authorize(r, auth.Speak, "mri-3", "console")
		if got.code != 0 || err != nil || id.Name != "alice" || id.ID == "" || time.Until(id.Expires) > time.Hour {
			t.Errorf("%s: got %d, %s, which is good for %+v, %v", name, got.code, got.stderr, id, err)
		}
	}
	for want, args := range map[string][]string{
		"-sub":                 {"-scope", "whep:play"},
		"-scope":               {"-sub", "x", "-scope", "whep:play root"},
		"-expires":             {"-sub", "x", "-scope", "whep:play", "-expires", "-1h"},
		"role":                 {"-sub", "x", "-scope", "whep:play", "-role", "a b"},
		"publishers":           {"-sub", "x", "-scope", "whep:play", "-publishers", "console/sound"},
		"auth.jwt.secret_file": nil,
	} {
		environ := []string{"SIGHTLINE_AUTH_JWT_SECRET=" + secret}
		if args == nil {
			environ, args = nil, right[1:]
		}
		got := run(t, environ, "", append([]string{"token"}, args...)...)
		if got.code != 2 || got.stdout != "" || !strings.Contains(got.stderr, want) || strings.Contains(got.stderr, "a secret of") {
			t.Errorf("%v: got %d, %q, %q, want 2 and a word of %s", args, got.code, got.stdout, got.stderr, want)
		}
	}
}

func TestReachable(t *testing.T) {
	for listen, want := range map[string]string{
		":8080":          "127.0.0.1:8080",
		"0.0.0.0:8080":   "127.0.0.1:8080",
		"[::]:8080":      "[::1]:8080",
		"[::1]:8080":     "[::1]:8080",
		"127.0.0.1:8080": "127.0.0.1:8080",
		"192.0.2.1:80":   "192.0.2.1:80",
		"localhost:80":   "localhost:80",
	} {
		if got := reachable(listen); got != want {
			t.Errorf("reachable(%q) = %q, want %q", listen, got, want)
		}
	}
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
