package status

import (
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
	s, ok := number(value)
	if !ok || s <= 0 {
		return 0, false
	}
	return time.Duration(min(s, MaxRetryAfter.Seconds()) * float64(time.Second)), true
}

// number reads a number that is not negative.
func number(value string) (float64, bool) {
	n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	return n, err == nil && n >= 0
}

// Quota is what an answer says of the rate limit: how many requests are left until it is renewed.
type Quota struct {
	// Limit is how many requests there are from one renewal to the next, x-ratelimit-limit. 0: not stated.
	Limit float64
	// Left is how many of them are left to all users of the key, x-ratelimit-remaining.
	Left float64
	// Reset is in how long it is renewed, x-ratelimit-reset, in whole seconds as a rule.
	Reset time.Duration
}

// longestReset is the longest time until a renewal that is believed: a larger number is a date or a mistake.
const longestReset = 24 * time.Hour

// ReadQuota reads the headers x-ratelimit-* of an answer; false: they do not say what is left, and for how long.
func ReadQuota(header http.Header) (Quota, bool) {
	left, stated := number(header.Get("X-Ratelimit-Remaining"))
	reset, until := number(header.Get("X-Ratelimit-Reset"))
	if !stated || !until || reset > longestReset.Seconds() {
		return Quota{}, false
	}
	limit, _ := number(header.Get("X-Ratelimit-Limit"))
	// The last second may be stated as none.
	return Quota{Limit: limit, Left: left, Reset: time.Duration(max(reset, 1) * float64(time.Second))}, true
}
