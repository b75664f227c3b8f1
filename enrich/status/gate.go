package status

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of a pause after a 429.
const (
	// DefaultPause is for a 429 that says nothing of its end.
	DefaultPause = time.Second
	// MaxRetryAfter bounds what Telnyx can ask for: a status is worth having only
	// within some minutes of the call's end.
	MaxRetryAfter = time.Minute
)

// gate lets requests pass at a bounded rate, and none during a pause.
type gate struct {
	limiter *rate.Limiter

	mu    sync.Mutex
	until time.Time // end of the pause; zero: none yet
}

func newGate(perSecond float64, burst int) *gate {
	limit := rate.Limit(perSecond)
	if math.IsInf(perSecond, 1) {
		limit = rate.Inf
	}
	return &gate{limiter: rate.NewLimiter(limit, burst)}
}

// pause keeps everybody waiting for d from now; a longer pause that is running stands.
func (g *gate) pause(d time.Duration) {
	until := time.Now().Add(d)
	g.mu.Lock()
	defer g.mu.Unlock()
	if until.After(g.until) {
		g.until = until
	}
}

func (g *gate) left() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Until(g.until)
}

// wait returns when a request may go. When that will not be within the patience
// it fails with ErrBusy at once: who waits in vain takes a turn from those who would not. After a
// pause everybody goes through the limiter again: those who waited must not all go at once.
func (g *gate) wait(ctx context.Context, patience time.Duration) error {
	until := time.Now().Add(patience)
	for {
		pause := g.left()
		if pause > time.Until(until) {
			return ErrBusy
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		turn := g.limiter.Reserve()
		if turn.Delay() > time.Until(until) {
			turn.Cancel()
			return ErrBusy
		}
		if err := sleep(ctx, turn.Delay()); err != nil {
			turn.Cancel()
			return err
		}
		if g.left() <= 0 {
			return ctx.Err()
		}
	}
}

// sleep waits for d, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retryAfter reads the header Retry-After: seconds or an HTTP date. What lies
// in the past or is no time counts as not stated.
func retryAfter(header http.Header, now time.Time) (time.Duration, bool) {
	value := strings.TrimSpace(header.Get("Retry-After"))
	if d, ok := delta(value); ok {
		return d, true
	}
	at, err := http.ParseTime(value)
	if err != nil || !at.After(now) {
		return 0, false
	}
	return min(at.Sub(now), MaxRetryAfter), true
}

// rateLimitReset reads x-ratelimit-reset: seconds from now until requests are allowed again.
func rateLimitReset(header http.Header) (time.Duration, bool) {
	return delta(strings.TrimSpace(header.Get("X-Ratelimit-Reset")))
}

// delta reads a positive number of seconds, bounded by MaxRetryAfter.
func delta(value string) (time.Duration, bool) {
	s, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(s) || s <= 0 {
		return 0, false
	}
	if s >= MaxRetryAfter.Seconds() {
		return MaxRetryAfter, true
	}
	return time.Duration(s * float64(time.Second)), true
}
