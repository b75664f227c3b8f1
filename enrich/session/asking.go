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
	// made counts the answers since the leg is over.
	made int
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
	highest, made, last := l.attempts(a.since)
	a.made, a.next = made, highest+1
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
	case l.confirmation() != nil, a.ending == Gone, a.ending == Expired, l.wasGone():
		a.final = true
	case made == 0:
		// The first attempt after a hangup belongs to the task of the hangup itself.
		a.due = l.askBy
	default:
		a.due = r.nextAttempt(l.id, l.endedAt(a.since), last.At, made, imposed(last.RetryAfter))
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
	if !a.due.IsZero() && l.checked >= a.next {
		// A check has asked for this attempt already: a worker has it in hand, for a while.
		a.due, a.next = l.unansweredAt(r, a), l.checked+1
	}
	if a.ending == NotOver {
		expires := l.aliveAt.Add(maxLegLife)
		if a.due.IsZero() || !expires.After(now) || expires.Before(a.due) {
			c.Kind, c.Upto = CheckExpire, l.aliveSeq
			return c, expires, true
		}
	}
	c.Kind, c.Attempt = CheckStatus, a.next
	return c, a.due, !a.due.IsZero()
}

// unansweredAt is when the check that is outstanding counts as unanswered; zero: never. After the last attempt's time
// a leg that is over has no use for another one, unless it was never asked about: then maxUnanswered checks stay
// without an answer before that is accepted.
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
	late := !l.checkedAt.Before(a.since.Add(r.StatusWindow + lastAttemptAfter))
	if late && (a.made > 0 || l.checked-a.next >= maxUnanswered-1) {
		return time.Time{}
	}
	return later(a.due, l.checkedAt.Add(unansweredAfter))
}

func (l *leg) newCheck() Check {
	return Check{Session: l.session.id, Leg: l.id, Control: l.control, Connection: l.connection(), Epoch: l.session.firstSeq}
}

// imposed is the wait that Telnyx asked for, in seconds.
func imposed(seconds float64) time.Duration {
	// Bounded here as well: a number too large for a Duration converts to different values on different machines.
	return time.Duration(min(max(seconds, 0), status.MaxRetryAfter.Seconds()) * float64(time.Second))
}
