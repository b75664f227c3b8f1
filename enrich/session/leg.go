package session

import (
	"cmp"
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

// Ending is how a leg is known to be over.
type Ending int

// Endings, the strongest last.
const (
	// NotOver: it lives, for all that is known.
	NotOver Ending = iota
	// Expired: nothing was heard of it for longer than any leg lives.
	Expired
	// Gone: the status API does not know it any more.
	Gone
	// ByStatus: the status API said that it ended.
	ByStatus
	// ByHangup: its hangup was received.
	ByHangup
)

// leg is what the log says about one leg. Guarded by the table's lock.
type leg struct {
	id      call.LegID
	session *session

	// control is the leg's control id, aliases are others that its events named.
	control call.ControlID
	aliases []call.ControlID
	// controlBy and connectionBy are the events that stated them first, by occurrence; nil: none did.
	controlBy, connectionBy *Event

	events  events
	answers []*Received
	// record tells whether the leg is known as a whole.
	record record

	// since is when the first entry that named it was received.
	since     time.Time
	initiated bool
	// hangup is when the earliest hangup was received; zero: none was. hungUp is
	// when the earliest occurred, by Telnyx's clock. recalled: the one that was
	// received first came from the history.
	hangup, hungUp time.Time
	recalled       bool
	// askBy is when a check asks for the status unless the hangup's task has done so.
	askBy time.Time
	// heard is when the last sign of life was received (an event, or the word of
	// the status API that it is alive), and heardSeq where it stands.
	heard    time.Time
	heardSeq uint64
	// checked is the highest attempt that a check has asked for, checkedAt when it
	// did, and checkedSeq where that check stands.
	checked    int
	checkedAt  time.Time
	checkedSeq uint64
	// expired is how far the last CheckExpire spoke.
	expired uint64
	// wasOver tells that it was over before, completed that its summary is known to be published.
	wasOver, completed bool
}

// connection is the leg's connection; empty: not known.
func (l *leg) connection() call.ConnectionID {
	if l.connectionBy == nil {
		return ""
	}
	return l.connectionBy.Facts.Connection
}

// Received is a status answer and its place in the log.
type Received struct {
	Answer
	// Seq is its sequence, At the log's time of it.
	Seq uint64
	At  time.Time
}

// fetchSkew is how far the clock of a replica may be behind Telnyx's.
const fetchSkew = time.Minute

// confirmation returns the answer that confirms the end, nil when none does: of
// several the one fetched first. For a dialled leg is_alive can be false before
// anything happened, so "not alive" counts only with an end time, or about a leg that
// had hung up or had been seen alive when the answer was fetched.
func (l *leg) confirmation() *Received {
	alive := false
	for _, a := range l.answers {
		switch {
		case a.Result != status.Answered:
		case a.IsAlive != nil && *a.IsAlive:
			alive = true
		case !a.EndTime.IsZero():
			return a
		case a.IsAlive != nil && (alive || l.hungUpAt(a.FetchedAt)):
			return a
		}
	}
	return nil
}

// hungUpAt reports whether the leg had hung up at a time by a replica's clock.
func (l *leg) hungUpAt(at time.Time) bool {
	return !l.hangup.IsZero() && !at.Before(l.hungUp.Add(-fetchSkew))
}

// ending tells how the leg ended and since when that is known, by the log's clock.
func (l *leg) ending() (Ending, time.Time) {
	if !l.hangup.IsZero() {
		return ByHangup, l.hangup
	}
	if a := l.confirmation(); a != nil {
		return ByStatus, a.At
	}
	for _, a := range l.answers {
		if a.Result == status.NotFound && a.Proven {
			return Gone, a.At
		}
	}
	// An event after the check takes it back.
	if l.expired > 0 && l.expired >= l.heardSeq {
		return Expired, l.heard
	}
	return NotOver, time.Time{}
}

// wasGone reports whether Telnyx did not know the leg any more before its hangup came
// in: late, that changes nothing.
func (l *leg) wasGone() bool {
	return slices.ContainsFunc(l.answers, func(a *Received) bool {
		return a.Result == status.NotFound && a.Proven && a.At.Before(l.hangup)
	})
}

// attempts returns the highest attempt so far, how many answers were received
// since a time, and the last answer of all.
func (l *leg) attempts(since time.Time) (highest, made int, last *Received) {
	for _, a := range l.answers {
		highest = max(highest, a.Attempt)
		if !a.At.Before(since) {
			made++
		}
		if last == nil || a.Seq > last.Seq {
			last = a
		}
	}
	return highest, made, last
}

// answer puts an answer into the set, in order of fetching. An answer that the
// log has twice stands where it stood first.
func (l *leg) answer(r *Received) {
	for i, a := range l.answers {
		if a.Attempt == r.Attempt && a.FetchedAt.Equal(r.FetchedAt) && a.Result == r.Result {
			if r.Seq < a.Seq {
				l.answers[i] = r
			}
			return
		}
	}
	l.answers = append(l.answers, r)
	slices.SortFunc(l.answers, func(a, b *Received) int {
		if c := a.FetchedAt.Compare(b.FetchedAt); c != 0 {
			return c
		}
		if c := cmp.Compare(a.Attempt, b.Attempt); c != 0 {
			return c
		}
		return cmp.Compare(a.Result, b.Result)
	})
}

// asking is where the asking about a leg stands.
type asking struct {
	ending Ending
	since  time.Time
	// final: nothing that is asked can change the state any more.
	final bool
	// made counts the answers since the leg is over.
	made int
	// unseen: the leg lived through an outage, and nobody has told since that it still does.
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
		a.due = l.heard.Add(r.SweepAfter)
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

// endedAt is from when the status window counts: since it is known to be over. A
// hangup that came from the history was long past when it was received.
func (l *leg) endedAt(since time.Time) time.Time {
	if l.recalled && !l.hungUp.IsZero() {
		return earlier(since, l.hungUp)
	}
	return since
}

// check returns the leg's next check and when it is due; false when there is none.
func (l *leg) check(r Rules, now time.Time) (Check, time.Time, bool) {
	c := Check{Session: l.session.id, Leg: l.id, Control: l.control, Connection: l.connection(), Life: l.session.firstSeq}
	a := l.asking(r)
	if !a.due.IsZero() && l.checked >= a.next {
		// A check has asked for this attempt already: it is its task's business, for a while.
		a.due, a.next = l.lost(r, a), l.checked+1
	}
	if a.ending == NotOver {
		expires := l.heard.Add(maxLegLife)
		if a.due.IsZero() || !expires.After(now) || expires.Before(a.due) {
			c.Kind, c.Upto = CheckExpire, l.heardSeq
			return c, expires, true
		}
	}
	c.Kind, c.Attempt = CheckStatus, a.next
	return c, a.due, !a.due.IsZero()
}

// lost is when the check that is outstanding counts as lost; zero: never. After
// the last attempt's time a leg that is over has no use for another one, unless it was never
// asked about: then lostAtMost checks are lost before that is accepted.
func (l *leg) lost(r Rules, a asking) time.Time {
	if a.ending == NotOver {
		switch {
		case l.checkedSeq < l.record.outageSeq:
			return a.due
		case a.unseen:
			return later(a.due, l.checkedAt.Add(outageLost))
		}
		return later(a.due, l.checkedAt.Add(max(lostAfter, 3*r.SweepAfter)))
	}
	late := !l.checkedAt.Before(a.since.Add(r.StatusWindow + lastAttemptAfter))
	if late && (a.made > 0 || l.checked-a.next >= lostAtMost-1) {
		return time.Time{}
	}
	return later(a.due, l.checkedAt.Add(lostAfter))
}

// imposed is the wait that Telnyx asked for, in seconds.
func imposed(seconds float64) time.Duration {
	// Bounded here as well: a number too large for a Duration converts to
	// different values on different machines.
	return time.Duration(min(max(seconds, 0), status.MaxRetryAfter.Seconds()) * float64(time.Second))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
