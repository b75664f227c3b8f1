package status

import (
	"math"
	"net/http"
	"strconv"
	"strings"
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

const (
	// slowdown is what is left of the rate after a 429: seven refusals in a row take it to a tenth.
	slowdown = 0.7
	// recovery is by how much the rate grows in a second of answers: from a tenth to the whole in 47 s.
	recovery = 0.05
	// slowest bounds the slowing down, in requests a second.
	slowest = 1
	// slowBurst is the share of a second's requests that may go at once while the rate is slowed down.
	slowBurst = 0.1
)

// pace is how fast to ask: as fast as configured, and slower while Telnyx refuses that. It is told no limit that could
// be followed: what it finds is just below the one that is enforced.
type pace struct {
	most, now float64 // requests a second
	atOnce    int
	// slowed is when it was slowed down last, recovered up to when it has grown since.
	slowed, recovered time.Time
}

func newPace(perSecond float64, burst int) pace {
	return pace{most: perSecond, now: perSecond, atOnce: burst}
}

func (p *pace) limit() rate.Limit {
	if math.IsInf(p.now, 1) {
		return rate.Inf
	}
	return rate.Limit(p.now)
}

func (p *pace) burst() int {
	if p.now >= p.most {
		return p.atOnce
	}
	return max(1, min(p.atOnce, int(p.now*slowBurst)))
}

// slow slows down after a refusal; false: the request was sent before it last did, and says nothing of the new rate.
func (p *pace) slow(sent, now time.Time) bool {
	if sent.Before(p.slowed) {
		return false
	}
	p.now = max(p.now*slowdown, min(slowest, p.most))
	p.slowed, p.recovered = now, now
	return true
}

// recover speeds up again after an answer; false: there is nothing to make up for.
func (p *pace) recover(now time.Time) bool {
	if p.now >= p.most {
		return false
	}
	// A long silence proves no more than a short one.
	d := min(now.Sub(p.recovered), 10*time.Second)
	p.now = min(p.most, p.now*(1+recovery*d.Seconds()))
	p.recovered = now
	return true
}
