package summary

import (
	"slices"
	"time"
)

// Derive fills in the seconds that follow from the times and the outcome, and
// clears those that do not.
func (l *Leg) Derive() {
	start, answer, end := l.StartedAt.Known(), l.AnsweredAt.Known(), l.EndedAt.Known()
	l.DurationSeconds = Between(start, end)
	l.BridgedSeconds = Between(l.BridgedAt.Known(), end)
	l.RingSeconds, l.TalkSeconds = nil, nil
	switch {
	case !answer.IsZero():
		l.RingSeconds, l.TalkSeconds = Between(start, answer), Between(answer, end)
	case l.Outcome.NeverAnswered():
		l.RingSeconds, l.TalkSeconds = Between(start, end), Lasting(0)
	}
}

// NeverAnswered reports whether the outcome says that the leg was not answered.
// An unknown outcome does not.
func (o Outcome) NeverAnswered() bool {
	switch o {
	case OutcomeNoAnswer, OutcomeBusy, OutcomeRejected, OutcomeCanceled, OutcomeFailed:
		return true
	case OutcomeAnswered, OutcomeUnknown:
	}
	return false
}

// timelineEnd is how many events the timeline keeps at either end.
const timelineEnd = 250

// CutTimeline shortens a timeline to its first and last 250 events and returns
// how many were left out.
func CutTimeline(events []Event) ([]Event, int) {
	return Ends(events, maxEvents)
}

// Covered is the time in which at least one of the spans was running. Spans
// that end before they begin count as empty.
func Covered(spans [][2]time.Time) time.Duration {
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
