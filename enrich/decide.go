package enrich

import (
	"time"

	"github.com/legato-calls/legato/enrich/session"
)

// Timing are the times by which the worker decides.
type Timing struct {
	// Settle is the wait after a leg is over, for stragglers.
	Settle time.Duration
	// StatusDeadline is how long after that the first summary waits for the status.
	StatusDeadline time.Duration
}

const (
	// amendSettle: late events of a leg within it make one revision.
	amendSettle = 2 * time.Second
	// standby is how much later than its owner, who has the task of the hangup
	// or of a check, another worker publishes a leg for the first time.
	standby = 2 * time.Second
)

// reason names a decision, for logs and tests.
type reason string

const (
	reasonNotOver   reason = "not_over"
	reasonSettling  reason = "settling"
	reasonNoStatus  reason = "awaiting_status"
	reasonConfirmed reason = "confirmed"
	reasonDeadline  reason = "deadline"
	reasonFinal     reason = "final"
	reasonCollect   reason = "collecting_late_events"
	reasonLate      reason = "late"
	reasonQuiet     reason = "quiet"
	reasonUnchanged reason = "unchanged"
	reasonBehind    reason = "behind"
	reasonRefused   reason = "refused"
)

// verdict is what is to be done now: act, or decide again at a time.
type verdict struct {
	reason reason
	// act: publish now. Otherwise decide again at until; zero: when something changes.
	act   bool
	until time.Time
}

// decideFirst decides whether a leg's first summary is due. owner: this
// worker holds the task that the leg's completion hangs on.
func decideFirst(v *session.LegView, t Timing, owner bool, now time.Time) verdict {
	if v.Ending == session.NotOver {
		return verdict{reason: reasonNotOver}
	}
	var lag time.Duration
	if !owner {
		lag = standby
	}
	settled := v.Since.Add(t.Settle + lag)
	deadline := v.Since.Add(max(t.StatusDeadline, t.Settle) + lag)
	switch {
	case now.Before(settled):
		return verdict{reason: reasonSettling, until: settled}
	case v.Confirmed != nil:
		return verdict{reason: reasonConfirmed, act: true}
	case v.Final:
		return verdict{reason: reasonFinal, act: true}
	case !now.Before(deadline):
		return verdict{reason: reasonDeadline, act: true}
	}
	return verdict{reason: reasonNoStatus, until: deadline}
}

// decideAmend decides whether a leg whose stored summary differs from the view
// is to be revised now, or whether more late events should be awaited.
// since is when the first of the news came.
func decideAmend(since, now time.Time) verdict {
	if until := since.Add(amendSettle); now.Before(until) {
		return verdict{reason: reasonCollect, until: until}
	}
	return verdict{reason: reasonLate, act: true}
}

// decideAsk returns the attempt to make now for a leg, 0 when there is none, and
// when to decide again (zero: not on account of this). hangup: the worker holds the task
// of the leg's hangup, check the attempt that a check asks for (0: none does). With neither it holds some
// other task of the leg, and asks when nobody has: the hangup may have been nobody's task,
// because its leg was not known then, or because it had no control id to ask with.
func decideAsk(v *session.LegView, t Timing, hangup bool, check int, now time.Time) (attempt int, until time.Time) {
	if v.Control == "" || v.Confirmed != nil || v.Final {
		return 0, time.Time{}
	}
	if check > v.Asked {
		return check, time.Time{}
	}
	if v.Ending != session.ByHangup || v.AskedSince > 0 {
		return 0, time.Time{}
	}
	// The settle time is for stragglers of the status API as well: right after a
	// hangup it may still call the leg alive.
	due := v.Since.Add(t.Settle)
	if !hangup {
		due = v.Since.Add(max(t.StatusDeadline, t.Settle) + standby)
	}
	if now.Before(due) {
		return 0, due
	}
	return v.Asked + 1, time.Time{}
}
