package session

import (
	"time"

	"github.com/legato-calls/legato/enrich/status"
)

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
	highest, made, tried, last := l.attempts(a.since)
	a.made, a.tried, a.next = made, tried, highest+1
	if a.ending != NotOver {
		a.until = l.endedAt(a.since).Add(r.StatusWindow)
	}
	switch {
	case a.ending == NotOver:
		// The sweep: silence of a live leg, counted from the last try as well.
		a.due = l.aliveAt.Add(r.SweepAfter)
		if last != nil {
			a.due = later(a.due, last.At.Add(max(r.SweepAfter, imposed(last.RetryAfter))))
		}
		if a.unseen = l.record.outageSeq > 0 && (last == nil || last.Seq < l.record.outageSeq); a.unseen {
			a.due = l.record.outage
		}
	case l.confirmation() != nil, a.ending == Gone, a.ending == Expired, l.wasGone(), l.closed:
		a.final = true
	case made == 0 && l.ownerless:
		a.due = l.hungUpAt.Add(firstBackoff)
	case made == 0:
		// The first attempt after a hangup belongs to the task of the hangup itself.
		first, _ := r.unasked()
		a.due = l.hungUpAt.Add(first)
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
		expires, asked := l.aliveAt.Add(maxLegLife), l.checkedSeq > l.aliveSeq
		if asked {
			expires = later(expires, l.checkedAt.Add(expireAfter))
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
	if a.made == 0 && l.checked == a.next && l.checkedAt.After(a.until) {
		closes = later(closes, l.checkedAt.Add(closeUnaskedAfter))
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
			return later(a.due, l.checkedAt.Add(outageUnanswered))
		}
		return later(a.due, l.checkedAt.Add(max(unansweredAfter, 3*r.SweepAfter)))
	}
	if !l.checkedAt.Before(a.until.Add(lastAttemptAfter)) {
		return time.Time{}
	}
	wait := r.unanswered()
	if a.made == 0 {
		_, wait = r.unasked()
	}
	return later(a.due, l.checkedAt.Add(wait))
}

func (l *leg) newCheck() Check {
	return Check{Session: l.session.id, Leg: l.id, Control: l.control, Connection: l.connection(), Epoch: l.session.firstSeq}
}

// imposed is the wait that Telnyx asked for, in seconds.
func imposed(seconds float64) time.Duration {
	// Bounded here as well: a number too large for a Duration converts to different values on different machines.
	return time.Duration(min(max(seconds, 0), status.MaxRetryAfter.Seconds()) * float64(time.Second))
}
