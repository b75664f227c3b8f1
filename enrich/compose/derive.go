package compose

import (
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
)

// derive fills in the seconds that follow from the times and the outcome, and
// clears those that do not.
func derive(l *summary.Leg) {
	start, answer, end := l.StartedAt.Known(), l.AnsweredAt.Known(), l.EndedAt.Known()
	l.DurationSeconds = summary.Between(start, end)
	l.BridgedSeconds = summary.Between(l.BridgedAt.Known(), end)
	l.RingSeconds, l.TalkSeconds = nil, nil
	switch {
	case !answer.IsZero():
		l.RingSeconds, l.TalkSeconds = summary.Between(start, answer), summary.Between(answer, end)
	case neverAnswered(l.Outcome):
		l.RingSeconds, l.TalkSeconds = summary.Between(start, end), summary.Lasting(0)
	}
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

// hold adds up the time that a leg is on hold, told of in order of occurrence.
type hold struct {
	since time.Time
	total time.Duration
}

// begin begins a hold; within one it says nothing.
func (h *hold) Begin(at time.Time) {
	if h.since.IsZero() {
		h.since = at
	}
}

// End ends a hold; one whose beginning was not seen says nothing of its length.
func (h *hold) End(at time.Time) {
	if !h.since.IsZero() && at.After(h.since) {
		h.total += at.Sub(h.since)
	}
	h.since = time.Time{}
}

// Seconds is the time on hold; nil when no hold is known that lasted.
func (h *hold) Seconds() *summary.Seconds {
	if h.total == 0 {
		return nil
	}
	return summary.Lasting(h.total)
}

// held is the time on hold by a timeline up to the end of the leg.
func held(events []summary.Event, end *summary.Time) *summary.Seconds {
	var h hold
	for _, e := range events {
		switch e.Type {
		case typeHold:
			h.Begin(e.OccurredAt.Known())
		case typeUnhold:
			h.End(e.OccurredAt.Known())
		}
	}
	h.End(end.Known())
	return h.Seconds()
}

// timelineEnd is how many events the timeline keeps at either end.
const timelineEnd = 250

// cutTimeline shortens a timeline to its first and last 250 events and returns
// how many were left out.
func cutTimeline(events []summary.Event) ([]summary.Event, int) {
	return ends(events, maxEvents)
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
