package certs

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapTo returns certmagic's log as ours, at debug: what an operator needs to know is said
// by this package, once.
func zapTo(log *slog.Logger) *zap.Logger { return zap.New(&zapCore{log: log}) }

// zapCore is a zapcore.Core.
type zapCore struct {
	log *slog.Logger
}

// Enabled implements zapcore.Core.
func (c *zapCore) Enabled(zapcore.Level) bool {
	return c.log.Enabled(context.Background(), slog.LevelDebug)
}

// With implements zapcore.Core.
func (c *zapCore) With(fields []zapcore.Field) zapcore.Core {
	return &zapCore{log: c.log.With(attrs(fields)...)}
}

// Check implements zapcore.Core.
func (c *zapCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c *zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.log.Debug("acme: "+e.Message, append(attrs(fields), "severity", e.Level.String())...)
	return nil
}

// Sync implements zapcore.Core.
func (c *zapCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []any {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(m)
	}
	out := make([]any, 0, len(m.Fields))
	for name, value := range m.Fields {
		out = append(out, slog.Any(name, value))
	}
	return out
}
