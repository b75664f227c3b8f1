package journal

import (
	"context"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// The pause after a failure doubles from minRetryPause to maxRetryPause while failures follow each other.
const (
	minRetryPause = 100 * time.Millisecond
	maxRetryPause = 2 * time.Second
)

// pauses returns pauses that double from the first to a longest one, with jitter: replicas that failed together
// do not try again together.
func pauses(first, longest time.Duration) *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: first, MaxInterval: longest, Multiplier: 2, RandomizationFactor: 0.5}
}

// retry paces what is tried until it succeeds. Of failures in a row the newest is worth a warning a minute.
type retry struct {
	pauses *backoff.ExponentialBackOff
	said   time.Time // zero: nothing fails
}

func newRetry() *retry { return &retry{pauses: pauses(minRetryPause, maxRetryPause)} }

// succeeded ends the row.
func (r *retry) succeeded() {
	r.said = time.Time{}
	r.pauses.Reset()
}

// wait logs a failure and pauses; it reports whether ctx is still going.
func (r *retry) wait(ctx context.Context, log *slog.Logger, what string, err error) bool {
	if time.Since(r.said) >= sayEvery {
		r.said = time.Now()
		log.Warn(what+" was interrupted; trying again", "error", err)
	} else {
		log.Debug(what+" is still interrupted", "error", err)
	}
	return sleep(ctx, r.pauses.NextBackOff())
}

// sleep waits and reports whether ctx is still going.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
