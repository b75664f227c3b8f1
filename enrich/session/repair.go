package session

import (
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

// Repair is the entry in which stands what came of one attempt to complete a
// leg from the provider's history. The events that it brought stand before it, as events.
type Repair struct {
	// Answer says what came of the asking; of what a status states it has nothing.
	status.Answer
	// Rows counts the webhooks of the leg that the history had, Added those of them that were not known.
	Rows  int `json:"rows,omitempty"`
	Added int `json:"added,omitempty"`
	// Whole tells that the history reached to the leg's hangup, and that no hole
	// is left with what it had: asking again is of no use.
	Whole bool `json:"whole,omitempty"`
	// Life is that of the session when it was asked, as of a Check.
	Life uint64 `json:"life,omitempty"`
}

// ID is the repair's idempotency key: one outcome an attempt, whoever asked.
func (r Repair) ID() string {
	return "repair/" + string(r.Session) + "/" + string(r.Leg) + "/" + attemptOf(r.Life, r.Attempt)
}

// Holes are the events that a leg must have had and that are not known.
type Holes struct {
	Initiated, Answered, Hangup bool
}

// Any reports whether there is one.
func (h Holes) Any() bool { return h.Initiated || h.Answered || h.Hangup }

// Fill takes out what an event of a type fills.
func (h *Holes) Fill(eventType string) {
	switch eventType {
	case call.TypeInitiated:
		h.Initiated = false
	case call.TypeAnswered:
		h.Answered = false
	case call.TypeHangup:
		h.Hangup = false
	}
}

const (
	// mostRepairs is how often the history is asked about a leg, with answers
	// or refusals; mostRepairChecks bounds the checks that ask for it, answered or not.
	mostRepairs      = 3
	mostRepairChecks = 5
	// The history may lag: by default it is asked 30 s after the end, 2 min after that
	// and 10 min after that. That is 12.5 min, within the amend window.
	secondRepair = 4
	thirdRepair  = 20
)

// nextRepair is the calendar of the history: when to ask next about a leg that
// is over since overSince, was asked about made times, the last time at last with the given
// wait imposed by Telnyx. It is zero when the calendar has ended.
func (r Rules) nextRepair(overSince, last time.Time, made int, imposed time.Duration) time.Time {
	switch {
	case r.RepairAfter <= 0 || made >= mostRepairs:
		return time.Time{}
	case made == 0:
		return overSince.Add(r.RepairAfter)
	case made == 1:
		return last.Add(max(secondRepair*r.RepairAfter, imposed))
	}
	return last.Add(max(thirdRepair*r.RepairAfter, imposed))
}

// lostRepair is how long a check may stay without an outcome before another takes its place: as long as
// the history gets between its first two attempts, and longer than one attempt may take.
func (r Rules) lostRepair() time.Duration {
	return min(lostAfter, max(secondRepair*r.RepairAfter, time.Minute))
}

// record is what the fold keeps of what tells whether a leg is known as a whole.
type record struct {
	// answered: its call.answered was folded. talked: it was answered, for that
	// is what another event says. active: an event was folded that hardly any leg has without an answer.
	answered, talked, active bool
	// again: an event came with an attempt that was not its first: the one before had no success.
	again bool
	// firstSeq is the first of its events by receipt, overtaken tells that it was the hangup.
	firstSeq  uint64
	overtaken bool
	// outage is when the leg is to be checked that lived while nobody wrote
	// the log, outageSeq the first entry after that; 0: it never did.
	outage    time.Time
	outageSeq uint64
	// departed: the summary of the leg was read back, for its call had left the log.
	departed bool

	repairs []repaired
	// checked is the highest attempt that a check has asked for, checkedAt when it did.
	checked   int
	checkedAt time.Time
}

// repaired is one attempt to complete the leg.
type repaired struct {
	attempt int
	whole   bool
	at      time.Time
	imposed time.Duration
}

// note takes what an event says about whether all is known.
func (r *record) note(e *Event) {
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
	r.active = r.active || call.EventTypeOf(e.Type).Answered
}

// hadAnswer reports whether only a leg that was answered hangs up like that. The
// 200 is that to its INVITE or to the BYE that followed, unless the cause tells otherwise.
func hadAnswer(h *call.Hangup) bool {
	switch strings.ToLower(h.Cause) {
	case "time_limit":
		return true
	case "", "normal_clearing", "unspecified":
		return h.SIPCode == "200"
	}
	return false
}

// lacks tells what a leg that is over lacks for certain.
func (l *leg) lacks() Holes {
	return Holes{
		Initiated: !l.initiated,
		Answered:  l.record.talked && !l.record.answered,
		Hangup:    l.hangup.IsZero(),
	}
}

// doubtful reports whether a leg may lack something that does not show.
func (l *leg) doubtful() bool {
	r := &l.record
	return r.again || r.overtaken || r.outageSeq > 0 || r.active && !r.answered
}

// repair returns the check that asks the history about the leg and when it is
// due; false when there is none.
func (l *leg) repair(r Rules) (Check, time.Time, bool) {
	if r.RepairAfter <= 0 || l.record.departed && !l.initiated {
		return Check{}, time.Time{}, false
	}
	ending, since := l.ending()
	if ending == NotOver || !l.lacks().Any() && !l.doubtful() {
		return Check{}, time.Time{}, false
	}
	var last repaired
	highest := 0
	for _, a := range l.record.repairs {
		if a.whole {
			return Check{}, time.Time{}, false
		}
		if highest = max(highest, a.attempt); a.at.After(last.at) {
			last = a
		}
	}
	due := r.nextRepair(since, last.at, len(l.record.repairs), last.imposed)
	if l.record.checked > highest {
		// It is its task's business, for a while.
		due = later(due, l.record.checkedAt.Add(r.lostRepair()))
	}
	c := Check{
		Kind: CheckRepair, Session: l.session.id, Leg: l.id, Control: l.control, Connection: l.connection(),
		Attempt: max(highest, l.record.checked) + 1, Life: l.session.firstSeq,
	}
	ok := len(l.record.repairs) < mostRepairs && c.Attempt <= mostRepairChecks
	return c, due, ok
}

// repaired notes what came of an attempt; one that the log has twice counts once.
func (l *leg) repaired(a *Repair, at time.Time) {
	for i := range l.record.repairs {
		if l.record.repairs[i].attempt == a.Attempt {
			return
		}
	}
	l.record.repairs = append(l.record.repairs, repaired{attempt: a.Attempt, whole: a.Whole, at: at, imposed: imposed(a.RetryAfter)})
}

func (t *Table) foldRepair(e *call.Entry, a *Repair) *session {
	l := t.knownLeg(a.Session, a.Leg)
	if l == nil {
		return nil
	}
	l.session.touch(e)
	l.repaired(a, e.ReceivedAt)
	return l.session
}

const (
	// The legs that lived through an outage are checked one after the other, 50 a
	// second, and all within four minutes: those that ended meanwhile can be asked about for ten.
	outageStep   = 20 * time.Millisecond
	outageWithin = 4 * time.Minute
	// outageLost is how long such a check may stay without an answer: one more, or
	// two, still find a status that is kept for ten minutes.
	outageLost = 2 * time.Minute
)

// noteOutage looks for a time before an entry in which nobody wrote the log: whoever runs
// appends a probe when nothing else comes. What was told of the legs that lived then may be lost.
// It reports whether there are any.
func (t *Table) noteOutage(e *call.Entry) bool {
	before := t.previous
	// Taken as it is: after a step back of a leader's clock a pause must be seen as well. That a step
	// forth looks like one costs a question for each live leg.
	t.previous = e.ReceivedAt
	if t.cfg.Rules.Outage <= 0 || before.IsZero() || e.ReceivedAt.Sub(before) <= t.cfg.Rules.Outage {
		return false
	}
	var living []*leg
	for _, s := range t.born.list {
		for _, l := range s.legs {
			if ending, _ := l.ending(); ending == NotOver {
				living = append(living, l)
			}
		}
	}
	for i, l := range living {
		step := min(outageStep, outageWithin/time.Duration(len(living)))
		l.record.outage, l.record.outageSeq = e.ReceivedAt.Add(time.Duration(i)*step), e.Seq
	}
	return len(living) > 0
}
