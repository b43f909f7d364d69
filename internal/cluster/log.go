package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A logger takes what the embedded NATS says of itself, and what is wrong with our connection to it. Its notices are ours at debug; what
// it repeats within a period is too, for it says some things at each attempt to connect.
type logger struct {
	log *slog.Logger

	mu    sync.Mutex           // guards what follows
	said  map[string]time.Time // by what kind it was of
	fatal error                // why it can't start
}

// quiet is how long a warning is not repeated.
const quiet = 30 * time.Second

func newLogger(log *slog.Logger) *logger {
	return &logger{log: log.With("from", "nats"), said: make(map[string]time.Time)}
}

func (l *logger) Noticef(format string, v ...any) { l.say(slog.LevelDebug, format, v) }
func (l *logger) Debugf(format string, v ...any)  { l.say(slog.LevelDebug, format, v) }
func (l *logger) Tracef(format string, v ...any)  {}
func (l *logger) Warnf(format string, v ...any)   { l.say(l.level(format), format, v) }
func (l *logger) Errorf(format string, v ...any)  { l.say(l.level(format), format, v) }

// Fatalf is called when a listener can't be opened. NATS expects the process to end; here
// Open fails.
func (l *logger) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == nil {
		l.fatal = fmt.Errorf(format, v...)
	}
}

// failure is why NATS can't start, if it has said so.
func (l *logger) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func (l *logger) say(level slog.Level, format string, v []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, fmt.Sprintf(format, v...))
	}
}

// noise is what follows from something else that is said, or is meant to be so.
var noise = []string{"Error flushing", "Cluster name was dynamically generated"}

// level is warn once in a period, debug otherwise.
func (l *logger) level(format string) slog.Level {
	// Before the last dash it names the connection, another one at each attempt.
	kind := format[strings.LastIndex(format, " - ")+1:]
	for _, text := range noise {
		if strings.Contains(kind, text) {
			return slog.LevelDebug
		}
	}
	if l.fresh(kind) {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// fresh reports whether nothing of the kind was said within a period.
func (l *logger) fresh(kind string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if last, ok := l.said[kind]; ok && now.Sub(last) < quiet {
		return false
	}
	// The kinds are a fixed set of the program's; should one be made of data, the map stays small.
	if len(l.said) > 200 {
		clear(l.said)
	}
	l.said[kind] = now
	return true
}

// fault logs what is wrong with our own connection, each cause once in a period; explained is the error
// with what to do. Rights that are lacking are said by NATS once for each connection, and cut the node off
// while all looks well.
func (l *logger) fault(what string, err, explained error) {
	level := slog.LevelWarn
	if errors.Is(err, nats.ErrPermissionViolation) {
		level = slog.LevelError
	}
	if !l.fresh(cause(err)) {
		level = slog.LevelDebug
	}
	l.say(level, "%s: %v", []any{what, explained})
}

// cause is what errors have in common that differ by addresses, which are others at each attempt, and by
// subjects, which stand in quotes. NATS writes one thing in two ways.
func cause(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	text, _, _ := strings.Cut(strings.ToLower(err.Error()), `"`)
	return text
}
