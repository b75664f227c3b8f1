package session

import (
	"slices"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// session is what the log says about one call. Guarded by the table's lock.
type session struct {
	id   call.SessionID
	legs []*leg
	// events are those that name the session and no leg.
	events events

	// firstSeq is the entry that made the session, lastSeq its last one.
	firstSeq, lastSeq uint64
	// firstAt is when the first of its events was received, lastAt when the last entry was.
	firstAt, lastAt time.Time
	// unquiet is the last entry that the settle time counts from: an event, or
	// what made a leg be over. Bookkeeping entries do not make a session unquiet.
	unquiet   time.Time
	unquietAt uint64
	// settled is how far the last CheckSettle spoke; settles counts how often one
	// found the session over.
	settled uint64
	settles int
	// trace is the traceparent of its last entry that was traced.
	trace string

	// wake is when the table must look at the session next.
	wake time.Time
	// place is its index in the table's heap, -1 when it is not there.
	place int
	// asked are the due checks that were handed out and are on their way into the log.
	asked []asked
	// forgotten marks a session that left the table.
	forgotten bool
}

// asked is a check that was handed out, and when, by this machine's clock.
type asked struct {
	kind    CheckKind
	leg     call.LegID
	attempt int
	upto    uint64
	at      time.Time
}

func (a *asked) is(c *Check) bool {
	return a.kind == c.Kind && a.leg == c.Leg && a.attempt == c.Attempt && a.upto == c.Upto
}

// touch notes an entry of the session.
func (s *session) touch(e *call.Entry) {
	// The stream's clock can step back when its leader changes.
	s.lastSeq, s.lastAt = e.Seq, later(s.lastAt, e.ReceivedAt)
}

// stir starts the settle time anew.
func (s *session) stir(e *call.Entry) { s.unquiet, s.unquietAt = e.ReceivedAt, e.Seq }

func (s *session) leg(id call.LegID) *leg {
	for _, l := range s.legs {
		if l.id == id {
			return l
		}
	}
	return nil
}

// legsOver reports whether the session has legs and all are over.
func (s *session) legsOver() bool {
	for _, l := range s.legs {
		if ending, _ := l.ending(); ending == NotOver {
			return false
		}
	}
	return len(s.legs) > 0
}

// over reports whether the session is over: its legs are, and a check in the
// log states that it has been quiet since.
func (s *session) over() bool { return s.legsOver() && s.settled >= s.unquietAt }

// due returns the checks that are due at now, since when the first of them is,
// and when the next one will be (zero: none is to come).
func (s *session) due(r Rules, now time.Time) (due []Check, since, next time.Time) {
	s.agenda(r, now, func(c Check, at time.Time) {
		into := &next
		if !at.After(now) {
			due, into = append(due, c), &since
		}
		if into.IsZero() || at.Before(*into) {
			*into = at
		}
	})
	return due, since, next
}

// agenda tells of the next check of each kind, and when it is due.
func (s *session) agenda(r Rules, now time.Time, consider func(Check, time.Time)) {
	for _, l := range s.legs {
		if c, at, ok := l.check(r, now); ok {
			consider(c, at)
		}
		if c, at, ok := l.repair(r); ok {
			consider(c, at)
		}
	}
	if s.settled < s.unquietAt && s.legsOver() {
		c := Check{Kind: CheckSettle, Session: s.id, Upto: s.unquietAt}
		if i := slices.IndexFunc(s.legs, func(l *leg) bool { return l.connection() != "" }); i >= 0 {
			c.Connection = s.legs[i].connection()
		}
		consider(c, s.unquiet.Add(r.SessionSettle))
	}
}

// expires is when the session may be forgotten once nothing is due for it any more.
func (s *session) expires(r Rules) time.Time { return s.lastAt.Add(r.AmendWindow) }
