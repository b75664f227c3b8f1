package compose

import (
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
)

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
