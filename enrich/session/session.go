// Package session is the fold of the log: what is known about every call that is not finished.
//
// In go the log's entries, in order; out come views of a session and its legs, complete up to a known position, and
// the checks that have become due.
//
// It guarantees that a view does not depend on the order in which events arrived, on how often, or through which
// replica; that everything it decides is a function of the log and its clock, so that all replicas decide alike (also
// that nobody was there to write it for a while, and which events may be missing for that reason); and that a session
// is remembered until nothing can be due for it any more.
//
// When a session is forgotten depends on the queue as well, which the log does not show. After a replay a table can
// know a session that others have forgotten, and fold into it an event that starts a new session for them. A view is
// compared with what is stored before it is published for that reason.
//
// Table is the lock around four parts: the fold (entries become what is known of sessions and legs), identity (which
// sessions and legs are known, and by which ids), the schedule (what is due next) and the tally (the sums that
// balance).
//
// It makes no summary; of what is published it notes only that a revision stands.
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
	firstAt, lastAt logTime
	// seen is when the entry of lastAt came in, by this machine's clock; zero: in a replay.
	seen time.Time
	// opened is when it was last read back after it had been packed, by this machine's clock; zero: it was not.
	opened time.Time
	// activeAt and activeSeq are of the last entry that the settle time counts from: an event, or what made a leg be
	// over. Bookkeeping entries do not count.
	activeAt  logTime
	activeSeq uint64
	// settled is how far the last CheckSettle spoke; settles counts how often one found the session over.
	settled uint64
	settles int
	// trace is the traceparent of its last entry that was traced.
	trace string

	// revision is the newest of its summary that is known to be published; 0: none is.
	revision int
	// version is the fold's count of changes when something was last folded into it.
	version uint64
	// held counts the work on it that no task of the queue stands for. learned: something was folded that has no
	// place in the log.
	held    int32
	learned bool
	// entries are the places in the log of all that was folded into it, as noteEntry writes them, lastNoted the last one.
	entries   []byte
	lastNoted uint64
	slot      slot
	kept      *kept
}

// logTime is a time by the log's clock as sessions and legs keep it: nanoseconds since 1970, in a third of the room
// of a time.Time, with nothing for the garbage collector to follow. 0: the zero time.
type logTime int64

func logTimeOf(t time.Time) logTime {
	if t.IsZero() {
		return 0
	}
	return logTime(t.UnixNano())
}

func (t logTime) time() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(t)).UTC()
}

// touch notes an entry of the session.
func (s *session) touch(e *call.Entry) {
	// The stream's clock can step back when its leader changes.
	s.lastSeq, s.lastAt = e.Seq, max(s.lastAt, logTimeOf(e.ReceivedAt))
}

// now is the time on the log's clock for the work on the session. Where the clock was set back since its last entry,
// time goes on from that entry: nothing waits until the clock is there again.
func (s *session) now(now, local time.Time) time.Time {
	if s.seen.IsZero() {
		return now
	}
	return later(now, s.lastAt.time().Add(local.Sub(s.seen)))
}

// setBack makes what waits, counted from a time that the log's clock has yet to reach again, wait from now on.
func (s *session) setBack(now time.Time) {
	at := logTimeOf(now)
	s.activeAt = min(s.activeAt, at)
	for _, l := range s.legs {
		l.hungUpAt, l.checkedAt = min(l.hungUpAt, at), min(l.checkedAt, at)
	}
}

// noteActivity starts the settle time anew.
func (s *session) noteActivity(e *call.Entry) {
	s.activeAt, s.activeSeq = logTimeOf(e.ReceivedAt), e.Seq
}

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
	return len(s.legs) > 0 && !slices.ContainsFunc(s.legs, (*leg).open)
}

// over reports whether the session is over: its legs are, and a check in the log states that it has been quiet since.
func (s *session) over() bool { return s.legsOver() && s.settled >= s.activeSeq }

// checks calls consider with the next check of each kind, and when it is due.
func (s *session) checks(r Rules, now time.Time, consider func(Check, time.Time)) {
	for _, l := range s.legs {
		if c, at, ok := l.nextCheck(r, now); ok {
			consider(c, at)
		}
		if c, at, ok := l.nextBackfill(r); ok {
			consider(c, at)
		}
	}
	if s.settled < s.activeSeq && s.legsOver() {
		c := Check{Kind: CheckSettle, Session: s.id, Upto: s.activeSeq}
		if i := slices.IndexFunc(s.legs, func(l *leg) bool { return l.connection() != "" }); i >= 0 {
			c.Connection = s.legs[i].connection()
		}
		consider(c, s.activeAt.time().Add(r.SessionSettle))
	}
}

// expires is when the session may be forgotten once nothing is due for it any more.
func (s *session) expires(r Rules) time.Time { return s.lastAt.time().Add(r.AmendWindow) }
