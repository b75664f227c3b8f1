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

// asking is how far a leg's status has been asked for.
type asking struct {
	ending Ending
	since  time.Time
	// final: nothing that is asked can change the state any more.
	final bool
	// until is when the status API forgets a leg that is over; zero of one that lives.
	until time.Time
	// made counts the answers since the leg is over, tried those of them that were no refusal to be asked so often.
	made, tried int
	// last is the last answer of all; nil: there is none.
	last *Received
	// unseen: the leg lived through an outage, and no answer since says whether it still does.
	unseen bool
	// next is the attempt to make next, at due; due is zero when none is to be made.
	next int
	due  time.Time
}

func (l *leg) asking(r Rules) asking {
	var a asking
	a.ending, a.since = l.ending()
	if l.control == "" {
		a.final = a.ending != NotOver
		return a
	}
	made, tried, last := l.attempts(a.since)
	a.made, a.tried, a.last, a.next = made, tried, last, l.asked+1
	if a.ending != NotOver {
		a.until = l.endedAt(a.since).Add(r.StatusWindow)
	}
	switch {
	case a.ending == NotOver:
		// The sweep: silence of a live leg, counted from the last try as well.
		a.due = l.aliveAt.time().Add(r.SweepAfter)
		if last != nil {
			a.due = later(a.due, last.At.Add(max(r.SweepAfter, imposed(last.RetryAfter))))
		}
		if a.unseen = l.record.outageSeq > 0 && (last == nil || last.Seq < l.record.outageSeq); a.unseen {
			a.due = l.record.outage.time()
		}
	case l.confirmation() != nil, a.ending == Gone, a.ending == Expired, l.wasGone(), l.closed:
		a.final = true
	case made == 0 && l.ownerless:
		a.due = l.hungUpAt.time().Add(firstBackoff)
	case made == 0:
		// The first attempt after a hangup belongs to the task of the hangup itself.
		first, _ := r.unasked()
		a.due = l.hungUpAt.time().Add(first)
	default:
		a.due = r.nextAttempt(l.id, l.endedAt(a.since), last.At, tried, imposed(last.RetryAfter), last.Result == status.RateLimited)
		a.final = a.due.IsZero()
	}
	return a
}

// endedAt is from when the status window counts: since it is known to be over. A hangup that came from the history
// was long past when it was received.
func (l *leg) endedAt(since time.Time) time.Time {
	if l.hangupBackfilled && !l.hungUp.IsZero() {
		return earlier(since, l.hungUp)
	}
	return since
}

// nextCheck returns when the leg is to be checked next by the status API or expires; false when neither is to come.
func (l *leg) nextCheck(r Rules, now time.Time) (Check, time.Time, bool) {
	c := l.newCheck()
	a := l.asking(r)
	closes := l.closesAt(a)
	if !a.due.IsZero() && l.checked >= a.next {
		// A check has asked for this attempt already: a worker has it in hand, for a while.
		a.due, a.next = l.unansweredAt(r, a), l.checked+1
	}
	if a.ending == NotOver {
		expires, asked := l.aliveAt.time().Add(maxLegLife), l.checkedSeq > l.aliveSeq
		if asked {
			expires = later(expires, l.checkedAt.time().Add(expireAfter))
		}
		// A clock of the log that jumps ahead is no silence: whoever can be asked about is asked first.
		if a.due.IsZero() || asked && (!expires.After(now) || expires.Before(a.due)) {
			c.Kind, c.Upto = CheckExpire, l.aliveSeq
			return c, expires, true
		}
	}
	if !closes.IsZero() && (a.due.IsZero() || closes.Before(a.due)) {
		c.Kind = CheckClose
		return c, closes, true
	}
	c.Kind, c.Attempt, c.Sweep = CheckStatus, a.next, a.ending == NotOver
	return c, a.due, !a.due.IsZero()
}

// closesAt is when the asking about a leg that is over ends; zero: not for now. Whatever the clock says, there is a
// check first that may lead to an attempt.
func (l *leg) closesAt(a asking) time.Time {
	if a.final || a.until.IsZero() || a.made == 0 && l.checked < a.next {
		return time.Time{}
	}
	closes := a.until.Add(lastAttemptAfter + closeAfter)
	if a.made == 0 && l.checked == a.next && l.checkedAt.time().After(a.until) {
		closes = later(closes, l.checkedAt.time().Add(closeUnaskedAfter))
	}
	return closes
}

// wants reports whether an attempt to get the status would be of use if it were made now.
func (l *leg) wants(r Rules, attempt int, now time.Time) bool {
	a := l.asking(r)
	closes := l.closesAt(a)
	return l.control != "" && !a.final && attempt >= a.next && (closes.IsZero() || now.Before(closes.Add(-answeredWithin)))
}

// unansweredAt is when the check that is outstanding counts as unanswered; zero: never. After the last attempt's time
// a leg that is over has no use for another one: the asking ends.
func (l *leg) unansweredAt(r Rules, a asking) time.Time {
	if a.ending == NotOver {
		switch {
		case l.checkedSeq < l.record.outageSeq:
			return a.due
		case a.unseen:
			return later(a.due, l.checkedAt.time().Add(outageUnanswered))
		}
		return later(a.due, l.checkedAt.time().Add(max(unansweredAfter, 3*r.SweepAfter)))
	}
	if !l.checkedAt.time().Before(a.until.Add(lastAttemptAfter)) {
		return time.Time{}
	}
	wait := r.unanswered()
	if a.made == 0 {
		_, wait = r.unasked()
	}
	return later(a.due, l.checkedAt.time().Add(wait))
}

func (l *leg) newCheck() Check {
	return Check{Session: l.session.id, Leg: l.id, Control: l.control, Connection: l.connection(), Epoch: l.session.firstSeq}
}

// imposed is the wait that Telnyx asked for, in seconds.
func imposed(seconds float64) time.Duration {
	// Bounded here as well: a number too large for a Duration converts to different values on different machines.
	return time.Duration(min(max(seconds, 0), status.MaxRetryAfter.Seconds()) * float64(time.Second))
}
