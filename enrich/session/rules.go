package session

import (
	"fmt"
	"hash/fnv"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// Rules are the times by which the fold decides.
type Rules struct {
	// SessionSettle is how long a session must be quiet before it counts as over.
	SessionSettle time.Duration
	// StatusWindow is how long after its end the status API knows a leg.
	StatusWindow time.Duration
	// SweepAfter is the silence after which a live leg is checked.
	SweepAfter time.Duration
	// AmendWindow is how long a finished session is remembered after its last event.
	AmendWindow time.Duration
	// Outage is the length of a gap in the log that means that nobody was there to write it. Zero: none does.
	Outage time.Duration
	// BackfillAfter is how long after its end the provider's history is asked for what is missing of a leg, for the
	// first time. Zero: never.
	BackfillAfter time.Duration
}

const (
	// maxLegLife: no leg lives longer than Telnyx's time_limit_secs of at most 14,400 s, plus at most 600 s of
	// ringing, plus 5 minutes for stragglers.
	maxLegLife = 4*time.Hour + 15*time.Minute
	// lastAttemptAfter: "available 10 minutes after call ended" can be read as for or as from, so the last attempt
	// comes a minute after the window.
	lastAttemptAfter = time.Minute

	firstBackoff = time.Second
	maxBackoff   = time.Minute

	// unaskedAfter: the first attempt after a hangup belongs to the hangup's own task. Where nothing came of that,
	// for whatever reason, a check makes up for it: late enough not to ask twice when the status API is slow, well
	// inside its window.
	unaskedAfter = 3 * time.Minute
	// unansweredAfter is how long a check may stay without an answer before another one, of a higher attempt, takes
	// its place.
	unansweredAfter = 5 * time.Minute
	// maxUnanswered checks of a leg that was never asked about are followed by no other.
	maxUnanswered = 3
)

// nextAttempt is when to ask again about a leg that is over since overSince, was asked made times since then, the
// last time at last with the given wait imposed by Telnyx. It is zero when the last attempt is made.
func (r Rules) nextAttempt(leg call.LegID, overSince, last time.Time, made int, imposed time.Duration) time.Time {
	end := overSince.Add(r.StatusWindow)
	final := end.Add(lastAttemptAfter)
	if made > 0 && !last.Before(final) {
		return time.Time{}
	}
	wait := min(firstBackoff<<min(max(made-1, 0), 6), maxBackoff) // 1 s doubled six times exceeds the maximum
	// Jitter of a fifth either way, the same on every replica: hence whole numbers.
	h := fnv.New32a()
	fmt.Fprintf(h, "%s/%d", leg, made)
	wait += wait / 1000 * (time.Duration(h.Sum32()%401) - 200)

	next := last.Add(max(wait, imposed))
	if next.After(end) {
		return later(final, last.Add(imposed))
	}
	return next
}

const (
	// maxBackfills is how often the history is asked about a leg, with answers or refusals; maxBackfillChecks bounds
	// the checks that ask for it, answered or not.
	maxBackfills      = 3
	maxBackfillChecks = 5
)

// backfillSteps are the waits between two requests, times BackfillAfter. The history may lag: by default it is asked 30 s
// after the end, 2 min after that and 10 min after that. That is 12.5 min, within the amend window.
var backfillSteps = [maxBackfills]time.Duration{1, 4, 20}

// nextBackfill is when to ask the history about a leg that is over since overSince, was asked about made times, the
// last time at last with the given wait imposed by Telnyx.
func (r Rules) nextBackfill(overSince, last time.Time, made int, imposed time.Duration) time.Time {
	if made == 0 {
		last = overSince
	}
	return last.Add(max(backfillSteps[made]*r.BackfillAfter, imposed))
}

// backfillUnanswered is how long a check may stay without an outcome before another takes its place: as long as the
// history gets between its first two attempts, and longer than one attempt may take.
func (r Rules) backfillUnanswered() time.Duration {
	return min(unansweredAfter, max(backfillSteps[1]*r.BackfillAfter, time.Minute))
}
