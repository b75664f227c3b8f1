package journal

import (
	"context"
	"log/slog"
	"time"
)

const (
	// retryFirst is the pause after a failure, doubled up to retryMost while failures follow each other.
	retryFirst = 100 * time.Millisecond
	retryMost  = 2 * time.Second
)

// retry paces what is tried until it succeeds. Of failures in a row only the first is worth a warning.
type retry struct{ pause time.Duration }

// succeeded ends the row.
func (r *retry) succeeded() { r.pause = 0 }

// wait logs a failure and pauses; it reports whether ctx is still going.
func (r *retry) wait(ctx context.Context, log *slog.Logger, what string, err error) bool {
	if r.pause == 0 {
		r.pause = retryFirst
		log.Warn(what+" was interrupted; trying again", "error", err)
	} else {
		r.pause = min(2*r.pause, retryMost)
		log.Debug(what+" is still interrupted", "error", err)
	}
	return sleep(ctx, r.pause)
}

// sleep waits and reports whether ctx is still going.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
