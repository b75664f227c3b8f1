package status

import (
	"cmp"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// StartRate is the rate that is begun with, in requests a second, where it is to be found out.
const StartRate = 100

const (
	// slowdown is what is left of the rate after a 429: seven refusals in a row take it to a tenth.
	slowdown = 0.7
	// doubling, recovery and probing are by how much the rate grows in a second of answers: while nothing was refused
	// yet; from what a refusal has left of it to near the rate that was refused (in some 5 s), and well past that; and
	// near it (from nine tenths of it in 20 s), so that refusals are rare where the limit stays what it was.
	doubling, recovery, probing = 1, 0.05, 0.005
	// near is how near to the refused rate it is probed.
	near = 0.1
	// slowest bounds the slowing down, in requests a second.
	slowest = 1
	// slowBurst is the share of a second's requests that may go at once while a limit is known.
	slowBurst = 0.1
)

// pace is how fast to ask: as fast as configured or, where the rate is to be found out, as fast as Telnyx allows; and
// slower while it refuses that. Where answers state no quota, what it finds is just below the limit that is enforced.
type pace struct {
	// start is begun with; beyond it the rate grows only while somebody waits for want of it, up to most.
	start, most, now float64 // requests a second
	atOnce           int
	// refused is the rate at the last refusal; 0: there was none.
	refused float64
	// held: somebody has waited for want of rate since it last grew.
	held bool
	// slowed is when it was slowed down last, grown up to when it has grown since.
	slowed, grown time.Time
	window        window
}

// newPace returns a pace of so many requests a second; 0: it is to be found out.
func newPace(perSecond float64, burst int, now time.Time) pace {
	if perSecond == 0 {
		return pace{start: StartRate, most: math.Inf(1), now: StartRate, atOnce: burst, grown: now}
	}
	return pace{start: perSecond, most: perSecond, now: perSecond, atOnce: burst, grown: now}
}

// found reports whether the rate is to be found out.
func (p *pace) found() bool { return p.start < p.most }

// perSecond is the rate at a time, with so many requests under way.
func (p *pace) perSecond(now time.Time, flying int) float64 {
	return min(p.now, p.window.allows(now, flying))
}

func (p *pace) limit(perSecond float64) rate.Limit {
	if math.IsInf(perSecond, 1) {
		return rate.Inf
	}
	return rate.Limit(perSecond)
}

// burst is how many requests may go at once at a rate.
func (p *pace) burst(perSecond float64) int {
	switch {
	case perSecond >= p.most:
		return p.atOnce
	case p.found() && p.refused == 0 && p.window.length == 0:
		return max(p.atOnce, int(perSecond*slowBurst))
	}
	return max(1, min(p.atOnce, int(perSecond*slowBurst)))
}

// slow slows down after a refusal; one of a request that was sent before it last did says nothing of the new rate.
func (p *pace) slow(sent, now time.Time) {
	if sent.Before(p.slowed) {
		return
	}
	// What the quota allows at this moment is next to nothing, where others have used it up: the rate to come back to is
	// that beside it.
	p.refused = p.now
	p.now = max(p.refused*slowdown, min(slowest, p.most))
	p.slowed, p.grown = now, now
}

// grow speeds up after an answer that was no refusal.
func (p *pace) grow(now time.Time) {
	// A long silence proves no more than a short one.
	seconds := min(now.Sub(p.grown), time.Second).Seconds()
	held := p.held
	p.grown, p.held = now, false
	if p.now >= p.most || p.now >= p.start && !held || p.window.allows(now, 0) < p.now {
		return
	}
	by := recovery
	switch {
	case p.refused == 0:
		by = doubling
	case math.Abs(p.now-p.refused) <= near*p.refused:
		by = probing
	}
	p.now = min(p.most, p.now*(1+by*seconds))
}

const (
	// share is what is taken at most of the quota that is left: so there is some left for others until shortly before it
	// is renewed, and who is alone uses nearly all of it. fewest is what is taken though others seem to take all.
	share, fewest = 0.8, 0.25
	// shortest bounds the time for which what is left is spread out.
	shortest = 100 * time.Millisecond
)

// window follows the quota that answers state, from one renewal to the next.
type window struct {
	// full is the quota after a renewal, length the time to the next; none: no answer has stated a quota yet.
	full   float64
	length time.Duration
	// first is what the window's first answer had left, left the least that any had.
	first, left         float64
	begun, newest, ends time.Time
	// answers are those of our own since the first.
	answers int
	// others is how many requests a second other users of the key were seen to make.
	others float64
}

// note takes note of what an answer says, with so many requests under way: answers overtake each other.
func (w *window) note(q Quota, now time.Time, flying int) {
	ends := now.Add(q.Reset)
	if now.Before(w.ends) && q.Left <= w.left+float64(flying)+1 {
		w.left, w.answers, w.newest = min(w.left, q.Left), w.answers+1, now
		if ends.Before(w.ends) {
			w.ends = ends // whole seconds: the earliest that was stated is the nearest
		}
		return
	}
	if span := w.newest.Sub(w.begun); w.length > 0 && span >= w.length/2 {
		seen := max(0, w.first-w.left-float64(w.answers)) / span.Seconds()
		w.others = (w.others + seen) / 2
	}
	w.full, w.length = cmp.Or(q.Limit, q.Left), max(w.length, q.Reset)
	w.first, w.left, w.begun, w.newest, w.ends, w.answers = q.Left, q.Left, now, now, ends, 0
}

// allows is the rate by which what is left is shared with others, with so many requests under way.
func (w *window) allows(now time.Time, flying int) float64 {
	if w.length == 0 {
		return math.Inf(1)
	}
	until := w.ends.Sub(now)
	free := max(w.left-float64(flying), 0) / max(until, shortest).Seconds()
	if until <= 0 {
		free = max(w.full/w.length.Seconds(), slowest)
	}
	return max(share*(free-w.others), fewest*free)
}

// renewal is when what it allows is to be looked at again.
func (w *window) renewal(now time.Time, wait time.Duration) time.Duration {
	if until := w.ends.Sub(now); until > 0 {
		return min(wait, until)
	}
	return wait
}

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
