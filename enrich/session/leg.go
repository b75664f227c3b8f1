package session

import (
	"cmp"
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/ingest/call"
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

	control    call.ControlID
	connection call.ConnectionID

	events  events
	answers []*Received

	initiated bool
	// hangup is when the earliest hangup was received; zero: none was.
	hangup time.Time
	// heard is when the last sign of life was received (an event, or a 200 of
	// the status API), and heardSeq where it stands.
	heard    time.Time
	heardSeq uint64
	// checked is the highest attempt that a check has asked for.
	checked int
	// expired is how far the last CheckExpire spoke.
	expired uint64
}

// Received is a status answer and its place in the log.
type Received struct {
	Answer
	// Seq is its sequence, At the log's time of it.
	Seq uint64
	At  time.Time
}

// conclusive reports whether the answer says that the leg ended. For a dialled
// leg is_alive can be false before anything happened, so "not alive" counts only with an end
// time, or about a leg that hung up or was seen alive before.
func (l *leg) conclusive(a *Received) bool {
	if a.Result != status.Answered || a.IsAlive == nil || *a.IsAlive {
		return false
	}
	return !a.EndTime.IsZero() || !l.hangup.IsZero() || l.seenAlive()
}

func (l *leg) seenAlive() bool {
	for _, a := range l.answers {
		if a.IsAlive != nil && *a.IsAlive {
			return true
		}
	}
	return false
}

// confirmation returns the answer that confirms the end, nil when none does:
// of several the one fetched first.
func (l *leg) confirmation() *Received {
	for _, a := range l.answers {
		if l.conclusive(a) {
			return a
		}
	}
	return nil
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

// answer puts an answer into the set, in order of fetching; of several to one
// attempt the earliest in the log stands.
func (l *leg) answer(r *Received) {
	for i, a := range l.answers {
		if a.Attempt == r.Attempt {
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
		return cmp.Compare(a.Attempt, b.Attempt)
	})
}

// asking is where the asking about a leg stands.
type asking struct {
	// final: nothing that is asked can change the state any more.
	final bool
	// next is the attempt to make next, at due; due is zero when it is not the
	// calendar's to say.
	next int
	due  time.Time
}

func (l *leg) asking(r Rules) asking {
	ending, since := l.ending()
	if l.control == "" {
		return asking{final: ending != NotOver}
	}
	highest, made, last := l.attempts(since)
	a := asking{next: highest + 1}
	switch {
	case ending == NotOver:
		// The sweep: silence of a live leg, counted from the last try as well.
		a.due = l.heard.Add(r.SweepAfter)
		if last != nil && last.At.After(l.heard) {
			a.due = last.At.Add(max(r.SweepAfter, seconds(last.RetryAfter)))
		}
	case l.confirmation() != nil, ending == Gone, ending == Expired:
		a.final = true
	case made == 0:
		// The first attempt after a hangup belongs to the task of the hangup itself.
	default:
		a.due = r.nextAttempt(l.id, since, last.At, made, seconds(last.RetryAfter))
		a.final = a.due.IsZero()
	}
	if a.final {
		a.due = time.Time{}
	}
	return a
}

// check returns the leg's next check and when it is due; false when there is none.
func (l *leg) check(r Rules) (Check, time.Time, bool) {
	c := Check{Session: l.session.id, Leg: l.id, Control: l.control, Connection: l.connection}
	a := l.asking(r)
	ending, _ := l.ending()
	// An attempt that a check has asked for already is its task's business.
	if !a.due.IsZero() && l.checked < a.next {
		c.Kind, c.Attempt = CheckStatus, a.next
		return c, a.due, true
	}
	if ending == NotOver {
		c.Kind, c.Upto = CheckExpire, l.heardSeq
		return c, l.heard.Add(maxLegLife), true
	}
	return Check{}, time.Time{}, false
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
