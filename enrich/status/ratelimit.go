package status

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bounds of a pause after a 429.
const (
	// DefaultPause is for a 429 that says nothing of its end.
	DefaultPause = time.Second
	// MaxRetryAfter bounds what Telnyx can ask for: a status is worth having only
	// within some minutes of the call's end.
	MaxRetryAfter = time.Minute
)

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

// usedUp reads from any answer that it was the last one that the rate limit allows, and until when.
func usedUp(header http.Header) (time.Duration, bool) {
	if strings.TrimSpace(header.Get("X-Ratelimit-Remaining")) != "0" {
		return 0, false
	}
	return rateLimitReset(header)
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
