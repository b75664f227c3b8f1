package session

import (
	"slices"
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

// Backfill is the log entry of one attempt to complete a leg from the provider's history. The events that it brought
// stand before it, as events.
type Backfill struct {
	// Answer is the outcome of the request; its fields that state a status are empty.
	status.Answer
	// Rows counts the webhooks of the leg that the history had, Added those of them that were not known: those that were
	// appended, or stood in the log already.
	Rows  int `json:"rows,omitempty"`
	Added int `json:"added,omitempty"`
	// Whole: the history reached to the leg's hangup, and with what it had nothing is missing: asking again is of no
	// use.
	Whole bool `json:"whole,omitempty"`
	// Epoch is that of the session when it was asked, as of a Check.
	Epoch uint64 `json:"life,omitempty"`
}

// ID is the backfill's idempotency key: one outcome an attempt, whoever asked.
func (r Backfill) ID() string {
	return "repair/" + string(r.Session) + "/" + string(r.Leg) + "/" + attemptOf(r.Epoch, r.Attempt)
}

// Missing are the events that a leg must have had and that are not known.
type Missing struct {
	Initiated, Answered, Hangup bool
}

// Any reports whether there is one.
func (m Missing) Any() bool { return m.Initiated || m.Answered || m.Hangup }

// Fill takes out the event of a type.
func (m *Missing) Fill(eventType string) {
	m.Initiated = m.Initiated && eventType != call.TypeInitiated
	m.Answered = m.Answered && eventType != call.TypeAnswered
	m.Hangup = m.Hangup && eventType != call.TypeHangup
}

// record is what is known about events of a leg that may be missing.
type record struct {
	// answered: its call.answered was folded. talked: another event says that it was answered. active: an event was
	// folded that hardly any leg has without an answer.
	answered, talked, active bool
	// again: an event came with an attempt that was not its first: the one before had no success.
	again bool
	// firstSeq is the first of its events by receipt, overtaken: it was the hangup.
	firstSeq  uint64
	overtaken bool
	// outage is when to check a leg that was open while nobody wrote the log, outageSeq the first entry after that;
	// 0: it was not.
	outage    logTime
	outageSeq uint64
	// trimmed: its call had been trimmed from the log, and its summary was read back.
	trimmed bool

	backfills []backfilled
	// checked is the highest attempt that a check has asked for, checkedAt when it did.
	checked   int
	checkedAt logTime
}

// backfilled is what came of one attempt to complete the leg.
type backfilled struct {
	Backfill
	at time.Time
}

// note takes what an event says about events that may be missing.
func (r *record) note(e *Event, t call.EventType) {
	if r.firstSeq == 0 || e.Seq < r.firstSeq {
		r.firstSeq, r.overtaken = e.Seq, e.Type == call.TypeHangup
	}
	r.again = r.again || e.Attempt > 1
	switch e.Type {
	case call.TypeAnswered:
		r.answered = true
	case call.TypeBridged:
		r.talked = true
	case call.TypeHangup:
		if h, ok := e.Detail.(*call.Hangup); ok && hadAnswer(h) {
			r.talked = true
		}
	}
	r.active = r.active || t.Answered
}

// hadAnswer reports whether only a leg that was answered hangs up like that. The 200 is that to its INVITE or to the
// BYE that followed, 16 the normal clearing of Q.850, unless the cause says otherwise.
func hadAnswer(h *call.Hangup) bool {
	cause := strings.ToLower(h.Cause)
	usual := cause == "" || cause == "normal_clearing" || cause == "unspecified"
	return cause == "time_limit" || usual && (h.SIPCode == "200" || h.SIPCode == "16")
}

// missing are the events that a leg that is over must have had.
func (l *leg) missing() Missing {
	return Missing{
		Initiated: !l.initiated,
		Answered:  l.record.talked && !l.record.answered,
		Hangup:    l.hangup == 0,
	}
}

// doubtful reports whether an event may be missing though nothing shows that it is.
func (l *leg) doubtful() bool {
	r := &l.record
	return r.again || r.overtaken || r.outageSeq > 0 || r.active && !r.answered
}

// nextBackfill returns the check that asks the history about the leg and when it is due; false when there is none.
func (l *leg) nextBackfill(r Rules) (c Check, due time.Time, ok bool) {
	made := len(l.record.backfills)
	switch {
	case r.BackfillAfter <= 0, l.open(), made >= maxBackfills, l.record.trimmed && !l.initiated, !l.missing().Any() && !l.doubtful():
		return c, due, false
	}
	var last backfilled
	for _, b := range l.record.backfills {
		if b.Whole {
			return c, due, false
		}
		if b.at.After(last.at) {
			last = b
		}
	}
	_, since := l.ending()
	highest := l.record.highest()
	due = r.nextBackfill(since, last.at, made, imposed(last.RetryAfter))
	if l.record.checked > highest {
		// A worker has that attempt in hand, for a while.
		due = later(due, l.record.checkedAt.time().Add(r.backfillUnanswered()))
	}
	c = l.newCheck()
	c.Kind, c.Attempt = CheckBackfill, max(highest, l.record.checked)+1
	return c, due, c.Attempt <= maxBackfillChecks
}

// highest is the highest attempt that the log has an outcome of; 0: it has none.
func (r *record) highest() int {
	highest := 0
	for _, b := range r.backfills {
		highest = max(highest, b.Attempt)
	}
	return highest
}

// noteBackfill takes what came of an attempt; one that the log has twice counts once.
func (l *leg) noteBackfill(b *Backfill, at time.Time) {
	if !slices.ContainsFunc(l.record.backfills, func(o backfilled) bool { return o.Attempt == b.Attempt }) {
		l.record.backfills = append(l.record.backfills, backfilled{*b, at})
	}
}
