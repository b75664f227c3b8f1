package forward

import "time"

const (
	// breakAfter consecutive failures, of whatever sessions, say that the target is dead.
	breakAfter = 5
	// firstProbe doubles to lastProbe between probes: a target that comes back has the calls of the last second waiting.
	firstProbe, lastProbe = 250 * time.Millisecond, time.Second
	// maxHold bounds how long a target's Retry-After holds all back.
	maxHold = time.Minute
)

// breaker decides whether a target may be tried. While it is open one probe at a time is let through.
type breaker struct {
	failures int
	open     bool
	since    time.Time // when it opened
	probing  bool
	probeAt  time.Time
	pause    time.Duration
}

// allow reports whether an attempt may begin. One that is allowed while the breaker is open is the probe.
func (b *breaker) allow(now time.Time) bool {
	switch {
	case !b.open:
		return true
	case b.probing || now.Before(b.probeAt):
		return false
	}
	b.probing = true
	return true
}

// unused gives back what allow gave: no attempt came of it.
func (b *breaker) unused() { b.probing = false }

// note takes the result of an attempt, and reports whether the breaker opened or closed by it. probe tells that
// allow let the attempt through while the breaker was open.
func (b *breaker) note(now time.Time, r Result, after time.Duration, probe bool) (changed bool) {
	if r == Done || r == Refused {
		changed = b.open
		*b = breaker{}
		return changed
	}
	b.failures++
	switch {
	case b.open && probe:
		b.probing = false
		b.pause = min(2*b.pause, lastProbe)
	case b.open:
		return false // an attempt that was under way when it opened
	case b.failures >= breakAfter || after > 0:
		b.open, b.since, b.pause, changed = true, now, firstProbe, true
	default:
		return false
	}
	b.probeAt = now.Add(max(b.pause, min(after, maxHold)))
	return changed
}
