package natsd

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// logBridge hands the server's log to slog. The server's own logger ends the
// process on a fatal error; this one remembers it, so that Start can return it.
type logBridge struct {
	log *slog.Logger

	mu        sync.Mutex
	fatalText string
}

var _ server.Logger = (*logBridge)(nil)

func (b *logBridge) fatal() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fatalText
}

// Fatalf records the first fatal error of a start.
func (b *logBridge) Fatalf(format string, v ...any) {
	b.mu.Lock()
	if b.fatalText == "" {
		b.fatalText = fmt.Sprintf(format, v...)
	}
	b.mu.Unlock()
	b.write(slog.LevelError, format, v)
}

// Errorf logs an error.
func (b *logBridge) Errorf(format string, v ...any) { b.write(slog.LevelError, format, v) }

// Warnf logs a warning.
func (b *logBridge) Warnf(format string, v ...any) { b.write(slog.LevelWarn, format, v) }

// Noticef logs a notice as debug: the server has some thirty a start, for its operator rather than ours.
func (b *logBridge) Noticef(format string, v ...any) { b.write(slog.LevelDebug, format, v) }

// Debugf is never called: the server is told not to debug.
func (b *logBridge) Debugf(format string, v ...any) { b.write(slog.LevelDebug, format, v) }

// Tracef is never called: a trace holds whole messages, which must not be logged.
func (b *logBridge) Tracef(string, ...any) {}

func (b *logBridge) write(level slog.Level, format string, v []any) {
	ctx := context.Background()
	if !b.log.Enabled(ctx, level) {
		return
	}
	b.log.Log(ctx, level, "nats-server", slog.String("detail", fmt.Sprintf(format, v...)))
}
