package forward

import (
	"context"
	"time"
)

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

// breakerChanged tells what the breaker says by an answer. r.mu is held.
func (r *runner) breakerChanged(a answer) {
	if r.breaker.open {
		r.died = r.breaker.since
		r.log.Warn("the target does not answer; it is probed, and what commands waits", "failures", r.breaker.failures,
			"result", string(a.result), "status", a.status, "error", a.err)
		r.meter.breaker.Set(1)
		return
	}
	r.recovered = time.Now()
	r.log.Info("the target answers again")
	r.meter.breaker.Set(0)
	for _, l := range r.lanes.byKey {
		l.wake()
		r.lanes.queue(l)
	}
}

// probeLater sees to it that something is tried when the next probe is due. r.mu is held.
func (r *runner) probeLater(now time.Time) {
	wait := max(r.breaker.probeAt.Sub(now), 0)
	if r.prober != nil {
		r.prober.Reset(wait)
		return
	}
	r.prober = time.AfterFunc(wait, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.dispatch()
	})
}

// sweep ends or sets aside, while the breaker is open, what does not wait for the target, so that the consumer
// moves and what commands is not behind it. It reports whether the breaker is open. Where the fold does not answer soon,
// commands are left for the next time: what has happened is recorded in between.
func (r *runner) sweep(ctx context.Context, now time.Time) (dead bool) {
	ctx, cancel := context.WithTimeout(ctx, recordEvery)
	defer cancel()
	r.mu.Lock()
	if r.breaker.open && r.pin == "" && r.standing.elsewhere && len(r.held) == 0 {
		// Another replica works the target, and nothing is here by which this one could see that it answers again.
		r.breaker = breaker{}
		r.meter.breaker.Set(0)
	}
	if !r.breaker.open || r.settling || r.stopped {
		defer r.mu.Unlock()
		return r.breaker.open
	}
	var idle []*item
	for _, it := range r.held {
		if it.state == waiting {
			idle = append(idle, it)
		}
	}
	r.mu.Unlock()
	foldBehind := false
	for _, it := range idle {
		if foldBehind && !it.reports && now.Before(r.endsAt(it)) {
			continue
		}
		result := r.useless(ctx, it, now) // asked without the lock: it may have to wait for the fold
		foldBehind = foldBehind || result == notFolded
		r.mu.Lock()
		if r.stopped {
			r.mu.Unlock()
			return true
		}
		switch {
		case !r.breaker.open || it.state != waiting || r.held[it.heldKey()] != it:
		case result.Final():
			r.end(it, answer{result: result})
		case it.reports:
			r.setAside(it, 0)
		}
		r.mu.Unlock()
	}
	return true
}
