package compose

import (
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
)

const (
	// agreement is how far webhook and status may differ and still say the
	// same: within it the webhook's finer value stands, beyond it the status's, if that is possible.
	agreement = time.Second
	// farOutside is how far a status may be from what the webhooks say of the same moment. Both are by Telnyx's clock;
	// beyond it the status is about another moment, or none.
	farOutside = time.Minute
	// longestRinging is how long before its answer a leg can have begun: Telnyx lets it ring for 600 s.
	longestRinging = 10 * time.Minute
)

// reconcile holds the status's start and end against the webhooks'. What a status states differs from them by more
// than a second wins, unless it cannot be true of this call, or may be the time of the answer: no source says whether
// the status counts from the ringing or from the answer. What does not win is listed.
func (c *legComposer) reconcile() {
	a := c.view.Confirmed
	if a == nil {
		return
	}
	w := c.witnessed()
	crossed := !a.StartTime.IsZero() && !a.EndTime.IsZero() && a.EndTime.Before(a.StartTime)
	start := !crossed && w.canStart(a.StartTime) && !near(a.StartTime, w.answered, agreement)
	end := !crossed && w.canEnd(a.EndTime)
	c.reconcileTime("started_at", &c.leg.StartedAt, a.StartTime, start)
	c.reconcileTime("ended_at", &c.leg.EndedAt, a.EndTime, end)
}

// reconcileTime lists what differs, and takes it when it is credible.
func (c *legComposer) reconcileTime(field string, into **summary.Time, at time.Time, credible bool) {
	if at.IsZero() {
		return
	}
	stated := summary.MustAt(at)
	switch {
	case *into != nil && near(stated.Time, (*into).Time, agreement):
		return
	case *into != nil:
		c.leg.Discrepancies = append(c.leg.Discrepancies, summary.Discrepancy{
			Field: field, Webhook: **into, Status: stated, DifferenceSeconds: summary.Difference((*into).Time, stated.Time),
		})
	case !credible:
		c.doubt(summary.NoteDiscrepancy, true)
	}
	if credible {
		*into = &stated
		c.leg.Sources[field] = summary.SourceStatus
	}
}

// witnessed is what the webhooks say about when a leg lived. A time that they do not state is zero.
type witnessed struct {
	// first is when the first event occurred, answered when the leg was answered or bridged, whichever was first.
	first, answered time.Time
	// started and ended are as stated.
	started, ended time.Time
	// begun: the first event is that of the leg's beginning.
	begun bool
}

func (c *legComposer) witnessed() witnessed {
	w := witnessed{started: c.leg.StartedAt.Known(), ended: c.leg.EndedAt.Known(), answered: c.leg.AnsweredAt.Known()}
	if b := c.leg.BridgedAt.Known(); w.answered.IsZero() || !b.IsZero() && b.Before(w.answered) {
		w.answered = b
	}
	for _, e := range c.view.Events {
		if !e.OccurredAt.IsZero() && (w.first.IsZero() || e.OccurredAt.Before(w.first)) {
			w.first = e.OccurredAt
		}
	}
	w.begun = c.leg.Direction != ""
	return w
}

// canStart reports whether the leg can have started at a time: no later than it was answered or ended, and not far from
// the first that was heard of it; of a leg whose beginning was not heard of, no longer before that than a leg lives.
func (w *witnessed) canStart(at time.Time) bool {
	earliest := w.first.Add(-summary.MaxLegSeconds * time.Second)
	if w.begun {
		earliest = w.first.Add(-farOutside)
	}
	return !after(at, w.answered, agreement) && !after(at, w.ended, agreement) && !after(at, w.first, farOutside) &&
		(w.first.IsZero() || !at.Before(earliest)) &&
		(w.started.IsZero() || near(at, w.started, longestRinging))
}

// canEnd reports whether the leg can have ended at a time: not before anything that happened in it, nor longer after
// that than a leg lives, and not far from its hangup. All are Telnyx's times: a replica's own clock may be wrong.
func (w *witnessed) canEnd(at time.Time) bool {
	for _, before := range []time.Time{w.first, w.answered, w.started} {
		if after(before, at, agreement) {
			return false
		}
	}
	return !after(at, w.first, summary.MaxLegSeconds*time.Second) && (w.ended.IsZero() || near(at, w.ended, farOutside))
}

// after reports whether a is known to be later than b by more than a tolerance.
func after(a, b time.Time, tolerance time.Duration) bool {
	return !a.IsZero() && !b.IsZero() && a.Sub(b) > tolerance
}

// near reports whether two times are known and no further apart than a tolerance.
func near(a, b time.Time, tolerance time.Duration) bool {
	return !a.IsZero() && !b.IsZero() && a.Sub(b).Abs() <= tolerance
}

// status states the result of asking: a confirmation if there is one; pending as
// long as there may be one yet; then the last answer that was an answer (not found, or still
// alive), else the last failure to get one, or that nobody asked. What one of many attempts came to is no news.
func (c *legComposer) status() {
	v, s := c.view, &c.leg.Status
	s.Attempts = v.Asked
	s.Final = v.Final
	if v.Control == "" {
		s.State = summary.StatusNotAsked
		return
	}
	chosen := v.Confirmed
	var lastTry *session.Received
	for _, a := range v.Answers {
		if v.Confirmed == nil && (chosen == nil || answers(a) || !answers(chosen)) {
			chosen = a
		}
		if lastTry == nil || a.Seq > lastTry.Seq {
			lastTry = a
		}
	}
	if lastTry != nil {
		s.HTTPStatus = lastTry.HTTPStatus
	}
	switch {
	case v.Confirmed == nil && !v.Final:
		s.State = summary.StatusPending
		return
	case chosen == nil:
		s.State = summary.StatusNotAsked
		return
	}
	s.State = statusState(chosen, v.Confirmed != nil)
	s.FetchedAt = summary.At(chosen.FetchedAt)
	s.IsAlive = chosen.IsAlive
	s.StartTime, s.EndTime = summary.At(chosen.StartTime), summary.At(chosen.EndTime)
	s.ClientState, s.RecordType = chosen.ClientState, chosen.RecordType
	if d := chosen.CallDuration; d != nil && *d >= 0 && *d <= summary.MaxLegSeconds {
		s.CallDuration = summary.Lasting(time.Duration(*d * float64(time.Second)))
	}
}

// answers reports whether Telnyx said something about the leg, rather than nothing at all.
func answers(a *session.Received) bool {
	return a.Result == status.Answered || a.Result == status.NotFound
}

func statusState(a *session.Received, confirmed bool) summary.StatusState {
	switch {
	case confirmed:
		return summary.StatusConfirmed
	case a.Result == status.Answered:
		return summary.StatusPending // still alive for Telnyx: "not yet", not an answer
	}
	return summary.StatusState(a.Result) // the other results have the same words
}

// worstStatus ranks the states for a session, the worst first.
var worstStatus = []summary.StatusState{
	summary.StatusDenied, summary.StatusUnreachable, summary.StatusRateLimited, summary.StatusNotFound,
	summary.StatusNotAsked, summary.StatusPending, summary.StatusConfirmed,
}

// worstOf returns the worst of the states: the first that occurs of denied,
// unreachable, rate_limited, not_found, not_asked, pending, confirmed. Of none it is not_asked.
func worstOf(states []summary.StatusState) summary.StatusState {
	for _, worst := range worstStatus {
		for _, s := range states {
			if s == worst {
				return s
			}
		}
	}
	return summary.StatusNotAsked
}
