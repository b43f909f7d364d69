package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// What happens while the log can't be written.
const (
	Refuse = "refuse" // no new sessions
	Alarm  = "alarm"  // the gateway says so and goes on
)

const (
	minSize = 64 << 10
	minKey  = 32 // bytes
)

// Config is the section audit of the configuration.
type Config struct {
	// File is where the log is written; files beside it have its name with a suffix. Empty: off.
	File string `toml:"file"`

	// KeyFile holds the secret with which lines are hashed (HMAC). Empty: without one.
	KeyFile string `toml:"key_file"`

	// Node is the gateway's name in the log. Empty: that in the cluster, which the caller puts here, or the machine's.
	Node string `toml:"node"`

	// MaxSize is how large a file may become, in bytes, before the next one is begun.
	MaxSize int64 `toml:"max_size"`

	// Keep is how many files there are at most; the oldest are deleted. 0: all are kept.
	Keep int `toml:"keep"`

	// OnFailure is Refuse or Alarm.
	OnFailure string `toml:"on_failure"`

	// Speech finds out who speaks in every room, be it that nobody listens to its mix.
	Speech bool `toml:"speech"`
}

// Defaults returns the configuration that the shipped file states.
func Defaults() Config {
	return Config{MaxSize: 64 << 20, Keep: 32, OnFailure: Refuse, Speech: true}
}

// Validate reports everything that is wrong, each with its key.
func (c Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("audit.%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if c.MaxSize < minSize {
		bad("max_size", "must be %d bytes or more, got %d", minSize, c.MaxSize)
	}
	if c.Keep < 0 || c.Keep == 1 || c.Keep > maxFiles {
		bad("keep", "must be 0 (all files) or between 2 and %d, got %d", maxFiles, c.Keep)
	}
	if c.OnFailure != Refuse && c.OnFailure != Alarm {
		bad("on_failure", "must be %q or %q, got %q", Refuse, Alarm, c.OnFailure)
	}
	if len(c.Node) > maxName || strings.ToValidUTF8(c.Node, "") != c.Node {
		bad("node", "must be a name of at most %d bytes, got %q", maxName, clip(c.Node, maxName))
	}
	if c.File == "" && c.KeyFile != "" {
		bad("key_file", "is of no use without audit.file")
	}
	if strings.HasSuffix(c.File, string(filepath.Separator)) {
		bad("file", "must name a file, got the directory %q", c.File)
	}
	return errors.Join(errs...)
}

// ReadKey reads a secret for the log: all of the file but the white space around it, 32
// bytes or more.
func ReadKey(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err // names the file
	}
	key := []byte(strings.TrimSpace(string(raw)))
	if len(key) < minKey {
		return nil, fmt.Errorf("%s: the key must have %d characters or more, got %d: openssl rand -hex 32 makes a good one", path, minKey, len(key))
	}
	return key, nil
}
