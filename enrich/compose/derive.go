package compose

import (
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// derive fills in the seconds that follow from the times and the outcome, and
// clears those that do not.
func derive(l *summary.Leg) {
	start, answer, end := l.StartedAt.Known(), l.AnsweredAt.Known(), l.EndedAt.Known()
	l.DurationSeconds = summary.Between(start, end, summary.MaxLegSeconds)
	l.BridgedSeconds = summary.Between(l.BridgedAt.Known(), end, summary.MaxLegSeconds)
	l.RingSeconds, l.TalkSeconds = nil, nil
	switch {
	case !answer.IsZero():
		l.RingSeconds, l.TalkSeconds = summary.Between(start, answer, summary.MaxLegSeconds), summary.Between(answer, end, summary.MaxLegSeconds)
	case neverAnswered(l.Outcome):
		l.RingSeconds, l.TalkSeconds = summary.Between(start, end, summary.MaxLegSeconds), summary.Lasting(0)
	}
	// Added up of what is in range each, they may be out of it.
	l.HoldSeconds, l.QueueSeconds = bounded(l.HoldSeconds, summary.MaxLegSeconds), bounded(l.QueueSeconds, summary.MaxLegSeconds)
}

// neverAnswered reports whether the outcome says that the leg was not answered.
// An unknown outcome does not.
func neverAnswered(o summary.Outcome) bool {
	switch o {
	case summary.OutcomeNoAnswer, summary.OutcomeBusy, summary.OutcomeRejected, summary.OutcomeCanceled, summary.OutcomeFailed:
		return true
	case summary.OutcomeAnswered, summary.OutcomeUnknown:
	}
	return false
}

// held is the time on hold by a timeline, up to the end of the leg; nil when no hold is known that lasted.
// Within a hold another beginning says nothing; nor does an end of which the beginning was not seen.
func held(events []summary.Event, end *summary.Time) *summary.Seconds {
	var since time.Time
	var total time.Duration
	stop := func(at time.Time) {
		if !since.IsZero() && at.After(since) {
			total += at.Sub(since)
		}
		since = time.Time{}
	}
	for _, e := range events {
		switch {
		case e.Type == call.TypeHold && since.IsZero():
			since = e.OccurredAt.Known()
		case e.Type == call.TypeUnhold:
			stop(e.OccurredAt.Known())
		}
	}
	stop(end.Known())
	if total == 0 {
		return nil
	}
	return summary.Lasting(total)
}

// covered is the time in which at least one of the spans was running. Spans
// that end before they begin count as empty.
func covered(spans [][2]time.Time) time.Duration {
	sorted := slices.Clone(spans)
	slices.SortFunc(sorted, func(a, b [2]time.Time) int { return a[0].Compare(b[0]) })
	var total time.Duration
	var until time.Time
	for _, s := range sorted {
		from := s[0]
		if from.Before(until) {
			from = until
		}
		if s[1].After(from) {
			total += s[1].Sub(from)
			until = s[1]
		}
	}
	return total
}
