package journal

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/legato-calls/legato/internal/natsd"
)

// Trouble is what keeps the log from being followed, or its queue from being worked.
type Trouble struct {
	// Since is when it began. Zero: all is well.
	Since time.Time
	// Err is the newest cause.
	Err error
}

// Health keeps the newest cause of a failure that lasts. The zero value is well.
type Health struct {
	mu sync.Mutex
	Trouble
}

// Note takes the cause of a failure.
func (t *Health) Note(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Since.IsZero() {
		t.Since = time.Now()
	}
	t.Err = err
}

// Clear says that all is well.
func (t *Health) Clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Trouble = Trouble{}
}

// State tells how it is.
func (t *Health) State() Trouble {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.Trouble
}

// Following tells what keeps the log from being followed.
func (a *Appender) Following() Trouble { return a.Follows.State() }

// Working tells what keeps the queue from being worked.
func (a *Appender) Working() Trouble { return a.Works.State() }

// sayEvery is how often a condition that lasts is logged.
const sayEvery = time.Minute

// The pause after a failure doubles from minRetryPause to MaxRetryPause while failures follow each other.
const (
	minRetryPause = 100 * time.Millisecond
	MaxRetryPause = 2 * time.Second
)

// Retry paces what is tried until it succeeds. Of failures in a row the newest is worth a warning a minute.
type Retry struct {
	pauses *backoff.ExponentialBackOff
	said   time.Time // zero: nothing fails
}

// NewRetry returns one of which nothing has failed yet.
func NewRetry() *Retry { return &Retry{pauses: natsd.Pauses(minRetryPause, MaxRetryPause)} }

// Succeeded ends the row.
func (r *Retry) Succeeded() {
	r.said = time.Time{}
	r.pauses.Reset()
}

// Wait logs a failure and pauses; it reports whether ctx is still going.
func (r *Retry) Wait(ctx context.Context, log *slog.Logger, what string, err error) bool {
	if time.Since(r.said) >= sayEvery {
		r.said = time.Now()
		log.Warn(what+" was interrupted; trying again", "error", err)
	} else {
		log.Debug(what+" is still interrupted", "error", err)
	}
	return Sleep(ctx, r.pauses.NextBackOff())
}

// Sleep waits and reports whether ctx is still going.
func Sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
