package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// A logger takes what the embedded NATS says of itself. Its notices are ours at debug; what
// it repeats within a period is too, for it says some things at each attempt to connect.
type logger struct {
	log *slog.Logger

	mu    sync.Mutex           // guards what follows
	said  map[string]time.Time // by format, of which NATS has a fixed set
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

// fatalOr is why NATS can't start, if it has said so.
func (l *logger) fatalOr(text string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal != nil {
		return l.fatal
	}
	return errors.New(text)
}

func (l *logger) say(level slog.Level, format string, v []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, fmt.Sprintf(format, v...))
	}
}

// level is warn once in a period, debug otherwise.
func (l *logger) level(format string) slog.Level {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if last, ok := l.said[format]; ok && now.Sub(last) < quiet {
		return slog.LevelDebug
	}
	// Should it have made a format of data once, the map stays small nevertheless.
	if len(l.said) > 200 {
		clear(l.said)
	}
	l.said[format] = now
	return slog.LevelWarn
}
