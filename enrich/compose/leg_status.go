package compose

import (
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
)

// agreement is how far webhook and status may differ and still say the
// same: within it the webhook's finer value stands, beyond it the status's.
const agreement = time.Second

// status states the result of asking: a confirmation if there is one; pending as
// long as there may be one yet; then the last answer that was an answer (not found, or still
// alive), else the last failure to get one. What one of many attempts came to is no news.
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
	if chosen == nil || v.Confirmed == nil && !v.Final {
		s.State = summary.StatusPending
		return
	}
	s.State = statusState(chosen, v.Confirmed != nil)
	s.FetchedAt = summary.At(chosen.FetchedAt)
	s.IsAlive = chosen.IsAlive
	s.StartTime, s.EndTime = summary.At(chosen.StartTime), summary.At(chosen.EndTime)
	s.ClientState, s.RecordType = chosen.ClientState, chosen.RecordType
	if chosen.CallDuration != nil {
		s.CallDuration = summary.Lasting(time.Duration(*chosen.CallDuration * float64(time.Second)))
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

// reconcile holds the status's start and end against the webhooks'.
func (c *legComposer) reconcile() {
	a := c.view.Confirmed
	if a == nil {
		return
	}
	c.reconcileTime("started_at", &c.leg.StartedAt, a.StartTime)
	c.reconcileTime("ended_at", &c.leg.EndedAt, a.EndTime)
}

func (c *legComposer) reconcileTime(field string, into **summary.Time, at time.Time) {
	if at.IsZero() {
		return
	}
	stated := summary.MustAt(at)
	if *into != nil {
		difference := stated.Sub((*into).Time)
		if difference.Abs() <= agreement {
			return
		}
		c.leg.Discrepancies = append(c.leg.Discrepancies, summary.Discrepancy{
			Field: field, Webhook: **into, Status: stated, DifferenceSeconds: *summary.Lasting(difference),
		})
	}
	*into = &stated
	c.leg.Sources[field] = summary.SourceStatus
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
