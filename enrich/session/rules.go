package session

import (
	"fmt"
	"hash/fnv"
	"time"

	"github.com/legato-calls/legato/enrich/status"
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

	// unaskedAfter: the first attempt after a hangup belongs to the hangup's own task, and then to the process that
	// keeps its place in line. That may have ended, and nobody else knows of the place: a check makes up for it, the
	// first so long after the hangup, the others so long after the one before them, well inside the window.
	unaskedAfter, unaskedAgain = time.Minute, 2 * time.Minute
	// unansweredAfter is how long the check of a further attempt may stay without an answer before another one, of a
	// higher attempt, takes its place.
	unansweredAfter = 5 * time.Minute
	// closeAfter is how long after the last attempt is due, or after a check of a leg that was not asked about before
	// its window was over, the asking ends with or without an answer.
	closeAfter, closeUnaskedAfter = time.Minute, 5 * time.Minute
	// expireAfter is how long a leg that was silent for longer than any leg lives has for an answer that it lives.
	expireAfter = time.Minute
	// answeredWithin is how long before that nothing is sent any more, so that what is sent is answered before.
	answeredWithin = status.MaxTimeout
)

// unasked are the times of unaskedAfter, less where the window is so short that they do not lie well inside it.
func (r Rules) unasked() (first, again time.Duration) {
	return min(unaskedAfter, r.StatusWindow/6), min(unaskedAgain, r.StatusWindow/3)
}

// unanswered is unansweredAfter, less where the window is short.
func (r Rules) unanswered() time.Duration { return min(unansweredAfter, r.StatusWindow/2) }

// nextAttempt is when to ask again about a leg that is over since overSince, was asked made times since then, the
// last time at last with the given wait imposed by Telnyx. It is zero when the last attempt is made. A refusal to be
// asked so often (429) is none: it leaves the leg where it was.
func (r Rules) nextAttempt(leg call.LegID, overSince, last time.Time, made int, imposed time.Duration, refused bool) time.Time {
	end := overSince.Add(r.StatusWindow)
	final := end.Add(lastAttemptAfter)
	switch {
	case refused && !last.Before(end):
		return last.Add(max(firstBackoff, imposed))
	case !last.Before(final):
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
